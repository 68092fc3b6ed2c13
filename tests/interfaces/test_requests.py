"""Requests and bytes, counted on the wire."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from botocore.config import Config

import cottoncandy
from cottoncandy.arrays.raw import TAIL_BYTES
from cottoncandy.backends import reader as reader_module
from tests.interfaces.arrays import assert_same
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.server

MiB = 2**20


@pytest.fixture
def proxy(fault_proxy: FaultProxy) -> FaultProxy:
    return fault_proxy


@pytest.fixture
def cci(proxy: FaultProxy, moto_bucket: str) -> Any:
    """An interface whose requests are counted; making it is not."""
    cci = cottoncandy.get_interface(
        moto_bucket, verbose=False, **proxy.server.interface_arguments()
    )
    proxy.forget()
    return cci


def lines(proxy: FaultProxy) -> list[str]:
    """Return the methods of all requests so far, and forget them."""
    found = [request.method for request in proxy.requests]
    proxy.forget()
    return found


def test_one_request_makes_an_interface(proxy: FaultProxy, moto_bucket: str) -> None:
    cottoncandy.get_interface(moto_bucket, verbose=False, **proxy.server.interface_arguments())
    assert lines(proxy) == ["HEAD"]


@pytest.mark.parametrize("compression", [True, False, "Zstd"], ids=str)
def test_a_small_array_is_one_request_each_way(
    cci: Any, proxy: FaultProxy, compression: Any
) -> None:
    array = np.random.default_rng(0).standard_normal((100, 100))
    cci.upload_raw_array("branch/array", array, compression=compression)
    assert lines(proxy) == ["PUT"]
    assert_same(cci.download_raw_array("branch/array"), array)
    assert lines(proxy) == ["GET"]


def test_other_small_objects_are_one_request_each_way(cci: Any, proxy: FaultProxy) -> None:
    for name, value in (("json", {"a": 1}), ("pickle", [1, 2]), ("npy_array", np.arange(3))):
        getattr(cci, f"upload_{name}")("object", value)
        assert lines(proxy) == ["PUT"]
        getattr(cci, f"download_{name}")("object")
        assert lines(proxy) == ["GET"]
    cci.download_object("object")
    assert lines(proxy) == ["GET"]
    assert cci.exists_object("object")
    assert lines(proxy) == ["HEAD"]


def test_a_missing_object_is_few_requests(cci: Any, proxy: FaultProxy) -> None:
    for download in (cci.download_raw_array, cci.download_json, cci.download_dask_array):
        with pytest.raises(FileNotFoundError):
            download("nothing")
        # A directory or an array of another kind may have that name, which the error then says.
        assert lines(proxy) in (["GET", "GET"], ["GET", "HEAD"], ["GET", "GET", "GET"])


def test_a_large_array_travels_once_in_ranges(cci: Any, proxy: FaultProxy) -> None:
    array = np.random.default_rng(0).integers(0, 255, 40 * MiB, dtype=np.uint8)
    cci.upload_raw_array("array", array, compression=False)
    uploaded = proxy.requests
    assert sum(request.received for request in uploaded) < 41 * MiB
    proxy.forget()
    assert_same(cci.download_raw_array("array"), array)
    ranges = sorted(request.range for request in proxy.requests)
    assert [request.method for request in proxy.requests] == ["GET"] * len(ranges)
    assert ranges[0][0] == 0
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))
    assert len(ranges) == 5


def test_a_selection_moves_only_what_it_needs(cci: Any, proxy: FaultProxy) -> None:
    array = np.random.default_rng(0).standard_normal((1000, 500))
    cci.upload_raw_array("array", array, compression=False)
    proxy.forget()
    result = cci.download_raw_array("array", selection=np.s_[10:20])
    assert_same(result, array[10:20])
    # The header comes with the end of the object, where the index of a gzip body would be.
    assert [request.method for request in proxy.requests] == ["GET", "GET"]
    assert proxy.requests[1].range == (10 * 500 * 8, 20 * 500 * 8)
    assert sum(request.sent for request in proxy.requests) < 10 * 500 * 8 + TAIL_BYTES + 2000


def test_a_strided_selection_joins_what_is_near(cci: Any, proxy: FaultProxy) -> None:
    array = np.random.default_rng(0).standard_normal((64, 64, 1024))
    cci.upload_raw_array("array", array, compression=False)
    proxy.forget()
    result = cci.download_raw_array("array", selection=np.s_[::16, 3:5])
    assert_same(result, np.ascontiguousarray(array[::16, 3:5]))
    assert [request.range for request in proxy.requests[1:]] != []
    moved = sum(request.sent for request in proxy.requests)
    assert moved < result.nbytes + TAIL_BYTES + 5000
    assert len(proxy.requests) == 1 + 4


def test_dask_loads_the_chunks_of_a_slice(cci: Any, proxy: FaultProxy) -> None:
    cci.upload_dask_array("array", np.arange(1000.0), buffersize=800)
    proxy.forget()
    array = cci.download_dask_array("array")
    assert lines(proxy) == ["GET"]
    assert_same(np.array(array[150:250]), np.arange(150.0, 250.0))
    assert sorted(request.path.rpartition("/")[2] for request in proxy.requests) == [
        "pt0001",
        "pt0002",
    ]


def test_a_dictionary_is_one_listing_and_one_request_each(cci: Any, proxy: FaultProxy) -> None:
    cci.dict2cloud("d", {f"a{i}": np.arange(i) for i in range(1, 20)}, verbose=False)
    assert lines(proxy) == ["PUT"] * 19
    cci.cloud2dict("d", verbose=False)
    assert sorted(lines(proxy)) == ["GET"] * 20


def test_replacing_a_chunked_array_asks_once(cci: Any, proxy: FaultProxy) -> None:
    cci.upload_dask_array("array", np.arange(10.0))
    requests = lines(proxy)
    if requests.count("PUT") == 3:  # whether this endpoint honors conditions, once per process
        requests.remove("PUT")
    # Is one there? Its chunk, a look whether it is still there, its manifest; is there a raw array
    # of that name?
    assert requests == ["GET", "PUT", "HEAD", "PUT", "HEAD"]
    cci.upload_dask_array("array", np.arange(10.0))
    # ... and the manifest that is replaced with its ACL, for restore(); it replaced nothing.
    assert lines(proxy) == ["GET", "PUT", "GET", "PUT", "HEAD", "PUT", "GET", "HEAD"]


def test_denied_upload_is_sent_once_by_each_client(cci: Any, proxy: FaultProxy) -> None:
    """obstore's error is not read; botocore does not retry what another attempt cannot mend."""
    proxy.on(method="PUT").answer(403, "AccessDenied")
    with pytest.raises(PermissionError):
        cci.upload_object("object", b"body")
    assert lines(proxy) == ["PUT", "PUT"]


def test_a_busy_server_is_asked_again(cci: Any, proxy: FaultProxy) -> None:
    for status, code in ((503, "SlowDown"), (500, "InternalError")):
        proxy.on(method="GET", times=1).answer(status, code)
        proxy.on(method="PUT", times=1).answer(status, code)
        cci.upload_raw_array("array", np.arange(3))
        assert_same(cci.download_raw_array("array"), np.arange(3))
        assert lines(proxy) == ["PUT", "PUT", "GET", "GET"]


@pytest.mark.parametrize("size", [1000, 20 * MiB], ids=["small", "large"])
@pytest.mark.parametrize("compression", [False, "gzip"], ids=["raw", "gzip"])
def test_a_body_that_is_cut_or_changed(
    proxy: FaultProxy,
    moto_bucket: str,
    size: int,
    compression: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader_module, "_PAUSE_S", 0)
    cci = cottoncandy.get_interface(
        moto_bucket,
        verbose=False,
        config=Config(retries={"max_attempts": 1}),  # the waits between many would be long
        **proxy.server.interface_arguments(),
    )
    array = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    cci.upload_raw_array("array", array, compression=compression)
    for damage in (
        lambda: proxy.on(method="GET").truncate(1),
        lambda: proxy.on(method="GET").flip(size // 3 % (8 * MiB)),
    ):
        rule = damage()
        with pytest.raises((ValueError, OSError), match="array"):
            cci.download_raw_array("array")
        rule.remove()
        assert_same(cci.download_raw_array("array"), array)


def test_connections_that_break_are_mended(cci: Any, proxy: FaultProxy) -> None:
    array = np.random.default_rng(0).integers(0, 255, 20 * MiB, dtype=np.uint8)
    cci.upload_raw_array("array", array, compression=False)
    proxy.on(method="GET", times=2).truncate(MiB, reset=True)
    assert_same(cci.download_raw_array("array"), array)


def test_a_server_that_ignores_ranges_is_told(cci: Any, proxy: FaultProxy) -> None:
    array = np.random.default_rng(0).integers(0, 255, 12 * MiB, dtype=np.uint8)
    cci.upload_raw_array("array", array, compression=False)
    proxy.on(method="GET").ignore_range()
    try:
        result = cci.download_raw_array("array")
    except (ValueError, OSError) as error:
        assert "array" in str(error)  # noqa: PT017 - either outcome is right, silence is not
    else:
        assert_same(result, array)


def test_acls_that_a_bucket_refuses(
    cci: Any, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.on(method="PUT").refuse_acl()
    proxy.on(method="POST").refuse_acl()
    for number in range(3):
        cci.upload_raw_array(f"array{number}", np.arange(3))
        assert_same(cci.download_raw_array(f"array{number}"), np.arange(3))
    assert caplog.text.count("ACL") >= 1
    assert len([r for r in caplog.records if "ACL" in r.getMessage()]) == 1


def test_a_handle_fetches_its_description_once(cci: Any, proxy: FaultProxy) -> None:
    array = np.random.default_rng(0).integers(0, 99, (1000, 1000))
    cci.upload_raw_array("raw", array, compression=False)
    cci.upload_raw_array("gzip", array)
    cci.upload_dask_array("chunked", array, axis=0, buffersize=2**20, compression=False)
    proxy.forget()
    for name, opening in (("raw", 1), ("gzip", 1), ("chunked", 2)):
        arr = cci.array(name)
        assert len(lines(proxy)) == opening
        for _ in range(2):
            assert_same(arr[500:502], array[500:502])
            # A large chunk is opened, then read in part.
            assert len(lines(proxy)) == (2 if name == "chunked" else 1)
        cci.info(name)
        assert len(lines(proxy)) == opening


def test_metadata_are_changed_on_the_server(cci: Any, proxy: FaultProxy) -> None:
    array = np.zeros((1000, 1000))
    cci.upload_raw_array("raw", array, compression=False)
    arr = cci.array("raw")
    arr.attrs["subject"] = "sub01"
    assert cci.info("raw").metadata == {"subject": "sub01"}
    assert_same(arr[10:12], array[10:12])
