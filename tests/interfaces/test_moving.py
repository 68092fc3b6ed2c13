"""cp and mv, of objects and branches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.cloudfiles import CloudFiles
from cottoncandy.exceptions import (
    CottonCandyError,
    InvalidArgumentError,
    ObjectExistsError,
    ObjectNotFoundError,
    PartialFailureError,
    StoreError,
)
from tests.backends.wrappers import WrappedBackend
from tests.cases import each
from tests.harness import MemoryHarness, StoreHarness


@pytest.fixture
def fs(store: StoreHarness) -> Any:
    for key in ("data/exp/a", "data/exp/deep/b", "data/experiment2/a", "top"):
        store.raw_put(key, key.encode(), {"note": key})
    return store.interface()


@pytest.fixture
def memory() -> Any:
    harness = MemoryHarness()
    for key in ("data/exp", "data/exp/a", "data/exp/b", "data/experiment2/a"):
        harness.raw_put(key, key.encode())
    yield harness
    harness.close()


def everything(harness: StoreHarness, bucket: str | None = None) -> dict[str, bytes]:
    return {key: harness.raw_get(key, bucket).body for key in harness.raw_keys(bucket=bucket)}


def test_cp(fs: Any, store: StoreHarness) -> None:
    before = everything(store)
    response = fs.cp("data/exp/a", "copies/one")
    assert isinstance(response["ETag"], str)
    assert everything(store) == {**before, "copies/one": b"data/exp/a"}
    assert store.raw_get("copies/one").metadata == {"note": "data/exp/a"}
    fs.cp("top", "copies/")
    assert store.raw_get("copies/top").body == b"top"
    fs.cp("copies/one", "/")
    assert store.raw_get("one").body == b"data/exp/a"


def test_mv(fs: Any, store: StoreHarness) -> None:
    before = everything(store)
    fs.mv("data/exp/a", "data/exp/c")
    before["data/exp/c"] = before.pop("data/exp/a")
    assert everything(store) == before
    assert store.raw_get("data/exp/c").metadata == {"note": "data/exp/a"}


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_a_destination_is_not_overwritten_unasked(fs: Any, store: StoreHarness, verb: str) -> None:
    before = everything(store)
    with pytest.raises(FileExistsError, match="top"):
        getattr(fs, verb)("data/exp/a", "top")
    with pytest.raises(ObjectExistsError, match="experiment2/a"):
        getattr(fs, verb)("data/exp", "data/experiment2", recursive=True)
    assert everything(store) == before
    getattr(fs, verb)("data/exp/a", "top", overwrite=True)
    assert store.raw_get("top").body == b"data/exp/a"


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_branches(fs: Any, store: StoreHarness, verb: str) -> None:
    before = everything(store)
    with pytest.raises(ObjectNotFoundError, match="recursive=True"):
        getattr(fs, verb)("data/exp", "new")
    assert getattr(fs, verb)("data/exp", "new", recursive=True) == ["new/a", "new/deep/b"]
    expected = {**before, "new/a": b"data/exp/a", "new/deep/b": b"data/exp/deep/b"}
    if verb == "mv":
        del expected["data/exp/a"], expected["data/exp/deep/b"]
    assert everything(store) == expected
    assert store.raw_get("new/deep/b").metadata == {"note": "data/exp/deep/b"}
    assert getattr(fs, verb)("new/", "archive/", recursive=True) == [
        "archive/new/a",
        "archive/new/deep/b",
    ]


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_across_buckets(fs: Any, store: StoreHarness, verb: str) -> None:
    other = store.fresh_bucket()
    getattr(fs, verb)("top", "top", dest_bucket=other)
    assert everything(store, other) == {"top": b"top"}
    getattr(fs, verb)("data/exp", "", dest_bucket=other, recursive=True)
    assert everything(store, other) == {
        "top": b"top",
        "exp/a": b"data/exp/a",
        "exp/deep/b": b"data/exp/deep/b",
    }
    assert ("top" in everything(store)) == (verb == "cp")
    assert ("data/exp/a" in everything(store)) == (verb == "cp")
    with pytest.raises(ObjectExistsError):
        getattr(fs, verb)("exp/a", "top", source_bucket=other)
    getattr(fs, verb)("exp/a", "back", source_bucket=other, dest_bucket=store.bucket)
    assert store.raw_get("back").body == b"data/exp/a"


def test_a_whole_bucket(fs: Any, store: StoreHarness) -> None:
    other = store.fresh_bucket()
    assert fs.cp("", "", dest_bucket=other, recursive=True) == store.raw_keys()
    assert everything(store, other) == everything(store)


@each("verb", ["cp", "mv"])
@each("overwrite", [False, True])
@each("recursive", [False, True])
def test_onto_itself(
    fs: Any, store: StoreHarness, verb: str, overwrite: bool, recursive: bool
) -> None:
    before = everything(store)
    name = "data/exp" if recursive else "top"
    move = getattr(fs, verb)
    if overwrite:
        move(name, name, overwrite=True, recursive=recursive)
    else:
        with pytest.raises(ObjectExistsError, match="same"):
            move(name, name, recursive=recursive)
    with pytest.raises(ObjectNotFoundError):
        move("none", "none", overwrite=overwrite, recursive=recursive)
    assert everything(store) == before


@each("verb", ["cp", "mv"])
@each("overwrite", [False, True])
def test_into_its_own_subtree(fs: Any, store: StoreHarness, verb: str, overwrite: bool) -> None:
    before = everything(store)
    for dest in ("data/exp/sub", "data/exp/"):
        with pytest.raises(InvalidArgumentError, match="itself"):
            getattr(fs, verb)("data/exp", dest, overwrite=overwrite, recursive=True)
    assert everything(store) == before


@each("verb", ["cp", "mv"])
def test_into_a_link_of_its_own_that_leads_elsewhere(tmp_path: Path, verb: str) -> None:
    bucket, elsewhere = tmp_path / verb / "bucket", tmp_path / verb / "elsewhere"
    (bucket / "a").mkdir(parents=True)
    elsewhere.mkdir()
    (bucket / "a/f").write_bytes(b"content")
    (bucket / "a/link").symlink_to(elsewhere)
    cci = cottoncandy.get_interface(str(bucket), backend="local", verbose=False)
    with pytest.raises(InvalidArgumentError, match="itself"):
        getattr(cci, verb)("a", "a/link", recursive=True)
    assert (bucket / "a/f").exists()
    assert not any(elsewhere.iterdir())


def test_over_its_own_objects() -> None:
    harness = MemoryHarness()
    for key in ("a/b/x", "a/b/b/x"):
        harness.raw_put(key, key.encode())
    before = everything(harness)
    # a/b/x goes to a/x, and a/b/b/x to a/b/x, which may not have moved yet.
    with pytest.raises(InvalidArgumentError, match="a/b/x"):
        harness.interface().mv("a/b", "a", overwrite=True, recursive=True)
    assert everything(harness) == before
    harness.raw_delete("a/b/b/x")
    assert harness.interface().mv("a/b", "a", recursive=True) == ["a/x"]
    assert everything(harness) == {"a/x": b"a/b/x"}
    harness.close()


def test_missing_sources(fs: Any, store: StoreHarness) -> None:
    for recursive in (False, True):
        with pytest.raises(FileNotFoundError, match="nothing"):
            fs.cp("nothing", "x", recursive=recursive)
        with pytest.raises(FileNotFoundError, match="data/ex"):
            fs.mv("data/ex", "x", recursive=recursive)
    assert "x" not in store.raw_keys()


def test_an_object_and_a_branch_of_one_name(memory: MemoryHarness) -> None:
    cci = memory.interface()
    assert cci.cp("data/exp", "both", recursive=True) == ["both", "both/a", "both/b"]
    assert cci.cp("data/exp/", "below", recursive=True) == ["below/a", "below/b"]
    cci.mv("data/exp", "single")
    assert memory.raw_get("single").body == b"data/exp"
    assert memory.raw_keys("data/") == ["data/exp/a", "data/exp/b", "data/experiment2/a"]


class RefusesOne(WrappedBackend):
    """Cannot copy one key."""

    def copy(self, source: str, dest: str, **options: Any) -> Any:
        if source == "data/exp/a":
            raise StoreError(f"object '{source}': a simulated failure")
        return self.inner.copy(source, dest, **options)

    def move(self, source: str, dest: str, **options: Any) -> Any:
        self.copy(source, dest, **options)
        return list(self.inner.delete([source]))


def test_a_failed_move_loses_nothing(memory: MemoryHarness) -> None:
    cci = memory.interface()
    plain, cci.backend_interface = cci.backend_interface, RefusesOne(cci.backend_interface)
    with pytest.raises(StoreError, match="simulated"):
        cci.mv("data/exp/a", "x")
    assert memory.raw_get("data/exp/a").body == b"data/exp/a"
    message = r"1 of 3 .*same call again, with overwrite=True: 'data/exp/a' \(.*simulated"
    with pytest.raises(PartialFailureError, match=message):
        cci.mv("data/exp", "moved", recursive=True)
    assert sorted(everything(memory).values()) == sorted(
        [b"data/exp", b"data/exp/a", b"data/exp/b", b"data/experiment2/a"]
    )
    cci.backend_interface = plain
    assert cci.mv("data/exp", "moved", recursive=True) == ["moved/a"]
    assert memory.raw_keys() == ["data/experiment2/a", "moved", "moved/a", "moved/b"]


class InterruptedAfterCopy(WrappedBackend):
    """A program that is killed half-way: objects are copied, and one of them is not deleted."""

    def __init__(self, inner: Any, moves: int) -> None:
        super().__init__(inner)
        self.moves = moves

    def move(self, source: str, dest: str, **options: Any) -> Any:
        self.moves -= 1
        if self.moves < 0:
            self.inner.copy(source, dest, **options)
            raise KeyboardInterrupt
        return self.inner.move(source, dest, **options)


def test_a_branch_that_was_moved_half_way_is_moved_to_the_end(memory: MemoryHarness) -> None:
    cci = memory.interface()
    plain = cci.backend_interface
    before = sorted(everything(memory).values())
    cci.backend_interface = InterruptedAfterCopy(plain, 1)
    with pytest.raises(KeyboardInterrupt):
        cci.mv("data/exp", "moved", recursive=True, threads=1)
    cci.backend_interface = plain
    # One is at both places. Without overwrite= that is rejected, with nothing lost.
    with pytest.raises(ObjectExistsError, match="overwrite=True"):
        cci.mv("data/exp", "moved", recursive=True)
    cci.mv("data/exp", "moved", recursive=True, overwrite=True)
    assert memory.raw_keys() == ["data/experiment2/a", "moved", "moved/a", "moved/b"]
    assert sorted(everything(memory).values()) == before
    with pytest.raises(ObjectNotFoundError):
        cci.mv("data/exp", "moved", recursive=True, overwrite=True)


def test_the_bytes_stay_in_the_store(memory: MemoryHarness) -> None:
    from tests.backends.wrappers import CountingBackend

    cci = memory.interface()
    cci.backend_interface = counting = CountingBackend(cci.backend_interface)
    with counting.expect(copy=1):
        cci.cp("data/exp/a", "x")
    with counting.expect(move=1):
        cci.mv("data/exp/b", "y")
    assert counting.bytes_received == counting.bytes_sent == 0


def test_arrays_survive(cci: Any) -> None:
    array = np.arange(12.0).reshape(3, 4)
    cci.upload_raw_array("a/one", array)
    cci.dict2cloud("group", {"x": array, "y": {"z": array}}, verbose=False)
    cci.cp("a/one", "a/two")
    cci.mv("a/two", "b")
    cci.mv("group", "renamed", recursive=True)
    np.testing.assert_array_equal(cci.download_raw_array("b"), array)
    np.testing.assert_array_equal(cci.cloud2dict("renamed", verbose=False)["y"]["z"], array)
    assert cci.glob("group") == []


def test_errors_are_ours(memory: MemoryHarness) -> None:
    with pytest.raises(CottonCandyError):
        memory.interface().cp("", "x")


@pytest.mark.parametrize("store", ["memory", "moto", "ceph"], indirect=True)
def test_names_that_other_programs_made(store: StoreHarness) -> None:
    odd = ["a//b", "a/", "a/./c", "a/d e+%20#é", "a/b"]
    for key in odd:
        store.raw_put(key, key.encode())
    cci = store.interface()
    cci.cp("a", "copy", recursive=True)
    assert everything(store) == {
        **{key: key.encode() for key in odd},
        **{"copy" + key[1:]: key.encode() for key in odd},
    }
    cci.mv("a", "moved", recursive=True)
    cci.rm("copy", recursive=True)
    assert everything(store) == {"moved" + key[1:]: key.encode() for key in odd}
    assert cci.lsdir("moved") == ["moved/.", "moved//", "moved/b", "moved/d e+%20#é"]


def test_links_to_the_source_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "link").symlink_to("bucket")
    there = str(tmp_path / "bucket")
    cci = cottoncandy.get_interface(there, backend="local", verbose=False)
    link = cottoncandy.get_interface(str(tmp_path / "link"), backend="local", verbose=False)
    array = np.arange(40.0)
    cci.upload_raw_array("d/raw", array)
    cci.upload_dask_array("d/chunked", array, buffersize=80)
    (tmp_path / "bucket" / "e").symlink_to("d")
    cci.mv("d/raw", "e/raw", overwrite=True)
    link.mv("d/raw", "d/raw", dest_bucket=there, overwrite=True)
    link.mv("d/chunked", "e/moved", recursive=True)
    cci.mv("d/moved", "d/chunked", recursive=True)
    trees = (("d", "e", None), ("d", "d", there), ("d/chunked", "e/chunked", None))
    for name, dest, bucket in trees:
        with pytest.raises(InvalidArgumentError, match="a link leads there"):
            link.mv(name, dest, dest_bucket=bucket, recursive=True, overwrite=True)
    CloudFiles(f"file://{tmp_path}/link").move("d/raw", f"file://{there}/d/raw")
    CloudFiles(f"file://{tmp_path}/link/d").moves(f"file://{there}/d", ["raw"])
    np.testing.assert_array_equal(cci.download_raw_array("d/raw"), array)
    np.testing.assert_array_equal(cci.download_dask_array("d/chunked").compute(), array)
