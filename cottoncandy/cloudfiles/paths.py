"""Cloud paths: ``[FORMAT://]PROTOCOL://BUCKET/PATH``, and aliases of S3 servers."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote

from cottoncandy.cloudfiles.exceptions import UnsupportedProtocolError
from cottoncandy.core.files import write_private
from cottoncandy.exceptions import InvalidArgumentError
from cottoncandy.stores.urls import ALIASES, cloud_files_dir, is_url, mask, read_aliases

__all__ = [
    "ALIASES",
    "ALLOWED_FORMATS",
    "ExtractedPath",
    "add_alias",
    "add_persistent_alias",
    "asbucketpath",
    "ascloudpath",
    "asfilepath",
    "asprotocolpath",
    "basename",
    "dirname",
    "extract",
    "extract_format_protocol",
    "find_common_buckets",
    "get_any_protocol",
    "get_protocol",
    "normalize",
    "pop_protocol",
    "remove_alias",
    "remove_persistent_alias",
    "resolve_alias",
    "service_provider",
    "split",
    "to_https_protocol",
    "update_aliases_from_file",
]

#: Formats of data that a path may name; they are parsed, and otherwise ignored.
ALLOWED_FORMATS = [
    *("graphene", "precomputed", "boss", "n5", "zarr", "zarr2", "zarr3", "brainmaps", "deepzoom"),
    *("nggraph", "render", "vtk", "nifti", "dvid"),
]
WEB = ("http", "https", "middleauth+https")
_PROTOCOLS = ("gs", "s3", "gdrive", "file", "mem", *WEB)

#: The beginning of a path that names a format.
FORMAT = re.compile(rf"({'|'.join(ALLOWED_FORMATS)})://(?=[\w+]+://|/)")
_PROTOCOL = re.compile(r"([A-Za-z][\w+.-]*)://")
_TAIL = re.compile(r"\|([\w-]+):$")
_PRECOMPUTED = "precomputed"
_HTTPS = {"gs": "https://storage.googleapis.com", "s3": "https://s3.amazonaws.com"}


class ExtractedPath(NamedTuple):
    """The parts of a cloud path."""

    format: str
    protocol: str
    bucket: str | None
    path: str
    host: str | None
    alias: str | None


# -- parsing -------------------------------------------------------------------------------------


def extract(cloudpath: str) -> ExtractedPath:
    """Return the parts of a cloud path.

    Parameters
    ----------
    cloudpath : str
        As in ``'gs://bucket/path'``, ``'s3://https://host/bucket/path'``, ``'file:///path'``,
        ``'zarr2://gs://bucket/path'`` or ``'gs://bucket/path|zarr2:'``.

    Raises
    ------
    UnsupportedProtocolError
        If it has no known protocol, or no bucket.

    Examples
    --------
    >>> extract("s3://https://host.org/bucket/a/b")[1:5]
    ('s3', 'bucket', 'a/b', 'https://host.org')
    """
    form, protocol, host, rest, alias = extract_format_protocol(cloudpath)
    if protocol is None:
        raise UnsupportedProtocolError(
            f"{mask(str(cloudpath))!r} is not a cloud path; expected PROTOCOL://BUCKET/PATH, "
            f"where PROTOCOL is one of {', '.join((*_PROTOCOLS, *ALIASES))}"
        )
    if protocol == "file":
        path = os.path.abspath(os.path.expanduser(rest))  # noqa: PTH100, PTH111 - paths are text
        return ExtractedPath(form, protocol, None, path, None, None)
    if protocol in WEB:
        return ExtractedPath(form, protocol, None, rest, host, alias)
    bucket, _, path = rest.lstrip("/").partition("/")
    if not bucket:
        raise UnsupportedProtocolError(
            f"{mask(cloudpath)!r} names no bucket; expected {protocol}://BUCKET/PATH"
        )
    return ExtractedPath(form, protocol, bucket, path, host, alias)


def extract_format_protocol(
    cloudpath: str, allow_defaults: bool = True
) -> tuple[str, str | None, str | None, str, str | None]:
    """Return format, protocol, host, remaining path and alias of a cloud path.

    Parameters
    ----------
    cloudpath : str
    allow_defaults : bool, default True
        Whether a path without a format has the format ``'precomputed'``; otherwise ``''``.
    """
    form, path = _split_format(cloudpath)
    form = form or (_PRECOMPUTED if allow_defaults else "")
    alias, path = resolve_alias(path)
    protocol, rest = pop_protocol(path)
    if protocol not in _PROTOCOLS:
        return form, None, None, path, alias
    host = None
    scheme, rest = pop_protocol(rest)  # 'middleauth+https://https://host/path'
    if scheme or protocol in WEB:
        name, _, rest = rest.partition("/")
        host = f"{scheme or protocol.rpartition('+')[2]}://{name}"
    return form, protocol, host, rest, alias


def _split_format(cloudpath: str) -> tuple[str, str]:
    if tail := _TAIL.search(cloudpath):
        form = tail[1].removeprefix("neuroglancer-")
        return form, cloudpath[: tail.start()]
    if head := FORMAT.match(cloudpath):
        return head[1], cloudpath[head.end() :]
    return "", cloudpath


def normalize(cloudpath: str | os.PathLike[str]) -> str:
    """Return a cloud path in one form; a plain path becomes a ``file://`` URL.

    Examples
    --------
    >>> normalize("gs://bucket/a|zarr2:"), normalize("/data/a")
    ('zarr2://gs://bucket/a', 'file:///data/a')
    """
    cloudpath = os.fspath(cloudpath)
    form, path = _split_format(cloudpath)
    if not (is_url(path) or _PROTOCOL.match(path)):
        path = "file://" + os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - paths are text
    return f"{form}://{path}" if form and (form != _PRECOMPUTED or "|" not in cloudpath) else path


def dirname(path: str) -> str:
    """Return a path without its last part."""
    return path.rpartition("/")[0].rstrip("/")


def split(cloudpath: str) -> tuple[str, str]:
    """Return the directory and the name of a file; names are percent-decoded on web servers.

    The query of a URL, such as the signature of a presigned one, stays with the directory.

    Examples
    --------
    >>> split("https://host/a/b%20c?signature")
    ('https://host/a?signature', 'b c')
    """
    protocol = get_protocol(cloudpath)
    if protocol not in WEB:
        folder, _, name = cloudpath.rpartition("/")
        above = folder.rstrip("/")
        if protocol == "file":
            return f"{folder}/" if above.endswith("file:") else folder, name
        if above.endswith(":"):
            return folder, name
        return above, folder[len(above) :] + name  # of 'b/a//c', the file '/c' in 'b/a'
    address, mark, query = cloudpath.partition("?")
    folder, _, name = address.rpartition("/")
    return folder + mark + query, unquote(name)


def basename(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]


def get_protocol(cloudpath: str) -> str | None:
    """Return the protocol of a cloud path as it is written, perhaps an alias; None without one."""
    name = pop_protocol(_split_format(cloudpath)[1])[0]
    return name if name in _PROTOCOLS or _host_of(name) else None


def get_any_protocol(cloudpath: str) -> str | None:
    """Return the text before the first ``://``: a protocol, a format, or anything else."""
    return pop_protocol(cloudpath)[0]


def pop_protocol(cloudpath: str) -> tuple[str | None, str]:
    """Return the text before the first ``://``, and the rest."""
    found = _PROTOCOL.match(cloudpath)
    return (found[1], cloudpath[found.end() :]) if found else (None, cloudpath)


# -- writing -------------------------------------------------------------------------------------


def asfilepath(epath: str | ExtractedPath) -> str:
    """Return the path on disk of a ``file://`` path.

    Raises
    ------
    InvalidArgumentError
        If it is another protocol's.
    """
    epath = extract(epath) if isinstance(epath, str) else epath
    if epath.protocol != "file":
        raise InvalidArgumentError(f"{epath.protocol} is not a protocol of files on disk")
    return epath.path


def ascloudpath(epath: ExtractedPath) -> str:
    """Return the whole cloud path, with its format."""
    return f"{epath.format}://{asprotocolpath(epath)}"


def asprotocolpath(epath: ExtractedPath) -> str:
    """Return the cloud path without its format."""
    base = _bucket_url(epath)
    return f"{base}/{epath.path}" if epath.path and not base.endswith("://") else base + epath.path


def asbucketpath(cloudpath: str | ExtractedPath) -> str:
    """Return the cloud path of the bucket, with its format."""
    epath = extract(cloudpath) if isinstance(cloudpath, str) else cloudpath
    return f"{epath.format}://{_bucket_url(epath)}"


def _bucket_url(epath: ExtractedPath) -> str:
    if epath.protocol in WEB:
        return f"{epath.protocol}://{(epath.host or '').partition('://')[2]}"
    server = f"{epath.host}/" if epath.host and not epath.alias else ""
    return f"{epath.alias or epath.protocol}://{server}{epath.bucket or ''}"


def to_https_protocol(cloudpath: str) -> str:
    """Return the ``https://`` URL of a path on Google Storage or S3; others are unchanged."""
    _, path = _split_format(cloudpath)
    _, protocol, host, rest, _ = extract_format_protocol(path)
    if protocol not in _HTTPS:
        return cloudpath
    return cloudpath.replace(path, f"{host or _HTTPS[protocol]}/{rest}")


def service_provider(epath: ExtractedPath) -> str:
    """Return the name that secrets files of this path have: an alias, or the protocol."""
    return epath.alias or epath.protocol


def find_common_buckets(
    cloudpaths: str | Iterable[str | dict[str, Any]],
) -> dict[str, list[dict[str, Any]]]:
    """Group cloud paths by bucket.

    Parameters
    ----------
    cloudpaths : str or iterable of str or dict
        Dictionaries have ``path`` and optionally ``start``, ``end`` or ``byte_range``.

    Returns
    -------
    found : dict
        From the cloud path of a bucket to dictionaries with ``path``, ``start`` and ``end``.
    """
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in [cloudpaths] if isinstance(cloudpaths, str) else cloudpaths:
        item: dict[str, Any] = {"path": each} if isinstance(each, str) else each
        start, end = item.get("byte_range") or (item.get("start"), item.get("end"))
        epath = extract(normalize(item["path"]))
        if epath.protocol == "file":
            above, _, name = epath.path.rpartition("/")
            bucket = f"file://{above or '/'}"
        else:
            bucket, name = asbucketpath(epath), epath.path
        found[bucket].append({"path": name, "start": start, "end": end})
    return found


# -- aliases -------------------------------------------------------------------------------------


def resolve_alias(cloudpath: str) -> tuple[str | None, str]:
    """Return the alias that a path begins with, if any, and the path with the host instead.

    Examples
    --------
    >>> add_alias("lab", "s3://https://s3.lab.org/")
    >>> resolve_alias("lab://bucket/a")
    ('lab', 's3://https://s3.lab.org/bucket/a')
    >>> remove_alias("lab")
    """
    form, path = _split_format(cloudpath)
    alias, rest = pop_protocol(path)
    host = _host_of(alias)
    if host is None:
        return None, cloudpath
    resolved = f"{host.rstrip('/')}/{rest}"
    return alias, f"{form}://{resolved}" if form else resolved


def _host_of(name: str | None) -> str | None:
    """Return the host of an alias; the file is read if this process has no such alias."""
    if name is None or name in _PROTOCOLS or name in ALLOWED_FORMATS:
        return None
    return ALIASES.get(name) or read_aliases().get(name)


def add_alias(alias: str, host: str) -> None:
    """Add a protocol of this process for an S3 server.

    Parameters
    ----------
    alias : str
        Name of the protocol.
    host : str
        As in ``'s3://https://s3.lab.org/'``.

    Raises
    ------
    InvalidArgumentError
        If the alias is a protocol already, or the host is not a URL or begins with an alias.
    """
    if not re.fullmatch(r"[A-Za-z][\w+.-]*", alias) or alias in (*_PROTOCOLS, *ALLOWED_FORMATS):
        raise InvalidArgumentError(f"{alias!r} cannot be an alias; choose another name")
    if extract_format_protocol(host)[1] is None or resolve_alias(host)[0]:
        raise InvalidArgumentError(f"the host of an alias is like s3://https://host/, got {host!r}")
    ALIASES[alias] = host


def remove_alias(alias: str) -> None:
    """Remove an alias from this process."""
    ALIASES.pop(alias, None)


def update_aliases_from_file() -> None:
    """Add the aliases of ``aliases.json`` to those of this process."""
    ALIASES.update(read_aliases())


def add_persistent_alias(alias: str, host: str) -> None:
    """Add an alias to this process and to ``aliases.json`` in ``$CLOUD_FILES_DIR``."""
    add_alias(alias, host)
    _change_file(lambda entries: entries.update({alias: {"host": host}}))


def remove_persistent_alias(alias: str) -> None:
    """Remove an alias from this process and from ``aliases.json``."""
    remove_alias(alias)
    _change_file(lambda entries: entries.pop(alias, None))


def _change_file(change: Callable[[dict[str, Any]], object]) -> None:
    read_aliases()  # raises if the file is damaged
    path = cloud_files_dir() / "aliases.json"
    entries = json.loads(path.read_text("utf-8") or "{}") if path.exists() else {}
    change(entries)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, json.dumps(entries).encode(), replace=True)
