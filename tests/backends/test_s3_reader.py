"""Bodies from S3: ranges by threads, and network faults."""

from __future__ import annotations

import os

import pytest
from botocore.config import Config

from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.config.options import Settings
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import (
    IntegrityError,
    ObjectChangedError,
    StoreError,
)
from cottoncandy.testing.harness import pattern
from tests.backends._s3 import (
    S3Tests,
    backend_at,
)
from tests.interrupts import interrupted_when
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.server


class TestFaults(S3Tests):
    def test_one_thread_reads_a_body_with_one_request(
        self, behind: S3Backend, fault_proxy: FaultProxy, backend: S3Backend
    ) -> None:
        data = pattern(9 * MiB)
        behind.put("name", Body.of(data))
        assert backend.get("name", threads=1).read() == data
        assert len(fault_proxy.select("GET")) == 1
        assert b"".join(backend.get("name", threads=1).chunks()) == data
        assert len(fault_proxy.select("GET")) == 2

    @pytest.mark.parametrize("size", [10_000, 3 * MiB])
    @pytest.mark.parametrize("odd", [False, True])
    def test_truncated_body(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy, size: int, odd: bool
    ) -> None:
        """By either client: a key that obstore cannot express goes through boto3."""
        key = "odd//name" if odd else "name"
        behind.put(key, Body.of(pattern(size)))
        fault_proxy.on("GET", "name", skip=0 if size == 10_000 else 1).truncate(500)
        out = bytearray(size)
        with pytest.raises((IntegrityError, StoreError), match="name"):
            backend.get(key).read_into(memoryview(out))

    @pytest.mark.parametrize("key", ["name", "odd//name"])
    def test_a_stalled_body_is_given_up(
        self, behind: S3Backend, fault_proxy: FaultProxy, moto_bucket: str, key: str
    ) -> None:
        """After a second try on a new connection, instead of all retries of all layers."""
        behind.put(key, Body.of(pattern(2 * MiB)))
        config = Config(retries={"max_attempts": 0}, read_timeout=0.3)
        backend = backend_at(fault_proxy.server, moto_bucket, config=config)
        rule = fault_proxy.on("GET", "name").hang(at=100)
        try:
            with pytest.raises(StoreError, match="name"):
                backend.get(key, threads=1).read()
            assert len(fault_proxy.select("GET")) <= 6
        finally:
            rule.release()

    @pytest.mark.parametrize("key", ["name", "odd//name"])
    def test_server_that_ignores_ranges(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy, key: str
    ) -> None:
        behind.put(key, Body.of(pattern(2 * MiB)))
        fault_proxy.on("GET", "name").ignore_range()
        with pytest.raises(IntegrityError, match="range"):
            backend.get(key).read()

    @pytest.mark.parametrize("key", ["name", "odd//name"])
    def test_a_range_that_a_proxy_compressed(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy, key: str
    ) -> None:
        """Its Content-Range is that of the store, and its body has another length."""
        behind.put(key, Body.of(pattern(2 * MiB)))
        with backend.get(key, threads=1) as reader:
            rule = fault_proxy.on("GET", "name")
            rule.change_header("Content-Range", f"bytes {MiB}-{MiB + 19}/{2 * MiB}")
            with pytest.raises(IntegrityError, match="requested range"):
                reader.read(MiB, MiB + 10)

    @pytest.mark.parametrize("key", ["name", "odd//name"])
    def test_object_replaced_while_it_is_read(
        self, backend: S3Backend, behind: S3Backend, key: str
    ) -> None:
        behind.put(key, Body.of(pattern(3 * MiB)))
        reader = backend.get(key)
        behind.put(key, Body.of(bytes(3 * MiB)))
        with pytest.raises(ObjectChangedError, match="name"):
            reader.read()
        behind.put(key, Body.of(b"short"))
        with pytest.raises(ObjectChangedError, match="name"):
            reader.read_into(memoryview(bytearray(3 * MiB)))

    def test_replaced_where_if_match_is_ignored(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        behind.put("name", Body.of(pattern(3 * MiB)))
        reader = backend.get("name")
        fault_proxy.on("GET", "name").change_etag()
        with pytest.raises(ObjectChangedError, match="name"):
            reader.read()

    def test_transient_errors_are_retried(
        self, fault_proxy: FaultProxy, moto_bucket: str, behind: S3Backend
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

    @pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX")
    @pytest.mark.parametrize("skip", [0, 1])
    def test_ctrl_c_while_a_download_hangs(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy, skip: int
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


class TestRanges(S3Tests):
    @pytest.mark.parametrize(("chosen", "expected"), [(100 * MiB, 8 * MiB), (1, MiB)])
    def test_old_options_files_cost_no_memory(
        self, moto: S3Server, moto_bucket: str, chosen: int, expected: int
    ) -> None:
        """They ask for pieces of 100 MB."""
        backend = backend_at(moto, moto_bucket, Settings(mpd_chunksize_bytes=chosen))
        backend.put("name", Body.of(b"x"))
        assert backend.get("name").window_bytes == expected

    @pytest.mark.parametrize("threads", [1, 3, 200])
    def test_reading_with_few_and_many_threads(self, behind: S3Backend, threads: int) -> None:
        data = pattern(5 * MiB + 3)
        behind.put("name", Body.of(data))
        reader = behind.get("name", threads=threads)
        assert b"".join(reader.chunks()) == data
        assert reader.read(MiB - 1, 4 * MiB + 1) == data[MiB - 1 : 4 * MiB + 1]
