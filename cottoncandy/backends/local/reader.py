"""Reading one version of an object."""

# Paths are text here: pathlib's objects cost more than the system calls.
from __future__ import annotations

import datetime
import functools
import mimetypes
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.backends.local.location import LocalLocation, os_errors, stat_or_none
from cottoncandy.backends.local.sidecar import Fingerprint, read_sidecar
from cottoncandy.backends.options import split_entries
from cottoncandy.core.buffers import PIECE_BYTES, Buffer
from cottoncandy.core.files import locked
from cottoncandy.exceptions import IntegrityError, ObjectChangedError, ObjectNotFoundError

# Copies out of the page cache, by two threads or more: a third faster, measured with 256 MiB; more
# than four gain nothing.
_MAX_THREADS = 4
# O_NONBLOCK: opening a pipe must not wait for a writer.
_OPEN = os.O_RDONLY | os.O_NONBLOCK
# How often the object may be replaced while it is opened, before writers are locked out.
_ATTEMPTS = 20


def object_info(key: str, status: os.stat_result, **headers: Any) -> ObjectInfo:
    """Describe an object by the status of its file."""
    modified = datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC)
    return ObjectInfo(key, status.st_size, modified, Fingerprint.of(status).etag, **headers)


def guess_type(key: str) -> str | None:
    """Return the content type that a name implies, on every machine."""
    kind, encoding = _types().guess_type(key)
    return None if encoding else kind


@functools.cache
def _types() -> mimetypes.MimeTypes:
    return mimetypes.MimeTypes()  # without the tables of the system


def open_version(location: LocalLocation, threads: int = 1) -> LocalReader:
    """Open the body, and read the metadata that belongs to it.

    The open file keeps its bytes whatever happens to its name, and its inode is not given to
    another file. So if the path still refers to it after the sidecar was read, the two belong
    together.
    """
    for _ in range(_ATTEMPTS):
        reader = _try_open(location, threads)
        if reader is not None:
            return reader
    with locked(location.directory, shared=True):
        reader = _try_open(location, threads)
    if reader is None:
        raise ObjectChangedError(f"{location} is replaced faster than it can be opened; retry")
    return reader


def _try_open(location: LocalLocation, threads: int) -> LocalReader | None:
    descriptor = os.open(location.path, _OPEN)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "directory" if stat.S_ISDIR(status.st_mode) else "pipe, socket or device"
            raise ObjectNotFoundError(f"there is no {location}; a {kind} has that name")
        entries = read_sidecar(location, Fingerprint.of(status))
        found = stat_or_none(location.path)
        if found is not None and os.path.samestat(found, status):
            reader = LocalReader(location, descriptor, status, entries, min(threads, _MAX_THREADS))
            descriptor = -1
            return reader
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return None


@dataclass(eq=False, repr=False)
class LocalReader(ObjectReader):
    """An open file: writers replace the name, so this version stays readable."""

    max_resumes = 0

    location: LocalLocation
    descriptor: int
    status: os.stat_result
    #: The content of the sidecar, if there is one.
    entries: dict[str, str] | None
    threads: int

    @functools.cached_property
    def info(self) -> ObjectInfo:  # type: ignore[override]  # which may be set, too
        """The header of the object."""
        metadata, headers = split_entries(self.entries or {})
        headers.setdefault("content_type", guess_type(self.location.key))
        return object_info(self.location.key, self.status, metadata=metadata, **headers)

    def __del__(self) -> None:
        """Close the file if the caller drops the reader without closing it."""
        self.close()

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        while start < stop:
            with os_errors("read", self.location):
                piece = os.pread(self.descriptor, min(PIECE_BYTES, stop - start), start)
            start = self._after(start, len(piece), stop)
            yield piece

    def stream_into(self, out: memoryview, start: int) -> Iterator[memoryview]:
        stop = start + len(out)
        while start < stop:
            piece = out[len(out) - (stop - start) :][:PIECE_BYTES]
            with os_errors("read", self.location):
                count = os.preadv(self.descriptor, [piece], start)
            start = self._after(start, count, stop)
            yield piece[:count]

    def _after(self, start: int, count: int, stop: int) -> int:
        """Return the position after ``count`` bytes were read; raise if the file changed."""
        if not count:
            raise IntegrityError(
                f"{self.location} ended after {start} bytes, expected {stop}; another program "
                f"truncated it"
            )
        self.counter.add(received=count)
        if start + count == stop:
            self.check()
        return start + count

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        stop = self._checked_stop(start, stop)
        if stop - start > PIECE_BYTES:
            return super().read(start, stop)
        with os_errors("read", self.location):  # most files
            content = os.pread(self.descriptor, stop - start, start) if start < stop else b""
        if start < stop and self._after(start, len(content), stop) < stop:
            return content + b"".join(self.stream(start + len(content), stop))
        return content

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def is_replaced(self) -> bool:
        found = stat_or_none(self.location.path)
        return found is not None and not os.path.samestat(found, os.fstat(self.descriptor))

    def check(self) -> None:
        """Raise ObjectChangedError if another program changed the file in place."""
        if Fingerprint.of(os.fstat(self.descriptor)) != Fingerprint.of(self.status):
            raise ObjectChangedError(
                f"{self.location} was overwritten in place while it was read; read it again"
            )
