"""Long ranges that boto3 brings straight into place."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config

from cottoncandy._body import Body
from cottoncandy._buffers import MiB
from cottoncandy.backends.s3 import S3Backend, _reader
from cottoncandy.backends.s3._direct import DirectBody
from cottoncandy.backends.s3._reader import S3Reader
from cottoncandy.exceptions import IntegrityError, ObjectChangedError, StoreError
from cottoncandy.options import Settings
from tests.backends._data import pattern
from tests.backends._s3 import QUICK, backend_at, direct_reads, interrupted_when
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

SIZE = 13 * MiB + 5  # the first MiB comes with the head, the others as two ranges
DATA = pattern(SIZE)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on at once where a connection broke off."""
    monkeypatch.setattr(_reader, "_PAUSE_S", 0)


@pytest.fixture
def proxy(make_proxy: Callable[[S3Server], FaultProxy], ceph: S3Server) -> FaultProxy:
    """A proxy before Ceph: moto is slow with megabytes."""
    return make_proxy(ceph)


@pytest.fixture
def behind(ceph: S3Server, ceph_bucket: str) -> S3Backend:
    """The same bucket, without the proxy."""
    behind = backend_at(ceph, ceph_bucket)
    behind.put("name", Body.of(DATA))
    return behind


@pytest.fixture
def reader(proxy: FaultProxy, behind: S3Backend) -> S3Reader:
    backend = backend_at(proxy.server, str(behind.bucket_name), config=QUICK)
    return backend.get("name", threads=2)  # type: ignore[return-value]  # it is one


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was read directly."""
    return direct_reads(monkeypatch)


def read(reader: S3Reader) -> memoryview:
    out = memoryview(bytearray(SIZE))
    reader.read_into(out)
    return out


def test_nothing_is_copied_on_the_way(reader: S3Reader, direct: list[int]) -> None:
    """With the boto3 and urllib3 that are installed."""
    assert read(reader) == DATA
    assert sum(direct) == SIZE - MiB


def test_where_the_libraries_have_changed(
    reader: S3Reader, direct: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectBody, "of", lambda body, length: None)
    assert read(reader) == DATA
    assert direct == []


@pytest.mark.parametrize("body", [None, object(), DATA[:3]])
def test_bodies_of_other_kinds_are_read_otherwise(body: Any) -> None:
    assert DirectBody.of(body, 3) is None


def test_connections_are_used_again(proxy: FaultProxy, behind: S3Backend) -> None:
    config = Config(max_pool_connections=1, retries={"max_attempts": 0})
    backend = backend_at(proxy.server, str(behind.bucket_name), config=config)
    for _ in range(3):
        with backend.get("name", threads=1, prefetch=False) as reader:
            assert read(reader) == DATA  # type: ignore[arg-type]  # it is one
    assert len(proxy.select("GET", "name")) == 3
    assert proxy.connections == 2  # obstore's, for the heads, and boto3's


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_breaks_off(proxy: FaultProxy, reader: S3Reader, reset: bool) -> None:
    proxy.on("GET", "name", times=1).truncate(3 * MiB + 7, reset=reset)
    out = bytearray(SIZE)
    seen: list[int] = []
    reader.read_into(memoryview(out), arrived=lambda position, piece: seen.append(len(piece)))
    assert out == DATA
    assert sum(seen) == SIZE
    assert len(proxy.select("GET", "name")) == 4  # the first MiB, two ranges, the rest of one


def test_connections_that_break_off_for_ever(proxy: FaultProxy, reader: S3Reader) -> None:
    proxy.on("GET", "name").truncate(500)
    with pytest.raises((IntegrityError, StoreError), match="name"):
        read(reader)


def test_an_object_replaced_on_the_way(
    proxy: FaultProxy, behind: S3Backend, reader: S3Reader
) -> None:
    proxy.on("GET", "name", times=1).truncate(2 * MiB)
    behind.put("name", Body.of(DATA[::-1]))
    with pytest.raises(ObjectChangedError, match="name"):
        read(reader)


@pytest.mark.parametrize("whole", [True, False])
def test_the_start_breaks_off_after_the_head(
    proxy: FaultProxy, behind: S3Backend, whole: bool
) -> None:
    """What came with the head is read while it arrives, or when somebody wants a part of it."""
    backend = backend_at(proxy.server, str(behind.bucket_name), Settings(), QUICK)
    proxy.on("GET", "name", times=1).truncate(3 * MiB + 7)
    with backend.get("name") as reader:
        if whole:
            assert read(reader) == DATA  # type: ignore[arg-type]  # it is one
        else:
            assert reader.read(MiB, 4 * MiB) == DATA[MiB : 4 * MiB]
        assert b"".join(reader.chunks()) == DATA


def test_an_error_ends_the_other_range(proxy: FaultProxy, reader: S3Reader) -> None:
    """It hangs for ever, and nobody waits for it."""
    hanging = proxy.on("GET", "name", times=1).hang(at=2 * MiB)
    proxy.on("GET", "name", skip=1).answer(403, "AccessDenied")
    out = memoryview(bytearray(SIZE))
    with pytest.raises(PermissionError, match="name"):
        reader.read_into(out)
    held = bytes(out)
    hanging.release()
    assert bytes(out) == held


@pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX")
def test_ctrl_c_in_the_middle_of_a_range(proxy: FaultProxy, reader: S3Reader) -> None:
    arrived = threading.Event()
    rule = proxy.on("GET", "name").hang(at=3 * MiB)
    out = memoryview(bytearray(SIZE))
    with (
        interrupted_when(arrived.is_set),
        pytest.raises(KeyboardInterrupt),
    ):
        reader.read_into(out, arrived=lambda position, piece: position >= MiB and arrived.set())
    held = bytes(out)
    rule.release()
    assert bytes(out) == held
