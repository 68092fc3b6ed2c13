"""Transfers that are killed, shared and damaged."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cottoncandy
from cottoncandy.cloudfiles import CloudFiles, ResumableTransfer, resumable
from cottoncandy.exceptions import (
    ConfigurationError,
    IntegrityError,
    InvalidArgumentError,
    ObjectNotFoundError,
    PartialFailureError,
    StorageFullError,
    StoreError,
    UnsupportedOperationError,
)
from cottoncandy.transfer import queue as queue_module
from cottoncandy.transfer.queue import TransferQueue
from tests.processes import start
from tests.servers.base import wait_until


@pytest.fixture
def ends(tmp_path: Path) -> tuple[str, str]:
    return str(tmp_path / "from"), str(tmp_path / "to")


def fill(path: str, count: int) -> dict[str, bytes]:
    files = {f"d{n % 3}/{n:03d}": str(n).encode() * 50 for n in range(count)}
    CloudFiles(path).puts(files.items(), compress="gzip")
    return files


def contents(path: str) -> dict[str, bytes]:
    cf = CloudFiles(path)
    return {file["path"]: file["content"] for file in cf.get(list(cf))}


def test_transfer(ends: tuple[str, str], tmp_path: Path) -> None:
    files = fill(ends[0], 25)
    db = tmp_path / "job.db"
    with ResumableTransfer(db) as job:
        assert len(job) == 0
        job.init(*ends)
        job.init(*ends)
        assert len(job) == 25
        assert job.execute(block_size=4) == 25
        assert len(job) == 0
        assert job.execute() == 0
        assert db.exists()
    assert not list(tmp_path.glob("job.db*"))
    assert contents(ends[1]) == files
    assert CloudFiles(ends[1]).head("d0/000")["Content-Encoding"] == "gzip"


def test_paths_reencoding_and_documented_forms(ends: tuple[str, str], tmp_path: Path) -> None:
    fill(ends[0], 4)
    job = ResumableTransfer(tmp_path / "job.db", lease_msec=30000)
    paths = ["d0/000", {"path": "d1/001", "dest_path": "x"}]
    job.init(*ends, paths=paths, reencode="br")
    assert job.execute(str(tmp_path / "job.db"), lease_msec=1000) == 2
    assert job.execute(True) == 0
    job.close()
    assert list(CloudFiles(ends[1])) == ["d0/000", "x"]
    assert CloudFiles(ends[1]).head("x")["Content-Encoding"] == "br"
    with pytest.raises(InvalidArgumentError, match=r"other\.db"):
        job.execute("other.db")


def test_vanished_sources_are_reported(ends: tuple[str, str], tmp_path: Path) -> None:
    fill(ends[0], 5)
    job = ResumableTransfer(tmp_path / "job.db")
    job.init(*ends)
    CloudFiles(ends[0]).delete("d0/000")
    assert job.execute() == 4
    assert list(job.errors()) == ["d0/000"]
    job.close()
    assert not (tmp_path / "job.db").exists()


def test_a_missing_source_directory_leaves_the_queue(tmp_path: Path) -> None:
    """A disk that is not mounted, perhaps: its files are not gone."""
    source, db = tmp_path / "source", tmp_path / "job.db"
    files = fill(str(source), 5)
    with ResumableTransfer(db) as job:
        job.init(str(source), str(tmp_path / "dest"))
        source.rename(tmp_path / "elsewhere")
        with pytest.raises(PartialFailureError, match="stay in the queue"):
            job.execute()
    (tmp_path / "elsewhere").rename(source)
    with ResumableTransfer(db) as job:
        assert job.execute() == len(files)
    assert not db.exists()


def test_leases_are_renewed_while_files_are_copied(
    ends: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ends[0], 1)
    job = ResumableTransfer(tmp_path / "job.db", lease_msec=30)
    job.init(*ends)
    renewed, transfer = threading.Event(), CloudFiles._transfer

    def slow(self: Any, *arguments: Any) -> None:
        assert renewed.wait(30)
        transfer(self, *arguments)

    monkeypatch.setattr(CloudFiles, "_transfer", slow)
    monkeypatch.setattr(TransferQueue, "renew", lambda self, seconds: renewed.set())
    assert job.execute() == 1


def test_files_that_take_long_are_done_before_the_next_ones_are(
    ends: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ends[0], 5)
    job = ResumableTransfer(tmp_path / "job.db", num_threads=1)
    job.init(*ends)
    transfer, begun = CloudFiles._transfer, itertools.count()

    def full(*arguments: Any) -> None:
        if next(begun) == 3:
            raise StorageFullError("full")
        transfer(*arguments)

    monkeypatch.setattr(resumable, "_GROUP_S", -1)
    with monkeypatch.context() as patch:
        patch.setattr(CloudFiles, "_transfer", full)
        with pytest.raises(StorageFullError):
            job.execute()
    assert (len(job), job.execute()) == (2, 2)
    job.close()


def test_a_slow_file_does_not_delay_the_next_blocks(
    ends: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fill(ends[0], 9)
    job = ResumableTransfer(tmp_path / "job.db")
    job.init(*ends)
    transfer, last = CloudFiles._transfer, threading.Event()

    def slow(self: Any, route: Any, *rest: Any) -> None:
        if route.path == "d0/000":
            assert last.wait(60)
        transfer(self, route, *rest)
        if route.path == "d2/008":
            last.set()

    in_threads = partial(resumable.each, local=False)
    monkeypatch.setattr(resumable, "each", lambda *args, local, **rest: in_threads(*args, **rest))
    monkeypatch.setattr(CloudFiles, "_transfer", slow)
    assert job.execute(block_size=2) == 9
    job.close()
    assert contents(ends[1]) == files


def test_failed_files_stay_in_the_queue(
    ends: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fill(ends[0], 5)
    job = ResumableTransfer(tmp_path / "job.db")
    job.init(*ends)
    transfer = CloudFiles._transfer

    def failing(self: Any, route: Any, *rest: Any) -> None:
        if route.path == "d1/001":
            raise StoreError("no")
        transfer(self, route, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(CloudFiles, "_transfer", failing)
        with pytest.raises(PartialFailureError, match="'d1/001'"):
            job.execute(block_size=2)
    assert len(job) == 1
    job.close()
    assert job.execute() == 1
    job.close()
    assert contents(ends[1]) == files
    assert not (tmp_path / "job.db").exists()


def test_clients_do_not_wait_for_what_has_failed_in_another(
    ends: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ends[0], 2)
    jobs = [ResumableTransfer(tmp_path / "job.db") for _ in range(2)]
    jobs[0].init(*ends)
    both, calls, waits = threading.Barrier(2), itertools.count(), itertools.count()

    def failing(*arguments: Any) -> None:
        if next(calls) < 2:
            both.wait(60)
        raise StoreError("no")

    def sleep(seconds: float) -> None:
        assert next(waits) < 1200, "two clients wait for each other"
        time.sleep(0.05)

    def run(job: ResumableTransfer) -> BaseException | None:
        try:
            job.execute(block_size=1)
        except (PartialFailureError, AssertionError) as exc:
            return exc
        return None

    clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    monkeypatch.setattr(resumable, "time", clock)
    monkeypatch.setattr(CloudFiles, "_transfer", failing)
    with ThreadPoolExecutor(2) as pool:
        errors = list(pool.map(run, jobs))
    assert {type(error) for error in errors} == {PartialFailureError}
    assert len(jobs[0].errors()) == 2
    for job in jobs:
        job.close()


#: A client that waits when it is about to transfer its file of a given number.
CLIENT = """
import os, threading, time
from cottoncandy.cloudfiles import CloudFiles, ResumableTransfer
transfer, gate, begun = CloudFiles._transfer, threading.Lock(), []
def noted(self, route, *rest):
    with gate:
        begun.append(route.path)
        if len(begun) == {pause}:
            open({waits!r}, "w").close()
            while not os.path.exists({released!r}):
                time.sleep(0.01)
    transfer(self, route, *rest)
    with open({notes!r}, "a") as file:
        file.write(route.path + "\\n")
CloudFiles._transfer = noted
job = ResumableTransfer({db!r})
job.execute(block_size=7)
job.close()
"""


def client(db: Path, notes: Path, pause: int) -> tuple[ForkServerProcess, Path]:
    """Return a process that works on a queue when it waits, and the file that it waits for."""
    folder = Path(tempfile.mkdtemp(dir=db.parent))
    waits, released = folder / "waits", folder / "released"
    places = {"waits": waits, "released": released, "db": db, "notes": notes}
    process = start(CLIENT.format(pause=pause, **{name: str(at) for name, at in places.items()}))
    wait_until(lambda: waits.exists() or not process.is_alive(), "a client in its work", 120)
    assert waits.exists()
    return process, released


def test_killed_again_and_again_every_file_is_there_once(
    ends: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = itertools.count()

    def sleep(seconds: float) -> None:
        assert next(waits) < 20, "files of killed clients are not taken over"

    if Path("/proc/self/stat").exists():  # elsewhere, their leases must end first
        clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
        monkeypatch.setattr(resumable, "time", clock)
    files = fill(ends[0], 60)
    db, notes = tmp_path / "job.db", tmp_path / "notes"
    ResumableTransfer(db).init(*ends)
    for pause in (1, 5, 20):
        process, _ = client(db, notes, pause)
        process.kill()
        process.join()
    with ResumableTransfer(db) as job:
        job.execute()
    assert contents(ends[1]) == files
    assert not list(tmp_path.glob("job.db*"))
    names = [path.name for path in Path(ends[1]).rglob("*") if path.is_file()]
    assert len(names) == 60


def test_clients_share_without_overlap(ends: tuple[str, str], tmp_path: Path) -> None:
    files = fill(ends[0], 60)
    db, notes = tmp_path / "job.db", tmp_path / "notes"
    ResumableTransfer(db).init(*ends)
    # Each waits with files that it has leased, so neither can complete the queue alone.
    clients = [client(db, notes, pause=1) for _ in range(2)]
    for _, released in clients:
        released.touch()
    for process, _ in clients:
        process.join()
        assert process.exitcode == 0
    assert sorted(notes.read_text().split()) == sorted(files)
    assert contents(ends[1]) == files
    assert not list(tmp_path.glob("job.db*"))


SHARED = """
import multiprocessing, sys
from cottoncandy.cloudfiles import ResumableTransfer
job = ResumableTransfer(sys.argv[1])
job.init(*sys.argv[2:4])
context = multiprocessing.get_context(sys.argv[4])
clients = [context.Process(target=job.execute) for _ in range(2)]
for client in clients:
    client.start()
job.execute()
for client in clients:
    client.join()
job.close()
sys.exit(sum(client.exitcode != 0 for client in clients))
"""


@pytest.mark.server  # of processes
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_one_transfer(ends: tuple[str, str], tmp_path: Path, method: str) -> None:
    files = fill(ends[0], 60)
    command = [sys.executable, "-c", SHARED, str(tmp_path / "job.db"), *ends, method]
    subprocess.run(command, cwd=Path(cottoncandy.__file__).parents[1], timeout=60, check=True)
    assert contents(ends[1]) == files
    assert not list(tmp_path.glob("job.db*"))


def test_a_client_that_comes_late_has_nothing_to_do(ends: tuple[str, str], tmp_path: Path) -> None:
    fill(ends[0], 3)
    first, working = ResumableTransfer(tmp_path / "job.db"), ResumableTransfer(tmp_path / "job.db")
    first.init(*ends)
    CloudFiles(ends[0]).delete("d0/000")
    late = ResumableTransfer(tmp_path / "job.db")
    assert len(working) == 3
    assert first.execute() == 2
    first.close()
    assert not list(tmp_path.glob("job.db*"))
    assert working.execute() == late.execute() == len(late) == 0
    assert list(working.errors()) == ["d0/000"]
    assert late.errors() == {}
    working.close()
    late.close()
    assert not list(tmp_path.glob("job.db*"))


def test_a_queue_that_is_being_filled_is_not_removed(ends: tuple[str, str], tmp_path: Path) -> None:
    fill(ends[0], 3)
    db = tmp_path / "job.db"

    def paths() -> Iterator[str]:
        yield "d0/000"
        with ResumableTransfer(db) as other, pytest.raises(ObjectNotFoundError, match="init"):
            other.execute()
        yield "d1/001"

    with ResumableTransfer(db) as job:
        job.init(*ends, paths=paths())
        assert job.execute() == 2


def test_threads_lease_each_file_once(tmp_path: Path) -> None:
    queue = TransferQueue(tmp_path / "q.db")
    queue.create({"source": "a"}, ((str(n), str(n)) for n in range(500)))
    taken: list[str] = []

    def work() -> None:
        own = TransferQueue(tmp_path / "q.db")
        while items := own.lease(7, 60):
            taken.extend(item.path for item in items)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, taken)) == list(range(500))


def test_expired_leases_are_taken_over_and_renewed_ones_are_not(tmp_path: Path) -> None:
    first, second = TransferQueue(tmp_path / "q.db"), TransferQueue(tmp_path / "q.db")
    first.create({"source": "a"}, [("x", "x")])
    assert [item.path for item in first.lease(5, 60)] == ["x"]
    assert second.lease(5, 60) == []
    second.release_dead()
    assert second.lease(5, 60) == []
    first.renew(-1)
    assert first.lease(5, 60) == []  # it is working on it
    assert [item.path for item in second.lease(5, 60)] == ["x"]
    second.close()
    assert first.path.exists()


def test_databases_of_other_programs_are_not_queues(tmp_path: Path, ends: tuple[str, str]) -> None:
    fill(ends[0], 1)
    path = tmp_path / "notes.db"
    with closing(sqlite3.connect(path)) as database:  # no version, as most databases
        database.execute("CREATE TABLE notes (a)")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="not a queue"):
        ResumableTransfer(path).init(*ends)
    assert path.read_bytes() == before


def test_damaged_and_foreign_queues_are_clear_errors(
    tmp_path: Path, ends: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ends[0], 1)
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database, but long enough to look like one" * 50)
    with pytest.raises(IntegrityError, match="damaged"):
        ResumableTransfer(damaged).execute()
    foreign = tmp_path / "foreign.db"
    database = sqlite3.connect(foreign)
    database.execute("CREATE TABLE xfer (a)")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigurationError, match="version"):
        ResumableTransfer(foreign).execute()
    ResumableTransfer(foreign).close()
    assert foreign.exists()
    with pytest.raises(ObjectNotFoundError, match="init"):
        ResumableTransfer(tmp_path / "missing.db").execute()
    assert not (tmp_path / "missing.db").exists()
    job = ResumableTransfer(tmp_path / "job.db")
    job.init(*ends)
    with pytest.raises(InvalidArgumentError, match="another transfer"):
        job.init(ends[0], ends[1] + "2")
    with pytest.raises(InvalidArgumentError, match="lease_msec"):
        ResumableTransfer(tmp_path / "job.db", lease_msec=-1)
    with pytest.raises(InvalidArgumentError, match="block_size"):
        job.execute(block_size=0)
    monkeypatch.setattr(queue_module, "_file_system", lambda path: "nfs4")
    with pytest.raises(UnsupportedOperationError, match="network"):
        ResumableTransfer(tmp_path / "job.db")


def test_queues_that_begin_at_once_without_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories that may not be read, and those of Windows, cannot be locked."""

    def locked(*args: Any, **options: Any) -> Any:
        raise PermissionError

    monkeypatch.setattr(queue_module, "locked", locked)
    for number in range(30):
        queues = [TransferQueue(tmp_path / f"{number}.db") for _ in range(4)]
        at_once = threading.Barrier(4)

        def begin(queue: TransferQueue, at_once: threading.Barrier = at_once) -> None:
            at_once.wait(60)
            queue.create({"source": "a", "dest": "b"}, [("x", "y")])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(begin, queues))
        assert [item.path for item in queues[0].lease(9, 60)] == ["x"]
        for queue in queues:
            queue.close()
