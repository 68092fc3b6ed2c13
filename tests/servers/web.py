"""Web servers over a directory: Python's own, and one with ranges and ETags, as Apache has."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["PlainHandler", "RangeHandler", "WebServer", "serving"]


class PlainHandler(http.server.SimpleHTTPRequestHandler):
    """Python's server: no ranges, no ETags, one request per connection."""

    def log_message(self, *arguments: Any) -> None:
        self.server.requests.append((self.command, self.path))  # type: ignore[attr-defined]  # a WebServer's

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            super().handle()


class RangeHandler(PlainHandler):
    """A server that keeps connections, and knows ranges and ETags."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.send(body=True)

    def do_HEAD(self) -> None:
        self.send(body=False)

    def send(self, *, body: bool) -> None:
        if "\0" in self.path or "%00" in self.path:
            return self.send_error(404)
        path = self.translate_path(self.path)
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed below
        except OSError:
            # Directories: redirects, and index pages.
            return super().do_GET() if body else super().do_HEAD()
        with file:
            if self.path.endswith("/"):
                return self.send_error(404)
            status = os.fstat(file.fileno())
            size = status.st_size
            start, stop, code = 0, size, 200
            if found := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
                if found[1]:
                    start, stop = int(found[1]), min(int(found[2] or size) + 1, size)
                else:
                    start = max(size - int(found[2]), 0)
                code = 206
                if start >= size:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{size}")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
            self.send_response(code)
            if code == 206:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Last-Modified", self.date_time_string(int(status.st_mtime)))
            self.send_header("ETag", f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{size:x}"')
            self.end_headers()
            if body:
                file.seek(start)
                while start < stop and (piece := file.read(min(2**18, stop - start))):
                    self.wfile.write(piece)
                    start += len(piece)
        return None


class WebServer(http.server.ThreadingHTTPServer):
    """A server in a thread of this process.

    Parameters
    ----------
    directory : Path
        Its root.
    handler : type
        One of the handlers above, or another.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, directory: Path, handler: type = RangeHandler) -> None:
        self.requests: list[tuple[str, str]] = []
        self.directory = directory

        def make(*arguments: Any) -> Any:
            return handler(*arguments, directory=str(directory))

        super().__init__(("127.0.0.1", 0), make)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close the connection."""

    def stop(self) -> None:
        """End the thread."""
        self.shutdown()
        self._thread.join()
        self.server_close()


@contextlib.contextmanager
def serving(directory: Path, handler: type = RangeHandler) -> Iterator[WebServer]:
    """Serve a directory for the time of a block."""
    server = WebServer(directory, handler)
    try:
        yield server
    finally:
        server.stop()
