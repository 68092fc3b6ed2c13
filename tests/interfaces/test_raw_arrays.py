"""Uploading and downloading NumPy arrays: every dtype, layout and codec."""

from __future__ import annotations

import io
import pickle
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dask.delayed import delayed

from cottoncandy.arrays import raw as _raw_arrays
from cottoncandy.exceptions import (
    ConfigurationError,
    IntegrityError,
    InvalidArgumentError,
    MetadataError,
    UnsupportedDtypeError,
)
from tests.cases import each
from tests.interfaces.arrays import DTYPES, LAYOUTS, assert_same, sample

CODECS = [True, False, None, "gzip", "Zlib", "BZ2", "Zstd", "LZ4"]


@each("compression", CODECS)
def test_codecs(cci: Any, compression: Any) -> None:
    array = sample("<f8", (20, 30))
    cci.upload_raw_array("branch/array", array, compression=compression)
    assert_same(cci.download_raw_array("branch/array"), array)


@each("compression", [True, False])
@each("dtype", DTYPES)
def test_dtypes(store: Any, dtype: str, compression: bool) -> None:
    cci = store.interface()
    array = sample(dtype)
    cci.upload_raw_array("array", array, compression=compression)
    assert_same(cci.download_raw_array("array"), array)
    assert store.raw_get("array").metadata["dtype"] == np.dtype(dtype).str


@each("compression", [True, False, "Zstd"])
@each("layout", list(LAYOUTS))
def test_layouts(store: Any, layout: str, compression: Any) -> None:
    cci = store.interface()
    array = LAYOUTS[layout]
    before = array.tobytes()
    cci.upload_raw_array("array", array, compression=compression)
    assert_same(cci.download_raw_array("array"), array)
    assert array.tobytes() == before
    shape = store.raw_get("array").metadata["shape"]
    assert shape == ",".join(map(str, array.shape))


def test_bfloat16(cci: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.arange(6).astype(ml_dtypes.bfloat16)
    cci.upload_raw_array("array", array)
    assert_same(cci.download_raw_array("array"), array)


def test_memory_maps(cci: Any, tmp_path: Any) -> None:
    np.save(tmp_path / "array.npy", sample("<f4", (50, 60)))
    array = np.load(tmp_path / "array.npy", mmap_mode="r")
    cci.upload_raw_array("array", array)
    assert_same(cci.download_raw_array("array"), np.asarray(array))


def test_scalars_and_lists_are_arrays(cci: Any) -> None:
    cci.upload_raw_array("scalar", np.float32(2.5))
    assert_same(cci.download_raw_array("scalar"), np.array(2.5, "f4"))
    cci.upload_raw_array("list", [[1, 2], [3, 4]])
    assert_same(cci.download_raw_array("list"), np.array([[1, 2], [3, 4]]))


@each(
    "value",
    [
        np.array([1, "a", None], dtype=object),
        np.zeros(2, [("a", "O")]),
        np.ma.masked_array([1, 2], [True, False]),
        [[1, 2], {"a": 1}],
    ],
)
def test_what_has_no_bytes_is_refused(cci: Any, value: Any) -> None:
    if isinstance(value, list):
        value = np.array([{"a": 1}], dtype=object)
    old = np.arange(3)
    cci.upload_raw_array("array", old)
    with pytest.raises(UnsupportedDtypeError):
        cci.upload_raw_array("array", value)
    with pytest.raises(UnsupportedDtypeError):
        cci.upload_npy_array("array", value)
    with pytest.raises(UnsupportedDtypeError):
        cci.dict2cloud("branch", {"good": old, "bad": {"leaf": value}})
    assert_same(cci.download_raw_array("array"), old)
    assert not cci.exists_object("branch/good")


def test_unknown_codecs_are_refused(cci: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="nosuchcodec"):
        cci.upload_raw_array("array", np.arange(3), compression="nosuchcodec")
    assert not cci.exists_object("array")


def test_metadata_rides_along(cci: Any) -> None:
    cci.upload_raw_array("array", np.arange(3), subject="s01")
    with cci.download_stream("array") as stream:
        assert stream.metadata["subject"] == "s01"
        assert stream.metadata["shape"] == "3"


@each("name", ["dtype", "shape", "Order", "compression"])
def test_metadata_that_describes_the_array_is_refused(cci: Any, name: str) -> None:
    if name == "compression":
        with pytest.raises(InvalidArgumentError):
            cci.upload_raw_array("array", np.arange(3), compression="mine")
        return
    with pytest.raises(MetadataError, match=name):
        cci.upload_raw_array("array", np.arange(3), **{name: "mine"})
    assert not cci.exists_object("array")


def test_the_old_gzip_argument(cci: Any) -> None:
    for flag, stored in ((True, "gzip"), (False, "False")):
        with pytest.warns(DeprecationWarning, match="compression="):
            cci.upload_raw_array("array", np.arange(3), gzip=flag)
        with cci.download_stream("array") as stream:
            assert stream.metadata["compression"] == stored
            assert "gzip" not in stream.metadata
        assert_same(cci.download_raw_array("array"), np.arange(3))


def test_the_options_choose_the_codec(
    store: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value, stored in (
        ("COTTONCANDY_COMPRESSION_SMALL_ARRAY", "Zstd", "Zstd"),
        ("COTTONCANDY_COMPRESSION_DO_COMPRESSION", "False", "False"),
    ):
        monkeypatch.setenv(name, value)
        cci = store.interface()
        cci.upload_raw_array("array", np.arange(3))
        assert store.raw_get("array").metadata["compression"] == stored


def test_large_arrays_have_a_codec_of_their_own(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_raw_arrays, "_LARGE_ARRAY_BYTES", 100)
    monkeypatch.setenv("COTTONCANDY_COMPRESSION_SMALL_ARRAY", "BZ2")
    monkeypatch.setenv("COTTONCANDY_COMPRESSION_LARGE_ARRAY", "Zlib")
    for size, stored in ((99, "BZ2"), (100, "Zlib")):
        store.interface().upload_raw_array("array", np.zeros(size, "u1"))
        assert store.raw_get("array").metadata["compression"] == stored


SELECTIONS = [
    np.s_[3],
    np.s_[-1],
    np.s_[2:5],
    np.s_[::2, 1:3],
    np.s_[..., 0],
    np.s_[:, ::-1, 2],
    np.s_[1, 2, 3],
    np.s_[5:2],
    np.s_[None, 1:2],
    np.s_[:],
    (),
]


@each("compression", [False, "gzip"])
@each("selection", SELECTIONS)
def test_selections(cci: Any, selection: Any, compression: Any) -> None:
    array = sample(">i4", (6, 7, 8))
    cci.upload_raw_array("array", array, compression=compression)
    expected = np.array(array[selection], dtype=array.dtype)
    assert_same(cci.download_raw_array("array", selection=selection), expected)


@pytest.mark.parametrize("compression", [False, "gzip"], ids=["raw", "gzip"])
def test_selections_that_do_not_fit(cci: Any, compression: Any) -> None:
    cci.upload_raw_array("array", np.zeros((3, 4)), compression=compression)
    for selection in (np.s_[3], np.s_[0, 0, 0], np.s_[..., ...]):
        with pytest.raises(IndexError):
            cci.download_raw_array("array", selection=selection)
    for selection in ([1, 0], np.array([0.5, 1]), np.s_[[0], [1]]):
        with pytest.raises(InvalidArgumentError, match=r"download|unique"):
            cci.download_raw_array("array", selection=selection)


def test_unknown_options_are_refused(cci: Any) -> None:
    cci.upload_raw_array("array", np.arange(3))
    with pytest.raises(InvalidArgumentError, match="selction"):
        cci.download_raw_array("array", selction=np.s_[1])


def test_npy(cci: Any) -> None:
    for array in (LAYOUTS["C"], LAYOUTS["F"], LAYOUTS["structured"], LAYOUTS["0-d"]):
        cci.upload_npy_array("array.npy", array, subject="s01")
        result = cci.download_npy_array("array.npy")
        assert result.dtype == array.dtype
        assert result.tobytes() == array.tobytes()
        assert result.shape == array.shape


def test_dtypes_that_npy_does_not_keep(cci: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    overlapping = np.dtype({"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2]})
    for array in (np.arange(6).astype(ml_dtypes.bfloat16), np.zeros(2, overlapping)):
        with pytest.raises(UnsupportedDtypeError, match="upload_raw_array"):
            cci.upload_npy_array("array.npy", array)
        assert not cci.exists_object("array.npy")


def test_what_is_no_npy(cci: Any) -> None:
    for body in (b"", b"\x93NUMPY", b"nonsense" * 10):
        cci.upload_object("object", body)
        with pytest.raises(IntegrityError, match="object"):
            cci.download_npy_array("object")


# -- what may have happened to an object, whoever wrote it ---------------------------------------

GOOD = {"dtype": "<i4", "shape": "2,3", "compression": "False", "order": "C"}


@each(
    "change, error",
    [
        ({"shape": "-1"}, MetadataError),
        ({"shape": "2,x"}, MetadataError),
        ({"shape": "1000000000"}, IntegrityError),
        ({"shape": "99999999999999999999,99999999999999999999"}, MetadataError),
        ({"shape": "2,2"}, IntegrityError),
        ({"shape": None}, MetadataError),
        ({"dtype": None}, MetadataError),
        ({"dtype": "|O"}, MetadataError),
        ({"dtype": "nonsense"}, MetadataError),
        ({"dtype": "<f8"}, IntegrityError),
        ({"order": "X"}, MetadataError),
        ({"compression": "gzip"}, IntegrityError),
        ({"compression": "nosuchcodec"}, MetadataError),
    ],
)
def test_nonsense_is_told(store: Any, change: dict[str, str | None], error: type) -> None:
    metadata = {name: value for name, value in (GOOD | change).items() if value is not None}
    store.raw_put("array", np.arange(6, dtype="<i4").tobytes(), metadata)
    with pytest.raises(error, match="array"):
        store.interface().download_raw_array("array")


def test_a_changed_byte_is_told(store: Any) -> None:
    cci = store.interface()
    cci.upload_raw_array("array", np.arange(100), compression=False)
    body, metadata = store.raw_get("array")
    store.raw_put("array", body[:50] + bytes([body[50] ^ 1]) + body[51:], metadata)
    with pytest.raises(IntegrityError, match="array"):
        cci.download_raw_array("array")


def test_old_objects_without_a_checksum(store: Any) -> None:
    array = np.arange(6, dtype="<i4").reshape(2, 3)
    for metadata in (GOOD, GOOD | {"compression": "None"}):
        store.raw_put("array", array.tobytes(), metadata)
        assert_same(store.interface().download_raw_array("array"), array)
    store.raw_put("array", array.tobytes("F"), GOOD | {"order": "F"})
    result = store.interface().download_raw_array("array")
    assert np.array_equal(result, array)
    assert result.flags.writeable


def test_no_warnings_are_hidden(store: Any) -> None:
    cci = store.interface()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cci.upload_raw_array("array", np.asfortranarray(np.eye(3)))
        cci.download_raw_array("array")


def test_values_that_are_no_single_array(cci: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(UnsupportedDtypeError, match="upload_sparse_array"):
        cci.upload_raw_array("array", sparse.eye_array(3, format="csr"))
    with pytest.raises(UnsupportedDtypeError, match="not an array"):
        cci.upload_raw_array("array", [[1, 2], [3]])
    assert not cci.exists_object("array")


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


def npy_header(text: str, version: bytes = b"\x01\x00") -> bytes:
    width = 2 if version[0] == 1 else 4
    return b"\x93NUMPY" + version + len(text).to_bytes(width, "little") + text.encode()


@each(
    "body",
    [
        b"",
        b"PK\x03\x04",
        npz(),
        npz()[:-30],
        npy(np.zeros(3)) + b"x",
        npy(np.zeros(3))[:-1],
        npy(np.array([None])),
        pickle.dumps(np.zeros(3)),
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (10**18,)}\n"),
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,)}\n"),
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-3,)}\n"),
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2**70,)}\n"),
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (3,\n"),
        npy_header("((((" * 2000),
        npy_header("[" * 20_000, b"\x02\x00"),
        npy_header("{'descr': ['a', 5], 'fortran_order': False, 'shape': (3,)}\n"),
        npy_header("{}", b"\x09\x00"),
    ],
)
@pytest.mark.usefixtures("no_collection")
def test_hostile_npy_bodies_raise(cci: Any, body: bytes) -> None:
    cci.upload_object("array.npy", body)
    with pytest.raises(IntegrityError, match=r"array\.npy"):
        cci.download_npy_array("array.npy")


def test_npy_arrays_of_many_fields_come_back(cci: Any) -> None:
    array = np.zeros(2, [(f"a rather long name {i}", "<f8") for i in range(1000)])
    cci.upload_npy_array("array", array)
    assert np.array_equal(cci.download_npy_array("array"), array)


def test_npy_padding_is_stored_as_zeros(cci: Any) -> None:
    dtype = np.dtype([("a", "i1"), ("b", "<i4")], align=True)
    cci.upload_npy_array("array", np.full(3 * dtype.itemsize, 255, "u1").view(dtype))
    assert cci.download_object("array").endswith(b"\xff\0\0\0\xff\xff\xff\xff" * 3)


@each(
    "metadata",
    [{"gzip": "0"}, {"GZIP": "True"}, {"cc-dtype": "<f8"}, {"cc-checksum": "x"}, {"CC-names": "x"},
     {"cc-encryption": "x"}, {"dtype": "x"}, {"shape": "3"}],
)  # fmt: skip
def test_metadata_of_the_format_is_rejected(cci: Any, metadata: dict[str, str]) -> None:
    with pytest.raises(MetadataError, match=next(iter(metadata)).replace("CC", "cc")):
        cci.upload_raw_array("array", np.zeros(3), metadata=metadata)
    if next(iter(metadata)).lower().startswith("cc-"):
        uploads = [
            (cci.upload_object, b""), (cci.upload_json, {}), (cci.upload_pickle, 1),
            (cci.upload_npy_array, np.zeros(2)), (cci.upload_dask_array, np.zeros(2)),
        ]  # fmt: skip
        for upload, value in uploads:
            with pytest.raises(MetadataError, match="reserved"):
                upload("array", value, metadata=metadata)
        with pytest.raises(MetadataError, match="reserved"):
            cci.open("array", "wb", metadata=metadata)
        for file in (cci.upload_from_file, cci.upload_from_directory):
            with pytest.raises(MetadataError, match="reserved"):
                file(__file__, "array", ExtraArgs={"Metadata": metadata})
    assert cci.glob("*") == []


class Frame:
    """As pandas' and polars' tables."""

    columns = ("a", "b")

    def to_numpy(self) -> Any:
        return np.zeros((2, 2))

    __array__ = to_numpy


class Labelled:
    """As a DataArray of xarray."""

    dims = ("x",)
    coords = {"x": [1, 2]}  # noqa: RUF012

    def __array__(self) -> Any:
        return np.zeros(2)


@each(
    "value, advice",
    [
        ({"a": 1}, "dict2cloud"),
        (None, "pass the array"),
        (2**70, "64 bits"),
        ((i for i in range(3)), "np.fromiter"),
        (map(str, ()), "np.fromiter"),
        (Frame(), "to_numpy"),
        (Labelled(), "upload_xarray"),
        (delayed(1), r"pass value.compute\(\)"),
        ([[1], [1, 2]], "dict2cloud"),
        ({1, 2}, "upload_pickle"),
        ("text", None),
        ([1, 2], None),
        (2**63, None),
    ],
)
def test_values_given_as_arrays(cci: Any, value: Any, advice: str | None) -> None:
    for upload in (cci.upload_raw_array, cci.upload_npy_array, cci.upload_dask_array):
        if advice is None:
            upload("array", value)
            continue
        with pytest.raises(UnsupportedDtypeError, match=advice):
            upload("array", value)
        assert cci.glob("*") == []


def test_an_unknown_codec_of_the_options_is_named(cci: Any) -> None:
    cci.settings = replace(cci.settings, small_array="gzipp")
    for upload in (cci.upload_raw_array, cci.upload_dask_array):
        with pytest.raises(ConfigurationError, match="small_array of the options: unknown codec"):
            upload("a", np.zeros(9))
