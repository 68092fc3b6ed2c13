"""From the arguments of a factory to a store; no request is sent and no one logs in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cottoncandy.backends import backend_class
from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.config.options import Settings
from cottoncandy.exceptions import InvalidNameError
from cottoncandy.formats.encryption import KeyScheme
from cottoncandy.stores.encrypted import EncryptedBackend
from cottoncandy.stores.store import Store

__all__ = ["check_bucket_name", "connect"]


def connect(
    backend: str,
    bucket: Any,
    access_key: Any,
    secret_key: Any,
    endpoint_url: Any,
    *,
    settings: Settings,
    extra: Mapping[str, Any],
    keys: KeyScheme | None = None,
) -> Store:
    """Return the store that a user's arguments describe.

    Parameters
    ----------
    backend : str
        Name in the registry.
    bucket, access_key, secret_key, endpoint_url
        As the user passed them; None, False and an empty text mean "not given".
    settings : Settings
        The options, secrets included; the store keeps those without.
    extra : mapping
        Options of the backend.
    keys : KeyScheme, optional
        Encrypt with these.

    Raises
    ------
    ConfigurationError, InvalidArgumentError, InvalidNameError, MissingDependencyError
    """
    store = backend_class(backend)
    name = _none_if_unset(bucket)
    if name is None and store.uses_default_bucket:
        name = settings.default_bucket
    connected = store.connect(
        ConnectionArguments(
            bucket_name=None if name is None else check_bucket_name(name),
            access_key=_none_if_unset(access_key),
            secret_key=_none_if_unset(secret_key),
            endpoint_url=_none_if_unset(endpoint_url),
            settings=settings,
            extra=extra,
        )
    )
    wrapped = connected if keys is None else EncryptedBackend(connected, keys)
    return Store(wrapped, settings.without_secrets())


def check_bucket_name(name: Any) -> str:
    """Return the name of a bucket as text.

    Raises
    ------
    InvalidNameError
        If it is empty, blank, or neither a str nor a path.
    """
    text = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(text, str) or not text.strip():
        raise InvalidNameError(f"a bucket name must be a str that is not blank, got {name!r}")
    return text


def _none_if_unset(value: Any) -> Any:
    unset = value is None or value is False or value in ("False", "")
    return None if unset else value
