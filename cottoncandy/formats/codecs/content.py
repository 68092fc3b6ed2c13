"""Content encodings of files: the codecs by the names that HTTP and file suffixes have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cottoncandy.core.buffers import Buffer
from cottoncandy.exceptions import InvalidArgumentError, MissingDependencyError
from cottoncandy.formats.codecs.base import StreamCodec
from cottoncandy.formats.codecs.deflate import GzipCodec
from cottoncandy.formats.codecs.streams import BrotliCodec, Bz2Codec, LzmaCodec, ZstdCodec


class _GzipFile(GzipCodec):
    """gzip as other programs write it: several members are one stream."""

    trailing = "streams"

    def blocks(self, size: int) -> None:
        return None


#: Codecs by content encoding.
ENCODINGS: dict[str, StreamCodec] = {
    "gzip": _GzipFile(),
    "br": BrotliCodec(),
    "zstd": ZstdCodec(),
    "xz": LzmaCodec(),
    "bz2": Bz2Codec(),
}


def encode_stream(
    blocks: Iterable[Buffer], encoding: str, size: int, level: int | None = None
) -> Iterator[Buffer]:
    """Yield the encoded stream of ``size`` bytes.

    Parameters
    ----------
    blocks : iterable of buffer
    encoding : str
        A key of :data:`ENCODINGS`.
    size : int
        Their total size in bytes.
    level : int, optional
        As the encoding counts: 0-9 (gzip, xz), 1-9 (bz2), 0-11 (br), up to 22 (zstd).

    Raises
    ------
    InvalidArgumentError
        If the encoding has no such level.
    """
    codec = ENCODINGS[encoding]
    if level is None:
        return codec.encode(blocks, size)
    try:
        encoder = codec.encoder(level)
    except (MissingDependencyError, MemoryError):
        raise
    except Exception as exc:  # each library has its own error types
        raise InvalidArgumentError(f"{encoding} has no compression level {level!r}: {exc}") from exc
    return codec.encode_with(encoder, blocks)
