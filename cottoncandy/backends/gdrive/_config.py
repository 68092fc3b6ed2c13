"""What a user passes to the factory, made sense of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.gdrive._auth import METHODS, Login
from cottoncandy.exceptions import ConfigurationError

__all__ = ["Config"]

_OPTIONS = ("auth_method", "http_timeout", "root")


@dataclass(frozen=True)
class Config:
    """Settings of one backend; they travel when it is pickled, and hold no secrets."""

    login: Login = field(repr=False)
    endpoint_url: str | None
    root: str
    upload_chunk_bytes: int
    download_chunk_bytes: int

    @classmethod
    def of(cls, arguments: ConnectionArguments) -> Config:
        """Check and resolve the arguments.

        Raises
        ------
        ConfigurationError
            If an option is unknown or makes no sense.
        """
        extra = arguments.extra
        arguments.check_extra("gdrive", _OPTIONS)
        settings = arguments.settings
        login = Login(
            _in_config_folder(arguments.access_key or settings.gdrive_secrets),
            _in_config_folder(arguments.secret_key or settings.gdrive_credentials),
            _method(extra),
            _timeout(extra),
        )
        root = extra.get("root", "root")
        if not isinstance(root, str) or not root:
            raise ConfigurationError(
                f"root is the id of a folder, or a path that begins with '/', and not {root!r}"
            )
        return cls(
            login,
            arguments.endpoint_url,
            root,
            settings.mpu_chunksize_bytes,
            settings.mpd_chunksize_bytes,
        )


def _in_config_folder(name: str) -> Path:
    """Return the path of a file that is in the folder of the options file unless it says where."""
    path = Path(name).expanduser()
    if path.is_absolute():
        return path
    from cottoncandy import options

    return Path(options.userdir) / path


def _method(extra: Mapping[str, Any]) -> str | None:
    method = extra.get("auth_method")
    if method is not None and method not in METHODS:
        raise ConfigurationError(
            f"auth_method is one of {', '.join(map(repr, METHODS))}, and not {method!r}"
        )
    return method


def _timeout(extra: Mapping[str, Any]) -> float:
    timeout = extra.get("http_timeout", 60.0)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0:
        raise ConfigurationError(f"http_timeout is a number of seconds, and not {timeout!r}")
    return float(timeout)
