"""The interface classes. :func:`cottoncandy.get_interface` returns a :class:`DefaultInterface`."""

from __future__ import annotations

from cottoncandy.arrays.description import ArrayInfo
from cottoncandy.arrays.handle import CloudArray
from cottoncandy.core.stats import Stats
from cottoncandy.interfaces.base import InterfaceObject
from cottoncandy.interfaces.default import (
    ArrayInterface,
    BasicInterface,
    DefaultInterface,
    EncryptedInterface,
    FileSystemInterface,
)

__all__ = [
    "ArrayInfo",
    "ArrayInterface",
    "BasicInterface",
    "CloudArray",
    "DefaultInterface",
    "EncryptedInterface",
    "FileSystemInterface",
    "InterfaceObject",
    "Stats",
]
