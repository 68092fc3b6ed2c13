"""The Google Cloud Storage backend: the requests of each verb."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

from google.api_core.exceptions import RequestRangeNotSatisfiable
from google.cloud.storage.exceptions import InvalidResponse

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
from cottoncandy.backends.gcs.client import RETRY, TIMEOUT_S, Connection, GCSOptions, close_response
from cottoncandy.backends.options import STORED_HEADERS
from cottoncandy.backends.public import reads_public_data
from cottoncandy.backends.ranges import AT_ONCE_BYTES, GetResponse, RangeReader
from cottoncandy.core.buffers import Body, Buffer, MiB, regroup
from cottoncandy.core.names import shorten
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
)

__all__ = ["GCSBackend"]

_WINDOW_BYTES = 8 * MiB  # of one request for a part of a body: it is held in memory
_SMALL_BYTES = 8 * MiB  # uploads up to this size are one request
_CHUNK_BYTES = 16 * MiB  # of a resumable upload
_ATTEMPTS = 10  # to find header and start of one version
_MAX_KEY_BYTES = 1024
_READ: dict[str, Any] = {"timeout": TIMEOUT_S, "retry": RETRY}


class GCSBackend(Backend):
    """Google Cloud Storage, or a server that speaks its JSON API.

    Parameters
    ----------
    options : GCSOptions
        Pickles include them, because workers need them; the repr does not.
    bucket_name : str, optional
        Current bucket.

    Notes
    -----
    An ETag is the generation of the object, so conditions and readers are exact. Bodies are sent
    with their CRC-32C, those above 8 MiB by a resumable upload in chunks of 16 MiB. Bodies are read
    as they are stored, without decompression. Canned ACLs are ignored: most buckets reject them,
    and permissions are the bucket's.
    """

    name: ClassVar[str] = "gcs"
    capabilities: ClassVar[Capabilities] = Capabilities(
        any_key=False,
        conditional_put=True,
        headers=frozenset({*STORED_HEADERS, "request_payer"}),
        metadata=MetadataLimits(max_bytes=8192, names=r"[!-~]+", help="printable ASCII, not empty"),
    )

    def __init__(self, options: GCSOptions, bucket_name: str | None = None) -> None:
        self.bucket_name = bucket_name
        self._connection = Connection(options)
        self.counter = self._connection.counter
        self.public_buckets: set[str | None] = set()
        self._twin: Self | None = None

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        return cls(GCSOptions.of(arguments), arguments.bucket_name)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"upload_options": dict(self.upload_options)}
        return type(self), (self._connection.options, self.bucket_name), state

    def __repr__(self) -> str:
        return f"<GCSBackend {self.describe()}>"

    def anonymous(self) -> Self | None:
        """Return the same backend without credentials; None if it sends none anyway."""
        options = self._connection.options
        if options.anonymous:
            return None
        if self._twin is None:
            twin = self._twin = type(self)(replace(options, credentials=None, anonymous=True))
            twin.counter = twin._connection.counter = self.counter
        return self._twin.with_bucket(self.bucket_name)

    def close(self) -> None:
        self._connection.close()
        if self._twin is not None:
            self._twin.close()

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
        self,
        key: str,
        *,
        bucket: str | None = None,
        threads: int = 4,
        prefetch: bool = True,
        tail: int = 0,
    ) -> ObjectReader:
        name = self._bucket(bucket)
        for _ in range(_ATTEMPTS):
            # The header has no body, and the body no metadata: both are requested at once.
            span = (-tail, None) if tail else (0, AT_ONCE_BYTES)
            start = in_background(self._part, name, key, *span) if prefetch or tail else None
            info = self.head(key, bucket=bucket)
            opened: GetResponse | ObjectInfo = info
            if start is not None:
                try:
                    body, generation = start.result()
                except (ObjectNotFoundError, ObjectChangedError):
                    continue  # deleted or replaced meanwhile
                if generation not in (None, info.etag) or len(body) > info.size:
                    continue
                first = max(info.size - len(body), 0) if tail else 0
                opened = GetResponse(info, first, first + len(body), iter([body]))
                if len(body) == info.size:
                    _check_crc32c(body, info)
            return RangeReader(
                partial(self._range, name, info),
                self._label(key, name),
                opened,
                threads=threads,
                window_bytes=_WINDOW_BYTES,
            )
        raise ObjectChangedError(
            f"{self._label(key, name)} is replaced faster than it can be opened; try again"
        )

    def _part(
        self, bucket: str, key: str, start: int, stop: int | None
    ) -> tuple[bytes, str | None]:
        """Return a part of the current version, with one request, and its generation, if sent."""
        blob = self._blob(bucket, key)
        with self._connection.request(self._label(key, bucket)):
            try:
                body = blob.download_as_bytes(
                    start=start,
                    end=None if stop is None else stop - 1,
                    raw_download=True,
                    checksum=None,
                    **_READ,
                )
            except (RequestRangeNotSatisfiable, InvalidResponse) as exc:
                if "416" not in str(exc):
                    raise
                close_response(exc)
                body = blob.download_as_bytes(raw_download=True, checksum=None, **_READ)  # empty
        return body, None if blob.generation is None else str(blob.generation)

    def _range(
        self, bucket: str, info: ObjectInfo, start: int, stop: int, etag: str
    ) -> GetResponse:
        """Return a range of a version, which is requested in pieces that fit into memory."""
        blob = self._blob(bucket, info.key, int(etag))

        def pieces() -> Iterator[Buffer]:
            for begin in range(start, stop, _WINDOW_BYTES):
                end = min(begin + _WINDOW_BYTES, stop)
                with self._connection.request(self._label(info.key, bucket)):
                    try:
                        piece = blob.download_as_bytes(
                            start=begin, end=end - 1, raw_download=True, checksum=None, **_READ
                        )
                    except Exception as exc:
                        if getattr(exc, "code", None) == 404:  # this generation
                            raise ObjectChangedError(
                                f"{self._label(info.key, bucket)} was replaced or deleted while it "
                                f"was being read; read it again"
                            ) from exc
                        raise
                if len(piece) != end - begin:
                    raise IntegrityError(
                        f"{self._label(info.key, bucket)}: requested {end - begin} bytes, but the "
                        f"server returned {len(piece)}"
                    )
                yield piece

        return GetResponse(info, start, stop, pieces())

    @reads_public_data
    def head(self, key: str, *, bucket: str | None = None) -> ObjectInfo:
        name = self._bucket(bucket)
        blob = self._blob(name, key)
        try:
            with self._connection.request(self._label(key, name)):
                blob.reload(**_READ)
        except ObjectNotFoundError:
            self._require(name)
            raise
        self._connection.known_buckets.add(name)
        return _info(blob, metadata=True)

    def put(
        self,
        key: str,
        body: Body,
        options: PutOptions = DEFAULT_OPTIONS,
        *,
        bucket: str | None = None,
        threads: int = 4,
    ) -> PutResult:
        options, name = self._checked(key, options), self._bucket(bucket)
        blob = self._blob(name, key, pays=options.request_payer is not None)
        label = self._label(key, name)
        blob.metadata = dict(options.metadata or {}) or None
        for header, value in options.headers.items():
            setattr(blob, header, value)
        settings = {
            "content_type": options.content_type or "application/octet-stream",
            "if_generation_match": self._generation(label, options.condition),
            "checksum": "crc32c",
            **_READ,
        }
        file = _BodyFile(body, label)
        head = file.read(_SMALL_BYTES + 1)
        small = len(head) <= _SMALL_BYTES
        if not small:  # before a long body is sent
            self._check_condition(key, options.condition, name)
        try:
            with self._connection.request(label):
                if small:
                    blob.upload_from_string(head, **settings)
                else:
                    file.unread(head)
                    blob.chunk_size = _CHUNK_BYTES
                    # Without a size, so that the file is read to its end, which checks the size.
                    blob.upload_from_file(file, **settings)
        except ObjectNotFoundError:
            self._require(name)
            raise
        except (ObjectChangedError, BucketExistsError) as exc:
            if options.condition is None:
                raise
            etag = "" if isinstance(options.condition, IfAbsent) else "another"
            options.condition.check(etag, label)
            raise AssertionError from exc
        self._connection.known_buckets.add(name)
        return PutResult(str(blob.generation))

    @reads_public_data
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
        label = f"bucket '{name}' at {self._address}"
        pages = iter(())
        try:
            with self._connection.request(label):
                found = self._connection.client.list_blobs(
                    self._connection.bucket(name),
                    prefix=prefix or None,
                    delimiter=delimiter or None,
                    start_offset=start_after or None,
                    page_size=page_size,
                    **_READ,
                )
                pages = found.pages
            while True:
                with self._connection.request(label):
                    page = next(pages, None)
                    if page is None:
                        return
                    blobs = list(page)
                entries = {blob.name: _info(blob) for blob in blobs if blob.name > start_after}
                common = {text: CommonPrefix(text) for text in page.prefixes}
                both: dict[str, ObjectInfo | CommonPrefix] = {**entries, **common}
                for text in sorted(both, key=str.encode):
                    yield both[text]
        except ObjectNotFoundError as exc:
            raise self._no_bucket(name) from exc

    def delete(
        self,
        keys: Iterable[str],
        *,
        bucket: str | None = None,
        threads: int = 4,
        permanently: bool = True,
    ) -> Iterator[DeleteResult]:
        name = self._bucket(bucket)

        def remove(key: str) -> DeleteResult:
            try:
                blob = self._blob(name, key)
                with self._connection.request(self._label(key, name)):
                    blob.delete(**_READ)
            except ObjectNotFoundError:
                pass
            except CottonCandyError as error:
                return DeleteResult(key, error)
            return DeleteResult(key)

        return map_threads(remove, keys, threads)

    def copy(
        self,
        source: str,
        dest: str,
        *,
        source_bucket: str | None = None,
        dest_bucket: str | None = None,
        overwrite: bool = True,
    ) -> PutResult:
        home = self._bucket(source_bucket)
        target = home if dest_bucket is None else self._bucket(dest_bucket)
        info = self.head(source, bucket=home)
        label = self._label(dest, target)
        condition = None if overwrite else IfAbsent()
        self._check_condition(dest, condition, target)
        if (source, home) == (dest, target):
            return PutResult(info.etag)
        origin = self._blob(home, source, int(info.etag or 0))
        blob = self._blob(target, dest)
        try:
            return self._rewrite(origin, blob, label, condition)
        except ObjectNotFoundError:
            self._require(target)
            raise ObjectNotFoundError(f"there is no {self._label(source, home)}") from None
        except ObjectChangedError:
            if condition is not None:
                condition.check("", label)
            raise

    def set_metadata(
        self,
        key: str,
        metadata: Mapping[str, str],
        *,
        etag: str | None = None,
        bucket: str | None = None,
    ) -> PutResult:
        if not metadata:  # without any in the request, the server keeps the old ones
            return super().set_metadata(key, metadata, etag=etag, bucket=bucket)
        name = self._bucket(bucket)
        label, info = self._label(key, name), self.head(key, bucket=name)
        if etag is not None:
            IfMatch(etag).check(info.etag, label)
        options = self._checked(key, self._options_like(info, metadata))
        blob = self._blob(name, key)
        blob.metadata = dict(options.metadata or {})
        for header, value in {**options.headers, "content_type": options.content_type}.items():
            setattr(blob, header, value)
        return self._rewrite(
            self._blob(name, key, int(info.etag or 0)), blob, label, options.condition
        )

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
                    return PutResult(str(blob.generation))

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
        except ObjectNotFoundError:
            found = False
        except AccessDeniedError:
            found = True  # reading objects may be allowed
        except (InvalidNameError, ValueError):
            found = False
        if found:
            self._connection.known_buckets.add(bucket)
        return found

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        if not bucket:
            raise InvalidNameError("a bucket name must not be empty")
        with self._connection.request(f"bucket '{bucket}' at {self._address}"):
            try:
                self._connection.client.create_bucket(bucket, **_READ)
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
        self._connection.known_buckets.discard(bucket)

    def native_object(self, key: str, *, bucket: str | None = None) -> Any:
        return self._blob(self._bucket(bucket), key)

    def native_bucket(self, bucket: str | None = None) -> Any:
        return self._connection.bucket(self._bucket(bucket))

    # -- helpers ---------------------------------------------------------------------------------

    def _label(self, key: str, bucket: str) -> str:
        return f"object '{key}' in bucket '{bucket}' at {self._address}"

    def _blob(
        self, bucket: str, key: str, generation: int | None = None, *, pays: bool = False
    ) -> Any:
        try:
            length = len(key.encode())
        except UnicodeEncodeError:
            raise InvalidNameError(f"the name {key!r} is not valid Unicode text") from None
        if not 0 < length <= _MAX_KEY_BYTES or {*key} & {"\r", "\n", "\0"} or key in (".", ".."):
            raise InvalidNameError(
                f"{shorten(key)!r} cannot be the name of an object on Google Cloud Storage: names "
                f"have 1 to {_MAX_KEY_BYTES} bytes, no line breaks, and are not '.' or '..'"
            )
        return self._connection.bucket(bucket, pays=pays).blob(key, generation=generation)

    @staticmethod
    def _generation(label: str, condition: IfAbsent | IfMatch | None) -> int | None:
        """Return the generation that an object must have; 0 means none."""
        if isinstance(condition, IfMatch):
            text = condition.etag.strip('"')
            if not text.isdecimal():
                condition.check("another", label)
            return int(text)
        return None if condition is None else 0

    def _require(self, bucket: str) -> None:
        """Raise if a bucket does not exist; one request per process and bucket."""
        if bucket not in self._connection.known_buckets and not self.has_bucket(bucket):
            raise self._no_bucket(bucket)

    def _no_bucket(self, bucket: str) -> BucketNotFoundError:
        return BucketNotFoundError(
            f"there is no bucket '{bucket}' at {self._address}; cci.show_buckets() lists yours"
        )


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


class _BodyFile(io.RawIOBase):
    """A body as a file that Google's client reads, once."""

    def __init__(self, body: Body, label: str) -> None:
        self._blocks = regroup(iter(body), MiB)
        self._pending = b""
        self._size, self._position = body.size, 0
        self._label = label

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, fewer only at the end.

        Raises
        ------
        IntegrityError
            If the body has another size than it announced.
        """
        parts, missing = [self._pending], size if size is not None and size >= 0 else None
        held = len(self._pending)
        while missing is None or held < missing:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(bytes(block))
            held += len(block)
        data = b"".join(parts)
        cut = len(data) if missing is None else min(missing, len(data))
        data, self._pending = data[:cut], data[cut:]
        self._position += len(data)
        at_end = missing is None or len(data) < missing
        wrong = self._position != self._size if at_end else self._position > (self._size or 2**63)
        if self._size is not None and wrong:
            raise IntegrityError(
                f"the data for {self._label} has another size than the announced {self._size} "
                f"bytes; nothing was stored"
            )
        return data

    def unread(self, data: bytes) -> None:
        """Return bytes that were read at the start."""
        self._pending, self._position = data + self._pending, 0
