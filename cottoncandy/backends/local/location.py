"""Keys as paths below a root, and the operating system's errors as cottoncandy's."""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH100, PTH111, PTH114, PTH116, PTH118, PTH120, PTH206
from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from cottoncandy.core.files import DENIED, FULL, is_temporary, other_spelling
from cottoncandy.core.names import SIDECAR_SUFFIX, encode_key, shorten
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketNotFoundError,
    CottonCandyError,
    InvalidNameError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageFullError,
    StoreError,
)

#: Errors of the operating system that mean "not found".
MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})

#: Found only in invalid keys, and in keys with a hidden part.
_SUSPICIOUS = re.compile(rf"\0|(?:^|/)(?:[./]|$)|{re.escape(SIDECAR_SUFFIX)}(?:/|$)")

_UNNAMEABLE = frozenset({errno.ENAMETOOLONG, errno.EILSEQ})


class LocalLocation(NamedTuple):
    """One object's key, its bucket, and the path of its body."""

    key: str
    root: str
    path: str

    @classmethod
    def of(cls, key: str, root: str) -> Self:
        """Return the location of a key, which is inside the root.

        Raises
        ------
        InvalidNameError
        """
        encode_key(key)  # which raises if it is not text, or empty
        if _SUSPICIOUS.search(key) and (reason := _invalid_reason(key)):
            raise InvalidNameError(
                f"{shorten(key)!r} cannot be the name of an object in a local directory: {reason}"
            )
        return cls(key, root, f"{root.rstrip('/')}/{key}")

    @property
    def sidecar(self) -> str:
        """Path of the metadata."""
        return self.path + SIDECAR_SUFFIX

    @property
    def directory(self) -> str:
        """Path of the directory that contains body and sidecar."""
        return os.path.dirname(self.path)

    def parents(self) -> Iterator[str]:
        """Yield the directories above the object, innermost first, without the root."""
        directory = self.directory
        while directory != self.root:
            yield directory
            directory = os.path.dirname(directory)

    def is_same_name(self, other: LocalLocation) -> bool:
        """Return whether another location is this entry of this directory, links followed."""
        if self.key.rpartition("/")[2] != other.key.rpartition("/")[2]:
            return False
        with os_errors("move", self):
            here, there = stat_or_none(self.directory), stat_or_none(other.directory)
        return here is not None and there is not None and os.path.samestat(here, there)

    def check_spelling(self) -> None:
        """Raise ObjectExistsError if the file system gives another object this name, too."""
        for path in (self.path, *self.parents()):
            if other := other_spelling(path):
                key = os.path.join(os.path.relpath(os.path.dirname(path), self.root), other)
                raise ObjectExistsError(
                    f"cannot change {self}: the file system does not tell its name from that of "
                    f"'{os.path.normpath(key)}', which exists; choose another name"
                )

    def __str__(self) -> str:
        return f"object '{shorten(self.key)}' in bucket '{self.root}'"


def _invalid_reason(key: str) -> str | None:
    """Return why a key is invalid, or None."""
    if "\0" in key:
        return "it contains a NUL character"
    for part in key.split("/"):
        if not part:
            return "it starts or ends with a slash, or has two in a row"
        if part in (".", ".."):
            return f"'{part}' means another directory"
        if part.endswith(SIDECAR_SUFFIX):
            return f"'{SIDECAR_SUFFIX}' marks the files that contain metadata"
        if is_temporary(part):
            return "names like this one are reserved for unfinished uploads"
    return None


def is_loop(path: str, root: str) -> bool:
    """Return whether a link leads to one of the directories above it, up to the root."""
    if not os.path.islink(path):
        return False
    above = (root, *LocalLocation("", root, path).parents())
    return os.path.realpath(path) in map(os.path.realpath, above)


def is_internal(name: bytes) -> bool:
    """Return whether a directory entry is a sidecar or a temporary file, and not an object."""
    return name.endswith(SIDECAR_SUFFIX.encode()) or is_temporary(name)


def bucket_path(bucket: Any) -> str:
    """Return the absolute path of a bucket; ``~`` is the home directory.

    Raises
    ------
    InvalidNameError
    """
    name = os.fspath(bucket) if isinstance(bucket, os.PathLike) else bucket
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InvalidNameError(
            f"a bucket of the local backend is the path of a directory, got {bucket!r}"
        )
    path = os.path.expanduser(name)
    if path.startswith("~"):
        user = path.partition("/")[0]
        raise InvalidNameError(f"'{name}': {user!r} has no home directory; write './{name}'?")
    # abspath() drops 'link/..'; for the kernel it is the parent of the link's target.
    return os.path.realpath(path) if ".." in path.split(os.sep) else os.path.abspath(path)


def stat_or_none(path: str | os.DirEntry[bytes]) -> os.stat_result | None:
    """Return the status of a file, or None if there is none. Denied access is an error."""
    try:
        return path.stat() if isinstance(path, os.DirEntry) else os.stat(path)
    except OSError as error:
        if error.errno in MISSING:
            return None
        raise


def is_directory(path: str) -> bool:
    """Return whether a path is a directory. Denied access is an error."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        if error.errno in MISSING | _UNNAMEABLE:
            return False
        raise


def check_root(root: str) -> None:
    """Raise BucketNotFoundError if a root is not a directory."""
    with os_errors("open", root):
        if not is_directory(root):
            raise BucketNotFoundError(
                f"there is no bucket '{root}'; create it with cci.create_bucket()"
            )


@dataclass(frozen=True, slots=True)
class os_errors:  # noqa: N801 - used as a function; twice as fast as a generator
    """Translates errors of the operating system about an object, or about a root."""

    verb: str
    subject: LocalLocation | str

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, *rest: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, CottonCandyError):
            raise _translate(error, self.verb, self.subject) from error


def _translate(error: OSError, verb: str, subject: LocalLocation | str) -> CottonCandyError:
    root, path, label = subject, subject, f"bucket '{subject}'"
    if isinstance(subject, LocalLocation):
        root, path, label = subject.root, subject.path, str(subject)
    text = f"cannot {verb} {label}: {error.strerror or error}"
    path = shorten(os.fsdecode(error.filename or str(path)))
    if error.errno in MISSING:
        try:
            check_root(str(root))
        except CottonCandyError as missing:
            return missing
        return ObjectNotFoundError(f"there is no {label}")
    if error.errno in DENIED:
        return AccessDeniedError(f"{text}; check the permissions of '{path}'")
    if error.errno in FULL:
        return StorageFullError(f"{text}; free some space. The previous object is unchanged")
    if error.errno in _UNNAMEABLE:
        return InvalidNameError(
            f"{text}; most file systems limit names between slashes to 255 bytes "
            f"('{SIDECAR_SUFFIX}' included), and whole paths to 4096"
        )
    return StoreError(f"{text} (at '{path}')")
