"""Contents of directories, to be cached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from cottoncandy.backends.base import ObjectInfo
from cottoncandy.core.names import SEPARATOR
from cottoncandy.stores.finding import list_directory, scan_objects
from cottoncandy.stores.store import Store


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
