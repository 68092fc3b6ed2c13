"""A queue of files to transfer, in one SQLite file that several processes of a machine share.

Processes lease files in one transaction, renew their leases while they work, and mark what is done.
Leases of a process that was killed are taken over: at once on the same machine, else when they end.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from cottoncandy.core.files import locked
from cottoncandy.core.threads import after_fork
from cottoncandy.exceptions import (
    ConfigurationError,
    CottonCandyError,
    IntegrityError,
    InvalidArgumentError,
    ObjectNotFoundError,
    StorageFullError,
    StoreError,
    UnsupportedOperationError,
)

_APPLICATION = 0x63634B51  # "ccKQ"
_VERSION = 1
_BATCH = 10_000
_WAIT_S = 60.0  # for a transaction of another process
_NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "nfs"),
    *("nfs4", "smb3", "smbfs"),
}
_TABLES = """
CREATE TABLE job (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE files (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, dest TEXT NOT NULL,
    done INTEGER NOT NULL DEFAULT 0, lease REAL NOT NULL DEFAULT 0, owner TEXT, error TEXT
);
CREATE INDEX waiting ON files (lease) WHERE done = 0;
"""


class Item(NamedTuple):
    """One file of the queue."""

    id: int
    path: str
    dest: str
    twin: str | None = None


class TransferQueue:
    """The files of one job.

    Parameters
    ----------
    path : str or path-like
        File of the queue. It is created by :meth:`create`.

    Raises
    ------
    UnsupportedOperationError
        If it is on a network file system, where locks are not reliable.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()
        kind = _file_system(self.path)
        if kind in _NETWORK:
            raise UnsupportedOperationError(
                f"'{self.path}' is on a network file system ({kind}), and a queue works on one "
                f"machine only: choose a file on a local disk"
            )
        self._status: os.stat_result
        self._inherited: list[sqlite3.Connection | None] = []
        self._connection: sqlite3.Connection | None = None
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        # A connection of the parent must not be used, not even closed.
        self._inherited.append(self._connection)
        self._connection = None
        self.owner = f"{_process(os.getpid())}/{uuid.uuid4().hex[:8]}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    @contextlib.contextmanager
    def _database(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """Open the file once, check it, and translate errors."""
        try:
            if self._connection is None:
                with self._alone():
                    self._connection = self._open(create)
                    self._status = self.path.stat()
            yield self._connection
        except sqlite3.OperationalError as exc:
            if "full" in str(exc):
                raise StorageFullError(f"the disk is full: '{self.path}'") from exc
            raise StoreError(f"the queue '{self.path}' cannot be used: {exc}") from exc
        except sqlite3.DatabaseError as exc:
            raise IntegrityError(
                f"the queue '{self.path}' is damaged ({exc}); remove it and begin the transfer "
                f"again: existing files are copied again"
            ) from exc

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from opening or removing the file."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a directory that is missing, or may not be read
                stack.enter_context(locked(str(self.path.parent)))
            yield

    def _execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of one statement, which is a transaction."""
        with self._database() as database:
            return database.execute(statement, values).fetchall()

    def _execute_all(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Execute a statement with the values of each row, in one transaction."""
        with self._database() as database, database:
            database.execute("BEGIN IMMEDIATE")
            database.executemany(statement, rows)

    def _open(self, create: bool) -> sqlite3.Connection:
        if not create and not self.path.exists():
            raise ObjectNotFoundError(
                f"there is no queue '{self.path}': its transfer is complete, or was not begun "
                f"with init"
            )
        # Threads take turns: each statement below is a transaction.
        connection = sqlite3.connect(
            self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        try:
            if create and _kind(connection) == (0, 0, 0):  # not a user's database
                # SQLite does not wait for other processes here; the mode only affects the speed.
                with contextlib.suppress(sqlite3.OperationalError):
                    connection.execute("PRAGMA journal_mode = WAL")
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    # Without a lock of the directory, another process may just have done it.
                    if _marks(connection) == (0, 0, 0):
                        for statement in _TABLES.split(";"):
                            connection.execute(statement)
                        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                        connection.execute(f"PRAGMA user_version = {_VERSION}")
            if _kind(connection)[:2] != (_APPLICATION, _VERSION):
                raise ConfigurationError(
                    f"'{self.path}' is not a queue of this version of cottoncandy; finish it with "
                    f"the version that created it, or choose another file"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    # -- the job ---------------------------------------------------------------------------------

    def create(self, job: dict[str, str], files: Iterable[tuple[str, str]]) -> None:
        """Add files; a second call, after an interruption, adds those that are missing.

        Parameters
        ----------
        job : dict
            What the files have in common.
        files : iterable of (str, str)
            Path and new path.

        Raises
        ------
        InvalidArgumentError
            If the queue is that of another job.
        """
        with self._database(create=True) as database:
            before = dict(database.execute("SELECT name, value FROM job"))
        if before and {name: before.get(name) for name in job} != job:
            raise InvalidArgumentError(
                f"'{self.path}' is the queue of another transfer, from {before.get('source')} "
                f"to {before.get('dest')}; choose another file"
            )
        remaining = iter(files)
        while batch := list(islice(remaining, _BATCH)):
            self._execute_all("INSERT OR IGNORE INTO files (path, dest) VALUES (?, ?)", batch)
        self._execute_all("INSERT OR REPLACE INTO job VALUES (?, ?)", job.items())

    def job(self) -> dict[str, str]:
        """Return what the files have in common.

        Raises
        ------
        ObjectNotFoundError
            If there is no queue, or its creation was interrupted.
        """
        found = dict(self._execute("SELECT name, value FROM job"))
        if not found:
            raise ObjectNotFoundError(
                f"the queue '{self.path}' is not complete: init() was interrupted; call it again"
            )
        return found

    def has(self, path: str, dest: str) -> bool:
        """Return whether a file is or was to be copied to a path."""
        return self._execute("SELECT dest FROM files WHERE path = ?", path) == [(dest,)]

    # -- working ---------------------------------------------------------------------------------

    def lease(self, count: int, seconds: float) -> list[Item]:
        """Take up to that many files that no process has, in one transaction.

        Those of this process are not taken again, not even late, as after a computer was asleep:
        they are being copied, or have failed.
        """
        now = time.time()
        rows = self._execute(
            "UPDATE files SET lease = ?, owner = ?, error = NULL WHERE id IN (SELECT id FROM files "
            "WHERE done = 0 AND lease < ? AND owner IS NOT ? ORDER BY lease, id LIMIT ?) "
            "RETURNING id, path, dest",
            *(now + seconds, self.owner, now, self.owner, count),
        )
        return [Item(*row) for row in sorted(rows)]

    def renew(self, seconds: float) -> None:
        """Extend the leases of this process."""
        self._execute(
            "UPDATE files SET lease = ? WHERE done = 0 AND owner = ? AND lease > 0",
            *(time.time() + seconds, self.owner),
        )

    def finish(self, results: Iterable[tuple[Item, str | None, bool]]) -> None:
        """Record results: item, error, and whether the item is done with all the same."""
        rows = [(int(done), error, item.id) for item, error, done in results]
        # What failed stays leased until this process ends its run.
        self._execute_all("UPDATE files SET done = ?, error = ? WHERE id = ?", rows)

    def release(self, owner: str | None = None) -> None:
        """Give back what a process, by default this one, has leased and not finished."""
        self._execute(
            "UPDATE files SET lease = 0, owner = NULL WHERE done = 0 AND owner = ?",
            owner or self.owner,
        )

    def release_dead(self) -> None:
        """Give back what processes of this machine leased that no longer run."""
        for (owner,) in self._execute("SELECT DISTINCT owner FROM files WHERE done = 0"):
            if owner and owner != self.owner and not _is_running(owner):
                self.release(owner)

    def remaining(self) -> int:
        """Return the number of files that are not done."""
        return int(self._execute("SELECT count(*) FROM files WHERE done = 0")[0][0])

    def undecided(self) -> bool:
        """Return whether there are files that are neither done nor have failed in a process."""
        query = "SELECT 1 FROM files WHERE done = 0 AND (error IS NULL OR owner IS NULL) LIMIT 1"
        return bool(self._execute(query))

    def errors(self) -> dict[str, str]:
        """Return the errors, by path."""
        return dict(self._execute("SELECT path, error FROM files WHERE error IS NOT NULL"))

    def close(self) -> None:
        """Close the file; remove it if all files are done."""
        done = False
        if self._connection is not None or self.path.exists():
            with contextlib.suppress(CottonCandyError):  # not ours, gone, or not complete yet
                done = bool(self.job()) and self.remaining() == 0
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if done:
            with self._alone(), contextlib.suppress(FileNotFoundError):
                if os.path.samestat(self.path.stat(), self._status):
                    for suffix in ("", "-wal", "-shm"):
                        Path(f"{self.path}{suffix}").unlink(missing_ok=True)


def _kind(connection: sqlite3.Connection) -> tuple[int, ...]:
    """Return application, version and schema of a database, all of one moment."""
    with connection:
        connection.execute("BEGIN")
        return _marks(connection)


def _marks(connection: sqlite3.Connection) -> tuple[int, ...]:
    names = ("application_id", "user_version", "schema_version")
    return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)


def _file_system(path: Path) -> str:
    """Return the type of the file system of a path; empty if the system does not tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    real, best, kind = os.path.realpath(path), "", ""
    for line in mounts:
        _, mount, found = line.split(" ")[:3]
        mount = mount.replace("\\040", " ")
        inside = real == mount or real.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def _process(pid: int) -> str | None:
    """Return what identifies a running process of this machine; None if it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        space = Path("/proc/self/ns/pid").readlink()
        return None if fields[0] == "Z" else f"{space}:{pid}:{fields[19]}"
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else f"?:{pid}:?"
    except OSError:
        return f"?:{pid}:?"


def _is_running(owner: str) -> bool:
    """Return whether an owner may still run; True if it is of another container."""
    process = owner.partition("/")[0]
    space, _, rest = process.rpartition(":")[0].rpartition(":")
    here = (_process(os.getpid()) or "").rpartition(":")[0].rpartition(":")[0]
    return space != here or not rest.isdigit() or _process(int(rest)) == process
