"""cottoncandy: arrays and files in the cloud, straight from and to memory.

Importing the package creates the user's options file if it does not exist, and nothing else: it
sends no requests and imports no heavy libraries. Submodules are imported on first access.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cottoncandy._checks import doctor, verify
from cottoncandy._factories import array, get_browser, get_encrypted_interface, get_interface
from cottoncandy._version import __version__
from cottoncandy.config.location import ensure_options_file

if TYPE_CHECKING:
    from cottoncandy import browser, cloudfiles, encryption, exceptions, interfaces, options, utils
    from cottoncandy.cloudfiles import CloudFile, CloudFiles, ResumableTransfer, dl
    from cottoncandy.transfer.sync import sync

__all__ = [
    "CloudFile",
    "CloudFiles",
    "ResumableTransfer",
    "__version__",
    "array",
    "browser",
    "cloudfiles",
    "dl",
    "doctor",
    "encryption",
    "exceptions",
    "get_browser",
    "get_encrypted_interface",
    "get_interface",
    "interfaces",
    "options",
    "sync",
    "utils",
    "verify",
]

_MODULE_OF = {
    "CloudFile": "cottoncandy.cloudfiles",
    "CloudFiles": "cottoncandy.cloudfiles",
    "ResumableTransfer": "cottoncandy.cloudfiles",
    "dl": "cottoncandy.cloudfiles",
    "sync": "cottoncandy.transfer.sync",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    if name in __all__:
        return importlib.import_module(f"cottoncandy.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


ensure_options_file()
