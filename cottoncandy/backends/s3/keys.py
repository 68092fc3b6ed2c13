"""Keys and metadata: what S3 takes at all, and what obstore can say."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cottoncandy.backends.base import MetadataLimits
from cottoncandy.exceptions import InvalidNameError, MetadataError

__all__ = [
    "MAX_KEY_BYTES",
    "METADATA_LIMITS",
    "bulk_deletable",
    "check_key",
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

#: The room is from the same guide, "Working with object metadata". Names are what all servers keep:
#: RFC 9110 (section 5.6.2) allows more, and some servers silently drop those.
METADATA_LIMITS = MetadataLimits(
    max_bytes=2048,
    names=r"[0-9A-Za-z._-]+",
    values=r"[!-~](?:[ -~]*[!-~])?|",
    help="what HTTP headers keep: printable ASCII without blanks at its ends, and only letters, "
    "digits and dashes in a name",
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DOT_SEGMENT = re.compile(r"(?:^|/)\.\.?(?:/|$)")
# XML 1.0 can't say these, or a parser changes them (\r).
_NOT_XML = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")

# Names that have a "_", joined by commas, which are in no name.
_TRUE_NAMES = "cc-names"

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


def encode_metadata_names(key: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata that a server may store with ``-`` for ``_``: the true names lie beside.

    Ceph reads headers as CGI variables, in which the two are the same.

    Raises
    ------
    MetadataError
        If two names differ in nothing else, or the true names don't fit.
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
    noted = {**metadata, _TRUE_NAMES: ",".join(odd)}
    METADATA_LIMITS.check_size(noted, key)
    return noted


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
