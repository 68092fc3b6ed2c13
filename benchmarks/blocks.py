"""Time arrays in gzip, whole and in part, on the memory backend: no network, only the codec.

    python benchmarks/blocks.py [--mebibytes 64] [--threads 1 2 4] [--rounds 5]

prints the median of the rounds for each kind of data and number of threads: size in percent,
wall time and CPU seconds of upload and download, and what a slice of one row costs.
Measure on an idle machine; CPU seconds matter more than wall time otherwise.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import cottoncandy as cc


def arrays(nbytes: int) -> dict[str, Any]:
    """Return noise, a walk and counts of that size."""
    rng = np.random.default_rng(0)
    return {
        "float64 noise": rng.standard_normal(nbytes // 8),
        "float32 walk": rng.standard_normal(nbytes // 4).cumsum().astype("f4"),
        "int16 counts": rng.poisson(100, nbytes // 2).astype("i2"),
    }


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return wall time and CPU time of a call, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(cci: Any, array: Any, threads: int, rounds: int) -> str:
    """Return the columns of one row of the table."""
    calls: dict[str, Callable[[], object]] = {
        "upload": lambda: cci.upload_raw_array("array", array, threads=threads),
        "download": lambda: cci.download_raw_array("array", threads=threads),
        "slice": lambda: cci.download_raw_array("array", selection=len(array) // 2),
    }
    found = {name: [timed(call) for _ in range(rounds)] for name, call in calls.items()}
    assert np.array_equal(cci.download_raw_array("array"), array)
    size = cci.backend_interface.head("array").size / array.nbytes
    wall = {name: statistics.median(each[0] for each in times) for name, times in found.items()}
    cpu = {name: statistics.median(each[1] for each in times) for name, times in found.items()}
    return (
        f"{size:.1%} | {wall['upload']:.2f} ({cpu['upload']:.2f}) | "
        f"{wall['download']:.2f} ({cpu['download']:.2f}) | {wall['slice'] * 1000:.1f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mebibytes", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cci = cc.get_interface("benchmark", backend="memory", verbose=False)
    print("| data | threads | size | upload s (CPU) | download s (CPU) | slice ms |")
    print("|---|---|---|---|---|---|")
    for name, array in arrays(options.mebibytes * 2**20).items():
        for threads in options.threads:
            columns = measure(cci, array.reshape(-1, 1024), threads, options.rounds)
            print(f"| {name} | {threads} | {columns} |")


if __name__ == "__main__":
    main()
