"""The conformance tests on the stores of this repository."""

from __future__ import annotations

from typing import Any

import pytest

from cottoncandy import testing
from tests.harness import HARNESSES

__all__ = ["BackendConformance"]


class BackendConformance(testing.BackendConformance):
    """Subclass it and set ``store_name``."""

    store_name: str

    def make_harness(self, request: pytest.FixtureRequest) -> Any:
        return HARNESSES[self.store_name](request)
