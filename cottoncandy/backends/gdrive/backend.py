"""The Google Drive backend."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

from pydrive2.drive import GoogleDrive

from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    BucketInfo,
    Capabilities,
    CommonPrefix,
    ConnectionArguments,
    DeleteResult,
    IfAbsent,
    MetadataLimits,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
    group_by_delimiter,
)
from cottoncandy.backends.gdrive.auth import GDriveOptions
from cottoncandy.backends.gdrive.files import DriveFile
from cottoncandy.backends.gdrive.folders import (
    MY_DRIVE,
    Buckets,
    Folders,
    KeyedLocks,
    Path,
    split_key,
)
from cottoncandy.backends.gdrive.objects import DriveLocation, Listing, Objects
from cottoncandy.backends.gdrive.properties import MAX_METADATA_BYTES, pack
from cottoncandy.backends.gdrive.reader import DriveReader
from cottoncandy.backends.gdrive.session import Session, translating
from cottoncandy.backends.remote import RemoteBackend
from cottoncandy.core.buffers import Body
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    InvalidNameError,
    UnsupportedOperationError,
)

_log = logging.getLogger(__name__)

#: Number of keys that are looked up before any of them is deleted, and of names in one query.
_DELETED_AT_ONCE = 200
_NAMES_AT_ONCE = 25

#: The files that a key has, or why they cannot be found.
_Found = tuple[DriveLocation, list[DriveFile] | CottonCandyError]


class GDriveBackend(RemoteBackend):
    """Objects as files on Google Drive, through pydrive2 and the Drive API v2.

    Parameters
    ----------
    options : GDriveOptions
    bucket_name : str, optional
        "My Drive", a folder at its top, or a shared drive (its id or name).

    Notes
    -----
    Reading a small object takes two requests: one finds the file and returns its metadata, one
    returns the body; Drive cannot do both at once. Storing one takes two as well. The first use of
    a folder takes one request for each part of its path.
    """

    name: ClassVar[str] = "gdrive"
    connection_class = Session
    _connection: Session
    uses_default_bucket: ClassVar[bool] = False
    capabilities: ClassVar[Capabilities] = Capabilities(
        owners=True,
        trash=True,
        any_key=False,
        stored_checksum="md5",
        headers=frozenset({"content_encoding", "cache_control", "storage_class"}),
        metadata=MetadataLimits(MAX_METADATA_BYTES),
    )

    def __init__(self, options: GDriveOptions, bucket_name: str | None = MY_DRIVE) -> None:
        super().__init__(options, bucket_name)
        self._folders = Folders(self._connection)
        self._objects = Objects(self._connection, self._folders)
        self._buckets = Buckets(self._connection, self._folders)
        self._locks = KeyedLocks()

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        return cls(GDriveOptions.of(arguments), arguments.bucket_name or MY_DRIVE)

    def status_message(self) -> str:
        return "Google Drive backend instantiated."

    def describe(self) -> str:
        return f"bucket:{self.bucket_name} on Google Drive"

    # -- objects ---------------------------------------------------------------------------------

    def get(
        self, key: str, *, threads: int = 4, prefetch: bool | tuple[int, int] = True, tail: int = 0
    ) -> ObjectReader:
        location, file = self._find(key)
        return DriveReader(self._connection, file, location, threads)

    def put(
        self, key: str, body: Body, options: PutOptions = DEFAULT_OPTIONS, *, threads: int = 4
    ) -> PutResult:
        options = self._checked(key, options)
        entries = replace(options, content_type=None).entries
        pack(entries, key=key)  # before anything is sent
        location = self._locate(key)
        with translating(str(location)), self._locks.hold(location):
            present = self._objects.find(location)
            if options.condition is not None:
                etag = (present[0].md5 or "") if present else None
                options.condition.check(etag, str(location))
            file, md5 = self._objects.store(
                location, next(iter(present), None), body, entries, options.content_type
            )
            file = self._objects.move_to_live_folder(location, file)
        if file.md5 is not None and file.md5 != md5:
            raise IntegrityError(
                f"{location} arrived damaged: Google Drive has the MD5 {file.md5}, and {md5} was "
                f"sent; upload it again"
            )
        return PutResult(file.md5, file.revision)

    def scan(
        self,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        name = self.bucket
        what = f"the objects below '{prefix}' in '{name}' on Google Drive"
        with translating(what):
            root = self._buckets.root(name)
        listing = Listing(self._connection, self._folders, root, prefix, start_after, page_size)
        found = listing.entries(by_folder=delimiter == "/")
        return _translated(group_by_delimiter(found, prefix, delimiter), what)

    def delete(
        self, keys: Iterable[str], *, threads: int = 4, permanently: bool = True
    ) -> Iterator[DeleteResult]:
        touched: dict[Path, DriveLocation] = {}

        def look_up(group: list[DriveLocation]) -> list[_Found]:
            try:
                with translating(str(group[0])):
                    found = self._objects.find_together(group)
            except CottonCandyError as error:
                return [(location, error) for location in group]
            return [(location, found[location.path]) for location in group]

        def remove(item: _Found) -> DeleteResult:
            location, found = item
            if isinstance(found, CottonCandyError):
                return DeleteResult(location.key, found)
            try:
                with translating(str(location)), self._locks.hold(location):
                    for number, file in enumerate(found):
                        # The caller may not know about older files with this name, so move those
                        # to the trash.
                        self._objects.remove(file.id, permanently and number == 0)
                    self._objects.record_removal(location)
            except CottonCandyError as error:
                return DeleteResult(location.key, error)
            if found:
                touched[location.folder] = location
            return DeleteResult(location.key)

        remaining = iter(keys)
        while batch := list(itertools.islice(remaining, _DELETED_AT_ONCE)):
            folders: dict[Path, list[DriveLocation]] = {}
            for key in batch:
                try:
                    location = self._locate(key)
                except InvalidNameError as error:
                    yield DeleteResult(key, error)
                else:
                    folders.setdefault(location.folder, []).append(location)
            groups = [
                group[start : start + _NAMES_AT_ONCE]
                for group in folders.values()
                for start in range(0, len(group), _NAMES_AT_ONCE)
            ]
            found = itertools.chain.from_iterable(map_threads(look_up, groups, threads))
            yield from map_threads(remove, found, threads)
        for folder in sorted(touched, key=len, reverse=True):
            self._prune(touched[folder])

    def copy(
        self, source: str, dest: str, *, source_bucket: str | None = None, overwrite: bool = True
    ) -> PutResult:
        return self._transfer(source, dest, source_bucket, overwrite, moving=False)

    def move(
        self, source: str, dest: str, *, source_bucket: str | None = None, overwrite: bool = True
    ) -> PutResult:
        """Rename and reparent the file in one request; its id, sharing and history stay."""
        return self._transfer(source, dest, source_bucket, overwrite, moving=True)

    # -- buckets ---------------------------------------------------------------------------------

    def list_buckets(self) -> Iterator[BucketInfo]:
        return _translated(self._buckets.all(), "the list of drives and folders")

    def has_bucket(self, bucket: str) -> bool:
        with translating(f"bucket '{bucket}'"):
            return self._buckets.find(bucket) is not None

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        with translating(f"bucket '{bucket}'"):
            self._buckets.create(bucket)

    def delete_bucket(self, bucket: str) -> None:
        with translating(f"bucket '{bucket}'"):
            self._buckets.delete(bucket)

    # -- only on some stores --------------------------------------------------------------------

    def owner(self, key: str) -> Mapping[str, str]:
        fields = "owners(emailAddress,displayName,permissionId)"
        location, file = self._find(key)
        with translating(str(location)):
            answer = self._connection.files("get", fileId=file.id, fields=fields)
        for owner in answer.get("owners", ()):
            found = {"ID": owner.get("emailAddress") or owner.get("permissionId", "")}
            if "displayName" in owner:
                found["DisplayName"] = owner["displayName"]
            return found
        raise UnsupportedOperationError(
            f"{location} belongs to a shared drive and has no owner (backend {self.name})"
        )

    def native_object(self, key: str) -> Any:
        """Return pydrive2's ``GoogleDriveFile``."""
        return self.native_bucket().CreateFile({"id": self._find(key)[1].id})

    def native_bucket(self) -> Any:
        """Return pydrive2's ``GoogleDrive``."""
        auth = self._connection.auth
        if auth.service is None:
            auth.service = self._connection.service
        return GoogleDrive(auth)

    # -- inside ----------------------------------------------------------------------------------

    def _locate(self, key: str) -> DriveLocation:
        path = split_key(key)
        name = self.bucket
        with translating(f"bucket '{name}' on Google Drive"):
            return DriveLocation(name, self._buckets.root(name), path)

    def _find(self, key: str) -> tuple[DriveLocation, DriveFile]:
        """Return the location of a key and its file, or raise ObjectNotFoundError."""
        location = self._locate(key)
        with translating(str(location)):
            return location, self._objects.need(location)[0]

    def _prune(self, location: DriveLocation) -> None:
        """Remove folders that are empty now; a failure is only logged."""
        try:
            with translating(f"the folder of {location}"):
                self._folders.prune(location.root, location.folder)
        except CottonCandyError as error:
            _log.info("keeping an empty folder: %s", error)

    def _transfer(
        self, source: str, dest: str, source_bucket: str | None, overwrite: bool, *, moving: bool
    ) -> PutResult:
        origin = self._origin(source_bucket)._locate(source)
        target = self._locate(dest)
        with self._locks.hold(origin, target):
            with translating(str(origin)):
                file, *shadowed = self._objects.need(origin)
            with translating(str(target)):
                present = self._objects.find(target)
                if present and not overwrite:
                    IfAbsent().check("", str(target))
                if any(file.id == other.id for other in present):
                    return PutResult(file.md5, file.revision)
                transfer = self._objects.rename if moving else self._objects.duplicate
                result = self._objects.move_to_live_folder(target, transfer(file, target))
                if present:  # replaced; the trash keeps it for a while
                    self._objects.remove(present[0].id, permanently=False)
            if moving:
                with translating(str(origin)):
                    for other in shadowed:
                        self._objects.remove(other.id, permanently=False)
                    self._objects.record_removal(origin)
        if moving:
            self._prune(origin)
        return PutResult(result.md5, result.revision)


def _translated(entries: Iterator[Any], what: str) -> Iterator[Any]:
    """Yield entries; errors of Drive are translated."""
    with translating(what):
        yield from entries
