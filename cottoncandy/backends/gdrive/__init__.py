"""Google Drive: keys are paths, folders are created as needed, metadata are file properties."""

import importlib

from cottoncandy.exceptions import MissingDependencyError

try:
    importlib.import_module("pydrive2.auth")
except ImportError as exc:
    raise MissingDependencyError(
        f"the Google Drive backend needs pydrive2, which cannot be imported ({exc}): "
        f'pip install "cottoncandy[gdrive]"'
    ) from exc
