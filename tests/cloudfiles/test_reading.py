"""What CloudFiles reads and lists, on every store."""

from __future__ import annotations

import datetime
import enum
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cottoncandy.backends.base import PutOptions
from cottoncandy.cloudfiles import CloudFiles
from cottoncandy.cloudfiles.compression import compress, decompress
from cottoncandy.cloudfiles.exceptions import (
    DecompressionError,
)
from cottoncandy.cloudfiles.monitoring import TransmissionMonitor
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import InvalidArgumentError, UnsupportedOperationError
from tests.cases import each
from tests.cloudfiles.conftest import ENCODINGS, on_every_store


def entry(path: str, content: bytes | None, **changes: Any) -> dict[str, Any]:
    plain = {"byte_range": (None, None), "error": None, "compress": None, "raw": False}
    return {"path": path, "content": content, **plain, "tags": None, **changes}


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
    with pytest.raises(DecompressionError, match=r"^'bad' is not in its content encoding: the"):
        decompress(b"not bz2", "gzip, bz2", "bad")
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


@dataclass
class Scan:
    at: datetime.datetime
    kind: enum.Enum


def test_values_that_json_does_not_have_are_stored_as_cloud_files_stores_them() -> None:
    cf, kind = CloudFiles("mem://json/values"), enum.Enum("kind", {"EM": 3})
    number = uuid.UUID(int=5)
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    cf.put_json("a", [Scan(moment, kind["EM"]), number, moment.date(), {1: Path("x")}])
    scan = {"at": "2026-01-02T03:04:05+00:00", "kind": 3}
    assert cf.get_json("a") == [scan, str(number), "2026-01-02", {"1": "x"}]
    with pytest.raises(InvalidArgumentError, match="type has no JSON"):
        cf.put_json("a", Scan)


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
        *(["Content-Crc32c"] if cf.protocol == "gs" else []),
    ]
    assert cf.head("a").get("Content-Crc32c", "kPWZ4w==") == "kPWZ4w=="
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


def test_acl(cf: CloudFiles) -> None:
    cf.put("a", b"1", compress="gzip")
    if cf.protocol != "gs":  # the emulator has no ACLs
        assert set(cf.get_acl("a")) == {"a"}
        assert cf.get_acl("missing") == {"missing": None}
    if cf.protocol == "file":
        path = Path(cf._path.path, "a.gz")
        path.chmod(0o640)
        assert cf.get_acl(["a"]) == {"a": path.stat().st_mode}


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


@each("header", ["aws-chunked", "aws-chunked,gzip", "x-gzip", "identity", "deflate"])
def test_encodings_of_other_programs_have_their_suffix_on_disk(tmp_path: Path, header: str) -> None:
    cf, folder = CloudFiles("mem://foreign/y"), tmp_path / header.replace(",", "-")
    body = compress(b"hello", "gzip" if "gz" in header else None)
    cf.put("b", b"rest")
    for name in ("a", "a.tar.gz"):
        cf._store.backend.put(f"y/{name}", Body.of(body), PutOptions(content_encoding=header))
    if header == "deflate":
        with pytest.raises(UnsupportedOperationError, match=r"'a'.*deflate"):
            cf.transfer_to(str(folder))
        assert [path.name for path in folder.iterdir()] == ["b"]
        return
    cf.transfer_to(str(folder))
    copy = CloudFiles(folder)
    assert [copy["a"], copy["a.tar.gz"], copy["b"]] == [b"hello", b"hello", b"rest"]
    assert (folder / ("a.gz" if "gz" in header else "a")).read_bytes() == body
