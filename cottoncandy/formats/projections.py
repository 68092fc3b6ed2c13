"""Which chunks of a chunked array a selection touches, and where their elements go. Pure."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cottoncandy.formats.selection import resolve

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ChunkProjection:
    """What one chunk has of a selection.

    Parameters
    ----------
    index : tuple of int
        Number of the chunk, per dimension.
    chunk_selection : tuple of int, slice or ndarray
        What to select in the chunk, in ascending order.
    out_selection : tuple of slice
        Where that goes in :meth:`ChunkSelection.ascending_view`.
    shape : tuple of int
        Shape of what is selected.
    """

    index: tuple[int, ...]
    chunk_selection: tuple[int | slice | npt.NDArray[np.int64], ...]
    out_selection: tuple[slice, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _DimProjection:
    """One dimension of a projection; ``out_selection`` is None for an integer index."""

    chunk: int
    chunk_selection: int | slice | npt.NDArray[np.int64]
    out_selection: slice | None


@dataclass(frozen=True, slots=True)
class ChunkSelection:
    """A selection, cut along the borders of the chunks; :func:`select_chunks` makes it.

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
        """Yield the chunks that are touched, the last dimension fastest."""
        for combined in itertools.product(*self.cuts):
            out_selection = tuple(
                cut.out_selection for cut in combined if cut.out_selection is not None
            )
            yield ChunkProjection(
                tuple(cut.chunk for cut in combined),
                tuple(cut.chunk_selection for cut in combined),
                out_selection,
                tuple(place.stop - place.start for place in out_selection),
            )

    def __len__(self) -> int:
        """Return how many chunks are touched."""
        return math.prod(map(len, self.cuts))

    def ascending_view(self, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of the result in which pieces have their places."""
        steps: list[Any] = [slice(None, None, -1 if falls else 1) for falls in self.reversed_axes]
        # Without the dots, no steps would give a scalar.
        view: npt.NDArray[Any] = out.reshape(self.kept_shape)[(*steps, ...)]
        return view


def select_chunks(chunks: tuple[tuple[int, ...], ...], selection: Any) -> ChunkSelection:
    """Find what ``array[selection]`` takes of each chunk.

    Parameters
    ----------
    chunks : tuple of tuple of int
        Per dimension the lengths of the chunks.
    selection : index
        As :func:`~cottoncandy.formats.selection.resolve` accepts it.

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
    shape: list[int] = []
    kept: list[int] = []
    falling: list[bool] = []
    cuts: list[tuple[_DimProjection, ...]] = []
    for entry in resolve(selection, tuple(map(sum, chunks))):
        if entry is None:
            shape.append(1)
            continue
        starts = [0, *itertools.accumulate(chunks[len(cuts)])]
        if isinstance(entry, int):
            chunk = bisect_right(starts, entry) - 1
            cuts.append((_DimProjection(chunk, entry - starts[chunk], None),))
            continue
        falls = isinstance(entry, range) and entry.step < 0
        falling.append(falls)
        cuts.append(tuple(_cut_positions(entry[::-1] if falls else entry, starts)))
        kept.append(len(entry))
        shape.append(len(entry))
    return ChunkSelection(tuple(shape), tuple(kept), tuple(falling), tuple(cuts))


def _cut_positions(
    positions: range | npt.NDArray[np.int64], starts: list[int]
) -> Iterator[_DimProjection]:
    """Cut rising positions where chunks begin; a chunk between two of them has no part."""
    first = 0
    while first < len(positions):
        chunk = bisect_right(starts, positions[first]) - 1
        start, end = starts[chunk], starts[chunk + 1]
        chunk_selection: slice | npt.NDArray[np.int64]
        if isinstance(positions, range):
            stop = min((end - 1 - positions.start) // positions.step + 1, len(positions))
            last = positions[stop - 1]
            chunk_selection = slice(positions[first] - start, last - start + 1, positions.step)
        else:
            stop = int(np.searchsorted(positions, end))
            chunk_selection = positions[first:stop] - start
        yield _DimProjection(chunk, chunk_selection, slice(first, stop))
        first = stop
