"""Reading one version of an object: the first window came with its head, ranges bring the rest."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator

from cottoncandy._buffers import Buffer, MiB
from cottoncandy._parallel import map_threads
from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.backends.s3._errors import Where
from cottoncandy.backends.s3._plane import Answer, Plane, check_same
from cottoncandy.exceptions import (
    IntegrityError,
    InvalidArgumentError,
    ObjectChangedError,
    StoreError,
)

__all__ = ["S3Reader", "window_bytes"]

# Options files of the first versions say 100 MB. The promise of memory wins: the first window is
# held as long as the reader.
_MAX_WINDOW_BYTES = 8 * MiB

# What may be under way or waiting in memory, beside the first window. Each window takes twice its
# size while obstore puts it together.
_AHEAD_BYTES = 16 * MiB
_MIN_WINDOW_BYTES = MiB

# Ranges that go straight into place take no memory, so they may be long; long ones cost a server
# less. Not longer, so that one slow connection does not hold up the rest.
_MAX_BULK_BYTES = 64 * MiB

# A body that breaks off is asked for again from there: so often, unless it moved on by this much.
_MAX_BREAKS = 5
_PROGRESS_BYTES = MiB
_PAUSE_S = 0.1  # before the second try; each further one waits up to twice as long

logger = logging.getLogger(__name__)


def window_bytes(wanted: int) -> int:
    """Return the size of one range, in bytes, for what the settings say."""
    return min(max(wanted, _MIN_WINDOW_BYTES), _MAX_WINDOW_BYTES)


class S3Reader(ObjectReader):
    """An object that was opened.

    Parameters
    ----------
    plane : Plane
        What brings windows as buffers.
    bulk : Plane
        What brings long ranges piece by piece, to be copied into place.
    first : bytes-like
        The body from its start, as far as it came with the head; empty if it was not asked for.
    window_bytes : int
        Size of one range, in bytes.
    threads : int
        Ranges under way at once.
    """

    def __init__(
        self,
        plane: Plane,
        where: Where,
        info: ObjectInfo,
        first: Buffer,
        *,
        bulk: Plane,
        window_bytes: int,
        threads: int,
    ) -> None:
        self.info = info
        self._plane = plane
        self._bulk = bulk
        self._where = where
        self._first: memoryview | None = memoryview(first)
        self._threads = min(max(threads, 1), _AHEAD_BYTES // _MIN_WINDOW_BYTES)
        self._window_bytes = min(window_bytes, _AHEAD_BYTES // self._threads)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[Buffer]:
        stop = self.size if stop is None else stop
        here = self._held(start, stop)
        if start < here:
            yield self._prefetched()[start:here]
        threads = self._parallel(stop - here)
        yield from map_threads(
            self._load,
            _windows(here, stop, self._window_bytes),
            threads,
            ahead=threads,
            leave=True,
        )

    def read_into(self, out: memoryview, start: int = 0) -> None:
        stop = start + len(out)
        here = self._held(start, stop)
        if start < here:
            out[: here - start] = self._prefetched()[start:here]
        if here >= stop:
            return
        target = _Target(out, start)
        size = self._bulk_bytes(stop - here)

        def load(window: tuple[int, int]) -> None:
            self._load_into(target, window)

        try:
            threads = min(self._threads, -(-(stop - here) // size))
            windows = _windows(here, stop, size)
            for _ in map_threads(load, windows, threads, ahead=threads, leave=True):
                pass
        finally:
            target.close()

    def close(self) -> None:
        self._first = None

    def _prefetched(self) -> memoryview:
        if self._first is None:
            raise InvalidArgumentError(f"the reader of {self._where} is closed")
        return self._first

    def _held(self, start: int, stop: int) -> int:
        """Return up to where the bytes from ``start`` on are here already."""
        if not 0 <= start <= stop <= self.size:
            raise InvalidArgumentError(
                f"bytes {start} to {stop} of {self._where} do not exist: it has {self.size}"
            )
        return max(start, min(stop, len(self._prefetched())))

    def _bulk_bytes(self, length: int) -> int:
        """Return the size of the ranges that bring so much into place: an equal share for each."""
        share = -(-length // self._threads)
        return min(max(share, self._window_bytes), _MAX_BULK_BYTES)

    def _parallel(self, length: int) -> int:
        """Return how many threads are worth it."""
        return min(self._threads, -(-length // self._window_bytes))

    def _load(self, window: tuple[int, int]) -> Buffer:
        return self._answer(self._plane, window).read()

    def _load_into(self, target: _Target, window: tuple[int, int]) -> None:
        """Bring a range into place, going on where a connection breaks off."""
        position, stop = window
        breaks = 0
        while position < stop and target.open:
            answer = self._answer(self._bulk, (position, stop))
            begun = position
            try:
                for piece in answer.pieces():
                    if position + len(piece) > stop or not target.write(position, piece):
                        break
                    position += len(piece)
                broken: Exception = IntegrityError(
                    f"{self._where}: {position - begun} bytes arrived for the range "
                    f"{begun}-{stop}; try again"
                )
            except (StoreError, IntegrityError) as exc:
                if isinstance(exc, ObjectChangedError):
                    raise
                broken = exc
            if position < stop and target.open:
                breaks = 1 if position - begun >= _PROGRESS_BYTES else breaks + 1
                if breaks > _MAX_BREAKS:
                    raise broken
                logger.info("%s: going on at byte %d: %s", self._where, position, broken)
                time.sleep(random.uniform(0, _PAUSE_S * 2**breaks))  # noqa: S311 - jitter

    def _answer(self, plane: Plane, window: tuple[int, int]) -> Answer:
        """Ask for a range; the answer is that range of this version, or an error."""
        answer = plane.open(self._where, window, self.info.etag)
        try:
            check_same(answer.info, self.info, self._where)
            if (answer.start, answer.stop) != window:
                raise IntegrityError(
                    f"{self._where}: the server answered with bytes {answer.start}-{answer.stop}, "
                    f"and {window[0]}-{window[1]} were asked for"
                )
        except BaseException:
            answer.close()
            raise
        return answer


def _windows(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    for position in range(start, stop, size):
        yield position, min(position + size, stop)


class _Target:
    """The caller's buffer: nothing is written to it any more once the call has ended."""

    def __init__(self, out: memoryview, offset: int) -> None:
        self._out: memoryview | None = out
        self._offset = offset
        self._idle = threading.Condition()
        self._writing = 0

    @property
    def open(self) -> bool:
        """Whether anybody still wants the bytes."""
        return self._out is not None

    def write(self, position: int, piece: Buffer) -> bool:
        """Copy a piece to its place; False if nobody wants it any more."""
        with self._idle:
            if self._out is None:
                return False
            out = self._out
            self._writing += 1
        try:
            begin = position - self._offset
            out[begin : begin + len(piece)] = piece
        finally:
            with self._idle:
                self._writing -= 1
                self._idle.notify_all()
        return True

    def close(self) -> None:
        """Give the buffer back: waits for copies within memory, never for the network."""
        with self._idle:
            self._out = None
            self._idle.wait_for(lambda: self._writing == 0)
