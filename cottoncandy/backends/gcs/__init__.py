"""Google Cloud Storage, on Google's own client library."""

import importlib

from cottoncandy.exceptions import MissingDependencyError

try:
    importlib.import_module("google.cloud.storage")
except ImportError as exc:
    raise MissingDependencyError(
        f"the Google Cloud Storage backend needs google-cloud-storage, which cannot be imported "
        f'({exc}): pip install "cottoncandy[gcs]"'
    ) from exc
