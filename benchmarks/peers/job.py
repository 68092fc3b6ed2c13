"""Shared by the workers of all peers: the job, the clock, the comparison.

A worker is a script with a dictionary of tasks. It reads jobs from standard input, one line of JSON
each, does them, and prints a line with the result of each. Only the block in ``job.measured()``
counts: not imports, not connecting, not the comparison afterwards. The tasks:

``up``, ``down``, ``local_up``, ``local_down``
    Store an array, and read it.
``put_many``, ``get_many``
    The same with many small objects.
``write_chunks``, ``read_chunks``, ``read_by_dask``, ``slice_chunks``
    A chunked array, whole and in thin slices.
``array_for_slices``, ``slice_array``
    Thin slices of what the library cuts best; each opens the array again.
``glob``, ``glob_narrow``, ``ls``, ``rm``
    All names; those of one directory in seven; that directory; remove all.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

MiB = 2**20
STATUS = "/proc/self/status"


class Job:
    """One task of one peer, with what the scenario and the driver say."""

    task: str
    name: str
    bucket: str
    endpoint: str
    access_key: str
    secret_key: str
    data: str = ""
    codec: str = "none"
    count: int = 0
    size: int = 8192
    peer: str = ""
    folder: str = ""
    warm_bytes: int = 16 * MiB

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)
        self.result: dict[str, float] = {}
        os.environ.update(
            AWS_ACCESS_KEY_ID=self.access_key,
            AWS_SECRET_ACCESS_KEY=self.secret_key,
            AWS_REGION="us-east-1",
            AWS_DEFAULT_REGION="us-east-1",
            AWS_EC2_METADATA_DISABLED="true",
        )

    @property
    def array(self) -> Any:
        """The array of the scenario."""
        return np.load(self.data)

    @property
    def rows(self) -> list[int]:
        """The rows of which a thin slice is read."""
        height = np.load(self.data, mmap_mode="r").shape[0]
        return [height * step // self.count for step in range(self.count)]

    def bodies(self) -> dict[str, bytes]:
        """Return many small bodies, no two equal."""
        return {f"{i:06d}": i.to_bytes(8, "little") * (self.size // 8) for i in range(self.count)}

    def arrays(self) -> dict[str, Any]:
        """Return the same bodies as arrays."""
        return {name: np.frombuffer(body, "i8") for name, body in self.bodies().items()}

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the block: wall time, processor time, and the rise of the peak memory."""
        if self.data and os.path.exists(STATUS):
            use_memory(3 * os.path.getsize(self.data))
        gc.collect()
        held = memory("VmRSS")
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # forget the peak
        cpu, start = _cpu(), time.perf_counter()
        yield
        self.result["seconds"] = time.perf_counter() - start
        self.result["cpu"] = _cpu() - cpu
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        self.result["memory"] = max(memory("VmHWM") - held, children)

    def check(self, found: Any) -> None:
        """Compare a whole array with what was stored."""
        self.check_equal(np.asarray(found), self.array)

    def check_rows(self, found: list[Any]) -> None:
        """Compare thin slices."""
        array = np.load(self.data, mmap_mode="r")
        for row, part in zip(self.rows, found):  # noqa: B905 - every Python
            self.check_equal(np.asarray(part).reshape(-1), np.asarray(array[row]).reshape(-1))

    def check_bodies(self, found: dict[str, Any]) -> None:
        """Compare many small bodies, or arrays, by the ends of their names."""
        named = {name.rstrip("/").split("/")[-1]: bytes(value) for name, value in found.items()}
        if named != self.bodies():
            raise SystemExit(f"{self.peer}: the small objects differ from those that were stored")

    def check_count(self, found: int, expected: int | None = None) -> None:
        """Compare a number of names."""
        if found != (self.count if expected is None else expected):
            raise SystemExit(
                f"{self.peer}: {found} names, not {self.count if expected is None else expected}"
            )

    def check_equal(self, found: Any, expected: Any) -> None:
        """Compare two arrays: dtype, shape, values."""
        same = found.dtype == expected.dtype and found.shape == expected.shape
        if not same or not np.array_equal(found, expected):
            raise SystemExit(f"{self.peer}: the array differs from the one that was stored")

    def write_files(self) -> str:
        """Write the small bodies as files, for tools that move files; return the directory."""
        folder = os.path.join(self.folder, "small")
        os.makedirs(folder, exist_ok=True)
        for name, body in self.bodies().items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(body)
        return folder


def in_threads(function: Callable[[Any], Any], items: Any, threads: int = 16) -> list[Any]:
    """Return the results of many calls, some at a time."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def main(tasks: dict[str, Callable[[Job], None]]) -> None:
    """Do the jobs on standard input."""
    for line in sys.stdin:
        job = Job(json.loads(line))
        with contextlib.redirect_stdout(sys.stderr):  # 0.4.0 prints
            tasks[job.task](job)
        print(json.dumps(job.result), flush=True)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def use_memory(nbytes: int) -> None:
    """Allocate and free memory, for the client and a server that keeps objects in memory.

    A virtual machine returns free memory to its host. To get it again takes up to 2 s for 256 MiB,
    more than the tasks here, and whether it must depends on what ran before.
    """
    np.ones(nbytes, "u1")


def memory(field: str) -> float:
    """Return a field of this process's status, in MiB; the peak if there is none."""
    try:
        with open(STATUS) as file:
            found = next(line for line in file if line.startswith(field))
        return int(found.split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
