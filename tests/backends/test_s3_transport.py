"""Requests with bodies: obstore tries once, botocore finishes."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from typing import Any
from unittest.mock import Mock

import obstore
import pytest
from botocore.config import Config

from cottoncandy.backends.base import IfAbsent, PutOptions
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.backends.s3.clients import Connection
from cottoncandy.backends.s3.options import S3Options
from cottoncandy.backends.s3.transport import Transport
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketNotFoundError,
    InvalidArgumentError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreError,
)
from cottoncandy.options import Settings
from cottoncandy.testing.harness import pattern
from tests.backends._s3 import S3Tests, backend_at
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.server

BODY = pattern(1000)


def clients_of(proxy: FaultProxy, path: str = "name") -> list[str]:
    """Return which client sent each request."""
    agents = [request.headers["user-agent"] for request in proxy.select(path=path)]
    return ["botocore" if "Botocore" in agent else "obstore" for agent in agents]


class TestFallback(S3Tests):
    @pytest.mark.parametrize(
        "fault",
        [
            lambda on: on.answer(503, "SlowDown"),
            lambda on: on.answer(500, "InternalError"),
            lambda on: on.answer(403, "RequestTimeTooSkewed"),
            lambda on: on.answer(400),
            lambda on: on.reset(),
        ],
    )
    def test_failed_request_is_repeated_by_botocore(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy, fault: Any
    ) -> None:
        behind.put("name", Body.of(b"old"))
        for call in (
            lambda: backend.get("name").read(),
            lambda: backend.get("name", prefetch=False),
            lambda: backend.head("name"),
            lambda: backend.put("name", Body.of(BODY)),
        ):
            before = len(fault_proxy.requests)
            rule = fault(fault_proxy.on(times=1))
            call()
            assert rule.hits == 1
            assert clients_of(fault_proxy)[before:] == ["obstore", "botocore"]
        assert behind.get("name").read() == BODY

    def test_small_body_that_breaks_off_is_repeated_by_botocore(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        behind.put("name", Body.of(BODY))
        fault_proxy.on("GET", times=1).truncate(500)
        assert backend.get("name").read() == BODY
        assert clients_of(fault_proxy) == ["obstore", "botocore"]

    def test_small_body_that_breaks_off_twice_is_resumed(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        behind.put("name", Body.of(BODY))
        fault_proxy.on("GET", times=2).truncate(500)
        assert backend.get("name").read() == BODY

    def test_missing_object_is_final(self, backend: S3Backend, fault_proxy: FaultProxy) -> None:
        for call in (backend.get, backend.head, lambda key: backend.get(key, prefetch=False)):
            with pytest.raises(ObjectNotFoundError, match="'name'"):
                call("name")  # type: ignore[operator]  # each takes a key
        assert clients_of(fault_proxy) == ["obstore"] * 3

    def test_replaced_object_is_final(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        behind.put("name", Body.of(BODY))
        reader = backend.get("name", prefetch=False)
        behind.put("name", Body.of(BODY[::-1]))
        with pytest.raises(ObjectChangedError, match="'name'"):
            reader.read()
        assert clients_of(fault_proxy) == ["obstore"] * 2

    def test_missing_bucket_is_not_a_missing_object(self, backend: S3Backend) -> None:
        nowhere = backend.with_bucket("no-such-bucket")
        for call in (nowhere.get, nowhere.head):
            with pytest.raises(BucketNotFoundError, match="'no-such-bucket'"):
                call("name")  # type: ignore[operator]  # both take it
        with pytest.raises(BucketNotFoundError, match="'no-such-bucket'"):
            nowhere.put("name", Body.of(BODY))

    def test_error_that_remains_is_typed_by_botocore(
        self, backend: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        fault_proxy.on("PUT").answer(403, "AccessDenied")
        with pytest.raises(AccessDeniedError, match="'name'"):
            backend.put("name", Body.of(BODY))
        fault_proxy.on("GET").answer(503, "SlowDown")
        with pytest.raises(StoreError, match="SlowDown"):
            backend.get("name")

    def test_retries_are_botocores(
        self, behind: S3Backend, fault_proxy: FaultProxy, moto_bucket: str
    ) -> None:
        behind.put("name", Body.of(BODY))
        config = Config(retries={"total_max_attempts": 3, "mode": "standard"})
        backend = backend_at(fault_proxy.server, moto_bucket, config=config)
        fault_proxy.on("GET", times=3).answer(503, "SlowDown")
        assert backend.get("name").read() == BODY
        assert clients_of(fault_proxy) == ["obstore", *["botocore"] * 3]

    @pytest.mark.parametrize(
        ("key", "options"),
        [
            ("name//odd", PutOptions()),
            ("name", PutOptions(condition=IfAbsent())),
            ("name", PutOptions(cache_control=" no-store")),
            ("name", PutOptions({"content-type": "x"})),
        ],
    )
    def test_what_obstore_cannot_express_goes_to_botocore(
        self, backend: S3Backend, fault_proxy: FaultProxy, key: str, options: PutOptions
    ) -> None:
        backend.put(key, Body.of(BODY), options)
        assert [c for c in clients_of(fault_proxy) if c != "botocore"] in ([], ["obstore"])
        puts = [r for r in fault_proxy.select("PUT") if "Botocore" not in r.headers["user-agent"]]
        assert puts == []

    def test_conditional_put_is_not_repeated_by_obstore(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        behind.put("name", Body.of(b"first"))
        fault_proxy.on("HEAD", "name").answer(404)
        with pytest.raises(ObjectExistsError):
            backend.put("name", Body.of(BODY), PutOptions(condition=IfAbsent()))
        assert behind.get("name").read() == b"first"

    @pytest.mark.parametrize("end", ["\r\n", "\n", "\0"])
    def test_content_type_with_a_line_end_raises(self, backend: S3Backend, end: str) -> None:
        content_type = f"text/x{end}x-amz-acl: public-read"
        with pytest.raises(InvalidArgumentError, match="content_type"):
            backend.put("name", Body.of(BODY), PutOptions(content_type=content_type))

    def test_retry_sends_the_first_bytes(
        self,
        backend: S3Backend,
        behind: S3Backend,
        fault_proxy: FaultProxy,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """An instrument writes to the array while it is uploaded."""
        array = bytearray(BODY)
        repeat = Transport._boto_put

        def changed(self: Transport, *arguments: Any) -> Any:
            array[:] = bytes(len(array))
            return repeat(self, *arguments)

        monkeypatch.setattr(Transport, "_boto_put", changed)
        fault_proxy.on("PUT", times=1).answer(503)
        backend.put("name", Body.of(array))
        assert behind.get("name").read() == BODY

    def test_panic_of_obstore_is_repeated_by_botocore(
        self, backend: S3Backend, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It derives from BaseException."""
        panic = type("PanicException", (BaseException,), {})
        monkeypatch.setattr(obstore, "put", Mock(side_effect=panic("called unwrap on a None")))
        backend.put("name", Body.of(BODY))
        assert clients_of(fault_proxy) == ["botocore"]

    def test_empty_object(self, backend: S3Backend, behind: S3Backend) -> None:
        """It has no range to return."""
        behind.put("name", Body.of(b""))
        for prefetch in (True, False):
            with backend.get("name", prefetch=prefetch) as reader:
                assert (reader.size, reader.read(), list(reader.chunks())) == (0, b"", [])

    @pytest.mark.parametrize("key", ["name", "odd//name"])
    def test_connections_are_used_again(
        self, behind: S3Backend, fault_proxy: FaultProxy, moto_bucket: str, key: str
    ) -> None:
        backend = backend_at(
            fault_proxy.server, moto_bucket, config=Config(retries={"max_attempts": 0})
        )
        behind.put(key, Body.of(pattern(3 * MiB)))
        for _ in range(5):
            with backend.get(key, threads=1, prefetch=False) as reader:
                assert reader.read() == pattern(3 * MiB)
        assert fault_proxy.connections <= 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.timeout(120)
def test_children_forked_in_the_middle_of_requests_work(moto: S3Server, moto_bucket: str) -> None:
    backend = backend_at(moto, moto_bucket)
    data = pattern(2 * MiB)
    backend.put("name", Body.of(data))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            assert backend.get("name").read() == data
            backend.put("other", Body.of(BODY))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    children = {}
    try:
        for number in range(6):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    if number % 2:
                        assert backend.get("name").read() == data
                        backend.put(f"child {number}", Body.of(BODY))
                    del backend, workers, worker
                    gc.collect()
                    status = 0
                finally:
                    os._exit(status)
            children[child] = number
        deadline = time.monotonic() + 60
        while children and time.monotonic() < deadline:
            for child in list(children):
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    assert os.waitstatus_to_exitcode(status) == 0
                    del children[child]
            time.sleep(0.01)
        assert not children
    finally:
        stop.set()
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        for worker in workers:
            worker.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_has_clients_and_a_lock_of_its_own() -> None:
    """The parent's are not freed there either, since freeing those of obstore may block."""
    reading, writing = os.pipe()

    class Client:
        def __del__(self) -> None:
            os.write(writing, b"freed")

    connection = Connection(S3Options(Settings(), ("FAKE-ACCESS", "FAKE-SECRET", None)))
    connection.cached("parent", Client)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with connection._lock:
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        found = connection.cached("parent", lambda: "the child's")
        gc.collect()
        os._exit(0 if found == "the child's" else 1)
    status = os.waitpid(child, 0)[1]
    release.set()
    holder.join()
    os.set_blocking(reading, False)
    assert os.waitstatus_to_exitcode(status) == 0
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)
    connection._made.clear()
    assert os.read(reading, 5) == b"freed"
    os.close(reading)
    os.close(writing)
