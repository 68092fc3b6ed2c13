"""From the arguments of a factory to a store; no request is sent and no one logs in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cottoncandy.backends import backend_class
from cottoncandy.backends.base import Backend, ConnectionArguments
from cottoncandy.backends.options import UPLOAD_OPTIONS
from cottoncandy.config.options import Settings
from cottoncandy.exceptions import ConfigurationError, InvalidArgumentError, InvalidNameError
from cottoncandy.formats.encryption.keys import KeyScheme
from cottoncandy.formats.generations import MANIFEST
from cottoncandy.stores.cached import CachedBackend
from cottoncandy.stores.checks import check_bytes
from cottoncandy.stores.encrypted import EncryptedBackend
from cottoncandy.stores.keys import optional_keys
from cottoncandy.stores.store import Store
from cottoncandy.stores.urls import StoreURL, is_url, mask, parse_url
from cottoncandy.stores.wrapping import ReadOnlyBackend

#: Backend of the factories, which a URL overrides.
DEFAULT_BACKEND = "s3"

_CACHE_SIZE = "20GB"


def connect(
    backend: str,
    bucket: Any,
    /,
    *login: Any,
    _settings: Settings | None = None,
    _keys: KeyScheme | None = None,
    **options: Any,
) -> Store:
    """Return the store that a user's arguments describe.

    Parameters
    ----------
    backend : str
        Name in the registry.
    bucket
        As the user passed it. A URL names the backend, too.
    *login, _settings, _keys, **options
        As in :func:`connect_to`.

    Raises
    ------
    ConfigurationError, InvalidArgumentError, InvalidNameError, MissingDependencyError
    """
    if is_url(bucket):
        url = parse_url(bucket)
        if url.path:
            raise InvalidArgumentError(
                f"the URL {mask(bucket)!r} has a path after the bucket, and an interface is for a "
                f"whole bucket: remove the path and use {url.path!r} as a name, or open one array "
                f"with cc.array(URL)"
            )
        if backend not in (DEFAULT_BACKEND, url.backend):
            raise InvalidArgumentError(
                f"{mask(bucket)!r} is a URL of backend {url.backend!r}, but backend={backend!r} "
                f"was passed; omit it"
            )
    else:
        url = StoreURL(backend, bucket)
    return connect_to(url, _settings, _keys, *login, **options)


def connect_url(url: str | os.PathLike[str], /, *login: Any, **options: Any) -> tuple[Store, str]:
    """Return the store of a URL, and the key or prefix after its bucket.

    Parameters
    ----------
    url : str or path-like
        A path is on disk. The last part of a ``file`` or ``http`` URL is the key.
    *login, **options
        As in :func:`connect_to`, and ``encryption``, ``encryptionKey`` and ``passphrase`` as in
        :func:`cottoncandy.get_encrypted_interface`; without the first two, nothing is encrypted.

    Raises
    ------
    ConfigurationError, InvalidArgumentError, InvalidNameError, MissingDependencyError

    Examples
    --------
    >>> store, key = connect_url("memory://bucket/path/name")
    >>> store.bucket, key
    ('bucket', 'path/name')
    """
    if isinstance(url, os.PathLike):
        url = "file://" + os.path.abspath(url)  # noqa: PTH100 - a URL is text
    return _connect_parsed(parse_url(url, directory=False), *login, **options)


def connect_directory(url: str, /, *login: Any, **options: Any) -> tuple[Store, str]:
    """Do what :func:`connect_url` does; the whole path of ``file`` or ``http`` is the bucket."""
    return _connect_parsed(parse_url(url), *login, **options)


def _connect_parsed(
    url: StoreURL,
    /,
    *login: Any,
    encryption: Any = None,
    encryptionKey: Any = None,  # noqa: N803 - the documented name
    passphrase: Any = None,
    **options: Any,
) -> tuple[Store, str]:
    settings = Settings.load()
    keys = optional_keys(encryption, encryptionKey, passphrase, settings)
    return connect_to(url, settings, keys, *login, **options), url.path


def connect_location(
    location: str, named: bool | None = False, /, **options: Any
) -> tuple[Store, str]:
    """Return the store of a URL or of a path on disk, and the name or prefix in it.

    A directory on disk is a bucket; if ``named``, it has a name in the one above it. If that is
    None, it has one if it is an array. The options are those of :func:`connect_url`.
    """
    if is_url(location) and not location.lower().startswith("file://"):
        return connect_url(location, **options)
    text = parse_url(location).bucket if is_url(location) else location
    # pathlib's raises an error for a file '~name' that is not the home of a user.
    path = Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - takes any name
    if named is None:
        named = (path / MANIFEST).is_file()
    directory = path.parent if named else path
    while not directory.is_dir() and directory != directory.parent:
        directory = directory.parent
    name = "" if directory == path else path.relative_to(directory).as_posix()
    if name and location.endswith("/") and not named:
        name += "/"  # a file is not a directory
    return connect_directory(f"file://{directory}", **options)[0], name


def connect_to(
    url: StoreURL,
    settings: Settings | None = None,
    keys: KeyScheme | None = None,
    /,
    ACCESS_KEY: Any = None,  # noqa: N803 - the documented name
    SECRET_KEY: Any = None,  # noqa: N803 - the documented name
    endpoint_url: Any = None,
    *,
    read_only: Any = False,
    cache: Any = None,
    cache_size: Any = None,
    **extra: Any,
) -> Store:
    """Return the store of a URL that was taken apart.

    Parameters
    ----------
    url : StoreURL
    settings : Settings, optional
        The options, secrets included; the store keeps those without.
    keys : KeyScheme, optional
        To encrypt with.
    ACCESS_KEY, SECRET_KEY, endpoint_url, read_only, cache, cache_size, **extra
        As the user passed them to a factory. None, False and an empty text as a login mean "not
        given".
    """
    settings = Settings.load() if settings is None else settings
    if not isinstance(read_only, bool):
        raise ConfigurationError(f"read_only must be True or False, got {read_only!r}")
    if cache_size is not None and cache is None:
        raise ConfigurationError("cache_size requires cache, the path of a directory")
    max_bytes = check_bytes(_CACHE_SIZE if cache_size is None else cache_size, "cache_size")
    is_path = isinstance(cache, str | os.PathLike) and cache != "" and "\0" not in str(cache)
    if cache is not None and not is_path:
        raise ConfigurationError(f"cache must be a directory, got {cache!r}")
    if url.query:
        extra["query"] = url.query
    store = backend_class(url.backend)
    uploads = {name: extra.pop(name) for name in UPLOAD_OPTIONS if extra.get(name) is not None}
    if "request_payer" in uploads and "request_payer" in store.capabilities.headers:
        extra["request_payer"] = uploads.pop("request_payer")  # of all requests
    name = _none_if_unset(url.bucket)
    if name is None and store.uses_default_bucket:
        name = settings.default_bucket
    connected: Backend = store.connect(
        ConnectionArguments(
            bucket_name=None if name is None else check_bucket_name(name),
            access_key=_one("ACCESS_KEY", ACCESS_KEY, url.user),
            secret_key=_one("SECRET_KEY", SECRET_KEY, url.password),
            endpoint_url=_one("endpoint_url", endpoint_url, url.endpoint_url),
            settings=settings,
            extra=extra,
        )
    )
    if uploads:
        connected = connected.with_upload_options(**uploads)
    if cache is not None:
        connected = CachedBackend(connected, cache, max_bytes)
    if read_only:
        connected = ReadOnlyBackend(connected)
    if keys is not None:
        connected = EncryptedBackend(connected, keys)
    return Store(connected, settings.without_secrets())


def _one(name: str, argument: Any, in_url: str | None) -> Any:
    """Return what is passed as an argument or in the URL."""
    passed = _none_if_unset(argument)
    if not isinstance(passed, str | os.PathLike | None):
        raise ConfigurationError(f"{name} must be a str, got a {type(passed).__name__}")
    if passed is not None and in_url is not None and passed != in_url:
        raise InvalidArgumentError(f"the URL contains another {name} than the argument; omit one")
    return passed if in_url is None else in_url


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
