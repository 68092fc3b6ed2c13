"""Which chunks of a chunked array a selection touches, and where their elements go. Pure."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cottoncandy.formats.selection import Positions, Selection, resolve

if TYPE_CHECKING:
    import numpy.typing as npt

    _InChunk: TypeAlias = slice | npt.NDArray[np.int64]


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
        Where that goes in :meth:`~cottoncandy.formats.selection.Selection.rising_view`.
    shape : tuple of int
        Shape of what is selected.
    """

    index: tuple[int, ...]
    chunk_selection: tuple[_InChunk, ...]
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
    cuts: list[list[tuple[int, _InChunk, slice]]]

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
    whole = resolve(selection, tuple(map(sum, chunks)))
    return ChunkSelection(whole, [[*_cut(*pair)] for pair in zip(whole.axes, chunks, strict=True)])


def _cut(positions: Positions, lengths: tuple[int, ...]) -> Iterator[tuple[int, _InChunk, slice]]:
    """Cut rising positions where chunks begin; a chunk between two of them has no part."""
    starts = [0, *itertools.accumulate(lengths)]
    first = 0
    while first < len(positions):
        chunk = bisect_right(starts, positions[first]) - 1
        start, end = starts[chunk], starts[chunk + 1]
        in_chunk: _InChunk
        if isinstance(positions, range):
            stop = min((end - 1 - positions.start) // positions.step + 1, len(positions))
            last = positions[stop - 1]
            in_chunk = slice(positions[first] - start, last - start + 1, positions.step)
        else:
            stop = int(np.searchsorted(positions, end))
            in_chunk = positions[first:stop] - start
        yield chunk, in_chunk, slice(first, stop)
        first = stop
