"""Base classes of the browser's objects."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar

from cottoncandy.backends.base import ObjectInfo
from cottoncandy.core.names import SEPARATOR, Key, pathjoin
from cottoncandy.exceptions import (
    InvalidArgumentError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)

if TYPE_CHECKING:
    from cottoncandy.interfaces import DefaultInterface

__all__ = ["BrowserObject", "S3FSLike"]


class BrowserObject:
    """Base of all browser objects."""


class S3FSLike(BrowserObject):
    """A name in a bucket, on any store.

    Parameters
    ----------
    path : str
        The name.
    interface : cottoncandy.interfaces.DefaultInterface
        The interface that the objects are reached through.
    """

    _is_directory: ClassVar[bool] = False
    _key: Key
    _info: ObjectInfo | None
    interface: DefaultInterface

    def __init__(self, path: str, interface: DefaultInterface) -> None:
        key = interface._store.key(path, tree=True).removesuffix(SEPARATOR)
        # A copy: set_bucket on the interface must not move this object.
        self._place(key, copy.copy(interface), None)

    def _place(self, key: str, interface: DefaultInterface, info: ObjectInfo | None) -> None:
        self._key = Key(key)
        self.interface = interface
        self._info = info

    @property
    def _fullpath(self) -> str:
        """The name of the object in its bucket."""
        return self._key

    @property
    def _name(self) -> str:
        """The last part of the name."""
        return self._key.rpartition(SEPARATOR)[2]

    def __call__(self) -> Any:
        """Get the object of this name.

        Returns
        -------
        object : boto3 Object, pydrive2 GoogleDriveFile or ObjectInfo
            boto3's ``Object`` on S3, pydrive2's file on Google Drive; on other stores its header:
            ``key``, ``size``, ``last_modified``, ``e_tag``, ``metadata``.

        Raises
        ------
        ObjectNotFoundError
            If only objects below that name exist.
        """
        if not self._key:
            raise ObjectNotFoundError("a bucket is not an object; select a name in it")
        info = self.interface._store.backend.head(self._key)
        try:
            return self.interface._store.backend.native_object(self._key)
        except UnsupportedOperationError:
            return info

    def __setattr__(self, name: str, value: Any) -> None:
        # Plain attributes would look like uploads and be lost with the session.
        if name != "interface" and not name.startswith("_"):
            raise InvalidArgumentError(
                f"cannot assign to {name!r}: nothing is uploaded by assignment; use "
                f"browser.interface.upload_raw_array({pathjoin(self._key, name)!r}, array)"
            )
        super().__setattr__(name, value)

    def __bool__(self) -> bool:
        # Without this Python would ask for the length, and that lists the directory.
        return True
