"""Uploads: small bodies in one request, larger ones in chunks that are resumed after errors.

References
----------
"Upload file data", Google Drive API guide: multipart up to 5 MB; resumable uploads in multiples of
256 KiB.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import time
from collections import deque
from typing import Any

from googleapiclient.http import MediaUpload

from cottoncandy.backends.gdrive.files import HEAD_FIELDS, DriveFile
from cottoncandy.backends.gdrive.session import DriveError, Session
from cottoncandy.core.buffers import Body, regroup
from cottoncandy.exceptions import StoreError

_SMALL_BYTES = 5_000_000
_CHUNK_UNIT_BYTES = 256 * 1024
_DENIED = (401, 403)
_LOST = (404, 410)

_log = logging.getLogger(__name__)


class _UploadLostError(Exception):
    """Drive no longer has the upload, so it must start again."""


def upload(
    session: Session, verb: str, resource: dict[str, Any], body: Body, what: str, **options: str
) -> tuple[DriveFile, str]:
    """Send a body; return the file and the MD5 of the bytes sent.

    The file changes only after the last byte has arrived. Memory: up to three chunks.

    Parameters
    ----------
    verb : {'insert', 'update'}
        The method on files; the request must be idempotent.
    resource : dict
        The description of the file.
    what : str
        The object, for messages.

    Raises
    ------
    DriveError
        Of the last attempt.
    IntegrityError
        If the size of the body is not the one it declares.
    """
    begin = getattr(session.api, verb)
    units = max(session.options.upload_chunk_bytes // _CHUNK_UNIT_BYTES, 1)
    for _ in range(3):
        media = _BodyMedia(body, resource["mimeType"], units * _CHUNK_UNIT_BYTES)
        request = begin(
            body=resource, media_body=media, supportsAllDrives=True, fields=HEAD_FIELDS, **options
        )
        try:
            whole = request.resumable is None
            answer = session.call(request) if whole else _send_chunks(session, request, what)
            return DriveFile.of(answer), media.md5()
        except _UploadLostError:
            if not body.replayable:
                break
    raise StoreError(f"Google Drive lost the upload of {what} before the end; upload it again")


def _send_chunks(session: Session, request: Any, what: str) -> dict[str, Any]:
    """Send a request in chunks, resuming at the byte that Drive has after an error."""
    resource: dict[str, Any] | None = None
    failures, retries = 0, session.options.retries
    try:
        while resource is None:
            before = request.resumable_progress
            try:
                with session.connection() as connection:
                    # After an error, this first asks Drive how much has arrived.
                    _, resource = request.next_chunk(http=connection, num_retries=retries)
            except DriveError as error:
                if error.status in _LOST and request.resumable_uri is not None:
                    raise _UploadLostError from error
                # The library may have sent a chunk twice; ask once what Drive has.
                limit = retries if error.transient else int(error.status not in _DENIED)
                if failures >= limit:
                    raise
                failures += 1
                _log.info("resuming the upload of %s: %s", what, error)
                if error.transient:
                    time.sleep(random.random() * 2**failures)  # noqa: S311 - jitter
            else:
                failures = 0 if request.resumable_progress > before else failures
    except BaseException:
        if request.resumable_uri is not None:
            # Otherwise, Drive keeps what has arrived for a week.
            with contextlib.suppress(DriveError), session.connection() as connection:
                connection.request(
                    request.resumable_uri, method="DELETE", headers={"content-length": "0"}
                )
        raise
    return resource


class _BodyMedia(MediaUpload):  # type: ignore[misc]  # the library has no types
    """A body as the client library uploads it: read once, a chunk ahead of what is sent."""

    def __init__(self, body: Body, content_type: str, chunk_bytes: int) -> None:
        self._blocks = regroup(body, chunk_bytes)
        self._declared = body.size
        self._content_type = content_type
        self._chunk_bytes = chunk_bytes
        self._digest = hashlib.md5(usedforsecurity=False)
        self._held: deque[memoryview] = deque()  # blocks from _start on
        self._start = 0
        self._stop = 0
        self._next = 0  # where the next chunk begins
        self._ended = False

    def md5(self) -> str:
        """Return the MD5 of the bytes read."""
        return self._digest.hexdigest()

    # -- the client library's interface ------------------------------------------------------------

    def chunksize(self) -> int:
        return self._chunk_bytes

    def mimetype(self) -> str:
        return self._content_type

    def resumable(self) -> bool:
        """Return whether the body is sent in chunks; otherwise, with the description."""
        self._read_to(self._chunk_bytes + 1)
        small = self._ended and self._stop <= _SMALL_BYTES and self._content_type.count("/") == 1
        # The library ends lines with a bare LF, which makes Drive drop a CR before it.
        return not small or any(bytes(block[-1:]) == b"\r" for block in self._held)

    def size(self) -> int | None:
        """Return the size, once it is known: the last chunk must declare it."""
        self._read_to(self._next + self._chunk_bytes + 1)
        return self._stop if self._ended else self._declared

    def getbytes(self, begin: int, length: int) -> bytes:
        if begin < self._start:
            raise _UploadLostError  # Drive dropped bytes that it had acknowledged
        self._read_to(begin + length + 1)
        while self._held and self._start + len(self._held[0]) <= begin:
            self._start += len(self._held.popleft())
        offset = begin - self._start
        data = b"".join(self._held)[offset : offset + length]
        self._next = begin + len(data)
        return data

    def _read_to(self, stop: int) -> None:
        while self._stop < stop and not self._ended:
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
            else:
                self._digest.update(block)
                self._held.append(block)
                self._stop += len(block)
