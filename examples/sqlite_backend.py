"""A backend in one file: objects in a SQLite database. The documentation explains it.

It keeps whole bodies in one column, which SQLite limits to about 1 GB.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    BucketInfo,
    CommonPrefix,
    ConnectionArguments,
    DeleteResult,
    IfAbsent,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
)
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    BucketExistsError,
    BucketNotEmptyError,
    BucketNotFoundError,
    ConfigurationError,
    InvalidNameError,
    ObjectExistsError,
    ObjectNotFoundError,
)

_PIECE_BYTES = 2**18
_TABLES = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, created TEXT);
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT, key BLOB, body BLOB, etag TEXT, modified TEXT, metadata TEXT, type TEXT,
    PRIMARY KEY (bucket, key)
);
"""


class SQLiteReader(ObjectReader):
    """One object, whose body was read with its header."""

    def __init__(self, info: ObjectInfo, body: bytes) -> None:
        self.info = info
        self._body = memoryview(body)

    def stream(self, start: int, stop: int) -> Iterator[memoryview]:
        for position in range(start, stop, _PIECE_BYTES):
            yield self._body[position : min(position + _PIECE_BYTES, stop)]


class SQLiteBackend(Backend):
    """Buckets in a database: ``get_interface('bucket', backend='sqlite', database='lab.db')``."""

    name: ClassVar[str] = "sqlite"

    def __init__(self, database: str, bucket_name: str | None = None) -> None:
        self._database = database
        self.bucket_name = bucket_name
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript(_TABLES)

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        extra = dict(arguments.extra)
        database = extra.pop("database", "cottoncandy.db")
        if extra:
            raise ConfigurationError(f"the sqlite backend has no option {next(iter(extra))!r}")
        return cls(database, arguments.bucket_name)

    # -- objects ---------------------------------------------------------------------------------

    def get(
        self, key: str, *, threads: int = 4, prefetch: bool = True, tail: int = 0
    ) -> ObjectReader:
        return SQLiteReader(*self._find(key))

    def head(self, key: str) -> ObjectInfo:
        return self._find(key)[0]

    def put(
        self, key: str, body: Body, options: PutOptions = DEFAULT_OPTIONS, *, threads: int = 4
    ) -> PutResult:
        where, encoded = self._existing(), _encode(key)
        options = self._checked(key, options)
        data = bytes(body.read())
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        noted = json.dumps(options.metadata or {})
        create = isinstance(options.condition, IfAbsent)  # atomic, unlike the other condition
        if not create:
            self._check_condition(key, options.condition)
        verb = "INSERT" if create else "REPLACE"
        try:
            self._run(
                f"{verb} INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)",
                (where, encoded, data, etag, _now(), noted, options.content_type),
            )
        except sqlite3.IntegrityError as exc:
            raise ObjectExistsError(
                f"object '{key}' exists in bucket '{where}'; pass overwrite=True to replace it"
            ) from exc
        return PutResult(etag)

    def scan(
        self,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        where = self._existing()  # at once, not when the listing is iterated
        return self._scan(where, prefix.encode(), delimiter.encode(), start_after.encode())

    def delete(
        self, keys: Iterable[str], *, threads: int = 4, permanently: bool = True
    ) -> Iterator[DeleteResult]:
        where = self._existing()
        for key in keys:
            try:
                encoded = _encode(key)
            except InvalidNameError as error:
                yield DeleteResult(key, error)
                continue
            self._run("DELETE FROM objects WHERE bucket = ? AND key = ?", (where, encoded))
            yield DeleteResult(key)

    # -- buckets ---------------------------------------------------------------------------------

    def list_buckets(self) -> Iterator[BucketInfo]:
        rows = self._run("SELECT name, created FROM buckets ORDER BY name")
        return (BucketInfo(name, datetime.fromisoformat(created)) for name, created in rows)

    def has_bucket(self, bucket: str) -> bool:
        return bool(self._run("SELECT 1 FROM buckets WHERE name = ?", (bucket,)))

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        if not bucket:
            raise InvalidNameError("a bucket name must not be empty")
        try:
            self._run("INSERT INTO buckets VALUES (?, ?)", (bucket, _now()))
        except sqlite3.IntegrityError as exc:
            raise BucketExistsError(f"bucket '{bucket}' already exists") from exc

    def delete_bucket(self, bucket: str) -> None:
        where = self.with_bucket(bucket)._existing()
        if self._run("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (where,)):
            raise BucketNotEmptyError(f"bucket '{bucket}' contains objects; delete them first")
        self._run("DELETE FROM buckets WHERE name = ?", (where,))

    # -- inside ----------------------------------------------------------------------------------

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Run one statement in a new connection, so that any thread and process can."""
        with closing(sqlite3.connect(self._database, timeout=60)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def _existing(self) -> str:
        name = self.bucket
        if not self.has_bucket(name):
            raise BucketNotFoundError(f"there is no bucket '{name}' in '{self._database}'")
        return name

    def _find(self, key: str) -> tuple[ObjectInfo, bytes]:
        where = self._existing()
        rows = self._run(
            "SELECT body, etag, modified, metadata, type FROM objects WHERE bucket = ? AND key = ?",
            (where, _encode(key)),
        )
        if not rows:
            raise ObjectNotFoundError(f"there is no object '{key}' in bucket '{where}'")
        body, etag, modified, metadata, content_type = rows[0]
        date = datetime.fromisoformat(modified)
        info = ObjectInfo(key, len(body), date, etag, json.loads(metadata), content_type)
        return info, body

    def _scan(
        self, bucket: str, prefix: bytes, delimiter: bytes, after: bytes
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """Read keys in order, skipping those that a common prefix collapses."""
        start, inclusive = (after, False) if after >= prefix else (prefix, True)
        while rows := self._run(
            f"SELECT key, length(body), etag, modified FROM objects WHERE bucket = ? AND "
            f"key {'>=' if inclusive else '>'} ? ORDER BY key LIMIT 1000",
            (bucket, start),
        ):
            for key, size, etag, modified in rows:
                if not key.startswith(prefix):
                    return
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                if cut >= 0:
                    group = key[: cut + len(delimiter)]
                    yield CommonPrefix(group.decode())
                    # 0xff never occurs in UTF-8, so this sorts after the whole group.
                    start, inclusive = group + b"\xff", True
                    break
                yield ObjectInfo(key.decode(), size, datetime.fromisoformat(modified), etag)
                start, inclusive = key, False


def _encode(key: str) -> bytes:
    try:
        encoded = key.encode()
    except UnicodeEncodeError as exc:
        raise InvalidNameError(f"the name {key!r} is not valid Unicode text") from exc
    if not encoded:
        raise InvalidNameError("an object name must not be empty")
    return encoded


def _now() -> str:
    return datetime.now(UTC).isoformat()
