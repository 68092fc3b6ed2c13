"""Public data: read without credentials, and after credentials were denied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cottoncandy
from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import AccessDeniedError, ConfigurationError, ObjectNotFoundError
from tests.servers.web import RangeHandler, WebServer

pytestmark = pytest.mark.server

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
LISTING = (
    b'<ListBucketResult><Contents><Key>name</Key><Size>4</Size><ETag>"1"</ETag><LastModified>'
    b"2026-01-02T03:04:05.000Z</LastModified></Contents><IsTruncated>false</IsTruncated>"
    b"</ListBucketResult>"
)


class PublicBucket(RangeHandler):
    """A server that denies what is signed, unless its requests are paid for."""

    public = True

    def send(self, *, body: bool) -> None:
        signed = "Authorization" in self.headers
        paid = self.headers.get("x-amz-request-payer") == "requester"
        self.server.requests.append((signed, self.path))  # type: ignore[attr-defined]  # a WebServer's
        allowed = (not signed if self.public else signed and paid) and "private" not in self.path
        if not allowed:
            return self.answer(403, DENIED, body)
        if self.path.partition("?")[0] in ("/bucket", "/bucket/"):
            return self.answer(200, LISTING, body)
        if self.path.startswith("/bucket/name"):
            return self.answer(200, b"body", body)
        return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>", body)

    def answer(self, status: int, content: bytes, body: bool) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        if body:
            self.wfile.write(content)

    do_PUT = RangeHandler.do_GET


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[bool], WebServer]]:
    servers: list[WebServer] = []

    def start(public: bool) -> WebServer:
        servers.append(WebServer(tmp_path, type("H", (PublicBucket,), {"public": public})))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize("keys", [(None, None), ("FAKE", "FAKE")])
def test_public_buckets_need_no_incantation(
    serve: Callable[[bool], WebServer], keys: tuple[Any, Any]
) -> None:
    server = serve(True)
    cci = cottoncandy.get_interface(f"s3://{server.url}/bucket", *keys, verbose=False)
    assert cci.download_object("name") == b"body"
    assert cci.glob("*") == ["name"]
    assert cci.exists_object("name")
    assert not cci.exists_object("missing")
    with pytest.raises(ObjectNotFoundError):
        cci.download_object("missing")
    with pytest.raises(AccessDeniedError):
        cci.download_object("private")
    with pytest.raises(AccessDeniedError):
        cci.upload_object("other", b"x")
    seen = len(server.requests)
    cci.download_object("name")
    assert not any(signed for signed, _ in server.requests[seen:])  # remembered


def connect(url: str, **extra: Any) -> S3Backend:
    return S3Backend.connect(ConnectionArguments("bucket", "FAKE", "FAKE", url, extra=extra))


def test_requester_pays(serve: Callable[[bool], WebServer]) -> None:
    url = serve(False).url
    backend = connect(url)
    for call in (
        lambda: backend.get("name"),
        lambda: backend.head("name"),
        lambda: list(backend.scan()),
    ):
        with pytest.raises(AccessDeniedError, match="request_payer='requester'"):
            call()
    paying = connect(url, request_payer="requester")
    assert paying.get("name").read() == b"body"
    assert paying.head("name").size == 4
    assert len(list(paying.scan())) == 1
    with pytest.raises(ConfigurationError, match="requester"):
        connect(url, request_payer="me")


def test_writing_is_never_anonymous(serve: Callable[[bool], WebServer]) -> None:
    server = serve(True)
    backend = connect(server.url)
    assert backend.get("name").read() == b"body"
    seen = len(server.requests)
    with pytest.raises(AccessDeniedError):
        backend.put("other", Body.of(b"x"))
    assert all(signed for signed, _ in server.requests[seen:])


def test_private_objects_of_public_buckets_are_read_with_credentials(
    serve: Callable[[bool], WebServer],
) -> None:
    server = serve(True)
    backend = connect(server.url)
    assert backend.get("name").read() == b"body"
    seen = len(server.requests)
    with pytest.raises(AccessDeniedError):
        backend.get("private")
    assert {signed for signed, _ in server.requests[seen:]} == {False, True}
