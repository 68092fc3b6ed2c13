"""Names: which keys a directory can hold, and which files in it are ours to hide."""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH100, PTH111, PTH118, PTH120, PTH206
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from cottoncandy._local_files import is_temporary
from cottoncandy._names import shortened
from cottoncandy.exceptions import InvalidNameError

__all__ = ["SIDECAR_SUFFIX", "Place", "bucket_path", "hidden"]

SIDECAR_SUFFIX = ".meta.json"

_SIDECAR_BYTES = SIDECAR_SUFFIX.encode()


@dataclass(frozen=True, slots=True)
class Place:
    """Where one object lies: its key, its bucket, and the path of its body."""

    key: str
    root: str
    path: str

    @classmethod
    def of(cls, key: str, root: str) -> Self:
        """Find the place of a key; it is inside the root, or the key is refused."""
        check_key(key)
        return cls(key, root, os.path.join(root, *key.split("/")))

    @property
    def sidecar(self) -> str:
        """Path of the metadata."""
        return self.path + SIDECAR_SUFFIX

    @property
    def directory(self) -> str:
        """Path of the directory that holds body and sidecar."""
        return os.path.dirname(self.path)

    def __str__(self) -> str:
        return f"object '{shortened(self.key)}' in local directory '{self.root}'"


def check_key(key: str) -> None:
    """Refuse what is no name of a file inside the root.

    Raises
    ------
    InvalidNameError
    """
    reason = _objection(key)
    if reason:
        raise InvalidNameError(
            f"{shortened(key)!r} cannot be the name of an object in a local directory: {reason}"
        )


def _objection(key: str) -> str | None:
    """Return what speaks against a key, or None."""
    if not key:
        return "it is empty"
    if "\0" in key:
        return "it holds a NUL character"
    try:
        key.encode()
    except UnicodeEncodeError:
        return "it is no valid unicode text"
    for part in key.split("/"):
        if not part:
            return "it starts or ends with a slash, or has two in a row"
        if part in (".", ".."):
            return f"'{part}' means another directory"
        if part.endswith(SIDECAR_SUFFIX):
            return f"'{SIDECAR_SUFFIX}' marks the files that hold metadata"
        if is_temporary(part):
            return "names like this one are those of unfinished uploads"
    return None


def hidden(name: bytes) -> bool:
    """Tell whether a directory entry is not for listings: a sidecar, or unfinished."""
    return name.endswith(_SIDECAR_BYTES) or is_temporary(name)


def bucket_path(bucket: str | os.PathLike[str]) -> str:
    """Return the absolute path that a bucket's name stands for; ``~`` is the home directory.

    Raises
    ------
    InvalidNameError
    """
    name = os.fspath(bucket)
    if "\0" in name:
        raise InvalidNameError(f"{name!r} cannot be a directory: it holds a NUL character")
    path = os.path.expanduser(name)
    # abspath() takes 'link/..' for nothing, and the kernel for the parent of the link's target.
    return os.path.realpath(path) if ".." in path.split(os.sep) else os.path.abspath(path)
