"""Moto's server: S3 with ACLs in one process, on every platform. It checks no credentials."""

from __future__ import annotations

import re
from pathlib import Path

from tests.environments import MOTO
from tests.servers.base import ManagedProcess, S3Server, ServerError, wait_until

__all__ = ["MotoServer"]

_RUNNING = re.compile(rb"Running on http://127\.0\.0\.1:(\d+)")


class MotoServer:
    """Moto's server as a child process, ready when the constructor returns.

    Parameters
    ----------
    directory : Path
        Takes the log.
    """

    def __init__(self, directory: Path) -> None:
        self.log = directory / "moto.log"
        # Port 0: the system chooses, so no other process can take it; the server logs the number.
        command = [MOTO.python(), "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        self._process = ManagedProcess(command, self.log)
        try:
            wait_until(self._is_ready, "moto's start")
        except ServerError as error:
            self.stop()
            raise ServerError(f"{error}\n{self._process.log_tail()}") from error
        port = int(self._port_line())
        self.users = (
            S3Server(f"http://127.0.0.1:{port}", "FAKEMOTOACCESSKEY", "FAKE-MOTO-SECRET-KEY"),
        )

    def stop(self) -> None:
        """End the process."""
        self._process.stop()

    def _port_line(self) -> bytes:
        found = _RUNNING.search(self.log.read_bytes())
        return found[1] if found else b""

    def _is_ready(self) -> bool:
        self._process.check()
        return bool(self._port_line())
