"""glob, ls, lsdir and search."""

from __future__ import annotations

import fnmatch
import inspect
import io
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cottoncandy.core.patterns import split_literal
from cottoncandy.exceptions import InvalidArgumentError
from tests.backends.wrappers import CountingBackend, WrappedBackend
from tests.cases import each
from tests.harness import MemoryHarness, StoreHarness
from tests.test_patterns import plain_match

KEYS = [
    "a/sub01/c1/image",
    "a/sub01/c2",
    "a/sub01/d",
    "a/sub02/c1/deep/image",
    "a/sub02/.hidden",
    "a/top",
    "ab",
    "b/data[1]/x",
    "b/data1/x",
    "b/x*y",
    "b/xzy",
    "b/é",
]

# What other programs store, and not every store can keep.
ODD_KEYS = ["/lead", "//two", "a//b", "a/b", "a/m/", "a/n\nl", "m/", "x/../y"]


@pytest.fixture
def fs(store: StoreHarness) -> Any:
    """An interface over the keys, on each store."""
    for key in KEYS:
        store.raw_put(key, key.encode())
    return store.interface()


@pytest.fixture
def odd() -> Any:
    harness = MemoryHarness()
    for key in [*KEYS, *ODD_KEYS]:
        harness.raw_put(key, b"")
    yield harness.interface()
    harness.close()


@each(
    "pattern",
    ["*", "a/*", "a/*/c*", "a*", "*image", "a/sub0[12]/d", "a/sub0[!1]/*", "b/x?y", "b/?", "zz*"],
)
def test_glob_matches_whole_names(fs: Any, pattern: str) -> None:
    expected = sorted(key for key in KEYS if fnmatch.fnmatchcase(key, pattern))
    assert fs.glob(pattern) == expected
    assert fs.glob("/" + pattern) == expected
    assert fs.glob_s3(pattern) == expected
    assert fs.glob_google_drive(pattern) == expected


def test_glob_escaped_names(fs: Any) -> None:
    assert fs.glob("b/data[[]1]/*") == ["b/data[1]/x"]
    assert fs.glob("b/data[1]/*") == ["b/data1/x"]
    assert fs.glob("b/x[*]y") == ["b/x*y"]
    assert fs.glob("b/data[[]1]") == ["b/data[1]/x"]


def test_glob_without_magic_is_the_object_and_what_is_below(fs: Any) -> None:
    assert fs.glob("a/sub01") == ["a/sub01/c1/image", "a/sub01/c2", "a/sub01/d"]
    assert fs.glob("a/sub01/") == ["a/sub01/c1/image", "a/sub01/c2", "a/sub01/d"]
    assert fs.glob("ab") == ["ab"]
    assert fs.glob("a/sub0") == []
    assert fs.glob("/") == fs.glob("") == sorted(KEYS)


def test_glob_options(fs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert fs.glob("*", limit=2, page_size=1) == sorted(KEYS)[:2]
    assert fs.glob("*", limit=None) == sorted(KEYS)
    assert capsys.readouterr().out == ""
    assert fs.glob("a/sub01/*", verbose=True) == fs.glob("a/sub01/*")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == fs.glob("a/sub01/*")
    assert lines[-1] == 'Found 3 objects matching "a/sub01/*"'
    with pytest.raises(InvalidArgumentError, match="limit"):
        fs.glob("*", limit=-1)
    with pytest.raises(InvalidArgumentError, match="pagesize"):
        fs.glob("*", pagesize=3)


def test_glob_unquotes_only_when_told_to() -> None:
    harness = MemoryHarness()
    harness.raw_put("a%20b", b"")
    cci = harness.interface()
    assert cci.glob("a*") == ["a%20b"]
    assert cci.glob("a *") == []
    assert cci.glob("a *", do_unquote=True) == ["a b"]
    harness.raw_put("%62", b"")
    assert cci.glob("*") == ["%62", "a%20b"]
    assert cci.glob("*", do_unquote=True) == ["a b", "b"]
    harness.close()


def test_glob_prefers_the_exact_spelling() -> None:
    """Patterns that 0.4.0 would clean match the cleaned names only if nothing else matches."""
    harness = MemoryHarness()
    for key in ("a//x", "a/y"):
        harness.raw_put(key, b"")
    cci = harness.interface()
    assert cci.glob("a//*") == ["a//x"]
    harness.raw_delete("a//x")
    assert cci.glob("a//*") == ["a/y"]
    harness.close()


def test_search_prints(fs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert fs.search("b/x*") is None
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["b/x*y", "b/xzy"]
    assert lines[-1] == 'Found 2 objects matching "b/x*"'


def test_names_that_the_terminal_cannot_show_are_printed_escaped(
    cci: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cci.upload_object("café/☃", b"1")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "latin-1"))
    assert cci.rm("café/☃") == 1
    cci.upload_object("café/☃", b"1")
    cci.search("*")
    sys.stdout.seek(0)
    assert r"café/\u2603 " in sys.stdout.read()


def test_lsdir(fs: Any) -> None:
    assert fs.lsdir() == fs.lsdir("/") == fs.lsdir("") == ["a", "ab", "b"]
    assert fs.lsdir("a") == fs.lsdir("/a/") == ["a/sub01", "a/sub02", "a/top"]
    assert fs.lsdir("a", limit=1) == ["a/sub01"]
    assert fs.lsdir("b/data[1]") == ["b/data[1]/x"]
    assert fs.lsdir("a/*") == ["a/sub01", "a/sub02", "a/top"]
    assert fs.lsdir("*") == ["a", "ab", "b"]
    assert fs.lsdir("ab") == []
    assert fs.lsdir("nothing") == []
    with pytest.raises(InvalidArgumentError, match="ls"):
        fs.lsdir("a/s*")


@each(
    "pattern, expected",
    [
        ("*", ["a", "ab", "b"]),
        ("a*", ["a", "ab"]),
        ("a/*", ["a/sub01", "a/sub02", "a/top"]),
        ("a/*/", ["a/sub01", "a/sub02", "a/top"]),
        ("a/*/c*", ["a/sub01/c1", "a/sub01/c2", "a/sub02/c1"]),
        ("a/*/.*", ["a/sub02/.hidden"]),
        ("a/*/c1/image", ["a/sub01/c1/image"]),
        ("a/sub0[!1]/*", ["a/sub02/.hidden", "a/sub02/c1"]),
        ("a/**/image", ["a/sub01/c1/image", "a/sub02/c1/deep/image"]),
        ("**/deep", ["a/sub02/c1/deep"]),
        (
            "a/sub02/**",
            ["a/sub02/.hidden", "a/sub02/c1", "a/sub02/c1/deep", "a/sub02/c1/deep/image"],
        ),
        ("a", ["a/sub01", "a/sub02", "a/top"]),
        ("/a/", ["a/sub01", "a/sub02", "a/top"]),
        ("ab", ["ab"]),
        ("", ["a", "ab", "b"]),
        ("b/data[[]1]/*", ["b/data[1]/x"]),
        ("b/data[[]1]", ["b/data[1]/x"]),
        ("nothing", []),
        ("nothing/*", []),
    ],
)
def test_ls(fs: Any, pattern: str, expected: list[str]) -> None:
    assert fs.ls(pattern) == expected


def test_ls_lists_the_bucket_by_default(fs: Any) -> None:
    assert fs.ls() == fs.ls("*")


def test_ls_prints_and_limits(fs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert fs.ls("a/*", verbose=True) == ["a/sub01", "a/sub02", "a/top"]
    assert capsys.readouterr().out == "a/sub01\na/sub02\na/top\n"
    assert fs.ls("a/*", limit=2) == ["a/sub01", "a/sub02"]
    assert fs.ls("a/*", limit=0) == []
    assert fs.ls("a/*/c*", limit=1, page_size=1, threads=1) == ["a/sub01/c1"]
    with pytest.raises(InvalidArgumentError, match="limit"):
        fs.ls("a/*", limit=-1)


def test_nothing_is_cut_at_the_documented_limits() -> None:
    harness = MemoryHarness()
    for number in range(1500):
        harness.raw_put(f"many/{number:04}/x", b"")
    cci = harness.interface()
    for verb in (cci.ls, cci.lsdir):
        assert inspect.signature(verb).parameters["limit"].default == 1000
        assert len(verb("many")) == 1500
    assert len(cci.ls("many/*/x")) == 1500
    assert len(cci.glob("many/*")) == 1500
    harness.close()


def test_requests(odd: Any) -> None:
    odd.backend_interface = counting = CountingBackend(odd.backend_interface)
    with counting.expect(scan=1):
        odd.glob("a/sub01/*")
    assert counting.calls == [("scan", "a/sub01/")]
    with counting.expect(scan=1):
        odd.lsdir("a")
    with counting.expect(scan=1):
        odd.ls("a/s*")
    directories = [name for name in odd.ls("a/*") if name not in KEYS + ODD_KEYS]
    with counting.expect(scan=1 + len(directories)):
        odd.ls("a/*/c*")
    listed = {prefix for _, prefix in counting.calls}
    assert "a/sub01/c" in listed
    assert not any(prefix.startswith("a/sub01/c1") for prefix in listed)
    with counting.expect(scan=1):
        odd.ls("a/**/image")
    with counting.expect(scan=1, exists=1):
        odd.ls("ab")


def test_a_limit_ends_the_listing() -> None:
    harness = MemoryHarness()
    for number in range(500):
        harness.raw_put(f"{number:03}", b"")
    seen = 0

    class ScanCounter(WrappedBackend):
        def scan(self, *args: Any, **options: Any) -> Any:
            nonlocal seen
            for entry in self.inner.scan(*args, **options):
                seen += 1
                yield entry

    cci = harness.interface()
    cci.backend_interface = ScanCounter(cci.backend_interface)
    for verb, pattern in ((cci.glob, "*"), (cci.ls, "*"), (cci.lsdir, "/")):
        seen = 0
        assert verb(pattern, limit=3) == ["000", "001", "002"]
        assert seen == 3
    harness.close()


def test_odd_names_are_shown_as_they_are(odd: Any) -> None:
    keys = sorted([*KEYS, *ODD_KEYS])
    assert odd.glob("*") == keys
    assert odd.glob("a/*b") == ["a//b", "a/b"]
    assert odd.glob("a/n?l") == ["a/n\nl"]
    assert odd.lsdir() == ["/", "a", "ab", "b", "m", "x"]
    assert odd.lsdir("a") == ["a//", "a/b", "a/m", "a/n\nl", "a/sub01", "a/sub02", "a/top"]
    assert odd.lsdir("m") == []
    assert odd.ls("a/n*") == ["a/n\nl"]
    assert odd.ls("x/*/*") == ["x/../y"]
    assert odd.ls("a/*/b") == ["a//b"]


SEGMENTS = st.sampled_from(["a", "b", "ab", "c[1]", "*", "x\ny", "é", ""])
TREES = st.lists(
    st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join).filter(bool), max_size=12, unique=True
)
PARTS = st.sampled_from(["a", "b", "*", "**", "a*", "?", "[!a]", "c[[]1]", "[*]", "*b", "x*"])


def nodes(keys: list[str]) -> dict[tuple[str, ...], str]:
    """Return each object and directory by its path, with the name it is shown under."""
    shown: dict[tuple[str, ...], str] = {}
    for key in keys:
        parts = key.split("/")
        for count in range(1, len(parts)):
            path = "/".join(parts[:count])
            shown[tuple(parts[:count])] = path + "/" if path.endswith("/") or not path else path
        if parts[-1]:
            shown[tuple(parts)] = key
    return shown


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES, st.lists(PARTS, min_size=1, max_size=4))
def test_ls_agrees_with_a_plain_matcher(keys: list[str], segments: list[str]) -> None:
    harness = MemoryHarness()
    for key in keys:
        harness.raw_put(key, b"")
    found = harness.interface().ls("/".join(segments))
    harness.close()
    matching = {name for path, name in nodes(keys).items() if plain_match(segments, list(path))}
    if not all(split_literal(segment)[1] for segment in segments):  # else: its contents
        assert found == sorted(matching)


@given(TREES, st.lists(PARTS, min_size=1, max_size=4).map("/".join))
def test_glob_agrees_with_fnmatch(keys: list[str], pattern: str) -> None:
    harness = MemoryHarness()
    for key in keys:
        harness.raw_put(key, b"")
    found = harness.interface().glob(pattern)
    harness.close()
    literal, whole = split_literal(pattern)
    if whole:
        assert found == sorted(k for k in keys if k == literal or k.startswith(literal + "/"))
    else:
        assert found == sorted(key for key in keys if fnmatch.fnmatchcase(key, pattern))


def test_an_empty_bucket(store: StoreHarness) -> None:
    cci = store.interface()
    assert cci.glob("*") == cci.ls("*") == cci.lsdir() == []
