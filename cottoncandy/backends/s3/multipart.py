"""Multipart uploads and copies, with bounded memory: complete, or aborted."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from isal.isal_zlib import crc32_combine

from cottoncandy.backends.base import PutResult
from cottoncandy.backends.pages import quoted_etag
from cottoncandy.backends.s3.clients import Connection
from cottoncandy.backends.s3.errors import S3Location, confirmed, parse_error
from cottoncandy.backends.s3.transport import CancelledUploadError, ViewReader, body_digest
from cottoncandy.config.options import Settings
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.core.threads import abandoned, map_threads
from cottoncandy.exceptions import CottonCandyError, StoreError

logger = logging.getLogger(__name__)

# A part takes some time of the server, and of boto3. Gathered parts take memory as well: 4 are
# sent, one is ready and one is filled, which fits into 64 MiB. Slices of the caller's buffer take
# none, and uploads that compress may take 160 MiB.
_PART_BYTES = 16 * MiB
GATHERED_BYTES = 8 * MiB

# If the size is unknown, increase the part size after this many parts, so as not to run out of part
# numbers.
_PARTS_PER_STEP = 1000

#: Bytes of gathered parts that are being sent at the same time; twice as many if they are larger.
GATHERED_AHEAD_BYTES = 32 * MiB

# How long to wait after an error for parts being sent, which stop at their next block.
_GRACE_S = 2.0


def part_sizes(settings: Settings, bound: int | None, *, gathered: bool) -> Iterator[int]:
    """Yield the size of each part, in bytes.

    Parameters
    ----------
    bound : int, optional
        Upper bound of the total size. None if it is unknown: then parts grow.
    gathered : bool
        Whether parts are gathered from pieces, and must be small.
    """
    largest = max(settings.mpu_chunksize_bytes, settings.min_mpu_size_bytes)
    size = min(GATHERED_BYTES if gathered else _PART_BYTES, largest)
    if bound is not None:
        needed = -(-bound // settings.max_mpu_parts)
        yield from itertools.repeat(max(size, needed))
    step = min(_PARTS_PER_STEP, max(settings.max_mpu_parts // 10, 1))
    for growth in itertools.count():
        # 8 MiB, 16 MiB, …: 10,000 parts of at most 4 GiB reach the 5 TiB that S3 allows.
        yield from itertools.repeat(min(size << growth, 4096 * MiB), step)


class MultipartUpload:
    """One multipart upload, which is aborted unless it is completed.

    Parameters
    ----------
    begin : mapping
        Arguments of CreateMultipartUpload: metadata, content type, ACL.
    body : Body, optional
        What is uploaded; None for copies.
    """

    def __init__(
        self,
        connection: Connection,
        location: S3Location,
        begin: Mapping[str, Any],
        body: Body | None = None,
    ) -> None:
        self._connection = connection
        self._location = location
        self._body = body
        self._sent: dict[int, tuple[int, int]] = {}  # CRC-32 and size of each part
        response = connection.call(location, "create_multipart_upload", **begin)
        # By the server's clock.
        self._begun = response["ResponseMetadata"]["HTTPHeaders"].get("date")
        self._target = {"UploadId": confirmed(response.get("UploadId"), "UploadId", location)}
        if payer := begin.get("RequestPayer"):
            self._target["RequestPayer"] = payer

    def upload_part(self, part: memoryview, **target: Any) -> Mapping[str, Any]:
        """Upload one part; return the response."""
        body = self._body if self._body and self._body.buffer is not None else None
        changes = body is not None and body.checksum is not None
        reader = ViewReader(part, changes)
        digest = body_digest(self._connection, part)
        response: Mapping[str, Any] = self._connection.call(
            self._location, "upload_part", **target, **digest, Body=reader
        )
        if changes:
            self._sent[target["PartNumber"]] = reader.checksum, len(part)
        if body is not None and body.progress is not None:
            body.progress(len(part))
        return response

    def run(
        self,
        send: Callable[..., Mapping[str, Any]],
        parts: Iterable[Any],
        *,
        threads: int,
        complete: Mapping[str, str],
    ) -> PutResult:
        """Send all parts and complete the upload; on any error, abort it.

        Parameters
        ----------
        send : callable
            Takes a part and the keywords that address it, sends it, and returns the response.
        threads : int
            Number of parts that are sent at a time.
        complete : mapping
            Additional arguments of CompleteMultipartUpload.
        """

        def send_one(numbered: tuple[int, Any]) -> dict[str, Any]:
            number, part = numbered
            if abandoned():
                raise CancelledUploadError
            response = send(part, **self._target, PartNumber=number)
            etag = confirmed(response.get("ETag"), "ETag", self._location)
            sums = {name: value for name, value in response.items() if name.startswith("Checksum")}
            return {**sums, "PartNumber": number, "ETag": etag}

        try:
            # One more part than is being sent is ready, so no thread waits for the next one.
            results = map_threads(
                send_one,
                enumerate(parts, 1),
                threads,
                max_pending=threads + 1,
                abandon=True,
                # A part that arrives after the abort would be stored, and billed, indefinitely.
                grace_s=_GRACE_S,
                ordered=False,
            )
            done = sorted(results, key=lambda part: part["PartNumber"])
            if self._sent and self._body is not None:
                total = 0
                for number in sorted(self._sent):
                    total = crc32_combine(total, *self._sent[number])
                self._body.verify(total)
            response = self._complete(done, complete)
        except BaseException:
            self._abort()
            raise
        return PutResult(
            quoted_etag(response.get("ETag") or _expected_etag(done)), response.get("VersionId")
        )

    def _complete(
        self, done: list[dict[str, Any]], arguments: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        arguments = {**self._target, **arguments, "MultipartUpload": {"Parts": done}}
        call = partial(self._connection.call, self._location)
        response: Mapping[str, Any]
        try:
            response = call("complete_multipart_upload", **arguments)
        except StoreError as exc:
            if parse_error(exc).code != "NoSuchUpload":
                raise
            # Maybe the upload was completed, the response was lost, and this is a retry.
            response = call("head_object")
            if not self._is_own(response, done):
                raise
        # Ceph sends the element, but may leave it empty.
        confirmed("ETag" in response, "ETag", self._location)
        return response

    def _is_own(self, head: Mapping[str, Any], done: list[dict[str, Any]]) -> bool:
        """Return whether an object is what this upload has made."""
        etag = head.get("ETag", "").strip('"')
        if str(head.get("ServerSideEncryption", "")).startswith("aws:kms"):  # it is no checksum
            begun = self._begun and parsedate_to_datetime(self._begun)
            return etag.endswith(f"-{len(done)}") and bool(begun and head["LastModified"] >= begun)
        return bool(etag == _expected_etag(done))

    def _abort(self) -> None:
        """Abort the upload, without hiding the error that led here."""
        try:
            self._connection.call(self._location, "abort_multipart_upload", **self._target)
        except CottonCandyError as exc:
            logger.warning(
                "the unfinished multipart upload %s of %s could not be aborted; its parts take up "
                "space until it is: %s",
                self._target["UploadId"],
                self._location,
                exc,
            )


def _expected_etag(done: list[dict[str, Any]]) -> str | None:
    """Return the ETag of the object: the MD5 of the parts' MD5s; None if they are not MD5s."""
    try:
        digests = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in done)
    except ValueError:
        return None
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(done)}"
