"""Arrays that grow, and uploads with a condition."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest

from cottoncandy.backends.base import DeleteResult
from cottoncandy.exceptions import (
    InvalidArgumentError,
    MetadataError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreTimeoutError,
    StoreUnreachableError,
)
from tests.arrays.kinds import KINDS, Interleaved, legacy, matrix, uploads
from tests.backends.wrappers import FaultyBackend, WrappedBackend
from tests.harness import MemoryHarness

# -- arrays that grow ------------------------------------------------------------------------------


@pytest.mark.parametrize(("axis", "dask"), [(0, False), (1, True), (-1, False)])
def test_append_along_every_axis(memory: MemoryHarness, axis: int, dask: bool) -> None:
    import dask.array as da

    cci = memory.interface()
    rng = np.random.default_rng(0)
    expected = rng.random((4, 5, 6))
    cci.upload_dask_array("a", da.from_array(expected, chunks=(2, 3, 2)), note="kept")
    for _ in range(3):
        shape = list(expected.shape)
        shape[axis] = 3
        more = rng.random(shape)
        given = da.from_array(more, chunks=2) if dask else more
        response = cci.append_dask_array("a", given, axis=axis)
        assert response["ETag"] == memory.backend().head("a/metadata.json").etag
        expected = np.concatenate([expected, more], axis=axis)
        np.testing.assert_array_equal(cci.download_dask_array("a"), expected)
    assert cci.array("a").attrs["note"] == "kept"
    keys = len(memory.raw_keys())
    cci.clean("a", grace=0)
    assert len(memory.raw_keys()) == keys - 1  # one previous.json: all parts are shared
    np.testing.assert_array_equal(cci.download_dask_array("a"), expected)


def test_append_to_an_empty_array_and_of_nothing(memory: MemoryHarness) -> None:
    cci = memory.interface()
    etag = cci.upload_dask_array("a", np.zeros((0, 3)))["ETag"]
    assert cci.append_dask_array("a", np.ones((0, 3)), if_match=etag)["ETag"] == etag
    with pytest.raises(ObjectChangedError):
        cci.append_dask_array("a", np.ones((0, 3)), if_match="another")
    cci.append_dask_array("a", np.ones((2, 3)))
    cci.append_dask_array("a", np.full((1, 3), 2.0))
    np.testing.assert_array_equal(cci.download_dask_array("a"), [[1] * 3, [1] * 3, [2] * 3])


def test_append_rejects_what_does_not_fit(memory: MemoryHarness) -> None:
    cci = memory.interface()
    with pytest.raises(ObjectNotFoundError, match="upload_dask_array"):
        cci.append_dask_array("a", np.ones(3))
    cci.upload_dask_array("a", np.zeros((4, 3)))
    before = memory.raw_keys()
    for wrong in (np.ones((2, 3), "f4"), np.ones((2, 3), ">f8"), np.ones((2, 4)), np.ones(3)):
        with pytest.raises(InvalidArgumentError, match="'a'"):
            cci.append_dask_array("a", wrong)
    for axis in (2, -3, 0.5):
        with pytest.raises(InvalidArgumentError, match="axis"):
            cci.append_dask_array("a", np.ones((2, 3)), axis=axis)
    with pytest.raises(InvalidArgumentError, match="axis"):
        cci.append_dask_array("a", np.ones((2, 3)), axis=None)
    with pytest.raises(ObjectChangedError):
        cci.append_dask_array("a", np.ones((2, 3)), if_match="another")
    assert memory.raw_keys() == before
    cci.upload_sparse_array("a", matrix(1))
    with pytest.raises(MetadataError, match="sparse"):
        cci.append_dask_array("a", np.ones((4, 4)))


def test_chunks_of_an_appended_array_are_as_long_as_those_before(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a", np.zeros(5), buffersize=16)
    cci.append_dask_array("a", np.ones(3))
    assert cci.array("a").chunks == ((2, 2, 1, 2, 1),)


def test_an_append_to_an_array_that_was_cut_in_another_way_raises(memory: MemoryHarness) -> None:
    cci, second = memory.interface(), memory.interface()
    cci.upload_dask_array("a", np.zeros((2, 4)))
    change = partial(second.upload_dask_array, "a", np.zeros((2, 4)), axis=1, buffersize=32)
    cci.backend_interface = Interleaved(cci.backend_interface, 2, change)
    with pytest.raises(ObjectChangedError, match="'a'"):
        cci.append_dask_array("a", np.ones((2, 4)))
    assert second.array("a").chunks == ((2,), (2, 2))


@pytest.mark.parametrize("other", ["append", "replace", "remove"])
def test_two_appenders_lose_nothing(memory: MemoryHarness, other: str) -> None:
    cci, second = memory.interface(), memory.interface()
    cci.upload_dask_array("a", np.zeros(2))
    plain, begin = cci.backend_interface, memory.snapshot()
    change = {
        "append": partial(second.append_dask_array, "a", np.full(2, 2.0)),
        "replace": partial(second.upload_dask_array, "a", np.zeros((2, 2))),
        "remove": partial(second.rm, "a/metadata.json"),
    }[other]
    for request in itertools.count(1):
        begin()
        cci.backend_interface = watched = Interleaved(plain, request, change)
        try:
            cci.append_dask_array("a", np.full(2, 1.0), threads=1)
        except (ObjectChangedError, ObjectNotFoundError, InvalidArgumentError):
            assert other != "append"
            if other == "replace":
                assert uploads(memory) == {second.download_json("a/metadata.json")["upload_id"]}
        if watched.left > 0:
            break
        if other == "append":
            values = np.asarray(second.download_dask_array("a")).tolist()
            assert values in ([0, 0, 1, 1, 2, 2], [0, 0, 2, 2, 1, 1])
        elif other == "replace":
            assert second.download_dask_array("a").shape == (2, 2)
    assert request > 4


@pytest.mark.parametrize("first", ["append", "replace", "create"])
@pytest.mark.parametrize("others", [1, 2, 3])
def test_others_append_before_a_lost_answer(memory: MemoryHarness, first: str, others: int) -> None:
    cci, second = memory.interface(), memory.interface()
    if first != "create":
        cci.upload_dask_array("a", np.zeros(1))

    class Lost(WrappedBackend):
        def put(self, key: str, *arguments: Any, **options: Any) -> Any:
            result = super().put(key, *arguments, **options)
            if key == "a/metadata.json":
                for number in range(others):
                    second.append_dask_array("a", np.full(1, 2.0 + number))
                raise StoreTimeoutError("made to fail")
            return result

    cci.backend_interface = Lost(cci.backend_interface)
    if first == "append":
        cci.append_dask_array("a", np.ones(1))
    else:
        cci.upload_dask_array("a", np.ones(1))
    expected = [0.0] * (first == "append") + [1.0, 2.0, 3.0, 4.0][: 1 + others]
    assert np.asarray(second.array("a")).tolist() == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later", ["one", "two", "one, cleaned"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_conditional_upload_without_an_answer_finds_itself_in_the_chain(
    memory: MemoryHarness, kind: str, later: str, before: int
) -> None:
    upload, value = KINDS[kind]
    cci, second = memory.interface(), memory.interface()
    condition = {"if_match": upload(cci, 0)["ETag"]} if before else {"overwrite": False}

    class Lost(WrappedBackend):
        def put(self, key: str, *arguments: Any, **options: Any) -> Any:
            result = super().put(key, *arguments, **options)
            if key == "a/metadata.json":
                for number in range(2 if later == "two" else 1):
                    upload(second, 2 + number)
                if "cleaned" in later:
                    second.clean("a", grace=0)
                raise StoreTimeoutError("made to fail")
            return result

    cci.backend_interface = Lost(cci.backend_interface)
    upload(cci, 1, **condition)  # succeeded, and was replaced since
    assert value(second, "a") == (3 if later == "two" else 2)


@pytest.mark.parametrize("kind", KINDS)
def test_all_parts_of_a_replacement_are_below_its_id(memory: MemoryHarness, kind: str) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    upload(cci, 0)
    for key in memory.raw_keys():
        if not key.endswith("metadata.json"):
            memory.raw_delete(key)  # their names are free
    upload(cci, 1)
    assert value(cci, "a") == 1
    assert {key.count("/") for key in memory.raw_keys()} == {1, 2}
    assert [key for key in memory.raw_keys() if key.count("/") == 1] == ["a/metadata.json"]


def test_sparse_arrays_have_documented_names_where_conditions_are_ignored(
    memory: MemoryHarness,
) -> None:
    class Ignores(WrappedBackend):
        def puts_atomically(self, key: str, size: int = 0) -> bool:
            return False

    cci = memory.interface()
    cci.backend_interface = Ignores(cci.backend_interface)
    cci.upload_sparse_array("a", matrix(1))  # version 0.4.0 reads no others
    assert memory.raw_keys() == ["a/data", "a/indices", "a/indptr", "a/metadata.json"]
    cci.upload_dask_array("b", np.ones(2))
    assert "b/pt0000" not in memory.raw_keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_removal_that_fails_after_the_commit_is_logged(
    memory: MemoryHarness, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    upload(cci, 0)
    upload(cci, 1)

    class Keeps(WrappedBackend):
        def delete(self, keys: Any, **options: Any) -> Any:
            return iter([DeleteResult(key, StoreUnreachableError("refused")) for key in keys])

    cci.backend_interface = Keeps(cci.backend_interface)
    upload(cci, 2)
    assert "could not be removed: refused; cci.clean() removes them" in caplog.text
    assert value(cci, "a") == 2


def test_a_replacement_keeps_what_its_predecessor_shares(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a", np.zeros(2))
    cci.append_dask_array("a", np.ones(2))  # names the chunk of the version before
    cci.upload_dask_array("a", np.full(3, 2.0))
    cci.restore("a")
    assert np.asarray(cci.array("a")).tolist() == [0, 0, 1, 1]


def test_append_to_an_array_of_version_040(memory: MemoryHarness) -> None:
    cci = memory.interface()
    legacy(memory, cci)
    cci.append_dask_array("a", np.full(2, 9.0))
    np.testing.assert_array_equal(cci.download_dask_array("a"), [0, 1, 2, 3, 9, 9])
    cci.restore("a")
    np.testing.assert_array_equal(cci.download_dask_array("a"), [0, 1, 2, 3])
    cci.restore("a")
    cci.clean("a", grace=0)
    np.testing.assert_array_equal(cci.download_dask_array("a"), [0, 1, 2, 3, 9, 9])


def test_the_predecessor_keeps_the_parts_that_it_shares_with_older_versions(
    memory: MemoryHarness,
) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a", np.zeros(4))
    cci.append_dask_array("a", np.ones(2))
    lazy = cci.array("a")
    cci.upload_dask_array("a", np.full(3, 2.0))
    np.testing.assert_array_equal(lazy[...], [0, 0, 0, 0, 1, 1])
    cci.clean("a", grace="1d")
    cci.restore("a")
    np.testing.assert_array_equal(cci.download_dask_array("a"), [0, 0, 0, 0, 1, 1])


# -- conditions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_of_uploads(memory: MemoryHarness, kind: str) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    with pytest.raises(ObjectChangedError):
        upload(cci, 0, if_match="0" * 32)
    assert memory.raw_keys() == []
    first = upload(cci, 0, overwrite=False)["ETag"]
    with pytest.raises(ObjectExistsError):
        upload(cci, 1, overwrite=False)
    second = upload(cci, 1, if_match=first)["ETag"]
    with pytest.raises(ObjectChangedError):
        upload(cci, 2, if_match=first)
    upload(cci, 2, if_match=f'"{second}"')
    assert value(cci, "a") == 2
    for wrong in ("", 5, 'a"b', "a\nb"):
        with pytest.raises(InvalidArgumentError, match="if_match"):
            upload(cci, 3, if_match=wrong)
    with pytest.raises(InvalidArgumentError, match="contradict"):
        upload(cci, 3, if_match=second, overwrite=False)
    for wrong in ("no", "False", None):
        with pytest.raises(InvalidArgumentError, match="overwrite must be"):
            upload(cci, 3, overwrite=wrong)
    assert value(cci, "a") == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [0, 1])
def test_a_conditional_upload_whose_name_is_taken_meanwhile_raises(
    memory: MemoryHarness, kind: str, before: int
) -> None:
    upload, value = KINDS[kind]
    cci, second = memory.interface(), memory.interface()
    etag = upload(cci, 0)["ETag"] if before else None
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(2):
        begin()
        cci.backend_interface = watched = Interleaved(plain, request, partial(upload, second, 2))
        condition = {"if_match": etag} if before else {"overwrite": False}
        try:
            upload(cci, 1, **condition)
        except (ObjectChangedError, ObjectExistsError):
            assert value(second, "a") == 2
        if watched.left > 0:
            break
        assert value(second, "a") == 2
    assert request > 4


def test_single_objects_recognize_their_own_upload_after_a_lost_answer(
    memory: MemoryHarness,
) -> None:
    cci = memory.interface()
    cci.backend_interface = faulty = FaultyBackend(cci.backend_interface)
    faulty.fail("lost", 1)
    response = cci.upload_object("x", b"1", overwrite=False)
    assert response["ETag"] == memory.backend().head("x").etag
    faulty.fail("refused", 1)
    with pytest.raises(StoreUnreachableError):
        cci.upload_object("y", b"1", overwrite=False)
    faulty.fail(None)
    with pytest.raises(ObjectExistsError, match="'x'"):
        cci.upload_raw_array("x", np.ones(2), overwrite=False)
    cci.upload_raw_array("x", np.ones(2), if_match=response["ETag"])


@pytest.mark.parametrize("store", ["local"], indirect=True)
def test_a_directory_holds_no_raw_array_of_its_name(cci: Any, store: Any) -> None:
    import dask.array as da

    array = np.ones((4, 4))
    cci.upload_raw_array("raw", array)
    cci.upload_dask_array("chunked", array)
    before = store.raw_keys()
    lazy = da.from_array(array, chunks=2)
    for upload in (
        lambda: cci.upload_dask_array("raw", array),
        lambda: cci.upload_dask_array("raw", lazy, compute=False).compute(),
        lambda: cci.upload_dask_array("raw/below", array),
        lambda: cci.upload_sparse_array("raw", matrix(1)),
        lambda: cci.upload_raw_array("raw/below", array),
        lambda: cci.upload_raw_array("chunked", array),
    ):
        with pytest.raises(ObjectExistsError):
            upload()
        assert store.raw_keys() == before
