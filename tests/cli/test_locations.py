"""How commands read locations: names on disk, several of which some fail, and servers."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cottoncandy as cc
from cottoncandy.backends.base import DeleteResult
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.cloudfiles import paths as cloudpaths
from cottoncandy.cloudfiles.connection import Options, factory_arguments
from cottoncandy.exceptions import AccessDeniedError, StorageFullError
from tests.cases import each
from tests.cli.conftest import run
from tests.harness import HARNESSES
from tests.servers import S3Server


def test_files_on_disk_have_the_names_that_cp_gives_them(tmp_path: Path) -> None:
    body = b"0123456789" * 1000
    store, copy = cc.CloudFiles("mem://cli-encoded"), tmp_path / "copy"
    store.put("vol/info", body, compress="gzip")
    assert run("cp", "-r", "mem://cli-encoded/vol", copy).exit_code == 0
    assert [path.name for path in copy.iterdir()] == ["info.gz"]
    assert run("ls", copy).stdout == "info\n"
    assert run("du", copy / "info").stdout.splitlines()[0].endswith("\tinfo")
    assert json.loads(run("head", copy / "info").stdout)["content_encoding"] == "gzip"
    for location in (copy / "info", "mem://cli-encoded/vol/info"):
        assert run("cat", location).stdout_bytes == body
        assert run("cat", "-r", "2995-3005", location).stdout_bytes == body[2995:3005]
    assert run("cat", copy / "info.gz").stdout_bytes == (copy / "info.gz").read_bytes()
    assert run("touch", copy / "info").exit_code == 0
    assert run("verify", copy, "mem://cli-encoded/vol").exit_code == 0
    assert run("cp", copy / "info", "-").stdout_bytes == body  # not emptied by touch
    removed = run("rm", copy / "info")
    assert (removed.exit_code, f"; there is '{copy}/info.gz'\n" in removed.stderr) == (1, True)
    assert run("rm", copy / "info.gz").exit_code == 0
    assert list(copy.iterdir()) == []


def test_schemes_in_capitals_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    assert run("cp", f"FILE://{tmp_path}/a", "MEMORY://cli-capitals/d/").exit_code == 0
    assert run("ls", "--fullpath", "Mem://cli-capitals").stdout == "mem://cli-capitals/d/a\n"
    copied = run("cp", "-r", "MEMORY://cli-capitals/d", f"File://{tmp_path}/new")
    assert (copied.exit_code, (tmp_path / "new/a").read_bytes()) == (0, b"1")


def test_what_has_the_name_of_a_file_in_an_encoding_is_kept(tmp_path: Path) -> None:
    names = ("x", "x.gz", "x.gz.gz")
    for age, name in enumerate(names):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    assert run("cat", tmp_path / "x").stdout == "x"
    assert run("du", tmp_path / "x").stdout.splitlines()[0] == "1\tx"
    assert run("touch", tmp_path / "x.gz").exit_code == 0
    assert "would replace" in run("touch", tmp_path / "x.xz").stderr
    assert contents_of(tmp_path) == set(names)
    assert [run("rm", tmp_path / "x").exit_code for _ in range(2)] == [0, 1]
    assert contents_of(tmp_path) == {"x.gz", "x.gz.gz"}
    assert "must be a whole part" in run("ls", f"{tmp_path}/**.gz").stderr
    for verb, *options in (("cp", "-c", "none"), ("mv",)):
        moved = run(verb, *options, f"{tmp_path}/*.gz", f"{tmp_path}/{verb}/")
        assert (moved.exit_code, moved.stderr) == (0, "")
        assert {each.name: each.read_text() for each in (tmp_path / verb).iterdir()} == {
            name: name for name in names[1:]
        }
    assert contents_of(tmp_path) == {"cp", "mv"}
    (tmp_path / "mv/x").write_text("x")
    os.utime(tmp_path / "mv/x", (1, 1))
    moved = run("mv", "-r", tmp_path / "mv", "mem://cli-names/to")
    assert "'x' was not moved, because 'x' and 'x.gz' have that name" in moved.stderr
    assert contents_of(tmp_path / "mv") >= {"x", "x.gz"}
    assert run("cp", tmp_path / "mv/x", "-").stdout == "x"
    assert run("mv", tmp_path / "mv/x", f"{tmp_path}/cp/").exit_code == 0
    assert contents_of(tmp_path / "cp") == set(names)
    (tmp_path / "mv/x.gz.xz").write_text("x")
    assert run("rm", f"{tmp_path}/mv/*.gz").exit_code == 0
    assert contents_of(tmp_path / "mv") == {"x.gz.xz"}


@pytest.mark.parametrize("location", ["", "file://"])
def test_patterns_with_a_suffix_match_the_files_on_disk(location: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x.nii.gz").write_bytes(gzip.compress(b"scan"))
    (tmp_path / "d/x.nii.json").write_bytes(b"{}")
    pattern = f"{location}{tmp_path}/d/*.nii.gz"
    for each_pattern in (pattern, pattern.replace(".gz", ".g?")):
        assert run("ls", each_pattern).stdout == "x.nii.gz\n"
    assert run("cp", pattern, "mem://cli-suffix/").exit_code == 0
    assert run("ls", "mem://cli-suffix").stdout == "x.nii.gz\n"
    assert run("mv", pattern, f"{tmp_path}/e/").exit_code == 0
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["x.nii.gz"]
    assert run("rm", f"{location}{tmp_path}/e/*.gz").exit_code == 0
    assert list((tmp_path / "e").iterdir()) == []


@each(
    "words, done",
    [
        (["cat"], "oneone"),
        (["ls"], "one\none\n"),
        (["du", "-s", "-c"], "6\ttotal"),
        (["head"], '"key": "one"'),
        (["acl", "get"], '"acl"'),
    ],
)
def test_a_location_that_fails_does_not_stop_the_others(
    words: list[str], done: str, tmp_path: Path
) -> None:
    (tmp_path / "one").write_text("one")
    result = run(*words, tmp_path / "one", tmp_path / "missing", tmp_path / "one")
    assert (result.exit_code, done in result.stdout) == (1, True), result.stdout
    assert result.stderr.count("missing") == result.stderr.count("\n") == 1


def test_files_that_fail_do_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("a", "c"):
        (tmp_path / name).write_text(name)
    (tmp_path / "e").mkdir()
    (tmp_path / "e/f").write_text("f")
    sources = [tmp_path / name for name in ("a", "b", "e", "c")]
    copied = run("cp", *sources, f"{tmp_path}/copy/")
    assert (copied.exit_code, contents_of(tmp_path / "copy")) == (1, {"a", "c"})
    assert [line.rpartition("/")[2] for line in copied.stderr.splitlines()] == [
        *("b'", "e' is a directory: pass -r"),
    ]
    assert run("cp", *sources, "-").stdout == "ac"
    assert run("mv", *sources[1:], f"{tmp_path}/moved/").exit_code == 1
    assert contents_of(tmp_path / "moved") == {"c", "e"}
    assert run("touch", tmp_path / "a/x", tmp_path / "new").exit_code == 1
    assert run("mkdir", tmp_path / "a/x", tmp_path / "made").exit_code == 1
    assert (tmp_path / "new").exists()
    assert (tmp_path / "made").is_dir()
    names = "\n".join(f"{tmp_path}/{name}" for name in ("copy/a", "missing", "copy/c"))
    assert run("rm", "-", stdin=names).exit_code == 1
    assert contents_of(tmp_path / "copy") == set()


def test_errors_are_printed_even_if_a_later_one_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "one").write_text("one")
    monkeypatch.setattr(LocalBackend, "get", interrupted)
    result = run("cat", tmp_path / "missing/x", tmp_path / "one")
    assert result.exit_code == 130
    assert result.stderr.count("missing/x'") == 1


def test_results_are_printed_next_to_errors(tmp_path: Path) -> None:
    for name in ("x", "x.gz", "y"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (1000 + len(name), 1000))
    copied = run("cp", "--json", tmp_path / "missing", f"{tmp_path}/*", "mem://cli-results/")
    assert (copied.exit_code, json.loads(copied.stdout)) == (1, {"files": 2})
    assert "missing'" in copied.stderr
    assert "not copied, because it is not an object: 'x" in copied.stderr
    (tmp_path / "other/y").mkdir(parents=True)
    (tmp_path / "other/y/z").write_text("")
    copied = run("cp", "--json", tmp_path / "x.gz", tmp_path / "y", f"{tmp_path}/other/")
    assert (copied.exit_code, json.loads(copied.stdout)) == (1, {"files": 1})
    removed = run("rm", "--json", tmp_path / "missing", tmp_path / "y")
    assert (removed.exit_code, json.loads(removed.stdout)) == (1, {"files": 1})


@pytest.mark.parametrize("words", [["-r", "mem://rm-some/d"], ["mem://rm-some/d/*"]])
def test_rm_counts_what_was_deleted_before_a_failure(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cc.CloudFiles("mem://rm-some").puts([(f"d/{name}", b"") for name in "abc"])
    delete = MemoryBackend.delete

    def failing(self: MemoryBackend, keys: list[str], **options: Any) -> Iterator[DeleteResult]:
        yield from delete(self, [key for key in keys if key != "d/b"], **options)
        yield DeleteResult("d/b", AccessDeniedError("'d/b' is locked"))

    monkeypatch.setattr(MemoryBackend, "delete", failing)
    removed = run("rm", "--json", *words)
    assert (removed.exit_code, json.loads(removed.stdout)) == (1, {"files": 2})
    assert "'d/b' is locked" in removed.stderr


@pytest.mark.parametrize("error", [StorageFullError("full"), KeyboardInterrupt()])
@each("verb", ["cp", "mv", "rm"])
def test_files_done_before_an_error_that_ends_the_command_are_counted(
    verb: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"mem://cli-{verb}-{type(error).__name__}"
    cc.CloudFiles(name).puts([(f"d/{name}", b"") for name in "abcd"])
    (tmp_path / "e").write_bytes(b"")
    method = "delete" if verb == "rm" else "copy"
    original = getattr(MemoryBackend, method)

    def failing(self: MemoryBackend, keys: Any, *arguments: Any, **options: Any) -> Any:
        if verb != "rm":
            if keys.endswith("c"):
                raise error
            return original(self, keys, *arguments, **options)

        def results() -> Iterator[DeleteResult]:
            yield from original(self, keys[:2])
            raise error

        return results()

    monkeypatch.setattr(MemoryBackend, method, failing)
    words = [tmp_path / "e"] if verb == "rm" else [tmp_path / "e", f"{name}/d/*", f"{name}-copy/"]
    words += ["-r", f"{name}/d"] * (verb == "rm")
    result = run(verb, "--json", *words)
    assert json.loads(result.stdout) == {"files": 3}
    assert result.exit_code == (1 if isinstance(error, Exception) else 130)


def contents_of(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.server
def test_the_endpoint_is_that_of_s3_locations_without_one(
    bucket: Path,
    moto: S3Server,
    moto_bucket: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = HARNESSES["gcs"](request)
    request.addfinalizer(harness.close)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", harness.connection()["endpoint_url"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.secret_key)
    for dest in (f"s3://{moto.endpoint_url}/{moto_bucket}", f"gs://{harness.bucket}"):
        for verb in ("sync", "verify", "cp -r"):
            words = [*verb.split(), "--endpoint-url", "http://localhost:1"]
            result = run(*words, f"{bucket}/", f"{dest}/copy")
            assert result.exit_code == 0, result.stderr


@each(
    "url, expected",
    [
        ("S3://b/x", {"endpoint_url": "http://localhost:1", "anon": True}),
        ("s3://b/x", {"endpoint_url": "http://localhost:1", "anon": True}),
        ("LAB://b/x", {"endpoint_url": "https://h.org", "anon": True}),
        ("gcs://b/x", {"anon": True}),
        ("GS://b/x", {"anon": True}),
        ("gdrive://b/x", {"anon": True}),  # which that backend rejects
        ("HTTPS://h/x", {}),
        ("FILE:///x", {}),
    ],
)
def test_options_of_a_connection_reach_each_form_of_a_url(
    url: str, expected: dict[str, object]
) -> None:
    cloudpaths.add_alias("lab", "s3://https://h.org/")
    try:
        found = factory_arguments(url, Options(endpoint="http://localhost:1", no_sign_request=True))
    finally:
        cloudpaths.remove_alias("lab")
    assert {name: value for name, value in found.items() if value} == expected


def test_a_login_is_not_dropped_without_a_word() -> None:
    result = run("cat", "--no-sign-request", "https://user:word@localhost:1/x")
    assert "'https://***@localhost:1/x' contains a login; remove it" in result.stderr


@pytest.mark.parametrize("command", ["ls", "du", "head"])
def test_programs_read_failures_among_the_lines(command: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    result = run(command, "--json", tmp_path / "none", tmp_path / "a")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert "none" in lines[0]["error"]
    assert lines[1:]
    assert all("error" not in line for line in lines[1:])


def test_touch_prints_nothing_for_programs_but_failures(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    result = run("touch", "--json", tmp_path / "new", tmp_path / "a" / "b")
    assert list(json.loads(result.stdout)) == ["error"]
    assert (tmp_path / "new").exists()


def test_formats_of_cloud_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    url = f"precomputed://file://{tmp_path}"
    assert run("ls", url).stdout == "a\n"
    assert run("cat", f"{url}/a").stdout == "12"
    assert run("rm", f"{url}/a").exit_code == 0
    assert not (tmp_path / "a").exists()
