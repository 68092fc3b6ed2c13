"""Methods that hand the bucket to other libraries, which load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cottoncandy.interfaces.base import ObjectAccess

if TYPE_CHECKING:
    from cottoncandy.bridges.zarr import CottonCandyStore

__all__ = ["BridgeMethods"]


class BridgeMethods(ObjectAccess):
    """Stores and file systems of other libraries, in the current bucket."""

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
