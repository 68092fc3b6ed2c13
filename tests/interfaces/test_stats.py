"""``cci.stats`` next to what servers and proxies have seen."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.core.stats import Counter, Stats
from tests.harness import StoreHarness
from tests.servers.base import S3Server
from tests.servers.drive.server import Fault
from tests.servers.proxy import FaultProxy
from tests.servers.web import WebServer

MiB = 2**20


def seen(proxy: FaultProxy) -> Stats:
    """Return what a proxy counted, without texts of errors, and retries, which it cannot tell."""
    found = proxy.requests
    received = sum(each.sent for each in found if (each.status or 0) < 300)
    return Stats(len(found), sum(each.received for each in found), received)


@pytest.fixture
def cci(fault_proxy: FaultProxy, moto_bucket: str) -> Any:
    arguments = fault_proxy.server.interface_arguments()
    return cottoncandy.get_interface(moto_bucket, verbose=False, **arguments)


@pytest.fixture
def count(cci: Any, fault_proxy: FaultProxy) -> Callable[[Callable[[], object]], Stats]:
    """Run a call; return the difference of ``cci.stats``, which the proxy confirms."""

    def counted(call: Callable[[], object]) -> Stats:
        fault_proxy.forget()
        before = cci.stats
        call()
        found: Stats = cci.stats - before
        assert (found.requests, found.bytes_sent, found.bytes_received) == (
            seen(fault_proxy).requests,
            seen(fault_proxy).bytes_sent,
            seen(fault_proxy).bytes_received,
        )
        return found

    return counted


def test_every_kind_of_request_is_counted(cci: Any, count: Any) -> None:
    small, large = np.arange(1000.0), np.random.default_rng(0).standard_normal(5 * MiB)
    assert count(lambda: cci.upload_raw_array("small", small, compression=False)) == Stats(1, 8000)
    assert count(lambda: cci.download_raw_array("small")) == Stats(1, 0, 8000)
    # By obstore and, in parts, by boto3.
    sent = count(lambda: cci.upload_raw_array("large", large, compression=False))
    assert (sent.bytes_sent // MiB, sent.retries) == (40, 0)
    received = count(lambda: cci.download_raw_array("large"))
    assert received.bytes_received == large.nbytes
    count(lambda: cci.download_raw_array("large", selection=np.s_[100:200]))
    chunked = large[: MiB // 2].reshape(64, -1)
    count(lambda: cci.upload_dask_array("chunked", chunked, buffersize=MiB))
    count(lambda: cci.download_dask_array("chunked").compute())
    count(lambda: cci.glob("*"))
    count(lambda: cci.cp("small", "copy"))
    count(lambda: cci.rm("", recursive=True))
    assert count(lambda: cci.exists_object("gone")).requests == 1


def test_odd_names_are_counted(cci: Any, count: Any) -> None:
    response = count(lambda: cci.upload_object("a//b", b"x" * 100))  # by botocore
    assert (response.bytes_sent, response.retries) == (100, 0)
    assert count(lambda: cci.download_object("a//b")).bytes_received == 100


def test_retries_are_counted(cci: Any, count: Any, fault_proxy: FaultProxy) -> None:
    cci.upload_object("name", b"x" * 1000)
    for times in (1, 3):  # one by obstore, the others by botocore
        rule = fault_proxy.on("GET", "name", times=times).answer(503, "SlowDown")
        before = cci.stats
        assert cci.download_object("name") == b"x" * 1000
        assert rule.hits == times
        found = cci.stats - before
        assert (found.requests, found.retries) == (times + 1, times)
        rule = fault_proxy.on("GET", query="list-type", times=times).answer(500, "InternalError")
        assert count(lambda: cci.glob("*")).retries == times


def test_resumed_body_is_counted(cci: Any, fault_proxy: FaultProxy) -> None:
    array = np.random.default_rng(0).standard_normal(2 * MiB)
    cci.upload_raw_array("name", array, compression=False)
    fault_proxy.on("GET", "name", times=1).truncate(3 * MiB)
    fault_proxy.forget()
    before = cci.stats
    np.testing.assert_array_equal(cci.download_raw_array("name"), array)
    found = cci.stats - before
    assert (found.requests, found.retries) == (len(fault_proxy.requests), 1)
    assert found.bytes_received == array.nbytes


def test_encrypted_interface_counts_ciphertext(fault_proxy: FaultProxy, moto_bucket: str) -> None:
    cci = cottoncandy.get_encrypted_interface(
        moto_bucket,
        encryption="AES",
        encryptionKey=bytes(32),
        verbose=False,
        **fault_proxy.server.interface_arguments(),
    )
    fault_proxy.forget()
    before = cci.stats
    cci.upload_raw_array("name", np.zeros(1000), compression=False)
    found = cci.stats - before
    assert found.requests == 1
    assert 8000 < found.bytes_sent == seen(fault_proxy).bytes_sent


def test_buckets_and_handles_share_the_counts(cci: Any, moto: S3Server) -> None:
    cci.upload_raw_array("name", np.arange(1e6), compression=False)
    array = cci.array("name")
    other = moto.make_bucket()
    cci.set_bucket(other)
    before = cci.stats
    array[500_000:600_000]
    assert (cci.stats - before).bytes_received == 800_000
    moto.remove_bucket(other)


@pytest.mark.parametrize("store", ["memory", "local", "gdrive", "gcs"], indirect=True)
def test_every_store_counts(store: StoreHarness) -> None:
    cci, array = store.interface(), np.arange(1000.0)
    before = cci.stats
    cci.upload_raw_array("name", array, compression=False)
    sent = cci.stats - before
    cci.download_raw_array("name")
    received = cci.stats - before
    assert sent.requests >= 1
    assert sent.bytes_sent >= 8000
    assert received.requests > sent.requests
    assert received.bytes_received >= 8000
    for call in (lambda: cci.glob("*"), lambda: cci.rm("name")):
        before = cci.stats
        call()
        assert (cci.stats - before).requests >= 1
    assert cci.stats.retries == 0
    assert pickle.loads(pickle.dumps(cci)).stats == Stats()


def test_drive_counts_what_its_server_saw(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.harness import HARNESSES

    harness: Any = HARNESSES["gdrive"](request)
    server, cci = harness.server, harness.interface()
    cci.upload_object("name", b"x" * 10_000)
    monkeypatch.setattr("googleapiclient.http.time.sleep", lambda _: None)
    server.faults.append(Fault("files.get_media", status=500, times=2))
    seen_before, before = len(server.requests), cci.stats
    assert cci.download_object("name") == b"x" * 10_000
    found = cci.stats - before
    assert found.requests == len(server.requests) - seen_before
    assert found.retries == server.faults[-1].met
    assert found.bytes_received >= 10_000
    harness.close()


def test_google_cloud_counts_what_a_proxy_saw(
    make_proxy: Callable[[S3Server], FaultProxy], gcs_server: Any
) -> None:
    proxy = make_proxy(S3Server(gcs_server.url, "", ""))
    cci = cottoncandy.get_interface(
        *("stats", "", ""),
        endpoint_url=proxy.endpoint_url,
        backend="gcs",
        anon=True,
        project="test",
        force_bucket_creation=True,
        verbose=False,
    )
    proxy.forget()
    before = cci.stats
    cci.upload_raw_array("name", np.arange(1000.0), compression=False)
    cci.download_raw_array("name")
    rule = proxy.on("GET", "name", times=2).answer(503, "backendError")
    cci.download_raw_array("name")
    cci.glob("*")
    found = cci.stats - before
    assert found.requests == len(proxy.requests)
    assert found.bytes_sent == seen(proxy).bytes_sent
    assert found.bytes_received == seen(proxy).bytes_received
    assert found.retries == rule.hits == 2


def test_web_server_counts(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    local = cottoncandy.get_interface(f"file://{tmp_path}/web", verbose=False)
    array = np.random.default_rng(0).standard_normal(2 * MiB)
    local.upload_raw_array("name", array, compression=False)
    server = WebServer(tmp_path / "web")
    cci = cottoncandy.get_interface(server.url, verbose=False)
    server.requests.clear()
    before = cci.stats
    cci.download_raw_array("name")
    cci.glob("*")
    found = cci.stats - before
    assert found.requests == len(server.requests)
    assert found.bytes_received > array.nbytes
    server.stop()


def test_threads_lose_no_count() -> None:
    counter = Counter()
    threads = [
        threading.Thread(target=lambda: [counter.add(1, 2, 3, 4) for _ in range(10_000)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read() == Stats(80_000, 160_000, 240_000, 320_000)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_forked_child_begins_at_zero() -> None:
    counter = Counter()
    counter.add(5)
    with counter._lock, multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_read, (counter,)) == Stats()
    assert counter.read() == Stats(5)


def _read(counter: Counter) -> Stats:
    return counter.read()


def test_only_stats_subtract() -> None:
    assert Stats(3, 4, 5, 6) - Stats(1, 1, 1, 1) == Stats(2, 3, 4, 5)
    with pytest.raises(TypeError, match="unsupported operand"):
        Stats() - 1  # type: ignore[operator]  # the subject of this test
