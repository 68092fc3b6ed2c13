"""Finding objects in a store: everything below a name, one directory, patterns.

The only definition of the keys that a directory consists of.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import NamedTuple
from urllib.parse import unquote

from cottoncandy.backends.base import Backend, CommonPrefix, ObjectInfo
from cottoncandy.core.names import SEPARATOR, prefix_of, spellings
from cottoncandy.core.patterns import NamePattern, PathPattern, Segment, directory_name
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import InvalidNameError, ObjectNotFoundError
from cottoncandy.stores.store import Store


class Node(NamedTuple):
    """One entry of a directory: an object, or a directory, whose ``key`` ends in ``/``."""

    key: str
    info: ObjectInfo | None = None

    @property
    def is_directory(self) -> bool:
        return self.info is None

    @property
    def name(self) -> str:
        """The name that listings return: directories without ``/`` at their end."""
        return directory_name(self.key) if self.is_directory else self.key


# -- prefixes ------------------------------------------------------------------------------------


def scan_objects(backend: Backend, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
    """Yield, lazily, every object whose key starts with a prefix and comes after another one."""
    for entry in backend.scan(prefix, start_after=after):
        if not isinstance(entry, CommonPrefix):
            yield entry


def objects_below(backend: Backend, key: str) -> Iterator[ObjectInfo]:
    """Yield every object below a name, but not the object of that name.

    ``data/exp2`` is not below ``data/exp``; everything is below ``''``. A marker that consoles
    create for a directory (``data/exp/``) is below it.
    """
    return scan_objects(backend, prefix_of(key))


def objects_at(store: Store, key: str, after: str = "") -> Iterator[ObjectInfo]:
    """Yield the object of a name, if it exists, and every object below it, in the order of keys.

    Parameters
    ----------
    after : str, optional
        Only what comes after this key.
    """
    if key > after and not key.endswith(SEPARATOR):
        with suppress(ObjectNotFoundError, InvalidNameError):
            yield store.backend.head(key)
    prefix = prefix_of(key)
    yield from scan_objects(store.backend, prefix, after if after > prefix else "")


def tree(store: Store, key: str) -> list[str]:
    """Return the keys of the object of a name, if it exists, and of all objects below it.

    A name that ends in ``/`` means only the objects below it.
    """
    own = [key] if not key.endswith(SEPARATOR) and store.has_object(key) else []
    return own + [info.key for info in objects_below(store.backend, key)]


# -- directories ---------------------------------------------------------------------------------


def list_directory(store: Store, directory: str, start: str = "") -> Iterator[Node]:
    """Yield the entries of a directory, with one delimited listing.

    Parameters
    ----------
    store : Store
    directory : str
        ``''``, or a key that ends in ``/``.
    start : str, default ''
        Prefix of the entries' names.
    """
    for entry in store.backend.scan(directory + start, delimiter=SEPARATOR):
        if isinstance(entry, CommonPrefix):
            yield Node(entry.prefix)
        elif not entry.key.endswith(SEPARATOR):
            yield Node(entry.key, entry)
        elif entry.key != directory:  # a marker of an empty directory, as consoles create them
            yield Node(entry.key)


def walk(store: Store, directory: str) -> Iterator[Node]:
    """Yield everything below a directory, a directory before its entries, with one flat listing."""
    branch = directory  # of the last object
    for info in scan_objects(store.backend, directory):
        above = info.key[: info.key.rfind(SEPARATOR) + 1]
        if above != branch:
            common = len(posixpath.commonprefix([above, branch]))
            start = above.rfind(SEPARATOR, 0, common) + 1
            while end := above.find(SEPARATOR, start) + 1:
                yield Node(above[:end])
                start = end
            branch = above
        if info.key != above:  # not the marker of a directory
            yield Node(info.key, info)


def unique_names(nodes: Iterable[Node], limit: int | None) -> list[str]:
    """Return the names of nodes, each once, sorted; the first ones listed, if limited."""
    names = (node.name for node in nodes)
    if limit is None:
        return sorted(set(names))
    found: set[str] = set()
    while len(found) < limit and (name := next(names, None)) is not None:
        found.add(name)
    return sorted(found)


# -- patterns ------------------------------------------------------------------------------------


def match_names(
    store: Store, pattern: str, *, unquoted: bool = False
) -> Iterable[tuple[str, ObjectInfo]]:
    """Return the objects whose whole names match a ``glob`` pattern, sorted, with their names."""
    wanted = NamePattern(pattern)
    if not unquoted:
        found = scan_objects(store.backend, wanted.prefix)
        return ((info.key, info) for info in found if wanted.matches(info.key))
    # Any character of a key may be quoted: only a full listing finds them all.
    pairs = ((unquote(info.key), info) for info in scan_objects(store.backend))
    return sorted((pair for pair in pairs if wanted.matches(pair[0])), key=itemgetter(0))


def list_pattern(store: Store, pattern: str, *, limit: int | None, threads: int) -> list[str]:
    """Return the names that match an ``ls`` pattern, level by level."""
    for spelling in spellings(pattern):
        path = PathPattern(spelling.removesuffix(SEPARATOR))
        if path.magic:
            found = _walk(store, path, threads)
        else:
            literal = "/".join(segment.prefix for segment in path.segments)
            found = _directory_or_object(store, literal)
        if names := unique_names(found, limit):
            return names
    return []


def _directory_or_object(store: Store, key: str) -> Iterator[Node]:
    empty = True
    for node in list_directory(store, key + SEPARATOR if key else ""):
        empty = False
        yield node
    if empty and not key.endswith(SEPARATOR) and store.has_object(key):
        yield Node(key, ObjectInfo(key, 0))


def _walk(store: Store, path: PathPattern, threads: int) -> Iterator[Node]:
    """Follow a pattern level by level, through the directories that match."""
    branches = [""]
    for depth, segment in enumerate(path.segments):
        last = depth == len(path.segments) - 1
        if segment.any_depth:
            below = partial(_matches_below, store, path=path, depth=depth)
            yield from _gather(below, branches, threads)
            return
        if segment.literal and not last:
            branches = [f"{branch}{segment.prefix}{SEPARATOR}" for branch in branches]
            continue
        inside = partial(_matches_inside, store, segment=segment)
        nodes = _gather(inside, branches, threads)
        if last:
            yield from nodes
            return
        branches = [node.key for node in nodes if node.is_directory]


def _gather(
    find: Callable[[str], Iterator[Node]], branches: list[str], threads: int
) -> Iterator[Node]:
    """Yield the nodes found in each of some directories; lazily if it is only one."""
    if len(branches) == 1:
        yield from find(branches[0])
        return
    for nodes in map_threads(lambda branch: list(find(branch)), branches, threads):
        yield from nodes


def _matches_inside(store: Store, branch: str, *, segment: Segment) -> Iterator[Node]:
    """Yield the entries of a directory that match one segment."""
    end = f"{branch}{segment.prefix}{SEPARATOR}"
    for node in list_directory(store, branch, segment.prefix):
        name = node.key[len(branch) :]
        if segment.matches(name.removesuffix(SEPARATOR) if node.is_directory else name):
            yield node
        if segment.literal and node.key >= end:
            return


def _matches_below(store: Store, branch: str, *, path: PathPattern, depth: int) -> Iterator[Node]:
    """Yield everything below a directory that matches the segments starting at ``depth``."""
    for node in walk(store, branch):
        names = node.key[len(branch) :].removesuffix(SEPARATOR if node.is_directory else "")
        if path.matches(names.split(SEPARATOR), depth):
            yield node
