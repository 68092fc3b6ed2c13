"""Fixtures and helpers of the local backend tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from cottoncandy.backends.base import ConnectionArguments, PutOptions
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.core.buffers import Body

__all__ = ["LocalTests", "put", "tree"]


class LocalTests:
    """A backend on an empty directory."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "root"

    @pytest.fixture
    def backend(self, root: Path) -> LocalBackend:
        root.mkdir()
        return LocalBackend.connect(ConnectionArguments(str(root)))


def put(backend: LocalBackend, key: str, body: bytes = b"x", **metadata: str) -> None:
    backend.put(key, Body.of(body), PutOptions(metadata or None))


def tree(root: Path) -> list[str]:
    """Return everything below a directory, hidden or not."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
