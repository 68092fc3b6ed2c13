"""URLs of buckets and objects, and their aliases."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from cottoncandy.backends import BACKENDS
from cottoncandy.config.location import user_directory
from cottoncandy.core.names import SAFE_CHARACTERS, shorten
from cottoncandy.exceptions import ConfigurationError, InvalidArgumentError

#: Aliases of this process: name -> beginning of a URL, such as ``s3://https://host/``.
ALIASES: dict[str, str] = {}

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_ONE_SLASH = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?!//)")
_LOGIN = re.compile(r"(?<=://)[^/?#@]*@|(?<=://)[^/?#]*:[^/]*@")


@dataclass(frozen=True, slots=True)
class StoreURL:
    """A URL, taken apart.

    Parameters
    ----------
    backend : str
        Name of the backend.
    bucket : str
        Its bucket; for ``file`` and ``http``, which have none, a directory.
    path : str
        What follows the bucket, byte for byte: a key, a prefix, or nothing.
    endpoint_url : str, optional
        Address of the server, if the URL contains one.
    user, password : str, optional
        Credentials of a web server.
    query : str
        Query of an ``http`` URL, such as the signature of a presigned one.
    """

    backend: str
    bucket: str
    path: str = ""
    endpoint_url: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    query: str = field(default="", repr=False)


def is_url(text: Any) -> bool:
    """Return whether a bucket name is a URL.

    Raises
    ------
    InvalidArgumentError
        If slashes are missing after its scheme: it would be a directory on disk.
    """
    if not isinstance(text, str):
        return False
    found = _ONE_SLASH.match(text)
    if found and found["scheme"].lower() in {*_BACKEND_NAMES, *BACKENDS, *ALIASES}:
        scheme, rest = found["scheme"], text[found.end() :].lstrip("/")
        count, slashes = ("three", ":///") if scheme.lower() == "file" else ("two", "://")
        raise InvalidArgumentError(
            f"{mask(text)!r} is not a URL: write {mask(f'{scheme}{slashes}{rest}')!r}, "
            f"with {count} slashes, or {mask(f'./{text}')!r} if it is on disk"
        )
    return _URL.match(text) is not None


def mask(text: str) -> str:
    """Return a URL without its password and query, for messages."""
    return shorten(_LOGIN.sub("***@", re.sub(r"(?i)^(https?://[^?#\s]*\?)\S+", r"\1***", text)))


def parse_url(url: str, *, directory: bool = True) -> StoreURL:
    """Take a URL apart.

    ``s3``, ``gs``, ``gdrive``, ``memory`` and ``file`` URLs are literal: ``%``, ``?`` and ``#``
    belong to the name. ``http`` and ``https`` URLs are percent-decoded.

    Parameters
    ----------
    url : str
    directory : bool, default True
        Whether the whole path of a ``file`` or ``http`` URL is the bucket. Otherwise, its last part
        is the key.

    Raises
    ------
    InvalidArgumentError
        If the scheme is unknown, or the URL has no bucket, or a password that it may not have.

    Examples
    --------
    >>> parse_url("s3://bucket/path/name")
    StoreURL(backend='s3', bucket='bucket', path='path/name', endpoint_url=None, user=None)
    """
    found = _URL.match(url) if is_url(url) else None
    if found is None:
        raise InvalidArgumentError(
            f"{shorten(str(url))!r} is not a URL, such as 's3://bucket/name' or 'file:///path/name'"
        )
    scheme, rest = found["scheme"].lower(), found["rest"]
    if scheme in _DIRECTORIES:
        return _DIRECTORIES[scheme](scheme, rest, directory)
    if scheme in {*_BACKEND_NAMES, *BACKENDS}:
        return _bucket_url(scheme, rest)
    aliases = read_aliases()
    target = aliases.get(found["scheme"], aliases.get(scheme, ""))
    beginning = _URL.match(target)
    # No alias of another alias, so none refers to itself.
    if beginning is None or beginning["scheme"].lower() not in {*_BACKEND_NAMES, *BACKENDS}:
        raise InvalidArgumentError(
            f"the URL {mask(url)!r} has an unknown scheme; known are "
            f"{', '.join(sorted({*_BACKEND_NAMES, 's3', 'memory', 'gdrive'}))}, and aliases in "
            f"aliases.json"
        )
    separator = "" if target.endswith("/") else "/"
    return parse_url(target + separator + rest, directory=directory)


def _bucket_url(scheme: str, rest: str) -> StoreURL:
    """Parse ``scheme://bucket/path`` and ``s3://https://host/bucket/path``."""
    inner = re.match(r"(?i)(https?://[^/]*)/?", rest) if scheme in _WITH_SERVER else None
    endpoint = inner and inner[1]
    if inner:
        host, rest = inner[1].partition("//")[2], rest[inner.end() :]
        if "@" in host:
            _reject_login(scheme, f":{host}")
        if not host:
            raise InvalidArgumentError(f"the URL {f'{scheme}://{inner[0]}{rest}'!r} has no host")
    _reject_login(scheme, rest)
    bucket, _, path = rest.partition("/")
    if not bucket.strip():
        server = f"{scheme}://{endpoint}/" if endpoint else f"{scheme}://"
        raise InvalidArgumentError(
            f"the URL {mask(server + rest)!r} has no bucket; write {mask(server)}bucket/name"
        )
    return StoreURL(_BACKEND_NAMES.get(scheme, scheme), bucket, path, endpoint)


def _file_url(scheme: str, rest: str, directory: bool) -> StoreURL:
    """Parse ``file:///path``."""
    _reject_login(scheme, rest)
    if not rest.startswith(("/", "~")):
        raise InvalidArgumentError(
            f"the URL {f'{scheme}://{rest}'!r} must contain the full path of a directory, "
            f"file:///path"
        )
    parent, _, name = (rest.rstrip("/"), "", "") if directory else rest.rstrip("/").rpartition("/")
    return StoreURL(_BACKEND_NAMES[scheme], parent or "/", name)


def _reject_login(scheme: str, rest: str) -> None:
    if re.match(r"[^/@]*:[^/]*@", rest):
        host = rest.partition("/")[0].rpartition("@")[2]
        raise InvalidArgumentError(
            f"the URL {scheme}://***@{host} contains a user name or a password, which only http:// "
            f"and https:// URLs may; pass credentials as arguments"
        )


def _web_url(scheme: str, rest: str, directory: bool) -> StoreURL:
    """Parse ``https://user:password@host/path?query``."""
    url = f"{scheme}://{rest}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidArgumentError(f"{mask(url)!r} is not a valid URL: {error}") from None
    if not host:
        raise InvalidArgumentError(f"the URL {mask(url)!r} has no host")
    base = f"{scheme}://" + (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    path = unquote(parts.path.rstrip("/"))
    parent, _, name = (path, "", "") if directory else path.rpartition("/")
    return StoreURL(
        _BACKEND_NAMES[scheme],
        base + quote(parent, safe=SAFE_CHARACTERS),
        name,
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        query=parts.query,
    )


#: Scheme -> parser, of stores without buckets.
_DIRECTORIES: dict[str, Callable[[str, str, bool], StoreURL]] = {
    "file": _file_url,
    "http": _web_url,
    "https": _web_url,
}
#: Schemes of URLs that may contain the address of a server: ``s3://https://host/bucket``.
_WITH_SERVER = {"s3"}
#: Scheme -> name of its backend, if they differ.
_BACKEND_NAMES = {"gs": "gcs", "file": "local", "mem": "memory", "http": "http", "https": "http"}


# -- aliases -------------------------------------------------------------------------------------


def cloud_files_dir() -> Path:
    """Return the folder of cloud-files: ``$CLOUD_FILES_DIR``, or ``~/.cloudfiles``."""
    folder = os.environ.get("CLOUD_FILES_DIR") or "~/.cloudfiles"
    return Path(os.path.expanduser(folder))  # noqa: PTH111 - pathlib's fails without a home


def read_aliases() -> dict[str, str]:
    """Return all aliases: those of this process, then those in ``aliases.json``.

    Raises
    ------
    ConfigurationError
        If a file is not a JSON object of ``{"NAME": {"host": "s3://https://host/"}}``.
    """
    found = dict(ALIASES)
    for folder in (user_directory(), cloud_files_dir()):  # the more important one first
        path = folder / "aliases.json"
        try:
            text = path.read_text("utf-8")
        except OSError:
            continue
        try:
            entries = json.loads(text) if text.strip() else {}
            hosts = {name: entry["host"] for name, entry in entries.items()}
            if not all(isinstance(host, str) for host in hosts.values()):
                raise TypeError("a host must be a text")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ConfigurationError(
                f"the aliases in '{path}' cannot be read: expected "
                f'{{"NAME": {{"host": "s3://https://host/"}}}}; correct or remove the file'
            ) from error
        found = {**hosts, **found}
    return found
