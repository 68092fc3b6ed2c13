"""ArrayInterface: arrays of every kind."""

from __future__ import annotations

from cottoncandy.interfaces._basic import BasicInterface

__all__ = ["ArrayInterface"]


class ArrayInterface(BasicInterface):
    """Provides numpy.array concepts."""
