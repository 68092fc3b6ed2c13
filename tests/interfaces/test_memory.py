"""How much memory a large array takes beyond itself, measured in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.server

pytest.importorskip("psutil")

MiB = 2**20
ROOT = Path(__file__).parents[2]


def rise(direction: str, compression: Any, mib: int, store: Any, **options: Any) -> float:
    """Return the rise of the peak memory in MiB."""
    arguments = {"backend": store.backend_name, **store.connection(), **options}
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.interfaces.memory_probe",
            direction, str(compression), str(mib), store.bucket, json.dumps(arguments),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / MiB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("store", "compression"),
    [("local", None), ("local", "gzip"), ("local", "Zstd"), ("ceph", None), ("ceph", "gzip")],
    indirect=["store"],
)
def test_large_arrays_take_the_array_and_a_little(store: Any, compression: Any) -> None:
    limit, mib = (64, 512) if compression is None else (80, 256)
    assert rise("up", compression, mib, store) <= limit
    assert rise("down", compression, mib, store) <= limit


@pytest.mark.slow
@pytest.mark.parametrize("store", ["local", "ceph"], indirect=True)
def test_encryption_takes_no_more(store: Any) -> None:
    options = {
        "encrypted": True,
        "encryption": "AES",
        "encryptionKey": "YW4gb2J2aW91c2x5IGZha2Uga2V5LCAzMiBieXRlcyE=",
    }
    limit = 32 if store.backend_name == "local" else 96
    assert rise("up", None, 256, store, **options) <= limit
    assert rise("down", None, 256, store, **options) <= limit


@pytest.mark.slow
@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_a_hundred_megabytes_take_no_second_copy(store: Any) -> None:
    assert rise("up", None, 128, store) <= 72
    assert rise("down", None, 128, store) <= 72
