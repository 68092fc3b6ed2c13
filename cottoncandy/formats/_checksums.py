"""CRC-32 of an array's bytes, as ``cc-checksum`` of the storage format has it."""

from __future__ import annotations

from collections.abc import Iterable

from isal import isal_zlib
from isal.isal_zlib import crc32_combine

from cottoncandy._buffers import MiB
from cottoncandy._parallel import map_threads

__all__ = ["ArrivingChecksum", "crc32", "crc32_combine"]

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


class ArrivingChecksum:
    """The CRC-32 of a body whose pieces arrive in any order, from any thread.

    A piece that has just come lies in the processor's cache; going over the whole afterwards would
    fetch it from memory again.

    Examples
    --------
    >>> checksum = ArrivingChecksum()
    >>> checksum.add(2, memoryview(b"cd"))
    >>> checksum.add(0, memoryview(b"ab"))
    >>> checksum.value() == crc32([memoryview(b"abcd")])
    True
    """

    def __init__(self) -> None:
        # End of a run of pieces -> its start and checksum. Taking one and leaving one are single
        # operations on the dictionary, so there is no lock.
        self._runs: dict[int, tuple[int, int]] = {}

    def add(self, position: int, piece: memoryview) -> None:
        """Take the bytes at a position; every byte must come once."""
        start, checksum = self._runs.pop(position, (position, 0))
        self._runs[position + len(piece)] = start, isal_zlib.crc32(piece, checksum)

    def value(self) -> int:
        """Return the checksum of all bytes from position 0 on."""
        checksum = 0
        for end, (start, run) in sorted(self._runs.items()):
            checksum = crc32_combine(checksum, run, end - start)
        return checksum
