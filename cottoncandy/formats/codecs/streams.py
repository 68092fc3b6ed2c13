"""bz2, xz, Zstandard and Brotli, by the standard library (and its backport) and brotli."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from cottoncandy.core.buffers import Buffer, MiB
from cottoncandy.exceptions import MissingDependencyError
from cottoncandy.formats.codecs.base import Decoder, StreamCodec

# As on zstd's command line. A stream that needs more to be decoded is rejected.
_MAX_WINDOW_BYTES = 128 * MiB


class Bz2Codec(StreamCodec):
    """One bz2 stream at level 9; several streams are read as one, as bzip2 does."""

    name = "BZ2"
    max_ratio = 2**22  # a block of up to 46.6 MB (900 kB of runs, 259 for 5) from over 20 bytes
    trailing = "streams"

    level = 9

    def encoder(self, level: int) -> Any:
        from bz2 import BZ2Compressor

        return BZ2Compressor(level)

    def decoder(self) -> Decoder:
        from bz2 import BZ2Decompressor

        return BZ2Decompressor()


class LzmaCodec(StreamCodec):
    """One xz stream at preset 6, as numcodecs writes it; several streams are read as one."""

    name = "LZMA"
    max_ratio = 2**18  # a chunk of 2 MiB from over ten bytes
    trailing = "streams"

    level = 6

    def encoder(self, level: int) -> Any:
        from lzma import LZMACompressor

        return LZMACompressor(preset=level)

    def decoder(self) -> Decoder:
        from lzma import FORMAT_XZ, LZMADecompressor

        return LZMADecompressor(FORMAT_XZ, memlimit=_MAX_WINDOW_BYTES)


class ZstdCodec(StreamCodec):
    """One zstd frame with its content size [1]_; several frames are read as one stream.

    References
    ----------
    .. [1] RFC 8878, https://www.rfc-editor.org/rfc/rfc8878
    """

    name = "Zstd"
    max_ratio = 32 * 1024  # a block of 128 KiB from four bytes
    trailing = "streams"
    # Measured on five kinds of scientific data: 160-420 MB/s per core; level 3, the library's
    # default, takes 1.3 to 5 times as long for bodies that are 0 to 4 % smaller.
    level = 1

    def encode(self, blocks: Iterable[Buffer], size: int, *, threads: int = 1) -> Iterator[Buffer]:
        zstd = _zstd()
        workers = threads if threads > 1 and size > 4 * MiB else 0
        option = zstd.CompressionParameter
        encoder = zstd.ZstdCompressor(
            options={
                option.compression_level: self.level,
                option.checksum_flag: 1,
                # Some builds of the library have no threads.
                option.nb_workers: min(workers, option.nb_workers.bounds()[1]),
            }
        )
        encoder.set_pledged_input_size(size)
        return self.encode_with(encoder, blocks)

    def encoder(self, level: int) -> Any:
        return _zstd().ZstdCompressor(level=level)

    def decoder(self) -> Decoder:
        zstd = _zstd()
        window_log = _MAX_WINDOW_BYTES.bit_length() - 1
        decoder: Decoder = zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: window_log}
        )
        return decoder


class BrotliCodec(StreamCodec):
    """One Brotli stream [1]_; the package ``brotli`` is needed.

    References
    ----------
    .. [1] RFC 7932, https://www.rfc-editor.org/rfc/rfc7932
    """

    name = "br"

    # Of 0-11. At 11, the library's default, it compresses less than 1 MB/s.
    level = 5

    def encoder(self, level: int) -> Any:
        encoder = _brotli().Compressor(quality=level)
        return SimpleNamespace(compress=encoder.process, flush=encoder.finish)

    def decoder(self) -> Decoder:
        return _BrotliDecoder()


class _BrotliDecoder:
    """A decoder of brotli under the names of the protocol; bytes after the end are an error."""

    unused_data = b""
    needs_input = True

    def __init__(self) -> None:
        self._decoder = _brotli().Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._decoder.is_finished())

    def decompress(self, data: Buffer, max_length: int) -> bytes:
        block: bytes = self._decoder.process(data, output_buffer_limit=max_length)
        self.needs_input = not block  # its own answer is True with output left (brotli 1.2)
        return block


def _brotli() -> Any:
    try:
        import brotli
    except ImportError as exc:
        raise MissingDependencyError(
            'Brotli needs the package brotli: pip install "cottoncandy[files]"'
        ) from exc
    return brotli


def _zstd() -> Any:
    """Return the zstd module of PEP 784."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
