"""Files on the user's disk, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cottoncandy.exceptions import StorageFullError

try:
    import fcntl
except ImportError:  # Windows; what a killed process leaves stays there
    fcntl = None  # type: ignore[assignment]  # asked for wherever it is used

__all__ = ["atomic_write"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_MAX_NAME_BYTES = 200  # systems take 255, and the part's name is longer than the file's


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when the block ends without an error.

    Until then it is a part beside it (``.name.0.cottoncandy-part``), which an error removes. What
    was under the name before stays whole. A process that is killed leaves its part, and the next
    one to write under the same name removes it: parts are locked while somebody writes them.

    Raises
    ------
    StorageFullError
        If the disk or the quota is exhausted.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    # The directory of what a symlink points to: replacing the link itself would surprise.
    target = Path(os.path.realpath(target))
    part, file = _opened(target)
    # It holds the lock until the part is no part any more, and so after the file was closed.
    lock = os.dup(file.fileno()) if fcntl else None
    try:
        with file:
            yield file
        part.replace(target)
    except BaseException as exc:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(exc, OSError) and exc.errno in _FULL:
            raise StorageFullError(
                f"the disk is full: '{target}' was not written, and what was there is unchanged"
            ) from exc
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _opened(target: Path) -> tuple[Path, BinaryIO]:
    """Open the first part that nobody writes; an error names the file that the user asked for."""
    parts = _parts(target)
    for part in parts:
        _remove_dead(part)
        try:
            file = part.open("xb")
        except FileExistsError:
            continue  # somebody writes it
        except OSError as exc:
            raise type(exc)(exc.errno, exc.strerror, str(target)) from None
        if _locked(file.fileno(), part):
            break
        file.close()  # somebody took it for dead before it was locked
    # Processes that wrote at the same time may all have been killed.
    while _remove_dead(next(parts)):
        pass
    return part, file


def _parts(target: Path) -> Iterator[Path]:
    """Yield what the parts of a file may be called."""
    name = os.fsencode(target.name)[:_MAX_NAME_BYTES].decode(errors="ignore")
    for number in itertools.count():
        yield target.with_name(f".{name}.{number}.cottoncandy-part")


def _locked(descriptor: int, part: Path) -> bool:
    """Lock an open part; False if it is somebody else's, or was removed by somebody."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), part.lstat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return True  # a file system without locks: nobody else gets one either


def _remove_dead(part: Path) -> bool:
    """Remove a part that nobody writes any more; tell whether there was one."""
    if fcntl is None:
        return False
    try:
        # Whatever else has that name (a link, a pipe) is not ours, and shall not hold us up.
        descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), part.lstat()):
            part.unlink()
    except OSError:
        return False  # somebody writes it, or it is another user's
    else:
        return True
    finally:
        os.close(descriptor)
