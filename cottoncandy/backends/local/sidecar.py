"""Sidecars: the JSON files with metadata, and how they stay consistent with the body.

Body and sidecar are two files, and a rename replaces one. While an object is replaced, its sidecar
is a *journal*: it has the metadata of the old body, and under :data:`JOURNAL_KEY` those of the new
one, with the fingerprints of both. A reader compares these with the body that it has opened, so the
journal is valid before and after the body's rename, even if the writer is killed in between.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from typing import NamedTuple, Self

from cottoncandy.backends.local.location import MISSING, LocalLocation
from cottoncandy.core.files import open_at_once
from cottoncandy.exceptions import MetadataError

#: The entry of a journal; user metadata cannot have this name.
JOURNAL_KEY = "cc-pending"


class Fingerprint(NamedTuple):
    """Inode, size and time of a body, which identify its version. A rename keeps them."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return the fingerprint of an open or named file."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)

    @property
    def etag(self) -> str:
        """The fingerprint as an opaque text."""
        return f"{self.inode:x}-{self.mtime_ns:x}-{self.size:x}"

    def similarity(self, other: Self) -> int:
        """Return how similar two fingerprints are, 0 to 3.

        A backup keeps size and time but not the inode, and a plain copy keeps only the size.
        """
        if self.size != other.size:
            return 0
        if self.mtime_ns != other.mtime_ns:
            return 1
        return 3 if self.inode == other.inode else 2


def encode(metadata: Mapping[str, str]) -> bytes:
    """Write metadata as cottoncandy 0.4.0 does."""
    return json.dumps(dict(metadata), indent=4).encode()


def encode_journal(
    old: Mapping[str, str], old_body: Fingerprint, new: Mapping[str, str], new_body: Fingerprint
) -> bytes:
    """Write the metadata of the body that is replaced and of the one that replaces it."""
    pending = {"body": new_body, "instead_of": old_body, "metadata": dict(new)}
    return json.dumps({**old, JOURNAL_KEY: pending}, indent=4).encode()


def read_sidecar(location: LocalLocation, body: Fingerprint) -> dict[str, str] | None:
    """Return the metadata and headers of the body with this fingerprint; None without a sidecar.

    Raises
    ------
    MetadataError
        If the sidecar is not a JSON object.
    """
    if not os.access(location.sidecar, os.F_OK):  # most files; cheaper than an exception
        return None
    try:
        with open(location.sidecar, "rb", opener=open_at_once) as file:
            content = file.read()
    except OSError as error:
        # A name too long for a sidecar has none; a directory of that name is not one.
        if error.errno in MISSING | {errno.EISDIR, errno.ENAMETOOLONG}:
            return None
        raise
    try:
        found = json.loads(content)
        if not isinstance(found, dict):
            raise TypeError("a JSON object is expected")
        pending = found.pop(JOURNAL_KEY, None)
        if pending is not None:
            new, old = (Fingerprint(*pending[name]) for name in ("body", "instead_of"))
            if body.similarity(new) > body.similarity(old):
                found = pending["metadata"]
        # 0.4.0 stored what users gave it, numbers too.
        return {name.lower(): str(value) for name, value in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MetadataError(
            f"the metadata of {location} cannot be read: '{location.sidecar}' is not a JSON object "
            f"of text ({error}); repair the file, or remove it if the object needs no metadata"
        ) from error
