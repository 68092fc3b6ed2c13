"""Requests with bodies: obstore tries once, botocore finishes.

obstore is fast and sends each request once. Success, "not found" and "precondition failed" are
final. Anything else is repeated through botocore, whose retries and errors decide. Requests that
obstore cannot express are sent by botocore only.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import botocore.exceptions as boto
import obstore
from obstore.exceptions import PreconditionError

from cottoncandy.backends.base import IfAbsent, IfMatch, ObjectInfo, PutOptions, PutResult
from cottoncandy.backends.s3.clients import Connection
from cottoncandy.backends.s3.errors import (
    ErrorDetails,
    S3Location,
    confirmed,
    from_details,
    parse_error,
    translated,
)
from cottoncandy.backends.s3.keys import (
    decode_metadata_names,
    obstore_accepts_key,
    obstore_accepts_metadata,
    quoted_etag,
)
from cottoncandy.core.buffers import Buffer, MiB
from cottoncandy.core.threads import interruptible
from cottoncandy.exceptions import CottonCandyError, IntegrityError

__all__ = ["BodyTransport", "GetResponse", "ViewReader", "boto_arguments", "boto_condition"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_PIECE_BYTES = MiB // 4  # stays in the CPU cache for the next consumer

#: Bodies up to this size are received whole with the header.
AT_ONCE_BYTES = MiB

# Larger uploads may take longer than the read timeout allows for a response.
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
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


@dataclass(frozen=True, slots=True)
class GetResponse:
    """A response to a GET whose header has arrived.

    Parameters
    ----------
    info : ObjectInfo
        The header of the object.
    start, stop : int
        The range of bytes to read from ``pieces``, which may yield more.
    pieces : iterator of buffers
        The body as it arrives.
    close : callable
        Discard a body that is not read to its end.
    """

    info: ObjectInfo
    start: int
    stop: int
    pieces: Iterator[Buffer]
    close: Callable[[], None] = lambda: None


class _Transport(Protocol):
    """One library's way to send a request."""

    def get(self, location: S3Location, start: int, stop: int, etag: str | None) -> GetResponse: ...

    def head(self, location: S3Location) -> ObjectInfo: ...

    def put(self, location: S3Location, data: Buffer, options: PutOptions) -> PutResult: ...


class BodyTransport:
    """All requests with bodies, and headers, of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._obstore = ObstoreTransport(connection)
        self._boto = BotoTransport(connection)

    def get(
        self, location: S3Location, start: int, stop: int, etag: str | None = None
    ) -> GetResponse:
        """Send a GET for a range of the version with that ETag.

        Without an ETag, the response is the start of the current version, which may be shorter, or
        its last ``-start`` bytes.
        """
        return self._send(location, lambda by: by.get(location, start, stop, etag))

    def head(self, location: S3Location) -> ObjectInfo:
        """Return the header of an object, with its metadata."""
        return self._send(location, lambda by: by.head(location))

    def put(self, location: S3Location, data: Buffer, options: PutOptions) -> PutResult:
        """Upload a body with one request."""
        if not self._expressible(options):
            return self._boto.put(location, data, options)
        return self._send(location, lambda by: by.put(location, data, options), final=False)

    def _send(
        self, location: S3Location, send: Callable[[_Transport], T], *, final: bool = True
    ) -> T:
        """Send a request, a second time through botocore unless the first response is final."""
        bucket = location.bucket or ""
        if (
            not obstore_accepts_key(location.key or "")
            # Access points and S3 Express have special bucket names.
            or ":" in bucket
            or bucket.endswith("--x-s3")
            or not self._connection.obstore.usable
        ):
            return send(self._boto)
        try:
            return interruptible(lambda: send(self._obstore))
        except CottonCandyError:
            raise  # nothing was sent: there are no credentials, or the options are invalid
        except FileNotFoundError as exc:
            if final:
                raise from_details(ErrorDetails(404), location) from exc
        except PreconditionError as exc:
            raise from_details(ErrorDetails(412), location) from exc
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as exc:  # noqa: BLE001 - PanicException is not an Exception
            logger.debug("%s: repeating a request after %s", location, type(exc).__name__)
        return send(self._boto)

    def _expressible(self, options: PutOptions) -> bool:
        content_type = options.content_type
        return (
            options.condition is None
            and not options.headers
            and not self._connection.options.unsigned  # its bodies would have no checksum
            and (content_type is None or _HEADER_VALUE.fullmatch(content_type) is not None)
            and obstore_accepts_metadata(options.metadata or {})
        )


class ObstoreTransport:
    """Requests by obstore, whose errors are raised unchanged."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, location: S3Location, start: int, stop: int, etag: str | None) -> GetResponse:
        span = {"suffix": -start} if start < 0 else (start, stop)
        options = {"range": span, **({} if etag is None else {"if_match": etag})}
        result = self._get(location, options)
        start, stop = result.range
        if stop - start <= AT_ONCE_BYTES:
            body = memoryview(result.bytes())  # no copy: it has the buffer protocol
            if len(body) != stop - start:
                raise EOFError
            pieces: Iterator[Buffer] = iter((body,))
        else:
            pieces = self._pieces(location, result)
        return GetResponse(self._info(location, result), start, stop, pieces)

    def head(self, location: S3Location) -> ObjectInfo:
        return self._info(location, self._get(location, {"head": True}))

    def put(self, location: S3Location, data: Buffer, options: PutOptions) -> PutResult:
        attributes = dict(options.metadata or {})
        if options.content_type is not None:
            attributes["Content-Type"] = options.content_type
        slow = len(data) > _SLOW_UPLOAD_BYTES
        result = obstore.put(
            self._connection.obstore.store(location.bucket or "", options.acl, slow),
            location.key or "",
            data,
            attributes=attributes,
            use_multipart=False,
        )
        return PutResult(quoted_etag(result["e_tag"]), result["version"])

    def _get(self, location: S3Location, options: Mapping[str, Any]) -> Any:
        store = self._connection.obstore.store(location.bucket or "")
        return obstore.get(store, location.key or "", options=options)  # type: ignore[arg-type]  # a TypedDict made piece by piece

    @staticmethod
    def _pieces(location: S3Location, result: Any) -> Iterator[Buffer]:
        stream = result.stream(_PIECE_BYTES)
        while True:
            try:
                piece = interruptible(lambda: next(stream, None))
            except Exception as exc:
                raise IntegrityError(
                    f"{location}: the connection ended before the whole body had arrived; try again"
                ) from exc
            if piece is None:
                return
            yield piece

    @staticmethod
    def _info(location: S3Location, result: Any) -> ObjectInfo:
        meta, attributes = result.meta, result.attributes
        return ObjectInfo(
            location.key or "",
            meta["size"],
            meta["last_modified"],
            quoted_etag(confirmed(meta["e_tag"], "ETag", location)),
            decode_metadata_names(
                {n.lower(): v for n, v in attributes.items() if n not in _ATTRIBUTES}
            ),
            attributes.get("Content-Type"),
            attributes.get("Content-Encoding"),
            attributes.get("Cache-Control"),
            attributes.get("Storage-Class"),
        )


class BotoTransport:
    """Requests by boto3: every key byte for byte, all options of a ``Config``, retries."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, location: S3Location, start: int, stop: int, etag: str | None) -> GetResponse:
        request = {"Bucket": location.bucket, "Key": location.key}
        if etag is not None:
            request |= {"Range": f"bytes={start}-{stop - 1}", "IfMatch": etag}
        elif start < 0:
            request["Range"] = f"bytes={start}"
        # Without a range, which an empty object does not have, the rest of the body is not read.
        with translated(location):
            try:
                response = self._connection.client.get_object(**request)
            except boto.ClientError as exc:
                if start >= 0 or parse_error(exc).status != 416:
                    raise
                del request["Range"]
                response = self._connection.client.get_object(**request)
        body = response["Body"]
        try:
            size = length = _length(location, response)
        except CottonCandyError:
            body.close()
            raise
        found = _CONTENT_RANGE.fullmatch(response.get("ContentRange") or "")
        if start < 0 and found is None:
            start, stop = 0, size  # the whole body, which may be empty
        elif "Range" in request:
            if found is None:
                body.close()
                raise IntegrityError(
                    f"{location}: the server (or a proxy before it) did not return the requested "
                    f"range of bytes"
                )
            start, size = int(found[1]), int(found[3])
            stop = start + length
        info, pieces = _boto_info(location, response, size), self._pieces(location, body)
        return GetResponse(info, start, min(stop, size), pieces, body.close)

    def head(self, location: S3Location) -> ObjectInfo:
        client, request = self._connection.client, {"Bucket": location.bucket, "Key": location.key}
        with translated(location):
            try:
                response = client.head_object(**request)
            except boto.ClientError as exc:
                if parse_error(exc).status not in (400, 401, 403):
                    raise
                # A response to HEAD has no body with the reason. Denied never means "not found".
                try:
                    response = client.get_object(**request)
                except boto.ClientError as reason:
                    raise (reason if parse_error(reason).code != "NoSuchKey" else exc) from None
                response["Body"].close()
        return _boto_info(location, response, _length(location, response))

    def put(self, location: S3Location, data: Buffer, options: PutOptions) -> PutResult:
        with translated(location):
            client, digest = body_request(self._connection, location, data)
            response = client.put_object(
                **boto_arguments(options),
                **boto_condition(options),
                **digest,
                Bucket=location.bucket,
                Key=location.key,
                Body=ViewReader(memoryview(data)),
            )
        etag = confirmed(response.get("ETag"), "ETag", location)
        return PutResult(quoted_etag(etag), response.get("VersionId"))

    @staticmethod
    def _pieces(location: S3Location, body: Any) -> Iterator[Buffer]:
        with translated(location):
            yield from body.iter_chunks(_PIECE_BYTES)


def boto_arguments(options: PutOptions) -> dict[str, Any]:
    """Return the arguments of PutObject and CreateMultipartUpload."""
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

    The server checks the MD5, which the signature covers. It takes less than half the time of the
    SHA-256 that botocore would sign, and the server computes it anyway, for the ETag.
    """
    if not connection.signs_md5(location.bucket or ""):
        return connection.client, {}
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return connection.body_client, {"ContentMD5": base64.b64encode(digest).decode()}


class ViewReader:
    """A file over a buffer, for boto3: nothing is copied, and it can be cancelled."""

    _BLOCK_BYTES = MiB // 4

    def __init__(self, view: memoryview, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._view = view
        self._position = 0
        self._cancelled = cancelled

    def __len__(self) -> int:
        return len(self._view)

    def read(self, size: int | None = -1) -> memoryview | bytes:
        """Return the next bytes; more than requested, because http.client requests 16 KiB."""
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
    """The upload that this part belongs to was cancelled."""


def _length(location: S3Location, response: Mapping[str, Any]) -> int:
    """Return the length of the body, after a look whether an S3 server sent it."""
    confirmed(response.get("ETag"), "ETag", location)
    length: int | None = response.get("ContentLength")
    return confirmed(None if length is None else (length,), "Content-Length", location)[0]


def _boto_info(location: S3Location, response: Mapping[str, Any], size: int) -> ObjectInfo:
    metadata = {n.lower(): _decode(v) for n, v in response.get("Metadata", {}).items()}
    return ObjectInfo(
        location.key or "",
        size,
        response.get("LastModified"),
        quoted_etag(response.get("ETag")),
        decode_metadata_names(metadata),
        response.get("ContentType"),
        response.get("ContentEncoding"),
        response.get("CacheControl"),
        response.get("StorageClass"),
    )


def _decode(value: str) -> str:
    """Return a header's value as UTF-8; http.client decodes it as Latin-1."""
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except UnicodeError:
        return value
