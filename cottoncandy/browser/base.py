"""The base of the browser's objects; names as Python attributes, and back; listings."""

from __future__ import annotations

import copy
import keyword
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Self

from cottoncandy.backends.base import ObjectInfo
from cottoncandy.core.names import SEPARATOR, Key, pathjoin
from cottoncandy.exceptions import (
    InvalidArgumentError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from cottoncandy.formats.generations import MANIFEST
from cottoncandy.stores.finding import list_directory, scan_objects
from cottoncandy.stores.store import Store

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

    _is_directory: ClassVar[bool] = False
    _key: Key
    _info: ObjectInfo | None
    interface: DefaultInterface

    def __init__(self, path: str, interface: DefaultInterface) -> None:
        key = interface._store.key(path, tree=True).removesuffix(SEPARATOR)
        # A copy: set_bucket on the interface must not move this object.
        self._place(key, copy.copy(interface), None)

    @classmethod
    def _at(cls, key: str, interface: DefaultInterface, info: ObjectInfo | None) -> Self:
        """Return the object of a key, as listed."""
        made = cls.__new__(cls)
        made._place(key, interface, info)
        return made

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


@dataclass(frozen=True)
class AttributeNames:
    """The attributes for the names in one directory.

    Attributes
    ----------
    names : dict of str to str
        Attribute -> name. Valid identifiers map to themselves.
    ambiguous : dict of str to tuple of str
        Attributes that several names would have; they are not available.
    """

    names: dict[str, str]
    ambiguous: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, names: Iterable[str], reserved: Collection[str]) -> AttributeNames:
        """Return the attributes; ``reserved`` are those that the object already has.

        A keyword, or a reserved name, gets ``_`` at its end. Other names that are not identifiers
        are skipped: use ``[...]`` for them. Attributes are normalized (NFKC), as Python does with
        identifiers in source code; two names that differ in nothing else are ambiguous.
        """
        given = set(names)
        candidates: dict[str, list[str]] = {}
        for name in sorted(given):
            attribute = unicodedata.normalize("NFKC", mangle(name))
            if attribute in reserved or keyword.iskeyword(attribute):
                attribute += "_"
            if not attribute.isidentifier() or is_introspection_name(attribute):
                continue
            changed = attribute != unicodedata.normalize("NFKC", name)
            if changed and attribute in given:
                continue  # the name that is this attribute unchanged takes precedence
            candidates.setdefault(attribute, []).append(name)
        return cls(
            {attribute: found[0] for attribute, found in candidates.items() if len(found) == 1},
            {attribute: tuple(found) for attribute, found in candidates.items() if len(found) > 1},
        )


# -- contents of directories, to be cached ---------------------------------------------------------


@dataclass(slots=True)
class Entry:
    """One name in a directory: an object, a directory, or both at once.

    Parameters
    ----------
    name : str
        Its name in the directory, without slashes.
    directory : bool
        Whether anything is below it.
    info : ObjectInfo, optional
        The listed object of that name, if any.
    """

    name: str
    directory: bool = False
    info: ObjectInfo | None = None


@dataclass(slots=True)
class DirectoryListing:
    """The entries of one directory, sorted by name.

    Parameters
    ----------
    entries : dict of str to Entry
    complete : bool
        False if the listing was limited.
    """

    entries: dict[str, Entry]
    complete: bool = True

    @property
    def has_directories(self) -> bool:
        """Whether anything is below one of the entries."""
        return any(entry.directory for entry in self.entries.values())

    @property
    def manifest(self) -> ObjectInfo | None:
        """The object that may be the manifest of an array, if there is one."""
        entry = self.entries.get(MANIFEST)
        return None if entry is None else entry.info


def first_entries(store: Store, branch: str, limit: int | None = None) -> DirectoryListing:
    """List one directory (``''`` or a key that ends in ``/``) with one delimited listing."""
    found = list_directory(store, branch)
    entries: dict[str, Entry] = {}
    for node in islice(found, limit):
        if node.info is None:
            name = node.key[len(branch) : -len(SEPARATOR)]
            entries.setdefault(name, Entry(name)).directory = True
        else:
            name = node.key[len(branch) :]
            entries.setdefault(name, Entry(name)).info = node.info
    complete = limit is None or next(found, None) is None
    return DirectoryListing(dict(sorted(entries.items())), complete)


def list_tree(store: Store, branch: str) -> Iterator[tuple[str, DirectoryListing]]:
    """List everything below a directory with one listing; yield each directory's entries."""
    levels: dict[str, dict[str, Entry]] = {branch: {}}
    for info in scan_objects(store.backend, branch):
        parts = info.key[len(branch) :].split(SEPARATOR)
        above = branch
        for part in parts[:-1]:
            levels[above].setdefault(part, Entry(part)).directory = True
            above += part + SEPARATOR
            levels.setdefault(above, {})
        if parts[-1]:
            levels[above].setdefault(parts[-1], Entry(parts[-1])).info = info
    for key, entries in levels.items():
        yield key, DirectoryListing(dict(sorted(entries.items())))
