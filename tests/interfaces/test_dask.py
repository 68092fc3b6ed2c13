"""Arrays in chunks."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from typing import Any

import dask
import numpy as np
import pytest

from cottoncandy.arrays.versions import ChunkedArray
from cottoncandy.exceptions import (
    IntegrityError,
    InvalidArgumentError,
    MetadataError,
    ObjectExistsError,
    SelectionError,
    StoreError,
    UnsupportedDtypeError,
)
from cottoncandy.formats.chunked import Manifest
from tests.backends.wrappers import FaultyBackend
from tests.cases import each
from tests.interfaces.arrays import LAYOUTS, sample

da = pytest.importorskip("dask.array")


def assert_equal(result: Any, expected: np.ndarray) -> None:
    assert result.dtype == expected.dtype
    values = np.asarray(result)
    assert values.dtype == expected.dtype
    assert values.shape == expected.shape
    assert values.tobytes() == np.ascontiguousarray(expected).tobytes()


@each("axis", [-1, 0, 1, None])
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


@each("layout", ["0-d", "empty", "empty-2d", "F", "strided", "structured"])
def test_layouts(cci: Any, layout: str) -> None:
    array = LAYOUTS[layout]
    cci.upload_dask_array("array", array)
    assert_equal(cci.download_dask_array("array"), array)


def test_a_masked_dask_array_replaces_nothing(cci: Any) -> None:
    cci.upload_dask_array("array", np.arange(4))
    with pytest.raises(UnsupportedDtypeError, match="masked"):
        cci.upload_dask_array("array", da.ma.masked_equal(da.arange(4, chunks=2), 2))
    assert_equal(cci.download_dask_array("array"), np.arange(4))


@each("chunks", [(2, 3), ((1, 4), (5, 1)), (5, 6), (1, 1)])
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
    with pytest.raises(UnsupportedDtypeError, match="use upload_dask_array, or value"):
        cci.upload_raw_array("array", da.zeros(3))
    assert cci.glob("*") == []


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
    for _ in range(2):  # the version before is kept, those before it are not
        cci.upload_dask_array("array", np.ones((4, 10)), buffersize=160)
    keys = store.raw_keys()
    assert [key for key in keys if "/cc-" not in key] == ["array/metadata.json", "array/notes"]
    last = sorted(key.rpartition("/")[2] for key in keys if "/cc-" in key)
    assert last == ["previous.json", "pt0000", "pt0000", "pt0001", "pt0001"]
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


def test_a_copied_manifest_of_040_finds_parts_whose_names_were_not_cleaned(store: Any) -> None:
    cci = store.interface()
    cci.upload_raw_array("before/pt0000", np.arange(20.0))
    manifest = Manifest.of((20,), np.dtype("f8"), ((20,),), "/before").to_json()
    assert manifest["dask"] == [[[0], "/before/pt0000"]]
    for name in ("before", "after"):
        cci.upload_json(f"{name}/metadata.json", manifest)
    cci.upload_dask_array("before", np.zeros(3))
    assert len(cci.clean("", grace=0)) == 1  # the manifest of the predecessor
    assert_equal(cci.download_dask_array("after"), np.arange(20.0))


def test_chunks_of_another_array_are_told(store: Any) -> None:
    cci = store.interface()
    cci.upload_dask_array("array", np.arange(20.0), buffersize=80)
    cci.upload_raw_array("array/pt0001", np.arange(7.0))
    with pytest.raises(IntegrityError, match="pt0001"):
        cci.download_dask_array("array").compute()


@each(
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


@pytest.mark.parametrize("numpy", [True, False])
def test_a_failed_upload_leaves_the_old_array(store: Any, numpy: bool) -> None:
    cci = store.interface()
    cci.upload_dask_array("array", np.zeros((4, 40)), buffersize=160)
    before = store.raw_keys()

    def failing(block: np.ndarray, block_id: tuple[int, ...] = ()) -> np.ndarray:
        if block_id == (0, 3):
            raise RuntimeError("the network fell out")
        return block

    if numpy:
        cci.backend_interface = faulty = FaultyBackend(cci.backend_interface)
        faulty.fail("busy", 5)
        with pytest.raises(StoreError, match="made to fail"):
            cci.upload_dask_array("array", np.ones((4, 40)), buffersize=160, threads=1)
    else:
        broken = da.ones((4, 40), chunks=(4, 5)).map_blocks(failing, dtype="f8")
        with pytest.raises(RuntimeError, match="fell out"):
            cci.upload_dask_array("array", broken)
    assert store.raw_keys() == before
    assert_equal(cci.download_dask_array("array"), np.zeros((4, 40)))


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


def test_manifest_has_metadata_and_a_type(cci: Any) -> None:
    cci.upload_dask_array("array", np.zeros(3), note="n")
    info = cci.backend_interface.head("array/metadata.json")
    assert info.metadata["note"] == "n"
    assert info.content_type in ("application/json", None)  # None: the store keeps none


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_manifest_and_parts_have_the_acl(store: Any) -> None:
    cci = store.interface()

    def grants(prefix: str) -> set[int]:  # the owner's, and that of authenticated users
        return {len(cci.get_object(key).Acl().grants) for key in store.raw_keys(prefix)}

    for _ in range(2):
        cci.upload_dask_array("a", np.zeros(4), buffersize=16)
        cci.upload_dask_array("b", np.zeros(4), buffersize=16, acl="private")
    assert (grants("a/"), grants("b/")) == ({2}, {1})
    cci.restore("a", acl="private")
    assert grants("a/metadata.json") == {1}
    cci.upload_dask_array("b", np.zeros(4))
    assert grants("b/metadata.json") == {2}
    cci.cp("a", "b", recursive=True, overwrite=True)  # the copy keeps the ACL
    assert grants("b/metadata.json") == {1}


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Two processes that dask computes in."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("store", "encryption"),
    [("local", "plain"), ("moto", "AES")],
    indirect=True,
)
@pytest.mark.slow  # dask starts processes
def test_worker_processes_load_chunks_by_themselves(cci: Any, workers: Any) -> None:
    array = sample("<f4", (30, 40))
    with workers.as_current():
        cci.upload_dask_array("array", da.from_array(array, chunks=(10, 10)))
        result = cci.download_dask_array("array")
        assert_equal(result.compute(), array)
        total = (result + 1).sum()
        assert float(total.compute()) == pytest.approx(float((array + 1).sum()), 1e-3)


def test_ten_thousand_chunks_make_a_small_graph(cci: Any) -> None:
    array = np.arange(10_000, dtype="i4")
    with cci_manifest(cci, array.shape, ((1,) * 10_000,)):
        result = cci.download_dask_array("array")
    assert len(result.__dask_graph__().layers) == 1
    assert len(pickle.dumps(result)) < 100_000


@each(
    "compute",
    [
        lambda array: array[3:20, ::2],
        lambda array: array.rechunk(16),
        lambda array: (array + 1).mean(axis=0),
        lambda array: array.rechunk((64, 8))[:, 5],
    ],
)
def test_dask_fuses_as_many_tasks_as_for_zarr(cci: Any, compute: Any) -> None:
    zarr = pytest.importorskip("zarr")
    array = np.arange(64.0 * 64).reshape(64, 64)
    cci.upload_dask_array("array", da.from_array(array, chunks=8))
    expected = compute(da.from_zarr(zarr.array(array, chunks=(8, 8))))
    found = compute(cci.download_dask_array("array"))
    tasks = [len(dask.optimize(lazy)[0].__dask_graph__()) for lazy in (found, expected)]
    assert tasks[0] <= tasks[1]
    assert_equal(found.compute(), expected.compute())


@contextlib.contextmanager
def cci_manifest(cci: Any, shape: tuple[int, ...], chunks: Any) -> Iterator[None]:
    """Store a manifest without its parts."""
    manifest = Manifest.of(shape, np.dtype("i4"), chunks, "array")
    cci.upload_json("array/metadata.json", manifest.to_json())
    yield


def test_names_are_equal_for_one_version_and_differ_between_versions(cci: Any) -> None:
    cci.upload_dask_array("array", np.zeros((4, 4)), buffersize=64)
    first, second = (cci.download_dask_array("array", threads=n) for n in (1, 3))
    assert first.name == second.name
    assert pickle.loads(pickle.dumps(first)).name == first.name
    cci.upload_dask_array("array", np.zeros((4, 4)), buffersize=64)
    assert cci.download_dask_array("array").name != first.name


def test_slices_download_only_their_part(store: Any, monkeypatch: Any) -> None:
    cci = store.interface()
    cci.upload_dask_array("array", np.arange(100.0), buffersize=800, compression=False)
    taken: list[Any] = []
    read = ChunkedArray.read

    def spying(self: Any, selection: Any, threads: int) -> Any:
        taken.append(selection)
        return read(self, selection, threads)

    monkeypatch.setattr(ChunkedArray, "read", spying)
    assert_equal(cci.download_dask_array("array")[30:40:2], np.arange(30.0, 40.0, 2))
    assert taken == [(slice(30, 40, 2),)]


@each(
    "select",
    [
        lambda x: x[[3, 1, 10]],
        lambda x: x[2:, 1][[1, 0]],
        lambda x: x[1:9][[3, 1], ::2],
        lambda x: x[::-2, ::-1][:, [4, 4, 0]],
        lambda x: x[np.array([True, False] * 6)],
        lambda x: x[None, 3, 1:][..., None],
        lambda x: x.T[2:5, ::3].rechunk(2),
        lambda x: x.vindex[[1, 2], [3, 0]],
    ],
)
def test_indexing_of_dask(cci: Any, select: Any) -> None:
    array = sample("<i4", (12, 5))
    cci.upload_dask_array("array", array, axis=None, buffersize=60)
    assert_equal(select(cci.download_dask_array("array")), select(da.from_array(array)).compute())


def test_lists_of_indices_reach_the_handle(cci: Any) -> None:
    array = sample("<i4", (12, 5))
    cci.upload_dask_array("array", array, axis=None, buffersize=60)
    handle = cci.array("array")
    assert_equal(handle[2, [1, 3, 4]], array[2, [1, 3, 4]])
    assert_equal(handle[[1, 3, 4], 1:4], array[[1, 3, 4], 1:4])
    assert_equal(handle[1, :, None][[0, 3, 4]], array[1, :, None][[0, 3, 4]])
    assert_equal(handle[np.array([0, 11])], array[[0, 11]])
    with pytest.raises(SelectionError, match="ascending"):
        handle[[3, 1]]


def test_copies_of_one_pickled_array_share_their_connections(cci: Any) -> None:
    cci.upload_dask_array("array", np.zeros(4))
    data = pickle.dumps(cci.array("array"))
    assert pickle.loads(data) is pickle.loads(data)
    assert pickle.loads(data) is not pickle.loads(pickle.dumps(cci.array("array")))


@pytest.mark.parametrize(
    "array",
    [
        np.array(1.5, ">f8"),
        np.array("ab", "U5"),
        np.array(b"a", ">S3"),
        np.array(7, "<i2"),
        np.array([(1, 2)], [("a", ">i2"), ("b", "u1")])[0:1].reshape(()),
        np.array("2026-01-01", "<M8[D]"),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_0d_arrays_keep_byte_order_and_width(cci: Any, array: np.ndarray, lazy: bool) -> None:
    cci.upload_dask_array("array", da.from_array(array) if lazy else array)
    assert_equal(cci.download_dask_array("array"), array)
    assert cci.download_raw_array("array/pt0000").dtype == array.dtype


@each("chunks", [((0,), (2, 2)), ((0, 0), (4,)), ((0,), (4,))])
def test_dask_arrays_without_elements(cci: Any, chunks: Any) -> None:
    array = np.zeros((0, 4), ">i2")
    cci.upload_dask_array("array", da.from_array(array, chunks=chunks))
    assert_equal(cci.download_dask_array("array"), array)


@each(
    "wrong",
    [
        lambda x: x.map_blocks(lambda b: b.astype("f4"), dtype="f8"),
        lambda x: x.map_blocks(lambda b: b[:1], dtype=x.dtype),
        lambda x: x.map_blocks(lambda b: b[:0], dtype=x.dtype),
        lambda x: x.map_blocks(lambda b: b[None], dtype=x.dtype),
        lambda x: x.map_blocks(lambda b: b.astype("i8"), dtype="i4"),
        lambda x: x.map_blocks(lambda b: np.array([None] * len(b)), dtype="i4"),
    ],
)
def test_blocks_that_are_not_as_declared_raise(cci: Any, wrong: Any) -> None:
    lazy = wrong(da.arange(8, chunks=4, dtype="i4"))
    with pytest.raises((InvalidArgumentError, UnsupportedDtypeError), match=r"declares|pointers"):
        cci.upload_dask_array("array", lazy)
    assert not cci.exists_object("array/metadata.json")
    assert cci.glob("array/*") == []


FOREIGN = [
    {"attrs": ["bold", "events"]},
    {"dask": 5},
    {"attrs": None},
    {"dask": [[[0], "study/bold"]], "shape": [2], "chunks": [[2]], "dtype": "<f8"},
    {"type": "csr", "attrs": ["bold"], "shape": [2, 2]},
    {"type": "dia", "attrs": ["bold/data", "events/offsets"], "shape": [2, 2]},
    ["bold"],
    None,
]


@each("document", FOREIGN)
@each("kind", ["dask", "sparse"])
def test_a_foreign_document_makes_the_upload_raise(cci: Any, document: Any, kind: str) -> None:
    cci.upload_json("study/metadata.json", document)
    for name in ("bold", "events", "bold/data", "events/offsets"):
        cci.upload_raw_array(f"study/{name}", np.zeros(2))
    before = cci.glob("study/*")
    value = np.zeros(4) if kind == "dask" else pytest.importorskip("scipy.sparse").eye(3)
    with pytest.raises(ObjectExistsError, match=r"'study/metadata.json' was not stored by"):
        getattr(cci, f"upload_{kind}_array")("study", value)
    assert cci.glob("study/*") == before
    assert cci.download_json("study/metadata.json") == document


def test_a_foreign_body_makes_the_upload_raise(cci: Any) -> None:
    cci.upload_object("study/metadata.json", b"not json")
    with pytest.raises(ObjectExistsError):
        cci.upload_dask_array("study", np.zeros(4))
    assert cci.download_object("study/metadata.json") == b"not json"


def test_the_other_kind_of_array_is_replaced(cci: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    cci.upload_sparse_array("value", sparse.eye(3, format="csr"))
    cci.upload_dask_array("value", np.zeros(4))
    cci.clean("value", grace=0)
    assert [name.rpartition("/")[2] for name in cci.glob("value")] == ["pt0000", "metadata.json"]
    cci.upload_sparse_array("value", sparse.eye(3, format="coo"))
    cci.clean("value", grace=0)
    last = sorted(name.rpartition("/")[2] for name in cci.glob("value"))
    assert last == ["col", "data", "metadata.json", "row"]


def test_chunk_sizes_are_numbers_or_text(cci: Any) -> None:
    for size in ("160B", "0.16 kB", 160, 160.5, np.int64(160)):
        cci.upload_dask_array("a", np.zeros((10, 4)), axis=0, buffersize=size)
        assert cci.download_dask_array("a").numblocks == (2, 1), size
    for wrong in (0, -1, np.nan, np.inf, "", "5 XB", None, b"5"):
        with pytest.raises(InvalidArgumentError, match="buffersize must be"):
            cci.upload_dask_array("a", np.zeros((10, 4)), axis=0, buffersize=wrong)


def test_a_falling_slice_within_one_chunk_is_turned(cci: Any) -> None:
    array = np.arange(24).reshape(4, 6)
    cci.upload_dask_array("a", array, axis=0, buffersize=48 * 2)
    for selection in (np.s_[1::-1], np.s_[:2, ::-1], np.s_[3:2:-1, 4:1:-2], np.s_[1, ::-1]):
        assert np.array_equal(cci.array("a")[selection], array[selection])
    assert np.array_equal(cci.download_dask_array("a")[1::-1].compute(), array[1::-1])


def test_a_chunk_of_another_byte_order_is_not_of_this_array(cci: Any) -> None:
    # As version 0.4.0 stored it: without the ids that would show a mixture of two uploads.
    cci.upload_raw_array("a/pt0000", np.ones(3, ">f8"))
    manifest = {"shape": [3], "dtype": "<f8", "dask": [[[0], "a/pt0000"]]}
    cci.upload_json("a/metadata.json", {**manifest, "chunks": [[3]], "chunk_sizes": [[3]]})
    with pytest.raises(IntegrityError, match="two uploads"):
        cci.array("a")[:]
