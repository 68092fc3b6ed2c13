"""The interface under test, in memory and plain unless a test names other stores.

The behavior of interfaces does not depend on the store: ``test_smoke.py`` shows that every verb
works on every store.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import StoreHarness


@pytest.fixture
def cci(store: StoreHarness, factory: Any) -> Iterator[Any]:
    """An interface on a fresh bucket."""
    where = store.connection()
    with factory(store.bucket, verbose=False, backend=store.backend_name, **where) as cci:
        yield cci
