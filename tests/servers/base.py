"""What all test servers share: where they are, and how their processes are watched."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.environments import ORIGINAL_ENVIRONMENT

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client

__all__ = ["ManagedProcess", "S3Server", "ServerError", "free_port", "wait_until"]

_COUNTER = itertools.count()
_SESSION_LOCK = threading.Lock()
_LOG_TAIL_BYTES = 4000


class ServerError(RuntimeError):
    """A test server does not start or has died; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where an S3 server is and who may enter; a value, so it can be handed to any process.

    Parameters
    ----------
    endpoint_url : str
        ``http://127.0.0.1:PORT``.
    access_key, secret_key : str
        Fake credentials that the server accepts.
    """

    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.endpoint_url.rpartition("//")[2].partition(":")
        return host, int(port)

    def at(self, endpoint_url: str) -> Self:
        """Return the same server seen through another address (the fault proxy's)."""
        return replace(self, endpoint_url=endpoint_url)

    def interface_arguments(self) -> dict[str, Any]:
        """Return the arguments with which a factory of cottoncandy connects to this server."""
        return {
            "ACCESS_KEY": self.access_key,
            "SECRET_KEY": self.secret_key,
            "endpoint_url": self.endpoint_url,
        }

    def environment(self) -> dict[str, str]:
        """Return the environment variables with which botocore finds this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
        }

    def client(self, **config: Any) -> S3Client:
        """Return a plain boto3 client, to inspect the store without the library.

        ``config`` goes to botocore's ``Config``. Without it, all get the same client: making one
        takes longer than most tests.
        """
        if config:
            return self._make_client(config)
        with _SHARED.lock:
            if self not in _SHARED.clients:
                _SHARED.clients[self] = self._make_client({})
                events = _SHARED.clients[self].meta.events
                events.register("provide-client-params.s3", _SHARED.note_settings)
            return _SHARED.clients[self]

    def _make_client(self, config: Mapping[str, Any]) -> S3Client:
        from botocore.config import Config

        options: dict[str, Any] = {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "retries": {"total_max_attempts": 2},
        }
        with _SESSION_LOCK:
            return _session().client(
                "s3",
                endpoint_url=self.endpoint_url,
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
                region_name="us-east-1",
                config=Config(**(options | config)),
            )

    def make_bucket(self, prefix: str = "test") -> str:
        """Create a bucket with a unique name, and return the name."""
        name = f"{prefix}-{os.getpid()}-{next(_COUNTER)}"
        self.client().create_bucket(Bucket=name)
        return name

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with everything in it: objects, versions, unfinished uploads."""
        client = self.client()
        with contextlib.suppress(client.exceptions.NoSuchBucket):
            self._empty(client, name)
            client.delete_bucket(Bucket=name)

    def borrow_bucket(self) -> str:
        """Return an empty bucket, maybe used by an earlier test: creating one is slow."""
        with _SHARED.lock:
            idle = _SHARED.idle.setdefault(self, [])
            if idle:
                return idle.pop()
        return self.make_bucket()

    def return_bucket(self, name: str) -> None:
        """Empty a borrowed bucket for the next test; one with other settings is removed."""
        if name in _SHARED.changed:
            self.remove_bucket(name)
            return
        client = self.client()
        try:
            self._empty(client, name)
        except client.exceptions.NoSuchBucket:
            return
        with _SHARED.lock:
            _SHARED.idle.setdefault(self, []).append(name)

    @staticmethod
    def _empty(client: S3Client, name: str) -> None:
        for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            keys = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
            in_bulk = [key for key in keys if key["Key"].isprintable()]
            if in_bulk:
                client.delete_objects(Bucket=name, Delete={"Objects": in_bulk, "Quiet": True})
            # The XML of a bulk delete has no words for control characters.
            for key in keys:
                if not key["Key"].isprintable():
                    client.delete_object(Bucket=name, **key)
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=name):
            for upload in page.get("Uploads", ()):
                client.abort_multipart_upload(
                    Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"]
                )


class _Shared:
    """Shared by the tests of one process: clients, and buckets that are free."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clients: dict[S3Server, S3Client] = {}
        self.idle: dict[S3Server, list[str]] = {}
        self.changed: set[str] = set()

    def note_settings(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        """Remember the buckets that are no longer as they were made (versions, ACLs, ...)."""
        if model.name.startswith("PutBucket"):
            self.changed.add(params["Bucket"])


_SHARED = _Shared()


@functools.cache
def _session() -> boto3.Session:
    """Return one session for all clients: each new one would parse S3's description again."""
    import boto3

    return boto3.Session()


class ManagedProcess:
    """A child process with its output in a log file.

    Parameters
    ----------
    command : sequence of str or Path
        Program and arguments.
    log : Path
        Takes stdout and stderr.
    environment : mapping, optional
        Variables in addition to those that the test run was started with.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_ending_with_its_parent(), *(str(word) for word in command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**ORIGINAL_ENVIRONMENT, **(environment or {})},
                # Ctrl-C in the terminal is for the tests; they stop their servers themselves.
                start_new_session=True,
            )
        self.name = Path(command[0]).name

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise if the process has ended."""
        status = self._process.poll()
        if status is not None:
            raise ServerError(f"{self.name} ended with status {status}:\n{self.log_tail()}")

    def wait_for(self, port: int, timeout_s: float = 120) -> None:
        """Wait until the process takes connections."""

        def ready() -> bool:
            self.check()
            return _listens(("127.0.0.1", port))

        wait_until(ready, f"the start of {self.name}", timeout_s)

    def log_tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")

    def stop(self, first: signal.Signals = signal.SIGTERM, timeout_s: float = 5) -> None:
        """End the process: politely, then by force."""
        if self._process.poll() is None:
            self._process.send_signal(first)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


def _ending_with_its_parent() -> list[str]:
    """Return the words before a command that end it when the tests are killed, where we can."""
    setpriv = shutil.which("setpriv", path=ORIGINAL_ENVIRONMENT.get("PATH"))
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    """Poll until the condition holds."""
    pause = threading.Event()
    for _ in range(int(timeout_s / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise ServerError(f"{what} took longer than {timeout_s} s")


def _listens(address: tuple[str, int]) -> bool:
    """Return whether a server accepts connections there."""
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """Return a port that is free now. Another process may take it: start again then.

    None of those that the system gives to connections, of which the tests make many a second.
    """
    for port in random.SystemRandom().sample(range(15_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError("no port is free")
