"""Folders by path: finding, creating and caching them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from cottoncandy.backends.gdrive.errors import DriveApiError
from cottoncandy.backends.gdrive.files import (
    FOLDER_TYPE,
    Root,
    fetch,
    folder_query,
    quoted,
    search,
    title_query,
)
from cottoncandy.backends.gdrive.session import Session
from cottoncandy.core.threads import ForkSafeLock
from cottoncandy.exceptions import InvalidNameError

__all__ = ["Folders", "KeyedLocks", "Path", "split_key"]

#: How long the id of a folder is cached, in seconds: users move and delete folders in the browser.
_CACHE_TTL_S = 60.0
_MARK = {"key": "cottoncandy", "value": "folder", "visibility": "PUBLIC"}

Path = tuple[str, ...]


def split_key(key: str) -> Path:
    """Split a key into names.

    Raises
    ------
    InvalidNameError
        If it cannot be a path on Drive.
    """
    if not key:
        raise InvalidNameError("an object name must not be empty")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidNameError(f"the name {key!r} is not valid Unicode text") from None
    parts = tuple(key.split("/"))
    if not all(map(is_name, parts)):
        raise InvalidNameError(
            f"{key!r} cannot be stored on Google Drive, where names are paths: no '//', no '.' or "
            f"'..' between slashes, no slash at either end, no control characters"
        )
    return parts


def is_name(title: str) -> bool:
    """Return whether a title can be one part of a key."""
    return (
        title not in ("", ".", "..")
        and "/" not in title
        and not any(character < " " or character == "\x7f" for character in title)
    )


class KeyedLocks:
    """Locks by key; a lock exists while a thread holds it or waits for it."""

    def __init__(self) -> None:
        self._guard = ForkSafeLock()
        self._held: dict[Hashable, tuple[ForkSafeLock, int]] = {}

    @contextmanager
    def hold(self, *keys: Hashable) -> Iterator[None]:
        """Hold the locks of some keys, acquired in an order common to all threads."""
        with ExitStack() as stack:
            for lock_key in sorted(set(keys), key=repr):
                stack.enter_context(self._one(lock_key))
            yield

    @contextmanager
    def _one(self, lock_key: Hashable) -> Iterator[None]:
        with self._guard:
            lock, users = self._held.get(lock_key, (ForkSafeLock(), 0))
            self._held[lock_key] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._held.pop(lock_key)
                if users > 1:
                    self._held[lock_key] = lock, users - 1


@dataclass(frozen=True, slots=True)
class _CacheEntry:
    ids: tuple[str, ...]
    until: float


class Folders:
    """The folders below the roots of one backend.

    Drive allows several folders with one name. Objects are looked for in all of them; new ones are
    stored in the oldest.
    """

    def __init__(self, session: Session, clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._clock = clock
        self._known: dict[tuple[Root, Path], _CacheEntry] = {}
        self._locks = KeyedLocks()

    def find(self, root: Root, path: Path) -> tuple[str, ...]:
        """Return the ids of the folders at a path, the oldest first."""
        if not path:
            return (root.id,)
        known = self._known.get((root, path))
        if known is not None and known.until > self._clock():
            return known.ids
        parents = self.find(root, path[:-1])
        return self._look(root, path, parents) if parents else ()

    def make(self, root: Root, path: Path) -> str:
        """Return the id of the folder at a path; it and those above are created if needed."""
        found = self.find(root, path)
        if found:
            return found[0]
        parent = self.make(root, path[:-1])
        with self._locks.hold((root, path)):
            # Another thread may have created it.
            found = self.find(root, path) or self._look(root, path, (parent,))
            if not found:
                found = (self._insert(root, path, parent),)
                self.remember(root, path, found)
        return found[0]

    def remember(self, root: Root, path: Path, ids: Sequence[str]) -> None:
        """Cache the ids of the folders at a path."""
        if ids:
            self._known[root, path] = _CacheEntry(tuple(ids), self._clock() + _CACHE_TTL_S)

    def forget(self, root: Root, path: Path, *, above: bool = True) -> None:
        """Drop a path from the cache, those below it and, by default, those above it."""
        for known_root, known in list(self._known):
            below = known[: len(path)] == path
            if known_root == root and (below or (above and path[: len(known)] == known)):
                self._known.pop((known_root, known), None)

    def forget_all(self) -> None:
        """Clear the cache."""
        self._known.clear()

    def _look(self, root: Root, path: Path, parents: Sequence[str]) -> tuple[str, ...]:
        query = f"{folder_query(parents)} and {title_query([path[-1]])}"
        query += f" and mimeType = {quoted(FOLDER_TYPE)}"
        try:
            found = [
                folder for folder in search(self._session, root, query) if folder.title == path[-1]
            ]
        except DriveApiError as fault:
            if fault.status != 404 or len(path) == 1:
                raise
            self.forget(root, path[:-1])  # a folder above is gone
            return ()
        found.sort(key=lambda folder: (folder.created, folder.id))
        ids = tuple(folder.id for folder in found)
        self.remember(root, path, ids)
        return ids

    def _insert(self, root: Root, path: Path, parent: str) -> str:
        file_id = self._session.new_id()
        body = {
            "id": file_id,
            "title": path[-1],
            "mimeType": FOLDER_TYPE,
            "parents": [{"id": parent}],
            "properties": [_MARK],
        }
        try:
            self._session.files("insert", body=body, fields="id")
        except DriveApiError as fault:
            if fault.status != 409:  # an earlier attempt succeeded, but its response was lost
                raise
        return file_id

    # -- removal ---------------------------------------------------------------------------------

    def prune(self, root: Root, path: Path) -> None:
        """Trash the folder at a path, and those above, if they are empty and cottoncandy's.

        They are never deleted permanently: if another client stores a file in one at this moment,
        the folder is restored from the trash.
        """
        while path:
            ids = self.find(root, path)
            if not ids or not all(self._prune_one(root, folder) for folder in ids):
                return
            self.forget(root, path, above=False)
            path = path[:-1]

    def _prune_one(self, root: Root, folder: str) -> bool:
        session = self._session
        query = folder_query([folder])
        if next(search(session, root, query, fields="id", page_size=1), None) is not None:
            return False
        if (_MARK["key"], _MARK["visibility"]) not in fetch(session, folder).property_names:
            return False
        session.files("trash", fileId=folder, fields="id")
        late = search(session, root, f"{quoted(folder)} in parents")
        if any(not child.explicitly_trashed for child in late):
            session.files("untrash", fileId=folder, fields="id")
            return False
        return True
