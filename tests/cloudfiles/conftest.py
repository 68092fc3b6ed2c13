"""One directory of each kind of store, for the tests of CloudFiles."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cottoncandy import get_interface
from cottoncandy.cloudfiles import CloudFiles, clear_memory, reset_connection_pools
from tests.harness import HARNESSES

ENCODINGS = ["gzip", "br", "zstd", "xz", "bz2"]
SERVERS = ["moto", "gcs"]
#: Servers that take long to start: for the whole matrix only.
MORE_SERVERS = ["ceph", "other_emulator_server"]

#: For the few tests that show that the verbs work on each store also when time is short.
on_every_store = pytest.mark.parametrize("make", ["mem", "file", *SERVERS], indirect=True)
_COUNTER = itertools.count()


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    clear_memory()
    reset_connection_pools()


def arguments_of(kind: str, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Return the path of an empty directory, and the options of CloudFiles for it."""
    if kind == "mem":
        return f"mem://bucket-{next(_COUNTER)}/path", {}
    if kind == "file":
        folder: Path = request.getfixturevalue("tmp_path")
        return f"file://{folder}/files-{next(_COUNTER)}", {}
    if kind == "other_emulator_server":
        request.getfixturevalue("monkeypatch").setenv(
            "STORAGE_EMULATOR_HOST", request.getfixturevalue(kind)
        )
        bucket = f"other-{next(_COUNTER)}"
        get_interface(f"gs://{bucket}", force_bucket_creation=True, verbose=False)
        return f"gs://{bucket}/path", {}
    if kind == "gcs":
        harness = HARNESSES["gcs"](request)
        request.addfinalizer(harness.close)
        request.getfixturevalue("monkeypatch").setenv(
            "STORAGE_EMULATOR_HOST", harness.connection()["endpoint_url"]
        )
        return f"gs://{harness.bucket}/path-{next(_COUNTER)}", {}
    server = request.getfixturevalue(kind)
    bucket = request.getfixturevalue(f"{kind}_bucket")
    secrets = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    path = f"s3://{server.endpoint_url}/{bucket}/path-{next(_COUNTER)}"
    return path, {"secrets": secrets}


@pytest.fixture(
    params=[
        *("mem", "file"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in (*SERVERS, *MORE_SERVERS)),
    ]
)
def make(request: pytest.FixtureRequest) -> Callable[..., CloudFiles]:
    """Makes CloudFiles on an empty directory of each store."""

    def make(**options: Any) -> CloudFiles:
        path, given = arguments_of(request.param, request)
        return CloudFiles(path, **{**given, **options})

    return make


@pytest.fixture
def cf(make: Callable[..., CloudFiles]) -> CloudFiles:
    """An empty directory of each store."""
    return make()
