"""bz2 by the standard library: small, and the slowest of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cottoncandy._buffers import Buffer, MiB
from cottoncandy.exceptions import IntegrityError
from cottoncandy.formats.codecs.base import Codec, Filler, pieces

if TYPE_CHECKING:
    from bz2 import BZ2Decompressor

__all__ = ["Bz2Codec"]

_INPUT_BYTES = 128 * 1024
_OUTPUT_BYTES = MiB


class Bz2Codec(Codec):
    """One bz2 stream at level 9; streams that follow each other are read as one, as bzip2 does."""

    name = "BZ2"
    max_ratio = 2**22  # a block of up to 46.6 MB (900 kB of runs, 259 for 5) from over 20 bytes

    def encode_blocks(
        self, blocks: Iterable[Buffer], size: int, *, threads: int = 1
    ) -> Iterator[Buffer]:
        from bz2 import BZ2Compressor

        encoder = BZ2Compressor()
        for block in blocks:
            if encoded := encoder.compress(block):
                yield encoded
        yield encoder.flush()

    def decode_into(self, chunks: Iterable[Buffer], out: memoryview) -> None:
        from bz2 import BZ2Decompressor

        filler = Filler(out, self.name)
        decoder = BZ2Decompressor()
        begun = False
        for chunk in chunks:
            for piece in pieces(chunk, _INPUT_BYTES):
                data: Buffer = piece
                while len(data):
                    if decoder.eof:
                        decoder = BZ2Decompressor()
                    begun = True
                    _decode(decoder, data, filler)
                    data = decoder.unused_data
        filler.finish(ended=begun and decoder.eof)

    def max_encoded_bytes(self, size: int) -> int:
        return size + size // 64 + 4096  # bzip2's manual says 1 % and 600 bytes


def _decode(decoder: BZ2Decompressor, data: Buffer, filler: Filler) -> None:
    """Feed one piece; one byte more than fits is asked for, to notice what is beyond."""
    try:
        while True:
            filler.add(decoder.decompress(data, min(_OUTPUT_BYTES, filler.missing + 1)))
            if decoder.eof or decoder.needs_input:
                return
            data = b""
    except (OSError, ValueError) as exc:
        if isinstance(exc, IntegrityError):
            raise
        raise IntegrityError(
            f"the BZ2 stream is corrupt after {filler.position} decoded bytes: {exc}"
        ) from exc
