"""Copies, moves and removals of trees that contain arrays of several objects."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cottoncandy.backends.base import DeleteResult
from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    ObjectChangedError,
    ObjectNotFoundError,
    PartialFailureError,
)
from tests.arrays.kinds import Interleaved
from tests.backends.wrappers import FaultyBackend, Killed, WrappedBackend
from tests.harness import MemoryHarness, StoreHarness

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


slow, server = pytest.mark.slow, pytest.mark.server


@pytest.mark.parametrize(
    ("verb", "fault"),
    [
        ("cp", "killed before"),
        ("mv", "killed"),
        ("rm", "killed after"),
        *(
            pytest.param(verb, fault, marks=slow)
            for verb, faults in {
                "cp": ["killed", "killed after", "lost", "busy"],
                "mv": ["killed before", "killed after", "lost", "busy"],
                "rm": ["killed before", "killed", "lost", "busy"],
            }.items()
            for fault in faults
        ),
    ],
)
def test_an_interruption_leaves_no_manifest_without_its_parts(
    memory: MemoryHarness, verb: str, fault: str
) -> None:
    cci = populated(memory)
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
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
                copy = cci.download_dask_array("b/series")
                np.testing.assert_array_equal(copy, np.arange(40.0))
                assert cci.download_sparse_array("b/series/sparse").shape == (3, 3)
                assert memory.raw_get("b/notes").body == b"mine"
        if faulty.left > 0:
            break
    assert request > 2


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
    kept = {key for key in before if key.startswith(("a/series/pt", "a/series/metadata"))}
    assert kept <= set(memory.raw_keys())
    assert "b/series/sparse/metadata.json" in memory.raw_keys()


def test_a_file_that_was_deleted_meanwhile_is_named(memory: MemoryHarness) -> None:
    class Vanishes(WrappedBackend):
        def copy(self, source: str, dest: str, **options: Any) -> Any:
            if source == "a/notes":
                raise ObjectNotFoundError("'a/notes': deleted")
            return super().copy(source, dest, **options)

    cci = populated(memory)
    cci.backend_interface = Vanishes(cci.backend_interface)
    with pytest.raises(PartialFailureError, match="a/notes"):
        call(cci, "cp")


def test_an_original_that_cannot_be_removed_is_named(memory: MemoryHarness) -> None:
    class Keeps(Refuses):
        copy = WrappedBackend.copy

    cci = populated(memory)
    cci.backend_interface = Keeps(cci.backend_interface, "a/series/metadata.json")
    with pytest.raises(PartialFailureError, match=r"series/metadata\.json"):
        call(cci, "mv")
    np.testing.assert_array_equal(cci.download_dask_array("b/series"), np.arange(40.0))


def test_a_manifest_that_cannot_be_removed_keeps_its_parts(memory: MemoryHarness) -> None:
    cci = populated(memory)
    cci.backend_interface = Refuses(cci.backend_interface, "a/series/metadata.json")
    with pytest.raises(PartialFailureError, match="metadata"):
        call(cci, "rm")
    assert memory.raw_keys("a/series/pt") == [f"a/series/pt000{number}" for number in range(4)]
    np.testing.assert_array_equal(cci.download_dask_array("a/series"), np.arange(40.0))
    assert not memory.raw_keys("a/series/sparse")
    assert not memory.raw_keys("a/notes")


# -- arrays that are replaced, or change -----------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "fault"),
    [
        pytest.param("mv", "killed after", marks=server),
        pytest.param("mv", "lost", marks=slow),
        pytest.param("cp", "killed before", marks=slow),
        pytest.param("cp", "busy", marks=slow),
    ],
)
def test_a_copy_onto_an_array_leaves_old_or_new(
    memory: MemoryHarness, verb: str, fault: str
) -> None:
    from scipy import sparse

    cci = populated(memory)
    cci.append_dask_array("a/series", np.arange(4.0))  # parts of two uploads of one number
    cci.set_metadata("a/series", subject="sub01")
    cci.upload_dask_array("b/series", np.zeros(30), buffersize=80)
    cci.upload_sparse_array("b/series/sparse", sparse.eye(5, format="csr"))
    new = np.concatenate([np.arange(40.0), np.arange(4.0)])
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
        cci.backend_interface = faulty = FaultyBackend(plain)
        faulty.fail(fault, request)
        outcome = "done"
        try:
            call(cci, verb)
        except (Killed, CottonCandyError):
            outcome = "raised"
        cci.backend_interface = plain
        series = np.asarray(cci.download_dask_array("b/series")).tolist()
        matrix = cci.download_sparse_array("b/series/sparse").shape
        assert series in ([new.tolist()] if outcome == "done" else [[0] * 30, new.tolist()])
        assert matrix in ([(3, 3)] if outcome == "done" else [(5, 5), (3, 3)])
        if memory.raw_keys("a/series/metadata.json"):
            np.testing.assert_array_equal(cci.download_dask_array("a/series"), new)
        else:
            assert series == new.tolist()
        if faulty.left > 0:
            break
    assert request > 5
    assert memory.raw_get("b/notes").body == b"mine"
    cci.rm("a", recursive=True)
    np.testing.assert_array_equal(cci.download_dask_array("b/series"), new)
    assert cci.info("b/series").metadata == {"subject": "sub01"}
    cci.restore("b/series")
    assert cci.download_dask_array("b/series").shape == (30,)


@pytest.mark.parametrize(
    ("existing", "change"),
    [
        pytest.param(False, "replaced", marks=slow),
        pytest.param(True, "replaced", marks=server),
        (False, "stored again"),
        pytest.param(True, "stored again", marks=server),
    ],
)
def test_a_copy_is_whole_if_the_original_is_replaced_meanwhile(
    memory: MemoryHarness, existing: bool, change: str
) -> None:
    cci, other = populated(memory), memory.interface()
    if existing:
        cci.upload_dask_array("b/series", np.zeros(3))

    def replace() -> None:
        if change == "stored again":  # its parts have the names of the old ones
            del other["a/series"]
            other.upload_dask_array("a/series", np.ones(40), buffersize=80)
            return
        for _ in range(2):  # the parts of the original are gone
            other.upload_dask_array("a/series", np.ones(30), buffersize=80)

    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
        cci.backend_interface = backend = Interleaved(plain, request, replace)
        call(cci, "cp")
        if backend.left > 0:
            break
        for key in memory.raw_keys("a/"):
            memory.raw_delete(key)  # the copy has its own parts
        values = np.asarray(other.download_dask_array("b/series")).tolist()
        assert values in ([1] * len(values), list(range(40)))
    assert request > 5


@pytest.mark.parametrize("change", ["appended to", "replaced"])
def test_a_move_keeps_what_is_stored_meanwhile(memory: MemoryHarness, change: str) -> None:
    cci, other = memory.interface(), memory.interface()
    cci.upload_dask_array("a/x", np.arange(4.0), buffersize=16)

    def store() -> None:
        if not memory.raw_keys("a/x/metadata.json"):
            backend.left = 1  # it was moved
        elif change == "appended to":
            other.append_dask_array("a/x", np.ones(2))
        else:
            for _ in range(2):  # the parts of the original are gone
                other.upload_dask_array("a/x", np.ones(6), buffersize=16)

    plain, begin, lost = cci.backend_interface, memory.snapshot(), 0
    for request in itertools.count(1):
        begin()
        cci.backend_interface = backend = Interleaved(plain, request, store)
        with contextlib.suppress(PartialFailureError):
            cci.mv("a", "b", recursive=True, threads=1)
        cci.backend_interface = plain
        if backend.left > 0:
            break
        if memory.raw_keys("a/x/metadata.json"):
            assert cci["a/x"].shape == (6,)
            cci.mv("a", "b", recursive=True, overwrite=True)
        lost += cci["b/x"].shape != (6,)
        if not lost:
            assert memory.raw_keys("a/") == []
    assert lost <= 1  # before the deletion, which no store makes on a condition


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_only_a_move_to_a_free_name_keeps_the_predecessor(
    memory: MemoryHarness, verb: str, existing: bool
) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a/x", np.zeros(3), buffersize=8)
    cci.upload_dask_array("a/x", np.ones(3), buffersize=8)
    cci.upload_object("a/x/notes", b"mine")
    if existing:
        cci.upload_dask_array("b/x", np.full(2, 2.0), buffersize=8)
    old = set(memory.raw_keys("b/"))
    names = getattr(cci, verb)("a", "b", recursive=True, overwrite=True)
    np.testing.assert_array_equal(cci.download_dask_array("b/x"), np.ones(3))
    new = set(memory.raw_keys("b/")) - old
    assert {*names} == {key for key in new if not key.endswith("previous.json")} | {
        "b/x/metadata.json"
    }
    kept = [2, 2] if existing else [0, 0, 0] if verb == "mv" else None
    assert len(names) == (8 if kept == [0, 0, 0] else 5)
    if kept is None:
        with pytest.raises(ObjectNotFoundError, match="no predecessor"):
            cci.restore("b/x")
    else:
        cci.restore("b/x")
        assert cci["b/x"].tolist() == kept
    if verb == "mv":
        assert memory.raw_keys("a/") == []


def test_the_predecessor_moves_again_and_again(memory: MemoryHarness) -> None:
    from scipy import sparse

    cci = memory.interface()
    cci.upload_sparse_array("a/s", sparse.eye(2, format="csr"))
    cci.upload_sparse_array("a/s", sparse.eye(3, format="csr"))
    cci.upload_dask_array("a/x", np.zeros(2), buffersize=8, axis=0)
    cci.append_dask_array("a/x", np.ones(1))  # shares the parts of its predecessor
    for source, dest in ("ab", "bc"):
        cci.mv(source, dest, recursive=True)
        cci.clean("")  # nothing is that old
    assert memory.raw_keys("c/") == memory.raw_keys()
    assert cci["c/x"].tolist() == [0, 0, 1]
    for name in ("c/s", "c/x"):
        cci.restore(name)
    assert cci["c/x"].tolist() == [0, 0]
    assert cci["c/s"].shape == (2, 2)
    cci.clean("", grace=0)
    assert cci["c/x"].tolist() == [0, 0]
    assert len(memory.raw_keys("c/x/")) == 3


def test_a_move_that_begins_again_leaves_no_copies(memory: MemoryHarness) -> None:
    cci, other = memory.interface(), memory.interface()
    for value in (1.0, 2.0):
        cci.upload_dask_array("a/x", np.full(2, value), buffersize=8)
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
        cci.backend_interface = watched = Interleaved(
            plain, request, lambda: other.upload_dask_array("a/x", np.full(2, 3.0), buffersize=8)
        )
        with contextlib.suppress(CottonCandyError):
            cci.mv("a", "b", recursive=True, threads=1)
        left = other.clean("b", grace=0, dry_run=True)
        assert len(left) in (0, 3), left  # the predecessor: two chunks and a manifest
        if watched.left > 0:
            break


def test_a_predecessor_that_is_cleaned_meanwhile_is_not_restored_in_part(
    memory: MemoryHarness,
) -> None:
    cci, other = memory.interface(), memory.interface()
    for value in (1.0, 2.0):
        cci.upload_dask_array("a/x", np.full(2, value), buffersize=8)
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
        cci.backend_interface = watched = Interleaved(
            plain, request, lambda: other.clean("a", grace=0)
        )
        cci.mv("a", "b", recursive=True, threads=1)
        with contextlib.suppress(ObjectNotFoundError):
            other.restore("b/x")
        assert other["b/x"].tolist() in ([1, 1], [2, 2])
        if watched.left > 0:
            break


@pytest.mark.parametrize("verb", ["cp", "mv"])
def test_parts_without_an_array_stay_where_they_are(memory: MemoryHarness, verb: str) -> None:
    cci = memory.interface()
    for value in (1.0, 2.0):
        cci.upload_dask_array("a/x", np.full(2, value), buffersize=8)
        cci.upload_dask_array("b/x", np.full(2, value + 2), buffersize=8)
    cci.upload_raw_array("a/x/data", np.ones(1))  # a name like that of a part
    memory.raw_delete("a/x/metadata.json")  # as after a move that was killed
    left = set(memory.raw_keys("a/")) - {"a/x/data"}
    assert getattr(cci, verb)("a", "b", recursive=True, overwrite=True) == ["b/x/data"]
    assert left <= set(memory.raw_keys("a/"))
    assert cci["b/x"].tolist() == [4, 4]
    cci.restore("b/x")
    assert cci["b/x"].tolist() == [3, 3]
    assert cci.cp("a/x/pt0000", "c", recursive=True) == ["c"]
    cci.clean("a", grace=0)
    assert not left & set(memory.raw_keys("a/"))


def test_parts_without_an_array_stay_below_a_damaged_one(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a", np.ones(2), buffersize=8)
    cci.upload_dask_array("a/x", np.ones(2), buffersize=8)
    memory.raw_delete("a/x/metadata.json")
    memory.raw_put("a/metadata.json", memory.raw_get("a/metadata.json").body[:-1])
    cci.cp("a", "b", recursive=True)
    assert memory.raw_keys("b/") == ["b/metadata.json", "b/pt0000", "b/pt0001"]


@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("verb", VERBS)
def test_an_upload_that_is_running_meanwhile_is_whole_or_fails(
    memory: MemoryHarness, verb: str, replacing: bool
) -> None:
    cci, other = memory.interface(), memory.interface()
    cci.upload_object("a/notes", b"mine")
    if replacing:
        cci.upload_dask_array("a/x", np.zeros(3), buffersize=8)
    begin, plain, lost = memory.snapshot(), other.backend_interface, 0
    for request in itertools.count(1):
        begin()
        other.backend_interface = backend = Interleaved(plain, request, lambda: call(cci, verb))
        try:
            other.upload_dask_array("a/x", np.ones(3), buffersize=8, threads=1)
        except ObjectChangedError:
            assert verb == "rm"
        for name in ("a/x", "b/x"):
            if memory.raw_keys(f"{name}/metadata.json"):
                try:
                    assert cci[name].tolist() in ([0] * 3, [1] * 3)
                except ObjectNotFoundError:
                    lost += 1
        if backend.left > 0:
            break
    assert request > 4
    # Between the last look at the parts and the manifest.
    assert lost == (verb == "rm" and not replacing)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_copy_removes_the_raw_array_that_would_hide_it(
    memory: MemoryHarness, overwrite: bool
) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a/x", np.ones(3))
    cci.upload_raw_array("b/x", np.zeros(2))
    cci.cp("a", "b", recursive=True, overwrite=overwrite)
    np.testing.assert_array_equal(cci["b/x"], np.ones(3) if overwrite else np.zeros(2))
    cci.upload_raw_array("a/x", np.full(1, 2.0))  # copied as well, so it stays
    cci.cp("a", "b", recursive=True, overwrite=True)
    np.testing.assert_array_equal(cci["b/x"], np.full(1, 2.0))


def test_a_damaged_array_is_moved_as_it_is(memory: MemoryHarness) -> None:
    cci = populated(memory)
    memory.raw_delete("a/series/pt0001")
    cci.mv("a", "b", recursive=True)
    assert memory.raw_keys("a/") == []
    np.testing.assert_array_equal(cci.array("b/series")[:10], np.arange(10.0))
    with pytest.raises(CottonCandyError, match="pt0001"):
        cci.array("b/series")[10:]


@pytest.mark.parametrize("end", ["a", "b"])
def test_what_only_has_the_name_of_a_manifest_is_copied_as_an_object(
    memory: MemoryHarness, end: str
) -> None:
    cci = populated(memory)
    cci.upload_object(f"{end}/series/metadata.json", b"{}")
    call(cci, "cp")
    for name in ("notes", "series/metadata.json", "series/pt0000"):
        assert memory.raw_get(f"b/{name}").body == memory.raw_get(f"a/{name}").body


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_copies_of_arrays_keep_the_acl(store: StoreHarness) -> None:
    cci = store.interface()
    cci.upload_dask_array("a/x", np.arange(3.0), buffersize=8, acl="public-read")
    for _ in range(2):  # a new array, then a replacement
        cci.cp("a", "b", recursive=True, overwrite=True)
        for key in store.raw_keys("b/"):
            grants = cci.get_object(key).Acl().grants
            assert "READ" in [grant["Permission"] for grant in grants], key
    cci.upload_dask_array("b/x", np.zeros(3), acl="private")
    (previous,) = [key for key in store.raw_keys("b/") if key.endswith("previous.json")]
    for key, public in ((previous, True), ("b/x/metadata.json", False)):
        grants = cci.get_object(key).Acl().grants
        assert ("READ" in [grant["Permission"] for grant in grants]) == public, key
