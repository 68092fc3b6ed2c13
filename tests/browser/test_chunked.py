"""Arrays in chunks, as one array."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
import scipy.sparse

import cottoncandy
from cottoncandy.browser import S3ChunkedDataset, S3Dataset, S3Directory, S3Group
from cottoncandy.exceptions import (
    InvalidArgumentError,
    ObjectChangedError,
    ObjectNotFoundError,
    SelectionError,
)
from tests.backends.wrappers import CountingBackend
from tests.cases import each
from tests.harness import MemoryHarness

ARRAY = np.arange(10 * 6 * 4, dtype=">i4").reshape(10, 6, 4)
CHUNKS = ((4, 4, 2), (3, 3), (4,))


def upload(cci: Any, name: str = "runs/one", **options: Any) -> None:
    cci.upload_dask_array(name, da.from_array(ARRAY, chunks=CHUNKS), **options)


@pytest.fixture(params=["dataset", "attribute"])
def node(request: pytest.FixtureRequest, cci: Any) -> Any:
    """The same array, from cloud2dataset and from the browser."""
    upload(cci, compression=False, author="me")
    return (
        cci.cloud2dataset("runs/one") if request.param == "dataset" else cci.get_browser().runs.one
    )


def test_it_is_one_array(node: Any, cci: Any) -> None:
    assert (node.shape, node.dtype, node.chunks) == (ARRAY.shape, ARRAY.dtype, CHUNKS)
    assert (node.ndim, node.size, node.nbytes, len(node)) == (3, 240, 960, 10)
    assert node.compression is None
    assert node.attrs["author"] == "me"
    assert node.info.key == "runs/one"
    assert node.info.size == sum(i.size for i in cci.get_objects(filter={"Prefix": "runs/one/pt"}))
    assert node.info.last_modified is not None
    assert repr(node).startswith(f"<cottoncandy-dataset <bucket:{cci.bucket_name} [")
    assert repr(node).endswith(":shape=(10,6,4)]>")
    loaded = node.load()
    assert isinstance(loaded, da.Array)
    assert loaded.chunks == CHUNKS
    for whole in (np.asarray(loaded), np.asarray(node), node[...], node[()]):
        np.testing.assert_array_equal(whole, ARRAY)
        assert whole.dtype == ARRAY.dtype
    assert np.asarray(node, dtype=float).dtype == float
    np.testing.assert_array_equal(list(node), ARRAY)


@each(
    "selection",
    [
        np.s_[3], np.s_[-1, -1, -1], np.s_[3:5], np.s_[..., 1], np.s_[::-1, 2:4], np.s_[1::5, ::3],
        np.s_[:, None, 0], np.s_[5:5], np.s_[9:2:-3, ::-1, ::-2], np.int64(2),
    ],
)  # fmt: skip
def test_slices(cci: Any, selection: Any) -> None:
    for compression in (False, "Zlib"):
        upload(cci, compression=compression)
        found = cci.cloud2dataset("runs/one")[selection]
        np.testing.assert_array_equal(found, ARRAY[selection])
        assert (found.dtype, found.shape) == (ARRAY.dtype, ARRAY[selection].shape)
        assert found.flags.owndata or found.base.flags.owndata
        assert found.flags.writeable


def test_what_cannot_be_selected(node: Any) -> None:
    for selection in (10, [2, 1], np.s_[0, 0, 0, 0], ARRAY > 3):
        with pytest.raises(SelectionError):
            node[selection]


def test_slices_fetch_what_they_need(cci: Any) -> None:
    wide = np.arange(40 * 40_000.0).reshape(40, 40_000)
    cci.upload_dask_array("wide", da.from_array(wide, chunks=(20, 20_000)), compression=False)
    dataset = cci.cloud2dataset("wide")
    counting = cci.backend_interface
    with counting.expect(get=2, read=2):
        np.testing.assert_array_equal(dataset[3, 19_990:20_010], wide[3, 19_990:20_010])
    assert counting.bytes_received < 1000
    assert {call[1] for call in counting.calls} == {"wide/pt0000", "wide/pt0001"}


def test_requests(cci: Any) -> None:
    upload(cci)
    counting = cci.backend_interface
    with counting.expect(scan=1, get=1, read=1):
        dataset = cci.cloud2dataset("runs/one")
        _ = dataset.shape, repr(dataset), dataset.info
    browser = cci.get_browser()
    with counting.expect(scan=2):  # the bucket, and runs: the array is not looked at
        assert browser.runs.keys() == ["one"]
        _ = browser.runs.one
    with counting.expect(scan=1, get=1, read=1):
        for _ in range(3):
            _ = browser.runs.one.shape, repr(browser.runs.one), dir(browser.runs.one)
    other = cci.get_browser()
    with counting.expect(scan=1, get=1, read=1):
        nodes: dict[str, Any] = {}
        other.visititems(lambda name, node: nodes.update({name: node}))
        assert nodes["runs/one"].shape == ARRAY.shape
    assert not [name for name in nodes if name.startswith("runs/one/")]
    assert "sweet_project/sub01_awesome_analysis.grp/result_model01" in nodes


def test_the_parts_can_still_be_reached(cci: Any) -> None:
    upload(cci)
    node = cci.get_browser().runs.one
    assert isinstance(node, S3Directory)
    assert node.keys() == ["metadata.json", *(f"pt{number:04}" for number in range(6))]
    np.testing.assert_array_equal(node["pt0001"].load(), ARRAY[:4, 3:])
    assert node.metadata_DOT_json.load()["shape"] == [10, 6, 4]
    assert "pt0001" in node
    assert {"shape", "dtype", "chunks", "load"} <= set(dir(node))


def test_other_directories_have_no_shape(cci: Any) -> None:
    cci.upload_json("described/metadata.json", {"shape": [3], "dask": "no"})
    cci.upload_object("described/pt0000", b"")
    browser = cci.get_browser()
    for directory in (browser.described, browser.sweet_project, browser):
        assert not hasattr(directory, "shape")
        assert not hasattr(directory, "__array__")
        with pytest.raises(TypeError, match="names must be str"):
            directory[0]
    assert len(browser.described) == 2
    assert type(cci.cloud2dataset("described")) is S3Group
    assert repr(browser.described).startswith("cottoncandy-path")


def test_refresh(cci: Any) -> None:
    upload(cci)
    dataset, node = cci.cloud2dataset("runs/one"), cci.get_browser().runs.one
    assert dataset.shape == node.shape == ARRAY.shape
    cci.upload_dask_array("runs/one", np.zeros((3, 3)))
    for one in (dataset, node):
        np.testing.assert_array_equal(one[0], ARRAY[0])  # the version that was opened
    cci.upload_dask_array("runs/one", np.zeros((3, 3)))
    for one in (dataset, node):
        with pytest.raises(ObjectChangedError, match="runs/one"):
            one[0]
        one.refresh()
        np.testing.assert_array_equal(one[0], np.zeros(3))
        assert one.compression == "gzip"


def test_a_moved_array_is_read_where_it_is(memory: MemoryHarness) -> None:
    cci = memory.interface()
    upload(cci, "old/place")
    cci.mv("old/place", "new", recursive=True)
    np.testing.assert_array_equal(cci.cloud2dataset("new")[2:9, 1], ARRAY[2:9, 1])


def test_structured_and_0d(cci: Any) -> None:
    records = np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "<i2"), ("b", "<f8")])
    cci.upload_dask_array("records", records, buffersize=10)
    cci.upload_dask_array("scalar", np.array(7.5))
    np.testing.assert_array_equal(cci.cloud2dataset("records")[1:], records[1:])
    np.testing.assert_array_equal(cci.cloud2dataset("records")["b"], records["b"])
    scalar = cci.cloud2dataset("scalar")
    assert (scalar[()], scalar[...].shape, scalar.shape) == (7.5, (), ())


def test_encrypted(memory: MemoryHarness) -> None:
    options = {"backend": "memory", "verbose": False, "encryption": "AES"}
    cci = cottoncandy.get_encrypted_interface(memory.bucket, encryptionKey=bytes(32), **options)
    upload(cci)
    np.testing.assert_array_equal(cci.cloud2dataset("runs/one")[3:5], ARRAY[3:5])
    # Without the key, the array is visible and the rest can be browsed.
    plain = memory.interface().get_browser()
    assert repr(plain.runs.one).startswith("cottoncandy-path")
    assert len(plain.runs.one) == 7
    assert "pt0000" in plain._repr_html_()


def test_sparse_matrices_load(cci: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.csr_matrix(np.eye(3))
    cci.upload_sparse_array("sparse", matrix)
    loaded = cci.cloud2dataset("sparse").load()
    assert loaded.format == "csr"
    assert (loaded != matrix).nnz == 0


def test_previews(memory: MemoryHarness) -> None:
    cci = memory.interface()
    for compression in (False, True):
        cci.upload_dask_array(
            "movie", np.zeros((8, 300, 300)), axis=0, buffersize=720_000, compression=compression
        )
        cci.backend_interface = counting = CountingBackend(cci.backend_interface)
        dataset = cci.cloud2dataset("movie")
        preview = dataset.preview(max_bytes=720_000)
        assert preview.data.startswith(b"\x89PNG")
        assert preview.caption == "movie[4, :, :] of 8 x 300 x 300 float64: 0 to 0"
        gets = {call[1].rpartition("/")[2] for call in counting.calls if call[0] == "get"}
        assert gets <= {"metadata.json", "pt0000", "pt0004"}
        with pytest.raises(InvalidArgumentError, match="max_bytes"):
            dataset.preview(max_bytes=700_000)


def test_html(cci: Any) -> None:
    upload(cci, author="<me>")
    for html in (
        cci.cloud2dataset("runs/one")._repr_html_(),
        cci.get_browser().runs.one._repr_html_(),
    ):
        for text in ("6 chunks of (4, 3, 4)", "(10, 6, 4)", "&gt;i4", "&lt;me&gt;", "author"):
            assert text in html
    tree = cci.get_browser()._repr_html_()
    assert "6 chunks of (4, 3, 4)" in tree
    assert "pt0000" not in tree


def test_names_with_nothing_below(cci: Any, memory: MemoryHarness) -> None:
    for name in ("nosuch", "sweet_project/nosuch", "sweet", "sweet_project/mean/below"):
        with pytest.raises(ObjectNotFoundError, match=f"nothing found under '{name}'"):
            cci.cloud2dataset(name)
    assert isinstance(cci.cloud2dataset("notes.txt"), S3Dataset)
    assert not isinstance(cci.cloud2dataset("sweet_project/mean"), S3ChunkedDataset)
    plain = memory.interface()
    assert plain.cloud2dataset("").keys() == []  # the bucket itself is there
    memory.raw_put("made/by/a/console/", b"")
    assert plain.cloud2dataset("made/by/a/console").keys() == []


def test_a_sparse_array_is_one_dataset(cci: Any) -> None:
    matrix = scipy.sparse.csr_matrix(np.diag(np.arange(4.0)))
    cci.upload_sparse_array("runs/sparse", matrix)
    dataset = cci.cloud2dataset("runs/sparse")
    assert (dataset.shape, dataset.dtype, dataset.chunks) == ((4, 4), matrix.dtype, None)
    assert "shape=(4,4)" in repr(dataset)
    np.testing.assert_array_equal(np.asarray(dataset), matrix.toarray())
    assert (dataset.load() != matrix).nnz == 0
    assert "sparse" in cci.get_browser().runs._repr_html_()
    assert dataset.preview().caption == "sparse[:, :] of 4 x 4 float64: 0 to 3"


def test_dask_names_a_directory_of_chunks_by_its_version(cci: Any) -> None:
    names = set()
    for value in range(2):
        cci.upload_dask_array("version", np.full(4, value), buffersize=16)
        node = cci.get_browser().version
        assert node.kind == "chunked"
        assert node.__dask_tokenize__() == cci.array("version").__dask_tokenize__()
        names.add(da.from_array(node).name)
    assert len(names) == 2


@pytest.mark.parametrize("compression", [False, "gzip"])
def test_a_replaced_array_never_mixes_versions(cci: Any, compression: Any) -> None:
    cci.upload_raw_array("array", ARRAY, compression=compression)
    dataset = cci.get_browser().array
    assert dataset.shape == ARRAY.shape
    cci.upload_raw_array("array", ARRAY[:1], compression=compression)
    with pytest.raises(ObjectChangedError):
        dataset[0]
    np.testing.assert_array_equal(dataset.load(), ARRAY[:1])
    assert dataset.shape == ARRAY[:1].shape  # load() found the new version


def test_attributes_of_a_dataset_can_be_set(cci: Any) -> None:
    upload(cci)
    cci.upload_raw_array("raw", ARRAY)
    for name in ("runs/one", "raw"):
        dataset = cci.cloud2dataset(name)
        dataset.attrs["subject"] = "sub01"
        assert cci.info(name).metadata["subject"] == "sub01"
        np.testing.assert_array_equal(dataset[1], ARRAY[1])
    cci.upload_object("notes", b"text", author="me")
    assert cci.cloud2dataset("notes").attrs == {"author": "me"}
