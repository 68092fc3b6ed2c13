"""FileSystemInterface: finding, copying, moving and removing objects."""

from __future__ import annotations

from cottoncandy.interfaces._basic import BasicInterface

__all__ = ["FileSystemInterface"]


class FileSystemInterface(BasicInterface):
    """Emulate some file system functionality."""
