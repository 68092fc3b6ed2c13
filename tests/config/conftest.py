"""A user's options file, and ears for the warnings that are given once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cottoncandy.config import location, sources


@pytest.fixture(autouse=True)
def _nothing_told() -> Iterator[None]:
    """Let each test hear the warnings that are given once."""
    sources._warned.clear()
    yield
    sources._pipes.clear()
    sources._warned.clear()
    location._failure = None


@pytest.fixture
def user_file(isolated_environment: Path) -> Path:
    """Where the user's options file belongs; its folder exists, the file does not."""
    path = isolated_environment / ".config" / "cottoncandy" / "options.cfg"
    path.parent.mkdir(parents=True)
    return path
