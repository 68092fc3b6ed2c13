"""Partial reads: which byte ranges of an uncompressed array a selection needs.

The axes are taken in their order in the object, slowest first. A selection fixes,
per axis, evenly spaced positions. What it needs is therefore a regular pattern: runs of bytes at
equal distances, and such groups again at equal distances, axis by axis. Runs whose gap is small
are read as one, because a request costs more than the bytes of the gap; the pattern of the reads
then is regular as well, and numpy copies each of them into place as one strided array. One axis may
have a list of positions instead: reads are then cut where its gaps are large.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import SelectionError
from cottoncandy.formats.raw import bytes_of, new_array

if TYPE_CHECKING:
    import numpy.typing as npt

    from cottoncandy.core.buffers import Buffer
    from cottoncandy.formats.raw import RawArrayHeader

#: The positions that a selection takes along an axis: one, evenly spaced, or an ascending list.
Positions: TypeAlias = "int | range | npt.NDArray[np.int64]"

#: Two runs with at most this many bytes between them are one read.
MAX_GAP_BYTES = 64 * 1024

#: A longer read is split, so that the buffers in flight stay small. Only one element that is
#: larger makes a larger read.
MAX_READ_BYTES = 16 * MiB

#: A selection that takes more reads is refused.
MAX_READS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Axis:
    """Positions along one axis, in rising order: evenly spaced, or listed."""

    start: int
    step: int
    count: int
    stride: int  # bytes from one index to the next
    kept: bool  # False where an integer selected: the result lacks the axis
    reverse: bool  # the selection is in falling order
    listed: npt.NDArray[np.int64] | None = None  # from the start

    @classmethod
    def of(cls, positions: Positions, stride: int) -> _Axis:
        if isinstance(positions, int):
            return cls(positions, 1, 1, stride, kept=False, reverse=False)
        if isinstance(positions, np.ndarray):
            start = int(positions[0])
            listed = positions - start
            return cls(start, 1, len(listed), stride, kept=True, reverse=False, listed=listed)
        reverse = positions.step < 0
        rising = positions[::-1] if reverse else positions
        start = rising[0] if rising else 0
        return cls(start, rising.step, len(rising), stride, kept=True, reverse=reverse)

    @property
    def pitch(self) -> int:
        """Bytes from one position to the next; from one index to the next if they are listed."""
        return self.step * self.stride

    @property
    def longest_pitch(self) -> int:
        """Bytes from one position to the next, where that is most."""
        return self.pitch if self.listed is None else int(np.diff(self.listed).max()) * self.stride

    def index(self, number: int) -> int:
        """Return the number of pitches from the first position to another."""
        return number if self.listed is None else int(self.listed[number])

    def offset(self, number: int) -> int:
        """Return the bytes from the first position to another."""
        return self.index(number) * self.pitch


class SelectionPlan:
    """The reads of one selection, and where their bytes go; made by :func:`plan`.

    Attributes
    ----------
    shape : tuple of int
        Shape of the result; ``()`` where integers select one element.
    dtype : dtype
    order : {'C', 'F'}
        Memory order of the result, which is that of the object.
    count : int
        Number of reads. The bytes of ``read(i)`` go to ``place(i, ...)``, in any order and from any
        thread.
    contiguous : (int, int) or None
        If the bytes of the result are adjacent in the object: the range that fills
        ``bytes_of(out)``. One read straight into place then serves instead of ``reads``.
    """

    def __init__(
        self,
        axes: list[_Axis],
        dtype: np.dtype[Any],
        order: Literal["C", "F"],
        kept_shape: tuple[int, ...],
        shape: tuple[int, ...],
        max_gap: int,
        max_read: int,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.order = order
        self._kept_shape = kept_shape  # without the new axes
        self._axes = axes
        # extents[i]: bytes from the first to the last element, the axes before i being fixed
        extents = [dtype.itemsize]
        for axis in reversed(axes):
            extents.insert(0, extents[0] + (axis.offset(axis.count - 1) if axis.count else 0))
        self._extents = extents
        self._offset = sum(axis.start * axis.stride for axis in axes)
        empty = math.prod(shape) * dtype.itemsize == 0
        self._split = _choose_split(axes, extents, max_gap, max_read)
        self._cuts = _cuts(axes, extents, self._split, max_gap, max_read)
        outer = math.prod(axis.count for axis in axes[: self._split])
        self.count = 0 if empty else outer * len(self._cuts)
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

    @property
    def reads(self) -> Iterator[tuple[int, int]]:
        """Half-open byte ranges, rising."""
        return map(self.read, range(self.count))

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
        """Copy the bytes of ``read(index)`` to where they belong in a result.

        Raises
        ------
        ValueError
            If the buffer is not as long as the read.
        """
        start, stop = self.read(index)
        if len(buffer) != stop - start:
            raise ValueError(f"read {index} has {stop - start} bytes, got {len(buffer)}")
        fixed, first, stop = self._locate(index)
        inner = self._axes[self._split :]
        spans = [(0, axis.count) for axis in inner]
        spans[:1] = [(first, stop)] if inner else []
        source: npt.NDArray[Any] = np.ndarray(
            [
                axis.index(last - 1) - axis.index(begin) + 1
                for axis, (begin, last) in zip(inner, spans, strict=True)
            ],
            self.dtype,
            buffer=buffer,
            strides=[axis.pitch for axis in inner],
        )
        for number, (axis, (begin, last)) in enumerate(zip(inner, spans, strict=True)):
            if axis.listed is not None:
                source = source.take(axis.listed[begin:last] - axis.listed[begin], axis=number)
        cut = slice(first, stop) if inner else Ellipsis
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

    def _locate(self, index: int) -> tuple[tuple[int, ...], int, int]:
        """Return the positions on the outer axes, and the span on the axis that is cut."""
        group, part = divmod(index, len(self._cuts))
        fixed: list[int] = []
        for axis in reversed(self._axes[: self._split]):
            group, position = divmod(group, axis.count)
            fixed.insert(0, position)
        first = self._cuts[part]
        if part + 1 < len(self._cuts):
            return tuple(fixed), first, self._cuts[part + 1]
        return tuple(fixed), first, self._axes[self._split].count if self._inner else 1

    @property
    def _inner(self) -> bool:
        return self._split < len(self._axes)

    def read(self, index: int) -> tuple[int, int]:
        """Return the half-open byte range of a read."""
        fixed, first, stop = self._locate(index)
        start = self._offset + sum(
            axis.offset(position)
            for position, axis in zip(fixed, self._axes[: self._split], strict=True)
        )
        if not self._inner:
            return start, start + self.dtype.itemsize
        axis = self._axes[self._split]
        end = start + axis.offset(stop - 1) + self._extents[self._split + 1]
        return start + axis.offset(first), end


def plan(
    header: RawArrayHeader,
    selection: Any,
    *,
    max_gap: int | None = None,
    max_read: int | None = None,
) -> SelectionPlan:
    """Plan the reads for ``array[selection]``, in the uncompressed bytes of the array.

    Parameters
    ----------
    header : RawArrayHeader
    selection : index
        As :func:`resolve` accepts it.
    max_gap : int, default 64 KiB
        Two runs with at most this many bytes between them are one read.
    max_read : int, default 16 MiB
        Longer reads are split.

    Returns
    -------
    plan : SelectionPlan

    Raises
    ------
    SelectionError
        If the selection lies outside the array, is of another kind, or takes more than
        ``MAX_READS`` reads.

    Examples
    --------
    >>> from cottoncandy.formats.raw import RawArrayHeader
    >>> header = RawArrayHeader(np.dtype("<f8"), (1000, 500), "C", None, None, 4_000_000)
    >>> rows = plan(header, np.s_[10:20])
    >>> rows.shape, list(rows.reads)
    ((10, 500), [(40000, 80000)])
    """
    strides = _strides(header.shape, header.dtype.itemsize, header.order)
    axes: list[_Axis] = []
    kept_shape: list[int] = []
    shape: list[int] = []
    for entry in resolve(selection, header.shape):
        if entry is None:
            shape.append(1)
            continue
        axis = _Axis.of(entry, strides[len(axes)])
        axes.append(axis)
        if axis.kept:
            kept_shape.append(axis.count)
            shape.append(axis.count)
    if header.order == "F":
        axes.reverse()
    result = SelectionPlan(
        axes,
        header.dtype,
        header.order,
        tuple(kept_shape),
        tuple(shape),
        MAX_GAP_BYTES if max_gap is None else max_gap,
        MAX_READ_BYTES if max_read is None else max_read,
    )
    if result.count > MAX_READS:
        raise SelectionError(
            f"the selection {selection!r} of an array of shape {header.shape} in order "
            f"{header.order} takes {result.count} separate reads: download whole rows (or "
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
    entries = resolve(selection, array.shape)
    basic: list[Any] = [
        slice(None) if isinstance(entry, np.ndarray) else entry for entry in entries
    ]
    for number, entry in enumerate(basic):
        if isinstance(entry, range):
            basic[number] = slice(entry.start, entry.stop if entry.stop >= 0 else None, entry.step)
    result = array[(*basic, ...)]
    kept = [entry for entry in entries if not isinstance(entry, int)]
    for number, entry in enumerate(kept):
        if isinstance(entry, np.ndarray):  # on its own: next to an integer, NumPy moves the axis
            return result.take(entry, axis=number)
    return np.array(result)


def resolve(selection: Any, shape: tuple[int, ...]) -> list[Positions | None]:
    """Return what a selection takes of each axis, with None where a new axis goes.

    Parameters
    ----------
    selection : index
        Basic indexing as NumPy defines it: integers, slices, ``...`` and ``np.newaxis``, with
        negative numbers and steps. In addition, as in h5py, an ascending list of integers or a
        boolean mask along one axis, which stays in its place.
    shape : tuple of int

    Raises
    ------
    SelectionError
        If the selection lies outside the array, is of another kind, or if a list is not ascending
        or has duplicates.

    Examples
    --------
    >>> resolve(np.s_[-1, ::2], (4, 6, 2))
    [3, range(0, 6, 2), range(0, 2)]
    """
    entries = list(selection) if isinstance(selection, tuple) else [selection]
    ellipses = [place for place, entry in enumerate(entries) if entry is Ellipsis]
    if len(ellipses) > 1:
        raise SelectionError("an index can only have a single ellipsis ('...')")
    given = sum(1 for entry in entries if entry is not None and entry is not Ellipsis)
    if given > len(shape):
        raise SelectionError(
            f"too many indices for array: array is {len(shape)}-dimensional, but {given} were "
            f"indexed"
        )
    place = ellipses[0] if ellipses else len(entries)
    entries[place : place + len(ellipses)] = [slice(None)] * (len(shape) - given)
    resolved: list[Positions | None] = []
    lists = number = 0
    for entry in entries:
        if entry is None:
            resolved.append(None)
            continue
        single = _index(entry)
        if single is not None:
            resolved.append(_in_bounds(single, number, shape[number]))
        elif isinstance(entry, slice):
            resolved.append(_sliced(entry, number, shape[number]))
        else:
            resolved.append(_listed(entry, number, shape[number]))
            lists += 1
        number += 1
    if lists > 1:
        raise SelectionError(
            "only one axis can have a list or a mask; download the array and index that"
        )
    return resolved


def _index(entry: Any) -> int | None:
    # numpy takes True and False as masks, though they are integers to Python.
    if isinstance(entry, (bool, np.bool_)):
        return None
    try:
        return operator.index(entry)
    except TypeError:
        return None


def _in_bounds(index: int, number: int, length: int) -> int:
    if not -length <= index < length:
        raise SelectionError(f"index {index} is out of bounds for axis {number} with size {length}")
    return index % length


def _sliced(entry: slice, number: int, length: int) -> range:
    try:
        positions = range(*entry.indices(length))
    except (TypeError, ValueError) as exc:
        raise SelectionError(f"the slice {entry!r} of axis {number}: {exc}") from exc
    if len(positions) > 1:
        return positions
    return range(positions.start, positions.start + 1) if positions else range(0)


def _listed(entry: Any, number: int, length: int) -> Positions:
    """Return the positions in a list, or those that a mask marks."""
    known = isinstance(entry, (list, tuple, range)) or hasattr(entry, "__array__")
    try:
        values = np.asarray(entry) if known else np.empty((), object)
    except ValueError:
        values = np.empty((), object)
    mask = values.dtype == bool
    if values.ndim != 1 or not (mask or values.dtype.kind in "iu" or not values.size):
        raise SelectionError(
            f"a {type(entry).__name__} cannot select byte ranges: only integers, slices, '...', "
            f"None, and along one axis an ascending list of integers or a mask can; download the "
            f"array and index that"
        )
    if mask:
        if len(values) != length:
            raise SelectionError(
                f"boolean index did not match indexed array along axis {number}; size of axis is "
                f"{length} but size of corresponding boolean axis is {len(values)}"
            )
        values = np.flatnonzero(values)
    if not values.size:
        return range(0)
    for extreme in (int(values.min()), int(values.max())):
        _in_bounds(extreme, number, length)
    positions = values.astype(np.int64)
    positions[positions < 0] += length
    steps = np.diff(positions)
    if np.any(steps <= 0):
        raise SelectionError(
            f"the list of axis {number} must be in ascending order, without duplicates: use "
            f"np.unique, then index the result"
        )
    if np.all(steps == steps[:1]):
        return range(int(positions[0]), int(positions[-1]) + 1, int(steps[0]) if len(steps) else 1)
    return positions


def _strides(shape: tuple[int, ...], itemsize: int, order: Literal["C", "F"]) -> list[int]:
    lengths = shape if order == "F" else shape[::-1]
    strides = list(itertools.accumulate(lengths, operator.mul, initial=itemsize))[: len(shape)]
    return strides if order == "F" else strides[::-1]


def _choose_split(axes: list[_Axis], extents: list[int], max_gap: int, max_read: int) -> int:
    """Return the axis along which reads are cut.

    The axes before it are fixed in each read; those after it are read whole.
    """
    split = len(axes)
    while split and (
        axes[split - 1].count <= 1 or axes[split - 1].longest_pitch - extents[split] <= max_gap
    ):
        split -= 1
    if split and axes[split - 1].listed is not None:
        split -= 1  # some of its gaps are large, and others may not be
    while split < len(axes) and extents[split + 1] > max_read:
        split += 1
    return split


def _cuts(
    axes: list[_Axis], extents: list[int], split: int, max_gap: int, max_read: int
) -> Sequence[int]:
    """Return the first position of each read along the axis that is cut."""
    if split == len(axes):
        return range(1)
    axis, extent = axes[split], extents[split + 1]
    steps = max(max_read - extent, 0) // max(axis.pitch, 1)
    if axis.listed is None:
        return range(0, max(axis.count, 1), 1 + steps if axis.pitch else max(axis.count, 1))
    large = np.flatnonzero(np.diff(axis.listed) * axis.stride - extent > max_gap) + 1
    cuts = []
    for first, stop in itertools.pairwise([0, *large.tolist(), axis.count]):
        while first < stop:
            cuts.append(first)
            end = int(np.searchsorted(axis.listed, axis.listed[first] + steps, side="right"))
            first = min(end, stop)
    return cuts
