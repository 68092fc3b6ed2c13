"""One place becomes a copy of another."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy as cc
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import (
    BucketNotFoundError,
    InvalidArgumentError,
    ObjectNotFoundError,
    PartialFailureError,
    StoreError,
)
from cottoncandy.transfer.copying import copy_object
from cottoncandy.transfer.entries import Endpoint
from cottoncandy.transfer.sync import Rules, SyncReport, plan
from tests.harness import StoreHarness
from tests.servers.proxy import FaultProxy


def tree(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    root = tmp_path / "here"
    for name, content in {"a": b"1", "b/c": b"22", "b/d": b"333", "b-e": b""}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_missing_source_names_the_directory_on_disk(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.parent)
    with pytest.raises(ObjectNotFoundError, match=r"'\./here' is the directory"):
        cc.get_interface("bucket", backend="memory", verbose=False).sync("here", "data")
    with pytest.raises(NotADirectoryError):
        cc.sync(here / "a", "memory://bucket/data")


@pytest.mark.parametrize("store", ["memory", "local", "moto"], indirect=True)
def test_directory_to_store_and_back(store: StoreHarness, here: Path, tmp_path: Path) -> None:
    cci = store.interface()
    report = cci.sync(here, "data")
    assert (report.copied, report.skipped, report.nbytes) == (4, 0, 6)
    assert store.raw_keys() == ["data/a", "data/b-e", "data/b/c", "data/b/d"]
    assert cci.sync(here, "data").nbytes == 0
    there = tmp_path / "there"
    assert cci.sync("data", there).copied == 4
    assert tree(there) == tree(here)
    assert cci.sync("data", there).nbytes == 0
    assert cci.sync(there, "data").nbytes == 0  # the files on disk are as old as the objects
    (here / "a").write_bytes(b"longer")
    (here / "new").write_bytes(b"x")
    (here / "b" / "c").unlink()
    report = cci.sync(here, "data", delete=True)
    assert (report.copied, report.replaced, report.deleted, report.skipped) == (1, 1, 1, 2)
    assert store.raw_keys() == ["data/a", "data/b-e", "data/b/d", "data/new"]
    report = cci.sync("data", "copy")
    assert (report.copied, report.nbytes) == (4, 10)
    assert cci.sync("data", "copy", checksum=True).skipped == 4


def test_arrays_stay_arrays(store: StoreHarness, tmp_path: Path) -> None:
    cci = store.interface()
    array = np.arange(100.0).reshape(4, 25)
    cci.upload_raw_array("x/raw", array)
    cci.upload_dask_array("x/chunked", array, axis=0)
    cci.sync("x", tmp_path / "disk")
    cci.sync(tmp_path / "disk", "y")
    assert np.array_equal(cci.download_raw_array("y/raw"), array)
    assert np.array_equal(cci.download_dask_array("y/chunked").compute(), array)


def test_older_destination_is_replaced(here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    cc.sync(here, there)
    (here / "a").write_bytes(b"2")
    os.utime(there / "a", (1, 1))
    report = cc.sync(str(here), str(there))
    assert (report.replaced, report.skipped) == (1, 3)
    assert (there / "a").read_bytes() == b"2"
    for place in (here, there):
        for path in (path for path in place.rglob("*") if path.is_file()):
            os.utime(path, (10, 10))
    for content in (b"larger", b"less"):
        (here / "a").write_bytes(content)
        os.utime(here / "a", (1, 1))
        report = cc.sync(here, there)  # the size counts before the date; the same is not older
        assert (report.replaced, report.skipped) == (1, 3)


def test_parts_of_arrays_stay_new_on_disk(tmp_path: Path) -> None:
    cci = cc.get_interface("dated", backend="memory", verbose=False)
    cci.upload_dask_array("x/a", np.arange(3.0))
    cci.upload_raw_array("x/b", np.arange(3.0))
    header = cci.backend_interface.head("x/b")
    cc.sync("memory://dated/x", tmp_path)
    dates = {name: (tmp_path / name).stat().st_mtime for name in ("a/pt0000", "b")}
    assert header.modified is not None
    assert dates["b"] == pytest.approx(header.modified.timestamp(), abs=1e-5)
    # clean() keeps new parts, because their manifest may follow.
    assert dates["a/pt0000"] > dates["b"]


def test_files_and_directories_replace_each_other_with_delete(here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    cc.sync(here, there)
    (here / "a").unlink()
    shutil.rmtree(here / "b")
    (here / "a").mkdir()
    for path in (here / "a/1", here / "b"):
        path.write_bytes(b"new")
    with pytest.raises(PartialFailureError, match="2 of 2"):
        cc.sync(here, there)
    with pytest.raises(InvalidArgumentError, match="max_delete=2"):
        cc.sync(here, there, delete=True, max_delete=2)
    report = cc.sync(here, there, delete=True)
    assert (report.copied, report.deleted, report.failed) == (2, 3, 0)
    assert tree(there) == tree(here)
    (there / "b").unlink()
    (there / "b").mkdir()
    (there / "b" / "hidden").write_bytes(b"")
    with pytest.raises(PartialFailureError, match="1 of 1"):
        cc.sync(here, there, delete=True, exclude="b/hidden")


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_copies_have_the_acl_of_uploads_and_their_price(
    store: StoreHarness, here: Path, tmp_path: Path
) -> None:
    cci = store.interface()
    cci.sync(here, "data")
    cci.upload_object("uploaded", b"1")
    grants = [cci.get_object(name).Acl().grants for name in ("data/a", "uploaded")]
    assert grants[0] == grants[1]
    assert len(grants[0]) > 1
    assert cci.sync("data", tmp_path / "there", dry_run=True).nbytes == 6
    up, down = SyncReport(copied=1, nbytes=10**9), SyncReport(copied=1, nbytes=10**9)
    up.estimate(None, cci._store.backend)
    down.estimate(cci._store.backend, None)
    assert round(down.cost - up.cost, 3) == 0.09  # a gigabyte that leaves Amazon S3
    assert cc.sync(here, tmp_path / "disk").cost == 0


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_a_dry_run_counts_the_requests_of_a_run(store: StoreHarness, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/large").write_bytes(bytes(60 * MiB))
    for name in "abc":
        (tmp_path / "here" / name).write_bytes(b"1")
    cci = store.interface()
    for ends in ((tmp_path / "here", "up"), ("up", "copy"), ("up", tmp_path / "there")):
        inside = ends == ("up", "copy")
        hidden = "large" if inside else ()  # moto has no ACL of uploads in parts
        dry, before = cci.sync(*ends, exclude=hidden, dry_run=True), cci.stats
        real, spent = cci.sync(*ends, exclude=hidden), cci.stats - before
        on_disk = 0 if inside else 4 + 7  # files, and pieces of the large one
        assert dry.requests - on_disk == pytest.approx(spent.requests, abs=7)
        assert (real.requests, real.cost) == (dry.requests, dry.cost)


def test_checksum_finds_what_dates_hide(here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    cc.sync(here, there)
    (there / "a").write_bytes(b"9")
    assert cc.sync(here, there).replaced == 0
    assert cc.sync(here, there, checksum=True).replaced == 1
    assert tree(there) == tree(here)
    report = cc.sync(here, there, checksum=True)
    assert (report.skipped, report.compared) == (4, 12)  # both ends were read
    assert "12.00B read to compare" in str(report)
    assert cc.sync(here, "memory://checksums/x").compared == 0
    report = cc.sync(here, "memory://checksums/x", checksum=True)
    assert (report.skipped, report.compared) == (4, 6)  # the other end has checksums


def test_etags_that_are_no_checksums_do_not_count(
    store: StoreHarness, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of objects that a server encrypted with its own keys look like MD5s."""
    cci = store.interface()
    cci.sync(here, "x")
    cci.sync("x", "y")
    backend = type(cci._store.backend)
    scan = backend.scan

    def encrypted(self: Any, *arguments: Any, **options: Any) -> Any:
        for entry in scan(self, *arguments, **options):
            yield entry._replace(etag=entry.key.encode().hex().ljust(32, "0"))

    monkeypatch.setattr(backend, "scan", encrypted)
    assert cci.sync("x", "y", checksum=True, dry_run=True).replaced == 4
    monkeypatch.setattr(backend, "has_md5_etag", lambda self, key: False)
    report = cci.sync("x", "y", checksum=True)
    assert (report.skipped, report.compared) == (4, 12)


def test_what_an_exclude_hides_is_kept(here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for name in ("old", "keep.log", "b"):
        (there / name).write_bytes(b"x") if name != "b" else (there / name).mkdir()
    (there / "b" / "old").write_bytes(b"x")
    report = cc.sync(here, there, delete=True, exclude=["*.log", "b"])
    assert sorted(tree(there)) == ["a", "b-e", "b/old", "keep.log"]
    assert report.deleted == 1
    cc.sync(here, there, include="b/*")
    assert sorted(tree(there)) == ["a", "b-e", "b/c", "b/d", "b/old", "keep.log"]
    cc.sync(here, there, delete=True, include="b")
    assert sorted(tree(there)) == ["a", "b-e", "b/c", "b/d", "keep.log"]


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("**/*.tmp", ["1.tmp", "c1/2.tmp", "c1/d/3.tmp"]),
        ("c1/**/3.tmp", ["c1/d/3.tmp"]),
        ("c1/**/2.tmp", ["c1/2.tmp"]),
        ("/c1", ["c1/2.tmp", "c1/d/3.tmp"]),
        ("/1.*", ["1.tmp"]),
        ("c*/", ["c1/2.tmp", "c1/d/3.tmp"]),
    ],
)
def test_excludes_of_rsync_and_shells_hide_the_same_from_deletes(
    tmp_path: Path, pattern: str, kept: list[str]
) -> None:
    (tmp_path / "here").mkdir()
    for name in ("1.tmp", "c1/2.tmp", "c1/d/3.tmp", "gone"):
        (tmp_path / "there" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "there" / name).write_bytes(b"x")
    cc.sync(tmp_path / "here", tmp_path / "there", delete=True, exclude=pattern)
    assert sorted(tree(tmp_path / "there")) == kept


def test_patterns_select_no_more_than_rsync_does() -> None:
    selects = Rules(include=("a**/b", "**/c")).selects()
    assert [path for path in ("ab", "ax/b", "c", "d/c", "bc") if selects(path)] == [
        "ax/b",
        "c",
        "d/c",
    ]


def test_nothing_is_deleted_if_two_sources_are_in_the_way_of_each_other(tmp_path: Path) -> None:
    cci = cc.get_interface("in_the_way", backend="memory", verbose=False)
    for name in ("data/p", "data/p/q"):
        cci.upload_json(name, {})
    (tmp_path / "old").write_bytes(b"1")
    with pytest.raises(PartialFailureError, match="nothing was deleted"):
        cci.sync("data", tmp_path, delete=True)
    assert (tmp_path / "old").exists()


def test_empty_directory_is_created(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    cc.sync(tmp_path / "here", tmp_path / "there")
    assert (tmp_path / "there").is_dir()


def test_dry_run_says_what_a_run_does(here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    report = cc.sync(here, there, dry_run=True)
    assert not there.exists()
    assert [step.path for step in report.actions] == ["a", "b-e", "b/c", "b/d"]
    assert "4 would be copied" in str(report)
    cc.sync(here, there)
    (there / "extra").write_bytes(b"")
    (here / "a").write_bytes(b"12")
    report = cc.sync(here, there, dry_run=True, delete=True)
    assert [step[:2] for step in report.actions] == [("replace", "a"), ("delete", "extra")]
    assert (there / "extra").exists()
    real = cc.sync(here, there, delete=True)
    numbers = ["copied", "replaced", "deleted", "skipped", "nbytes", "requests", "cost"]
    assert [getattr(real, name) for name in numbers] == [getattr(report, name) for name in numbers]


def test_max_delete_deletes_all_or_nothing(here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for number in range(3):
        (there / f"old{number}").write_bytes(b"")
    for most in (0, 2):
        with pytest.raises(InvalidArgumentError, match=rf"3 files .* max_delete={most}; nothing "):
            cc.sync(here, there, delete=True, max_delete=most)
    assert len(tree(there)) == 7
    cc.sync(here, there, delete=True, max_delete=3)
    assert tree(there) == tree(here)
    with pytest.raises(InvalidArgumentError):
        cc.sync(here, there, max_delete=-1)


def test_what_appears_meanwhile_is_not_deleted(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "old").write_bytes(b"")

    def copy(*ends: Any, **options: Any) -> int:
        (there / "added").write_bytes(b"by another program")
        return copy_object(*ends, **options)

    monkeypatch.setattr("cottoncandy.transfer.sync.copy_object", copy)
    assert cc.sync(here, there, delete=True).deleted == 1
    assert tree(there) == tree(here) | {"added": b"by another program"}


def test_missing_source_deletes_nothing(store: StoreHarness, here: Path, tmp_path: Path) -> None:
    cci = store.interface()
    with pytest.raises(BucketNotFoundError):
        cci.sync(tmp_path / "mistyped", here, delete=True)
    with pytest.raises(ObjectNotFoundError):
        cci.sync("mistyped", here, delete=True)
    assert len(tree(here)) == 4
    with pytest.raises(BucketNotFoundError):
        cc.sync("memory://no-such-bucket/x", here, delete=True)
    with pytest.raises(InvalidArgumentError):
        cc.sync("", here)


def test_ends_inside_each_other_are_rejected(here: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="the same"):
        cc.sync(here, here)
    with pytest.raises(InvalidArgumentError, match="inside the source"):
        cc.sync(here, here / "b")
    with pytest.raises(InvalidArgumentError, match="would delete it"):
        cc.sync(here / "b", here, delete=True)
    (tmp_path / "link").symlink_to(here)
    with pytest.raises(InvalidArgumentError, match="the same"):
        cc.sync(here, tmp_path / "link")
    with pytest.raises(InvalidArgumentError, match="inside the source"):
        cc.sync(f"file://{here}", f"file://{tmp_path}/link/b")
    with pytest.raises(InvalidArgumentError, match="would delete it"):
        cc.sync(f"file://{tmp_path}/link/b", f"file://{here}", delete=True)
    (tmp_path / "here-too").mkdir()
    cc.sync(here, tmp_path / "here-too")


def test_ends_that_are_spelled_differently_are_one_directory(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link stands for the name in another case, which nothing resolves."""
    monkeypatch.setattr(
        LocalBackend, "resolve_links", lambda self, prefix: f"{self.bucket}/{prefix}".rstrip("/")
    )
    (tmp_path / "HERE").symlink_to(here)
    with pytest.raises(InvalidArgumentError, match="inside the source"):
        cc.sync(here, tmp_path / "HERE" / "new")
    with pytest.raises(InvalidArgumentError, match="would delete it"):
        cc.sync(here / "b", tmp_path / "HERE", delete=True)


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_ends_inside_each_other_at_two_addresses_are_rejected(
    store: StoreHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = store.connection()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", connection["ACCESS_KEY"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", connection["SECRET_KEY"])
    store.interface().upload_object("x/y/a", b"a")
    inner = f"s3://{connection['endpoint_url']}/{store.bucket}/x/y"
    outer = inner.replace("127.0.0.1", "localhost").removesuffix("/y")
    with pytest.raises(InvalidArgumentError, match="the source is inside the destination"):
        cc.sync(inner, outer, delete=True)
    with pytest.raises(InvalidArgumentError, match="the destination is inside the source"):
        cc.sync(outer, inner)
    assert store.raw_keys() == ["x/y/a"]
    assert cc.sync(inner, outer).copied == 1


def test_files_behind_links_are_not_deleted(here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    (there / "b").mkdir(parents=True)
    (there / "b" / "extra").write_text("extra")
    (there / "link").symlink_to(here)
    (there / "b" / "relative").symlink_to("../../here")
    before = tree(here)
    report = cc.sync(here, there, delete=True)
    assert (tree(here), report.deleted) == (before, 1)
    assert not (there / "b" / "extra").exists()


def test_files_that_are_not_objects_are_named(
    here: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (here / "b" / "only.meta.json").write_text("{}")
    (here / "hidden.meta.json").write_text("{}")
    (here / "z").symlink_to(tmp_path / "nowhere")
    try:
        Path(os.fsdecode(os.fsencode(here) + b"/\xff")).write_bytes(b"")
    except OSError:
        pytest.skip("the file system accepts only UTF-8")
    assert cc.sync(here, tmp_path / "there", exclude="hidden*").copied == 4
    assert sorted(record.args for record in caplog.records) == [
        ("b/only", "sidecar without body"),
        ("z", "dangling link"),
        ("\udcff", "name that is not UTF-8"),
    ]


def test_copies_of_what_a_dangling_link_led_to_are_not_deleted(here: Path, tmp_path: Path) -> None:
    disk, there = tmp_path / "disk", tmp_path / "there"
    shutil.copytree(here, disk)
    (here / "link").symlink_to(disk)
    cc.sync(here, there)
    (there / "old").write_bytes(b"")
    before = tree(there)
    disk.rename(tmp_path / "unmounted")
    for dry_run in (True, False):
        report = cc.sync(here, there, delete=True, dry_run=dry_run)
        assert (report.deleted, report.left_out) == (1, 1)
    assert tree(there) == {name: before[name] for name in before if name != "old"}


def test_dangling_links_in_linked_directories_are_found(here: Path, tmp_path: Path) -> None:
    disk, other, there = (tmp_path / name for name in ("disk", "other", "there"))
    shutil.copytree(here, disk)
    shutil.copytree(here, other)
    for link, target in {here / "link": disk, disk / "inner": other, disk / "loop": here}.items():
        link.symlink_to(target)
    cc.sync(here, there)
    before = tree(there)
    other.rename(tmp_path / "unmounted")
    report = cc.sync(here, there, delete=True)
    assert (report.deleted, report.left_out) == (0, 1)
    assert tree(there) == before


def test_the_copy_of_a_file_that_left_its_sidecar_is_deleted(here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    (here / "a.meta.json").write_text("{}")
    cc.sync(here, there)
    (here / "a").unlink()
    for dry_run in (True, False):
        report = cc.sync(here, there, delete=True, dry_run=dry_run)
        assert (report.deleted, report.left_out) == (1, 1)
    assert not (there / "a").exists()


def test_failures_are_named_and_nothing_is_deleted(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cottoncandy.backends.local.backend import LocalBackend

    there = tmp_path / "there"
    there.mkdir()
    (there / "old").write_bytes(b"")
    copy = LocalBackend.copy

    def failing(self: Any, source: str, *rest: Any, **options: Any) -> Any:
        if source == "b/c":
            raise StoreError("no")
        return copy(self, source, *rest, **options)

    monkeypatch.setattr(LocalBackend, "copy", failing)
    with pytest.raises(PartialFailureError, match=r"1 of 4 files .*'b/c'"):
        cc.sync(here, there, delete=True)
    assert sorted(tree(there)) == ["a", "b-e", "b/d", "old"]
    monkeypatch.undo()
    report = cc.sync(here, there, delete=True)
    assert (report.copied, report.skipped, report.deleted) == (1, 3, 1)
    assert tree(there) == tree(here)


def test_manifest_is_copied_after_its_parts(store: StoreHarness) -> None:
    cci = store.interface()
    cci.upload_dask_array("x/a", np.arange(30.0), axis=0, buffersize=80)
    order: list[str] = []
    backend = type(cci.backend_interface)
    copy = backend.copy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            backend,
            "copy",
            lambda self, key, *rest, **options: (
                order.append(key),
                copy(self, key, *rest, **options),
            )[1],
        )
        cci.sync("x", "y", threads=1)
    assert len(order) > 2
    assert order[-1] == "x/a/metadata.json"


def test_parts_and_manifest_are_never_without_each_other(store: StoreHarness) -> None:
    cci = store.interface()
    cci.upload_dask_array("x/a", np.arange(30.0), axis=0, buffersize=80)
    cci.upload_dask_array("x/b", np.arange(3.0))
    cci.upload_object("x/z", b"1")
    backend = type(cci.backend_interface)
    copy, delete, deleted = backend.copy, backend.delete, []

    def failing(self: Any, key: str, *rest: Any, **options: Any) -> Any:
        if key == "x/a/pt0001":
            raise StoreError("no")
        return copy(self, key, *rest, **options)

    def recording(self: Any, keys: Any, **options: Any) -> Any:
        deleted.extend(keys := list(keys))
        return delete(self, keys, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "copy", failing)
        with pytest.raises(PartialFailureError, match="pt0001"):
            cci.sync("x", "y")
        assert "y/a/pt0000" in store.raw_keys()
        assert "y/z" in store.raw_keys()
        assert "y/a/metadata.json" not in store.raw_keys()
        assert "y/b/metadata.json" in store.raw_keys()
    cci.sync("x", "y")
    cci.rm("x/a", recursive=True)
    cci.rm("x/b", recursive=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "delete", recording)
        cci.sync("x", "y", delete=True)
    assert deleted[0] == "y/a/metadata.json"
    assert store.raw_keys() == ["x/z", "y/z"]


def test_plan_streams_listings_of_any_length() -> None:
    cci = cc.get_interface("plan", backend="memory", verbose=False)
    for number in range(20):
        cci.upload_object(f"x/{number:02d}", b"1")
    steps = plan(Endpoint.of("memory://plan/x"), Endpoint.of("memory://plan/y"), Rules())
    assert next(steps)[:4] == ("copy", "00", "not in the destination", 1)
    assert len(list(steps)) == 19


@pytest.mark.parametrize("changed", [False, True])
def test_whole_seconds_of_a_store_are_settled_by_content(
    store: StoreHarness, here: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    """Files that were written in the second of their upload are neither sent again nor missed."""
    cci = store.interface()
    cci.sync(here, "data")
    if changed:
        (here / "a").write_bytes(b"2")
    moment = 1_700_000_000
    for path in (path for path in here.rglob("*") if path.is_file()):
        os.utime(path, (moment + 0.9, moment + 0.9))
    backend = type(cci._store.backend)
    scan = backend.scan

    def in_seconds(self: Any, *arguments: Any, **options: Any) -> Any:
        when = datetime.datetime.fromtimestamp(moment, datetime.UTC)
        for entry in scan(self, *arguments, **options):
            yield entry._replace(modified=when) if hasattr(entry, "size") else entry

    monkeypatch.setattr(backend, "scan", in_seconds)
    assert cci.sync(here, "data").replaced == int(changed)


@pytest.mark.parametrize("changed", [False, True])
def test_a_disk_that_keeps_even_seconds(here: Path, tmp_path: Path, changed: bool) -> None:
    copy = tmp_path / "copy"
    os.utime(here / "a", (1_700_000_001.5,) * 2)
    cc.sync(here, copy)
    if changed:
        (here / "a").write_bytes(b"2")
        os.utime(here / "a", (1_700_000_001.5,) * 2)
    os.utime(copy / "a", (1_700_000_000,) * 2)
    assert cc.sync(here, copy).replaced == int(changed)


def test_second_run_sends_listings_only(
    fault_proxy: FaultProxy, moto_bucket: str, here: Path, tmp_path: Path
) -> None:
    cci = cc.get_interface(moto_bucket, verbose=False, **fault_proxy.server.interface_arguments())
    cci.sync(here, "data")
    cci.sync("data", tmp_path / "there")
    for source, dest in ((here, "data"), ("data", tmp_path / "there"), (here, "data/")):
        before = len(fault_proxy.requests)
        report = cci.sync(source, dest, delete=True)
        assert (report.nbytes, report.skipped) == (0, 4)
        found = [(each.method, "list-type" in each.query) for each in fault_proxy.requests[before:]]
        others = [request for request in found if request != ("GET", True)]
        assert 0 < len(found) - len(others) <= 2
        assert len(others) <= (source == "data"), found  # does the bucket exist
        assert {method for method, _ in others} <= {"HEAD"}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_objects() -> None:
    program = Path(cc.__file__).parents[1] / "benchmarks" / "command.py"
    found = subprocess.run(
        [sys.executable, program, "--memory", "50000"], capture_output=True, text=True, check=True
    )
    assert float(found.stdout) < 100, found.stdout  # MiB in all; a million: below 200


def test_a_source_that_cannot_be_listed_leaves_no_directory(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan(*args: Any, **options: Any) -> Any:
        raise StoreError("not now")

    monkeypatch.setattr(LocalBackend, "scan", scan)
    with pytest.raises(StoreError, match="not now"):
        cc.sync(here, tmp_path / "there")
    assert not (tmp_path / "there").exists()
