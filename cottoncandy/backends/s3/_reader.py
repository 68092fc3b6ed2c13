"""Reading one version of an object: its head brought the first window, ranges bring the rest."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

from cottoncandy._buffers import Buffer, MiB
from cottoncandy._parallel import interruptible, map_threads
from cottoncandy.backends.base import Arrived, ObjectInfo, ObjectReader
from cottoncandy.backends.s3._direct import DirectBody
from cottoncandy.backends.s3._errors import S3Location, translated
from cottoncandy.backends.s3._plane import Answer, Plane, check_same
from cottoncandy.exceptions import (
    IntegrityError,
    InvalidArgumentError,
    ObjectChangedError,
    StoreError,
)

__all__ = ["S3Reader", "window_bytes"]

# Options files of the first versions say 100 MB. The promise of memory wins: the first window may
# be held as long as the reader.
_MAX_WINDOW_BYTES = 8 * MiB

# What may be under way or waiting in memory, beside the first window. Each window takes twice its
# size while obstore puts it together.
_AHEAD_BYTES = 16 * MiB
_MIN_WINDOW_BYTES = MiB

# Ranges that go straight into place take no memory, so they may be long; long ones cost a server
# less. Not longer, so that one slow connection does not hold up the rest.
_MAX_BULK_BYTES = 64 * MiB

# boto3 copies less of a body on its way than obstore, and asks for it more slowly: measured with
# Ceph on loopback, 1.1 ms more for a request and 0.5 ms less for a MiB of processor time.
_BULK_FROM_BYTES = 4 * MiB
_DIRECT_BYTES = 2 * MiB  # stays in the processor's cache for who looks at it next

# A body that breaks off is asked for again from there: so often, unless it moved on by this much.
_MAX_BREAKS = 5
_PROGRESS_BYTES = MiB
_PAUSE_S = 0.1  # before the second try; each further one waits up to twice as long

logger = logging.getLogger(__name__)


def window_bytes(wanted: int) -> int:
    """Return the size of one range, in bytes, for what the settings say."""
    return min(max(wanted, _MIN_WINDOW_BYTES), _MAX_WINDOW_BYTES)


class _Start:
    """The start of the body, which came with the head: on its way until somebody wants it."""

    def __init__(self, answer: Answer | None) -> None:
        held = answer.body if answer is not None else b""
        self._answer = answer if held is None else None
        self._held = memoryview(held if held is not None else b"")
        self._lock = threading.Lock()
        self._stop = answer.stop if answer is not None else 0

    @property
    def stop(self) -> int:
        """How many bytes there are."""
        return self._stop

    def take(self, start: int, stop: int) -> Answer | None:
        """Hand over the answer itself, if all its bytes are wanted, and nobody has it yet."""
        with self._lock:
            if start or self._answer is None or stop < self._stop:
                return None
            answer, self._answer, self._stop = self._answer, None, 0
            return answer

    def hold(self) -> memoryview:
        """Return the bytes, and keep them for others."""
        with self._lock:
            if self._answer is not None:
                answer, self._answer = self._answer, None
                try:
                    self._held = memoryview(answer.read())
                except (StoreError, IntegrityError) as exc:
                    # It may have waited for too long.
                    logger.info("asking once more for what came with the head: %s", exc)
                    self._stop = 0
            return self._held

    def close(self) -> None:
        with self._lock:
            if self._answer is not None:
                self._answer.close()
            self._answer = None
            self._held = memoryview(b"")
            self._stop = 0


class S3Reader(ObjectReader):
    """An object that was opened.

    Parameters
    ----------
    plane : Plane
        What brings windows as buffers.
    bulk : Plane
        What brings long ranges into place.
    first : Answer or None
        The answer that brought the head, with the start of the body; None if that was not asked
        for.
    window_bytes : int
        Size of one range, in bytes.
    threads : int
        Ranges under way at once.
    """

    def __init__(
        self,
        plane: Plane,
        location: S3Location,
        info: ObjectInfo,
        first: Answer | None,
        *,
        bulk: Plane,
        window_bytes: int,
        threads: int,
    ) -> None:
        self.info = info
        self._plane = plane
        self._bulk = bulk
        self._location = location
        self._first = _Start(first)
        self._closed = False
        self._threads = min(max(threads, 1), _AHEAD_BYTES // _MIN_WINDOW_BYTES)
        self._window_bytes = min(window_bytes, _AHEAD_BYTES // self._threads)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[Buffer]:
        stop = self.size if stop is None else stop
        self._check(start, stop)
        first, held = self._begun(start, stop)
        start += len(held)
        if len(held):
            yield held
        del held
        windows = chain(first, _windows(_end(first, start), stop, self._window_bytes))
        threads = min(self._threads, -(-(stop - start) // self._window_bytes))
        yield from map_threads(self._load, windows, threads, ahead=threads, leave=True)

    def read_into(self, out: memoryview, start: int = 0, *, arrived: Arrived | None = None) -> None:
        stop = start + len(out)
        self._check(start, stop)
        target = _Target(out, start, arrived)
        first, held = self._begun(start, stop)
        target.write(start, held)
        start += len(held)
        if start == stop:
            return
        share = self._bulk_bytes(stop - start)
        windows = chain(first, _windows(_end(first, start), stop, share))

        def load(window: _Window) -> None:
            try:
                self._load_into(target, window)
            except BaseException:
                target.interrupt()  # nobody wants the other ranges now, however long they take
                raise

        def load_all() -> None:
            for _ in map_threads(load, windows, threads, ahead=threads, leave=True):
                pass

        threads = min(self._threads, -(-(stop - start) // share))
        try:
            if threads > 1:
                load_all()
            else:
                interruptible(load_all)
        finally:
            target.close()

    def close(self) -> None:
        self._closed = True
        self._first.close()

    def _check(self, start: int, stop: int) -> None:
        if self._closed:
            raise InvalidArgumentError(f"the reader of {self._location} is closed")
        if not 0 <= start <= stop <= self.size:
            raise InvalidArgumentError(
                f"bytes {start} to {stop} of {self._location} do not exist: it has {self.size}"
            )

    def _begun(self, start: int, stop: int) -> tuple[list[_Window], memoryview]:
        """Return what there is of a range: the window that is on its way, or bytes from memory."""
        if first := self._first.take(start, stop):
            return [_Window(0, first.stop, first)], memoryview(b"")
        held = self._first.hold() if start < self._first.stop else memoryview(b"")
        return [], held[start:stop]

    def _bulk_bytes(self, length: int) -> int:
        """Return the size of the ranges that bring so much into place: an equal share for each."""
        share = -(-length // self._threads)
        return min(max(share, self._window_bytes), _MAX_BULK_BYTES)

    def _load(self, window: _Window) -> Buffer:
        if window.answer is not None:
            try:
                return window.answer.read()
            except (StoreError, IntegrityError) as exc:
                logger.info("%s: asking again: %s", self._location, exc)
        return self._answer(self._plane, window.start, window.stop).read()

    def _load_into(self, target: _Target, window: _Window) -> None:
        """Bring a range into place, going on where a connection breaks off."""
        position, stop, answer = window
        breaks = 0
        while position < stop and target.open:
            if answer is None:
                plane = self._bulk if stop - position >= _BULK_FROM_BYTES else self._plane
                answer = self._answer(plane, position, stop)
            begun = position
            try:
                for count in _bring(self._location, answer, target, position, stop):
                    position += count
                broken: Exception = IntegrityError(
                    f"{self._location}: {position - begun} bytes arrived for the range "
                    f"{begun}-{stop}; try again"
                )
            except (StoreError, IntegrityError) as exc:
                if isinstance(exc, ObjectChangedError):
                    raise
                broken = exc
            answer = None
            if position < stop and target.open:
                breaks = 1 if position - begun >= _PROGRESS_BYTES else breaks + 1
                if breaks > _MAX_BREAKS:
                    raise broken
                logger.info("%s: going on at byte %d: %s", self._location, position, broken)
                time.sleep(random.uniform(0, _PAUSE_S * 2**breaks))  # noqa: S311 - jitter

    def _answer(self, plane: Plane, start: int, stop: int) -> Answer:
        """Ask for a range; the answer is that range of this version, or an error."""
        answer = plane.open(self._location, (start, stop), self.info.etag)
        try:
            check_same(answer.info, self.info, self._location)
            if (answer.start, answer.stop) != (start, stop):
                raise IntegrityError(
                    f"{self._location}: the server answered with bytes "
                    f"{answer.start}-{answer.stop}, and {start}-{stop} were asked for"
                )
        except BaseException:
            answer.close()
            raise
        return answer


class _Window(NamedTuple):
    """A range of the body, and the answer that brings it, where it is on its way already."""

    start: int
    stop: int
    answer: Answer | None = None


def _end(windows: list[_Window], start: int) -> int:
    return windows[-1].stop if windows else start


def _windows(start: int, stop: int, size: int) -> Iterator[_Window]:
    for position in range(start, stop, size):
        yield _Window(position, min(position + size, stop))


def _bring(
    location: S3Location, answer: Answer, target: _Target, position: int, stop: int
) -> Iterator[int]:
    """Bring an answer's body into place; yield how many bytes more are there."""
    if answer.direct is None:
        for piece in answer.pieces():
            if position + len(piece) > stop or not target.write(position, piece):
                return
            position += len(piece)
            yield len(piece)
        return
    with translated(location), contextlib.closing(answer.direct):
        while position < stop:
            count = target.fill(position, min(_DIRECT_BYTES, stop - position), answer.direct)
            if not count:
                return
            position += count
            yield count


class _Target:
    """The caller's buffer: nothing is written to it any more once the call has ended."""

    def __init__(self, out: memoryview, offset: int, arrived: Arrived | None) -> None:
        self._out = out
        self._offset = offset
        self._arrived = arrived
        self._idle = threading.Condition()
        self._writing = 0
        self._reading: set[DirectBody] = set()
        self._closed = False

    @property
    def open(self) -> bool:
        """Whether anybody still wants the bytes."""
        return not self._closed

    def write(self, position: int, piece: Buffer) -> bool:
        """Copy a piece to its place; False if nobody wants it any more."""
        with self._writer() as wanted:
            if wanted:
                place = self._place(position, len(piece))
                place[:] = piece
                self._tell(position, place)
            return wanted

    def fill(self, position: int, length: int, body: DirectBody) -> int:
        """Have a body's next bytes put in their place; return how many came, 0 at the end."""
        with self._writer(body) as wanted:
            if not wanted:
                return 0
            place = self._place(position, length)
            count = body.readinto(place)
            self._tell(position, place[:count])
            return count

    def interrupt(self) -> None:
        """End the reads that wait for the network; nothing is begun any more."""
        with self._idle:
            self._closed = True
            for body in self._reading:
                body.interrupt()

    def close(self) -> None:
        """Give the buffer back."""
        self.interrupt()
        with self._idle:
            self._idle.wait_for(lambda: self._writing == 0)

    @contextmanager
    def _writer(self, body: DirectBody | None = None) -> Iterator[bool]:
        """Count who writes to the buffer; False if nobody may any more."""
        with self._idle:
            if self._closed:
                wanted = False
            else:
                wanted = True
                self._writing += 1
                if body is not None:
                    self._reading.add(body)
        try:
            yield wanted
        finally:
            if wanted:
                with self._idle:
                    self._writing -= 1
                    self._reading -= {body}
                    self._idle.notify_all()

    def _place(self, position: int, length: int) -> memoryview:
        begin = position - self._offset
        return self._out[begin : begin + length]

    def _tell(self, position: int, place: memoryview) -> None:
        if self._arrived is not None and len(place):
            self._arrived(position - self._offset, place)
