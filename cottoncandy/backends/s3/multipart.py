"""Multipart uploads and copies, with bounded memory: complete, or aborted."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import botocore.exceptions as boto

from cottoncandy.backends.base import PutResult
from cottoncandy.backends.s3.clients import Connection
from cottoncandy.backends.s3.errors import S3Location, confirmed, parse_error, translated
from cottoncandy.backends.s3.keys import quoted_etag
from cottoncandy.backends.s3.transport import CancelledUploadError, ViewReader, body_request
from cottoncandy.config.options import Settings
from cottoncandy.core.buffers import Body, Buffer, MiB, bytes_view
from cottoncandy.core.threads import in_background, map_threads
from cottoncandy.exceptions import CottonCandyError, IntegrityError

__all__ = ["MultipartUpload", "buffer_parts", "gathered_parts", "part_sizes"]

logger = logging.getLogger(__name__)

# Slices of the caller's buffer take no memory; gathered parts do (3 being sent, one being filled).
_SLICED_BYTES = 16 * MiB
_GATHERED_BYTES = 8 * MiB

# If the size is unknown, increase the part size after this many parts, so as not to run out of part
# numbers.
_PARTS_PER_STEP = 1000

#: Bytes of gathered parts that are being sent at the same time.
GATHERED_AHEAD_BYTES = 24 * MiB

# How long to wait after Ctrl-C for parts being sent, which stop at their next block.
_GRACE_S = 2.0


def part_sizes(settings: Settings, bound: int | None, *, gathered: bool) -> Iterator[int]:
    """Yield the size of each part, in bytes.

    Parameters
    ----------
    bound : int, optional
        Upper bound of the total size. None if it is unknown: then parts grow.
    gathered : bool
        Whether parts are gathered from pieces, which takes memory.
    """
    largest = max(settings.mpu_chunksize_bytes, settings.min_mpu_size_bytes)
    size = min(_GATHERED_BYTES if gathered else _SLICED_BYTES, largest)
    if bound is not None:
        needed = -(-bound // settings.max_mpu_parts)
        yield from itertools.repeat(max(size, needed))
    step = min(_PARTS_PER_STEP, max(settings.max_mpu_parts // 10, 1))
    for growth in itertools.count():
        # 8 MiB, 16 MiB, …: 10,000 parts of at most 4 GiB reach the 5 TiB that S3 allows.
        yield from itertools.repeat(min(size << growth, 4096 * MiB), step)


def buffer_parts(view: memoryview, sizes: Iterator[int]) -> Iterator[memoryview]:
    """Yield slices of a buffer."""
    position = 0
    while position < len(view):
        part = view[position : position + next(sizes)]
        yield part
        position += len(part)


def gathered_parts(blocks: Iterable[Buffer], sizes: Iterator[int]) -> Iterator[memoryview]:
    """Yield parts gathered from pieces; only the last may be short.

    A piece that is as large as a part is sliced; others are copied into the part immediately, so
    that small pieces do not accumulate.
    """
    size = next(sizes)
    part = bytearray()
    for block in blocks:
        view = bytes_view(block)
        while len(view):
            if not part and len(view) >= size:
                yield view[:size]
                view = view[size:]
                size = next(sizes)
                continue
            take = view[: size - len(part)]
            part += take
            view = view[len(take) :]
            if len(part) == size:
                yield memoryview(part)
                part = bytearray()
                size = next(sizes)
    if part:
        yield memoryview(part)


def checked_blocks(body: Body, location: S3Location) -> Iterator[Buffer]:
    """Yield a body's blocks; raise if their total size is not the one that it declared."""
    total = 0
    for block in body:
        total += bytes_view(block).nbytes
        yield block
    if body.size is not None and total != body.size:
        raise IntegrityError(
            f"{location} was not stored: expected a body of {body.size} bytes, got {total}"
        )


class MultipartUpload:
    """One multipart upload, which is aborted unless it is completed.

    Parameters
    ----------
    begin : mapping
        Arguments of CreateMultipartUpload: metadata, content type, ACL.
    """

    def __init__(
        self, connection: Connection, location: S3Location, begin: Mapping[str, Any]
    ) -> None:
        self._connection = connection
        self._client = connection.client
        self._location = location
        self._target = {"Bucket": location.bucket, "Key": location.key}
        self._stopped = threading.Event()
        self._busy = 0
        self._idle = threading.Condition()
        with translated(location):
            # In the background: if Ctrl-C interrupts this request, its upload is aborted too.
            created = in_background(
                lambda: self._client.create_multipart_upload(**self._target, **begin)
            )
            try:
                self._id: str = confirmed(created.result().get("UploadId"), "UploadId", location)
            except KeyboardInterrupt:
                created.add_done_callback(self._abort_created)
                raise

    def send(
        self, parts: Iterable[memoryview], *, threads: int, complete: Mapping[str, str]
    ) -> PutResult:
        """Upload parts with ``threads`` requests at a time; complete with additional arguments."""
        return self._run(self._send_part, parts, threads, complete)

    def copy(
        self,
        source: Mapping[str, str],
        etag: str | None,
        spans: Iterable[tuple[int, int]],
        *,
        threads: int,
        complete: Mapping[str, str],
    ) -> PutResult:
        """Copy ranges of another object on the server, and complete."""
        pinned = {"CopySourceIfMatch": etag} if etag else {}

        def copy_part(numbered: tuple[int, tuple[int, int]]) -> dict[str, Any]:
            number, (start, stop) = numbered
            response = self._client.upload_part_copy(
                **self._target,
                UploadId=self._id,
                PartNumber=number,
                CopySource=dict(source),
                CopySourceRange=f"bytes={start}-{stop - 1}",
                **pinned,
            )
            return self._completed(number, response.get("CopyPartResult", {}))

        return self._run(copy_part, spans, threads, complete)

    def _run(
        self,
        send: Callable[[tuple[int, Any]], dict[str, Any]],
        parts: Iterable[Any],
        threads: int,
        complete: Mapping[str, str],
    ) -> PutResult:
        def counted(numbered: tuple[int, Any]) -> dict[str, Any]:
            with self._idle:
                if self._stopped.is_set():
                    raise CancelledUploadError
                self._busy += 1
            try:
                with translated(self._location):
                    return send(numbered)
            finally:
                with self._idle:
                    self._busy -= 1
                    self._idle.notify_all()

        try:
            numbered = enumerate(parts, 1)
            done = list(map_threads(counted, numbered, threads, max_pending=threads, abandon=True))
            response = self._complete(done, complete)
        except BaseException:
            self._abort()
            raise
        return PutResult(quoted_etag(response.get("ETag")), response.get("VersionId"))

    def _complete(
        self, done: list[dict[str, Any]], arguments: Mapping[str, str]
    ) -> Mapping[str, Any]:
        with translated(self._location):
            try:
                response: Mapping[str, Any] = self._client.complete_multipart_upload(
                    **self._target,
                    UploadId=self._id,
                    MultipartUpload={"Parts": done},
                    **arguments,
                )
            except boto.ClientError as exc:
                if parse_error(exc).code != "NoSuchUpload":
                    raise
                # Maybe the upload was completed, the response was lost, and this is a retry.
                response = self._client.head_object(**self._target)
                if response.get("ETag", "").strip('"') != _expected_etag(done):
                    raise
        # Ceph sends the element, but may leave it empty.
        confirmed("ETag" in response or None, "ETag", self._location)
        return response

    def _send_part(self, numbered: tuple[int, memoryview]) -> dict[str, Any]:
        number, part = numbered
        client, digest = body_request(self._connection, self._location, part)
        response = client.upload_part(
            **self._target,
            **digest,
            UploadId=self._id,
            PartNumber=number,
            Body=ViewReader(part, self._stopped.is_set),
        )
        return self._completed(number, response)

    def _completed(self, number: int, response: Mapping[str, Any]) -> dict[str, Any]:
        part = {name: value for name, value in response.items() if name.startswith("Checksum")}
        part.pop("ChecksumType", None)
        etag = confirmed(response.get("ETag"), "ETag", self._location)
        return {**part, "PartNumber": number, "ETag": etag}

    def _abort(self) -> None:
        """Abort the upload, without hiding the error that led here."""
        self._stopped.set()
        with self._idle:
            # A part that arrives after the abort would be stored, and billed, indefinitely.
            self._idle.wait_for(lambda: self._busy == 0, _GRACE_S)
        try:
            with translated(self._location):
                self._client.abort_multipart_upload(**self._target, UploadId=self._id)
        except CottonCandyError as exc:
            logger.warning(
                "the unfinished multipart upload %s of %s could not be aborted; its parts take up "
                "space until it is: %s",
                self._id,
                self._location,
                exc,
            )

    def _abort_created(self, created: Any) -> None:
        if created.exception() is None:
            self._id = created.result()["UploadId"]
            with contextlib.suppress(CottonCandyError):
                self._abort()


def _expected_etag(done: list[dict[str, Any]]) -> str | None:
    """Return the ETag of the object: the MD5 of the parts' MD5s; None if they are not MD5s."""
    try:
        digests = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in done)
    except ValueError:
        return None
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(done)}"
