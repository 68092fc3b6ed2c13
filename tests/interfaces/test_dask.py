"""Arrays in chunks."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cottoncandy.exceptions import (
    IntegrityError,
    InvalidArgumentError,
    MetadataError,
    UnsupportedDtypeError,
)
from tests.interfaces.arrays import LAYOUTS, sample

da = pytest.importorskip("dask.array")


def assert_equal(result: Any, expected: np.ndarray) -> None:
    assert result.dtype == expected.dtype
    values = np.asarray(result)
    assert values.dtype == expected.dtype
    assert values.shape == expected.shape
    assert values.tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("axis", [-1, 0, 1, None], ids=str)
def test_axes(cci: Any, axis: int | None) -> None:
    array = sample("<f4", (10, 12, 14))
    cci.upload_dask_array("branch/array", array, axis=axis, buffersize=2000)
    result = cci.download_dask_array("branch/array")
    assert max(result.npartitions, 1) > 1
    assert_equal(result, array)
    assert_equal(result[2:5, ..., ::3], array[2:5, ..., ::3])


def test_objects_are_the_documented_ones(store: Any) -> None:
    store.interface().upload_dask_array("array", np.zeros((4, 10)), buffersize=160)
    assert store.raw_keys() == ["array/metadata.json", "array/pt0000", "array/pt0001"]


@pytest.mark.parametrize("layout", ["0-d", "empty", "empty-2d", "F", "strided", "structured"])
def test_layouts(cci: Any, layout: str) -> None:
    array = LAYOUTS[layout]
    cci.upload_dask_array("array", array)
    assert_equal(cci.download_dask_array("array"), array)


def test_a_masked_dask_array_replaces_nothing(cci: Any) -> None:
    cci.upload_dask_array("array", np.arange(4))
    with pytest.raises(UnsupportedDtypeError, match="masked"):
        cci.upload_dask_array("array", da.ma.masked_equal(da.arange(4, chunks=2), 2))
    assert_equal(cci.download_dask_array("array"), np.arange(4))


@pytest.mark.parametrize("chunks", [(2, 3), ((1, 4), (5, 1)), (5, 6), (1, 1)], ids=str)
def test_dask_arrays_keep_their_chunks(cci: Any, chunks: Any) -> None:
    array = sample("<i2", (5, 6))
    cci.upload_dask_array("array", da.from_array(array, chunks=chunks) + 1)
    result = cci.download_dask_array("array")
    assert result.chunks == da.core.normalize_chunks(chunks, (5, 6))
    assert_equal(result, array + np.int16(1))


def test_empty_chunks_are_not_written(store: Any) -> None:
    cci = store.interface()
    array = sample("<i2", (5, 6))
    empty = da.from_array(array, chunks=((2, 0, 3), (6,)))
    cci.upload_dask_array("array", empty)
    assert store.raw_keys() == ["array/metadata.json", "array/pt0000", "array/pt0001"]
    assert_equal(cci.download_dask_array("array"), array)


def test_chunks_of_unknown_size_are_refused(cci: Any) -> None:
    array = da.arange(10, chunks=5)
    with pytest.raises(InvalidArgumentError, match="compute_chunk_sizes"):
        cci.upload_dask_array("array", array[array > 3])


@pytest.mark.parametrize("axis", [2, -3])
def test_there_is_no_such_axis(cci: Any, axis: int) -> None:
    with pytest.raises(InvalidArgumentError, match="axis"):
        cci.upload_dask_array("array", np.zeros((2, 2)), axis=axis)
    assert not cci.exists_object("array/pt0000")


def test_objects_are_refused(cci: Any) -> None:
    for array in (np.array([None]), da.from_array(np.array([None, 1]), chunks=1)):
        with pytest.raises(UnsupportedDtypeError):
            cci.upload_dask_array("array", array)
    assert not cci.exists_object("array/pt0000")


def test_two_arrays_are_two(cci: Any) -> None:
    first, second = np.zeros((4, 4)), np.ones((4, 4))
    cci.upload_dask_array("first", first, buffersize=64)
    cci.upload_dask_array("second", second, buffersize=64)
    difference = cci.download_dask_array("second") - cci.download_dask_array("first")
    assert_equal(difference, second - first)


def test_a_replaced_array_is_not_the_one_before(cci: Any) -> None:
    cci.upload_dask_array("array", np.zeros((4, 4)), buffersize=64)
    before = cci.download_dask_array("array")
    cci.upload_dask_array("array", np.ones((4, 4)), buffersize=64)
    after = cci.download_dask_array("array")
    assert before.name != after.name
    assert_equal(after, np.ones((4, 4)))


def test_replacing_leaves_no_parts_behind(store: Any) -> None:
    cci = store.interface()
    cci.upload_dask_array("array", np.zeros((4, 40)), buffersize=160)
    store.raw_put("array/notes", b"mine")
    cci.upload_dask_array("array", np.ones((4, 10)), buffersize=160)
    assert store.raw_keys() == [
        "array/metadata.json",
        "array/notes",
        "array/pt0000",
        "array/pt0001",
    ]
    assert_equal(cci.download_dask_array("array"), np.ones((4, 10)))


def test_only_the_chunks_that_are_needed_travel(store: Any) -> None:
    cci = store.interface()
    cci.upload_dask_array("array", np.arange(100.0), buffersize=80)
    result = cci.download_dask_array("array")
    for number in range(10):
        if number != 3:
            store.raw_delete(f"array/pt{number:04d}")
    assert_equal(result[30:40], np.arange(30.0, 40.0))
    with pytest.raises(FileNotFoundError, match="pt0000"):
        result[0].compute()


def test_a_moved_branch_is_read_where_it_is(store: Any) -> None:
    cci = store.interface()
    cci.upload_dask_array("before", np.arange(20.0), buffersize=80)
    for key in store.raw_keys("before/"):
        body, metadata = store.raw_get(key)
        store.raw_put(key.replace("before", "after/it/moved"), body, metadata)
    result = cci.download_dask_array("after/it/moved")
    assert_equal(result, np.arange(20.0))
    for key in store.raw_keys("before/"):
        store.raw_delete(key)
    assert_equal(result, np.arange(20.0))


def test_a_copied_manifest_finds_the_parts_where_they_were(store: Any) -> None:
    cci = store.interface()
    cci.upload_dask_array("before", np.arange(20.0), buffersize=80)
    body, metadata = store.raw_get("before/metadata.json")
    store.raw_put("after/metadata.json", body, metadata)
    assert_equal(cci.download_dask_array("after"), np.arange(20.0))


def test_chunks_of_another_array_are_told(store: Any) -> None:
    cci = store.interface()
    cci.upload_dask_array("array", np.arange(20.0), buffersize=80)
    cci.upload_raw_array("array/pt0001", np.arange(7.0))
    with pytest.raises(IntegrityError, match="pt0001"):
        cci.download_dask_array("array").compute()


@pytest.mark.parametrize(
    "manifest",
    [
        b"{}",
        b"[1, 2]",
        b'{"shape": [4], "dtype": "<f8", "chunks": [[2, 1]], "dask": []}',
        b'{"shape": [-4], "dtype": "<f8", "chunks": [[-4]], "dask": [[[0], "a/pt0000"]]}',
        b'{"shape": [4], "dtype": "|O", "chunks": [[4]], "dask": [[[0], "a/pt0000"]]}',
        b'{"shape": [4], "dtype": "<f8", "chunks": [[2, 2]], "dask": [[[0], "a/pt0000"]]}',
    ],
)
def test_manifests_that_make_no_sense(store: Any, manifest: bytes) -> None:
    store.raw_put("array/metadata.json", manifest)
    with pytest.raises(MetadataError, match="array"):
        store.interface().download_dask_array("array")


def test_a_failed_upload_leaves_no_array(cci: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cci.upload_dask_array("array", np.zeros((4, 40)), buffersize=160)

    def failing(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if name.endswith("pt0003"):
            raise RuntimeError("the network fell out")
        return original(self, name, *args, **kwargs)

    original = type(cci).upload_raw_array
    monkeypatch.setattr(type(cci), "upload_raw_array", failing)
    with pytest.raises(RuntimeError, match="fell out"):
        cci.upload_dask_array("array", np.ones((4, 40)), buffersize=160)
    with pytest.raises(FileNotFoundError):
        cci.download_dask_array("array")


@pytest.mark.parametrize("store", ["memory", "moto"], indirect=True)
def test_the_graph_is_small_and_pickles(store: Any) -> None:
    cci = store.interface()
    cci.upload_dask_array("array", da.zeros(40, chunks=1, dtype="u1"), compression=False)
    result = cci.download_dask_array("array", dask_name="mine")
    assert result.name.startswith("mine-")
    data = pickle.dumps(result)
    assert len(data) < 40 * 200 + 5000
    assert_equal(pickle.loads(data), np.zeros(40, "u1"))
    secret = store.connection().get("SECRET_KEY", "no secret here")
    assert secret not in repr(result)
    assert secret not in repr(dict(result.__dask_graph__()))


def test_manifest_metadata_and_acl(cci: Any) -> None:
    cci.upload_dask_array("array", np.zeros(3), acl="private", note="n")
    with cci.download_stream("array/metadata.json") as stream:
        assert stream.metadata["note"] == "n"


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Two processes that dask computes in."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "store", [pytest.param("local", marks=pytest.mark.slow), "moto"], indirect=True
)
@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_worker_processes_load_chunks_by_themselves(cci: Any, workers: Any) -> None:
    array = sample("<f4", (30, 40))
    with workers.as_current():
        cci.upload_dask_array("array", da.from_array(array, chunks=(10, 10)))
        result = cci.download_dask_array("array")
        assert_equal(result.compute(), array)
        total = (result + 1).sum()
        assert float(total.compute()) == pytest.approx(float((array + 1).sum()), 1e-3)
