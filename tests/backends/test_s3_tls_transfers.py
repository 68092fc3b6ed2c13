"""Bodies over https: whole or an error, into place, and given back at once."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable
from functools import partial

import pytest
from botocore.config import Config

from cottoncandy.backends import reader as reader_module
from cottoncandy.backends.base import PutOptions
from cottoncandy.backends.ranges import RangeReader
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import IntegrityError, StoreError, StoreUnreachableError
from cottoncandy.testing.harness import pattern
from tests.backends._s3 import (
    QUICK,
    backend_at,
    pieces_of,
    uploads_in,
)
from tests.interrupts import interrupted_when
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy
from tests.servers.tls import Authority

pytestmark = pytest.mark.server

SIZE = 13 * MiB + 5  # the first MiB comes with the head, the others as two ranges
DATA = pattern(SIZE)
KEYS = pytest.mark.parametrize("key", ["name", "odd//name"])  # obstore, boto3


@pytest.fixture
def proxy(
    make_proxy: Callable[..., FaultProxy], ceph: S3Server, authority: Authority
) -> FaultProxy:
    """TLS before Ceph: moto is slow with megabytes."""
    return make_proxy(ceph, authority.context())


@pytest.fixture
def backend(proxy: FaultProxy, ceph_bucket: str, authority: Authority) -> S3Backend:
    return backend_at(proxy.server, ceph_bucket, config=QUICK, verify=authority.path)


@pytest.fixture
def patient(proxy: FaultProxy, ceph_bucket: str, authority: Authority) -> S3Backend:
    """No timeout ends what hangs before the test fails."""
    config = Config(retries={"max_attempts": 0}, read_timeout=600)
    return backend_at(proxy.server, ceph_bucket, config=config, verify=authority.path)


@pytest.fixture
def behind(ceph: S3Server, ceph_bucket: str) -> S3Backend:
    """The same bucket, in plain."""
    return backend_at(ceph, ceph_bucket)


@pytest.fixture
def reader(backend: S3Backend, behind: S3Backend) -> RangeReader:
    behind.put("name", Body.of(DATA))
    return backend.get("name", threads=2)  # type: ignore[return-value]  # it is one


def after(nbytes: int, call: Callable[[], object]) -> Callable[[int], None]:
    """Return a progress callback that calls something once that many bytes have arrived."""

    def progress(count: int) -> None:
        nonlocal nbytes
        nbytes -= count
        if nbytes <= 0:
            call()

    return progress


def read_into(reader: object) -> memoryview:
    out = memoryview(bytearray(SIZE))
    reader.read_into(out)  # type: ignore[attr-defined]  # it has
    return out


@KEYS
@pytest.mark.parametrize("size", [0, 5, SIZE])
def test_round_trip(
    backend: S3Backend, behind: S3Backend, proxy: FaultProxy, key: str, size: int
) -> None:
    data = DATA[:size]
    backend.put(key, Body.of(data), PutOptions({"n": "1"}), threads=2)
    assert behind.get(key).read() == data
    with backend.get(key, threads=2) as reader:
        out = bytearray(size)
        reader.read_into(memoryview(out))
        assert out == data
        assert b"".join(reader.chunks()) == data
        assert reader.metadata == {"n": "1"}
    assert proxy.count("PUT", query="partNumber") == (3 if size == SIZE else 0)


@KEYS
def test_an_upload_of_unknown_size(
    backend: S3Backend, behind: S3Backend, ceph: S3Server, key: str
) -> None:
    backend.put(key, Body.of(pieces_of(DATA, 700_001)), threads=2)
    assert behind.get(key).read() == DATA
    assert uploads_in(ceph, str(behind.bucket_name)) == []


@KEYS
@pytest.mark.parametrize("reset", [False, True])
def test_a_small_body_that_breaks_off_is_resumed(
    backend: S3Backend, behind: S3Backend, proxy: FaultProxy, key: str, reset: bool
) -> None:
    behind.put(key, Body.of(DATA[:1000]))
    proxy.on("GET", "name").truncate(500, reset=reset)
    assert backend.get(key).read() == DATA[:1000]


@KEYS
def test_a_connection_that_is_reset(
    backend: S3Backend, behind: S3Backend, proxy: FaultProxy, key: str
) -> None:
    behind.put(key, Body.of(b"old"))
    rule = proxy.on().reset()
    for request in (lambda: backend.get(key), lambda: backend.put(key, Body.of(b"new"))):
        with pytest.raises(StoreUnreachableError, match=f"{key}.*without a response"):
            request()
    rule.remove()
    assert backend.get(key).read() == b"old"


@pytest.mark.parametrize("reset", [False, True])
def test_a_range_that_breaks_off_is_resumed(
    proxy: FaultProxy, reader: RangeReader, reset: bool
) -> None:
    proxy.on("GET", "name", times=1).truncate(3 * MiB + 7, reset=reset)
    out = bytearray(SIZE)
    seen: list[int] = []
    reader.read_into(memoryview(out), progress=seen.append)
    assert out == DATA
    assert sum(seen) == SIZE
    assert len(proxy.select("GET", "name")) == 4  # the first MiB, two ranges, the rest of one


def test_ranges_that_break_off_for_ever(
    proxy: FaultProxy, reader: RangeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_PAUSE_S", 0)
    proxy.on("GET", "name").truncate(500)
    with pytest.raises((IntegrityError, StoreError), match="name"):
        read_into(reader)


def test_an_upload_that_breaks_off(
    backend: S3Backend, behind: S3Backend, proxy: FaultProxy, ceph: S3Server
) -> None:
    behind.put("name", Body.of(b"old"))
    proxy.on("PUT", query="partNumber", skip=1).reset()
    with pytest.raises(StoreError, match="name"):
        backend.put("name", Body.of(DATA), threads=2)
    assert behind.get("name").read() == b"old"
    assert uploads_in(ceph, str(behind.bucket_name)) == []


@pytest.mark.timeout(60)
def test_an_error_ends_the_other_range(
    proxy: FaultProxy, behind: S3Backend, patient: S3Backend
) -> None:
    """It hangs forever, and no thread waits for it."""
    behind.put("name", Body.of(DATA))
    reader = patient.get("name", threads=2)
    hanging = proxy.on("GET", "name", times=1).hang(at=2 * MiB)
    other = proxy.on("GET", "name", times=1, skip=1).hang()
    proxy.on("GET", "name", times=1, skip=1).truncate(0)
    proxy.on("GET", "name", skip=2).answer(403, "AccessDenied")
    out = memoryview(bytearray(SIZE))
    with pytest.raises(PermissionError, match="name"):
        # The other one continues, and fails, when everything before the hanging byte has arrived.
        reader.read_into(out, progress=after(2 * MiB, other.release))
    held = bytes(out)
    hanging.release()
    assert bytes(out) == held


@pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("hangs", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_in_the_middle_of_a_range(
    patient: S3Backend, behind: S3Backend, proxy: FaultProxy, threads: int, hangs: bool
) -> None:
    """The buffer is the caller's again, whether a read waits for the network or is busy."""
    behind.put("name", Body.of(DATA))
    reader = patient.get("name", threads=threads)
    arrived = threading.Event()
    rule = proxy.on("GET", "name").hang(at=3 * MiB) if hangs else None
    before = set(threading.enumerate())
    out = memoryview(bytearray(SIZE))

    def read() -> None:
        while True:  # without hanging, it may be through before the signal comes
            reader.read_into(out, progress=after(2 * MiB, arrived.set))

    with interrupted_when(arrived.is_set), pytest.raises(KeyboardInterrupt):
        read()
    held = bytes(out)
    if rule is not None:
        rule.release()
    for thread in set(threading.enumerate()) - before:
        if thread.name == "cottoncandy":
            thread.join(60)
            assert not thread.is_alive()
    assert bytes(out) == held
    proxy.remove_rules()
    assert patient.get("name").read() == DATA


def test_parts_of_an_array_pass_with_checksums_that_botocore_appends(
    make_proxy: Callable[..., FaultProxy], moto: S3Server, moto_bucket: str, authority: Authority
) -> None:
    """It sends what it reads in blocks of 1 MiB, as it otherwise reads for a signature."""
    proxy = make_proxy(moto, authority.context())  # Ceph does not accept them
    config = QUICK.merge(Config(request_checksum_calculation="when_supported"))
    backend = backend_at(proxy.server, moto_bucket, config=config, verify=authority.path)
    for size in (SIZE, 10 * MiB + 5):  # the last part is larger and smaller than a block
        view = memoryview(DATA)[:size]
        body = Body(partial(iter, [view]), size=size, buffer=view, checksum=zlib.crc32(view))
        backend.put("name", body)
        assert backend_at(moto, moto_bucket).get("name").read() == view
    assert sum("x-amz-trailer" in request.headers for request in proxy.requests) == 6
