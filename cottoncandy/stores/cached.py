"""A backend around a backend that keeps what was read on the disk, for reading it again."""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from isal.isal_zlib import crc32

from cottoncandy.backends.base import Backend, ObjectReader
from cottoncandy.core.buffers import Buffer, MiB, regroup
from cottoncandy.core.files import TemporaryFile, expand_home, is_temporary, open_at_once
from cottoncandy.exceptions import CottonCandyError
from cottoncandy.stores.store import state_of
from cottoncandy.stores.wrapping import WrappedBackend, WrappedReader

logger = logging.getLogger(__name__)

_WINDOW_BYTES = MiB  # bodies are cached, and therefore downloaded, in windows of this size
_REQUEST_BYTES = 8 * MiB  # adjacent windows that are missing are requested together, up to this
_CHECKSUM_BYTES = 4
_REFRESH_S = 3600  # how old the date of last use may become
_FULL, _EVICTED = 1 / 16, 0.9  # of the limit: written between two looks, and what remains
_FOLDERS = "[0-9a-f]" * 2 + "/" + "[0-9a-f]" * 62
_FILE = re.compile(r"[0-9a-f]{64}-[0-9]+")


class CachedBackend(WrappedBackend):
    """Another backend; the bodies of its objects are kept on the disk, window by window.

    Parameters
    ----------
    inner : Backend
    directory : path-like
        Several processes and interfaces can share it.
    max_bytes : int
        The windows that were not used for longest are deleted when there are more.

    Notes
    -----
    Opening an object always sends a request, which returns its ETag; the name of a window contains
    it, so a replaced object is downloaded again. A window is written to a temporary file and
    renamed, and has a checksum: one that is damaged, missing or cannot be written is downloaded.
    """

    name = "cached"

    def __init__(self, inner: Backend, directory: str | os.PathLike[str], max_bytes: int) -> None:
        super().__init__(inner)
        self._windows = _Windows(Path(expand_home(directory)), max_bytes)
        self._place = repr(state_of(inner.with_bucket(None)))

    def get(
        self, key: str, *, threads: int = 4, prefetch: bool | tuple[int, int] = True, tail: int = 0
    ) -> ObjectReader:
        folder = self._windows.folder(self._place, self.bucket, key)
        if _exists(folder):  # probably nothing of the body is needed
            prefetch, tail = False, 0
        elif isinstance(prefetch, tuple):
            start, stop = prefetch
            step = _WINDOW_BYTES
            prefetch = (start // step * step, -(-stop // step) * step)
        tail = tail and tail + _WINDOW_BYTES  # whole windows, wherever the end is
        reader = self.inner.get(key, threads=threads, prefetch=prefetch, tail=tail)
        return reader if reader.info.etag is None else _CachedReader(reader, self._windows, folder)


class _CachedReader(WrappedReader):
    """One version of an object, from the disk or the store."""

    def __init__(self, inner: ObjectReader, windows: _Windows, folder: Path) -> None:
        super().__init__(inner, inner.info, _WINDOW_BYTES)
        self._windows = windows
        self.prefetched = inner.prefetched
        self._version = folder / _digest(str(inner.info.etag), str(inner.size))
        self._closed = False

    def blocks(self, first: int, end: int) -> Iterator[Buffer]:
        step, number = _WINDOW_BYTES, first
        while number < end:
            size = min(step, self.size - number * step)
            window = None if self._closed else self._windows.load(self._path(number), size)
            if window is not None:
                yield window
                number += 1
                continue
            after = number + 1
            most = min(end, number + _REQUEST_BYTES // step)
            while after < most and not _exists(self._path(after)):
                after += 1
            pieces = self._inner.pieces(number * step, min(after * step, self.size))
            for found in regroup(pieces, step):
                self._windows.save(self._path(number), found)
                yield found
                number += 1

    def close(self) -> None:
        self._closed = True  # the inner reader raises the error
        super().close()

    def _path(self, number: int) -> Path:
        return self._version.with_name(f"{self._version.name}-{number}")


class _Windows:
    """The files of a cache directory. Errors of the disk only cost a download."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory, self._max_bytes = directory, max_bytes
        self._warned = False
        self._unchecked = max_bytes  # bytes written since the last look; the first write looks

    def folder(self, *names: str) -> Path:
        """Return the directory of an object's windows."""
        name = _digest(*names)
        return self._directory / name[:2] / name[2:]

    def load(self, path: Path, size: int) -> memoryview | None:
        """Return a window of that size; None if there is none, or a damaged one."""
        try:
            with open(path, "rb", opener=open_at_once) as file:
                data = memoryview(file.read() or b"")
                old = time.time() - os.fstat(file.fileno()).st_mtime > _REFRESH_S
            if old:
                os.utime(path)
        except OSError:
            return None
        body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
        return body if len(body) == size and checksum == _checksum(path, body) else None

    def save(self, path: Path, body: Buffer) -> None:
        """Store a window in one step, and make room from time to time."""
        try:
            try:
                self._write(path, body)
            except FileNotFoundError:  # another process has just removed the empty directory
                self._write(path, body)
        except (OSError, CottonCandyError) as error:
            if not self._warned:
                logger.warning("what is read is not cached in %s: %s", self._directory, error)
                self._warned = True
            self._unchecked = self._max_bytes
        self._unchecked += len(memoryview(body))
        if self._unchecked > self._max_bytes * _FULL:
            self._unchecked = 0
            self._evict()

    @staticmethod
    def _write(path: Path, body: Buffer) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryFile(str(path), 0o600) as part:
            part.write(body)
            part.write(_checksum(path, body), len(body))
            part.replace()

    def _evict(self) -> None:
        """Delete the windows that were not used for longest, if there are too many.

        Other files of the directory are not the cache's.
        """
        found = []
        for name in glob.iglob(_FOLDERS + "/*", root_dir=self._directory, include_hidden=True):  # noqa: PTH207 - pathlib's raises an error for a directory that vanishes
            path = self._directory / name
            # Windows, and those that were or are being written.
            if _FILE.fullmatch(path.name) or is_temporary(path.name):
                with suppress(OSError):  # deleted by another process
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self._max_bytes:
            return
        for _, size, path in sorted(found):
            if total <= self._max_bytes * _EVICTED:
                return
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()  # if it is empty now
            total -= size


def _exists(path: Path) -> bool:
    """Return whether a path exists and may be read; unlike pathlib's, it never raises."""
    return os.access(path, os.R_OK)


def _checksum(path: Path, body: Buffer) -> bytes:
    """Return the CRC-32 of a window and its name: a damaged disk may exchange files."""
    name = "/".join(path.parts[-3:])
    return crc32(body, crc32(name.encode())).to_bytes(_CHECKSUM_BYTES, "little")


def _digest(*names: str) -> str:
    text = "\0".join(names)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
