"""Atomic writes: temporary files, locks and the order of renames.

At every moment, for every reader and after every crash, an object is the old one or the new one:
bytes and metadata. :mod:`~cottoncandy.backends.local.reader` explains how two files manage that.
"""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH101, PTH102, PTH105, PTH106, PTH108, PTH114, PTH116, PTH118, PTH208
from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from cottoncandy.backends.base import IfAbsent, IfMatch
from cottoncandy.backends.local.location import (
    MISSING,
    LocalLocation,
    check_root,
    is_directory,
    is_internal,
    os_errors,
    stat_or_none,
)
from cottoncandy.backends.local.reader import Fingerprint, encode, encode_journal, read_sidecar
from cottoncandy.core.files import (
    TemporaryFile,
    is_folded,
    is_temporary,
    is_temporary_of,
    lock,
    locked,
    open_lockable,
    remove_abandoned,
    rename_new,
    unlock,
)
from cottoncandy.core.names import SIDECAR_SUFFIX
from cottoncandy.core.threads import ForkSafeLock
from cottoncandy.exceptions import MetadataError, ObjectExistsError, StoreError

# How often other processes may remove a directory, with its last object, before this one gives up.
_ATTEMPTS = 100

#: Directories that uploads of this process created and that have no object yet. Uploads that fail
#: side by side cannot remove theirs while another's file is in it: the last one does.
_created: set[str] = set()
_creating = ForkSafeLock()  # a directory and its entry in the set change together


# -- temporary files -----------------------------------------------------------------------------


@contextmanager
def staging(
    location: LocalLocation, condition: IfAbsent | IfMatch | None = None
) -> Iterator[TemporaryFile]:
    """Open a temporary file, which keeps others from removing the directory, for a new object.

    After an error, which is not translated, the directories that were created are removed again.
    """
    with os_errors("write", location):
        stat_existing(location, condition)
        staged, failed = _create(location), True
    try:
        yield staged
        failed = False
    finally:
        staged.discard()
        with suppress(OSError):  # another upload's file is in it
            for directory in filter(_created.__contains__, location.parents()):
                with _creating:
                    if failed:
                        with suppress(FileNotFoundError):
                            os.rmdir(directory)
                    _created.discard(directory)


def _create(location: LocalLocation) -> TemporaryFile:
    """Create a temporary file, and its directory if that is missing."""
    for _ in range(_ATTEMPTS):
        try:
            return TemporaryFile(location.path)
        except (FileNotFoundError, NotADirectoryError):
            _make_directory(location)
    raise StoreError(
        f"cannot write {location}: no file can be created in '{location.directory}', or another "
        f"process keeps removing it"
    )


def _make_directory(location: LocalLocation) -> None:
    check_root(location.root)
    missing = [directory for directory in location.parents() if not is_directory(directory)]
    for directory in reversed(missing):
        try:
            with _creating:
                os.mkdir(directory)
                _created.add(directory)
        except FileNotFoundError:
            return  # another process removed an empty directory; the caller retries
        except FileExistsError:
            if is_directory(directory):
                continue
            if not os.path.lexists(directory) or is_directory(directory):
                return  # other processes create and remove it
            blocking = os.path.relpath(directory, location.root)
            raise ObjectExistsError(
                f"cannot store '{location.key}' in bucket '{location.root}', because "
                f"'{blocking}' is an object there and a file cannot be a directory too; choose "
                f"another name, or delete '{blocking}' first"
            ) from None


def remove_leftovers(directory: str, temporary: str) -> None:
    """Remove a temporary file of a killed writer, and the sidecar that it left without a body.

    While a writer moves or removes a body that has a sidecar, a temporary file of the body's name
    exists. So a sidecar alone, which may be the user's own file, is never treated as a leftover.
    """
    with suppress(OSError):  # other processes do the same, or have no permission
        descriptor = open_lockable(directory)
        try:
            # Without waiting, because the caller may hold another directory's lock.
            if lock(descriptor, wait=False) and remove_abandoned(
                os.path.join(directory, temporary)
            ):
                for name in os.listdir(directory):
                    body = name.removesuffix(SIDECAR_SUFFIX)
                    if body != name and is_temporary_of(temporary, body):
                        path = os.path.join(directory, body)
                        if not os.path.lexists(path):
                            unlink(path + SIDECAR_SUFFIX)
        finally:
            unlock(descriptor)


def unlink(path: str) -> None:
    """Remove a file that may not exist."""
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno not in MISSING | {errno.EISDIR, errno.ENAMETOOLONG}:
            raise


# -- objects -------------------------------------------------------------------------------------


def stat_existing(
    location: LocalLocation, condition: IfAbsent | IfMatch | None
) -> os.stat_result | None:
    """Return the status of the object that is to be replaced, or None if there is none.

    Raises
    ------
    ObjectExistsError, ObjectChangedError
        If the condition is not met, or the name is that of a directory with files.
    PermissionError
        If the file is write-protected, though the directory is not.
    """
    status = stat_or_none(location.path)
    if status is not None:
        location.check_spelling()
    if status is None or stat.S_ISDIR(status.st_mode):
        if status is not None:
            _empty_directories(location)
        if condition is not None:
            condition.check(None, str(location))
        return None
    if not stat.S_ISREG(status.st_mode):
        raise ObjectExistsError(
            f"cannot store {location}: '{location.path}' is a pipe, socket or device; remove it, "
            f"or choose another name"
        )
    if condition is not None:
        condition.check(Fingerprint.of(status).etag, str(location))
    if not os.access(location.path, os.W_OK):
        found = stat_or_none(location.path)
        if found is None or Fingerprint.of(found) != Fingerprint.of(status):
            return stat_existing(location, condition)  # deleted or replaced since
        raise PermissionError(errno.EACCES, "the file is write-protected", location.path)
    return status


def _empty_directories(location: LocalLocation) -> list[str]:
    """Return the directory that has an object's name and those below it, innermost last.

    Raises
    ------
    ObjectExistsError
        If one of them contains a file.
    """
    found: list[str] = []
    pending = [location.path]
    while pending:
        directory = pending.pop()
        blocking = [directory] if os.path.islink(directory) else []
        found.append(directory)
        with suppress(FileNotFoundError):  # another process removes them, too
            for name in filter(is_temporary, os.listdir(directory)):
                remove_leftovers(directory, name)
            for entry in [] if blocking else os.scandir(directory):
                group = pending if entry.is_dir(follow_symlinks=False) else blocking
                group.append(entry.path)
        if blocking:
            first = min(blocking, key=lambda path: (is_internal(os.fsencode(path)), path))
            raise ObjectExistsError(
                f"cannot store '{location.key}' in bucket '{location.root}', because "
                f"'{os.path.relpath(first, location.root)}' exists and a file cannot be a "
                f"directory too; choose another name, or delete everything below "
                f"'{location.key}/' first"
            )
    return found


def commit(
    location: LocalLocation,
    body: str,
    entries: Mapping[str, str] | None,
    condition: IfAbsent | IfMatch | None,
    *,
    stamp: bool,
) -> Fingerprint:
    """Give a finished file on the same file system its name and metadata; it loses its old name.

    The caller holds the lock of ``location.directory``.

    Parameters
    ----------
    body : str
        Path of the file.
    entries : mapping of str to str or None
        Metadata and headers. None: no sidecar. If empty, there is one, because 0.4.0 copies it.
    stamp : bool
        Whether the file is new: then it is dated now, later than what it replaces (so that
        fingerprints never repeat), and gets the permissions of that.
    """
    old = stat_existing(location, condition)
    if old is None and is_folded(body):
        location.check_spelling()  # of its directories
    if stamp:
        _stamp(body, old)
    new = Fingerprint.of(os.stat(body))
    with ExitStack() as stack:

        def write(content: bytes) -> TemporaryFile:
            file = stack.enter_context(TemporaryFile(location.sidecar))
            file.write(content)
            return file

        # Everything that needs space is written before the first rename.
        sidecar = None if entries is None else write(encode(entries))
        if old is not None:  # journal, body, sidecar
            if sidecar is not None or os.path.lexists(location.sidecar):
                replaced = Fingerprint.of(old)
                before = None
                with suppress(MetadataError):
                    before = read_sidecar(location, replaced)
                write(encode_journal(before or {}, replaced, entries or {}, new)).replace()
            _replace(body, location)
            _replace_sidecar(sidecar, location)
            return new
        if is_directory(location.path):
            for directory in reversed(_empty_directories(location)):
                os.rmdir(directory)
        try:  # sidecar first: without a body, it is not an object
            _replace_sidecar(sidecar, location)
            if condition is None:
                _replace(body, location)
            elif not rename_new(body, location.path):  # by a program that does not use our locks
                IfAbsent().check("", str(location))
        except BaseException:
            found = stat_or_none(location.path)
            if found is None or found.st_ino != new.inode:
                unlink(location.sidecar)
            raise
    return new


def _replace_sidecar(sidecar: TemporaryFile | None, location: LocalLocation) -> None:
    if sidecar is None:
        unlink(location.sidecar)
    else:
        sidecar.replace()


def _stamp(body: str, old: os.stat_result | None) -> None:
    now = time.time_ns()
    if old is not None:
        now = max(now, old.st_mtime_ns + 1)
        with suppress(PermissionError):
            os.chmod(body, old.st_mode & 0o777)
    os.utime(body, ns=(now, now))


def _replace(body: str, location: LocalLocation) -> None:
    links = os.stat(body).st_nlink
    os.replace(body, location.path)
    if links > 1:  # between two hard links of one file, rename() does nothing
        unlink(body)


def remove(location: LocalLocation) -> None:
    """Delete an object, its metadata, and the directories that are empty without it."""
    try:
        with locked(location.directory):
            status = stat_or_none(location.path)
            if status is None and os.path.lexists(location.path):
                return  # a link to nowhere is not an object
            if status is not None and not stat.S_ISREG(status.st_mode):
                return
            if status is not None:
                location.check_spelling()
            with marked(location):
                unlink(location.path)
                unlink(location.sidecar)
    except (FileNotFoundError, NotADirectoryError):
        return
    remove_empty_parents(location)


@contextmanager
def marked(location: LocalLocation) -> Iterator[None]:
    """Keep a temporary file while a body is removed before its sidecar: see remove_leftovers()."""
    with ExitStack() as marker:
        if os.path.lexists(location.sidecar):
            with suppress(OSError):  # a full disk must not keep objects from being deleted
                marker.enter_context(TemporaryFile(location.path))
        yield


def remove_empty_parents(location: LocalLocation) -> None:
    """Remove the directories above an object that are empty, up to the root."""
    with suppress(OSError):
        for directory in location.parents():
            os.rmdir(directory)
