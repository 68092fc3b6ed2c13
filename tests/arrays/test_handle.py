"""The array handle behaves like the array, and downloads what it must."""

from __future__ import annotations

import pickle
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cottoncandy
from cottoncandy.arrays.handle import CloudArray
from cottoncandy.backends.base import PutOptions
from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    InvalidNameError,
    MetadataError,
    ObjectChangedError,
    ObjectNotFoundError,
    SelectionError,
)
from cottoncandy.formats.raw import Layout
from tests.arrays.kinds import KINDS
from tests.backends.wrappers import CountingBackend, WrappedBackend
from tests.cases import each
from tests.interfaces.arrays import DTYPES, LAYOUTS, sample

#: Uploads of one array in each way that a handle opens.
UPLOADS = {
    "raw": lambda cci, name, array: cci.upload_raw_array(name, array, compression=False),
    "gzip": lambda cci, name, array: cci.upload_raw_array(name, array, compression="gzip"),
    "chunked": lambda cci, name, array: cci.upload_dask_array(name, array, None, 100),
}


@pytest.fixture(params=UPLOADS)
def upload(request: pytest.FixtureRequest, cci: Any) -> Any:
    """Upload an array as ``name``, and open it."""

    def store(array: Any, name: str = "lab/array") -> Any:
        UPLOADS[request.param](cci, name, array)
        return cci.array(name)

    return store


def assert_equal(found: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    assert type(found) is np.ndarray
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


@each("name", LAYOUTS)
def test_every_layout_is_the_array(upload: Any, name: str) -> None:
    array = LAYOUTS[name]
    arr = upload(array)
    assert (arr.shape, arr.dtype, arr.ndim) == (array.shape, array.dtype, array.ndim)
    assert (arr.size, arr.nbytes) == (array.size, array.nbytes)
    for found in (np.asarray(arr), arr[...], arr[()], np.array(arr)):
        assert_equal(found, array)


@each("dtype", DTYPES)
def test_every_dtype_is_sliced(upload: Any, dtype: str) -> None:
    array = sample(dtype)
    arr = upload(array)
    assert_equal(arr[1:, ::2], array[1:, ::2])
    assert_equal(arr[0, 0], np.array(array[0, 0], array.dtype))


ARRAY = np.arange(7 * 5 * 6, dtype="<i2").reshape(7, 5, 6)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_selection_is_what_numpy_selects(upload: Any, data: st.DataObject) -> None:
    arr = upload(ARRAY)
    selection = data.draw(hnp.basic_indices(ARRAY.shape, allow_newaxis=True, allow_ellipsis=True))
    assert_equal(arr[selection], np.array(ARRAY[selection], ARRAY.dtype))


def test_a_part_of_one_chunk_is_not_copied(monkeypatch: Any) -> None:
    cci = cottoncandy.get_interface("parts", backend="memory", verbose=False)
    array = np.arange(24.0).reshape(4, 6)
    cci.upload_dask_array("name", array, compression=False)
    handle, results = cci.array("name"), []
    new_array = Layout.new_array

    def spy(layout: Layout) -> Any:
        results.append(layout.shape)
        return new_array(layout)

    monkeypatch.setattr(Layout, "new_array", spy)
    for selection in (np.s_[2], np.s_[:, 3], np.s_[None, 1, 2:], np.s_[3, 5]):
        results.clear()
        assert_equal(handle[selection], array[selection])
        assert len(results) == 1


@pytest.mark.parametrize("compression", [False, "gzip", "zlib"])
def test_chunks_are_read_into_their_places(monkeypatch: Any, compression: Any) -> None:
    cci = cottoncandy.get_interface("places", backend="memory", verbose=False)
    array = np.arange(60_000).reshape(300, 200)
    cci.upload_dask_array("name", array, axis=0, buffersize=200_000, compression=compression)
    handle = cci.array("name")
    assert len(handle.chunks[0]) > 1
    # Another array for each chunk would be copied.
    monkeypatch.setattr("cottoncandy.formats.raw.RawArrayHeader.new_array", None)
    assert np.array_equal(handle[...], array)


def test_lists_and_masks_keep_their_axis_in_its_place(upload: Any) -> None:
    arr = upload(ARRAY)
    assert_equal(arr[[0, 1, 6]], ARRAY[[0, 1, 6]])
    assert_equal(arr[2, :, [0, 1, 5]], ARRAY[2][:, [0, 1, 5]])
    assert_equal(arr[[1, 4], 3], ARRAY[[1, 4]][:, 3])
    assert_equal(arr[:, ARRAY[0, :, 0] > 6], ARRAY[:, ARRAY[0, :, 0] > 6])
    assert_equal(arr[..., []], ARRAY[..., []])
    with pytest.raises(SelectionError, match="ascending"):
        arr[[2, 1]]
    with pytest.raises(SelectionError, match="one axis"):
        arr[[0, 1], [0, 1]]
    with pytest.raises(IndexError, match="out of bounds"):
        arr[7]


def test_habits_of_numpy_and_h5py(upload: Any) -> None:
    arr = upload(ARRAY)
    assert len(arr) == 7
    assert [row.shape for row in arr] == [(5, 6)] * 7
    assert_equal(np.asarray(arr, "f8"), ARRAY.astype("f8"))
    assert float(arr[1, 2, 3]) == ARRAY[1, 2, 3]
    assert np.add(arr, 1).sum() == (ARRAY + 1).sum()
    assert ARRAY.max() in arr
    assert ARRAY.max() + 1 not in arr
    with pytest.raises(ValueError, match="copy"):
        np.asarray(arr, copy=False)
    with pytest.raises(AttributeError, match=r"no attribute 'mean'; download .* array\[...\].mean"):
        arr.mean()
    with pytest.raises(AttributeError, match=r"no attribute '_repr_png_'$"):
        arr._repr_png_()
    scalar = upload(np.array(2.5), "scalar")
    assert float(scalar[()]) == 2.5
    with pytest.raises(TypeError, match="0-d"):
        len(scalar)
    with pytest.raises(TypeError):
        iter(scalar)


def test_fields_are_read_by_name(upload: Any) -> None:
    array = LAYOUTS["structured"]
    arr = upload(array)
    assert_equal(arr["n"], np.array(array["n"]))
    first, second = array.dtype.names[:2]
    assert_equal(arr[1:, first], np.array(array[1:][first]))
    assert_equal(arr[first, second, 0], np.array(array[0][[first, second]]))
    assert_equal(arr[[first, second]], np.array(array[[first, second]]))
    for wrong in ("missing", (0, "missing"), (first, "missing")):
        with pytest.raises(SelectionError, match=r"'lab/array'.*no field"):
            arr[wrong]
    with pytest.raises(SelectionError, match="no field"):
        upload(ARRAY)["n"]


def test_selection_errors_name_the_array(upload: Any, cci: Any) -> None:
    arr = upload(ARRAY)
    for wrong in (99, [2, 1], [1, 1], 1.5, (0, 0, 0, 0), [True]):
        with pytest.raises(SelectionError, match="'lab/array'"):
            arr[wrong]
        if arr.kind == "raw":
            with pytest.raises(SelectionError, match="'lab/array'"):
                cci.download_raw_array("lab/array", selection=wrong)


def test_repr_says_what_and_where(upload: Any) -> None:
    arr = upload(ARRAY)
    assert "'lab/array' int16[7, 5, 6]" in repr(arr)
    assert "memory" in repr(arr)
    html = arr._repr_html_()
    assert "int16" in html
    assert "(7, 5, 6)" in html


def test_html_escapes_names(cci: Any) -> None:
    cci.upload_raw_array("<script>", np.arange(3), note="<b>")
    html = cci.array("<script>")._repr_html_()
    assert "<script>" not in html
    assert "<b>&lt;" not in html.replace("<b>&lt;script", "")


def test_metadata_of_the_user_are_attributes(cci: Any) -> None:
    cci.upload_raw_array("raw", ARRAY, subject="sub01")
    cci.upload_dask_array("chunked", ARRAY, subject="sub01")
    for name in ("raw", "chunked"):
        assert dict(cci.array(name).attrs) == {"subject": "sub01"}


def test_dask_reads_along_chunks(cci: Any) -> None:
    cci.upload_dask_array("array", ARRAY, axis=0, buffersize=3 * 60)
    arr = cci.array("array")
    assert arr.chunks == ((3, 3, 1), (5,), (6,))
    lazy = da.from_array(arr, chunks=arr.chunks)
    assert lazy.chunks == arr.chunks
    assert_equal((lazy[1:5, ::2] + 1).compute(), ARRAY[1:5, ::2] + 1)
    automatic = da.from_array(arr)
    assert_equal(automatic.compute(), ARRAY)
    with dask.config.set({"array.chunk-size": "200B"}):
        edges = np.cumsum(da.from_array(arr).chunks[0])
        assert set(edges) <= {3, 6, 7}


def test_tokens_differ_between_versions(upload: Any) -> None:
    first = upload(ARRAY)
    again = upload(ARRAY, "other")
    assert first.__dask_tokenize__() != again.__dask_tokenize__()
    token = da.from_array(first).name
    assert da.from_array(first).name == token
    assert da.from_array(upload(ARRAY + 1)).name != token
    # Equal bytes may have equal ETags and dates, in another bucket or of another dtype.
    version, token = first._version, first.__dask_tokenize__()
    elsewhere = cottoncandy.get_interface("elsewhere", backend="memory", verbose=False)
    assert CloudArray(elsewhere._store, first.name, version, 4).__dask_tokenize__() != token
    metadata = {**(version.info.metadata or {}), "dtype": "<i8"}
    version.info = version.info._replace(metadata=metadata)
    assert first.__dask_tokenize__() != token


def test_a_pickled_handle_has_no_data_and_reads(upload: Any) -> None:
    arr = upload(ARRAY)
    data = pickle.dumps(arr)
    assert len(data) < 4000
    copy = pickle.loads(data)
    assert_equal(copy[1:3], ARRAY[1:3])
    assert copy.__dask_tokenize__() == arr.__dask_tokenize__()
    assert pickle.loads(data) is copy  # tasks of one process share its connections


def test_a_handle_whose_attributes_were_changed_pickles_anew(cci: Any) -> None:
    cci.upload_raw_array("a", ARRAY)
    arr = cci.array("a")
    pickle.loads(pickle.dumps(arr))
    arr.attrs["note"] = "x"
    copy = pickle.loads(pickle.dumps(arr))
    assert dict(copy.attrs) == {"note": "x"}
    assert_equal(copy[...], ARRAY)


def test_a_handle_that_was_read_pickles_without_its_index(cci: Any) -> None:
    cci.upload_raw_array("a", np.zeros(2**19), compression="gzip")  # of several blocks
    arr = cci.array("a")
    data = pickle.dumps(arr)
    assert arr[-1] == 0
    assert pickle.dumps(arr) == data


@pytest.mark.parametrize("compression", [False, "gzip"])
def test_a_replaced_raw_array_raises(cci: Any, compression: Any) -> None:
    cci.upload_raw_array("array", ARRAY, compression=compression)
    arr = cci.array("array")
    copy = pickle.dumps(arr)
    cci.upload_raw_array("array", ARRAY + 1, compression=compression)
    for handle in (arr, pickle.loads(copy)):
        assert handle.shape == ARRAY.shape
        for read in (lambda h: h[1], np.asarray):
            with pytest.raises(ObjectChangedError, match="replaced"):
                read(handle)
    cci.rm("array")
    with pytest.raises(ObjectChangedError, match="deleted"):
        arr[0]


@pytest.mark.server
@pytest.mark.parametrize("compression", [False, "gzip"])
@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_a_deleted_raw_array_says_so_on_s3(store: Any, compression: Any) -> None:
    cci = store.interface()
    noise = np.random.default_rng(0).standard_normal(2**18)
    cci.upload_raw_array("array", noise, compression=compression)
    arr = cci.array("array")  # its reader is bound to the ETag, and kept
    cci.rm("array")
    for read in (lambda: arr[1], lambda: arr[...]):
        with pytest.raises(ObjectChangedError, match="deleted"):
            read()


def test_a_handle_stays_in_its_bucket(cci: Any) -> None:
    cci.upload_raw_array("array", ARRAY)
    arr = cci.array("array")
    home = cci.bucket_name
    cci.create_bucket(home + "-two")
    try:
        assert_equal(arr[0], ARRAY[0])
    finally:
        cci.rm_bucket(home + "-two")
        cci.set_bucket(home)


def test_a_raw_array_wins_over_chunks(cci: Any) -> None:
    cci.upload_dask_array("array", ARRAY)
    cci.upload_raw_array("array", ARRAY[0])
    assert cci.array("array").kind == "raw"
    cci.upload_object("array", b"notes")
    assert cci.array("array").kind == "chunked"


def test_names_without_an_array(cci: Any) -> None:
    cci.upload_object("notes", b"text")
    cci.upload_json("branch/metadata.json", {"author": "me"})
    for name in ("missing", "branch/missing"):
        with pytest.raises(ObjectNotFoundError, match="missing"):
            cci.array(name)
    for name in ("notes", "branch"):
        with pytest.raises(MetadataError):
            cci.array(name)
    with pytest.raises(InvalidNameError):
        cci.array(3)


def test_opening_takes_one_request_and_two_for_chunks(cci: Any) -> None:
    cci.upload_raw_array("raw", ARRAY)
    cci.upload_dask_array("chunked", ARRAY)
    cci.backend_interface = backend = CountingBackend(cci.backend_interface)
    # The manifest arrives with its header.
    for name, verbs in (("raw", {"get": 1}), ("chunked", {"get": 2, "read": 1})):
        with backend.expect(**verbs):
            arr = cci.array(name)
            _ = arr.shape, arr.dtype, arr.nbytes, arr.chunks, repr(arr), arr.attrs


# -- sparse --------------------------------------------------------------------------------------


@each("kind", ["csr", "csc", "coo", "bsr", "dia"])
@each("container", ["matrix", "array"])
def test_slices_of_sparse_arrays_are_those_of_scipy(cci: Any, kind: str, container: str) -> None:
    dense = np.diag(np.arange(1.0, 7)).astype("<f4")
    matrix = getattr(scipy.sparse, f"{kind}_{container}")(dense)
    cci.upload_sparse_array("sparse", matrix)
    arr = cci.array("sparse")
    assert (arr.kind, arr.shape, arr.dtype, arr.ndim) == ("sparse", (6, 6), dense.dtype, 2)
    assert (len(arr), arr.size, arr.nbytes, arr.chunks) == (6, 36, dense.nbytes, None)
    assert_equal(np.asarray(arr), dense)
    assert type(arr[...]) is type(matrix)
    assert scipy.sparse.issparse(arr[1:3])
    np.testing.assert_array_equal(arr[1:3, [0, 2]].toarray(), dense[1:3][:, [0, 2]])
    assert arr[2, 2] == 3
    assert len(list(arr)) == 6
    with pytest.raises(IndexError):
        arr[6]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(arr))[0:2].toarray(), dense[:2])
    assert "sparse" in repr(arr)


def test_sparse_arrays_are_items(cci: Any) -> None:
    matrix = scipy.sparse.random(20, 30, 0.1, format="csc", dtype="f4", rng=0)
    cci["sparse"] = matrix
    cci["copy"] = cci.array("sparse")
    cci.upload_sparse_array("again", cci.array("copy"))
    assert (cci["again"] != matrix).nnz == 0
    del cci["copy"], cci["again"]
    assert (cci["sparse"] != matrix).nnz == 0
    info = cci.info("sparse")
    assert (info.kind, info.dtype, info.shape) == ("sparse", np.dtype("f4"), (20, 30))
    assert "sparse" in cci
    del cci["sparse"]
    assert list(cci) == []


# -- metadata ------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "local", "encrypted"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Any, cci: Any) -> Any:
    """An interface on stores that keep metadata in different ways."""
    if request.param == "memory":
        return cci
    if request.param == "local":
        return cottoncandy.get_interface(str(tmp_path / "root"), backend="local", verbose=False)
    return cottoncandy.get_encrypted_interface(
        cci.bucket_name, backend="memory", encryptionKey="A" * 43 + "=", verbose=False
    )


@pytest.mark.parametrize("kind", ["raw", "gzip", "chunked", "sparse"])
def test_attributes_are_changed_in_place(anywhere: Any, kind: str) -> None:
    if kind == "sparse":
        anywhere.upload_sparse_array("array", scipy.sparse.csr_array(ARRAY[0]))
    else:
        UPLOADS[kind](anywhere, "array", ARRAY)
    expected = ARRAY[0] if kind == "sparse" else ARRAY
    arr = anywhere.array("array")
    arr.attrs["Subject"] = "sub01"
    arr.attrs.update(run=1, task="rest")
    assert dict(arr.attrs) == {"subject": "sub01", "run": "1", "task": "rest"}
    assert arr.attrs["Subject"] == "sub01"
    assert_equal(np.asarray(arr), expected)  # the open handle stays valid
    arr[1:3]
    again = anywhere.array("array")
    assert again.attrs == arr.attrs == anywhere.info("array").metadata
    assert_equal(np.asarray(again), expected)
    del arr.attrs["task"]
    with pytest.raises(KeyError):
        del arr.attrs["task"]
    anywhere.set_metadata("array", run=2, subject=None)
    assert anywhere.array("array").attrs == {"run": "2"}
    arr = anywhere.array("array")
    arr.attrs.clear()
    assert not anywhere.array("array").attrs
    assert_equal(np.asarray(arr), expected)


@each("name", ["dtype", "SHAPE", "order", "compression", "cc-checksum"])
def test_format_metadata_are_protected(upload: Any, cci: Any, name: str) -> None:
    arr = upload(ARRAY)
    with pytest.raises(MetadataError):
        arr.attrs[name] = "other"
    with pytest.raises(MetadataError):
        cci.set_metadata("lab/array", metadata={name: "other"})
    assert name.lower() not in arr.attrs
    assert_equal(np.asarray(cci.array("lab/array")), ARRAY)


def test_metadata_of_a_replaced_array_stay(upload: Any, cci: Any) -> None:
    arr = upload(ARRAY)
    upload(ARRAY + 1)
    with pytest.raises(ObjectChangedError):
        arr.attrs["subject"] = "sub01"
    assert not cci.array("lab/array").attrs


@pytest.mark.parametrize("encrypted", [False, True])
def test_metadata_of_an_array_without_a_checksum_are_those_of_its_version(
    cci: Any, encrypted: bool
) -> None:
    """Encrypted arrays have none, and those of 0.4.0."""
    if encrypted:
        cci = cottoncandy.get_encrypted_interface(
            cci.bucket_name, backend="memory", encryptionKey="A" * 43 + "=", verbose=False
        )
    backend = cci.backend_interface

    def store(value: int) -> None:
        cci.upload_raw_array("array", np.full(3, value), compression=False)
        stored = backend.get("array")
        metadata = {k: v for k, v in stored.metadata.items() if k != "cc-checksum"}
        backend.put("array", Body.of(stored.read()), PutOptions(metadata))

    store(1)
    arr = cci.array("array")
    arr.attrs["subject"] = "sub01"
    arr.attrs["subject"] = "sub02"
    assert_equal(arr[...], np.full(3, 1))
    store(2)
    with pytest.raises(ObjectChangedError):
        arr.attrs["subject"] = "sub01"
    with pytest.raises(ObjectChangedError):
        arr[...]


class ReplacedBeforeCopy(WrappedBackend):
    """The server copies an object onto itself after it was replaced, as S3 servers may."""

    replace: Any = None

    def set_metadata(self, key: str, metadata: Any, **options: Any) -> Any:
        body = self.inner.get(key).read()
        self.replace()
        return self.inner.put(key, Body.of(body), PutOptions(metadata))

    def put(self, *arguments: Any, **options: Any) -> Any:
        replace, self.replace = self.replace, None
        if replace is not None:
            replace()
        return super().put(*arguments, **options)


@pytest.mark.parametrize("kind", ["chunked", "sparse"])
def test_a_change_of_metadata_never_undoes_a_replacement(cci: Any, kind: str) -> None:
    upload, value = KINDS[kind]
    upload(cci, 1)
    other = cottoncandy.get_interface(cci.bucket_name, backend="memory", verbose=False)
    cci.backend_interface = racing = ReplacedBeforeCopy(cci.backend_interface)
    arr = cci.array("a")
    racing.replace = lambda: upload(other, 2)
    with pytest.raises(ObjectChangedError):
        arr.attrs["subject"] = "sub01"
    assert value(other, "a") == 2
    racing.replace = lambda: upload(other, 3)
    cci.set_metadata("a", subject="sub01")  # that of whichever version is current
    assert value(other, "a") == 3
    assert other.info("a").metadata == {"subject": "sub01"}


@pytest.mark.parametrize("kind", ["chunked", "sparse"])
@pytest.mark.parametrize("change", ["handle", "name"])
def test_changes_of_metadata_at_the_same_moment_are_both_kept(
    cci: Any, change: str, kind: str
) -> None:
    """Also where the ETag depends on the body only, as on S3."""
    other = cottoncandy.get_interface(cci.bucket_name, backend="memory", verbose=False)
    KINDS[kind][0](cci, 1)
    cci.backend_interface = racing = ReplacedBeforeCopy(cci.backend_interface)
    arr = cci.array("a")
    racing.replace = lambda: other.set_metadata("a", task="rest")
    if change == "handle":
        arr.attrs["subject"] = "sub01"
    else:
        cci.set_metadata("a", subject="sub01")
    assert other.info("a").metadata == {"subject": "sub01", "task": "rest"}
    assert KINDS[kind][1](cci, "a") == 1


def test_metadata_of_files_and_of_nothing(cci: Any) -> None:
    response = cci.upload_object("notes", b"text", author="me")
    assert cci.set_metadata("notes", author=None, date="today") == response
    assert cci.info("notes").metadata == {"date": "today"}
    assert cci.download_object("notes") == b"text"
    cci.upload_json("branch/metadata.json", {"a": 1})
    for name in ("missing", "branch"):
        with pytest.raises((ObjectNotFoundError, MetadataError)):
            cci.set_metadata(name, author="me")
    with pytest.raises(MetadataError):
        cci.set_metadata("notes", author=["a"])
    assert cci.download_stream("branch/metadata.json").metadata == {}


def test_the_chunks_of_a_read_share_its_threads(cci: Any, monkeypatch: Any) -> None:
    seen: list[int] = []
    get = MemoryBackend.get

    def spy(self: Any, key: str, *, threads: int = 4, **options: Any) -> Any:
        if "/pt" in key:
            seen.append(threads)
        return get(self, key, threads=threads, **options)

    cci.upload_dask_array("a", np.arange(6.0), buffersize=16)
    monkeypatch.setattr(MemoryBackend, "get", spy)
    array = cci.array("a", threads=6)
    for selection, threads in ((..., [2] * 3), (slice(0, 2), [6])):
        seen.clear()
        _ = array[selection]
        assert seen == threads
