"""Bodies between memory and S3: requests counted, faults met, uploads whole or absent."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config

from cottoncandy._body import Body
from cottoncandy._buffers import MiB
from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.s3 import S3Backend
from cottoncandy.backends.s3._reader import window_bytes
from cottoncandy.backends.s3._upload import gathered_parts, part_sizes
from cottoncandy.exceptions import (
    CredentialsError,
    IntegrityError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreError,
    StoreUnreachableError,
)
from cottoncandy.options import Settings
from tests.servers import S3Server
from tests.servers.base import free_port, wait_until
from tests.servers.proxy import FaultProxy

QUICK = Config(retries={"max_attempts": 0}, read_timeout=5)
# Ranges of 1 MiB and parts of 5 MiB (S3's least), so that small bodies take many requests.
SMALL = Settings(mpd_chunksize_bytes=MiB, mpu_use_threshold_bytes=5 * MiB, mpu_chunksize_bytes=1)


def backend_at(
    server: S3Server, bucket: str, settings: Settings = SMALL, config: Config | None = None
) -> S3Backend:
    return S3Backend.connect(
        ConnectionArguments(
            bucket,
            server.access_key,
            server.secret_key,
            server.endpoint_url,
            settings,
            {} if config is None else {"config": config},
        )
    )


def pattern(size: int) -> bytes:
    """Bytes in which every MiB looks different."""
    return b"".join(i.to_bytes(4, "little") * (MiB // 4) for i in range(1, -(-size // MiB) + 1))[
        :size
    ]


def pieces_of(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.fixture
def backend(fault_proxy: FaultProxy, moto_bucket: str) -> S3Backend:
    """A backend behind the proxy, without retries."""
    return backend_at(fault_proxy.server, moto_bucket, config=QUICK)


@pytest.fixture
def behind(moto: S3Server, moto_bucket: str) -> S3Backend:
    """The same bucket, without the proxy."""
    return backend_at(moto, moto_bucket)


def uploads_in(server: S3Server, bucket: str) -> list[str]:
    found = server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [each["Key"] for each in found]


# -- requests ------------------------------------------------------------------------------------


def requests_of(proxy: FaultProxy, call: Callable[[], object]) -> list[str]:
    before = len(proxy.requests)
    call()
    return [request.method for request in proxy.requests[before:]]


def test_requests_of_small_objects(backend: S3Backend, fault_proxy: FaultProxy) -> None:
    assert requests_of(fault_proxy, lambda: backend.put("a", Body.of(b"body"))) == ["PUT"]
    assert requests_of(fault_proxy, lambda: backend.get("a").read()) == ["GET"]
    assert requests_of(fault_proxy, lambda: backend.head("a")) == ["HEAD"]
    assert requests_of(fault_proxy, lambda: backend.get("a", prefetch=False)) == ["HEAD"]
    assert requests_of(fault_proxy, lambda: backend.exists("missing")) == ["HEAD"]
    pieces = Body.of(iter([b"b", b"ody"]))
    assert requests_of(fault_proxy, lambda: backend.put("a", pieces)) == ["PUT"]
    assert backend.get("a").read() == b"body"


def test_requests_of_a_large_object(
    backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
) -> None:
    data = pattern(4 * MiB + 5)
    behind.put("large", Body.of(data))
    out = bytearray(len(data))
    backend.get("large", threads=3).read_into(memoryview(out))
    assert out == data
    ranges = sorted(request.range for request in fault_proxy.select("GET", "large"))
    share = MiB + 2  # a window came with the head; the rest is shared by three threads
    starts = [0, *(MiB + i * share for i in range(3)), len(data)]
    assert ranges == list(itertools.pairwise(starts))
    etag = behind.head("large").etag
    conditions = [request.headers.get("if-match") for request in fault_proxy.select("GET", "large")]
    assert sorted(map(str, conditions)) == sorted(["None", *[str(etag)] * 3])


def test_a_slice_brings_only_its_bytes(
    backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
) -> None:
    data = pattern(3 * MiB)
    behind.put("large", Body.of(data))
    reader = backend.get("large", prefetch=False)
    assert reader.read(MiB - 2, MiB + 2) == data[MiB - 2 : MiB + 2]
    assert [request.range for request in fault_proxy.select("GET")] == [(MiB - 2, MiB + 2)]


def test_listing_looks_no_further_than_needed(
    backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
) -> None:
    for i in range(9):
        behind.put(f"k{i}", Body.of(b""))
    listing = backend.scan(page_size=2)
    assert fault_proxy.requests == []
    assert [next(listing).key, next(listing).key] == ["k0", "k1"]  # type: ignore[union-attr]
    assert len(fault_proxy.requests) == 1
    assert [each.key for each in listing] == [f"k{i}" for i in range(2, 9)]  # type: ignore[union-attr]
    assert len(fault_proxy.requests) == 5


def test_bulk_deletion(backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy) -> None:
    keys = [f"k{i}" for i in range(12)] + ["a\x01b", "a\rb"]
    for key in keys:
        behind.put(key, Body.of(b""))
    outcome = list(backend.delete([*keys, "never there"]))
    assert [(each.key, each.error) for each in outcome] == [
        (k, None) for k in [*keys, "never there"]
    ]
    assert sorted(
        request.method for request in fault_proxy.requests if request.method != "GET"
    ) == [
        "DELETE",
        "DELETE",
        "POST",
    ]
    assert list(behind.scan()) == []


# -- faults while reading ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1000, 3 * MiB])
@pytest.mark.parametrize("odd", [False, True])
def test_truncated_body(
    backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy, size: int, odd: bool
) -> None:
    """By either client: a key that obstore can't say goes through boto3."""
    key = "odd//name" if odd else "name"
    behind.put(key, Body.of(pattern(size)))
    fault_proxy.on("GET", "name", skip=0 if size == 1000 else 1).truncate(500)
    out = bytearray(size)
    with pytest.raises((IntegrityError, StoreError), match="name"):
        backend.get(key).read_into(memoryview(out))


@pytest.mark.parametrize("key", ["name", "odd//name"])
def test_server_that_ignores_ranges(
    backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy, key: str
) -> None:
    behind.put(key, Body.of(pattern(2 * MiB)))
    fault_proxy.on("GET", "name").ignore_range()
    with pytest.raises(IntegrityError, match="range"):
        backend.get(key).read()


@pytest.mark.parametrize("key", ["name", "odd//name"])
def test_object_replaced_while_it_is_read(backend: S3Backend, behind: S3Backend, key: str) -> None:
    behind.put(key, Body.of(pattern(3 * MiB)))
    reader = backend.get(key)
    behind.put(key, Body.of(bytes(3 * MiB)))
    with pytest.raises(ObjectChangedError, match="name"):
        reader.read()
    behind.put(key, Body.of(b"short"))
    with pytest.raises(ObjectChangedError, match="name"):
        reader.read_into(memoryview(bytearray(3 * MiB)))


def test_replaced_where_if_match_is_ignored(
    backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
) -> None:
    behind.put("name", Body.of(pattern(3 * MiB)))
    reader = backend.get("name")
    fault_proxy.on("GET", "name").change_etag()
    with pytest.raises(ObjectChangedError, match="name"):
        reader.read()


def test_transient_errors_are_retried(
    fault_proxy: FaultProxy, moto_bucket: str, behind: S3Backend
) -> None:
    backend = backend_at(fault_proxy.server, moto_bucket)
    data = pattern(3 * MiB)
    behind.put("name", Body.of(data))
    for skip in (0, 1):
        fault_proxy.on("GET", "name", times=1, skip=skip).answer(503, "SlowDown")
    assert backend.get("name").read() == data
    fault_proxy.on("PUT", "other", times=1).answer(500, "InternalError")
    backend.put("other", Body.of(data))
    assert behind.get("other").read() == data


def test_dead_endpoint_is_reported_soon() -> None:
    server = S3Server(f"http://127.0.0.1:{free_port()}", "FAKE-ACCESS", "FAKE-SECRET")
    backend = backend_at(server, "bucket", config=Config(retries={"max_attempts": 1}))
    for request in (
        lambda: backend.get("x"),
        lambda: backend.head("x"),
        lambda: backend.put("x", Body.of(b"")),
        lambda: list(backend.scan()),
        lambda: backend.has_bucket("bucket"),
    ):
        with pytest.raises(StoreUnreachableError, match=server.endpoint_url):
            request()
    assert backend_at(server, "b")._connection._retries()["max_retries"] <= 5


# -- uploads: whole or absent --------------------------------------------------------------------


def test_part_sizes() -> None:
    settings = Settings()
    assert next(part_sizes(settings, 100 * MiB, gathered=False)) == 16 * MiB
    assert next(part_sizes(settings, 100 * MiB, gathered=True)) == 8 * MiB
    bound = 1000 * 1024 * MiB
    assert next(part_sizes(settings, bound, gathered=True)) * settings.max_mpu_parts >= bound
    sizes = part_sizes(settings, None, gathered=True)
    total = sum(next(sizes) for _ in range(settings.max_mpu_parts))
    assert total >= 5 * MiB * MiB
    old_file = Settings(mpu_chunksize_bytes=100 * MiB)
    assert next(part_sizes(old_file, 1000 * MiB, gathered=False)) == 16 * MiB
    assert next(part_sizes(Settings(mpu_chunksize_bytes=1), 9, gathered=True)) == 5 * MiB


def test_gathered_parts() -> None:
    blocks = [b"", b"a", b"bc", b"defghij", b"k", b"", b"lmno"]
    for size in range(1, 17):
        parts = [bytes(part) for part in gathered_parts(iter(blocks), iter([size] * 20))]
        assert b"".join(parts) == b"abcdefghijklmno"
        assert all(len(part) == size for part in parts[:-1])


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
@pytest.mark.parametrize("as_pieces", [False, True])
def test_multipart_round_trip(store: Any, as_pieces: bool) -> None:
    data = pattern(12 * MiB + 1)
    backend = backend_at(store.server, store.bucket)
    body = Body.of(pieces_of(data, 700_001)) if as_pieces else Body.of(data)
    result = backend.put(
        "a//b", body, metadata={"Shape": "3,4"}, acl="public-read", content_type="text/x-own"
    )
    info = backend.head("a//b")
    assert (info.size, info.metadata, info.content_type) == (
        len(data),
        {"shape": "3,4"},
        "text/x-own",
    )
    assert info.etag is not None
    assert info.etag.endswith('-3"')
    assert result.etag in (None, info.etag)
    assert store.raw_get("a//b").body == data
    grants = store.client.get_object_acl(Bucket=store.bucket, Key="a//b")["Grants"]
    assert any("AllUsers" in grant["Grantee"].get("URI", "") for grant in grants)


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_body_that_fails_on_the_way(store: Any) -> None:
    backend = backend_at(store.server, store.bucket)
    backend.put("name", Body.of(b"before"))

    def failing() -> Iterator[bytes]:
        yield from pieces_of(pattern(11 * MiB), MiB)
        raise OSError("the tape is torn")

    with pytest.raises(OSError, match="the tape is torn"):
        backend.put("name", Body.of(failing()))
    assert store.raw_get("name").body == b"before"
    assert uploads_in(store.server, store.bucket) == []


def test_body_of_another_size_than_announced(behind: S3Backend, moto: S3Server) -> None:
    for size, actual in ((10, 9), (10, 11), (12 * MiB, 11 * MiB)):
        data = pattern(actual)
        body = Body(lambda data=data: iter([data]), size=size)  # type: ignore[misc]
        with pytest.raises(IntegrityError, match=f"{size} bytes and had {actual}"):
            behind.put("name", body)
        assert not behind.exists("name")
        assert uploads_in(moto, str(behind.bucket_name)) == []


def test_part_that_fails(
    backend: S3Backend, behind: S3Backend, moto: S3Server, fault_proxy: FaultProxy
) -> None:
    behind.put("name", Body.of(b"before"))
    fault_proxy.on("PUT", "name", query="partNumber", skip=1).answer(403, "AccessDenied")
    with pytest.raises(PermissionError, match="'name'"):
        backend.put("name", Body.of(pattern(16 * MiB)))
    assert behind.get("name").read() == b"before"
    assert uploads_in(moto, str(behind.bucket_name)) == []


@pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX")
def test_ctrl_c_while_an_upload_hangs(
    backend: S3Backend, behind: S3Backend, moto: S3Server, fault_proxy: FaultProxy
) -> None:
    behind.put("name", Body.of(b"before"))
    rule = fault_proxy.on("PUT", "name", query="partNumber").hang()
    with interrupted_when(lambda: rule.hits > 0), pytest.raises(KeyboardInterrupt):
        backend.put("name", Body.of(pattern(16 * MiB)))
    rule.release()
    assert behind.get("name").read() == b"before"
    assert uploads_in(moto, str(behind.bucket_name)) == []


@pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX")
@pytest.mark.parametrize("skip", [0, 1])
def test_ctrl_c_while_a_download_hangs(
    backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy, skip: int
) -> None:
    """In the first request, which the main thread waits for, and in a later one."""
    behind.put("name", Body.of(pattern(3 * MiB)))
    rule = fault_proxy.on("GET", "name", skip=skip).hang()
    out = memoryview(bytearray(3 * MiB))
    with interrupted_when(lambda: rule.hits > 0), pytest.raises(KeyboardInterrupt):
        backend.get("name").read_into(out)
    held = bytes(out)
    rule.release()
    assert bytes(out) == held


class interrupted_when:
    """Send this process a Ctrl-C as soon as a condition holds."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._thread = threading.Thread(target=self._run, args=(condition,))

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        signal.signal(signal.SIGINT, self._before)

    @staticmethod
    def _run(condition: Callable[[], bool]) -> None:
        wait_until(condition, "the request that hangs")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


# -- ACLs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 11 * MiB])
@pytest.mark.parametrize("one_shot", [False, True])
def test_bucket_without_acls(
    backend: S3Backend,
    fault_proxy: FaultProxy,
    caplog: pytest.LogCaptureFixture,
    size: int,
    one_shot: bool,
) -> None:
    """As new AWS buckets are: said once, and nothing of the body is lost."""
    fault_proxy.on().refuse_acl()
    data = pattern(size)
    with caplog.at_level(logging.WARNING):
        for key in ("first", "second"):
            body = Body.of(pieces_of(data, MiB // 3)) if one_shot else Body.of(data)
            backend.put(key, body, acl="authenticated-read")
            assert backend.get(key).read() == data
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "ACLs disabled" in caplog.text
    assert len(fault_proxy.select(header="x-amz-acl")) == 1


def test_new_bucket_without_acls(
    moto: S3Server, backend: S3Backend, fault_proxy: FaultProxy
) -> None:
    fault_proxy.on("PUT", header="x-amz-acl").answer(400, "InvalidBucketAclWithObjectOwnership")
    name = f"{backend.bucket_name}-new"
    backend.create_bucket(name, acl="authenticated-read")
    assert backend.has_bucket(name)
    moto.remove_bucket(name)


# -- copies and conditions -----------------------------------------------------------------------


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
@pytest.mark.parametrize("largest", [None, 6 * MiB])
def test_copy_keeps_everything(store: Any, largest: int | None) -> None:
    """By one request and, above the limit, by parts."""
    settings = Settings() if largest is None else Settings(max_put_size_bytes=largest)
    backend = backend_at(store.server, store.bucket, settings)
    data = pattern(13 * MiB)
    store.client.put_object(
        Bucket=store.bucket,
        Key="src//x",
        Body=data,
        Metadata={"dtype": "<f8"},
        ContentType="text/x-own",
        ACL="public-read",
    )
    backend.copy("src//x", "dest ü")
    info = backend.head("dest ü")
    assert (info.metadata, info.content_type) == ({"dtype": "<f8"}, "text/x-own")
    assert store.raw_get("dest ü").body == data
    acls = [
        store.client.get_object_acl(Bucket=store.bucket, Key=key)["Grants"]
        for key in ("src//x", "dest ü")
    ]
    assert sorted(map(str, acls[0])) == sorted(map(str, acls[1]))
    assert ((info.etag or "").endswith('-3"')) == (largest is not None)


def test_move_onto_itself_keeps_the_object(behind: S3Backend) -> None:
    behind.put("name", Body.of(b"precious"))
    behind.move("name", "name")
    assert behind.get("name").read() == b"precious"
    with pytest.raises(ObjectExistsError):
        behind.move("name", "name", overwrite=False)
    assert behind.get("name").read() == b"precious"


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
@pytest.mark.parametrize("key", ["name", "odd//name"])
def test_no_overwriting(store: Any, key: str) -> None:
    backend = backend_at(store.server, store.bucket)
    backend.put(key, Body.of(b"first"), overwrite=False)
    for body in (Body.of(b"second"), Body.of(pattern(11 * MiB))):
        with pytest.raises(ObjectExistsError, match="overwrite=True"):
            backend.put(key, body, overwrite=False)
    assert store.raw_get(key).body == b"first"


@pytest.mark.parametrize("key", ["name", "odd//name"])
def test_no_overwriting_of_what_came_meanwhile(
    backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy, key: str
) -> None:
    """The check sees nothing, and the request itself refuses."""
    behind.put(key, Body.of(b"first"))
    fault_proxy.on("HEAD", "name").answer(404)
    with pytest.raises(ObjectExistsError):
        backend.put(key, Body.of(b"second"), overwrite=False)
    assert behind.get(key).read() == b"first"


# -- memory --------------------------------------------------------------------------------------

_MEMORY = """
import sys, threading, psutil
from cottoncandy._body import Body
from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.s3 import S3Backend
from cottoncandy.options import Settings

endpoint, access, secret, bucket, what = sys.argv[1:]
backend = S3Backend.connect(ConnectionArguments(bucket, access, secret, endpoint, Settings()))
size = 1 << 30
backend.put("warm", Body.of(b"up")); backend.get("warm").read(); list(backend.scan("warm"))
held = None if what == "pieces" else memoryview(bytearray(size))
if held is not None:
    held[::4096] = b"x" * len(held[::4096])  # every page is there before we measure
process = psutil.Process()
baseline = peak = process.memory_info().rss
done = threading.Event()

def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, process.memory_info().rss)

watcher = threading.Thread(target=watch); watcher.start()
if what == "download":
    backend.get("big").read_into(held)
elif what == "pieces":
    block = b"y" * 1000003
    backend.put("pieces", Body.of(block for _ in range(size // len(block))))
else:
    backend.put("big", Body.of(held))
done.set(); watcher.join()
print((peak - baseline) / 2**20)
"""


@pytest.mark.slow
def test_memory_of_a_gigabyte(ceph: S3Server, ceph_bucket: str) -> None:
    """Above the array: 64 MiB at most, up and down."""
    for what, limit in (("upload", 64), ("download", 48), ("pieces", 64)):
        arguments = [ceph.endpoint_url, ceph.access_key, ceph.secret_key, ceph_bucket, what]
        child = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(_MEMORY), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=500,
        )
        used = float(child.stdout)
        assert used < limit, f"{what}: {used:.0f} MiB"


def test_old_options_files_cost_no_memory() -> None:
    """They ask for pieces of 100 MB."""
    assert window_bytes(100 * MiB) == 8 * MiB
    assert window_bytes(1) == MiB


@pytest.mark.parametrize("threads", [1, 3, 200])
def test_reading_with_few_and_many_threads(behind: S3Backend, threads: int) -> None:
    data = pattern(5 * MiB + 3)
    behind.put("name", Body.of(data))
    reader = behind.get("name", threads=threads)
    assert b"".join(reader.chunks()) == data
    assert reader.read(MiB - 1, 4 * MiB + 1) == data[MiB - 1 : 4 * MiB + 1]


def test_source_that_is_missing_is_not_a_bad_name(behind: S3Backend) -> None:
    """A body may come from another store, whose errors are its own."""

    def elsewhere() -> Iterator[bytes]:
        yield from behind.get("missing source").chunks()

    with pytest.raises(ObjectNotFoundError, match="missing source"):
        behind.put("name", Body.of(elsewhere()))
    assert not behind.exists("name")


def test_expired_credentials_do_not_hide_a_bucket(
    backend: S3Backend, fault_proxy: FaultProxy
) -> None:
    fault_proxy.on("HEAD").answer(400)
    fault_proxy.on("GET").answer(400, "ExpiredToken")
    with pytest.raises(CredentialsError, match="expired"):
        backend.has_bucket("bucket")


def test_lost_answer_to_the_end_of_an_upload(
    fault_proxy: FaultProxy, moto_bucket: str, behind: S3Backend
) -> None:
    """The second try finds no upload, because the first was heard."""
    backend = backend_at(fault_proxy.server, moto_bucket)
    data = pattern(11 * MiB)
    rule = fault_proxy.on("POST", "name", query="uploadId", times=1).reset(delivered=True)
    fault_proxy.on("POST", "name", query="uploadId", skip=1).answer(404, "NoSuchUpload")
    backend.put("name", Body.of(data))
    assert rule.hits == 1
    assert behind.get("name").read() == data


def test_upload_that_somebody_else_ended(
    backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
) -> None:
    behind.put("name", Body.of(b"before"))
    fault_proxy.on("POST", "name", query="uploadId").answer(404, "NoSuchUpload")
    with pytest.raises(StoreError, match="ended by somebody else"):
        backend.put("name", Body.of(pattern(11 * MiB)))
    assert behind.get("name").read() == b"before"
