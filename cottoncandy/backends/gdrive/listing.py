"""Listings: a walk through the folders in the order of keys, lazily."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cottoncandy.backends.base import CommonPrefix, ObjectInfo
from cottoncandy.backends.gdrive.errors import DriveApiError
from cottoncandy.backends.gdrive.files import DriveFile, Root, folder_query, search
from cottoncandy.backends.gdrive.folders import Folders, Path, is_name
from cottoncandy.backends.gdrive.session import Session
from cottoncandy.exceptions import BucketNotFoundError

__all__ = ["Listing"]

_log = logging.getLogger(__name__)


@dataclass
class _Entry:
    """The files and folders with one name in one folder; the newest file is the object."""

    files: list[DriveFile] = field(default_factory=list)
    folders: list[DriveFile] = field(default_factory=list)


class Listing:
    """Lists objects below one root; requests are sent as the result is iterated.

    A folder is read completely, because Drive does not sort names by their bytes; folders that
    cannot contain a match are skipped.
    """

    def __init__(
        self,
        session: Session,
        folders: Folders,
        root: Root,
        *,
        prefix: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> None:
        self._session = session
        self._folders = folders
        self._root = root
        self._prefix = prefix.encode()
        self._after = start_after.encode()
        self._page_size = page_size
        self._path = tuple(prefix.split("/")[:-1])

    def objects(self) -> Iterator[ObjectInfo]:
        """Yield all objects that match."""
        if all(map(is_name, self._path)):
            ids = self._folders.find(self._root, self._path)
            if ids:
                yield from self._walk(self._path, ids)

    def level(self) -> Iterator[ObjectInfo | CommonPrefix]:
        """Yield the objects of one folder, and its folders as prefixes."""
        if not all(map(is_name, self._path)):
            return
        ids = self._folders.find(self._root, self._path)
        for name, entry in self._read(self._path, ids) if ids else ():
            key = _key(self._path, name) + (b"" if isinstance(entry, DriveFile) else b"/")
            if not key.startswith(self._prefix):
                continue
            if isinstance(entry, DriveFile):
                if key > self._after:
                    yield entry.info(key.decode(), with_metadata=False)
            elif key > self._after or self._has_later_objects(key, name, entry):
                yield CommonPrefix(key.decode())

    def _has_later_objects(self, key: bytes, name: str, folders: Sequence[DriveFile]) -> bool:
        """Return whether a folder contains an object after ``start_after``, which is below it."""
        if not self._after.startswith(key):
            return False
        path = (*self._path, name)
        return next(self._walk(path, [folder.id for folder in folders]), None) is not None

    def _walk(self, path: Path, ids: Sequence[str]) -> Iterator[ObjectInfo]:
        for name, entry in self._read(path, ids):
            key = _key(path, name)
            if isinstance(entry, DriveFile):
                if key.startswith(self._prefix) and key > self._after:
                    yield entry.info(key.decode(), with_metadata=False)
                continue
            key += b"/"
            matches = key.startswith(self._prefix) or self._prefix.startswith(key)
            if matches and (key > self._after or self._after.startswith(key)):
                yield from self._walk((*path, name), [folder.id for folder in entry])

    def _read(
        self, path: Path, ids: Sequence[str]
    ) -> list[tuple[str, DriveFile | list[DriveFile]]]:
        """Return the entries of folders with one name, in the order of keys."""
        entries: dict[str, _Entry] = {}
        try:
            for file in search(
                self._session, self._root, folder_query(ids), page_size=self._page_size
            ):
                self._sort_in(entries, file, path)
        except DriveApiError as fault:
            if fault.status != 404:
                raise
            if not path:
                self._folders.forget_all()
                raise BucketNotFoundError(
                    "the folder or shared drive of the bucket no longer exists on Google Drive"
                ) from fault
            self._folders.forget(self._root, path)  # deleted since it was found
            return []
        found: list[tuple[bytes, str, DriveFile | list[DriveFile]]] = []
        for name, entry in entries.items():
            if entry.files:
                found.append(
                    (name.encode(), name, max(entry.files, key=lambda file: file.recency_key))
                )
            if entry.folders:
                entry.folders.sort(key=lambda folder: (folder.created, folder.id))
                self._folders.remember(
                    self._root, (*path, name), [folder.id for folder in entry.folders]
                )
                found.append((name.encode() + b"/", name, entry.folders))
        found.sort(key=lambda item: item[0])
        return [(name, entry) for _, name, entry in found]

    def _sort_in(self, entries: dict[str, _Entry], file: DriveFile, path: Path) -> None:
        if not (file.is_folder or file.is_object):
            return  # Google's own documents have no bytes
        if not is_name(file.title):
            _log.warning(
                "Google Drive: the file or folder %r (id %s) in '%s' cannot be a key and is "
                "skipped; rename it in the browser",
                file.title,
                file.id,
                "/".join(path),
            )
            return
        entry = entries.setdefault(file.title, _Entry())
        (entry.folders if file.is_folder else entry.files).append(file)


def _key(path: Path, name: str) -> bytes:
    return "/".join((*path, name)).encode()
