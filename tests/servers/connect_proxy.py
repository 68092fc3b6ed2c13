"""A web proxy like those of institutions: it opens tunnels (CONNECT) and sees no content."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from tests.servers._http import Broken, Connection, encode_head, read_head

__all__ = ["TunnelProxy"]


class TunnelProxy:
    """A proxy for https on a free loopback port.

    Parameters
    ----------
    credentials : str, optional
        ``user:password`` that clients have to show.

    Attributes
    ----------
    targets : list of str
        ``host:port`` of every tunnel that was opened.
    refused : list of str
        The targets of all other requests.
    """

    def __init__(self, credentials: str | None = None) -> None:
        self._expected = None if credentials is None else _basic(credentials)
        self.targets: list[str] = []
        self.refused: list[str] = []
        self._open: set[Connection] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def url(self) -> str:
        """What to tell clients."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything."""
        with self._lock:
            self._stopping = True
            connections = list(self._open)
        # Closing a listener does not wake its accept() on every system; a visitor does.
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        for connection in connections:
            connection.shut_down()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="tunnel", daemon=True)  # type: ignore[arg-type]  # a callable
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            visitor, _ = self._listener.accept()
            if self._stopping:
                visitor.close()
                return
            self._start(self._serve, visitor)

    def _serve(self, visitor: socket.socket) -> None:
        with contextlib.suppress(Broken, OSError), self._held(visitor) as client:
            head = read_head(client)
            if head is None:
                return
            if self._expected not in (None, head.header("proxy-authorization")):
                self.refused.append(head.target)
                wanted = [("Proxy-Authenticate", 'Basic realm="lab"'), ("Content-Length", "0")]
                client.send(encode_head("HTTP/1.1 407 Proxy Authentication Required", wanted))
                return
            if head.method != "CONNECT":
                self.refused.append(head.target)
                client.send(
                    encode_head("HTTP/1.1 405 Method Not Allowed", [("Content-Length", "0")])
                )
                return
            host, _, port = head.target.rpartition(":")
            self.targets.append(head.target)
            with self._held(socket.create_connection((host, int(port)))) as server:
                client.send(encode_head("HTTP/1.1 200 Connection established", []))
                self._start(_pump, server, client)
                _pump(client, server)

    @contextlib.contextmanager
    def _held(self, sock: socket.socket):  # type: ignore[no-untyped-def]
        """Keep a connection where :meth:`stop` finds it."""
        connection = Connection(sock)
        with self._lock:
            self._open.add(connection)
            stopping = self._stopping
        try:
            if stopping:
                raise Broken
            yield connection
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def _pump(source: Connection, sink: Connection) -> None:
    """Send on what comes; the end of one direction ends both."""
    with contextlib.suppress(OSError):
        while piece := source.read_some(None):
            sink.send(piece)
    source.shut_down()
    sink.shut_down()


def _basic(credentials: str) -> str:
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"
