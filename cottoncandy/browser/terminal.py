"""A small picture of an array, made of characters."""

from __future__ import annotations

from typing import Any

import numpy as np

_SHADES = " .:-=+*#%@"
_ROWS, _COLUMNS = 20, 60
_SAMPLE_BYTES = 64 * 2**20


def describe(array: Any) -> str:
    """Return dtype, shape, statistics and a picture of the middle plane of an array.

    If an array has more than 64 MiB, only its middle plane is read.
    """
    lines = [f"{array.dtype} {array.shape}"]
    whole = array.nbytes <= _SAMPLE_BYTES
    plane = np.asarray(array[(...,)] if whole else array[_middle(array.shape)])
    if plane.dtype.kind not in "biuf" or not plane.size:
        return lines[0]
    values = plane.astype("f8")
    finite = values[np.isfinite(values)]
    if finite.size:
        lines.append(
            f"{'' if whole else 'middle plane: '}min {finite.min():.4g}, max {finite.max():.4g}, "
            f"mean {finite.mean():.4g}, std {finite.std():.4g}"
        )
    if finite.size < values.size:
        lines.append(f"{values.size - finite.size} values are not finite")
    if whole:
        values = values[_middle(values.shape)]
    return "\n".join([*lines, *_picture(values)]) if finite.size else "\n".join(lines)


def _middle(shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the index of the plane of the last two axes in the middle of the others."""
    return (*(length // 2 for length in shape[:-2]), ...)


def _picture(values: np.ndarray[Any, Any]) -> list[str]:
    plane = np.atleast_2d(values)
    rows = np.linspace(0, plane.shape[0] - 1, min(plane.shape[0], _ROWS)).round().astype(int)
    columns = np.linspace(0, plane.shape[1] - 1, min(plane.shape[1], _COLUMNS)).round().astype(int)
    sample = plane[np.ix_(rows, columns)]
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return []
    low, high = finite.min(), finite.max()
    scaled = np.nan_to_num((sample - low) / (high - low or 1), nan=0, posinf=1, neginf=0)
    shades = (scaled * (len(_SHADES) - 1)).round().astype(int)
    return ["".join(_SHADES[shade] for shade in row).rstrip() for row in shades]
