"""The base of the browser's objects; names as Python attributes."""

from __future__ import annotations

import copy
import keyword
import unicodedata
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Self

from cottoncandy.backends.base import ObjectInfo
from cottoncandy.core.names import SEPARATOR, Key, pathjoin
from cottoncandy.exceptions import (
    InvalidArgumentError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)

if TYPE_CHECKING:
    from cottoncandy.interfaces import DefaultInterface


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

    _is_directory: bool
    _key: Key
    _info: ObjectInfo | None = None  # the object of that name, as listed
    interface: DefaultInterface

    def __init__(self, path: str, interface: DefaultInterface) -> None:
        self._key = Key(interface._store.key(path, tree=True).removesuffix(SEPARATOR))
        # A copy: set_bucket on the interface must not move this object.
        self.interface = copy.copy(interface)

    @classmethod
    def _at(cls, key: str, interface: DefaultInterface, info: ObjectInfo | None = None) -> Self:
        """Return the object of a key, as listed."""
        made = cls.__new__(cls)
        made._key, made.interface, made._info = Key(key), interface, info
        return made

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
        object : boto3 Object, google.cloud.storage Blob, pydrive2 GoogleDriveFile or ObjectInfo
            The client library's own object; without such a library the header: ``key``, ``size``,
            ``last_modified``, ``e_tag``, ``metadata``.

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


# -- names ---------------------------------------------------------------------------------------

#: Attributes that IPython, Jupyter, inspect and others look up on any object; they list no bucket.
_PROBES = ("__", "_repr_", "_ipython_", "_jupyter_", "_partialmethod")


def is_introspection_name(name: str) -> bool:
    """Return whether an attribute is one that tools look up on every object."""
    return name.startswith(_PROBES)


def mangle(name: str) -> str:
    """Return a name with ``_DOT_`` for dots, ``_`` for dashes and ``NUM_`` before a digit.

    Examples
    --------
    >>> mangle("01-awesome.grp")
    'NUM_01_awesome_DOT_grp'
    """
    start = "NUM_" if name[:1].isdecimal() else ""
    return start + name.replace(".", "_DOT_").replace("-", "_")


def attribute_names(names: Iterable[str], reserved: Collection[str]) -> dict[str, list[str]]:
    """Return the attributes for the names in one directory: attribute -> names.

    ``reserved`` are those that the object already has. A keyword, or a reserved name, gets ``_`` at
    its end. Other names that are not identifiers are skipped: use ``[...]`` for them. Attributes
    are normalized (NFKC), as Python does with identifiers in source code. Several names for one
    attribute are ambiguous: it is not available.
    """
    given = set(names)
    attributes: dict[str, list[str]] = {}
    for name in sorted(given):
        attribute = unicodedata.normalize("NFKC", mangle(name))
        if attribute in reserved or keyword.iskeyword(attribute):
            attribute += "_"
        if not attribute.isidentifier() or is_introspection_name(attribute):
            continue
        changed = attribute != unicodedata.normalize("NFKC", name)
        if changed and attribute in given:
            continue  # the name that is this attribute unchanged takes precedence
        attributes.setdefault(attribute, []).append(name)
    return attributes
