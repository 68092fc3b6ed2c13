"""Nested dictionaries of arrays, as branches of objects.

``Store.bulk_threads`` decides how many objects are transferred at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from cottoncandy.arrays.generations import remove_array, remove_raw_array
from cottoncandy.arrays.handle import load_array
from cottoncandy.arrays.raw import put_array
from cottoncandy.arrays.trees import (
    check_absent,
    check_places,
    find_arrays,
    flatten,
    groups_of,
)
from cottoncandy.config.options import DEFAULT_ACL, DEFAULT_THREADS
from cottoncandy.core.names import SEPARATOR, Key, pathjoin
from cottoncandy.core.output import Progress, echo
from cottoncandy.core.threads import run_threads
from cottoncandy.exceptions import InvalidArgumentError, MetadataError
from cottoncandy.formats.generations import MANIFEST
from cottoncandy.interfaces.buckets import BucketMethods
from cottoncandy.interfaces.raw_arrays import renamed_gzip
from cottoncandy.interfaces.sparse_arrays import SparseArrayMethods
from cottoncandy.stores.checks import checked_metadata, upload_condition
from cottoncandy.transfer.engine import complete, each

if TYPE_CHECKING:
    from cottoncandy.browser import BrowserObject
    from cottoncandy.interfaces import DefaultInterface

_log = logging.getLogger(__name__)


class DictionaryMethods(SparseArrayMethods, BucketMethods):
    """Dictionaries of arrays, and a view of them like that of an HDF5 file."""

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
        if overwrite:
            run_threads(partial(self._remove_leaf, leaves), groups, workers)
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

        def download(name: str) -> None:
            group, last = slots[name]
            try:
                group[last] = load_array(self._store, Key(name), inner)
            except MetadataError as exc:
                _log.warning("returning None instead of an array: %s", exc)

        inner = max(1, workers // max(len(names), 1))
        start = len(root) + 1 if root else 0
        datadict: dict[str, Any] = {}
        slots: dict[str, tuple[dict[str, Any], str]] = {}
        for name in names:
            *groups, last = name[start:].split(SEPARATOR)
            group = datadict
            for step in groups:
                group = group.setdefault(step, {})
            group[last] = None  # keeps the order of the names
            slots[name] = group, last
        self._run(download, slots, workers, "downloading arrays")
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

    # -- inside ----------------------------------------------------------------------------------

    def _remove_leaf(self, leaves: Collection[str], group: Key) -> None:
        """Remove an array whose name is that of a group now."""
        remove_raw_array(self._store, group)
        remove_array(self._store, group, keep=leaves)

    def _run(
        self, call: Callable[[Any], object], names: Collection[str], threads: int, label: str
    ) -> None:
        show = self._store.settings.progress
        bar = Progress(len(names), unit="arrays", label=label, show=show)
        complete(each(call, names, threads=threads), bar=bar, stop=True)
