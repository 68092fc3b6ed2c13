"""xarray's datasets and data arrays in a bucket, as zarr groups."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from cottoncandy.arrays.handle import ArrayHandle
from cottoncandy.bridges.fsspec import CottonCandyFileSystem
from cottoncandy.core.names import prefix_of
from cottoncandy.exceptions import (
    InvalidArgumentError,
    MissingDependencyError,
    ObjectNotFoundError,
    UnsupportedDtypeError,
)
from cottoncandy.stores.checks import check_bool
from cottoncandy.transfer.entries import Endpoint

try:
    import xarray
    from cloudpickle import CloudPickler
    from zarr.errors import ContainsArrayError
    from zarr.storage import FsspecStore, MemoryStore

    from cottoncandy.bridges.zarr import CottonCandyStore
except ImportError as exc:
    message = 'xarray datasets need xarray: pip install "cottoncandy[xarray]"'
    raise MissingDependencyError(message) from exc

# Attribute of a group that holds a data array: its name, or False if it has none.
_NAME = "cottoncandy_data_array"
_UNNAMED = "__xarray_dataarray_variable__"  # that of xarray's own files
_NOT_KEPT = re.compile(r"[/\\]|^zarr\.json$")


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
    lost = sorted(str(each) for each in dataset.variables if _NOT_KEPT.search(str(each)))
    if lost:  # zarr stores them, and xarray does not find them
        raise InvalidArgumentError(
            f"variable {lost[0]!r} would not be found again, because a zarr group has no array of "
            f"that name; rename it, for example to {_NOT_KEPT.sub('_', lost[0])!r}"
        )
    check_bool(options.get("compute", True), "compute")
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
        if store._store.has_below(store.prefix):
            _check_storable(dataset, options)
    dataset.to_zarr(store, **options)


def _check_storable(dataset: Any, options: dict[str, Any]) -> None:
    """Raise what xarray would raise after it has deleted the old dataset.

    Lazy variables are not stored, so all are made lazy first. As this changes their chunks, what
    is rejected is tried again as it is.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the upload gives them
        try:
            dataset.chunk().to_zarr(MemoryStore(), **options | {"compute": False})
        except Exception:  # noqa: BLE001 - of any kind, which the second trial decides
            dataset.to_zarr(MemoryStore(), **options | {"compute": False})


def _check_sources(store: CottonCandyStore, variables: Iterable[Any]) -> None:
    """Raise if lazy variables are read from what a replacement would delete first."""
    finder = _SourceFinder()
    try:
        for variable in variables:
            finder.dump(variable)
    except Exception as exc:  # what does not pickle ends the search
        if store._store.has_below(store.prefix):
            raise InvalidArgumentError(
                f"'{store.prefix}' would be replaced before lazy data are read, and these may be "
                f"read from it: call load() first, or choose another name; nothing was changed"
            ) from exc
    mine = Endpoint(store._store, prefix_of(store.prefix))
    for source in finder.sources:
        if mine.contains(source) or source.contains(mine):
            raise InvalidArgumentError(
                f"the data are read from '{source.prefix.rstrip('/')}', which '{store.prefix}' "
                f"would replace before they are read: call load() first, or choose another name; "
                f"nothing was changed"
            )


class _SourceFinder(CloudPickler):  # type: ignore[misc]  # cloudpickle has no types
    """Collects the places that what it pickles is read from. What it writes is dropped."""

    def __init__(self) -> None:
        super().__init__(_Nowhere())
        self.sources: list[Endpoint] = []

    def persistent_id(self, obj: object) -> bool | None:
        match obj:
            case CottonCandyStore(_store=store, prefix=prefix):
                self.sources.append(Endpoint(store, prefix_of(prefix)))
            case ArrayHandle(_store=store, name=name):
                self.sources.append(Endpoint(store, prefix_of(name)))
            case FsspecStore(fs=fs, path=path):
                files = getattr(fs, "sync_fs", fs)
                if isinstance(files, CottonCandyFileSystem):
                    self.sources.append(Endpoint(files.store, files._below(path)))
            case np.ndarray():
                pass
            case _:
                return None
        return True


class _Nowhere:
    """A file that drops what is written."""

    def write(self, data: Any) -> None:
        pass


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
