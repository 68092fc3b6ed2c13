"""A reader for stores with requests for ranges, opened with the start or the end of the body."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from cottoncandy.backends.reader import ObjectInfo, ObjectReader
from cottoncandy.core.buffers import Buffer, MiB, bytes_view
from cottoncandy.exceptions import (
    IntegrityError,
    InvalidArgumentError,
    ObjectChangedError,
    StoreError,
)

#: Bodies up to this size are received whole with the header.
AT_ONCE_BYTES = MiB


class GetResponse(NamedTuple):
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
    sequential : bool
        Whether the server sends whole bodies only. The body is then read with one request, as long
        as it is read in order.
    """

    info: ObjectInfo
    start: int
    stop: int
    pieces: Iterator[Buffer]
    close: Callable[[], None] = lambda: None
    sequential: bool = False


class RangeReader(ObjectReader):
    """A reader of one version of an object.

    Parameters
    ----------
    request : callable
        Called with the start and the end of a range and the ETag of the version to read, from any
        thread; sends one request.
    label : object
        The object and its place, for messages.
    opened : GetResponse or ObjectInfo
        The response with the header and a part of the body, or the header only.
    threads : int
        Maximum number of simultaneous requests.
    window_bytes : int, default 8 MiB
        Size of the ranges that are requested ahead, in bytes.
    """

    pinned = True

    def __init__(
        self,
        request: Callable[[int, int, str], GetResponse],
        label: object,
        opened: GetResponse | ObjectInfo,
        *,
        threads: int,
        window_bytes: int = 8 * MiB,
    ) -> None:
        self.sequential = isinstance(opened, GetResponse) and opened.sequential
        self.threads = 1 if self.sequential else max(threads, 1)
        self.window_bytes = window_bytes
        self._send = request
        self._label = label
        self._closed = False
        # A small start or end of the body is held for all reads, any other part is for the first
        # read that begins there.
        self._opened: dict[int, GetResponse] = {}
        self._process = os.getpid()  # a forked child does not read from its parent's connections
        if isinstance(opened, ObjectInfo):
            self.info = opened
            return
        self.info = opened.info
        if opened.start == 0 and opened.stop > AT_ONCE_BYTES:
            self.prefetched = 0 if self.sequential else opened.stop
            self._opened[0] = opened
            return
        if opened.start and opened.stop < self.info.size:
            self._opened[opened.start] = opened
            return
        with suppress(StoreError, IntegrityError):  # requested again when it is read
            pieces = list(self._body(opened, opened.start, opened.stop))
            body = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            self.held = opened.start, body
            self.prefetched = 0 if opened.start else opened.stop

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        if self._closed:
            raise InvalidArgumentError(f"the reader of {self._label} is closed")
        if (opened := self._opened.pop(start, None)) and self._process == os.getpid():
            yield from self._body(opened, start, min(opened.stop, stop))
            start = opened.stop
        if start < stop:
            yield from self._body(self._request(start, stop), start, stop)

    def close(self) -> None:
        self._closed = True
        self.held = 0, memoryview(b"")
        while self._opened:
            self._opened.popitem()[1].close()

    def _body(self, response: GetResponse, start: int, stop: int) -> Iterator[Buffer]:
        """Yield the body of a response from ``start`` up to ``stop``."""
        keep = False
        try:
            for piece in response.pieces:
                view = bytes_view(piece)
                yield view[: stop - start]
                start += len(view)
                if start >= stop:
                    keep = self.sequential and stop < response.stop and not self._closed
                    if keep:
                        rest = view[len(view) - (start - stop) :]
                        self._keep(response, stop, rest)
                    return
        finally:
            if not keep:
                response.close()
        if start < stop:
            raise IntegrityError(f"{self._label} is truncated: expected {stop} bytes, got {start}")

    def _keep(self, response: GetResponse, position: int, rest: memoryview) -> None:
        """Keep the rest of a whole body for the read that begins there."""

        def pieces() -> Iterator[Buffer]:
            if len(rest):
                yield rest
            yield from response.pieces

        for other in list(self._opened):
            if found := self._opened.pop(other, None):
                found.close()
        self._opened[position] = GetResponse(
            response.info, position, response.stop, pieces(), response.close
        )

    def _request(self, start: int, stop: int) -> GetResponse:
        """Request a range of the opened version."""
        response = self._send(start, stop, self.info.etag or "*")
        try:
            found = response.info
            if (found.etag, found.size) != (self.info.etag, self.info.size):
                raise ObjectChangedError(
                    f"{self._label} was replaced while it was being read; read it again"
                )
            if response.start != start or response.stop < stop:
                raise IntegrityError(
                    f"{self._label}: requested bytes {start}-{stop}, but the server returned "
                    f"{response.start}-{response.stop}"
                )
        except BaseException:
            response.close()
            raise
        return response
