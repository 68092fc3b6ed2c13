"""Writing so that nobody ever sees half of it: temporary files, locks, and the order of renames.

At every moment, for every reader and after every crash, an object is the old one or the new one:
bytes and metadata. See :mod:`~cottoncandy.backends.local._sidecar` for how two files manage that.
"""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH101, PTH103, PTH105, PTH106, PTH108, PTH112, PTH114, PTH116, PTH118, PTH120
from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from cottoncandy._local_files import TemporaryFile, lock, open_lockable, unlock
from cottoncandy.backends.base import IfAbsent, IfMatch
from cottoncandy.backends.local._errors import MISSING, no_directory
from cottoncandy.backends.local._paths import Place, hidden
from cottoncandy.backends.local._sidecar import Mark, encode, encode_journal, read_sidecar
from cottoncandy.exceptions import MetadataError, ObjectExistsError, StoreError

__all__ = [
    "commit",
    "locked",
    "look",
    "remove",
    "remove_empty_parents",
    "remove_sidecar",
    "staging",
]

# How often a directory may vanish under us, because others delete its last object, before we stop.
_ATTEMPTS = 100
# What file systems without hard links answer to link().
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


# -- temporary files -----------------------------------------------------------------------------


@contextmanager
def staging(place: Place) -> Iterator[TemporaryFile]:
    """Open a temporary file beside an object; what is left of it goes in the end.

    While it is there, nobody can remove the directory.
    """
    staged = _create(place)
    done = False
    try:
        yield staged
        done = True
    finally:
        staged.discard()
        if done:
            _made.difference_update(_parents(place))
        else:
            _remove_made(place)


def _create(place: Place) -> TemporaryFile:
    """Create a temporary file, and its directory where that is missing."""
    for _ in range(_ATTEMPTS):
        try:
            return TemporaryFile(place.path)
        except (FileNotFoundError, NotADirectoryError):
            _make_directory(place)
    raise StoreError(f"cannot write {place}: another process keeps removing '{place.directory}'")


def _make_directory(place: Place) -> None:
    if not os.path.isdir(place.root):
        raise no_directory(place.root)
    try:
        missing = [path for path in _parents(place) if not os.path.isdir(path)]
        os.makedirs(place.directory, exist_ok=True)
        _made.update(missing)
    except (FileExistsError, NotADirectoryError, FileNotFoundError):
        blocker = _blocker(place)
        if blocker is not None:
            raise ObjectExistsError(
                f"cannot store '{place.key}' in local directory '{place.root}', because "
                f"'{blocker}' is an object there and a file cannot be a directory too; "
                f"choose another name, or delete '{blocker}' first"
            ) from None


#: Directories that uploads of this process made and that hold no object yet. Uploads that fail side
#: by side cannot remove theirs while another's file is in it: the last one does.
_made: set[str] = set()


def _parents(place: Place) -> Iterator[str]:
    """Yield the directories above an object, up to the root."""
    directory = place.directory
    while directory != place.root:
        yield directory
        directory = os.path.dirname(directory)


def _remove_made(place: Place) -> None:
    """Remove the directories that are empty and were made for what failed."""
    for directory in _parents(place):
        if directory not in _made:
            return
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError:
            return  # there is another upload's file in it
        _made.discard(directory)


def _blocker(place: Place) -> str | None:
    """Return the object that is in the way of a directory, if there is one."""
    parts = place.key.split("/")
    for count in range(1, len(parts)):
        path = os.path.join(place.root, *parts[:count])
        if os.path.lexists(path) and not os.path.isdir(path):
            return "/".join(parts[:count])
    return None


def _written(target: str, content: bytes, clean: ExitStack) -> TemporaryFile:
    """Write a small temporary file, which is gone at the end unless it was renamed."""
    file = clean.enter_context(TemporaryFile(target))
    file.write(content)
    return file


def _unlink(path: str) -> None:
    """Remove a file that may be gone, or that cannot be there."""
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno not in MISSING | {errno.EISDIR, errno.ENAMETOOLONG}:
            raise


# -- locks ---------------------------------------------------------------------------------------


@contextmanager
def locked(*directories: str, shared: bool = False) -> Iterator[None]:
    """Keep other writers out of some directories, in this machine's processes and threads.

    Held for a few renames only. File systems that have no locks go without.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If a directory is not there.
    """
    with ExitStack() as held:
        while not _lock_all(directories, shared, held):
            held.close()
        yield


def _lock_all(directories: tuple[str, ...], shared: bool, held: ExitStack) -> bool:
    """Lock directories, in an order that all agree on; False if one was replaced meanwhile."""
    opened: dict[tuple[int, int], tuple[str, int]] = {}
    for directory in directories:
        try:
            descriptor = open_lockable(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            continue  # may be written to but not listed: not ours to lock
        held.callback(unlock, descriptor)
        status = os.fstat(descriptor)
        opened[status.st_dev, status.st_ino] = directory, descriptor
    for identity in sorted(opened):
        directory, descriptor = opened[identity]
        with suppress(OSError):  # a file system without locks
            lock(descriptor, shared=shared)
        status = os.stat(directory)
        if (status.st_dev, status.st_ino) != identity:
            return False
    return True


# -- objects -------------------------------------------------------------------------------------


def look(place: Place, condition: IfAbsent | IfMatch | None) -> os.stat_result | None:
    """Return the status of the object that is to be replaced, or None if there is none.

    Raises
    ------
    ObjectExistsError, ObjectChangedError
        If the condition is not met, or it is a directory of others.
    PermissionError
        If the file is write-protected, though the directory is not.
    """
    status = _status(place)
    if status is None or stat.S_ISDIR(status.st_mode):
        if status is not None:
            _check_empty(place)
        if condition is not None:
            condition.check(None, str(place))
        return None
    if not stat.S_ISREG(status.st_mode):
        raise ObjectExistsError(
            f"cannot store '{place.key}' in local directory '{place.root}': '{place.path}' is "
            f"a pipe, socket or device; remove it, or choose another name"
        )
    if condition is not None:
        condition.check(Mark.of(status).etag, str(place))
    if not os.access(place.path, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is write-protected", place.path)
    return status


def _status(place: Place) -> os.stat_result | None:
    try:
        return os.stat(place.path)
    except OSError as error:
        if error.errno in MISSING:
            return None
        raise


def _check_empty(place: Place) -> None:
    """Refuse a directory in the way that holds anything; empty ones count for nothing."""
    for directory, _, files in os.walk(place.path):
        if files or os.path.islink(directory):
            files.sort(key=lambda name: (hidden(os.fsencode(name)), name))  # objects first
            below = os.path.join(directory, *files[:1])
            raise ObjectExistsError(
                f"cannot store '{place.key}' in local directory '{place.root}', because "
                f"'{os.path.relpath(below, place.root)}' is there and a file cannot be a "
                f"directory too; choose another name, or delete what is below '{place.key}/' first"
            )


def _remove_empty_directories(path: str) -> None:
    for directory, _, _ in os.walk(path, topdown=False):
        os.rmdir(directory)


def commit(
    place: Place,
    body: str,
    metadata: Mapping[str, str] | None,
    condition: IfAbsent | IfMatch | None,
    *,
    stamp: bool,
) -> Mark:
    """Give a finished file on the same file system its name and metadata; it loses its old name.

    The caller holds the lock of ``place.directory``.

    Parameters
    ----------
    body : str
        Path of the file.
    metadata : mapping of str to str or None
        None: no sidecar. An empty one gets a sidecar, because 0.4.0 wants to copy it.
    stamp : bool
        Whether it is new: then it is dated now, later than what it replaces (so that marks never
        repeat), and takes over the permissions of that.
    """
    old = look(place, condition)
    if stamp:
        _stamp(body, old)
    mark = Mark.of(os.stat(body))
    with ExitStack() as clean:
        if old is None:
            _commit_new(place, body, metadata, condition is None, clean)
        elif metadata is None and not os.path.lexists(place.sidecar):
            _rename(body, place)
        else:
            _commit_over(place, body, metadata, mark, Mark.of(old), clean)
    return mark


def _commit_new(
    place: Place, body: str, metadata: Mapping[str, str] | None, overwrite: bool, clean: ExitStack
) -> None:
    """Sidecar first: nobody sees it until there is a body."""
    if os.path.isdir(place.path):
        _remove_empty_directories(place.path)
    if metadata is not None:
        _written(place.sidecar, encode(metadata), clean).replace()
    else:
        _unlink(place.sidecar)
    if overwrite:
        _rename(body, place)
    else:
        _link(body, place)


def _commit_over(
    place: Place,
    body: str,
    metadata: Mapping[str, str] | None,
    mark: Mark,
    old: Mark,
    clean: ExitStack,
) -> None:
    """Journal, body, sidecar. All that needs room on the disk is written before the first."""
    try:
        before = read_sidecar(place, old)
    except MetadataError:
        before = {}
    journal = _written(place.sidecar, encode_journal(before, old, metadata or {}, mark), clean)
    after = None if metadata is None else _written(place.sidecar, encode(metadata), clean)
    journal.replace()
    _rename(body, place)
    if after is not None:
        after.replace()
    else:
        _unlink(place.sidecar)


def _stamp(body: str, old: os.stat_result | None) -> None:
    now = time.time_ns()
    if old is not None:
        now = max(now, old.st_mtime_ns + 1)
        with suppress(PermissionError):
            os.chmod(body, old.st_mode & 0o777)
    os.utime(body, ns=(now, now))


def _rename(body: str, place: Place) -> None:
    links = os.stat(body).st_nlink
    os.replace(body, place.path)
    if links > 1:  # between two hard links of one file, rename() does nothing
        _unlink(body)


def _link(body: str, place: Place) -> None:
    """Rename unless somebody took the name, who need not know our locks."""
    try:
        os.link(body, place.path)
    except FileExistsError:
        raise ObjectExistsError(f"{place} exists; pass overwrite=True to replace it") from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.replace(body, place.path)
        return
    os.unlink(body)


def remove(place: Place) -> None:
    """Delete an object, its metadata, and the directories that are empty without it."""
    try:
        with locked(place.directory):
            try:
                status = os.stat(place.path)
            except OSError as error:
                if error.errno not in MISSING:
                    raise
                if os.path.lexists(place.path):
                    return  # a link to nowhere, which is no object
            else:
                if not stat.S_ISREG(status.st_mode):
                    return
                _unlink(place.path)
            _unlink(place.sidecar)
    except (FileNotFoundError, NotADirectoryError):
        return
    remove_empty_parents(place)


def remove_sidecar(place: Place) -> None:
    """Remove the metadata of an object that is gone."""
    _unlink(place.sidecar)


def remove_empty_parents(place: Place) -> None:
    """Remove the directories above an object that are empty, up to the root."""
    for directory in _parents(place):
        try:
            os.rmdir(directory)
        except OSError:
            return
