"""Data types as text: equal dtypes are restored, and version 0.4.0 reads them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cottoncandy.exceptions import MetadataError, MissingDependencyError, UnsupportedDtypeError
from cottoncandy.formats import dtypes
from tests.cases import each
from tests.formats.dtype_samples import nested


def back(dtype):
    metadata = dtypes.to_metadata(dtype)
    assert all(value.isascii() and " " not in value for value in metadata.values())
    # As a reader of version 0.4.0:
    assert np.dtype(metadata["dtype"]).itemsize == dtype.itemsize
    return dtypes.from_metadata(metadata, object_name="o")


def assert_same(found, expected):
    assert found == expected
    assert found.itemsize == expected.itemsize
    assert found.fields == expected.fields
    assert found.names == expected.names
    assert found.isalignedstruct == expected.isalignedstruct
    assert found.type is expected.type
    assert str(found) == str(expected)


PLAIN = ["f8", ">i4", "?", "M8[ns]", "m8[25s]", "M8", "S5", "U3", "V7", "c16", "f2", "g", "u1"]


@each("text", PLAIN)
def test_plain_dtypes_need_no_key_of_ours(text):
    dtype = np.dtype(text)
    assert dtypes.to_metadata(dtype) == {"dtype": dtype.str}
    assert_same(back(dtype), dtype)


STRUCTURED = [
    [("a", "i4"), ("b", ">f8", (2, 3))],
    [("nested", [("x", "i2"), ("y", "M8[us]")], (2,))],
    [(("a title", "name: with, signs"), "i4"), ("é  z", "U3")],
    [("trailing ", "i1"), (" leading", "i1")],
    {"names": ["x", "y"], "formats": ["i4", "f4"], "offsets": [8, 2], "itemsize": 20},
    {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 0]},
    {"names": ["a"], "formats": ["i4"], "offsets": [4], "titles": ["t"], "itemsize": 16},
    [],
]


@each(
    "description, align",
    [(description, False) for description in STRUCTURED]
    + [(description, True) for description in STRUCTURED if isinstance(description, list)],
)
def test_structured_dtypes(description, align):
    dtype = np.dtype(description, align=align)
    assert dtypes.to_metadata(dtype)["dtype"] == f"|V{dtype.itemsize}"
    assert_same(back(dtype), dtype)


def test_records_stay_records():
    dtype = np.dtype((np.record, [("a", "i4"), ("b", "f8")]))
    assert back(dtype).type is np.record


@given(dtype=nested(max_itemsize=400), align=st.booleans())
def test_any_dtype(dtype, align):
    if dtype.subdtype is not None:
        dtype = dtype.base
    if dtype.hasobject:
        return
    if align and dtype.names:
        dtype = np.dtype(dtype.descr, align=True)
    assert_same(back(dtype), dtype)


def test_extension_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"):
        dtype = np.dtype(getattr(ml_dtypes, name))
        assert dtypes.to_metadata(dtype)["cc-dtype"] == f"ml_dtypes.{name}"
        assert_same(back(dtype), dtype)
    nested = np.dtype([("a", ml_dtypes.bfloat16), ("b", ml_dtypes.bfloat16, (2,))])
    assert_same(back(nested), nested)


def test_extension_dtypes_without_their_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    metadata = {"dtype": "<V2", "cc-dtype": "ml_dtypes.bfloat16"}
    with pytest.raises(MissingDependencyError, match="pip install"):
        dtypes.from_metadata(metadata, object_name="o")


def test_titles_that_are_no_text_are_refused():
    dtype = np.dtype([(((1, 2), "a"), "i4")])
    with pytest.raises(UnsupportedDtypeError, match="titles"):
        dtypes.to_metadata(dtype)


@pytest.mark.parametrize("literal", ['{"names":["a"],"formats":["<i4"]}', '["<f4",[2]]'])
def test_a_literal_that_contradicts_the_elements_is_refused(literal):
    metadata = {"dtype": "|V8", "cc-dtype": literal}
    with pytest.raises(MetadataError, match="8 bytes"):
        dtypes.from_metadata(metadata, object_name="o")
