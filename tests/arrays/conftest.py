"""The interface whose arrays are opened."""

from __future__ import annotations

from tests.interfaces.conftest import cci

__all__ = ["cci"]
