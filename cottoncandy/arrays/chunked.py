"""Chunked arrays as one array: the object that Dask, the browser and dictionaries read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from cottoncandy.arrays.manifests import find_part, reading_parts
from cottoncandy.arrays.raw import TAIL_BYTES, Array, array_header, read_array
from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.core.names import Key
from cottoncandy.core.threads import run_threads
from cottoncandy.exceptions import IntegrityError
from cottoncandy.formats import chunked
from cottoncandy.formats.generations import check_part, place_of
from cottoncandy.formats.projections import ChunkProjection, select_chunks
from cottoncandy.formats.raw import RawArrayHeader, naming, new_array
from cottoncandy.stores.store import Store

_UNKNOWN: Any = object()


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
            with self._open((0,) * len(self.shape), 1, prefetch=False) as reader:
                self._codec = array_header(reader).compression
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
            (piece,) = selected
            if piece.shape == whole.shape:
                return self._load(piece, threads)  # without a second copy of the chunk
        result = new_array(whole.shape, self.dtype, "C")
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
        with self._open(piece.index, threads, tail=0 if whole else TAIL_BYTES) as reader:
            header = array_header(reader)
            self._check(header, piece.index)
            selection = ... if whole else piece.chunk_selection
            array = read_array(self.store, reader, header, selection, out=out)
        # Chunks of 0.4.0 do not contain the names of their fields; the manifest may.
        return array if array.dtype == self.dtype else array.view(self.dtype)

    def checks(self) -> Iterator[Callable[[], object]]:
        """Yield calls that look whether a chunk exists and is the one that the manifest names."""
        return (partial(self._check_stored, index) for index in self.manifest.indices())

    def _check_stored(self, index: tuple[int, ...]) -> None:
        with self._open(index, 1, prefetch=False) as reader:
            self._check(array_header(reader), index)

    def _open(self, index: tuple[int, ...], threads: int, **options: Any) -> ObjectReader:
        """Open a chunk, after a look whether it is the part that the manifest names."""
        name, upload_id, number = self.manifest.part(index)
        with reading_parts(self.store, self.root, self.info.etag):
            reader = find_part(
                self.root, name, lambda key: self.store.open(key, threads, **options)
            )
            try:
                check_part(reader.metadata, upload_id, number, reader.info.key)
            except IntegrityError:
                reader.close()
                raise
        return reader

    def _check(self, header: RawArrayHeader, index: tuple[int, ...]) -> None:
        expected = self.manifest.chunk_shape(index)
        same = header.dtype == self.dtype or header.dtype.str == self.dtype.str
        if header.shape != expected or not same:
            raise IntegrityError(
                f"chunk '{self.manifest.part(index).name}' is {header.dtype}{header.shape}, and "
                f"the manifest of its array says {self.dtype}{expected}: chunks of two uploads "
                f"are mixed"
            )
