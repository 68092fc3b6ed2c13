"""Fixtures and helpers of the Google Drive tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cottoncandy.backends.gdrive.backend import GDriveBackend
from tests.servers.drive import DriveServer
from tests.servers.drive.harness import DriveHarness

__all__ = ["CHUNK", "DriveTests", "keys", "make", "read"]

CHUNK = 512 * 1024


class DriveTests:
    """A backend on a separate server, which a test may break."""

    @pytest.fixture
    def server(self) -> Iterator[DriveServer]:
        with DriveServer() as running:
            yield running

    @pytest.fixture
    def harness(self, server: DriveServer, tmp_path: Path) -> DriveHarness:
        return DriveHarness(server, tmp_path)

    @pytest.fixture
    def waits(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """How long the backend waited between tries, without waiting."""
        waits: list[float] = []
        for module in ("googleapiclient.http", "cottoncandy.backends.gdrive.upload"):
            monkeypatch.setattr(f"{module}.time", SimpleNamespace(sleep=waits.append))
            monkeypatch.setattr(f"{module}.random", SimpleNamespace(random=lambda: 1.0))
        return waits

    @pytest.fixture
    def backend(self, harness: DriveHarness, waits: list[float]) -> GDriveBackend:
        return make(harness)


def make(harness: DriveHarness, bucket: str | None = None, **extra: Any) -> GDriveBackend:
    made = harness.backend(bucket, **extra)
    assert isinstance(made, GDriveBackend)
    # Small chunks make small tests.
    config = replace(made._connection.options, upload_chunk_bytes=CHUNK, download_chunk_bytes=CHUNK)
    return GDriveBackend(config, made.bucket_name)


def read(backend: GDriveBackend, key: str) -> bytes:
    with backend.get(key) as reader:
        return reader.read()


def keys(backend: GDriveBackend, prefix: str = "") -> list[str]:
    return [entry.key for entry in backend.scan(prefix)]  # type: ignore[union-attr]
