"""The grammar of ``q`` in files.list: a recursive-descent parser that makes a predicate."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.servers.drive.errors import ApiError

Predicate = Callable[[Any], bool]

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
    def __init__(self, text: str, is_parent: Callable[[Any, str], bool]) -> None:
        self.text = text
        self.is_parent = is_parent
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
        # All of them: a folder that does not exist is an error wherever it stands.
        return lambda item: any([term(item) for term in terms])  # noqa: C419

    def all_of(self) -> Predicate:
        terms = [self.negation()]
        while self.peek() == "and":
            self.take()
            terms.append(self.negation())
        return lambda item: all(term(item) for term in terms)

    def negation(self) -> Predicate:
        if self.peek() == "not":
            self.take()
            inner = self.negation()
            return lambda item: not inner(item)
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
                return lambda item: self.is_parent(item, value)
            return lambda item: value in item.owners
        field = self.take()
        if field == "properties":
            return self.has_property()
        if field in _BOOLEANS:
            operator, word = self.take("=", "!="), self.take("true", "false")
            wanted = (word == "true") == (operator == "=")
            return lambda item: bool(getattr(item, field)) == wanted
        if field in _STRINGS:
            return self.compare_text(field)
        if field in _DATES:
            return self.compare_date(field)
        raise bad_query(self.text, f"unknown field {field!r}")

    def compare_text(self, field: str) -> Predicate:
        operator, value = self.take(*_STRINGS[field]), self.string()
        attribute = {"title": "title", "mimeType": "mime_type"}[field]

        # Drive compares titles without regard to case, and `contains` looks at word beginnings.
        def test(item: Any) -> bool:
            have, want = getattr(item, attribute).casefold(), value.casefold()
            if operator == "contains":
                return have.startswith(want) or f" {want}" in have
            return (have == want) == (operator == "=")

        return test

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
        return lambda item: tests[operator](getattr(item, attribute))

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
        return lambda item: item.properties.get((wanted["key"], visibility)) == wanted["value"]


def parse_query(text: str, is_parent: Callable[[Any, str], bool]) -> Predicate:
    """Return a test for files, or raise the API's 400."""
    if not text.strip():
        return lambda item: True
    return _Parser(text, is_parent).parse()
