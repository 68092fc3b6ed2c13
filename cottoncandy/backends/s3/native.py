"""obstore in this process: a forked one loads a copy of its library.

obstore sends requests from threads that it starts once. They do not survive a fork, and the child's
requests would wait for them forever. For the system's loader, a file with the same content is
another library, which starts threads of its own.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import obstore
import obstore.store

from cottoncandy.core.threads import ForkSafeLock, after_fork

logger = logging.getLogger(__name__)

_lock = ForkSafeLock()
_loaded: list[Any] = [obstore]
_copies = itertools.count(1)

after_fork(_loaded.clear)


def library() -> Any:
    """Return obstore, as far as ``transport`` uses it; None if it cannot be used here."""
    if not _loaded:
        with _lock:
            if not _loaded:
                _loaded.append(_copy())
    return _loaded[0]


def _copy() -> Any:
    """Load the library from a file in memory: 25 ms and 15 MB for each child, on Linux only."""
    registered = sys.modules.copy()
    try:
        name, original = obstore._obstore.__name__, Path(obstore._obstore.__file__ or "")
        with original.open("rb") as source, os.fdopen(os.memfd_create("obstore"), "wb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            # The system knows a library by its path, and the parent may have loaded a copy, too.
            path = f"/proc/self/fd/{'./' * next(_copies)}{copy.fileno()}"
            spec: Any = spec_from_file_location(name, path, loader=ExtensionFileLoader(name, path))
            module: Any = module_from_spec(spec)
            spec.loader.exec_module(module)
        module.store = module._store
    except (ImportError, OSError, AttributeError) as error:
        logger.debug("botocore sends all requests of this process: %s", error)
        return None
    finally:
        # Loading it replaced modules of obstore, which something else in this process may use.
        sys.modules.update({n: m for n, m in registered.items() if n.startswith("obstore.")})
    return module
