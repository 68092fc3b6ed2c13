"""Files of a web server, read-only."""

from __future__ import annotations

import base64
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cottoncandy.cloudfiles import CloudFile, CloudFiles, dl
from cottoncandy.cloudfiles.exceptions import AuthorizationError
from cottoncandy.exceptions import UnsupportedOperationError

pytestmark = pytest.mark.server


class Quiet(http.server.SimpleHTTPRequestHandler):
    requests: ClassVar[list[tuple[str, str | None]]] = []  # path and login

    def log_message(self, *arguments: object) -> None:
        pass

    def send_head(self):  # type: ignore[no-untyped-def]
        self.requests.append((self.path, self.headers.get("Authorization")))
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
    assert list(cf.list(flat=True)) == ["a", "sub/"]
    assert list(cf.list("sub/", size=True)) == [("sub/b", 1)]
    assert list(cf.list(resume_token="a")) == ["sub/b"]
    assert (cf.isdir("sub"), cf.isdir("a")) == (True, False)
    assert cf.subtree_size() == {"N": 2, "num_bytes": 12}
    assert (cf.head("a")["Content-Length"], cf.head("missing")) == (11, None)
    assert cf.get_acl("a") == {"a": None}
    assert (cf.size("missing"), len(cf[:1]), cf.get("a", raw=True)) == (None, 1, b"hello world")
    cf.transfer_to(str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "sub" / "b").read_bytes() == b"2"
    assert CloudFile(f"{address}/sub/b").get() == b"2"
    with pytest.raises(AuthorizationError):
        cf.get("denied")
    for write in (
        lambda: cf.put("a", b"1"),
        lambda: cf.delete(["a"]),
        lambda: cf.touch("a"),
        lambda: cf.touch("new"),
        lambda: cf.move("a", "b"),
    ):
        with pytest.raises(UnsupportedOperationError):
            write()


def test_moves_from_a_web_server_copy_nothing(address: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperationError, match="nothing was changed"):
        CloudFiles(address).moves(str(tmp_path / "moved"), ["a"])
    assert not (tmp_path / "moved").exists()


def test_urls_are_decoded_and_queries_are_sent(address: str, tmp_path: Path) -> None:
    (tmp_path / "web" / "sub" / "b c%20d").write_bytes(b"3")
    Quiet.requests.clear()
    assert dl(f"{address}/sub/b%20c%2520d?signature=a/b%2Fc") == b"3"
    assert CloudFile(f"{address}/%73ub/b?signature=a/b%2Fc").get() == b"2"
    assert all("?signature=a/b%2Fc" in path for path, _ in Quiet.requests)
    Quiet.requests.clear()
    assert CloudFiles(f"{address}/sub")["b c%20d"] == b"3"
    assert not any("signature" in path for path, _ in Quiet.requests)


def test_logins_are_for_their_server(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def logins(path: str, **options: Any) -> set[str | None]:
        Quiet.requests.clear()
        assert CloudFiles(path, **options)["a"] == b"hello world"
        return {login for _, login in Quiet.requests}

    basic = "Basic " + base64.b64encode(b"u:w").decode()
    assert logins(address) == {None}
    assert logins(address.replace("://", "://u:w@")) == {basic}
    assert logins(address) == {None}
    monkeypatch.setenv("CLOUD_VOLUME_DIR", str(tmp_path))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "http-secret.json").write_text('{"user": "u", "password": "w"}')
    (tmp_path / "secrets" / "cave-secret.json").write_text('{"token": "t"}')
    for path in (address, address.replace("127.0.0.1", "localhost")):
        assert logins(path) == {basic}
        assert logins(path, no_sign_request=True) == {None}
        assert logins(path, secrets={"user": "x"}) == {"Basic eDo="}
        assert logins(f"middleauth+https://{path}") == {"Bearer t"}
    public = CloudFiles("s3://bucket/a", use_https=True)._store.backend
    assert public.bucket_name == "https://s3.amazonaws.com/bucket/a"
    assert not public._connection.options.headers
