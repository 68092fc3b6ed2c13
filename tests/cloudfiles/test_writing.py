"""What CloudFiles writes, removes and touches, on every store."""

from __future__ import annotations

import gzip
import io
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.cloudfiles import CloudFiles, writing
from cottoncandy.exceptions import (
    InvalidArgumentError,
    InvalidNameError,
    UnsupportedOperationError,
)
from tests.cases import each
from tests.cloudfiles.conftest import ENCODINGS, on_every_store


def test_puts_accepts_every_form(cf: CloudFiles) -> None:
    assert cf.put("a", b"1") == 1
    assert cf.puts(("b", b"2")) == 1
    assert cf.puts({"path": "c", "content": b"3"}) == 1
    files = [("d", b"4"), {"path": "e", "content": b"5", "compress": "br"}]
    assert cf.puts(iter(files), compression="gzip", total=2) == 2  # as the document says
    assert cf.puts([("f", memoryview(b"6")), ("g", io.BytesIO(b"7")), ("h", "8")]) == 3
    cf["i"] = b"9"
    assert [cf[name] for name in "abcdefghi"] == [str(n).encode() for n in range(1, 10)]
    assert [cf.head(name)["Content-Encoding"] for name in "bde"] == [None, "gzip", "br"]
    count, record = cf.puts([("j", b"12345")], return_recording=True)
    assert (count, record.total_bytes()) == (1, 5)


def test_files_of_get_can_be_put(cf: CloudFiles) -> None:
    cf.puts([("a", b"1"), ("b", b"2")], compress="gzip")
    assert cf.puts(cf.get(["a", "b"], raw=True)) == 2
    assert cf.puts(cf.get(["a", "b"])) == 2
    assert (cf["a"], cf["b"]) == (b"1", b"2")


@each("encoding", [None, "gzip", "br", "zstd", "xz", "bz2"])
def test_a_name_has_one_encoding(cf: CloudFiles, encoding: str | None) -> None:
    for before in [None, *ENCODINGS]:
        cf.put("a", b"old", compress=before)
        cf.put("a", b"new", compress=encoding)
        assert cf["a"] == b"new"
        assert list(cf.list(size=True)) == [("a", cf.size("a"))]
    assert cf.delete("a") == 1
    assert cf["a"] is None
    assert list(cf) == []


def test_bad_content_stores_nothing_and_names_the_file(cf: CloudFiles) -> None:
    for bad in (None, 7, ["x"]):
        with pytest.raises(InvalidArgumentError):
            cf.put("a", bad)
    with pytest.raises(InvalidArgumentError, match="cache_control must be text"):
        cf.put("a", b"", cache_control=["no-cache"])
    with pytest.raises(InvalidArgumentError, match="'zip'"):
        cf.put("a", b"1", compress="zip")
    with pytest.raises(InvalidArgumentError, match="'a' occurs twice"):
        cf.puts([("a", b"1"), ("a", b"2")])
    with pytest.raises(InvalidArgumentError, match="pair"):
        cf.puts(["a"])
    assert list(cf) == []


def test_a_file_and_its_encoded_name_in_one_call(tmp_path: Path) -> None:
    """On disk, the second would remove the first."""
    files = [("a.gz", b"1"), ("a", b"2"), ("b.gz", b"3"), ("c", b"4"), ("c.txt", b"5")]
    cf = CloudFiles(tmp_path)
    for compress in (None, "gzip"):
        with pytest.raises(InvalidArgumentError, match=r"'a\.gz' is 'a'"):
            cf.puts(files, compress=compress)
    assert list(cf) == []
    assert cf.puts(files[1:]) == 4
    assert cf.puts(files, compress="bz2") == 5  # ``a.gz.bz2`` and ``a.bz2``
    assert cf.get(["a.gz", "a"], return_dict=True) == {"a.gz": b"1", "a": b"2"}
    assert CloudFiles("mem://bucket/encoded").puts(files) == 5


def test_one_bad_file_does_not_stop_the_rest(cf: CloudFiles) -> None:
    with pytest.raises(InvalidArgumentError, match="'b'"):
        cf.puts([("a", b"1"), ("b", None), ("c", b"3")])
    assert list(cf) == ["a", "c"]


def test_compressed_stream_of_a_file(cf: CloudFiles, tmp_path: Any) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(3_000_000))
    with path.open("rb") as file:
        cf.put("a", file, compress="gzip", compression_level=9)
    assert cf.size("a") < 10_000
    assert cf["a"] == bytes(3_000_000)
    cf.put("b", gzip.compress(b"hello"), compress="gzip", raw=True)
    assert cf["b"] == b"hello"


@on_every_store
def test_delete(cf: CloudFiles) -> None:
    cf.puts([(name, b"x") for name in "abcd"])
    assert cf.delete("a") == 1
    assert cf.delete(iter(["b", "missing"])) == 2
    del cf["c"]
    assert list(cf) == ["d"]


def test_files_behind_links_are_not_deleted_with_the_others(tmp_path: Path) -> None:
    here, elsewhere = CloudFiles(tmp_path / "here"), CloudFiles(tmp_path / "elsewhere")
    here.puts([("a", b"1"), ("b/c", b"2")])
    elsewhere["x"] = b"3"
    (tmp_path / "here" / "b" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsupportedOperationError, match="'b/link/x' is behind a link"):
        here.delete(here.list())
    assert list(here) == ["b/link/x"]
    with pytest.raises(InvalidNameError, match="up"):
        here.delete(["../up", "b/link"])
    inside = CloudFiles(tmp_path / "here" / "b" / "link")
    inside["y"] = b"4"
    assert inside.delete(["y"]) == here.delete("b/link/x") == 1
    assert list(elsewhere) == []


def test_touch_creates_and_keeps(cf: CloudFiles) -> None:
    cf.put("a", b"1", compress="gzip")
    written = cf.head("a")
    cf.touch(["a", "b"], nocopy=True)
    assert cf.head("a") == written
    deadline = time.monotonic() + 30
    while cf.head("a")["Last-Modified"] <= written["Last-Modified"]:  # a clock of whole seconds
        assert time.monotonic() < deadline
        cf.touch("a")
    assert (cf["a"], cf["b"]) == (b"1", b"")
    assert cf.head("a")["Content-Encoding"] == "gzip"
    assert list(cf) == ["a", "b"]


def test_touch_never_overwrites_what_another_client_has_just_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cf = CloudFiles("mem://touched/x")
    head = CloudFiles._head

    def interrupted(self: CloudFiles, path: str) -> Any:
        found = head(self, path)
        cf.put(path, b"new")
        return found

    cf.put("a", b"old")
    monkeypatch.setattr(CloudFiles, "_head", interrupted)
    cf.touch(["a", "b"])
    assert (cf["a"], cf["b"]) == (b"new", b"new")


def test_levels_change_the_size(cf: CloudFiles) -> None:
    text = b" ".join(random.Random(1).choices([b"alpha", b"beta", b"gamma", b"delta"], k=3000))
    cf.put("low", text, compress="gzip", compression_level=1)
    cf.puts([{"path": "high", "content": text, "compression_level": 9}], compress="gzip")
    assert cf.size("high") < cf.size("low")
    assert cf["low"] == cf["high"] == text


def test_one_file_is_sent_in_more_parts_at_once_than_each_of_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    put = MemoryBackend.put

    def noted(backend: MemoryBackend, *arguments: Any, threads: int) -> Any:
        seen.append(threads)
        return put(backend, *arguments, threads=threads)

    monkeypatch.setattr(MemoryBackend, "put", noted)
    cf = CloudFiles("mem://parts-at-once")
    cf.put("a", b"1")
    cf.puts((each for each in [("a", b"1")]), total=1)
    cf.puts([("a", b"1"), ("b", b"2")])
    cf.puts(each for each in [("a", b"1")])  # more may follow
    assert seen == [12, 12, 4, 4, 4]


class Loaded:
    """A sequence that reads each file when it is needed, like the data sets of training."""

    def __init__(self) -> None:
        self.put: list[int] = []
        self.most = 0

    def __len__(self) -> int:
        return 200

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for number in range(len(self)):
            self.most = max(self.most, number - len(self.put))
            yield f"{number:03d}", b"content"


@each("put", [CloudFiles.puts, CloudFiles.put_jsons])
def test_sequences_are_read_when_their_files_are_stored(
    put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, store = Loaded(), CloudFiles._put

    def counted(*args: Any, **options: Any) -> Any:
        files.put.append(1)
        return store(*args, **options)

    monkeypatch.setattr(CloudFiles, "_put", counted)
    monkeypatch.setattr(writing, "json_bytes", lambda value, path: value)
    cf = CloudFiles(str(tmp_path / "new"), num_threads=2)
    assert put(cf, files) == 200
    assert files.most < 20


def test_recordings_do_not_count_the_wait_for_a_lock(tmp_path: Path) -> None:
    cf = CloudFiles(str(tmp_path / "locked"), locking=True, lock_dir=str(tmp_path / "locks"))
    cf.put("a", b"1")
    calls = (
        lambda: cf.puts([("a", b"2")], return_recording=True)[1],
        lambda: cf.transfer_to(cf, [("b", "a")]),
    )
    cf.put("b", b"3")
    for call in calls:
        with ThreadPoolExecutor(1) as pool:
            with cf._locked("a"):
                waiting = pool.submit(call)
                time.sleep(0.5)
                released = time.time()
            record = waiting.result()
        assert record.start_unix_time() >= released
