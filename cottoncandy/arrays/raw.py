"""Raw arrays in a store: one object each, read whole or in part."""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy.typing as npt
from isal import isal_zlib

from cottoncandy.backends.base import IfAbsent, IfMatch, ObjectReader
from cottoncandy.config.options import Settings
from cottoncandy.core.buffers import Buffer, MiB, regroup
from cottoncandy.core.threads import map_threads, run_threads
from cottoncandy.exceptions import (
    ConfigurationError,
    InsufficientMemoryError,
    IntegrityError,
    InvalidArgumentError,
    MetadataError,
)
from cottoncandy.formats import selection as selections
from cottoncandy.formats.codecs import get_codec
from cottoncandy.formats.codecs.blocks import GZIP_HEADER, BlockIndex
from cottoncandy.formats.raw import RawArrayHeader, encode_array, naming
from cottoncandy.formats.selection import SelectionPlan
from cottoncandy.stores.store import Store

Array = npt.NDArray[Any]

#: Open an object with this ``tail`` to read a part of it: the header and the block index of arrays
#: up to 5 GB then arrive with one request, and smaller objects arrive whole.
TAIL_BYTES = 64 * 1024

_CORES = os.cpu_count() or 1
_LARGE_ARRAY_BYTES = 2 * 2**30
_MAX_REQUEST_BYTES = 16 * MiB  # of a slice
_MAX_SHARE_BYTES = 64 * MiB  # of a whole array, for one thread


def array_header(reader: ObjectReader) -> RawArrayHeader:
    """Return the description of the array in an opened object.

    Raises
    ------
    MetadataError
        If the object is not a raw array.
    """
    return RawArrayHeader.from_metadata(reader.metadata, reader.size, object_name=reader.info.key)


def put_array(
    store: Store,
    name: str,
    array: Array,
    compression: str | bool | None,
    *,
    metadata: Mapping[str, Any],
    acl: str | None,
    threads: int,
    condition: IfAbsent | IfMatch | None = None,
) -> dict[str, Any]:
    """Upload an array; return what the documents call the response.

    Raises
    ------
    MetadataError
        If ``metadata`` has a name that describes the array.
    """
    codec = codec_name(store.settings, compression, array.nbytes)
    described, body = encode_array(array, codec, threads=min(threads, _CORES))
    owned = {*described, "gzip"}  # the old name of compression
    if clash := sorted(each for each in metadata if each.lower() in owned):
        raise MetadataError(
            f"metadata {', '.join(map(repr, clash))} of object '{name}' describes the "
            f"array; choose another name"
        )
    return store.put(
        name,
        body,
        metadata={**metadata, **described},
        acl=acl,
        threads=threads,
        condition=condition,
    )


def codec_name(settings: Settings, compression: str | bool | None, nbytes: int) -> str | None:
    """Return the name of the codec for an array of that size; None if it is not compressed.

    Raises
    ------
    InvalidArgumentError, ConfigurationError, MissingDependencyError
        If there is no such codec, or its library is not installed.
    """
    if compression is True:
        if not settings.do_compression:
            return None
        option = "large_array" if nbytes >= _LARGE_ARRAY_BYTES else "small_array"
        chosen: str = getattr(settings, option)
        try:
            get_codec(chosen)
        except InvalidArgumentError as exc:
            raise ConfigurationError(f"[compression] {option} of the options: {exc}") from exc
        return chosen
    if compression is None or compression is False or compression in ("False", "None"):
        return None
    get_codec(compression)
    return compression


def block_index(reader: ObjectReader, header: RawArrayHeader) -> BlockIndex | None:
    """Return the block index of a compressed array; None if it has none.

    Raises
    ------
    IntegrityError
        If it is damaged, or belongs to another array.
    """
    if header.blocks is None:
        return None
    tail = reader.tail(header.blocks.tail_bytes)
    with naming(reader.info.key):
        return BlockIndex.parse(tail, header.blocks, reader.size, header.checksum)


def is_whole(selection: Any) -> bool:
    """Return whether a selection is ``...`` or ``()``."""
    return selection is Ellipsis or (isinstance(selection, tuple) and not selection)


def read_array(
    store: Store,
    reader: ObjectReader,
    header: RawArrayHeader,
    selection: Any = ...,
    *,
    index: BlockIndex | None = None,
    out: Array | None = None,
) -> Array:
    """Download the array of an opened object and verify its checksum, or download a part of it.

    A part takes byte ranges if the array is uncompressed, blocks if it has an index, and otherwise
    all of it.

    Parameters
    ----------
    index : BlockIndex, optional
        What :func:`block_index` returned, to save a request.
    out : ndarray, optional
        Where to put the whole array and return it, if its bytes have the same order there.

    Raises
    ------
    SelectionError
        If the selection does not fit the array, or is of another kind.
    IntegrityError
        If a block, or an array that is downloaded whole, is not what was stored.
    """
    name = reader.info.key
    if not is_whole(selection):
        with naming(name):
            return _read_part(store, reader, header, selection, index)
    in_place = out is not None and out.flags.c_contiguous and header.order == "C"
    array = out if out is not None and in_place else header.new_array()
    index = index or block_index(reader, header)
    if index is not None:
        share = max(-(-reader.size // max(reader.threads, 1)), reader.window_bytes)
        whole = selections.plan(header, ...)
        _read_blocks(store, reader, index, whole, array, min(share, _MAX_SHARE_BYTES))
    elif header.compression is not None:
        header.decode(store.chunks(reader), array, name)
    elif header.checksum is None:
        store.fill(reader, header.bytes_of(array))
    else:
        header.verify(store.fill(reader, header.bytes_of(array), checksum=True), name)
    return array


def check_array(store: Store, reader: ObjectReader, header: RawArrayHeader) -> None:
    """Read the array of an opened object and verify its checksum, in bounded memory.

    Only codecs that decode a body as a whole (LZ4, those of numcodecs) take that of the array.

    Raises
    ------
    IntegrityError
        If the body is not what was stored.
    """
    name = reader.info.key
    index = block_index(reader, header)
    if index is not None:
        _inflate(store, reader, index, [(0, header.nbytes)], lambda start, plain: None)
        return
    chunks: Iterator[Buffer] = store.chunks(reader)
    with naming(name):
        if header.compression is not None:
            codec, first = get_codec(header.compression), next(chunks, b"")
            ours = codec.name == "gzip" and header.checksum is not None
            if ours and bytes(first[: len(GZIP_HEADER)]) != GZIP_HEADER:
                raise IntegrityError("the gzip header is not the one that was stored")
            chunks = codec.decode(chain([first], chunks), header.nbytes)
        checksum = size = 0
        try:
            for chunk in chunks:
                checksum, size = isal_zlib.crc32(chunk, checksum), size + len(chunk)
                if size > header.nbytes:
                    break  # the decoder yields nothing after one byte too much
        except MemoryError as exc:
            raise InsufficientMemoryError(
                f"there is not enough memory to decode the {header.nbytes} bytes of '{name}'"
            ) from exc
        if size != header.nbytes:
            raise IntegrityError(f"the body does not have the {header.nbytes} bytes of the array")
    header.verify(checksum, name)


def _read_part(
    store: Store,
    reader: ObjectReader,
    header: RawArrayHeader,
    selection: Any,
    index: BlockIndex | None,
) -> Array:
    limits: dict[str, int] = {}
    if header.blocks is not None:
        # A smaller gap than a block contains no block, so every block of a read is needed.
        block_bytes = header.blocks.block_bytes
        limits = {"max_gap": block_bytes - 1, "max_read": max(4 * MiB, block_bytes)}
    elif header.compression is not None:
        selections.resolve(selection, header.shape)  # rejected before anything is downloaded
        return selections.select(read_array(store, reader, header), selection)
    plan = selections.plan(header, selection, **limits)
    result = plan.result.new_array()
    if not plan.result.nbytes:
        return result
    index = index or block_index(reader, header)
    if index is not None:
        _read_blocks(store, reader, index, plan, result, _MAX_REQUEST_BYTES)
    elif plan.contiguous is not None:
        store.fill(reader, plan.result.bytes_of(result), plan.contiguous[0])
    else:

        def fetch(number: int) -> None:
            plan.place(number, reader.read(*plan.read(number)), result)

        run_threads(fetch, range(plan.count), reader.threads)
    return result


def _read_blocks(
    store: Store,
    reader: ObjectReader,
    index: BlockIndex,
    plan: SelectionPlan,
    result: Array,
    max_bytes: int,
) -> None:
    reads = [*plan.reads] if plan.contiguous is None else [plan.contiguous]
    _inflate(store, reader, index, reads, _scatter(plan, reads, result), max_bytes)


def _scatter(
    plan: SelectionPlan, reads: Sequence[tuple[int, int]], result: Array
) -> Callable[[int, bytes], None]:
    """Return a function that copies the plain bytes of a block to their places in the result.

    It may be called by several threads, with the blocks in any order.
    """
    starts, stops = [start for start, _ in reads], [stop for _, stop in reads]
    out = plan.result.bytes_of(result) if plan.contiguous is not None else None
    lock = threading.Lock()
    partial: dict[int, tuple[bytearray, int]] = {}  # reads of several blocks, and what they lack

    def place(start: int, plain: bytes) -> None:
        view, stop = memoryview(plain), start + len(plain)
        for number in range(bisect_right(stops, start), bisect_left(starts, stop)):
            first, last = reads[number]
            begin, end = max(first, start), min(last, stop)
            part = view[begin - start : end - start]
            if out is not None:
                out[begin - first : end - first] = part
            elif len(part) == last - first:
                plan.place(number, part, result)
            else:
                with lock:
                    if number not in partial:
                        partial[number] = bytearray(last - first), last - first
                    buffer, missing = partial.pop(number)
                    buffer[begin - first : end - first] = part
                    missing -= len(part)
                    if missing:
                        partial[number] = buffer, missing
                if not missing:
                    plan.place(number, buffer, result)

    return place


def _inflate(
    store: Store,
    reader: ObjectReader,
    index: BlockIndex,
    reads: Iterable[tuple[int, int]],
    place: Callable[[int, bytes], None],
    max_bytes: int = _MAX_SHARE_BYTES,
) -> None:
    """Download the blocks that contain ranges of the array, and inflate them as they arrive.

    Runs of blocks are requested at once, of at most ``max_bytes``.
    ``place`` receives the position and the bytes of each of these blocks, from any thread.
    """
    sizes, threads, step = index.sizes.tolist(), max(reader.threads, 1), index.layout.block_bytes
    needed = {number for start, stop in reads for number in range(start // step, -(-stop // step))}
    runs = index.runs(sorted(needed), max_bytes)
    # Threads without a request inflate what others receive.
    helpers = max(threads // len(runs), 1)
    stopped = False

    def blocks_of(first: int, stop: int) -> Iterator[tuple[int, Buffer]]:
        start = int(index.offsets[first]) if first else 0
        source = reader.pieces(start, int(index.offsets[stop]))
        if first:
            return zip(range(first, stop), regroup(source, sizes[first:stop]), strict=True)
        blocks = regroup(source, [len(GZIP_HEADER), *sizes[:stop]])
        if next(blocks) != GZIP_HEADER:
            raise IntegrityError("the body does not begin like one with a block index")
        return zip(range(stop), blocks, strict=True)

    def inflate(block: tuple[int, Buffer]) -> None:
        number, encoded = block
        if number in needed:
            place(number * step, index.inflate(number, encoded))
        bar.update(len(encoded))

    def fetch(run: tuple[int, int]) -> None:
        for _ in map_threads(inflate, blocks_of(*run), helpers):
            if stopped:
                return

    total = sum(sum(sizes[first:stop]) for first, stop in runs)
    try:
        with (
            naming(reader.info.key),
            store.bar(f"downloading {reader.info.key}", total) as bar,
        ):
            run_threads(fetch, runs, min(threads, len(runs)), abandon=True)
    finally:
        stopped = True
