"""A bucket to browse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.backends.wrappers import CountingBackend
from tests.harness import MemoryHarness, StoreHarness


@pytest.fixture
def memory() -> Iterator[MemoryHarness]:
    harness = MemoryHarness()
    yield harness
    harness.close()


@pytest.fixture
def cci(store: StoreHarness, factory: Any) -> Iterator[Any]:
    """An interface over a small project, and a backend that counts."""
    cci = factory(store.bucket, verbose=False, backend=store.backend_name, **store.connection())
    for subject in ("sub01", "sub02"):
        for model in ("result_model01", "result_model02", "result_model03"):
            cci.upload_raw_array(
                f"sweet_project/{subject}_awesome_analysis.grp/{model}",
                np.arange(131072.0),
                compression=False,
            )
    cci.upload_raw_array("sweet_project/mean", np.arange(12.0).reshape(3, 4), author="me")
    cci.upload_json("sweet_project/about.json", {"subjects": 2})
    cci.upload_object("notes.txt", b"notes")
    cci.backend_interface = CountingBackend(cci.backend_interface)
    yield cci
    cci.close()
