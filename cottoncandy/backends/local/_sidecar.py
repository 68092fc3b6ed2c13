"""Sidecars: the JSON files that hold metadata, and how they stay true to the body.

Body and sidecar are two files, and a rename replaces one. While an object is replaced, its sidecar
is a *journal*: at its top level the metadata of the old body, and under :data:`PENDING` that of the
new one, with marks of both. Whoever reads it compares the marks with the body that he has opened,
so it is right before and after the body's rename, and stays right if the writer is killed between.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cottoncandy.backends.local._errors import MISSING
from cottoncandy.backends.local._paths import Place
from cottoncandy.exceptions import MetadataError

__all__ = ["PENDING", "Mark", "encode", "encode_journal", "read_sidecar"]

#: The entry of a journal; no user metadata can have this name.
PENDING = "cc-pending"


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells one body from another. A rename keeps all of it."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Take the mark of an open or named file."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)

    @property
    def etag(self) -> str:
        """The mark as one opaque word."""
        return f"{self.inode:x}-{self.mtime_ns:x}-{self.size:x}"

    def likeness(self, other: Self) -> int:
        """Return how alike two marks are, 0 to 3.

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
    old: Mapping[str, str], old_mark: Mark, new: Mapping[str, str], new_mark: Mark
) -> bytes:
    """Write the metadata of two bodies, of which the path names first one, then the other."""
    pending = {"body": _listed(new_mark), "instead_of": _listed(old_mark), "metadata": dict(new)}
    return json.dumps({**old, PENDING: pending}, indent=4).encode()


def read_sidecar(place: Place, mark: Mark) -> dict[str, str]:
    """Return the metadata of the body that has this mark; there may be none.

    Raises
    ------
    MetadataError
        If the sidecar is no JSON object.
    """
    try:
        with open(place.sidecar, "rb") as file:  # noqa: PTH123 - paths are str here
            content = file.read()
    except OSError as error:
        # A name too long for a sidecar has none; a directory of that name is none.
        if error.errno in MISSING | {errno.EISDIR, errno.ENAMETOOLONG}:
            return {}
        raise
    try:
        found = json.loads(content)
        if not isinstance(found, dict):
            raise TypeError("a JSON object is expected")
        pending = found.pop(PENDING, None)
        if pending is not None and _is_new(pending, mark):
            found = pending["metadata"]
        return {name.lower(): _text(value) for name, value in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MetadataError(
            f"the metadata of {place} cannot be read: '{place.sidecar}' holds no JSON object of "
            f"text ({error}); mend the file, or remove it if the object needs no metadata"
        ) from error


def _listed(mark: Mark) -> list[int]:
    return [mark.inode, mark.size, mark.mtime_ns]


def _is_new(pending: Mapping[str, Any], mark: Mark) -> bool:
    return mark.likeness(Mark(*pending["body"])) > mark.likeness(Mark(*pending["instead_of"]))


def _text(value: Any) -> str:
    """Return a value as text; cottoncandy 0.4.0 stored what users gave it, numbers too."""
    return value if isinstance(value, str) else str(value)
