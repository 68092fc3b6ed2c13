"""The commands ``cp`` and ``mv``."""

from __future__ import annotations

import gzip
import inspect
import os
import shutil
from itertools import islice
from pathlib import Path

import pytest

import cottoncandy as cc
from cottoncandy.cli.copying import Route, _apart
from cottoncandy.cli.locations import Failures
from cottoncandy.cloudfiles import connection
from cottoncandy.cloudfiles.connection import reset_connection_pools
from tests.cli.conftest import TREE, run
from tests.harness import StoreHarness


@pytest.mark.parametrize(
    ("sources", "dest", "expected"),
    [
        (["one"], "new", {"new": b"4"}),
        (["one"], "there", {"there/one": b"4"}),
        (["one"], "there/", {"there/one": b"4"}),
        (["one"], "new/", {"new/one": b"4"}),
        (["one", "src/a"], "new", {"new/one": b"4", "new/a": b"1"}),
        (["-r", "src"], "new", {"new/a": b"1", "new/sub/b": b"2", "new/sub/deep/c": b"3"}),
        (["-r", "src/"], "new", {"new/a": b"1", "new/sub/b": b"2", "new/sub/deep/c": b"3"}),
        (["-r", "src/sub"], "there", {"there/sub/b": b"2", "there/sub/deep/c": b"3"}),
        (["-r", "src/sub/"], "there", {"there/b": b"2", "there/deep/c": b"3"}),
        (["src/*"], "new", {"new/a": b"1"}),
        (["src/**"], "there", {"there/a": b"1", "there/sub/b": b"2", "there/sub/deep/c": b"3"}),
        (["-r", "src/s*"], "new", {"new/sub/b": b"2", "new/sub/deep/c": b"3"}),
        (["src/*/b"], "new", {"new/sub/b": b"2"}),
    ],
)
@pytest.mark.parametrize("kind", ["file", pytest.param("memory", marks=pytest.mark.server)])
def test_cp_and_mv_follow_the_table(
    tree: Path, sources: list[str], dest: str, expected: dict[str, bytes], kind: str
) -> None:
    flags = [each for each in sources if each.startswith("-")]
    names = [each for each in sources if not each.startswith("-")]
    target = cc.CloudFiles(f"file://{tree}" if kind == "file" else f"mem://cli{abs(hash(tree))}")
    target.put("there/x", b"x")
    for verb in ("cp", "mv"):
        for name, body in TREE.items():
            cc.CloudFiles(f"file://{tree}").put(name, body)
        before = set(target) - set(TREE)
        result = run(
            verb,
            *flags,
            *[tree / n if n[-1] != "/" else f"{tree / n}/" for n in names],
            f"{target.cloudpath.rstrip('/')}/{dest}",
        )
        assert result.exit_code == 0, result.stderr
        found = {name: target[name] for name in set(target) - set(TREE) - before}
        assert found == expected
        remain = [name for name in TREE if (tree / name).exists()]
        assert (len(remain) == len(TREE)) == (verb == "cp")
        for name in expected:
            target.delete(name)


def test_directories_without_a_name_are_copied_as_their_contents(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree / "src/sub")
    for source in (".", "./", "deep/.."):
        for _ in range(2):  # the directory is new, and exists
            assert run("cp", "-r", source, f"{tree}/copy").exit_code == 0
            found = cc.CloudFiles(f"{tree}/copy")
            assert {name: found[name] for name in found} == {"b": b"2", "deep/c": b"3"}
        shutil.rmtree(tree / "copy")
    assert "'.' is a directory: pass -r" in run("cp", ".", f"{tree}/copy").stderr


def test_cp_reads_names_and_writes_contents(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("cp", tree / "one", tree / "src/a", "-").stdout_bytes == b"41"
    assert run("cp", "-", f"{tree}/new/", stdin=f"{tree}/one\n{tree}/src/a\n").exit_code == 0
    assert (tree / "new/src/a").read_bytes() == b"1"
    found = "\n".join(
        map(str, sorted((tree / "src").rglob("*")))
    )  # as find prints, with directories
    assert run("cp", "-", f"{tree}/found", stdin=found).exit_code == 0
    assert sorted(path.name for path in (tree / "found").rglob("*")) == [
        "a",
        "b",
        "c",
        "deep",
        "sub",
    ]
    monkeypatch.chdir(tree)
    assert run("cp", "-", "names/", stdin=".//src/sub/b\none\n").exit_code == 0  # of two commands
    assert (tree / "names/src/sub/b").read_bytes() == b"2"
    two = run("cp", "-", f"{tree}/x/", stdin="s3://one/a\ns3://two/b\n")
    assert (two.exit_code, "several buckets" in two.stderr) == (1, True)


def test_lists_of_ls_are_sources_of_cp(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cc.CloudFiles("mem://cli-list/d").puts([("x", b"1"), ("e/y z", b"2"), ("e/x.txt", b"3")])
    (tree / "src/f.gz").write_bytes(gzip.compress(b"5"))
    (tree / "there/tab\t\x1b[2J\u200e").write_bytes(b"6")
    monkeypatch.chdir(tree)
    for number, (location, expected) in enumerate(
        [
            ("mem://cli-list", ["e/x.txt", "e/y z", "x"]),
            ("mem://cli-list/d/", ["e/x.txt", "e/y z", "x"]),
            ("mem://cli-list/d/e/x", ["x.txt"]),
            ("mem://cli-list/d/**/x*", ["e/x.txt", "x"]),
            (f"{tree}/src/", ["a", "f.gz", "sub/b", "sub/deep/c"]),
            ("src", ["a", "f.gz", "sub/b", "sub/deep/c"]),
            ("./src/sub/b", ["b"]),
            ("src/*.gz", ["f.gz"]),
            ("one", ["one"]),
            ("there", ["tab\t\x1b[2J\u200e", "x"]),
        ]
    ):
        listed = run("ls", "--fullpath", location)
        assert listed.exit_code == 0, listed.stderr
        copied = run("cp", "-", f"to{number}/", stdin=listed.stdout)
        assert copied.exit_code == 0, copied.stderr
        copies = [path for path in (tree / f"to{number}").rglob("*") if path.is_file()]
        assert sorted(str(path.relative_to(tree / f"to{number}")) for path in copies) == expected
    assert run("ls", "--fullpath", "mem://cli-list/d/e/").stdout.splitlines() == [
        *("mem://cli-list/d/e/x.txt", "mem://cli-list/d/e/y z"),
    ]
    assert run("ls", "--flat", "--fullpath", ".").stdout.splitlines()[0] == "./one"


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_files_whose_names_differ_by_a_suffix_are_all_copied(verb: str, tmp_path: Path) -> None:
    url, names = f"mem://cli-suffixes-{verb}", ("d/x", "d/x-1", "d/x.gz", "d/x.gz.gz", "d/y.gz")
    source = cc.CloudFiles(url)
    for words in ([f"{url}/d"], [f"{url}/d/*"], [f"{url}/{name}" for name in reversed(names)]):
        for _ in range(2):
            source.puts([(name, name.encode()) for name in names])
            flags = ["-r", "--json"] if len(words) == 1 else ["--json"]
            copied = run(verb, *flags, *words, f"{tmp_path}/copy/")
            assert (copied.exit_code, copied.stdout) == (0, '{"files": 5}\n'), copied.stderr
            copies = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
            assert {path.name: path.read_text() for path in copies} == {
                name[2:]: name for name in names
            }
        shutil.rmtree(tmp_path / "copy")
    source.puts([(name, b"1") for name in names[1:]])
    source.put("d/x", b"2", compress="gzip")  # which is x.gz on disk
    clash = run(verb, "-r", "--json", f"{url}/d", tmp_path / "clash")
    assert (clash.exit_code, clash.stdout) == (1, '{"files": 4}\n')
    assert "'x.gz' was not copied, because on disk the copy of 'x' is 'x.gz'" in clash.stderr
    assert gzip.decompress((tmp_path / "clash/x.gz").read_bytes()) == b"2"
    assert source.exists("d/x.gz")
    if verb == "cp":
        plain = run("cp", "-r", "-c", "none", f"{url}/d", tmp_path / "plain")
        assert plain.exit_code == 0, plain.stderr
        assert (tmp_path / "plain/x").read_bytes() == b"2"
        assert (tmp_path / "plain/x.gz").read_bytes() == b"1"
    for name in ("x.gz", "x.gz.gz"):
        (tmp_path / name).write_text(name)
    if verb == "cp":
        both = run("cp", "-c", "gzip", f"{tmp_path}/*.gz", f"{tmp_path}/more/")
        assert both.exit_code == 0, both.stderr
        for name in ("x.gz", "x.gz.gz"):
            copy = (tmp_path / f"more/{name}.gz").read_bytes()
            assert gzip.decompress(copy).decode() == name


@pytest.mark.parametrize("verb", ["cp", "mv"])
@pytest.mark.parametrize("words", ["{}", "{}/*"])
def test_copies_on_disk_have_the_names_of_their_files(
    verb: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "from/d").mkdir(parents=True)
    for name in ("x", "x.gz", "d/y.xz"):
        (tmp_path / "from" / name).write_text(name)
    copied = run(verb, "-r", words.format(tmp_path / "from"), tmp_path / "to")
    assert (copied.exit_code, copied.stderr) == (0, "")
    copies = [path for path in (tmp_path / "to").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "to")): path.read_text() for path in copies} == {
        name: name for name in ("x", "x.gz", "d/y.xz")
    }


def test_cp_compresses_and_keeps_what_is_stored(tree: Path) -> None:
    assert run("cp", "-c", "gzip", tree / "one", "mem://cli_gz/one").exit_code == 0
    files = cc.CloudFiles("mem://cli_gz")
    assert files.head("one")["Content-Encoding"] == "gzip"
    assert files["one"] == b"4"
    assert run("cp", "mem://cli_gz/one", f"{tree}/back").exit_code == 0
    assert (tree / "back.gz").exists()


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_cp_mistakes_change_nothing(tree: Path, verb: str) -> None:
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    wrong = [["missing", "new"], ["-r", "missing", "new"], ["no*", "new"]]
    for arguments in [*wrong, ["src", "new"]] if verb == "cp" else wrong:
        result = run(verb, *[each if each == "-r" else tree / each for each in arguments])
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_files_of_one_name_do_not_replace_each_other(tree: Path, verb: str) -> None:
    (tree / "x").mkdir()
    for flag, sources in (("--json", ["x/b", "src/sub/b", "x/b"]), ("-r", ["x/", "src/sub/"])):
        for name, body in (("x/b", b"x"), ("src/sub/b", b"2")):
            (tree / name).write_bytes(body)
        url = f"mem://cli-one-name{flag}-{verb}"
        result = run(verb, flag, *[f"{tree}/{each}" for each in sources], url)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
        assert f"'{tree}/x/b' is left out" in result.stderr.replace("//", "/")
        assert (cc.CloudFiles(url)["b"], (tree / "x/b").read_bytes()) == (b"2", b"x")


def test_sources_that_overlap_are_copied_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    sources = ["src/sub/", "src/sub/*", f"{tree}/src//sub/b"]
    result = run("cp", "-r", "--json", *sources, "dest")
    assert (result.exit_code, result.stderr, result.stdout) == (0, "", '{"files": 2}\n')
    assert (tree / "dest/b").read_bytes() == b"2"


def test_only_copies_that_can_meet_are_kept_in_memory() -> None:
    def kept(*sources: str) -> list[str]:
        routes = (Route("d", name, name) for name in ("a/x", "b", "z"))
        found = _apart(routes, list(sources), Failures())
        assert len(list(islice(found, 3))) == 3
        return list(inspect.getgeneratorlocals(found)["taken"])

    assert kept("s3://one/a", "two/b") == kept("a/") == kept("*") == []
    assert kept("one/a", "two/a", "b") == kept("one/a", "two/") == ["a/x"]
    assert kept("one/*", "two/") == ["a/x", "b", "z"]


@pytest.mark.parametrize("verb", ["cp", "mv", "sync", "xfer"])
def test_what_cannot_be_copied_is_named_and_fails(
    verb: str, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "src" / "lost.meta.json").write_text("{}")
    job = tree / "job.db"
    words = {"sync": ["sync"], "xfer": ["xfer", "init", "--db", job]}.get(verb, [verb, "-r"])
    result = run(*words, f"{tree}/src", tree / "new")
    assert result.exit_code == 1
    assert "lost' (sidecar without body)" in result.stderr + caplog.text
    if verb == "xfer":
        assert run("xfer", "execute", job).exit_code == 0
    assert (tree / "new" / "sub" / "deep" / "c").read_bytes() == b"3"
    assert (tree / "src" / "lost.meta.json").exists()


def test_mv_keeps_what_links_refer_to(tree: Path) -> None:
    (tree / "src/sub/link").symlink_to("../../there")
    (tree / "one-link").symlink_to("one")
    assert run("mv", f"{tree}/src/sub/li*/x", f"{tree}/some/").exit_code == 0
    moved = run("mv", tree / "src", tree / "one-link", f"{tree}/moved/")
    assert (moved.exit_code, moved.stderr) == (0, "")
    assert {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()} == {
        *("one", "there/x", "some/link/x", "moved/one-link", "moved/src/a", "moved/src/sub/b"),
        *("moved/src/sub/deep/c", "moved/src/sub/link/x"),
    }
    assert not (tree / "src/sub/link").is_symlink()
    (tree / "some/again").symlink_to("../there")
    assert run("mv", tree / "some", tree).exit_code == 0  # to where it is
    assert (tree / "some/again").is_symlink()


def test_files_of_one_name_in_two_encodings_are_not_lost_silently(tree: Path) -> None:
    (tree / "src" / "a.gz").write_bytes(gzip.compress(b"other"))
    os.utime(tree / "src" / "a", (1, 1))
    result = run("cp", "-r", f"{tree}/src", "mem://cli-encodings/new")
    assert (result.exit_code, "'a' (a newer file has that name)" in result.stderr) == (1, True)
    assert cc.CloudFiles("mem://cli-encodings/new").get("a") == b"other"
    assert run("cp", f"{tree}/src/sub/*", "mem://cli-encodings/").exit_code == 0  # not one of them


@pytest.mark.parametrize("verb", ["cp", "mv", "xfer"])
def test_markers_of_directories_are_not_files_on_disk(verb: str, tmp_path: Path) -> None:
    url, copy = f"mem://cli-markers-{verb}", tmp_path / "copy"
    cf = cc.CloudFiles(url)
    cf.puts([("d/", b""), ("d/e/", b""), ("d/e/f", b"1")])
    job = str(tmp_path / "job.db")
    if verb == "xfer":
        assert run("xfer", "init", f"{url}/", copy, "--db", job).exit_code == 0
    words = {"cp": ["cp", "-r", f"{url}/d", copy], "mv": ["mv", f"{url}/d", copy]}
    result = run(*words.get(verb, ["xfer", "execute", job]))
    assert result.exit_code == 0, result.stderr
    assert [path.read_bytes() for path in copy.rglob("f")] == [b"1"]
    assert list(cf) == ["d/"] if verb == "mv" else ["d/", "d/e/", "d/e/f"]
    cf.put("g/", b"content")  # not a marker
    assert run("cp", "-r", f"{url}/g", tmp_path / "other").exit_code == 1


@pytest.mark.parametrize("pattern", ["*", "**"])
def test_patterns_do_not_match_what_they_copied(tree: Path, pattern: str) -> None:
    for verb in ("cp", "mv"):
        for _ in range(2):
            run(verb, "-r", f"{tree}/src/{pattern}", f"{tree}/src/sub/{verb}/")
        found = [path for path in (tree / "src" / "sub" / verb).rglob("*") if path.is_file()]
        below = {str(path.relative_to(tree / "src" / "sub" / verb)) for path in found}
        assert below >= {"a", "sub/b", "sub/deep/c"}
        assert not [name for name in below if f"sub/{verb}" in name]
    assert (tree / "src/sub/mv/sub/cp/sub/deep/c").read_bytes() == b"3"


@pytest.mark.parametrize("store", ["gdrive"], indirect=True)
def test_cp_and_mv_on_google_drive(
    store: StoreHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection._LOGINS, "gdrive", lambda *_: store.connection())
    reset_connection_pools()
    source, url = tmp_path / "source", f"gdrive://{store.bucket}"
    files = {"a.txt": b"a", "d/b.bin": bytes(range(256)), "d/e/ü c": b"", "d/f": b"f" * 100_000}
    for name, body in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(body)
    assert run("cp", "-r", f"{source}/", f"{url}/copy").exit_code == 0
    assert store.raw_keys() == sorted(f"copy/{name}" for name in files)
    assert store.raw_get("copy/d/b.bin").body == files["d/b.bin"]
    assert run("cp", "-r", f"{url}/copy/d", f"{url}/again").exit_code == 0
    assert run("mv", f"{url}/copy/a.txt", f"{url}/moved.txt").exit_code == 0
    assert run("mv", f"{url}/again", tmp_path / "back").exit_code == 0
    assert (tmp_path / "back/f").read_bytes() == files["d/f"]
    left = [f"copy/{name}" for name in files if name != "a.txt"]
    assert store.raw_keys() == sorted([*left, "moved.txt"])
    missing = run("cp", f"{url}/nothing", tmp_path)
    assert (missing.exit_code, "there is nothing at" in missing.stderr) == (1, True)
    assert run("cp", f"{url}/moved.txt", "-").stdout_bytes == b"a"
    job = str(tmp_path / "job.db")
    assert run("xfer", "init", f"{url}/copy/d", tmp_path / "down", "--db", job).exit_code == 0
    assert run("xfer", "execute", job).exit_code == 0
    assert (tmp_path / "down/b.bin").read_bytes() == files["d/b.bin"]
    assert run("cp", f"{url}/copy/d/*", f"{url}/all/").exit_code == 0
    assert sorted(key for key in store.raw_keys() if key.startswith("all")) == [
        *("all/b.bin", "all/f"),
    ]
