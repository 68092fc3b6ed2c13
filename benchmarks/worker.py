"""One timed task with the interpreter's cottoncandy, which is 0.4.0 or this version.

Run by ``compare.py``: reads a JSON job from standard input, prints a JSON result as the last line
of standard output. Only the operation is timed, not imports, connecting or making the data.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

MB = 10**6


def bold_like(nbytes: int) -> np.ndarray:
    """Return counts as float32, with the sort of repetition that scanner data has."""
    rng = np.random.default_rng(0)
    block = rng.poisson(800, 2**20).astype(np.float32)
    return np.resize(block, nbytes // 4)


def timed(operation: Callable[[], Any]) -> dict[str, float]:
    """Run an operation; return seconds by the clock and of this process's processors."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    operation()
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu}


def upload_default(cci: Any, job: dict[str, Any]) -> dict[str, float]:
    """Upload an array as ``upload_raw_array(name, array)`` does by default."""
    array = bold_like(job["nbytes"])
    return timed(lambda: cci.upload_raw_array(job["name"], array))


def upload_uncompressed(cci: Any, job: dict[str, Any]) -> dict[str, float]:
    """Upload an array without compression."""
    array = bold_like(job["nbytes"])
    return timed(lambda: cci.upload_raw_array(job["name"], array, compression=False))


def download(cci: Any, job: dict[str, Any]) -> dict[str, float]:
    """Download an array."""
    return timed(lambda: cci.download_raw_array(job["name"]))


def upload_small(cci: Any, job: dict[str, Any]) -> dict[str, float]:
    """Upload small arrays, as a loop in a notebook does."""
    arrays = [np.full(1000, i) for i in range(job["count"])]

    def upload() -> None:
        for number, array in enumerate(arrays):
            cci.upload_raw_array(f"{job['name']}/{number}", array)

    return timed(upload)


def download_small(cci: Any, job: dict[str, Any]) -> dict[str, float]:
    """Download small arrays, as a loop in a notebook does."""
    names = [f"{job['name']}/{number}" for number in range(job["count"])]
    return timed(lambda: [cci.download_raw_array(name) for name in names])


def dict2cloud(cci: Any, job: dict[str, Any]) -> dict[str, float]:
    """Upload many small arrays."""
    arrays = {f"array{i:05d}": np.full(1000, i) for i in range(job["count"])}
    return timed(lambda: cci.dict2cloud(job["name"], arrays, verbose=False))


def cloud2dict(cci: Any, job: dict[str, Any]) -> dict[str, float]:
    """Download many small arrays."""
    found: dict[str, Any] = {}
    result = timed(lambda: found.update(cci.cloud2dict(job["name"], verbose=False)))
    if len(found) != job["count"]:
        raise SystemExit(f"{len(found)} arrays were downloaded, of {job['count']}")
    return result


def glob(cci: Any, job: dict[str, Any]) -> dict[str, float]:
    """Find many keys."""
    found: list[str] = []
    result = timed(lambda: found.extend(cci.glob(job["name"] + "/*")))
    if len(found) != job["count"]:
        raise SystemExit(f"{len(found)} keys were found, of {job['count']}")
    return result


def remove(cci: Any, job: dict[str, Any]) -> dict[str, float]:
    """Remove a branch of many objects."""
    return timed(lambda: cci.rm(job["name"], recursive=True))


TASKS = {
    task.__name__: task
    for task in (
        upload_default,
        upload_uncompressed,
        upload_small,
        download,
        download_small,
        dict2cloud,
        cloud2dict,
        glob,
        remove,
    )
}


def main() -> None:
    """Do the job."""
    job = json.load(sys.stdin)
    with contextlib.redirect_stdout(io.StringIO()):
        import cottoncandy

        cci = cottoncandy.get_interface(verbose=False, **job["connection"])
        # Lazy imports are loaded now; connections are open, also those that only
        # large arrays take.
        for size in (10, 2 * 2**20):
            cci.upload_raw_array("warm-up", np.zeros(size), compression=False)
            cci.download_raw_array("warm-up")
        result = TASKS[job["task"]](cci, job)
    print(json.dumps(result | {"version": cottoncandy.__version__}))


if __name__ == "__main__":
    main()
