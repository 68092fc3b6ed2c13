"""xarray's datasets and data arrays in a bucket, as zarr groups."""

from __future__ import annotations

from typing import Any

from cottoncandy.exceptions import (
    InvalidArgumentError,
    MissingDependencyError,
    ObjectNotFoundError,
    UnsupportedDtypeError,
)

try:
    import xarray
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
    dataset.to_zarr(CottonCandyStore(cci, name), **defaults | options)


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
