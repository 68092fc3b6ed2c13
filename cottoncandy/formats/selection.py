"""Partial reads: which byte ranges of an uncompressed array a selection needs.

The axes are taken in the order in which they lie in the object, slowest first. A selection fixes,
per axis, evenly spaced positions. What it needs is therefore a regular pattern: runs of bytes at
equal distances, and such groups again at equal distances, axis by axis. Runs whose gap is small
are read as one, because a request costs more than the bytes of the gap; the pattern of the reads
then is regular as well, and numpy copies each of them into place as one strided array.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import SelectionError, UnsupportedOperationError
from cottoncandy.formats.raw import bytes_of, new_array

if TYPE_CHECKING:
    import numpy.typing as npt

    from cottoncandy.core.buffers import Buffer
    from cottoncandy.formats.raw import RawArrayHeader

__all__ = [
    "MAX_GAP_BYTES",
    "MAX_READS",
    "MAX_READ_BYTES",
    "SelectionPlan",
    "expand",
    "plan",
    "select",
]

#: Two runs with at most this many bytes between them are one read.
MAX_GAP_BYTES = 64 * 1024

#: A longer read is split, so that the buffers under way stay small. Only one element that is
#: larger makes a larger read.
MAX_READ_BYTES = 16 * MiB

#: A selection that takes more reads is refused.
MAX_READS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Axis:
    """Evenly spaced positions along one axis, in rising order."""

    start: int
    step: int
    count: int
    stride: int  # bytes from one index to the next
    kept: bool  # False where an integer selected: the result lacks the axis
    reverse: bool  # the user asked for falling order

    @property
    def pitch(self) -> int:
        """Bytes from one position to the next."""
        return self.step * self.stride


class SelectionPlan:
    """The reads of one selection, and where their bytes go; made by :func:`plan`.

    Attributes
    ----------
    shape : tuple of int
        Shape of the result; ``()`` where integers select one element.
    dtype : dtype
    order : {'C', 'F'}
        Memory order of the result, which is that of the object.
    reads : sequence of (int, int)
        Half-open byte ranges, rising; made when asked for. The bytes of number ``i`` go to
        ``place(i, ...)``, in any order and from any thread.
    contiguous : (int, int) or None
        Where the bytes of the result lie side by side in the object: the range that fills
        ``bytes_of(out)``. One read straight into place then serves instead of ``reads``.
    """

    def __init__(
        self,
        axes: list[_Axis],
        dtype: np.dtype[Any],
        order: Literal["C", "F"],
        kept_shape: tuple[int, ...],
        shape: tuple[int, ...],
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.order = order
        self._kept_shape = kept_shape  # without the new axes
        self._axes = axes
        # extents[i]: bytes from the first to the last element, the axes before i being fixed
        extents = [dtype.itemsize]
        for axis in reversed(axes):
            extents.insert(0, extents[0] + max(axis.count - 1, 0) * axis.pitch)
        self._extents = extents
        self._offset = sum(axis.start * axis.stride for axis in axes)
        empty = math.prod(shape) * dtype.itemsize == 0
        self._split, self._step = _choose_split(axes, extents)
        self.reads: Sequence[tuple[int, int]] = _Reads(self, 0 if empty else self._count_reads())
        self.contiguous: tuple[int, int] | None = None
        if empty:
            self.contiguous = (0, 0)
        elif extents[0] == math.prod(shape) * dtype.itemsize and not any(
            axis.reverse for axis in axes
        ):
            self.contiguous = (self._offset, self._offset + extents[0])

    @property
    def nbytes(self) -> int:
        """Size of the result in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def new_array(self) -> npt.NDArray[Any]:
        """Return the result, not yet filled.

        Raises
        ------
        InsufficientMemoryError
        """
        return new_array(self.shape, self.dtype, self.order)

    def bytes_of(self, out: npt.NDArray[Any]) -> memoryview:
        """Return the flat writable bytes of a result, in the order in which the object has them."""
        return bytes_of(out, self.order)

    def place(self, index: int, buffer: Buffer, out: npt.NDArray[Any]) -> None:
        """Copy the bytes of ``reads[index]`` to where they belong in a result.

        Raises
        ------
        ValueError
            If the buffer is not as long as the read.
        """
        start, stop = self.reads[index]
        if len(buffer) != stop - start:
            raise ValueError(f"read {index} has {stop - start} bytes, and {len(buffer)} were given")
        fixed, first, count = self._locate(index)
        inner = self._axes[self._split :]
        counts = [axis.count for axis in inner]
        if inner:
            counts[0] = count
        source: npt.NDArray[Any] = np.ndarray(
            counts, self.dtype, buffer=buffer, strides=[axis.pitch for axis in inner]
        )
        cut = slice(first, first + count) if inner else Ellipsis
        self._rising_view(out)[(*fixed, cut)] = source

    def _rising_view(self, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of the result with one axis per stored axis, all rising."""
        view = out.reshape(self._kept_shape, order=self.order)
        if self.order == "F":
            view = view.T
        keys = (
            (slice(None, None, -1) if axis.reverse else slice(None)) if axis.kept else None
            for axis in self._axes
        )
        return view[(*keys, ...)]  # without the dots, no keys would give a scalar

    def _count_reads(self) -> int:
        outer = math.prod(axis.count for axis in self._axes[: self._split])
        return outer * self._reads_per_group()

    def _reads_per_group(self) -> int:
        if self._split == len(self._axes):
            return 1
        return -(-self._axes[self._split].count // self._step)

    def _locate(self, index: int) -> tuple[tuple[int, ...], int, int]:
        """Return the positions on the outer axes, and first and count on the axis that is split."""
        group, part = divmod(index, self._reads_per_group())
        fixed: list[int] = []
        for axis in reversed(self._axes[: self._split]):
            group, position = divmod(group, axis.count)
            fixed.insert(0, position)
        if self._split == len(self._axes):
            return tuple(fixed), 0, 1
        first = part * self._step
        return tuple(fixed), first, min(self._step, self._axes[self._split].count - first)

    def _range(self, index: int) -> tuple[int, int]:
        fixed, first, count = self._locate(index)
        start = self._offset + sum(
            position * axis.pitch
            for position, axis in zip(fixed, self._axes[: self._split], strict=True)
        )
        if self._split == len(self._axes):
            return start, start + self.dtype.itemsize
        axis = self._axes[self._split]
        start += first * axis.pitch
        return start, start + (count - 1) * axis.pitch + self._extents[self._split + 1]


class _Reads(Sequence[tuple[int, int]]):
    """Byte ranges, computed on access, because there may be very many."""

    def __init__(self, owner: SelectionPlan, count: int) -> None:
        self._owner = owner
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[int, int]]: ...

    def __getitem__(self, index: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        if isinstance(index, slice):
            return [self._owner._range(i) for i in range(*index.indices(self._count))]
        if index < 0:
            index += self._count
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._owner._range(index)


def plan(header: RawArrayHeader, selection: Any) -> SelectionPlan:
    """Plan the reads for ``array[selection]``.

    Parameters
    ----------
    header : RawArrayHeader
        Of an uncompressed array.
    selection : int, slice, Ellipsis, numpy.newaxis or a tuple of them
        Basic indexing as numpy defines it, with negative numbers and steps.

    Returns
    -------
    plan : SelectionPlan

    Raises
    ------
    SelectionError
        If the selection lies outside the array, is of another kind (masks, lists of indices,
        field names), or takes more than ``MAX_READS`` reads.
    UnsupportedOperationError
        If the array is compressed: then all of it has to be downloaded.

    Notes
    -----
    What travels: the bytes of the selection, and gaps of up to 64 KiB between two runs of them.

    Examples
    --------
    >>> from cottoncandy.formats.raw import RawArrayHeader
    >>> header = RawArrayHeader(np.dtype("<f8"), (1000, 500), "C", None, None, 4_000_000)
    >>> rows = plan(header, np.s_[10:20])
    >>> rows.shape, list(rows.reads)
    ((10, 500), [(40000, 80000)])
    """
    if header.compression is not None:
        raise UnsupportedOperationError(
            f"only an uncompressed array can be read in parts, and this one is compressed by "
            f"{header.compression}: download all of it and index that"
        )
    entries = expand(selection, len(header.shape))
    strides = _strides(header.shape, header.dtype.itemsize, header.order)
    axes: list[_Axis] = []
    kept_shape: list[int] = []
    shape: list[int] = []
    for entry in entries:
        if entry is None:
            shape.append(1)
            continue
        number = len(axes)
        axis = _resolve(entry, number, header.shape[number], strides[number])
        axes.append(axis)
        if axis.kept:
            kept_shape.append(axis.count)
            shape.append(axis.count)
    if header.order == "F":
        axes.reverse()
    result = SelectionPlan(axes, header.dtype, header.order, tuple(kept_shape), tuple(shape))
    if len(result.reads) > MAX_READS:
        raise SelectionError(
            f"the selection {selection!r} of an array of shape {header.shape} in order "
            f"{header.order} takes {len(result.reads)} separate reads: download whole rows (or "
            f"all of it) and index those"
        )
    return result


def select(array: npt.NDArray[Any], selection: Any) -> npt.NDArray[Any]:
    """Return a copy of ``array[selection]``, for the selections that :func:`plan` takes.

    The result is an array of the same dtype even where only integers select.

    Raises
    ------
    SelectionError
        If the selection lies outside the array, or is of another kind.
    """
    entries = expand(selection, array.ndim)
    try:
        return np.array(array[(*entries, ...)])
    except (IndexError, TypeError, ValueError) as exc:
        raise SelectionError(str(exc)) from exc


def expand(selection: Any, dimensions: int) -> list[Any]:
    """Return one entry per axis (an int or a slice), with None where a new axis goes."""
    entries = list(selection) if isinstance(selection, tuple) else [selection]
    for entry in entries:
        _check_entry(entry)
    ellipses = [place for place, entry in enumerate(entries) if entry is Ellipsis]
    if len(ellipses) > 1:
        raise SelectionError("an index can only have a single ellipsis ('...')")
    given = sum(1 for entry in entries if entry is not None and entry is not Ellipsis)
    if given > dimensions:
        raise SelectionError(
            f"too many indices for array: array is {dimensions}-dimensional, but {given} were "
            f"indexed"
        )
    fill = [slice(None)] * (dimensions - given)
    place = ellipses[0] if ellipses else len(entries)
    return [*entries[:place], *fill, *entries[place + len(ellipses) :]]


def _check_entry(entry: Any) -> None:
    if entry is None or entry is Ellipsis or isinstance(entry, slice):
        return
    # numpy takes True and False as masks, though they are integers to Python.
    if not isinstance(entry, (bool, np.bool_)):
        try:
            operator.index(entry)
        except TypeError:
            pass
        else:
            return
    raise SelectionError(
        f"a {type(entry).__name__} cannot select byte ranges: only integers, slices, '...' and "
        f"None can; download the array and index that"
    )


def _resolve(entry: Any, number: int, length: int, stride: int) -> _Axis:
    """Return the positions that one entry selects on the axis of that number."""
    if not isinstance(entry, slice):
        index = operator.index(entry)
        if not -length <= index < length:
            raise SelectionError(
                f"index {index} is out of bounds for axis {number} with size {length}"
            )
        return _Axis(index % length, 1, 1, stride, kept=False, reverse=False)
    try:
        positions = range(*entry.indices(length))
    except (TypeError, ValueError) as exc:
        raise SelectionError(f"the slice {entry!r} of axis {number}: {exc}") from exc
    reverse = len(positions) > 1 and positions.step < 0
    if reverse:
        positions = positions[::-1]
    start = positions[0] if positions else 0
    step = positions.step if len(positions) > 1 else 1
    return _Axis(start, step, len(positions), stride, kept=True, reverse=reverse)


def _strides(shape: tuple[int, ...], itemsize: int, order: Literal["C", "F"]) -> list[int]:
    lengths = shape if order == "F" else shape[::-1]
    strides = list(itertools.accumulate(lengths, operator.mul, initial=itemsize))[: len(shape)]
    return strides if order == "F" else strides[::-1]


def _choose_split(axes: list[_Axis], extents: list[int]) -> tuple[int, int]:
    """Return the axis along which reads are cut, and how many positions of it one read covers.

    The axes before it are fixed in each read; those behind it lie inside the read whole.
    """
    split = len(axes)
    while split and (
        axes[split - 1].count <= 1 or axes[split - 1].pitch - extents[split] <= MAX_GAP_BYTES
    ):
        split -= 1
    while split < len(axes) and extents[split + 1] > MAX_READ_BYTES:
        split += 1
    if split == len(axes):
        return split, 1
    axis = axes[split]
    if axis.pitch == 0:
        return split, max(axis.count, 1)
    return split, 1 + max(MAX_READ_BYTES - extents[split + 1], 0) // axis.pitch
