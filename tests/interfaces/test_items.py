"""A bucket as a mapping of arrays, and their descriptions."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
import scipy.sparse

import cottoncandy
from cottoncandy.arrays.items import value_names
from cottoncandy.exceptions import (
    MetadataError,
    ObjectNotFoundError,
    UnsupportedDtypeError,
)
from tests.backends.wrappers import CountingBackend
from tests.cases import each
from tests.interfaces.arrays import assert_same

ARRAY = np.arange(24.0).reshape(4, 6)


@pytest.fixture
def counted(cci: Any) -> CountingBackend:
    """The backend of the interface, which counts from now on."""
    cci.backend_interface = backend = CountingBackend(cci.backend_interface)
    return backend


# -- items ---------------------------------------------------------------------------------------


def test_items_are_the_arrays_themselves(cci: Any) -> None:
    cci["raw"] = ARRAY
    cci["chunked"] = da.from_array(ARRAY, chunks=(2, 3))
    cci["list"] = [1, 2, 3]
    assert_same(cci["raw"], ARRAY)
    assert_same(cci["chunked"], ARRAY)
    assert_same(cci["list"], np.array([1, 2, 3]))
    assert cci.download_dask_array("chunked").chunks == ((2, 2), (3, 3))


def test_a_small_raw_item_is_one_get(cci: Any, counted: CountingBackend) -> None:
    cci["raw"] = ARRAY
    with counted.expect(get=1, read=1):
        assert_same(cci["raw"], ARRAY)


def test_names_come_from_a_listing_alone(cci: Any, counted: CountingBackend) -> None:
    cci["sub/raw"] = ARRAY
    cci["sub/chunked"] = da.from_array(ARRAY, chunks=2)
    cci["sub/sparse"] = scipy.sparse.eye(3, format="csr")
    cci["chunked"] = da.from_array(ARRAY, chunks=2)
    cci["chunked/inside"] = ARRAY
    cci.upload_json("about.json", {"a": 1})
    cci.upload_json("branch/metadata.json", {"a": 1})
    with counted.expect(scan=1):
        names = sorted(cci)
    assert names == [
        *("about.json", "branch/metadata.json", "chunked", "chunked/inside"),
        *("sub/chunked", "sub/raw", "sub/sparse"),
    ]
    assert all(name in cci for name in names)
    assert "sub" not in cci
    assert "branch" not in cci
    assert 3 not in cci


def test_an_empty_bucket_has_no_names(cci: Any) -> None:
    assert list(cci) == []
    assert cci  # there is no length
    with pytest.raises(TypeError):
        len(cci)


UPLOAD = "cc-" + "0" * 31 + "a"


@each(
    "keys, names",
    [
        (["a", "a/metadata.json", "a/pt0000"], ["a"]),
        (["a", "a-b", "a/metadata.json", "a/pt0000", "b"], ["a", "a-b", "b"]),
        ([f"a/{UPLOAD}/previous.json", f"a/{UPLOAD}/pt0000", "a/metadata.json"], ["a"]),
        (["a/data", "a/indices", "a/indptr", "a/metadata.json"], ["a"]),
        (["a/coord0", "a/data", "a/metadata.json"], ["a"]),
        (["a/data", "a/offsets"], ["a/data", "a/offsets"]),
        (["a/metadata.json", "a/notes", "a/pt0000"], ["a", "a/notes"]),
        (["a/b/metadata.json", "a/b/pt0000", "a/metadata.json", "a/pt0000"], ["a/b", "a"]),
        (["a/b/metadata.json", "a/b/pt0000", "a/metadata.json"], ["a/b", "a/metadata.json"]),
        (["data", "metadata.json", "pt0000"], ["data", "metadata.json", "pt0000"]),
    ],
)  # fmt: skip
def test_manifest_and_parts_count_as_one_name(keys: list[str], names: list[str]) -> None:
    assert list(value_names(sorted(keys))) == names


@each("name", ["missing", "a/missing", "a"])
def test_missing_names_are_key_errors(cci: Any, name: str) -> None:
    cci["a/b"] = ARRAY
    for error in (KeyError, FileNotFoundError, ObjectNotFoundError):
        with pytest.raises(error):
            cci[name]
        with pytest.raises(error):
            del cci[name]
        with pytest.raises(error):
            cci.info(name)
        with pytest.raises(error):
            cci.array(name)
    assert name not in cci


def test_deletion_leaves_nothing(cci: Any) -> None:
    cci["chunked"] = da.from_array(ARRAY, chunks=2)
    cci["chunked/other"] = ARRAY
    cci["chunked"] = ARRAY  # a raw array of the same name
    del cci["chunked"]
    assert "chunked" not in cci
    assert list(cci) == ["chunked/other"]
    assert cci.glob("**") == ["chunked/other"]


def test_deletion_of_a_replaced_array_takes_its_predecessor_along(cci: Any) -> None:
    for number in range(2):
        cci["chunked"] = da.from_array(ARRAY + number, chunks=2)
        cci["sparse"] = scipy.sparse.eye(3 + number, format="csr")
    del cci["chunked"], cci["sparse"]
    assert cci.glob("**") == []


def test_values_that_are_no_arrays(cci: Any) -> None:
    for value in (None, {"a": 1}, object()):
        with pytest.raises(UnsupportedDtypeError):
            cci["a"] = value
    cci.upload_object("notes", b"text")
    with pytest.raises(MetadataError):
        cci["notes"]


# -- descriptions --------------------------------------------------------------------------------


def test_info_of_a_raw_array(cci: Any, counted: CountingBackend) -> None:
    response = cci.upload_raw_array("raw", ARRAY, subject="sub01")
    with counted.expect(head=1):
        info = cci.info("raw")
    assert (info.name, info.kind, info.dtype, info.shape) == ("raw", "raw", ARRAY.dtype, (4, 6))
    assert (info.codec, info.nbytes, info.chunks) == ("gzip", ARRAY.nbytes, None)
    assert 0 < info.stored_bytes < ARRAY.nbytes
    assert (info.encrypted, info.metadata) == (False, {"subject": "sub01"})
    assert info.etag == response["ETag"]
    assert info.checksum is not None
    assert info.checksum.startswith("crc32:")
    assert cci.download_stream("raw").metadata["cc-checksum"] == info.checksum
    text = repr(info)
    assert "subject='sub01'" in text
    assert "gzip" in text
    assert "<table>" in info._repr_html_()
    with pytest.raises(AttributeError):
        info.kind = "other"


def test_info_of_a_chunked_array(cci: Any, counted: CountingBackend) -> None:
    cci.upload_dask_array("chunked", ARRAY, axis=0, buffersize=48, subject="sub01")
    with counted.expect(head=1, get=1, read=1):
        info = cci.info("chunked")
    assert (info.kind, info.dtype, info.shape) == ("chunked", ARRAY.dtype, (4, 6))
    assert info.chunks == ((1, 1, 1, 1), (6,))
    assert (info.nbytes, info.stored_bytes, info.checksum) == (ARRAY.nbytes, None, None)
    assert info.metadata == {"subject": "sub01"}
    assert "4 of (1, 6)" in repr(info)


def test_info_of_a_file(cci: Any) -> None:
    cci.upload_object("notes", b"text", author="me")
    info = cci.info("notes")
    assert (info.kind, info.dtype, info.stored_bytes) == ("file", None, 4)
    assert info.metadata == {"author": "me"}


def test_info_of_an_encrypted_array_needs_no_key(cci: Any) -> None:
    key = "A" * 43 + "="
    secret = cottoncandy.get_encrypted_interface(
        cci.bucket_name, backend="memory", encryption="AES", encryptionKey=key, verbose=False
    )
    secret.upload_raw_array("raw", ARRAY, compression=False, subject="sub01")
    for reader in (secret, cci):
        info = reader.info("raw")
        assert (info.encrypted, info.shape, info.codec) == (True, (4, 6), None)
        assert info.metadata == {"subject": "sub01"}
    assert_same(secret["raw"], ARRAY)
    assert_same(secret.array("raw")[1:], ARRAY[1:])
    secret["chunked"] = da.from_array(ARRAY, chunks=2)
    assert secret.info("chunked").encrypted
