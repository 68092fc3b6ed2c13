"""Methods that hand the bucket to other libraries, which load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cottoncandy.interfaces.base import ObjectAccess

if TYPE_CHECKING:
    from cottoncandy.bridges.fsspec import CottonCandyFileSystem
    from cottoncandy.bridges.zarr import CottonCandyStore

__all__ = ["BridgeMethods"]


class BridgeMethods(ObjectAccess):
    """Stores and file systems of other libraries, in the current bucket."""

    def filesystem(self, prefix: str = "") -> CottonCandyFileSystem:
        r"""Return an fsspec file system on the current bucket.

        Parameters
        ----------
        prefix : str, default ''
            Directory that its paths are relative to.

        Returns
        -------
        fs : cottoncandy.bridges.fsspec.CottonCandyFileSystem
            For pandas, Dask, pyarrow and others. It pickles with the credentials of the interface.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> import pandas
        >>> cci = cc.get_interface("my_bucket", backend="memory", verbose=False)
        >>> fs = cci.filesystem("tables")
        >>> fs.pipe("ages.csv", b"name,age\nsub01,31\n")
        >>> with fs.open("ages.csv") as file:
        ...     int(pandas.read_csv(file).age.sum())
        31
        """
        from cottoncandy.bridges.fsspec import CottonCandyFileSystem

        return CottonCandyFileSystem.of_store(self._store, prefix)

    def zarr_store(self, prefix: str = "", *, read_only: bool = False) -> CottonCandyStore:
        """Return a zarr 3 store in the current bucket.

        Parameters
        ----------
        prefix : str, default ''
            Name below which zarr's objects are stored.
        read_only : bool, default False
            Whether the store rejects writing and deleting.

        Returns
        -------
        store : cottoncandy.bridges.zarr.CottonCandyStore
            For every function of zarr and xarray that takes a store.

        Raises
        ------
        MissingDependencyError
            If zarr is not installed.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> import zarr
        >>> cci = cc.get_interface("my_bucket", backend="memory", verbose=False)
        >>> array = zarr.create_array(cci.zarr_store("a"), shape=(4, 6), chunks=(2, 6), dtype="f4")
        >>> array[:] = 1
        >>> float(zarr.open_array(cci.zarr_store("a"), mode="r")[:].sum())
        24.0
        """
        from cottoncandy.bridges.zarr import CottonCandyStore

        return CottonCandyStore(self, prefix, read_only=read_only)

    def upload_xarray(self, name: str, data: Any, **options: Any) -> None:
        """Store an xarray dataset or data array as a zarr group.

        Parameters
        ----------
        name : str
            Name of the group. Everything below it is replaced, chunk by chunk: unlike an array of
            :meth:`upload_dask_array`, not in one step.
        data : xarray.Dataset or xarray.DataArray
        **options
            Options of :meth:`xarray.Dataset.to_zarr`, such as ``encoding``, ``append_dim`` and
            ``mode``.

        Raises
        ------
        UnsupportedDtypeError
            If ``data`` is something else.
        MissingDependencyError
            If xarray or zarr is not installed.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> import xarray
        >>> cci = cc.get_interface("my_bucket", backend="memory", verbose=False)
        >>> bold = xarray.DataArray([[1.0, 2.0]], dims=("time", "voxel"), name="bold")
        >>> cci.upload_xarray("sub01/bold", bold)
        >>> bool(cci.download_xarray("sub01/bold").identical(bold))
        True
        """
        from cottoncandy.bridges.xarray import upload_xarray

        upload_xarray(self, name, data, **options)

    def download_xarray(self, name: str) -> Any:
        """Open a dataset or data array that ``upload_xarray`` stored.

        Parameters
        ----------
        name : str

        Returns
        -------
        data : xarray.Dataset or xarray.DataArray
            Lazy: its variables are Dask arrays. ``load()`` downloads them.

        Raises
        ------
        ObjectNotFoundError
            If there is no zarr group of that name.
        """
        from cottoncandy.bridges.xarray import download_xarray

        return download_xarray(self, name)
