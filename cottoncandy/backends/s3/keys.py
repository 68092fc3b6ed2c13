"""Keys and metadata: the limits of S3, and of obstore."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cottoncandy.backends.base import MetadataLimits
from cottoncandy.core.names import encode_key
from cottoncandy.exceptions import InvalidNameError, MetadataError

#: Longest key, in bytes of UTF-8 (Amazon S3 User Guide, "Naming Amazon S3 objects").
MAX_KEY_BYTES = 1024

#: The size is from the same guide, "Working with object metadata". All servers keep these names;
#: RFC 9110 (section 5.6.2) allows more, which some servers silently drop.
METADATA_LIMITS = MetadataLimits(
    max_bytes=2048,
    names=r"[0-9A-Za-z._-]+",
    values=r"[!-~](?:[ -~]*[!-~])?|",
    help="what HTTP headers keep: printable ASCII without blanks at its ends, and only letters, "
    "digits and dashes in a name",
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DOT_SEGMENT = re.compile(r"(?:^|/)\.\.?(?:/|$)")
# XML 1.0 cannot represent these, or a parser changes them (\r).
_NOT_XML = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

# The metadata that lists the names with a "_", separated by commas.
_TRUE_NAMES = "cc-names"


def check_key(key: str, *, writing: bool = False) -> None:
    """Raise if the key is not valid in any S3 store."""
    size = len(encode_key(key))
    if writing and size > MAX_KEY_BYTES:
        raise InvalidNameError(
            f"the name '{key[:60]}…' has {size} bytes in UTF-8, and S3 allows {MAX_KEY_BYTES}; "
            f"choose a shorter one"
        )


def obstore_accepts_key(key: str) -> bool:
    """Return whether obstore addresses exactly this key.

    It rejects empty, ``.`` and ``..`` segments and control characters, and silently *drops* a slash
    at either end.
    """
    return "//" not in f"/{key}/" and not _DOT_SEGMENT.search(key) and not _CONTROL.search(key)


def has_dot_segments(key: str) -> bool:
    """Return whether the key has segments that path normalization resolves."""
    return _DOT_SEGMENT.search(key) is not None


def bulk_deletable(key: str) -> bool:
    """Return whether the XML of a bulk deletion can represent the key."""
    return bool(key) and _NOT_XML.search(key) is None


def encode_metadata_names(key: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata that survives a server which replaces ``_`` by ``-`` in names.

    An additional entry lists the original names. Ceph reads headers as CGI variables, in which the
    two characters are the same.

    Raises
    ------
    MetadataError
        If two names differ in nothing else, or the additional entry exceeds the limit.
    """
    odd = [name for name in metadata if "_" in name]
    if not odd:
        return dict(metadata)
    dashed = {name.replace("_", "-") for name in metadata}
    if len(dashed) < len(metadata):
        raise MetadataError(
            f"metadata of '{key}': two of the names {', '.join(sorted(metadata))} differ only in "
            f"'_' and '-', which some servers treat as the same; choose another name"
        )
    noted = {**metadata, _TRUE_NAMES: ",".join(odd)}
    METADATA_LIMITS.check_size(noted, key)
    return noted


def decode_metadata_names(metadata: dict[str, str]) -> dict[str, str]:
    """Return metadata under its original names (see :func:`encode_metadata_names`)."""
    if _TRUE_NAMES not in metadata:
        return metadata
    names = dict(metadata)
    for name in names.pop(_TRUE_NAMES).split(","):
        if name not in names and name.replace("_", "-") in names:
            names[name] = names.pop(name.replace("_", "-"))
    return names
