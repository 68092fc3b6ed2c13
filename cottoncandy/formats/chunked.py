"""Chunked arrays: how to cut one, and the manifest that says which part is where."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cottoncandy.exceptions import InvalidArgumentError, MetadataError
from cottoncandy.formats import dtypes

__all__ = ["Manifest", "block_slices", "chunks_for", "nonempty_chunks", "part_name"]

Chunks = tuple[tuple[int, ...], ...]
Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``metadata.json`` of a chunked array says, checked.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    chunks : tuple of tuple of int
        Per dimension the lengths of the blocks, as dask has them; none is 0 unless the dimension
        is.
    parts : tuple of (tuple of int, str)
        For each block its number per dimension, and the name of the object that holds it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: Chunks
    parts: tuple[tuple[Index, str], ...]

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunks: Chunks,
        name_of: Callable[[int], str],
    ) -> Manifest:
        """Make the manifest of an array that is cut so; the last dimension counts fastest.

        Parameters
        ----------
        name_of : callable
            Takes the number of a part, returns the full name of its object.

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
        indices = itertools.product(*(range(len(lengths)) for lengths in chunks))
        parts = tuple((index, name_of(number)) for number, index in enumerate(indices))
        return cls(shape, dtype, chunks, parts)

    def chunk_shape(self, index: Index) -> tuple[int, ...]:
        """Return the shape of one block."""
        return tuple(lengths[i] for lengths, i in zip(self.chunks, index, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return what to write as JSON."""
        return {
            "shape": list(self.shape),
            **dtypes.to_metadata(self.dtype),
            "dask": [[list(index), name] for index, name in self.parts],
            "chunk_sizes": [list(self.chunk_shape(index)) for index, _ in self.parts],
            "chunks": [list(lengths) for lengths in self.chunks],
        }

    @classmethod
    def from_json(cls, obj: Any, *, object_name: str) -> Manifest:
        """Make sense of what was read.

        Parameters
        ----------
        obj : object
            What the JSON text stands for.
        object_name : str
            Name of the manifest, for messages.

        Raises
        ------
        MetadataError
            If it is no manifest, or contradicts itself.
        MissingDependencyError
            If the dtype is that of a library which is not installed.

        Notes
        -----
        Version 0.4.0 wrote empty blocks behind the last one. They, and their parts, are left out.
        """
        reader = _Reader(obj, object_name)
        shape = reader.lengths("shape", reader.get("shape", list))
        dtype = reader.dtype()
        chunks = tuple(reader.lengths("chunks", lengths) for lengths in reader.get("chunks", list))
        if tuple(map(sum, chunks)) != shape:
            raise reader.error(f"the blocks {_shown(chunks)} do not add up to the shape {shape}")
        parts = reader.parts(chunks)
        return cls(shape, dtype, nonempty_chunks(chunks), parts)


class _Reader:
    """Reads the keys of one manifest and names it in every complaint."""

    def __init__(self, obj: Any, object_name: str) -> None:
        self._object_name = object_name
        if not isinstance(obj, Mapping):
            raise self.error(f"a {type(obj).__name__} was found where a JSON object should be")
        self._obj = obj

    def error(self, what: str) -> MetadataError:
        return MetadataError(f"'{self._object_name}' is no manifest of a chunked array: {what}")

    def get(self, key: str, kind: type) -> Any:
        value = self._obj.get(key)
        if not isinstance(value, kind):
            raise self.error(f"'{key}' is {_shown(value)}, and a {kind.__name__} was expected")
        return value

    def lengths(self, key: str, value: Any) -> tuple[int, ...]:
        if not isinstance(value, list) or not all(_is_length(entry) for entry in value):
            raise self.error(f"'{key}' has {_shown(value)}, and a list of lengths was expected")
        return tuple(value)

    def dtype(self) -> np.dtype[Any]:
        texts = {"dtype": self.get("dtype", str)}
        if "cc-dtype" in self._obj:
            texts["cc-dtype"] = self.get("cc-dtype", str)
        return dtypes.from_metadata(texts, object_name=self._object_name)

    def parts(self, chunks: Chunks) -> tuple[tuple[Index, str], ...]:
        """Return the parts of the blocks that are not empty, renumbered without those."""
        numbers = [_renumbered(lengths) for lengths in chunks]
        found: dict[Index, str] = {}
        for entry in self.get("dask", list):
            index, name = self._part(entry)
            if len(index) != len(chunks) or not all(
                i < len(lengths) for i, lengths in zip(index, chunks, strict=True)
            ):
                raise self.error(f"the part {_shown(name)} is of block {index}, which is none")
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
        return tuple(sorted(found.items()))

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
        raise self.error(f"'dask' has {_shown(entry)}, and [block, name] was expected")


def part_name(index: int) -> str:
    """Return the name of a part, relative to its manifest.

    Examples
    --------
    >>> part_name(7), part_name(12345)
    ('pt0007', 'pt12345')
    """
    return f"pt{index:04d}"


def chunks_for(shape: tuple[int, ...], itemsize: int, axis: int | None, chunk_bytes: int) -> Chunks:
    """Cut an array into blocks of at most so many bytes.

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


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."
