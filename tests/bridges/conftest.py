"""A fresh bucket for the suites of other libraries, to which the name ``store`` belongs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import HARNESSES


@pytest.fixture(params=["memory"])
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A store with a fresh bucket, in memory unless the test names another."""
    harness = HARNESSES[request.param](request)
    yield harness
    harness.close()


@pytest.fixture
def cci(place: Any, factory: Any) -> Any:
    """An interface on that bucket, plain unless the test names an encryption."""
    return factory(place.bucket, verbose=False, backend=place.backend_name, **place.connection())
