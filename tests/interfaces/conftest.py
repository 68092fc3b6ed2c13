"""The interface under test, in memory and plain unless a test names other stores.

What an interface promises does not depend on where the bytes live, or how they are kept:
``test_smoke.py`` shows that every verb is wired on every store.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import StoreHarness


@pytest.fixture
def cci(store: StoreHarness, factory: Any) -> Any:
    """An interface on a fresh bucket."""
    return factory(store.bucket, verbose=False, backend=store.backend_name, **store.connection())
