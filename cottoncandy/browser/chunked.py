"""Chunked arrays in the browser; chunks are read when needed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cottoncandy.arrays.manifests import MANIFEST
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.browser.datasets import S3Dataset, array_repr
from cottoncandy.browser.html import Row
from cottoncandy.browser.listings import DirectoryListing, first_entries
from cottoncandy.config.options import DEFAULT_THREADS
from cottoncandy.core.names import SEPARATOR
from cottoncandy.formats.blocks import select_blocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dask.array as da
    import numpy as np
    import numpy.typing as npt

    from cottoncandy.arrays.chunked import ChunkedArray
    from cottoncandy.interfaces import DefaultInterface

__all__ = ["S3ChunkedDataset"]


class S3ChunkedDataset(S3Dataset):
    """An array that ``upload_dask_array`` cut into chunks, as one array.

    Parameters
    ----------
    path : str
        Name of the array: that of the directory which holds its parts.
    interface : cottoncandy.interfaces.DefaultInterface

    Notes
    -----
    ``shape``, ``dtype`` and the like cost one small request, the first time. A slice downloads its
    chunks, or its part of them if they are uncompressed.

    Examples
    --------
    >>> import cottoncandy as cc
    >>> import numpy as np
    >>> cci = cc.get_interface('my_chunks', backend='memory', verbose=False)
    >>> response = cci.upload_dask_array('runs', np.arange(12).reshape(3, 4), axis=0, buffersize=32)
    >>> dataset = cci.cloud2dataset('runs')
    >>> dataset.shape, dataset.chunks
    ((3, 4), ((1, 1, 1), (4,)))
    >>> dataset[1, ::2]
    array([4, 6])
    >>> dataset.load().sum().compute()
    np.int64(66)
    """

    def _place(self, key: str, interface: DefaultInterface, info: ObjectInfo | None) -> None:
        super()._place(key, interface, info)
        self._opened: ChunkedArray | None = None
        self._level: DirectoryListing | None = None

    # -- properties ------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._array().manifest.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the array."""
        return self._array().manifest.dtype

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Lengths of the chunks along each axis, as in Dask."""
        return self._array().manifest.chunks

    @property
    def compression(self) -> str | None:
        """Name of the codec that the first chunk is compressed with; None if it is not."""
        return self._array().compression

    @property
    def attrs(self) -> Mapping[str, str]:
        """The metadata of the manifest, names in lower case."""
        return dict(self._array().info.metadata or {})

    @property
    def info(self) -> ObjectInfo:
        """Properties of the object: ``key``, ``size`` (bytes, of all chunks), ``last_modified``."""
        return replace(self._array().info, key=self._key, size=self._stored_bytes())

    def __repr__(self) -> str:
        shape = ",".join(map(str, self.shape))
        return array_repr(self.interface.bucket_name, self._stored_bytes(), shape)

    # -- the data --------------------------------------------------------------------------------

    def load(self) -> da.Array:
        """Return the array as a dask array: chunks are downloaded when it computes.

        Returns
        -------
        array : dask.array.Array

        Raises
        ------
        ObjectNotFoundError
            If the array no longer exists.
        """
        return self.interface.download_dask_array(self._key)

    def __getitem__(self, selection: Any) -> npt.NDArray[Any]:
        """Download a part of the array, or a field of it all."""
        if isinstance(selection, str):
            return self.__array__()[selection]
        return self._array().read(selection, self.interface._store.threads(DEFAULT_THREADS))

    def refresh(self) -> None:
        """Discard cached data; it is fetched again when needed."""
        super().refresh()
        self._opened = None
        self._level = None

    # -- inside ----------------------------------------------------------------------------------

    def _array(self) -> ChunkedArray:
        if self._opened is None:
            from cottoncandy.arrays.chunked import ChunkedArray

            self._opened = ChunkedArray.open(self.interface._store, self._key)
        return self._opened

    def _stored_bytes(self) -> int:
        if self._level is None or not self._level.complete:
            self._level = first_entries(self.interface._store, self._key + SEPARATOR)
        infos = (entry.info for name, entry in self._level.entries.items() if name != MANIFEST)
        return sum(info.size for info in infos if info is not None)

    def _listed_info(self) -> ObjectInfo | None:
        """Return properties of the object, if all chunks were listed already."""
        return self.info if self._level is not None and self._level.complete else None

    def _row(self) -> Row:
        chunks = self.chunks
        longest = tuple(max(lengths) for lengths in chunks)
        count = math.prod(map(len, chunks))
        note = f"{count:,} {'chunk' if count == 1 else 'chunks'} of {longest}"
        return Row(self._listed_info(), str(self.shape), str(self.dtype), "chunked", note)

    def _transfer_bytes(self, selection: tuple[Any, ...]) -> int:
        manifest = self._array().manifest
        whole = self.compression is not None
        elements = sum(
            math.prod(manifest.chunk_shape(piece.index) if whole else piece.shape)
            for piece in select_blocks(manifest.chunks, selection)
        )
        return elements * self.dtype.itemsize
