"""What the user says: the interface classes. :func:`cottoncandy.get_interface` makes one."""

from __future__ import annotations

from cottoncandy.interfaces.base import InterfaceObject
from cottoncandy.interfaces.default import (
    ArrayInterface,
    BasicInterface,
    DefaultInterface,
    EncryptedInterface,
    FileSystemInterface,
)

__all__ = [
    "ArrayInterface",
    "BasicInterface",
    "DefaultInterface",
    "EncryptedInterface",
    "FileSystemInterface",
    "InterfaceObject",
]
