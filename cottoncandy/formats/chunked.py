"""Chunked arrays: the manifest that says which part is where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Manifest", "chunks_for", "part_name"]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``metadata.json`` of a chunked array says, checked."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[tuple[int, ...], ...]
    parts: tuple[tuple[tuple[int, ...], str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return what to write as JSON."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, obj: Any, *, object_name: str) -> Manifest:
        """Make sense of what was read."""
        raise NotImplementedError


def part_name(index: int) -> str:
    """Return the name of a part, relative to its manifest."""
    return f"pt{index:04d}"


def chunks_for(
    shape: tuple[int, ...], itemsize: int, axis: int | None, chunk_bytes: int
) -> tuple[tuple[int, ...], ...]:
    """Return chunk lengths per dimension, dask's convention."""
    raise NotImplementedError
