"""gzip and zlib by Intel ISA-L: blocks are compressed in parallel into one stream.

Every block is deflated on its own, with the 32 KiB before it as dictionary, and ends on a byte
boundary, so that the blocks of many threads join into one stream [1]_, [2]_.

References
----------
.. [1] RFC 1951 (deflate), RFC 1950 (zlib), RFC 1952 (gzip).
.. [2] M. Adler, pigz, https://zlib.net/pigz/
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import cast

from isal import isal_zlib

from cottoncandy._buffers import Buffer, MiB, regroup
from cottoncandy._parallel import map_threads
from cottoncandy.exceptions import IntegrityError
from cottoncandy.formats.codecs.base import BLOCK_BYTES, Codec, Filler

__all__ = ["GzipCodec", "ZlibCodec"]

_WINDOW = 32 * 1024  # how far deflate looks back, in bytes

# Of ISA-L's 0-3. Measured on 16 MiB blocks of float32 random walks and int16 counts: as fast as
# level 1 and up to 3 % smaller; level 3 takes up to three times as long for another 0.6 %.
_LEVEL = 2

_CORRUPT = cast("type[Exception]", isal_zlib.error)  # its stubs declare an instance

_INPUT_BYTES = 128 * 1024  # what is left of a piece is copied at every step: keep it small
_OUTPUT_BYTES = MiB


class _DeflateCodec(Codec):
    max_ratio = 1032  # 258 bytes from two bits
    _wbits: int

    def encode_blocks(
        self, blocks: Iterable[Buffer], size: int, *, threads: int = 1
    ) -> Iterator[Buffer]:
        if size <= BLOCK_BYTES:
            threads = 1  # one block: nothing to share, and no thread to start
        checksum = self._start()
        yield self._header()
        work = _with_dictionaries(regroup(blocks, BLOCK_BYTES))
        for encoded, plain in map_threads(_deflate, work, threads):
            checksum = self._update(checksum, plain)
            yield encoded
        yield isal_zlib.compress(b"", wbits=-15)  # an empty last block ends the stream
        yield self._trailer(checksum, size)

    def decode_into(self, chunks: Iterable[Buffer], out: memoryview) -> None:
        filler = Filler(out, self.name)
        decoder = isal_zlib.decompressobj(wbits=self._wbits)
        # Regrouped, because ISA-L misreads a gzip header with optional fields that comes in pieces
        # (seen with python-isal 1.9.1).
        for piece in regroup(chunks, _INPUT_BYTES):
            if decoder.eof:
                self._check_tail(piece)
                continue
            _inflate(decoder, piece, filler)
            if decoder.eof:
                self._check_tail(decoder.unused_data)
        _inflate(decoder, None, filler)
        filler.finish(ended=decoder.eof)

    def max_encoded_bytes(self, size: int) -> int:
        # Stored blocks take 5 bytes per 64 KiB; the bound leaves room for worse encoders.
        return size + size // 64 + 4096

    @abstractmethod
    def _header(self) -> bytes: ...

    @abstractmethod
    def _trailer(self, checksum: int, size: int) -> bytes: ...

    @abstractmethod
    def _start(self) -> int: ...

    @abstractmethod
    def _update(self, checksum: int, plain: memoryview) -> int: ...

    def _check_tail(self, tail: Buffer) -> None:
        """Refuse what follows the end of the stream."""
        if len(tail):
            raise IntegrityError(f"bytes follow the end of the {self.name} stream")


class GzipCodec(_DeflateCodec):
    """One gzip member [1]_.

    Notes
    -----
    RFC 1952 lets members follow each other, and files be padded with zeros. Padding is accepted; a
    second member is refused, because readers of version 0.4.0 drop it in silence.

    References
    ----------
    .. [1] RFC 1952, https://www.rfc-editor.org/rfc/rfc1952
    """

    name = "gzip"
    keeps_order = True
    _wbits = 31

    def _header(self) -> bytes:
        return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

    def _trailer(self, checksum: int, size: int) -> bytes:
        return struct.pack("<II", checksum, size & 0xFFFFFFFF)

    def _start(self) -> int:
        return 0

    def _update(self, checksum: int, plain: memoryview) -> int:
        return isal_zlib.crc32(plain, checksum)

    def _check_tail(self, tail: Buffer) -> None:
        if bytes(tail).strip(b"\0"):
            super()._check_tail(tail)


class ZlibCodec(_DeflateCodec):
    """A zlib stream (RFC 1950)."""

    name = "Zlib"
    _wbits = 15

    def _header(self) -> bytes:
        return b"\x78\x9c"

    def _trailer(self, checksum: int, size: int) -> bytes:
        return struct.pack(">I", checksum)

    def _start(self) -> int:
        return 1

    def _update(self, checksum: int, plain: memoryview) -> int:
        return isal_zlib.adler32(plain, checksum)


def _with_dictionaries(blocks: Iterator[memoryview]) -> Iterator[tuple[memoryview, bytes]]:
    """Yield each block with the last 32 KiB of the one before."""
    before = b""
    for block in blocks:
        yield block, before
        before = bytes(block[-_WINDOW:])


def _deflate(work: tuple[memoryview, bytes]) -> tuple[bytes, memoryview]:
    block, before = work
    if before:
        encoder = isal_zlib.compressobj(_LEVEL, wbits=-15, zdict=before)
    else:
        encoder = isal_zlib.compressobj(_LEVEL, wbits=-15)
    return encoder.compress(block) + encoder.flush(isal_zlib.Z_SYNC_FLUSH), block


def _inflate(decoder: isal_zlib.Decompress, piece: memoryview | None, filler: Filler) -> None:
    """Decode a piece of input; None asks for what the decoder still holds back.

    One byte more than fits is asked for, to notice what is beyond.
    """
    data: Buffer = b"" if piece is None else piece
    try:
        while not decoder.eof:
            block = decoder.decompress(data, min(_OUTPUT_BYTES, filler.missing + 1))
            filler.add(block)
            data = decoder.unconsumed_tail
            if not len(data) and (piece is not None or not block):
                return
    except _CORRUPT as exc:
        raise IntegrityError(
            f"the {filler.codec_name} stream is corrupt after {filler.position} decoded bytes: "
            f"{exc}"
        ) from exc
