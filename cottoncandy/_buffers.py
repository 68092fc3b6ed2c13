"""Bytes in memory: one view type for whatever has the buffer protocol, and regrouping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

__all__ = ["Buffer", "MiB", "bytes_view", "regroup"]

MiB = 2**20

# collections.abc.Buffer needs Python 3.12.
Buffer: TypeAlias = bytes | bytearray | memoryview


def bytes_view(data: object) -> memoryview:
    """Return a flat view of unsigned bytes on a C-contiguous buffer; nothing is copied."""
    view = memoryview(data)  # type: ignore[arg-type]  # TypeError for what is no buffer
    if view.nbytes == 0:
        return memoryview(b"")  # cast() refuses a shape with a zero in it
    return view.cast("B")


def regroup(buffers: Iterable[Buffer], block_bytes: int) -> Iterator[memoryview]:
    """Yield blocks of exactly ``block_bytes`` (the last may be shorter, none is empty).

    A block that lies inside one buffer is a view on it; others are joined copies.
    """
    pending: list[memoryview] = []
    held = 0
    for buffer in buffers:
        view = bytes_view(buffer)
        while len(view):
            take = min(block_bytes - held, len(view))
            pending.append(view[:take])
            held += take
            view = view[take:]
            if held == block_bytes:
                yield _joined(pending)
                pending, held = [], 0
    if pending:
        yield _joined(pending)


def _joined(views: list[memoryview]) -> memoryview:
    return views[0] if len(views) == 1 else memoryview(b"".join(views))
