"""What is in a directory: one listing, remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from cottoncandy.backends.base import CommonPrefix, ObjectInfo
from cottoncandy.core.names import SEPARATOR

if TYPE_CHECKING:
    from cottoncandy.interfaces import BasicInterface

__all__ = ["MANIFEST", "DirectoryListing", "Entry", "list_directory", "list_tree"]

#: What describes the array or matrix that a directory holds the parts of.
MANIFEST = "metadata.json"


@dataclass(slots=True)
class Entry:
    """One name in a directory: an object, a directory, or both at once.

    Parameters
    ----------
    name : str
        Its name in the directory, without slashes.
    directory : bool
        Whether there is anything below it.
    info : ObjectInfo, optional
        What the listing says of the object of that name, if there is one.
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
        False where the listing was cut short.
    """

    entries: dict[str, Entry]
    complete: bool = True


def list_directory(
    interface: BasicInterface, branch: str, limit: int | None = None
) -> DirectoryListing:
    """List one directory (``''`` or a key that ends in ``/``) with one delimited listing."""
    found = interface.backend_interface.scan(branch, delimiter=SEPARATOR)
    entries: dict[str, Entry] = {}
    for scanned in found if limit is None else islice(found, limit):
        if isinstance(scanned, CommonPrefix):
            name = scanned.prefix[len(branch) : -len(SEPARATOR)]
            entries.setdefault(name, Entry(name)).directory = True
        elif scanned.key.endswith(SEPARATOR):
            # A marker of the directory itself ('' in it), or of one in it.
            if scanned.key != branch:
                name = scanned.key[len(branch) : -len(SEPARATOR)]
                entries.setdefault(name, Entry(name)).directory = True
        else:
            name = scanned.key[len(branch) :]
            entries.setdefault(name, Entry(name)).info = scanned
    complete = limit is None or next(found, None) is None
    return DirectoryListing(_sorted(entries), complete)


def list_tree(interface: BasicInterface, branch: str) -> Iterator[tuple[str, DirectoryListing]]:
    """List all that is below a directory with one listing; yield each directory's level."""
    levels: dict[str, dict[str, Entry]] = {branch: {}}
    for info in _objects(interface, branch):
        parts = info.key[len(branch) :].split(SEPARATOR)
        above = branch
        for part in parts[:-1]:
            levels[above].setdefault(part, Entry(part)).directory = True
            above += part + SEPARATOR
            levels.setdefault(above, {})
        if parts[-1]:
            levels[above].setdefault(parts[-1], Entry(parts[-1])).info = info
    for key, entries in levels.items():
        yield key, DirectoryListing(_sorted(entries))


def _objects(interface: BasicInterface, branch: str) -> Iterable[ObjectInfo]:
    for scanned in interface.backend_interface.scan(branch):
        if not isinstance(scanned, CommonPrefix):
            yield scanned


def _sorted(entries: dict[str, Entry]) -> dict[str, Entry]:
    return dict(sorted(entries.items()))
