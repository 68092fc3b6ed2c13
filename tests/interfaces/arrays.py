"""Arrays of every kind, and the comparison of a restored one."""

from __future__ import annotations

from typing import Any

import numpy as np

_RNG = np.random.default_rng(20180820)

DTYPES = [
    "|b1", "|i1", "<u2", "<i4", ">i4", "<u8", "<f2", "<f4", "<f8", ">f8", "<c8", "<c16",
    "<M8[ns]", "<M8[D]", "<m8[ms]", "|S5", "<U3", ">U3", "|V3",
]  # fmt: skip


def sample(dtype: str | np.dtype[Any], shape: tuple[int, ...] = (3, 4)) -> np.ndarray:
    """Return an array of a dtype, filled with bytes that mean something in it."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    if dtype.kind == "U":
        return np.array([chr(97 + i % 26) * (i % 4) for i in range(count)], dtype).reshape(shape)
    if dtype.kind == "b":
        return (np.arange(count) % 2 == 0).reshape(shape)
    numbers = _RNG.integers(0, 100, size=count * dtype.itemsize, dtype=np.uint8)
    if dtype.kind in "fc":
        values = _RNG.standard_normal(count)
        return (values + (1j * values if dtype.kind == "c" else 0)).astype(dtype).reshape(shape)
    return np.frombuffer(numbers.tobytes(), dtype, count).reshape(shape).copy()


LAYOUTS = {
    "C": sample("<f8", (5, 6)),
    "F": np.asfortranarray(sample("<f8", (5, 6))),
    "strided": sample("<f8", (10, 12))[::2, ::-3],
    "transposed": sample("<i4", (3, 4, 5)).transpose(1, 2, 0),
    "broadcast": np.broadcast_to(np.arange(4.0), (3, 4)),
    "0-d": np.array(3.25),
    "1-element": np.array([[7]]),
    "empty": np.zeros((0,)),
    "empty-2d": np.zeros((3, 0, 2), "<f4"),
    "structured": np.array(
        [(1, 2.5, b"ab"), (3, 4.5, b"cd")], [("n", "<i4"), ("größe", "<f8"), ("tag", "S2")]
    ),
    "nested": np.zeros(3, [("pos", [("x", "<f4"), ("y", "<f4")]), ("rgb", "u1", (3,))]),
    # Padding is stored as zeros; np.zeros sets it, np.ones does not.
    "aligned": np.zeros(2, np.dtype([("a", "i1"), ("b", "<f8")], align=True)),
    "read-only": np.frombuffer(b"0123456789abcdef", "<u4"),
    "nan": np.array([np.nan, -0.0, np.inf]),
    "dates": np.array(["2026-01-01", "NaT"], "<M8[D]"),
}


def assert_same(result: Any, expected: np.ndarray) -> None:
    """Fail unless the array is the other one to the bit, and the caller's own."""
    assert type(result) is np.ndarray
    assert result.dtype == expected.dtype
    assert result.dtype.str == expected.dtype.str
    assert result.shape == expected.shape
    assert result.tobytes() == np.ascontiguousarray(expected).tobytes()
    assert result.flags.writeable
    assert result.flags.owndata
