"""The Google Cloud Storage backend: the requests of each verb."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from itertools import chain, islice
from operator import attrgetter
from typing import Any, ClassVar, Self

from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    BucketInfo,
    Capabilities,
    CommonPrefix,
    ConnectionArguments,
    DeleteResult,
    IfAbsent,
    IfMatch,
    MetadataLimits,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
)
from cottoncandy.backends.gcs.client import (
    RETRY,
    TIMEOUT_S,
    Connection,
    GCSOptions,
    foreign,
    predefined_acl,
)
from cottoncandy.backends.options import STORED_HEADERS
from cottoncandy.backends.ranges import AT_ONCE_BYTES, GetResponse, RangeReader
from cottoncandy.backends.remote import RemoteBackend, reads_public_data
from cottoncandy.core.buffers import Body, Buffer, MiB, regroup
from cottoncandy.core.names import encode_key, shorten
from cottoncandy.core.threads import in_background, map_threads
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketExistsError,
    BucketNotEmptyError,
    BucketNotFoundError,
    CottonCandyError,
    IntegrityError,
    InvalidNameError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreBusyError,
    UnsupportedOperationError,
)

_WINDOW_BYTES = 8 * MiB  # of one request for a part of a body: it is held in memory
_CHUNK_BYTES = 16 * MiB  # of a resumable upload, which Google's client chooses above 8 MiB
_ATTEMPTS = 10  # to find header and start of one version
_MAX_KEY_BYTES = 1024
_OTHER_HEADERS = ("content_disposition", "content_language", "custom_time")
_READ: dict[str, Any] = {"timeout": TIMEOUT_S, "retry": RETRY}


class GCSBackend(RemoteBackend):
    """Google Cloud Storage, or a server that speaks its JSON API.

    Parameters
    ----------
    options : GCSOptions
    bucket_name : str, optional
        The bucket.

    Notes
    -----
    An ETag is the generation of the object, so conditions and readers are exact. Bodies are sent
    with their CRC-32C, those above 8 MiB by a resumable upload in chunks of 16 MiB. They are not
    sent in parallel: that would take separate objects for the parts, and permission to
    delete them. Bodies are read as they are stored, without decompression.
    """

    name: ClassVar[str] = "gcs"
    connection_class = Connection
    _connection: Connection
    capabilities: ClassVar[Capabilities] = Capabilities(
        acls=True,
        charges=True,
        presign=True,
        any_key=False,
        conditional_put=True,
        headers=frozenset({*STORED_HEADERS, "request_payer"}),
        metadata=MetadataLimits(max_bytes=8192, names=r"[!-~]+", help="printable ASCII, not empty"),
    )

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        return cls(GCSOptions.of(arguments), arguments.bucket_name)

    def status_message(self) -> str:
        return f"Google Cloud Storage backend instantiated at {self._address}."

    def describe(self) -> str:
        return f"bucket:{self.bucket_name} on {self._address}"

    @property
    def _address(self) -> str:
        return self._connection.options.endpoint_url or "Google Cloud Storage"

    # -- objects ---------------------------------------------------------------------------------

    @reads_public_data
    def get(
        self, key: str, *, threads: int = 4, prefetch: bool | tuple[int, int] = True, tail: int = 0
    ) -> ObjectReader:
        label = self._label(key)
        for _ in range(_ATTEMPTS):
            # The header has no body, and the body no metadata: both are requested at once.
            span = (-tail, None) if tail else (0, AT_ONCE_BYTES)
            wanted = prefetch is True or tail
            start = in_background(self._start, key, *span) if wanted else None
            info = self.head(key)
            opened: GetResponse | ObjectInfo = info
            if start is not None:
                try:
                    body, generation = start.result()
                except ObjectNotFoundError:
                    continue  # deleted concurrently
                if generation not in (None, info.etag) or len(body) > info.size:
                    continue
                first = max(info.size - len(body), 0) if tail else 0
                opened = GetResponse(info, first, first + len(body), iter([body]))
                if len(body) == info.size:
                    _check_crc32c(body, info)
            reader = RangeReader(partial(self._range, info), label, opened, threads=threads)
            reader.max_resumes = 0  # Google's library continues what is interrupted, for 30 s
            return reader
        raise ObjectChangedError(f"{label} is replaced faster than it can be opened; try again")

    def _start(self, key: str, start: int, stop: int | None) -> tuple[bytes, str | None]:
        """Return a part of the current version, with one request, and its generation, if sent."""
        blob = self._blob(key)
        try:
            with self._connection.request(self._label(key)):
                body = _download(blob, start, stop)
        except ObjectChangedError:  # there is no such range: it is empty
            return b"", None
        return body, None if blob.generation is None else str(blob.generation)

    def _range(self, info: ObjectInfo, start: int, stop: int, etag: str) -> GetResponse:
        """Return a range of a version, which is requested in pieces that fit into memory."""
        blob, label = self._blob(info.key, int(etag)), self._label(info.key)

        def pieces() -> Iterator[Buffer]:
            for begin in range(start, stop, _WINDOW_BYTES):
                end = min(begin + _WINDOW_BYTES, stop)
                try:
                    with self._connection.request(label):
                        piece = _download(blob, begin, end)
                except ObjectNotFoundError as exc:  # this generation
                    raise ObjectChangedError(
                        f"{label} was replaced or deleted while it was being read; read it again"
                    ) from exc
                if len(piece) != end - begin:
                    raise IntegrityError(
                        f"{label}: requested {end - begin} bytes, but the server returned "
                        f"{len(piece)}"
                    )
                yield piece

        return GetResponse(info, start, stop, pieces())

    @reads_public_data
    def head(self, key: str) -> ObjectInfo:
        return _info(self._loaded(key), metadata=True)

    def put(
        self, key: str, body: Body, options: PutOptions = DEFAULT_OPTIONS, *, threads: int = 4
    ) -> PutResult:
        options = self._checked(key, options)
        blob = self._blob(key, pays=options.request_payer is not None)
        label = self._label(key)
        _describe(blob, options)
        settings = {
            "content_type": options.content_type or "application/octet-stream",
            "if_generation_match": self._generation(label, options.condition),
            "predefined_acl": predefined_acl(options.acl),
            "checksum": "crc32c",
            **_READ,
        }
        blocks = regroup(body, _CHUNK_BYTES)
        begun = list(islice(blocks, 2))
        if is_long := len(begun) == 2:  # before it is sent
            self._check_condition(key, options.condition)
        file = _BlockFile(chain((begun.pop(0) for _ in range(len(begun))), blocks))
        try:
            with self._in_bucket(), self._connection.request(label):
                if is_long:
                    blob.chunk_size = _CHUNK_BYTES
                    # Without a size, so that the body is read to its end, and checks its size.
                    blob.upload_from_file(file, **settings)
                else:
                    blob.upload_from_string(file.read(_CHUNK_BYTES), **settings)
                return PutResult(_generation_of(blob, label))
        except (CottonCandyError, ValueError) as exc:
            if file.error is not None:
                raise file.error  # noqa: B904 - it has a cause of its own
            if options.condition and isinstance(exc, ObjectChangedError | BucketExistsError):
                raise options.condition.unmet(label) from None
            if isinstance(exc, ObjectNotFoundError):
                if not self.has_bucket(self.bucket):
                    raise self._no_bucket(self.bucket) from exc
            elif isinstance(exc, CottonCandyError):
                raise
            # Otherwise, Google's library cannot continue after a block that was kept in part.
            raise StoreBusyError(
                f"{label}: the server has lost what was uploaded; try again later"
            ) from exc

    @reads_public_data
    def scan(
        self,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        name = self.bucket
        label = f"bucket '{name}' at {self._address}"
        pages = self._connection.client.list_blobs(
            self._connection.bucket(name),
            prefix=prefix or None,
            delimiter=delimiter or None,
            start_offset=start_after or None,
            page_size=page_size,
            **_READ,
        ).pages
        try:
            while True:
                with self._connection.request(label):
                    page = next(pages, None)
                    if page is None:
                        return
                    blobs = list(page)
                if not str(page.raw_page.get("kind")).startswith("storage#object"):
                    raise foreign(label)
                found: list[ObjectInfo | CommonPrefix] = [
                    _info(blob) for blob in blobs if blob.name > start_after
                ]
                found += [
                    CommonPrefix(text)
                    for text in page.prefixes  # an emulator ignores start_offset here
                    if text > start_after or start_after.startswith(text)
                ]
                yield from sorted(found, key=attrgetter("key"))
        except ObjectNotFoundError as exc:
            raise self._no_bucket(name) from exc

    def delete(
        self, keys: Iterable[str], *, threads: int = 4, permanently: bool = True
    ) -> Iterator[DeleteResult]:
        def remove(key: str) -> DeleteResult:
            try:
                blob = self._blob(key)
                with self._in_bucket(), self._connection.request(self._label(key)):
                    blob.delete(**_READ)
            except ObjectNotFoundError:
                pass
            except BucketNotFoundError:
                raise
            except CottonCandyError as error:
                return DeleteResult(key, error)
            return DeleteResult(key)

        return map_threads(remove, keys, threads)

    def copy(
        self, source: str, dest: str, *, source_bucket: str | None = None, overwrite: bool = True
    ) -> PutResult:
        origin, label = self._origin(source_bucket), self._label(dest)
        condition = None if overwrite else IfAbsent()
        self._check_condition(dest, condition)
        if (source, origin.bucket) == (dest, self.bucket):
            return PutResult(self.head(source).etag)
        try:
            with self._in_bucket():
                return self._rewrite(origin._blob(source), self._blob(dest), label, condition)
        except ObjectNotFoundError:
            origin.head(source)  # raises if it, or its bucket, does not exist
            raise
        except ObjectChangedError:
            if condition is None:
                raise
            if self._connection.repeated:  # perhaps only the response to the first was lost
                ours, found = origin.head(source), self.head(dest)
                if (ours.crc32c, ours.metadata) == (found.crc32c, found.metadata):
                    return PutResult(found.etag)
            raise condition.unmet(label) from None

    def can_copy_from(self, other: Backend) -> bool:
        if not isinstance(other, GCSBackend):
            return False
        return self._connection.options == other._connection.options

    def set_metadata(
        self, key: str, metadata: Mapping[str, str], *, etag: str | None = None
    ) -> PutResult:
        if not metadata:  # without any in the request, the server keeps the old ones
            return super().set_metadata(key, metadata, etag=etag)
        label, old = self._label(key), self._loaded(key)
        info = _info(old, metadata=True)
        if etag is not None:
            IfMatch(etag).check(info.etag, label)
        options = self._checked(key, self.capabilities.options_like(info, metadata))
        blob = self._blob(key)
        _describe(blob, options)
        for header in _OTHER_HEADERS:
            setattr(blob, header, getattr(old, header))
        return self._rewrite(self._blob(key), blob, label, options.condition)

    def _rewrite(
        self, origin: Any, blob: Any, label: str, condition: IfAbsent | IfMatch | None
    ) -> PutResult:
        """Copy a version on the server, in as many steps as it takes."""
        token, generation = None, self._generation(label, condition)
        with self._connection.request(label):
            while True:
                token, *_ = blob.rewrite(
                    origin, token=token, if_generation_match=generation, **_READ
                )
                if token is None:
                    return PutResult(_generation_of(blob, label))

    # -- buckets ---------------------------------------------------------------------------------

    def list_buckets(self) -> Iterator[BucketInfo]:
        with self._connection.request(f"the buckets at {self._address}"):
            try:
                found = [
                    BucketInfo(bucket.name, bucket.time_created)
                    for bucket in self._connection.client.list_buckets(**_READ)
                ]
            except OSError as exc:  # the project is unknown
                raise AccessDeniedError(
                    "listing buckets takes a project: pass project=, or set GOOGLE_CLOUD_PROJECT"
                ) from exc
        return iter(found)

    @reads_public_data
    def has_bucket(self, bucket: str) -> bool:
        try:
            with self._connection.request(f"bucket '{bucket}' at {self._address}"):
                found: bool = self._connection.bucket(bucket).exists(**_READ)
        except AccessDeniedError:
            found = True  # reading objects may be allowed
        except (ObjectNotFoundError, InvalidNameError, ValueError):
            found = False
        if found:
            self.known_buckets.add(bucket)
        return found

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        if not bucket:
            raise InvalidNameError("a bucket name must not be empty")
        with self._connection.request(f"bucket '{bucket}' at {self._address}"):
            try:
                self._connection.client.create_bucket(
                    bucket, predefined_acl=predefined_acl(acl), **_READ
                )
            except ValueError as exc:
                raise InvalidNameError(f"invalid bucket name '{bucket}': {exc}") from exc

    def delete_bucket(self, bucket: str) -> None:
        label = f"bucket '{bucket}' at {self._address}"
        try:
            with self._connection.request(label):
                self._connection.bucket(bucket).delete(**_READ)
        except ObjectNotFoundError as exc:
            raise self._no_bucket(bucket) from exc
        except (BucketExistsError, ObjectChangedError) as exc:  # 409, and 412 from an emulator
            raise BucketNotEmptyError(f"{label} contains objects; delete them first") from exc
        self.known_buckets.discard(bucket)

    # -- features of Google ----------------------------------------------------------------------

    def acl(self, key: str) -> list[dict[str, str]]:
        found = self._blob(key).acl
        with self._connection.request(self._label(key)):
            found.reload(**_READ)
        return list(found)

    def presign(self, key: str, expires_s: int) -> str:
        blob = self._blob(key)
        try:
            with self._connection.request(self._label(key)):
                url: str = blob.generate_signed_url(
                    expiration=timedelta(seconds=expires_s), version="v4"
                )
        except AttributeError as exc:  # they have no private key
            raise UnsupportedOperationError(
                "these credentials cannot sign URLs; pass credentials='/path/to/service-account."
                "json', the key file of a service account"
            ) from exc
        return url

    def native_object(self, key: str) -> Any:
        return self._blob(key)

    def native_bucket(self) -> Any:
        return self._connection.bucket(self.bucket)

    # -- helpers ---------------------------------------------------------------------------------

    def _label(self, key: str) -> str:
        return f"object '{key}' in bucket '{self.bucket}' at {self._address}"

    def _blob(self, key: str, generation: int | None = None, *, pays: bool = False) -> Any:
        too_long = len(encode_key(key)) > _MAX_KEY_BYTES
        if too_long or {*key} & {"\r", "\n", "\0"} or key in (".", ".."):
            raise InvalidNameError(
                f"{shorten(key)!r} cannot be the name of an object on Google Cloud Storage: names "
                f"have 1 to {_MAX_KEY_BYTES} bytes, no line breaks, and are not '.' or '..'"
            )
        return self._connection.bucket(self.bucket, pays=pays).blob(key, generation=generation)

    def _loaded(self, key: str) -> Any:
        """Return Google's object of an object, with its header."""
        blob = self._blob(key)
        with self._in_bucket(), self._connection.request(self._label(key)):
            blob.reload(**_READ)
            _generation_of(blob, self._label(key))
        return blob

    @staticmethod
    def _generation(label: str, condition: IfAbsent | IfMatch | None) -> int | None:
        """Return the generation that an object must have; 0 means none."""
        if isinstance(condition, IfMatch):
            text = condition.etag.strip('"')
            if not text.isdecimal():
                condition.check("another", label)
            return int(text)
        return None if condition is None else 0


def _generation_of(blob: Any, label: str) -> str:
    """Return what identifies a version: every response of Google has it."""
    if blob.generation is None:
        raise foreign(label)
    return str(blob.generation)


def _describe(blob: Any, options: PutOptions) -> None:
    """Set the metadata and the headers with which a blob is stored."""
    blob.metadata = dict(options.metadata or {}) or None
    blob.content_type = options.content_type
    for header in STORED_HEADERS:
        setattr(blob, header, getattr(options, header))


def _download(blob: Any, start: int | None, stop: int | None) -> bytes:
    """Return a range of a body as it is stored; negative starts count from its end."""
    end = None if stop is None else stop - 1
    body: bytes = blob.download_as_bytes(
        start=start, end=end, raw_download=True, checksum=None, **_READ
    )
    return body


def _info(blob: Any, *, metadata: bool = False) -> ObjectInfo:
    found = {name.lower(): value for name, value in (blob.metadata or {}).items()}
    return ObjectInfo(
        blob.name,
        blob.size,
        blob.updated,
        str(blob.generation),
        found if metadata else None,
        blob.content_type,
        blob.content_encoding,
        blob.cache_control,
        blob.storage_class,
        md5=_hexadecimal(blob.md5_hash),
        crc32c=_hexadecimal(blob.crc32c),
    )


def _hexadecimal(text: str | None) -> str | None:
    return base64.b64decode(text).hex() if text else None


def _check_crc32c(body: bytes, info: ObjectInfo) -> None:
    if info.crc32c is None:
        return
    import google_crc32c

    if google_crc32c.value(body) != int(info.crc32c, 16):
        raise IntegrityError(f"object '{info.key}': the CRC-32C of the body does not match")


class _BlockFile:
    """Blocks of one size, as a file that Google's client reads once, block by block."""

    def __init__(self, blocks: Iterator[memoryview]) -> None:
        self._blocks = blocks
        self._position = 0
        self.error: Exception | None = None  # of the body, which its owner wants to see

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int) -> bytes:
        """Return the next block; fewer bytes than ``size`` only at the end."""
        try:
            block = bytes(next(self._blocks, b""))
        except Exception as exc:
            self.error = exc
            raise
        self._position += len(block)
        return block
