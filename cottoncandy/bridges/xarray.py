"""xarray's datasets and data arrays in a bucket, as zarr groups."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np

from cottoncandy.core.names import prefix_of
from cottoncandy.exceptions import (
    InvalidArgumentError,
    MissingDependencyError,
    ObjectNotFoundError,
    UnsupportedDtypeError,
)

try:
    import xarray
    from cloudpickle import CloudPickler
    from zarr.errors import ContainsArrayError

    from cottoncandy.bridges.zarr import CottonCandyStore
except ImportError as exc:
    message = 'xarray datasets need xarray: pip install "cottoncandy[xarray]"'
    raise MissingDependencyError(message) from exc

# Attribute of a group that holds a data array: its name, or False if it has none.
_NAME = "cottoncandy_data_array"
_UNNAMED = "__xarray_dataarray_variable__"  # that of xarray's own files


def upload_xarray(cci: Any, name: str, data: Any, **options: Any) -> None:
    """Store a dataset or a data array; see ``DefaultInterface.upload_xarray``."""
    if isinstance(data, xarray.DataArray):
        taken = {None, *data.coords, *data.dims}
        label = _UNNAMED if data.name in taken else data.name
        dataset = data.to_dataset(name=label)
        dataset.attrs = {_NAME: False if data.name is None else data.name}
    elif isinstance(data, xarray.Dataset):
        dataset = data
    else:
        raise UnsupportedDtypeError(
            f"upload_xarray takes a Dataset or a DataArray, not {type(data).__name__}; "
            f"use upload_raw_array for arrays"
        )
    if not options.get("compute", True):
        raise InvalidArgumentError(
            "upload_xarray stores the data at once; for compute=False, call "
            "Dataset.to_zarr(cci.zarr_store(name), compute=False)"
        )
    adds = {"append_dim", "region"} & options.keys()  # to_zarr sets the mode for these
    defaults = {"consolidated": False} | ({} if adds else {"mode": "w"})
    options = defaults | options
    store = CottonCandyStore(cci, name)
    if options.get("mode") == "w":
        _check_sources(store, dataset.variables.values())
    dataset.to_zarr(store, **options)


def _check_sources(store: CottonCandyStore, variables: Iterable[Any]) -> None:
    """Raise if lazy variables are read from what a replacement would delete first."""
    finder = _StoreFinder(io.BytesIO())
    for variable in variables:
        with suppress(Exception):  # what does not pickle, such as an open file, has no store in it
            finder.dump(variable)
    mine = prefix_of(store.prefix)
    for source in finder.stores:
        theirs = prefix_of(source.prefix)
        if source.same_place(store) and (theirs.startswith(mine) or mine.startswith(theirs)):
            raise InvalidArgumentError(
                f"the data are read from '{source.prefix}', which '{store.prefix}' would replace "
                f"before they are read: call load() first, or choose another name; nothing was "
                f"changed"
            )


class _StoreFinder(CloudPickler):  # type: ignore[misc]  # cloudpickle has no types
    """Collects the stores that what it pickles is read from; they and arrays are left out."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.stores: list[CottonCandyStore] = []

    def persistent_id(self, obj: object) -> bool | None:
        if isinstance(obj, CottonCandyStore):
            self.stores.append(obj)
        return isinstance(obj, CottonCandyStore | np.ndarray) or None


def download_xarray(cci: Any, name: str) -> Any:
    """Open a dataset or a data array; see ``DefaultInterface.download_xarray``."""
    store = CottonCandyStore(cci, name, read_only=True)
    try:
        dataset = xarray.open_zarr(store, consolidated=False)
    except (FileNotFoundError, ContainsArrayError) as error:
        raise ObjectNotFoundError(
            f"there is no dataset '{name}' in bucket '{cci.bucket_name}'; zarr opens a single array"
        ) from error
    if _NAME not in dataset.attrs:
        return dataset
    stored = dataset.attrs[_NAME]
    (label,) = dataset.data_vars
    return dataset[label].rename(None if stored is False else stored)
