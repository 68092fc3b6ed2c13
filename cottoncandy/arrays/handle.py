"""The array handle: one lazy, array-like object for raw, chunked and sparse arrays."""

from __future__ import annotations

import datetime
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias
from uuid import uuid4

import numpy as np

from cottoncandy.arrays.chunked import ChunkedArray
from cottoncandy.arrays.manifests import latest, read_json
from cottoncandy.arrays.raw import (
    TAIL_BYTES,
    Array,
    array_header,
    block_index,
    read_array,
    read_selection,
)
from cottoncandy.arrays.sparse import SparseArray
from cottoncandy.backends.base import ObjectInfo, ObjectReader, PutResult, store_again
from cottoncandy.core.names import SEPARATOR, Key, pathjoin
from cottoncandy.core.output import bytes2human, html_table, printable
from cottoncandy.exceptions import (
    CottonCandyError,
    MetadataError,
    ObjectChangedError,
    ObjectNotFoundError,
    SelectionError,
)
from cottoncandy.formats.codecs.blocks import BlockIndex
from cottoncandy.formats.encryption.header import ENCRYPTION_METADATA
from cottoncandy.formats.generations import MANIFEST, UPLOAD_ID
from cottoncandy.formats.raw import FORMAT_METADATA, RawArrayHeader, naming
from cottoncandy.stores.store import Store

if TYPE_CHECKING:
    import numpy.typing as npt

# Dask sends the handle with each task. Copies that arrive in a process share the first one's
# connections.
_MAX_SHARED = 32
_shared: dict[str, CloudArray] = {}


class RawArray:
    """One version of a raw array; all reads return that version or raise."""

    kind = "raw"
    places: tuple[str, ...] = ()

    def __init__(self, store: Store, info: ObjectInfo, reader: ObjectReader | None = None) -> None:
        self.store = store
        self.key = Key(info.key)
        self.info = info
        metadata = info.metadata or {}
        # Without its key, an encrypted array has a shape, and a body of another size.
        size = None if ENCRYPTION_METADATA in metadata else info.size
        self.header = header = RawArrayHeader.from_metadata(metadata, size, object_name=info.key)
        self.shape, self.dtype, self.chunks = header.shape, header.dtype, header.chunks
        self.compression = header.compression
        self._reader = reader if reader is not None and reader.pinned else None
        self._index: BlockIndex | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None, "_index": None}

    def read(self, selection: Any, threads: int) -> Array:
        whole = selection is Ellipsis or (isinstance(selection, tuple) and not selection)
        reader = self._open(threads)
        try:
            self._index = self._index or block_index(reader, self.header)
            if whole:
                return read_array(self.store, reader, self.header, self._index)
            with naming(self.key):
                return read_selection(
                    self.store, reader, self.header, selection, threads, self._index
                )
        finally:
            if reader is not self._reader:
                reader.close()

    def _open(self, threads: int) -> ObjectReader:
        """Return a reader of this version; it is kept if it can read no other one."""
        if self._reader is not None:
            return self._reader
        try:
            tail = TAIL_BYTES if self.header.blocks and self._index is None else 0
            reader = self.store.open(self.key, threads, prefetch=False, tail=tail)
        except ObjectNotFoundError as exc:
            raise ObjectChangedError(
                f"the array '{self.key}' in bucket '{self.store.bucket}' was deleted since it was "
                f"opened"
            ) from exc
        if reader.info.etag != self.info.etag:
            reader.close()
            raise ObjectChangedError(
                f"the array '{self.key}' in bucket '{self.store.bucket}' was replaced since it was "
                f"opened; open it again"
            )
        if reader.pinned:
            self._reader = reader
        return reader


#: One version of an array, whose description was downloaded.
ArrayVersion: TypeAlias = RawArray | ChunkedArray | SparseArray


class ArrayHandle(ABC):
    """What handles and the datasets of the browser have in common: an array that is not here.

    Subclasses have ``name``, and what it takes to read: ``_store``, ``_version``, ``_threads``.
    """

    name: str
    _store: Store
    _threads: int

    @property
    @abstractmethod
    def _version(self) -> ArrayVersion: ...

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
            count = math.prod(map(len, self.chunks))
            rows["Chunks"] = f"{count:,} of {tuple(max(lengths) for lengths in self.chunks)}"
        return html_table(self.name, {**rows, **self.attrs})

    def __dask_tokenize__(self) -> str:
        info = self._version.info
        version = (info.etag, str(info.modified), sorted((info.metadata or {}).items()))
        identity = repr((self._store.describe(), self.name, self.kind, version))
        return hashlib.sha256(identity.encode()).hexdigest()

    # -- the data --------------------------------------------------------------------------------

    def __getitem__(self, selection: Any) -> Any:
        """Download a part of the array."""
        entries = selection if isinstance(selection, tuple) else (selection,)
        fields = [entry for entry in entries if isinstance(entry, str)]
        if not fields:
            return self._version.read(selection, self._threads)
        if not set(fields) <= set(self.dtype.names or ()):
            raise SelectionError(f"array '{self.name}' of {self.dtype} has no field {fields!r}")
        others = tuple(entry for entry in entries if not isinstance(entry, str))
        return self._version.read(others, self._threads)[fields[0] if len(fields) == 1 else fields]

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
    boolean mask instead, as in h5py, and stays in its place. Integers select a 0-d array. A field
    names of a structured array select fields, on their own or next to others (``array[:9, 'x']``).

    All reads return the version that was opened. If a raw array was replaced, they raise
    :class:`~cottoncandy.exceptions.ObjectChangedError`.

    A sparse array is downloaded whole, and ``array[selection]`` is what SciPy makes of it: usually
    a sparse array or matrix. ``numpy.asarray(array)`` is dense.

    A pickled handle contains the settings of its connection, and no data.
    """

    def __init__(self, store: Store, name: Key, version: ArrayVersion, threads: int) -> None:
        self.name: str = name
        self._store = store
        self._opened = version
        self._threads = threads
        self._identity = uuid4().hex

    @property
    def _version(self) -> ArrayVersion:
        return self._opened

    def __getattr__(self, name: str) -> NoReturn:
        # Runs only for missing attributes, such as the methods of NumPy arrays.
        remedy = "" if name.startswith("_") else f"; download the array first: array[...].{name}"
        raise AttributeError(
            f"'{type(self).__name__}' object has no attribute '{name}'{remedy}", name=name, obj=self
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared_copy, (self.__dict__,)


class Attributes(MutableMapping[str, str]):
    """The user's metadata of an opened array. Each change takes the requests of set_metadata."""

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
            version.info = _update_metadata(array._store, version.info.key, changes, version.info)
        if isinstance(version, RawArray):
            version._reader = None  # it is bound to the former ETag


def _shared_copy(state: dict[str, Any]) -> CloudArray:
    """Return the copy of a pickled handle that this process has, or create it."""
    array = CloudArray.__new__(CloudArray)
    array.__dict__.update(state)
    array = _shared.setdefault(array._identity, array)
    for old in list(_shared)[:-_MAX_SHARED]:
        _shared.pop(old, None)
    return array


@dataclass(frozen=True, repr=False)
class ArrayInfo:
    """The description of an array, without its data: :meth:`DefaultInterface.info` returns it.

    Parameters
    ----------
    name : str
    kind : {'raw', 'chunked', 'sparse', 'file'}
        ``'file'``: the object is not an array.
    dtype : dtype or None
        None if it is not an array, or a sparse one of an older version.
    shape : tuple of int or None
    chunks : tuple of tuple of int or None
        Lengths of the chunks along each axis, as in Dask.
    codec : str or None
        Name of the codec; None if it is uncompressed, or if only its chunks have one.
    nbytes : int or None
        Size of the array in memory, in bytes; a sparse array is counted as a dense one.
    stored_bytes : int or None
        Size of the object, in bytes; None if there are several.
    checksum : str or None
        Of the uncompressed bytes: ``'crc32:'`` and eight hexadecimal digits.
    encrypted : bool
    modified : datetime or None
        When it was stored.
    etag : str or None
        Identifies the version.
    metadata : mapping of str to str
        The user's metadata, names in lower case.
    """

    name: str
    kind: str
    dtype: np.dtype[Any] | None
    shape: tuple[int, ...] | None
    chunks: tuple[tuple[int, ...], ...] | None
    codec: str | None
    nbytes: int | None
    stored_bytes: int | None
    checksum: str | None
    encrypted: bool
    modified: datetime.datetime | None
    etag: str | None
    metadata: Mapping[str, str]

    def __repr__(self) -> str:
        return "\n".join(f"{name:<13} {text}" for name, text in self._rows().items())

    def _repr_html_(self) -> str:
        return html_table(self.name, self._rows())

    def _rows(self) -> dict[str, str]:
        rows = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.chunks is not None:
            count = math.prod(map(len, self.chunks))
            rows["chunks"] = f"{count:,} of {tuple(max(lengths) for lengths in self.chunks)}"
        for name in ("nbytes", "stored_bytes"):
            if rows[name] is not None:
                rows[name] = f"{rows[name]} ({bytes2human(rows[name])})"
        rows["metadata"] = ", ".join(f"{name}={value!r}" for name, value in self.metadata.items())
        return {name: printable(str(value)) for name, value in rows.items()}


def user_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return the metadata that do not describe the format."""
    return {
        name: value
        for name, value in (metadata or {}).items()
        if name not in FORMAT_METADATA and not name.startswith("cc-")
    }


def set_metadata(store: Store, name: Key, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change the user's metadata of an object, or of the manifest of an array; None removes one.

    Raises
    ------
    ObjectNotFoundError
        If nothing has that name.
    MetadataError
        If a name describes the format, or the store cannot keep the metadata.
    """
    try:
        info = _update_metadata(store, name, changes)
    except ObjectNotFoundError as exc:
        manifest = open_parts(store, name, exc).info
        info = _update_metadata(store, manifest.key, changes, manifest)
    return PutResult(info.etag).response


def _update_metadata(
    store: Store, key: str, changes: Mapping[str, Any], opened: ObjectInfo | None = None
) -> ObjectInfo:
    """Change metadata, if they are still those of the opened version; return the new header."""
    lower = {str(name).lower(): value for name, value in changes.items()}
    if protected := sorted(name for name in lower if not user_metadata({name: ""})):
        raise MetadataError(
            f"metadata {protected[0]!r} of object '{key}' describes the stored format and "
            f"cannot be changed"
        )
    info = store.backend.head(key)
    stored = info.metadata or {}
    if opened is not None and not _same_version(info, opened):
        raise ObjectChangedError(
            f"object '{key}' in bucket '{store.bucket}' was replaced since it was opened; nothing "
            f"was changed"
        )
    kept = {name: value for name, value in {**stored, **lower}.items() if value is not None}
    new = store.backend.capabilities.metadata.check(kept, key)
    backend = store.backend
    if key.endswith(SEPARATOR + MANIFEST):
        # A copy on the server is not conditional: it could replace a concurrent upload.
        result = store_again(backend, key, new, info.etag)
    else:
        result = backend.set_metadata(key, new, etag=info.etag)
    return info._replace(etag=result.etag, metadata=new)


def _same_version(info: ObjectInfo, opened: ObjectInfo) -> bool:
    """Return whether two headers are of one version; others may have changed its metadata."""
    found, known = (
        {name: value for name, value in metadata.items() if not user_metadata({name: ""})}
        for metadata in (info.metadata or {}, opened.metadata or {})
    )
    identified = not found.keys().isdisjoint({"cc-checksum", UPLOAD_ID})
    return found == known and (identified or info.etag == opened.etag)


def open_array(store: Store, name: Key, threads: int = 4) -> CloudArray:
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


def load_array(store: Store, name: Key, threads: int = 4) -> Any:
    """Download an array: a small raw one with one request. The errors are those of open_array."""
    error: ObjectNotFoundError | MetadataError
    try:
        with store.open(name, threads) as reader:
            return read_array(store, reader, array_header(reader))
    except (ObjectNotFoundError, MetadataError) as exc:
        error = exc
    return latest(lambda: open_parts(store, name, error).read(..., threads))


def array_info(store: Store, name: Key) -> ArrayInfo:
    """Return the description of an array, or of another object: with the requests of open_array."""
    array: ArrayVersion
    try:
        info = store.backend.head(name)
    except ObjectNotFoundError as exc:
        array = open_parts(store, name, exc)
        return _described(name, array.info, array)
    try:
        return _described(name, info, RawArray(store, info))
    except MetadataError as exc:
        try:
            array = open_parts(store, name, exc)
        except MetadataError:
            return _described(name, info, None)
    return _described(name, array.info, array)


def _described(name: str, info: ObjectInfo, array: ArrayVersion | None) -> ArrayInfo:
    raw = array if isinstance(array, RawArray) else None
    checksum = None if raw is None else raw.header.checksum
    return ArrayInfo(
        name=name,
        kind="file" if array is None else array.kind,
        dtype=None if array is None else array.dtype,
        shape=None if array is None else array.shape,
        chunks=None if array is None else array.chunks,
        codec=None if raw is None else raw.compression,
        nbytes=None if array is None else math.prod(array.shape) * array.dtype.itemsize,
        stored_bytes=info.size if array is None or raw is not None else None,
        checksum=None if checksum is None else f"crc32:{checksum:08x}",
        encrypted=info.encrypted or ENCRYPTION_METADATA in (info.metadata or {}),
        modified=info.modified,
        etag=info.etag,
        metadata=user_metadata(info.metadata),
    )


def open_parts(
    store: Store, name: Key, error: CottonCandyError | None = None, *, kind: str | None = None
) -> ChunkedArray | SparseArray:
    """Open an array by its manifest.

    Parameters
    ----------
    error : Exception, optional
        Raised if there is no manifest.
    kind : {'chunked', 'sparse'}, optional
        Of which the array must be.

    Raises
    ------
    ObjectNotFoundError
        If there is no such array.
    MetadataError, IntegrityError
        If the manifest is not valid, or that of another kind.
    """
    try:
        with store.open(pathjoin(name, MANIFEST)) as reader:
            manifest = read_json(reader, manifest=True)
    except ObjectNotFoundError as exc:
        if isinstance(error, ObjectNotFoundError):
            raise store.not_found(name, error) from None
        if error is not None:
            raise error from None
        if kind is None:
            raise
        raise ObjectNotFoundError(
            f"'{name}' in bucket '{store.bucket}' is not a {kind} array: use download_raw_array"
            if store.backend.exists(name)
            else f"there is no {kind} array '{name}' in bucket '{store.bucket}'"
        ) from exc
    keys = manifest if isinstance(manifest, dict) else {}
    if "dask" in keys or (kind == "chunked" and "attrs" not in keys):
        array: ChunkedArray | SparseArray = ChunkedArray(store, name, manifest, reader.info)
    else:
        array = SparseArray(store, name, manifest, reader.info)
    if kind not in (None, array.kind):
        method = "download_dask_array" if array.kind == "chunked" else "download_sparse_array"
        raise MetadataError(f"'{name}' is a {array.kind} array: use {method}")
    return array
