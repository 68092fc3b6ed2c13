"""Uploads: small bodies in one request, larger ones resumably in chunks.

References
----------
"Upload file data", Google Drive API guide: multipart up to 5 MB; resumable uploads in multiples of
256 KiB, acknowledged with 308, asked for with ``Content-Range: bytes */*``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from cottoncandy._body import Body
from cottoncandy._buffers import MiB, regroup
from cottoncandy.backends.gdrive._errors import DriveApiError, DriveConnectionError
from cottoncandy.backends.gdrive._session import Session
from cottoncandy.exceptions import IntegrityError, StoreError

__all__ = ["SMALL_BYTES", "upload"]

#: Bodies up to this size go in one request (the documents say 5 MB).
SMALL_BYTES = 5_000_000
#: Chunks are multiples of this, in bytes.
_UNIT = 256 * 1024
_PERMANENT = {401, 403}
_GONE = {404, 410}

#: Makes the API's request from the API and a MediaUpload.
MakeRequest = Callable[[Any, Any], Any]


class _SessionLostError(Exception):
    """Drive has forgotten the upload; it has to begin anew."""


def upload(
    session: Session,
    make: MakeRequest,
    body: Body,
    *,
    content_type: str,
    chunk_bytes: int = 16 * MiB,
    what: str,
) -> tuple[dict[str, Any], str]:
    """Send a body and return the file's resource, and the MD5 of what was sent.

    The file changes when the last byte has arrived, and not at all if that doesn't happen.

    Parameters
    ----------
    make : callable
        Takes the API and a ``MediaUpload``; returns ``files.insert`` or ``files.update``.
        The request must be idempotent.
    chunk_bytes : int
        Size of one request's part of the body. Memory: up to two of them.

    Raises
    ------
    DriveApiError, DriveConnectionError
        What the last of several tries met.
    IntegrityError
        If the body has another size than it said.
    """
    chunk_bytes = max(chunk_bytes // _UNIT, 1) * _UNIT
    for _ in range(3):
        blocks = regroup(body, chunk_bytes)
        try:
            return _send(session, make, body, blocks, content_type, chunk_bytes, what)
        except _SessionLostError:
            if not body.replayable:
                break
    raise StoreError(f"Google Drive lost the upload of {what} half-way; upload it again")


def _send(
    session: Session,
    make: MakeRequest,
    body: Body,
    blocks: Iterator[memoryview],
    content_type: str,
    chunk_bytes: int,
    what: str,
) -> tuple[dict[str, Any], str]:
    first = next(blocks, memoryview(b""))
    if len(first) < chunk_bytes and len(first) <= SMALL_BYTES:
        _check_size(body, len(first), what)
        return _send_at_once(session, make, bytes(first), content_type, what)
    sending = _Resumable(session, make, body.size, content_type, what)
    try:
        return sending.run(first, blocks)
    except BaseException:
        sending.cancel()
        raise


def _send_at_once(
    session: Session, make: MakeRequest, data: bytes, content_type: str, what: str
) -> tuple[dict[str, Any], str]:
    """Send metadata and body in one multipart request.

    Written here, since google-api-python-client ends lines with a bare LF: a body that ends with
    CR would then look as if its last byte belonged to the line's end.
    """
    request = make(session.api, _announced(content_type, len(data)))
    uri = request.uri.replace("uploadType=resumable", "uploadType=multipart")
    boundary = f"cottoncandy-{secrets.token_hex(16)}"
    body = b"".join(
        (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
            request.body.encode(),
            f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode(),
            data,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )
    headers = {**request.headers, "content-type": f"multipart/related; boundary={boundary}"}
    headers["content-length"] = str(len(body))

    def send() -> dict[str, Any]:
        status, _, content = session.send(request.method, uri, headers, body)
        if status != 200:
            raise DriveApiError.of(status, content)
        resource: dict[str, Any] = json.loads(content)
        return resource

    return session.retries.run(send, what), hashlib.md5(data, usedforsecurity=False).hexdigest()


def _check_size(body: Body, sent: int, what: str) -> None:
    if body.size is not None and body.size != sent:
        raise IntegrityError(
            f"the body of {what} was announced as {body.size} bytes and has {sent}; "
            f"nothing was stored"
        )


class _Resumable:
    """One upload in chunks."""

    def __init__(
        self, session: Session, make: MakeRequest, size: int | None, content_type: str, what: str
    ) -> None:
        self._session = session
        self._make = make
        self._size = size
        self._content_type = content_type
        self._what = what
        self._uri: str | None = None
        self._held = 0  # bytes that Drive has
        self._uncertain = False  # whether Drive should be asked how many it has
        self._resource: dict[str, Any] | None = None

    def run(self, first: memoryview, blocks: Iterator[memoryview]) -> tuple[dict[str, Any], str]:
        """Send all blocks."""
        digest = hashlib.md5(usedforsecurity=False)
        self._begin()
        start = 0
        for block, last in _with_last(first, blocks):
            digest.update(block)
            stop = start + len(block)
            if self._size is not None and (stop > self._size or (last and stop != self._size)):
                raise IntegrityError(
                    f"the body of {self._what} was announced as {self._size} bytes and has "
                    f"{'only ' if last else 'at least '}{stop}; nothing was stored"
                )
            total = stop if last else self._size
            self._session.retries.run(partial(self._block, block, start, total), self._what)
            start = stop
        if self._resource is None:
            raise StoreError(f"Google Drive did not confirm the upload of {self._what}; try again")
        return self._resource, digest.hexdigest()

    def cancel(self) -> None:
        """Tell Drive to forget what came so far; if that fails, it does in a week."""
        if self._uri is not None and self._resource is None:
            with contextlib.suppress(DriveApiError, DriveConnectionError):
                self._session.send("DELETE", self._uri, {"content-length": "0"})

    def _begin(self) -> None:
        request = self._make(self._session.api, _announced(self._content_type, self._size))
        headers = dict(request.headers)
        headers["x-upload-content-type"] = self._content_type
        if self._size is not None:
            headers["x-upload-content-length"] = str(self._size)

        def begin() -> str:
            status, answer, content = self._session.send(
                request.method, request.uri, headers, request.body
            )
            if status != 200 or "location" not in answer:
                raise DriveApiError.of(status, content)
            return answer["location"]

        self._uri = self._session.retries.run(begin, self._what)

    def _block(self, block: memoryview, start: int, total: int | None) -> None:
        """Bring Drive to hold the body up to this block's end."""
        stop = start + len(block)
        if self._uncertain:
            self._ask(total)
        while self._resource is None and self._held < stop:
            if self._held < start:
                raise _SessionLostError
            self._put(block[self._held - start :], total)

    def _put(self, data: memoryview, total: int | None) -> None:
        span = f"bytes {self._held}-{self._held + len(data) - 1}/{'*' if total is None else total}"
        before = self._held
        self._uncertain = True
        try:
            self._exchange(span, data)
        except DriveApiError as fault:
            if fault.transient or fault.status in _PERMANENT:
                raise
            # The HTTP library may have sent the chunk twice; Drive knows what it has.
            self._ask(total)
            if self._resource is None and self._held == before:
                raise
        self._uncertain = False

    def _ask(self, total: int | None) -> None:
        self._exchange(f"bytes */{'*' if total is None else total}", memoryview(b""))
        self._uncertain = False

    def _exchange(self, span: str, data: memoryview) -> None:
        headers = {"content-range": span, "content-length": str(len(data))}
        headers["content-type"] = self._content_type
        status, answer, content = self._session.send("PUT", str(self._uri), headers, data)
        if status in (200, 201):
            self._resource = json.loads(content)
        elif status == 308:
            self._held = int(answer["range"].rpartition("-")[2]) + 1 if "range" in answer else 0
        elif status in _GONE:
            raise _SessionLostError
        else:
            raise DriveApiError.of(status, content)


def _with_last(
    first: memoryview, blocks: Iterator[memoryview]
) -> Iterator[tuple[memoryview, bool]]:
    """Yield blocks and whether each is the last, which only the next one tells."""
    held = first
    for block in blocks:
        yield held, False
        held = block
    yield held, True


def _announced(content_type: str, size: int | None) -> Any:
    """Return a MediaUpload that makes the library use the address of resumable uploads."""
    from googleapiclient.http import MediaUpload

    class Announced(MediaUpload):  # type: ignore[misc]  # the library has no types
        def mimetype(self) -> str:
            return content_type

        def size(self) -> int | None:
            return size

        def resumable(self) -> bool:
            return True

        def chunksize(self) -> int:
            return _UNIT

    return Announced()
