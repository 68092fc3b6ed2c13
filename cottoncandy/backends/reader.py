"""Reading one object: chunks, parallel reads and retries, built from streams of its ranges."""

from __future__ import annotations

import datetime
import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, wait
from typing import NamedTuple, Self

from isal.isal_zlib import crc32, crc32_combine

from cottoncandy.core.buffers import Buffer, MiB, bytes_view, new_buffer, new_bytes
from cottoncandy.core.stats import Counter
from cottoncandy.core.threads import in_background, interruptible, map_threads
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    InvalidArgumentError,
    ObjectChangedError,
    StoreError,
    StoreTimeoutError,
)

logger = logging.getLogger(__name__)

# A window of this size is still in the processor's cache when the caller gets it from a worker, and
# a few of them fit into the memory that a download may use in addition to its result.
_WINDOW_BYTES = 8 * MiB
_AHEAD_BYTES = 16 * MiB

# Ranges that are copied into place need no memory, so they can be long, which is cheaper for the
# server. The limit keeps one slow connection from delaying the rest.
_MAX_RANGE_BYTES = 64 * MiB
_INLINE_BYTES = MiB  # up to here, a thread costs more than it gains

# An interrupted body is resumed at its position. This much progress resets the count of failures.
_PROGRESS_BYTES = MiB
_PAUSE_S = 0.1  # before the second attempt; doubled for each later one
_GRACE_S = 1.0  # after an error or Ctrl-C, for workers that are not waiting for the network


class ObjectInfo(NamedTuple):
    """Header of one object, without its body.

    Parameters
    ----------
    key : str
        Name of the object in its bucket.
    size : int
        Size of the stored body, in bytes.
    modified : datetime, optional
        When it was last written, with a time zone.
    etag : str, optional
        Opaque version identifier of the body: equal ETags mean equal bytes.
    metadata : mapping of str to str, optional
        User metadata, names in lower case. None if it was not fetched (listings).
    content_type, content_encoding, cache_control, storage_class : str, optional
        Values that the object was stored with, if the store keeps them.
    encrypted : bool
        Whether it is encrypted, and what is described is its plaintext. False in listings.
    md5, crc32c : str, optional
        Checksums of the stored body in hexadecimal digits, if the store has them.
    """

    key: str
    size: int
    modified: datetime.datetime | None = None
    etag: str | None = None
    metadata: Mapping[str, str] | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    cache_control: str | None = None
    storage_class: str | None = None
    encrypted: bool = False
    md5: str | None = None
    crc32c: str | None = None

    @property
    def last_modified(self) -> datetime.datetime | None:
        """The same as ``modified``, under boto3's name."""
        return self.modified

    @property
    def e_tag(self) -> str | None:
        """The same as ``etag``, under boto3's name."""
        return self.etag


class ObjectReader(ABC):
    """An open handle on one version of an object, which any thread may use.

    ``info`` is its header. All reads return that version; if the object was replaced, they raise
    :class:`~cottoncandy.exceptions.ObjectChangedError`. A body that ends early raises
    :class:`~cottoncandy.exceptions.IntegrityError`. Ranges are half-open, in bytes, and must be
    within the object.

    Subclasses set ``info`` and implement :meth:`stream`.
    """

    info: ObjectInfo

    #: Maximum number of concurrent requests.
    threads: int = 4

    #: Size of the ranges that are requested ahead, in bytes.
    window_bytes: int = _WINDOW_BYTES

    #: Size of the start of the body that the first request returned with the header.
    prefetched: int = 0

    #: A part of the body that is in memory: where it begins, and its bytes.
    held: tuple[int, memoryview] = (0, memoryview(b""))

    #: Whether the reader holds nothing open, and its reads fail once the object is replaced. Others
    #: keep a file open, or return the version that was opened.
    pinned: bool = False

    #: How often an interrupted range is resumed. 0 for stores without connections, and if the
    #: client library retries.
    max_resumes: int = 5

    #: How long nothing may arrive before an interrupted range is not resumed any more.
    max_stall_s: float = 120

    #: Counts what is received, and resumed; the backend's, which sets it.
    counter: Counter = Counter()

    @property
    def size(self) -> int:
        """Size of the body in bytes."""
        return self.info.size

    @property
    def metadata(self) -> Mapping[str, str]:
        """User metadata, names in lower case."""
        return self.info.metadata or {}

    @abstractmethod
    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        """Yield the bytes of ``[start, stop)`` from one request, in pieces, as they arrive.

        Called from several threads at once, with a valid range. Pieces of about 256 KiB stay in
        the processor's cache. An iterator that ends early, or raises ``StoreError`` or
        ``IntegrityError``, is resumed with another request.
        """

    def stream_into(self, out: memoryview, start: int) -> Iterator[memoryview] | None:
        """Fill ``out`` with the bytes that begin at ``start``, piece by piece; yield the pieces.

        None unless the store is able to do that without a network: a read that was begun fills its
        piece, even if the caller was interrupted. It is faster than :meth:`stream` and a copy.
        """
        return None

    def is_replaced(self) -> bool:
        """Return whether the object has a newer version now, if that takes no request to know."""
        return False

    def pieces(self, start: int, stop: int) -> Iterator[Buffer]:
        """Yield the bytes of ``[start, stop)`` as they arrive.

        An interrupted stream is resumed at its position with a new request, a limited number of
        times, with pauses, unless the server stalls.
        """
        first, held = self.held
        end = first + len(held)
        if start < end and first < stop:
            yield from self.pieces(start, first)
            yield held[max(start - first, 0) : stop - first]
            start = end
        position, breaks, progressed = start, 0, time.monotonic()
        while position < stop:
            begun = position
            error: CottonCandyError
            try:
                for piece in self.stream(position, stop):
                    position, progressed = position + len(bytes_view(piece)), time.monotonic()
                    if position > stop:
                        break
                    yield piece
            except ObjectChangedError:
                raise
            except (StoreError, IntegrityError) as exc:
                error = exc
            else:
                if position == stop:
                    return
                error = IntegrityError(
                    f"object '{self.info.key}' ended after {position} bytes, expected {stop}"
                )
            breaks = 1 if position - begun >= _PROGRESS_BYTES else breaks + 1
            if breaks > self.max_resumes or position >= stop:
                raise error
            if (stalled := time.monotonic() - progressed) > self.max_stall_s:
                raise StoreTimeoutError(
                    f"object '{self.info.key}': nothing arrived for {stalled:.0f} s; try again "
                    f"later"
                ) from error
            self.counter.add(retries=1)
            logger.info("%s: resuming at byte %d after error: %s", self.info.key, position, error)
            time.sleep(random.uniform(0, _PAUSE_S * 2**breaks))  # noqa: S311 - jitter

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[Buffer]:
        """Yield the bytes of ``[start, stop)`` in order, in pieces, with some read-ahead."""
        stop = self._checked_stop(start, stop)
        if 0 < stop - start <= _INLINE_BYTES:
            yield self.buffer(start, stop)
            return
        threads = max(min(self.threads, _AHEAD_BYTES // MiB), 1)
        if threads == 1:
            yield from self.pieces(start, stop)
            return
        ranges = self._ranges(start, stop, min(self.window_bytes, _AHEAD_BYTES // threads))

        def load(span: tuple[int, int]) -> Buffer:
            window = new_buffer(span[1] - span[0])
            _OutputBuffer(window, span[0]).fill(self, *span, checksum=False)
            return window

        threads = min(threads, len(ranges))
        yield from map_threads(load, ranges, threads, max_pending=threads, abandon=True)

    def read_into(
        self,
        out: memoryview,
        start: int = 0,
        *,
        checksum: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Fill ``out`` (writable, flat, bytes) with the bytes that begin at ``start``.

        Threads stream ranges and copy the pieces into place. When this returns or raises, nothing
        writes to ``out`` any more. After an error or Ctrl-C, a thread may still wait for the
        network; it then has no reference to ``out``. A piece that is read in place is completed.

        Parameters
        ----------
        checksum : bool, default False
            Whether to compute the CRC-32, piece by piece as they arrive.
        progress : callable, optional
            Called with the number of bytes that were just copied, from any thread, one at a time.

        Returns
        -------
        checksum : int
            The CRC-32 of the bytes; 0 unless requested.
        """
        stop = self._checked_stop(start, start + len(out))
        target = _OutputBuffer(out, start, progress)
        if len(out) <= _INLINE_BYTES:
            return target.fill(self, start, stop, checksum=checksum)
        rest = stop - min(max(start, self.prefetched), stop)
        share = -(-rest // max(self.threads, 1))
        ranges = self._ranges(start, stop, min(max(share, self.window_bytes), _MAX_RANGE_BYTES))
        waiting = deque(ranges)
        checksums: dict[int, int] = {}

        def work() -> None:
            while not target.closed:
                try:
                    begin, end = waiting.popleft()
                except IndexError:
                    return
                checksums[begin] = target.fill(self, begin, end, checksum=checksum)

        workers = []
        try:
            if len(ranges) == 1:
                interruptible(work)
            else:
                workers = [in_background(work) for _ in range(min(self.threads, len(ranges)))]
                for worker in wait(workers, return_when=FIRST_EXCEPTION).done:
                    worker.result()
        except BaseException:
            target.close()
            wait(workers, _GRACE_S)
            raise
        total = 0
        for begin, end in ranges:
            total = crc32_combine(total, checksums[begin], end - begin)
        return total

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes of ``[start, stop)``, with one copy in memory."""
        stop = self._checked_stop(start, stop)
        if stop - start <= _INLINE_BYTES:
            return b"".join(self.pieces(start, stop))
        data, view = new_bytes(stop - start)
        self.read_into(view, start)
        return data

    def buffer(self, start: int = 0, stop: int | None = None) -> Buffer:
        """Return the bytes of ``[start, stop)``, without a copy if they are in memory."""
        stop = self._checked_stop(start, stop)
        first, held = self.held
        if first <= start and stop <= first + len(held):
            return held[start - first : stop - first]
        return self.read(start, stop)

    def tail(self, count: int) -> bytes:
        """Return the last ``count`` bytes of the body; the whole body if it is shorter.

        No request is sent for bytes that ``get()`` returned with the header, unless that response
        is too large to be kept.
        """
        if self.prefetched == self.size <= _MAX_RANGE_BYTES and not len(self.held[1]):
            self.held = 0, memoryview(self.read())  # that response can be read only once
        return self.read(max(self.size - count, 0))

    def close(self) -> None:  # noqa: B027 - most readers hold nothing
        """Release the reader's resources. Reading after this raises an error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _checked_stop(self, start: int, stop: int | None) -> int:
        stop = self.size if stop is None else stop
        if not 0 <= start <= stop <= self.size:
            raise InvalidArgumentError(
                f"bytes {start} to {stop} of object '{self.info.key}' do not exist: it has "
                f"{self.size}"
            )
        return stop

    def _ranges(self, start: int, stop: int, size: int) -> list[tuple[int, int]]:
        """Return the ranges to request; the first one is the prefetched start, if any."""
        first = min(max(start, self.prefetched), stop)
        head = [(start, first)] if start < first else []
        return head + [(begin, min(begin + size, stop)) for begin in range(first, stop, size)]


class _OutputBuffer:
    """The caller's buffer; after it is closed, nothing writes to it."""

    def __init__(
        self, out: memoryview, start: int, progress: Callable[[int], None] | None = None
    ) -> None:
        self._out: memoryview | None = out
        self._start = start
        self._progress = progress
        self._lock = threading.Lock()  # copying holds the GIL anyway, so it costs nothing

    @property
    def closed(self) -> bool:
        """Whether nothing may be written any more."""
        return self._out is None

    def fill(self, reader: ObjectReader, start: int, stop: int, *, checksum: bool) -> int:
        """Copy a range of an object to its place; return its CRC-32 if requested."""
        position, total, out = start - self._start, 0, self._out
        in_place = (
            None if out is None else reader.stream_into(out[position:][: stop - start], start)
        )
        del out  # a thread that waits for the network must not keep it
        for piece in in_place or reader.pieces(start, stop):
            view = bytes_view(piece)
            with self._lock:
                if self._out is None:
                    break
                if in_place is None:
                    self._out[position : position + len(view)] = view
                if self._progress is not None:
                    self._progress(len(view))
            if checksum:  # while it is in the processor's cache
                total = crc32(view, total)
            position += len(view)
        return total

    def close(self) -> None:
        """Release the buffer."""
        with self._lock:
            self._out = None
