"""Chunked arrays: how to cut one, and the manifest that says which part is where."""

from __future__ import annotations

import itertools
import math
import operator
import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from cottoncandy.core.names import SEPARATOR, pathjoin
from cottoncandy.exceptions import InvalidArgumentError, MetadataError
from cottoncandy.formats import dtypes
from cottoncandy.formats.generations import is_upload_id, place_of, upload_ids

_PART_NAME = re.compile(r"pt\d{4,}", re.ASCII)
_NUMBERED = re.compile(r"((?:.*/)?pt)(\d{4}|[1-9]\d{4,})", re.ASCII | re.DOTALL)  # part_name

Chunks = tuple[tuple[int, ...], ...]
Index = tuple[int, ...]
_Fields = tuple[str, str | None, int]  # of a Part


class Run(NamedTuple):
    """Parts in a row, named and numbered one after another.

    Parameters
    ----------
    start : int
        Position of the first one among all parts, the last dimension counting fastest.
    stem : str
        The names up to the number; the whole name if ``first`` is None.
    first : int or None
        Number in the name of the first one; see :func:`part_name`.
    upload_id : str or None
        The upload that wrote them; None if it is not known, as for those of 0.4.0.
    number : int
        Number of the first one in that upload.
    """

    start: int
    stem: str
    first: int | None
    upload_id: str | None
    number: int

    def part(self, position: int) -> Part:
        """Return one of the parts."""
        offset = position - self.start
        if self.first is None:
            return Part(self.stem, self.upload_id, self.number)
        name = f"{self.stem}{self.first + offset:04d}"  # as part_name() makes it
        return Part(name, self.upload_id, self.number + offset)


class Part(NamedTuple):
    """The object that contains a chunk, the upload that wrote it, and its number in that upload."""

    name: str
    upload_id: str | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """The checked content of a chunked array's ``metadata.json``.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    chunks : tuple of tuple of int
        Lengths of the chunks along each dimension, as in dask. None is 0 unless the dimension is.
    runs : tuple of Run
        The parts, the last dimension counting fastest.
    upload_id : str, optional
        The upload that stored the manifest; None if it is not known.
    previous : str, optional
        The upload that it replaced.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: Chunks
    runs: tuple[Run, ...]
    upload_id: str | None = None
    previous: str | None = None

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunks: Chunks,
        prefix: str,
        upload_id: str | None = None,
    ) -> Manifest:
        """Create the manifest of an array whose parts are stored below a prefix.

        Raises
        ------
        InvalidArgumentError
            If the chunks do not make up the shape, or some are empty (:func:`nonempty_chunks`).
        """
        chunks = tuple(tuple(map(int, lengths)) for lengths in chunks)
        sums = tuple(sum(lengths) for lengths in chunks)
        if sums != shape or nonempty_chunks(chunks) != chunks:
            raise InvalidArgumentError(
                f"chunks {chunks} do not make up an array of shape {shape} without empty chunks"
            )
        return cls(
            shape, dtype, chunks, (Run(0, pathjoin(prefix, "pt"), 0, upload_id, 0),), upload_id
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # One chunk's task carries the manifest to a worker, so long runs of equal lengths are
        # pickled as their number.
        lengths = [
            [(length, len(list(run))) for length, run in itertools.groupby(lengths)]
            for lengths in self.chunks
        ]
        rest = tuple(map(tuple, self.runs)), self.upload_id, self.previous
        return _unpickled, (self.shape, self.dtype, lengths, *rest)

    @property
    def count(self) -> int:
        """Number of chunks."""
        return math.prod(map(len, self.chunks))

    def indices(self) -> Iterator[Index]:
        """Yield the number of each chunk along each dimension, the last dimension fastest."""
        return itertools.product(*(range(len(lengths)) for lengths in self.chunks))

    def position(self, index: Index) -> int:
        """Return the position of a chunk among all, the last dimension counting fastest."""
        position = 0
        for i, lengths in zip(index, self.chunks, strict=True):
            position = position * len(lengths) + i
        return position

    def part(self, index: Index) -> Part:
        """Return the object that contains a chunk."""
        position = self.position(index)
        return self.runs[bisect_right(self.runs, position, key=_START) - 1].part(position)

    def parts(self) -> Iterator[Part]:
        """Yield all parts, the last dimension counting fastest."""
        stops = [run.start for run in self.runs[1:]] + [self.count]
        for run, stop in zip(self.runs, stops, strict=True):
            yield from map(run.part, range(run.start, stop))

    def with_parts(self, parts: Iterable[Part]) -> Manifest:
        """Return the same manifest with other parts, the last dimension counting fastest."""
        return replace(self, runs=tuple(_runs(parts)))

    def chunk_shape(self, index: Index) -> tuple[int, ...]:
        """Return the shape of one chunk."""
        return tuple(lengths[i] for lengths, i in zip(self.chunks, index, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object to store."""
        parts = list(self.parts())
        obj: dict[str, Any] = {
            "shape": list(self.shape),
            **dtypes.to_metadata(self.dtype),
            "dask": [[list(i), part.name] for i, part in zip(self.indices(), parts, strict=True)],
            "chunk_sizes": [list(shape) for shape in itertools.product(*self.chunks)],
            "chunks": [list(lengths) for lengths in self.chunks],
        }
        if self.upload_id is not None:
            obj["parts"] = [[part.upload_id, part.number] for part in parts]
            obj |= {"upload_id": self.upload_id, "previous": self.previous}
        return obj

    @classmethod
    def from_json(cls, obj: Any, *, object_name: str) -> Manifest:
        """Check and convert a JSON object.

        Parameters
        ----------
        obj : object
            The value of the JSON text.
        object_name : str
            Name of the manifest, for messages.

        Raises
        ------
        MetadataError
            If it is not a manifest, or contradicts itself.
        MissingDependencyError
            If the dtype is that of a library which is not installed.

        Notes
        -----
        Version 0.4.0 wrote empty chunks after the last one. They and their parts are skipped.
        """
        try:
            return _parsed(obj, object_name)
        except MetadataError:
            raise
        except ValueError as exc:
            raise MetadataError(
                f"'{object_name}' is not the manifest of a chunked array: {exc}"
            ) from None


_START = operator.itemgetter(0)


def _parsed(obj: Any, object_name: str) -> Manifest:
    """Return the manifest of a JSON object; raise ValueError if it is not one."""
    if not isinstance(obj, Mapping):
        raise ValueError(f"expected a JSON object, got a {type(obj).__name__}")
    shape, texts = _lengths(obj.get("shape"), "shape"), {"dtype": _value(obj, "dtype", str)}
    if "cc-dtype" in obj:
        texts["cc-dtype"] = _value(obj, "cc-dtype", str)
    dtype = dtypes.from_metadata(texts, object_name=object_name)
    chunks = tuple(_lengths(lengths, "chunks") for lengths in _value(obj, "chunks", list))
    if len(shape) > dtypes.MAX_DIMENSIONS:
        raise ValueError(f"'shape' has {len(shape)} dimensions, more than NumPy's")
    if tuple(map(sum, chunks)) != shape or not all(chunks):
        raise ValueError(f"the chunks {chunks!r:.80} do not add up to {shape}")
    upload_id, previous = upload_ids(obj)
    entries = _value(obj, "dask", list)
    if upload_id is None:
        runs = tuple(_runs(_parts(entries, [[None, 0]] * len(entries), chunks)))
    else:
        runs = tuple(_runs(_parts(entries, _value(obj, "parts", list), chunks)))
        for name in (run.part(run.start).name for run in runs):
            *above, last = name.split(SEPARATOR)
            if not _PART_NAME.fullmatch(last) or {".", ".."} & set(above):
                raise ValueError(f"the part {name!r:.80} does not have the name of a part")
    return Manifest(shape, dtype, nonempty_chunks(chunks), runs, upload_id, previous)


def _value(obj: Mapping[str, Any], key: str, kind: type) -> Any:
    value = obj.get(key)
    if not isinstance(value, kind):
        raise ValueError(f"'{key}' is {value!r:.80}, expected a {kind.__name__}")
    return value


def _lengths(value: Any, key: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(
        type(entry) is int and 0 <= entry <= sys.maxsize for entry in value
    ):
        raise ValueError(f"'{key}' has {value!r:.80}, expected a list of lengths")
    return tuple(value)


def _parts(entries: list[Any], origins: list[Any], chunks: Chunks) -> Iterator[_Fields]:
    """Yield the parts of the chunks that are not empty, the last dimension fastest.

    Whole columns are checked: an array may have a million parts.
    """
    try:
        indices, names = [index for index, _ in entries], [name for _, name in entries]
        ids, numbers = [each for each, _ in origins], [number for _, number in origins]
        flat = list(itertools.chain.from_iterable(indices))
        valid = (
            {*map(type, flat), *map(type, numbers)} <= {int}
            and {*map(len, indices)} <= {len(chunks)}
            and {*map(type, names)} <= {str}
            and all(names)
            and min(numbers, default=0) >= 0
            and all(each is None or is_upload_id(each) for each in set(ids))
            and len(origins) == len(entries)
        )
        columns = [np.array(flat[axis :: len(chunks)], np.int64) for axis in range(len(chunks))]
    except (TypeError, ValueError, OverflowError):
        valid = False
    if not valid:
        raise ValueError(
            f"'dask' has {entries!r:.80}, and 'parts' {origins!r:.80}; expected [chunk, name] and "
            f"[upload id, number] for each chunk"
        )
    count, positions = 1, np.zeros(len(entries), np.int64)
    filled = np.ones(len(entries), bool)
    for column, lengths in zip(columns, chunks, strict=True):
        if len(column) and not 0 <= column.min() <= column.max() < len(lengths):
            raise ValueError("'dask' has parts of chunks that do not exist")
        kept = np.array(lengths, bool)
        kept[0] |= not kept.any()  # a dimension of length 0 has one chunk
        filled &= kept[column]
        positions = positions * np.sum(kept) + (np.cumsum(kept) - 1)[column]
        count *= int(np.sum(kept))
    order = np.flatnonzero(filled)
    order = order[np.argsort(positions[order], kind="stable")]
    if len(order) != count or not np.array_equal(positions[order], np.arange(count)):
        raise ValueError(f"'dask' does not have one part for each of {count} chunks")
    return ((names[i], ids[i], numbers[i]) for i in order.tolist())


def _runs(parts: Iterable[_Fields]) -> Iterator[Run]:
    """Yield parts as runs."""
    run: Run | None = None
    following = next_number = 0
    for position, (name, upload_id, number) in enumerate(parts):
        if run is not None and run.first is not None and upload_id == run.upload_id:
            same = name == f"{run.stem}{following:04d}"
            if same and (upload_id is None or number == next_number):
                following, next_number = following + 1, next_number + 1
                continue
        if run is not None:
            yield run
        match = _NUMBERED.fullmatch(name)
        stem, first = (match[1], int(match[2])) if match else (name, None)
        known = (first or 0) if upload_id is None else number
        run = Run(position, stem, first, upload_id, known)
        following, next_number = (first or 0) + 1, known + 1
    if run is not None:
        yield run


def _unpickled(
    shape: tuple[int, ...], dtype: np.dtype[Any], lengths: Any, runs: Any, *ids: str | None
) -> Manifest:
    chunks = tuple(
        tuple(itertools.chain.from_iterable(itertools.repeat(*run) for run in along))
        for along in lengths
    )
    return Manifest(shape, dtype, chunks, tuple(itertools.starmap(Run, runs)), *ids)


def part_name(index: int) -> str:
    """Return the name of a part, relative to its manifest.

    Examples
    --------
    >>> part_name(7), part_name(12345)
    ('pt0007', 'pt12345')
    """
    return f"pt{index:04d}"


def own_parts(obj: Any, *, object_name: str) -> set[str]:
    """Return the places of the parts that a manifest names, of whatever dtype.

    Raises
    ------
    MetadataError
        If it is not a manifest.
    """
    if isinstance(obj, Mapping) and isinstance(obj.get("dtype"), str):
        obj = {name: value for name, value in obj.items() if name != "cc-dtype"} | {"dtype": "|u1"}
    manifest = Manifest.from_json(obj, object_name=object_name)
    named = [run.part(run.start).name for run in manifest.runs]
    if not all(_PART_NAME.fullmatch(name.rpartition(SEPARATOR)[2]) for name in named):
        raise MetadataError(f"'{object_name}' names parts in another way than this format does")
    return {place_of(name) for _, name in obj["dask"]}


def chunks_for(shape: tuple[int, ...], itemsize: int, axis: int | None, chunk_bytes: int) -> Chunks:
    """Return chunks of at most ``chunk_bytes`` each.

    Parameters
    ----------
    shape : tuple of int
    itemsize : int
        Bytes of one element.
    axis : int or None
        Dimension along which to cut; negative counts from the end. None cuts all dimensions,
        into chunks as close to cubes as the shape lets them be.
    chunk_bytes : int
        Size of a chunk in bytes; a chunk has at least one row, however large that is.

    Returns
    -------
    chunks : tuple of tuple of int
        Per dimension the lengths of the chunks. None is 0 unless the dimension is.

    Examples
    --------
    >>> chunks_for((10, 6), 8, 0, 200)
    ((4, 4, 2), (6,))
    """
    if axis is None:
        return _isotropic(shape, max(chunk_bytes // max(itemsize, 1), 1))
    if not shape:
        return ()
    axis %= len(shape)
    row_bytes = itemsize * math.prod(shape[:axis] + shape[axis + 1 :])
    rows = max(chunk_bytes // max(row_bytes, 1), 1)
    return tuple(
        cut(length, rows) if dimension == axis else (length,)
        for dimension, length in enumerate(shape)
    )


def _isotropic(shape: tuple[int, ...], elements: int) -> Chunks:
    """Cut all dimensions; what a short one does not use is left to the longer ones."""
    chunks: dict[int, tuple[int, ...]] = {}
    by_length = sorted(range(len(shape)), key=lambda dimension: shape[dimension])
    for done, dimension in enumerate(by_length):
        length = shape[dimension]
        side = max(_integer_root(elements, len(shape) - done), 1)
        count = -(-length // side)
        size = -(-length // count) if count else 1  # even chunks rather than a small last one
        chunks[dimension] = cut(length, size)
        elements = max(elements // max(chunks[dimension][0], 1), 1)
    return tuple(chunks[dimension] for dimension in range(len(shape)))


def _integer_root(value: int, degree: int) -> int:
    """Return the largest integer whose power is not above the value."""
    root = int(value ** (1 / degree)) + 1
    while root**degree > value:
        root -= 1
    return root


def cut(length: int, size: int) -> tuple[int, ...]:
    """Return the lengths of chunks of at most ``size`` that make up a length."""
    if length <= size:
        return (length,)
    full, rest = divmod(length, size)
    return (size,) * full + ((rest,) if rest else ())


def nonempty_chunks(chunks: Chunks) -> Chunks:
    """Return the chunks without those of length 0; a dimension of length 0 keeps one."""
    return tuple(tuple(filter(None, lengths)) or (0,) for lengths in chunks)


def chunk_slices(chunks: Chunks) -> Iterator[tuple[Index, tuple[slice, ...]]]:
    """Yield each chunk's number per dimension and where it lies, the last dimension fastest."""
    per_dimension = [
        [
            slice(stop - length, stop)
            for length, stop in zip(lengths, itertools.accumulate(lengths), strict=True)
        ]
        for lengths in chunks
    ]
    indices = itertools.product(*(range(len(lengths)) for lengths in chunks))
    for index in indices:
        yield index, tuple(slices[i] for slices, i in zip(per_dimension, index, strict=True))
