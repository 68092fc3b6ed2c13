"""What scenarios need: arrays in files, a server, a slow line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tests.servers import S3Server

__all__ = ["array_file", "server", "slow_line"]


def array_file(folder: Path, kind: str, mib: int) -> Path:
    """Return the file with an array, which all peers load."""
    path = folder / f"{kind}-{mib}.npy"
    if path.exists():
        return path
    rng, nbytes = np.random.default_rng(0), mib * 2**20
    array: Any
    if kind == "noise":
        array = rng.standard_normal(nbytes // 8)
    elif kind == "walk":
        array = rng.standard_normal(nbytes // 4, dtype="f4").cumsum(dtype="f4")
    elif kind == "counts":
        array = rng.poisson(100, nbytes // 2).astype("i2")
    else:
        array = rng.random(nbytes, dtype="f4") < 0.1
    np.save(path, array.reshape(-1, 1024))
    return path


@contextmanager
def slow_line(place: S3Server) -> Iterator[S3Server]:
    """Give a server at the end of a slow line."""
    host, port = place.address
    command = [sys.executable, Path(__file__).with_name("line.py"), host, str(port)]
    relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert relay.stdout
        yield place.at(f"http://127.0.0.1:{int(relay.stdout.readline())}")
    finally:
        relay.communicate(timeout=10)


@contextmanager
def server(name: str, folder: Path) -> Iterator[S3Server]:
    """Give the server that was named: one that is started, or that of a URL."""
    started: Any
    if name == "ceph":
        from tests.servers.ceph import CephServer

        started = CephServer()
    elif name == "moto":
        from tests.servers.moto import MotoServer

        started = MotoServer(folder)
    else:
        url = urlsplit(name)
        key = url.username or os.environ["AWS_ACCESS_KEY_ID"]
        secret = url.password or os.environ["AWS_SECRET_ACCESS_KEY"]
        yield S3Server(f"{url.scheme}://{url.netloc.rpartition('@')[2]}", key, secret)
        return
    try:
        yield started.users[0]
    finally:
        started.stop()
