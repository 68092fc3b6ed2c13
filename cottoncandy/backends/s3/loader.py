"""botocore's service descriptions, read once per process.

Every botocore session parses them anew: 80 ms for the first client of each. An interface is a
session, and a dask worker unpickles many.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
from botocore.loaders import Loader

__all__ = ["make_session"]


class _SharedLoader(Loader):
    """A loader that keeps what it reads for all others with the same search paths."""

    def load_service_model(
        self, service_name: str, type_name: str, api_version: str | None = None
    ) -> Any:
        load = super().load_service_model
        return self._shared("model", load, service_name, type_name, api_version)

    def load_data_with_path(self, name: str) -> Any:
        return self._shared("data", super().load_data_with_path, name)

    def _shared(self, kind: str, load: Callable[..., Any], *names: Any) -> Any:
        key = (kind, *self.search_paths, *names)
        if key not in _read():
            _read()[key] = load(*names)
        return _read()[key]


@functools.cache
def _read() -> dict[tuple[Any, ...], Any]:
    return {}


def make_session(profile: str | None) -> botocore.session.Session:
    """Return a botocore session that shares what it reads."""
    session = botocore.session.Session(profile=profile)
    extra = session.get_config_variable("data_path") or ""
    paths = [
        str(Path(os.path.expandvars(part)).expanduser()) for part in extra.split(os.pathsep) if part
    ]
    session.register_component("data_loader", _SharedLoader(paths))
    return session
