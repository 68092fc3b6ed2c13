"""Buckets on Drive: My Drive, its folders at the top, and shared drives."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from typing import Any

from cottoncandy.backends.base import BucketInfo
from cottoncandy.backends.gdrive.errors import DriveApiError
from cottoncandy.backends.gdrive.files import FOLDER_TYPE, Root, folder_query, quoted, search
from cottoncandy.backends.gdrive.folders import Folders, is_name, split_key
from cottoncandy.backends.gdrive.session import Session
from cottoncandy.core.threads import ForkSafeLock
from cottoncandy.exceptions import (
    BucketExistsError,
    BucketNotEmptyError,
    BucketNotFoundError,
    ConfigurationError,
    InvalidNameError,
)

__all__ = ["MY_DRIVE", "Buckets"]

#: The default bucket, as in 0.4.0: keys are paths from the top of My Drive.
MY_DRIVE = "My Drive"

#: How long a name refers to a folder before shared drives are listed again, in seconds.
_CACHE_TTL_S = 60.0


class Buckets:
    """Finds the folder of a bucket.

    A name means, in this order: "My Drive" (or the folder given as ``root``); the id of a shared
    drive; the name of one; a folder at the top of My Drive.
    """

    def __init__(
        self,
        session: Session,
        folders: Folders,
        root: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._session = session
        self._folders = folders
        self._top_option = root
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
        with self._lock:
            drive = self._drives.get(name)
            known_folder = self._no_drives.get(name, 0.0) > self._clock()
        if drive is None and not known_folder:
            drive = self._find_drive(name)
        if drive is not None or not is_name(name):
            return drive
        top = self._find_top()
        ids = self._folders.find(top, (name,))
        if not ids:
            return None
        if not known_folder:
            with self._lock:
                self._no_drives[name] = self._clock() + _CACHE_TTL_S
        return Root(ids[0], top.drive_id)

    def all(self) -> Iterator[BucketInfo]:
        """Yield all buckets."""
        top = self._find_top()
        yield BucketInfo(MY_DRIVE)
        query = f"{folder_query([top.id])} and mimeType = {quoted(FOLDER_TYPE)}"
        for folder in search(self._session, top, query):
            yield BucketInfo(folder.title, _date(folder.created))
        for drive in self._list_drives():
            yield BucketInfo(drive["name"], _date(drive.get("createdDate", "")))

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
        self._folders.forget_all()

    # -- inside ----------------------------------------------------------------------------------

    def _find_top(self) -> Root:
        with self._lock:
            if self._top is None:
                self._top = self._resolve_top(self._top_option)
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
        except DriveApiError as fault:
            if fault.status != 404:
                raise
            raise ConfigurationError(
                f"there is no folder with the id {option!r}, or you may not see it (option root); "
                f"a path begins with '/'"
            ) from fault
        if found["mimeType"] != FOLDER_TYPE:
            raise ConfigurationError(f"{option!r} is the id of a file, not of a folder")
        return Root(found["id"], found.get("driveId"))

    def _find_drive(self, name: str) -> Root | None:
        named = []
        for drive in self._list_drives():
            if drive["id"] == name:
                return self._remember(name, drive["id"])
            if drive["name"] == name:
                named.append(drive["id"])
        if len(named) > 1:
            raise BucketNotFoundError(
                f"{len(named)} shared drives are called '{name}'; use the id of one as bucket "
                f"name: {', '.join(named)}"
            )
        return self._remember(name, named[0]) if named else None

    def _remember(self, name: str, drive_id: str) -> Root:
        root = Root(drive_id, drive_id)
        with self._lock:
            self._drives[name] = root
        return root

    def _list_drives(self) -> Iterator[dict[str, Any]]:
        fields = "nextPageToken,items(id,name,createdDate)"
        return self._session.pages(self._session.drives, maxResults=100, fields=fields)


def _date(text: str) -> datetime.datetime | None:
    return datetime.datetime.fromisoformat(text) if text else None
