"""Access for others: URLs that anyone can read, and stores of other libraries."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any

from cottoncandy.core.names import pathjoin
from cottoncandy.exceptions import (
    InvalidArgumentError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from cottoncandy.formats.generations import MANIFEST
from cottoncandy.interfaces.base import ObjectAccess
from cottoncandy.stores.checks import check_duration

if TYPE_CHECKING:
    from cottoncandy.bridges.fsspec import CottonCandyFileSystem
    from cottoncandy.bridges.zarr import CottonCandyStore

_MAX_SHARED = datetime.timedelta(days=7)  # signatures of version 4 are valid no longer


class SharingMethods(ObjectAccess):
    """Access for people without credentials."""

    def share(self, name: str, expires: float | str = "1h") -> str:
        """Return a URL that lets anyone read an object, until it expires.

        Parameters
        ----------
        name : str
            Name of an object, or of an array that is one object (``upload_raw_array``,
            ``upload_npy_array``).
        expires : float or str, default '1h'
            Seconds, or a number with ``s``, ``m``, ``h`` or ``d``; up to seven days. A URL signed
            with temporary credentials expires no later than they do.

        Returns
        -------
        url : str
            :func:`cottoncandy.array` opens a raw array by its URL and reads parts of it. The
            URL of an encrypted object returns the encrypted bytes: readers need the key as well.

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist.
        UnsupportedOperationError
            If the store has no such URLs, or the name is an array of several objects.
        InvalidArgumentError
            If ``expires`` is not a duration, or longer than seven days.

        Notes
        -----
        One request is sent, to look up the object. The URL cannot be withdrawn, except by removing
        the object or the credentials. It returns the object that has the name when it is read.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket')  # doctest: +SKIP
        >>> url = cci.share('sub01/run1', expires='2d')  # doctest: +SKIP
        >>> cc.array(url)[:3]  # doctest: +SKIP
        array([0, 1, 2])
        """
        duration = check_duration(expires, "expires")
        if not datetime.timedelta(seconds=1) <= duration <= _MAX_SHARED:
            raise InvalidArgumentError(
                f"expires must be from one second to seven days, got {expires!r}"
            )
        key, backend = self._store.key(name), self._store.backend
        url = backend.presign(key, math.ceil(duration.total_seconds()))
        if not self._store.has_object(key):
            if self._store.has_object(pathjoin(key, MANIFEST)):
                raise UnsupportedOperationError(
                    f"'{key}' in bucket '{self.bucket_name}' consists of several objects, and a "
                    f"URL shares one; upload it with upload_raw_array to share it"
                )
            raise ObjectNotFoundError(f"there is no object '{key}' in bucket '{self.bucket_name}'")
        return url


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
        from cottoncandy.bridges.fsspec import InterfaceFileSystem

        return InterfaceFileSystem(self._store, prefix)

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
            :meth:`upload_dask_array`, not in one step. The old dataset is deleted first,
            unless xarray or zarr rejects the new one.
        data : xarray.Dataset or xarray.DataArray
        **options
            Options of :meth:`xarray.Dataset.to_zarr`, such as ``encoding``, ``append_dim`` and
            ``mode``.

        Raises
        ------
        UnsupportedDtypeError
            If ``data`` is something else.
        InvalidArgumentError
            If ``data`` is lazy and read from what would be replaced, or that cannot be found out;
            or if a variable has a slash in its name. Nothing is changed.
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
