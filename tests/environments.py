"""Virtual environments that tests build once, for programs with conflicting requirements.

Moto's server requires a newer cryptography than pydrive2 (an optional extra) allows, and the
predecessor's requirements contradict ours, so each runs in a separate environment, in a cache:
``$COTTONCANDY_TEST_CACHE``, else the user's cache directory. Delete it to build them again. Each is
built when a test first wants it; ``python -m tests.environments`` builds all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

__all__ = [
    "CLOUD_FILES",
    "COTTONCANDY_040",
    "GCS_EMULATOR",
    "MOTO",
    "ORIGINAL_ENVIRONMENT",
    "Environment",
    "EnvironmentUnavailableError",
]

#: The process's environment before any test isolated itself: what pip and servers run with.
ORIGINAL_ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
}

_MARK = "complete"

# pip's messages when it cannot reach the index, as opposed to: the index lacks the package.
_OFFLINE_SIGNS = (
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Name or service not known",
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ProxyError",
    "Network is unreachable",
    "Connection refused",
)


class EnvironmentUnavailableError(Exception):
    """The package index is out of reach, so the environment can't be built now."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with some requirements, built when its interpreter is first wanted.

    Parameters
    ----------
    name : str
        Names the directory in the cache.
    requirements : tuple of str
        What pip installs. A change of these, or of Python, makes another environment.
    base : str, optional
        The Python that it is made with. Default: this one.
    """

    name: str
    requirements: tuple[str, ...]
    base: str = sys.executable

    @property
    def directory(self) -> Path:
        """Where the environment is, or would be."""
        version = sys.version if self.base == sys.executable else self.base
        identity = "\n".join([*self.requirements, version, platform.machine()])
        digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
        return _cache_directory() / f"{self.name}-{digest}"

    def python(self) -> Path:
        """Return the environment's interpreter; the first call builds it (half a minute).

        Raises
        ------
        EnvironmentUnavailableError
            If the package index is out of reach.
        """
        directory = self.directory
        if not (directory / _MARK).exists():
            directory.parent.mkdir(parents=True, exist_ok=True)
            with directory.with_suffix(".lock").open("w") as lock, _locked(lock):
                # Another process may have built it while this one waited.
                if not (directory / _MARK).exists():
                    self._build(directory)
        return _interpreter(directory)

    def _build(self, directory: Path) -> None:
        """Build in place, because environments can't be moved; the mark comes last."""
        shutil.rmtree(directory, ignore_errors=True)
        _run([self.base, "-m", "venv", str(directory)])
        command = [str(_interpreter(directory)), "-m", "pip", "install"]
        command += ["--quiet", "--disable-pip-version-check", "--no-input"]
        _run([*command, *self.requirements])
        (directory / _MARK).write_text("\n".join(self.requirements))


MOTO = Environment("moto", ("moto[server]==5.2.5",))

GCS_EMULATOR = Environment("gcp-storage-emulator", ("gcp-storage-emulator==2026.7.19",))

CLOUD_FILES = Environment("cloud-files", ("cloud-files==6.4.3",))

COTTONCANDY_040 = Environment(
    "cottoncandy-0.4.0", ("cottoncandy==0.4.0", "scipy", "dask[array]", "numcodecs")
)


def _cache_directory() -> Path:
    """Return the root of the cache, wherever a test has moved HOME to."""
    chosen = ORIGINAL_ENVIRONMENT.get("COTTONCANDY_TEST_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = ORIGINAL_ENVIRONMENT.get("LOCALAPPDATA", "")
    else:
        base = ORIGINAL_ENVIRONMENT.get("XDG_CACHE_HOME", "")
    home = ORIGINAL_ENVIRONMENT.get("HOME") or ORIGINAL_ENVIRONMENT.get("USERPROFILE") or "."
    return (Path(base) if base else Path(home) / ".cache") / "cottoncandy-tests"


def _interpreter(directory: Path) -> Path:
    if sys.platform == "win32":
        return directory / "Scripts" / "python.exe"
    return directory / "bin" / "python"


def _run(command: list[str]) -> None:
    result = subprocess.run(
        command,
        env=ORIGINAL_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode == 0:
        return
    message = f"{' '.join(command)} failed:\n{result.stdout}"
    if any(sign in result.stdout for sign in _OFFLINE_SIGNS):
        raise EnvironmentUnavailableError(message)
    raise RuntimeError(message)


@contextlib.contextmanager
def _locked(file: IO[str]) -> Iterator[None]:
    """Hold an exclusive lock on an open file; it goes with the process, however that ends."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        try:
            yield
        finally:
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


if __name__ == "__main__":
    for environment in (MOTO, GCS_EMULATOR, CLOUD_FILES, COTTONCANDY_040):
        print(environment.python())
