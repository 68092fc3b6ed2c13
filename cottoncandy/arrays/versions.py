"""One version of an array, whichever kind it is, and how to find it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from cottoncandy.arrays.generations import current
from cottoncandy.arrays.manifests import (
    changed,
    find_part,
    parse_json,
    read_manifest,
    reading_parts,
)
from cottoncandy.arrays.raw import (
    TAIL_BYTES,
    Array,
    array_header,
    block_index,
    is_whole,
    read_array,
)
from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.core.names import Key, pathjoin
from cottoncandy.core.threads import map_threads, run_threads
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    MetadataError,
    ObjectNotFoundError,
    SelectionError,
)
from cottoncandy.formats import chunked, dtypes, sparse
from cottoncandy.formats.codecs.blocks import BlockIndex
from cottoncandy.formats.encryption.segments import ENCRYPTION_METADATA
from cottoncandy.formats.generations import MANIFEST, check_part, place_of
from cottoncandy.formats.raw import Layout, RawArrayHeader, naming
from cottoncandy.formats.selection import ChunkProjection, select_chunks
from cottoncandy.stores.store import Store

_UNKNOWN: Any = object()
_SLICEABLE = frozenset({"csr", "csc"})


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
        try:
            return self._read(selection, threads)
        except ObjectNotFoundError as exc:
            raise changed(self.store, self.key, "was deleted since it was opened") from exc

    def _read(self, selection: Any, threads: int) -> Array:
        reader = self._open(threads)
        try:
            self._index = self._index or block_index(reader, self.header)
            return read_array(self.store, reader, self.header, selection, index=self._index)
        finally:
            if reader is not self._reader:
                reader.close()

    def _open(self, threads: int) -> ObjectReader:
        """Return a reader of this version; it is kept if it can read no other one."""
        if self._reader is not None:
            return self._reader
        tail = TAIL_BYTES if self.header.blocks and self._index is None else 0
        reader = self.store.open(self.key, threads, prefetch=False, tail=tail)
        if reader.info.etag != self.info.etag:
            reader.close()
            raise changed(self.store, self.key, "was replaced since it was opened; open it again")
        if reader.pinned:
            self._reader = reader
        return reader


class ChunkedArray:
    """One version of a chunked array, opened; slices download the chunks that they touch.

    Attributes
    ----------
    manifest : Manifest
    info : ObjectInfo
        Of the manifest.
    shape : tuple of int
    dtype : dtype
    chunks : tuple of tuple of int
        Lengths of the chunks along each axis, as in Dask.
    """

    kind = "chunked"

    def __init__(self, store: Store, root: Key, manifest: Any, info: ObjectInfo) -> None:
        self.store = store
        self.root = root
        self.manifest = found = chunked.Manifest.from_json(manifest, object_name=root)
        self.shape, self.dtype, self.chunks = found.shape, found.dtype, found.chunks
        self.info = info
        self._codec: str | None = _UNKNOWN

    @property
    def places(self) -> Iterator[str]:
        """Where the parts are, relative to the manifest."""
        return (place_of(part.name) for part in self.manifest.parts())

    @property
    def compression(self) -> str | None:
        """Codec of the first chunk, whose header is downloaded; None if it is uncompressed."""
        if self._codec is _UNKNOWN:
            with self._open((0,) * len(self.shape), 1, prefetch=False) as (_, header):
                self._codec = header.compression
        return self._codec

    def read(self, selection: Any, threads: int) -> Array:
        """Download a part of the array.

        Parameters
        ----------
        selection : index
            As in ``download_raw_array``. Uncompressed chunks are downloaded in part.
        threads : int
            Number of chunks that are downloaded at once, or of ranges if there is only one.

        Raises
        ------
        ObjectNotFoundError
            If a chunk is missing.
        IntegrityError
            If a chunk is not the one that the manifest describes.
        SelectionError
            If the selection does not fit the array, or is of another kind.
        """
        with naming(self.root):
            selected = select_chunks(self.manifest.chunks, selection)
        whole = selected.whole
        if len(selected) == 1 and not whole.falls:
            (piece,) = selected  # without a second copy
            found = self._load(piece, threads)
            return found if found.shape == whole.shape else found.reshape(whole.shape)
        result = Layout(self.dtype, whole.shape).new_array()
        view = whole.rising_view(result)
        inner = max(1, threads // max(len(selected), 1))

        def fetch(piece: ChunkProjection) -> None:
            place: tuple[Any, ...] = (*piece.out_selection, ...)  # the dots also take 0-d arrays
            part = view[place]
            found = self._load(piece, inner, part)
            if found is not part:
                part[...] = found

        run_threads(fetch, selected, threads)
        return result

    def _load(self, piece: ChunkProjection, threads: int, out: Array | None = None) -> Array:
        whole = piece.shape == self.manifest.chunk_shape(piece.index)
        tail = 0 if whole else TAIL_BYTES
        with self._open(piece.index, threads, tail=tail) as (reader, header):
            selection = ... if whole else piece.chunk_selection
            array = read_array(self.store, reader, header, selection, out=out)
        # Chunks of 0.4.0 do not contain the names of their fields; the manifest may.
        return array if array.dtype == self.dtype else array.view(self.dtype)

    def checks(self) -> Iterator[Callable[[], object]]:
        """Yield calls that look whether a chunk exists and is the one that the manifest names."""
        return (partial(self._check_stored, index) for index in self.manifest.indices())

    def _check_stored(self, index: tuple[int, ...]) -> None:
        with self._open(index, 1, prefetch=False):
            pass

    @contextmanager
    def _open(
        self, index: tuple[int, ...], threads: int, **options: Any
    ) -> Iterator[tuple[ObjectReader, RawArrayHeader]]:
        """Open a chunk, after a look whether it is the part that the manifest names."""
        name, upload_id, number = self.manifest.part(index)
        expected = self.manifest.chunk_shape(index)
        with (
            reading_parts(self.store, self.root, self.info.etag),
            find_part(
                self.root, name, partial(self.store.open, threads=threads, **options)
            ) as reader,
        ):
            check_part(reader.metadata, upload_id, number, reader.info.key)
            header = array_header(reader)
            same = header.dtype == self.dtype or header.dtype.str == self.dtype.str
            if header.shape != expected or not same:
                raise IntegrityError(
                    f"chunk '{name}' is {header.dtype}{header.shape}, and the manifest of its "
                    f"array says {self.dtype}{expected}: chunks of two uploads are mixed"
                )
            yield reader, header


class SparseArray:
    """One version of a sparse matrix or array, opened.

    Attributes
    ----------
    info : ObjectInfo
        Of the manifest.
    """

    kind = "sparse"
    chunks = None
    compression = None

    def __init__(self, store: Store, root: Key, manifest: Any, info: ObjectInfo) -> None:
        self._store = store
        self._root = root
        self._manifest = manifest
        self._parts = sparse.parts_of(manifest, object_name=root)
        texts = {name: manifest.get(name) for name in ("dtype", "cc-dtype")}
        found = {name: text for name, text in texts.items() if isinstance(text, str)}
        self._dtype: np.dtype[Any] | None = None
        if "dtype" in found:
            self._dtype = dtypes.from_metadata(found, object_name=root)
        self.info = info
        self.shape: tuple[int, ...] = tuple(manifest["shape"])

    @property
    def places(self) -> Iterator[str]:
        """Where the parts are, relative to the manifest."""
        return (place for place, _ in self._parts.values())

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type; manifests of older versions don't have it, so a header is downloaded."""
        if self._dtype is None:
            self._dtype = self._load("data", 1, header_only=True).dtype
        return self._dtype

    def read(self, selection: Any, threads: int) -> Any:
        """Download the parts; return what SciPy selects from the matrix.

        Raises
        ------
        ObjectNotFoundError
            If a part is missing.
        MetadataError, IntegrityError
            If the parts do not match the manifest.
        SelectionError
            If SciPy cannot select that.
        """
        inner = max(1, threads // len(self._parts))
        with reading_parts(self._store, self._root, self.info.etag):
            arrays = map_threads(lambda name: self._load(name, inner), self._parts, threads)
            parts = dict(zip(self._parts, arrays, strict=True))
            matrix = sparse.from_parts(self._manifest, parts, object_name=self._root)
        if is_whole(selection):
            return matrix
        try:
            return (matrix if matrix.format in _SLICEABLE else matrix.tocsr())[selection]
        except (IndexError, TypeError, ValueError, NotImplementedError, OverflowError) as exc:
            raise SelectionError(f"sparse array '{self._root}': {exc}") from exc

    def checks(self) -> Iterator[Callable[[], object]]:
        """Yield calls that look whether a part exists and is the one that the manifest names."""
        for name in self._parts:
            yield partial(self._load, name, 1, header_only=True)

    def _load(self, name: str, threads: int, *, header_only: bool = False) -> Any:
        """Download a part, or its header, after a look whether it is the one of the manifest."""
        place, upload_id = self._parts[name]
        key = pathjoin(self._root, place)
        with self._store.open(key, threads, prefetch=not header_only) as reader:
            check_part(reader.metadata, upload_id, name, key)
            header = array_header(reader)
            if name == "data" and self._dtype is not None and header.dtype != self._dtype:
                raise IntegrityError(
                    f"part '{key}' is of dtype {header.dtype}, and the manifest of its array says "
                    f"{self._dtype}: parts of two uploads are mixed"
                )
            return header if header_only else read_array(self._store, reader, header)


_METHODS = {"chunked": "download_dask_array", "sparse": "download_sparse_array"}

#: One version of an array, whose description was downloaded.
ArrayVersion: TypeAlias = RawArray | ChunkedArray | SparseArray


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
            manifest = parse_json(read_manifest(reader), reader.info.key)
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
        raise MetadataError(f"'{name}' is a {array.kind} array: use {_METHODS[array.kind]}")
    return array


def download_method(store: Store, root: Key) -> str | None:
    """Return the method that downloads an array of several objects; None if there is none."""
    version = current(store, root)
    return None if version is None else _METHODS[version.kind]
