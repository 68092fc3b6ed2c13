"""Walking a directory in the order of an object store."""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH108, PTH118, PTH122
from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from cottoncandy.backends.base import CommonPrefix, ObjectInfo
from cottoncandy.backends.local.commit import remove_leftovers
from cottoncandy.backends.local.location import MISSING, is_internal, is_loop, stat_or_none
from cottoncandy.backends.local.reader import object_info
from cottoncandy.core.files import is_temporary

#: If a file system has no locks, temporary files of this age are removed, in seconds: a day.
_ABANDONED_S = 86_400


@dataclass(slots=True)
class Listing:
    """One walk over the files below a root, sorted by the UTF-8 bytes of their keys.

    A directory ``a`` is in that order as ``a/``, after ``a-b`` and ``a.b``. ``encodings`` are the
    suffixes that keys do not have; of several files with one key, the newest is listed.
    """

    root: bytes
    prefix: bytes
    start_after: bytes
    encodings: Mapping[bytes, str]
    by_directory: bool = False

    def __iter__(self) -> Iterator[ObjectInfo | CommonPrefix]:
        directory, slash, name = self.prefix.rpartition(b"/")
        parts = directory.split(b"/") if slash else []
        # Such parts are not valid in keys, and must not lead out of the root.
        if any(part in (b"", b".", b"..") or b"\0" in part or is_internal(part) for part in parts):
            return
        yield from self._walk(directory + slash, name, self.by_directory)

    def _walk(
        self, above: bytes, start: bytes = b"", by_directory: bool = False
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """Yield the objects below a directory; ``above`` is the key up to it, with its slash.

        Without recursion, because directories may be nested deeper than Python calls.
        """
        levels = [(above, iter(self._entries(above, start)))]
        while levels:
            above, entries = levels[-1]
            for sorted_name, entry in entries:
                name = above + sorted_name
                if not sorted_name.endswith(b"/"):
                    info = self._file(entry, name) if name > self.start_after else None
                    if info is not None:
                        yield info
                    continue
                if not self._may_contain(name) or _is_loop(entry, self.root):
                    continue
                if not by_directory:
                    levels.append((name, iter(self._entries(name))))
                    break
                if next(self._walk(name), None) is not None:
                    with suppress(UnicodeDecodeError):
                        yield CommonPrefix(name.decode())
            else:
                levels.pop()

    def _entries(self, above: bytes, start: bytes = b"") -> list[tuple[bytes, os.DirEntry[bytes]]]:
        """Return the entries of a directory whose names start so, in the order of keys."""
        found: dict[bytes, os.DirEntry[bytes]] = {}
        path = os.path.join(self.root, above)
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if is_temporary(entry.name):
                        _remove_if_stale(path, entry)
                    elif entry.name.startswith(start) and not is_internal(entry.name):
                        name = entry.name + b"/" if _is_directory(entry) else self._name(entry)
                        if name not in found or _modified(entry) > _modified(found[name]):
                            found[name] = entry
        except OSError as error:
            if error.errno not in MISSING:
                raise
        return sorted(item for item in found.items() if item[0].startswith(start))

    def _name(self, file: os.DirEntry[bytes]) -> bytes:
        """Return the name of a file without the suffix of an encoding."""
        name, suffix = os.path.splitext(file.name) if self.encodings else (b"", b"")
        return name if suffix in self.encodings else file.name

    def _file(self, entry: os.DirEntry[bytes], name: bytes) -> ObjectInfo | None:
        try:
            key = name.decode()
        except UnicodeDecodeError:
            return None  # a name in another encoding, which is not a key
        suffix, status = entry.name[len(name) - name.rfind(b"/") - 1 :], stat_or_none(entry)
        if status is None and self.encodings:  # perhaps replaced since, in another encoding
            path = os.path.join(self.root, name)
            for suffix in (b"", *self.encodings):
                status = stat_or_none(os.fsdecode(path + suffix))
                if status is not None:
                    break
        if status is None or not stat.S_ISREG(status.st_mode):
            return None  # a pipe, a link to nowhere, or deleted since
        return object_info(key, status, content_encoding=self.encodings.get(suffix))

    def _may_contain(self, directory: bytes) -> bool:
        """Return whether keys below a directory can come after ``start_after``."""
        return directory > self.start_after or self.start_after.startswith(directory)


def _is_loop(entry: os.DirEntry[bytes], root: bytes) -> bool:
    return entry.is_symlink() and is_loop(os.fsdecode(entry.path), os.fsdecode(root))


def _modified(entry: os.DirEntry[bytes]) -> int:
    """Return when a file was changed; 0 for what is not a file."""
    status = stat_or_none(entry)
    return status.st_mtime_ns if status is not None and stat.S_ISREG(status.st_mode) else 0


def _is_directory(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in MISSING:
            return False
        raise


def _remove_if_stale(directory: bytes, entry: os.DirEntry[bytes]) -> None:
    """Remove the temporary file of a killed writer."""
    with suppress(OSError):
        remove_leftovers(os.fsdecode(directory), os.fsdecode(entry.name))
        if time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S:
            os.unlink(entry.path)
