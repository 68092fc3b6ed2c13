"""Objects by key: finding, listing, storing, copying, renaming and removing their files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import Any

from cottoncandy.backends.base import CommonPrefix, ObjectInfo
from cottoncandy.backends.gdrive.files import (
    HEAD_FIELDS,
    DriveFile,
    Root,
    fetch,
    folder_query,
    search,
    title_query,
)
from cottoncandy.backends.gdrive.folders import Folders, Path, is_name, oldest_first
from cottoncandy.backends.gdrive.properties import pack, private
from cottoncandy.backends.gdrive.session import DriveError, MissingError, Session
from cottoncandy.backends.gdrive.upload import upload
from cottoncandy.core.buffers import Body
from cottoncandy.core.threads import ForkSafeLock
from cottoncandy.exceptions import BucketNotFoundError, ObjectNotFoundError, StoreError

_log = logging.getLogger(__name__)

#: How many writes are recorded, because Drive's search may lag behind them.
_MAX_RECENT_WRITES = 10_000
_DEFAULT_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class DriveLocation:
    """The location of a key: a path below the root of a bucket."""

    bucket: str = field(compare=False, repr=False)  # several names may mean one root
    root: Root
    path: Path

    @property
    def key(self) -> str:
        """The key."""
        return "/".join(self.path)

    @property
    def folder(self) -> Path:
        """The path of the folder."""
        return self.path[:-1]

    def __str__(self) -> str:
        return f"object '{self.key}' in '{self.bucket}' on Google Drive"


class Objects:
    """Finds and changes the files that have a key.

    Errors are Drive's own (:class:`DriveError`).
    """

    def __init__(self, session: Session, folders: Folders) -> None:
        self._session = session
        self._folders = folders
        self._written: dict[DriveLocation, str] = {}  # ids of files, the oldest first
        self._warned: set[tuple[str, ...]] = set()
        self._lock = ForkSafeLock()

    def find(self, location: DriveLocation) -> list[DriveFile]:
        """Return the files that have the key; the first one is the object.

        Sends one request if the folder is cached.
        """
        return self.find_together([location])[location.path]

    def need(self, location: DriveLocation) -> list[DriveFile]:
        """Return the files that have the key, or raise ObjectNotFoundError."""
        found = self.find(location)
        if not found:
            raise ObjectNotFoundError(f"there is no {location}")
        return found

    def find_together(self, locations: Sequence[DriveLocation]) -> dict[Path, list[DriveFile]]:
        """Do the same for some keys in one folder, with one request."""
        found: dict[Path, list[DriveFile]] = {location.path: [] for location in locations}
        root, folder = locations[0].root, locations[0].folder
        query = title_query(location.path[-1] for location in locations)
        for file in self._folders.search(root, folder, query, HEAD_FIELDS):
            files = found.get((*folder, file.title))
            # Drive compares names without regard to case.
            if files is not None and file.is_object:
                files.append(file)
        for location in locations:
            files = self._with_written(location, found[location.path])
            files.sort(key=lambda file: file.recency_key, reverse=True)
            found[location.path] = files
            if len(files) > 1:
                self._warn(location, files)
        return found

    def record_write(self, location: DriveLocation, file_id: str) -> None:
        """Record that a file is at a location, because Drive's search may not find it yet."""
        with self._lock:
            self._written.pop(location, None)
            self._written[location] = file_id
            if len(self._written) > _MAX_RECENT_WRITES:
                del self._written[next(iter(self._written))]

    def record_removal(self, location: DriveLocation) -> None:
        """Record that no file is at a location any more."""
        with self._lock:
            self._written.pop(location, None)

    def move_to_live_folder(self, location: DriveLocation, file: DriveFile) -> DriveFile:
        """Move a file whose folder was trashed during the upload to one that exists."""
        for _ in range(5):
            if not file.trashed:
                self.record_write(location, file.id)
                return file
            self._folders.forget()
            folder = self._folders.make(location.root, location.folder)
            if folder in file.parents:
                break
            file = self._patch(file, folder, body={})
        raise StoreError(
            f"{location} was stored in a folder that another client keeps moving to the trash; it "
            f"is the file with the id {file.id}"
        )

    # -- inside ----------------------------------------------------------------------------------

    def _with_written(self, location: DriveLocation, found: list[DriveFile]) -> list[DriveFile]:
        """Add a recently written file, if the search does not find it yet."""
        file_id = self._written.get(location)
        if file_id is None or any(file.id == file_id for file in found):
            return found
        with suppress(MissingError):
            file = fetch(self._session, file_id)
            folders = self._folders.find(location.root, location.folder)
            # The alias of the top of My Drive never occurs as the id of a parent.
            inside = not location.folder or not set(folders).isdisjoint(file.parents)
            if not file.trashed and file.title == location.path[-1] and inside:
                return [*found, file]
        self.record_removal(location)
        return found

    def _warn(self, location: DriveLocation, files: list[DriveFile]) -> None:
        ids = tuple(file.id for file in files)
        if ids in self._warned:
            return
        self._warned.add(ids)
        _log.warning(
            "%s: %d files have this name; the one modified last is used (id %s). Remove or rename "
            "the others in the browser (ids %s)",
            location,
            len(ids),
            ids[0],
            ", ".join(ids[1:]),
        )

    # -- changes; each request is idempotent -------------------------------------------------------

    def store(
        self,
        location: DriveLocation,
        present: DriveFile | None,
        body: Body,
        metadata: Mapping[str, str],
        content_type: str | None,
    ) -> tuple[DriveFile, str]:
        """Store a new file, or give the present one new content and metadata in one request.

        Returns
        -------
        file : DriveFile
        md5 : str
            MD5 of what was sent.
        """
        names = () if present is None else present.property_names
        resource: dict[str, Any] = {
            "mimeType": content_type or _DEFAULT_TYPE,
            "properties": pack(metadata, names, key=location.key),
        }
        if present is not None:
            options = {"fileId": present.id}
            file, md5 = upload(self._session, "update", resource, body, str(location), **options)
            self._clear(location, file)
            return file, md5
        folder = self._folders.make(location.root, location.folder)
        resource |= self._session.new_file(location.path[-1], folder)
        try:
            return upload(self._session, "insert", resource, body, str(location))
        except DriveError as fault:
            if fault.status == 404:
                self._folders.forget()  # the folder was deleted
            if fault.status != 409:
                raise
            # An earlier attempt succeeded, but its response was lost.
            file = fetch(self._session, resource["id"])
            return file, file.md5 or ""

    def _clear(self, location: DriveLocation, file: DriveFile) -> None:
        """Remove the private properties of a version that cottoncandy 0.4.0 wrote."""
        for key in private(file.property_names):
            try:
                self._session.call(
                    self._session.service.properties().delete(
                        fileId=file.id, propertyKey=key, visibility="PRIVATE"
                    )
                )
            except DriveError as fault:
                # The new ones are stored, and take precedence.
                _log.info("keeping an old property of %s: %s", location, fault)

    def remove(self, file_id: str, permanently: bool) -> None:
        """Delete or trash a file that may no longer exist."""
        with suppress(MissingError):
            self._session.files("delete" if permanently else "trash", fileId=file_id)

    def rename(self, file: DriveFile, target: DriveLocation) -> DriveFile:
        """Move a file to another location, with its id, sharing and history."""
        folder = self._folders.make(target.root, target.folder)
        if folder == "root":  # an alias, which is not the id that the file has for it
            folder = fetch(self._session, folder, "id").id
        # If two files have the name, the one modified last is the object.
        title = {"title": target.path[-1]}
        return self._patch(file, folder, body=title, modifiedDateBehavior="now")

    def _patch(self, file: DriveFile, folder: str, **changes: Any) -> DriveFile:
        """Change the description of a file and move it to a folder, in one request."""
        if folder not in file.parents:
            changes |= {"addParents": folder, "removeParents": ",".join(file.parents)}
        answer = self._session.files("patch", fileId=file.id, fields=HEAD_FIELDS, **changes)
        return DriveFile.of(answer)

    def duplicate(self, file: DriveFile, target: DriveLocation) -> DriveFile:
        """Copy a file on the server, with metadata."""
        folder = self._folders.make(target.root, target.folder)
        body = self._session.new_file(
            target.path[-1],
            folder,
            mimeType=file.mime_type,
            properties=pack(file.entries(target.key), file.property_names, key=target.key),
        )
        answer = self._session.create("copy", body, fileId=file.id, fields=HEAD_FIELDS)
        copied = DriveFile.of(answer)
        self._clear(target, copied)
        return copied


@dataclass(slots=True)
class Listing:
    """Lists objects below one root; requests are sent as the result is iterated.

    A folder is read completely, because Drive does not sort names by their bytes; folders that
    cannot contain a match are skipped.
    """

    session: Session
    folders: Folders
    root: Root
    prefix: str
    after: str
    page_size: int | None

    def entries(self, *, by_folder: bool) -> Iterator[ObjectInfo | CommonPrefix]:
        """Yield the objects that match; if ``by_folder``, folders as prefixes, in one folder."""
        path = tuple(self.prefix.split("/")[:-1])
        if all(map(is_name, path)) and (ids := self.folders.find(self.root, path)):
            yield from self._walk(path, ids, by_folder)

    def _walk(
        self, path: Path, ids: tuple[str, ...], by_folder: bool = False
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        for key, entry in self._read(path, ids):
            matches, later = key.startswith(self.prefix), key > self.after
            if isinstance(entry, DriveFile):
                if matches and later:
                    yield entry.info(key, with_metadata=False)
                continue
            if not later and not self.after.startswith(key):
                continue
            below = self._walk(_path(key), entry)
            if by_folder:
                # A folder that start_after is in may have no later objects.
                if matches and (later or next(below, None) is not None):
                    yield CommonPrefix(key)
            elif matches or self.prefix.startswith(key):
                yield from below

    def _read(
        self, path: Path, ids: tuple[str, ...]
    ) -> list[tuple[str, DriveFile | tuple[str, ...]]]:
        """Return the entries of folders with one name, in the order of keys.

        An entry is the newest of the files with one name, or the ids of the folders with one name,
        whose key ends with a slash.
        """
        files: dict[str, DriveFile] = {}
        folders: dict[str, list[DriveFile]] = {}
        query = folder_query(ids)
        try:
            for file in search(self.session, self.root, query, page_size=self.page_size):
                if not self._is_entry(file, path):
                    continue
                key = "/".join((*path, file.title))
                if file.is_folder:
                    folders.setdefault(key + "/", []).append(file)
                else:
                    files[key] = max(files.get(key, file), file, key=attrgetter("recency_key"))
        except MissingError as fault:
            self.folders.forget()  # deleted since it was found
            if path:
                return []
            raise BucketNotFoundError(
                "the folder or shared drive of the bucket no longer exists on Google Drive"
            ) from fault
        known = {
            key: self.folders.remember(self.root, _path(key), oldest_first(same))
            for key, same in folders.items()
        }
        return sorted([*files.items(), *known.items()], key=itemgetter(0))

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


def _path(key: str) -> Path:
    """Return the path of a folder's key, which ends with a slash."""
    return tuple(key[:-1].split("/"))
