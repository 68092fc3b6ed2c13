"""Folders by path and buckets by name: finding, creating and caching them."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakValueDictionary

from cottoncandy.backends.base import BucketInfo
from cottoncandy.backends.gdrive.files import (
    FILE_FIELDS,
    FOLDER_TYPE,
    DriveFile,
    Root,
    fetch,
    folder_query,
    parse_date,
    quoted,
    search,
    title_query,
)
from cottoncandy.backends.gdrive.session import MissingError, Session
from cottoncandy.core.names import encode_key
from cottoncandy.core.threads import ForkSafeLock
from cottoncandy.exceptions import (
    BucketExistsError,
    BucketNotEmptyError,
    BucketNotFoundError,
    ConfigurationError,
    InvalidNameError,
)

#: The default bucket, as in 0.4.0: keys are paths from the top of My Drive.
MY_DRIVE = "My Drive"

#: How long the id of a folder is cached, in seconds: users move and delete folders in the browser.
#: Also how long a name refers to one before shared drives are listed again.
_CACHE_TTL_S = 60.0
#: How deep Drive lets folders be nested.
_MAX_FOLDERS = 100
_MARK = {"key": "cottoncandy", "value": "folder", "visibility": "PUBLIC"}

Path = tuple[str, ...]


def split_key(key: str) -> Path:
    """Split a key into names.

    Raises
    ------
    InvalidNameError
        If it cannot be a path on Drive.
    """
    encode_key(key)  # which raises if it is not text, or empty
    parts = tuple(key.split("/"))
    if not all(map(is_name, parts)) or len(parts) > _MAX_FOLDERS + 1:
        raise InvalidNameError(
            f"{key!r} cannot be stored on Google Drive, where names are paths: no '//', no '.' or "
            f"'..' between slashes, no slash at either end, no control characters, at most "
            f"{_MAX_FOLDERS} folders"
        )
    return parts


def is_name(title: str) -> bool:
    """Return whether a title can be one part of a key."""
    return (
        title not in ("", ".", "..")
        and "/" not in title
        and not any(character < " " or character == "\x7f" for character in title)
    )


def oldest_first(folders: Iterable[DriveFile]) -> tuple[str, ...]:
    """Return the ids of folders with one name, in the order in which they were created."""
    return tuple(each.id for each in sorted(folders, key=lambda each: (each.created, each.id)))


class KeyedLocks:
    """Locks by key; a lock exists while a thread holds it or waits for it."""

    def __init__(self) -> None:
        self._guard = ForkSafeLock()
        self._locks: WeakValueDictionary[Hashable, ForkSafeLock] = WeakValueDictionary()

    @contextmanager
    def hold(self, *keys: Hashable) -> Iterator[None]:
        """Hold the locks of some keys, acquired in an order common to all threads."""
        with ExitStack() as stack:
            for key in sorted(set(keys), key=repr):
                with self._guard:
                    lock = self._locks.setdefault(key, ForkSafeLock())
                stack.enter_context(lock)
            yield


class Folders:
    """The folders below the roots of one backend.

    Drive allows several folders with one name. Objects are looked for in all of them; new ones are
    stored in the oldest.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[tuple[Root, Path], tuple[tuple[str, ...], float]] = {}
        self._locks = KeyedLocks()

    def find(self, root: Root, path: Path) -> tuple[str, ...]:
        """Return the ids of the folders at a path, the oldest first."""
        if not path:
            return (root.id,)
        if len(path) > _MAX_FOLDERS:
            return ()
        ids, until = self._known.get((root, path), ((), 0.0))
        if ids and until > time.monotonic():
            return ids
        query = f"{title_query(path[-1:])} and mimeType = {quoted(FOLDER_TYPE)}"
        found = self.search(root, path[:-1], query, FILE_FIELDS)
        same = [folder for folder in found if folder.title == path[-1]]
        return self.remember(root, path, oldest_first(same))

    def search(self, root: Root, path: Path, terms: str, fields: str) -> list[DriveFile]:
        """Return what matches in the folders at a path; nothing if they do not exist."""
        for _ in range(2):
            ids = self.find(root, path)
            if not ids:
                break
            query = f"{folder_query(ids)} and {terms}"
            try:
                return list(search(self._session, root, query, fields=fields))
            except MissingError:
                if not path:
                    raise
                self.forget()  # deleted by another client
        return []

    def make(self, root: Root, path: Path) -> str:
        """Return the id of the folder at a path; it and those above are created if needed."""
        with self._locks.hold((root, path)):
            found = self.find(root, path)
            if not found:
                own = self._insert(path, self.make(root, path[:-1]))
                # Another client may have created it in the same moment: both choose the oldest.
                found = self.find(root, path) or (own,)
                if found[0] != own:
                    self._session.files("trash", fileId=own, fields="id")
                    found = tuple(each for each in found if each != own)
                self.remember(root, path, found)
        return found[0]

    def remember(self, root: Root, path: Path, ids: tuple[str, ...]) -> tuple[str, ...]:
        """Cache the ids of the folders at a path, if there are any, and return them."""
        if ids:
            self._known[root, path] = ids, time.monotonic() + _CACHE_TTL_S
        return ids

    def forget(self) -> None:
        """Clear the cache: a folder in it is gone, and perhaps those above and below it."""
        self._known.clear()

    def _insert(self, path: Path, parent: str) -> str:
        body = self._session.new_file(path[-1], parent, mimeType=FOLDER_TYPE, properties=[_MARK])
        file_id: str = self._session.create("insert", body, fields="id")["id"]
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
            self._known.pop((root, path), None)
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


class Buckets:
    """Finds the folder of a bucket.

    A name means, in this order: "My Drive" (or the folder given as ``root``); the id of a shared
    drive; the name of one; a folder at the top of My Drive.
    """

    def __init__(self, session: Session, folders: Folders) -> None:
        self._session = session
        self._folders = folders
        self._top: Root | None = None
        self._drives: dict[str, Root] = {}
        self._no_drives: dict[str, float] = {}  # time until which no shared drive has that name
        self._lock = ForkSafeLock()

    def root(self, name: str) -> Root:
        """Return the root of a bucket.

        Raises
        ------
        BucketNotFoundError
        """
        found = self.find(name)
        if found is None:
            raise BucketNotFoundError(
                f"there is no bucket '{name}' on Google Drive: no shared drive has that id or "
                f"name, and no folder at the top of My Drive. cci.show_buckets() lists yours; "
                f"bucket_name='{MY_DRIVE}' is the top itself"
            )
        return found

    def find(self, name: str) -> Root | None:
        """Return the root of a bucket, or None."""
        if name == MY_DRIVE:
            return self._find_top()
        drive = self._drives.get(name)
        known_folder = self._no_drives.get(name, 0.0) > time.monotonic()
        if drive is None and not known_folder:
            drive = self._find_drive(name)
        if drive is not None or not is_name(name):
            return drive
        top = self._find_top()
        ids = self._folders.find(top, (name,))
        if not ids:
            return None
        if not known_folder:
            self._no_drives[name] = time.monotonic() + _CACHE_TTL_S
        return Root(ids[0], top.drive_id)

    def all(self) -> Iterator[BucketInfo]:
        """Yield all buckets."""
        top = self._find_top()
        yield BucketInfo(MY_DRIVE)
        query = f"{folder_query([top.id])} and mimeType = {quoted(FOLDER_TYPE)}"
        for folder in search(self._session, top, query):
            yield BucketInfo(folder.title, parse_date(folder.created))
        for drive in self._list_drives():
            yield BucketInfo(drive["name"], parse_date(drive.get("createdDate", "")))

    def create(self, name: str) -> None:
        """Create a folder at the top of My Drive."""
        if not name or not is_name(name):
            raise InvalidNameError(f"{name!r} cannot be the name of a folder on Google Drive")
        if self.find(name) is not None:
            raise BucketExistsError(f"bucket '{name}' already exists on Google Drive")
        self._folders.make(self._find_top(), (name,))

    def delete(self, name: str) -> None:
        """Trash an empty folder at the top of My Drive."""
        root = self.root(name)
        if name == MY_DRIVE or root.id == root.drive_id:
            raise InvalidNameError(
                f"'{name}' is not a folder that can be removed; remove shared drives in the browser"
            )
        query = folder_query([root.id])
        if next(search(self._session, root, query, page_size=1), None) is not None:
            raise BucketNotEmptyError(f"bucket '{name}' contains files; delete them first")
        self._session.files("trash", fileId=root.id, fields="id")
        self._folders.forget()

    # -- inside ----------------------------------------------------------------------------------

    def _find_top(self) -> Root:
        with self._lock:
            if self._top is None:
                self._top = self._resolve_top(self._session.options.root)
            return self._top

    def _resolve_top(self, option: str) -> Root:
        if option == "root":
            return Root("root")
        if option.startswith("/"):
            ids = self._folders.find(Root("root"), split_key(option.strip("/")))
            if not ids:
                raise ConfigurationError(f"there is no folder {option!r} in My Drive (option root)")
            return Root(ids[0])
        try:
            found = self._session.files("get", fileId=option, fields="id,driveId,mimeType")
        except MissingError as fault:
            raise ConfigurationError(
                f"there is no folder with the id {option!r}, or you may not see it (option root); "
                f"a path begins with '/'"
            ) from fault
        if found["mimeType"] != FOLDER_TYPE:
            raise ConfigurationError(f"{option!r} is the id of a file, not of a folder")
        return Root(found["id"], found.get("driveId"))

    def _find_drive(self, name: str) -> Root | None:
        drives = list(self._list_drives())
        ids = [drive["id"] for drive in drives if drive["id"] == name]
        ids = ids or [drive["id"] for drive in drives if drive["name"] == name]
        if len(ids) > 1:
            raise BucketNotFoundError(
                f"{len(ids)} shared drives are called '{name}'; use the id of one as bucket name: "
                f"{', '.join(ids)}"
            )
        if not ids:
            return None
        self._drives[name] = Root(ids[0], ids[0])
        return self._drives[name]

    def _list_drives(self) -> Iterator[dict[str, Any]]:
        fields = "nextPageToken,items(id,name,createdDate)"
        return self._session.pages(self._session.service.drives(), maxResults=100, fields=fields)
