"""Paths to folders: found, made and remembered."""

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
    in_folders,
    quoted,
    search,
    titled,
)
from cottoncandy.backends.gdrive.session import Session
from cottoncandy.core.threads import ForkSafeLock
from cottoncandy.exceptions import InvalidNameError

__all__ = ["Folders", "KeyedLocks", "Path", "split_key"]

#: How long a folder's id is believed, in seconds: people move and delete folders in the browser.
_BELIEVED_S = 60.0
_MARK = {"key": "cottoncandy", "value": "folder", "visibility": "PUBLIC"}

Path = tuple[str, ...]


def split_key(key: str) -> Path:
    """Return the names that a key is made of.

    Raises
    ------
    InvalidNameError
        If it cannot be a path on Drive.
    """
    if not key:
        raise InvalidNameError("an object needs a name")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidNameError(f"the name {key!r} is no valid unicode text") from None
    parts = tuple(key.split("/"))
    if not all(map(is_name, parts)):
        raise InvalidNameError(
            f"{key!r} cannot be stored on Google Drive, where names are paths: no '//', no '.' or "
            f"'..' between slashes, no slash at either end, no control characters"
        )
    return parts


def is_name(title: str) -> bool:
    """Tell whether a title can be one part of a key."""
    return (
        title not in ("", ".", "..")
        and "/" not in title
        and not any(character < " " or character == "\x7f" for character in title)
    )


class KeyedLocks:
    """A lock for each thing that somebody holds one of; forgotten when nobody does."""

    def __init__(self) -> None:
        self._guard = ForkSafeLock()
        self._held: dict[Hashable, tuple[ForkSafeLock, int]] = {}

    @contextmanager
    def hold(self, *things: Hashable) -> Iterator[None]:
        """Hold the locks of some things, in an order that everybody keeps."""
        with ExitStack() as stack:
            for thing in sorted(set(things), key=repr):
                stack.enter_context(self._one(thing))
            yield

    @contextmanager
    def _one(self, thing: Hashable) -> Iterator[None]:
        with self._guard:
            lock, users = self._held.get(thing, (ForkSafeLock(), 0))
            self._held[thing] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._held.pop(thing)
                if users > 1:
                    self._held[thing] = lock, users - 1


@dataclass(frozen=True, slots=True)
class _Known:
    ids: tuple[str, ...]
    until: float


class Folders:
    """The folders below the roots of one backend.

    Drive allows several folders of one name side by side. All of them count when objects are
    looked for; new objects go to the oldest.
    """

    def __init__(self, session: Session, clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._clock = clock
        self._known: dict[tuple[Root, Path], _Known] = {}
        self._locks = KeyedLocks()

    def find(self, root: Root, path: Path) -> tuple[str, ...]:
        """Return the ids of the folders at a path, the oldest first; none if there are none."""
        if not path:
            return (root.id,)
        known = self._known.get((root, path))
        if known is not None and known.until > self._clock():
            return known.ids
        parents = self.find(root, path[:-1])
        return self._look(root, path, parents) if parents else ()

    def make(self, root: Root, path: Path) -> str:
        """Return the id of the folder at a path; it and those above are made if need be."""
        found = self.find(root, path)
        if found:
            return found[0]
        parent = self.make(root, path[:-1])
        with self._locks.hold((root, path)):
            # Another thread may have been quicker.
            found = self.find(root, path) or self._look(root, path, (parent,))
            if not found:
                found = (self._insert(root, path, parent),)
                self.remember(root, path, found)
        return found[0]

    def remember(self, root: Root, path: Path, ids: Sequence[str]) -> None:
        """Note where a path leads to."""
        if ids:
            self._known[root, path] = _Known(tuple(ids), self._clock() + _BELIEVED_S)

    def forget(self, root: Root, path: Path, *, above: bool = True) -> None:
        """Forget a path and those below, and those above too: something is not where it was."""
        for known_root, known in list(self._known):
            below = known[: len(path)] == path
            if known_root == root and (below or (above and path[: len(known)] == known)):
                self._known.pop((known_root, known), None)

    def forget_all(self) -> None:
        """Forget everything."""
        self._known.clear()

    def _look(self, root: Root, path: Path, parents: Sequence[str]) -> tuple[str, ...]:
        query = (
            f"{in_folders(parents)} and {titled([path[-1]])} and mimeType = {quoted(FOLDER_TYPE)}"
        )
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
            if fault.status != 409:  # an earlier try got through, only its answer did not
                raise
        return file_id

    # -- tidying up ------------------------------------------------------------------------------

    def prune(self, root: Root, path: Path) -> None:
        """Trash the folder at a path, and those above, while they are empty and ours.

        Only folders that this library made, and never for good: should somebody put a file into
        one at this very moment, it is taken out of the trash again.
        """
        while path:
            ids = self.find(root, path)
            if not ids or not all(self._prune_one(root, folder) for folder in ids):
                return
            self.forget(root, path, above=False)
            path = path[:-1]

    def _prune_one(self, root: Root, folder: str) -> bool:
        session = self._session
        query = in_folders([folder])
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
