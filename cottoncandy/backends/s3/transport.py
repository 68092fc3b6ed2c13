"""Requests with bodies: obstore tries once, botocore finishes; and what the server understands.

obstore is fast and sends each request once. Success, "not found" and "precondition failed" are
final. Anything else is repeated through botocore, whose retries and errors decide. Requests that
obstore cannot express are sent by botocore only.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from isal.isal_zlib import crc32

from cottoncandy.backends.base import IfAbsent, IfMatch, ObjectInfo, PutOptions, PutResult
from cottoncandy.backends.pages import quoted_etag
from cottoncandy.backends.ranges import AT_ONCE_BYTES, GetResponse
from cottoncandy.backends.responses import content_range, header_text
from cottoncandy.backends.s3.clients import Connection
from cottoncandy.backends.s3.errors import (
    ErrorDetails,
    S3Location,
    confirmed,
    from_details,
    parse_error,
    shown,
    translated,
)
from cottoncandy.backends.s3.keys import (
    decode_metadata_names,
    has_dot_segments,
    obstore_accepts_key,
)
from cottoncandy.backends.s3.native import library
from cottoncandy.core.buffers import PIECE_BYTES, Buffer, MiB
from cottoncandy.core.threads import abandoned, interruptible
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    InvalidNameError,
    ObjectChangedError,
    ObjectNotFoundError,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Whether a server honors the conditions of uploads, by endpoint, for all connections.
_honor_conditions: dict[str, bool] = {}

# Larger uploads may take longer than the read timeout allows for a response.
_SLOW_UPLOAD_BYTES = MiB // 4
_WHOLE_BYTES = 4 * MiB  # an opening request returns bodies up to this size in one piece

# Headers that obstore and boto3 do not treat as user metadata: obstore's name -> boto3's.
_HEADERS = {
    name: name.replace("-", "")
    for name in (
        *("Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language"),
        *("Content-Type", "Storage-Class"),
    )
}
_ATTRIBUTES = frozenset(map(str.lower, _HEADERS))
# Headers that obstore has no attributes for: its stores send them with every upload.
_SIGNED = {
    "ACL": "x-amz-acl",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "RequestPayer": "x-amz-request-payer",
}
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Transport:
    """All requests with bodies, and headers, of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(
        self, location: S3Location, start: int, stop: int, etag: str | None = None
    ) -> GetResponse:
        """Send a GET for a range of the version with that ETag.

        Without an ETag, the response is from the current version, and may be shorter, or begin
        elsewhere if the range does not exist. A negative start means the last ``-start`` bytes.
        """
        return self._send(self._obstore_get, self._boto_get, location, start, stop, etag)

    def head(self, location: S3Location) -> ObjectInfo:
        """Return the header of an object, with its metadata."""
        return self._send(self._obstore_head, self._boto_head, location)

    def put(self, location: S3Location, data: Buffer, options: PutOptions) -> PutResult:
        """Upload a body with one request."""
        return self._send(self._obstore_put, self._boto_put, location, data, options)

    def _send(
        self,
        by_obstore: Callable[..., T],
        by_boto: Callable[..., T],
        location: S3Location,
        *arguments: Any,
    ) -> T:
        """Send a request, a second time through botocore unless the first response is final."""
        options = arguments[-1] if arguments and isinstance(arguments[-1], PutOptions) else None
        if not self._obstore_can_express(location, options):
            return by_boto(location, *arguments)
        try:
            return interruptible(lambda: by_obstore(location, *arguments))
        except (CottonCandyError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise  # nothing was sent: there are no credentials, or the options are invalid
        except FileNotFoundError as exc:
            if options is None:  # for a PUT, botocore's error names the missing thing
                raise from_details(ErrorDetails(404), location) from shown(exc)
        except library().exceptions.PreconditionError as exc:
            raise from_details(ErrorDetails(412), location) from shown(exc)
        except BaseException as exc:  # noqa: BLE001 - PanicException is not an Exception
            self._connection.counter.add(retries=1)
            logger.debug("%s: repeating a request after %s", location, type(exc).__name__)
        return by_boto(location, *arguments)

    def _obstore_can_express(self, location: S3Location, options: PutOptions | None) -> bool:
        if (
            not obstore_accepts_key(location.key)
            # Access points and S3 Express have special bucket names.
            or ":" in location.bucket
            or location.bucket.endswith("--x-s3")
            or not self._connection.obstore_usable
        ):
            return False
        return options is None or (
            options.condition is None
            and not self._connection.options.unsigned  # the body would have no checksum
            and all(map(_HEADER_VALUE.fullmatch, boto_headers(options).values()))
            and _ATTRIBUTES.isdisjoint(options.metadata or ())
        )

    # -- what the server understands ------------------------------------------------------------

    def require_exact_key(self, location: S3Location) -> None:
        """Raise if the server would store an object under another key, ``a/../b`` as ``b``.

        Raises
        ------
        InvalidNameError
            Before anything is sent that could overwrite another object.
        """
        key = location.key
        if "\x00" in key:
            raise InvalidNameError(f"{location}: servers cut names at a NUL character; remove it")
        if self._connection.on_aws:
            return
        # Keys that become the bucket itself if the server normalizes paths: then a listing comes.
        probes = {"dots": f"{secrets.token_hex(8)}/.."} if has_dot_segments(key) else {}
        if "//" in key or key.startswith("/"):
            probes["slashes"] = "/"
        for kind, probe in probes.items():
            fact = ("normalizes", location.bucket, kind)
            if self._connection.cached(fact, self._returns_listing, location, probe):
                raise InvalidNameError(
                    f"{location}: this server merges slashes or resolves '.' and '..' in names, so "
                    f"the object would be stored under another one; choose a name without them"
                )

    def _returns_listing(self, location: S3Location, probe: str) -> bool:
        try:
            response = self._connection.call(location, "get_object", Key=probe)
        except InvalidNameError:
            return True
        except CottonCandyError as exc:
            if parse_error(exc).status in (404, 403):
                return False
            raise
        with translated(location), response["Body"] as body:
            return b"ListBucketResult" in body.read(2048)

    def honors_conditions(self, location: S3Location) -> bool:
        """Return whether a put with a condition is one atomic step: found out once per process.

        AWS is known to honor them. Another server is asked to store an empty object next to this
        one if its ETag is one that it cannot have. One that stores it ignores conditions.
        """
        if self._connection.on_aws:
            return True
        endpoint = self._connection.endpoint
        if endpoint not in _honor_conditions:
            probe = location._replace(key=f"{location.key}.cc-probe-{secrets.token_hex(16)}")
            try:
                self.put(probe, b"", PutOptions(condition=IfMatch("0" * 32)))
            except CottonCandyError as exc:
                status = parse_error(exc).status
                if status not in (404, 412, 501):
                    raise  # denied, or no connection: conditions may be supported
                _honor_conditions[endpoint] = status != 501
            else:
                _honor_conditions[endpoint] = False
                self._connection.call(probe, "delete_object")
            if not _honor_conditions[endpoint]:
                logger.warning(
                    "not atomic here: %s ignores the conditions of uploads; with overwrite=False, "
                    "if_match= and replacements of chunked arrays, another client may store an "
                    "object between the check and the upload",
                    location.endpoint,
                )
        return _honor_conditions[endpoint]

    # -- obstore, whose errors are raised unchanged ----------------------------------------------

    def _obstore_get(
        self, location: S3Location, start: int, stop: int, etag: str | None
    ) -> GetResponse:
        options: dict[str, Any] = {} if etag is None else {"if_match": etag}
        if stop < sys.maxsize:  # Ceph answers a request without a range sooner
            options["range"] = {"suffix": -start} if start < 0 else (start, stop)
        info, result = self._obstore_open(location, options)
        start, stop = result.range
        if stop - start <= (AT_ONCE_BYTES if etag else _WHOLE_BYTES):
            body = memoryview(result.bytes())  # no copy: it has the buffer protocol
            if len(body) != stop - start:
                raise EOFError
            self._connection.counter.add(received=len(body))
            return GetResponse(info, start, stop, iter((body,)))
        pieces = self._connection.counter.received(_obstore_pieces(location, result))
        return GetResponse(info, start, stop, pieces)

    def _obstore_head(self, location: S3Location) -> ObjectInfo:
        return self._obstore_open(location, {"head": True})[0]

    def _obstore_put(self, location: S3Location, data: Buffer, options: PutOptions) -> PutResult:
        headers = boto_headers(options)
        attributes = dict(options.metadata or {})
        attributes |= {name: headers[its] for name, its in _HEADERS.items() if its in headers}
        signed = tuple((name, headers[its]) for its, name in _SIGNED.items() if its in headers)
        slow = len(data) > _SLOW_UPLOAD_BYTES
        store = self._connection.obstore(location.bucket, signed, slow)
        self._connection.counter.add(1, len(data))
        result = library().put(
            store, location.key, data, attributes=attributes, use_multipart=False
        )
        return PutResult(quoted_etag(result["e_tag"]), result["version"])

    def _obstore_open(
        self, location: S3Location, options: Mapping[str, Any]
    ) -> tuple[ObjectInfo, Any]:
        store = self._connection.obstore(location.bucket)
        self._connection.counter.add(1)
        result: Any = library().get(store, location.key, options=options)
        meta, attributes = result.meta, dict(result.attributes)
        header = {its: attributes.pop(name, None) for name, its in _HEADERS.items()}
        if (header["ContentType"] or "").startswith("text/html"):
            # obstore follows redirects, which may end at a login page; botocore raises.
            raise OSError("perhaps not the store's response")
        header["LastModified"], header["ETag"] = meta["last_modified"], meta["e_tag"]
        return _info(location, header, meta["size"], attributes), result

    # -- boto3: every key byte for byte, all options of a ``Config``, retries --------------------

    def _boto_get(
        self, location: S3Location, start: int, stop: int, etag: str | None
    ) -> GetResponse:
        request = {} if etag is None else {"IfMatch": etag}
        if start or etag is not None:
            request["Range"] = f"bytes={start}" if start < 0 else f"bytes={start}-{stop - 1}"
        # Without a range, which an empty object does not have, the rest of the body is not read.
        try:
            response = self._connection.call(location, "get_object", **request)
        except ObjectChangedError:  # status 416
            if etag is not None or not start:
                raise
            response = self._connection.call(location, "get_object")
        body = response["Body"]
        try:
            size = length = body_length(location, response)
            found = content_range(response, "ContentRange")
            if found is not None and found[1] - found[0] == length:
                start, stop, size = found
            elif found is None and etag is None:  # the whole body, which may be empty
                start, stop = 0, size if start else stop
            else:  # compressed, or cut
                raise IntegrityError(
                    f"{location}: the server (or a proxy before it) did not return the "
                    f"requested range of bytes"
                )
            info = _boto_info(location, response, size)
        except CottonCandyError:
            body.close()
            raise
        pieces = self._connection.counter.received(_boto_pieces(location, body))
        return GetResponse(info, start, min(stop, size), pieces, body.close)

    def _boto_head(self, location: S3Location) -> ObjectInfo:
        try:
            response = self._connection.call(location, "head_object")
        except CottonCandyError as exc:
            if parse_error(exc).status not in (400, 401, 403):
                raise
            # A response to HEAD has no body with the reason. Denied never means "not found".
            try:
                response = self._connection.call(location, "get_object")
            except ObjectNotFoundError:
                raise exc from exc.__cause__
            response["Body"].close()
        return _boto_info(location, response, body_length(location, response))

    def _boto_put(self, location: S3Location, data: Buffer, options: PutOptions) -> PutResult:
        response = self._connection.call(
            location,
            "put_object",
            **boto_arguments(options),
            **boto_condition(options, on_aws=self._connection.on_aws),
            **body_digest(self._connection, data),
            Body=ViewReader(memoryview(data)),
        )
        etag = confirmed(response.get("ETag"), "ETag", location)
        return PutResult(quoted_etag(etag), response.get("VersionId"))


def _obstore_pieces(location: S3Location, result: Any) -> Iterator[Buffer]:
    stream = result.stream(PIECE_BYTES)
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


def _boto_pieces(location: S3Location, body: Any) -> Iterator[Buffer]:
    with translated(location):
        yield from body.iter_chunks(PIECE_BYTES)


def boto_arguments(options: PutOptions) -> dict[str, Any]:
    """Return the arguments of PutObject and CreateMultipartUpload."""
    return {"Metadata": dict(options.metadata or {}), **boto_headers(options)}


def boto_headers(options: PutOptions) -> dict[str, str]:
    """Return the arguments that become headers, except metadata."""
    kms = "aws:kms" if options.sse_kms_key_id else None
    named = {
        "ACL": options.acl,
        "ContentType": options.content_type,
        "ContentEncoding": options.content_encoding,
        "CacheControl": options.cache_control,
        "StorageClass": options.storage_class,
        "ServerSideEncryption": options.server_side_encryption or kms,
        "SSEKMSKeyId": options.sse_kms_key_id,
        "RequestPayer": options.request_payer,
    }
    return {name: value for name, value in named.items() if value is not None}


def boto_condition(options: PutOptions, *, on_aws: bool) -> dict[str, str]:
    """Return the condition of PutObject and CompleteMultipartUpload."""
    match options.condition:
        case IfMatch(etag):
            bare = etag.strip('"')
            return {"IfMatch": f'"{bare}"' if on_aws else bare}  # Ceph never matches quotes
        case IfAbsent():
            return {"IfNoneMatch": "*"}
    return {}


def body_digest(connection: Connection, data: Buffer) -> dict[str, str]:
    """Return the MD5 of a body as an argument, unless the signature or botocore protects it."""
    config = connection.client.meta.config
    signed = config.signature_version in ("s3v4", "v4") and config.s3["payload_signing_enabled"]
    if signed or config.request_checksum_calculation == "when_supported":
        return {}
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return {"ContentMD5": base64.b64encode(digest).decode()}


@dataclass(eq=False, slots=True)
class ViewReader:
    """A file over a buffer, for boto3; reading ends if the upload is not awaited any more.

    Parameters
    ----------
    view : memoryview
    changes : bool, default False
        Whether something else may change the buffer: then reads return copies. They are short,
        because botocore hashes a copy in the processor's cache sooner than the buffer itself.
    """

    view: memoryview
    changes: bool = False
    #: CRC-32 of the copies since the start of the request.
    checksum: int = field(default=0, init=False)
    _position: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self.view)

    def read(self, size: int | None = -1) -> memoryview | bytes:
        """Return the next bytes: other lengths than requested, because http.client wants 16 KiB."""
        if abandoned():
            raise CancelledUploadError
        if size is None or size < 0:
            size = len(self.view)
        elif self.changes:
            size = PIECE_BYTES
        block: memoryview | bytes = self.view[self._position :][: max(size, PIECE_BYTES)]
        self._position += len(block)
        if self.changes:
            block = bytes(block)
            self.checksum = crc32(block, self.checksum)
        return block if len(block) else b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position, as files do."""
        base = (0, self._position, len(self.view))[whence]
        self._position = base + offset
        self.checksum = 0  # a request begins at the start, even if it is repeated
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position


class CancelledUploadError(Exception):
    """The upload that this part belongs to was cancelled."""


def body_length(location: S3Location, response: Mapping[str, Any]) -> int:
    """Return the length of the body, which every S3 server sends."""
    length: int | None = response.get("ContentLength")
    return confirmed(
        None if length is None or length < 0 else (length,), "Content-Length", location
    )[0]


def _boto_info(location: S3Location, response: Mapping[str, Any], size: int) -> ObjectInfo:
    metadata = response.get("Metadata", {})
    decoded = {name.lower(): header_text(value) for name, value in metadata.items()}
    return _info(location, response, size, decoded)


def _info(
    location: S3Location, header: Mapping[str, Any], size: int, metadata: dict[str, str]
) -> ObjectInfo:
    """Return the header of an object, from the fields of a response, in boto3's names."""
    return ObjectInfo(
        location.key,
        size,
        header.get("LastModified"),
        quoted_etag(confirmed(header.get("ETag"), "ETag", location)),
        decode_metadata_names(metadata),
        header.get("ContentType"),
        header.get("ContentEncoding"),
        header.get("CacheControl"),
        header.get("StorageClass"),
    )
