"""A process without the developer's account: another home, no credentials.

The import isolates the process. It comes before the first import of cottoncandy, which looks into
the home.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

import tests.environments  # noqa: F401 - it keeps the environment as it was before the isolation

__all__ = ["HOME", "PATCH", "isolate"]

_PRIVATE_PREFIXES = ("AWS_", "BOTO", "COTTONCANDY_", "GOOGLE_", "GCS_", "GDRIVE_")
_PRIVATE_NAMES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)


def isolate(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Move into another home, without credentials."""
    for name in list(os.environ):
        if name.upper().startswith(_PRIVATE_PREFIXES) or name.upper() in _PRIVATE_NAMES:
            patch.delenv(name)
    patch.setenv("HOME", str(home))
    patch.setenv("USERPROFILE", str(home))
    patch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    patch.setenv("XDG_DATA_HOME", str(home / ".local" / "share"))
    patch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    patch.setenv("APPDATA", str(home / "AppData" / "Roaming"))
    patch.setenv("LOCALAPPDATA", str(home / "AppData" / "Local"))
    # Do not query a cloud's metadata service.
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


#: The home of the process outside the tests, each of which has its own.
HOME = Path(tempfile.mkdtemp(prefix="cottoncandy-home-"))

#: Undoes the isolation.
PATCH = pytest.MonkeyPatch()
isolate(PATCH, HOME)
