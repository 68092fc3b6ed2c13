"""Selections: which byte ranges of an array, and which chunks, a selection needs. Pure.

The reads of an uncompressed array are planned as follows. The axes are taken in their order in the
object, slowest first. A selection fixes, per axis, evenly spaced positions. What it
needs is therefore a regular pattern: runs of bytes at equal distances, and such groups again at
equal distances, axis by axis. Runs whose gap is small are read as one,
because a request costs more than the bytes of the gap; the pattern of the reads then is regular as
well, and numpy copies each of them into place as one strided array. One axis may have a list of
positions instead: reads are then cut where its gaps are large.
"""

from __future__ import annotations

import itertools
import math
import operator
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import SelectionError
from cottoncandy.formats.raw import Layout

if TYPE_CHECKING:
    import numpy.typing as npt

    from cottoncandy.core.buffers import Buffer
    from cottoncandy.formats.raw import RawArrayHeader

#: The positions that a selection takes along an axis: evenly spaced, or an ascending list.
Positions: TypeAlias = "range | npt.NDArray[np.int64]"

_Key: TypeAlias = "slice | npt.NDArray[np.int64]"

#: Two runs with at most this many bytes between them are one read.
MAX_GAP_BYTES = 64 * 1024

#: A longer read is split, so that the buffers in flight stay small. Only one element that is
#: larger makes a larger read.
MAX_READ_BYTES = 16 * MiB

#: A selection that takes more reads is refused.
MAX_READS = 1_000_000


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of an array; :func:`resolve` makes it.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    axes : tuple of range or ndarray
        The positions along each axis of the array, in rising order.
    keys : tuple
        What gives the result one axis per axis of the array, all rising.
    """

    shape: tuple[int, ...]
    axes: tuple[Positions, ...]
    keys: tuple[int | slice | None, ...]

    @property
    def falls(self) -> bool:
        """Whether an axis is selected in falling order."""
        return slice(None, None, -1) in self.keys

    def rising_view(self, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of the result with one axis per axis of the array, all rising."""
        view: npt.NDArray[Any] = out[(*self.keys, ...)]  # without the dots, a scalar of no keys
        return view


def resolve(selection: Any, shape: tuple[int, ...]) -> Selection:
    """Return what a selection takes of each axis.

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
    >>> resolve(np.s_[-1, ::2], (4, 6, 2)).axes
    (range(3, 4), range(0, 6, 2), range(0, 2))
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
    lengths: list[int] = []
    axes: list[Positions] = []
    keys: list[int | slice | None] = []
    lists = 0
    for entry in entries:
        if entry is None:
            lengths.append(1)
            keys.append(0)
            continue
        number, length = len(axes), shape[len(axes)]
        single = _index(entry)
        if single is not None:
            position = _in_bounds(single, number, length)
            axes.append(range(position, position + 1))
            keys.append(None)
            continue
        if isinstance(entry, slice):
            positions: Positions = _sliced(entry, number, length)
        else:
            positions = _listed(entry, number, length)
            lists += 1
        falls = isinstance(positions, range) and positions.step < 0
        lengths.append(len(positions))
        axes.append(positions[::-1] if falls else positions)
        keys.append(slice(None, None, -1 if falls else 1))
    if lists > 1:
        raise SelectionError(
            "only one axis can have a list or a mask; download the array and index that"
        )
    return Selection(tuple(lengths), tuple(axes), tuple(keys))


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


def select(array: npt.NDArray[Any], selection: Any) -> npt.NDArray[Any]:
    """Return a copy of ``array[selection]``, for the selections that :func:`plan` takes.

    The result is an array of the same dtype even where only integers select. Its order is that of
    the array, mostly C if a list selects.

    Raises
    ------
    SelectionError
        If the selection lies outside the array, or is of another kind.
    """
    selected = resolve(selection, array.shape)
    order: Literal["C", "F"] = "C" if array.flags.c_contiguous else "F"
    keys = tuple(
        slice(axis.start, axis.stop, axis.step) if isinstance(axis, range) else slice(None)
        for axis in selected.axes
    )
    part = array[keys]
    for number, axis in enumerate(selected.axes):
        if not isinstance(axis, range):
            part = part.take(axis, axis=number)  # several times as fast as an index
            if part.shape == selected.shape and not selected.falls:
                return part
    result = Layout(array.dtype, selected.shape, order).new_array()
    selected.rising_view(result)[...] = part
    return result


# -- chunked arrays ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChunkProjection:
    """What one chunk has of a selection.

    Parameters
    ----------
    index : tuple of int
        Number of the chunk, per dimension.
    chunk_selection : tuple of slice or ndarray
        What to select in the chunk, in ascending order.
    out_selection : tuple of slice
        Where that goes in :meth:`Selection.rising_view`.
    shape : tuple of int
        Shape of what is selected.
    """

    index: tuple[int, ...]
    chunk_selection: tuple[_Key, ...]
    out_selection: tuple[slice, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChunkSelection:
    """A selection, cut along the borders of the chunks; :func:`select_chunks` makes it.

    Parameters
    ----------
    whole : Selection
    cuts : list of list of tuple
        Per dimension of the array the number of each chunk, what to select there, and where it
        goes.
    """

    whole: Selection
    cuts: list[list[tuple[int, _Key, slice]]]

    def __iter__(self) -> Iterator[ChunkProjection]:
        """Yield the chunks that are touched, the last dimension fastest."""
        for combined in itertools.product(*self.cuts):
            yield ChunkProjection(
                tuple(chunk for chunk, _, _ in combined),
                tuple(in_chunk for _, in_chunk, _ in combined),
                tuple(place for _, _, place in combined),
                tuple(place.stop - place.start for _, _, place in combined),
            )

    def __len__(self) -> int:
        """Return how many chunks are touched."""
        return math.prod(map(len, self.cuts))


def select_chunks(chunks: tuple[tuple[int, ...], ...], selection: Any) -> ChunkSelection:
    """Find what ``array[selection]`` takes of each chunk.

    Parameters
    ----------
    chunks : tuple of tuple of int
        Per dimension the lengths of the chunks.
    selection : index
        As :func:`resolve` accepts it.

    Returns
    -------
    selected : ChunkSelection

    Raises
    ------
    SelectionError
        If the selection lies outside the array, or is of another kind.

    Examples
    --------
    >>> import numpy as np
    >>> [piece.index for piece in select_chunks(((4, 4, 2), (6,)), np.s_[3:5])]
    [(0, 0), (1, 0)]
    """
    whole = resolve(selection, tuple(map(sum, chunks)))
    return ChunkSelection(whole, [[*_cut(*pair)] for pair in zip(whole.axes, chunks, strict=True)])


def _cut(positions: Positions, lengths: tuple[int, ...]) -> Iterator[tuple[int, _Key, slice]]:
    """Cut rising positions where chunks begin; a chunk between two of them has no part."""
    starts = [0, *itertools.accumulate(lengths)]
    first = 0
    while first < len(positions):
        chunk = bisect_right(starts, positions[first]) - 1
        start, end = starts[chunk], starts[chunk + 1]
        in_chunk: _Key
        if isinstance(positions, range):
            stop = min((end - 1 - positions.start) // positions.step + 1, len(positions))
            last = positions[stop - 1]
            in_chunk = slice(positions[first] - start, last - start + 1, positions.step)
        else:
            stop = int(np.searchsorted(positions, end))
            in_chunk = positions[first:stop] - start
        yield chunk, in_chunk, slice(first, stop)
        first = stop


# -- plans of reads --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Axis:
    """An axis of the stored array: the positions in rising order, and the bytes between two."""

    positions: Positions
    stride: int  # bytes from one index to the next

    def offset(self, number: int) -> int:
        """Return the bytes from the first position to another."""
        return int(self.positions[number] - self.positions[0]) * self.stride

    @property
    def longest_pitch(self) -> int:
        """Bytes from one position to the next, where that is most."""
        if isinstance(self.positions, range):
            return self.positions.step * self.stride
        return int(np.diff(self.positions).max()) * self.stride


class SelectionPlan:
    """The reads of one selection, and where their bytes go; made by :func:`plan`.

    Attributes
    ----------
    result : Layout
        Of the result. Its shape is ``()`` where integers select one element; its order is that of
        the object.
    count : int
        Number of reads. The bytes of ``read(i)`` go to ``place(i, ...)``, in any order and from any
        thread.
    contiguous : (int, int) or None
        If the bytes of the result are adjacent in the object: the range that fills
        ``result.bytes_of(out)``. One read straight into place then serves instead of ``reads``.
    """

    def __init__(
        self, header: RawArrayHeader, selection: Selection, max_gap: int, max_read: int
    ) -> None:
        self.result = Layout(header.dtype, selection.shape, header.order)
        self._selection = selection
        itemsize = header.dtype.itemsize
        self.count = 0
        self.contiguous: tuple[int, int] | None = (0, 0)
        if not self.result.nbytes:
            return
        lengths, stored = header.shape, selection.axes
        if self.result.order == "F":
            lengths, stored = lengths[::-1], stored[::-1]
        self._axes = axes = [
            _Axis(positions, itemsize * math.prod(lengths[number + 1 :]))
            for number, positions in enumerate(stored)
        ]
        axes.append(_Axis(range(1), itemsize))  # reads of single elements are cut along this one
        # extents[i]: bytes from the first to the last element, the axes before i being fixed
        extents = [itemsize]
        for axis in reversed(axes):
            extents.insert(0, extents[0] + axis.offset(-1))
        self._extents = extents
        self._start = sum(int(axis.positions[0]) * axis.stride for axis in axes)
        self._split = split = _choose_split(axes, extents, max_gap, max_read)
        self._cuts = _cuts(axes[split], extents[split + 1], max_gap, max_read)
        #: How many positions there are along each of the axes before the one that is cut.
        self._grid = tuple(len(axis.positions) for axis in axes[:split])
        self.count = math.prod(self._grid) * len(self._cuts)
        adjacent = extents[0] == self.result.nbytes and not selection.falls
        self.contiguous = (self._start, self._start + extents[0]) if adjacent else None

    @property
    def reads(self) -> Iterator[tuple[int, int]]:
        """Half-open byte ranges, rising."""
        return map(self.read, range(self.count))

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
        fixed, first, last = self._locate(index)
        inner = self._axes[self._split : -1]  # the axis of the element may be one too many
        spans = [axis.positions for axis in inner]
        spans[:1] = [positions[first:last] for positions in spans[:1]]
        box: npt.NDArray[Any] = np.ndarray(
            [int(span[-1] - span[0]) + 1 for span in spans],
            self.result.dtype,
            buffer=buffer,
            strides=[axis.stride for axis in inner],
        )
        steps = [span.step if isinstance(span, range) else 1 for span in spans]
        chosen: tuple[Any, ...] = (*(slice(None, None, step) for step in steps), ...)
        box = box[chosen]
        for number, span in enumerate(spans):
            if not isinstance(span, range):
                box = box.take(span - span[0], axis=number)  # in half the time of an index
        view = self._selection.rising_view(out)
        view = view.T if self.result.order == "F" else view
        target: tuple[Any, ...] = (*fixed, *[slice(first, last)][: len(inner)], ...)
        view[target] = box

    def _locate(self, index: int) -> tuple[list[int], int, int]:
        """Return the positions on the outer axes, and the span on the axis that is cut."""
        outer, part = divmod(index, len(self._cuts))
        fixed = np.unravel_index(outer, self._grid)
        bounds = (*self._cuts[part : part + 2], len(self._axes[self._split].positions))
        return [*map(int, fixed)], bounds[0], bounds[1]

    def read(self, index: int) -> tuple[int, int]:
        """Return the half-open byte range of a read."""
        fixed, first, last = self._locate(index)
        start = self._start + sum(map(_Axis.offset, self._axes, fixed))
        axis = self._axes[self._split]
        end = start + axis.offset(last - 1) + self._extents[self._split + 1]
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
    >>> rows.result.shape, list(rows.reads)
    ((10, 500), [(40000, 80000)])
    """
    result = SelectionPlan(
        header,
        resolve(selection, header.shape),
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


def _choose_split(axes: list[_Axis], extents: list[int], max_gap: int, max_read: int) -> int:
    """Return the axis along which reads are cut.

    The axes before it are fixed in each read; those after it are read whole.
    """
    split = len(axes)
    while split and (
        len(axes[split - 1].positions) == 1
        or axes[split - 1].longest_pitch - extents[split] <= max_gap
    ):
        split -= 1
    if split and not isinstance(axes[split - 1].positions, range):
        split -= 1  # some of its gaps are large, and others may not be
    while split < len(axes) - 1 and extents[split + 1] > max_read:
        split += 1
    return split


def _cuts(axis: _Axis, extent: int, max_gap: int, max_read: int) -> Sequence[int]:
    """Return the number of the first position of each read along the axis that is cut.

    ``extent`` is that of one position.
    """
    positions, count = axis.positions, len(axis.positions)
    room = max(max_read - extent, 0)
    if isinstance(positions, range):
        return range(0, count, 1 + room // (positions.step * axis.stride))
    large = np.flatnonzero(np.diff(positions) * axis.stride - extent > max_gap) + 1
    cuts = []
    for first, stop in itertools.pairwise([0, *large.tolist(), count]):
        while first < stop:
            cuts.append(first)
            end = np.searchsorted(positions, positions[first] + room // axis.stride, side="right")
            first = min(int(end), stop)
    return cuts
