"""Directories in the browser: attributes, mappings, groups."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, overload

from cottoncandy.arrays.items import may_be_array
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.browser.base import S3FSLike, attribute_names, is_introspection_name
from cottoncandy.browser.datasets import S3ChunkedDataset, S3Dataset
from cottoncandy.browser.html import directory_html, object_html
from cottoncandy.core.names import SEPARATOR
from cottoncandy.core.output import echo, printable
from cottoncandy.core.patterns import escape_pattern
from cottoncandy.exceptions import (
    EncryptionError,
    IntegrityError,
    InvalidArgumentError,
    InvalidNameError,
    MetadataError,
    ObjectNotFoundError,
)
from cottoncandy.formats.generations import MANIFEST
from cottoncandy.stores.finding import Node, list_directory, walk

if TYPE_CHECKING:
    import numpy.typing as npt

    from cottoncandy.interfaces import DefaultInterface

_PACKAGE = "cottoncandy"
#: Attributes of a directory that holds the chunks of an array.
_ARRAY_ATTRIBUTES = frozenset(
    {
        "attrs", "chunks", "compression", "dtype", "info", "kind", "nbytes", "ndim", "preview",
        "shape", "size",
    }
)  # fmt: skip
#: Entries listed to find out what a directory is: those of one request.
_GLANCE = 1000
#: Extensions of HDF files: groups as well, whatever the options are.
_HDF = frozenset({"h5", "hdf", "hdf5", "hf5", "h5py", "grp", "arr", "dar"})


class S3Directory(S3FSLike):
    """A directory whose contents are attributes, for tab completion.

    It is also a mapping: ``directory['name']``, ``keys()``, ``values()``, ``items()``, ``get()``,
    ``in``, ``len()``. Names that are not valid identifiers are mangled: ``_DOT_`` for dots, ``_``
    for dashes, ``NUM_`` before a digit, ``_`` after keywords and the directory's own attributes
    (``keys_``). ``[...]`` accepts any name verbatim, and several levels at once (``['a/b']``).

    Parameters
    ----------
    path : str
        Where to start; ``''`` is the whole bucket.
    interface : cottoncandy.interfaces.DefaultInterface
        The interface that the objects are reached through, of any backend.

    Notes
    -----
    One listing of this level is sent on first access, none while you type. :meth:`refresh`
    discards it.

    A directory that holds the chunks of an array (see ``upload_dask_array``) represents that
    array: it has ``shape``, ``dtype``, ``chunks`` and the other attributes of an
    :class:`S3ChunkedDataset`, slices, a length and an iterator over rows. ``keys()`` and names in
    brackets still reach its parts.

    Examples
    --------
    >>> import cottoncandy as cc
    >>> import numpy as np
    >>> cci = cc.get_interface('my_bucket_name', backend='memory', verbose=False)
    >>> group = 'sweet_project/sub01_awesome_analysis.grp/'
    >>> for model in ('result_model01', 'result_model02', 'result_model03'):
    ...     response = cci.upload_raw_array(group + model, np.arange(10000.0))
    >>> browser = cci.get_browser()
    >>> browser.sweet_project
    cottoncandy-path <bucket:my_bucket_name> sweet_project
    >>> browser.sweet_project.sub01_awesome_analysis_DOT_grp
    <cottoncandy-group <bucket:my_bucket_name> (sub01_awesome_analysis.grp: 3 keys)>
    >>> browser.sweet_project.sub01_awesome_analysis_DOT_grp.result_model01.load().shape
    (10000,)
    >>> browser.sweet_project['sub01_awesome_analysis.grp/result_model01']._fullpath
    'sweet_project/sub01_awesome_analysis.grp/result_model01'
    """

    _is_directory: Literal[True] = True

    _branch: str  # prefix of everything below it
    _level: dict[str, S3Directory | S3Dataset] | None = None  # what was listed, by name
    _complete = False  # whether all of it was
    _attributes: dict[str, list[str]] | None = None
    _whole: S3ChunkedDataset | Literal[False] | None = None  # None: unknown yet

    def __init__(self, path: str, interface: DefaultInterface) -> None:
        super().__init__(path, interface)
        self._branch = self._key + SEPARATOR if self._key else ""
        _register_with_ipython()

    # -- attributes ------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Runs only for missing attributes. Tools probe any object: no request for them, and none
        # before __init__ has run (copy and pickle look first).
        if is_introspection_name(name) or "_key" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        # The source code's ``p.name`` is normalized already, ``getattr(p, name)`` is not.
        clash = self._attribute_names().get(name, ())
        if len(clash) > 1:
            meant = " or ".join(f"[{other!r}]" for other in clash)
            raise AttributeError(f"{name!r} could be several names; use {meant} instead")
        found = self._find(name)
        if found is not None:
            return found
        array = self._array() if name in _ARRAY_ATTRIBUTES else None
        if array is not None:
            return getattr(array, name)
        if SEPARATOR in name and name in self:  # getattr(browser, 'a/b'), as in 0.4.0
            return self[name]
        raise AttributeError(
            f"there is no {name!r} in {self._described()}; if it is new, call refresh() first"
        )

    def __dir__(self) -> list[str]:
        if self._array() is not None:
            return sorted(_ARRAY_ATTRIBUTES | {"keys", "load", "refresh"})
        return sorted(self._by_attribute())

    # Properties, so that NumPy and Dask find none unless this is an array.

    @property
    def __array__(self) -> Callable[..., npt.NDArray[Any]]:
        return self._as_array().__array__

    @property
    def __dask_tokenize__(self) -> Callable[[], str]:
        return self._as_array().__dask_tokenize__

    def _as_array(self) -> S3ChunkedDataset:
        array = self._array()
        if array is None:
            raise AttributeError(f"{self._described()} is not an array")
        return array

    # -- a mapping -------------------------------------------------------------------------------

    @overload
    def __getitem__(self, name: str) -> S3Directory | S3Dataset: ...

    @overload
    def __getitem__(self, name: Any) -> Any: ...

    def __getitem__(self, name: Any) -> Any:
        if not isinstance(name, str):
            array = self._array()
            if array is None:
                raise TypeError(f"names must be str, got {type(name).__name__}")
            return array[name]
        here: S3Directory | S3Dataset | None = self
        rest = name
        while isinstance(here, S3Directory):
            found = here._find(rest)
            if found is not None:
                return found
            first, _, rest = rest.partition(SEPARATOR)
            here = here._list().get(first)
            if here is not None and not rest:
                return here
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        try:
            self[name]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[Any]:
        array = self._array()
        return iter(self._list() if array is None else array)

    def __len__(self) -> int:
        array = self._array()
        return len(self._list() if array is None else array)

    def keys(self) -> list[str]:
        """Return the unchanged names in this directory, sorted."""
        return list(self._list())

    def values(self) -> list[S3Directory | S3Dataset]:
        """Return the contents of this directory, sorted by name."""
        return list(self._list().values())

    def items(self) -> list[tuple[str, S3Directory | S3Dataset]]:
        """Return names and contents, sorted by name."""
        return list(self._list().items())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the entry of a name in this directory, or a default.

        Parameters
        ----------
        name : str
        default : object, optional
        """
        try:
            return self[name]
        except KeyError:
            return default

    def _ipython_key_completions_(self) -> list[str]:
        return self.keys()

    # -- listings and data -----------------------------------------------------------------------

    def _ls(self) -> list[str]:
        """Show the directories and files at this level, as attributes if possible."""
        attributes = {name: attribute for attribute, name in self._by_attribute().items()}
        return sorted(attributes.get(name, name) for name in self._list())

    def _glob(self) -> list[str]:
        """Show the full names of all the objects under this directory."""
        found = self.interface.glob(escape_pattern(self._branch) + "*")
        return found if self._info is None else [self._key, *found]

    def load(self, key: str | None = None) -> Any:
        """Download an array in this directory.

        Parameters
        ----------
        key : str, optional
            Its name, or its attribute. Without one: the array that this directory is the parts of
            (a dask array or a sparse matrix), or the object of the directory's own name; if there
            is neither, the keys are printed.

        Returns
        -------
        data : numpy.ndarray, dask.array.Array, scipy sparse or None
            As :meth:`S3Dataset.load` returns it.

        Raises
        ------
        InvalidArgumentError
            If there is no such key.
        """
        if key is not None:
            if key not in self:
                raise InvalidArgumentError(
                    f"no '{key}' in {self._described()}; keys() lists its contents"
                )
            return self[key].load()
        if self._info is not None:
            # The object that has the directory's own name.
            return S3Dataset._at(self._key, self.interface, self._info).load()
        array = self._array()
        if array is not None:
            return array.load()
        echo("Specify key to download:", ",".join(self._ls()))
        return None

    def visititems(self, func: Callable[[str, S3Directory | S3Dataset], Any]) -> Any:
        """Call a function on everything below, as h5py does.

        Parameters
        ----------
        func : callable
            Called with the name, relative to this directory, and its value: a directory before its
            contents, sorted by name. A chunked array is one value. If the function returns anything
            but None, the walk ends.

        Returns
        -------
        result : object
            The last result of ``func``.

        Notes
        -----
        One listing of everything below is sent and cached for all directories in it. Each chunked
        array takes one small request.
        """
        self._list_tree()
        pending = [("", iter(self.items()))]  # not recursive: names can have 1,000 levels
        while pending:
            above, items = pending[-1]
            for name, child in items:
                result = func(above + name, child)
                if result is not None:
                    return result
                if isinstance(child, S3Directory) and child._array() is None:
                    pending.append((above + name + SEPARATOR, iter(child.items())))
                    break
            else:
                pending.pop()
        return None

    def visit(self, func: Callable[[str], Any]) -> Any:
        """Call a function on the names of everything below, as :meth:`visititems` does.

        Parameters
        ----------
        func : callable
            Called with the name, relative to this directory.

        Returns
        -------
        result : object
        """
        return self.visititems(lambda name, _: func(name))

    def refresh(self) -> None:
        """Discard the listings of this directory and those in it; they are fetched when needed."""
        self._level = self._attributes = self._whole = None

    def __call__(self) -> Any:
        if self._key and self._info is None and self._list():
            raise ObjectNotFoundError(
                f"{self._described()} is a directory, not an object; call one in it"
            )
        return super().__call__()

    def __repr__(self) -> str:
        if self._key:
            self._list(_GLANCE)
            array = self._array()
            if array is not None:
                return repr(array)
        bucket = self.interface.bucket_name
        return f"{_PACKAGE}-path <bucket:{bucket}> {printable(self._name)}".rstrip()

    def _repr_html_(self) -> str:
        array = self._array()
        return directory_html(self) if array is None else object_html(array)

    # -- inside ----------------------------------------------------------------------------------

    def _described(self) -> str:
        where = f"bucket '{self.interface.bucket_name}'"
        return f"'{self._key}' in {where}" if self._key else where

    def _list(self, first: int | None = None) -> dict[str, S3Directory | S3Dataset]:
        """Return the contents by name, sorted and cached; perhaps only the first ones."""
        level = self._level
        if level is None or (first is None and not self._complete):
            level = self._keep(list_directory(self.interface._store, self._branch), first)
        return level

    def _keep(
        self, nodes: Iterator[Node], first: int | None = None
    ) -> dict[str, S3Directory | S3Dataset]:
        """Cache and return what was listed; a name can be both an object and a directory."""
        start, known = len(self._branch), self._level or {}
        directories: set[str] = set()
        objects: dict[str, ObjectInfo] = {}
        for node in islice(nodes, first):
            if node.info is None:
                directories.add(node.key[start : -len(SEPARATOR)])
            else:
                objects[node.key[start:]] = node.info
        complete = next(nodes, None) is None
        level = {}
        for name in sorted(directories | objects.keys()):
            found = name in directories, objects.get(name)
            child = known.get(name)
            if child is None or (child._is_directory, child._info) != found:
                child = self._child(name, *found)
            level[name] = child
        vars(self).update(_level=level, _complete=complete)  # at once, as other threads see it
        return level

    def _child(
        self, name: str, is_directory: bool, info: ObjectInfo | None
    ) -> S3Directory | S3Dataset:
        key = self._branch + name
        if not is_directory:
            return S3Dataset._at(key, self.interface, info)
        group = isinstance(self, S3Group) or _is_group(name, self.interface)
        directory = (S3Group if group else S3Directory)._at(key, self.interface, info)
        directory._branch = key + SEPARATOR  # '/' if it has no name, at the very top
        return directory

    def _list_tree(self) -> None:
        """Cache everything below with one listing, for this directory and those in it."""
        self.refresh()
        levels: dict[str, list[Node]] = {self._branch: []}
        for node in walk(self.interface._store, self._branch):
            above, slash, _ = node.key.removesuffix(SEPARATOR).rpartition(SEPARATOR)
            levels[above + slash].append(node)
            if node.is_directory:
                levels.setdefault(node.key, [])
        directories = {self._branch: self}
        for branch, nodes in levels.items():  # a directory comes before those in it
            directory = directories[branch]
            for child in directory._keep(iter(nodes)).values():
                if isinstance(child, S3Directory):
                    directories[child._branch] = child

    def _attribute_names(self) -> dict[str, list[str]]:
        names = self._list()
        if self._attributes is None:
            own = {"interface", "_key", "_branch", *dir(type(self))}
            self._attributes = attribute_names(names, own)
        return self._attributes

    def _by_attribute(self) -> dict[str, str]:
        """Return attribute -> name, without the ambiguous attributes."""
        names = self._attribute_names()
        return {attribute: meant[0] for attribute, meant in names.items() if len(meant) == 1}

    def _find(self, name: str) -> S3Directory | S3Dataset | None:
        """Return what has a name, or an attribute."""
        contents = self._list()
        if name not in contents and name.isidentifier():
            meant = self._attribute_names().get(name, ())
            return contents[meant[0]] if len(meant) == 1 else None
        return contents.get(name)

    def _array(self) -> S3ChunkedDataset | None:
        """Return the array whose parts are in this directory; None if there is none."""
        if self._whole is None:
            self._whole = self._find_array() or False
        return self._whole or None

    def _manifest(self) -> ObjectInfo | None:
        """Return the object that may be the manifest of an array, if it was listed."""
        found = (self._level or {}).get(MANIFEST)
        return None if found is None else found._info

    def _find_array(self) -> S3ChunkedDataset | None:
        if not self._key or self._info is not None:
            return None
        contents = self._level or self._list()
        if self._manifest() is None or not (len(contents) == 1 or may_be_array(contents)):
            return None
        array = S3ChunkedDataset._at(self._key, self.interface)
        try:
            _ = array.shape
        except (MetadataError, IntegrityError, EncryptionError, InvalidNameError):
            return None  # another kind of metadata.json, or an unreadable one
        # The parts of an array that was replaced are in a directory.
        if self._complete and not any(each._is_directory for each in contents.values()):
            array._count({name: each._info for name, each in contents.items()})
        return array


class S3Group(S3Directory):
    """A directory as an HDF-like group: its keys are arrays and groups.

    Directories with an extension of ``[extensions] ccgroup`` or ``ccdataset`` of the options are
    groups, and so are their subdirectories, and the result of ``cci.cloud2dataset``.
    """

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), "keys", "load"})

    def __repr__(self) -> str:
        array = self._array()
        if array is not None:
            return repr(array)
        bucket = self.interface.bucket_name
        return f"<{_PACKAGE}-group <bucket:{bucket}> ({printable(self._name)}: {len(self)} keys)>"


def browse(path: str, interface: DefaultInterface) -> S3Group | S3Dataset:
    """Return the object of a name: an array, whole or in chunks, or a group of arrays.

    Parameters
    ----------
    path : str
        Name of an object or a directory; ``''`` is the whole bucket.
    interface : cottoncandy.interfaces.DefaultInterface

    Returns
    -------
    node : S3Group, S3Dataset or S3ChunkedDataset

    Raises
    ------
    ObjectNotFoundError
        If neither an object of that name nor anything below it exists.

    Notes
    -----
    One listing is sent; a second request if there is nothing below that name, or an array in
    chunks.
    """
    group = S3Group(path, interface)
    if group._list() or not group._key:
        return group._array() or group
    if interface.exists_object(group._key):
        return S3Dataset(path, interface)
    if interface._store.has_below(group._branch):
        return group  # an empty directory, created by a console
    raise ObjectNotFoundError(
        f"nothing found under '{group._key}' in bucket '{interface.bucket_name}'; "
        f"cci.lsdir() lists the bucket"
    )


def _is_group(name: str, interface: DefaultInterface) -> bool:
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    settings = interface.settings
    return extension in _HDF or extension in (*settings.ccgroup, *settings.ccdataset)


def _register_with_ipython() -> None:
    """Enable completion inside a directory in IPython: ``browser.project.<TAB>``.

    For safety, its completer does not evaluate attributes or items of a class that defines
    ``__getattr__`` or ``__getitem__``, unless the class is on a list. Ours only list a directory
    once. Remove this when IPython lets classes declare that.
    """
    if "IPython.core.completer" not in sys.modules:
        return  # no completion in this process
    try:
        # The completer imports it at the first key press.
        guarded = import_module("IPython.core.guarded_eval")
    except ImportError:
        return  # an older IPython, without that list
    policy = getattr(guarded, "EVALUATION_POLICIES", {}).get("limited")
    for kinds in ("allowed_getattr", "allowed_getitem"):
        allowed = getattr(policy, kinds, None)
        if isinstance(allowed, set):
            allowed.update((S3Directory, S3Group))
