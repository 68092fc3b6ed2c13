"""Listings: a walk through the folders in the order of keys, lazily."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cottoncandy.backends.base import CommonPrefix, ObjectInfo
from cottoncandy.backends.gdrive.files import DriveFile, Root, folder_query, search
from cottoncandy.backends.gdrive.folders import Folders, Path, is_name
from cottoncandy.backends.gdrive.session import MissingError, Session
from cottoncandy.exceptions import BucketNotFoundError

__all__ = ["Listing"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Listing:
    """Lists objects below one root; requests are sent as the result is iterated.

    A folder is read completely, because Drive does not sort names by their bytes; folders that
    cannot contain a match are skipped.
    """

    session: Session
    folders: Folders
    root: Root
    prefix: bytes
    after: bytes
    page_size: int | None

    def entries(self, *, by_folder: bool) -> Iterator[ObjectInfo | CommonPrefix]:
        """Yield the objects that match; if ``by_folder``, folders as prefixes, in one folder."""
        path = tuple(self.prefix.decode().split("/")[:-1])
        if all(map(is_name, path)) and (ids := self.folders.find(self.root, path)):
            yield from self._walk(path, ids, by_folder)

    def _walk(
        self, path: Path, ids: Sequence[str], by_folder: bool = False
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        for key, entry in self._read(path, ids):
            matches, later = key.startswith(self.prefix), key > self.after
            if isinstance(entry, DriveFile):
                if matches and later:
                    yield entry.info(key.decode(), with_metadata=False)
                continue
            if not later and not self.after.startswith(key):
                continue
            below = self._walk(_path(key), [folder.id for folder in entry])
            if by_folder:
                # A folder that start_after is in may have no later objects.
                if matches and (later or next(below, None) is not None):
                    yield CommonPrefix(key.decode())
            elif matches or self.prefix.startswith(key):
                yield from below

    def _read(
        self, path: Path, ids: Sequence[str]
    ) -> list[tuple[bytes, DriveFile | list[DriveFile]]]:
        """Return the entries of folders with one name, in the order of keys.

        An entry is the newest of the files with one name, or the folders with one name, whose key
        ends with a slash.
        """
        files: dict[bytes, DriveFile] = {}
        folders: dict[bytes, list[DriveFile]] = {}
        query = folder_query(ids)
        try:
            for file in search(self.session, self.root, query, page_size=self.page_size):
                if not self._is_entry(file, path):
                    continue
                key = "/".join((*path, file.title)).encode()
                if file.is_folder:
                    folders.setdefault(key + b"/", []).append(file)
                else:
                    files[key] = max(files.get(key, file), file, key=lambda f: f.recency_key)
        except MissingError as fault:
            if not path:
                self.folders.forget_all()
                raise BucketNotFoundError(
                    "the folder or shared drive of the bucket no longer exists on Google Drive"
                ) from fault
            self.folders.forget(self.root, path)  # deleted since it was found
            return []
        for key, same in folders.items():
            same.sort(key=lambda folder: (folder.created, folder.id))
            self.folders.remember(self.root, _path(key), [folder.id for folder in same])
        found: list[tuple[bytes, DriveFile | list[DriveFile]]] = [*files.items(), *folders.items()]
        return sorted(found, key=lambda item: item[0])

    def _is_entry(self, file: DriveFile, path: Path) -> bool:
        if not (file.is_folder or file.is_object):
            return False  # Google's own documents have no bytes
        if not is_name(file.title):
            _log.warning(
                "Google Drive: the file or folder %r (id %s) in '%s' cannot be a key and is "
                "skipped; rename it in the browser",
                file.title,
                file.id,
                "/".join(path),
            )
            return False
        return True


def _path(key: bytes) -> Path:
    """Return the path of a folder's key, which ends with a slash."""
    return tuple(key[:-1].decode().split("/"))
