"""Partial reads: which byte ranges of an uncompressed array a selection needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cottoncandy._buffers import Buffer
    from cottoncandy.formats.raw import RawArrayHeader

__all__ = ["SelectionPlan", "plan"]


class SelectionPlan:
    """The reads of one selection, and where their bytes go.

    ``reads`` is a (lazy) sequence of half-open byte ranges ``(start, stop)``; the buffer of number
    ``i`` goes to :meth:`place`, from any thread, in any order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    reads: Sequence[tuple[int, int]]

    #: Where the result's bytes lie side by side in the object, and fill ``bytes_of_result``
    #: in order: one read straight into place serves. Else None.
    contiguous: tuple[int, int] | None

    def new_array(self) -> npt.NDArray[Any]:
        """Return the result, not yet filled (0-d where only integers select)."""
        raise NotImplementedError

    def bytes_of(self, out: npt.NDArray[Any]) -> memoryview:
        """Return the flat writable bytes of the result in the order of the object."""
        raise NotImplementedError

    def place(self, index: int, buffer: Buffer, out: npt.NDArray[Any]) -> None:
        """Copy what was read for ``reads[index]`` to its place in the result."""
        raise NotImplementedError


def plan(header: RawArrayHeader, selection: Any) -> SelectionPlan:
    """Plan the reads for ``array[selection]`` (numpy basic indexing)."""
    raise NotImplementedError
