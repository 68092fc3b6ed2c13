"""Objects as file objects."""

from __future__ import annotations

import csv
import gc
import gzip
import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cottoncandy
from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import (
    IntegrityError,
    InvalidArgumentError,
    ObjectChangedError,
    ObjectExistsError,
    StoreUnreachableError,
    UnsupportedOperationError,
)
from cottoncandy.stores import files, streams
from cottoncandy.stores.files import CloudWriter, _DiscardedError
from cottoncandy.stores.streams import CloudStream
from tests.cases import each
from tests.harness import StoreHarness
from tests.processes import exit_code, fork
from tests.servers.proxy import FaultProxy

BODY = bytes(range(256)) * 100


class FragileReader(ObjectReader):
    """Breaks off at byte ``limit``, by an error or without one."""

    def __init__(self, limit: int, error: Exception | None) -> None:
        self.info = ObjectInfo("key", len(BODY))
        self.limit = limit
        self.error = error

    max_resumes = 0

    def stream(self, start: int, stop: int) -> Iterator[bytes]:
        yield from self.chunks(start, stop)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        end = min(len(BODY) if stop is None else stop, self.limit)
        for position in range(start, end, 1000):
            yield BODY[position : min(position + 1000, end)]
        if end == self.limit and self.error is not None:
            raise self.error


@pytest.fixture
def cci() -> Any:
    interface = cottoncandy.get_interface("streams", backend="memory", verbose=False)
    interface.rm("", recursive=True)
    return interface


@each("size", [100, 1000, 5000, -1])
@each("error", [StoreUnreachableError("cut"), None])
def test_failed_read_raises_again_until_seek(size: int, error: Exception | None) -> None:
    reader = FragileReader(12_345, error)
    stream = CloudStream(reader)
    with pytest.raises((StoreUnreachableError, IntegrityError)):
        list(iter(lambda: stream.read(size), b""))
    for limit in (reader.limit, len(BODY) + 1):  # even if the store answers again
        reader.limit = limit
        with pytest.raises((StoreUnreachableError, IntegrityError)):
            stream.read(size)
    stream.seek(100)
    assert stream.read() == BODY[100:]


def test_stream_is_a_binary_file(cci: Any) -> None:
    cci.upload_object("object", BODY, who="me")
    with cci.download_stream("object") as stream:
        assert stream.content is stream
        assert stream.metadata["who"] == "me"
        assert stream.readable()
        assert stream.seekable()
        assert not stream.writable()
        assert stream.read(3) == BODY[:3]
        assert stream.readline() == BODY[3:11]
        out = bytearray(4)
        assert stream.readinto(out) == 4
        assert out == BODY[11:15]
        assert stream.seek(-2, io.SEEK_END) == len(BODY) - 2
        assert stream.tell() == len(BODY) - 2
        assert list(stream) == [BODY[-2:]]
        assert repr(stream) == f"<CloudStream 'object' ({len(BODY)} bytes)>"
    assert stream.closed
    with pytest.raises(ValueError, match="closed"):
        stream.read()


def test_stream_serves_libraries_that_take_files(cci: Any) -> None:
    cci.upload_object("table.csv", "name,ä\none,1\n".encode())
    with io.TextIOWrapper(cci.download_stream("table.csv"), "utf-8") as text:
        assert list(csv.reader(text)) == [["name", "ä"], ["one", "1"]]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("inside"))
    cci.upload_object("archive.tgz", archive.getvalue())
    with tarfile.open(fileobj=cci.download_stream("archive.tgz")) as tar:
        assert tar.getnames() == ["inside"]
    cci.upload_object("copy.tgz", cci.download_stream("archive.tgz"))
    assert cci.download_object("copy.tgz") == archive.getvalue()


def test_pandas_reads_a_stream(cci: Any) -> None:
    pandas = pytest.importorskip("pandas")
    cci.upload_object("table.csv", "name,ä\none,1\n".encode())
    table = pandas.read_csv(cci.download_stream("table.csv"))
    assert table.to_dict("list") == {"name": ["one"], "ä": [1]}


# -- open(): reading -----------------------------------------------------------------------------


class CountingReader(ObjectReader):
    """Serves a body from memory and keeps the ranges that were requested."""

    max_resumes = 0

    def __init__(self, body: bytes) -> None:
        self.info = ObjectInfo("key", len(body))
        self.body = body
        self.requests: list[tuple[int, int]] = []

    def stream(self, start: int, stop: int) -> Iterator[bytes]:
        self.requests.append((start, stop))
        yield self.body[start:stop]


def test_small_steps_are_served_from_one_block() -> None:
    body = random.Random(0).randbytes(MiB)
    reader = CountingReader(body)
    stream = CloudStream(reader, block_size=MiB)
    assert b"".join(iter(lambda: stream.read(1024), b"")) == body
    assert reader.requests == [(0, MiB)]


def test_read_ahead_doubles_with_sequential_reads() -> None:
    body = random.Random(0).randbytes(40 * MiB)
    reader = CountingReader(body)
    stream = CloudStream(reader)
    assert b"".join(iter(lambda: stream.read(10_000), b"")) == body
    sizes = [stop - start for start, stop in reader.requests]
    assert sizes[:4] == [64 * 1024, 128 * 1024, 256 * 1024, 512 * 1024]
    assert len(sizes) < 25
    assert sum(sizes) == len(body)


def test_random_reads_download_their_blocks_only() -> None:
    body = random.Random(0).randbytes(20 * MiB)
    reader = CountingReader(body)
    stream = CloudStream(reader)
    positions = [19 * MiB, 3 * MiB + 5, 11 * MiB, 3 * MiB + 700, 11 * MiB + 9]
    for position in positions:
        stream.seek(position)
        assert stream.read(100) == body[position : position + 100]
    assert len(reader.requests) == 3
    assert sum(stop - start for start, stop in reader.requests) == 3 * 64 * 1024


def test_scattered_reads_of_one_region_take_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_WHOLE_BYTES", MiB)  # as in a larger file
    body = random.Random(0).randbytes(12 * MiB + 100)
    reader = CountingReader(body)
    stream = CloudStream(reader)
    positions = [random.Random(1).randrange(5 * MiB) for _ in range(300)]
    for position in [*positions, len(body) - 7, len(body) - MiB // 2, len(body) - 200_000]:
        stream.seek(position)
        assert stream.read(100) == body[position : position + 100]
    assert len(reader.requests) < 30
    assert sum(stop - start for start, stop in reader.requests) < 7 * MiB


@each("limit", [11 * MiB, 13 * MiB])
def test_a_small_file_that_is_read_here_and_there_is_downloaded_whole(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(streams, "_WHOLE_BYTES", limit)
    body = random.Random(0).randbytes(12 * MiB)
    reader = CountingReader(body)
    positions = [number * MiB + 70_000 for number in range(12)]
    random.Random(0).shuffle(positions)
    with CloudStream(reader) as stream:
        for position in positions:
            stream.seek(position)
            assert stream.read(100) == body[position : position + 100]
    large = [stop - start for start, stop in reader.requests if stop - start > MiB]
    assert sum(large) == (len(body) if limit > len(body) else 0)
    assert len(reader.requests) - len(large) == (3 if large else 12)


def test_shuffled_reads_of_a_large_file_download_little_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "_CACHE_BYTES", MiB)
    reader = CountingReader(bytes(8 * MiB))
    places = list(range(0, 8 * MiB, 16 * 1024))
    random.Random(0).shuffle(places)
    with CloudStream(reader, block_size=16 * 1024) as stream:
        for place in places:
            stream.seek(place)
            assert len(stream.read(16 * 1024)) == 16 * 1024
    assert sum(stop - start for start, stop in reader.requests) < 20 * MiB


def test_forked_children_read_on_without_their_parents_threads() -> None:
    body = random.Random(0).randbytes(48 * MiB)
    with CloudStream(CountingReader(body)) as stream:
        for start in range(0, 24 * MiB, MiB // 2):  # threads read ahead now
            assert stream.read(MiB // 2) == body[start : start + MiB // 2]

        def check() -> None:
            assert stream.read(100_000) == body[24 * MiB :][:100_000]
            assert stream.read() == body[24 * MiB + 100_000 :]

        child = fork(check)
        check()
        assert exit_code(child) == 0


def test_large_reads_go_straight_into_the_buffer() -> None:
    body = random.Random(0).randbytes(9 * MiB)
    reader = CountingReader(body)
    out = bytearray(8 * MiB)
    stream = CloudStream(reader)
    assert stream.seek(100) == 100
    assert stream.readinto(out) == len(out)
    assert out == body[100 : 100 + len(out)]
    assert stream.read() == body[100 + len(out) :]


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(-1, 3000)), max_size=20),
    st.integers(1, 700),
    st.integers(0, 4321),
)
def test_reads_equal_those_of_a_bytes_file(
    steps: list[tuple[int, int]], block_size: int, prefetched: int
) -> None:
    body = random.Random(1).randbytes(4321)
    reader = CountingReader(body)
    reader.prefetched = prefetched
    ours, theirs = CloudStream(reader, block_size), io.BytesIO(body)
    for position, count in steps:
        assert ours.seek(position) == theirs.seek(position)
        assert ours.read(count) == theirs.read(count)
        assert ours.readline() == theirs.readline()
        assert ours.tell() == theirs.tell()


@pytest.mark.parametrize("store", ["memory", "local"], indirect=True)
@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_replaced_object_never_mixes(store: StoreHarness, factory: Any) -> None:
    cci = factory(store.bucket, verbose=False, backend=store.backend_name, **store.connection())
    old, new = b"a" * MiB, b"b" * MiB
    cci.upload_object("object", old)
    with cci.open("object") as file:
        assert file.read(10) == old[:10]
        cci.upload_object("object", new)
        file.seek(MiB // 2)
        with suppress(ObjectChangedError):
            assert file.read() == old[MiB // 2 :]


def test_reader_is_closed_once_and_for_all(cci: Any) -> None:
    cci.upload_object("object", b"0123")
    file = cci.open("object")
    with pytest.raises(ValueError, match="before the start"):
        file.seek(-5)
    file.close()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.seek(0)


# -- open(): writing -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 8 * MiB, 20 * MiB + 7])
@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_written_file_appears_whole_at_close(store: StoreHarness, factory: Any, size: int) -> None:
    cci = factory(store.bucket, verbose=False, backend="memory")
    body = random.Random(2).randbytes(size)
    with cci.open("object", "wb", metadata={"who": "me"}) as file:
        for start in range(0, size, MiB):
            assert file.write(body[start : start + MiB]) == len(body[start : start + MiB])
        assert file.tell() == size
        assert not cci.exists_object("object")
    with cci.open("object") as file:
        assert file.read() == body
        assert file.metadata["who"] == "me"


def layers(file: Any, kind: str) -> Any:
    """Return the file object that a program writes to, on top of a CloudWriter."""
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file, mode="wb", compresslevel=0)
    return io.TextIOWrapper(file, "utf-8") if kind == "text" else file


@each("size", [100, 20 * MiB])
@each("kind", ["bytes", "gzip", "text", "own text"])
def test_exception_while_writing_keeps_the_old_object(cci: Any, kind: str, size: int) -> None:
    cci.upload_object("object", b"old")
    data = "x" * size if "text" in kind else random.Random(3).randbytes(size)
    opened = cci.open("object", "w" if kind == "own text" else "wb")
    with (  # noqa: PT012
        pytest.raises(KeyError),
        nullcontext() if kind in ("own text", "text") else opened,
        layers(opened, kind) as file,
    ):
        file.write(data)
        raise KeyError("in the block")
    assert opened.closed
    assert cci.download_object("object") == b"old"


def test_close_in_a_finally_clause_after_an_exception_stores_nothing(cci: Any) -> None:
    file = cci.open("object", "wb")
    with pytest.raises(KeyError):  # noqa: PT012
        try:
            file.write(b"half")
            raise KeyError
        finally:
            file.close()
    assert not cci.exists_object("object")
    try:
        raise KeyError
    except KeyError:
        with cci.open("object", "wb") as file:  # opened and closed while handling another one
            file.write(b"whole")
    assert cci.download_object("object") == b"whole"


@each("mode", ["w", "wb"])
def test_exception_that_is_raised_again_stores_nothing(cci: Any, mode: str) -> None:
    with pytest.raises(KeyError):  # noqa: PT012
        try:
            raise KeyError
        except KeyError:
            with cci.open("object", mode) as file:
                file.write("x" if mode == "w" else b"x")
                raise
    assert not cci.exists_object("object")


def test_options_of_open_are_those_of_uploads(cci: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(type(cci._store), "put", lambda *a, **options: seen.append(options))
    given = {"acl": "private", "content_type": "text/csv", "metadata": {"a": "b"}, "threads": 2}
    with cci.open("object", "w", **given):
        pass
    assert seen == [{**given, "condition": None}]


@each(
    "kind, size",
    [("bytes", 20 * MiB), ("gzip", 100), ("text", 100), ("own text", 100)],
)
def test_collected_file_stores_nothing_and_warns(
    cci: Any, kind: str, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    file = layers(cci.open("object", "w" if kind == "own text" else "wb"), kind)
    file.write("x" * size if "text" in kind else random.Random(3).randbytes(size))
    upload = getattr(file, "_upload", None)
    del file
    gc.collect()
    assert not cci.exists_object("object")
    assert "'object' was not stored, because the file was not closed" in caplog.text
    assert upload is None or upload.done()


def test_a_file_that_its_own_upload_collects_does_not_wait_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python may look for unreachable objects in any thread, also in that of the upload."""
    monkeypatch.setattr(files, "_GRACE_S", 120)
    dropped = threading.Event()

    def put(body: Any) -> None:
        blocks = iter(body)
        next(blocks)
        dropped.wait(60)
        gc.collect()
        list(blocks)

    file: Any = CloudWriter(put, "object")
    file.itself = file
    file.write(bytes(8 * MiB))
    upload = file._upload
    del file
    dropped.set()
    with pytest.raises(_DiscardedError):
        upload.result(timeout=60)


def test_file_that_is_open_at_exit_stores_nothing(tmp_path: Path) -> None:
    program = """if True:
        import sys, cottoncandy
        cci = cottoncandy.get_interface(sys.argv[1], backend="local", verbose=False)
        cci.upload_object("large", b"old")
        binary, text = cci.open("binary", "wb"), cci.open("text", "w")
        large = cci.open("large", "wb")
        binary.write(b"half"); text.write("half"); large.write(b"x" * 2**25)
        """
    bucket = str(tmp_path / "bucket")
    done = subprocess.run(
        [sys.executable, "-c", program, bucket],
        check=True,
        timeout=60,
        stderr=subprocess.PIPE,
        text=True,
    )
    for name in ("binary", "text", "large"):
        assert f"'{name}' was not stored, because the file was not closed" in done.stderr
    cci = cottoncandy.get_interface(bucket, backend="local", verbose=False)
    assert cci.glob("*") == ["large"]
    assert cci.download_object("large") == b"old"


def test_a_forked_child_neither_stores_nor_waits_for_its_parents_file(cci: Any) -> None:
    with cci.open("a", "wb") as file:
        file.write(bytes(20_000_000))  # a thread, which the child does not have, uploads it
        child = os.fork()
        if child == 0:
            failed = 0
            for call in (lambda: file.write(b"child"), file.close, file.close):
                try:
                    call()
                except UnsupportedOperationError:
                    failed += 1
            os._exit(failed)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2  # the last close is nothing
        file.write(b"end")
    assert cci.download_object("a") == bytes(20_000_000) + b"end"


WRITERS: dict[str, Callable[[Any, bytes], Any]] = {
    "open": lambda cci, body: _write(cci.open("a", "wb"), body),
    "fsspec": lambda cci, body: _write(cci.filesystem().open("a", "wb"), body),
    "pipe": lambda cci, body: cci.filesystem().pipe("a", body),
}


def _write(file: Any, body: bytes) -> None:
    with file:
        for start in range(0, len(body), MiB):
            file.write(body[start : start + MiB])


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
def test_a_program_killed_at_any_request_leaves_the_old_object(
    kind: str, fault_proxy: FaultProxy, moto_bucket: str
) -> None:
    server = fault_proxy.server.interface_arguments()
    cci = cottoncandy.get_interface(moto_bucket, verbose=False, **server)
    body = random.Random(0).randbytes(20 * MiB)
    for number in range(20):
        cci.upload_object("a", b"old")
        rule = fault_proxy.on(skip=number, times=1).hang()
        child = os.fork()
        if child == 0:
            WRITERS[kind](cci, body)
            os._exit(0)
        while not (ended := os.waitpid(child, os.WNOHANG)[0]) and not rule.hits:
            time.sleep(0.01)
        if ended:
            break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        fault_proxy.remove_rules()
        assert cci.download_object("a") == b"old"
    fault_proxy.remove_rules()
    assert number > 0
    assert cci.download_object("a") == body


def test_text_is_utf_8_and_exclusive_files_do_not_replace(cci: Any) -> None:
    with cci.open("text", "x") as file:
        file.write("µV\n")
    assert cci.download_object("text") == "µV\n".encode()
    with cci.open("text", "r") as file:
        assert list(file) == ["µV\n"]
    for encoding in ("utf-16", "utf-32", "utf-8-sig", "utf-16-le", "latin-1"):
        with cci.open("encoded", "w", encoding=encoding) as file:
            file.write("é\n")
            file.write("é")
        assert cci.download_object("encoded") == "é\né".encode(encoding)
    for mode in ("x", "xb"):
        with pytest.raises(FileExistsError, match="exists; open it with mode 'w' to replace it"):
            cci.open("text", mode)
    with cci.open("late", "xb") as file:
        cci.upload_object("late", b"first")
        file.write(b"second")
        with pytest.raises(ObjectExistsError, match="with mode 'w'"):
            file.close()
    assert cci.download_object("late") == b"first"


def test_modes_may_begin_with_b(cci: Any) -> None:
    for mode in ("bx", "bw"):
        with cci.open("object", mode) as file:
            file.write(b"body")
        with cci.open("object", "br") as file:
            assert file.read() == b"body"


@each("mode", ["ab", "a", "rb+", "r+", "rw", "w+b", "", "U", None, 3, "bt"])
def test_other_modes_are_explained(cci: Any, mode: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="written whole"):
        cci.open("object", mode)


def test_wrong_options_of_open_raise(cci: Any) -> None:
    for options in ({"encodin": "x"}, {"encoding": "utf-8"}, {"block_size": 0}):
        with pytest.raises(InvalidArgumentError):
            cci.open("object", **options)
    with pytest.raises(FileNotFoundError):
        cci.open("missing", "r")
    with pytest.raises(TypeError):
        cci.open("object", "wb").write("text")


def test_failed_upload_raises_and_keeps_the_old_object(
    cci: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cci.upload_object("object", b"old")

    def broken(self: Any, key: str, body: Any, *arguments: Any, **options: Any) -> Any:
        next(iter(body))
        raise StoreUnreachableError("gone")

    monkeypatch.setattr(type(cci._store.backend), "put", broken)
    file = cci.open("object", "wb")
    with pytest.raises(StoreUnreachableError):  # noqa: PT012
        for _ in range(10):
            file.write(bytes(8 * MiB))
    with pytest.raises(StoreUnreachableError):
        file.close()
    assert file.closed
    assert cci.download_object("object") == b"old"
