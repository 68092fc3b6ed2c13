"""What the user says: the interface classes. :func:`cottoncandy.get_interface` makes one."""

from __future__ import annotations

from cottoncandy.interfaces._arrays import ArrayInterface
from cottoncandy.interfaces._basic import BasicInterface
from cottoncandy.interfaces._core import InterfaceObject
from cottoncandy.interfaces._default import DefaultInterface
from cottoncandy.interfaces._encrypted import EncryptedInterface
from cottoncandy.interfaces._filesystem import FileSystemInterface

__all__ = [
    "ArrayInterface",
    "BasicInterface",
    "DefaultInterface",
    "EncryptedInterface",
    "FileSystemInterface",
    "InterfaceObject",
]
