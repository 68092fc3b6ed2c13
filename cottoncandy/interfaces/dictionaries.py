"""Nested dictionaries of arrays, as branches of objects."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from cottoncandy.arrays.chunked import ChunkedArray
from cottoncandy.arrays.manifests import MANIFEST, download_method
from cottoncandy.arrays.raw import Array
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.config.defaults import DEFAULT_ACL, DEFAULT_THREADS
from cottoncandy.core.names import SEPARATOR, Key, clean_object_name, pathjoin
from cottoncandy.core.output import echo
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import (
    InvalidArgumentError,
    InvalidNameError,
    MetadataError,
    ObjectNotFoundError,
    UnsupportedDtypeError,
)
from cottoncandy.formats import raw
from cottoncandy.interfaces.base import BucketMethods
from cottoncandy.interfaces.chunked_arrays import SparseArrayMethods
from cottoncandy.stores.checks import checked_metadata
from cottoncandy.stores.finding import objects_below
from cottoncandy.transfer.engine import Action, perform

if TYPE_CHECKING:
    from cottoncandy.browser import BrowserObject
    from cottoncandy.interfaces import DefaultInterface

__all__ = ["DictionaryMethods"]

_log = logging.getLogger(__name__)

#: Levels of a dictionary: more would not fit into a name, and Python's stack has an end too.
_MAX_DEPTH = 256


class DictionaryMethods(SparseArrayMethods, BucketMethods):
    """Many arrays at once: dictionaries up and down, and a view like an HDF5 file's."""

    def dict2cloud(
        self,
        object_name: str,
        array_dict: Mapping[str, Any],
        acl: str = DEFAULT_ACL,
        verbose: bool = True,
        threads: int = DEFAULT_THREADS,
        **metadata: Any,
    ) -> None:
        """Upload an arbitrary depth dictionary containing arrays.

        Parameters
        ----------
        object_name : str
            The branch that the arrays go under.
        array_dict : dict
            An arbitrary depth dictionary of arrays. This can be conceptualized as implementing an
            HDF-like group. What is no array goes through ``np.asarray``.
        acl : str, default ``[basic] default_acl`` of the options
        verbose : bool, default True
            Whether to print ``object_name`` after completion.
        threads : int, default 16
            How many arrays travel at once.
        **metadata
            Stored with every array; ``compression`` is as in :meth:`upload_raw_array`.

        Raises
        ------
        UnsupportedDtypeError
            If a leaf has no bytes; nothing is sent.
        InvalidNameError
            If a key is not a str, or is empty or ends in ``/``; nothing is sent.
        InvalidArgumentError
            If it is no dictionary, or holds itself, or two leaves would have the same name, or one
            would lie below another (``{'a/b': ..., 'a': ...}``); nothing is sent.

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
        checked_metadata(metadata, self.dict2cloud, self.upload_raw_array)
        leaves: dict[Key, Array] = {}
        if not isinstance(array_dict, Mapping):
            raise InvalidArgumentError(
                f"dict2cloud takes a dictionary of arrays, and a {type(array_dict).__name__} was "
                f"given: use upload_raw_array for one array"
            )
        for name, leaf in _leaves(self._store.key(object_name, tree=True), array_dict):
            if name in leaves:
                raise InvalidArgumentError(f"two arrays of the dictionary are both named '{name}'")
            leaves[name] = _array_of(leaf, name)
        for shadowed, above in _shadows(leaves):
            raise InvalidArgumentError(
                f"'{shadowed}' of the dictionary lies below '{above}', which is an array itself: "
                f"cloud2dict could not return both"
            )

        workers = self._store.bulk_threads(threads)
        inner = max(1, workers // max(len(leaves), 1))
        actions = (
            Action(
                name,
                partial(self.upload_raw_array, name, leaf, acl=acl, threads=inner, **metadata),
            )
            for name, leaf in leaves.items()
        )
        self._run(actions, len(leaves), workers, "uploading arrays")
        if verbose:
            echo(f'uploaded arrays in "{object_name}"')

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
        threads : int, default 16
            How many arrays travel at once.
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
            If there is nothing under the root, or under one of the keys.
        InvalidArgumentError
            If one of the keys is not a str.

        Notes
        -----
        One request lists a thousand arrays, and one downloads each that is small. Each
        ``metadata.json`` takes one more, to see whether it describes an array.
        """
        workers = self._store.bulk_threads(threads)
        checked_metadata(metadata, self.cloud2dict)
        root = Key(self._store.key(object_root, tree=True).removesuffix(SEPARATOR))
        found = {info.key for info in self._branch(root, _checked_keys(keys))}
        values = self._values_of_parts(found, workers)
        if root in values:
            raise ObjectNotFoundError(
                f"'{root}' in bucket '{self.bucket_name}' is one array in several objects, and not "
                f"a dictionary: use {values[root]}"
            )
        names = _without_shadows(found, values)

        def download(name: str, group: dict[str, Any], last: str) -> None:
            key = Key(name)
            try:
                if name not in values:
                    group[last] = self.download_raw_array(key, threads=inner)
                elif values[name] == "download_dask_array":
                    group[last] = ChunkedArray.open(self._store, key).read(..., inner)
                else:
                    group[last] = self.download_sparse_array(key, threads=inner)
            except MetadataError as exc:
                _log.warning("None in the dictionary: %s", exc)

        inner = max(1, workers // max(len(names), 1))
        start = len(root) + 1 if root else 0
        datadict: dict[str, Any] = {}
        actions = []
        for name in names:
            *groups, last = name[start:].split(SEPARATOR)
            group = datadict
            for step in groups:
                group = group.setdefault(step, {})
            group[last] = None  # keeps the order of the names
            actions.append(Action(name, partial(download, name, group, last)))
        self._run(actions, len(names), workers, "downloading arrays")
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
            into chunks is one dataset, with ``chunks`` beside.

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

    def _values_of_parts(self, names: Collection[str], threads: int) -> dict[str, str]:
        """Return the values of several objects among some names, and the method to read each."""
        split = (name.rpartition(SEPARATOR) for name in names)
        roots = [Key(root) for root, _, last in split if last == MANIFEST]
        methods = map_threads(functools.partial(download_method, self._store), roots, threads)
        return {root: how for root, how in zip(roots, methods, strict=True) if how is not None}

    def _branch(self, root: str, keys: Iterable[str] | None) -> Iterator[ObjectInfo]:
        """Yield the objects below a root, or those that some keys name."""
        if keys is None:
            yield from self._below(root)
            return
        for key in keys:
            name = pathjoin(root, clean_object_name(key)).removesuffix(SEPARATOR)
            try:
                yield self.backend_interface.head(name)
            except ObjectNotFoundError:
                yield from self._below(name)

    def _below(self, root: str) -> Iterator[ObjectInfo]:
        """Yield the objects below a root; there must be one."""
        missing = True
        for info in objects_below(self.backend_interface, Key(root + SEPARATOR if root else "")):
            missing = False
            yield info
        if missing:
            raise ObjectNotFoundError(
                f"'{root}' in bucket '{self.bucket_name}' is one object, and nothing is below it: "
                f"use download_raw_array"
                if root and self.backend_interface.exists(root)
                else f"nothing found under '{root}' in bucket '{self.bucket_name}'"
            )

    def _run(self, actions: Iterable[Action], total: int, threads: int, label: str) -> None:
        perform(self._store, actions, total, threads=threads, unit="arrays", label=label)


def _checked_keys(keys: Any) -> list[str] | None:
    if keys is None:
        return None
    wanted = [keys] if isinstance(keys, str) or not isinstance(keys, Iterable) else list(keys)
    wrong = [key for key in wanted if not isinstance(key, str)]
    if wrong:
        raise InvalidArgumentError(
            f"keys must be names of arrays or branches, got {wrong[0]!r}; nothing was downloaded"
        )
    return wanted


def _leaves(
    name: Key, branch: Mapping[str, Any], above: tuple[int, ...] = ()
) -> Iterator[tuple[Key, Any]]:
    """Yield the names and values of a nested dictionary's leaves.

    ``above`` are the identities of the dictionaries that lead here.
    """
    if id(branch) in above:
        raise InvalidArgumentError(
            f"'{name}' of the dictionary is a dictionary that it lies in itself: there is no end "
            f"to what would be uploaded"
        )
    if len(above) >= _MAX_DEPTH:
        raise InvalidArgumentError(
            f"the dictionary is nested more than {_MAX_DEPTH} levels deep, at '{name[:80]}...'"
        )
    for key, value in branch.items():
        cleaned = clean_object_name(key) if isinstance(key, str) else ""
        if not cleaned or cleaned.endswith(SEPARATOR):
            raise InvalidNameError(
                f"the keys of the dictionary become names of objects, so they must be text that "
                f"is not empty and does not end in '/', got {key!r} (under '{name}'); nothing was "
                f"uploaded"
            )
        below = Key(pathjoin(name, cleaned))
        if isinstance(value, Mapping):
            if not value:
                _log.warning("the empty dictionary '%s' leaves no trace in the store", below)
            yield from _leaves(below, value, (*above, id(branch)))
        else:
            yield below, value


def _without_shadows(found: Collection[str], values: Mapping[str, str]) -> list[str]:
    """Return the names that fit into nested dictionaries: an array hides what lies below it."""
    everything = {*found, *values}
    hidden = dict(_shadows(everything))
    names = []
    for name in sorted(everything):
        if name.endswith(SEPARATOR):
            _log.warning("left out of the dictionary: '%s' is a directory mark", name)
        elif name in hidden and hidden[name] in values:
            _log.info("left out of the dictionary: '%s' belongs to an array", name)
        elif name in hidden:
            _log.warning(
                "left out of the dictionary: '%s' lies below the object '%s'", name, hidden[name]
            )
        else:
            names.append(name)
    return names


def _shadows(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the names that lie below others, with the highest of those."""
    for name in names:
        steps = name.split(SEPARATOR)
        above = (SEPARATOR.join(steps[:depth]) for depth in range(1, len(steps)))
        found = next((prefix for prefix in above if prefix in names), None)
        if found is not None:
            yield name, found


def _array_of(leaf: Any, name: str) -> Array:
    """Return the array of a leaf; an error says which leaf it was."""
    try:
        return raw.as_array(leaf)
    except UnsupportedDtypeError as exc:
        raise UnsupportedDtypeError(f"'{name}' of the dictionary: {exc}") from exc
