"""Reading one version of an object: its header came with the first window of its body."""

from __future__ import annotations

from collections.abc import Iterator

from cottoncandy._buffers import Buffer, MiB, bytes_view
from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.backends.s3._errors import S3Location
from cottoncandy.backends.s3._plane import AT_ONCE_BYTES, Answer, Plane, check_same
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError

__all__ = ["S3Reader", "window_bytes"]

# Options files of the first versions say 100 MB; the promise of memory wins.
_MAX_WINDOW_BYTES = 8 * MiB
_MIN_WINDOW_BYTES = MiB


def window_bytes(wanted: int) -> int:
    """Return the size of one range, in bytes, for what the settings say."""
    return min(max(wanted, _MIN_WINDOW_BYTES), _MAX_WINDOW_BYTES)


class S3Reader(ObjectReader):
    """An object that was opened.

    Parameters
    ----------
    first : Answer or None
        The answer that brought the header, with the start of the body; None if that was not
        requested.
    window_bytes : int
        Size of the ranges that are requested ahead, in bytes.
    threads : int
        Requests under way at once.
    """

    def __init__(
        self,
        plane: Plane,
        location: S3Location,
        info: ObjectInfo,
        first: Answer | None,
        *,
        window_bytes: int,
        threads: int,
    ) -> None:
        self.info = info
        self.threads = max(threads, 1)
        self.window_bytes = window_bytes
        self._plane = plane
        self._location = location
        self._closed = False
        self._held = memoryview(b"")  # a small start, for all who read
        self._first: list[Answer] = []  # a large start, for who reads first
        if first is not None:
            self.prefetched = first.stop
            if first.stop <= AT_ONCE_BYTES:
                self._held = memoryview(b"".join(first.pieces))
            else:
                self._first.append(first)

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        if self._closed:
            raise InvalidArgumentError(f"the reader of {self._location} is closed")
        if held := self._held[start:stop]:
            yield held
            start += len(held)
        elif not start and (first := self._claim_first()):
            for piece in self._body(first, 0, min(first.stop, stop)):
                yield piece
                start += len(piece)
            if start < min(first.stop, stop):
                return
        if start < stop:
            yield from self._body(self._request(start, stop), start, stop)

    def close(self) -> None:
        self._closed = True
        self._held = memoryview(b"")
        if first := self._claim_first():
            first.close()

    def _claim_first(self) -> Answer | None:
        try:
            return self._first.pop()
        except IndexError:
            return None

    @staticmethod
    def _body(answer: Answer, start: int, stop: int) -> Iterator[Buffer]:
        """Yield an answer's body up to ``stop``."""
        try:
            for piece in answer.pieces:
                yield bytes_view(piece)[: stop - start]
                start += len(piece)
                if start >= stop:
                    return
        finally:
            answer.close()

    def _request(self, start: int, stop: int) -> Answer:
        """Request a range; the answer is that range of this version, or an error."""
        answer = self._plane.open(self._location, (start, stop), self.info.etag)
        try:
            check_same(answer.info, self.info, self._location)
            if (answer.start, answer.stop) != (start, stop):
                raise IntegrityError(
                    f"{self._location}: the server answered with bytes "
                    f"{answer.start}-{answer.stop}, expected {start}-{stop}"
                )
        except BaseException:
            answer.close()
            raise
        return answer
