"""A reader of one version of an object, opened with its header and the start of its body."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.backends.s3.errors import S3Location
from cottoncandy.backends.s3.transport import AT_ONCE_BYTES, GetResponse, Transport
from cottoncandy.core.buffers import Buffer, MiB, bytes_view
from cottoncandy.exceptions import (
    IntegrityError,
    InvalidArgumentError,
    ObjectChangedError,
    StoreError,
)

__all__ = ["S3Reader", "window_bytes"]

# Options files of the first versions set 100 MB, which would exceed the memory limit.
_MAX_WINDOW_BYTES = 8 * MiB
_MIN_WINDOW_BYTES = MiB


def window_bytes(wanted: int) -> int:
    """Return the size of one range, in bytes, for the one in the settings."""
    return min(max(wanted, _MIN_WINDOW_BYTES), _MAX_WINDOW_BYTES)


class S3Reader(ObjectReader):
    """A reader of one object.

    Parameters
    ----------
    opened : GetResponse or ObjectInfo
        The response with the header and the start of the body, or the header only.
    window_bytes : int
        Size of the ranges that are requested ahead, in bytes.
    threads : int
        Maximum number of simultaneous requests.
    """

    pinned = True

    def __init__(
        self,
        transport: Transport,
        location: S3Location,
        opened: GetResponse | ObjectInfo,
        *,
        window_bytes: int,
        threads: int,
    ) -> None:
        self.threads = max(threads, 1)
        self.window_bytes = window_bytes
        self._transport = transport
        self._location = location
        self._closed = False
        # A small start of the body serves all reads, a large one the first read that begins there.
        self._start = memoryview(b"")
        self._opened: dict[int, GetResponse] = {}
        if isinstance(opened, ObjectInfo):
            self.info = opened
            return
        self.info = opened.info
        self.prefetched = 0 if opened.start else opened.stop
        if opened.start or opened.stop <= AT_ONCE_BYTES:
            with suppress(StoreError, IntegrityError):  # requested again when it is read
                body = memoryview(b"".join(self._body(opened, opened.start, opened.stop)))
                if opened.start:
                    self.prefetched_tail = body
                else:
                    self._start = body
        else:
            self._opened[0] = opened

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        if self._closed:
            raise InvalidArgumentError(f"the reader of {self._location} is closed")
        if start < len(self._start):
            yield self._start[start:stop]
            start = len(self._start)
        elif first := self._opened.pop(start, None):  # by one thread only
            yield from self._body(first, start, min(first.stop, stop))
            start = first.stop
        if start < stop:
            yield from self._body(self._request(start, stop), start, stop)

    def close(self) -> None:
        self._closed = True
        self._start = self.prefetched_tail = memoryview(b"")
        if first := self._opened.pop(0, None):
            first.close()

    def _body(self, response: GetResponse, start: int, stop: int) -> Iterator[Buffer]:
        """Yield the body of a response from ``start`` up to ``stop``."""
        try:
            for piece in response.pieces:
                yield bytes_view(piece)[: stop - start]
                start += len(piece)
                if start >= stop:
                    return
        finally:
            response.close()
        if start < stop:
            raise IntegrityError(
                f"{self._location} is truncated: expected {stop} bytes, got {start}"
            )

    def _request(self, start: int, stop: int) -> GetResponse:
        """Request a range of the opened version."""
        response = self._transport.get(self._location, start, stop, self.info.etag or "*")
        try:
            found = response.info
            if (found.etag, found.size) != (self.info.etag, self.info.size):
                raise ObjectChangedError(
                    f"{self._location} was replaced while it was being read; read it again"
                )
            if (response.start, response.stop) != (start, stop):
                raise IntegrityError(
                    f"{self._location}: requested bytes {start}-{stop}, but the server returned "
                    f"{response.start}-{response.stop}"
                )
        except BaseException:
            response.close()
            raise
        return response
