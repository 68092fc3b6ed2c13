"""Chunked and sparse arrays, uploaded, read and interrupted by other clients in the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cottoncandy.formats.chunked import Manifest
from tests.backends.wrappers import WrappedBackend
from tests.harness import MemoryHarness

sparse: Any = pytest.importorskip("scipy.sparse")


def matrix(value: float) -> Any:
    found = sparse.csr_array(np.eye(4))
    found.data[:] = value
    return found


def current(cci: Any) -> float:
    """Return the value of the array, of whatever kind it is."""
    found = cci["a"]
    return only(found if isinstance(found, np.ndarray) else found.data)


KINDS: dict[str, tuple[Callable[..., Any], Callable[[Any, str], float]]] = {
    "chunked": (
        lambda cci, value, **kw: cci.upload_dask_array(
            "a", np.full(6, float(value)), buffersize=16, threads=1, **kw
        ),
        lambda cci, name: only(np.asarray(cci.download_dask_array(name))),
    ),
    "sparse": (
        lambda cci, value, **kw: cci.upload_sparse_array("a", matrix(value), threads=1, **kw),
        lambda cci, name: only(cci.download_sparse_array(name, threads=1).data),
    ),
}


def only(values: np.ndarray) -> float:
    """Return the value of all elements, which are equal within one upload."""
    assert len(values)
    assert (values == values[0]).all(), values
    return float(values[0])


def uploads(memory: MemoryHarness) -> set[str]:
    """Return the ids of the uploads that have objects below their own."""
    return {key.split("/")[1] for key in memory.raw_keys() if key.startswith("a/cc-")}


class Interleaved(WrappedBackend):
    """Calls a function before the n-th request."""

    def __init__(self, inner: Any, at: int, function: Callable[[], None]) -> None:
        super().__init__(inner)
        self.left, self.function = at, function

    def _call(self, verb: str, *keys: str) -> Any:
        self.left -= 1
        if self.left == 0:
            self.function()
        return super()._call(verb, *keys)


def legacy(memory: MemoryHarness, cci: Any) -> None:
    """Store an array without ids, as 0.4.0 does."""
    for number in range(2):
        cci.upload_raw_array(f"a/pt000{number}", np.arange(2.0) + 2 * number)
    manifest = Manifest.of((4,), np.dtype("f8"), ((2, 2),), "a").to_json()
    assert "upload_id" not in manifest
    cci.upload_json("a/metadata.json", manifest)
