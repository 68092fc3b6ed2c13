"""Walking a directory in the order of an object store."""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH108, PTH116, PTH118
from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from cottoncandy.backends.base import CommonPrefix, ObjectInfo
from cottoncandy.backends.local._errors import MISSING
from cottoncandy.backends.local._paths import hidden
from cottoncandy.backends.local._reader import object_info

__all__ = ["Listing"]

#: Unfinished files of killed programs are removed when they are this old, in seconds: a day.
_ABANDONED_S = 86_400


@dataclass(slots=True)
class Listing:
    """One walk over the files below a root, sorted by the UTF-8 bytes of their keys.

    A directory ``a`` stands in that order as ``a/``, behind ``a-b`` and ``a.b``.
    """

    root: bytes
    prefix: bytes
    start_after: bytes
    by_directory: bool = False

    def __iter__(self) -> Iterator[ObjectInfo | CommonPrefix]:
        directory, slash, name = self.prefix.rpartition(b"/")
        parts = directory.split(b"/") if slash else []
        # What no key contains must not lead out of the root either.
        if any(part in (b"", b".", b"..") or b"\0" in part or hidden(part) for part in parts):
            return
        yield from self._walk(directory + slash, name, [])

    def _walk(
        self, above: bytes, start: bytes, way: list[bytes]
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """Yield what is in one directory; ``above`` is the key up to it, with its slash."""
        path = os.path.join(self.root, above)
        for sorted_name, entry in self._entries(path, start):
            name = above + sorted_name
            if not sorted_name.endswith(b"/"):
                found = _file(entry, name) if name > self.start_after else None
                if found is not None:
                    yield found
            elif self._may_hold(name) and not _is_loop(entry, [*way, path]):
                inside = self._walk(name, b"", [*way, path])
                if not self.by_directory:
                    yield from inside
                elif next(inside, None) is not None:
                    yield from _common_prefix(name)

    def _entries(self, path: bytes, start: bytes) -> list[tuple[bytes, os.DirEntry[bytes]]]:
        """Return the entries of a directory whose names start so, in the order of keys."""
        found = {}
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not entry.name.startswith(start):
                        continue
                    if hidden(entry.name):
                        _sweep(entry)
                        continue
                    found[entry.name + b"/" if _is_directory(entry) else entry.name] = entry
        except OSError as error:
            if error.errno not in MISSING:
                raise
        return sorted(found.items())

    def _may_hold(self, directory: bytes) -> bool:
        """Tell whether keys below a directory can come behind ``start_after``."""
        return directory > self.start_after or self.start_after.startswith(directory)


def _file(entry: os.DirEntry[bytes], name: bytes) -> ObjectInfo | None:
    try:
        status = entry.stat()
        key = name.decode()
    except UnicodeDecodeError:
        return None  # a name in another encoding, which no key can say
    except OSError as error:
        if error.errno in MISSING:
            return None  # gone meanwhile, or a link to nowhere
        raise
    return object_info(key, status) if stat.S_ISREG(status.st_mode) else None


def _common_prefix(name: bytes) -> Iterator[CommonPrefix]:
    with suppress(UnicodeDecodeError):
        yield CommonPrefix(name.decode())


def _is_directory(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in MISSING:
            return False
        raise


def _is_loop(entry: os.DirEntry[bytes], way: list[bytes]) -> bool:
    """Tell whether a link leads to a directory that we are in."""
    if not entry.is_symlink():
        return False
    try:
        target = os.stat(entry.path)
        return any(os.path.samestat(target, os.stat(path)) for path in way)
    except OSError as error:
        if error.errno in MISSING:
            return True
        raise


def _sweep(entry: os.DirEntry[bytes]) -> None:
    """Remove what a killed program left long ago; other hidden files stay."""
    if entry.name.endswith(b".tmp"):
        with suppress(OSError):
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S:
                os.unlink(entry.path)
