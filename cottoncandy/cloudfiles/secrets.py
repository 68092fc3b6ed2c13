"""Credentials of the files API: secrets files, then the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cottoncandy.backends import backend_class
from cottoncandy.exceptions import ConfigurationError
from cottoncandy.stores.urls import cloud_files_dir

__all__ = [
    "aws_credentials",
    "cave_credentials",
    "google_credentials",
    "google_secret_path",
    "http_credentials",
    "secretpath",
]


def _folders() -> list[Path]:
    # pathlib's raises an error if the user has no home directory.
    volume = Path(os.path.expanduser(os.environ.get("CLOUD_VOLUME_DIR") or "~/.cloudvolume"))  # noqa: PTH111 - no error without a home
    return [volume / "secrets", Path("/"), cloud_files_dir() / "secrets"]


def secretpath(filepath: str) -> str:
    """Return the path of a secrets file: the first that exists, else where it is looked for first.

    The folders are ``$CLOUD_VOLUME_DIR/secrets`` (``~/.cloudvolume``), ``/`` and
    ``$CLOUD_FILES_DIR/secrets`` (``~/.cloudfiles``).

    Parameters
    ----------
    filepath : str
        Name of the file, as in ``'aws-secret.json'``.
    """
    name = filepath.removeprefix("secrets/")
    paths = [folder / name for folder in _folders()]
    return str(next((path for path in paths if path.is_file()), paths[0]))


def _find(service: str, owner: str = "") -> str | None:
    """Return the path of a service's secrets file, first that of a bucket or a server, if any."""
    names = [f"{owner}-{service}-secret.json"] if owner else []
    paths = map(secretpath, [*names, f"{service}-secret.json"])
    return next((path for path in paths if Path(path).is_file()), None)


def _read(service: str, owner: str = "") -> dict[str, Any]:
    """Return the content of a service's secrets file; empty without one.

    Raises
    ------
    ConfigurationError
        If it cannot be read. Its content is not repeated.
    """
    path = _find(service, owner)
    if path is None:
        return {}
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except OSError as exc:
        raise ConfigurationError(f"cannot read '{path}': {exc.strerror}") from exc
    except ValueError:
        found = None  # not chained: its message repeats the text
    if not isinstance(found, dict):
        raise ConfigurationError(f"'{path}' must be a JSON object")
    return found


def aws_secrets(bucket: str, service: str) -> dict[str, Any]:
    """Return the content of ``<bucket>-<service>-secret.json`` or ``<service>-secret.json``."""
    return _read({"s3": "aws"}.get(service, service), bucket)


def aws_credentials(
    bucket: str = "", service: str = "aws", skip_files: bool = False
) -> dict[str, str]:
    """Return the credentials for a bucket on S3, or an alias.

    Parameters
    ----------
    bucket : str
    service : str, default 'aws'
        ``'aws'``, which ``'s3'`` means too, or the name of an alias.
    skip_files : bool, default False
        Whether to look at the environment only.

    Returns
    -------
    credentials : dict
        Named as the environment variables: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and, if
        they are set, ``AWS_SESSION_TOKEN`` and ``AWS_DEFAULT_REGION``. Empty if there are none.

    Raises
    ------
    ConfigurationError
        If a secrets file cannot be read.
    """
    found = {} if skip_files else aws_secrets(bucket, service)
    if not found:
        names = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "DEFAULT_REGION")
        pairs = ((f"AWS_{name}", os.environ.get(f"AWS_{name}")) for name in names)
        found = {name: value for name, value in pairs if value}
    return {name: str(value) for name, value in found.items()}


def google_credentials(bucket: str = "") -> tuple[str | None, Any]:
    """Return the project and the credentials for a bucket on Google Storage.

    Returns
    -------
    project : str or None
    credentials : google.oauth2.service_account.Credentials or None
        From ``<bucket>-google-secret.json`` or ``google-secret.json``. None leaves it to Google's
        own sources (``GOOGLE_APPLICATION_CREDENTIALS``, ``gcloud``).
    """
    found = _read("google", bucket)
    return (found.get("project_id"), service_account(found)) if found else (None, None)


def service_account(info: Mapping[str, Any]) -> Any:
    """Return Google's credentials from the content of a secrets file."""
    backend_class("gcs")  # says what to install
    from google.oauth2 import service_account

    scopes = ["https://www.googleapis.com/auth/devstorage.full_control"]
    return service_account.Credentials.from_service_account_info(info, scopes=scopes)


def google_secret_path(bucket: str = "") -> str | None:
    """Return the path of the service account's file for a bucket; None without one."""
    return _find("google", bucket)


def cave_credentials(server: str = "") -> dict[str, Any] | None:
    """Return the content of ``<server>-cave-secret.json`` or ``cave-secret.json``: a ``token``."""
    return _read("cave", server) or None


def http_credentials() -> Mapping[str, str] | None:
    """Return the content of ``http-secret.json``: ``user`` and ``password``."""
    return _read("http") or None
