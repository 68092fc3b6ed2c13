"""Sparse matrices and arrays of scipy as named dense parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["from_parts", "to_parts"]


def to_parts(matrix: Any) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return the manifest and the parts of a sparse matrix."""
    raise NotImplementedError


def from_parts(
    manifest: Any, parts: Mapping[str, npt.NDArray[Any]], *, object_name: str = ""
) -> Any:
    """Put a sparse matrix together again."""
    raise NotImplementedError
