"""gzip and zlib by Intel ISA-L: independent blocks, compressed in parallel, make one stream.

Each block is compressed without a dictionary and ends on a byte boundary, so that the blocks of
many threads join into one stream [1]_, and each can be inflated alone.

References
----------
.. [1] RFC 1951 (deflate), RFC 1950 (zlib), RFC 1952 (gzip).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal

from isal import igzip_lib, isal_zlib
from isal.isal_zlib import crc32_combine

from cottoncandy.core.buffers import Buffer, regroup
from cottoncandy.core.threads import map_threads
from cottoncandy.formats.codecs.base import BLOCK_BYTES, Decoder, StreamCodec
from cottoncandy.formats.codecs.blocks import GZIP_HEADER, BlockLayout, gzip_trailer

# Of ISA-L's 0-3. Measured on 16 MiB blocks of float32 random walks and int16 counts: as fast as
# level 1 and up to 3 % smaller; level 3 takes up to three times as long for another 0.6 %.
_LEVEL = 2

# Eight samples of 4 KiB, spread over a block, decide whether it is compressed. Their ratio is
# within 0.01 of that of the block for data that hardly compress, and takes 4 % of the time. Blocks
# that would lose less than 7 % are stored: noise of float64 (4 % normal, 6 % uniform), which
# uploads at three times the speed and inflates at eight times. Noise of float32 (8 to 11 %) is
# compressed.
_SAMPLES, _SAMPLE_BYTES = 8, 4096
_STORE_ABOVE = 0.93

_STORED_BYTES = 65_535  # of one of deflate's stored blocks


class _DeflateCodec(StreamCodec):
    max_ratio = 1032  # 258 bytes from two bits
    _decoder_flag: ClassVar[int]
    _wbits: ClassVar[int]

    def encoder(self, level: int) -> Any:
        return zlib.compressobj(level, wbits=self._wbits)

    def decoder(self) -> Decoder:
        return igzip_lib.IgzipDecompressor(self._decoder_flag)


class GzipCodec(_DeflateCodec):
    """One gzip member [1]_; the index of its blocks follows in empty members, if there are several.

    Notes
    -----
    RFC 1952 allows several members in a row, and padding with zeros. Padding is accepted. A second
    member is rejected unless it is the announced index, because readers of version 0.4.0 silently
    drop it.

    References
    ----------
    .. [1] RFC 1952, https://www.rfc-editor.org/rfc/rfc1952
    """

    name = "gzip"
    keeps_order = True
    trailing: ClassVar[Literal["streams", "zeros", "nothing"]] = "zeros"
    _decoder_flag = igzip_lib.DECOMP_GZIP
    _wbits = 31

    def encode(self, blocks: Iterable[Buffer], size: int, *, threads: int = 1) -> Iterator[Buffer]:
        checksum, position = 0, len(GZIP_HEADER)
        offsets: list[int] = []
        checksums: list[int] = []
        yield GZIP_HEADER
        for encoded, plain in _deflated(blocks, size, threads):
            offsets.append(position)
            checksums.append(isal_zlib.crc32(plain))
            checksum = crc32_combine(checksum, checksums[-1], len(plain))
            position += len(encoded)
            yield encoded
        yield gzip_trailer(checksum, size)
        layout = self.blocks(size)
        if layout is not None:
            yield layout.pack(offsets, checksums)

    def blocks(self, size: int) -> BlockLayout | None:
        return BlockLayout(size) if size > BLOCK_BYTES else None

    def max_encoded_bytes(self, size: int) -> int:
        layout = self.blocks(size)
        return super().max_encoded_bytes(size) + (layout.tail_bytes if layout else 0)


class ZlibCodec(_DeflateCodec):
    """A zlib stream (RFC 1950)."""

    name = "Zlib"
    _decoder_flag = igzip_lib.DECOMP_ZLIB
    _wbits = 15

    def encode(self, blocks: Iterable[Buffer], size: int, *, threads: int = 1) -> Iterator[Buffer]:
        checksum = isal_zlib.adler32(b"")
        yield b"\x78\x9c"
        for encoded, plain in _deflated(blocks, size, threads):
            checksum = isal_zlib.adler32(plain, checksum)
            yield encoded
        yield b"\x03\x00" + checksum.to_bytes(4, "big")


def _deflated(
    blocks: Iterable[Buffer], size: int, threads: int
) -> Iterator[tuple[bytes, memoryview]]:
    """Yield each block as independent deflate blocks, and unchanged."""
    if size <= BLOCK_BYTES:
        threads = 1  # a single block needs no thread
    return map_threads(_deflate, regroup(blocks, BLOCK_BYTES), threads)


def _deflate(block: memoryview) -> tuple[bytes, memoryview]:
    if len(block) > _SAMPLES * _SAMPLE_BYTES:
        distance = len(block) // _SAMPLES
        starts = range(0, distance * _SAMPLES, distance)
        sample = b"".join([block[start : start + _SAMPLE_BYTES] for start in starts])
        if len(_compressed(sample)) > _STORE_ABOVE * len(sample):
            return _stored(block), block
    return _compressed(block), block


def _compressed(block: Buffer) -> bytes:
    encoder = isal_zlib.compressobj(_LEVEL, wbits=-15)
    return encoder.compress(block) + encoder.flush(isal_zlib.Z_SYNC_FLUSH)


def _stored(block: memoryview) -> bytes:
    """Return a block as deflate's stored blocks: three bits of zeros, two sizes, the bytes."""
    pieces: list[Buffer] = []
    for start in range(0, len(block), _STORED_BYTES):
        piece = block[start : start + _STORED_BYTES]
        pieces += [struct.pack("<BHH", 0, len(piece), len(piece) ^ 0xFFFF), piece]
    return b"".join(pieces)
