"""Replacements of chunked and sparse arrays on a store: interrupted, overtaken, undone."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import dask
import numpy as np
import pytest

from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    IntegrityError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageFullError,
    StoreTimeoutError,
)
from tests.arrays.kinds import KINDS, Interleaved, current, matrix, only, uploads
from tests.backends.wrappers import FAULTS as BACKEND_FAULTS
from tests.backends.wrappers import FaultyBackend, Killed, WrappedBackend
from tests.harness import MemoryHarness

#: Kind, number of versions before, fault: each fault once, on one predecessor.
ENDINGS = [
    ("chunked", 1, "killed after"),
    ("chunked", 1, "lost"),
    ("sparse", 1, "killed"),
    *(
        pytest.param(*ending, marks=pytest.mark.slow)
        for ending in [
            ("chunked", 1, "killed before"),
            ("chunked", 1, "killed"),
            ("chunked", 1, "busy"),
            ("chunked", 0, "killed after"),
            ("sparse", 0, "lost"),
            ("chunked", 2, "lost"),
            ("sparse", 2, "killed after"),
        ]
    ),
]


@pytest.mark.parametrize(("kind", "before", "fault"), ENDINGS)
def test_an_upload_that_ends_at_any_request_leaves_old_or_new(
    memory: MemoryHarness, kind: str, before: int, fault: str
) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    for number in range(before):
        upload(cci, number)
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
        lazy = cci.array("a") if before else None
        cci.backend_interface = faulty = FaultyBackend(plain)
        faulty.fail(fault, request)
        outcome = "done"
        try:
            upload(cci, 9)
        except (Killed, CottonCandyError):
            outcome = "raised"
        cci.backend_interface = plain
        if outcome == "done" or before or memory.raw_keys("a/metadata.json"):
            assert value(cci, "a") in ({9} if outcome == "done" else {before - 1, 9})
        if lazy is not None:
            lazy_values = lazy[...] if kind == "chunked" else lazy[...].data
            assert only(lazy_values) == before - 1  # one predecessor is kept
        upload(cci, 10)  # remaining chunks have no effect
        assert value(cci, "a") == 10
        cci.clean("a", grace=0)
        assert value(cci, "a") == 10
        parts = {"chunked": 3, "sparse": 3}[kind]
        assert len(memory.raw_keys()) == parts + 1
        if faulty.left > 0:
            break
    assert request > 4


#: Calls on an array that was replaced once and appended to, and the values that it may have then.
CALLS: dict[str, tuple[Callable[[Any], Any], list[list[float]]]] = {
    "append": (lambda cci: cci.append_dask_array("a", np.full(1, 3.0)), [[1, 2, 3]]),
    "restore": (lambda cci: cci.restore("a"), [[1]]),
    "clean": (lambda cci: cci.clean("", grace=0), []),
    "set_metadata": (lambda cci: cci.set_metadata("a", note="x"), []),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "fault", ["killed", "lost", *(pytest.param(f, marks=pytest.mark.slow) for f in BACKEND_FAULTS)]
)
def test_other_calls_that_end_at_any_request_leave_old_or_new(
    memory: MemoryHarness, call: str, fault: str
) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a", np.zeros(1))
    cci.upload_dask_array("a", np.ones(1))
    cci.append_dask_array("a", np.full(1, 2.0))
    function, after = CALLS[call]
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
        cci.backend_interface = faulty = FaultyBackend(plain)
        faulty.fail(fault, request)
        done = False
        with contextlib.suppress(Killed, CottonCandyError):
            function(cci)
            done = True
        cci.backend_interface = plain
        found = cci["a"].tolist()
        assert found in (after if done and after else [[1, 2], *after])
        cci.append_dask_array("a", np.full(1, 9.0))
        assert cci["a"].tolist() == [*found, 9]
        cci.clean("a", grace=0)
        assert cci["a"].tolist() == [*found, 9]
        if faulty.left > 0:
            break
    assert request > 2


class Unanswered(WrappedBackend):
    """Stores a manifest, or not, and raises; the next ``unread`` reads of it fail too."""

    def __init__(self, inner: Any, error: Exception, *, stored: bool, unread: int) -> None:
        super().__init__(inner)
        self.error, self.stored, self.unread = error, stored, unread

    def put(self, key: str, *arguments: Any, **options: Any) -> Any:
        if not key.endswith("a/metadata.json") or self.error is None:
            return super().put(key, *arguments, **options)
        if self.stored:
            super().put(key, *arguments, **options)
        error, self.error = self.error, None
        raise error

    def get(self, key: str, **options: Any) -> Any:
        if self.error is None and self.unread:
            self.unread -= 1
            raise StoreTimeoutError("made to fail")
        return super().get(key, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [StoreTimeoutError, IntegrityError, OSError])
def test_a_commit_without_an_answer_keeps_what_may_be_current(
    memory: MemoryHarness, kind: str, error: type[Exception]
) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    plain = cci.backend_interface
    upload(cci, 0)
    lost = error("made to fail")
    cci.backend_interface = Unanswered(plain, lost, stored=True, unread=1)
    with pytest.raises(error):
        upload(cci, 1)  # which was stored
    cci.backend_interface = plain
    assert value(cci, "a") == 1
    cci.backend_interface = Unanswered(plain, lost, stored=True, unread=0)
    assert upload(cci, 2)["ETag"] == plain.head("a/metadata.json").etag
    cci.backend_interface = plain
    cci.restore("a")
    assert value(cci, "a") == 1  # version 2 was committed once


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("after", ["appended to", "replaced"])
def test_what_is_stored_after_a_copy_without_an_answer_stays(
    memory: MemoryHarness, after: str, overwrite: bool
) -> None:
    cci, other = memory.interface(), memory.interface()
    cci.upload_dask_array("x", np.zeros(2))

    class Lost(WrappedBackend):
        lost = False

        def put(self, key: str, *arguments: Any, **options: Any) -> Any:
            result = super().put(key, *arguments, **options)
            if key == "a/metadata.json" and not self.lost:
                self.lost = True
                change = other.append_dask_array if after == "appended to" else upload
                change("a", np.ones(2))
                raise StoreTimeoutError("made to fail")
            return result

    upload = other.upload_dask_array
    cci.backend_interface = Lost(cci.backend_interface)
    cci.cp("x", "a", recursive=True, overwrite=overwrite)
    assert other["a"].tolist() == ([0, 0, 1, 1] if after == "appended to" else [1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_commit_that_finds_the_store_full_leaves_no_parts(
    memory: MemoryHarness, kind: str
) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    plain = cci.backend_interface
    upload(cci, 0)
    upload(cci, 1)
    before = {key for key in memory.raw_keys() if "previous" not in key}
    full = Unanswered(plain, StorageFullError("made to fail"), stored=False, unread=9)
    cci.backend_interface = full
    with pytest.raises(StorageFullError):
        upload(cci, 2)
    assert full.unread == 9  # the manifest is not read again
    assert {key for key in memory.raw_keys() if "previous" not in key} == before
    cci.backend_interface = plain
    assert value(cci, "a") == 1


class BeforeCommit(WrappedBackend):
    """Calls a function before each manifest is stored; its error is that of the request."""

    def __init__(self, inner: Any, function: Callable[[], None]) -> None:
        super().__init__(inner)
        self.function, self.count = function, 0

    def put(self, key: str, *arguments: Any, **options: Any) -> Any:
        if key == "a/metadata.json":
            self.count += 1
            self.function()
        return super().put(key, *arguments, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ["overwrite", "if_match", "restore"])
def test_a_writer_that_another_one_overtakes_leaves_nothing(
    memory: MemoryHarness, kind: str, verb: str
) -> None:
    upload, value = KINDS[kind]
    cci, second = memory.interface(), memory.interface()
    etag = None if verb == "overwrite" else upload(cci, 0)["ETag"]
    if verb == "restore":
        upload(cci, 1)
    cci.backend_interface = BeforeCommit(cci.backend_interface, partial(upload, second, 2))
    condition = {"if_match": etag} if etag else {"overwrite": False}
    call = partial(cci.restore, "a") if verb == "restore" else partial(upload, cci, 3, **condition)
    with pytest.raises((ObjectChangedError, ObjectExistsError), match="'a'"):
        call()
    assert value(second, "a") == 2
    live = second.download_json("a/metadata.json")
    kept = {live["upload_id"], live["previous"]} if verb == "restore" else {live["upload_id"]}
    assert uploads(memory) == kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("error", "kept"), [(ObjectChangedError, False), (StoreTimeoutError, True)]
)
def test_a_commit_that_never_succeeds_ends(
    memory: MemoryHarness, kind: str, error: type[Exception], kept: bool
) -> None:
    """Parts are kept if the manifest may still arrive."""
    upload, value = KINDS[kind]
    cci = memory.interface()
    upload(cci, 0)

    def fail() -> None:
        raise error("made to fail")

    cci.backend_interface = never = BeforeCommit(cci.backend_interface, fail)
    with pytest.raises(error, match="made to fail"):
        upload(cci, 1)
    assert never.count == 4
    assert bool(uploads(memory)) == kept
    assert value(memory.interface(), "a") == 0


@pytest.mark.parametrize("denied", ["metadata.json", "previous.json"])
def test_a_commit_that_fails_after_an_unanswered_one_keeps_its_parts(
    memory: MemoryHarness, denied: str
) -> None:
    """The first request may still arrive."""
    upload, value = KINDS["chunked"]
    cci = memory.interface()
    upload(cci, 0)

    class Failing(WrappedBackend):
        sent = False

        def put(self, key: str, *arguments: Any, **options: Any) -> Any:
            if self.sent and key.endswith(denied):
                raise AccessDeniedError("made to fail")
            if key == "a/metadata.json":
                self.sent = True
                raise StoreTimeoutError("made to fail")
            return super().put(key, *arguments, **options)

    cci.backend_interface = Failing(cci.backend_interface)
    with pytest.raises(AccessDeniedError):
        upload(cci, 1)
    (upload_id,) = uploads(memory)
    assert memory.raw_keys(f"a/{upload_id}/pt")
    assert value(memory.interface(), "a") == 0


@pytest.mark.parametrize(
    ("kind", "other", "before"),
    [
        ("chunked", "chunked", 1),
        ("chunked", "sparse", 0),
        ("sparse", "chunked", 1),
        ("sparse", "sparse", 0),
    ],
)
def test_two_writers_never_mix(memory: MemoryHarness, kind: str, other: str, before: int) -> None:
    upload, _ = KINDS[kind]
    cci, second = memory.interface(), memory.interface()
    for _ in range(before):
        upload(cci, 0)
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
        cci.backend_interface = watched = Interleaved(
            plain, request, partial(KINDS[other][0], second, 2)
        )
        upload(cci, 1)
        if watched.left > 0:
            break
        last = current(second)
        assert last in (1, 2)
        second.restore("a")
        assert current(second) == 3 - last
        second.clean("a", grace=0)
        assert current(second) == 3 - last
    assert request > 4


def twice(upload: Callable[..., Any], cci: Any) -> None:
    upload(cci, 1)
    upload(cci, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_finds_one_version_whatever_is_replaced(memory: MemoryHarness, kind: str) -> None:
    upload, value = KINDS[kind]
    cci, writer = memory.interface(), memory.interface()
    upload(cci, 0)
    plain, begin = cci.backend_interface, memory.snapshot()
    once = partial(upload, writer, 1)
    for request in itertools.count(1):
        begin()
        cci.backend_interface = watched = Interleaved(plain, request, once)
        assert value(cci, "a") in (0, 1)
        if watched.left > 0:
            break
        begin()
        cci.backend_interface = Interleaved(plain, request, partial(twice, upload, writer))
        if kind == "sparse":
            assert value(cci, "a") in (0, 2)
        else:
            assert only(cci["a"]) in (0, 2)
    assert request > 3


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_array_keeps_its_version_and_then_raises(memory: MemoryHarness, kind: str) -> None:
    upload, _ = KINDS[kind]
    cci = memory.interface()
    upload(cci, 0)
    lazy = cci.array("a")
    upload(cci, 1)
    assert (np.asarray(lazy).ravel()[:1] == 0).all()
    upload(cci, 2)
    with pytest.raises(ObjectChangedError, match="array 'a'"):
        lazy[...]


def test_a_dask_array_is_uploaded_onto_the_name_that_it_reads(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a", np.arange(12.0), buffersize=16)
    for _ in range(3):
        lazy = (cci.download_dask_array("a") + 1)[::-1].rechunk(5)
        with dask.config.set(scheduler="synchronous"):  # writes the first block before it reads all
            cci.upload_dask_array("a", lazy)
    expected = np.arange(12.0)
    for _ in range(3):
        expected = (expected + 1)[::-1]
    np.testing.assert_array_equal(cci.download_dask_array("a"), expected)


def test_compute_false_returns_the_upload(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a", np.zeros(4), buffersize=16)
    for number in (1, 2):
        array = cci.download_dask_array("a") + 1 if number == 2 else np.ones(4)
        task = cci.upload_dask_array("a", array, compute=False)
        np.testing.assert_array_equal(cci.download_dask_array("a"), np.full(4, number - 1))
        response = task.compute(scheduler="threads")
        assert response["ETag"] == memory.backend().head("a/metadata.json").etag
        np.testing.assert_array_equal(cci.download_dask_array("a"), np.full(4, number))


@pytest.mark.parametrize("replaces", [False, True])
def test_a_delayed_upload_that_is_computed_twice_is_two_uploads(
    memory: MemoryHarness, replaces: bool
) -> None:
    import dask.array as da
    from dask.delayed import delayed

    cci, value = memory.interface(), [1.0]
    if replaces:
        cci.upload_dask_array("a", np.zeros(4))
    read = delayed(lambda: np.full(4, value[0]), pure=False)()
    array = da.from_delayed(read, (4,), float).rechunk(2)
    task = cci.upload_dask_array("a", array, compute=False)
    task.compute(scheduler="sync")
    first = cci.array("a")
    value[0] = 2.0
    task.compute(scheduler="sync")
    np.testing.assert_array_equal(cci["a"], np.full(4, 2.0))
    np.testing.assert_array_equal(first, np.ones(4))
    cci.restore("a")
    np.testing.assert_array_equal(cci["a"], np.ones(4))


def test_a_delayed_upload_that_failed_can_be_computed_again(memory: MemoryHarness) -> None:
    import dask.array as da

    cci = memory.interface()
    error = StorageFullError("made to fail")
    cci.backend_interface = Unanswered(cci.backend_interface, error, stored=False, unread=0)
    task = cci.upload_dask_array("a", da.ones(4, chunks=2), compute=False)
    with pytest.raises(StorageFullError):
        task.compute(scheduler="sync")
    task.compute(scheduler="sync")
    assert cci["a"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("blocks", [4, 2])
def test_a_delayed_upload_that_fails_leaves_no_parts(memory: MemoryHarness, blocks: int) -> None:
    import dask.array as da

    cci = memory.interface()
    etag = cci.upload_dask_array("a", np.zeros(4))["ETag"]
    array = da.ones(4, chunks=blocks)
    task = cci.upload_dask_array("a", array, compute=False, if_match=etag)
    cci.upload_dask_array("a", np.full(4, 2.0))
    with pytest.raises(ObjectChangedError, match="'a'"):
        task.compute(scheduler="sync")
    assert uploads(memory) == {cci.download_json("a/metadata.json")["upload_id"]}


def test_a_task_that_outlives_a_failed_upload_leaves_no_part(memory: MemoryHarness) -> None:
    import dask.array as da

    started, cleaned = threading.Event(), threading.Event()

    class Late(WrappedBackend):
        def put(self, key: str, *arguments: Any, **options: Any) -> Any:
            started.set()
            cleaned.wait(10)
            return super().put(key, *arguments, **options)

    def failing(block: np.ndarray, block_id: tuple[int, ...] = ()) -> np.ndarray:
        if block_id == (1,):
            started.wait(10)
            raise RuntimeError("made to fail")
        return block

    cci = memory.interface()
    cci.upload_dask_array("a", np.zeros(2))
    before = memory.raw_keys()
    cci.backend_interface = Late(cci.backend_interface)
    with ThreadPoolExecutor(2) as pool, dask.config.set(pool=pool):
        with pytest.raises(RuntimeError, match="made to fail"):
            cci.upload_dask_array("a", da.ones(2, chunks=1).map_blocks(failing, dtype="f8"))
        cleaned.set()
    assert memory.raw_keys() == before


def test_a_version_that_is_moved_away_meanwhile_is_no_predecessor(memory: MemoryHarness) -> None:
    cci, other = memory.interface(), memory.interface()
    cci.upload_dask_array("a", np.zeros(2))
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
        cci.backend_interface = watched = Interleaved(
            plain, request, lambda: other.mv("a", "b", recursive=True)
        )
        cci.upload_dask_array("a", np.ones(2), threads=1)
        with contextlib.suppress(ObjectNotFoundError):
            other.restore("a")
        if "a" in other:
            assert other["a"].tolist() in ([0, 0], [1, 1])
        if watched.left > 0:
            break
    assert request > 4


@pytest.mark.parametrize("kind", KINDS)
def test_an_opened_array_that_was_deleted_says_so(memory: MemoryHarness, kind: str) -> None:
    upload, _ = KINDS[kind]
    cci = memory.interface()
    upload(cci, 1)
    arr = cci.array("a")
    cci.rm("a", recursive=True)
    with pytest.raises(ObjectChangedError, match="was deleted since it was opened"):
        arr[...]
    with pytest.raises(ObjectNotFoundError, match="'a'"):
        cci["a"]


@pytest.mark.parametrize("kind", KINDS)
def test_restore_is_an_undo_of_itself(memory: MemoryHarness, kind: str) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    with pytest.raises(ObjectNotFoundError, match="'a'"):
        cci.restore("a")
    upload(cci, 0)
    with pytest.raises(ObjectNotFoundError, match="predecessor"):
        cci.restore("a")
    upload(cci, 1)
    lazy = cci.array("a")
    for expected in (0, 1, 0, 1):
        response = cci.restore("a")
        assert response["ETag"] == memory.backend().head("a/metadata.json").etag
        assert value(cci, "a") == expected
    assert (np.asarray(lazy).ravel()[:1] == 1).all()
    upload(cci, 2)
    cci.restore("a")
    assert value(cci, "a") == 1
    cci.clean("a", grace=0)
    with pytest.raises(ObjectNotFoundError, match="predecessor"):
        cci.restore("a")
    assert value(cci, "a") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_restore_brings_back_the_metadata(memory: MemoryHarness, kind: str) -> None:
    upload, _ = KINDS[kind]
    cci = memory.interface()
    for number in range(2):
        upload(cci, number)
        cci.set_metadata("a", number=number)
    for expected in ("0", "1"):
        cci.restore("a")
        assert cci.info("a").metadata == {"number": expected}


def test_a_sparse_array_of_version_040_is_restored(memory: MemoryHarness) -> None:
    upload, value = KINDS["sparse"]
    cci = memory.interface()
    upload(cci, 0)
    manifest = cci.download_json("a/metadata.json")
    for name in ("upload_id", "previous", "parts"):
        del manifest[name]
    cci.upload_json("a/metadata.json", manifest)
    upload(cci, 1)
    cci.restore("a")
    assert value(cci, "a") == 0


def test_a_damaged_predecessor_is_none(memory: MemoryHarness) -> None:
    upload, value = KINDS["chunked"]
    cci = memory.interface()
    upload(cci, 0)
    upload(cci, 1)
    (upload_id,) = uploads(memory)
    memory.raw_put(f"a/{upload_id}/previous.json", b"damaged")
    with pytest.raises(ObjectNotFoundError, match="no predecessor"):
        cci.restore("a")
    upload(cci, 2)
    assert value(cci, "a") == 2


def test_a_restore_during_replacements_says_so(memory: MemoryHarness) -> None:
    upload, value = KINDS["chunked"]
    cci, second = memory.interface(), memory.interface()
    upload(cci, 0)
    upload(cci, 1)
    plain = cci.backend_interface
    cci.backend_interface = Interleaved(plain, 3, partial(twice, upload, second))
    with pytest.raises(ObjectChangedError, match="'a' was replaced"):
        cci.restore("a")
    assert value(second, "a") == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_raw_array_of_the_name_goes_after_the_commit(memory: MemoryHarness, kind: str) -> None:
    cci = memory.interface()
    cci.upload_raw_array("a", np.zeros(3))
    KINDS[kind][0](cci, 1)
    assert current(cci) == 1
    memory.raw_put("b", b"a file, not an array")
    cci.upload_sparse_array("b", matrix(1))
    assert memory.raw_get("b").body == b"a file, not an array"


@pytest.mark.parametrize("kind", KINDS)
def test_a_raw_array_does_not_hide_what_restore_and_append_store(
    memory: MemoryHarness, kind: str
) -> None:
    cci = memory.interface()
    for number in range(2):
        KINDS[kind][0](cci, number)
    cci.upload_raw_array("a", np.full(3, 7.0))
    cci.restore("a")
    assert current(cci) == 0
    if kind == "chunked":
        cci.upload_raw_array("a", np.full(3, 7.0))
        cci.append_dask_array("a", np.zeros(1))
        assert current(cci) == 0


def test_a_copy_of_both_arrays_of_a_name_is_both(memory: MemoryHarness) -> None:
    cci = memory.interface()
    for name in ("a", "b"):
        cci.upload_dask_array(name, np.zeros(3))
        cci.upload_raw_array(name, np.ones(3))
    cci.cp("a", "b", recursive=True, overwrite=True)
    assert cci["b"].tolist() == [1.0] * 3
    assert np.asarray(cci.download_dask_array("b")).tolist() == [0.0] * 3
