"""Uploading and downloading directories."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import (
    CottonCandyError,
    CredentialsError,
    InvalidArgumentError,
    InvalidNameError,
    ObjectNotFoundError,
    PartialFailureError,
    StorageFullError,
)
from cottoncandy.transfer import directories
from cottoncandy.transfer.directories import same_bytes
from tests.backends.wrappers import CountingBackend
from tests.harness import MemoryHarness, StoreHarness, on_every_store

FILES = {
    "image.dat": b"\x00\x01" * 1000,
    ".hidden": b"h",
    "empty": b"",
    "deep/er/file with space": b"x",
    "deep/.config/é": b"y",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, body in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    (root / "nothing in here").mkdir()
    return root


@pytest.fixture
def memory() -> Iterator[MemoryHarness]:
    harness = MemoryHarness()
    yield harness
    harness.close()


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_there_and_back(
    cci: Any, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cci.upload_object("trees", b"a sibling")
    cci.upload_object("tree2/x", b"another")
    cci.upload_from_directory(str(tree), "tree", recursive=True)
    assert capsys.readouterr().out == f'Uploaded "{tree}" to "tree"\n'
    assert cci.glob("tree/") == sorted(f"tree/{name}" for name in FILES)
    target = tmp_path / "new" / "target"
    assert cci.download_directory("/tree", str(target)) is None
    assert contents(target) == FILES
    cci.download_directory("tree/*", tmp_path / "again")
    assert contents(tmp_path / "again") == FILES


def test_without_recursive_only_the_files_of_the_top(
    memory: MemoryHarness, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory.interface().upload_from_directory(tree, "t")
    assert memory.raw_keys() == ["t/.hidden", "t/empty", "t/image.dat"]
    assert "2 directories in" in caplog.text
    assert "pass recursive=True" in caplog.text
    caplog.clear()
    memory.interface().upload_from_directory(tree, "t", recursive=True)
    assert not caplog.text


def test_home_directory_is_expanded_in_text_only(
    memory: MemoryHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    for directory in (home / "data", here / "~"):
        directory.mkdir(parents=True)
        (directory / "a").write_text(directory.parent.name)
    (home / "data" / "b").write_text("b")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    cci = memory.interface()
    cci.upload_from_file("~/data/b", "b")
    cci.upload_from_directory("~/data", "d")
    cci.upload_from_directory(".", "here", recursive=True)  # the directory "~" is one of these
    cci.upload_from_file(Path("~/a"), "literal")
    assert cci.download_object("b") == b"b"
    assert cci.download_object("d/a") == b"home"
    assert cci.download_object("here/~/a") == cci.download_object("literal") == b"here"
    cci.download_to_file("b", "~/copy")
    cci.download_directory("d", "~/tree")
    for unknown in ("upload_from_file", "upload_from_directory"):
        with pytest.raises(FileNotFoundError):
            getattr(cci, unknown)("~nosuchuser/b")
    with pytest.raises(FileNotFoundError):
        cci.download_to_file("b", "~nosuchuser/b")
    assert (home / "copy").read_bytes() == b"b"
    assert (home / "tree" / "a").read_bytes() == b"home"
    assert sorted(path.name for path in (here / "~").iterdir()) == ["a"]


def test_default_name(memory: MemoryHarness, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.parent)
    memory.interface().upload_from_directory("./tree/deep/", recursive=True)
    assert memory.raw_keys() == ["tree/deep/.config/é", "tree/deep/er/file with space"]
    monkeypatch.chdir(tree / "deep" / "er")
    memory.interface().upload_from_directory(".")
    assert "file with space" in memory.raw_keys()


def test_extra_args(memory: MemoryHarness, tree: Path) -> None:
    memory.interface().upload_from_directory(tree, "t", ExtraArgs={"Metadata": {"by": "me"}})
    assert memory.raw_get("t/empty").metadata["by"] == "me"
    with pytest.raises(InvalidArgumentError, match="Colour"):
        memory.interface().upload_from_directory(tree, "t", ExtraArgs={"Colour": "red"})


def test_local_store_is_uploaded_with_its_metadata(memory: MemoryHarness, tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(2, 3)
    local = cottoncandy.get_interface(str(tmp_path / "store"), backend="local", verbose=False)
    local.upload_raw_array("d/array", array)
    local.upload_json("d/text", {"a": 1})
    sidecar = (tmp_path / "store" / "d" / "text.meta.json").read_text()
    own = {"d/plain": "1", "d/plain.meta.json": '{"a": 1}', "d/alone.meta.json": '{"a": "b"}'}
    own |= {"d/text.meta.json.old": sidecar, "d/sub/x": "", "d/sub.meta.json": sidecar}
    (tmp_path / "store" / "d" / "sub").mkdir()
    for name, text in own.items():  # a user's files
        (tmp_path / "store" / name).write_text(text)
    cci = memory.interface()
    cci.upload_from_directory(tmp_path / "store", "s", recursive=True)
    assert cci.glob("s") == sorted(f"s/{name}" for name in ("d/array", "d/text", *own))
    assert (cci.download_raw_array("s/d/array") == array).all()
    assert cci.backend_interface.head("s/d/text").content_type == "application/json"


def test_no_directory(memory: MemoryHarness, tree: Path) -> None:
    cci = memory.interface()
    with pytest.raises(FileNotFoundError):
        cci.upload_from_directory(tree / "none", "t")
    with pytest.raises(NotADirectoryError):
        cci.upload_from_directory(tree / "empty", "t")


def test_symbolic_links(
    memory: MemoryHarness, tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "far").write_bytes(b"far")
    (tree / "to_file").symlink_to(outside / "far")
    (tree / "to_directory").symlink_to(outside)
    (tree / "deep" / "loop").symlink_to(tree)
    (outside / "self").symlink_to(outside)
    with caplog.at_level(logging.WARNING, "cottoncandy"):
        memory.interface().upload_from_directory(tree, "t", recursive=True)
    expected = {**FILES, "to_file": b"far", "to_directory/far": b"far"}
    assert {key[2:]: memory.raw_get(key).body for key in memory.raw_keys()} == expected
    assert sorted(record.args[0].name for record in caplog.records) == ["loop", "self"]


def test_special_files_are_left_out(memory: MemoryHarness, tmp_path: Path) -> None:
    root = tmp_path / "s"
    root.mkdir()
    os.mkfifo(root / "pipe")
    os.mkfifo(root / "body.meta.json")  # not the metadata of the file
    (root / "body").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(root / "socket"))
        memory.interface().upload_from_directory(root, "t", recursive=True)
    assert memory.raw_keys() == ["t/body"]


def test_what_cannot_be_read_is_told_at_the_end(
    memory: MemoryHarness, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "dangling").symlink_to(tree / "gone")
    cci = memory.interface()
    plain = type(cci)._put_file

    def refuses(self: Any, flname: Path, *args: Any, **kwargs: Any) -> Any:
        if flname.name == "empty":
            raise PermissionError(13, "Permission denied", str(flname))
        return plain(self, flname, *args, **kwargs)

    monkeypatch.setattr(type(cci), "_put_file", refuses)
    with pytest.raises(
        PartialFailureError, match=r"2 of 6 files.*(dangling.*empty|empty.*dangling)"
    ):
        cci.upload_from_directory(tree, "t", recursive=True)
    assert memory.raw_keys() == sorted(f"t/{name}" for name in FILES if name != "empty")


def test_what_would_fail_for_all_ends_at_once(
    memory: MemoryHarness, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cci = memory.interface()
    cci.upload_from_directory(tree, "t", recursive=True)

    def refuses(*args: Any, **kwargs: Any) -> Any:
        raise CredentialsError("the simulated key is unknown")

    def full(*args: Any, **kwargs: Any) -> Any:
        raise StorageFullError("the simulated disk is full")

    monkeypatch.setattr(type(cci), "_put_file", refuses)
    with pytest.raises(CredentialsError):
        cci.upload_from_directory(tree, "t", recursive=True)
    monkeypatch.setattr(type(cci), "download_to_file", full)
    with pytest.raises(StorageFullError):
        cci.download_directory("t", tmp_path / "down")


def test_names_that_are_no_text(memory: MemoryHarness, tmp_path: Path) -> None:
    root = tmp_path / "bytes"
    root.mkdir()
    try:
        Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    (root / "good").write_bytes(b"x")
    with pytest.raises(PartialFailureError, match="1 of 2 files"):
        memory.interface().upload_from_directory(root, "t")
    assert memory.raw_keys() == ["t/good"]


# -- going on where it was -----------------------------------------------------------------------


@on_every_store
@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_uploading_skips_what_is_there(cci: Any, tree: Path) -> None:
    cci.upload_from_directory(tree, "t", recursive=True)
    (tree / "image.dat").write_bytes(FILES["image.dat"][:-1] + b"!")
    (tree / "empty").write_bytes(b"no more")
    (tree / "new").write_bytes(b"new")
    cci.backend_interface = counting = CountingBackend(cci.backend_interface)
    cci.upload_from_directory(tree, "t", recursive=True, skip_existing=True)
    sent = sorted(call[1] for call in counting.calls if call[0] == "put")
    assert sent == ["t/empty", "t/image.dat", "t/new"]
    assert cci.download_object("t/image.dat") == FILES["image.dat"][:-1] + b"!"


@on_every_store
@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_overwrite_false_replaces_no_file(cci: Any, tree: Path) -> None:
    cci.upload_object("t/empty", b"mine")
    with pytest.raises(PartialFailureError, match=r"1 of 5 files.*pass overwrite=True"):
        cci.upload_from_directory(tree, "t", recursive=True, overwrite=False)
    assert cci.download_object("t/empty") == b"mine"
    assert len(cci.glob("t")) == len(FILES)


def test_downloading_skips_what_is_there(cci: Any, tree: Path, tmp_path: Path) -> None:
    cci.upload_from_directory(tree, "t", recursive=True)
    target = tmp_path / "down"
    cci.download_directory("t", target)
    (target / "image.dat").write_bytes(FILES["image.dat"][:-1] + b"!")
    (target / "empty").unlink()
    old = {path: path.stat().st_ino for path in target.rglob("*") if path.is_file()}
    cci.download_directory("t", target, skip_existing=True)
    assert contents(target) == FILES
    replaced = {path.name for path, inode in old.items() if path.stat().st_ino != inode}
    assert replaced == {"image.dat"}


def test_skipping_costs_one_listing_where_hashes_are_known(
    memory: MemoryHarness, tree: Path
) -> None:
    cci = memory.interface()
    cci.upload_from_directory(tree, "t", recursive=True)
    cci.backend_interface = counting = CountingBackend(cci.backend_interface)
    with counting.expect(scan=1):
        cci.upload_from_directory(tree, "t", recursive=True, skip_existing=True)


@pytest.mark.parametrize("encryption", ["AES"], indirect=True)
def test_skip_existing_encrypts_a_plain_object_of_the_same_bytes(
    cci: Any, store: StoreHarness, tree: Path
) -> None:
    for name, body in FILES.items():
        store.raw_put(f"t/{name}", body)
    cci.upload_from_directory(tree, "t", recursive=True, skip_existing=True)
    for name, body in FILES.items():
        assert "cc-encryption" in store.raw_get(f"t/{name}").metadata
        assert cci.download_object(f"t/{name}") == body


def test_hashes_of_parts(
    memory: MemoryHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    store = memory.interface()._store
    body = bytes(range(256)) * (4 * 11 * 1024)  # 11 MiB
    path = tmp_path / "large"
    path.write_bytes(body)

    def etag(part: int) -> str:
        pieces = [body[start : start + part] for start in range(0, len(body), part)]
        whole = hashlib.md5(b"".join(hashlib.md5(piece).digest() for piece in pieces))
        return f'"{whole.hexdigest()}-{len(pieces)}"'

    for part in (store.settings.mpu_chunksize_bytes, 2 * len(body)):
        assert same_bytes(store, ObjectInfo("gone", len(body), etag=etag(part)), path)
    found = ObjectInfo("gone", len(body), etag='"a-b"', md5=hashlib.md5(body).hexdigest())
    assert same_bytes(store, found, path)
    # Parts of another size: the object itself is read.
    memory.raw_put("there", body)
    assert same_bytes(store, ObjectInfo("there", len(body), etag=etag(7 * MiB)), path)
    memory.raw_put("there", body[:-1] + b"?")
    assert not same_bytes(store, ObjectInfo("there", len(body), etag=etag(7 * MiB)), path)
    assert not same_bytes(store, ObjectInfo("gone", len(body), etag="0" * 32), path)
    monkeypatch.setattr(store.backend, "has_md5_etag", lambda key: False, raising=False)
    memory.raw_put("there", body)
    assert same_bytes(store, ObjectInfo("there", len(body), etag="0" * 32), path)
    assert not same_bytes(store, ObjectInfo("gone", len(body) - 1), path)
    assert not same_bytes(store, ObjectInfo("gone", len(body)), path)


def test_dry_runs_say_what_would_be_done(
    memory: MemoryHarness, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cci = memory.interface()
    report = cci.upload_from_directory(tree, "t", recursive=True, dry_run=True)
    assert memory.raw_keys() == []
    assert not capsys.readouterr().out
    assert (report.copied, report.nbytes) == (len(FILES), sum(map(len, FILES.values())))
    assert report.requests > 0
    assert f"{len(FILES)} would be copied" in str(report)
    cci.upload_from_directory(tree, "t", recursive=True)
    (tree / "empty").write_bytes(b"no more")
    report = cci.upload_from_directory(tree, "t", True, skip_existing=True, dry_run=True)
    assert [step[:2] for step in report.actions] == [("replace", "empty")]
    assert report.skipped == len(FILES) - 1
    target = tmp_path / "down"
    report = cci.download_directory("t", target, dry_run=True)
    assert (report.copied, target.exists()) == (len(FILES), False)
    cci.download_directory("t", target)
    (target / "image.dat").unlink()
    report = cci.download_directory("t", target, skip_existing=True, dry_run=True)
    assert [step[:2] for step in report.actions] == [("copy", "image.dat")]
    assert not (target / "image.dat").exists()


# -- what a download refuses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["t/../escaped", "t/a/../../../escaped", "t/./x", "t//x", "t//etc/passwd", "t/a\0b"]
)
def test_keys_that_would_escape(memory: MemoryHarness, tmp_path: Path, key: str) -> None:
    memory.raw_put("t/a-good-one", b"x")
    memory.raw_put(key, b"x")
    target = tmp_path / "deep" / "target"
    with pytest.raises(InvalidNameError, match="nothing was downloaded"):
        memory.interface().download_directory("t", target)
    assert not (tmp_path / "deep").exists()


def test_links_that_lead_out(memory: MemoryHarness, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"safe")
    target = tmp_path / "target"
    target.mkdir()
    (target / "link").symlink_to(outside)
    memory.raw_put("t/a", b"x")
    memory.raw_put("t/link/victim", b"overwritten")
    cci = memory.interface()
    with pytest.raises(InvalidNameError, match="leads out"):
        cci.download_directory("t", target)
    (target / "link").unlink()
    (target / "link").mkdir()
    (target / "link" / "victim").symlink_to(outside / "victim")
    with pytest.raises(InvalidNameError, match="leads out"):
        cci.download_directory("t", target)
    assert (outside / "victim").read_bytes() == b"safe"
    assert not (target / "a").exists()
    # The target itself may be a link, and so may a file that stays inside.
    (target / "link" / "victim").unlink()
    (target / "real").write_bytes(b"old")
    (target / "link" / "victim").symlink_to(target / "real")
    (tmp_path / "alias").symlink_to(target)
    cci.download_directory("t", tmp_path / "alias")
    assert (target / "real").read_bytes() == b"overwritten"


def test_links_to_themselves(memory: MemoryHarness, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "a")
    memory.raw_put("t/a", b"x")
    memory.raw_put("u/a/b", b"x")
    with pytest.raises(NotADirectoryError):
        memory.interface().download_directory("u", tmp_path)
    memory.interface().download_directory("t", tmp_path)
    assert (tmp_path / "a").read_bytes() == b"x"


def test_files_and_directories_of_one_name(memory: MemoryHarness, tmp_path: Path) -> None:
    for key in ("t/a", "t/x/y"):
        memory.raw_put(key, b"x")
    cci = memory.interface()
    (tmp_path / "one" / "a").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        cci.download_directory("t", tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "x").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        cci.download_directory("t", tmp_path / "two")
    (tmp_path / "three").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        cci.download_directory("t", tmp_path / "three")
    memory.raw_put("t/a/b", b"x")
    with pytest.raises(InvalidNameError, match="file and a directory"):
        cci.download_directory("t", tmp_path / "four")
    assert not (tmp_path / "four").exists()
    assert not list((tmp_path / "one" / "a").iterdir())


def test_nothing_there(memory: MemoryHarness, tmp_path: Path) -> None:
    memory.raw_put("object", b"x")
    cci = memory.interface()
    with pytest.raises(ObjectNotFoundError, match="nothing under 'none'"):
        cci.download_directory("none", tmp_path / "d")
    with pytest.raises(ObjectNotFoundError, match="download_to_file"):
        cci.download_directory("object", tmp_path / "d")
    with pytest.raises(InvalidArgumentError, match="glob"):
        cci.download_directory("obj*", tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_markers_become_directories(memory: MemoryHarness, tmp_path: Path) -> None:
    for key in ("t/", "t/empty/", "t/full/", "t/full/x"):
        memory.raw_put(key, b"")
    memory.interface().download_directory("t", tmp_path / "d")
    found = sorted(
        path.relative_to(tmp_path / "d").as_posix() for path in (tmp_path / "d").rglob("*")
    )
    assert found == ["empty", "full", "full/x"]


def test_the_whole_bucket(memory: MemoryHarness, tmp_path: Path) -> None:
    for key in ("a", "b/c"):
        memory.raw_put(key, key.encode())
    memory.interface().download_directory("/", tmp_path / "d")
    assert contents(tmp_path / "d") == {"a": b"a", "b/c": b"b/c"}


def test_some_downloads_fail(
    memory: MemoryHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("t/a", "t/b", "t/c"):
        memory.raw_put(key, b"x")
    cci = memory.interface()
    plain = type(cci).download_to_file

    def refuses(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "t/b":
            raise CottonCandyError("a simulated failure")
        return plain(self, name, *args, **kwargs)

    monkeypatch.setattr(type(cci), "download_to_file", refuses)
    with pytest.raises(PartialFailureError, match=r"1 of 3 .*'t/b' \(a simulated"):
        cci.download_directory("t", tmp_path / "d")
    assert contents(tmp_path / "d") == {"a": b"x", "c": b"x"}


def test_names_with_magic_are_names(memory: MemoryHarness, tmp_path: Path) -> None:
    memory.raw_put("run[1]*/x", b"x")
    memory.interface().download_directory("run[1]*", tmp_path / "d")
    assert contents(tmp_path / "d") == {"x": b"x"}


TEMPORARY = ".cottoncandy-0123456789abcdef.tmp"


def test_temporary_files_are_not_uploaded(memory: MemoryHarness, tree: Path) -> None:
    (tree / TEMPORARY).write_bytes(b"half a download")
    (tree / ".cottoncandy-notes.tmp").write_bytes(b"the user's")
    memory.interface().upload_from_directory(tree, "t")
    assert memory.raw_keys() == ["t/.cottoncandy-notes.tmp", "t/.hidden", "t/empty", "t/image.dat"]


def test_names_like_temporary_files_download_side_by_side(
    memory: MemoryHarness, tmp_path: Path
) -> None:
    """Earlier versions wrote ``x`` to a file of the second name."""
    bodies = {"x": b"1" * 100_000, ".x.0.cottoncandy-part": b"2" * 100_000}
    for name, body in bodies.items():
        memory.raw_put(f"d/{name}", body)
    cci = memory.interface()
    for number in range(40):
        cci.download_directory("d", tmp_path / str(number))
        assert contents(tmp_path / str(number)) == bodies


@pytest.mark.parametrize("name", [TEMPORARY, "n" * 300, "ü" * 130, "deep/" + "n" * 256 + "/x"])
def test_names_that_no_file_can_have_are_rejected(
    memory: MemoryHarness, tmp_path: Path, name: str
) -> None:
    memory.raw_put("d/a", b"a")
    memory.raw_put(f"d/{name}", b"b")
    target = tmp_path / "down"
    for _ in range(2):
        with pytest.raises(InvalidNameError, match="nothing was downloaded"):
            memory.interface().download_directory("d", target)
        assert not target.exists() or not list(target.iterdir())
        target.mkdir(exist_ok=True)


@pytest.mark.slow
def test_deep_directories_come_down(memory: MemoryHarness, tmp_path: Path) -> None:
    """Deeper than Python's recursion limit, and no longer than a path may be."""
    name = "/".join("d" * 1100)
    memory.raw_put(f"{name}/x", b"deep")
    memory.interface().download_directory("", tmp_path)
    assert (tmp_path / name / "x").read_bytes() == b"deep"
    path = tmp_path / name / "x"
    path.unlink()
    while (path := path.parent) != tmp_path:  # rmtree() recurses
        path.rmdir()


@pytest.mark.parametrize("other", ["d/README", "D/x", "d/read\N{KELVIN SIGN}e"])
def test_names_that_differ_in_case_only(
    memory: MemoryHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    cci = memory.interface()
    for name in ("d/x", "d/readKe", other, "d/readme"):
        cci.upload_object(f"t/{name}", name.encode())
    cci.download_directory("t", tmp_path / "distinct")
    assert (tmp_path / "distinct" / other).read_text() == other
    monkeypatch.setattr(directories, "folds_names", lambda root: True)
    with pytest.raises(InvalidNameError, match="nothing was downloaded") as caught:
        cci.download_directory("t", tmp_path / "folded")
    assert other.partition("/x")[0] in str(caught.value)
    assert list((tmp_path / "folded").iterdir()) == []


def test_existing_files_in_another_case_are_kept(
    memory: MemoryHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cci = memory.interface()
    cci.upload_object("t/readme", b"new")
    (tmp_path / "README").write_bytes(b"old")
    (tmp_path / "readme").hardlink_to(tmp_path / "README")
    monkeypatch.setattr(os, "listdir", lambda path: ["README"])
    monkeypatch.setattr(directories, "folds_names", lambda root: True)
    with pytest.raises(InvalidNameError, match="'readme' and 'README'"):
        cci.download_directory("t", tmp_path)
    assert (tmp_path / "README").read_bytes() == b"old"
