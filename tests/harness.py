"""Stores to run a test over: how to build an interface on each, and how to inspect it directly.

A new store is one subclass of :class:`StoreHarness` and one line in :data:`HARNESSES`. A new way
to build interfaces (encryption) overrides :meth:`StoreHarness.interface` through
:attr:`StoreHarness.factory`.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import os
import shutil
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import cottoncandy
from cottoncandy import testing
from cottoncandy.backends import backend_class, memory
from cottoncandy.backends.base import Backend, ConnectionArguments, ObjectInfo
from cottoncandy.backends.options import split_entries
from cottoncandy.testing import Stored
from tests.servers import S3Server

__all__ = [
    "HARNESSES",
    "LocalHarness",
    "MemoryHarness",
    "S3Harness",
    "StoreHarness",
    "Stored",
    "on_every_store",
]

_COUNTER = itertools.count()


class StoreHarness(testing.StoreHarness):
    """The harness of the conformance tests, which also builds interfaces on its store."""

    #: Name of the harness, which is the test's parameter.
    name: ClassVar[str]

    #: Name of the backend, as the factories take it.
    backend_name: ClassVar[str]

    def __init__(self) -> None:
        #: An empty bucket that belongs to the test.
        self.bucket = self.fresh_bucket()
        #: The interfaces that were built.
        self.opened: list[Any] = []

    #: Builds the interfaces; another one may be put in its place (``get_encrypted_interface``).
    @property
    def factory(self) -> Callable[..., Any]:
        return cottoncandy.get_interface

    def interface(self, bucket: str | None = None, **options: Any) -> Any:
        """Return an interface on the bucket; options go to the factory."""
        arguments = {"verbose": False, "backend": self.backend_name, **self.connection()}
        bucket = self.bucket if bucket is None else bucket
        self.opened.append(self.factory(bucket, **(arguments | options)))
        return self.opened[-1]

    def backend(self, bucket: str | None = None, **extra: Any) -> Backend:
        """Return a bare backend on the bucket; ``extra`` are its own options."""
        connection = self.connection()
        return backend_class(self.backend_name).connect(
            ConnectionArguments(
                self.bucket if bucket is None else bucket,
                connection.get("ACCESS_KEY"),
                connection.get("SECRET_KEY"),
                connection.get("endpoint_url"),
                extra=extra,
            )
        )

    def connection(self) -> dict[str, Any]:
        """Return the factory's arguments that say where the store is."""
        return {}

    @property
    def secret(self) -> str:
        """Secrets that no description may contain."""
        return str(self.connection().get("SECRET_KEY", "no such secret"))


class MemoryHarness(StoreHarness):
    name = backend_name = "memory"

    def __init__(self) -> None:
        self._names: list[str] = []
        super().__init__()

    def fresh_bucket(self) -> str:
        name = f"memory-{next(_COUNTER)}"
        memory._BUCKETS[name] = memory._Bucket(datetime.datetime.now(datetime.UTC))
        self._names.append(name)
        return name

    def raw_put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] | None = None,
        bucket: str | None = None,
    ) -> None:
        held = self._held(bucket)
        if key.encode() not in held.objects:
            insort(held.order, key.encode())
        info = ObjectInfo(
            key,
            len(body),
            datetime.datetime.now(datetime.UTC),
            hashlib.md5(body, usedforsecurity=False).hexdigest(),
            {name.lower(): value for name, value in (metadata or {}).items()},
        )
        held.objects[key.encode()] = memory._Object(info, body)

    def raw_get(self, key: str, bucket: str | None = None) -> Stored:
        stored = self._held(bucket).objects[key.encode()]
        return Stored(stored.body, dict(stored.info.metadata or {}))

    def raw_keys(self, prefix: str = "", bucket: str | None = None) -> list[str]:
        names = sorted(self._held(bucket).objects)
        return [name.decode() for name in names if name.startswith(prefix.encode())]

    def raw_delete(self, key: str, bucket: str | None = None) -> None:
        held = self._held(bucket)
        if held.objects.pop(key.encode(), None) is not None:
            del held.order[bisect_left(held.order, key.encode())]

    def snapshot(self) -> Callable[[], None]:
        """Return what puts the bucket back into the state that it has now."""
        held = self._held(None)
        objects, order = dict(held.objects), list(held.order)

        def back() -> None:
            held.objects, held.order = dict(objects), list(order)

        return back

    def close(self) -> None:
        for name in self._names:
            memory._BUCKETS.pop(name, None)

    def _held(self, bucket: str | None) -> Any:
        return memory._BUCKETS[self.bucket if bucket is None else bucket]


class LocalHarness(StoreHarness):
    name = backend_name = "local"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        super().__init__()

    def fresh_bucket(self) -> str:
        root = self._directory / f"local-{next(_COUNTER)}"
        root.mkdir(parents=True)
        return str(root)

    def path(self, key: str, bucket: str | None = None) -> Path:
        """Return the file that holds an object."""
        return Path(self.bucket if bucket is None else bucket) / key

    def raw_put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] | None = None,
        bucket: str | None = None,
    ) -> None:
        path = self.path(key, bucket)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        if metadata is not None:
            self._sidecar(path).write_text(json.dumps(dict(metadata)))

    def raw_get(self, key: str, bucket: str | None = None) -> Stored:
        path = self.path(key, bucket)
        try:
            body = path.read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None
        sidecar = self._sidecar(path)
        entries = json.loads(sidecar.read_bytes()) if sidecar.exists() else {}
        return Stored(body, split_entries(entries)[0])

    def raw_keys(self, prefix: str = "", bucket: str | None = None) -> list[str]:
        root = Path(self.bucket if bucket is None else bucket)
        files = [path for path in root.rglob("*") if path.is_file() or path.is_symlink()]
        names = {path.relative_to(root).as_posix() for path in files}
        names = {
            name
            for name in names
            if not (name.endswith(".meta.json") and name.removesuffix(".meta.json") in names)
        }
        return sorted((name for name in names if name.startswith(prefix)), key=os.fsencode)

    def raw_delete(self, key: str, bucket: str | None = None) -> None:
        path = self.path(key, bucket)
        path.unlink(missing_ok=True)
        self._sidecar(path).unlink(missing_ok=True)

    def close(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    @staticmethod
    def _sidecar(path: Path) -> Path:
        return path.with_name(path.name + ".meta.json")


class FilesHarness(LocalHarness):
    name = backend_name = "files"


class S3Harness(StoreHarness):
    backend_name = "s3"

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.client = server.client()
        self._names: list[str] = []
        super().__init__()

    def connection(self) -> dict[str, Any]:
        return self.server.interface_arguments()

    def fresh_bucket(self) -> str:
        name = self.server.borrow_bucket()
        self._names.append(name)
        return name

    def raw_put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] | None = None,
        bucket: str | None = None,
    ) -> None:
        self.client.put_object(
            Bucket=bucket or self.bucket, Key=key, Body=body, Metadata=dict(metadata or {})
        )

    def raw_get(self, key: str, bucket: str | None = None) -> Stored:
        try:
            answer = self.client.get_object(Bucket=bucket or self.bucket, Key=key)
        except self.client.exceptions.NoSuchKey:
            raise KeyError(key) from None
        with answer["Body"] as body:
            return Stored(body.read(), answer["Metadata"])

    def raw_keys(self, prefix: str = "", bucket: str | None = None) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket or self.bucket, Prefix=prefix
        )
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def raw_delete(self, key: str, bucket: str | None = None) -> None:
        self.client.delete_object(Bucket=bucket or self.bucket, Key=key)

    def close(self) -> None:
        for name in self._names:
            self.server.return_bucket(name)


class MotoHarness(S3Harness):
    name = "moto"


class CephHarness(S3Harness):
    name = "ceph"


def _drive(request: pytest.FixtureRequest) -> StoreHarness:
    # The fixture comes first: it skips the test if the client library is missing.
    server = request.getfixturevalue("drive_server")
    from tests.servers.drive.harness import DriveHarness

    return DriveHarness(server, request.getfixturevalue("tmp_path") / "drive")


def _gcs(request: pytest.FixtureRequest) -> StoreHarness:
    server = request.getfixturevalue("gcs_server")
    from tests.servers.gcs import GCSHarness

    return GCSHarness(server)


#: Name of a harness -> how to build it for the test that asks. Servers start when first needed.
HARNESSES: dict[str, Callable[[pytest.FixtureRequest], StoreHarness]] = {
    "local": lambda request: LocalHarness(request.getfixturevalue("tmp_path") / "stores"),
    "files": lambda request: FilesHarness(request.getfixturevalue("tmp_path") / "stores"),
    "memory": lambda request: MemoryHarness(),
    "moto": lambda request: MotoHarness(request.getfixturevalue("moto")),
    "ceph": lambda request: CephHarness(request.getfixturevalue("ceph")),
    "gdrive": _drive,
    "gcs": _gcs,
}

#: For the few tests above the backends whose promise depends on the store.
on_every_store = pytest.mark.parametrize(
    "store", [name for name in HARNESSES if name != "files"], indirect=True
)
