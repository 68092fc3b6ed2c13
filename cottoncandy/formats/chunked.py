"""Chunked arrays: how to cut one, and the manifest that says which part is where."""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cottoncandy.core.names import SEPARATOR, pathjoin
from cottoncandy.exceptions import InvalidArgumentError, MetadataError
from cottoncandy.formats import dtypes

__all__ = ["Manifest", "block_slices", "chunks_for", "nonempty_chunks", "own_parts", "part_name"]

Chunks = tuple[tuple[int, ...], ...]
Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The checked content of a chunked array's ``metadata.json``.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    chunks : tuple of tuple of int
        Lengths of the chunks along each dimension, as in dask. None is 0 unless the dimension is.
    names : str or tuple of str
        Names of the objects that contain the chunks, the last dimension counting fastest. A str is
        the prefix of parts that are named and numbered by :func:`part_name`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: Chunks
    names: str | tuple[str, ...]

    @classmethod
    def of(
        cls, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: Chunks, prefix: str
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
                f"chunks {chunks} do not make up an array of shape {shape} without empty blocks"
            )
        return cls(shape, dtype, chunks, prefix)

    def __reduce__(self) -> tuple[Any, ...]:
        # One chunk's task carries the manifest to a worker, so long runs of equal lengths are
        # pickled as their number.
        runs = [
            [(length, len(list(run))) for length, run in itertools.groupby(lengths)]
            for lengths in self.chunks
        ]
        return _unpickled, (self.shape, self.dtype, runs, self.names)

    @property
    def count(self) -> int:
        """Number of chunks."""
        return math.prod(map(len, self.chunks))

    def indices(self) -> Iterator[Index]:
        """Yield the number of each chunk along each dimension, the last dimension fastest."""
        return itertools.product(*(range(len(lengths)) for lengths in self.chunks))

    def part(self, index: Index) -> str:
        """Return the name of the object that contains a chunk."""
        number = 0
        for i, lengths in zip(index, self.chunks, strict=True):
            number = number * len(lengths) + i
        if isinstance(self.names, str):
            return pathjoin(self.names, part_name(number))
        return self.names[number]

    def chunk_shape(self, index: Index) -> tuple[int, ...]:
        """Return the shape of one chunk."""
        return tuple(lengths[i] for lengths, i in zip(self.chunks, index, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object to store."""
        return {
            "shape": list(self.shape),
            **dtypes.to_metadata(self.dtype),
            "dask": [[list(index), self.part(index)] for index in self.indices()],
            "chunk_sizes": [list(self.chunk_shape(index)) for index in self.indices()],
            "chunks": [list(lengths) for lengths in self.chunks],
        }

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
        reader = _Reader(obj, object_name)
        shape = reader.lengths("shape", reader.get("shape", list))
        dtype = reader.dtype()
        chunks = tuple(reader.lengths("chunks", lengths) for lengths in reader.get("chunks", list))
        if tuple(map(sum, chunks)) != shape or not all(chunks):
            raise reader.error(f"the blocks {_abbreviate(chunks)} do not add up to {shape}")
        names = reader.names(chunks)
        numbered = cls(shape, dtype, nonempty_chunks(chunks), names[0].rpartition(SEPARATOR)[0])
        regular = all(map(operator.eq, map(numbered.part, numbered.indices()), names))
        return numbered if regular else replace(numbered, names=names)


def _unpickled(
    shape: tuple[int, ...], dtype: np.dtype[Any], runs: Any, names: str | tuple[str, ...]
) -> Manifest:
    chunks = tuple(
        tuple(itertools.chain.from_iterable(itertools.repeat(*run) for run in lengths))
        for lengths in runs
    )
    return Manifest(shape, dtype, chunks, names)


class _Reader:
    """Reads the keys of one manifest and names it in every complaint."""

    def __init__(self, obj: Any, object_name: str) -> None:
        self._object_name = object_name
        if not isinstance(obj, Mapping):
            raise self.error(f"a {type(obj).__name__} was found where a JSON object should be")
        self._obj = obj

    def error(self, what: str) -> MetadataError:
        return MetadataError(
            f"'{self._object_name}' is not the manifest of a chunked array: {what}"
        )

    def get(self, key: str, kind: type) -> Any:
        value = self._obj.get(key)
        if not isinstance(value, kind):
            raise self.error(f"'{key}' is {_abbreviate(value)}, and a {kind.__name__} was expected")
        return value

    def lengths(self, key: str, value: Any) -> tuple[int, ...]:
        if not isinstance(value, list) or not all(_is_length(entry) for entry in value):
            raise self.error(
                f"'{key}' has {_abbreviate(value)}, and a list of lengths was expected"
            )
        return tuple(value)

    def dtype(self) -> np.dtype[Any]:
        texts = {"dtype": self.get("dtype", str)}
        if "cc-dtype" in self._obj:
            texts["cc-dtype"] = self.get("cc-dtype", str)
        return dtypes.from_metadata(texts, object_name=self._object_name)

    def names(self, chunks: Chunks) -> tuple[str, ...]:
        """Return the names of the parts of the blocks that are not empty, in their order."""
        numbers = [_renumbered(lengths) for lengths in chunks]
        found: dict[Index, str] = {}
        for entry in self.get("dask", list):
            index, name = self._part(entry)
            if len(index) != len(chunks) or not all(
                i < len(lengths) for i, lengths in zip(index, chunks, strict=True)
            ):
                raise self.error(f"the part {_abbreviate(name)} is of block {index}, which is none")
            kept = [number[i] for number, i in zip(numbers, index, strict=True)]
            if None in kept:
                continue
            place = tuple(i for i in kept if i is not None)
            if place in found:
                raise self.error(f"the block {index} has two parts")
            found[place] = name
        expected = math.prod(sum(n is not None for n in number) for number in numbers)
        if len(found) != expected:
            raise self.error(f"{expected} blocks should have a part, and {len(found)} have one")
        return tuple(name for _, name in sorted(found.items()))

    def _part(self, entry: Any) -> tuple[Index, str]:
        if isinstance(entry, list) and len(entry) == 2:
            index, name = entry
            if (
                isinstance(index, list)
                and all(_is_length(i) for i in index)
                and isinstance(name, str)
                and name
            ):
                return tuple(index), name
        raise self.error(f"'dask' has {_abbreviate(entry)}, and [block, name] was expected")


def part_name(index: int) -> str:
    """Return the name of a part, relative to its manifest.

    Examples
    --------
    >>> part_name(7), part_name(12345)
    ('pt0007', 'pt12345')
    """
    return f"pt{index:04d}"


def own_parts(obj: Any, *, object_name: str) -> set[str]:
    """Return the last segments of the parts that a manifest names, of whatever dtype.

    Raises
    ------
    MetadataError
        If it is not a manifest.
    """
    if isinstance(obj, Mapping) and isinstance(obj.get("dtype"), str):
        obj = {name: value for name, value in obj.items() if name != "cc-dtype"} | {"dtype": "|u1"}
    Manifest.from_json(obj, object_name=object_name)
    named = {entry[1].rpartition(SEPARATOR)[2] for entry in obj["dask"]}
    if not all(re.fullmatch(r"pt\d{4,}", name) for name in named):
        raise MetadataError(f"'{object_name}' names parts in another way than this format does")
    return named


def chunks_for(shape: tuple[int, ...], itemsize: int, axis: int | None, chunk_bytes: int) -> Chunks:
    """Return chunks of at most ``chunk_bytes`` each.

    Parameters
    ----------
    shape : tuple of int
    itemsize : int
        Bytes of one element.
    axis : int or None
        Dimension along which to cut; negative counts from the end. None cuts all dimensions,
        into blocks as close to cubes as the shape lets them be.
    chunk_bytes : int
        Size of a block in bytes; a block has at least one row, however large that is.

    Returns
    -------
    chunks : tuple of tuple of int
        Per dimension the lengths of the blocks. None is 0 unless the dimension is.

    Raises
    ------
    InvalidArgumentError
        If there is no such dimension, or ``chunk_bytes`` is less than 1.

    Examples
    --------
    >>> chunks_for((10, 6), 8, 0, 200)
    ((4, 4, 2), (6,))
    """
    if chunk_bytes < 1:
        raise InvalidArgumentError(f"the size of a chunk is 1 byte or more, not {chunk_bytes}")
    if axis is None:
        return _isotropic(shape, max(chunk_bytes // max(itemsize, 1), 1))
    dimensions = max(len(shape), 1)  # as in numpy, a 0-d array has one row
    if not -dimensions <= axis < dimensions:
        raise InvalidArgumentError(f"axis {axis} is none of an array of shape {shape}")
    if not shape:
        return ()
    axis %= dimensions
    row_bytes = itemsize * math.prod(shape[:axis] + shape[axis + 1 :])
    rows = max(chunk_bytes // max(row_bytes, 1), 1)
    return tuple(
        _cut(length, rows) if dimension == axis else (length,)
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
        size = -(-length // count) if count else 1  # even blocks rather than a small last one
        chunks[dimension] = _cut(length, size)
        elements = max(elements // max(chunks[dimension][0], 1), 1)
    return tuple(chunks[dimension] for dimension in range(len(shape)))


def _integer_root(value: int, degree: int) -> int:
    """Return the largest integer whose power is not above the value."""
    root = int(value ** (1 / degree)) + 1
    while root**degree > value:
        root -= 1
    return root


def _cut(length: int, size: int) -> tuple[int, ...]:
    if length <= size:
        return (length,)
    full, rest = divmod(length, size)
    return (size,) * full + ((rest,) if rest else ())


def nonempty_chunks(chunks: Chunks) -> Chunks:
    """Return the chunks without blocks of length 0; a dimension of length 0 keeps one."""
    return tuple(tuple(filter(None, lengths)) or (0,) for lengths in chunks)


def block_slices(chunks: Chunks) -> Iterator[tuple[Index, tuple[slice, ...]]]:
    """Yield each block's number per dimension and where it lies, the last dimension fastest."""
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


def _renumbered(lengths: tuple[int, ...]) -> list[int | None]:
    """Return the new number of each block; None for those that are left out."""
    if not any(lengths):
        return [0, *[None] * (len(lengths) - 1)] if lengths else []
    numbers = itertools.count()
    return [next(numbers) if length else None for length in lengths]


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _abbreviate(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."
