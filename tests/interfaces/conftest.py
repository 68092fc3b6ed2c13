"""The interface under test: every store, plain and encrypted.

Tests that take ``cci`` run unchanged over all of them: what an interface promises does not depend
on where the bytes live, or how they are kept.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.rigs import Rig


@pytest.fixture
def cci(store: Rig, factory: Any) -> Any:
    """An interface on a fresh bucket of each store, plain and encrypted."""
    return factory(store.bucket, verbose=False, backend=store.backend_name, **store.connection())
