"""CRC-32 of an array's bytes, as ``cc-checksum`` of the storage format has it."""

from __future__ import annotations

from collections.abc import Iterable

from isal import isal_zlib
from isal.isal_zlib import crc32_combine

from cottoncandy._buffers import MiB
from cottoncandy._parallel import map_threads

__all__ = ["crc32", "crc32_combine"]

_BLOCK_BYTES = 16 * MiB


def crc32(blocks: Iterable[memoryview], threads: int = 1) -> int:
    """Return the CRC-32 of blocks, one after the other; long ones are shared among threads."""
    checksum = 0
    for block in blocks:
        if len(block) <= _BLOCK_BYTES:
            checksum = isal_zlib.crc32(block, checksum)
            continue
        pieces = (
            block[start : start + _BLOCK_BYTES] for start in range(0, len(block), _BLOCK_BYTES)
        )
        for piece_checksum, size in map_threads(
            lambda piece: (isal_zlib.crc32(piece), len(piece)), pieces, threads
        ):
            checksum = crc32_combine(checksum, piece_checksum, size)
    return checksum
