"""A bucket as a mapping of arrays, and their descriptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cottoncandy.arrays.description import ArrayInfo, array_info, set_metadata
from cottoncandy.arrays.generations import remove_array
from cottoncandy.arrays.handle import ArrayHandle, CloudArray, load_array, open_array
from cottoncandy.arrays.items import value_names
from cottoncandy.arrays.versions import download_method
from cottoncandy.config.options import DEFAULT_THREADS
from cottoncandy.core.names import Key
from cottoncandy.exceptions import InvalidNameError, ObjectNotFoundError
from cottoncandy.interfaces.chunked_arrays import DaskArrayMethods
from cottoncandy.interfaces.dictionaries import DictionaryMethods
from cottoncandy.stores.checks import checked_metadata
from cottoncandy.stores.finding import scan_objects


class ItemMethods(DaskArrayMethods, DictionaryMethods):
    """Arrays of any kind by name: lazy, described, and as items of a mapping.

    ``cci[name]`` downloads an array, ``cci[name] = array`` uploads one as its type asks for,
    ``del cci[name]`` removes it, ``name in cci`` asks for it, and ``iter(cci)`` lists the names.
    """

    def array(self, object_name: str, threads: int = DEFAULT_THREADS) -> CloudArray:
        """Open an array, raw, in chunks or sparse, without downloading its data.

        Parameters
        ----------
        object_name : str
        threads : int, default ``[basic] threads`` of the options
            How many ranges or chunks are downloaded at once.

        Returns
        -------
        array : CloudArray
            Array-like: with ``shape``, ``dtype``, ``chunks`` and slices that download what they
            need. ``numpy.asarray`` downloads all of it.

        Raises
        ------
        ObjectNotFoundError
            If nothing has that name.
        MetadataError
            If the object is not an array.

        Notes
        -----
        One request for a raw array, two for a chunked or sparse one. If a raw array has the same
        name as another, the raw one is opened.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_raw_array('run1', np.arange(1000), compression=False)
        >>> run = cci.array('run1')
        >>> run.shape, run[10:13]
        ((1000,), array([10, 11, 12]))
        """
        count = self._store.threads(threads)
        return open_array(self._store, self._store.key(object_name, tree=True), count)

    def info(self, object_name: str) -> ArrayInfo:
        """Get the description of an array: kind, dtype, shape, codec, sizes, checksum, metadata.

        Parameters
        ----------
        object_name : str

        Returns
        -------
        info : ArrayInfo
            Of an object that is not an array, the ``kind`` is ``'file'``.

        Raises
        ------
        ObjectNotFoundError
            If nothing has that name.
        MetadataError, IntegrityError
            If its metadata or manifest contradict themselves.

        Notes
        -----
        One request for a raw array, two for others; no data is downloaded. The key of an encrypted
        raw array is not needed.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_raw_array('run1', np.zeros((3, 4)), subject='sub01')
        >>> info = cci.info('run1')
        >>> info.kind, info.shape, info.codec, info.metadata['subject']
        ('raw', (3, 4), 'gzip', 'sub01')
        """
        return array_info(self._store, self._store.key(object_name, tree=True))

    def set_metadata(self, object_name: str, **changes: Any) -> dict[str, Any]:
        """Change metadata of an object or an array; its data stay.

        Parameters
        ----------
        object_name : str
            An object, or a chunked or sparse array, whose manifest has the metadata.
        **changes : str
            New values by name. Numbers become text; None removes a name. ``metadata={...}`` takes
            any name.

        Returns
        -------
        response : dict
            ``ETag``, as :meth:`upload_object` returns it.

        Raises
        ------
        ObjectNotFoundError
            If nothing has that name.
        MetadataError
            If a name describes how the array is stored (``dtype``, ``shape``, ...), or the store
            cannot keep the metadata; nothing is changed.

        Notes
        -----
        On S3 and Google Cloud Storage, the server copies the object onto itself, so no data are
        transferred. Manifests, and objects of other stores, are downloaded and uploaded again. The
        content type is kept, and on S3 the ACL.
        On S3, the ETag of an object that was uploaded in parts changes: arrays that were opened
        before are then considered replaced. The attributes of an opened array,
        ``cci.array(name).attrs``, keep it open.
        Clients that change metadata at the same moment keep each other's changes, except those of
        single objects on S3 and Google Drive, whose ETags do not depend on them: there, one change
        may be lost.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_raw_array('run1', np.zeros(3), subject='sub01', draft='yes')
        >>> response = cci.set_metadata('run1', subject='sub02', draft=None)
        >>> dict(cci.array('run1').attrs)
        {'subject': 'sub02'}
        """
        checked = checked_metadata(changes, self.set_metadata)
        return set_metadata(self._store, self._item(object_name), checked)

    def __getitem__(self, object_name: str) -> Any:
        count = self._store.threads(DEFAULT_THREADS)
        return load_array(self._store, self._item(object_name), count)

    def __setitem__(self, object_name: str, array: Any) -> None:
        if isinstance(array, ArrayHandle) and array.kind == "sparse":
            array = array[...]
        if hasattr(array, "__dask_graph__"):
            self.upload_dask_array(object_name, array)
        elif hasattr(array, "tocsr"):
            self.upload_sparse_array(object_name, array)
        else:
            self.upload_raw_array(object_name, array)

    def __delitem__(self, object_name: str) -> None:
        key = self._item(object_name)
        found = self._store.has_object(key)
        if found:
            self._store.delete([key])
        if not remove_array(self._store, key) and not found:
            raise ObjectNotFoundError(f"there is no array '{key}' in bucket '{self.bucket_name}'")

    def __contains__(self, object_name: object) -> bool:
        if not isinstance(object_name, str):
            return False
        try:
            key = self._item(object_name)
        except InvalidNameError:
            return False
        return self._store.has_object(key) or download_method(self._store, key) is not None

    def __iter__(self) -> Iterator[str]:
        return value_names(info.key for info in scan_objects(self._store.backend, ""))

    def _item(self, object_name: str) -> Key:
        return self._store.key(object_name, tree=True)
