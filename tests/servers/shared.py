"""A server that the worker processes of a test run share."""

from __future__ import annotations

import fcntl
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.servers.base import S3Server

__all__ = ["SharedServer"]


class _Server(Protocol):
    #: Its address, with the keys of each user.
    users: tuple[S3Server, ...]

    def stop(self) -> None: ...


class SharedServer:
    """A server that the first worker starts, and stops after the last one has finished.

    Parameters
    ----------
    start : callable
        Starts the server; called unless another worker has done so.
    path : Path
        Names the files by which the workers find each other, in a directory of the test run.
    """

    def __init__(self, start: Callable[[], _Server], path: Path) -> None:
        self._address = path.with_suffix(".address")
        # Each worker holds a shared lock while it uses the server. Locks end with their process.
        self._users = path.with_suffix(".users").open("w")
        self._started: _Server | None = None
        with path.with_suffix(".start").open("w") as start_lock:
            fcntl.flock(start_lock, fcntl.LOCK_EX)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            if self._address.exists():
                self.users = pickle.loads(self._address.read_bytes())
            else:
                self._started = start()
                self.users = self._started.users
                self._address.write_bytes(pickle.dumps(self.users))

    def stop(self) -> None:
        """End the use. The worker that started the server waits for the others and stops it."""
        if self._started:
            fcntl.flock(self._users, fcntl.LOCK_EX)
            self._address.unlink()
            self._started.stop()
        self._users.close()
