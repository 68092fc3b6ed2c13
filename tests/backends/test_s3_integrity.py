"""Bodies that change in transit to S3: the server notices, and nothing is stored."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.config import Config

from cottoncandy.backends.s3.transport import ViewReader
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import IntegrityError
from cottoncandy.testing.samples import pattern
from tests.backends._s3 import backend_at
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy, Request

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
    monkeypatch.setattr(backend._transport, "_expressible", lambda options: False)  # botocore
    with pytest.raises(IntegrityError, match="'name'"):
        backend.put("name", Body.of(pattern(size)))
    monkeypatch.undo()
    assert store.raw_get("name").body == b"before"


def test_parts_have_a_signed_md5(fault_proxy: FaultProxy) -> None:
    requests = uploads(fault_proxy, "name", 11 * MiB)
    assert len(requests) == 3
    for request in requests:
        assert len(request.headers["content-md5"]) == 24
        assert "content-md5" in request.headers["authorization"]
        assert request.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


def test_everything_else_has_a_signed_sha256(fault_proxy: FaultProxy) -> None:
    uploads(fault_proxy, "name", 11 * MiB)
    uploads(fault_proxy, "small", 100)
    uploads(fault_proxy, "one request", 3 * MiB)
    for request in fault_proxy.requests:
        if "partNumber" not in request.query:
            assert len(request.headers["x-amz-content-sha256"]) == 64
    assert {request.method for request in fault_proxy.requests} >= {"POST", "PUT"}


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


def test_s3_express_takes_no_md5(moto: S3Server) -> None:
    connection = backend_at(moto, "some-bucket")._connection
    assert connection.signs_md5("some-bucket")
    assert not connection.signs_md5("some-bucket--use1-az4--x-s3")
