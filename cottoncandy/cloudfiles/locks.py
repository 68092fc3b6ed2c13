"""Locks between the processes that access files on disk, for those who ask for them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cottoncandy.cloudfiles.secrets import cloud_files_dir
from cottoncandy.core.files import lock, open_lockable, unlock

__all__ = ["Locks"]


@dataclass(frozen=True, slots=True)
class Locks:
    """Lock files in one folder, one for each file that was locked.

    Files are replaced atomically, so locks are not needed to read whole ones. They serve programs
    that read a file, change it and write it back.
    """

    folder: str
    enabled: bool

    @classmethod
    def of(cls, folder: str | None, wanted: bool | None) -> Self:
        """Resolve the arguments and the environment; ``wanted`` None means if a folder is set."""
        chosen = folder or os.environ.get("CLOUD_FILES_LOCK_DIR")
        enabled = wanted is True or (wanted is None and bool(chosen))
        return cls(str(chosen or cloud_files_dir() / "locks"), enabled)

    @contextmanager
    def held(self, cloudpath: str, path: str, *, shared: bool = False) -> Iterator[None]:
        """Hold the lock of a file; many may share it."""
        if not self.enabled:
            yield
            return
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(f"{cloudpath}/{path}".encode(errors="surrogateescape")).hexdigest()
        descriptor = open_lockable(f"{self.folder}/{digest}.lock", os.O_RDWR | os.O_CREAT)
        try:
            lock(descriptor, shared=shared)
            yield
        finally:
            unlock(descriptor)

    def clear(self) -> None:
        """Remove the lock files."""
        for path in Path(self.folder).glob("*.lock"):
            path.unlink(missing_ok=True)
