"""Uploads of sparse and chunked arrays: from memory, and from Dask's chunks on any worker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from cottoncandy.arrays.generations import Condition, Upload, begin
from cottoncandy.arrays.manifests import Version, read_version, uncollected
from cottoncandy.arrays.raw import Array
from cottoncandy.core.names import Key
from cottoncandy.core.output import Progress
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import (
    InvalidArgumentError,
    MetadataError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from cottoncandy.formats import chunked, dtypes, raw, sparse
from cottoncandy.formats.generations import UPLOAD_ID, new_upload_id, place_of
from cottoncandy.stores.store import Store

if TYPE_CHECKING:
    import dask.array as da
    from dask.delayed import Delayed


@dataclass(frozen=True)
class ChunkWriter:
    """Stores the chunks of an array as the parts of one upload; it pickles, for workers.

    Parameters
    ----------
    upload : Upload
    manifest : Manifest
        Of the chunks.
    compression : str, bool or None
    """

    upload: Upload
    manifest: chunked.Manifest
    compression: str | bool | None

    def write(self, index: tuple[int, ...], chunk: Any, threads: int = 1) -> chunked.Part:
        """Compare a chunk with the manifest, and store it.

        Raises
        ------
        InvalidArgumentError
            If the chunk has another shape or dtype.
        """
        array = raw.as_array(chunk)
        expected, dtype = self.manifest.chunk_shape(index), self.manifest.dtype
        # A 0-d chunk may be a scalar, which loses byte order and width.
        same = array.dtype.newbyteorder("=") == dtype.newbyteorder("=")
        shorter = array.dtype.kind == dtype.kind in "SU" and array.dtype.itemsize <= dtype.itemsize
        if array.shape != expected or not (same or shorter):
            raise InvalidArgumentError(
                f"block {index} of the dask array is {array.dtype}{array.shape}, and the array "
                f"declares {dtype}{expected}: pass the true dtype= and chunks= to map_blocks"
            )
        number, array = self.manifest.position(index), array.astype(dtype, copy=False)
        name, upload = chunked.part_name(number), self.upload
        place = upload.put(name, number, array, self.compression, threads)
        return chunked.Part(upload.key(place), upload.upload_id, number)

    def write_all(self, array: Array, threads: int) -> list[chunked.Part]:
        """Store all chunks of an array in memory; return the parts in order."""
        pieces = list(chunked.chunk_slices(self.manifest.chunks))
        inner = max(1, threads // len(pieces))

        def write(piece: tuple[tuple[int, ...], tuple[slice, ...]]) -> chunked.Part:
            index, slices = piece
            return self.write(index, array[slices], inner)

        label, show = f"uploading {len(pieces)} chunks", self.upload.store.settings.progress
        parts = []
        with Progress(len(pieces), unit="chunks", label=label, show=show) as bar:
            for part in map_threads(write, pieces, threads):
                parts.append(part)
                bar.update(1)
        return parts

    def as_task(self) -> Delayed:
        """Return the writer as one node of a graph, so that each worker connects once."""
        from dask.delayed import delayed

        mine = replace(self, upload=replace(self.upload, live=None))
        node: Delayed = delayed(mine, name=f"upload-{uuid4().hex}", traverse=False)
        return node


def _write_chunks(writer: Delayed, array: da.Array) -> da.Array:
    """Return an array of the parts, which stores the chunks when it is computed.

    Not da.store, which skips chunks without elements, also those that should have some.
    """
    write: Any = _write_chunk  # the stubs accept only functions of arrays
    parts: da.Array = array.map_blocks(
        write,
        writer,
        dtype=object,
        chunks=tuple((1,) * len(lengths) for lengths in array.chunks),
        meta=np.empty((0,) * array.ndim, object),
    )
    return parts


def _write_chunk(chunk: Any, writer: ChunkWriter, block_id: tuple[int, ...] = ()) -> Any:
    part = np.empty((1,) * len(block_id), object)
    part[(0,) * len(block_id)] = writer.write(block_id, chunk)
    return part


def _renewed(writer: ChunkWriter) -> ChunkWriter:
    """Return the writer of another upload: a task may be computed again, with other data."""
    new = replace(writer.upload, upload_id=new_upload_id(), failed=[])
    return replace(writer, upload=new)


# -- whole arrays --------------------------------------------------------------------------------


def upload_chunked(
    store: Store,
    root: Key,
    array: Any,
    chunks: chunked.Chunks,
    *,
    compression: str | bool | None,
    acl: str | None,
    metadata: Mapping[str, str],
    threads: int,
    condition: Condition = None,
    compute: bool = True,
) -> dict[str, Any] | Delayed:
    """Upload an array in chunks; return the response, or what does it when computed.

    Parameters
    ----------
    array : ndarray or dask.array.Array
    chunks : tuple of tuple of int
        Those of a Dask array.
    metadata : mapping of str to str
        Of the manifest.
    """
    shape, dtype = tuple(array.shape), array.dtype
    limits = store.backend.capabilities.metadata
    limits.check(dtypes.to_metadata(dtype), root)
    limits.check({**metadata, UPLOAD_ID: new_upload_id()}, root)
    largest = math.prod(map(max, chunks)) * dtype.itemsize
    upload = begin(store, root, acl=acl, condition=condition, part_bytes=largest)
    manifest = chunked.Manifest.of(shape, dtype, chunks, root, upload.upload_id)
    writer = ChunkWriter(upload, manifest, compression)
    if not compute:
        return _delayed(writer, array, metadata)
    with upload:
        return _finish(writer, _written(writer, array, threads), metadata)


def _written(writer: ChunkWriter, array: Any, threads: int) -> list[chunked.Part]:
    if isinstance(array, np.ndarray):
        return writer.write_all(array, threads)
    parts: list[chunked.Part] = _write_chunks(writer.as_task(), array).compute().ravel().tolist()
    writer.upload.first = place_of(parts[0].name)
    return parts


def _finish(
    writer: ChunkWriter, parts: Iterable[chunked.Part], metadata: Mapping[str, str]
) -> dict[str, Any]:
    with uncollected():
        content = writer.manifest.with_parts(parts).to_json()
    return writer.upload.commit(lambda _: content, metadata)


def _delayed(writer: ChunkWriter, array: Any, metadata: Mapping[str, str]) -> Delayed:
    """Return the upload as a task that depends on the chunks."""
    import dask.array as da
    from dask.delayed import delayed

    if isinstance(array, np.ndarray):
        array = da.from_array(array, chunks=writer.manifest.chunks)
    renewed = delayed(_renewed, pure=False)(writer.as_task())
    parts = _write_chunks(renewed, array).to_delayed().ravel().tolist()
    constants = delayed((writer.upload.live, metadata), traverse=False)
    task: Delayed = delayed(_finish_chunks, pure=False)(renewed, constants, parts)
    return task


def _finish_chunks(
    writer: ChunkWriter, constants: tuple[Version | None, Mapping[str, str]], parts: list[Any]
) -> dict[str, Any]:
    live, metadata = constants
    stored = [part.item() for part in parts]
    # Dask may have computed the writer again since: a single chunk has its own.
    first, upload_id, _ = stored[0]
    with replace(writer.upload, live=live, upload_id=upload_id, first=place_of(first)) as upload:
        return _finish(replace(writer, upload=upload), stored, metadata)


def upload_sparse(
    store: Store,
    root: Key,
    matrix: Any,
    *,
    acl: str | None,
    threads: int,
    condition: Condition = None,
) -> dict[str, Any]:
    """Upload a sparse array; return the response of its manifest."""
    manifest, parts = sparse.to_parts(matrix)
    inner = max(1, threads // len(parts))
    # Version 0.4.0 reads only the documented names.
    with begin(store, root, acl=acl, condition=condition, part_bytes=None) as new:

        def put(name: str) -> str:
            return new.put(name, name, parts[name], compression=True, threads=inner)

        places = map_threads(put, parts, threads)
        content = {
            **manifest,
            "attrs": list(places),
            "parts": [[new.upload_id, name] for name in parts],
        }
        return new.commit(lambda _: content, {})


# -- arrays that grow ----------------------------------------------------------------------------


def append_chunked(
    store: Store,
    root: Key,
    array: Any,
    axis: int,
    *,
    compression: str | bool | None,
    acl: str | None,
    threads: int,
    condition: Condition = None,
) -> dict[str, Any]:
    """Add the chunks of a NumPy or Dask array to an array; return the response.

    Raises
    ------
    ObjectNotFoundError, MetadataError
        If there is no chunked array of that name.
    InvalidArgumentError
        If the dtype or the shape does not fit.
    ObjectChangedError
        If it was replaced by one that does not fit.
    """
    version = read_version(store, root)
    if version is None:
        raise ObjectNotFoundError(
            f"there is no chunked array '{root}' in bucket '{store.bucket}'; store the first "
            f"chunks with upload_dask_array"
        )
    if version.kind == "sparse":
        raise MetadataError(f"'{root}' is a sparse array, which cannot be appended to")
    old = chunked.Manifest.from_json(version.content, object_name=root)
    check_fits(old, tuple(array.shape), array.dtype, axis, root)
    upload = begin(store, root, acl=acl, condition=condition, live=version)
    if not array.shape[axis]:
        return {"ETag": version.etag}
    chunks = tuple(
        _along(array, number, old) if number == axis else lengths
        for number, lengths in enumerate(old.chunks)
    )
    if not isinstance(array, np.ndarray):
        array = array.rechunk(chunks)
    with upload as new:
        shape = tuple(array.shape)
        addition = chunked.Manifest.of(shape, array.dtype, chunks, root, new.upload_id)
        writer = ChunkWriter(new, addition, compression)
        addition = addition.with_parts(_written(writer, array, threads))

        @uncollected()
        def appended(live: Version | None) -> dict[str, Any]:
            base = old if live is version else _newer(live, addition, axis, root)
            return joined(base, addition, axis).to_json()

        return new.commit(appended)


def _newer(
    live: Version | None, addition: chunked.Manifest, axis: int, root: Key
) -> chunked.Manifest:
    """Return the manifest of a version that replaced the one which was to be appended to."""
    if live is None:
        raise ObjectNotFoundError(f"array '{root}' was deleted while it was appended to")
    try:
        base = chunked.Manifest.from_json(live.content, object_name=root)
        check_fits(base, addition.shape, addition.dtype, axis, root)
        fits = all(
            number == axis or lengths == addition.chunks[number]
            for number, lengths in enumerate(base.chunks)
        )
    except (MetadataError, InvalidArgumentError):
        fits = False
    if not fits:
        raise ObjectChangedError(
            f"array '{root}' was replaced by one of another shape, dtype or chunks while it was "
            f"appended to; nothing was changed"
        )
    return base


def check_fits(
    base: chunked.Manifest, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int, root: str
) -> None:
    """Reject an array that cannot be appended.

    Raises
    ------
    InvalidArgumentError
    """
    if dtype != base.dtype:
        raise InvalidArgumentError(
            f"array '{root}' is of dtype {base.dtype}, not {dtype}: convert it with "
            f"astype; nothing was uploaded"
        )
    others = (shape[:axis] + shape[axis + 1 :], base.shape[:axis] + base.shape[axis + 1 :])
    if not shape or len(shape) != len(base.shape) or others[0] != others[1]:
        raise InvalidArgumentError(
            f"an array of shape {shape} cannot be appended along axis {axis} to '{root}' of shape "
            f"{base.shape}; nothing was uploaded"
        )


def _along(array: Any, axis: int, old: chunked.Manifest) -> tuple[int, ...]:
    """Return the lengths of the new chunks along the axis: at most those of the old ones."""
    if not isinstance(array, np.ndarray):
        return tuple(int(length) for length in array.chunks[axis])
    length: int = array.shape[axis]
    return chunked.cut(length, max(old.chunks[axis]) or length)


def joined(base: chunked.Manifest, addition: chunked.Manifest, axis: int) -> chunked.Manifest:
    """Return the manifest of two arrays, concatenated along an axis."""
    lengths = tuple(filter(None, base.chunks[axis] + addition.chunks[axis]))
    chunks = (*base.chunks[:axis], lengths, *base.chunks[axis + 1 :])
    shape = (*base.shape[:axis], sum(lengths), *base.shape[axis + 1 :])
    grids = [
        np.fromiter(manifest.parts(), object, manifest.count).reshape(
            [len(lengths) for lengths in manifest.chunks]
        )
        for manifest in (base, addition)
        if manifest.chunks[axis] != (0,)
    ]
    whole = chunked.Manifest.of(shape, base.dtype, chunks, "", addition.upload_id)
    return whole.with_parts(np.concatenate(grids, axis).ravel().tolist())
