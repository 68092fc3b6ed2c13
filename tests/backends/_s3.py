"""Helpers shared by the tests of S3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config

from cottoncandy.backends import reader as reader_module
from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.core.buffers import MiB
from cottoncandy.options import Settings
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

__all__ = [
    "ACCESS",
    "QUICK",
    "SECRET",
    "SMALL",
    "TOKEN",
    "S3Tests",
    "backend_at",
    "connect",
    "keys_of",
    "pieces_of",
    "uploads_in",
]

ACCESS = "FAKE-ACCESS-KEY"
SECRET = "FAKE-SECRET-KEY"
TOKEN = "FAKE-SESSION-TOKEN"

QUICK = Config(retries={"max_attempts": 0}, read_timeout=60)


# Ranges of 1 MiB and parts of 5 MiB (S3's least), so that small bodies take many requests.
SMALL = Settings(mpd_chunksize_bytes=MiB, mpu_use_threshold_bytes=5 * MiB, mpu_chunksize_bytes=1)


def backend_at(
    server: S3Server,
    bucket: str,
    settings: Settings = SMALL,
    config: Config | None = None,
    **extra: Any,
) -> S3Backend:
    return S3Backend.connect(
        ConnectionArguments(
            bucket,
            server.access_key,
            server.secret_key,
            server.endpoint_url,
            settings,
            extra if config is None else {"config": config, **extra},
        )
    )


def connect(
    access_key: str | None = ACCESS,
    secret_key: str | None = SECRET,
    endpoint_url: str | None = "http://127.0.0.1:9",
    settings: Settings | None = None,
    **extra: Any,
) -> S3Backend:
    return S3Backend.connect(
        ConnectionArguments(
            "bucket", access_key, secret_key, endpoint_url, settings or Settings(), extra
        )
    )


def keys_of(backend: S3Backend) -> tuple[str, str, str | None]:
    found = backend._connection.credentials.get_frozen_credentials()
    return found.access_key, found.secret_key, found.token


class S3Tests:
    """A bucket on moto, with and without a proxy in front of it."""

    @pytest.fixture(autouse=True)
    def _no_pauses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Resume at once after a broken connection."""
        monkeypatch.setattr(reader_module, "_PAUSE_S", 0)

    @pytest.fixture
    def backend(self, fault_proxy: FaultProxy, moto_bucket: str) -> S3Backend:
        """A backend behind the proxy, without retries."""
        return backend_at(fault_proxy.server, moto_bucket, config=QUICK)

    @pytest.fixture
    def behind(self, moto: S3Server, moto_bucket: str) -> S3Backend:
        """The same bucket, without the proxy."""
        return backend_at(moto, moto_bucket)


def pieces_of(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def uploads_in(server: S3Server, bucket: str) -> list[str]:
    found = server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [each["Key"] for each in found]
