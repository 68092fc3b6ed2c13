"""One version of an object: the body, and the sidecar, a JSON file with the metadata.

Body and sidecar are two files, and a rename replaces one. While an object is replaced, its sidecar
is a *journal*: it has the metadata of the old body, and under :data:`JOURNAL_KEY` those of the new
one, with the fingerprints of both. A reader compares these with the body that it has opened, so the
journal is valid before and after the body's rename, even if the writer is killed in between.
"""

# Paths are text here: pathlib's objects cost more than the system calls.
from __future__ import annotations

import datetime
import errno
import functools
import json
import mimetypes
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.backends.local.location import MISSING, LocalLocation, os_errors, stat_or_none
from cottoncandy.backends.options import split_entries
from cottoncandy.core.buffers import PIECE_BYTES, Buffer
from cottoncandy.core.files import locked, open_at_once
from cottoncandy.core.threads import cached_property
from cottoncandy.exceptions import (
    IntegrityError,
    MetadataError,
    ObjectChangedError,
    ObjectNotFoundError,
)

#: The entry of a journal; user metadata cannot have this name.
JOURNAL_KEY = "cc-pending"

# Copies out of the page cache, by two threads or more: a third faster, measured with 256 MiB; more
# than four gain nothing.
_MAX_THREADS = 4
# O_NONBLOCK: opening a pipe must not wait for a writer.
_OPEN = os.O_RDONLY | os.O_NONBLOCK
# How often the object may be replaced while it is opened, before writers are locked out.
_ATTEMPTS = 20


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

    @cached_property
    def info(self) -> ObjectInfo:
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
