"""Names and metadata on S3: stored exactly, or rejected; and listings of them."""

from __future__ import annotations

import http.client
import os
import threading
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cottoncandy.backends.base import ObjectInfo, PutOptions
from cottoncandy.backends.s3.clients import Connection
from cottoncandy.backends.s3.keys import METADATA_LIMITS, obstore_accepts_key
from cottoncandy.backends.s3.options import S3Options
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import InvalidNameError, MetadataError, StoreError
from cottoncandy.interfaces import FileSystemInterface
from cottoncandy.interfaces.base import interface_on
from cottoncandy.options import Settings
from cottoncandy.stores.store import Store
from tests.backends._s3 import backend_at
from tests.cases import each
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.server

# Next to each of them, the store holds the key that a careless client would make of it.
ODD = [
    "a//b",
    "./a",
    "a/../b",
    "a/.",
    "..",
    "/lead",
    "//lead",
    "/",
    "trail/",
    "a\x01b",
    "a\tb",
    "a\rb",
    "a\x7fb",
    "a b",
    "a+b",
    "a%20b",
    "%2e%2e/x",
    "a#b",
    "a?b=1",
    "a&amp;<b>\"'",
    "ü/日本",
    "\ufeffx",
    "a\\b",
    "🙂",
    "...",
]
TWINS = ["a/b", "a", "b", "lead", "trail", "ab", "x", ".", "a+b c"]


def keys_of(listing: Any) -> list[str]:
    return [each.key if isinstance(each, ObjectInfo) else each.prefix for each in listing]


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_odd_names_round_trip(store: Any) -> None:
    backend = backend_at(store.server, store.bucket)
    everything = {key: key.encode() + b"!" for key in [*TWINS, *ODD]}
    for key, data in everything.items():
        backend.put(key, Body.of(data), PutOptions({"mark": "m"}))
    assert keys_of(backend.scan()) == sorted(everything, key=str.encode)
    assert sorted(store.raw_keys()) == sorted(everything)
    for key, data in everything.items():
        reader = backend.get(key)
        assert (reader.info.key, reader.read(), reader.metadata) == (key, data, {"mark": "m"})
        assert backend.head(key).size == len(data)
        assert next(iter(keys_of(backend.scan(key)))) == key
    backend.copy("a//b", "copied//twice")
    assert backend.get("copied//twice").read() == everything["a//b"]
    backend.move("copied//twice", "/moved")
    assert backend.get("/moved").read() == everything["a//b"]
    assert [each.error for each in backend.delete([*ODD, "/moved"])] == [None] * (len(ODD) + 1)
    assert keys_of(backend.scan()) == sorted(TWINS, key=str.encode)


@pytest.mark.parametrize("key", ["", "a\ud800", "x" * 1025, "é" * 513, "a\0b"])
def test_names_that_are_refused(fault_proxy: FaultProxy, moto_bucket: str, key: str) -> None:
    backend = backend_at(fault_proxy.server, moto_bucket)
    with pytest.raises(InvalidNameError):
        backend.put(key, Body.of(b"1"))
    assert fault_proxy.requests == []


@given(st.text(alphabet="ab./\x01\n ü%", min_size=1, max_size=8))
def test_plain_keys_are_those_that_obstore_keeps(key: str) -> None:
    """As obstore's own path parser has it."""
    import obstore
    from obstore.store import MemoryStore

    store = MemoryStore()
    try:
        obstore.put(store, key, b"")
        kept = [each["path"] for page in obstore.list(store) for each in page] == [key]
    except ValueError:
        kept = False
    assert obstore_accepts_key(key) <= kept


class _NormalizingHandler(BaseHTTPRequestHandler):
    """A server that tidies up paths before it looks at them."""

    def do_GET(self) -> None:  # the name is the interface's
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        tidy = os.path.normpath(path)
        body = (
            b"<ListBucketResult/>"
            if tidy == "/bucket"
            else b"<Error><Code>NoSuchKey</Code></Error>"
        )
        self.send_response(200 if tidy == "/bucket" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:  # the name is the interface's
        raise AssertionError("nothing may be stored")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the interface's name
        pass


@pytest.fixture
def normalizing_server() -> Iterator[S3Server]:
    """A server that would store names under others."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _NormalizingHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield S3Server(f"http://127.0.0.1:{server.server_address[1]}", "FAKE-ACCESS", "FAKE-SECRET")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("key", ["a/../b", "../b", "a//b", "/b", "./b"])
def test_server_that_tidies_names(normalizing_server: S3Server, key: str) -> None:
    backend = backend_at(normalizing_server, "bucket")
    with pytest.raises(InvalidNameError, match="stored under another"):
        backend.put(key, Body.of(b"1"))
    with pytest.raises(InvalidNameError, match="stored under another"):
        backend.copy("x", key)


# -- metadata ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [
        {"": "v"},
        {"a b": "v"},
        {"a:": "v"},
        {"a~": "v"},
        {"ü": "v"},
        {"a\n": "v"},
        {"a": "ü"},
        {"a": " v"},
        {"a": "v "},
        {"a": "v\n"},
        {"a": "v\r\nx-amz-acl: public-read"},
        {"a": "\x00"},
        {"a": "v\x7f"},
        {"A": "1", "a": "2"},
        {"a": b"1"},
        {"cc-names": "a_b"},
        {1: "a"},
        {"a": "x" * 2048},
    ],
)
def test_metadata_that_is_refused(
    fault_proxy: FaultProxy, moto_bucket: str, metadata: dict[str, str]
) -> None:
    backend = backend_at(fault_proxy.server, moto_bucket)
    with pytest.raises(MetadataError, match="'name'"):
        backend.put("name", Body.of(b"1"), PutOptions(metadata))
    assert fault_proxy.requests == []


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_metadata_round_trip(store: Any) -> None:
    backend = backend_at(store.server, store.bucket)
    metadata = {
        "Dtype": "<f8",
        "empty": "",
        "content-type": "mine",
        "cache-control": "mine too",
        "json": '{"a": [1, "~"]}',
        "0.dotted-name": "1",
        "full": "x" * 1900,
    }
    expected = METADATA_LIMITS.check(metadata, "name")
    backend.put("name", Body.of(b"1"), PutOptions(metadata, content_type="text/x-own"))
    for info in (backend.head("name"), backend.get("name").info):
        assert info.metadata == expected
        assert info.content_type == "text/x-own"
    assert store.raw_get("name").metadata == expected


@pytest.mark.parametrize("server", ["moto", "ceph"])
def test_underscores_come_back(server: str, request: pytest.FixtureRequest) -> None:
    """Ceph stores them as dashes; the true names are stored next to them."""
    place = request.getfixturevalue(server)
    bucket = request.getfixturevalue(f"{server}_bucket")
    backend = backend_at(place, bucket)
    given = {"my_key": "1", "a_b_c": "2", "with-dash": "3", "plain": "4"}
    backend.put("name", Body.of(b"1"), PutOptions(given))
    assert backend.head("name").metadata == given
    assert backend.get("name").info.metadata == given
    backend.copy("name", "copy")
    assert backend.head("copy").metadata == given
    backend.put("//odd", Body.of(b"1"), PutOptions(given))
    assert backend.head("//odd").metadata == given
    with pytest.raises(MetadataError, match="differ only in"):
        backend.put("other", Body.of(b"1"), PutOptions({"a_b": "v", "a-b": "w"}))
    assert not backend.exists("other")


def test_metadata_that_others_made(moto: S3Server, moto_bucket: str) -> None:
    """Not even ASCII: obstore can't read it, so boto3 does."""
    data = bytes(range(256)) * 4096 * 9
    client = moto.client()
    url = urllib.parse.urlsplit(
        client.generate_presigned_url("put_object", Params={"Bucket": moto_bucket, "Key": "k"})
    )
    connection = http.client.HTTPConnection(url.netloc)
    connection.putrequest("PUT", f"{url.path}?{url.query}")
    connection.putheader("Content-Length", str(len(data)))
    connection.putheader("x-amz-meta-note", "grün 日本".encode())
    connection.putheader("x-amz-meta-x_y", "1")
    connection.endheaders()
    connection.send(data)
    with connection.getresponse() as response:
        assert response.status == 200
        response.read()
    connection.close()
    client.close()
    backend = backend_at(moto, moto_bucket)
    assert backend.head("k").metadata == {"note": "grün 日本", "x_y": "1"}
    for prefetch in (True, False):
        reader = backend.get("k", prefetch=prefetch)
        assert reader.metadata["note"] == "grün 日本"
        assert reader.read() == data


def test_deletion_that_fails_for_some(fault_proxy: FaultProxy, moto_bucket: str) -> None:
    backend = backend_at(fault_proxy.server, moto_bucket)
    fault_proxy.on("POST", query="delete").answer(
        200,
        body=b"<DeleteResult><Deleted><Key>a</Key></Deleted>"
        b"<Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        b"<Error><Key>c</Key><Code>NoSuchKey</Code></Error></DeleteResult>",
    )
    outcome = {each.key: each.error for each in backend.delete(["a", "b", "c"])}
    assert outcome["a"] is None
    assert outcome["c"] is None
    assert isinstance(outcome["b"], PermissionError)
    assert "'b'" in str(outcome["b"])


def test_deletion_whose_answer_is_about_other_keys(
    fault_proxy: FaultProxy, moto_bucket: str
) -> None:
    backend = backend_at(fault_proxy.server, moto_bucket)
    fault_proxy.on("POST", query="delete").answer(
        200,
        body=b"<DeleteResult><Deleted><Key>a</Key></Deleted><Deleted><Key>c</Key></Deleted>"
        b"</DeleteResult>",
    )
    with pytest.raises(StoreError, match=r"no outcome for \['b'\]"):
        list(backend.delete(["a", "b"]))


# -- processes, threads, regions -----------------------------------------------------------------


def test_many_threads(moto: S3Server, moto_bucket: str) -> None:
    backend = backend_at(moto, moto_bucket)

    def trip(i: int) -> bool:
        data = bytes([i]) * (i + 1)
        key = f"k//{i}" if i % 2 else f"k/{i}"
        backend.put(key, Body.of(data), PutOptions(acl="public-read" if i % 3 else None))
        return backend.get(key).read() == data

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(trip, range(64)))


@each("status", [200, 301, 403])
def test_region_of_an_aws_bucket(status: int) -> None:
    """Asked once; refusals name the region too."""
    connection = Connection(S3Options(Settings(), ("FAKE-ACCESS", "FAKE-SECRET", None)))
    calls = []

    def answer(**_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        calls.append(1)
        headers = {"x-amz-bucket-region": "eu-west-3"}
        response = AWSResponse("https://nowhere", status, headers, None)
        response._content = b""
        return response

    connection.client.meta.events.register("before-send.s3.HeadBucket", answer)
    assert connection.on_aws
    assert [connection.bucket_region("b") for _ in range(3)] == ["eu-west-3"] * 3
    assert len(calls) <= 2  # botocore asks once more where it was redirected
    assert connection._address("b", "eu-west-3")[0] == "https://b.s3.eu-west-3.amazonaws.com"


def test_native_objects(moto: S3Server, moto_bucket: str) -> None:
    backend = backend_at(moto, moto_bucket)
    backend.put("name", Body.of(b"bytes"))
    assert backend.native_object("name").get()["Body"].read() == b"bytes"
    assert [each.key for each in backend.native_bucket().objects.all()] == ["name"]
    assert set(backend.owner("name")) >= {"ID"}


def test_owner_that_s3cmd_noted(fault_proxy: FaultProxy, moto_bucket: str) -> None:
    backend = backend_at(fault_proxy.server, moto_bucket)
    noted = {"s3cmd-attrs": "uid:1000/gname:lab/uname:somebody"}
    backend.put("name", Body.of(b""), PutOptions(noted))
    fault_proxy.on("GET", "name", query="acl").answer(403, "AccessDenied")
    cci = interface_on(FileSystemInterface, Store(backend, Settings()))
    noted_owner = {"uid": "1000", "gname": "lab", "uname": "somebody"}
    assert cci.get_object_owner("name") == noted_owner
    backend.put("name", Body.of(b""))
    with pytest.raises(PermissionError):
        cci.get_object_owner("name")
