"""Reading arrays in chunks: one chunk for dask, or what a selection needs of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cottoncandy._names import SEPARATOR, clean_object_name, pathjoin
from cottoncandy._parallel import map_threads
from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.exceptions import IntegrityError, ObjectNotFoundError
from cottoncandy.formats import chunked
from cottoncandy.formats import selection as selections
from cottoncandy.formats.blocks import select_blocks
from cottoncandy.formats.raw import RawArrayHeader, new_array
from cottoncandy.interfaces._manifests import MANIFEST
from cottoncandy.interfaces._objects import read_json
from cottoncandy.interfaces._raw_arrays import Array, RawArrayMethods, array_header

__all__ = ["Chunk", "ChunkSource", "ChunkedArray"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: where it may be, in the order to try, and what shape it must have."""

    names: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, repr=False)
class ChunkSource:
    """What all the chunks of an array share; one node of dask's graph, sent to each worker once."""

    cci: RawArrayMethods
    dtype: np.dtype[Any]
    threads: int

    def __repr__(self) -> str:
        return f"<chunks in {self.cci.backend_interface.describe()}>"

    def load(self, chunk: Chunk, inside: tuple[int | slice, ...] | None = None) -> Array:
        """Download a chunk, or a part of it.

        Raises
        ------
        ObjectNotFoundError
            If the chunk is missing.
        IntegrityError
            If it is not the one that the manifest describes.
        """
        cci = self.cci
        with self._open(chunk, prefetch=inside is None) as reader:
            header = array_header(reader)
            self._check(header, chunk)
            if inside is not None and header.compression is None:
                threads = cci._threads(self.threads)
                array = cci._read_selection(reader, header, inside, threads)
            else:
                array = cci._read_array(reader, header)
                array = array if inside is None else selections.select(array, inside)
        # Chunks of 0.4.0 do not know the names of their fields; the manifest may.
        return array if array.dtype == self.dtype else array.view(self.dtype)

    def header(self, chunk: Chunk) -> RawArrayHeader:
        """Fetch what a chunk's metadata says."""
        with self._open(chunk, prefetch=False) as reader:
            return array_header(reader)

    def _open(self, chunk: Chunk, *, prefetch: bool) -> ObjectReader:
        *others, last = chunk.names
        for name in others:
            try:
                return self.cci._open(name, self.threads, prefetch=prefetch)
            except ObjectNotFoundError:
                continue
        return self.cci._open(last, self.threads, prefetch=prefetch)

    def _check(self, header: RawArrayHeader, chunk: Chunk) -> None:
        same = header.dtype == self.dtype or header.dtype.str == self.dtype.str
        if header.shape != chunk.shape or not same:
            raise IntegrityError(
                f"chunk '{chunk.names[0]}' is {header.dtype}{header.shape}, and the manifest of "
                f"its array says {self.dtype}{chunk.shape}: chunks of two uploads are mixed"
            )


@dataclass(frozen=True, slots=True)
class ChunkedArray:
    """An array in chunks, as its manifest describes it.

    Parameters
    ----------
    cci : RawArrayMethods
        The interface that the chunks are reached through.
    root : str
        Name of the array.
    manifest : Manifest
    info : ObjectInfo
        Of the manifest.
    metadata : mapping of str to str
        Of the manifest.
    """

    cci: RawArrayMethods
    root: str
    manifest: chunked.Manifest
    info: ObjectInfo
    metadata: Mapping[str, str]

    @classmethod
    def open(cls, cci: RawArrayMethods, root: str) -> ChunkedArray:
        """Fetch the manifest.

        Raises
        ------
        ObjectNotFoundError
            If there is no such array.
        MetadataError, IntegrityError
            If the manifest makes no sense.
        """
        with cci._open(pathjoin(root, MANIFEST)) as reader:
            manifest = chunked.Manifest.from_json(read_json(reader), object_name=root)
            return cls(cci, root, manifest, reader.info, reader.metadata)

    def source(self, threads: int) -> ChunkSource:
        """Return what loads the chunks; ``threads`` ranges of one travel at once."""
        return ChunkSource(self.cci, self.manifest.dtype, threads)

    def chunk(self, number: int) -> Chunk:
        """Return one of the manifest's parts."""
        index, name = self.manifest.parts[number]
        return Chunk(_places(self.root, name), self.manifest.chunk_shape(index))

    def read(self, selection: Any, threads: int) -> Array:
        """Download a part of the array: of uncompressed chunks, little else travels.

        Parameters
        ----------
        selection : index
            As ``download_raw_array`` takes it.
        threads : int
            How many chunks travel at once.

        Raises
        ------
        SelectionError
            If the selection does not fit the array, or is of another kind.
        """
        manifest = self.manifest
        selected = select_blocks(manifest.chunks, selection)
        result = new_array(selected.shape, manifest.dtype, "C")
        numbers = {index: number for number, (index, _) in enumerate(manifest.parts)}
        rising = selected.rising(result)
        source = self.source(max(1, threads // max(len(selected), 1)))

        def fetch(piece: Any) -> None:
            chunk = self.chunk(numbers[piece.index])
            whole = piece.shape == chunk.shape
            rising[(*piece.outside, ...)] = source.load(chunk, None if whole else piece.inside)

        for _ in map_threads(fetch, selected, threads):
            pass
        return result


def _places(root: str, part: str) -> tuple[str, ...]:
    """Return where to look for a part: beside the manifest, then where the manifest says."""
    here = pathjoin(root, part.rsplit(SEPARATOR, 1)[-1])
    there = clean_object_name(part)
    return (here,) if here == there else (here, there)
