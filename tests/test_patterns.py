"""Patterns over names, against plain matchers."""

from __future__ import annotations

import fnmatch
import glob

from hypothesis import given
from hypothesis import strategies as st

from cottoncandy.core.patterns import (
    NamePattern,
    PathPattern,
    directory_name,
    escape_pattern,
    split_literal,
)
from tests.cases import each

NAMES = st.text("ab[]!*?-/\n.é", max_size=8)
PATTERNS = st.text("ab[]!*?-/\n.é", max_size=8)


@each(
    "pattern, literal, whole",
    [
        ("", "", True),
        ("a/b", "a/b", True),
        ("a*b", "a", False),
        ("a?", "a", False),
        ("a[bc]d", "a", False),
        ("a[b]d*", "abd", False),
        ("run[[]1]", "run[1]", True),
        ("[*]x[?]", "*x?", True),
        ("a[!b]", "a", False),
        ("a[!]", "a[!]", True),  # never closed
        ("a[]b", "a[]b", True),
        ("a[]]b", "a]b", True),
        ("a[", "a[", True),
    ],
)
def test_literal_start(pattern: str, literal: str, whole: bool) -> None:
    assert split_literal(pattern) == (literal, whole)


@given(PATTERNS, NAMES)
def test_the_literal_start_is_that_of_every_match(pattern: str, name: str) -> None:
    prefix, whole = split_literal(pattern)
    matches = fnmatch.fnmatchcase(name, pattern)
    if matches:
        assert name.startswith(prefix)
    if whole:
        assert matches == (name == prefix)


@given(NAMES)
def test_escaped_names_match_themselves_only(name: str) -> None:
    assert split_literal(escape_pattern(name)) == (name, True)
    assert escape_pattern(name) == glob.escape(name)


@given(PATTERNS, NAMES)
def test_name_patterns_match_as_fnmatch_does(pattern: str, name: str) -> None:
    prefix, literal = split_literal(pattern)
    expected = fnmatch.fnmatchcase(name, pattern)
    if literal:  # an object, or its contents
        expected = expected or not prefix or name.startswith(prefix.removesuffix("/") + "/")
    assert bool(NamePattern(pattern).matches(name)) == expected


def plain_match(segments: list[str], parts: list[str]) -> bool:
    """Match level by level, in the most obvious way."""
    if not segments:
        return not parts
    first, *rest = segments
    if first == "**":
        start = 0 if rest else 1
        return any(plain_match(rest, parts[count:]) for count in range(start, len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], first) and plain_match(rest, parts[1:])


@given(
    st.lists(
        st.sampled_from(["a", "b", "*", "**", "a*", "?", "[!a]", "[[]"]), min_size=1, max_size=5
    ),
    st.lists(st.sampled_from(["a", "b", "ab", "[", ""]), max_size=6),
)
def test_path_patterns_match_level_by_level(segments: list[str], parts: list[str]) -> None:
    assert PathPattern("/".join(segments)).matches(parts) == plain_match(segments, parts)


def test_many_stars_end() -> None:
    pattern = PathPattern("/".join(["**", "a"] * 12 + ["b"]))
    assert not pattern.matches(["a"] * 200)


@each("prefix, shown", [("a/", "a"), ("a/b/", "a/b"), ("a//", "a//"), ("/", "/")])
def test_directory_names(prefix: str, shown: str) -> None:
    assert directory_name(prefix) == shown
