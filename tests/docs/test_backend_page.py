"""The backend on the documentation page passes the conformance tests."""

from __future__ import annotations

import importlib
import itertools
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cottoncandy.testing import BackendConformance, Stored, StoreHarness
from tests.docs.blocks import ROOT

_COUNTER = itertools.count()


class SQLiteHarness(StoreHarness):
    """The database, without the backend."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.backend_class = importlib.import_module("sqlite_backend").SQLiteBackend
        self.backend_class(str(database))  # creates the tables
        self.bucket = self.fresh_bucket()

    def backend(self) -> Any:
        return self.backend_class(str(self.database), self.bucket)

    def fresh_bucket(self) -> str:
        name = f"sqlite-{next(_COUNTER)}"
        self._run("INSERT INTO buckets VALUES (?, '2026-01-01T00:00:00+00:00')", name)
        return name

    def raw_put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] | None = None,
        bucket: str | None = None,
    ) -> None:
        self._run(
            "REPLACE INTO objects VALUES (?, ?, ?, ?, '2026-01-01T00:00:00+00:00', ?, NULL)",
            bucket or self.bucket,
            key.encode(),
            body,
            f"put-by-hand-{next(_COUNTER)}",
            json.dumps({name.lower(): value for name, value in (metadata or {}).items()}),
        )

    def raw_get(self, key: str, bucket: str | None = None) -> Stored:
        rows = self._run(
            "SELECT body, metadata FROM objects WHERE bucket = ? AND key = ?",
            bucket or self.bucket,
            key.encode(),
        )
        if not rows:
            raise KeyError(key)
        return Stored(rows[0][0], json.loads(rows[0][1]))

    def raw_keys(self, prefix: str = "", bucket: str | None = None) -> list[str]:
        rows = self._run("SELECT key FROM objects WHERE bucket = ?", bucket or self.bucket)
        return [key.decode() for (key,) in sorted(rows) if key.startswith(prefix.encode())]

    def raw_delete(self, key: str, bucket: str | None = None) -> None:
        self._run(
            "DELETE FROM objects WHERE bucket = ? AND key = ?",
            bucket or self.bucket,
            key.encode(),
        )

    def close(self) -> None:
        self.database.unlink()

    def _run(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")  # tests need no durability
            return connection.execute(statement, values).fetchall()


@pytest.mark.slow
class TestSQLite(BackendConformance):
    examples = 5
    histories = 1

    def make_harness(self, request: pytest.FixtureRequest) -> SQLiteHarness:
        request.getfixturevalue("monkeypatch").syspath_prepend(ROOT / "examples")
        return SQLiteHarness(request.getfixturevalue("tmp_path") / "objects.db")
