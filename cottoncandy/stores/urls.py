"""URLs of buckets and objects, and their aliases."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
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
        Its bucket. A directory, for ``file`` and ``http``: they have no buckets, so all of the
        path is the bucket until :meth:`split` is called.
    path : str
        What follows the bucket, byte for byte: a key, a prefix, or nothing.
    endpoint_url : str, optional
        Address of the server, if the URL contains one.
    user, password : str, optional
        Credentials of a web server.
    query : str
        Query of an ``http`` URL, such as the signature of a presigned one.
    folder : (str, str), optional
        The directory again, as its parent and its name.
    """

    backend: str
    bucket: str
    path: str = ""
    endpoint_url: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    query: str = field(default="", repr=False)
    folder: tuple[str, str] | None = field(default=None, repr=False)

    def split(self) -> Self:
        """Return the same location with the last part of a directory as the path."""
        if self.folder is None:
            return self
        parent, name = self.folder
        return replace(self, bucket=parent, path=name, folder=None)


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
    if found and found["scheme"].lower() in {*_SYNTAX, *BACKENDS, *ALIASES}:
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


def parse_url(url: str) -> StoreURL:
    """Take a URL apart.

    ``s3``, ``gs``, ``gdrive``, ``memory`` and ``file`` URLs are literal: ``%``, ``?`` and ``#``
    belong to the name. ``http`` and ``https`` URLs are percent-decoded.

    Parameters
    ----------
    url : str

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
    if scheme in _SYNTAX:
        return _SYNTAX[scheme](scheme, rest)
    if scheme in BACKENDS:
        return _bucket_url(scheme, rest)
    target = read_aliases().get(scheme, "")
    beginning = _URL.match(target)
    # No alias of another alias, so none refers to itself.
    if beginning is None or beginning["scheme"].lower() not in {*_SYNTAX, *BACKENDS}:
        raise InvalidArgumentError(
            f"the URL {mask(url)!r} has an unknown scheme; known are "
            f"{', '.join(sorted({*_SYNTAX, 'memory', 'gdrive'}))}, and aliases in aliases.json"
        )
    return parse_url(target + ("" if target.endswith("/") else "/") + rest)


def _bucket_url(scheme: str, rest: str, server: str = "") -> StoreURL:
    """Parse ``scheme://bucket/path``; ``server`` is the part before the bucket."""
    _reject_login(scheme, rest)
    bucket, _, path = rest.partition("/")
    if not bucket.strip():
        raise InvalidArgumentError(
            f"the URL {mask(f'{scheme}://{server}{rest}')!r} has no bucket; write "
            f"{mask(f'{scheme}://{server}')}bucket/name"
        )
    return StoreURL(_BACKEND_NAMES.get(scheme, scheme), bucket, path)


def _s3_url(scheme: str, rest: str) -> StoreURL:
    """Parse ``s3://bucket/path`` and ``s3://https://host/bucket/path``."""
    inner = re.match(r"(?i)(https?://)([^/]*)/?", rest)
    if inner is None:
        return _bucket_url(scheme, rest)
    if "@" in inner[2]:
        _reject_login(scheme, f":{inner[2]}")
    if not inner[2]:
        raise InvalidArgumentError(f"the URL {f'{scheme}://{rest}'!r} has no host")
    endpoint = inner[1] + inner[2]
    return replace(_bucket_url(scheme, rest[inner.end() :], f"{endpoint}/"), endpoint_url=endpoint)


def _file_url(scheme: str, rest: str) -> StoreURL:
    """Parse ``file:///path``."""
    _reject_login(scheme, rest)
    if not rest.startswith(("/", "~")):
        raise InvalidArgumentError(
            f"the URL {f'{scheme}://{rest}'!r} must contain the full path of a directory, "
            f"file:///path"
        )
    path = rest.rstrip("/") or "/"
    parent, _, name = path.rpartition("/")
    return StoreURL(_BACKEND_NAMES[scheme], path, folder=(parent or "/", name) if name else None)


def _reject_login(scheme: str, rest: str) -> None:
    if re.match(r"[^/@]*:[^/]*@", rest):
        host = rest.partition("/")[0].rpartition("@")[2]
        raise InvalidArgumentError(
            f"the URL {scheme}://***@{host} contains a user name or a password, which only http:// "
            f"and https:// URLs may; pass credentials as arguments"
        )


def _web_url(scheme: str, rest: str) -> StoreURL:
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
    parent, _, name = path.rpartition("/")
    return StoreURL(
        _BACKEND_NAMES[scheme],
        base + quote(path, safe=SAFE_CHARACTERS),
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        query=parts.query,
        folder=(base + quote(parent, safe=SAFE_CHARACTERS), name) if name else None,
    )


_SYNTAX: dict[str, Callable[[str, str], StoreURL]] = {
    "s3": _s3_url,
    "gs": _bucket_url,
    "mem": _bucket_url,
    "file": _file_url,
    "http": _web_url,
    "https": _web_url,
}
#: Scheme -> name of its backend, if they differ.
_BACKEND_NAMES = {"gs": "gcs", "file": "local", "mem": "memory", "http": "http", "https": "http"}


# -- aliases -------------------------------------------------------------------------------------


def cloud_files_dir() -> Path:
    """Return the folder of cloud-files: ``$CLOUD_FILES_DIR``, or ``~/.cloudfiles``."""
    return Path(os.environ.get("CLOUD_FILES_DIR") or "~/.cloudfiles").expanduser()


def alias_files() -> list[Path]:
    """Return the files of persistent aliases, the more important one first."""
    return [folder / "aliases.json" for folder in (user_directory(), cloud_files_dir())]


def read_aliases() -> dict[str, str]:
    """Return all aliases: those of this process, then those in ``aliases.json``.

    Raises
    ------
    ConfigurationError
        If a file is not a JSON object of ``{"NAME": {"host": "s3://https://host/"}}``.
    """
    found = dict(ALIASES)
    for path in alias_files():
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
