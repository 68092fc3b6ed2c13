"""Small pictures of arrays: a PNG of a slice, an SVG of a curve, characters in a terminal."""

from __future__ import annotations

import base64
import os
import struct
import zlib
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cottoncandy.core.output import bytes2human, escape, printable
from cottoncandy.exceptions import InvalidArgumentError, UnsupportedDtypeError

if TYPE_CHECKING:
    from cottoncandy.browser.datasets import S3Dataset

_PIXELS = 240  # longest side of a thumbnail
_POINTS = 320  # steps of a sparkline
_PIECE_BYTES = 64 * 1024  # read at each step of a long curve
_WHOLE_SLICE_BYTES = 4 * 2**20  # for larger slices, only some rows are fetched
_HEIGHT = 64

# In a terminal.
_SHADES = " .:-=+*#%@"
_ROWS, _COLUMNS = 20, 60
_SAMPLE_BYTES = 64 * 2**20

# A dark-to-light scale whose brightness rises evenly, so that it also reads in grey.
_ANCHORS = np.array(
    [(24, 15, 61), (72, 31, 112), (121, 40, 116), (178, 54, 99), (229, 89, 70), (249, 149, 65),
     (252, 210, 108), (252, 253, 215)],
    dtype=float,
)  # fmt: skip


class Preview:
    """A small picture of an array; notebooks show it.

    Attributes
    ----------
    data : bytes
        The picture.
    mime_type : str
        ``image/png`` for two and more dimensions, ``image/svg+xml`` for one.
    caption : str
        Which part of the array it is, and the range of its values.
    """

    def __init__(self, data: bytes, mime_type: str, caption: str) -> None:
        self.data = data
        self.mime_type = mime_type
        self.caption = caption

    def __repr__(self) -> str:
        return f"<cottoncandy-preview {printable(self.caption)}>"

    def _repr_html_(self) -> str:
        source = f"data:{self.mime_type};base64,{base64.b64encode(self.data).decode()}"
        caption = escape(self.caption)
        return (
            f'<figure style="margin:.5em 0"><img src="{source}" alt="{caption}" '
            f'style="image-rendering:pixelated;max-width:100%">'
            f'<figcaption style="font:12px system-ui,sans-serif;opacity:.75">{caption}'
            f"</figcaption></figure>"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file.

        Parameters
        ----------
        path : str or path-like
        """
        Path(path).write_bytes(self.data)


def make_preview(dataset: S3Dataset, max_bytes: int) -> Preview:
    """Fetch the data of the picture, and draw it."""
    if not isinstance(max_bytes, Real) or not max_bytes >= 0:
        raise InvalidArgumentError(
            f"max_bytes must be a number of bytes of at least 0, got {max_bytes!r}"
        )
    shape, dtype = dataset.shape, dataset.dtype
    if dtype.kind not in "biufcmM":
        raise UnsupportedDtypeError(
            f"object '{dataset._fullpath}' holds {dtype}: only numbers, times and booleans have a "
            f"picture"
        )
    if len(shape) < 2 or min(shape) == 0:
        course, part = _fetch_samples(dataset, max_bytes)
        low, high = _range(course)
        caption = _caption(dataset, part, low, high)
        return Preview(_sparkline(course, low, high).encode(), "image/svg+xml", caption)
    index = tuple(length // 2 for length in shape[:-2])
    rows = _row_step(dataset)
    selection = (*index, slice(None, None, rows), slice(None))
    picture = _numbers(_fetch(dataset, selection, max_bytes))
    low, high = _range(picture)
    part = "[" + ", ".join([*map(str, index), f"::{rows}" if rows > 1 else ":", ":"]) + "]"
    if rows > 1:  # the columns as well, or the picture would be flat
        picture = picture[:, _stride_slice(rows, picture.shape[1])]
    steps = [-(-length // _PIXELS) for length in picture.shape]
    small = picture[tuple(_stride_slice(max(steps), length) for length in picture.shape)]
    return Preview(
        _png(_colours(small, low, high)), "image/png", _caption(dataset, part, low, high)
    )


# -- fetching ------------------------------------------------------------------------------------


def _row_step(dataset: S3Dataset) -> int:
    """Return which rows to fetch of a large slice, where rows can be fetched one by one."""
    rows, columns = dataset.shape[-2:]
    large = rows * columns * dataset.dtype.itemsize > _WHOLE_SLICE_BYTES
    by_columns = getattr(getattr(dataset._version, "header", None), "order", "C") == "F"
    if not large or dataset.compression is not None or by_columns:
        return 1
    return max(rows // _PIXELS, 1)


def _fetch(dataset: S3Dataset, selection: tuple[Any, ...], max_bytes: int) -> npt.NDArray[Any]:
    needed = dataset._transfer_bytes(selection)
    if needed > max_bytes:
        raise InvalidArgumentError(
            f"a picture of '{dataset._fullpath}' needs {bytes2human(needed)}, more than "
            f"max_bytes={bytes2human(max_bytes)}"
        )
    return _dense(dataset[selection] if selection else dataset[()])


def _dense(found: Any) -> npt.NDArray[Any]:
    """Return what was selected of an array, which is sparse if the array is."""
    return np.asarray(found.toarray() if hasattr(found, "toarray") else found)


def _fetch_samples(dataset: S3Dataset, max_bytes: int) -> tuple[npt.NDArray[np.float64], str]:
    """Return the values of a 1-d array, or evenly spaced pieces of a long uncompressed one."""
    if not dataset.shape or min(dataset.shape) == 0:
        values = _numbers(_dense(dataset[()])).reshape(-1)
        return values, "[()]" if not dataset.shape else "[:]"
    length = dataset.shape[0]
    piece = max(_PIECE_BYTES // dataset.dtype.itemsize, 1)
    if dataset.compression is not None or dataset.nbytes <= min(max_bytes, _POINTS * _PIECE_BYTES):
        return _numbers(_fetch(dataset, (slice(None),), max_bytes)), "[:]"
    count = max(min(_POINTS, max_bytes // _PIECE_BYTES), 1)
    starts = np.linspace(0, length - piece, count).astype(np.int64)
    pieces = [_dense(dataset[int(start) : int(start) + piece]) for start in starts]
    return _numbers(np.concatenate(pieces)), f"{count} pieces of [:]"


# -- drawing -------------------------------------------------------------------------------------


def _numbers(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return values as real numbers; NaT and infinity become NaN."""
    if values.dtype.kind in "mM":
        return np.where(np.isnat(values), np.nan, values.astype(np.int64))
    numbers = np.array(np.abs(values) if values.dtype.kind == "c" else values, dtype=np.float64)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def _range(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    seen = values[~np.isnan(values)]
    return (float(seen.min()), float(seen.max())) if seen.size else (np.nan, np.nan)


def _caption(dataset: S3Dataset, part: str, low: float, high: float) -> str:
    values = "no values" if np.isnan(low) else f"{low:.4g} to {high:.4g}"
    shape = " x ".join(map(str, dataset.shape)) or "0-d"
    return f"{dataset._name}{part} of {shape} {dataset.dtype}: {values}"


def _scaled(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    """Return values between 0 and 1."""
    # Halves: the difference of two large numbers may be more than a float can hold.
    width = high / 2 - low / 2
    return (values / 2 - low / 2) / width if width > 0 else np.where(np.isnan(values), np.nan, 0.5)


def _stride_slice(step: int, length: int) -> slice:
    """Return a slice with a stride, of at least one entry, from the middle of the first step."""
    return slice(min(step, length) // 2, None, step)


def _colours(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Return RGBA; NaN is transparent."""
    scaled = _scaled(values, low, high)
    seen = ~np.isnan(scaled)
    position = np.where(seen, scaled, 0) * (len(_ANCHORS) - 1)
    marks = np.arange(len(_ANCHORS))
    channels = [np.interp(position, marks, _ANCHORS[:, channel]) for channel in range(3)]
    return np.stack([*channels, np.where(seen, 255, 0)], axis=-1).round().astype(np.uint8)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return an RGBA picture as PNG (RFC 2083), small ones enlarged so that they can be seen."""
    grow = max(_PIXELS // max(pixels.shape[:2]), 1)
    pixels = pixels.repeat(grow, axis=0).repeat(grow, axis=1)
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + width * 4), dtype=np.uint8)  # each starts with filter type 0
    rows[:, 1:] = pixels.reshape(height, width * 4)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


def _sparkline(course: npt.NDArray[np.float64], low: float, high: float) -> str:
    """Draw a curve: at each step a stroke from the smallest to the greatest value."""
    width = _POINTS
    strokes = []
    count = min(len(course), _POINTS)
    edges = np.linspace(0, len(course), count + 1).astype(np.int64)
    previous: tuple[float, float] | None = None
    for number in range(count):
        piece = course[edges[number] : edges[number + 1]]
        piece = piece[~np.isnan(piece)]
        if not piece.size:
            previous = None
            continue
        x = (number + 0.5) * width / count
        ends = _scaled(np.array([piece[0], piece.min(), piece.max(), piece[-1]]), low, high)
        first, least, most, last = (_HEIGHT - 3 - ends * (_HEIGHT - 6)).tolist()
        start = f"M{previous[0]:.1f} {previous[1]:.1f}L" if previous else "M"
        strokes.append(f"{start}{x:.1f} {first:.1f}L{x:.1f} {least:.1f}V{most:.1f}V{last:.1f}")
        previous = (x, last)
    if len(strokes) == 1:  # a single point would not be seen
        strokes.append("h1.5")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" '
        f'viewBox="0 0 {width} {_HEIGHT}"><path d="{"".join(strokes)}" fill="none" '
        f'stroke="#b23663" stroke-width="1.2" stroke-linejoin="round"/></svg>'
    )


# -- in a terminal ---------------------------------------------------------------------------------


def statistics(array: Any) -> tuple[dict[str, Any], list[str]]:
    """Return dtype, shape and statistics of an array, and a picture of its middle plane.

    If an array has more than 64 MiB, only its middle plane is read.
    """
    whole = array.nbytes <= _SAMPLE_BYTES
    found = {"dtype": str(array.dtype), "shape": list(array.shape), "whole": whole}
    plane = _dense(array[(...,)] if whole else array[_middle(array.shape)])
    if plane.dtype.kind not in "biuf" or not plane.size:
        return found, []
    values = plane.astype("f8")
    finite = values[np.isfinite(values)]
    if finite.size:
        found |= {"min": float(finite.min()), "max": float(finite.max())}
        unit = 2.0**600 if max(-found["min"], found["max"]) > 2.0**500 else 1.0
        finite /= unit  # the squares of large numbers may be more than a float can hold
        found |= {name: float(getattr(finite, name)() * unit) for name in ("mean", "std")}
    found["not_finite"] = values.size - finite.size
    return found, _picture(values[_middle(values.shape)] if whole else values)


def describe(array: Any) -> str:
    """Return the statistics of an array and its picture as text."""
    found, picture = statistics(array)
    lines = [f"{found['dtype']} {tuple(found['shape'])}"]
    if "min" in found:
        texts = ", ".join(f"{name} {found[name]:.4g}" for name in ("min", "max", "mean", "std"))
        lines.append(texts if found["whole"] else f"middle plane: {texts}")
    if found.get("not_finite"):
        lines.append(f"{found['not_finite']} values are not finite")
    return "\n".join([*lines, *picture])


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
    scaled = np.nan_to_num(_scaled(sample, low, high), nan=0, posinf=1, neginf=0)
    shades = (scaled * (len(_SHADES) - 1)).round().astype(int)
    return ["".join(_SHADES[shade] for shade in row).rstrip() for row in shades]
