"""Every documented call of CloudFiles, on every store."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.backends.base import PutOptions
from cottoncandy.cloudfiles import CloudFile, CloudFiles, ResumableTransfer, base
from cottoncandy.cloudfiles.compression import compress
from cottoncandy.cloudfiles.exceptions import (
    DecompressionError,
    MD5IntegrityError,
    UnsupportedProtocolError,
)
from cottoncandy.cloudfiles.monitoring import TransmissionMonitor
from cottoncandy.cloudfiles.processes import in_processes
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    BucketNotFoundError,
    CottonCandyError,
    InvalidArgumentError,
    InvalidNameError,
    ObjectChangedError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from tests.cases import each
from tests.cloudfiles.conftest import on_every_store
from tests.interrupts import interrupted_when

ENCODINGS = ["gzip", "br", "zstd", "xz", "bz2"]


def entry(path: str, content: bytes | None, **changes: Any) -> dict[str, Any]:
    plain = {"byte_range": (None, None), "error": None, "compress": None, "raw": False}
    return {"path": path, "content": content, **plain, "tags": None, **changes}


# -- get -----------------------------------------------------------------------------------------


@on_every_store
def test_get_returns_content_of_one_and_entries_of_many(cf: CloudFiles) -> None:
    assert cf.puts([("a", b"first"), ("b/c", b"second")]) == 2
    assert cf.get("a") == cf["a"] == b"first"
    both = [entry("a", b"first"), entry("b/c", b"second")]
    assert cf.get(["a", "b/c"]) == both
    assert cf.get(path for path in ("a", "b/c")) == both
    assert cf.get(("b/c",)) == [both[1]]
    assert cf.get([]) == []
    assert cf.get(["a", "b/c"], return_dict=True) == {"a": b"first", "b/c": b"second"}
    found, record = cf.get(["a", "b/c"], return_recording=True)
    assert found == both
    assert isinstance(record, TransmissionMonitor)
    assert record.total_bytes() == 11


def test_missing_files_have_no_content(cf: CloudFiles) -> None:
    cf.put("a", b"1")
    assert cf.get("missing") is None
    assert cf["missing"] is None
    assert cf.get(["missing", "a"]) == [entry("missing", None), entry("a", b"1")]
    assert cf.get_json("missing") is None
    assert cf.size("missing") is None
    assert cf.head("missing") is None


@on_every_store
def test_get_returns_ranges(cf: CloudFiles) -> None:
    cf.put("a", b"hello world")
    assert cf.get({"path": "a", "start": 0, "end": 5}) == b"hello"
    assert cf["a", 0:5] == cf["a", :5] == cf["a"][0:5] == b"hello"
    assert cf["a", 6:] == cf["a", -5:] == b"world"
    assert cf["a", 6:900] == b"world"
    assert cf["a", 90:900] == cf["a", 5:3] == b""
    parts = [{"path": "a", "start": 1, "end": 3, "tags": ["x"]}, {"path": "a", "start": 6}]
    assert cf.get(parts) == [
        entry("a", b"el", byte_range=(1, 3), tags=["x"]),
        entry("a", b"world", byte_range=(6, None)),
    ]


@each("encoding", ENCODINGS)
def test_encoded_files_are_decoded_and_ranges_are_of_the_content(
    cf: CloudFiles, encoding: str
) -> None:
    cf.put("a", b"hello world" * 100, compress=encoding)
    assert cf["a"] == b"hello world" * 100
    assert cf["a", 6:11] == b"world"
    stored = cf.get("a", raw=True)
    assert len(stored) == cf.size("a") != 1100
    assert cf.get(["a"], raw=True) == [entry("a", stored, compress=encoding, raw=True)]
    assert cf.get({"path": "a", "start": 0, "end": 4}, raw=True) == stored[:4]
    assert cf.head("a")["Content-Encoding"] == encoding
    assert list(cf) == ["a"]


def test_first_files_are_a_slice(cf: CloudFiles) -> None:
    cf.puts([(f"{number:02d}", b"x") for number in range(9)])
    assert [file["path"] for file in cf[:3]] == ["00", "01", "02"]
    assert [file["path"] for file in cf[1:9:4]] == ["01", "05"]
    assert len(cf[:]) == 9
    with pytest.raises(InvalidArgumentError, match="negative"):
        cf[-3:]


def test_iter_get_holds_few_files(make: Callable[..., CloudFiles]) -> None:
    cf = make(num_threads=2)
    cf.puts((str(number), b"x") for number in range(50))
    taken = 0

    def paths() -> Iterator[str]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield str(number)

    found = cf.iter_get(paths())
    first = next(found)
    assert taken <= 6
    names = [first["path"], *(file["path"] for file in found)]
    assert sorted(names, key=int) == [str(number) for number in range(50)]


def test_mislabelled_content_is_reported_and_the_rest_arrives(cf: CloudFiles) -> None:
    cf.put("bad", b"not gzip", compress="gzip", raw=True)
    cf.puts([("a", b"1"), ("b", b"2")])
    with pytest.raises(DecompressionError, match="'bad'"):
        cf.get("bad")
    with pytest.raises(DecompressionError, match="'bad'"):
        cf.get(["a", "bad", "b"])
    for options in ({"return_dict": True}, {}):  # the result has no place for the error
        with pytest.raises(DecompressionError, match="'bad'"):
            cf.get(["a", "bad"] if options else "bad", raise_errors=False, **options)
    assert [type(file["error"]) for file in cf.iter_get(["bad"])] == [DecompressionError]
    assert [file["content"] for file in cf.iter_get(["bad"], raw=True)] == [b"not gzip"]
    found = cf.get(["a", "bad", "b"], raise_errors=False)
    assert [file["content"] for file in found] == [b"1", None, b"2"]
    assert isinstance(found[1]["error"], DecompressionError)
    assert cf.get("bad", raw=True) == b"not gzip"


def test_json_round_trip(cf: CloudFiles) -> None:
    value = {"a": np.arange(3), "b": np.float32(1.5), "c": float("nan"), "d": "ä"}
    assert cf.put_json("a", value) == 1
    assert cf.get_json("a") == {"a": [0, 1, 2], "b": 1.5, "c": None, "d": "ä"}
    assert cf.put_jsons([("b", [2]), {"path": "c", "content": [3]}], "gzip") == 2
    assert [cf.head(name)["Content-Encoding"] for name in "abc"] == [None, "gzip", "gzip"]
    assert cf.protocol == "file" or cf.head("b")["Content-Type"] == "application/json"
    assert cf.get_json(["c", "missing", "b"]) == [[3], None, [2]]
    assert json.loads(cf["b"]) == [2]
    with pytest.raises(InvalidArgumentError, match="'d'"):
        cf.put_json("d", object())


# -- put -----------------------------------------------------------------------------------------


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


# -- delete, touch, move -------------------------------------------------------------------------


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


def test_move(make: Callable[..., CloudFiles]) -> None:
    cf, other = make(), make()
    cf.puts([("a", b"1"), ("b", b"2"), ("c", b"3")], compress="gzip")
    cf.move("a", "d/e")
    cf.moves(cf, [("b", "f")])
    cf.moves(other, ["c"])
    cf.moves(cf, [("f", "f")])
    assert {name: cf[name] for name in cf} == {"d/e": b"1", "f": b"2"}
    assert {name: other[name] for name in other} == {"c": b"3"}
    assert other.head("c")["Content-Encoding"] == "gzip"
    with pytest.raises(ObjectNotFoundError, match="missing"):
        cf.move("missing", "g")
    cf.move("f", cf.join(cf.cloudpath, "g"))
    assert cf["g"] == b"2"


@pytest.mark.parametrize("make", ["moto"], indirect=True)
def test_paths_on_the_same_server_have_its_credentials(make: Callable[..., CloudFiles]) -> None:
    found = make()
    server, bucket = found._path.host, found._path.bucket
    cf = CloudFiles(f"s3://{bucket}/own", endpoint=server, secrets=found.secrets)
    cf.puts([(name, b"1") for name in "abc"])
    cf.move("a", f"s3://{bucket}/own/x")
    cf.transfer_to(f"s3://{bucket}/own/y", ["b"])
    cf.transfer_from(f"s3://{bucket}/own/y", [("b", "z")])
    file = CloudFile(f"s3://{bucket}/own/c", endpoint=server, secrets=found.secrets)
    file.transfer_to(f"s3://{bucket}/own/w")
    file.transfer_from(f"s3://{bucket}/own/x")
    assert list(cf) == ["b", "c", "w", "x", "y/b", "z"]
    cf.delete(cf.list())


# -- looking -------------------------------------------------------------------------------------


@on_every_store
def test_exists_size_head(cf: CloudFiles) -> None:
    cf.put("a", b"12345", content_type="text/plain", cache_control="no-cache")
    cf.put("b", b"")
    assert cf.exists("a") is True
    assert cf.exists("missing") is False
    assert cf.exists(iter(["a", "missing"])) == {"a": True, "missing": False}
    assert cf.size("a") == 5
    assert cf.size(["a", "b", "missing"]) == {"a": 5, "b": 0, "missing": None}
    assert cf.size(["a", "b", "missing"], return_sum=True) == cf.size("a", return_sum=True) == 5
    assert cf.size("missing", return_sum=True) == 0
    head = cf.head("a")
    assert (head["Content-Length"], head["Content-Encoding"]) == (5, None)
    assert set(cf.head(["a", "b"])) == {"a", "b"}
    if cf.protocol != "file":
        assert (head["Content-Type"], head["Cache-Control"]) == ("text/plain", "no-cache")
        assert cf.protocol == "gs" or head["Content-Md5"] == "gnzLDuqKcGxMNKFokfhOew=="


def test_head_has_the_names_of_cloud_files(cf: CloudFiles) -> None:
    cf.put("a", b"1")
    assert list(cf.head("a")) == [
        *("Cache-Control", "Content-Length", "Content-Type", "ETag", "Last-Modified"),
        *("Content-Md5", "Content-Encoding", "Content-Disposition", "Content-Language"),
        *("Storage-Class", "Request-Charged", "Parts-Count"),
    ]
    assert cf.head("a")["ETag"] == cf._store.backend.head(cf._key("a")).etag


@pytest.mark.parametrize("make", ["mem", "moto", "gcs"], indirect=True)
def test_head_has_the_storage_class(cf: CloudFiles) -> None:
    name = "NEARLINE" if cf.protocol == "gs" else "STANDARD_IA"
    cf.put("a", b"1", storage_class=name)
    assert cf.head("a")["Storage-Class"] == name


@on_every_store
def test_list(cf: CloudFiles) -> None:
    names = ["a", "b-c", "b.gz-x", "b/d", "b/e/f", "bc/g"]
    cf.puts([(name, b"123") for name in names])
    cf.put("b", b"12345", compress="br") if cf.protocol != "file" else None
    everything = sorted([*names, *(["b"] if cf.protocol != "file" else [])])
    assert list(cf) == list(cf.list()) == everything
    assert list(cf.list("b/")) == ["b/d", "b/e/f"]
    assert list(cf.list("b/", flat=True)) == ["b/d", "b/e/"]
    assert list(cf.list("bc", flat=True)) == ["bc/"]
    assert list(cf.list("nothing")) == []
    assert list(cf.list("b/", size=True, flat=True)) == [("b/d", 3), "b/e/"]
    tokens = list(cf.list(return_resume_token=True))
    assert [path for path, _ in tokens] == everything
    assert list(cf.list(resume_token=tokens[1][1])) == everything[2:]
    flat = list(cf.list(flat=True, return_resume_token=True))
    for number, (_, token) in enumerate(flat, start=1):
        assert list(cf.list(flat=True, resume_token=token)) == [path for path, _ in flat[number:]]


def test_marker_of_the_directory_is_not_a_file() -> None:
    CloudFiles("mem://marker").put("path/", b"")
    cf = CloudFiles("mem://marker/path")
    cf.put("a", b"1")
    assert list(cf) == ["a"]


def test_isdir_and_subtree_size(cf: CloudFiles) -> None:
    assert not cf.isdir()
    cf.puts([("a", b"1"), ("b/c", b"22"), ("b/d/e", b"333")])
    assert cf.isdir()
    assert [cf.isdir(name) for name in ("b", "b/", "b/d", "a", "x")] == [True] * 3 + [False] * 2
    assert cf.subtree_size() == {"N": 3, "num_bytes": 6}
    assert cf.subtree_size("b/") == {"N": 2, "num_bytes": 5}
    assert cf.subtree_size(["a", "b/d"]) == {"N": 2, "num_bytes": 4}


def test_paths_as_text(cf: CloudFiles) -> None:
    assert cf.join("a", "b") == "a/b"
    assert (cf.dirname("a/b"), cf.basename("a/b"), cf.sep) == ("a", "b", "/")
    assert cf.abspath("a/b") == cf.cloudpath + "/a/b"
    assert CloudFiles("zarr2://gs://b/c").abspath("a") == "gs://b/c/a"
    assert cf.cloudpath in repr(cf)


def test_acl(cf: CloudFiles) -> None:
    cf.put("a", b"1", compress="gzip")
    if cf.protocol != "gs":  # the emulator has no ACLs
        assert set(cf.get_acl("a")) == {"a"}
        assert cf.get_acl("missing") == {"missing": None}
    if cf.protocol == "file":
        path = Path(cf._path.path, "a.gz")
        path.chmod(0o640)
        assert cf.get_acl(["a"]) == {"a": path.stat().st_mode}


# -- between stores ------------------------------------------------------------------------------


@on_every_store
def test_transfer_keeps_what_belongs_to_a_file(make: Callable[..., CloudFiles]) -> None:
    cf, same = make(), make()
    mem = CloudFiles("mem://elsewhere/x")
    cf.puts([("a", b"1" * 1000), ("b/c", b"2")], compress="gzip", content_type="text/x")
    cf.put("d", b"3", cache_control="no-store")
    record = cf.transfer_to(same)
    assert isinstance(record, TransmissionMonitor)
    mem.transfer_from(cf, block_size=2)
    for dest in (same, mem):
        assert list(dest) == ["a", "b/c", "d"]
        assert [dest[name] for name in dest] == [b"1" * 1000, b"2", b"3"]
        assert dest.get("a", raw=True) == cf.get("a", raw=True)
        assert dest.head("a")["Content-Encoding"] == "gzip"
        if cf.protocol != "file":
            assert dest.head("a")["Content-Type"] == "text/x"
            assert dest.head("d")["Cache-Control"] == "no-store"


def test_transfer_forms_and_reencoding(make: Callable[..., CloudFiles]) -> None:
    cf, dest = make(), make()
    cf.puts([("a", b"1" * 1000), ("b", b"2"), ("c", b"3")], compress="gzip")
    cf.transfer_to(dest, "a", reencode="br")
    cf.transfer_to(dest, [{"path": "b", "dest_path": "x/y"}], reencode="none")
    cf.transfer_to(dest, iter(["c"]), reencode="gzip")
    assert [dest.head(name)["Content-Encoding"] for name in ("a", "x/y", "c")] == [
        *("br", None, "gzip")
    ]
    assert (dest["a"], dest["x/y"], dest["c"]) == (b"1" * 1000, b"2", b"3")
    dest[:] = cf
    assert list(dest) == ["a", "b", "c", "x/y"]
    dest.delete(dest.list())
    dest[1:3] = cf
    assert list(dest) == ["b", "c"]
    dest[:] = [("d", b"4")]
    assert dest["d"] == b"4"
    assert dest[("c", "d")][1]["content"] == b"4"
    for wrong in (("d", 0), ("d", slice(0, 4, 2))):
        with pytest.raises(InvalidArgumentError, match="range of bytes"):
            dest[wrong]


def test_resumable_transfers_skip_copies_that_are_not_older(
    make: Callable[..., CloudFiles],
) -> None:
    cf, dest = make(), make()
    cf.puts([("a", b"1"), ("b", b"2"), ("c", b"3")])
    cf.transfer_to(dest, resumable=True)
    before = {path: dest.head(path) for path in dest}
    dest.put("a", b"10")
    cf.transfer_to(dest, resumable=True)
    assert dest["a"] == b"1"
    assert [dest.head(path) for path in "bc"] == [before[path] for path in "bc"]
    deadline = time.monotonic() + 30
    while cf.head("b")["Last-Modified"] <= dest.head("b")["Last-Modified"]:
        assert time.monotonic() < deadline
        cf.put("b", b"4")
    cf.transfer_to(dest, resumable=True)
    assert dest["b"] == b"4"
    assert dest.head("c") == before["c"]


def test_bars_show_their_total_and_follow_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[tuple[Any, bool, int]] = []

    class Bar(base.Progress):
        def __init__(self, total: Any, *, show: bool, **options: Any) -> None:
            super().__init__(total, show=False, **options)
            self.bar, self.count = (total, show), 0

        def update(self, count: int) -> None:
            self.count += count

        def __exit__(self, *exc_info: object) -> None:
            bars.append((*self.bar, self.count))
            super().__exit__(*exc_info)

    monkeypatch.setattr(base, "Progress", Bar)
    cf, quiet = CloudFiles("mem://bars/x", progress=True), CloudFiles("mem://bars/x")
    cf.puts([("a", b"1"), ("b", b"2")])
    quiet.get(iter("ab"), total=2, progress=True)
    quiet.get_json(iter("ab"), total=7)
    cf.exists(["a", "b"], progress=False)
    cf.delete(["a", "b", "c"])
    quiet.touch("d")
    assert bars == [
        (2, True, 2),
        (2, True, 2),
        (7, False, 2),
        (2, False, 2),
        (3, True, 3),
        (1, False, 1),
    ]


@each("header", ["aws-chunked", "aws-chunked,gzip", "gzip, br", "x-gzip", "GZIP", "identity"])
def test_encodings_of_other_programs_are_undone(header: str) -> None:
    cf, content = CloudFiles("mem://foreign/x"), b"hello"
    for encoding in ("gzip", "br"):
        content = compress(content, encoding) if encoding in header.lower() else content
    cf.put("a", b"")
    cf._store.backend.put("x/a", Body.of(content), PutOptions(content_encoding=header))
    assert cf["a"] == b"hello"
    assert cf["a", 1:3] == b"el"
    cf.transfer_to(cf, ["a"], reencode="zstd", content_type="text/y")
    assert (cf["a"], cf.head("a")["Content-Encoding"]) == (b"hello", "zstd")
    stored, date = cf.get("a", raw=True), cf.head("a")["Last-Modified"]
    cf.transfer_to(cf, [("a", "b")], reencode="zstd", content_type="text/z")
    assert (cf.get("b", raw=True), cf.head("b")["Content-Type"]) == (stored, "text/z")
    assert date <= cf.head("b")["Last-Modified"]


def test_levels_change_the_size(cf: CloudFiles) -> None:
    text = b" ".join(random.Random(1).choices([b"alpha", b"beta", b"gamma", b"delta"], k=3000))
    cf.put("low", text, compress="gzip", compression_level=1)
    cf.puts([{"path": "high", "content": text, "compression_level": 9}], compress="gzip")
    assert cf.size("high") < cf.size("low")
    assert cf["low"] == cf["high"] == text


@pytest.mark.parametrize("make", ["moto"], indirect=True)
def test_parts_have_a_checksum_if_their_size_is_known(make: Callable[..., CloudFiles]) -> None:
    cf = make(composite_upload_threshold=6_000_000)
    size = cf._store.settings.mpu_chunksize_bytes
    body = bytes(size) + b"end"
    cf.put("a", body)
    assert cf.head("a")["ETag"].endswith('-2"')
    assert cf.get("a", part_size=size) == body
    with pytest.raises(MD5IntegrityError, match="parts"):
        cf.get("a", part_size=size - 1)


def test_transfer_of_missing_files(make: Callable[..., CloudFiles]) -> None:
    cf, dest = make(), make()
    cf.puts([("a", b"1"), ("b", b"2")])
    with pytest.raises(ObjectNotFoundError, match="missing"):
        cf.transfer_to(dest, ["a", "missing", "b"])
    assert list(dest) == ["a", "b"]
    cf.transfer_to(dest, ["a", "missing"], allow_missing=True, resumable=True)


# -- options -------------------------------------------------------------------------------------


def test_instances_pickle(cf: CloudFiles) -> None:
    cf.put("a", b"1")
    assert pickle.loads(pickle.dumps(cf))["a"] == b"1"


@pytest.mark.server  # of processes
def test_processes(cf: CloudFiles) -> None:
    files = [(f"{number}", str(number).encode()) for number in range(5)]
    assert cf.puts(files, parallel=2) == 5
    found = cf.get([name for name, _ in files], parallel=2)
    assert [file["content"] for file in found] == [content for _, content in files]
    unpicklable = [("view", memoryview(b"1")), ("file", io.BytesIO(b"2")), ("parts", iter([b"3"]))]
    assert cf.puts(unpicklable, parallel=2) == 3
    count, record = cf.puts(files, parallel=2, return_recording=True)
    assert (count, record.total_bytes()) == (5, 5)
    assert (
        cf.get([name for name, _ in files], parallel=2, return_recording=True)[1].total_bytes() == 5
    )
    assert [cf["view"], cf["file"], cf["parts"]] == [b"1", b"2", b"3"]


def slowly(begun: Path, block: list[int]) -> Iterator[int]:
    begun.touch()
    for item in block:
        time.sleep(1)
        yield item


@pytest.mark.server  # of processes
def test_an_interrupt_of_the_parent_alone_ends_its_processes(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with interrupted_when(begun.exists), pytest.raises(KeyboardInterrupt):
        list(in_processes(partial(slowly, begun), range(50), 2))  # all of them take 50 seconds


def test_bad_arguments() -> None:
    with pytest.raises(InvalidArgumentError, match="parallel"):
        CloudFiles("mem://b", parallel=0)
    with pytest.raises(InvalidArgumentError, match="parallel"):
        CloudFiles("mem://b").get(["a", "b"], parallel=0)
    with pytest.raises(InvalidArgumentError, match="parallel"):
        CloudFiles("mem://b").delete(["a", "b"], parallel=0)
    with pytest.raises(InvalidArgumentError, match="num_threads"):
        CloudFiles("mem://b", num_threads=0)
    with pytest.raises(UnsupportedProtocolError, match="nope"):
        CloudFiles("nope://b/c")
    with pytest.raises(UnsupportedProtocolError, match="bucket"):
        CloudFiles("s3://")
    with pytest.raises(InvalidArgumentError, match="path"):
        CloudFiles("mem://b").put("", b"1")
    with pytest.raises(TypeError):
        CloudFiles("mem://b", True)  # type: ignore[misc]


def test_green_threads_are_ignored_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="green"):
        CloudFiles("mem://b", green=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CloudFiles("mem://b", green=False)


def test_the_package_exports_the_names() -> None:
    assert cottoncandy.CloudFiles is CloudFiles
    assert {"CloudFile", "CloudFiles", "dl"} <= set(dir(cottoncandy))


def test_compress_of_unknown_types() -> None:
    with pytest.raises(ValueError, match="'zip'"):
        compress(b"", "zip")


# -- bad input -----------------------------------------------------------------------------------


def test_a_destination_inside_its_source_is_refused(tmp_path: Any) -> None:
    for cf in (CloudFiles("mem://inside/a"), CloudFiles(str(tmp_path / "a"))):
        cf.puts([("x", b"1"), ("b/y", b"2")])
        inside = CloudFiles(cf.join(cf.cloudpath, "b/c"))
        for transfer in (cf.transfer_to, ResumableTransfer(tmp_path / "q.db").init):
            arguments = (
                (inside,) if transfer == cf.transfer_to else (cf.cloudpath, inside.cloudpath)
            )
            with pytest.raises(InvalidArgumentError, match="inside the source"):
                transfer(*arguments)
        assert list(cf) == ["b/y", "x"]
        cf.transfer_to(inside, ["x"])
        cf.transfer_to(cf, reencode="gzip")
        assert cf.get(["x"])[0]["compress"] == "gzip"
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    with pytest.raises(InvalidArgumentError, match="inside the source"):
        CloudFiles(str(tmp_path / "a")).transfer_to(str(tmp_path / "link"))


def test_a_missing_directory_is_no_source(tmp_path: Any) -> None:
    with pytest.raises(BucketNotFoundError, match="mistyped"):
        CloudFiles(str(tmp_path / "mistyped")).transfer_to(str(tmp_path / "to"))
    with pytest.raises(BucketNotFoundError, match="mistyped"):
        ResumableTransfer(tmp_path / "q.db").init(str(tmp_path / "mistyped"), "mem://to/x")


def test_a_mislabelled_file_is_not_reencoded_and_the_rest_is(cf: CloudFiles) -> None:
    cf.put("bad", b"not gzip", compress="gzip", raw=True)
    cf.put("good", b"1")
    dest = CloudFiles("mem://reencoded/x")
    with pytest.raises(DecompressionError, match="bad'"):
        cf.transfer_to(dest, reencode="br")
    assert list(dest) == ["good"]
    with pytest.raises(InvalidArgumentError, match="bogus"):
        cf.transfer_to(dest, reencode="bogus")


def test_names_that_clash_on_disk_are_named_and_the_rest_is_there(tmp_path: Any) -> None:
    source = CloudFiles("mem://clash/x", num_threads=1)
    source.puts([("n", b"1"), ("n/x", b"2"), ("../up", b"3"), ("a//b", b"4"), ("ok", b"5")])
    with pytest.raises(CottonCandyError) as caught:
        source.transfer_to(str(tmp_path / "to"))
    told = str(caught.value) + "".join(caught.value.__notes__)
    assert all(f"'{name}'" in told for name in ("n/x", "../up", "a//b"))
    assert list(CloudFiles(str(tmp_path / "to"))) == ["n", "ok"]
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


@each("value", [0, -1, "2", None, 1.5])
def test_numbers_below_one_are_refused(value: Any) -> None:
    for options in ({"num_threads": value}, {"parallel": value}):
        with pytest.raises(InvalidArgumentError, match=next(iter(options))):
            CloudFiles("mem://numbers/x", **options)
    with pytest.raises(InvalidArgumentError, match="block_size"):
        CloudFiles("mem://numbers/x").transfer_to("mem://numbers/y", block_size=value)


def test_copies_on_disk_never_remove_their_source(tmp_path: Any) -> None:
    """Names that are one name in two content encodings."""
    for name, other in (("h", "h.gz"), ("h.gz", "h")):
        folder = tmp_path / f"from_{name}"
        folder.mkdir()
        (folder / name).write_bytes(b"content")
        cf = CloudFiles(str(folder))
        for copy in (
            lambda cf=cf, pair=(name, other): cf.move(*pair),
            lambda cf=cf, pair=(name, other): cf.transfer_to(str(cf.abspath("")), [pair]),
            lambda cf=cf, pair=(name, other): cf.transfer_to(cf, [pair], reencode="gzip"),
        ):
            with pytest.raises(InvalidArgumentError, match="in a content encoding"):
                copy()
            assert [path.read_bytes() for path in folder.iterdir()] == [b"content"]
        cf.transfer_to(str(folder / "below"), [(name, other)])
        assert (folder / name).read_bytes() == b"content"


def test_a_loop_of_links_is_listed_once(tmp_path: Any) -> None:
    cf = CloudFiles(str(tmp_path / "a"))
    cf.puts([("x", b"1"), ("b/y", b"2")])
    (tmp_path / "a" / "b" / "loop").symlink_to(tmp_path / "a")
    assert list(cf) == ["b/y", "x"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files() -> None:
    def held() -> int:
        return tracemalloc.get_traced_memory()[0]

    cf = CloudFiles("mem://memory/x", num_threads=2)
    cf.puts((str(number), b"1") for number in range(10))
    tracemalloc.start()
    try:
        for count in (1_000, 10_000):
            before = held()
            assert sum(1 for _ in cf.iter_get(str(n % 10) for n in range(count))) == count
            assert cf.puts((str(n % 10), b"2") for n in range(count)) == count
            assert cf.delete(f"missing-{n}" for n in range(count)) == count
        assert held() - before < 100_000  # 10 bytes per file
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", ["moto"], indirect=True)
def test_a_move_to_another_address_of_the_store_deletes_nothing(
    make: Callable[..., CloudFiles],
) -> None:
    here = make()
    here["a"] = b"a"
    there = CloudFiles(here.cloudpath.replace("127.0.0.1", "localhost"), secrets=here.secrets)
    with pytest.raises(ObjectChangedError, match="two addresses"):
        here.moves(there, ["a"])
    assert here["a"] == b"a"
    here.moves(there, [("a", "b")])
    assert sorted(here) == ["b"]


@each("path", ["https://u:hush@host/a", "https://host/a?signature=hush"])
def test_passwords_and_signatures_are_masked(path: str) -> None:
    cf = CloudFiles(path)
    file = CloudFile(path.replace("/a", "/a/b"))
    for shown in (cf, file, cf._store.backend, cf._store.describe()):
        assert "hush" not in repr(shown)


@each("path", ["s3://u:hush@b/c", "gs://u:hush@b", "mem://u:hush@b", "s3://http://u:hush@h/b"])
def test_passwords_in_other_paths_are_rejected(path: str) -> None:
    with pytest.raises(InvalidArgumentError, match="password") as caught:
        CloudFiles(path)
    assert "hush" not in str(caught.value)


def test_reprs_escape_control_characters() -> None:
    path = "mem://bucket/d\x1b[31m/a"
    assert repr(CloudFiles(path)).startswith("<CloudFiles mem://bucket/d\\x1b[31m/a")
    assert repr(CloudFile(path)) == "<CloudFile mem://bucket/d\\x1b[31m/a>"


def test_paths_may_be_path_objects(tmp_path: Path) -> None:
    cf = CloudFiles(tmp_path / "files")
    path, other = Path("b/a"), Path("c")
    assert cf.put(path, b"1") == 1
    assert cf.puts([(other, b"2"), {"path": Path("d"), "content": b"3"}]) == 2
    assert cf.get(path) == cf[path] == cf.get({"path": path}) == b"1"
    assert cf[path, 0:1] == b"1"
    assert cf.get([path, other], return_dict=True) == {"b/a": b"1", "c": b"2"}
    assert cf.exists(path)
    assert cf.exists([path, other]) == {"b/a": True, "c": True}
    assert cf.size([other]) == {"c": 1}
    cf.put_json(Path("info"), {"x": 1})
    assert cf.get_json(Path("info")) == {"x": 1}
    cf.touch(Path("empty"))
    assert list(cf.list(Path("b"))) == ["b/a"]
    assert cf.isdir(Path("b"))
    assert cf.subtree_size(Path("b")) == {"N": 1, "num_bytes": 1}
    cf.move(Path("d"), Path("e"))
    cf.transfer_to(tmp_path / "there", [path])
    cf.moves(tmp_path / "there", [(other, Path("moved"))])
    assert list(CloudFiles(tmp_path / "there")) == ["b/a", "moved"]
    assert cf.delete(path) == cf.delete([Path("e")]) == 1
    assert list(cf) == ["empty", "info"]


@pytest.mark.parametrize("wrong", [None, 5, b"a", [b"a"], [None]])
def test_wrong_paths_are_typed_errors(wrong: Any) -> None:
    cf = CloudFiles("mem://bucket/wrong")
    for call in (cf.get, cf.exists, cf.delete, cf.touch, cf.head, cf.get_json):
        with pytest.raises(InvalidArgumentError, match="path"):
            call(wrong)


def test_reencode_keeps_arrays_and_encrypted_objects_readable(tmp_path: Path) -> None:
    url = "memory://reencode"
    cci = cottoncandy.get_interface(url, verbose=False)
    array = np.arange(1000.0).reshape(10, 100)
    cci.upload_raw_array("x/raw", array, compression=False)
    cci.upload_dask_array("x/chunked", array, axis=0)
    cci.upload_object("x/text", b"plain")
    options = {"encryption": "AES", "encryptionKey": bytes(32), "verbose": False}
    secret = cottoncandy.get_encrypted_interface(url, **options)
    secret.upload_object("x/secret", b"secret")
    cf = CloudFiles("mem://reencode/x")
    cf.transfer_to(cf, reencode="gzip")
    CloudFiles("mem://reencode/y").transfer_from(cf, reencode="zstd", content_type="text/x")
    assert cf.head("text")["Content-Encoding"] == "gzip"
    for folder in ("x", "y"):
        assert np.array_equal(cci.download_raw_array(f"{folder}/raw"), array)
        assert np.array_equal(cci.download_dask_array(f"{folder}/chunked").compute(), array)
        assert secret.download_object(f"{folder}/secret") == b"secret"
    assert CloudFiles("mem://reencode/y").get("text") == b"plain"
