"""The fsspec file system, judged by fsspec's abstract tests on every store."""

from __future__ import annotations

import base64
import gc
import gzip
import pickle
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import fsspec.tests.abstract as abstract
import pytest
from fsspec.callbacks import Callback

import cottoncandy as cc
from cottoncandy.bridges.fsspec import CottonCandyFileSystem, InterfaceFileSystem
from cottoncandy.exceptions import (
    AccessDeniedError,
    InvalidArgumentError,
    InvalidNameError,
    MissingDependencyError,
    StoreUnreachableError,
    UnsupportedOperationError,
)
from cottoncandy.stores.connect import connect
from tests.backends.wrappers import CountingBackend, WrappedBackend
from tests.bridges.conftest import EVERY_STORE

on_every_store = pytest.mark.parametrize(
    ("place", "encryption"), EVERY_STORE, indirect=["encryption"]
)


class _Fixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, suite_cci: Any) -> CottonCandyFileSystem:
        return suite_cci.filesystem()

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def fs_path(self, prefix: str) -> str:
        return prefix

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


@on_every_store
class TestCopy(abstract.AbstractCopyTests, _Fixtures):
    pass


@on_every_store
class TestGet(abstract.AbstractGetTests, _Fixtures):
    pass


@on_every_store
class TestPut(abstract.AbstractPutTests, _Fixtures):
    pass


@on_every_store
class TestOpen(abstract.AbstractOpenTests, _Fixtures):
    pass


@on_every_store
class TestPipe(abstract.AbstractPipeTests, _Fixtures):
    pass


def test_the_whole_suite_runs(page_and_count: tuple[str, int]) -> None:
    page, count = page_and_count
    assert f"(copy, get, put, open, pipe) | {count} |" in page


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
    assert fs.info("x")["ETag"] == cci.backend_interface.head("a/x").etag  # a clock may stand still
    with pytest.raises(FileNotFoundError):
        fs.ls("nothing")
    for depth in (0, -1):
        with pytest.raises(ValueError, match="maxdepth"):
            fs.find("", maxdepth=depth)
    with pytest.raises(IsADirectoryError):
        fs.rm("d")
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir("d")
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
    counting = cci.backend_interface = CountingBackend(cci.backend_interface)
    with cci.filesystem().open("x", block_size=4) as file:
        file.raw.read(1)
    assert counting.bytes_received == 4
    with fs.open("x", cache_type="readahead", block_size=4) as file:  # as others are opened
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


@pytest.mark.parametrize("mode", ["wt", "wb"])
def test_compressed_files_appear_whole_at_close(cci: Any, mode: str) -> None:
    fs, data = cci.filesystem(), "x" if "t" in mode else b"x"
    with fs.open("a.gz", mode, compression="infer") as file:
        file.write(data)
    assert gzip.decompress(fs.cat_file("a.gz")) == b"x"
    for compression in ("gzip", "bz2", "xz"):
        with pytest.raises(KeyError):  # noqa: PT012
            try:
                raise KeyError
            except KeyError:
                with fs.open("a", mode, compression=compression) as file:
                    file.write(data)
                    raise
        collected = fs.open("a", mode, compression=compression)
        collected.write(data)
        del collected, file
        gc.collect()
        assert not fs.exists("a")
        with fs.open("a", mode, compression=compression) as file:
            file.write(data)
        with fs.open("a", mode.replace("w", "r"), compression=compression) as file:
            assert file.read() == data
        fs.rm("a")


def test_callbacks_get_the_size_of_a_file(cci: Any, tmp_path: Any) -> None:
    fs, (down, up) = cci.filesystem(), (Callback(), Callback())
    fs.pipe("a", b"body")
    fs.get_file("a", str(tmp_path / "a"), callback=down)
    fs.put_file(str(tmp_path / "a"), "b", callback=up)
    assert (down.size, down.value) == (up.size, up.value) == (4, 4)


def test_read_only_file_system_writes_nothing(place: Any) -> None:
    fs = CottonCandyFileSystem(place.bucket, backend="memory", read_only=True)
    for write in (lambda: fs.pipe("x", b"1"), lambda: fs.open("x", "wb"), lambda: fs.rm_file("x")):
        with pytest.raises(UnsupportedOperationError):
            write()


class _Denied(WrappedBackend):
    def _call(self, verb: str, *keys: str) -> Any:
        raise AccessDeniedError("denied")


def test_denied_is_not_missing(place: Any) -> None:
    cci = place.interface()
    fs = cci.filesystem()
    fs.pipe("d/x", b"1")
    assert (fs.exists("d/x"), fs.isfile("d/x"), fs.isdir("d")) == (True, True, True)
    assert (fs.exists("e"), fs.isfile("d"), fs.isdir("d/x"), fs.exists("")) == (False,) * 3 + (
        True,
    )
    cci.backend_interface = _Denied(cci.backend_interface)
    fs = cci.filesystem()
    for ask in (fs.exists, fs.isfile, fs.isdir, fs.info, fs.ls, fs.find):
        with pytest.raises(PermissionError):
            ask("d/x")


class _Together(WrappedBackend):
    """Each transfer waits for another one, and then fails if ``fails``."""

    fails = False
    both = threading.Barrier(2)

    @contextmanager
    def _call(self, verb: str, *keys: str) -> Iterator[None]:
        if verb in ("get", "put", "copy"):
            self.both.wait(60)
        yield

    def _received(self, size: int) -> None:
        if self.fails:
            raise StoreUnreachableError("cut")


def test_transfers_of_several_files_are_sent_at_once(cci: Any, tmp_path: Any) -> None:
    fs = cci.filesystem()
    fs.pipe({"a": b"12345", "b": b"6789"})
    together = cci.backend_interface = _Together(cci.backend_interface)
    fs = cci.filesystem()
    assert fs.cat_ranges(["a", "b"], [1, -3], [None, -1]) == [b"2345", b"78"]
    files = [str(tmp_path / name) for name in ("a", "b")]
    fs.get(["a", "b"], files)
    fs.put(files, ["c", "d"])
    fs.copy(["c", "d"], ["e", "f"])
    assert cci.glob("*") == ["a", "b", "c", "d", "e", "f"]
    together.fails = True
    with pytest.raises(OSError, match="cut"):
        fs.get(["a", "b"], files)
    assert (tmp_path / "a").read_bytes() == b"12345"


@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_existing_files_are_kept_if_creating(cci: Any, tmp_path: Any) -> None:
    fs = cci.filesystem()
    fs.pipe("x", b"old")
    (tmp_path / "x").write_bytes(b"new")
    with pytest.raises(FileExistsError):
        fs.put_file(str(tmp_path / "x"), "x", mode="create")
    with pytest.raises(FileExistsError):
        fs.pipe_file("x", b"new", mode="create")
    with pytest.raises(FileExistsError):
        fs.open("x", "xb")
    assert fs.cat("x") == b"old"
    fs.pipe_file("y", b"new", mode="create")
    with fs.open("z", "xb") as file:
        file.write(b"new")
    fs.invalidate_cache()
    assert fs.cat(["y", "z"]) == {"y": b"new", "z": b"new"}
    fs.touch("y", truncate=False)
    fs.touch("z")
    assert fs.cat(["y", "z"]) == {"y": b"new", "z": b""}


@pytest.mark.parametrize("place", ["moto"], indirect=True)
def test_signed_urls_are_read_without_credentials(cci: Any) -> None:
    from urllib.request import urlopen

    fs = cci.filesystem("a")
    fs.pipe("b c", b"it works")
    with urlopen(fs.sign("b c", expiration=60)) as response:
        assert response.read() == b"it works"
    with pytest.raises(ValueError, match="expiration"):
        fs.sign("b c", expiration=0)


@pytest.mark.parametrize("place", ["moto"], indirect=True)
def test_every_way_of_writing_gives_the_acl_of_the_interface(cci: Any, tmp_path: Any) -> None:
    fs = cci.filesystem()
    fs.pipe("piped", b"1")
    fs.touch("touched")
    (tmp_path / "a").write_bytes(b"1")
    fs.put(str(tmp_path / "a"), "put")
    with fs.open("opened", "wb") as file:
        file.write(b"1")
    cci.upload_object("uploaded", b"1")
    grants = [cci.get_object(name).Acl().grants for name in cci.glob("*")]
    assert len(grants) == 5
    assert all(each == grants[0] for each in grants)
    assert "AuthenticatedUsers" in str(grants[0])


def test_stores_without_signatures_say_so(cci: Any) -> None:
    with pytest.raises(UnsupportedOperationError, match="cannot sign"):
        cci.filesystem().sign("x")


def test_dask_and_pyarrow_read_directories_of_tables(options: dict[str, Any]) -> None:
    pandas = pytest.importorskip("pandas")
    dataset = pytest.importorskip("pyarrow.dataset")
    dataframe = pytest.importorskip("dask.dataframe")
    for number in range(3):
        table = pandas.DataFrame({"n": [number, number + 10], "run": ["a", "b"]})
        table.to_parquet(f"cottoncandy://d/{number}.parquet", storage_options=options)
        table.to_csv(f"cottoncandy://c/{number}.csv", index=False, storage_options=options)
    fs = fsspec.filesystem("cottoncandy", **options)
    found = dataset.dataset("d", filesystem=fs).to_table(filter=dataset.field("n") >= 10)
    assert sorted(found["n"].to_pylist()) == [10, 11, 12]
    lazy = dataframe.read_csv("cottoncandy://c/*.csv", storage_options=options)
    assert int(lazy.n.sum().compute(scheduler="synchronous")) == 36


def test_xarray_reads_netcdf_lazily(options: dict[str, Any], tmp_path: Any) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    dataset = xarray.Dataset({"t": (("x", "y"), [[1.0, 2.0], [3.0, 4.0]])}, {"x": [5, 6]})
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    fs = fsspec.filesystem("cottoncandy", **options)
    fs.put_file(str(tmp_path / "a.nc"), "a.nc")
    with fs.open("a.nc") as file, xarray.open_dataset(file, engine="h5netcdf") as found:
        xarray.testing.assert_identical(found.load(), dataset)


@pytest.mark.filterwarnings("ignore:UPath 'cottoncandy' filesystem not explicitly implemented")
def test_universal_paths_work(options: dict[str, Any]) -> None:
    upath = pytest.importorskip("upath")
    path = upath.UPath("cottoncandy://a/b.txt", **options)
    path.write_text("it works")
    assert path.read_text() == "it works"
    assert [each.name for each in path.parent.iterdir()] == ["b.txt"]


def test_moves_to_the_same_place_and_below_it_lose_nothing(tmp_path: Any) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "e").symlink_to("d")
    for cci in (
        cc.get_interface(str(tmp_path), backend="local", verbose=False),
        cc.get_interface("moved", backend="memory", verbose=False),
    ):
        fs = cci.filesystem()
        fs.pipe("d/a", b"a")
        for dest in ("d", "d/", "d/a", "/d/a"):
            fs.mv("d/a", dest)
            assert fs.cat_file("d/a") == b"a"
        fs.mv("d", "/d", recursive=True)
        assert fs.find("d") == ["d/a"]
        fs.mv("d", "d/below", recursive=True)
        assert fs.cat_file("d/below/a") == b"a"
        assert not fs.exists("d/a")
        fs.mv("d/below/a", "d/a")
        if cci.backend == "local":
            fs.mv("d/a", "e/a")
            fs.mv("d/", "e", recursive=True)
            assert fs.cat_file("d/a") == b"a"
        fs.mv("d", "f", recursive=True)
        assert cci.glob("f/*") == ["f/a"]
        assert not fs.exists("d/a")


def test_moves_that_would_lose_an_object_raise(cci: Any) -> None:
    fs = cci.filesystem()
    stored = {"a": b"a", "b": b"b", "d/x": b"dx", "e/x": b"ex"}
    fs.pipe(stored)
    for sources, targets in ((["a", "b"], ["b", "a"]), (["d/x", "e/x"], ["n", "n"])):
        with pytest.raises(InvalidArgumentError, match="nothing was moved"):
            fs.mv(sources, targets)
        assert fs.cat(sorted(stored)) == stored
    fs.mv(["a", "b"], ["b", "c"])
    assert (fs.cat_file("b"), fs.cat_file("c"), fs.exists("a")) == (b"a", b"b", False)


def test_files_at_the_top_keep_their_names_in_new_directories(cci: Any, tmp_path: Any) -> None:
    fs = cci.filesystem()
    fs.pipe("a.csv", b"1")
    fs.get("a.csv", f"{tmp_path}/new/")
    assert (tmp_path / "new" / "a.csv").read_bytes() == b"1"
    fs.get("", str(tmp_path / "all"), recursive=True)
    assert (tmp_path / "all" / "a.csv").read_bytes() == b"1"
    fs.cp("a.csv", "copies/")
    fs.cp(["a.csv", "missing"], ["copies/b.csv", "copies/c.csv"], on_error="ignore")
    fs.mv("a.csv", "moved/")
    fs.mv("moved", "again", recursive=True)
    assert cci.glob("*") == ["again/a.csv", "copies/a.csv", "copies/b.csv"]


def test_what_is_missing_is_not_found(cci: Any, tmp_path: Any) -> None:
    fs = cci.filesystem()
    for call in (
        fs.info, fs.ls, fs.cat, fs.rm, fs.open, fs.size, fs.modified, fs.ukey, fs.head,
        lambda name: fs.get(name, str(tmp_path / "a")), lambda name: fs.cp(name, "copy"),
        lambda name: fs.mv(name, "copy"), lambda name: fs.put(str(tmp_path / name), "copy"),
    ):  # fmt: skip
        with pytest.raises(FileNotFoundError):
            call("missing")
    assert cci.glob("*") == list(tmp_path.iterdir()) == []


def test_fsspecs_caches_of_whole_files_work_and_blockcache_raises(cci: Any, place: Any) -> None:
    cci.upload_object("a", b"0123")
    options = {"bucket_name": place.bucket, "backend": place.backend_name}
    for cache in ("simplecache", "filecache"):
        with fsspec.open(f"{cache}::cottoncandy://a", cottoncandy=options) as file:
            assert file.read() == b"0123"
    with (
        pytest.raises(UnsupportedOperationError, match="use filecache::"),
        fsspec.open("blockcache::cottoncandy://a", cottoncandy=options),
    ):
        pass


def test_a_disk_cache_is_a_storage_option(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "a").write_bytes(b"0123")
    fs = CottonCandyFileSystem(
        str(tmp_path / "bucket"), backend="local", cache=str(tmp_path / "cache")
    )
    assert fs.cat("a") == b"0123"
    assert any((tmp_path / "cache").rglob("*-0"))


def test_transactions_raise_and_store_nothing(cci: Any) -> None:
    fs = cci.filesystem()

    def write() -> None:
        with fs.transaction:
            fs.pipe("a", b"a")

    for begin in (write, fs.start_transaction):
        with pytest.raises(UnsupportedOperationError, match="no transactions"):
            begin()
    with pytest.raises(UnsupportedOperationError, match="no transactions"):
        fs.open("a", "wb", autocommit=False)
    assert cci.glob("*") == []
    fs.pipe("a", b"a")  # nothing is left of the failed one
    assert fs.cat_file("a") == b"a"


def test_file_systems_of_interfaces_have_tokens_of_their_own(factory: Any) -> None:
    from dask.base import tokenize

    one, other = (factory(name, backend="memory", verbose=False) for name in ("one", "other"))
    fs = one.filesystem("a")
    tokens = {tokenize(each) for each in (fs, one.filesystem("b"), other.filesystem("a"))}
    assert len(tokens) == 3
    assert tokenize(one.filesystem("a")) == tokenize(pickle.loads(pickle.dumps(fs))) in tokens
    with pytest.raises(UnsupportedOperationError, match="JSON"):  # it has no credentials
        fs.to_json()


def test_file_systems_of_one_store_are_equal_however_they_were_created(
    options: dict[str, Any],
) -> None:
    fs, cci = CottonCandyFileSystem(**options), cc.get_encrypted_interface(**options, verbose=False)
    own = cci.filesystem()
    assert fs == own
    assert own == fs
    assert hash(fs) == hash(own)
    assert fs != CottonCandyFileSystem(**options, prefix="a")
    assert fs != "another object"


def test_transfers_take_names_literally_if_asked_to(cci: Any, tmp_path: Path) -> None:
    fs = cci.filesystem()
    fs.pipe({"run*": b"1", "run2": b"2"})
    fs.get(["run*"], str(tmp_path / "out/"), assume_literal=True)
    assert [path.read_bytes() for path in tmp_path.rglob("run*")] == [b"1"]
    fs.copy(["run*"], "to/", assume_literal=True)
    assert cci.glob("to/*") == ["to/run*"]


def test_a_file_that_is_a_directory_too_is_a_file(cci: Any) -> None:
    fs = cci.filesystem()
    fs.pipe({"a": b"1", "a/b": b"2", "c/d": b"3"})
    found = fs.find("", withdirs=True, detail=True)
    assert {name: entry["type"] for name, entry in found.items()} == {
        "a": "file", "a/b": "file", "c": "directory", "c/d": "file",
    }  # fmt: skip
    assert fs.find("") == ["a", "a/b", "c/d"]
    assert fs.find("", maxdepth=1, withdirs=True) == ["a", "c"]


def test_file_systems_of_two_accounts_have_two_tokens() -> None:
    stores = [connect("s3", "bucket", key, "secret") for key in ("one", "one", "other")]
    first, same, other = (InterfaceFileSystem(store)._fs_token for store in stores)
    assert first == same != other


def test_the_top_can_be_emptied(cci: Any) -> None:
    fs = cci.filesystem()
    fs.pipe({"a": b"1", "b/c": b"2"})
    fs.mv("", "moved", recursive=True)
    assert cci.glob("*") == ["moved/a", "moved/b/c"]
    fs.rm("", recursive=True)
    assert cci.glob("*") == []


@pytest.mark.parametrize("prefix", [None, 1, Path("a")])
def test_a_prefix_that_is_no_text_raises(cci: Any, prefix: Any) -> None:
    for make in (
        cci.filesystem,
        lambda it: CottonCandyFileSystem("b", backend="memory", prefix=it),
    ):
        with pytest.raises(InvalidNameError):
            make(prefix)


def test_without_fsspec(cci: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.delitem(sys.modules, "cottoncandy.bridges.fsspec")
    with pytest.raises(MissingDependencyError, match="pip install fsspec"):
        cci.filesystem()
