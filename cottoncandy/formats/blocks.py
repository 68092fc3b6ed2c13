"""Which blocks of a chunked array a selection touches, and where their elements go. Pure."""

from __future__ import annotations

import itertools
import operator
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cottoncandy.exceptions import SelectionError
from cottoncandy.formats.selection import expand

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BlockSelection", "ChunkProjection", "select_blocks"]


@dataclass(frozen=True, slots=True)
class ChunkProjection:
    """What one block has of a selection.

    Parameters
    ----------
    index : tuple of int
        Number of the block, per dimension.
    chunk_selection : tuple of int or slice
        What to select in the block; its slices rise.
    out_selection : tuple of slice
        Where that goes in :meth:`BlockSelection.ascending_view`.
    shape : tuple of int
        Shape of what is selected.
    """

    index: tuple[int, ...]
    chunk_selection: tuple[int | slice, ...]
    out_selection: tuple[slice, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _DimProjection:
    """One dimension of a projection; ``out_selection`` is None for an integer index."""

    block: int
    chunk_selection: int | slice
    out_selection: slice | None


@dataclass(frozen=True, slots=True)
class BlockSelection:
    """A selection, cut along the borders of the blocks; :func:`select_blocks` makes it.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    kept_shape : tuple of int
        The same without the new axes.
    reversed_axes : tuple of bool
        Per kept axis, whether the selection is in descending order.
    cuts : tuple of tuple of _DimProjection
        Per dimension of the array.
    """

    shape: tuple[int, ...]
    kept_shape: tuple[int, ...]
    reversed_axes: tuple[bool, ...]
    cuts: tuple[tuple[_DimProjection, ...], ...]

    def __iter__(self) -> Iterator[ChunkProjection]:
        """Yield the blocks that are touched, the last dimension fastest."""
        for combined in itertools.product(*self.cuts):
            out_selection = tuple(
                cut.out_selection for cut in combined if cut.out_selection is not None
            )
            yield ChunkProjection(
                tuple(cut.block for cut in combined),
                tuple(cut.chunk_selection for cut in combined),
                out_selection,
                tuple(place.stop - place.start for place in out_selection),
            )

    def __len__(self) -> int:
        """Return how many blocks are touched."""
        count = 1
        for cuts in self.cuts:
            count *= len(cuts)
        return count

    def ascending_view(self, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of the result in which pieces have their places."""
        steps: list[Any] = [slice(None, None, -1 if falls else 1) for falls in self.reversed_axes]
        # Without the dots, no steps would give a scalar.
        view: npt.NDArray[Any] = out.reshape(self.kept_shape)[(*steps, ...)]
        return view


def select_blocks(chunks: tuple[tuple[int, ...], ...], selection: Any) -> BlockSelection:
    """Find what ``array[selection]`` takes of each block.

    Parameters
    ----------
    chunks : tuple of tuple of int
        Per dimension the lengths of the blocks.
    selection : int, slice, Ellipsis, numpy.newaxis or a tuple of them
        Basic indexing as numpy defines it, with negative numbers and steps.

    Returns
    -------
    selected : BlockSelection

    Raises
    ------
    SelectionError
        If the selection lies outside the array, or is of another kind.

    Examples
    --------
    >>> import numpy as np
    >>> [piece.index for piece in select_blocks(((4, 4, 2), (6,)), np.s_[3:5])]
    [(0, 0), (1, 0)]
    """
    shape: list[int] = []
    kept: list[int] = []
    falling: list[bool] = []
    cuts: list[tuple[_DimProjection, ...]] = []
    for entry in expand(selection, len(chunks)):
        if entry is None:
            shape.append(1)
            continue
        number = len(cuts)
        starts = [0, *itertools.accumulate(chunks[number])]
        if not isinstance(entry, slice):
            cuts.append((_cut_index(operator.index(entry), number, starts),))
            continue
        positions = _positions(entry, number, starts[-1])
        falling.append(positions.step < 0)
        rising = positions[::-1] if positions.step < 0 else positions
        cuts.append(tuple(_cut_positions(rising, starts)))
        kept.append(len(positions))
        shape.append(len(positions))
    return BlockSelection(tuple(shape), tuple(kept), tuple(falling), tuple(cuts))


def _positions(entry: slice, number: int, length: int) -> range:
    try:
        return range(*entry.indices(length))
    except (TypeError, ValueError) as exc:
        raise SelectionError(f"the slice {entry!r} of axis {number}: {exc}") from exc


def _cut_index(index: int, number: int, starts: list[int]) -> _DimProjection:
    length = starts[-1]
    if not -length <= index < length:
        raise SelectionError(f"index {index} is out of bounds for axis {number} with size {length}")
    block = bisect_right(starts, index % length) - 1
    return _DimProjection(block, index % length - starts[block], None)


def _cut_positions(positions: range, starts: list[int]) -> Iterator[_DimProjection]:
    """Cut rising positions where blocks begin; a block between two of them has no part."""
    first = 0
    while first < len(positions):
        block = bisect_right(starts, positions[first]) - 1
        start, stop = starts[block], starts[block + 1]
        last = min((stop - 1 - positions.start) // positions.step, len(positions) - 1)
        chunk_selection = slice(
            positions[first] - start, positions[last] - start + 1, positions.step
        )
        yield _DimProjection(block, chunk_selection, slice(first, last + 1))
        first = last + 1
