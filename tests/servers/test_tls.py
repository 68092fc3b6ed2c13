"""Connections of the test servers over TLS: stale or not, ended and reset as peers see it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.servers._http import Broken, Connection
from tests.servers.base import wait_until
from tests.servers.tls import Authority

pytestmark = pytest.mark.server

Pair = tuple[Connection, ssl.SSLSocket]


def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection over TCP, which can be reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=60)
        return listener.accept()[0], client


@pytest.fixture
def pair(authority: Authority) -> Iterator[Pair]:
    """The server's end, and the client's."""
    ours, theirs = connected()
    server = Connection(ours)
    greeting = threading.Thread(target=server.encrypt, args=(authority.context(),))
    greeting.start()
    trust = ssl.create_default_context(cafile=authority.path)
    with trust.wrap_socket(theirs, server_hostname="localhost") as client:
        greeting.join()
        yield server, client
    server.close()


def test_an_idle_connection_is_not_stale(pair: Pair) -> None:
    server, client = pair
    assert not server.is_stale()
    client.sendall(b"line\n")
    assert server.read_line() == b"line\n"
    server.send(b"answer")
    assert client.recv(100) == b"answer"
    assert not server.is_stale()


@pytest.mark.parametrize("act", [lambda client: client.sendall(b"x"), ssl.SSLSocket.close])
def test_a_peer_that_speaks_or_goes_is_stale(
    pair: Pair, act: Callable[[ssl.SSLSocket], object]
) -> None:
    server, client = pair
    act(client)
    wait_until(server.is_stale, "what the peer does")


def test_an_orderly_end(pair: Pair) -> None:
    server, client = pair
    client.suppress_ragged_eofs = False  # an end of TCP alone would be an error
    server.close()
    assert client.recv(1) == b""


def test_a_reset(pair: Pair) -> None:
    server, client = pair
    server.reset()
    # Below TLS, where Python calls it the end of the stream.
    socket.socket.recv(client, 100_000)  # the session tickets that the handshake ends with
    with pytest.raises(ConnectionResetError):
        socket.socket.recv(client, 1)


def test_who_waits_is_woken(pair: Pair) -> None:
    server, _ = pair
    ended: list[bytes] = []
    reading = threading.Thread(target=lambda: ended.append(server.read_line()))
    reading.start()
    server.shut_down()
    reading.join(60)
    assert ended == [b""]


def test_a_peer_that_speaks_no_tls(authority: Authority) -> None:
    ours, theirs = connected()
    server = Connection(ours)
    with theirs:
        theirs.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(Broken):
            server.encrypt(authority.context())
        server.close()
