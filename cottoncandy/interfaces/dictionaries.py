"""A bucket as a mapping of arrays, described or in nested dictionaries.

``Store.bulk_threads`` decides how many objects are transferred at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from cottoncandy.arrays.description import ArrayInfo, array_info, set_metadata
from cottoncandy.arrays.generations import remove_array, remove_raw_array
from cottoncandy.arrays.handle import ArrayHandle, CloudArray, load_array, open_array
from cottoncandy.arrays.items import value_names
from cottoncandy.arrays.raw import put_array
from cottoncandy.arrays.trees import (
    check_absent,
    check_places,
    find_arrays,
    flatten,
    groups_of,
)
from cottoncandy.arrays.versions import download_method
from cottoncandy.config.options import DEFAULT_ACL, DEFAULT_THREADS
from cottoncandy.core.names import SEPARATOR, Key, pathjoin, prefix_of
from cottoncandy.core.output import Progress, echo
from cottoncandy.core.threads import run_threads
from cottoncandy.exceptions import (
    InvalidArgumentError,
    InvalidNameError,
    MetadataError,
    ObjectNotFoundError,
)
from cottoncandy.formats.generations import MANIFEST
from cottoncandy.interfaces.buckets import BucketMethods
from cottoncandy.interfaces.chunked_arrays import DaskArrayMethods
from cottoncandy.interfaces.raw_arrays import renamed_gzip
from cottoncandy.interfaces.sparse_arrays import SparseArrayMethods
from cottoncandy.stores.checks import checked_metadata, upload_condition
from cottoncandy.stores.finding import scan_objects
from cottoncandy.transfer.engine import complete, each

if TYPE_CHECKING:
    from cottoncandy.browser import BrowserObject
    from cottoncandy.interfaces import DefaultInterface

_log = logging.getLogger(__name__)


class DictionaryMethods(DaskArrayMethods, SparseArrayMethods, BucketMethods):
    """Arrays of any kind by name: lazy, described, in nested dictionaries, and as items.

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

    def dict2cloud(
        self,
        object_name: str,
        array_dict: Mapping[str, Any],
        acl: str = DEFAULT_ACL,
        verbose: bool = True,
        threads: int = DEFAULT_THREADS,
        *,
        overwrite: bool = True,
        **metadata: Any,
    ) -> None:
        """Upload an arbitrary depth dictionary containing arrays.

        Parameters
        ----------
        object_name : str
            The branch that the arrays go under.
        array_dict : dict
            An arbitrary depth dictionary of arrays. It can be thought of as an HDF5-like group.
            Leaves that are not arrays are converted with ``np.asarray``.
        acl : str, default ``[basic] default_acl`` of the options
        verbose : bool, default True
            Whether to print ``object_name`` after completion.
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many arrays are transferred at once.
        overwrite : bool, default True
            Whether to replace existing objects.
        **metadata
            Stored with every array; ``compression`` is as in :meth:`upload_raw_array`.

        Raises
        ------
        ObjectExistsError
            If ``overwrite`` is False and one of the names exists, or a name is that of an array and
            of a directory on a store that cannot hold both (a local one); nothing is sent.
        UnsupportedDtypeError
            If a leaf cannot be stored as bytes; nothing is sent.
        InvalidNameError
            If a key is not a str, or is empty or ends in ``/``; nothing is sent.
        InvalidArgumentError
            If it is not a dictionary, contains itself, two leaves have the same name, or one is
            below another (``{'a/b': ..., 'a': ...}``); nothing is sent.

        Notes
        -----
        Each array is replaced in one instant, the dictionary as a whole is not. An array whose name
        is now that of a nested dictionary is removed after the new arrays are stored. With
        ``overwrite=False``, the names are compared with a listing first. An array that another
        client stores after the listing is not replaced either: the upload then ends with
        ObjectExistsError, and arrays that were stored before stay.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> cci.dict2cloud('model', {'weights': np.ones(3), 'fit': {'r2': 0.5}})
        uploaded arrays in "model"
        >>> cci.cloud2dict('model', verbose=False)
        {'fit': {'r2': array(0.5)}, 'weights': array([1., 1., 1.])}
        """
        compression = metadata.pop("compression", True)
        metadata = checked_metadata(metadata, self.dict2cloud, self.upload_raw_array)
        compression = renamed_gzip(metadata, compression)
        if "if_match" in metadata:
            raise InvalidArgumentError(
                "a dictionary has no ETag for if_match=: upload its arrays with upload_raw_array"
            )
        root = self._store.key(object_name, tree=True)
        leaves = flatten(root, array_dict)
        groups = groups_of(root, leaves)
        if not overwrite:
            manifests = (pathjoin(group, MANIFEST) for group in groups)
            check_absent(self._store, root, {*leaves, *groups, *manifests})
        check_places(self._store, leaves, groups)
        workers = self._store.bulk_threads(threads)
        inner = max(1, workers // max(len(leaves), 1))
        options: dict[str, Any] = {"metadata": metadata, "acl": acl, "threads": inner}
        options["condition"] = upload_condition(overwrite, None)
        self._run(
            lambda name: put_array(self._store, name, leaves[name], compression, **options),
            leaves,
            workers,
            "uploading arrays",
        )

        def remove(group: Key) -> None:
            """Remove an array whose name is that of a group now."""
            remove_raw_array(self._store, group)
            remove_array(self._store, group, keep=leaves)

        if overwrite:
            run_threads(remove, groups, workers)
        if verbose:
            if leaves:
                echo(f'uploaded arrays in "{object_name}"')
            else:
                echo("the dictionary is empty; nothing was uploaded")

    def cloud2dict(
        self,
        object_root: str,
        verbose: bool = True,
        keys: str | Iterable[str] | None = None,
        threads: int = DEFAULT_THREADS,
        **metadata: Any,
    ) -> dict[str, Any]:
        """Download all the arrays of an object branch and return a dictionary.

        This is the complement to :meth:`dict2cloud`.

        Parameters
        ----------
        object_root : str
            The branch to create the dictionary from.
        verbose : bool, default True
            Whether to print ``object_root`` after completion.
        keys : list of str, optional
            Which keys to download: names of arrays or branches below the root.
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many arrays are transferred at once.
        **metadata
            Accepted for compatibility.

        Returns
        -------
        datadict : dict
            An arbitrary depth dictionary. Arrays that :meth:`upload_dask_array` and
            :meth:`upload_sparse_array` stored are NumPy arrays and SciPy sparse arrays. Objects
            that are not arrays are None, and a warning is logged.

        Raises
        ------
        ObjectNotFoundError
            If nothing exists under the root, or under one of the keys.
        InvalidArgumentError
            If one of the keys is not a str.

        Notes
        -----
        One request lists a thousand arrays, and one downloads each that is small. Each
        ``metadata.json`` takes one more, to see whether it describes an array.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> cci.dict2cloud('model', {'bias': np.zeros(1), 'fit': {'r2': 0.5}}, verbose=False)
        >>> cci.cloud2dict('model', keys=['fit'])
        Downloaded arrays in "model"
        {'fit': {'r2': array(0.5)}}
        """
        workers = self._store.bulk_threads(threads)
        checked_metadata(metadata, self.cloud2dict)
        root = Key(self._store.key(object_root, tree=True).removesuffix(SEPARATOR))
        names = find_arrays(self._store, root, keys, workers)

        arrays: dict[str, Any] = dict.fromkeys(names)

        def download(name: str) -> None:
            try:
                arrays[name] = load_array(self._store, Key(name), inner)
            except MetadataError as exc:
                _log.warning("returning None instead of an array: %s", exc)

        inner = max(1, workers // max(len(names), 1))
        self._run(download, names, workers, "downloading arrays")
        datadict: dict[str, Any] = {}
        for name, array in arrays.items():
            *groups, last = name[len(prefix_of(root)) :].split(SEPARATOR)
            group = datadict
            for step in groups:
                group = group.setdefault(step, {})
            group[last] = array
        if verbose:
            echo(f'Downloaded arrays in "{object_root}"')
        return datadict

    def cloud2dataset(self, object_root: str, **metadata: Any) -> BrowserObject:
        """Get a dataset representation of an object branch.

        Parameters
        ----------
        object_root : str
            The branch to create a dataset from.
        **metadata
            Accepted for compatibility.

        Returns
        -------
        cc_dataset_object : cottoncandy.browser.BrowserObject
            This can be conceptualized as implementing an h5py/pytables object with ``load()`` and
            ``keys()`` methods: a group, that is a mapping, or a dataset with ``shape``, ``dtype``
            and slicing, if the name is that of an array. One that :meth:`upload_dask_array` cut
            into chunks is one dataset, which also has ``chunks``.

        Raises
        ------
        ObjectNotFoundError
            If there is neither an object of that name nor anything below it.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_dask_array('runs', np.arange(6.0), buffersize=16)
        >>> dataset = cci.cloud2dataset('runs')
        >>> dataset.shape, dataset.chunks
        ((6,), ((2, 2, 2),))
        >>> dataset[1:3]  # downloads two chunks
        array([1., 2.])
        """
        from cottoncandy.browser import browse

        return browse(object_root, cast("DefaultInterface", self))

    # -- items ----------------------------------------------------------------------------------

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

    # -- inside ----------------------------------------------------------------------------------

    def _item(self, object_name: str) -> Key:
        return self._store.key(object_name, tree=True)

    def _run(
        self, call: Callable[[Any], object], names: Collection[str], threads: int, label: str
    ) -> None:
        show = self._store.settings.progress
        bar = Progress(len(names), unit="arrays", label=label, show=show)
        complete(each(call, names, threads=threads), bar=bar, stop=True)
