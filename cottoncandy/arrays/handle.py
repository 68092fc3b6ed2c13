"""The array handle: one lazy, array-like object for raw, chunked and sparse arrays."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

import numpy as np

from cottoncandy.arrays.description import chunks_text, update_metadata, user_metadata
from cottoncandy.arrays.manifests import latest
from cottoncandy.arrays.raw import TAIL_BYTES, Array, array_header, read_array
from cottoncandy.arrays.versions import ArrayVersion, RawArray, open_parts
from cottoncandy.core.names import Key
from cottoncandy.core.output import bytes2human, html_table
from cottoncandy.exceptions import MetadataError, ObjectNotFoundError, SelectionError
from cottoncandy.stores.store import Store

if TYPE_CHECKING:
    import numpy.typing as npt

# Dask sends the handle with each task. Copies that arrive in a process share the first one's
# connections.
_MAX_SHARED = 32
_shared: dict[str, CloudArray] = {}


class ArrayHandle:
    """What handles and the datasets of the browser have in common: an array that is not here.

    Subclasses have ``name``, and what it takes to read: ``_store``, ``_version``, ``_threads``.
    """

    name: str
    _store: Store
    _threads: int
    _version: ArrayVersion

    @property
    def kind(self) -> str:
        """How it is stored: ``'raw'``, ``'chunked'`` or ``'sparse'``."""
        return self._version.kind

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._version.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the array."""
        return self._version.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements, with the zeros of a sparse array."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes, of what ``numpy.asarray`` returns."""
        return self.size * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...] | None:
        """Lengths of the chunks along each axis, as in Dask; None if it has none."""
        return self._version.chunks

    @property
    def compression(self) -> str | None:
        """Name of the codec, of the first chunk if there are several; None if uncompressed."""
        return self._version.compression

    @property
    def attrs(self) -> Attributes:
        """The user's metadata, names in lower case; an assignment changes those of the object."""
        return Attributes(self)

    def __repr__(self) -> str:
        what = f"{self.dtype}{list(self.shape)} {self.kind}"
        return f"<cottoncandy-array {self.name!r} {what}, {self._store.describe()}>"

    def _repr_html_(self) -> str:
        rows = {
            "Shape": str(self.shape),
            "dtype": str(self.dtype),
            "Size": bytes2human(self.nbytes),
            "Kind": self.kind,
            "Store": self._store.describe(),
        }
        if self.chunks is not None:
            rows["Chunks"] = chunks_text(self.chunks)
        return html_table(self.name, {**rows, **self.attrs})

    def __dask_tokenize__(self) -> str:
        info = self._version.info
        version = (info.etag, str(info.modified), sorted((info.metadata or {}).items()))
        identity = repr((self._store.describe(), self.name, self.kind, version))
        return hashlib.sha256(identity.encode()).hexdigest()

    # -- the data --------------------------------------------------------------------------------

    def __getitem__(self, selection: Any) -> Any:
        """Download a part of the array."""
        listed = isinstance(selection, list)  # NumPy selects fields so
        entries = selection if listed or isinstance(selection, tuple) else (selection,)
        fields = [entry for entry in entries if isinstance(entry, str)]
        if not fields:
            return self._version.read(selection, self._threads)
        if not set(fields) <= set(self.dtype.names or ()):
            raise SelectionError(f"array '{self.name}' of {self.dtype} has no field {fields!r}")
        others = tuple(entry for entry in entries if not isinstance(entry, str))
        chosen = fields if listed or len(fields) > 1 else fields[0]
        return self._version.read(others, self._threads)[chosen]

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("an array cannot be downloaded without making a copy of it")
        found = self[...]
        array: Array = found.toarray() if self.kind == "sparse" else found
        return array if dtype is None else array.astype(dtype, copy=False)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"'{self.name}' is a 0-d array: it has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        array = self[...]
        return iter(array.tocsr() if self.kind == "sparse" else array)

    def __contains__(self, value: object) -> bool:
        return value in np.asarray(self)


class CloudArray(ArrayHandle):
    """An array in a store, as one lazy, array-like object: :meth:`DefaultInterface.array` opens it.

    Its shape and dtype are known, and slices download what they need. ``numpy.asarray(array)``
    downloads all of it, and ``dask.array.from_array(array)`` none.

    Attributes
    ----------
    name : str
        Its name in the bucket.

    Notes
    -----
    ``array.kind`` is ``'raw'``, ``'chunked'`` or ``'sparse'``.

    Selections are NumPy's basic indexing; one axis may have an ascending list of integers or a
    boolean mask instead, as in h5py, and stays in its place. Integers select a 0-d array. The
    names of fields of a structured array select these, alone, in a list, or next to others
    (``array[:9, 'x']``).

    All reads return the version that was opened. If a raw array was replaced, they raise
    :class:`~cottoncandy.exceptions.ObjectChangedError`.

    A sparse array is downloaded whole, and ``array[selection]`` is what SciPy makes of it: usually
    a sparse array or matrix. ``numpy.asarray(array)`` is dense.

    A pickled handle contains the settings of its connection, and no data.
    """

    def __init__(self, store: Store, name: Key, version: ArrayVersion, threads: int) -> None:
        self.name: str = name
        self._store = store
        self._version = version
        self._threads = threads
        self._identity = uuid4().hex

    def __getattr__(self, name: str) -> NoReturn:
        # Runs only for missing attributes, such as the methods of NumPy arrays.
        remedy = "" if name.startswith("_") else f"; download the array first: array[...].{name}"
        raise AttributeError(
            f"'{type(self).__name__}' object has no attribute '{name}'{remedy}", name=name, obj=self
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared_copy, (self.__dict__,)


class Attributes(MutableMapping[str, str]):
    """The user's metadata of an opened array.

    Each change takes the requests of ``set_metadata``. If other clients change those of a raw array
    on S3 or Google Drive at the same moment, one of the changes may be lost.
    """

    def __init__(self, array: ArrayHandle) -> None:
        self._array = array

    def _all(self) -> dict[str, str]:
        return user_metadata(self._array._version.info.metadata)

    def __getitem__(self, name: str) -> str:
        return self._all()[str(name).lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(self._all())

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._change({name: None})

    def clear(self) -> None:
        """Remove all."""
        self._change(dict.fromkeys(self))

    def update(self, *changes: Any, **more: Any) -> None:
        """Change several with one request, as ``dict.update``."""
        self._change(dict(*changes, **more))

    def _change(self, changes: Mapping[str, Any]) -> None:
        array, version = self._array, self._array._version
        if changes:
            version.info = update_metadata(
                array._store,
                version.info.key,
                changes,
                version.info,
                manifest=not isinstance(version, RawArray),
            )
        if isinstance(version, RawArray):
            version._reader = None  # it is bound to the former ETag


def _shared_copy(state: dict[str, Any]) -> CloudArray:
    """Return the copy of a pickled handle that this process has, or create it."""
    array = CloudArray.__new__(CloudArray)
    array.__dict__.update(state)
    # A change of its metadata makes another version of the handle, too.
    array = _shared.setdefault(f"{array._identity} {array.__dask_tokenize__()}", array)
    for old in list(_shared)[:-_MAX_SHARED]:
        _shared.pop(old, None)
    return array


def open_array(store: Store, name: Key, threads: int) -> CloudArray:
    """Open an array: with one request if it is raw, with two if it is chunked or sparse.

    Raises
    ------
    ObjectNotFoundError
        If nothing has that name.
    MetadataError
        If the object of that name is not an array.
    IntegrityError
        If a manifest is malformed.
    """
    version: ArrayVersion
    try:
        reader = store.open(name, threads, prefetch=False, tail=TAIL_BYTES)
        try:
            version = RawArray(store, reader.info, reader)
        finally:
            if not reader.pinned:
                reader.close()
    except (ObjectNotFoundError, MetadataError) as exc:
        version = open_parts(store, name, exc)
    return CloudArray(store, name, version, threads)


def load_array(store: Store, name: Key, threads: int) -> Any:
    """Download an array: a small raw one with one request. The errors are those of open_array."""
    error: ObjectNotFoundError | MetadataError
    try:
        with store.open(name, threads) as reader:
            return read_array(store, reader, array_header(reader))
    except (ObjectNotFoundError, MetadataError) as exc:
        error = exc
    return latest(lambda: open_parts(store, name, error).read(..., threads))
