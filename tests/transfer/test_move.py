"""Copies, moves and removals of trees that contain arrays of several objects."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cottoncandy.backends.base import DeleteResult
from cottoncandy.exceptions import AccessDeniedError, CottonCandyError, PartialFailureError
from tests.backends.wrappers import FaultyBackend, Killed, WrappedBackend
from tests.harness import MemoryHarness

VERBS = ["cp", "mv", "rm"]


@pytest.fixture
def memory() -> Iterator[MemoryHarness]:
    harness = MemoryHarness()
    yield harness
    harness.close()


def populated(memory: MemoryHarness) -> Any:
    """Return an interface on a bucket with a file, a chunked array and, below it, a sparse one."""
    from scipy import sparse

    cci = memory.interface()
    cci.upload_object("a/notes", b"mine")
    cci.upload_dask_array("a/series", np.arange(40.0), buffersize=80)
    cci.upload_sparse_array("a/series/sparse", sparse.eye(3, format="csr"))
    return cci


def call(cci: Any, verb: str, threads: int = 1) -> None:
    if verb == "rm":
        cci.rm("a", recursive=True, threads=threads)
    else:
        getattr(cci, verb)("a", "b", recursive=True, overwrite=True, threads=threads)


def assert_manifests_have_their_parts(memory: MemoryHarness) -> None:
    keys = set(memory.raw_keys())
    for key in keys:
        root, _, last = key.rpartition("/")
        if last == "metadata.json":
            manifest = json.loads(memory.raw_get(key).body)
            names = [name for _, name in manifest.get("dask", [])] or manifest["attrs"]
            assert {f"{root}/{name.rpartition('/')[2]}" for name in names} <= keys, key


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", ["killed before", "killed", "killed after", "lost", "busy"])
def test_an_interruption_leaves_no_manifest_without_its_parts(
    memory: MemoryHarness, verb: str, fault: str
) -> None:
    for request in itertools.count(1):
        for key in memory.raw_keys():
            memory.raw_delete(key)
        cci = populated(memory)
        before = {key: memory.raw_get(key).body for key in memory.raw_keys("a/")}
        plain = cci.backend_interface
        cci.backend_interface = faulty = FaultyBackend(plain)
        faulty.fail(fault, request)
        try:
            call(cci, verb)
        except (Killed, CottonCandyError):
            assert_manifests_have_their_parts(memory)
            if verb != "rm":
                cci.backend_interface = plain
                if memory.raw_keys("a/"):  # the same call finishes it
                    call(cci, verb)
                copies = {key.replace("a/", "b/", 1): body for key, body in before.items()}
                assert {key: memory.raw_get(key).body for key in memory.raw_keys("b/")} == copies
        if not faulty.fired:
            break
    assert request > 3


@pytest.mark.parametrize("verb", VERBS)
def test_arrays_below_each_other_are_transferred_whole(memory: MemoryHarness, verb: str) -> None:
    cci = populated(memory)
    before = memory.raw_keys()
    call(cci, verb, threads=4)
    moved = [key.replace("a/", "b/", 1) for key in before]
    assert memory.raw_keys() == {"cp": before + moved, "mv": moved, "rm": []}[verb]


class Refuses(WrappedBackend):
    """May not copy or delete one key."""

    def __init__(self, inner: Any, key: str) -> None:
        super().__init__(inner)
        self.key = key

    def copy(self, source: str, dest: str, **options: Any) -> Any:
        if source == self.key:
            raise AccessDeniedError(f"'{source}': a simulated refusal")
        return self.inner.copy(source, dest, **options)

    def delete(self, keys: Any, **options: Any) -> Iterator[DeleteResult]:
        wanted = list(keys)
        yield from self.inner.delete([key for key in wanted if key != self.key], **options)
        if self.key in wanted:
            yield DeleteResult(self.key, AccessDeniedError(f"'{self.key}': a simulated refusal"))


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_a_part_that_cannot_be_copied_keeps_its_manifest_back(
    memory: MemoryHarness, verb: str
) -> None:
    cci = populated(memory)
    before = set(memory.raw_keys())
    cci.backend_interface = Refuses(cci.backend_interface, "a/series/pt0002")
    with pytest.raises(PartialFailureError, match=r"^2 of .*pt0002.*series/metadata.json"):
        call(cci, verb)
    assert "b/series/metadata.json" not in memory.raw_keys()
    assert {key for key in before if key.startswith("a/series/pt")} <= set(memory.raw_keys())
    assert "b/series/sparse/metadata.json" in memory.raw_keys()


def test_a_manifest_that_cannot_be_removed_keeps_its_parts(memory: MemoryHarness) -> None:
    cci = populated(memory)
    cci.backend_interface = Refuses(cci.backend_interface, "a/series/metadata.json")
    with pytest.raises(PartialFailureError, match="metadata"):
        call(cci, "rm")
    assert memory.raw_keys("a/series/pt") == [f"a/series/pt000{number}" for number in range(4)]
    np.testing.assert_array_equal(cci.download_dask_array("a/series"), np.arange(40.0))
    assert not memory.raw_keys("a/series/sparse")
    assert not memory.raw_keys("a/notes")
