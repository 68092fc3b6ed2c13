"""Run as a program: upload or download one array, and print by how much memory rose at its peak.

    python -m tests.interfaces.memory_probe {up,down} COMPRESSION MIB BUCKET OPTIONS

OPTIONS are a factory's, as JSON. The rise is that of the process's peak resident memory, less the
array itself where it is made by the operation.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil

MiB = 2**20


def reset_peak() -> None:
    """Reset the peak, if the system can."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def peak_bytes() -> int:
    """Return the highest resident memory so far.

    The kernel's own peak, if it has one: that of ``getrusage`` includes the peak of the parent
    process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make(mib: int) -> np.ndarray:
    """Return an array whose every page is in memory, and which compresses a little."""
    array = np.empty(mib * MiB // 4, np.float32)
    block = np.random.default_rng(0).standard_normal(MiB // 4).astype(np.float32)
    for start in range(0, len(array), len(block)):
        array[start : start + len(block)] = block
        array[start] = start
    return array


def main(direction: str, compression: str, mib: str, bucket: str, options: str) -> None:
    """Do it."""
    import cottoncandy

    arguments: dict[str, Any] = json.loads(options)
    if arguments.pop("encrypted", False):
        factory = cottoncandy.get_encrypted_interface
    else:
        factory = cottoncandy.get_interface
    cci = factory(bucket, verbose=False, **arguments)
    codec = None if compression == "None" else compression
    size = int(mib) * MiB
    # Loads what is loaded lazily, and opens connections.
    cci.upload_raw_array("warm", np.zeros(3 * MiB), compression=codec)
    cci.download_raw_array("warm")
    if direction == "up":
        array = make(int(mib))
        reset_peak()
        before = psutil.Process().memory_info().rss
        cci.upload_raw_array("large", array, compression=codec)
        rise = peak_bytes() - before
    else:
        reset_peak()
        before = psutil.Process().memory_info().rss
        array = cci.download_raw_array("large")
        rise = peak_bytes() - before - size
        assert array.nbytes == size
        assert array[MiB // 4] == MiB // 4
    print(rise)


if __name__ == "__main__":
    main(*sys.argv[1:])
