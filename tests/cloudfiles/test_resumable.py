"""Transfers that are killed, shared and damaged."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Literal

import pytest

import cottoncandy
from cottoncandy.cloudfiles import CloudFiles, ResumableTransfer
from cottoncandy.exceptions import (
    ConfigurationError,
    IntegrityError,
    InvalidArgumentError,
    ObjectNotFoundError,
    PartialFailureError,
    StoreError,
    UnsupportedOperationError,
)
from cottoncandy.transfer import queue as queue_module
from cottoncandy.transfer.queue import TransferQueue

ROOT = Path(cottoncandy.__file__).parent.parent


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


def test_failed_files_stay_in_the_queue(
    ends: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fill(ends[0], 5)
    job = ResumableTransfer(tmp_path / "job.db")
    job.init(*ends)
    transfer = CloudFiles._transfer

    def failing(self: Any, path: str, *rest: Any) -> None:
        if path == "d1/001":
            raise StoreError("no")
        transfer(self, path, *rest)

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


CLIENT = """
import sys
from cottoncandy.cloudfiles import CloudFiles, ResumableTransfer
transfer = CloudFiles._transfer
def noted(self, path, *rest):
    transfer(self, path, *rest)
    with open(sys.argv[2], "a") as file:
        file.write(path + "\\n")
CloudFiles._transfer = noted
job = ResumableTransfer(sys.argv[1])
print("ready", flush=True)
job.execute(block_size=7)
job.close()
"""


def start(db: Path, notes: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CLIENT, str(db), str(notes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def test_killed_again_and_again_every_file_is_there_once(
    ends: tuple[str, str], tmp_path: Path
) -> None:
    files = fill(ends[0], 60)
    db, notes = tmp_path / "job.db", tmp_path / "notes"
    ResumableTransfer(db).init(*ends)
    for number in range(3):
        process = start(db, notes)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.01 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
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
    clients = [start(db, notes) for _ in range(2)]
    for client in clients:
        client.communicate(timeout=60)
        assert client.returncode == 0
    assert sorted(notes.read_text().split()) == sorted(files)
    assert contents(ends[1]) == files
    assert not list(tmp_path.glob("job.db*"))


@pytest.mark.server  # of processes
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_one_transfer(
    ends: tuple[str, str], tmp_path: Path, method: Literal["fork", "spawn"]
) -> None:
    files = fill(ends[0], 60)
    job = ResumableTransfer(tmp_path / "job.db")
    job.init(*ends)
    context = multiprocessing.get_context(method)
    clients = [context.Process(target=job.execute) for _ in range(2)]
    for client in clients:
        client.start()
    job.execute()
    for client in clients:
        client.join(60)
        assert client.exitcode == 0
    job.close()
    assert contents(ends[1]) == files
    assert not list(tmp_path.glob("job.db*"))


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
    assert [item.path for item in second.lease(5, 60)] == ["x"]
    second.close()
    assert first.path.exists()


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
