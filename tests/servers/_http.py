"""As much HTTP/1.1 as a proxy needs: heads, and bodies cut into pieces without changing a byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Broken", "Connection", "Head", "body_pieces", "encode_head", "read_head"]

_RECEIVE_BYTES = 256 * 1024
_MAX_HEAD_BYTES = 1024 * 1024
_EMPTY = memoryview(b"")


class Broken(Exception):
    """The connection is over."""


class Connection:
    """A socket with a buffer in front, for lines and for bodies."""

    def __init__(self, sock: socket.socket) -> None:
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._pending = b""

    def read_line(self) -> bytes:
        """Return one line with its end; b"" at the end of the stream."""
        while (end := self._pending.find(b"\n")) < 0:
            if len(self._pending) > _MAX_HEAD_BYTES:
                raise Broken
            received = self._socket.recv(_RECEIVE_BYTES)
            if not received:
                if self._pending:
                    raise Broken
                return b""
            self._pending += received
        line, self._pending = self._pending[: end + 1], self._pending[end + 1 :]
        return line

    def read_some(self, limit: int | None) -> memoryview:
        """Return up to ``limit`` bytes, writable; none at the end of the stream."""
        if self._pending:
            cut = len(self._pending) if limit is None else limit
            piece, self._pending = self._pending[:cut], self._pending[cut:]
            return memoryview(bytearray(piece))
        buffer = bytearray(_RECEIVE_BYTES if limit is None else min(limit, _RECEIVE_BYTES))
        count = self._socket.recv_into(buffer)
        return memoryview(buffer)[:count]

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it."""
        self._socket.sendall(data)

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Speak TLS from here on, as the server.

        Raises
        ------
        Broken
            If the peer speaks something else, or does not trust the certificate.
        """
        self._socket = context.wrap_socket(
            self._socket, server_side=True, do_handshake_on_connect=False
        )
        try:
            self._socket.do_handshake()
        except OSError as error:
            raise Broken from error

    def is_stale(self) -> bool:
        """Return whether the peer has closed the connection, or sends between two requests."""
        if self._pending:
            return True
        # Not select(): with TLS, a readable socket may hold no data.
        self._socket.settimeout(0)
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        else:
            return True
        finally:
            self._socket.settimeout(None)

    def reset(self) -> None:
        """Close so that the peer sees "connection reset", not an orderly end (of TLS either)."""
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    def shut_down(self) -> None:
        """Wake the threads that wait on the socket."""
        # That of the class below: TLS's own would take the ground from under who reads.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close in an orderly way."""
        if isinstance(self._socket, ssl.SSLSocket):
            # Say goodbye, and do not wait for the peer's. ValueError: there was no handshake.
            with contextlib.suppress(OSError, ValueError):
                self._socket.settimeout(0)
                self._socket.unwrap()
        self.shut_down()
        self._socket.close()


@dataclass(frozen=True)
class Head:
    """The first line and the headers of a request or a response, as they were sent."""

    first_line: str
    headers: list[tuple[str, str]]

    @property
    def method(self) -> str:
        """Method of a request."""
        return self.first_line.split(" ", 1)[0]

    @property
    def target(self) -> str:
        """Target of a request, byte for byte."""
        return self.first_line.split(" ", 1)[1].rpartition(" ")[0]

    @cached_property
    def status(self) -> int:
        """Status of a response."""
        return int(self.first_line.split(" ", 2)[1])

    def header(self, name: str) -> str | None:
        """Return the first header of that name (in lower case)."""
        return next((value for found, value in self.headers if found.lower() == name), None)

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return "chunked" in (self.header("transfer-encoding") or "").lower()

    @property
    def wants_close(self) -> bool:
        """Whether the sender will not reuse the connection."""
        connection = (self.header("connection") or "").lower()
        is_old = "HTTP/1.0" in self.first_line
        return "close" in connection or (is_old and "keep-alive" not in connection)

    def body_ends_with_connection(self, method: str) -> bool:
        """Return whether only the end of the connection ends this response's body."""
        if method == "HEAD" or self.status in (204, 304):
            return False
        return not self.is_chunked and self.header("content-length") is None


def read_head(connection: Connection) -> Head | None:
    """Read a head; None if the peer has closed the connection."""
    first = connection.read_line()
    while first in (b"\r\n", b"\n"):
        first = connection.read_line()
    if not first:
        return None
    headers = []
    while (line := connection.read_line()) not in (b"\r\n", b"\n"):
        if not line:
            raise Broken
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name, value.strip()))
    return Head(first.decode("latin-1").rstrip("\r\n"), headers)


def encode_head(first_line: str, headers: list[tuple[str, str]]) -> bytes:
    """Return the bytes of a head."""
    lines = [first_line, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def body_pieces(
    connection: Connection, head: Head, *, is_request: bool
) -> Iterator[tuple[memoryview, memoryview]]:
    """Yield a body in pieces: the bytes on the wire, and those of them that are content.

    Where a piece is all content, both are the same memory.
    """
    if not is_request and head.status in (204, 304):
        return
    if head.is_chunked:
        yield from _chunked(connection)
        return
    length = head.header("content-length")
    if length is None:
        if not is_request:
            while piece := connection.read_some(None):
                yield piece, piece
        return
    yield from _exactly(connection, int(length))


def _exactly(connection: Connection, length: int) -> Iterator[tuple[memoryview, memoryview]]:
    while length:
        piece = connection.read_some(length)
        if not piece:
            raise Broken
        length -= len(piece)
        yield piece, piece


def _chunked(connection: Connection) -> Iterator[tuple[memoryview, memoryview]]:
    while True:
        line = connection.read_line()
        if not line:
            raise Broken
        yield memoryview(line), _EMPTY
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        yield from _exactly(connection, size)
        yield memoryview(connection.read_line()), _EMPTY
    # Trailers, then an empty line.
    while True:
        line = connection.read_line()
        if not line:
            raise Broken
        yield memoryview(line), _EMPTY
        if line in (b"\r\n", b"\n"):
            return
