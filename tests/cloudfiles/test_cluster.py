"""Resumable transfers on the workers of dask.distributed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from cottoncandy.cloudfiles import CloudFiles, ResumableTransfer
from cottoncandy.exceptions import InvalidArgumentError, PartialFailureError

pytestmark = pytest.mark.server

FILES = {f"d{number % 5}/{number:03d}": str(number).encode() * 300 for number in range(300)}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": ":0",  # a free port; None is 8787
    }
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def ends(tmp_path: Path) -> tuple[str, str]:
    CloudFiles(str(tmp_path / "from")).puts(FILES.items(), compress="gzip")
    return str(tmp_path / "from"), str(tmp_path / "to")


def contents(path: str) -> dict[str, bytes]:
    cf = CloudFiles(path)
    return {file["path"]: file["content"] for file in cf.get(list(cf))}


@pytest.mark.slow
def test_each_file_is_copied_once(client: Any, ends: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "from" / "d1" / "001.gz").unlink()
    with ResumableTransfer(tmp_path / "job.db") as job:
        job.init(*ends, paths=list(FILES))
        assert job.execute(client=client, block_size=100) == len(FILES) - 1
        assert list(job.errors()) == ["d1/001"]
    assert contents(ends[1]) == {name: body for name, body in FILES.items() if name != "d1/001"}
    assert not list(tmp_path.glob("job.db*"))


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing(
    client: Any, ends: tuple[str, str], tmp_path: Path
) -> None:
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.3):
            pids = list(client.run(os.getpid).values())
            os.kill(pids[0], signal.SIGKILL)
            return

    killer = threading.Thread(target=kill)
    with ResumableTransfer(tmp_path / "job.db") as job:
        job.init(*ends)
        killer.start()
        try:
            copied = job.execute(client=client, block_size=10)
        finally:
            stop.set()
            killer.join()
        assert copied == len(FILES)
    assert contents(ends[1]) == FILES
    assert not list(tmp_path.glob("job.db*"))


@pytest.mark.slow
def test_files_that_fail_stay_in_the_queue(
    client: Any, ends: tuple[str, str], tmp_path: Path
) -> None:
    broken = tmp_path / "to" / "d0" / "000"
    broken.mkdir(parents=True)
    (broken / "in the way").write_bytes(b"")
    job = ResumableTransfer(tmp_path / "job.db")
    job.init(*ends, reencode=False)
    with pytest.raises(PartialFailureError, match="d0/000"):
        job.execute(client=client)
    assert len(job) == 1
    (broken / "in the way").unlink()
    assert job.execute(client=client) == 1
    job.close()
    assert contents(ends[1]) == FILES


class DyingCluster:
    """A client whose first task fails as dask's do whose workers die; the others succeed."""

    loop = None

    def __init__(self) -> None:
        self.cancelled: list[Future[Any]] = []

    def nthreads(self) -> dict[str, int]:
        return {"one": 1}

    def submit(self, function: Any, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.cancelled:
            future.set_result(function(*arguments))
        else:
            future.set_exception(RuntimeError("KilledWorker"))
        self.cancelled.append(future)
        return future

    def cancel(self, futures: list[Future[Any]]) -> None:
        assert futures == self.cancelled[-2:]


def test_files_of_workers_that_die_stay_in_the_queue(
    ends: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed, "as_completed", lambda futures, loop: list(futures))
    with ResumableTransfer(tmp_path / "job.db") as job:
        job.init(*ends)
        with pytest.raises(PartialFailureError, match="KilledWorker"):
            job.execute(client=DyingCluster())
        assert len(job) == 100
        assert job.execute() == 100
    assert contents(ends[1]) == FILES


@pytest.mark.parametrize("at", [0, 1])
def test_memory_is_not_that_of_the_workers(ends: tuple[str, str], tmp_path: Path, at: int) -> None:
    chosen = list(ends)
    chosen[at] = "mem://bucket/files"
    CloudFiles("mem://bucket/files").put("a", b"1")
    with ResumableTransfer(tmp_path / "job.db") as job:
        job.init(*chosen)
        with pytest.raises(InvalidArgumentError, match="mem://"):
            job.execute(client=DyingCluster())
        assert len(job) == (len(FILES) if at else 1)
