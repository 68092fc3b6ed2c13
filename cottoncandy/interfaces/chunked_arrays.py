"""Methods on chunked arrays, which Dask reads and writes."""

from __future__ import annotations

import datetime
import math
import operator
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from cottoncandy.arrays.cleaning import clean
from cottoncandy.arrays.generations import restore
from cottoncandy.arrays.handle import CloudArray
from cottoncandy.arrays.raw import codec_name
from cottoncandy.arrays.uploads import append_chunked, upload_chunked
from cottoncandy.arrays.versions import open_parts
from cottoncandy.config.options import DEFAULT_ACL, DEFAULT_DASK_CHUNK, DEFAULT_THREADS, DefaultInt
from cottoncandy.core.names import SEPARATOR, Key
from cottoncandy.exceptions import InvalidArgumentError
from cottoncandy.formats import chunked, dtypes, raw
from cottoncandy.interfaces.raw_arrays import RawArrayMethods
from cottoncandy.stores.checks import (
    check_bytes,
    check_duration,
    checked_metadata,
    upload_condition,
)

if TYPE_CHECKING:
    import dask.array as da
    from dask.delayed import Delayed


class DaskArrayMethods(RawArrayMethods):
    """Large arrays in chunks, which are loaded when needed."""

    def upload_dask_array(
        self,
        object_name: str,
        arr: Any,
        axis: int | None = -1,
        buffersize: float | str = DEFAULT_DASK_CHUNK,
        threads: int = DEFAULT_THREADS,
        *,
        compression: str | bool | None = True,
        acl: str = DEFAULT_ACL,
        compute: bool = True,
        overwrite: bool = True,
        if_match: str | None = None,
        **metakwargs: Any,
    ) -> dict[str, Any] | Delayed:
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
        buffersize : int or str, default 100 MiB (``[upload_settings] dask_chunksize``)
            Size of the desired chunks of a numpy array: bytes, or text such as ``'50MB'``.
        threads : int, default ``[basic] threads`` of the options
            How many chunks of a numpy array are transferred at once.
        compression : str, bool or None, default True
            Compression of each chunk, as in :meth:`upload_raw_array`.
        acl : str, default ``[basic] default_acl`` of the options
        compute : bool, default True
            If False, nothing is uploaded yet: the result does it when it is computed, as that of
            ``dask.array.store`` does.
        overwrite : bool, default True
            Whether to replace an existing array.
        if_match : str, optional
            Replace only the version whose upload returned this ``ETag``.
        **metakwargs
            Stored as metadata of the manifest.

        Returns
        -------
        response : dict or dask.delayed.Delayed
            As :meth:`upload_object` returns it, of the manifest; if ``compute`` is False, what
            returns it when computed.

        Raises
        ------
        ObjectExistsError
            If ``overwrite`` is False and the array exists, or if an object has the name of the
            manifest and is not one.
        ObjectChangedError
            If ``if_match`` is not the ETag of the array, there is none, or chunks were removed
            during the upload.
        UnsupportedDtypeError
            If the elements are Python objects, or the array is masked; nothing is sent.
        InvalidArgumentError
            If the axis does not exist, ``buffersize`` is not a size, or the chunks of a dask array
            have unknown sizes; nothing is sent.

        See Also
        --------
        append_dask_array : adds chunks to an array.
        clean : removes replaced versions, and chunks of uploads that were killed.

        Notes
        -----
        Each chunk is a raw array named ``pt%04i``, and ``metadata.json`` lists them. An
        array uploaded as "my_array_name" in 2 parts is these objects:

        * my_array_name/pt0000
        * my_array_name/pt0001
        * my_array_name/metadata.json

        The manifest is uploaded last, with one request. Until then, readers find the old array;
        afterwards, the new one. The chunks of a replacement are stored as
        ``my_array_name/<upload id>/pt0000``. The version that was replaced is kept until the next
        replacement: arrays that were opened before read it, and :meth:`restore` makes it current
        again. An upload that fails leaves the old array, and removes its own chunks.

        If two uploads to one name run at the same time, the last one to finish is the current one.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> series = np.zeros((100, 8))
        >>> response = cci.upload_dask_array('series', series, axis=0, buffersize=1600)
        >>> cci.download_dask_array('series').chunks
        ((25, 25, 25, 25), (8,))
        """
        metadata = checked_metadata(metakwargs, self.upload_dask_array)
        condition = upload_condition(overwrite, if_match)
        root = self._store.key(object_name, tree=True)
        arr = _checked(arr)
        codec_name(self.settings, compression, 0)  # rejected before anything is sent
        return upload_chunked(
            self._store,
            root,
            arr,
            self._chunk_lengths(arr, axis, buffersize),
            compression=compression,
            acl=self._store.acl(acl),
            metadata=metadata,
            threads=self._store.threads(threads),
            condition=condition,
            compute=compute,
        )

    def append_dask_array(
        self,
        object_name: str,
        arr: Any,
        axis: int = 0,
        threads: int = DEFAULT_THREADS,
        *,
        compression: str | bool | None = True,
        acl: str = DEFAULT_ACL,
        if_match: str | None = None,
    ) -> dict[str, Any]:
        """Add chunks to an array that ``upload_dask_array`` stored.

        Parameters
        ----------
        object_name : str
        arr : np.ndarray or dask.array.Array
            Of the same dtype, and of the same shape except along ``axis``. A dask array keeps its
            chunks along that axis; those of a numpy array are at most as long as the longest one
            that is stored.
        axis : int, default 0
            The axis along which the array grows.
        threads : int, default ``[basic] threads`` of the options
            How many chunks of a numpy array are transferred at once.
        compression : str, bool or None, default True
            Compression of each new chunk, as in :meth:`upload_raw_array`.
        acl : str, default ``[basic] default_acl`` of the options
        if_match : str, optional
            Append only to the version whose upload returned this ``ETag``.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it, of the new manifest.

        Raises
        ------
        ObjectNotFoundError
            If the array does not exist.
        InvalidArgumentError
            If the dtype or the shape does not fit; nothing is sent.
        ObjectChangedError
            If the array was replaced by one that does not fit, or ``if_match`` is not its
            ETag.

        Notes
        -----
        Stored chunks stay unchanged: the new manifest names them and the new ones. Readers find
        the array with all new chunks or none. If two clients append at the same time, the chunks of
        both are kept, in the order in which the appends finish.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_dask_array('signal', np.zeros((100, 8)), axis=0)
        >>> response = cci.append_dask_array('signal', np.ones((20, 8)))
        >>> cci.download_dask_array('signal').shape
        (120, 8)
        """
        condition = upload_condition(True, if_match)
        root = self._store.key(object_name, tree=True)
        arr = _checked(arr)
        codec_name(self.settings, compression, 0)  # rejected before anything is sent
        return append_chunked(
            self._store,
            root,
            arr,
            _axis(axis, arr.ndim) % max(arr.ndim, 1),
            compression=compression,
            acl=self._store.acl(acl),
            threads=self._store.threads(threads),
            condition=condition,
        )

    def restore(self, object_name: str, *, acl: str = DEFAULT_ACL) -> dict[str, Any]:
        """Make the version before the last replacement of an array current again.

        Parameters
        ----------
        object_name : str
            Name of a chunked or sparse array.
        acl : str, default ``[basic] default_acl`` of the options
            Of the manifest.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it, of the manifest.

        Raises
        ------
        ObjectNotFoundError
            If there is no such array, or the version before is not kept: the array was never
            replaced, or :meth:`clean` removed it.
        ObjectChangedError
            If another client replaces the array at the same time.

        Notes
        -----
        No chunk is copied. A second ``restore`` undoes the first.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_dask_array('result', np.ones(3))
        >>> response = cci.upload_dask_array('result', np.zeros(3))  # by mistake
        >>> response = cci.restore('result')
        >>> cci.download_dask_array('result').compute()
        array([1., 1., 1.])
        """
        root = self._store.key(object_name, tree=True)
        return restore(self._store, root, self._store.acl(acl))

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
        version = open_parts(self._store, root, kind="chunked")
        array = CloudArray(self._store, root, version, threads)
        lazy: da.Array = da.from_array(
            array,
            chunks=version.chunks,
            name=f"{dask_name}-{array.__dask_tokenize__()}",
            inline_array=True,
            meta=np.empty((0,) * array.ndim, array.dtype),
        )
        return lazy

    def clean(
        self,
        object_name: str,
        grace: str | float | datetime.timedelta = "1d",
        dry_run: bool = False,
        threads: int = DEFAULT_THREADS,
    ) -> list[str]:
        """Remove replaced versions of arrays, and the parts of uploads that were killed.

        Parameters
        ----------
        object_name : str
            Name of an array, or of a directory with arrays; ``''`` is the whole bucket.
        grace : str, float or timedelta, default '1d'
            What is younger is kept, since it may belong to an upload that is running: seconds, or
            text such as ``'30m'``, ``'12h'`` or ``'7d'``. The parts of one upload are as old as the
            last of them, and a replaced version is as old as its replacement, by the clock of the
            store. 0 keeps nothing but the current versions.
        dry_run : bool, default False
            Whether to return the names without storing or removing anything. Ages are then by the
            clock of this computer.
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many manifests are read at once.

        Returns
        -------
        removed : list of str
            Sorted names of the objects that were removed.

        Raises
        ------
        InvalidArgumentError
            If ``grace`` is not a duration; nothing is removed.

        Notes
        -----
        Removed are only parts of chunked and sparse arrays: those that a manifest of this format
        names, those in the directory of an upload, and those whose metadata says that they are
        parts. Multipart uploads of parts that were not completed are aborted. Arrays whose manifest
        cannot be read are left alone.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> for number in range(2):
        ...     response = cci.upload_dask_array('series', np.full(3, number))
        >>> cci.clean('series')  # the replaced version is younger than a day
        []
        >>> len(cci.clean('series', grace=0))
        2
        """
        duration = check_duration(grace, "grace")
        root = Key(self._store.key(object_name, tree=True).removesuffix(SEPARATOR))
        workers = self._store.bulk_threads(threads)
        return clean(self._store, root, duration, workers, dry_run=dry_run)

    # -- inside ----------------------------------------------------------------------------------

    def _chunk_lengths(
        self, arr: Any, axis: int | None, buffersize: float | str
    ) -> tuple[tuple[int, ...], ...]:
        cut = None if axis is None else _axis(axis, arr.ndim)
        size = self._chunk_bytes(buffersize)
        if isinstance(arr, np.ndarray):
            return chunked.chunks_for(arr.shape, arr.dtype.itemsize, cut, size)
        return tuple(tuple(int(length) for length in lengths) for lengths in arr.chunks)

    def _chunk_bytes(self, buffersize: float | str) -> int:
        """Return the size of a chunk; 0.4.0 accepted any number, such as 1.5e8."""
        if isinstance(buffersize, DefaultInt):
            return self.settings.dask_chunksize_bytes
        real = isinstance(buffersize, Real) and 1 <= buffersize < math.inf
        return int(buffersize) if real else check_bytes(buffersize, "buffersize")


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
    lazy = hasattr(arr, "__dask_graph__") and isinstance(getattr(arr, "chunks", None), tuple)
    if not lazy or hasattr(arr, "coords"):  # those of xarray have chunks as well
        return raw.as_array(arr)
    dtypes.check(arr.dtype)
    if isinstance(getattr(arr, "_meta", None), np.ma.MaskedArray):
        raw.as_array(arr._meta)  # raises before anything is computed or replaced
    if any(length != length for lengths in arr.chunks for length in lengths):
        raise InvalidArgumentError(
            "the dask array has chunks of unknown size; call arr.compute_chunk_sizes() first"
        )
    if 0 in arr.shape:
        return np.empty(arr.shape, arr.dtype)
    chunks = chunked.nonempty_chunks(arr.chunks)
    return arr if chunks == arr.chunks else arr.rechunk(chunks)
