"""The backend that the documentation shows is a real one: it passes what all backends pass."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.backends.conformance import BackendConformance
from tests.docs.blocks import ROOT
from tests.harness import HARNESSES, Stored, StoreHarness

_COUNTER = itertools.count()


class SQLiteHarness(StoreHarness):
    name = backend_name = "sqlite"

    def __init__(self, directory: Path) -> None:
        self.database = directory / "objects.db"
        super().__init__()

    def connection(self) -> dict[str, Any]:
        return {"database": str(self.database)}

    def backend(self, bucket: str | None = None, **extra: Any) -> Any:
        return super().backend(bucket, **{**self.connection(), **extra})

    def fresh_bucket(self) -> str:
        name = f"sqlite-{next(_COUNTER)}"
        if not self.database.exists():
            from cottoncandy.backends import backend_class

            backend_class(self.name)(str(self.database))  # type: ignore[call-arg]
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
            connection.execute("PRAGMA synchronous = OFF")  # no test pulls the plug
            return connection.execute(statement, values).fetchall()


@pytest.fixture(autouse=True)
def sqlite_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line in the registry, and the one in the table of harnesses."""
    from cottoncandy.backends import BACKENDS

    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setitem(BACKENDS, "sqlite", "sqlite_backend:SQLiteBackend")
    monkeypatch.setitem(
        HARNESSES, "sqlite", lambda request: SQLiteHarness(request.getfixturevalue("tmp_path"))
    )


@pytest.mark.slow
class TestSQLite(BackendConformance):
    rig_name = "sqlite"
    examples = 5
    histories = 1
