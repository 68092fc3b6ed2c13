"""URLs that let others read an object."""

from __future__ import annotations

import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import dask.array
import numpy as np
import pytest

import cottoncandy
from cottoncandy.exceptions import (
    AccessDeniedError,
    InvalidArgumentError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from tests.harness import StoreHarness

on_s3 = pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)


def lifetime(url: str) -> int:
    return int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0])


@on_s3
@pytest.mark.parametrize("name", ["sub01/run1", "a b/ü+?#%41&=", "x//y"])
def test_a_shared_array_is_read_by_its_url(store: StoreHarness, name: str) -> None:
    cci = store.interface()
    array = np.arange(300_000, dtype="<i4").reshape(-1, 3)
    for compression in (False, "gzip"):
        cci.upload_raw_array(name, array, compression=compression, acl="private")
        url = cci.share(name)
        assert lifetime(url) == 3600
        with urlopen(url) as response:
            assert int(response.headers["Content-Length"]) == cci.get_objects()[-1].size
        shared = cottoncandy.array(url)
        assert (shared.shape, shared.dtype) == (array.shape, array.dtype)
        assert np.array_equal(shared[1000:1010], array[1000:1010])
        assert np.array_equal(np.asarray(shared), array)
    if store.name == "ceph":  # moto accepts any signature
        with pytest.raises(AccessDeniedError):
            cottoncandy.array(url.replace("Signature=", "Signature=0"))


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_expires_takes_seconds_and_units(store: StoreHarness) -> None:
    cci = store.interface()
    cci.upload_object("object", b"x")
    week = 7 * 24 * 3600
    for expires, seconds in (
        (60, 60), (0.5 + 60, 61), ("90s", 90), ("5m", 300), ("2h", 7200), ("7d", week),
        (week, week), (datetime.timedelta(hours=1), 3600),
    ):  # fmt: skip
        assert lifetime(cci.share("object", expires=expires)) == seconds
    for wrong in (0, -1, week + 1, "8d", "1 year", "", None, True, float("nan"), float("inf"), []):
        with pytest.raises(InvalidArgumentError, match="expires must be"):
            cci.share("object", expires=wrong)


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_what_cannot_be_shared(store: StoreHarness) -> None:
    cci = store.interface()
    cci.upload_dask_array("dask", dask.array.ones(10, chunks=5))
    with pytest.raises(UnsupportedOperationError, match="consists of several objects"):
        cci.share("dask")
    for missing in ("missing", "das"):
        with pytest.raises(ObjectNotFoundError):
            cci.share(missing)


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_a_shared_encrypted_object_is_encrypted(store: StoreHarness) -> None:
    key = bytes(range(32))
    options: dict[str, Any] = {"verbose": False, **store.connection()}
    cci = cottoncandy.get_encrypted_interface(store.bucket, encryptionKey=key, **options)
    cci.upload_raw_array("array", np.arange(1000.0))
    url = cci.share("array")
    with urlopen(url) as response:
        assert response.read(6) == b"\x89CCENC"
    assert np.array_equal(cottoncandy.array(url, encryptionKey=key)[5:9], np.arange(5.0, 9.0))


@pytest.mark.parametrize("store", ["memory", "local"], indirect=True)
def test_stores_without_urls_say_so(store: StoreHarness) -> None:
    cci = store.interface()
    cci.upload_object("object", b"x")
    with pytest.raises(UnsupportedOperationError, match="cannot sign URLs; copy the object"):
        cci.share("object")
