"""Signatures of version 2, which old servers require: ``signature_version='s3'``."""

from __future__ import annotations

import pytest

from cottoncandy.backends.base import ConnectionArguments, PutOptions
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import CredentialsError
from cottoncandy.options import Settings
from cottoncandy.testing.harness import pattern
from tests.harness import StoreHarness
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.server

SETTINGS = Settings(
    signature_version="s3",
    mpd_chunksize_bytes=MiB,
    mpu_use_threshold_bytes=5 * MiB,
    mpu_chunksize_bytes=1,
)


def connect(server: S3Server, bucket: str, secret_key: str | None = None) -> S3Backend:
    return S3Backend.connect(
        ConnectionArguments(
            bucket,
            server.access_key,
            secret_key or server.secret_key,
            server.endpoint_url,
            SETTINGS,
        )
    )


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_objects_and_buckets(store: StoreHarness) -> None:
    """botocore alone can't list or look at a bucket so, on Ceph."""
    backend = connect(store.server, store.bucket)  # type: ignore[attr-defined]  # S3 harnesses have it
    assert backend.has_bucket(store.bucket)
    assert not backend.has_bucket(f"{store.bucket}-missing")
    assert store.bucket in [bucket.name for bucket in backend.list_buckets()]
    data = pattern(6 * MiB)
    bodies = {"a": b"1", "directory/": b"", "odd//näme +%": b"2", "large": data}
    for key, body in bodies.items():
        backend.put(key, Body.of(body), PutOptions({"n": key[0]}, acl="public-read"))
        assert backend.get(key).read() == body
        assert backend.head(key).metadata == {"n": key[0]}
    assert {each.key: each.size for each in backend.scan()} == {
        key: len(body) for key, body in bodies.items()
    }
    assert [each.key for each in backend.scan("odd/")] == ["odd//näme +%"]
    assert all(outcome is None for _, outcome in backend.delete(["a", "large"]))
    assert sorted(each.key for each in backend.scan()) == ["directory/", "odd//näme +%"]
    other = f"{store.bucket}-v2"
    backend.create_bucket(other)
    assert backend.has_bucket(other)
    backend.delete_bucket(other)
    assert not backend.has_bucket(other)


def test_a_wrong_key_is_told(ceph: S3Server, ceph_bucket: str) -> None:
    backend = connect(ceph, ceph_bucket, "FAKE-WRONG-SECRET")
    for request in (
        lambda: backend.has_bucket(ceph_bucket),
        lambda: backend.get("name"),
        lambda: list(backend.scan()),
    ):
        with pytest.raises(CredentialsError, match="secret key does not match"):
            request()


def test_requests_of_version_2(fault_proxy: FaultProxy, moto_bucket: str) -> None:
    backend = connect(fault_proxy.server, moto_bucket)
    backend.put("name", Body.of(b"body"))
    list(backend.scan())
    signatures = [request.headers["authorization"][:4] for request in fault_proxy.requests]
    assert signatures == ["AWS "] * len(fault_proxy.requests)
    assert fault_proxy.requests[-1].path == f"/{moto_bucket}/"
