"""The data plane: bodies of objects through obstore or, where it can't, through boto3.

Both classes have the same three methods, so nobody else asks which one carries an object.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import botocore.exceptions as boto
import obstore
from obstore.exceptions import GenericError

from cottoncandy._buffers import Buffer, MiB
from cottoncandy._parallel import interruptible
from cottoncandy.backends.base import IfAbsent, IfMatch, ObjectInfo, PutOptions, PutResult
from cottoncandy.backends.s3._connection import Connection
from cottoncandy.backends.s3._errors import S3Location, parse_error, translated
from cottoncandy.backends.s3._keys import decode_metadata_names, quoted_etag
from cottoncandy.exceptions import IntegrityError, ObjectChangedError

__all__ = ["Answer", "BotoPlane", "NativePlane", "Plane", "UnreadableHeadersError", "Upload"]

#: Bodies are copied into place in pieces of this size while they arrive.
PIECE_BYTES = MiB // 4  # stays in the processor's cache on its way

#: Bodies up to this size are received whole before the answer is returned.
AT_ONCE_BYTES = MiB

# Beyond this, an upload may take longer than the read timeout allows for an answer.
_SLOW_UPLOAD_BYTES = MiB // 4

_ATTRIBUTES = frozenset(
    {
        "Cache-Control",
        "Content-Disposition",
        "Content-Encoding",
        "Content-Language",
        "Content-Type",
        "Storage-Class",
    }
)
# Metadata that is not ASCII (by programs that don't check), or a header that a server leaves out.
_HEADERS = re.compile(r"Metadata value|InvalidMetadata|(?i:header)")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class UnreadableHeadersError(Exception):
    """obstore can't read the answer's headers; boto3 can."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A GET whose head has arrived.

    Parameters
    ----------
    info : ObjectInfo
        Of the whole object.
    start, stop : int
        The range of bytes that the body is.
    pieces : iterator of buffers
        The body as it arrives.
    close : callable
        Release a body that is not read to its end.
    """

    info: ObjectInfo
    start: int
    stop: int
    pieces: Iterator[Buffer]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Upload:
    """An object to be stored with one request.

    Parameters
    ----------
    options : PutOptions
        Metadata as the server stores it.
    """

    location: S3Location
    data: Buffer
    options: PutOptions


class Plane(Protocol):
    """What carries bodies."""

    def open(
        self, location: S3Location, span: tuple[int, int] | None = None, etag: str | None = None
    ) -> Answer:
        """Send a GET for a range (or all) of the version with that ETag (or the current one)."""
        ...

    def head(self, location: S3Location) -> ObjectInfo:
        """Return what a HEAD says, metadata included."""
        ...

    def put(self, upload: Upload) -> PutResult:
        """Store a body with one request."""
        ...


class NativePlane:
    """obstore: for keys and options that it can say."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(
        self, location: S3Location, span: tuple[int, int] | None = None, etag: str | None = None
    ) -> Answer:
        options: dict[str, Any] = {}
        if span is not None:
            options["range"] = span
        if etag is not None:
            options["if_match"] = etag
        result = self._get(location, options)
        start, stop = result.range

        def pieces() -> Iterator[Buffer]:
            stream = result.stream(PIECE_BYTES)
            while True:
                with translated(location):
                    piece = interruptible(lambda: next(stream, None))
                if piece is None:
                    return
                yield piece

        body: Iterator[Buffer] = pieces()
        if stop - start <= AT_ONCE_BYTES:
            with translated(location):
                # Speaks the buffer protocol; no copy.
                body = iter((memoryview(interruptible(result.bytes)),))
        return Answer(self._info(location, result), start, stop, body)

    def head(self, location: S3Location) -> ObjectInfo:
        return self._info(location, self._get(location, {"head": True}))

    def put(self, upload: Upload) -> PutResult:
        options = upload.options
        attributes = dict(options.metadata or {})
        if options.content_type is not None:
            attributes["Content-Type"] = options.content_type
        bucket, key = _names(upload.location)
        slow = len(upload.data) > _SLOW_UPLOAD_BYTES
        store = self._connection.native.store(bucket, acl=options.acl, slow_upload=slow)
        with translated(upload.location):
            result = interruptible(
                lambda: obstore.put(
                    store,
                    key,
                    upload.data,
                    attributes=attributes,
                    mode="create" if options.condition else "overwrite",
                    use_multipart=False,
                )
            )
        return PutResult(quoted_etag(result["e_tag"]), result["version"])

    def _get(self, location: S3Location, options: dict[str, Any]) -> Any:
        bucket, key = _names(location)
        store = self._connection.native.store(bucket)
        with translated(location):
            try:
                return interruptible(lambda: obstore.get(store, key, options=options))  # type: ignore[arg-type]  # a TypedDict made piece by piece
            except GenericError as exc:
                if _HEADERS.search(str(exc)) and not parse_error(exc).status:
                    raise UnreadableHeadersError from exc
                raise

    @staticmethod
    def _info(location: S3Location, result: Any) -> ObjectInfo:
        meta, attributes = result.meta, result.attributes
        return ObjectInfo(
            location.key or "",
            meta["size"],
            meta["last_modified"],
            quoted_etag(meta["e_tag"]),
            decode_metadata_names(
                {n.lower(): v for n, v in attributes.items() if n not in _ATTRIBUTES}
            ),
            attributes.get("Content-Type"),
            attributes.get("Content-Encoding"),
            attributes.get("Cache-Control"),
            attributes.get("Storage-Class"),
        )


class BotoPlane:
    """boto3: every key byte for byte, and whatever a ``Config`` can say."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(
        self, location: S3Location, span: tuple[int, int] | None = None, etag: str | None = None
    ) -> Answer:
        request: dict[str, Any] = {}
        if span is not None:
            request["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        if etag is not None:
            request["IfMatch"] = etag
        with translated(location):
            answer = self._connection.client.get_object(
                Bucket=location.bucket, Key=location.key, **request
            )
        length = answer["ContentLength"]
        start, size = 0, length
        if span is not None:
            found = _CONTENT_RANGE.fullmatch(answer.get("ContentRange") or "")
            if found is None or int(found[1]) != span[0]:
                answer["Body"].close()
                raise IntegrityError(
                    f"{location}: the server (or a proxy before it) did not answer with the range "
                    f"of bytes that was asked for"
                )
            start, size = int(found[1]), int(found[3])
        body = answer["Body"]

        def pieces() -> Iterator[Buffer]:
            with translated(location), contextlib.closing(body):
                yield from body.iter_chunks(PIECE_BYTES)

        info = _boto_info(location, answer, size)
        arriving: Iterator[Buffer] = pieces()
        if length <= AT_ONCE_BYTES:
            arriving = iter(list(arriving))
        return Answer(info, start, start + length, arriving, body.close)

    def head(self, location: S3Location) -> ObjectInfo:
        with translated(location):
            answer = self._connection.client.head_object(Bucket=location.bucket, Key=location.key)
        return _boto_info(location, answer, answer["ContentLength"])

    def put(self, upload: Upload) -> PutResult:
        location = upload.location
        request = {**boto_arguments(upload.options), **boto_condition(upload.options)}
        with translated(location):
            client, digest = body_request(self._connection, location, upload.data)
            answer = client.put_object(
                **digest,
                Bucket=location.bucket,
                Key=location.key,
                Body=ViewReader(memoryview(upload.data)),
                **request,
            )
        return PutResult(quoted_etag(answer.get("ETag")), answer.get("VersionId"))


def boto_arguments(options: PutOptions) -> dict[str, Any]:
    """Return what PutObject and CreateMultipartUpload specify about an object."""
    named = {
        "ACL": options.acl,
        "ContentType": options.content_type,
        "ContentEncoding": options.content_encoding,
        "CacheControl": options.cache_control,
        "StorageClass": options.storage_class,
    }
    given = {name: value for name, value in named.items() if value is not None}
    return {"Metadata": dict(options.metadata or {}), **given}


def boto_condition(options: PutOptions) -> dict[str, str]:
    """Return the condition of PutObject and CompleteMultipartUpload."""
    match options.condition:
        case IfMatch(etag):
            return {"IfMatch": etag}
        case IfAbsent():
            return {"IfNoneMatch": "*"}
    return {}


def body_request(
    connection: Connection, location: S3Location, data: Buffer
) -> tuple[Any, dict[str, str]]:
    """Return the boto3 client for a request with a body, and the arguments that protect the body.

    The server checks the MD5 that the signature covers. Both sides compute it in less than half the
    time of the SHA-256 that botocore would sign, and the server does anyway, for the ETag.
    """
    if not connection.signs_md5(location.bucket or ""):
        return connection.client, {}
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return connection.body_client, {"ContentMD5": base64.b64encode(digest).decode()}


class ViewReader:
    """A file over a buffer, for boto3: nothing is copied, and it can be told to stop."""

    _BLOCK_BYTES = MiB // 4

    def __init__(self, view: memoryview, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._view = view
        self._position = 0
        self._cancelled = cancelled

    def __len__(self) -> int:
        return len(self._view)

    def read(self, size: int | None = -1) -> memoryview | bytes:
        """Return the next bytes; more than asked for, because http.client asks for 16 KiB."""
        if self._cancelled():
            raise CancelledUploadError
        if size is None or size < 0:
            size = len(self._view)
        block = self._view[self._position :][: max(size, self._BLOCK_BYTES)]
        self._position += len(block)
        return block if len(block) else b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position, as files do."""
        base = (0, self._position, len(self._view))[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position


class CancelledUploadError(Exception):
    """The upload that wants to go on was given up."""


def _names(location: S3Location) -> tuple[str, str]:
    if location.bucket is None or location.key is None:
        raise TypeError("an object request needs a bucket and a key")
    return location.bucket, location.key


def _boto_info(location: S3Location, answer: Mapping[str, Any], size: int) -> ObjectInfo:
    return ObjectInfo(
        location.key or "",
        size,
        answer.get("LastModified"),
        quoted_etag(answer.get("ETag")),
        decode_metadata_names({n.lower(): _text(v) for n, v in answer.get("Metadata", {}).items()}),
        answer.get("ContentType"),
        answer.get("ContentEncoding"),
        answer.get("CacheControl"),
        answer.get("StorageClass"),
    )


def _text(value: str) -> str:
    """Return a header's value as the UTF-8 that it was sent as; http.client reads Latin-1."""
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except UnicodeError:
        return value


def check_same(found: ObjectInfo, opened: ObjectInfo, location: S3Location) -> None:
    """Raise if an answer is of another version than the one that was opened."""
    if found.etag != opened.etag or found.size != opened.size:
        raise ObjectChangedError(f"{location} was replaced while it was read; read it again")


def is_range_refusal(exc: BaseException) -> bool:
    """Tell whether an error is the 416 answer to a range: the object is empty (or shorter)."""
    cause = exc.__cause__
    if not isinstance(cause, (GenericError, boto.ClientError)):
        return False
    failure = parse_error(cause)
    return failure.status == 416 or failure.code == "InvalidRange"
