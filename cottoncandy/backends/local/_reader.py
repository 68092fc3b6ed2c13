"""Reading one version of an object."""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH116
from __future__ import annotations

import datetime
import os
import stat
import weakref
from collections.abc import Iterator

from cottoncandy._buffers import Buffer, MiB
from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.backends.local._commit import locked
from cottoncandy.backends.local._errors import MISSING, object_errors
from cottoncandy.backends.local._paths import Place
from cottoncandy.backends.local._sidecar import Mark, read_sidecar
from cottoncandy.exceptions import IntegrityError, ObjectChangedError, ObjectNotFoundError

__all__ = ["LocalReader", "object_info", "open_version"]

# Copies out of the page cache, by two threads or more: a third faster, measured with 256 MiB; more
# than four gain nothing.
_MAX_THREADS = 4
_PIECE_BYTES = MiB // 4  # stays in the processor's cache
# O_NONBLOCK: opening a pipe must not wait for a writer.
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
# Versions that may come and go while we look, before we ask the writers to hold on.
_ATTEMPTS = 20


def object_info(
    key: str, status: os.stat_result, metadata: dict[str, str] | None = None
) -> ObjectInfo:
    """Describe an object by the status of its file."""
    modified = datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC)
    return ObjectInfo(key, status.st_size, modified, Mark.of(status).etag, metadata)


def open_version(place: Place, threads: int = 1) -> LocalReader:
    """Open the body, and find the metadata that goes with it.

    The open file keeps its bytes whatever happens to its name, and its inode is not given to
    another file. So if the path still names it after the sidecar was read, the two belong together.
    """
    for _ in range(_ATTEMPTS):
        reader = _try_open(place, threads)
        if reader is not None:
            return reader
    with locked(place.directory, shared=True):
        reader = _try_open(place, threads)
    if reader is None:
        raise ObjectChangedError(f"{place} is replaced faster than it can be opened; try again")
    return reader


def _try_open(place: Place, threads: int) -> LocalReader | None:
    descriptor = os.open(place.path, _OPEN)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ObjectNotFoundError(
                f"there is no object '{place.key}' in local directory '{place.root}'; "
                + (
                    "it is a directory of others"
                    if stat.S_ISDIR(status.st_mode)
                    else "there is a pipe, socket or device of that name"
                )
            )
        metadata = read_sidecar(place, Mark.of(status))
        if _names(place.path, status):
            info = object_info(place.key, status, metadata)
            reader = LocalReader(place, descriptor, info, threads)
            descriptor = -1
            return reader
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return None


def _names(path: str, status: os.stat_result) -> bool:
    """Tell whether a path still names a certain file."""
    try:
        return os.path.samestat(os.stat(path), status)
    except OSError as error:
        if error.errno in MISSING:
            return False
        raise


class LocalReader(ObjectReader):
    """An open file: writers replace the name, so this version stays readable."""

    max_resumes = 0

    def __init__(self, place: Place, descriptor: int, info: ObjectInfo, threads: int) -> None:
        self.info = info
        self._place = place
        self.descriptor = descriptor
        self.threads = min(threads, _MAX_THREADS)
        # Closed with the reader, also where the caller only drops it.
        self._close = weakref.finalize(self, os.close, descriptor)

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        while start < stop:
            with object_errors(self._place, "read"):
                piece = os.pread(self.descriptor, min(_PIECE_BYTES, stop - start), start)
            if not piece:
                raise IntegrityError(
                    f"{self._place} ended after {start} bytes, expected {stop}; another program "
                    f"truncated it"
                )
            start += len(piece)
            if start == stop:
                self.check()
            yield piece

    def close(self) -> None:
        self._close()

    def check(self) -> None:
        """Refuse bytes that a program changed in place, which we cannot tell from ours."""
        if Mark.of(os.fstat(self.descriptor)).etag != self.info.etag:
            raise ObjectChangedError(
                f"{self._place} was overwritten in place while it was read; read it again"
            )
