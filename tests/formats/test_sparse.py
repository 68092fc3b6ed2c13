"""Sparse matrices round-trip: container, dtypes, order of indices, explicit zeros."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from cottoncandy.exceptions import IntegrityError, MetadataError, UnsupportedDtypeError
from cottoncandy.formats.sparse import from_parts, parts_of, to_parts
from tests.cases import each

FORMATS = ["csr", "csc", "bsr", "coo", "dia"]


def back(matrix):
    manifest, parts = to_parts(matrix)
    manifest = json.loads(json.dumps(manifest))
    assert list(parts_of(manifest)) == manifest["attrs"] == list(parts)
    return from_parts(manifest, {name: part.copy() for name, part in parts.items()})


def arrays_of(matrix):
    if matrix.format == "coo":
        return (*matrix.coords, matrix.data)
    if matrix.format == "dia":
        return (matrix.offsets, matrix.data)
    return (matrix.indptr, matrix.indices, matrix.data)


def assert_identical(found, expected):
    assert type(found) is type(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    for ours, theirs in zip(arrays_of(found), arrays_of(expected), strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


@given(
    kind=st.sampled_from(FORMATS),
    container=st.sampled_from(["matrix", "array"]),
    rows=st.integers(0, 6),
    columns=st.integers(0, 6),
    dtype=st.sampled_from(["f4", "f8", "c16", "i2", "u8", "?"]),
    index=st.sampled_from(["i4", "i8"]),
    entries=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3))),
)
def test_round_trip(kind, container, rows, columns, dtype, index, entries):
    # Duplicates, zeros and any order: what canonical matrices do not have.
    entries = [(r, c, v) for r, c, v in entries if r < rows and c < columns]
    row = np.array([r for r, _, _ in entries], index)
    column = np.array([c for _, c, _ in entries], index)
    data = np.array([v for _, _, v in entries], dtype)
    coo = sparse.coo_array((data, (row, column)), shape=(rows, columns))
    matrix = coo.asformat(kind)
    if container == "matrix":
        matrix = getattr(sparse, f"{kind}_matrix")(matrix)
    if kind in {"csr", "csc"}:
        matrix.indices = matrix.indices[::-1].copy().astype(index)
        matrix.indptr = matrix.indptr.astype(index)
        used = np.sort(matrix.indices)[::-1]
        matrix.indices = used.astype(index)
    if kind == "coo":
        matrix.coords = (row, column)
    assert_identical(back(matrix), matrix)


def test_unsorted_indices_are_not_called_sorted():
    matrix = sparse.csr_matrix(
        (np.array([1.0, 2.0, 0.0]), np.array([2, 0, 1]), np.array([0, 2, 3])), shape=(2, 3)
    )
    assert not matrix.has_sorted_indices
    found = back(matrix)
    assert not found.has_sorted_indices
    assert found.nnz == 3
    assert found.toarray().tobytes() == matrix.toarray().tobytes()


@each("container", ["matrix", "array"])
@each("kind", ["lil", "dok"])
def test_lil_and_dok_become_csr(kind, container):
    matrix = getattr(sparse, f"{kind}_{container}")((3, 4))
    matrix[1, 2] = 5.0
    found = back(matrix)
    assert type(found) is getattr(sparse, f"csr_{container}")
    assert found.toarray().tobytes() == matrix.toarray().tobytes()


def test_blocks_keep_their_size():
    matrix = sparse.bsr_matrix(np.arange(24.0).reshape(4, 6), blocksize=(2, 3))
    assert back(matrix).blocksize == (2, 3)
    assert_identical(back(matrix), matrix)


def test_arrays_of_other_dimensions():
    one = sparse.coo_array(np.array([0, 3, 0, 4.0]))
    assert_identical(back(one), one)
    three = sparse.coo_array(np.arange(24).reshape(2, 3, 4))
    assert_identical(back(three), three)
    row = sparse.csr_array(np.array([0, 3, 0, 4.0]))
    assert_identical(back(row), row)


def test_spare_room_is_kept_and_harmless():
    matrix = sparse.csr_matrix(np.eye(2))
    matrix.indices = np.array([0, 1, 99], "i4")
    matrix.data = np.array([1.0, 1.0, 7.0])
    found = back(matrix)
    assert found.nnz == 2
    assert found.toarray().tobytes() == np.eye(2).tobytes()


def test_the_result_can_be_computed_with():
    for kind in FORMATS:
        matrix = sparse.random(20, 30, 0.2, format=kind, random_state=1)
        found = back(matrix)
        assert (found @ np.ones(30)).tobytes() == (matrix @ np.ones(30)).tobytes()


def test_a_manifest_of_version_040():
    manifest = {"type": "csr", "attrs": ["data", "indices", "indptr"], "shape": [2, 3]}
    found = from_parts(
        manifest,
        {"data": np.array([4.0]), "indices": np.array([2]), "indptr": np.array([0, 0, 1])},
    )
    assert type(found) is sparse.csr_matrix
    assert found.toarray().tolist() == [[0, 0, 0], [0, 0, 4]]


def test_what_has_no_bytes_is_refused():
    with pytest.raises(UnsupportedDtypeError, match="ndarray"):
        to_parts(np.eye(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of scipy warn of such matrices
        objects = sparse.csr_matrix((np.array([None]), [0], [0, 1]), shape=(1, 1))
    with pytest.raises(UnsupportedDtypeError, match="Python objects"):
        to_parts(objects)


GOOD = {"type": "csr", "attrs": ["data", "indices", "indptr"], "shape": [2, 3]}


@each(
    "change",
    [
        {"type": "xyz"}, {"type": None}, {"type": ["csr"]}, {"shape": None}, {"shape": [2]},
        {"shape": [2, -3]}, {"shape": [2, 1.5]}, {"shape": "23"}, {"shape": [2, 2**70]},
        {"attrs": ["data"]}, {"attrs": None}, {"attrs": [{}]}, {"shape": [True, 2]},
    ],
)  # fmt: skip
def test_nonsense_in_the_manifest(change):
    with pytest.raises(MetadataError, match=r"'m/metadata\.json'"):
        from_parts({**GOOD, **change}, {}, object_name="m/metadata.json")


@each("manifest", [None, [], "csr", 3])
def test_no_manifest_at_all(manifest):
    with pytest.raises(MetadataError, match="JSON object"):
        from_parts(manifest, {})


def test_a_missing_part():
    with pytest.raises(MetadataError, match="'indptr' is missing"):
        from_parts(GOOD, {"data": np.ones(1), "indices": np.ones(1, int)})


@each(
    "kind, shape, parts",
    [
        ("csr", [2, 3], {"data": np.ones(1), "indices": [3], "indptr": [0, 1, 1]}),
        ("csr", [2, 3], {"data": np.ones(1), "indices": [-1], "indptr": [0, 1, 1]}),
        ("csr", [2, 3], {"data": np.ones(2), "indices": [0], "indptr": [0, 1, 1]}),
        ("csr", [2, 3], {"data": np.ones(1), "indices": [0], "indptr": [0, 1]}),
        ("csr", [2, 3], {"data": np.ones(1), "indices": [0], "indptr": [1, 1, 1]}),
        ("csr", [2, 3], {"data": np.ones(1), "indices": [0], "indptr": [0, 5, 1]}),
        ("csr", [2, 3], {"data": np.ones(1), "indices": [0], "indptr": [0, 1, 10**9]}),
        ("csr", [2, 3], {"data": np.ones((1, 1)), "indices": [0], "indptr": [0, 1, 1]}),
        ("csr", [2, 3], {"data": np.ones(1), "indices": np.ones(1), "indptr": [0, 1, 1]}),
        ("csr", [2**60, 3], {"data": np.ones(1), "indices": [0], "indptr": [0, 1, 1]}),
        ("csc", [2, 3], {"data": np.ones(1), "indices": [2], "indptr": [0, 1, 1, 1]}),
        ("bsr", [4, 4], {"data": np.ones((1, 3, 2)), "indices": [0], "indptr": [0, 1, 1]}),
        ("bsr", [4, 4], {"data": np.ones((1, 0, 0)), "indices": [0], "indptr": [0, 1, 1]}),
        ("bsr", [4, 4], {"data": np.ones((1, 2, 2)), "indices": [2], "indptr": [0, 1, 1]}),
        ("coo", [2, 3], {"data": np.ones(1), "row": [2], "col": [0]}),
        ("coo", [2, 3], {"data": np.ones(1), "row": [0], "col": [-1]}),
        ("coo", [2, 3], {"data": np.ones(2), "row": [0], "col": [0]}),
        ("dia", [2, 3], {"data": np.ones((2, 3)), "offsets": [0]}),
        ("dia", [2, 3], {"data": np.ones((2, 3)), "offsets": [0, 0]}),
        ("dia", [2, 3], {"data": np.ones(3), "offsets": [0]}),
    ],
)
def test_parts_that_do_not_fit(kind, shape, parts):
    parts = {name: np.asarray(part) for name, part in parts.items()}
    manifest = {"type": kind, "attrs": list(parts), "shape": shape}
    with pytest.raises(IntegrityError, match="'thing'"):
        from_parts(manifest, parts, object_name="thing")


@each("kind", FORMATS)
def test_foreign_byte_order_comes_back(kind):
    # SciPy rejects this dtype in its constructors, but takes it from an assignment.
    matrix = sparse.random_array((4, 6), density=0.5, format=kind, rng=0)
    matrix.data = matrix.data.astype(">f4")
    assert_identical(back(matrix), matrix)
