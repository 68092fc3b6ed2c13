"""The test servers serve, and the fault proxy breaks what it is told to break, and only that."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.exceptions import HTTPClientError as BotocoreHTTPError

from tests.harness import StoreHarness
from tests.servers import S3Server
from tests.servers._http import Connection, body_pieces, read_head
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.server

BODY = bytes(range(256)) * 8

# Names that a proxy would ruin if it touched the target.
KEYS = ["plain", "a//b", "x/../y", "./z", "sp ace", "per%cent", "pl+us#hash?", "ünï/日本"]


@pytest.fixture
def stored(fault_proxy: FaultProxy, moto: S3Server, moto_bucket: str) -> Iterator[Any]:
    """A bucket with the object ``x``, and a client that goes through the proxy."""
    with closing(moto.client()) as direct:
        direct.put_object(Bucket=moto_bucket, Key="x", Body=BODY)
    # One attempt: the tests want to see each fault, not botocore's remedy.
    with closing(fault_proxy.server.client(retries={"total_max_attempts": 1})) as client:
        yield client, moto_bucket


@contextmanager
def raw_get(stored: Any) -> Iterator[http.client.HTTPResponse]:
    """GET ``x`` without any library that would help."""
    client, bucket = stored
    url = urlsplit(client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "x"}))
    with closing(http.client.HTTPConnection(url.netloc, timeout=60)) as connection:
        connection.request("GET", f"{url.path}?{url.query}")
        with connection.getresponse() as answer:
            yield answer


@pytest.mark.parametrize("server_name", ["moto", "ceph"])
def test_proxy_is_transparent(
    server_name: str,
    request: pytest.FixtureRequest,
    make_proxy: Callable[[S3Server], FaultProxy],
) -> None:
    server: S3Server = request.getfixturevalue(server_name)
    proxy = make_proxy(server)
    bucket = server.make_bucket()
    body = os.urandom(3 * 2**20 + 1)
    with closing(proxy.server.client()) as through, closing(server.client()) as direct:
        for number, key in enumerate(KEYS):
            through.put_object(
                Bucket=bucket, Key=key, Body=body[number:], Metadata={"n": str(number)}
            )
        for client in (direct, through):  # Ceph sends listings in chunks
            listed = [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]]
            assert sorted(listed) == sorted(KEYS)
        for number, key in enumerate(KEYS):
            answer = through.get_object(Bucket=bucket, Key=key)
            assert answer["Body"].read() == body[number:]
        part = through.get_object(Bucket=bucket, Key="plain", Range="bytes=5-9")
        assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert part["Body"].read() == body[5:10]
        assert through.head_object(Bucket=bucket, Key="plain")["ContentLength"] == len(body)
        with pytest.raises(ClientError, match="NoSuchKey"):
            through.get_object(Bucket=bucket, Key="missing")
        through.delete_object(Bucket=bucket, Key="plain")
    puts, gets = proxy.select("PUT"), proxy.select("GET", f"/{bucket}/")
    assert proxy.count("GET", query="list-type") == 1
    assert [put.received for put in puts] == [len(body) - n for n in range(len(KEYS))]
    assert [get.sent for get in gets][: len(KEYS)] == [len(body) - n for n in range(len(KEYS))]
    assert (gets[-2].range, gets[-2].sent, gets[-2].status) == ((5, 10), 5, 206)
    assert gets[-1].status == 404
    assert puts[KEYS.index("per%cent")].target == f"/{bucket}/per%25cent"
    assert proxy.count("HEAD") == 1
    assert proxy.count("DELETE", "plain") == 1
    server.remove_bucket(bucket)


def test_proxy_keeps_connections_and_serves_many_at_once(stored: Any, moto: S3Server) -> None:
    client, bucket = stored
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda _: client.get_object(Bucket=bucket, Key="x")["Body"].read(), range(40)
        )
        assert set(answers) == {BODY}


def test_chunked_bodies_are_cut_without_changing_a_byte() -> None:
    wire = b"3;name=value\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\n"
    ours, theirs = socket.socketpair()
    with closing(Connection(ours)) as connection, closing(theirs):
        theirs.sendall(b"PUT /x HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n" + wire + b"NEXT")
        head = read_head(connection)
        assert head is not None
        pieces = list(body_pieces(connection, head, is_request=True))
        assert connection.read_some(4) == b"NEXT"
    assert b"".join(piece for piece, _ in pieces) == wire
    assert b"".join(content for _, content in pieces) == b"abc0123456789abcdef"


def test_truncate(fault_proxy: FaultProxy, stored: Any) -> None:
    fault_proxy.on("GET", "/x", times=1).truncate(100)
    with raw_get(stored) as answer:
        assert answer.headers["Content-Length"] == str(len(BODY))
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
    assert caught.value.partial == BODY[:100]
    assert fault_proxy.requests[-1].sent == 100
    with raw_get(stored) as answer:
        assert answer.read() == BODY


def test_truncate_by_reset(fault_proxy: FaultProxy, stored: Any) -> None:
    fault_proxy.on("GET", "/x").truncate(100, reset=True)
    with pytest.raises(ConnectionResetError), raw_get(stored) as answer:
        answer.read()


def test_flip(fault_proxy: FaultProxy, stored: Any) -> None:
    client, bucket = stored
    fault_proxy.on("GET", "/x", times=1).flip(1000, 0x80)
    read = client.get_object(Bucket=bucket, Key="x")["Body"].read()
    assert [at for at in range(len(BODY)) if BODY[at] != read[at]] == [1000]
    assert read[1000] == BODY[1000] ^ 0x80
    assert client.get_object(Bucket=bucket, Key="x")["Body"].read() == BODY


def test_answer_some_times_after_some(fault_proxy: FaultProxy, stored: Any) -> None:
    client, bucket = stored
    rule = fault_proxy.on("GET", "/x", times=2, skip=1).answer(503, "SlowDown")
    outcomes = []
    for _ in range(4):
        try:
            client.get_object(Bucket=bucket, Key="x")["Body"].close()
            outcomes.append("ok")
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])
    assert outcomes == ["ok", "SlowDown", "SlowDown", "ok"]
    assert rule.hits == 2
    assert fault_proxy.count("GET", "/x") == 4


def test_answer_takes_the_body_of_an_upload(fault_proxy: FaultProxy, stored: Any) -> None:
    client, bucket = stored
    fault_proxy.on("PUT").answer(500, "InternalError")
    with pytest.raises(ClientError, match="InternalError"):
        client.put_object(Bucket=bucket, Key="y", Body=BODY)
    fault_proxy.remove_rules()
    assert "Contents" in client.list_objects_v2(Bucket=bucket)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_refuse_acl(fault_proxy: FaultProxy, stored: Any) -> None:
    client, bucket = stored
    fault_proxy.on().refuse_acl()
    with pytest.raises(ClientError, match="AccessControlListNotSupported"):
        client.put_object(Bucket=bucket, Key="y", Body=BODY, ACL="authenticated-read")
    client.put_object(Bucket=bucket, Key="y", Body=BODY)


@pytest.mark.parametrize("delivered", [False, True])
def test_reset(fault_proxy: FaultProxy, stored: Any, delivered: bool) -> None:
    client, bucket = stored
    fault_proxy.on("DELETE", times=1).reset(delivered=delivered)
    with pytest.raises((ConnectionClosedError, BotocoreHTTPError)):
        client.delete_object(Bucket=bucket, Key="x")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == (0 if delivered else 1)


@pytest.mark.parametrize("at", [None, 500])
def test_hang_until_released(fault_proxy: FaultProxy, stored: Any, at: int | None) -> None:
    client, bucket = stored
    rule = fault_proxy.on("GET", "/x").hang(at)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: client.get_object(Bucket=bucket, Key="x")["Body"].read())
        assert rule.entered.wait(60)
        assert not future.done()
        rule.release()
        assert future.result(60) == BODY


def test_stop_frees_what_hangs(moto: S3Server, moto_bucket: str) -> None:
    proxy = FaultProxy(moto)
    rule = proxy.on().hang()
    connection = http.client.HTTPConnection(*proxy.server.address, timeout=60)
    connection.request("GET", f"/{moto_bucket}/x")
    assert rule.entered.wait(60)
    proxy.stop()
    assert not any(thread.is_alive() for thread in proxy._threads)
    connection.close()


def test_ignore_range(fault_proxy: FaultProxy, stored: Any) -> None:
    client, bucket = stored
    fault_proxy.on(header="Range").ignore_range()
    answer = client.get_object(Bucket=bucket, Key="x", Range="bytes=3-5")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["Body"].read() == BODY
    assert fault_proxy.requests[-1].range == (3, 6)


def test_change_headers(fault_proxy: FaultProxy, stored: Any) -> None:
    client, bucket = stored
    before = client.head_object(Bucket=bucket, Key="x")["ETag"]
    fault_proxy.on("HEAD", times=1).change_etag('"another"')
    assert client.head_object(Bucket=bucket, Key="x")["ETag"] == '"another"'
    assert client.head_object(Bucket=bucket, Key="x")["ETag"] == before
    fault_proxy.on("HEAD").change_header("ETag", None)
    assert "ETag" not in client.head_object(Bucket=bucket, Key="x")


def test_ceph_checks_who_asks(ceph: S3Server, ceph_other_user: S3Server, ceph_bucket: str) -> None:
    with closing(ceph.client()) as client:
        client.put_object(Bucket=ceph_bucket, Key="x", Body=BODY)
    with closing(ceph_other_user.client()) as client, pytest.raises(ClientError) as caught:
        client.get_object(Bucket=ceph_bucket, Key="x")
    assert caught.value.response["Error"]["Code"] == "AccessDenied"


def test_raw_hooks(store: StoreHarness) -> None:
    """Harnesses see the objects that they put into the store directly."""
    for key in ("dir/b", "dir/a", "dir2/c"):
        store.raw_put(key, key.encode(), {"name": key})
    assert store.raw_keys() == ["dir/a", "dir/b", "dir2/c"]
    assert store.raw_keys("dir/") == ["dir/a", "dir/b"]
    assert store.raw_get("dir/a") == (b"dir/a", {"name": "dir/a"})
    store.raw_delete("dir/a")
    assert store.raw_keys("dir/") == ["dir/b"]
    with pytest.raises(KeyError):
        store.raw_get("dir/a")
    other = store.fresh_bucket()
    assert store.raw_keys(bucket=other) == []


def test_no_test_sees_the_developers_account(isolated_environment: Path) -> None:
    assert Path.home() == isolated_environment
    assert not [name for name in os.environ if name.startswith(("AWS_ACC", "AWS_SEC", "AWS_PRO"))]
