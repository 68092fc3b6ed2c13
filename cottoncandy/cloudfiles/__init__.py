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
