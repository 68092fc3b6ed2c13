"""Writers and readers of one array in separate processes."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.environments import ORIGINAL_ENVIRONMENT
from tests.servers.base import wait_until

pytestmark = pytest.mark.server

_SECONDS = float(ORIGINAL_ENVIRONMENT.get("COTTONCANDY_RACE_SECONDS", "3"))


def _write(arguments: dict[str, Any], number: int, seconds: float, results: Any) -> None:
    results.put(_guarded(_writes, arguments, number, seconds))


def _read(arguments: dict[str, Any], number: int, seconds: float, results: Any) -> None:
    results.put(_guarded(_reads, arguments, number, seconds))


def _guarded(function: Any, arguments: dict[str, Any], number: int, seconds: float) -> Any:
    import cottoncandy

    try:
        return function(cottoncandy.get_interface(**arguments), number, seconds)
    except BaseException as error:  # reported by the parent
        return f"{type(error).__name__}: {error}"


def _writes(cci: Any, number: int, seconds: float) -> int:
    from scipy import sparse

    matrix = sparse.csr_array(np.eye(6))
    end, count = time.monotonic() + seconds, 0
    while count < 3 or time.monotonic() < end:
        value = number * 1_000_000.0 + count
        cci.upload_dask_array("array", np.full((6, 10), value), axis=0, buffersize=160, threads=2)
        matrix.data[:] = value
        cci.upload_sparse_array("sparse", matrix, threads=2)
        count += 1
    return count


def _reads(cci: Any, number: int, seconds: float) -> int:
    end, count = time.monotonic() + seconds, 0
    while count < 3 or time.monotonic() < end:
        for name in ("array", "sparse"):
            found = cci[name]
            values = found if isinstance(found, np.ndarray) else found.data
            if not (values == values.flat[0]).all():
                raise AssertionError(f"{name} is mixed: {values}")
        count += 1
    return count


@pytest.mark.slow
@pytest.mark.parametrize("store", ["local", "moto", "ceph"], indirect=True)
def test_readers_and_writers_in_processes_never_see_a_mixture(store: Any) -> None:
    arguments = {
        "bucket_name": store.bucket,
        "backend": store.backend_name,
        "verbose": False,
        **store.connection(),
    }
    _writes(store.interface(), 9, 0)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=function, args=(arguments, number, _SECONDS, results), daemon=True)
        for number, function in enumerate((_write, _write, _read, _read))
    ]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=_SECONDS * 3 + 120) for _ in processes]
    for process in processes:
        process.join(60)
    assert all(isinstance(outcome, int) and outcome >= 3 for outcome in outcomes), outcomes


META = np.empty((0, 0))  # else dask runs the function in this process, to see what it returns


def _increment(block: np.ndarray, gate: Path) -> np.ndarray:
    """Add 1 when the gate is open; a file next to it names the process that waits."""
    (gate.parent / f"worker-{os.getpid()}").touch()
    while not gate.exists():
        time.sleep(0.01)
    return block + 1


def _kill_one_that_waits(gate: Path) -> int:
    """Kill a worker in the middle of a block, and let the others continue; return which."""
    wait_until(lambda: any(gate.parent.glob("worker-*")), "a block", timeout_s=120)
    victim = int(next(gate.parent.glob("worker-*")).name.partition("-")[2])
    os.kill(victim, signal.SIGKILL)
    gate.touch()
    return victim


@pytest.mark.slow
@pytest.mark.parametrize("store", ["local"], indirect=True)
def test_a_worker_that_is_killed_and_a_run_that_is_cancelled(store: Any, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    gates = [tmp_path / name / "gate" for name in ("killed", "cancelled")]
    for gate in gates:
        gate.parent.mkdir()
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster) as client,
        ThreadPoolExecutor(1) as killer,
    ):
        cci = store.interface()
        cci.upload_dask_array("a", np.zeros((40, 1000)), axis=0, buffersize=8000)
        before = cci.download_dask_array("a")
        killed = killer.submit(_kill_one_that_waits, gates[0])
        cci.upload_dask_array("a", before.map_blocks(_increment, gates[0], meta=META))
        killed.result()
        assert (cci["a"] == 1).all()
        lazy = before.map_blocks(_increment, gates[1], meta=META)
        task = cci.upload_dask_array("a", lazy + 1, compute=False)
        future = client.compute(task)
        wait_until(lambda: any(gates[1].parent.glob("worker-*")), "a block", timeout_s=120)
        future.cancel()
        assert (cci["a"] == 1).all()
        gates[1].touch()
        response = task.compute()
        assert response["ETag"] == cci.info("a").etag
        assert (cci["a"] == 2).all()


@pytest.mark.slow
@pytest.mark.parametrize("store", ["local"], indirect=True)
def test_a_worker_that_is_killed_while_it_reads(store: Any, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    array = np.arange(40_000.0).reshape(40, 1000)
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster),
        ThreadPoolExecutor(1) as killer,
    ):
        cci = store.interface()
        cci.upload_dask_array("a", array, axis=0, buffersize=8000)
        lazy = cci.download_dask_array("a").map_blocks(_increment, tmp_path / "gate", meta=META)
        killed = killer.submit(_kill_one_that_waits, tmp_path / "gate")
        np.testing.assert_array_equal(lazy.compute(), array + 1)
        assert (tmp_path / f"worker-{killed.result()}").exists()


@pytest.mark.slow
@pytest.mark.parametrize("store", ["ceph"], indirect=True)
def test_the_example_of_a_cluster_runs_within_the_memory_of_its_workers(store: Any) -> None:
    pytest.importorskip("distributed")
    root = Path(__file__).parents[2]
    connection = store.connection()
    keys = {
        "AWS_ACCESS_KEY_ID": connection["ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": connection["SECRET_KEY"],
    }
    command = [sys.executable, str(root / "examples" / "distributed.py")]
    command += ["--bucket", store.bucket, "--endpoint-url", connection["endpoint_url"]]
    done = subprocess.run(
        command,
        env=os.environ | keys | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "mean -0.000" in done.stdout or "mean 0.000" in done.stdout
    (seen,) = re.findall(r"scheduler saw in all workers: (\d+) MiB", done.stdout)
    assert int(seen) < 2 * 384, done.stdout
    assert store.raw_keys() == []
