"""Zstandard by python-zstandard, with its own threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cottoncandy._buffers import Buffer, MiB, bytes_view
from cottoncandy.exceptions import IntegrityError
from cottoncandy.formats.codecs.base import Codec, Filler

__all__ = ["ZstdCodec"]

_LEVEL = 3
_MAX_WINDOW_BYTES = (
    128 * MiB
)  # what the command line accepts; a frame that asks for more is refused


class ZstdCodec(Codec):
    """One zstd frame with its content size [1]_; several frames are read as one stream.

    References
    ----------
    .. [1] RFC 8878, https://www.rfc-editor.org/rfc/rfc8878
    """

    name = "Zstd"

    def encode_blocks(
        self, blocks: Iterable[Buffer], size: int, *, threads: int = 1
    ) -> Iterator[Buffer]:
        import zstandard

        compressor = zstandard.ZstdCompressor(
            level=_LEVEL,
            threads=threads if threads > 1 and size > 4 * MiB else 0,
            write_checksum=True,
            write_content_size=True,
        )
        encoder = compressor.compressobj(size=size)
        for block in blocks:
            if encoded := encoder.compress(block):
                yield encoded
        yield encoder.flush()

    def decode_into(self, chunks: Iterable[Buffer], out: memoryview) -> None:
        import zstandard

        filler = Filler(out, self.name)
        source = _Source(chunks)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        raise NotImplementedError((filler, source, decompressor, bytes_view, IntegrityError))

    def max_encoded_bytes(self, size: int) -> int:
        return size + size // 256 + 64 * 1024  # ZSTD_COMPRESSBOUND, and room for blocks of jobs


class _Source:
    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks = iter(chunks)
