"""Bodies that change in transit to S3: the server notices, and nothing is stored."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config

from cottoncandy.backends.s3.transport import ViewReader
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import IntegrityError
from cottoncandy.testing.harness import pattern
from tests.backends._s3 import backend_at
from tests.servers.proxy import FaultProxy, Request

pytestmark = pytest.mark.server

SIZES = pytest.mark.parametrize("size", [MiB + 1, 11 * MiB], ids=["one request", "parts"])


def uploads(proxy: FaultProxy, key: str, size: int, config: Config | None = None) -> list[Request]:
    """Upload a body through the proxy; return the requests that carried it."""
    bucket = proxy.server.make_bucket()
    backend_at(proxy.server, bucket, config=config).put(key, Body.of(pattern(size)))
    assert backend_at(proxy.server, bucket).get(key).read() == pattern(size)
    return proxy.select("PUT", key)


@SIZES
@pytest.mark.parametrize("store", ["ceph"], indirect=True)
def test_a_body_that_changes_on_the_way(
    store: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backend_at(store.server, store.bucket)
    backend.put("name", Body.of(b"before"))
    read = ViewReader.read

    def damaged(self: ViewReader, size: int | None = -1) -> bytes:
        block = bytearray(read(self, size))
        block[-1:] = bytes([block[-1] ^ 1]) if block else b""
        return bytes(block)

    monkeypatch.setattr(ViewReader, "read", damaged)
    monkeypatch.setattr(backend._transport, "_obstore_can_express", lambda *_: False)  # botocore
    with pytest.raises(IntegrityError, match="'name'"):
        backend.put("name", Body.of(pattern(size)))
    monkeypatch.undo()
    assert store.raw_get("name").body == b"before"


def test_bodies_have_a_signed_sha256(fault_proxy: FaultProxy) -> None:
    uploads(fault_proxy, "name", 11 * MiB)
    uploads(fault_proxy, "small", 100)
    uploads(fault_proxy, "one request", 3 * MiB)
    for request in fault_proxy.requests:
        assert len(request.headers["x-amz-content-sha256"]) == 64
        assert "content-md5" not in request.headers
    assert {request.method for request in fault_proxy.requests} >= {"POST", "PUT"}


@pytest.mark.parametrize("size", [100, 11 * MiB])
@pytest.mark.parametrize(
    "config",
    [
        Config(signature_version=UNSIGNED),
        Config(s3={"payload_signing_enabled": False}),
    ],
)
def test_bodies_without_a_signature_have_an_md5(
    fault_proxy: FaultProxy, size: int, config: Config
) -> None:
    for request in uploads(fault_proxy, "name", size, config):
        assert len(request.headers["content-md5"]) == 24


@pytest.mark.parametrize(
    "config",
    [
        Config(s3={"payload_signing_enabled": True}),
        Config(request_checksum_calculation="when_supported"),
    ],
)
def test_what_the_user_chose_is_used(fault_proxy: FaultProxy, config: Config) -> None:
    for request in uploads(fault_proxy, "name", 2 * MiB, config):
        assert len(request.headers["x-amz-content-sha256"]) == 64 or any(
            name.startswith("x-amz-checksum") for name in request.headers
        )
