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
    # Parts of a compressed array are gathered: on S3, six of 16 MiB at a time.
    limit, mib = (64, 512) if compression is None else (160, 256)
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


STREAM = """
import random, sys
import cottoncandy
from tests.interfaces.memory_probe import MiB, peak_bytes, reset_peak
cci = cottoncandy.get_interface(sys.argv[1], backend="local", verbose=False)
rng = random.Random(0)
with cci.open("large") as file:  # loads what is loaded lazily
    file.read(MiB)
reset_peak()
before = peak_bytes()
with cci.open("large", block_size=int(sys.argv[2])) as file:
    for _ in range(200 * MiB // int(sys.argv[2])):
        file.seek(rng.randrange(file.size))
        file.read(1000)
    for start in (0, file.size // 2):
        file.seek(start)
        while file.tell() < start + file.size // 4:
            assert file.read(rng.choice((10_000, MiB // 2)))
print(peak_bytes() - before)
"""


@pytest.mark.parametrize("block_bytes", [2**16, 2**20])
def test_open_files_take_64_mib(tmp_path: Path, block_bytes: int) -> None:
    """Read here and there, which fills the blocks that are kept, then in a row."""
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 256 * MiB)
    done = subprocess.run(
        [sys.executable, "-c", STREAM, str(tmp_path), str(block_bytes)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 64 * MiB
