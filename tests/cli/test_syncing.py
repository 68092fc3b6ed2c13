"""The commands ``sync`` and ``verify``."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import cottoncandy as cc
from cottoncandy.backends.base import DeleteResult
from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.exceptions import StoreBusyError, StoreError
from cottoncandy.transfer import engine, sync
from tests.cli.conftest import run


def test_verify_prints_each_fault(bucket: Path) -> None:
    assert run("verify", bucket).exit_code == 0
    body = bytearray((bucket / "d/arr").read_bytes())
    body[20] ^= 1
    (bucket / "d/arr").write_bytes(body)
    result = run("verify", bucket)
    assert result.exit_code == 1
    assert result.stdout.startswith("damaged: d/arr: ")
    assert "objects: 3" in result.stderr
    found = json.loads(run("verify", "--json", bucket).stdout)
    assert (found["ok"], found["faults"][0]["name"]) == (False, "d/arr")
    stopped = run("verify", "--max-duration", "0", bucket)
    assert (stopped.exit_code, stopped.stdout, "--after" in stopped.stderr) == (1, "", True)
    assert run("verify", "--after", "d/arr", bucket).exit_code == 0
    for wrong in ("x", "0", "101%", "nan"):
        assert run("verify", "--subset", wrong, bucket).exit_code == 2
    assert run("verify", "--max-duration", "-1", bucket).exit_code == 2
    least = json.loads(run("verify", "--json", "--subset", "1e-9", bucket).stdout)
    assert least["objects"] == 1
    assert json.loads(run("verify", "--json", "--subset", "100%", bucket).stdout)["objects"] == 3


def test_verify_compares_two_places(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert run("sync", tree, copy).exit_code == 0
    same = run("verify", tree, copy)
    assert (same.exit_code, same.stdout) == (0, "")
    assert "the same: 5, different: 0" in same.stderr
    (copy / "one").write_bytes(b"5")  # of the same size
    (copy / "src/a").unlink()
    (copy / "more").write_bytes(b"")
    found = run("verify", "-v", "--md5", tree, f"file://{copy}")
    assert found.exit_code == 1
    assert sorted(found.stdout.splitlines()) == [
        *("different: one", "only in the copy: more", "only in the source: src/a"),
    ]
    only = json.loads(run("verify", "-m", "--json", tree, copy).stdout)
    assert only == {"same": 3, "different": {"one": "different"}}
    assert run("verify", tree, tmp_path / "missing").exit_code == 1
    assert run("verify", "--part-size", "5", tree / "src/a", f"file://{tree}/src/a").exit_code == 0
    assert run("verify", tree / "src/a", tree / "one").stdout == f"different: {tree}/src/a\n"
    assert "two files, or two directories" in run("verify", tree / "src/a", tree).stderr


def test_verify_does_not_take_a_place_for_its_own_copy(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "backup").symlink_to(tree)
    for copy, text in (
        (tree, "are the same"),
        (tmp_path / "backup", "are the same"),
        (tree / "src", "is inside the source"),
    ):
        found = run("verify", tree, copy)
        assert (found.exit_code, found.stdout, text in found.stderr) == (1, "", True)


def test_verify_finds_copies_of_sync_and_of_cp_the_same(tmp_path: Path) -> None:
    url, here, copy = "mem://cli-verified", tmp_path / "here", tmp_path / "copy"
    here.mkdir()
    (here / "run.nii.gz").write_bytes(gzip.compress(b"scan"))
    cc.CloudFiles(url).put("s/info", b"info", compress="gzip")
    assert run("sync", here, f"{url}/s").exit_code == 0
    assert run("cp", "-r", f"{url}/s", copy).exit_code == 0
    assert {path.name for path in copy.iterdir()} == {"info.gz", "run.nii.gz"}
    for ends in ((copy, f"{url}/s"), (f"{url}/s", copy)):
        found = run("verify", *ends)
        assert (found.exit_code, found.stdout) == (0, "")
        assert "the same: 2, different: 0" in found.stderr
    (copy / "info.gz").write_bytes(gzip.compress(b"other"))
    assert run("verify", copy, f"{url}/s").stdout == "different: info\n"
    assert run("verify", here, f"{url}/s").stdout == "only in the copy: info\n"
    (copy / "info.gz").rename(copy / "info.xz")
    assert run("verify", copy, f"{url}/s").stdout.splitlines() == [
        *("only in the copy: info", "only in the source: info.xz"),
    ]


def test_verify_of_what_is_missing_fails(tree: Path) -> None:
    cc.CloudFiles("mem://cli-missing").put("a", b"")
    for missing in (tree / "typo", "mem://cli-missing/typo"):
        for ends in ((tree, missing), (missing, tree)):
            result = run("verify", "-m", *ends)
            assert (result.exit_code, f"nothing at '{missing}'" in result.stderr) == (1, True)


def test_verify_names_what_it_cannot_compare(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run("sync", "-r", tree, tmp_path / "copy").exit_code == 0
    (tree / "link").symlink_to("nowhere")
    found = run("verify", tree, tmp_path / "copy")
    assert (found.exit_code, found.stdout) == (1, "")
    (tmp_path / "copy/link").write_bytes(b"")
    found = run("verify", tree, tmp_path / "copy")
    assert (found.exit_code, found.stdout) == (1, "only in the copy: link\n")
    assert {*caplog.messages} == {"skipped, because it is not an object: 'link' (dangling link)"}


def test_sync_copies_once_and_deletes_on_request(tree: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    result = run("sync", "--dry-run", tree, dest)
    assert "src/a" in result.stdout
    assert "would be" in result.stdout
    actions = json.loads(run("sync", "--json", "--dry-run", tree, dest).stdout)["actions"]
    assert {"one": "copy"}.items() <= {each["path"]: each["verb"] for each in actions}.items()
    assert not dest.exists()
    assert run("sync", tree, dest).exit_code == 0
    assert (dest / "src/sub/deep/c").read_bytes() == b"3"
    for source, target in ((tree, f"{dest}/"), (f"{tree}/", dest), (f"{tree}/", f"{dest}/")):
        assert "0 copied, 0 replaced, 0 deleted, 5 skipped" in run("sync", source, target).stderr
    again = json.loads(run("sync", "--json", tree, f"file://{dest}").stdout)
    assert (again["copied"], again["nbytes"], again["skipped"]) == (0, 0, 5)
    (tree / "one").unlink()
    (tree / "src/a").unlink()
    assert run("sync", "--delete", "--max-delete", "1", tree, dest).exit_code == 1
    assert run("sync", "--delete", "--exclude", "one", tree, dest).exit_code == 0
    assert (dest / "one").exists()
    assert not (dest / "src/a").exists()
    assert run("sync", "--delete", tmp_path / "missing", dest).exit_code == 1
    assert (dest / "one").exists()


def test_sync_prints_its_result_after_a_failure_too(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = sync.copy_object

    def failing(*ends: Any, **options: Any) -> Any:
        if "one" in str(ends[1]):
            raise StoreBusyError("busy")
        return copy(*ends, **options)

    cc.CloudFiles("mem://cli-failed").put("extra", b"")
    words = ["sync", "--json", "--delete", tree, "memory://cli-failed"]
    with monkeypatch.context() as patch:
        patch.setattr(sync, "copy_object", failing)
        result = run(*words)
    found = json.loads(result.stdout)
    assert (result.exit_code, "1 of 5 files could not be copied" in result.stderr) == (1, True)
    counts = ("copied", "replaced", "deleted", "skipped", "failed", "nbytes")
    assert [found[name] for name in counts] == [4, 0, 0, 0, 1, 4]

    def kept(self: MemoryBackend, keys: Any, **options: Any) -> Any:
        return [DeleteResult(key, StoreError("kept")) for key in keys]

    with monkeypatch.context() as patch:
        patch.setattr(MemoryBackend, "delete", kept)
        result = run(*words)
    found = json.loads(result.stdout)
    assert (result.exit_code, [found[name] for name in counts]) == (1, [1, 0, 0, 4, 1, 1])
    found = json.loads(run(*words).stdout)
    assert [found[name] for name in counts] == [0, 0, 1, 5, 0, 0]
    missing = run("sync", "--json", tmp_path / "missing", "memory://cli-failed")
    assert (missing.exit_code, json.loads(missing.stdout)["copied"]) == (1, 0)


def test_sync_repeats_copies_as_often_as_it_is_told(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[str] = []

    def busy(self: object, key: str, *arguments: object, **options: object) -> None:
        attempts.append(key)
        raise StoreBusyError("busy")

    monkeypatch.setattr(MemoryBackend, "put", busy)
    monkeypatch.setattr("cottoncandy.transfer.engine._FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(engine, "_pace", engine._Pace())
    assert run("sync", "--include", "one", "--retries", "2", tree, "memory://busy").exit_code == 1
    assert attempts == ["one"] * 3
    for option in ("--retries", "--max-delete", "--threads"):
        assert run("sync", option, "-1", tree, tmp_path / "dest").exit_code == 2


def test_sync_encrypts_at_urls_and_leaves_paths_plain(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTTONCANDY_ENCRYPTION_KEY", base64.b64encode(bytes(32)).decode())
    for url in (f"file://{tree}/secret", "memory://cli-secret"):
        if url.startswith("memory"):
            cc.get_interface(url, force_bucket_creation=True, verbose=False)
        words = ["--encryption", "AES", tree / "src", url]
        assert run("sync", *words).exit_code == 0
        assert run("verify", *words).exit_code == 0
        assert run("cat", "--encryption", "AES", f"{url}/a").stdout == "1"
        assert "is encrypted" in run("cat", f"{url}/a").stderr
    assert run("sync", "--encryption", "AES", f"file://{tree}/secret", tree / "back").exit_code == 0
    assert (tree / "back/sub/deep/c").read_bytes() == b"3"
    assert (tree / "secret/sub/deep/c").read_bytes() != b"3"


def test_sync_to_a_store_and_back(tree: Path, tmp_path: Path) -> None:
    assert run("sync", tree, "memory://cli_sync/below").exit_code == 0
    assert run("sync", "memory://cli_sync/below", tmp_path / "back").exit_code == 0
    assert (tmp_path / "back/src/sub/b").read_bytes() == b"2"
