"""The grammar of ``q`` in files.list: a recursive-descent parser that makes a predicate."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.servers.drive.errors import ApiError

Test = Callable[[Any], bool]


@dataclass
class Predicate:
    """A test for files; where ``folders`` is known, only files in those can pass."""

    test: Test
    folders: frozenset[str] | None = None

    def __call__(self, item: Any) -> bool:
        return self.test(item)


_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^'\\]|\\.)*')|(?P<word>[A-Za-z_]\w*)|(?P<op><=|>=|!=|=|<|>|[(){}]))",
    re.DOTALL,
)
_STRINGS = {"title": {"=", "!=", "contains"}, "mimeType": {"=", "!=", "contains"}}
_DATES = ("modifiedDate", "createdDate", "lastViewedByMeDate")
_BOOLEANS = ("trashed", "starred")
_COLLECTIONS = ("parents", "owners", "writers", "readers")


def bad_query(text: str, why: str) -> ApiError:
    return ApiError(400, "invalid", f"Invalid query: {why} in {text!r}")


class _Parser:
    def __init__(self, text: str, resolve: Callable[[str], str]) -> None:
        self.text = text
        self.resolve = resolve
        self.tokens = self._split(text)
        self.position = 0

    def _split(self, text: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise bad_query(text, f"bad character at {at}")
            tokens.append((str(match.lastgroup), match[match.lastgroup or 0]))
            at = match.end()
        return tokens

    def peek(self) -> str:
        return self.tokens[self.position][1] if self.position < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        token = self.peek()
        if not token or (wanted and token not in wanted):
            raise bad_query(self.text, f"expected {wanted or 'more'} and found {token!r}")
        self.position += 1
        return token

    def string(self) -> str:
        if self.position >= len(self.tokens) or self.tokens[self.position][0] != "string":
            raise bad_query(self.text, f"expected a quoted string and found {self.peek()!r}")
        raw = self.take()[1:-1]
        if re.search(r"\\[^'\\]", raw.replace("\\\\", "")):
            raise bad_query(self.text, "unknown escape")
        return re.sub(r"\\(['\\])", r"\1", raw)

    def parse(self) -> Predicate:
        found = self.any_of()
        if self.peek():
            raise bad_query(self.text, f"{self.peek()!r} after the end")
        return found

    def any_of(self) -> Predicate:
        terms = [self.all_of()]
        while self.peek() == "or":
            self.take()
            terms.append(self.all_of())
        if len(terms) == 1:
            return terms[0]
        known = [term.folders for term in terms]
        folders = None if None in known else frozenset().union(*(ids or () for ids in known))
        return Predicate(lambda item: any(term(item) for term in terms), folders)

    def all_of(self) -> Predicate:
        terms = [self.negation()]
        while self.peek() == "and":
            self.take()
            terms.append(self.negation())
        if len(terms) == 1:
            return terms[0]
        known = [term.folders for term in terms if term.folders is not None]
        folders = frozenset.intersection(*known) if known else None
        return Predicate(lambda item: all(term(item) for term in terms), folders)

    def negation(self) -> Predicate:
        if self.peek() == "not":
            self.take()
            inner = self.negation()
            return Predicate(lambda item: not inner(item))
        if self.peek() == "(":
            self.take()
            inner = self.any_of()
            self.take(")")
            return inner
        return self.term()

    def term(self) -> Predicate:
        if self.peek().startswith("'"):
            value = self.string()
            self.take("in")
            collection = self.take(*_COLLECTIONS)
            if collection == "parents":
                folder = self.resolve(value)
                return Predicate(lambda item: folder in item.parents, frozenset([folder]))
            return Predicate(lambda item: value in item.owners)
        field = self.take()
        if field == "properties":
            return self.has_property()
        if field in _BOOLEANS:
            operator, word = self.take("=", "!="), self.take("true", "false")
            wanted = (word == "true") == (operator == "=")
            return Predicate(lambda item: bool(getattr(item, field)) == wanted)
        if field in _STRINGS:
            return self.compare_text(field)
        if field in _DATES:
            return self.compare_date(field)
        raise bad_query(self.text, f"unknown field {field!r}")

    def compare_text(self, field: str) -> Predicate:
        operator, value = self.take(*_STRINGS[field]), self.string()
        attribute = {"title": "title", "mimeType": "mime_type"}[field]

        # Drive compares titles without regard to case, and `contains` looks at word beginnings.
        want = value.casefold()

        def test(item: Any) -> bool:
            have = getattr(item, attribute).casefold()
            if operator == "contains":
                return have.startswith(want) or f" {want}" in have
            return (have == want) == (operator == "=")

        return Predicate(test)

    def compare_date(self, field: str) -> Predicate:
        operator, value = self.take("<=", "<", "=", "!=", ">", ">="), self.string()
        attribute = {"modifiedDate": "modified", "createdDate": "created"}.get(field, "modified")
        tests: dict[str, Callable[[str], bool]] = {
            "<=": lambda have: have <= value,
            "<": lambda have: have < value,
            "=": lambda have: have == value,
            "!=": lambda have: have != value,
            ">": lambda have: have > value,
            ">=": lambda have: have >= value,
        }
        return Predicate(lambda item: tests[operator](getattr(item, attribute)))

    def has_property(self) -> Predicate:
        self.take("has")
        self.take("{")
        wanted: dict[str, str] = {}
        while True:
            name = self.take("key", "value", "visibility")
            self.take("=")
            wanted[name] = self.string()
            if self.take("and", "}") == "}":
                break
        if not {"key", "value"} <= set(wanted):
            raise bad_query(self.text, "properties has {key and value}")
        visibility = wanted.get("visibility", "PRIVATE")
        mark = (wanted["key"], visibility)
        return Predicate(lambda item: item.properties.get(mark) == wanted["value"])


def parse_query(text: str, resolve: Callable[[str], str]) -> Predicate:
    """Return a test for files, or raise the API's 400; ``resolve`` checks a folder's id."""
    if not text.strip():
        return Predicate(lambda item: True)
    return _Parser(text, resolve).parse()
