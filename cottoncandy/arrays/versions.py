"""One version of an array, whichever kind it is, and how to find it."""

from __future__ import annotations

from typing import Any, TypeAlias

from cottoncandy.arrays.chunked import ChunkedArray
from cottoncandy.arrays.generations import current
from cottoncandy.arrays.manifests import changed, parse_json, read_manifest
from cottoncandy.arrays.raw import TAIL_BYTES, Array, block_index, read_array
from cottoncandy.arrays.sparse import SparseArray
from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.core.names import Key, pathjoin
from cottoncandy.exceptions import (
    CottonCandyError,
    MetadataError,
    ObjectNotFoundError,
)
from cottoncandy.formats.codecs.blocks import BlockIndex
from cottoncandy.formats.encryption.segments import ENCRYPTION_METADATA
from cottoncandy.formats.generations import MANIFEST
from cottoncandy.formats.raw import RawArrayHeader
from cottoncandy.stores.store import Store


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
