"""A proxy that breaks requests on demand, and records them all.

::

    proxy = FaultProxy(server)                       # or the fixture ``fault_proxy``
    cci = cottoncandy.get_interface(bucket, **proxy.server.interface_arguments())
    rule = proxy.on("GET", "data/x", times=2).answer(503, "SlowDown")
    cci.download_raw_array("data/x")
    assert rule.hits == 2
    assert proxy.count("GET", "data/x") == 3

Without rules it is transparent: the request target, the ``Host`` header and the bodies go through
byte for byte, so signatures hold. Connections are kept alive on both sides.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Mapping

from tests.servers._http import (
    Broken,
    Connection,
    Head,
    body_pieces,
    encode_head,
    read_head,
)
from tests.servers.base import S3Server
from tests.servers.fault_rules import Matcher, Plan, Request, Rule, RuleBuilder

__all__ = ["FaultProxy", "Request", "Rule"]

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection"})


class FaultProxy:
    """A threaded HTTP/1.1 proxy on a free loopback port in front of one server.

    Parameters
    ----------
    server : S3Server
        Where requests go. ``self.server`` is the same behind the proxy.
    tls : ssl.SSLContext, optional
        Has the certificate with which to speak TLS to clients; to the server it is plain HTTP.

    Attributes
    ----------
    connections : int
        How many clients' connections there were.
    """

    def __init__(self, server: S3Server, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._upstream = server.address
        self._lock = threading.Lock()
        self.connections = 0
        self._requests: list[Request] = []
        self._rules: list[Rule] = []
        self._open: set[Connection] = set()
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        port = self._listener.getsockname()[1]
        self.endpoint_url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self.server = server.at(self.endpoint_url)
        self._accepting = threading.Thread(target=self._accept, name="fault proxy", daemon=True)
        self._accepting.start()

    # -- what tests say --------------------------------------------------------------------------

    def on(
        self,
        method: str | None = None,
        path: str | None = None,
        *,
        query: str | None = None,
        header: str | None = None,
        times: int | None = None,
        skip: int = 0,
    ) -> RuleBuilder:
        """Begin a rule for some requests; what it does comes next (see :class:`RuleBuilder`).

        Parameters
        ----------
        method : str, optional
            ``"GET"`` …; any by default.
        path : str, optional
            Text that the request's unquoted path contains; any by default.
        query : str, optional
            Name that the query has (``"uploads"``, ``"partNumber"``, ``"list-type"``).
        header : str, optional
            Name of a header that the request has.
        times : int, optional
            How often the rule applies; for ever by default.
        skip : int, default 0
            How many matching requests it lets pass first.
        """
        return RuleBuilder(self._add, Matcher(method, path, query, header), times, skip)

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order in which they came."""
        with self._lock:
            return list(self._requests)

    def select(
        self,
        method: str | None = None,
        path: str | None = None,
        *,
        query: str | None = None,
        header: str | None = None,
    ) -> list[Request]:
        """Return the recorded requests that match, as in :meth:`on`."""
        matcher = Matcher(method, path, query, header)
        return [request for request in self.requests if matcher.matches(request)]

    def count(
        self,
        method: str | None = None,
        path: str | None = None,
        *,
        query: str | None = None,
        header: str | None = None,
    ) -> int:
        """Return how many recorded requests match, as in :meth:`on`."""
        return len(self.select(method, path, query=query, header=header))

    def forget(self) -> None:
        """Forget the recorded requests; rules stay."""
        with self._lock:
            self._requests.clear()

    def remove_rules(self) -> None:
        """Break nothing from now on; requests that hang continue."""
        with self._lock:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.release()

    def stop(self) -> None:
        """Close everything."""
        self._stopping.set()
        self.remove_rules()
        # Closing a listener does not wake its accept() on every system; a visitor does.
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.getsockname(), timeout=1).close()
        self._accepting.join()
        self._listener.close()
        with self._lock:
            connections, threads = list(self._open), list(self._threads)
        for connection in connections:
            connection.shut_down()
        for thread in threads:
            thread.join()

    # -- inside ----------------------------------------------------------------------------------

    def _add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def _accept(self) -> None:
        while True:
            visitor, _ = self._listener.accept()
            if self._stopping.is_set():
                visitor.close()
                return
            thread = threading.Thread(target=self._serve, args=(visitor,), daemon=True)
            with self._lock:
                self.connections += 1
                self._threads = [other for other in self._threads if other.is_alive()]
                self._threads.append(thread)
            thread.start()

    def _serve(self, visitor: socket.socket) -> None:
        """Serve one client's connection, as long as both sides want it."""
        with self._held(Connection(visitor)) as client, contextlib.ExitStack() as stack:
            upstream: Connection | None = None
            with contextlib.suppress(Broken, OSError):
                if self._tls is not None:
                    client.encrypt(self._tls)
                while (head := read_head(client)) is not None:
                    if upstream is not None and upstream.is_stale():
                        upstream = None
                    exchange = _Exchange(client, head)
                    plan = self._plan(exchange.request)
                    if upstream is None and plan.answer is None and not plan.reset_before:
                        # Not earlier: a server with one thread would wait for a request on it.
                        upstream = stack.enter_context(
                            self._held(Connection(socket.create_connection(self._upstream)))
                        )
                    exchange.run(plan, upstream)
                    if not exchange.upstream_reusable:
                        upstream = None
                    if not exchange.client_reusable:
                        return

    @contextlib.contextmanager
    def _held(self, connection: Connection):  # type: ignore[no-untyped-def]
        """Keep a connection where :meth:`stop` finds it."""
        with self._lock:
            self._open.add(connection)
        try:
            if self._stopping.is_set():
                raise Broken
            yield connection
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _plan(self, request: Request) -> Plan:
        """Record a request and decide what is done to it."""
        plan = Plan()
        with self._lock:
            self._requests.append(request)
            for rule in self._rules:
                if rule.takes(request):
                    rule.change(plan)
                    plan.rules.append(rule)
        return plan


class _Exchange:
    """One request and its response in transit."""

    _upstream: Connection

    def __init__(self, client: Connection, head: Head) -> None:
        self._client = client
        self._head = head
        self.request = Request.from_head(head)
        self.client_reusable = not head.wants_close
        self.upstream_reusable = True

    def run(self, plan: Plan, upstream: Connection | None) -> None:
        for rule in plan.rules:
            rule.entered.set()
        if plan.reset_before:
            self._client.reset()
            raise Broken
        if plan.answer is not None:
            self._answer(*plan.answer)
            return
        assert upstream is not None
        self._upstream = upstream
        if plan.hang_before is not None:
            plan.hang_before.wait()
        try:
            self._send_request(plan)
            head = self._response_head()
        except Broken:
            # The server hung up; so does the proxy.
            self.client_reusable = self.upstream_reusable = False
            raise
        if plan.reset_after:
            self._client.reset()
            raise Broken
        self._send_response(head, plan)

    def _send_request(self, plan: Plan) -> None:
        headers = [
            (name, value)
            for name, value in self._head.headers
            if name.lower() not in _HOP_BY_HOP | plan.drop_request_headers
            # The proxy answers an expectation itself, once it is sure to forward the body.
            and name.lower() != "expect"
        ]
        try:
            self._upstream.send(encode_head(self._head.first_line, headers))
            if self._head.header("expect") is not None:
                self._client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            for wire, payload in body_pieces(self._client, self._head, is_request=True):
                self.request.received += len(payload)
                self._upstream.send(wire)
        except OSError:
            # A server may refuse in the middle of a body; what it says comes next.
            self.client_reusable = self.upstream_reusable = False

    def _response_head(self) -> Head:
        while True:
            head = read_head(self._upstream)
            if head is None:
                raise Broken
            if head.status >= 200:
                return head

    def _send_response(self, head: Head, plan: Plan) -> None:
        headers = [pair for pair in head.headers if pair[0].lower() not in _HOP_BY_HOP]
        headers = _replace(headers, plan.response_headers)
        until_close = head.body_ends_with_connection(self._head.method)
        if head.wants_close:
            self.upstream_reusable = False
        if until_close or not self.client_reusable:
            self.client_reusable = False
            headers.append(("Connection", "close"))
        _, _, status = head.first_line.partition(" ")
        self.request.status = head.status
        self._client.send(encode_head(f"HTTP/1.1 {status}", headers))
        if self._head.method == "HEAD":
            return
        for wire, payload in body_pieces(self._upstream, head, is_request=False):
            self._relay(wire, payload, plan)

    def _relay(self, wire: memoryview, payload: memoryview, plan: Plan) -> None:
        """Send a piece of the response's body on, or what the plan makes of it."""
        start = self.request.sent
        stop = start + len(payload)
        if plan.flip is not None and start <= plan.flip[0] < stop:
            payload[plan.flip[0] - start] ^= plan.flip[1]
        if plan.truncate is not None and stop > plan.truncate:
            self._relay_some(payload[: plan.truncate - start])
            self.upstream_reusable = self.client_reusable = False
            if plan.truncate_by_reset:
                self._client.reset()
            raise Broken
        if plan.hang_at is not None and start <= plan.hang_at[0] < stop:
            cut = plan.hang_at[0] - start
            self._relay_some(payload[:cut])
            plan.hang_at[1].wait()
            self._relay_some(payload[cut:])
            return
        self.request.sent = stop
        self._client.send(wire)

    def _relay_some(self, payload: memoryview) -> None:
        self.request.sent += len(payload)
        self._client.send(payload)

    def _answer(self, status: str, headers: Mapping[str, str], body: bytes) -> None:
        """Answer in the server's place."""
        if self._head.header("expect") is not None:
            # The body was announced but not requested: the connection can't be reused.
            self.client_reusable = False
        else:
            for _, payload in body_pieces(self._client, self._head, is_request=True):
                self.request.received += len(payload)
        everything = {"Content-Length": str(len(body)), **headers}
        if not self.client_reusable:
            everything["Connection"] = "close"
        self.request.status = int(status.split()[0])
        shown = b"" if self._head.method == "HEAD" else body
        self.request.sent = len(shown)
        self._client.send(encode_head(f"HTTP/1.1 {status}", list(everything.items())) + shown)


def _replace(
    headers: list[tuple[str, str]], replacements: Mapping[str, str | None]
) -> list[tuple[str, str]]:
    """Return the headers with some set to other values, or gone where the value is None."""
    kept = [pair for pair in headers if pair[0].lower() not in replacements]
    return kept + [(name, value) for name, value in replacements.items() if value is not None]
