"""rm, and who owns an object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cottoncandy
from cottoncandy.backends.base import DeleteResult
from cottoncandy.exceptions import (
    AccessDeniedError,
    ObjectNotFoundError,
    PartialFailureError,
    UnsupportedOperationError,
)
from tests.backends.wrappers import CountingBackend, WrappedBackend
from tests.harness import MemoryHarness, StoreHarness

KEYS = ["data/exp/a", "data/exp/deep/b", "data/experiment2/a", "data/exp.txt", "top"]


@pytest.fixture
def fs(store: StoreHarness) -> Any:
    for key in KEYS:
        store.raw_put(key, b"")
    return store.interface()


@pytest.fixture
def memory() -> Iterator[MemoryHarness]:
    harness = MemoryHarness()
    for key in [*KEYS, "data/exp", "a//b", "a/c", "m/"]:
        harness.raw_put(key, b"")
    yield harness
    harness.close()


def test_an_object(fs: Any, store: StoreHarness, capsys: pytest.CaptureFixture[str]) -> None:
    assert fs.rm("top") == 1
    assert capsys.readouterr().out == ""
    assert "top" not in store.raw_keys()
    assert fs.rm("data/exp/a", recursive=True) == 1
    assert capsys.readouterr().out == ""


def test_a_branch(fs: Any, store: StoreHarness, capsys: pytest.CaptureFixture[str]) -> None:
    assert fs.rm("data/exp") == 0
    assert capsys.readouterr().out == (
        "cannot remove 'data/exp': use `recursive` to remove branch\n"
    )
    assert store.raw_keys() == sorted(KEYS)
    assert fs.rm("data/exp", recursive=True) == 2
    assert capsys.readouterr().out == "deleting 2 objects...\n"
    assert store.raw_keys() == ["data/exp.txt", "data/experiment2/a", "top"]


def test_nothing(fs: Any, store: StoreHarness, capsys: pytest.CaptureFixture[str]) -> None:
    for recursive in (False, True):
        assert fs.rm("data/ex", recursive=recursive) == 0
        assert capsys.readouterr().out == "nothing found under 'data/ex'\n"
    assert store.raw_keys() == sorted(KEYS)


@pytest.mark.parametrize("store", ["memory", "local", "gdrive"], indirect=True)
@pytest.mark.parametrize("name", ["", "/"])
def test_the_whole_bucket(
    fs: Any, store: StoreHarness, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fs.rm(name)
    assert store.raw_keys() == sorted(KEYS)
    fs.rm(name, recursive=True)
    assert capsys.readouterr().out.endswith("deleting 5 objects...\n")
    assert store.raw_keys() == []
    assert store.interface().exists_bucket(store.bucket)


def test_an_object_and_a_branch_of_one_name(
    memory: MemoryHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    cci = memory.interface()
    assert cci.rm("data/exp") == 1
    assert memory.raw_keys("data/exp/") == ["data/exp/a", "data/exp/deep/b"]
    memory.raw_put("data/exp", b"")
    cci.rm("data/exp", recursive=True)
    assert capsys.readouterr().out == "deleting 3 objects...\n"
    assert memory.raw_keys("data/") == ["data/exp.txt", "data/experiment2/a"]


def test_a_slash_at_the_end_means_what_is_below(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.rm("data/exp/", recursive=True)
    assert memory.raw_keys("data/exp") == ["data/exp", "data/exp.txt", "data/experiment2/a"]
    cci.rm("m/")
    assert "m/" not in memory.raw_keys()


def test_odd_keys_go_with_their_branch(memory: MemoryHarness) -> None:
    memory.interface().rm("a", recursive=True)
    assert memory.raw_keys("a") == []


def test_a_linked_directory_is_unlinked_and_its_files_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c"):
        (outside / name).write_bytes(b"stays")
    root = tmp_path / "bucket"
    root.mkdir()
    cci: Any = cottoncandy.get_interface(str(root), backend="local", verbose=False)
    (root / "link").symlink_to(outside)
    assert cci.rm("link", recursive=True) == 3
    assert cci.glob("*") == []
    assert list(root.iterdir()) == []
    cci.upload_object("tree/own", b"goes")
    (root / "tree" / "link").symlink_to(outside)
    assert cci.rm("tree", recursive=True) == 4
    assert list(root.iterdir()) == []
    assert sorted(path.name for path in outside.rglob("*")) == ["a", "b", "c", "deep"]


def test_requests(memory: MemoryHarness) -> None:
    cci = memory.interface()
    for number in range(2500):
        memory.raw_put(f"many/{number}", b"")
    cci.backend_interface = counting = CountingBackend(cci.backend_interface)
    with counting.expect(exists=1, delete=1):
        cci.rm("top")
    with counting.expect(exists=1, scan=1, delete=1):
        cci.rm("many", recursive=True)
    with counting.expect(exists=1, scan=1):
        cci.rm("data")


class RefusesOne(WrappedBackend):
    """May not delete one key."""

    def delete(self, keys: Iterable[str], **options: Any) -> Iterator[DeleteResult]:
        for deletion in self.inner.delete(list(keys), **options):
            refused = deletion.key == "data/exp/a"
            error = AccessDeniedError(f"'{deletion.key}': a simulated refusal")
            yield DeleteResult(deletion.key, error if refused else None)


def test_what_could_not_be_deleted_is_told(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.backend_interface = RefusesOne(cci.backend_interface)
    with pytest.raises(PartialFailureError, match=r"1 of 3 .*'data/exp/a' \(.*simulated"):
        cci.rm("data/exp", recursive=True)
    memory.raw_put("data/exp/a", b"")
    with pytest.raises(AccessDeniedError, match="simulated"):
        cci.rm("data/exp/a")


def test_no_trash(memory: MemoryHarness) -> None:
    with pytest.raises(UnsupportedOperationError, match="trash"):
        memory.interface().rm("top", delete=False)
    assert "top" in memory.raw_keys()


def test_trash_where_there_is_one(memory: MemoryHarness) -> None:
    from dataclasses import replace

    asked = []

    class Trash(WrappedBackend):
        def delete(self, keys: Iterable[str], **options: Any) -> Iterator[DeleteResult]:
            asked.append(options["permanently"])
            return self.inner.delete(keys, **options)

    cci = memory.interface()
    cci.backend_interface = Trash(cci.backend_interface)
    cci.backend_interface.capabilities = replace(cci.backend_interface.capabilities, trash=True)
    cci.rm("top", delete=False)
    cci.rm("data", recursive=True, delete=False)
    cci.rm("a", recursive=True)
    assert asked == [False, False, True]


@pytest.mark.parametrize("store", ["gdrive"], indirect=True)
def test_the_trash_of_drive(fs: Any, store: Any) -> None:
    file = store.raw_file("data/exp/a")
    fs.rm("data/exp", recursive=True, delete=False)
    assert store.raw_keys("data/exp/") == []
    assert store.server.store.files[file.id].explicitly_trashed
    gone = store.raw_file("top")
    fs.rm("top", delete=True)
    assert gone.id not in store.server.store.files


@pytest.mark.parametrize("store", ["moto", "ceph", "gdrive"], indirect=True)
def test_owner(store: StoreHarness) -> None:
    store.raw_put("mine", b"")
    assert store.interface().get_object_owner("/mine")["ID"]
    with pytest.raises(ObjectNotFoundError):
        store.interface().get_object_owner("none")


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_no_owner(store: StoreHarness) -> None:
    cci = store.interface()
    cci.upload_object("mine", b"")
    with pytest.raises(UnsupportedOperationError, match="owner"):
        cci.get_object_owner("mine")
    with pytest.raises(ObjectNotFoundError):
        cci.get_object_owner("none")
    attrs = "uid:1000/gname:lab/uname:someone/gid:1000/mode:33188"
    cci.upload_object("by_s3cmd", b"", **{"s3cmd-attrs": attrs})
    assert cci.get_object_owner("by_s3cmd")["uname"] == "someone"


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_versions_stay(store: StoreHarness) -> None:
    status = {"Status": "Enabled"}
    store.client.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration=status)
    for key in ("a/x", "a/y"):
        store.raw_put(key, b"old")
    cci = store.interface()
    cci.rm("a/x")
    cci.rm("a", recursive=True)
    assert cci.glob("*") == []
    versions = store.client.list_object_versions(Bucket=store.bucket)["Versions"]
    assert [version["Key"] for version in versions] == ["a/x", "a/y"]
