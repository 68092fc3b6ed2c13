"""Methods on NumPy arrays, as raw bytes and as .npy files."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from cottoncandy.arrays.raw import (
    TAIL_BYTES,
    Array,
    array_header,
    put_array,
    read_array,
)
from cottoncandy.arrays.versions import download_method
from cottoncandy.config.options import DEFAULT_ACL, DEFAULT_THREADS
from cottoncandy.exceptions import (
    IntegrityError,
    ObjectNotFoundError,
    UnsupportedDtypeError,
)
from cottoncandy.formats import raw
from cottoncandy.interfaces.objects import ObjectMethods
from cottoncandy.stores.checks import checked_metadata, upload_condition

_MAX_NPY_HEADER = 2**20  # characters; a structured dtype of a thousand fields takes 20,000


class RawArrayMethods(ObjectMethods):
    """Raw arrays: one object each."""

    def upload_raw_array(
        self,
        object_name: str,
        array: Any,
        compression: str | bool | None = True,
        acl: str = DEFAULT_ACL,
        threads: int = DEFAULT_THREADS,
        *,
        overwrite: bool = True,
        if_match: str | None = None,
        **metadata: Any,
    ) -> dict[str, Any]:
        """Upload a binary representation of a np.ndarray.

        The array is copied a few MiB at a time, and compressed while it is being sent.

        Parameters
        ----------
        object_name : str
        array : np.ndarray
            Any shape, memory layout and fixed-size dtype: including 0-d, empty, strided, read-only
            and memory-mapped arrays, structured dtypes, dates and big-endian numbers.
        compression : str, bool or None, default True
            True follows the ``[compression]`` options: by default, gzip below 2 GiB and Zstd above.
            False and None: no compression. Or a name: ``'gzip'``, ``'LZ4'``, ``'Zlib'``,
            ``'Zstd'``, ``'BZ2'``, ``'LZMA'``; with numcodecs ``'Blosc'``, or a compressor that is
            registered there. ``'LZ4'`` is limited to 2 GB.
        acl : str, default ``[basic] default_acl`` of the options
            Canned ACL of the object.
        threads : int, default ``[basic] threads`` of the options
            How many parts of a large array are transferred at once.
        overwrite : bool, default True
            As in :meth:`upload_object`.
        if_match : str, optional
            As in :meth:`upload_object`.
        **metadata : str
            Stored next to ``dtype``, ``shape``, ``compression`` and ``order``.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it.

        Raises
        ------
        ObjectExistsError, ObjectChangedError
            As :meth:`upload_object` raises them.
        UnsupportedDtypeError
            If the elements are Python objects, or the array is masked; nothing is sent.
        InvalidArgumentError
            If the codec does not exist; nothing is sent.
        MetadataError
            If ``metadata`` has a name that describes the array, or cannot be stored.
        IntegrityError
            If an array of more than 32 MiB changes while it is uploaded; nothing is stored.

        Notes
        -----
        Memory in addition to the array: at most 64 MiB, plus the memory of the codec. A CRC-32 of
        the array's bytes is stored with it, computed again over the bytes that are sent, and
        checked when the array is downloaded. Padding between the fields of a structured dtype is
        stored as zeros.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_raw_array('subject01/run1', np.arange(6).reshape(2, 3))
        >>> cci.download_raw_array('subject01/run1')
        array([[0, 1, 2],
               [3, 4, 5]])
        """
        metadata = checked_metadata(metadata, self.upload_raw_array)
        compression = renamed_gzip(metadata, compression)
        return put_array(
            self._store,
            object_name,
            raw.as_array(array),
            compression,
            metadata=metadata,
            acl=acl,
            threads=self._store.threads(threads),
            condition=upload_condition(overwrite, if_match),
        )

    def download_raw_array(
        self,
        object_name: str,
        buffersize: int = 2**16,
        threads: int = DEFAULT_THREADS,
        *,
        selection: Any = None,
    ) -> Array:
        """Download a binary np.ndarray, directly into its memory.

        Parameters
        ----------
        object_name : str
        buffersize : int, default 65536
            Accepted for compatibility: the size of the pieces is chosen for the store.
        threads : int, default ``[basic] threads`` of the options
            How many ranges of a large array are transferred at once.
        selection : index, optional
            Part of the array, as in NumPy's basic indexing: ``np.s_[10:20, ..., ::2]``. One axis
            may have an ascending list of integers or a boolean mask, as in h5py. If the array is
            uncompressed, the byte ranges of the selection are downloaded (including gaps of up to
            64 KiB); with gzip, the blocks of 1 MiB that contain it; with other codecs, the whole
            array.

        Returns
        -------
        array : np.ndarray
            A new, writable array; 0-d if the selection consists of integers.

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist.
        MetadataError
            If the object's metadata does not describe an array.
        IntegrityError
            If the body does not match its metadata, or the checksum of the upload.
        SelectionError
            If the selection does not fit the array, or is of another kind.

        Notes
        -----
        One request for a small array; ranges in parallel for a large one, all of the same version.
        Memory in addition to the array: at most 64 MiB, plus the memory of the codec; LZ4 needs a
        second copy of the array.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_raw_array('run1', np.arange(1000), compression=False)
        >>> cci.download_raw_array('run1', selection=np.s_[10:13])
        array([10, 11, 12])
        """
        try:
            tail = 0 if selection is None else TAIL_BYTES
            opened = self._store.open(object_name, threads, tail=tail)
        except ObjectNotFoundError as exc:
            method = download_method(self._store, self._store.key(object_name, tree=True))
            if method is None:
                raise
            raise ObjectNotFoundError(
                f"'{object_name}' in bucket '{self.bucket_name}' is an array in several objects: "
                f"use {method}"
            ) from exc
        with opened as reader:
            chosen = ... if selection is None else selection
            return read_array(self._store, reader, array_header(reader), chosen)

    def upload_npy_array(
        self,
        object_name: str,
        array: Any,
        acl: str = DEFAULT_ACL,
        threads: int = DEFAULT_THREADS,
        *,
        overwrite: bool = True,
        if_match: str | None = None,
        **metadata: Any,
    ) -> dict[str, Any]:
        """Upload a np.ndarray using ``np.save``.

        Parameters
        ----------
        object_name : str
        array : np.ndarray
        acl : str, default ``[basic] default_acl`` of the options
        threads : int, default ``[basic] threads`` of the options
        overwrite : bool, default True
            As in :meth:`upload_object`.
        if_match : str, optional
            As in :meth:`upload_object`.
        **metadata : str
            Stored as metadata of the object.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it.

        Raises
        ------
        ObjectExistsError, ObjectChangedError
            As :meth:`upload_object` raises them.
        UnsupportedDtypeError
            If the elements are Python objects, the array is masked, or the ``.npy`` format cannot
            represent the dtype (``bfloat16``). Nothing is sent.

        See Also
        --------
        upload_raw_array : needs no second copy of the array, and compresses.

        Notes
        -----
        The file is first created in memory, which takes a second copy of the array.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_npy_array('mask.npy', np.eye(2, dtype=bool))
        >>> cci.download_object('mask.npy')[1:6]
        b'NUMPY'
        """
        array = raw.without_padding(raw.as_array(array))
        _check_npy(array.dtype)
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        options: dict[str, Any] = {"overwrite": overwrite, "if_match": if_match, **metadata}
        return self.upload_object(object_name, file.getbuffer(), acl, threads, **options)

    def download_npy_array(self, object_name: str, threads: int = DEFAULT_THREADS) -> Array:
        """Download a np.ndarray that was uploaded using ``np.save``.

        Parameters
        ----------
        object_name : str
        threads : int, default ``[basic] threads`` of the options

        Returns
        -------
        array : np.ndarray

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist.
        IntegrityError
            If the object is not a complete ``.npy`` file, or contains Python objects.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_npy_array('mask.npy', np.eye(2, dtype=bool))
        >>> cci.download_npy_array('mask.npy')
        array([[ True, False],
               [False,  True]])
        """
        with self._store.open(object_name, threads) as reader:
            data = reader.read()
        try:
            # np.load also accepts .npz files, and ignores bytes after the end.
            file = io.BytesIO(data)
            array: Array = np.lib.format.read_array(
                file, allow_pickle=False, max_header_size=_MAX_NPY_HEADER
            )
            if file.tell() != len(data):
                raise ValueError("bytes follow its end")
        except Exception as exc:  # damaged headers raise errors of almost any type
            raise IntegrityError(
                f"object '{object_name}' in bucket '{self.bucket_name}' is not a .npy file of "
                f"plain numbers: {exc}"
            ) from exc
        return array


def renamed_gzip(metadata: dict[str, Any], compression: str | bool | None) -> str | bool | None:
    """Return the compression of an upload; the old argument ``gzip`` is removed from metadata."""
    if not isinstance(metadata.get("gzip"), bool):
        return compression
    warnings.warn(
        "gzip= is now compression='gzip' or compression=False", DeprecationWarning, stacklevel=4
    )
    return "gzip" if metadata.pop("gzip") else False


def _check_npy(dtype: np.dtype[Any]) -> None:
    """Reject a dtype that a ``.npy`` file would not restore."""
    try:
        kept = np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) == dtype
    except ValueError:  # overlapping fields
        kept = False
    if not kept:
        raise UnsupportedDtypeError(f".npy files do not keep dtype {dtype}: use upload_raw_array")
