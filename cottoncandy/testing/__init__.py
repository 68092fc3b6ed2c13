"""Tests that every backend must pass, for backends written elsewhere too.

They need pytest.
"""

import pytest

# Before the import, so that a failed assertion shows its values.
_PARTS = ("reading", "writing", "listing", "copying", "conformance", "harness")
pytest.register_assert_rewrite(*(f"cottoncandy.testing.{part}" for part in _PARTS))

from cottoncandy.testing.conformance import BackendConformance  # noqa: E402 - see above
from cottoncandy.testing.harness import Stored, StoreHarness  # noqa: E402 - see above

__all__ = ["BackendConformance", "StoreHarness", "Stored"]
