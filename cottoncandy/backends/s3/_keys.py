"""Keys and metadata: what S3 takes at all, and what obstore can say."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cottoncandy.exceptions import InvalidNameError, MetadataError

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_METADATA_BYTES",
    "bulk_deletable",
    "check_key",
    "check_metadata",
    "decode_metadata_names",
    "encode_metadata_names",
    "has_dot_segments",
    "has_empty_segments",
    "obstore_accepts_key",
    "obstore_accepts_metadata",
    "quoted_etag",
]

#: Longest key, in bytes of UTF-8 (Amazon S3 User Guide, "Naming Amazon S3 objects").
MAX_KEY_BYTES = 1024

#: Room for names and values of user metadata (same guide, "Working with object metadata").
MAX_METADATA_BYTES = 2048

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DOT_SEGMENT = re.compile(r"(?:^|/)\.\.?(?:/|$)")
# XML 1.0 can't say these, or a parser changes them (\r).
_NOT_XML = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")

# Names that have a "_", joined by commas, which are in no name.
_TRUE_NAMES = "cc-names"

# What all servers keep. RFC 9110 (section 5.6.2) allows more, and some drop that without a word.
_TOKEN = re.compile(r"[0-9A-Za-z._-]+")
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?|")

# obstore takes these for headers of the body, whatever their case.
_ATTRIBUTES = frozenset(
    {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "storage-class",
    }
)


def check_key(key: str, *, writing: bool = False) -> None:
    """Raise if no S3 store can have such a key."""
    if not isinstance(key, str):
        raise InvalidNameError(f"an object name is a str, and a {type(key).__name__} was given")
    if not key:
        raise InvalidNameError("an object needs a name, and an empty one was given")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidNameError(f"the name {key!r} is no valid unicode text") from None
    if writing and size > MAX_KEY_BYTES:
        raise InvalidNameError(
            f"the name '{key[:60]}…' takes {size} bytes of UTF-8, and S3 allows {MAX_KEY_BYTES}; "
            f"choose a shorter one"
        )


def obstore_accepts_key(key: str) -> bool:
    """Tell whether obstore addresses exactly this key.

    It refuses empty, ``.`` and ``..`` segments and control characters, and *drops* a slash at
    either end without a word.
    """
    return not (has_empty_segments(key) or _DOT_SEGMENT.search(key) or _CONTROL.search(key))


def has_dot_segments(key: str) -> bool:
    """Tell whether a path normaliser would change the key's ``.`` and ``..`` segments."""
    return _DOT_SEGMENT.search(key) is not None


def has_empty_segments(key: str) -> bool:
    """Tell whether a slash stands at either end or beside another one."""
    return "//" in key or key.startswith("/") or key.endswith("/")


def bulk_deletable(key: str) -> bool:
    """Tell whether the XML of a bulk deletion can name the key."""
    return _NOT_XML.search(key) is None


def obstore_accepts_metadata(metadata: Mapping[str, str]) -> bool:
    """Tell whether obstore sends all names as user metadata."""
    return _ATTRIBUTES.isdisjoint(metadata)


def check_metadata(key: str, metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return the metadata with names in lower case, as S3 compares them.

    Raises
    ------
    MetadataError
        If a name or a value is no HTTP header, two names differ in case only, or all of it is
        more than S3 stores.
    """
    checked: dict[str, str] = {}
    for name, value in (metadata or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise MetadataError(f"metadata of '{key}': {name!r} and its value must both be str")
        lower = name.lower()
        if not _TOKEN.fullmatch(name):
            raise MetadataError(
                f"metadata of '{key}': the name {name!r} is no HTTP header name that all "
                f"servers keep; use ASCII letters, digits and dashes"
            )
        if lower in checked:
            raise MetadataError(f"metadata of '{key}': two names differ in case only: {lower!r}")
        if not _VALUE.fullmatch(value):
            raise MetadataError(
                f"metadata of '{key}': the value of {name!r} must be printable ASCII without "
                f"blanks at its ends, as HTTP headers are; found {value[:60]!r}"
            )
        checked[lower] = value
    size = sum(len(name) + len(value) for name, value in checked.items())
    if size > MAX_METADATA_BYTES:
        raise MetadataError(
            f"metadata of '{key}': {size} bytes of names and values, and S3 stores "
            f"{MAX_METADATA_BYTES}; keep the rest in an object of its own"
        )
    return checked


def encode_metadata_names(key: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata that a server may store with ``-`` for ``_``: the true names lie beside.

    Ceph reads headers as CGI variables, in which the two are the same.

    Raises
    ------
    MetadataError
        If two names differ in nothing else.
    """
    odd = [name for name in metadata if "_" in name]
    if not odd:
        return dict(metadata)
    dashed = {name.replace("_", "-") for name in metadata}
    if len(dashed) < len(metadata):
        raise MetadataError(
            f"metadata of '{key}': of {', '.join(sorted(metadata))}, two names differ only in '_' "
            f"and '-', which are the same to some servers; choose another name"
        )
    return {**metadata, _TRUE_NAMES: ",".join(odd)}


def decode_metadata_names(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata under the names it was given (see :func:`encode_metadata_names`)."""
    names = dict(metadata)
    for name in names.pop(_TRUE_NAMES, "").split(","):
        if name not in names and name.replace("_", "-") in names:
            names[name] = names.pop(name.replace("_", "-"))
    return names


def quoted_etag(etag: str | None) -> str | None:
    """Return an ETag as HTTP has it, in quotes; some answers of some servers leave them out."""
    if not etag:
        return None
    return etag if etag.endswith('"') else f'"{etag}"'
