"""Sparse matrices and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cottoncandy.exceptions import (
    CottonCandyError,
    InvalidArgumentError,
    MetadataError,
    ObjectNotFoundError,
    UnsupportedDtypeError,
)
from tests.cases import each

sparse = pytest.importorskip("scipy.sparse")

FORMATS = ["csr", "csc", "bsr", "coo", "dia", "lil", "dok"]


def example(kind: str = "matrix", fmt: str = "csr", dtype: str = "<f8") -> Any:
    dense = np.zeros((6, 8), dtype)
    dense[[0, 1, 2, 5, 5], [1, 0, 7, 3, 4]] = [1, 2, 3, 4, 5]
    return getattr(sparse, f"{fmt}_{kind}")(dense)


def assert_equal(result: Any, expected: Any) -> None:
    assert type(result) is type(expected)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    for name in ("data", "indices", "indptr", "row", "col", "offsets"):
        if hasattr(expected, name):
            left, right = getattr(result, name), getattr(expected, name)
            assert left.dtype == right.dtype, name
            assert np.array_equal(left, right), name


@each("kind", ["matrix", "array"])
@each("fmt", FORMATS)
def test_formats(cci: Any, fmt: str, kind: str) -> None:
    matrix = example(kind, fmt)
    cci.upload_sparse_array("branch/matrix", matrix)
    expected = matrix.tocsr() if fmt in ("lil", "dok") else matrix
    assert_equal(cci.download_sparse_array("branch/matrix"), expected)


def unsorted() -> Any:
    matrix = sparse.csr_matrix((3, 5))
    matrix.data = np.array([1.0, 2.0, 0.0])
    matrix.indices = np.array([4, 1, 0], dtype="int32")
    matrix.indptr = np.array([0, 2, 2, 3], dtype="int32")
    return matrix


SPECIAL = {
    "unsorted, explicit zero": unsorted(),
    "empty": sparse.csr_matrix((3, 4)),
    "no rows": sparse.csc_array((0, 4), dtype="f4"),
    "wide index": sparse.csr_matrix(
        (np.ones(2), np.array([0, 2], "int64"), np.array([0, 1, 2], "int64")), shape=(2, 2**40)
    ),
    "duplicates": sparse.coo_matrix(([1, 2], ([0, 0], [1, 1])), shape=(2, 2)),
    "blocks": sparse.bsr_matrix(np.kron(np.eye(2), np.ones((2, 3))), blocksize=(2, 3)),
    "complex": example(dtype="<c16"),
    "bool": example(dtype="bool"),
}


@each("name", list(SPECIAL))
def test_special_cases(store: Any, name: str) -> None:
    cci = store.interface()
    cci.upload_sparse_array("matrix", SPECIAL[name])
    assert_equal(cci.download_sparse_array("matrix"), SPECIAL[name])


def test_objects_are_the_documented_ones(store: Any) -> None:
    cci = store.interface()
    cci.upload_sparse_array("m", example(fmt="coo"))
    assert store.raw_keys() == ["m/col", "m/data", "m/metadata.json", "m/row"]
    cci.upload_sparse_array("m", example(fmt="csr"))
    cci.clean("m", grace=0)
    assert sorted(key.rpartition("/")[2] for key in store.raw_keys()) == [
        "data",
        "indices",
        "indptr",
        "metadata.json",
    ]


def test_dense_arrays_are_refused(cci: Any) -> None:
    with pytest.raises(UnsupportedDtypeError, match="sparse"):
        cci.upload_sparse_array("matrix", np.eye(3))
    assert not cci.exists_object("matrix/metadata.json")


@pytest.mark.parametrize(
    "manifest",
    [
        b"{}",
        b"3",
        b'{"type": "csr", "attrs": [], "shape": [2, 2]}',
        b'{"type": "nosuch", "attrs": ["data"], "shape": [2, 2]}',
        b'{"type": "csr", "attrs": ["data", "indices", "indptr"], "shape": [-2, 2]}',
        b'{"type": "csr", "attrs": ["data", "indices", "indptr"], "shape": "wide"}',
    ],
)
def test_manifests_that_make_no_sense(store: Any, manifest: bytes) -> None:
    cci = store.interface()
    cci.upload_sparse_array("matrix", example())
    store.raw_put("matrix/metadata.json", manifest)
    with pytest.raises(MetadataError):
        cci.download_sparse_array("matrix")


def test_parts_that_do_not_fit_together(store: Any) -> None:
    cci = store.interface()
    cci.upload_sparse_array("matrix", example())
    for name, part in (
        ("indices", np.array([99, 0, 7, 3, 4], "int32")),
        ("indptr", np.array([0, 1], "int32")),
        ("indptr", np.array([[0, 1]], "int32")),
        ("data", np.ones(3)),
        ("indices", np.array([0.5, 1, 2, 3, 4])),
    ):
        cci.rm("matrix", recursive=True)
        cci.upload_sparse_array("matrix", example())
        cci.upload_raw_array(f"matrix/{name}", part)
        with pytest.raises(CottonCandyError):
            cci.download_sparse_array("matrix")


@each("fmt", ["csr", "csc", "bsr", "coo", "dia"])
@each("dtype", ["u1", "u4", "u8", "i2", ">i4"])
def test_index_dtypes_are_converted(cci: Any, fmt: str, dtype: str) -> None:
    matrix = example(fmt=fmt)
    if fmt == "dia":  # unsigned offsets cannot be negative
        matrix = sparse.dia_matrix(np.triu(matrix.toarray()))
    expected = matrix.toarray()
    for name in ("indices", "indptr", "offsets"):
        if hasattr(matrix, name) and fmt != "coo":
            setattr(matrix, name, getattr(matrix, name).astype(dtype))
    if fmt == "coo":
        matrix.coords = tuple(part.astype(dtype) for part in matrix.coords)
    cci.upload_sparse_array("matrix", matrix)
    assert np.array_equal(cci.download_sparse_array("matrix").toarray(), expected)


@each("indices", [[99, 0, 7, 3, 4], [-1, 0, 7, 3, 4], [0.5, 1, 2, 3, 4]])
def test_a_matrix_that_is_not_valid_is_not_uploaded(cci: Any, indices: Any) -> None:
    matrix = example()
    matrix.indices = np.array(indices)
    with pytest.raises(InvalidArgumentError, match="nothing was uploaded"):
        cci.upload_sparse_array("matrix", matrix)
    assert cci.glob("matrix/*") == []


def test_a_manifest_of_an_older_version_has_no_dtype(cci: Any) -> None:
    cci.upload_sparse_array("matrix", example(dtype="<f4"))
    manifest = cci.download_json("matrix/metadata.json")
    cci.upload_json("matrix/metadata.json", {**manifest, "dtype": None})
    assert cci.info("matrix").dtype == cci.array("matrix").dtype == np.float32
    assert_equal(cci.download_sparse_array("matrix"), example(dtype="<f4"))


def test_the_wrong_method_is_named(cci: Any) -> None:
    cci.upload_sparse_array("sparse", example())
    cci.upload_dask_array("chunked", np.zeros(3))
    cci.upload_raw_array("raw", np.zeros(3))
    methods = {"sparse": "sparse", "chunked": "dask", "raw": "raw"}
    for name, right in methods.items():
        for method in methods.values():
            if method != right:
                with pytest.raises(
                    (ObjectNotFoundError, MetadataError), match=f"use download_{right}_array"
                ):
                    getattr(cci, f"download_{method}_array")(name)
    for method in methods.values():
        with pytest.raises(ObjectNotFoundError, match=r"there is no .*'nothing' in bucket"):
            getattr(cci, f"download_{method}_array")("nothing")
