"""What readers of all backends build from ``stream``."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import zlib
from collections.abc import Callable, Iterator

import pytest

from cottoncandy.backends import reader as reader_module
from cottoncandy.backends.ranges import GetResponse, RangeReader
from cottoncandy.backends.reader import ObjectInfo, ObjectReader
from cottoncandy.core.buffers import Buffer, MiB
from cottoncandy.exceptions import (
    AccessDeniedError,
    IntegrityError,
    InvalidArgumentError,
    ObjectChangedError,
    StoreTimeoutError,
)
from cottoncandy.testing.harness import pattern
from tests.cases import each
from tests.interrupts import interrupted_when
from tests.processes import exit_code, fork
from tests.servers.base import wait_until

DATA = pattern(5 * MiB + 3)
PIECE = MiB // 4


class Scripted(ObjectReader):
    """A reader whose streams pass through a function that may cut, delay or fail them."""

    def __init__(
        self,
        script: Callable[[int, int], Iterator[Buffer]] | None = None,
        threads: int = 2,
        prefetched: int = 0,
    ) -> None:
        self.info = ObjectInfo("name", len(DATA))
        self.threads = threads
        self.window_bytes = MiB
        self.prefetched = prefetched
        self.requests: list[tuple[int, int]] = []
        self._script = script or self.whole

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        self.requests.append((start, stop))
        return self._script(start, stop)

    @staticmethod
    def whole(start: int, stop: int) -> Iterator[Buffer]:
        for position in range(start, stop, PIECE):
            yield memoryview(DATA)[position : min(position + PIECE, stop)]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_PAUSE_S", 0)


def read(reader: ObjectReader, start: int = 0) -> bytearray:
    out = bytearray(len(DATA) - start)
    checksum = reader.read_into(memoryview(out), start, checksum=True)
    assert checksum == zlib.crc32(DATA[start:])
    assert out == DATA[start:]
    return out


@each("threads", [1, 2, 3, 200])
@each("start", [0, 1, 5 * MiB])
def test_ranges_are_read_once_each(threads: int, start: int) -> None:
    reader = Scripted(threads=threads)
    read(reader, start)
    edges = sorted(reader.requests)
    assert [stop for _, stop in edges[:-1]] == [begin for begin, _ in edges[1:]]
    assert len(edges) <= threads
    reader.requests.clear()
    assert b"".join(reader.chunks(start)) == DATA[start:]
    assert sum(stop - begin for begin, stop in reader.requests) == len(DATA) - start


def test_a_range_ends_where_the_prefetched_start_does() -> None:
    reader = Scripted(threads=3, prefetched=MiB)
    read(reader)
    share = -(-(len(DATA) - MiB) // 3)
    assert sorted(reader.requests) == list(
        itertools.pairwise([0, MiB, MiB + share, MiB + 2 * share, len(DATA)])
    )


@pytest.mark.parametrize(("kept_bytes", "first"), [(len(DATA), 0), (len(DATA) - 1, len(DATA) - 9)])
def test_a_response_with_the_whole_body_is_kept_for_its_end_unless_it_is_large(
    kept_bytes: int, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_MAX_RANGE_BYTES", kept_bytes)
    reader = Scripted(threads=1, prefetched=len(DATA))
    assert reader.tail(9) == DATA[-9:]
    assert reader.requests == [(first, len(DATA))]


def test_ranges_outside_the_object_raise() -> None:
    reader = Scripted()
    size = len(DATA)
    for start, stop in ((-1, 5), (5, 4), (0, size + 1), (size + 1, size + 1)):
        with pytest.raises(InvalidArgumentError, match=f"'name' do not exist: it has {size}"):
            reader.read(start, stop)
        with pytest.raises(InvalidArgumentError, match="do not exist"):
            list(reader.chunks(start, stop))
    assert reader.read(size, size) == b""
    assert reader.requests == []


@each("error", [None, IntegrityError("cut"), StoreTimeoutError("hung")])
@each("chunks", [False, True])
def test_a_range_that_breaks_off_is_resumed(error: Exception | None, chunks: bool) -> None:
    cuts = iter([PIECE, 2 * PIECE, 0])

    def cut(start: int, stop: int) -> Iterator[Buffer]:
        count = next(cuts, None)
        yield from Scripted.whole(start, stop if count is None else min(start + count, stop))
        if count is not None and error is not None:
            raise error

    reader = Scripted(cut, threads=1)
    if chunks:
        assert b"".join(reader.chunks()) == DATA
    else:
        read(reader)
    begins = [start for start, _ in reader.requests]
    assert begins[:4] == [0, PIECE, 3 * PIECE, 3 * PIECE]


def test_a_range_that_breaks_off_for_ever_raises() -> None:
    reader = Scripted(lambda start, stop: iter([DATA[start : start + 500]]), threads=1)
    with pytest.raises(IntegrityError, match="'name' ended after 3000 bytes"):
        reader.read()
    assert len(reader.requests) == 1 + reader.max_resumes


def test_a_range_that_stalls_is_given_up() -> None:
    """Resumed on a new connection once, but not for ever."""
    reader = Scripted(lambda start, stop: iter([DATA[start : start + 500]]), threads=1)
    reader.max_stall_s = -1  # longer than that, always
    with pytest.raises(StoreTimeoutError, match="nothing arrived"):
        reader.read()
    assert len(reader.requests) == 1


def test_progress_allows_any_number_of_breaks() -> None:
    cut = lambda start, stop: Scripted.whole(start, min(start + MiB // 2, stop))  # noqa: E731
    with pytest.raises(IntegrityError):
        read(Scripted(cut, threads=1))
    read(Scripted(lambda a, b: Scripted.whole(a, min(a + MiB, b)), threads=1))


@pytest.mark.parametrize("error", [ObjectChangedError("other"), AccessDeniedError("no")])
def test_final_errors_are_not_repeated(error: Exception) -> None:
    def fail(start: int, stop: int) -> Iterator[Buffer]:
        yield DATA[start : start + 5]
        raise error

    reader = Scripted(fail, threads=1)
    with pytest.raises(type(error)):
        reader.read()
    assert len(reader.requests) == 1


def test_an_error_after_the_last_byte_raises() -> None:
    def wrong(start: int, stop: int) -> Iterator[Buffer]:
        yield from Scripted.whole(start, stop)
        raise IntegrityError("the checksum is wrong")

    with pytest.raises(IntegrityError, match="checksum"):
        read(Scripted(wrong))


def test_more_bytes_than_requested_raise() -> None:
    out = bytearray(b"\xaa" * 20)
    reader = Scripted(lambda start, stop: iter([DATA[start : stop + 5]]))
    with pytest.raises(IntegrityError):
        reader.read_into(memoryview(out)[:10])
    assert out == b"\xaa" * 20


def is_free(out: bytearray) -> bool:
    """Return whether nothing refers to a buffer, to which a byte is added then."""
    gc.collect()  # the error's frames; it does nothing while another thread collects
    try:
        out.append(0)
    except BufferError:
        return False
    return True


@pytest.mark.parametrize("hanging", [0, 1])
def test_an_error_ends_a_range_that_hangs(hanging: int) -> None:
    """Whichever of the two comes first. The buffer is the caller's again at once."""
    half = -(-len(DATA) // 2)
    waits, release = threading.Event(), threading.Event()

    def script(start: int, stop: int) -> Iterator[Buffer]:
        yield DATA[start : start + PIECE]
        if (start >= half) == bool(hanging):
            waits.set()
            release.wait(60)
            yield from Scripted.whole(start + PIECE, stop)
        else:
            assert waits.wait(60)
            raise AccessDeniedError("no")

    out = bytearray(len(DATA))
    before = set(threading.enumerate())
    with pytest.raises(AccessDeniedError):
        Scripted(script).read_into(memoryview(out))
    held = bytes(out)
    wait_until(lambda: is_free(out), "the release of the buffer", timeout_s=30)
    release.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
    assert out[:-1] == held


@pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX")
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_ends_a_download_that_hangs(threads: int) -> None:
    waits, release = threading.Event(), threading.Event()

    def script(start: int, stop: int) -> Iterator[Buffer]:
        yield DATA[start : start + PIECE]
        waits.set()
        release.wait(60)
        yield from Scripted.whole(start + PIECE, stop)

    out = bytearray(len(DATA))
    with interrupted_when(waits.is_set), pytest.raises(KeyboardInterrupt):
        Scripted(script, threads=threads).read_into(memoryview(out))
    held = bytes(out)
    wait_until(lambda: is_free(out), "the release of the buffer", timeout_s=30)
    release.set()
    assert out[:-1] == held


def test_workers_have_ended_when_a_download_returns() -> None:
    before = set(threading.enumerate())
    for _ in range(20):
        read(Scripted(threads=4))
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


def test_an_error_of_the_progress_callback_is_raised() -> None:
    def fail(count: int) -> None:
        raise RuntimeError(count)

    with pytest.raises(RuntimeError):
        Scripted().read_into(memoryview(bytearray(len(DATA))), progress=fail)


def test_a_forked_child_does_not_read_from_its_parents_connection() -> None:
    body = bytes(range(256)) * 8192

    def respond(start: int, stop: int, etag: str, sent: bytes = body) -> GetResponse:
        return GetResponse(ObjectInfo("a", len(body)), start, stop, iter([sent[start:stop]]))

    parents = respond(0, len(body), "", bytes(len(body)))
    reader = RangeReader(respond, "a", parents, threads=1)

    def check() -> None:
        assert reader.read() == body

    assert exit_code(fork(check)) == 0
    assert reader.read() == bytes(len(body))
