"""Web servers: what they send, what they leave out, and what they get wrong."""

from __future__ import annotations

import copy
import gzip
import json
import logging
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.backends.base import CommonPrefix, ConnectionArguments, ObjectInfo, PutOptions
from cottoncandy.backends.http import client
from cottoncandy.backends.http.backend import HTTPBackend
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketNotFoundError,
    ConfigurationError,
    CredentialsError,
    IntegrityError,
    InvalidNameError,
    MetadataError,
    ObjectChangedError,
    ObjectNotFoundError,
    PartialFailureError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
    UnsupportedOperationError,
)
from cottoncandy.stores.connect import connect_url
from tests.cases import each
from tests.servers.web import PlainHandler, RangeHandler, WebServer

pytestmark = pytest.mark.server

Serve = Callable[..., WebServer]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAUSE_S", 0.001)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start web servers over the directory ``tmp_path / "web"``."""
    (tmp_path / "web").mkdir()
    servers: list[WebServer] = []

    def start(handler: type = RangeHandler) -> WebServer:
        servers.append(WebServer(tmp_path / "web", handler))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


Answer = tuple[int, dict[str, str], bytes]


def answering(function: Callable[[Any], Answer | None]) -> type:
    """Return a handler that sends what a function returns for a request; None closes."""

    class Handler(RangeHandler):
        def send(self, *, body: bool) -> None:
            self.log_message()
            answer = function(self)
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    return Handler


def backend(url: str, **extra: Any) -> HTTPBackend:
    return HTTPBackend.connect(ConnectionArguments(url, extra=extra))


@pytest.fixture(params=[RangeHandler, PlainHandler])
def served(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> tuple[Any, WebServer]:
    """A local interface, and a web server over its directory."""
    local = cottoncandy.get_interface(f"file://{tmp_path}/web", verbose=False)
    return local, serve(request.param)


def test_arrays_from_a_web_server(served: tuple[Any, WebServer]) -> None:
    local, server = served
    arrays = {
        "plain": np.arange(600_000.0).reshape(600, 1000),
        "odd names/ü %23#?&+ x": np.arange(5, dtype=">i4"),
        "empty": np.zeros((0, 3)),
        "scalar": np.array(7),
    }
    for name, array in arrays.items():
        local.upload_raw_array(name, array, compression=False)
    local.upload_raw_array("compressed", arrays["plain"])
    local.upload_dask_array("chunked", arrays["plain"], buffersize=2**21)
    local.upload_json("text.json", {"a": 1})

    cci = cottoncandy.get_interface(server.url, verbose=False)
    assert cci.backend == "http"
    for name, array in arrays.items():
        found = cci.download_raw_array(name)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(cci.download_raw_array("compressed"), arrays["plain"])
    np.testing.assert_array_equal(cci.download_dask_array("chunked").compute(), arrays["plain"])
    part = cci.download_raw_array("plain", selection=np.s_[300:302, 5:7])
    np.testing.assert_array_equal(part, arrays["plain"][300:302, 5:7])
    assert cci.download_json("text.json") == {"a": 1}
    assert cci.glob("*") == local.glob("*")
    assert cci.ls("*") == local.ls("*")
    assert not [name for name in cci.glob("*") if name.endswith(".meta.json")]
    assert cci.get_size() == local.get_size()
    lazy = cottoncandy.array(f"{server.url}/plain?X-Amz-Signature=FAKE")
    np.testing.assert_array_equal(lazy[3, 4:6], arrays["plain"][3, 4:6])
    store, key = connect_url(f"{server.url}/odd%20names/%C3%BC%20%2523%23%3F%26+%20x")
    with store.open(key) as reader:
        assert reader.read() == arrays["odd names/ü %23#?&+ x"].tobytes()


def test_encrypted_arrays_from_a_web_server(serve: Serve, tmp_path: Path) -> None:
    options: Any = {"encryption": "AES", "encryptionKey": bytes(32), "verbose": False}
    local = cottoncandy.get_encrypted_interface(f"file://{tmp_path}/web", **options)
    array = np.arange(300_000.0)
    local.upload_raw_array("name", array)
    cci = cottoncandy.get_encrypted_interface(serve().url, **options)
    np.testing.assert_array_equal(cci.download_raw_array("name"), array)


def test_writing_is_rejected_and_pickles_read(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    (tmp_path / "web/name").write_bytes(b"body")
    cci = cottoncandy.get_interface(server.url, verbose=False)
    seen = len(server.requests)
    with pytest.raises(UnsupportedOperationError, match="read-only"):
        cci.upload_object("other", b"x")
    with pytest.raises(UnsupportedOperationError, match="read-only"):
        list(cci.backend_interface.delete(["name"]))
    assert len(server.requests) == seen == 0  # connecting sends nothing, either
    for other in (copy.copy(cci), pickle.loads(pickle.dumps(cci))):
        assert other.download_object("name") == b"body"


def test_whole_bodies_are_one_request(serve: Serve, tmp_path: Path) -> None:
    body = os.urandom(5 * MiB + 3)
    (tmp_path / "web/big").write_bytes(body)
    server = serve(PlainHandler)
    with backend(server.url).get("big") as reader:
        assert reader.read() == body
        assert b"".join(reader.chunks()) == body
        assert reader.read(4 * MiB, 4 * MiB + 5) == body[4 * MiB : 4 * MiB + 5]
    gets = [path for verb, path in server.requests if (verb, path) == ("GET", "/big")]
    assert len(gets) <= 3


def test_ranges_are_read_in_parallel(serve: Serve, tmp_path: Path) -> None:
    body = os.urandom(20 * MiB)
    (tmp_path / "web/big").write_bytes(body)
    server = serve()
    with backend(server.url).get("big", threads=4) as reader:
        assert reader.read() == body
    assert len([each for each in server.requests if each == ("GET", "/big")]) >= 3


def test_a_file_that_is_replaced_is_detected(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "web/big"
    for handler in (RangeHandler, PlainHandler):
        path.write_bytes(os.urandom(20 * MiB))
        with backend(serve(handler).url).get("big", prefetch=False) as reader:
            path.write_bytes(os.urandom(19 * MiB))
            with pytest.raises(ObjectChangedError):
                reader.read(15 * MiB)


def test_statuses_become_errors(serve: Serve) -> None:
    statuses = {
        "401": CredentialsError,
        "403": AccessDeniedError,
        "404": ObjectNotFoundError,
        "410": ObjectNotFoundError,
        "418": StoreError,
        "503": StoreError,
    }
    server = serve(answering(lambda request: (int(request.path.lstrip("/")), {}, b"")))
    web = backend(server.url)
    for name, expected in statuses.items():
        for call in (web.get, web.head):
            with pytest.raises(expected) as caught:
                call(name)
            assert name in str(caught.value)
        if expected is not ObjectNotFoundError:
            with pytest.raises(expected):
                web.exists(name)
    assert web.exists("404") is False


def test_transient_errors_are_retried(serve: Serve) -> None:
    failures = [503, 429, 408, 0]

    def answer(request: Any) -> Answer | None:
        if request.path.endswith(".meta.json"):
            return 404, {}, b""
        if failures and request.command == "GET":
            status = failures.pop()
            return (status, {"Retry-After": "0"}, b"") if status else None
        return 200, {"ETag": '"1"'}, b"body"

    with backend(serve(answering(answer)).url).get("name") as reader:
        assert reader.read() == b"body"
    assert not failures


def test_a_truncated_body_is_resumed(serve: Serve) -> None:
    body = os.urandom(3 * MiB)
    cuts = [MiB, MiB]

    class Cutting(RangeHandler):
        def send(self, *, body: bool) -> None:
            if "name.meta" not in self.path and body and cuts:
                whole, self.wfile = self.wfile, Cut(self.wfile, cuts.pop())
                try:
                    super().send(body=body)
                except ConnectionResetError:
                    self.close_connection = True
                self.wfile = whole
            else:
                super().send(body=body)

    class Cut:
        def __init__(self, file: Any, left: int) -> None:
            self.file, self.left = file, left

        def write(self, data: bytes) -> int:
            self.left -= len(data)
            if self.left < 0:
                raise ConnectionResetError
            return self.file.write(data)

        def flush(self) -> None:
            self.file.flush()

    server = serve(Cutting)
    Path(server.directory / "name").write_bytes(body)
    with backend(server.url).get("name") as reader:
        assert reader.read() == body
    assert not cuts


def test_a_body_without_an_end_is_truncated(serve: Serve) -> None:
    server = serve(answering(lambda request: (200, {"Content-Length": "10"}, b"12345")))

    def answer(request: Any) -> Answer:
        request.close_connection = True
        if request.path.endswith(".meta.json"):
            return 404, {}, b""
        return 200, {"Content-Length": "10", "ETag": '"1"'}, b"12345"

    server = serve(answering(answer))
    with backend(server.url).get("name") as reader:
        reader.max_resumes = 1
        with pytest.raises(IntegrityError):
            reader.read()


def test_a_stalled_server_times_out(serve: Serve) -> None:
    given_up = threading.Event()

    def answer(request: Any) -> Answer:
        given_up.wait(60)
        return 200, {}, b""

    server = serve(answering(answer))
    with pytest.raises(StoreTimeoutError):
        backend(server.url, timeout=0.05).get("name")
    given_up.set()


def test_nothing_listens() -> None:
    with pytest.raises(StoreUnreachableError, match=r"127\.0\.0\.1:9"):
        backend("http://127.0.0.1:9/dir").get("name")


def test_redirects_and_directories(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "web/dir").mkdir()
    (tmp_path / "web/dir/name").write_bytes(b"body")
    target = serve()
    seen: list[Any] = []

    def answer(request: Any) -> Answer:
        seen.append(request.headers)
        return 302, {"Location": f"{target.url}/dir{request.path}"}, b""

    moved = HTTPBackend.connect(
        ConnectionArguments(serve(answering(answer)).url, access_key="me", secret_key="hunter2")
    )
    with moved.get("name") as reader:
        assert reader.read() == b"body"
    assert seen[0]["Authorization"].startswith("Basic ")
    web = backend(target.url)
    with pytest.raises(ObjectNotFoundError):
        web.get("dir")  # redirects to its index page
    with pytest.raises(ObjectNotFoundError):
        web.head("dir")
    loop = serve(answering(lambda request: (302, {"Location": request.path}, b"")))
    with pytest.raises(StoreError, match="redirects"):
        backend(loop.url).get("name")


def test_credentials_stay_with_their_host_and_out_of_sight(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[str, Any]] = []

    def answer(request: Any) -> Answer:
        seen.append((request.path, request.headers.get("Authorization")))
        return 404, {}, b""

    first, second = serve(answering(answer)), serve(answering(answer))
    url = first.url.replace("://", "://me:hunter2@") + "/dir/name?X-Amz-Signature=hunter2"
    caplog.set_level(logging.DEBUG)
    store, key = connect_url(url)
    assert key == "name"
    with pytest.raises(ObjectNotFoundError) as caught:
        store.open(key)
    path, _ = seen[0]  # a look for a directory of that name follows
    assert path == "/dir/name?X-Amz-Signature=hunter2"
    assert {login for _, login in seen} == {"Basic bWU6aHVudGVyMg=="}
    seen.clear()
    with pytest.raises(ObjectNotFoundError):
        store.in_bucket(second.url).open("name")
    assert seen[0] == ("/name", None)
    assert {login for _, login in seen} == {None}
    store, key = connect_url(url.replace(first.url.rpartition(":")[2].partition("/")[0], "9"))
    with pytest.raises(StoreUnreachableError) as refused:
        store.open(key)
    shown = [str(caught.value), str(refused.value), repr(store), repr(store.backend), caplog.text]
    shown += [store.backend.status_message(), str(refused.value.__cause__)]
    assert "hunter2" not in "".join(shown)
    assert "X-Amz-Signature" not in "".join(shown)


def test_signatures_of_redirects_are_out_of_sight(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: Any) -> Answer:
        if "Signature" in request.path:
            return 200, {"ETag": '"1"'}, b"body"
        if "meta.json" in request.path:
            return 404, {}, b""
        return 302, {"Location": "/other?X-Amz-Signature=hunter2"}, b""

    caplog.set_level(logging.DEBUG)
    assert backend(serve(answering(answer)).url).get("name").read() == b"body"
    assert "Redirecting" in caplog.text
    assert "hunter2" not in caplog.text


def test_encoded_bodies_are_read_as_stored(serve: Serve) -> None:
    stored = gzip.compress(b"text" * 1000)

    def answer(request: Any) -> Answer:
        headers = {"Content-Encoding": "gzip", "x-goog-stored-content-encoding": "gzip"}
        if request.headers["Accept-Encoding"] != "gzip":  # as Google's store does
            del headers["Content-Encoding"]
            return 200, headers, b"text" * 1000
        return 200, headers, stored

    with backend(serve(answering(answer)).url).get("name") as reader:
        assert reader.read() == stored
        assert reader.info.content_encoding == "gzip"


def test_metadata_from_headers(serve: Serve) -> None:
    headers = {"x-amz-meta-DType": "<f8", "x-amz-meta-note": "ü".encode().decode("latin-1")}
    server = serve(answering(lambda request: (200, {**headers, "ETag": '"1"'}, b"body")))
    info = backend(server.url).head("name")
    assert info.metadata == {"dtype": "<f8", "note": "ü"}
    assert len(server.requests) == 1  # no sidecar is requested


@pytest.mark.parametrize("content", [b"[1]", b"{", b"x" * 10, b'{"a": "' + b"x" * 5 * MiB + b'"}'])
def test_damaged_sidecars_name_themselves(serve: Serve, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "web/name").write_bytes(b"body")
    (tmp_path / "web/name.meta.json").write_bytes(content)
    with pytest.raises(MetadataError, match=r"name\.meta\.json"):
        backend(serve().url).head("name")


def test_sidecar_of_an_unfinished_replacement(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "web/name"
    path.write_bytes(b"body")
    status = path.stat()
    sidecar = tmp_path / "web/name.meta.json"
    web = backend(serve().url)
    for size, expected in ((4, "new"), (5, "old")):
        pending = {
            "body": [1, size, status.st_mtime_ns],
            "instead_of": [2, 9, 0],
            "metadata": {"which": "new"},
        }
        sidecar.write_text(json.dumps({"which": "old", "cc-pending": pending}))
        assert web.head("name").metadata == {"which": expected}


def test_sidecars_have_headers(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir(exist_ok=True)
    options = PutOptions({"a": "b"}, None, "a/b", "gzip", "no-store")
    LocalBackend(str(tmp_path / "web")).put("name", Body.of(b"x"), options)
    found = backend(serve().url).head("name")
    assert (found.content_type, found.content_encoding) == ("a/b", "gzip")
    assert (found.metadata, found.cache_control) == ({"a": "b"}, "no-store")


def test_names_that_are_other_addresses_are_rejected(serve: Serve) -> None:
    server = serve()
    web = backend(server.url)
    for key in ("a/../b", "./a", "/a", "a//b", "a/", "a\0b", "", "\udc80"):
        with pytest.raises(InvalidNameError):
            web.get(key)
        assert web.exists(key) is False
    assert not server.requests


NGINX = """<html><head><title>Index of /data/</title></head><body><h1>Index of /data/</h1><hr><pre>
<a href="../">../</a>
<a href="sub/">sub/</a>                                  02-Jan-2026 03:04                   -
<a href="a%20b%26c">a b&amp;c</a>                        02-Jan-2026 03:04               12345
<a href="a.meta.json">a.meta.json</a>                    02-Jan-2026 03:04                  10
</pre><hr></body></html>"""
APACHE = """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN"><html><head>
<title>Index of /data</title></head><body><h1>Index of /data</h1><table>
<tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=S;O=A">Size</a></th></tr>
<tr><td><a href="/">Parent Directory</a></td><td>&nbsp;</td></tr>
<tr><td><a href="sub/">sub/</a></td><td align="right">2026-01-02 03:04  </td><td>  - </td></tr>
<tr><td><a href="a%20b%26c">a b&amp;c</a></td><td>2026-01-02 03:04  </td><td> 12K</td></tr>
<tr><td><a href="https://httpd.apache.org/">Apache</a></td></tr></table></body></html>"""


@pytest.mark.parametrize("page", [NGINX, APACHE])
def test_index_pages(serve: Serve, page: str) -> None:
    def answer(request: Any) -> Answer:
        if request.path in ("/data/", "/data/sub/"):
            text = page if request.path == "/data/" else page.replace('"sub/"', '"../"')
            return 200, {"Content-Type": "text/html"}, text.encode()
        return 200, {"ETag": '"1"', "Content-Length": "12345"}, b""

    server = serve(answering(answer))
    web = backend(server.url + "/data")
    assert [(entry.key, entry.size) for entry in web.scan()] == [  # type: ignore[union-attr]
        ("a b&c", 12345),
        ("sub/a b&c", 12345),
    ]
    assert list(web.scan(delimiter="/"))[1:] == [CommonPrefix("sub/")]
    assert [entry.key for entry in web.scan("sub/")] == ["sub/a b&c"]  # type: ignore[union-attr]
    assert any(verb == "HEAD" for verb, _ in server.requests) is (page is APACHE)


def test_a_forbidden_file_is_listed(serve: Serve, tmp_path: Path) -> None:
    """Otherwise, a sync with ``delete`` would delete its copy."""

    def answer(request: Any) -> Answer:
        if request.path == "/data/":
            return 200, {"Content-Type": "text/html"}, APACHE.replace("sub/", "denied").encode()
        if request.path == "/data/denied" or request.path.endswith(".meta.json"):
            return 403, {}, b""
        return 200, {"ETag": '"1"'}, b"1"

    url = serve(answering(answer)).url + "/data"
    assert [entry.key for entry in backend(url).scan()] == ["a b&c", "denied"]  # type: ignore[union-attr]
    (tmp_path / "denied").write_bytes(b"old")
    with pytest.raises(PartialFailureError, match=r"'denied'.*access denied"):
        cottoncandy.sync(url, tmp_path, delete=True)
    assert (tmp_path / "denied").read_bytes() == b"old"
    assert (tmp_path / "a b&c").read_bytes() == b"1"


def test_hostile_index_pages(serve: Serve) -> None:
    """Apache leaves apostrophes in links; other links lead nowhere, or hold no address or date."""
    links = (
        """<a href="it's">it's</a> <a href='say "a"'>a</a> <a href="http://[bad">b</a>"""
        """<a href="//host:99999999/c">c</a> <a href="d%00d">d</a> <a href="%2e%2e/e">e</a>"""
        """<a href="..%2f..%2ff">f</a> <a href="http://ex\u2100mple.com/g">g</a>"""
        """<a href="h">h</a>    31-Feb-2026 03:04    7\n"""
        """<a href="i">i</a>    02-May-2026 03:04    7\n"""
    )
    page = f"<title>Index of /</title>{links}" + "<a href=x>" * 20_000 + "<a " * 20_000

    def answer(request: Any) -> Answer:
        if request.path == "/":
            return 200, {"Content-Type": "text/html"}, page.encode()
        return 200, {"ETag": '"1"', "Content-Length": "3"}, b""

    found = {entry.key: entry.size for entry in backend(serve(answering(answer)).url).scan()}  # type: ignore[union-attr]
    assert found == {"h": 3, "i": 7, "it's": 3, 'say "a"': 3, "x": 3}


def test_dates_of_index_pages_are_english_everywhere(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("_strptime._strptime", None)  # it depends on the locale
    page = '<h1>Index of /</h1><a href="a">a</a>  02-May-2026 03:04  7\n'
    web = backend(serve(answering(lambda request: (200, {}, page.encode()))).url)
    assert [entry.modified.isoformat() for entry in web.scan()] == ["2026-05-02T03:04:00+00:00"]  # type: ignore[union-attr]


def listing_of(keys: list[str], query: dict[str, str], limit: int = 2) -> str:
    """Return the XML that object stores send."""
    found = sorted(
        {
            query["prefix"] + rest.partition("/")[0] + "/"
            if "delimiter" in query and "/" in rest
            else key
            for key in keys
            if key.startswith(query.get("prefix", ""))
            for rest in [key.removeprefix(query.get("prefix", ""))]
        }
    )
    found = [name for name in found if name > query.get("marker", "")]
    items = "".join(
        f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
        if name.endswith("/")
        else f'<Contents><Key>{name}</Key><Size>3</Size><ETag>"1"</ETag>'
        f"<LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>"
        for name in found[:limit]
    )
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://doc.s3.amazonaws.com/2006-03-01">'
        f"{items}<IsTruncated>{str(len(found) > limit).lower()}</IsTruncated></ListBucketResult>"
    )


@pytest.mark.parametrize("directory", ["/bucket", "/bucket/data", ""])
def test_listing_of_an_object_store(serve: Serve, directory: str) -> None:
    from urllib.parse import parse_qsl, urlsplit

    keys = ["data/a", "data/b/c", "data/b/d", "data/e", "data/f", "other"]

    def answer(request: Any) -> Answer:
        parts = urlsplit(request.path)
        if parts.path in ("/bucket", "/bucket/") if directory else parts.path == "/":
            return 200, {}, listing_of(keys, dict(parse_qsl(parts.query))).encode()
        return 404, {"x-goog-hash": "x"}, b"<Error><Code>NoSuchKey</Code></Error>"

    web = backend(serve(answering(answer)).url + directory)
    root = "data/" if directory.endswith("data") else ""
    expected = [key.removeprefix(root) for key in keys if key.startswith(root)]
    found = list(web.scan())
    assert [entry.key for entry in found] == expected  # type: ignore[union-attr]
    assert isinstance(found[0], ObjectInfo)
    assert (found[0].size, found[0].modified is not None) == (3, True)
    prefix = "data/".removeprefix(root)
    names = [
        getattr(entry, "key", None) or entry.prefix for entry in web.scan(prefix, delimiter="/")
    ]  # type: ignore[union-attr]
    assert names == [prefix + name for name in ("a", "b/", "e", "f")]
    assert next(e.key for e in web.scan(start_after=prefix + "b/d")) == prefix + "e"  # type: ignore[union-attr]
    assert web.has_bucket(web.bucket_name or "")


GOOGLE = (
    "<?xml version='1.0' encoding='UTF-8'?>"
    "<ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'><Name>bucket</Name>"
    "<Prefix></Prefix><Marker>{marker}</Marker><NextMarker>{last}</NextMarker>"
    "<IsTruncated>true</IsTruncated><Contents><Key>{last}</Key>"
    "<Generation>1600000000000000</Generation><MetaGeneration>1</MetaGeneration>"
    "<LastModified>2026-01-02T03:04:05.678Z</LastModified>"
    "<ETag>&quot;5d41402abc4b2a76b9719d911017c592&quot;</ETag><Size>5</Size></Contents>"
    "</ListBucketResult>"
)


@each("last, seen", [("a", ["a"]), ("", []), ("../b", ["../b"])])
def test_object_stores_that_list_nonsense(serve: Serve, last: str, seen: list[str]) -> None:
    def answer(request: Any) -> Answer:
        if request.path.startswith("/bucket?"):
            return 200, {}, GOOGLE.format(marker="", last=last).encode()
        return 404, {}, b""

    found: list[str] = []
    entries = islice(backend(serve(answering(answer)).url + "/bucket").scan(), 10)
    with pytest.raises(IntegrityError):
        found.extend(entry.key for entry in entries)  # type: ignore[union-attr]
    assert found == seen


def test_directories_without_a_listing(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "web/site").mkdir()
    (tmp_path / "web/site/index.html").write_text("<html><title>My lab</title></html>")
    (tmp_path / "web/site/name").write_bytes(b"body")
    web = backend(serve().url + "/site")
    with pytest.raises(UnsupportedOperationError, match="no index page"):
        list(web.scan())
    with web.get("name") as reader:
        assert reader.read() == b"body"
    with pytest.raises(BucketNotFoundError):
        list(web.with_bucket((web.bucket_name or "") + "/missing").scan())
    denied = serve(answering(lambda request: (403, {}, b"")))
    with pytest.raises(AccessDeniedError):
        list(backend(denied.url).scan())


def test_links_that_lead_back_end(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "web/a").mkdir()
    (tmp_path / "web/a/name").write_bytes(b"")
    (tmp_path / "web/a/loop").symlink_to(tmp_path / "web")
    keys = [entry.key for entry in backend(serve().url).scan("a/")]  # type: ignore[union-attr]
    assert "a/name" in keys
    assert len(keys) < 600


@each(
    "options, message",
    [
        ({"headers": "x"}, "headers"),
        ({"headers": {"a": "b\nc"}}, "headers"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "1"}, "timeout"),
        ({"timout": 1}, "did you mean 'timeout'"),
    ],
)
def test_wrong_options_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        backend("http://127.0.0.1:9", **options)


def test_wrong_addresses_are_rejected() -> None:
    for url in ("bucket", "ftp://host", "http://", ""):
        with pytest.raises(ConfigurationError, match="URL"):
            backend(url)
    joined = HTTPBackend.connect(ConnectionArguments("a b/c", endpoint_url="http://127.0.0.1:9/x"))
    assert joined.bucket_name == "http://127.0.0.1:9/x/a%20b/c"


def test_headers_of_the_user_are_sent(serve: Serve) -> None:
    seen: list[Any] = []

    def answer(request: Any) -> Answer:
        seen.append(request.headers["Authorization"])
        return 404, {}, b""

    cci = cottoncandy.get_interface(
        serve(answering(answer)).url, headers={"Authorization": "Bearer token"}, verbose=False
    )
    with pytest.raises(ObjectNotFoundError):
        cci.download_object("name")
    assert set(seen) == {"Bearer token"}
    assert "token" not in repr(cci)
