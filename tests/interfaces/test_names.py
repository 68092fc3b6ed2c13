"""A name that a listing returned refers to its object, in every method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cottoncandy.exceptions import InvalidNameError
from tests.backends.wrappers import CountingBackend
from tests.cases import each
from tests.harness import MemoryHarness


@pytest.fixture
def memory() -> Iterator[MemoryHarness]:
    harness = MemoryHarness()
    yield harness
    harness.close()


@pytest.fixture
def twins(memory: MemoryHarness) -> Any:
    """Return an interface on two objects whose names are the same once they are cleaned."""
    cci = memory.interface()
    cci.upload_raw_array("r/a/b", np.zeros(3))
    cci.upload_raw_array("source", np.ones(3))
    stored = memory.raw_get("source")
    for key in ("r/a//b", "/r/a/b"):
        memory.raw_put(key, stored.body, stored.metadata)
    cci.rm("source")
    return cci


@pytest.mark.parametrize("name", ["r/a//b", "/r/a/b"])
class TestListedName:
    def test_rm_removes_that_object(self, twins: Any, memory: MemoryHarness, name: str) -> None:
        others = [key for key in memory.raw_keys() if key != name]
        assert twins.rm(name) == 1
        assert memory.raw_keys() == others

    def test_downloads_return_that_object(self, twins: Any, name: str) -> None:
        assert twins.download_raw_array(name).tolist() == [1, 1, 1]
        assert twins.exists_object(name)
        assert twins.cloud2dataset(name).load().tolist() == [1, 1, 1]

    def test_upload_replaces_that_object(self, twins: Any, name: str) -> None:
        twins.upload_raw_array(name, np.full(3, 2.0))
        assert twins.download_raw_array(name).tolist() == [2, 2, 2]
        assert twins.download_raw_array("r/a/b").tolist() == [0, 0, 0]

    def test_mv_and_cp_take_that_object(self, twins: Any, memory: MemoryHarness, name: str) -> None:
        twins.cp(name, "copy")
        assert twins.download_raw_array("copy").tolist() == [1, 1, 1]
        twins.mv("copy", name, overwrite=True)
        twins.mv(name, "moved")
        assert twins.download_raw_array("moved").tolist() == [1, 1, 1]
        assert name not in memory.raw_keys()
        assert "r/a/b" in memory.raw_keys()

    def test_listings_find_it(self, twins: Any, name: str) -> None:
        assert twins.glob(name) == [name]
        assert twins.ls(name) == [name]


def test_missing_name_is_cleaned_for_transfers_and_rejected_for_changes(
    memory: MemoryHarness,
) -> None:
    cci = memory.interface()
    cci.upload_object("/a//b", b"1")
    assert cci.download_object("//a/b") == b"1"
    for change in (
        lambda: cci.rm("a//b"),
        lambda: cci.rm("/a", recursive=True),
        lambda: cci.mv("a//b", "c"),
        lambda: cci.cp("a/b", "/c"),
        lambda: cci.cp("/a", "c", recursive=True),
    ):
        with pytest.raises(InvalidNameError, match="did you mean"):
            change()
    assert memory.raw_keys() == ["a/b"]


def test_listed_directories_lead_to_their_contents(memory: MemoryHarness) -> None:
    for key in ("r/a//b", "r/a//c", "r/a/b"):
        memory.raw_put(key, key.encode())
    cci = memory.interface()
    assert cci.lsdir("r/a") == ["r/a//", "r/a/b"]
    assert cci.lsdir("r/a//") == cci.ls("r/a//") == cci.glob("r/a//*") == ["r/a//b", "r/a//c"]
    assert cci.cp("r/a//", "copy", recursive=True) == ["copy/b", "copy/c"]
    assert cci.rm("r/a//", recursive=True) == 2
    assert memory.raw_keys() == ["copy/b", "copy/c", "r/a/b"]


def test_dictionary_returns_each_object_under_its_own_key(twins: Any) -> None:
    found = twins.cloud2dict("r/a", verbose=False)
    assert found[""]["b"].tolist() == [1, 1, 1]
    assert found["b"].tolist() == [0, 0, 0]


def test_parts_stay_below_the_name_of_their_array(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_dask_array("x/a", np.arange(4.0), buffersize=16)
    for key in memory.raw_keys("x/a/"):
        stored = memory.raw_get(key)
        memory.raw_put("x//a/" + key.removeprefix("x/a/"), stored.body, stored.metadata)
    cci.rm("x/a", recursive=True)
    cci.upload_dask_array("x//a", np.arange(8.0), buffersize=16)
    assert cci.download_dask_array("x//a").compute().tolist() == list(range(8))
    assert all(key.startswith("x//a/") for key in memory.raw_keys())


def test_only_names_to_clean_cost_a_request(twins: Any) -> None:
    twins.backend_interface = counting = CountingBackend(twins.backend_interface)
    twins.download_raw_array("r/a/b")
    twins.download_raw_array("r/a//b")
    verbs = [verb for verb, *_ in counting.calls if verb != "read"]
    assert verbs == ["get", "exists", "get"]


NOT_TEXT: list[Any] = ["\ud800", "a\udcff/b", None, 5, b"bytes", ("t",)]


@each("name", NOT_TEXT)
@each(
    "call",
    [
        lambda cci, name: cci.glob(name),
        lambda cci, name: cci.ls(name),
        lambda cci, name: cci.lsdir(name),
        lambda cci, name: cci.rm(name, recursive=True),
        lambda cci, name: cci.mv(name, "x"),
        lambda cci, name: cci.cp("x", name, recursive=True),
        lambda cci, name: cci.upload_object(name, b""),
        lambda cci, name: cci.exists_object(name),
        lambda cci, name: cci.cloud2dict(name),
        lambda cci, name: cci.cloud2dataset(name),
        lambda cci, name: cci.download_directory(name, "x"),
        lambda cci, name: cci.get_objects(filter={"Prefix": name}),
    ],
)
def test_names_that_are_not_text_are_rejected(memory: MemoryHarness, call: Any, name: Any) -> None:
    with pytest.raises(InvalidNameError):
        call(memory.interface(), name)
