"""The block index of a gzip body: which bytes inflate to which part of the array.

The page ``docs/inside/gzip-blocks.md`` describes the format.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isal import igzip_lib, isal_zlib
from isal.isal_zlib import crc32_combine

from cottoncandy.core.buffers import Buffer, MiB
from cottoncandy.exceptions import IntegrityError
from cottoncandy.formats.codecs.base import BLOCK_BYTES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_TRAILER_BYTES = 10

_VERSION = 1
_PREFIX = struct.Struct("<IIQ")  # version, block size, number of blocks
_ENTRY = struct.Struct("<QI")  # position in the body, CRC-32 of the plain bytes
_CRC_BYTES = 4

# A gzip member without data: header with an extra field that has one subfield, empty deflate
# block, CRC-32 and size.
_MEMBER_START = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
_MEMBER_END = b"\x03\x00" + bytes(8)
_SUBFIELD = struct.Struct("<H2sH")  # size of the extra field; identifier and size of the subfield
_SUBFIELD_ID = b"CC"
_MAX_DATA_BYTES = 65_535 - 4
_MEMBER_BYTES = len(_MEMBER_START) + _SUBFIELD.size + len(_MEMBER_END)

_MAX_BLOCK_BYTES = 16 * MiB  # a reader holds a few blocks in memory
_ANNOUNCEMENT = re.compile(r"v=(\d{1,9}); block=(\d{1,9}); bytes=(\d{1,18})")


def gzip_trailer(checksum: int, size: int) -> bytes:
    """Return the end of a member: an empty last block, the CRC-32 and the size."""
    return b"\x03\x00" + struct.pack("<II", checksum, size & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """The layout, known before the index: its size follows from that of the array.

    Parameters
    ----------
    nbytes : int
        Size of the array in bytes.
    block_bytes : int, default 1 MiB
        Plain bytes of each block but the last.

    Examples
    --------
    >>> str(BlockLayout(256 * MiB))
    'v=1; block=1048576; bytes=3118'
    """

    nbytes: int
    block_bytes: int = BLOCK_BYTES

    @property
    def count(self) -> int:
        """Number of blocks."""
        return -(-self.nbytes // self.block_bytes)

    @property
    def payload_bytes(self) -> int:
        """Size of the index without its gzip members."""
        return _PREFIX.size + self.count * _ENTRY.size + _CRC_BYTES

    @property
    def index_bytes(self) -> int:
        """Size of the index as stored."""
        return self.payload_bytes + -(-self.payload_bytes // _MAX_DATA_BYTES) * _MEMBER_BYTES

    @property
    def tail_bytes(self) -> int:
        """Size of what :meth:`BlockIndex.parse` needs: the index and the trailer before it."""
        return _TRAILER_BYTES + self.index_bytes

    def __str__(self) -> str:
        return f"v={_VERSION}; block={self.block_bytes}; bytes={self.index_bytes}"

    @classmethod
    def parse(cls, announcement: str, nbytes: int, body_bytes: int) -> BlockLayout:
        """Parse the metadata that announces the index of an array.

        Raises
        ------
        IntegrityError
            If it is malformed, of another version, or not of this array.
        """
        match = _ANNOUNCEMENT.fullmatch(announcement)
        if match is None:
            raise IntegrityError(
                f"its block index is announced as {announcement[:80]!r}, expected 'v=1; "
                f"block=...; bytes=...'"
            )
        version, block_bytes, index_bytes = map(int, match.groups())
        _check_version(version)
        layout = cls(nbytes, block_bytes)
        if not (
            0 < block_bytes <= min(nbytes - 1, _MAX_BLOCK_BYTES)
            and layout.index_bytes == index_bytes
            and len(GZIP_HEADER) + layout.tail_bytes < body_bytes
        ):
            raise IntegrityError(
                f"its block index is announced as {announcement!r}, which does not fit an array of "
                f"{nbytes} bytes in a body of {body_bytes}"
            )
        return layout

    def block_size(self, number: int) -> int:
        """Return the plain size of one block."""
        return min(self.block_bytes, self.nbytes - number * self.block_bytes)

    def pack(self, offsets: Sequence[int], checksums: Sequence[int]) -> bytes:
        """Return the index as stored.

        Parameters
        ----------
        offsets, checksums : sequence of int
            Position of each block in the body, and CRC-32 of its plain bytes.
        """
        entries = b"".join(map(_ENTRY.pack, offsets, checksums))
        payload = _PREFIX.pack(_VERSION, self.block_bytes, self.count) + entries
        return _members(payload + zlib.crc32(payload).to_bytes(_CRC_BYTES, "little"))


@dataclass(frozen=True, slots=True, eq=False)
class BlockIndex:
    """A parsed and checked index.

    Parameters
    ----------
    layout : BlockLayout
    offsets : ndarray of int64
        Position of each block in the body; one more, where the last block ends.
    checksums : ndarray of uint32
        CRC-32 of the plain bytes of each block.
    """

    layout: BlockLayout
    offsets: npt.NDArray[np.int64]
    checksums: npt.NDArray[np.uint32]

    @classmethod
    def parse(
        cls, tail: bytes, layout: BlockLayout, body_bytes: int, checksum: int | None
    ) -> BlockIndex:
        """Parse the last ``layout.tail_bytes`` bytes of a body.

        Parameters
        ----------
        checksum : int or None
            CRC-32 of the array, from its metadata.

        Raises
        ------
        IntegrityError
            If they are not the index of this array.
        """
        import numpy as np  # not for files, which have no index: it takes long to load

        stored = tail[_TRAILER_BYTES:]
        payload = bytearray()
        for start in range(0, len(stored), _MAX_DATA_BYTES + _MEMBER_BYTES):
            member = stored[start : start + _MAX_DATA_BYTES + _MEMBER_BYTES]
            payload += member[len(_MEMBER_START) + _SUBFIELD.size : -len(_MEMBER_END)]
        data, crc = bytes(payload[:-_CRC_BYTES]), payload[-_CRC_BYTES:]
        if zlib.crc32(data).to_bytes(_CRC_BYTES, "little") != crc or _members(payload) != stored:
            raise IntegrityError("its block index is damaged: the checksum does not match")
        version, block_bytes, count = _PREFIX.unpack_from(data)
        _check_version(version)
        entries = np.frombuffer(data, [("offset", "<u8"), ("crc32", "<u4")], offset=_PREFIX.size)
        end = body_bytes - layout.tail_bytes
        offsets = np.append(entries["offset"], np.uint64(end)).astype(np.int64)
        sizes = np.diff(offsets)
        if (
            (block_bytes, count) != (layout.block_bytes, layout.count)
            or offsets[0] != len(GZIP_HEADER)
            or sizes.min() < 1
            or sizes.max() > max_block_bytes(block_bytes)
        ):
            raise IntegrityError("its block index belongs to another array")
        index = cls(layout, offsets, entries["crc32"])
        whole = index.checksum()
        if checksum not in (None, whole) or tail[:_TRAILER_BYTES] != gzip_trailer(
            whole, layout.nbytes
        ):
            raise IntegrityError(
                "its block index belongs to another array: the checksums of the blocks do not "
                "make up that of the array"
            )
        return index

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Encoded size of each block."""
        import numpy as np

        return np.diff(self.offsets)

    def runs(self, blocks: Sequence[int], max_bytes: int) -> list[tuple[int, int]]:
        """Return half-open runs of blocks that contain those blocks, to be requested at once.

        Neighboring runs are merged, smallest gaps first, as long as the gaps take at most half as
        many bytes as the blocks. A run has at most ``max_bytes``, or one block.

        Parameters
        ----------
        blocks : sequence of int
            Ascending.
        """
        import numpy as np

        numbers = np.asarray(blocks)
        starts, stops = self.offsets[numbers], self.offsets[numbers + 1]
        gaps = starts[1:] - stops[:-1]
        order = np.argsort(gaps, kind="stable")
        merged = np.zeros(len(gaps), bool)
        merged[order] = np.cumsum(gaps[order]) <= (stops - starts).sum() // 2
        runs: list[tuple[int, int]] = []
        begin = int(starts[0])
        for i, number in enumerate(numbers.tolist()):
            if i and merged[i - 1] and stops[i] - begin <= max_bytes:
                runs[-1] = runs[-1][0], number + 1
            else:
                begin = int(starts[i])
                runs.append((number, number + 1))
        return runs

    def checksum(self) -> int:
        """Return the CRC-32 of the array."""
        total = 0
        for number, checksum in enumerate(self.checksums.tolist()):
            total = crc32_combine(total, checksum, self.layout.block_size(number))
        return total

    def inflate(self, number: int, encoded: Buffer) -> bytes:
        """Return the plain bytes of a block.

        Raises
        ------
        IntegrityError
            If they are not what was stored.
        """
        size = self.layout.block_size(number)
        decoder = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE)
        try:
            plain = decoder.decompress(encoded, size + 1)  # one more, to notice an overflow
        except MemoryError:
            raise
        except Exception as exc:  # the library has several
            raise IntegrityError(f"block {number} of the body is corrupt: {exc}") from exc
        ended = decoder.eof  # only the empty block of the trailer is marked as the last one
        if ended or len(plain) != size or isal_zlib.crc32(plain) != self.checksums[number]:
            raise IntegrityError(
                f"block {number} of the body is corrupt: its checksum does not match"
            )
        return plain


def max_block_bytes(size: int) -> int:
    """Return an upper bound of the encoded size of a block of ``size`` bytes."""
    # Deflate's stored blocks take 5 bytes per 64 KiB; the bound leaves room for worse encoders.
    return size + size // 64 + 4096


def _check_version(version: int) -> None:
    if version != _VERSION:
        raise IntegrityError(
            f"its block index is of version {version}, and this cottoncandy supports version "
            f"{_VERSION}: upgrade with pip install -U cottoncandy"
        )


def _members(payload: bytes | bytearray) -> bytes:
    """Return the empty gzip members that carry the index in their extra fields."""
    output = bytearray()
    for start in range(0, len(payload), _MAX_DATA_BYTES):
        data = payload[start : start + _MAX_DATA_BYTES]
        subfield = _SUBFIELD.pack(len(data) + 4, _SUBFIELD_ID, len(data))
        output += _MEMBER_START + subfield + data + _MEMBER_END
    return bytes(output)
