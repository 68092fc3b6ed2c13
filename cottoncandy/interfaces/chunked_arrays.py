"""Methods on Dask and SciPy sparse arrays."""

from __future__ import annotations

import json
import math
import operator
from numbers import Real
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from cottoncandy.arrays.chunked import UPLOAD_ID, ChunkedArray
from cottoncandy.arrays.handle import CloudArray
from cottoncandy.arrays.manifests import MANIFEST, replacing
from cottoncandy.arrays.raw import Array
from cottoncandy.config.options import DEFAULT_ACL, DEFAULT_DASK_CHUNK, DEFAULT_THREADS, DefaultInt
from cottoncandy.core.buffers import Body
from cottoncandy.core.names import Key, pathjoin
from cottoncandy.core.output import Progress
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import (
    InvalidArgumentError,
    ObjectNotFoundError,
)
from cottoncandy.formats import chunked, dtypes, raw, sparse
from cottoncandy.formats.codecs import get_codec
from cottoncandy.interfaces.raw_arrays import RawArrayMethods
from cottoncandy.stores.checks import checked_metadata

if TYPE_CHECKING:
    import dask.array as da
    import scipy.sparse

__all__ = ["DaskArrayMethods", "SparseArrayMethods"]


class DaskArrayMethods(RawArrayMethods):
    """Large arrays in chunks, which are loaded when needed."""

    def upload_dask_array(
        self,
        object_name: str,
        arr: Any,
        axis: int | None = -1,
        buffersize: int = DEFAULT_DASK_CHUNK,
        threads: int = DEFAULT_THREADS,
        *,
        compression: str | bool | None = True,
        acl: str = DEFAULT_ACL,
        **metakwargs: Any,
    ) -> dict[str, Any]:
        """Upload an array in chunks that ``dask`` can load lazily.

        Parameters
        ----------
        object_name : str
        arr : np.ndarray or dask.array.Array
            A dask array keeps its own chunks, and is computed by dask's current scheduler, chunk by
            chunk, as it is uploaded.
        axis : int or None, default -1
            The axis along which to slice a numpy array. If None, the array is cut along all axes,
            into chunks that are as close to cubes as possible.
        buffersize : int, default 100 MiB (``[upload_settings] dask_chunksize`` of the options)
            Size of the desired chunks of a numpy array, in bytes.
        threads : int, default ``[basic] threads`` of the options
            How many chunks of a numpy array are transferred at once.
        compression : str, bool or None, default True
            Compression of each chunk, as in :meth:`upload_raw_array`.
        acl : str, default ``[basic] default_acl`` of the options
        **metakwargs
            Stored as metadata of the manifest.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it, of the manifest.

        Raises
        ------
        UnsupportedDtypeError
            If the elements are Python objects, or the array is masked; nothing is sent.
        InvalidArgumentError
            If the axis does not exist, ``buffersize`` is not a size, or the chunks of a dask array
            have unknown sizes; nothing is sent.

        Notes
        -----
        Each chunk is a raw array named ``pt%04i``, and ``metadata.json`` lists them. An
        array uploaded as "my_array_name" in 2 parts is these objects:

        * my_array_name/pt0000
        * my_array_name/pt0001
        * my_array_name/metadata.json

        The manifest is uploaded last, so a reader who finds it can read every chunk. An existing
        array with that name is unavailable from the start of the upload, because its chunks are
        replaced one by one. If an upload fails, the chunks that it added are deleted.
        """
        metadata = checked_metadata(metakwargs, self.upload_dask_array)
        root = self._store.key(object_name, tree=True)
        workers = self._store.threads(threads)
        arr = _checked(arr)
        chunks = self._chunk_lengths(arr, axis, buffersize)
        manifest = chunked.Manifest.of(tuple(arr.shape), arr.dtype, chunks, root)
        # Errors that every chunk would raise, before an existing array is replaced.
        self._store.acl(acl)
        codec = self._codec_name(compression, 0, {})
        if codec is not None:
            get_codec(codec)
        described = dtypes.to_metadata(arr.dtype)
        self._store.backend.capabilities.metadata.check(described, root)
        options = {"compression": compression, "acl": acl}
        with replacing(self._store, root, set(map(manifest.part, manifest.indices()))):
            if isinstance(arr, np.ndarray):
                self._upload_slices(arr, manifest, workers, options)
            else:
                _upload_blocks(self, arr, manifest, options)
            about = {**metadata, UPLOAD_ID: uuid4().hex}
            body = Body.of(json.dumps(manifest.to_json()).encode())
            return self._store.put(
                pathjoin(root, MANIFEST),
                body,
                metadata=about,
                acl=acl,
                content_type="application/json",
                threads=1,
            )

    def download_dask_array(
        self, object_name: str, dask_name: str = "array", threads: int = DEFAULT_THREADS
    ) -> da.Array:
        """Download a split array as a ``dask.array.Array`` object.

        Only the manifest is downloaded. Dask loads chunks when a computation needs them.

        Parameters
        ----------
        object_name : str
        dask_name : str, default 'array'
            Start of the name of the dask array. A unique identifier follows.
        threads : int, default ``[basic] threads`` of the options
            How many ranges of one large chunk are transferred at once; dask loads several chunks at
            a time.

        Returns
        -------
        array : dask.array.Array
            It pickles with the connection settings of this interface, so that dask's workers can
            load chunks.

        Raises
        ------
        ObjectNotFoundError
            If the array does not exist.
        MetadataError, IntegrityError
            If the manifest is malformed; or, when a chunk is loaded, if it does not match the
            manifest.

        Notes
        -----
        An array that was copied or moved to another name is read from there.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> arr = np.random.randn(100, 60, 100)
        >>> s3_response = cci.upload_dask_array('test_dim', arr, axis=-1, buffersize=480_000)
        >>> dask_object = cci.download_dask_array('test_dim')
        >>> dask_slice = dask_object[..., :20]
        >>> dask_slice.shape
        (100, 60, 20)
        >>> downloaded_data = np.asarray(dask_slice)  # this downloads two chunks
        >>> bool((downloaded_data == arr[..., :20]).all())
        True
        """
        import dask.array as da

        root = self._store.key(object_name, tree=True)
        threads = self._store.threads(threads)
        version = ChunkedArray.open(self._store, root)
        array = CloudArray(self._store, root, version, threads)
        lazy: da.Array = da.from_array(
            array,
            chunks=version.chunks,
            name=f"{dask_name}-{array.__dask_tokenize__()}",
            inline_array=True,
            meta=np.empty((0,) * array.ndim, array.dtype),
        )
        return lazy

    # -- inside ----------------------------------------------------------------------------------

    def _chunk_lengths(
        self, arr: Any, axis: int | None, buffersize: int
    ) -> tuple[tuple[int, ...], ...]:
        cut = None if axis is None else _axis(axis, arr.ndim)
        size = self._chunk_bytes(buffersize)
        if isinstance(arr, np.ndarray):
            return chunked.chunks_for(arr.shape, arr.dtype.itemsize, cut, size)
        return tuple(tuple(int(length) for length in lengths) for lengths in arr.chunks)

    def _chunk_bytes(self, buffersize: float) -> int:
        """Return the size of a chunk; 0.4.0 accepted any number, such as 1.5e8."""
        if isinstance(buffersize, DefaultInt):
            return self.settings.dask_chunksize_bytes
        if not isinstance(buffersize, Real) or not 1 <= buffersize < math.inf:
            raise InvalidArgumentError(
                f"buffersize must be a number of bytes of at least 1, got {buffersize!r}"
            )
        return int(buffersize)

    def _upload_slices(
        self, arr: Array, manifest: chunked.Manifest, threads: int, options: dict[str, Any]
    ) -> None:
        pieces = list(chunked.block_slices(manifest.chunks))
        inner = max(1, threads // len(pieces))

        def upload(piece: tuple[tuple[int, ...], tuple[slice, ...]]) -> None:
            index, slices = piece
            # With the ellipsis, a 0-d array stays an array: a scalar loses byte order and width.
            where: tuple[Any, ...] = (*slices, ...)
            self.upload_raw_array(Key(manifest.part(index)), arr[where], threads=inner, **options)

        label = f"uploading {len(pieces)} chunks"
        with Progress(len(pieces), unit="chunks", label=label, show=self.settings.progress) as bar:
            for _ in map_threads(upload, pieces, threads):
                bar.update(1)


def _axis(axis: Any, dimensions: int) -> int:
    """Return the number of an axis; as in numpy, a 0-d array has one row."""
    try:
        number = operator.index(axis)
    except TypeError:
        number = None
    count = max(dimensions, 1)
    if number is None or not -count <= number < count:
        raise InvalidArgumentError(
            f"axis must be None or an integer from {-count} to {count - 1} for an array of "
            f"{dimensions} dimensions, got {axis!r}"
        )
    return number


def _checked(arr: Any) -> Any:
    """Return a NumPy array, or a Dask array whose chunks have known sizes, none of them 0."""
    if not (hasattr(arr, "__dask_graph__") and hasattr(arr, "chunks")):
        return raw.as_array(arr)
    dtypes.check(arr.dtype)
    if isinstance(getattr(arr, "_meta", None), np.ma.MaskedArray):
        raw.check_array(arr._meta)  # raises before anything is computed or replaced
    if any(length != length for lengths in arr.chunks for length in lengths):
        raise InvalidArgumentError(
            "the dask array has chunks of unknown size; call arr.compute_chunk_sizes() first"
        )
    if 0 in arr.shape:
        return np.empty(arr.shape, arr.dtype)
    chunks = chunked.nonempty_chunks(arr.chunks)
    return arr if chunks == arr.chunks else arr.rechunk(chunks)


def _upload_blocks(
    cci: DaskArrayMethods, arr: da.Array, manifest: chunked.Manifest, options: dict[str, Any]
) -> None:
    """Compute the blocks of a Dask array and upload each from where it was computed."""
    from dask.delayed import delayed

    # One node of the graph, so that each worker connects once. Not da.store, which skips blocks
    # without elements, also those that should have some.
    target = delayed((cci, manifest, options), name=f"upload-{uuid4().hex}", traverse=False)
    upload: Any = _upload_block  # the stubs reject functions that return None
    arr.map_blocks(upload, target, dtype=arr.dtype, meta=arr._meta).compute()


def _upload_block(
    block: Any,
    target: tuple[DaskArrayMethods, chunked.Manifest, dict[str, Any]],
    block_id: tuple[int, ...] = (),
) -> None:
    cci, manifest, options = target
    array = raw.as_array(block)
    expected, dtype = manifest.chunk_shape(block_id), manifest.dtype
    # Elements of 0-d results are scalars, which lose byte order and width.
    same = array.dtype.newbyteorder("=") == dtype.newbyteorder("=")
    shorter = array.dtype.kind == dtype.kind in "SU" and array.dtype.itemsize <= dtype.itemsize
    if array.shape != expected or not (same or shorter):
        raise InvalidArgumentError(
            f"block {block_id} of the dask array is {array.dtype}{array.shape}, and the array "
            f"declares {dtype}{expected}: pass the true dtype= and chunks= to map_blocks"
        )
    cci.upload_raw_array(
        Key(manifest.part(block_id)), array.astype(dtype, copy=False), threads=1, **options
    )


class SparseArrayMethods(RawArrayMethods):
    """SciPy's sparse matrices and arrays."""

    def upload_sparse_array(
        self, object_name: str, arr: Any, threads: int = DEFAULT_THREADS
    ) -> dict[str, Any]:
        """Upload a scipy.sparse array as a folder of array objects.

        Parameters
        ----------
        object_name : str
            The name of the object to be stored.
        arr : scipy.sparse.spmatrix or scipy.sparse.sparray
            A sparse matrix or array to be saved: csr, csc, bsr, coo or dia. If it is dok or lil, it
            is converted to csr before saving.
        threads : int, default ``[basic] threads`` of the options
            How many of its arrays are transferred at once.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it, of the manifest.

        Raises
        ------
        UnsupportedDtypeError
            If ``arr`` is not sparse, or its elements are Python objects; nothing is sent.

        Notes
        -----
        A csr matrix named "my_matrix" is these objects: ``my_matrix/data``, ``my_matrix/indices``,
        ``my_matrix/indptr`` and, uploaded last, ``my_matrix/metadata.json``.

        Examples
        --------
        >>> import scipy.sparse
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_sparse_array('connectivity', scipy.sparse.eye(1000, format='csr'))
        >>> cci.download_sparse_array('connectivity').shape
        (1000, 1000)
        """
        root = self._store.key(object_name, tree=True)
        manifest, parts = sparse.to_parts(arr)
        names = {pathjoin(root, name): part for name, part in parts.items()}
        workers = self._store.threads(threads)
        inner = max(1, workers // len(names))
        with replacing(self._store, root, set(names)):
            for _ in map_threads(
                lambda item: self.upload_raw_array(*item, threads=inner), names.items(), workers
            ):
                pass
            return self.upload_json(pathjoin(root, MANIFEST), manifest)

    def download_sparse_array(
        self, object_name: str, threads: int = DEFAULT_THREADS
    ) -> scipy.sparse.spmatrix | scipy.sparse.sparray:
        """Download a scipy.sparse array.

        Parameters
        ----------
        object_name : str
            The object name for the sparse array to be retrieved.
        threads : int, default ``[basic] threads`` of the options
            How many of its arrays are transferred at once.

        Returns
        -------
        arr : scipy.sparse.spmatrix or scipy.sparse.sparray
            The array stored at the location given by object_name, in the format it was saved in.

        Raises
        ------
        ObjectNotFoundError
            If the array does not exist.
        MetadataError, IntegrityError
            If the manifest is malformed, or the arrays do not match.
        """
        root = self._store.key(object_name, tree=True)
        try:
            manifest = self.download_json(pathjoin(root, MANIFEST))
        except ObjectNotFoundError as exc:
            if not self._store.backend.exists(root):
                raise
            raise ObjectNotFoundError(
                f"'{root}' in bucket '{self.bucket_name}' is not a sparse array: use "
                f"download_raw_array"
            ) from exc
        names = sparse.parts_of(manifest, object_name=root)
        workers = self._store.threads(threads)
        inner = max(1, workers // len(names))
        arrays = map_threads(
            lambda name: self.download_raw_array(pathjoin(root, name), threads=inner),
            names,
            workers,
        )
        parts = dict(zip(names, arrays, strict=True))
        matrix: scipy.sparse.spmatrix | scipy.sparse.sparray = sparse.from_parts(
            manifest, parts, object_name=root
        )
        return matrix
