"""What the operating system says, in cottoncandy's words."""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH112
from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from cottoncandy._names import shortened
from cottoncandy.backends.local._paths import Place
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketNotFoundError,
    CottonCandyError,
    InvalidNameError,
    ObjectNotFoundError,
    StorageFullError,
    StoreError,
)

__all__ = ["MISSING", "bucket_errors", "object_errors"]

#: What the file system says of a name that nothing (or nothing usable) is behind.
MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})

_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNNAMEABLE = frozenset({errno.ENAMETOOLONG, errno.EILSEQ})


@contextmanager
def object_errors(place: Place, doing: str) -> Iterator[None]:
    """Translate the operating system's errors; ``doing`` is a verb: "read", "write"."""
    try:
        yield
    except CottonCandyError:
        raise
    except OSError as error:
        raise _object_error(error, place, doing) from error


def _object_error(error: OSError, place: Place, doing: str) -> CottonCandyError:
    why = error.strerror or str(error)
    if error.errno in MISSING:
        if not os.path.isdir(place.root):
            return no_directory(place.root)
        return ObjectNotFoundError(f"there is no {place}")
    if error.errno in _DENIED:
        return AccessDeniedError(
            f"cannot {doing} {place}: {why}; check the permissions of "
            f"'{shortened(str(error.filename or place.path))}'"
        )
    if error.errno in _FULL:
        return StorageFullError(
            f"cannot {doing} {place}: {why}; what was there before is unchanged, "
            f"free some space and try again"
        )
    if error.errno in _UNNAMEABLE:
        return InvalidNameError(
            f"cannot {doing} {place}: {why}; this file system takes names of up to "
            f"{_name_limit(place.root)} bytes between slashes, and metadata is kept under the name "
            f"with '.meta.json' behind it"
        )
    where = shortened(str(error.filename or place.path))
    return StoreError(f"cannot {doing} {place}: {why} (at '{where}')")


@contextmanager
def bucket_errors(root: str, doing: str) -> Iterator[None]:
    """Translate the operating system's errors about a whole directory."""
    try:
        yield
    except CottonCandyError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in MISSING:
            raise no_directory(root) from error
        kind: type[CottonCandyError] = StoreError
        if error.errno in _DENIED:
            kind = AccessDeniedError
        elif error.errno in _FULL:
            kind = StorageFullError
        elif error.errno in _UNNAMEABLE:
            kind = InvalidNameError
        raise kind(
            f"cannot {doing} local directory '{root}': {why} (at '{error.filename or root}')"
        ) from error


def no_directory(root: str) -> BucketNotFoundError:
    """Return the error for a root that is no directory."""
    return BucketNotFoundError(
        f"there is no local directory '{root}'; cci.create_bucket() makes one"
    )


def _name_limit(root: str) -> int:
    try:
        return os.pathconf(root, "PC_NAME_MAX")
    except (OSError, ValueError):
        return 255
