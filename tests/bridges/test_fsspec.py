"""The fsspec file system, judged by fsspec's abstract tests, plain and encrypted."""

from __future__ import annotations

import base64
import pickle
from typing import Any

import fsspec
import fsspec.tests.abstract as abstract
import pytest

import cottoncandy as cc
from cottoncandy.bridges.fsspec import CottonCandyFileSystem
from cottoncandy.exceptions import UnsupportedOperationError

PLACES = [
    ("memory", "plain"),
    pytest.param("moto", "AES", marks=pytest.mark.slow),
]


class _Fixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, cci: Any) -> CottonCandyFileSystem:
        return cci.filesystem()

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def fs_path(self) -> str:
        return "tests"

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


@pytest.mark.parametrize(("place", "encryption"), PLACES, indirect=True)
class TestCopy(abstract.AbstractCopyTests, _Fixtures):
    pass


@pytest.mark.parametrize(("place", "encryption"), PLACES, indirect=True)
class TestGet(abstract.AbstractGetTests, _Fixtures):
    pass


@pytest.mark.parametrize(("place", "encryption"), PLACES, indirect=True)
class TestPut(abstract.AbstractPutTests, _Fixtures):
    pass


@pytest.mark.parametrize(("place", "encryption"), PLACES, indirect=True)
class TestOpen(abstract.AbstractOpenTests, _Fixtures):
    pass


@pytest.mark.parametrize(("place", "encryption"), PLACES, indirect=True)
class TestPipe(abstract.AbstractPipeTests, _Fixtures):
    pass


KEY = base64.b64encode(b"an obviously fake key, 32 bytes!").decode()


@pytest.fixture
def options(place: Any) -> dict[str, Any]:
    """Storage options of an encrypted file system, as pandas passes them on."""
    return {"bucket_name": place.bucket, "backend": "memory", "encryptionKey": KEY}


@pytest.fixture(autouse=True)
def registered() -> None:
    """Register the protocol, which an installed package does by its entry point."""
    fsspec.register_implementation("cottoncandy", CottonCandyFileSystem, clobber=True)


def test_constructing_sends_nothing_and_equal_arguments_give_one_instance(
    capfd: pytest.CaptureFixture[str],
) -> None:
    dead = {
        "bucket_name": "b",
        "endpoint_url": "http://127.0.0.1:9",
        "ACCESS_KEY": "fake",
        "SECRET_KEY": "fake",
    }
    cc.get_interface("b", backend="memory", verbose=False)  # the first one welcomes new users
    capfd.readouterr()
    fs = fsspec.filesystem("cottoncandy", **dead)
    assert fs is CottonCandyFileSystem(**dead)
    assert fs != CottonCandyFileSystem(**dead, prefix="other")
    assert capfd.readouterr() == ("", "")


def test_file_systems_pickle_equal_and_hide_the_key(options: dict[str, Any]) -> None:
    fs = fsspec.filesystem("cottoncandy", **options)
    cci = cc.get_encrypted_interface(**options, verbose=False)
    for one in (fs, cci.filesystem(), cci.filesystem("a")):
        again = pickle.loads(pickle.dumps(one))
        assert again == one
        assert hash(again) == hash(one)
        assert KEY not in repr(one)
        one.pipe("x", b"1")
        assert again.cat("x") == b"1"
    assert cci.filesystem("a") != cci.filesystem()
    other = CottonCandyFileSystem(**(options | {"encryptionKey": KEY.replace("a", "b")}))
    assert other != fs


def test_pandas_reads_and_writes_tables(options: dict[str, Any]) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"name": ["one", "two"], "n": [1, 2]})
    table.to_csv("cottoncandy://tables/a.csv", index=False, storage_options=options)
    again = pandas.read_csv("cottoncandy://tables/a.csv", storage_options=options)
    pandas.testing.assert_frame_equal(again, table)
    parquet = pytest.importorskip("pyarrow")
    assert parquet
    table.to_parquet("cottoncandy://tables/a.parquet", storage_options=options)
    again = pandas.read_parquet("cottoncandy://tables/a.parquet", storage_options=options)
    pandas.testing.assert_frame_equal(again, table)


def test_listing_sees_what_was_just_written_and_plain_sizes(cci: Any) -> None:
    fs = cci.filesystem("a")
    assert fs.ls("") == []
    cci.upload_object("a/x", b"123")
    cci.upload_object("a/d/y", b"1")
    cci.upload_object("ab", b"1")
    assert [(e["name"], e["type"], e["size"]) for e in fs.ls("")] == [
        ("d", "directory", 0),
        ("x", "file", 3),
    ]
    assert fs.find("") == ["d/y", "x"]
    assert fs.glob("**") == ["d", "d/y", "x"]
    assert [found[0] for found in fs.walk("")] == ["", "d"]
    assert (fs.du(""), fs.isdir("d"), fs.exists("nothing")) == (4, True, False)
    assert fs.modified("x").tzinfo is not None
    assert fs.created("x") == fs.modified("x")
    before = fs.ukey("x"), fs.checksum("x")
    cci.upload_object("a/x", b"124")
    assert (fs.ukey("x"), fs.checksum("x")) != before
    with pytest.raises(FileNotFoundError):
        fs.ls("nothing")
    with pytest.raises(IsADirectoryError):
        fs.rm("d")
    fs.rm("d", recursive=True)
    assert cci.glob("*") == ["a/x", "ab"]


@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_ranges_count_from_both_ends(cci: Any) -> None:
    fs = cci.filesystem()
    fs.pipe("x", b"0123456789")
    assert fs.cat_file("x", 2, 4) == b"23"
    assert fs.cat_file("x", -3) == b"789"
    assert fs.cat_file("x", 8, 100) == b"89"
    assert fs.cat_file("x", 5, 3) == b""
    found = fs.cat_ranges(["x", "missing", "x"], [0, 0, 4], [1, 1, 6])
    assert (found[0], found[2]) == (b"0", b"45")
    assert isinstance(found[1], FileNotFoundError)
    assert (fs.head("x", 2), fs.tail("x", 2)) == (b"01", b"89")
    with fs.open("x") as file:
        file.seek(-2, 2)
        assert file.read() == b"89"


def test_failed_text_file_keeps_the_old_one(cci: Any) -> None:
    fs = cci.filesystem()
    fs.pipe("x", b"old")
    with pytest.raises(KeyError), fs.open("x", "w", compression="gzip") as file:  # noqa: PT012
        file.write("half")
        raise KeyError
    assert fs.cat("x") == b"old"
    with pytest.raises(UnsupportedOperationError), fs.transaction:
        fs.open("x", "wb")


def test_read_only_file_system_writes_nothing(place: Any) -> None:
    fs = CottonCandyFileSystem(place.bucket, backend="memory", read_only=True)
    for write in (lambda: fs.pipe("x", b"1"), lambda: fs.open("x", "wb"), lambda: fs.rm_file("x")):
        with pytest.raises(UnsupportedOperationError):
            write()


@pytest.mark.filterwarnings("ignore:UPath 'cottoncandy' filesystem not explicitly implemented")
def test_universal_paths_work(options: dict[str, Any]) -> None:
    upath = pytest.importorskip("upath")
    path = upath.UPath("cottoncandy://a/b.txt", **options)
    path.write_text("it works")
    assert path.read_text() == "it works"
    assert [each.name for each in path.parent.iterdir()] == ["b.txt"]
