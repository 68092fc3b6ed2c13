"""Objects as plain files in a directory, their metadata in JSON files next to them."""

from __future__ import annotations

from cottoncandy.backends.local.backend import LocalBackend

__all__ = ["LocalBackend"]
