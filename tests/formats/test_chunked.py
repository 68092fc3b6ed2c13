"""Manifests of chunked arrays, and how arrays are cut."""

from __future__ import annotations

import copy
import itertools
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cottoncandy.exceptions import InvalidArgumentError, MetadataError
from cottoncandy.formats.chunked import (
    Manifest,
    chunk_slices,
    chunks_for,
    nonempty_chunks,
    own_parts,
    part_name,
)
from tests.cases import each

shapes = st.lists(st.integers(0, 40), max_size=4).map(tuple)
small_shapes = st.lists(st.integers(0, 9), max_size=4).map(tuple)


def manifest_for(shape, chunks, dtype="<f4"):
    return Manifest.of(shape, np.dtype(dtype), chunks, "arr")


def parts(manifest):
    return tuple((index, manifest.part(index).name) for index in manifest.indices())


@given(shape=shapes, itemsize=st.integers(1, 16), chunk_bytes=st.integers(1, 5000), data=st.data())
def test_chunks_make_up_the_array(shape, itemsize, chunk_bytes, data):
    axis = data.draw(st.none() | st.integers(-max(len(shape), 1), max(len(shape), 1) - 1))
    chunks = chunks_for(shape, itemsize, axis, chunk_bytes)
    assert tuple(map(sum, chunks)) == shape
    assert nonempty_chunks(chunks) == chunks
    largest = tuple(max(lengths) for lengths in chunks)
    smallest = list(largest)
    for dimension in range(len(shape)):
        if axis is None or dimension == axis % len(shape):
            smallest[dimension] = min(1, largest[dimension])
    assert math.prod(largest) * itemsize <= max(chunk_bytes, math.prod(smallest) * itemsize)
    for lengths in chunks:
        assert len(set(lengths[:-1])) <= 1
        assert lengths[-1] <= lengths[0]


@given(shape=small_shapes, data=st.data())
def test_blocks_cover_each_element_once(shape, data):
    chunks = chunks_for(shape, 1, None, data.draw(st.integers(1, 400)))
    seen = np.zeros(shape, int)
    for _, slices in chunk_slices(chunks):
        seen[slices] += 1
    assert (seen == 1).all()


@given(shape=small_shapes, chunk_bytes=st.integers(20, 2000))
def test_manifest_round_trip(shape, chunk_bytes):
    manifest = manifest_for(shape, chunks_for(shape, 4, None, chunk_bytes))
    obj = json.loads(json.dumps(manifest.to_json()))
    assert Manifest.from_json(obj, object_name="m") == manifest


def test_a_manifest_pickles_small_and_without_its_parts():
    for chunk in (1, 1000):
        manifest = manifest_for((10_000 * chunk,), ((chunk,) * 10_000,))
        data = pickle.dumps(manifest)
        assert pickle.loads(data) == manifest
        assert len(data) < 1000
    obj = manifest_for((3,), ((2, 1),)).to_json()
    obj["dask"][1][1] = "elsewhere"
    manifest = Manifest.from_json(obj, object_name="m")
    assert pickle.loads(pickle.dumps(manifest)) == manifest
    assert parts(manifest) == (((0,), "arr/pt0000"), ((1,), "elsewhere"))


def test_own_parts_are_those_of_a_valid_manifest():
    obj = manifest_for((3,), ((2, 1),)).to_json()
    assert own_parts(obj | {"dtype": "|O"}, object_name="m") == {"pt0000", "pt0001"}
    obj["dask"][1][1] = "arr/bold"
    for foreign in (obj, {"dask": 5}, {"attrs": ["bold"]}, [], None, {"attrs": None}):
        with pytest.raises(MetadataError):
            own_parts(foreign, object_name="m")


def test_the_layout_of_the_format():
    manifest = manifest_for((5, 3), ((3, 2), (3,)))
    assert manifest.to_json() == {
        "shape": [5, 3],
        "dtype": "<f4",
        "dask": [[[0, 0], "arr/pt0000"], [[1, 0], "arr/pt0001"]],
        "chunk_sizes": [[3, 3], [2, 3]],
        "chunks": [[3, 2], [3]],
    }


def test_structured_dtypes_have_a_key_of_their_own():
    dtype = np.dtype([("a", "i4"), ("b", "f8", (2,))], align=True)
    obj = manifest_for((4,), ((2, 2),), dtype).to_json()
    assert obj["dtype"] == f"|V{dtype.itemsize}"
    assert Manifest.from_json(obj, object_name="m").dtype == dtype


def test_zero_dimensions():
    manifest = manifest_for((), ())
    assert parts(manifest) == (((), "arr/pt0000"),)
    assert Manifest.from_json(manifest.to_json(), object_name="m") == manifest


def test_empty_blocks_of_version_040_are_left_out():
    indices = list(itertools.product(range(3), range(2)))
    lengths = [[4, 2, 0], [3, 0]]
    obj = {
        "shape": [6, 3],
        "dtype": "<f8",
        "dask": [[list(index), f"n/pt{i:04d}"] for i, index in enumerate(indices)],
        "chunk_sizes": [[lengths[0][i], lengths[1][j]] for i, j in indices],
        "chunks": lengths,
    }
    manifest = Manifest.from_json(obj, object_name="m")
    assert manifest.chunks == ((4, 2), (3,))
    assert parts(manifest) == (((0, 0), "n/pt0000"), ((1, 0), "n/pt0002"))
    assert manifest.chunk_shape((1, 0)) == (2, 3)


def test_empty_blocks_in_the_middle_are_renumbered():
    obj = manifest_for((5,), ((3, 2),)).to_json()
    obj["chunks"] = [[3, 0, 2]]
    obj["dask"] = [[[0], "a"], [[1], "b"], [[2], "c"]]
    manifest = Manifest.from_json(obj, object_name="m")
    assert manifest.chunks == ((3, 2),)
    assert parts(manifest) == (((0,), "a"), ((1,), "c"))


def test_a_dimension_of_length_zero_keeps_one_block():
    obj = manifest_for((0, 2), ((0,), (2,))).to_json()
    obj["chunks"] = [[0, 0], [2]]
    obj["dask"] = [[[0, 0], "a"], [[1, 0], "b"]]
    manifest = Manifest.from_json(obj, object_name="m")
    assert manifest.chunks == ((0,), (2,))
    assert parts(manifest) == (((0, 0), "a"),)


def test_a_dimension_of_length_zero_has_a_block():
    obj = manifest_for((0, 2), ((0,), (2,))).to_json()
    obj |= {"chunks": [[], [2]], "dask": []}
    with pytest.raises(MetadataError, match="add up"):
        Manifest.from_json(obj, object_name="m")


def test_names_in_a_row_keep_other_numbers_in_their_uploads():
    upload = "cc-" + "1" * 32
    manifest = Manifest.of((2,), np.dtype("f8"), ((1, 1),), "a", upload)
    obj = manifest.to_json()
    obj["parts"] = [[upload, 0], [upload, 5]]
    found = Manifest.from_json(obj, object_name="m")
    assert [part.number for part in found.parts()] == [0, 5]
    assert found.to_json() == obj


def test_empty_blocks_are_never_written():
    with pytest.raises(InvalidArgumentError, match="empty"):
        manifest_for((5,), ((3, 0, 2),))
    with pytest.raises(InvalidArgumentError):
        manifest_for((5,), ((3, 1),))


GOOD = manifest_for((5, 3), ((3, 2), (3,))).to_json()


@each(
    "key, value",
    [
        ("shape", None), ("shape", [5]), ("shape", [5, -3]), ("shape", [5, 3.0]), ("shape", "5,3"),
        ("shape", [5, True]), ("shape", [6, 3]),
        ("dtype", None), ("dtype", "nonsense"), ("dtype", "|O"), ("dtype", ["<f4"]),
        ("cc-dtype", 7), ("cc-dtype", "os.path"), ("cc-dtype", "<f8"),
        ("chunks", None), ("chunks", [[3, 2]]), ("chunks", [[3, 2], 3]), ("chunks", [[6, -1], [3]]),
        ("chunks", [[5], [3]]), ("chunks", [[3, 2], []]),
        ("dask", None), ("dask", {}), ("dask", []), ("dask", [[[0, 0], "a"]]),
        ("dask", [[[0, 0], "a"], [[0, 0], "b"]]), ("dask", [[[0, 0], "a"], [[2, 0], "b"]]),
        ("dask", [[[0], "a"], [[1], "b"]]), ("dask", [[[0, 0], ""], [[1, 0], "b"]]),
        ("dask", [[[0, 0], 5], [[1, 0], "b"]]), ("dask", [[[-1, 0], "a"], [[1, 0], "b"]]),
        ("dask", [[[0, 0], "a"], [[0, 0], "b"], [[1, 0], "c"]]),
        ("dask", [[[0, 0], "a"], [[True, 0], "b"]]),
        ("dask", [["00", "a"], [[1, 0], "b"]]), ("dask", [5, [[1, 0], "b"]]),
    ],
)  # fmt: skip
def test_nonsense_is_refused(key, value):
    obj = copy.deepcopy(GOOD)
    obj[key] = value
    with pytest.raises(MetadataError, match="'the/manifest'"):
        Manifest.from_json(obj, object_name="the/manifest")


@each("shape", [[2**63], [2**64, 0], [1] * 65])
def test_shapes_that_numpy_does_not_have_are_refused(shape):
    chunks, parts = [[length] for length in shape], [[[0] * len(shape), "a"]]
    obj = {"dtype": "<f8", "shape": shape, "chunks": chunks, "dask": parts}
    with pytest.raises(MetadataError, match=r"'the/manifest'.*shape"):
        Manifest.from_json(obj, object_name="the/manifest")


@each("key", ["shape", "dtype", "chunks", "dask"])
def test_missing_keys_are_refused(key):
    obj = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(MetadataError, match=key):
        Manifest.from_json(obj, object_name="m")


@each("obj", [None, [], "text", 5])
def test_no_manifest_at_all(obj):
    with pytest.raises(MetadataError, match="JSON object"):
        Manifest.from_json(obj, object_name="m")


def test_known_cuts():
    assert chunks_for((10, 6), 8, -1, 160) == ((10,), (2, 2, 2))
    assert chunks_for((10, 6), 8, 0, 1) == ((1,) * 10, (6,))
    assert chunks_for((100, 100), 1, None, 2500) == ((50, 50), (50, 50))
    assert chunks_for((2, 1000), 1, None, 100) == ((2,), (50,) * 20)
    assert chunks_for((0, 5), 8, 0, 8) == ((0,), (5,))


def test_part_names_grow():
    assert [part_name(i) for i in (0, 42, 9999, 10000)] == ["pt0000", "pt0042", "pt9999", "pt10000"]


@pytest.mark.parametrize(
    ("chunks", "prefix", "upload_id"),
    [
        *(
            case
            for new in (None, "cc-" + "1" * 32)
            for case in [((), "a", new), (((1, 1, 2),), "a/b", new), (((2, 2), (3, 3)), "", new)]
        ),
        pytest.param(((1,) * 10002,), "x", None, marks=pytest.mark.slow),  # the names grow
    ],
)
def test_parts_in_a_row_are_recognized(chunks, prefix, upload_id):
    shape = tuple(map(sum, chunks))
    obj = Manifest.of(shape, np.dtype("f8"), chunks, prefix, upload_id).to_json()
    text = json.dumps(obj)
    longer, elsewhere, reverse, shorter, renumbered = (json.loads(text) for _ in range(5))
    longer["dask"][-1][1] += "0"
    elsewhere["dask"][0][1] = "other/" + obj["dask"][0][1]
    reverse["dask"].reverse()
    reverse.get("parts", []).reverse()
    shorter["dask"].pop()
    renumbered.get("parts", [[0, 0]])[0][1] = 7
    found = Manifest.from_json(obj, object_name="name")
    assert len(found.runs) == 1
    assert Manifest.from_json(reverse, object_name="name") == found
    for changed in (longer, elsewhere, renumbered):
        assert Manifest.from_json(changed, object_name="name").to_json() == changed
    with pytest.raises(MetadataError):
        Manifest.from_json(shorter, object_name="name")
