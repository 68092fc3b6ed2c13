"""xarray in a bucket: stored data are read back identical."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy as cc
from cottoncandy.exceptions import InvalidArgumentError, ObjectNotFoundError, UnsupportedDtypeError

xr = pytest.importorskip("xarray")
zarr = pytest.importorskip("zarr", minversion="3.1")

DATES = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "M8[ns]")
DATASET = xr.Dataset(
    {"t": (("x", "y"), np.arange(12.0).reshape(4, 3), {"units": "K"}), "n": ("x", [1, 2, 3, 4])},
    coords={"x": [1, 2, 3, 4], "time": ("y", DATES)},
    attrs={"title": "a", "numbers": [1, 2]},
)
ARRAYS = [
    DATASET.t,
    DATASET.t.rename(None),
    DATASET.x,
    DATASET.time,
    xr.DataArray(5.0),
    xr.DataArray(np.arange(3), dims="q", name="q"),
    xr.DataArray(np.arange(3), dims="q", coords={"q": [5, 6, 7]}, attrs={"a": 1}),
]


@pytest.fixture(params=["plain", "AES"], ids=str)
def encryption(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def cci(store: Any, factory: Any) -> Any:
    return factory(store.bucket, backend="memory", verbose=False)


def test_datasets_come_back_identical_and_replace_others(cci: Any) -> None:
    cci.upload_xarray("a", DATASET.isel(x=slice(2)).drop_vars("n").assign(other=1))
    cci.upload_xarray("a", DATASET)
    lazy = cci.download_xarray("a")
    assert lazy.t.chunks is not None
    xr.testing.assert_identical(lazy.load(), DATASET)


@pytest.mark.parametrize("number", range(len(ARRAYS)))
def test_data_arrays_come_back_identical(cci: Any, number: int) -> None:
    cci.upload_xarray("a", ARRAYS[number])
    xr.testing.assert_identical(cci.download_xarray("a").load(), ARRAYS[number])


def test_encodings_come_back(cci: Any) -> None:
    dataset = DATASET.copy()
    encoding = {"dtype": np.dtype("i2"), "scale_factor": 0.5, "_FillValue": -1, "chunks": (2, 3)}
    dataset.t.encoding = encoding
    cci.upload_xarray("a", dataset)
    found = cci.download_xarray("a").t.encoding
    assert {name: found[name] for name in encoding} == encoding
    cci.upload_xarray("b", cci.download_xarray("a"))  # with the encodings that were read
    xr.testing.assert_identical(cci.download_xarray("b").load(), DATASET)


@pytest.mark.parametrize("upload", [True, False])
def test_appends_and_regions(cci: Any, upload: bool) -> None:
    store = cci.zarr_store("runs")

    def write(dataset: Any, **options: Any) -> None:
        if upload:
            cci.upload_xarray("runs", dataset, **options)
        else:
            dataset.to_zarr(store, consolidated=False, **options)

    write(DATASET)
    later = DATASET.assign_coords(x=[5, 6, 7, 8])
    write(later, append_dim="x")
    write((later.isel(x=slice(1)) * 0).drop_vars("time"), region={"x": slice(4, 5)})
    expected = xr.concat([DATASET, later], "x", data_vars="minimal", join="outer").copy(deep=True)
    expected.t[4] = 0
    expected.n[4] = 0
    found = xr.open_zarr(store, consolidated=False).load()
    xr.testing.assert_equal(found, expected)


def test_data_arrays_are_appended_to(cci: Any) -> None:
    for begin in (0, 2):
        options = {"append_dim": "x"} if begin else {}
        cci.upload_xarray("a", DATASET.t[begin : begin + 2], **options)
    xr.testing.assert_identical(cci.download_xarray("a").load(), DATASET.t)


def test_consolidated_metadata_opens() -> None:
    cci = cc.get_interface("xarray_consolidated", backend="memory", verbose=False)
    cci.upload_xarray("b", DATASET, consolidated=True, zarr_format=2)
    xr.testing.assert_identical(xr.open_zarr(cci.zarr_store("b"), consolidated=True), DATASET)
    DATASET.to_zarr(cci.zarr_store("a"), consolidated=True, zarr_format=2, mode="w")
    xr.testing.assert_identical(
        xr.open_zarr(cci.zarr_store("a"), consolidated=True, zarr_format=2).load(), DATASET
    )


def test_wrong_values_and_names_raise(cci: Any) -> None:
    with pytest.raises(UnsupportedDtypeError, match="upload_raw_array"):
        cci.upload_xarray("a", np.arange(3))
    with pytest.raises(InvalidArgumentError, match="compute"):
        cci.upload_xarray("a", DATASET, compute=False)
    with pytest.raises(InvalidArgumentError, match="compute must be True or False"):
        cci.upload_xarray("a", DATASET, compute="no")
    with pytest.raises(ObjectNotFoundError, match="missing"):
        cci.download_xarray("missing")
    zarr.save_array(cci.zarr_store("array"), np.arange(3))
    with pytest.raises(ObjectNotFoundError, match="single array"):
        cci.download_xarray("array")
    for value in (DATASET.t, DATASET.t.chunk()):
        for upload in (
            cci.upload_raw_array, cci.upload_dask_array, partial(cci.append_dask_array, axis=0),
            cci.__setitem__,
        ):  # fmt: skip
            with pytest.raises(UnsupportedDtypeError, match="upload_xarray"):
                upload("a", value)


@pytest.mark.parametrize("name", ["m/s", "/a", "a\\b", "zarr.json"])
def test_names_that_zarr_does_not_keep_raise(cci: Any, name: str) -> None:
    """They were stored, and read without these variables."""
    variable = ("x", [1.0])
    for data in (
        xr.Dataset({name: variable}),
        xr.Dataset(coords={name: variable}),
        xr.DataArray([1.0], name=name),
    ):
        with pytest.raises(InvalidArgumentError, match="rename it, for example to '"):
            cci.upload_xarray("a", data)
    assert cci.glob("*") == []


def of_unpicklable(block: Any, lock: Any = threading.Lock()) -> Any:  # noqa: B008
    with lock:
        return block


def test_a_lazy_dataset_does_not_replace_what_it_is_read_from(cci: Any) -> None:
    cci.upload_xarray("a/b", DATASET)
    lazy = cci.download_xarray("a/b")
    for name, data in (
        ("a/b", lazy + 1),
        ("a/b", lazy.t),
        ("a", lazy),
        ("a/b/c", lazy.map(np.negative)),
        ("a/b", xr.open_zarr(cci.zarr_store("a/b"), consolidated=False, chunks=None)),
        ("a/b", xr.open_zarr(cci.filesystem("a").get_mapper("b"), consolidated=False)),
        ("a/b", lazy.map(lambda each: each.copy(data=each.data.map_blocks(of_unpicklable)))),
    ):
        with pytest.raises(InvalidArgumentError, match=r"load\(\)"):
            cci.upload_xarray(name, data)
    xr.testing.assert_identical(cci.download_xarray("a/b").load(), DATASET)
    cci.upload_xarray("a/bc", lazy)  # elsewhere
    cci.upload_xarray("a/b", lazy.load())
    xr.testing.assert_identical(cci.download_xarray("a/b").load(), DATASET)
    xr.testing.assert_identical(cci.download_xarray("a/bc").load(), DATASET)


def test_lazy_data_of_other_interfaces_on_the_bucket_are_recognized(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "link").symlink_to("bucket")
    cci, linked, reading, cached = (
        cc.get_interface(str(tmp_path / place), backend="local", verbose=False, **options)
        for place, options in (
            ("bucket", {}),
            ("link", {}),
            ("bucket", {"read_only": True}),
            ("bucket", {"cache": str(tmp_path / "cache")}),
        )
    )
    cci.upload_xarray("a", DATASET)
    for other in (linked, reading, cached):
        with pytest.raises(InvalidArgumentError, match=r"load\(\)"):
            cci.upload_xarray("a", other.download_xarray("a") + 1)
    xr.testing.assert_identical(cci.download_xarray("a").load(), DATASET)


def test_a_lazy_array_is_not_replaced_by_a_dataset_of_it(cci: Any) -> None:
    cci.upload_dask_array("a", np.arange(6))
    with pytest.raises(InvalidArgumentError, match=r"load\(\)"):
        cci.upload_xarray("a", xr.DataArray(cci.download_dask_array("a")))
    assert cci["a"].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "rejected",
    [
        pytest.param(DATASET.assign_attrs(raw=b"1"), id="attributes"),
        pytest.param(DATASET.chunk(x=(1, 2, 1)), id="chunks"),
        pytest.param(DATASET.assign(o=("x", [1, "a", None, 2.0])), id="objects"),
    ],
)
def test_what_is_rejected_leaves_the_old_dataset(cci: Any, rejected: Any) -> None:
    cci.upload_xarray("a", DATASET)
    with pytest.raises((TypeError, ValueError)):
        cci.upload_xarray("a", rejected)
    xr.testing.assert_identical(cci.download_xarray("a").load(), DATASET)


def test_what_only_lazy_data_could_not_be_is_stored(cci: Any) -> None:
    """Its shards are no whole number of chunks of the size that xarray chooses for lazy data."""
    for _ in range(2):
        cci.upload_xarray("a", DATASET, encoding={"t": {"shards": (4, 3), "chunks": (2, 3)}})
    xr.testing.assert_identical(cci.download_xarray("a").load(), DATASET)
