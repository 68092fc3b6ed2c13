"""Files by the million: the API of cloud-files, on the stores of cottoncandy.

Examples
--------
>>> from cottoncandy.cloudfiles import CloudFiles
>>> cf = CloudFiles("mem://bucket/data")
>>> cf.put_json("info", {"scales": [1, 2]})
1
>>> cf.get_json("info")
{'scales': [1, 2]}
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cottoncandy.backends.memory import clear as clear_memory
    from cottoncandy.cloudfiles import compression, exceptions, monitoring, paths, secrets
    from cottoncandy.cloudfiles.connection import reset_connection_pools
    from cottoncandy.cloudfiles.file import CloudFile, dl
    from cottoncandy.cloudfiles.files import CloudFiles
    from cottoncandy.cloudfiles.resumable import ResumableTransfer

__all__ = [
    "CloudFile",
    "CloudFiles",
    "ResumableTransfer",
    "clear_memory",
    "compression",
    "dl",
    "exceptions",
    "monitoring",
    "paths",
    "reset_connection_pools",
    "secrets",
]

# Commands on single objects need the connection only, and start faster without the rest.
_MODULE_OF = {
    "CloudFile": "cottoncandy.cloudfiles.file",
    "CloudFiles": "cottoncandy.cloudfiles.files",
    "ResumableTransfer": "cottoncandy.cloudfiles.resumable",
    "clear_memory": "cottoncandy.backends.memory",
    "dl": "cottoncandy.cloudfiles.file",
    "reset_connection_pools": "cottoncandy.cloudfiles.connection",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        module = importlib.import_module(_MODULE_OF[name])
        return getattr(module, "clear" if name == "clear_memory" else name)
    if name in __all__:
        return importlib.import_module(f"cottoncandy.cloudfiles.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
