"""Storage backends: a registry of names and modules, which are imported on first use."""

from __future__ import annotations

import importlib

from cottoncandy.backends.base import Backend
from cottoncandy.config.sources import nearest
from cottoncandy.exceptions import InvalidArgumentError

__all__ = ["BACKENDS", "backend_class"]

#: Name of a backend -> ``module:class``.
BACKENDS: dict[str, str] = {
    "s3": "cottoncandy.backends.s3.backend:S3Backend",
    "gcs": "cottoncandy.backends.gcs.backend:GCSBackend",
    "gdrive": "cottoncandy.backends.gdrive.backend:GDriveBackend",
    "local": "cottoncandy.backends.local.backend:LocalBackend",
    "http": "cottoncandy.backends.http.backend:HTTPBackend",
    "files": "cottoncandy.backends.local.files:FilesBackend",
    "memory": "cottoncandy.backends.memory:MemoryBackend",
}


def backend_class(name: str) -> type[Backend]:
    """Return the class registered under ``name``; its module is imported.

    Parameters
    ----------
    name : str
        The ``backend`` argument of the factories: ``'s3'``, ``'local'``, ...

    Raises
    ------
    InvalidArgumentError
        If no backend has that name.
    MissingDependencyError
        If it needs a library that is not installed.
    """
    try:
        module_name, class_name = BACKENDS[name].split(":")
    except KeyError:
        names = [each for each in BACKENDS if each != "files"]  # of the library, for CloudFiles
        raise InvalidArgumentError(
            f"there is no backend {name!r}; choose one of {', '.join(map(repr, names))}"
            f"{nearest(str(name), names, '{!r}')}"
        ) from None
    cls: type[Backend] = getattr(importlib.import_module(module_name), class_name)
    return cls
