"""The interface whose arrays are opened, and its store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import MemoryHarness
from tests.interfaces.conftest import cci

__all__ = ["cci"]


@pytest.fixture
def memory() -> Iterator[MemoryHarness]:
    harness = MemoryHarness()
    yield harness
    harness.close()
