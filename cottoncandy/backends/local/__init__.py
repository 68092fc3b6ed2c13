"""Objects as plain files in a directory, their metadata in JSON files next to them."""

from __future__ import annotations

import importlib

from cottoncandy.exceptions import UnsupportedOperationError

try:
    importlib.import_module("fcntl")
except ImportError:
    raise UnsupportedOperationError(
        "backend='local' needs Linux or macOS; it cannot lock files on this system"
    ) from None
