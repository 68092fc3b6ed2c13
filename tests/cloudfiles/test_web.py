"""Files of a web server, read-only."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cottoncandy.cloudfiles import CloudFile, CloudFiles
from cottoncandy.cloudfiles.exceptions import AuthorizationError
from cottoncandy.exceptions import UnsupportedOperationError

pytestmark = pytest.mark.server


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass

    def send_head(self):  # type: ignore[no-untyped-def]
        if "denied" in self.path:
            self.send_error(403)
            return None
        return super().send_head()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "web"
    root.mkdir()
    (root / "a").write_bytes(b"hello world")
    (root / "sub").mkdir()
    (root / "sub" / "b").write_bytes(b"2")
    handler = functools.partial(Quiet, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_web_server(address: str, tmp_path: Path) -> None:
    cf = CloudFiles(address)
    assert cf.get("a") == b"hello world"
    assert cf["a", 0:5] == b"hello"
    assert [file["content"] for file in cf.get(["a", "missing", "sub/b"])] == [
        *(b"hello world", None, b"2"),
    ]
    assert cf.exists(["a", "missing"]) == {"a": True, "missing": False}
    assert cf.size("a") == 11
    assert list(cf) == ["a", "sub/b"]
    cf.transfer_to(str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "sub" / "b").read_bytes() == b"2"
    assert CloudFile(f"{address}/sub/b").get() == b"2"
    with pytest.raises(AuthorizationError):
        cf.get("denied")
    with pytest.raises(UnsupportedOperationError):
        cf.put("a", b"1")
