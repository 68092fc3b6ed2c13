"""The faults that the proxy can be told to cause, and its records."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from tests.servers._http import Head

__all__ = ["Matcher", "Plan", "Request", "Rule", "RuleBuilder"]

_REASONS = {
    200: "OK",
    206: "Partial Content",
    301: "Moved Permanently",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}


@dataclass
class Request:
    """One request as received; the last three fields grow while it is served.

    Parameters
    ----------
    method, target : str
        As sent, byte for byte (``/bucket/a%2Fb?uploads=``).
    path : str
        The target without its query, unquoted.
    query : dict of str to list of str
        With the empty values.
    headers : dict of str to str
        Names in lower case.
    received, sent : int
        Bytes of the bodies: from the client, to the client.
    status : int, optional
        What was answered; None while nothing was.
    """

    method: str
    target: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    received: int = 0
    sent: int = 0
    status: int | None = None

    @classmethod
    def from_head(cls, head: Head) -> Request:
        path, _, query = head.target.partition("?")
        return cls(
            head.method,
            head.target,
            unquote(path),
            parse_qs(query, keep_blank_values=True),
            {name.lower(): value for name, value in head.headers},
        )

    @property
    def range(self) -> tuple[int, int] | None:
        """The half-open range requested, if it has both ends."""
        unit, _, ends = self.headers.get("range", "").partition("=")
        first, _, last = ends.partition("-")
        return (int(first), int(last) + 1) if unit == "bytes" and first and last else None


@dataclass(frozen=True, slots=True)
class Matcher:
    """Which requests are meant; None is any."""

    method: str | None
    path: str | None
    query: str | None
    header: str | None

    def matches(self, request: Request) -> bool:
        return (
            (self.method is None or request.method == self.method)
            and (self.path is None or self.path in request.path)
            and (self.query is None or self.query in request.query)
            and (self.header is None or self.header.lower() in request.headers)
        )


@dataclass
class Plan:
    """The treatment of one request, gathered from all rules that match it."""

    rules: list[Rule] = field(default_factory=list)
    answer: tuple[str, Mapping[str, str], bytes] | None = None
    reset_before: bool = False
    reset_after: bool = False
    hang_before: threading.Event | None = None
    hang_at: tuple[int, threading.Event] | None = None
    truncate: int | None = None
    truncate_by_reset: bool = False
    flip: tuple[int, int] | None = None
    drop_request_headers: frozenset[str] = frozenset()
    response_headers: dict[str, str | None] = field(default_factory=dict)


class Rule:
    """A rule in force: how often it was applied, and the way to end it.

    ``entered`` is set when the first request meets it: wait for that before looking at what hangs.
    """

    def __init__(
        self,
        matcher: Matcher,
        times: int | None,
        skip: int,
        change: Callable[[Plan, Rule], None],
    ) -> None:
        self.hits = 0
        self.entered = threading.Event()
        self.released = threading.Event()
        self._matcher = matcher
        self._left = times
        self._skip = skip
        self._change = change
        self._removed = False

    def takes(self, request: Request) -> bool:
        """Return whether the rule applies to the request, and count that."""
        if self._removed or self._left == 0 or not self._matcher.matches(request):
            return False
        if self._skip:
            self._skip -= 1
            return False
        if self._left is not None:
            self._left -= 1
        self.hits += 1
        return True

    def change(self, plan: Plan) -> None:
        """Write into a plan what the rule wants."""
        self._change(plan, self)

    def release(self) -> None:
        """Release the requests that hang because of this rule."""
        self.released.set()

    def remove(self) -> None:
        """End the rule."""
        self._removed = True
        self.release()


class RuleBuilder:
    """The second half of ``proxy.on(...)``: what happens to the requests."""

    def __init__(
        self, add: Callable[[Rule], None], matcher: Matcher, times: int | None, skip: int
    ) -> None:
        self._add = add
        self._matcher = matcher
        self._times = times
        self._skip = skip

    def answer(
        self,
        status: int,
        code: str | None = None,
        message: str = "made by the test",
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Rule:
        """Answer in the server's place, which never sees the request.

        With ``code`` (``"SlowDown"``, ``"AccessDenied"``) the body is S3's XML of that error.
        """
        if body is None:
            body = b"" if code is None else _error_document(code, message)
        everything = {"x-amz-request-id": "tx-made-by-the-test", **(headers or {})}
        if code is not None:
            everything.setdefault("Content-Type", "application/xml")
        answer = (f"{status} {_REASONS.get(status, 'Unknown')}", everything, body)

        def change(plan: Plan, rule: Rule) -> None:
            plan.answer = answer

        return self._made(change)

    def refuse_acl(self) -> Rule:
        """Answer as a new AWS bucket does to any request that names an ACL."""
        self._matcher = Matcher(
            self._matcher.method, self._matcher.path, self._matcher.query, "x-amz-acl"
        )
        return self.answer(400, "AccessControlListNotSupported", "The bucket does not allow ACLs")

    def truncate(self, after: int, *, reset: bool = False) -> Rule:
        """End the connection after this many bytes of the response's body.

        In an orderly way, or (``reset``) with "connection reset by peer".
        """

        def change(plan: Plan, rule: Rule) -> None:
            plan.truncate, plan.truncate_by_reset = after, reset

        return self._made(change)

    def flip(self, offset: int, mask: int = 0x01) -> Rule:
        """Flip bits of one byte of the response's body."""

        def change(plan: Plan, rule: Rule) -> None:
            plan.flip = offset, mask

        return self._made(change)

    def reset(self, *, delivered: bool = False) -> Rule:
        """Reset the connection: before the server sees the request, or after it has answered."""

        def change(plan: Plan, rule: Rule) -> None:
            plan.reset_before, plan.reset_after = not delivered, delivered

        return self._made(change)

    def hang(self, at: int | None = None) -> Rule:
        """Stop until ``rule.release()``: before forwarding, or at a byte of the response's body."""

        def change(plan: Plan, rule: Rule) -> None:
            if at is None:
                plan.hang_before = rule.released
            else:
                plan.hang_at = at, rule.released

        return self._made(change)

    def ignore_range(self) -> Rule:
        """Act as a server without ranges: the whole object, and status 200."""
        return self.drop_request_header("Range")

    def drop_request_header(self, *names: str) -> Rule:
        """Forward without some headers (those that a signature covers can't be spared)."""

        def change(plan: Plan, rule: Rule) -> None:
            plan.drop_request_headers |= {name.lower() for name in names}

        return self._made(change)

    def change_etag(self, etag: str = '"00000000000000000000000000000000"') -> Rule:
        """Answer with another ETag, as if the object had been replaced."""
        return self.change_header("ETag", etag)

    def change_header(self, name: str, value: str | None) -> Rule:
        """Answer with another value of a header, or (None) without it."""

        def change(plan: Plan, rule: Rule) -> None:
            plan.response_headers[name.lower()] = value

        return self._made(change)

    def _made(self, change: Callable[[Plan, Rule], None]) -> Rule:
        rule = Rule(self._matcher, self._times, self._skip, change)
        self._add(rule)
        return rule


def _error_document(code: str, message: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        "<RequestId>tx-made-by-the-test</RequestId></Error>"
    ).encode()
