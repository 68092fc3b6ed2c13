"""Objects: opening and storing them, by whichever client can say what is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from cottoncandy._body import Body
from cottoncandy._buffers import Buffer, MiB
from cottoncandy._parallel import interruptible
from cottoncandy.backends.base import (
    IfAbsent,
    IfMatch,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
)
from cottoncandy.backends.s3._buckets import Buckets, refuses_acls
from cottoncandy.backends.s3._connection import Connection
from cottoncandy.backends.s3._errors import S3Location, parse_error
from cottoncandy.backends.s3._keys import (
    check_key,
    encode_metadata_names,
    obstore_accepts_key,
    obstore_accepts_metadata,
)
from cottoncandy.backends.s3._names import KeyNormalizationProbe
from cottoncandy.backends.s3._plane import (
    Answer,
    BotoPlane,
    NativePlane,
    Plane,
    UnreadableHeadersError,
    Upload,
    boto_arguments,
    boto_condition,
    is_range_refusal,
)
from cottoncandy.backends.s3._reader import S3Reader, window_bytes
from cottoncandy.backends.s3._upload import (
    GATHERED_AHEAD_BYTES,
    MultipartUpload,
    buffer_parts,
    checked_blocks,
    gathered_parts,
    part_sizes,
)
from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    InvalidNameError,
    ObjectNotFoundError,
    StoreError,
)

__all__ = ["Objects"]

T = TypeVar("T")

# obstore signs the SHA-256 of a body. From here on that takes longer than boto3 takes to begin.
_DIGEST_FROM_BYTES = MiB


class Objects:
    """The objects of one connection."""

    def __init__(self, connection: Connection, buckets: Buckets) -> None:
        self._connection = connection
        self._buckets = buckets
        self._names = KeyNormalizationProbe(connection)
        self._native = NativePlane(connection)
        self._boto = BotoPlane(connection)

    def _location(self, bucket: str, key: str) -> S3Location:
        return S3Location(self._connection.endpoint, bucket, key)

    def _plane(self, bucket: str, key: str, metadata: Mapping[str, str] | None = None) -> Plane:
        """Return the client that can say the key, the metadata and the options."""
        if (
            obstore_accepts_key(key)
            and (metadata is None or obstore_accepts_metadata(metadata))
            # Access points and S3 Express have names of a special kind.
            and not (":" in bucket or bucket.endswith("--x-s3"))
            and self._connection.native.usable
        ):
            return self._native
        return self._boto

    # -- reading ---------------------------------------------------------------------------------

    def get(self, bucket: str, key: str, *, threads: int, prefetch: bool) -> ObjectReader:
        """Open an object with one request."""
        check_key(key)
        window = window_bytes(self._connection.options.settings.mpd_chunksize_bytes)
        location = self._location(bucket, key)
        plane = self._plane(bucket, key)
        try:
            info, first = self._open(plane, location, window, prefetch)
        except UnreadableHeadersError:
            plane = self._boto
            info, first = self._open(plane, location, window, prefetch)
        self._buckets.remember(bucket)
        return S3Reader(plane, location, info, first, window_bytes=window, threads=threads)

    def _open(
        self, plane: Plane, location: S3Location, window: int, prefetch: bool
    ) -> tuple[ObjectInfo, Answer | None]:
        if not prefetch:
            return self._head(plane, location), None
        answer = interruptible(lambda: self._first_window(plane, location, window))
        return answer.info, answer

    @staticmethod
    def _first_window(plane: Plane, location: S3Location, window: int) -> Answer:
        """Ask for the start of the body."""

        def checked(answer: Answer) -> Answer:
            if answer.start != 0:
                answer.close()
                raise StoreError(f"{location}: the server answered with another range")
            return answer

        try:
            return checked(plane.open(location, (0, window)))
        except CottonCandyError as exc:
            if not is_range_refusal(exc):
                raise
        # An empty object has no range to give.
        return checked(plane.open(location))

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """Return what a HEAD says."""
        check_key(key)
        location = self._location(bucket, key)
        try:
            return self._head(self._plane(bucket, key), location)
        except UnreadableHeadersError:
            return self._head(self._boto, location)

    def _head(self, plane: Plane, location: S3Location) -> ObjectInfo:
        bucket = location.bucket or ""
        try:
            info = plane.head(location)
        except ObjectNotFoundError:
            # The answer to a HEAD has no body, so it doesn't say what is missing.
            self._buckets.require(bucket)
            raise
        except (AccessDeniedError, StoreError) as exc:
            if parse_error(exc.__cause__ or exc).status in (400, 401, 403):
                self._explain(location)
            raise
        self._buckets.remember(bucket)
        return info

    def _explain(self, location: S3Location) -> None:
        """Send a GET for what a HEAD was refused: its answer says why."""
        try:
            self._boto.open(location, (0, 1)).close()
        except ObjectNotFoundError:
            return  # a refusal never means "missing"
        except CottonCandyError as exc:
            if parse_error(exc.__cause__ or exc).code:
                raise

    # -- writing ---------------------------------------------------------------------------------

    def put(
        self,
        bucket: str,
        key: str,
        body: Body,
        options: PutOptions,
        *,
        threads: int,
    ) -> PutResult:
        """Store an object: with one request if it is small, else by multipart upload."""
        check_key(key, writing=True)
        location = self._location(bucket, key)
        condition = options.condition
        if not self._connection.on_aws:
            options = replace(options, metadata=encode_metadata_names(key, options.metadata or {}))
        self._names.require(location)
        if condition is not None and not self._connection.on_aws:
            # Stores that don't know conditions would silently overwrite.
            self.require(bucket, key, condition)
            if isinstance(condition, IfMatch):
                options = replace(options, condition=None)

        def with_acl(chosen: str | None) -> PutOptions:
            return replace(options, acl=chosen)

        def single(data: Buffer) -> PutResult:
            plain = len(data) < _DIGEST_FROM_BYTES and not (
                options.headers or isinstance(options.condition, IfMatch)
            )
            plane = self._plane(bucket, key, options.metadata or {}) if plain else self._boto
            return self.with_acl(
                bucket,
                options.acl,
                lambda chosen: _understood(
                    key, lambda: plane.put(Upload(location, data, with_acl(chosen)))
                ),
            )

        def multipart(parts: Iterator[memoryview], at_once: int) -> PutResult:
            upload = self.with_acl(
                bucket,
                options.acl,
                lambda chosen: _understood(
                    key,
                    lambda: MultipartUpload(
                        self._connection, location, boto_arguments(with_acl(chosen))
                    ),
                ),
            )
            complete = boto_condition(options) if self._connection.on_aws else {}
            return upload.send(parts, threads=at_once, complete=complete)

        try:
            result = self._store(body, location, single, multipart, max(threads, 1))
        except CottonCandyError as exc:
            if condition is not None and parse_error(exc.__cause__ or exc).status == 412:
                raise unmet(condition, location) from exc
            raise
        self._buckets.remember(bucket)
        return result

    def _store(
        self,
        body: Body,
        location: S3Location,
        single: Callable[[Buffer], PutResult],
        multipart: Callable[[Iterator[memoryview], int], PutResult],
        threads: int,
    ) -> PutResult:
        settings = self._connection.options.settings
        threshold = min(settings.mpu_use_threshold_bytes, settings.max_put_size_bytes)
        if body.size is not None and body.size <= max(threshold, settings.min_mpu_size_bytes):
            return single(body.read())  # a copy, so that a retry sends the same bytes
        if body.buffer is not None:
            sizes = part_sizes(settings, len(body.buffer), gathered=False)
            return multipart(buffer_parts(body.buffer, sizes), threads)
        sizes = part_sizes(settings, body.max_size, gathered=True)
        parts = gathered_parts(checked_blocks(body, location), sizes)
        # Two parts or the end must be seen before anything is sent.
        begun = [part for _, part in zip(range(2), parts, strict=False)]
        if len(begun) < 2:
            return single(begun[0] if begun else b"")
        at_once = max(min(threads, GATHERED_AHEAD_BYTES // len(begun[0])), 1)
        return multipart(chain(_drain(begun), parts), at_once)

    def with_acl(self, bucket: str, acl: str | None, send: Callable[[str | None], T]) -> T:
        """Send with the ACL; where the bucket refuses ACLs, without. Nothing is lost by asking."""
        if acl is None or not self._buckets.accepts_acls(bucket):
            return send(None)
        try:
            return send(acl)
        except CottonCandyError as exc:
            if not refuses_acls(exc):
                raise
        self._buckets.disable_acls(bucket)
        return send(None)

    def require(self, bucket: str, key: str, condition: IfAbsent | IfMatch) -> None:
        """Check a condition with a request."""
        try:
            etag = self.head(bucket, key).etag or ""
        except ObjectNotFoundError:
            etag = None
        condition.check(etag, str(self._location(bucket, key)))


def unmet(condition: IfAbsent | IfMatch, location: S3Location) -> CottonCandyError:
    """Return the error for a condition that the server found not to be met."""
    try:
        condition.check("another" if isinstance(condition, IfMatch) else "", str(location))
    except CottonCandyError as error:
        return error
    raise AssertionError


def _understood(key: str, send: Callable[[], T]) -> T:
    """Send what makes an object; "no such object" in answer means that its name is not liked."""
    try:
        return send()
    except ObjectNotFoundError as exc:
        raise InvalidNameError(
            f"the server does not understand the name {key!r} and refuses the object; choose a "
            f"plainer one"
        ) from exc


def _drain(parts: list[memoryview]) -> Iterator[memoryview]:
    """Yield the parts without keeping them."""
    while parts:
        yield parts.pop(0)
