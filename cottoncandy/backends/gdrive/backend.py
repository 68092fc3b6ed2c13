"""The verbs of a backend, on Google Drive."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self

from pydrive2.drive import GoogleDrive

from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    BucketInfo,
    Capabilities,
    CommonPrefix,
    ConnectionArguments,
    DeleteResult,
    MetadataLimits,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
)
from cottoncandy.backends.gdrive.auth import Config
from cottoncandy.backends.gdrive.buckets import MY_DRIVE, Buckets
from cottoncandy.backends.gdrive.errors import translating
from cottoncandy.backends.gdrive.files import DriveFile
from cottoncandy.backends.gdrive.folders import Folders, KeyedLocks, Path, split_key
from cottoncandy.backends.gdrive.listing import Listing
from cottoncandy.backends.gdrive.objects import Objects, Place, Writer
from cottoncandy.backends.gdrive.properties import MAX_METADATA_BYTES, pack
from cottoncandy.backends.gdrive.reader import DriveReader
from cottoncandy.backends.gdrive.session import Session
from cottoncandy.core.buffers import Body
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    InvalidNameError,
    ObjectExistsError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)

__all__ = ["GDriveBackend"]

_log = logging.getLogger(__name__)

#: Keys that are looked up before any of them is deleted, and names in one query.
_DELETED_AT_ONCE = 200
_NAMES_AT_ONCE = 25


class GDriveBackend(Backend):
    """Objects as files on Google Drive, through pydrive2 and the Drive API v2.

    Parameters
    ----------
    config : Config
    bucket_name : str, optional
        "My Drive", a folder at its top, or a shared drive (its id or name).

    Notes
    -----
    Reading a small object takes two requests: one finds the file and brings its metadata, one
    brings the body; Drive has no way to do both at once. Storing one takes two as well. The first
    use of a folder costs one request for each part of its path.
    """

    name: ClassVar[str] = "gdrive"
    uses_default_bucket: ClassVar[bool] = False
    capabilities: ClassVar[Capabilities] = Capabilities(
        owners=True,
        trash=True,
        any_key=False,
        stored_checksum="md5",
        metadata=MetadataLimits(MAX_METADATA_BYTES),
    )

    def __init__(self, config: Config, bucket_name: str | None = MY_DRIVE) -> None:
        self.bucket_name = bucket_name
        self._config = config
        self._session = Session(config.login, config.endpoint_url)
        self._folders = Folders(self._session)
        self._objects = Objects(self._session, self._folders)
        self._buckets = Buckets(self._session, self._folders, config.root)
        self._writer = Writer(self._session, self._folders, config.upload_chunk_bytes)
        self._writing = KeyedLocks()

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        return cls(Config.of(arguments), arguments.bucket_name or MY_DRIVE)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._config, self.bucket_name)

    def status_message(self) -> str:
        return "Google Drive backend instantiated."

    def describe(self) -> str:
        return f"bucket:{self.bucket_name} on Google Drive"

    # -- objects ---------------------------------------------------------------------------------

    def get(
        self,
        key: str,
        *,
        bucket: str | None = None,
        threads: int = 4,
        prefetch: bool = True,
    ) -> ObjectReader:
        place, file = self._need(key, bucket)
        return DriveReader(
            self._session,
            file,
            file.info(key),
            what=str(place),
            threads=threads,
            chunk_bytes=self._config.download_chunk_bytes,
        )

    def head(self, key: str, *, bucket: str | None = None) -> ObjectInfo:
        return self._need(key, bucket)[1].info(key)

    def put(
        self,
        key: str,
        body: Body,
        options: PutOptions = DEFAULT_OPTIONS,
        *,
        bucket: str | None = None,
        threads: int = 4,
    ) -> PutResult:
        options = self._checked(key, options)
        entries = options.metadata or {}
        pack(entries, key=key)  # before anything is sent
        split_key(key)
        place = self._place(key, bucket)
        with self._writing.hold((place.root, place.path)), translating(str(place)):
            present = self._objects.find(place)
            if options.condition is not None:
                etag = (present[0].md5 or "") if present else None
                options.condition.check(etag, str(place))
            kind = options.content_type
            if present:
                file, md5 = self._writer.replace(place, present[0], body, entries, kind)
            else:
                file, md5 = self._writer.create(place, body, entries, kind)
            file = self._objects.settle(place, file)
        if file.md5 is not None and file.md5 != md5:
            raise IntegrityError(
                f"{place} arrived damaged: Google Drive has the MD5 {file.md5}, and {md5} was "
                f"sent; upload it again"
            )
        return PutResult(file.md5, file.revision)

    def scan(
        self,
        prefix: str = "",
        *,
        bucket: str | None = None,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        name = self._bucket(bucket)
        what = f"the objects below '{prefix}' in '{name}' on Google Drive"
        with translating(what):
            root = self._buckets.root(name)
        listing = Listing(
            self._session,
            self._folders,
            root,
            prefix=prefix,
            start_after=start_after,
            page_size=page_size,
        )
        found: Iterator[ObjectInfo | CommonPrefix]
        if delimiter == "/":
            found = listing.level()
        elif delimiter:
            found = listing.grouped(delimiter)
        else:
            found = listing.objects()
        return _translated(found, what)

    def delete(
        self,
        keys: Iterable[str],
        *,
        bucket: str | None = None,
        threads: int = 4,
        permanently: bool = True,
    ) -> Iterator[DeleteResult]:
        name = self._bucket(bucket)
        touched: dict[Path, Place] = {}
        remaining = iter(keys)
        while batch := list(itertools.islice(remaining, _DELETED_AT_ONCE)):
            yield from self._delete_some(batch, name, threads, permanently, touched)
        for folder in sorted(touched, key=len, reverse=True):
            self._prune(touched[folder])

    def copy(
        self,
        source: str,
        dest: str,
        *,
        source_bucket: str | None = None,
        dest_bucket: str | None = None,
        overwrite: bool = True,
    ) -> PutResult:
        return self._transfer(source, dest, source_bucket, dest_bucket, overwrite, moving=False)

    def move(
        self,
        source: str,
        dest: str,
        *,
        source_bucket: str | None = None,
        dest_bucket: str | None = None,
        overwrite: bool = True,
    ) -> PutResult:
        """Rename and reparent the file in one request; its id, sharing and history stay."""
        return self._transfer(source, dest, source_bucket, dest_bucket, overwrite, moving=True)

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

    # -- what only some stores have --------------------------------------------------------------

    def owner(self, key: str, *, bucket: str | None = None) -> Mapping[str, str]:
        place, file = self._need(key, bucket)
        fields = "owners(emailAddress,displayName,permissionId),driveId"
        with translating(str(place)):
            answer = self._session.files("get", fileId=file.id, fields=fields)
        for owner in answer.get("owners", ()):
            found = {"ID": owner.get("emailAddress") or owner.get("permissionId", "")}
            if "displayName" in owner:
                found["DisplayName"] = owner["displayName"]
            return found
        raise UnsupportedOperationError(
            f"{place} belongs to a shared drive and to nobody in person (backend {self.name})"
        )

    def native_object(self, key: str, *, bucket: str | None = None) -> Any:
        """Return pydrive2's ``GoogleDriveFile``."""
        file = self._need(key, bucket)[1]
        return self.native_bucket(bucket).CreateFile({"id": file.id})

    def native_bucket(self, bucket: str | None = None) -> Any:
        """Return pydrive2's ``GoogleDrive``."""
        auth = self._session.auth
        if auth.service is None:
            auth.service = self._session.service
        return GoogleDrive(auth)

    # -- inside ----------------------------------------------------------------------------------

    def _place(self, key: str, bucket: str | None) -> Place:
        path = split_key(key)
        name = self._bucket(bucket)
        with translating(f"bucket '{name}' on Google Drive"):
            return Place(name, self._buckets.root(name), path)

    def _need(self, key: str, bucket: str | None) -> tuple[Place, DriveFile]:
        place = self._place(key, bucket)
        with translating(str(place)):
            found = self._objects.find(place)
        if not found:
            raise _missing(place)
        return place, found[0]

    def _delete_some(
        self,
        keys: list[str],
        bucket: str,
        threads: int,
        permanently: bool,
        touched: dict[Path, Place],
    ) -> Iterator[DeleteResult]:
        """Delete some keys: the files are looked up by folder, and removed one by one."""
        places: dict[str, Place] = {}
        errors: dict[str, CottonCandyError] = {}
        for key in keys:
            try:
                places[key] = self._place(key, bucket)
            except InvalidNameError as error:
                errors[key] = error
        found: dict[Path, list[DriveFile]] = {}

        def look(group: list[Place]) -> None:
            try:
                with translating(str(group[0])):
                    found.update(self._objects.find_together(group))
            except CottonCandyError as error:
                errors.update((place.key, error) for place in group)

        def remove(key: str) -> DeleteResult:
            if key in errors:
                return DeleteResult(key, errors[key])
            place = places[key]
            try:
                with self._writing.hold((place.root, place.path)), translating(str(place)):
                    for number, file in enumerate(found[place.path]):
                        # Who says delete has not seen older files of the name: keep them in reach.
                        self._writer.remove(file.id, permanently and number == 0)
                    self._objects.removed(place)
            except CottonCandyError as error:
                return DeleteResult(key, error)
            if found[place.path]:
                touched[place.folder] = place
            return DeleteResult(key)

        for _ in map_threads(look, _by_folder(places.values()), threads):
            pass
        yield from map_threads(remove, keys, threads)

    def _prune(self, place: Place) -> None:
        """Remove folders that are empty now; that they stay is no error."""
        try:
            with translating(f"the folder of {place}"):
                self._folders.prune(place.root, place.folder)
        except CottonCandyError as error:
            _log.info("an empty folder stays: %s", error)

    def _transfer(
        self,
        source: str,
        dest: str,
        source_bucket: str | None,
        dest_bucket: str | None,
        overwrite: bool,
        *,
        moving: bool,
    ) -> PutResult:
        origin = self._place(source, source_bucket)
        target = self._place(dest, source_bucket if dest_bucket is None else dest_bucket)
        marks = [(place.root, place.path) for place in (origin, target)]
        with self._writing.hold(*marks):
            file, *shadowed = self._need_all(origin)
            with translating(str(target)):
                present = self._objects.find(target)
                if present and not overwrite:
                    raise _exists(target)
                if any(file.id == other.id for other in present):
                    return PutResult(file.md5, file.revision)
                bring = self._writer.rename if moving else self._writer.duplicate
                result = self._objects.settle(target, bring(file, target))
                if present:  # replaced; the trash keeps it for a while
                    self._writer.remove(present[0].id, permanently=False)
            if moving:
                with translating(str(origin)):
                    for other in shadowed:
                        self._writer.remove(other.id, permanently=False)
                    self._objects.removed(origin)
        if moving:
            self._prune(origin)
        return PutResult(result.md5, result.revision)

    def _need_all(self, place: Place) -> list[DriveFile]:
        with translating(str(place)):
            found = self._objects.find(place)
        if not found:
            raise _missing(place)
        return found


def _by_folder(places: Iterable[Place]) -> Iterator[list[Place]]:
    """Yield groups of places in one folder, small enough for one query."""
    groups: dict[Path, list[Place]] = {}
    for place in places:
        group = groups.setdefault(place.folder, [])
        group.append(place)
        if len(group) == _NAMES_AT_ONCE:
            yield groups.pop(place.folder)
    yield from groups.values()


def _missing(place: Place) -> ObjectNotFoundError:
    return ObjectNotFoundError(f"there is no {place}")


def _exists(place: Place) -> ObjectExistsError:
    return ObjectExistsError(f"{place} exists; pass overwrite=True to replace it")


def _translated(entries: Iterator[Any], what: str) -> Iterator[Any]:
    """Yield entries; errors on the way are this library's."""
    while True:
        with translating(what):
            try:
                entry = next(entries)
            except StopIteration:
                return
        yield entry
