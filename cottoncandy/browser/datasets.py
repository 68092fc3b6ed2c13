"""Objects in the browser: arrays that are read in part, and other files."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from cottoncandy.arrays.handle import ArrayHandle
from cottoncandy.arrays.versions import ArrayVersion, ChunkedArray, RawArray, open_parts
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.browser.base import S3FSLike
from cottoncandy.browser.html import Row, object_html
from cottoncandy.config.options import DEFAULT_THREADS
from cottoncandy.core.names import SEPARATOR
from cottoncandy.core.output import bytes2human
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    MetadataError,
    MissingDependencyError,
    ObjectNotFoundError,
)
from cottoncandy.formats.selection import select_chunks
from cottoncandy.stores.finding import scan_objects
from cottoncandy.stores.store import Store

if TYPE_CHECKING:
    from cottoncandy.browser.preview import Preview

_PACKAGE = "cottoncandy"


class S3Dataset(ArrayHandle, S3FSLike):
    """One object: an array, which can be sliced without downloading all of it, or a file.

    Parameters
    ----------
    path : str
        Name of the object.
    interface : cottoncandy.interfaces.DefaultInterface

    Notes
    -----
    No request is sent until a property or data is accessed. ``shape``, ``dtype`` and the like cost
    one small request, the first time. Slices return the version that they describe: if the array
    was replaced, they raise :class:`~cottoncandy.exceptions.ObjectChangedError` until
    :meth:`refresh`. :meth:`load` downloads the present version.

    Examples
    --------
    >>> import cottoncandy as cc
    >>> import numpy as np
    >>> cci = cc.get_interface('my_datasets', backend='memory', verbose=False)
    >>> response = cci.upload_raw_array('run1', np.arange(12).reshape(3, 4), compression=False)
    >>> dataset = cci.get_browser().run1
    >>> dataset.shape, dataset.dtype
    ((3, 4), dtype('int64'))
    >>> dataset[1:, :2]
    array([[4, 5],
           [8, 9]])
    """

    _is_directory: Literal[False] = False
    _head: ObjectInfo | None = None
    _opened: ArrayVersion | None = None
    _size: int | None = None  # of all parts, if it consists of several objects

    # -- properties ------------------------------------------------------------------------------

    @property
    def name(self) -> str:  # type: ignore[override]  # it never changes
        """Name of the object in its bucket."""
        return self._key

    @property
    def attrs(self) -> Mapping[str, str]:  # type: ignore[override]  # of files, read-only
        """The user's metadata, names in lower case. Assignments change those of an array."""
        try:
            _ = self._version
        except (IntegrityError, MetadataError, MissingDependencyError):  # a file, or damaged
            return MappingProxyType(dict(self.info.metadata or {}))
        return super().attrs

    @property
    def info(self) -> ObjectInfo:
        """Properties of the object: ``key``, ``size`` (bytes), ``last_modified``."""
        if self._head is None:
            self._head = self._store.backend.head(self._key)
        return self._head

    def __repr__(self) -> str:
        shape = (self.info.metadata or {}).get("shape")
        if shape is None:
            size = bytes2human(self.info.size)
            return f"{_PACKAGE}-file <bucket:{self._store.bucket} [{size}]>"
        return self._array_repr(self.info.size, shape)

    def _array_repr(self, stored_bytes: int, shape: str) -> str:
        """Return the repr of an array; the brackets are as documented for 0.4.0."""
        shape += "," * shape.isdigit()
        where, size = self._store.bucket, bytes2human(stored_bytes)
        return f"<{_PACKAGE}-dataset <bucket:{where} [{size}:shape=({shape})]>"

    # -- the data --------------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """Return an empty list: nothing is below it."""
        return []

    def load(self) -> Any:
        """Download the object.

        Returns
        -------
        data : numpy.ndarray, JSON value or bytes
            An array, for arrays and ``.npy`` files; the value of a ``.json`` file; the bytes of
            anything else.

        Raises
        ------
        ObjectNotFoundError
            If the object no longer exists.
        """
        key = self._key
        if "dtype" in (self.info.metadata or {}):
            self.refresh()  # it may be another version
            return self.interface.download_raw_array(key)
        extension = key.rpartition(".")[2].lower()
        if extension == "npy":
            return self.interface.download_npy_array(key)
        if extension == "json":
            return self.interface.download_json(key)
        return self.interface.download_object(key)

    def preview(self, max_bytes: int = 64 * 2**20) -> Preview:
        """Return a small picture of the array: the middle slice, or a curve if it is 1-d.

        Parameters
        ----------
        max_bytes : int, default 64 MiB
            Nothing larger is downloaded. An uncompressed array is downloaded only in part.

        Returns
        -------
        preview : Preview
            Shows itself in notebooks; ``save()`` writes it to a file.

        Raises
        ------
        InvalidArgumentError
            If more would have to be downloaded.
        MetadataError
            If the object is not an array.
        """
        from cottoncandy.browser.preview import make_preview

        return make_preview(self, max_bytes)

    def refresh(self) -> None:
        """Discard cached data; it is fetched again when needed."""
        self._info = self._head = self._opened = self._size = None

    def _repr_html_(self) -> str:
        return object_html(self)

    # -- inside ----------------------------------------------------------------------------------

    @property
    def _store(self) -> Store:  # type: ignore[override]  # that of the interface
        return self.interface._store

    @property
    def _threads(self) -> int:  # type: ignore[override]  # that of the options
        return self._store.threads(DEFAULT_THREADS)

    @property
    def _version(self) -> ArrayVersion:  # type: ignore[override]  # opened when it is needed
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> ArrayVersion:
        if not {"dtype", "shape"} <= (self.info.metadata or {}).keys():
            raise NotAnArrayError(
                f"object '{self._key}' is not an array: its metadata has no dtype and shape"
            )
        return RawArray(self._store, self.info)

    def _row(self) -> Row:
        """Return a row for a table; invalid metadata is shown unchanged."""
        if self._head is None:
            return Row(self._info)
        metadata = self._head.metadata or {}
        shape = metadata.get("shape")
        if shape is None:
            return Row(self._head)
        with contextlib.suppress(CottonCandyError):
            return Row(self._head, str(self.shape), str(self.dtype), self.compression or "")
        dtype, codec = metadata.get("dtype", ""), metadata.get("compression", "")
        return Row(self._head, f"({shape.replace(',', ', ')})", dtype, codec)

    def _transfer_bytes(self, selection: tuple[Any, ...]) -> int:
        """Return how many bytes of the array are downloaded for one entry per axis."""
        version, whole = self._version, self.compression is not None
        if isinstance(version, ChunkedArray):
            elements = sum(
                math.prod(version.manifest.chunk_shape(piece.index) if whole else piece.shape)
                for piece in select_chunks(version.chunks, selection)
            )
            return elements * self.dtype.itemsize
        needed = self.nbytes
        if not whole:
            for item, length in zip(selection, self.shape, strict=True):
                step = (item.step or 1) if isinstance(item, slice) else length
                needed //= max(step, 1)
        return needed


class S3ChunkedDataset(S3Dataset):
    """An array of several objects, chunked or sparse, as one array.

    Parameters
    ----------
    path : str
        Name of the array: that of the directory which holds its parts.
    interface : cottoncandy.interfaces.DefaultInterface

    Notes
    -----
    ``shape``, ``dtype`` and the like cost one small request, the first time. A slice downloads its
    chunks, or its part of them if they are uncompressed; one of a sparse array downloads all of it.

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

    @property
    def info(self) -> ObjectInfo:
        """Properties of the object: ``key``, ``size`` (bytes, of all parts), ``last_modified``."""
        return self._version.info._replace(key=self._key, size=self._stored_bytes())

    def __repr__(self) -> str:
        return self._array_repr(self._stored_bytes(), ",".join(map(str, self.shape)))

    def load(self) -> Any:
        """Return a chunked array as a dask array, a sparse one as a matrix.

        Returns
        -------
        array : dask.array.Array or scipy sparse

        Raises
        ------
        ObjectNotFoundError
            If the array no longer exists.
        """
        if self.kind == "sparse":
            return self.interface.download_sparse_array(self._key)
        return self.interface.download_dask_array(self._key)

    # -- inside ----------------------------------------------------------------------------------

    def _open(self) -> ArrayVersion:
        missing = ObjectNotFoundError(f"there is no array '{self._key}'")
        return open_parts(self._store, self._key, missing)

    def _stored_bytes(self) -> int:
        if self._size is None:
            prefix = self._key + SEPARATOR
            listed = scan_objects(self._store.backend, prefix)
            self._count({info.key.removeprefix(prefix): info for info in listed})
        return self._size or 0

    def _count(self, listed: Mapping[str, ObjectInfo | None]) -> None:
        """Set the size of the parts from a listing, by their names in the array."""
        places = map(listed.get, self._version.places)
        self._size = sum(info.size for info in places if info is not None)

    def _row(self) -> Row:
        chunks, note, dtype = self.chunks, "", ""
        if chunks is not None:
            longest = tuple(max(lengths) for lengths in chunks)
            count = math.prod(map(len, chunks))
            note = f"{count:,} {'chunk' if count == 1 else 'chunks'} of {longest}"
        with contextlib.suppress(CottonCandyError):  # that of an old sparse array is in a part
            dtype = str(self.dtype)
        described = str(self.shape), dtype, self.kind, note
        return Row(None if self._size is None else self.info, *described)


class NotAnArrayError(MetadataError, AttributeError):
    """The object is a file: it has no such attributes, so ``hasattr`` must be False."""
