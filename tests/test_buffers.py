"""Buffers: bytes that are written before anybody else has them."""

from __future__ import annotations

import gc
import sys

from cottoncandy.core.buffers import MiB, new_bytes


def test_new_bytes_are_what_was_written() -> None:
    for size in (1, 4 * MiB - 1, 4 * MiB + 1):
        data, view = new_bytes(size)
        expected = (bytes(range(256)) * (size // 256 + 1))[:size]
        view[:] = expected
        assert (type(data), data) == (bytes, expected)


def test_the_view_of_new_bytes_keeps_them_alive() -> None:
    data, view = new_bytes(4 * MiB)
    held = sys.getrefcount(data)
    del view
    gc.collect()
    assert sys.getrefcount(data) == held - 1
