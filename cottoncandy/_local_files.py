"""Files on the user's disk, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cottoncandy.exceptions import StorageFullError

__all__ = ["atomic_write"]

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when the block ends without an error.

    Until then it is a temporary file in the same directory, which an error removes. What was under
    the name before stays whole.

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
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with _opened(temporary, target) as file:
            yield file
        temporary.replace(target)
    except BaseException as exc:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(exc, OSError) and exc.errno in _FULL:
            raise StorageFullError(
                f"the disk is full: '{target}' was not written, and what was there is unchanged"
            ) from exc
        raise


def _opened(temporary: Path, target: Path) -> BinaryIO:
    """Open the temporary file; an error names the file that the user asked for."""
    try:
        return temporary.open("xb")
    except OSError as exc:
        raise type(exc)(exc.errno, exc.strerror, str(target)) from None
