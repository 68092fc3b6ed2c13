"""DefaultInterface: what the factories return."""

from __future__ import annotations

from cottoncandy.interfaces._arrays import ArrayInterface
from cottoncandy.interfaces._filesystem import FileSystemInterface

__all__ = ["DefaultInterface"]


class DefaultInterface(FileSystemInterface, ArrayInterface):
    """Default cottoncandy interface to the cloud.

    This includes numpy.array and file-system-like concepts for easy data I/O and bucket/object
    exploration. :func:`cottoncandy.get_interface` makes one.
    """
