"""Objects as bytes, streams, JSON and pickles, and files."""

from __future__ import annotations

import contextlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.backends import memory
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    InvalidArgumentError,
    InvalidNameError,
    MetadataError,
    MissingDependencyError,
    ObjectNotFoundError,
    UnsupportedDtypeError,
)
from tests.cases import each
from tests.harness import on_every_store

BODIES = [b"", b"x", bytes(range(256)) * 1000]


@each("body", BODIES)
def test_bytes_come_back(cci: Any, body: bytes) -> None:
    cci.upload_object("branch/object", body)
    data = cci.download_object("branch/object")
    assert type(data) is bytes
    assert data == body


@each(
    "body",
    [
        bytearray(b"0123456789"),
        memoryview(b"0123456789"),
        io.BytesIO(b"0123456789"),
        (piece for piece in (b"0123", b"", b"456789")),
        [b"01234", b"56789"],
    ],
)
def test_bodies_of_every_kind(store: Any, body: Any) -> None:
    cci = store.interface()
    if isinstance(body, io.BytesIO):
        body.seek(0)
    elif not isinstance(body, bytearray | memoryview | list):
        body = iter([b"0123", b"", b"456789"])
    cci.upload_object("object", body)
    assert store.raw_get("object").body == b"0123456789"


def test_a_file_is_sent_from_where_it_stands(cci: Any) -> None:
    file = io.BytesIO(b"skipped|sent")
    file.seek(8)
    cci.upload_object("object", file)
    assert cci.download_object("object") == b"sent"


@each("body", ["text", 5, None, [1, 2]])
def test_what_has_no_bytes_is_refused(cci: Any, body: Any) -> None:
    cci.upload_object("object", b"old")
    with pytest.raises(InvalidArgumentError, match="byte"):
        cci.upload_object("object", body)
    assert cci.download_object("object") == b"old"


def test_arguments_in_the_wrong_order_are_named(cci: Any) -> None:
    with pytest.raises(InvalidNameError, match="the name comes first"):
        cci.upload_object(b"data", "name")


def test_a_body_that_fails_leaves_the_old_object(cci: Any) -> None:
    def failing() -> Any:
        yield b"new"
        raise RuntimeError("the disk fell out")

    cci.upload_object("object", b"old")
    with pytest.raises(RuntimeError, match="fell out"):
        cci.upload_object("object", failing())
    assert cci.download_object("object") == b"old"


@each("name", ["/branch/object", "//branch//object", "branch/object"])
def test_slashes_are_cleaned(store: Any, name: str) -> None:
    cci = store.interface()
    cci.upload_object(name, b"body")
    assert store.raw_keys() == ["branch/object"]
    assert cci.download_object(name) == b"body"
    assert cci.exists_object(name)


def test_metadata_is_text_in_lower_case(cci: Any) -> None:
    cci.upload_object("object", b"body", Subject="s01", runs=3, done=True)
    with cci.download_stream("object") as stream:
        assert stream.metadata["subject"] == "s01"
        assert stream.metadata["runs"] == "3"
        assert stream.metadata["done"] == "True"


@each("value", [b"bytes", ["list"], {"a": 1}])
def test_metadata_that_is_no_text_is_refused(cci: Any, value: Any) -> None:
    with pytest.raises(MetadataError, match="subject"):
        cci.upload_object("object", b"body", subject=value)
    assert not cci.exists_object("object")


def test_metadata_given_twice_is_refused(cci: Any) -> None:
    with pytest.raises(MetadataError, match="differ only in case"):
        cci.upload_object("object", b"body", Run="1", run="2")


def test_a_stream_reads_and_seeks(cci: Any) -> None:
    body = bytes(range(256)) * 300
    cci.upload_object("object", body)
    with cci.download_stream("object") as stream:
        assert stream.size == len(body)
        assert stream.content.read(10) == body[:10]
        assert stream.content.tell() == 10
        stream.content.seek(-5, io.SEEK_END)
        assert stream.content.read() == body[-5:]
        stream.content.seek(1000)
        out = bytearray(50)
        assert stream.content.readinto(out) == 50
        assert out == body[1000:1050]
        assert stream.content.read() == body[1050:]
        assert stream.content.read() == b""


def test_missing_objects(cci: Any) -> None:
    assert cci.exists_object("nothing") is False
    with pytest.raises(ObjectNotFoundError, match="nothing"):
        cci.exists_object("nothing", raise_err=True)
    for download in (
        cci.download_object,
        cci.download_stream,
        cci.download_json,
        cci.download_pickle,
        cci.download_npy_array,
        cci.download_raw_array,
        cci.download_dask_array,
        cci.download_sparse_array,
        cci.cloud2dict,
    ):
        with pytest.raises(FileNotFoundError, match="nothing"):
            download("nothing")


@on_every_store
def test_a_branch_is_no_object(cci: Any, tmp_path: Path) -> None:
    cci.upload_object("branch/object", b"body")
    assert not cci.exists_object("branch")
    for download in (
        cci.download_object,
        cci.download_stream,
        cci.download_raw_array,
        cci.info,
        cci.array,
        lambda name: cci.download_to_file(name, tmp_path / "new"),
    ):
        with pytest.raises(ObjectNotFoundError, match="a directory has that name") as caught:
            download("branch")
        assert "download_directory" in str(caught.value)
        assert "cci.ls('branch')" in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_objects_in_another_bucket_are_told_apart(store: Any) -> None:
    cci = store.interface()
    other = store.fresh_bucket()
    store.raw_put("object", b"body", bucket=other)
    assert not cci.exists_object("object")
    assert cci.exists_object("object", bucket_name=other)


@each("value", [{"a": [1, 2.5, None, "ü"]}, [], "text", 3, True])
def test_json(cci: Any, value: Any) -> None:
    cci.upload_json("metadata.json", value, note="n")
    assert cci.download_json("metadata.json") == value


def test_what_is_no_json(cci: Any) -> None:
    with pytest.raises(TypeError):
        cci.upload_json("object", {"a": object()})
    assert not cci.exists_object("object")
    for body in (b"{", b"\xff\xfe", b""):
        cci.upload_object("object", body)
        with pytest.raises(IntegrityError, match="object"):
            cci.download_json("object")


def test_pickle(cci: Any) -> None:
    value = {"set": {1, 2}, "path": Path("a")}
    cci.upload_pickle("object", value)
    assert cci.download_pickle("object") == value


def test_unpicklable_value_is_rejected(cci: Any) -> None:
    with pytest.raises(UnsupportedDtypeError, match="cannot pickle a value of type function"):
        cci.upload_pickle("object", lambda: 1)
    assert not cci.exists_object("object")


def test_iterable_of_text_is_rejected(cci: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="iterable contains a str"):
        cci.upload_object("object", ["text"])  # as a DataFrame, which iterates over its columns


def test_a_cut_pickle(cci: Any) -> None:
    cci.upload_object("object", pickle.dumps(list(range(100)))[:50])
    with pytest.raises(IntegrityError, match="object"):
        cci.download_pickle("object")


def test_files(cci: Any, tmp_path: Path) -> None:
    source = tmp_path / "a file.bin"
    source.write_bytes(bytes(range(256)) * 100)
    cci.upload_from_file(str(source), "files/one", ExtraArgs={"Metadata": {"run": "1"}})
    target = tmp_path / "back.bin"
    target.write_bytes(b"old and longer" * 5000)
    cci.download_to_file("files/one", target)
    assert target.read_bytes() == source.read_bytes()
    with cci.download_stream("files/one") as stream:
        assert stream.metadata["run"] == "1"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "a file.bin",
        "back.bin",
    ]


def test_a_file_without_object_name_keeps_its_own(cci: Any, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"body")
    cci.upload_from_file(str(source))
    assert cci.download_object(str(source)) == b"body"


def test_a_failed_download_leaves_the_old_file(cci: Any, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(ObjectNotFoundError):
        cci.download_to_file("nothing", target)
    assert target.read_bytes() == b"old"
    cci.upload_object("object", b"body")
    with pytest.raises(FileNotFoundError) as caught:
        cci.download_to_file("object", tmp_path / "no" / "such" / "directory")
    assert caught.value.filename == str(tmp_path / "no" / "such" / "directory")
    with pytest.raises(IsADirectoryError):
        cci.download_to_file("object", tmp_path)


def test_missing_files_are_refused(cci: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        cci.upload_from_file(tmp_path / "nothing", "object")
    assert not cci.exists_object("object")


def test_extra_args_that_would_be_ignored_are_refused(cci: Any, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"body")
    with pytest.raises(InvalidArgumentError, match="Tagging"):
        cci.upload_from_file(source, "object", ExtraArgs={"Tagging": "a=b"})


def test_extra_args_are_headers(cci: Any, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"body")
    extra = {"ContentEncoding": "br", "CacheControl": "no-store", "ContentType": "a/b"}
    cci.upload_from_file(source, "object", ExtraArgs=extra)
    found = cci.backend_interface.head("object")
    assert (found.content_encoding, found.cache_control) == ("br", "no-store")
    assert found.content_type == "a/b"


@each("threads", [0, "4", None, 1.5])
def test_threads_are_checked(cci: Any, threads: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="threads"):
        cci.upload_object("object", b"body", threads=threads)


@pytest.mark.parametrize("store", ["memory", "moto"], indirect=True)
def test_pickles_hold_no_secret_that_is_not_needed(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTTONCANDY_ENCRYPTION_KEY", "b2J2aW91c2x5IGZha2U=")
    monkeypatch.setenv("COTTONCANDY_LOGIN_SECRET_KEY", "OBVIOUSLYFAKESECRET")
    data = pickle.dumps(store.interface())
    assert b"b2J2aW91c2x5IGZha2U=" not in data
    assert b"OBVIOUSLYFAKESECRET" not in data


@each(
    "value, error, words",
    [
        (np.arange(3), TypeError, "use upload_raw_array"),
        ({"a": [b"bytes"]}, TypeError, "bytes"),
        ({1: "a", "1": "b"}, ValueError, "same text"),
        ({"deep": [{True: 1, "true": 2}]}, ValueError, "same text"),
    ],
)
def test_values_that_json_would_change_are_rejected(
    cci: Any, value: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(CottonCandyError, match=words) as caught:
        cci.upload_json("a", value)
    assert isinstance(caught.value, error)
    assert cci.glob("*") == []


def test_json_that_contains_itself_is_rejected(cci: Any) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidArgumentError, match="nothing was uploaded"):
        cci.upload_json("a", loop)
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidArgumentError, match="nothing was uploaded"):
        cci.upload_json("a", deep)


def test_json_keys_become_text(cci: Any) -> None:
    cci.upload_json("a", {1: "a", None: "b", 1.5: float("inf")})
    assert cci.download_json("a") == {"1": "a", "null": "b", "1.5": float("inf")}


@each(
    "body",
    [
        np.array([None, {}]),
        np.zeros(2, [("a", "i4"), ("b", "O")]),
        np.array(None),
        np.array([None, {}, 1])[::2],
        memoryview(np.array([None, {}])),
        [np.array([None, {}])],
    ],
)
def test_pointers_are_not_uploaded(cci: Any, body: Any) -> None:
    with pytest.raises(UnsupportedDtypeError, match="upload_pickle"):
        cci.upload_object("pointers", body)
    assert cci.glob("*") == []


@each(
    "body",
    [b"", b"\x80", pickle.dumps([1, 2])[:-1], b"garbage", b"(lp0\nS'", b"\x80\x04]\x94(K\x01R."],
)
def test_damaged_pickles_raise(cci: Any, body: bytes) -> None:
    cci.upload_object("value", body)
    with pytest.raises(IntegrityError, match="whole pickle"):
        cci.download_pickle("value")


def test_a_pickle_of_a_missing_library_names_it(cci: Any) -> None:
    cci.upload_object("value", b"cnosuchlibrary\nThing\n.")
    with pytest.raises(MissingDependencyError, match="'nosuchlibrary'"):
        cci.download_pickle("value")


def test_every_flipped_byte_of_a_pickle_is_typed(cci: Any) -> None:
    body = pickle.dumps({"a": (1, 2), "b": [1.5, "text"], "c": Path("x")})
    for position in range(len(body)):
        damaged = body[:position] + bytes([body[position] ^ 0x41]) + body[position + 1 :]
        cci.upload_object("value", damaged)
        with contextlib.suppress(CottonCandyError):
            cci.download_pickle("value")


@pytest.mark.usefixtures("no_collection")
def test_deep_json_raises(cci: Any) -> None:
    for body in (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000):
        cci.upload_object("value", body)
        with pytest.raises(IntegrityError, match="JSON"):
            cci.download_json("value")


def test_an_altered_body_is_detected(tmp_path: Path) -> None:
    """The store's own MD5 guards objects that are not arrays."""
    cci: Any = cottoncandy.get_interface(
        "altered", backend="memory", verbose=False, force_bucket_creation=True
    )
    cci.upload_object("name", b"right")
    stored = memory._BUCKETS["altered"].objects[b"name"]
    stored.body = b"wrong"
    with pytest.raises(IntegrityError, match="another MD5"):
        cci.download_object("name")
    target = tmp_path / "file"
    target.write_bytes(b"before")
    with pytest.raises(IntegrityError, match="another MD5"):
        cci.download_to_file("name", target)
    assert target.read_bytes() == b"before"
    stored.info = stored.info._replace(etag="an opaque one")
    assert cci.download_object("name") == b"wrong"
