"""Files on a local disk, written whole or not at all: the one writer of files, and file locks.

A file is written, and locked, under a temporary name in the directory of its target. The name is
derived from the target's, so the next writer of the same target finds the file of a killed process,
and removes it if it is not locked.
"""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH100, PTH101, PTH105, PTH108, PTH111, PTH114, PTH115, PTH116, PTH118, PTH120, PTH123, PTH208
from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Self
from unicodedata import normalize

from cottoncandy.core.buffers import Buffer, bytes_view
from cottoncandy.core.threads import after_fork
from cottoncandy.exceptions import AccessDeniedError, CottonCandyError, StorageFullError

try:
    import fcntl
except ImportError:  # Windows; files that a killed process leaves stay there
    fcntl = None  # type: ignore[assignment]  # checked wherever it is used

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
# Anything else with a temporary file's name (a link, a pipe) is not ours; don't block on it.
_PROBE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# A file without a name, which only Linux has. /proc gives it one.
_UNNAMED = os.O_RDWR | getattr(os, "O_TMPFILE", 0)
_TEMPORARY = re.compile(rb"\.cottoncandy-[0-9a-f]{16}\.tmp")
_OWN_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
_MAX_LINKS = 40  # as Linux follows

#: Errors of a disk that is full, and of one that may not be written.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def open_at_once(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file; the opener for ``open()`` of what may be a pipe, whose writer it would await."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


# -- locks ---------------------------------------------------------------------------------------

#: Descriptors of files that are or will be locked, which a forked child closes.
_lockable: set[int] = set()


def open_lockable(path: str, flags: int = _DIRECTORY, mode: int = 0o666) -> int:
    """Open a file or directory to be locked, until :func:`unlock`."""
    descriptor = os.open(path, flags, mode)
    _lockable.add(descriptor)
    return descriptor


def lock(descriptor: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file or directory; return False if another process or thread holds a lock.

    Raises
    ------
    OSError
        If the file system has no locks.
    """
    if fcntl is not None:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def unlock(descriptor: int) -> None:
    """Release a lock, even if forked children have inherited the file, and close the file."""
    if fcntl is not None and descriptor in _lockable:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    with contextlib.suppress(OSError):  # a full network disk, which TemporaryFile.close() raised
        _close(descriptor)


@contextlib.contextmanager
def locked(*directories: str, shared: bool = False) -> Iterator[None]:
    """Lock directories against other threads, and other processes of this machine.

    File systems without locks are used without.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If a directory does not exist.
    """
    with contextlib.ExitStack() as held:
        while not _lock_all(directories, shared, held):
            held.close()
        yield


def _lock_all(directories: tuple[str, ...], shared: bool, held: contextlib.ExitStack) -> bool:
    """Lock directories in an order common to all writers; False if one was replaced since."""
    opened: dict[tuple[int, int], tuple[str, int]] = {}
    for directory in directories:
        try:
            descriptor = open_lockable(directory)
        except PermissionError:
            continue  # may be written to but not listed: not ours to lock
        held.callback(unlock, descriptor)
        status = os.fstat(descriptor)
        opened[status.st_dev, status.st_ino] = directory, descriptor
    for identity in sorted(opened):
        directory, descriptor = opened[identity]
        with contextlib.suppress(OSError):  # a file system without locks
            lock(descriptor, shared=shared)
        status = os.stat(directory)
        if (status.st_dev, status.st_ino) != identity:
            return False
    return True


def _close(descriptor: int) -> None:
    if descriptor in _lockable:  # else it was the parent's, and is closed
        _lockable.remove(descriptor)  # first, because the number may be reused at once
        os.close(descriptor)


def _close_inherited() -> None:
    """Close the locked files of the parent, which would stay locked after it is killed."""
    while _lockable:
        with contextlib.suppress(OSError):
            os.close(_lockable.pop())


after_fork(_close_inherited)


# -- temporary files -----------------------------------------------------------------------------


class NewFile:
    """A file that gets its name when it is finished."""

    target: str
    descriptor: int

    def write(self, buffer: Buffer, position: int = 0) -> None:
        """Write a whole buffer at a position."""
        rest = bytes_view(buffer)
        while rest:  # the system takes at most 2 GiB at once
            count = getattr(os, "pwrite", _seek_and_write)(self.descriptor, rest, position)
            rest, position = rest[count:], position + count

    def __enter__(self) -> Self:
        return self


class TemporaryFile(NewFile):
    """A new, locked file next to ``target``, until it takes the target's name.

    Leaving the ``with`` statement removes it, unless it was renamed.

    Parameters
    ----------
    target : str
        Path of the file to be written.
    mode : int, default 0o666
        Permissions, less the umask.
    """

    def __init__(self, target: str, mode: int = 0o666) -> None:
        self.target = target
        self.path, self.descriptor, self._status = _create(target, mode)
        self._renamed = False
        # Holds the lock until the end, after the file was closed.
        self._lock = -1
        if fcntl is not None:
            self._lock = os.dup(self.descriptor)
            _lockable.add(self._lock)

    def close(self) -> None:
        """Close the file; on network file systems, a full disk is reported here."""
        descriptor, self.descriptor = self.descriptor, -1
        _close(descriptor)

    def replace(self) -> None:
        """Give the finished file the name of its target."""
        self.close()
        os.replace(self.path, self.target)
        self._renamed = True

    def link(self) -> bool:
        """Give the finished file the name of its target, or return False if that exists."""
        self.close()
        return rename_new(self.path, self.target)

    def discard(self) -> None:
        """Close the file, and remove it unless it was renamed."""
        if self.descriptor >= 0:
            with contextlib.suppress(OSError):  # an error that matters was raised before
                self.close()
        if self._renamed:
            _close(self._lock)
            return
        if fcntl is not None and self._lock not in _lockable:
            return  # in a forked child, where it is the parent's
        try:
            if os.path.samestat(os.lstat(self.path), self._status):
                os.unlink(self.path)
        except OSError:
            pass  # renamed, or removed by another process
        finally:
            unlock(self._lock)

    def __exit__(self, *exc_info: object) -> None:
        self.discard()


class UnnamedFile(NewFile):
    """A new file in the directory of ``target``, until it takes that name, if no file has it.

    It needs half as many changes of the directory as a :class:`TemporaryFile`, no lock, and after a
    kill nothing is left of it.

    Raises
    ------
    OSError
        If the system or the file system has no such files.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.descriptor = os.open(target.rpartition("/")[0] or "/", _UNNAMED, 0o666)

    def link(self) -> None:
        """Give the finished file the name of its target; FileExistsError if that exists."""
        # With a descriptor, Python follows the link in /proc.
        source = f"/proc/self/fd/{self.descriptor}"
        os.link(source, self.target, src_dir_fd=self.descriptor)

    def __exit__(self, *exc_info: object) -> None:
        os.close(self.descriptor)


def _seek_and_write(descriptor: int, data: memoryview, position: int) -> int:
    """Do what ``os.pwrite`` does, for one thread: Windows does not have it, nor local stores."""
    os.lseek(descriptor, position, os.SEEK_SET)
    return os.write(descriptor, data)


def rename_new(path: str, target: str) -> bool:
    """Rename a file, or return False if the new name is taken."""
    try:
        os.link(path, target)  # unlike a rename, never replaces a file
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            return False
        os.replace(path, target)
    else:
        os.unlink(path)
    return True


def is_temporary(name: str | bytes) -> bool:
    """Return whether a file of that name is one of cottoncandy's temporary files."""
    return _TEMPORARY.fullmatch(os.fsencode(name)) is not None


def is_temporary_of(temporary: str, name: str) -> bool:
    """Return whether a temporary file is one that is written for a certain target."""
    return temporary.startswith(_temporary_prefix(name))


def _create(target: str, mode: int) -> tuple[str, int, os.stat_result]:
    """Create the first temporary file that no other writer uses."""
    directory, slash, name = target.rpartition("/")
    start = directory + slash + _temporary_prefix(name)
    for number in itertools.count():
        path = f"{start}{number:08x}.tmp"
        try:
            descriptor = open_lockable(path, _CREATE, mode)
        except FileExistsError:
            remove_abandoned(path)  # unless another writer uses it
            continue
        try:
            held = _hold(descriptor, path)
        except FileNotFoundError:  # another process removed it as abandoned before
            held = False
        except OSError:  # without locks, no process removes it
            held = True
        if held:
            return path, descriptor, os.fstat(descriptor)
        unlock(descriptor)
    raise AssertionError


def _temporary_prefix(name: str) -> str:
    # A digest, because names may be as long as the file system allows.
    return f".cottoncandy-{zlib.crc32(os.fsencode(name)):08x}"


def _hold(descriptor: int, path: str) -> bool:
    """Lock a temporary file without waiting; return whether that is still its name."""
    return lock(descriptor, wait=False) and os.path.samestat(os.fstat(descriptor), os.lstat(path))


def remove_abandoned(path: str) -> bool:
    """Remove a temporary file that no process is writing; return whether one was removed."""
    if fcntl is None:
        return False
    # Another user's cannot be removed, nor any in a file system without locks.
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        descriptor = open_lockable(path, _PROBE)
        stack.callback(unlock, descriptor)
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _hold(descriptor, path):
            os.unlink(path)
            return True
    return False


# -- names ---------------------------------------------------------------------------------------


def folds_names(directory: str | os.PathLike[str]) -> bool:
    """Return whether the files of a directory are found by names in another case, too."""
    try:
        with TemporaryFile(os.path.join(directory, "names")) as file:
            return is_folded(file.path)
    except OSError:
        return False  # a directory that cannot be written: that is reported when it matters


def is_folded(path: str) -> bool:
    """Return whether a file is also found by its name in upper case.

    Or whether another one is: inode numbers do not tell, as file systems such as exFAT
    may have one for each spelling.
    """
    directory, slash, name = path.rpartition("/")
    return os.access(directory + slash + name.upper(), os.F_OK)  # cheaper than an exception


def other_spelling(path: str) -> str | None:
    """Return the name of a file that a path also refers to, because names are folded there.

    Some file systems (macOS, Windows, network shares) ignore case, or the Unicode form of letters.
    None if the file has exactly the name in the path, or does not exist.
    """
    directory, name = os.path.split(path)
    folded = {name.swapcase(), *(normalize(form, name) for form in ("NFC", "NFD"))} - {name}
    if not any(os.path.lexists(os.path.join(directory, each)) for each in folded):
        return None
    names = os.listdir(directory) if os.path.lexists(path) else [name]
    if name in names:
        return None
    return next((each for each in names if fold(each) == fold(name)), None)


def fold(name: str) -> str:
    """Return what the names that a file system may not tell apart have in common."""
    return normalize("NFC", name.casefold())


# -- whole files ---------------------------------------------------------------------------------


def expand_home(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Replace the ``~`` that begins a text such as ``~/data``.

    A ``Path`` is returned unchanged, as :func:`open` uses it: it may be a file that a directory
    contains.
    """
    if isinstance(path, str) and (path == "~" or path.startswith("~/")):
        return os.path.expanduser(path)
    return path


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces ``path`` when the block ends without an error.

    The old file stays whole until then, and its permissions remain. A pipe, a device and an open
    file of this process (``/dev/stdout``) cannot be replaced, and are written directly.

    Raises
    ------
    StorageFullError
        If the disk or the quota is exhausted.
    AccessDeniedError
        If the user or the file system does not allow it.
    """
    special = _open_special(os.fspath(path))
    if special is not None:
        with special:
            yield special
        return
    # The target of a symbolic link: replacing the link itself would surprise.
    target = os.path.realpath(path)
    with disk_errors(target):
        try:
            part = TemporaryFile(target)
        except OSError as exc:  # name the file that the caller passed
            raise type(exc)(exc.errno, exc.strerror, target) from None
        with part:
            with contextlib.suppress(OSError):
                os.chmod(part.path, os.stat(target).st_mode & 0o777)
            with open(part.descriptor, "wb", closefd=False) as file:
                yield file
            part.replace()


@contextlib.contextmanager
def disk_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Translate the errors of a disk that is full, or that may not be written."""
    try:
        yield
    except CottonCandyError:
        raise
    except OSError as exc:
        if exc.errno in FULL:
            raise StorageFullError(
                f"the disk is full: '{path}' was not written; the previous file, if any, is "
                f"unchanged"
            ) from exc
        if exc.errno in DENIED:
            raise AccessDeniedError(
                f"'{path}' cannot be written: {exc.strerror}; check the permissions of its "
                f"directory"
            ) from exc
        raise


def _open_special(path: str) -> BinaryIO | None:
    """Open a pipe, a device or an open file; return None if the path is none of these.

    Raises
    ------
    IsADirectoryError
    """
    name = os.path.abspath(path)
    for _ in range(_MAX_LINKS):
        if found := _OWN_DESCRIPTOR.fullmatch(name):
            return open(os.dup(int(found[1])), "wb")  # shares its position and mode
        if not os.path.islink(name):
            break
        name = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(name)))
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None  # creating the file raises the error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return None if stat.S_ISREG(mode) else open(path, "wb")


def write_private(path: str | os.PathLike[str], content: bytes, *, replace: bool) -> bool:
    """Write a file of mode 0600, synced to disk; return False if it exists and is kept."""
    target = os.path.realpath(path) if replace else os.path.abspath(path)
    with TemporaryFile(target, 0o600) as file:
        file.write(content)
        os.fsync(file.descriptor)
        if not replace:
            return file.link()
        file.replace()
        return True
