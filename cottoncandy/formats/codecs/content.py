"""Content encodings of files: the codecs by the names that HTTP and file suffixes have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cottoncandy.core.buffers import Buffer, bytes_view
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


def encode(content: Buffer, encoding: str, level: int | None = None) -> bytes:
    """Return content encoded; the parameters are those of :func:`encode_stream`.

    Examples
    --------
    >>> decode(encode(b"hello", "gzip"), "gzip")
    b'hello'
    """
    view = bytes_view(content)
    return b"".join(encode_stream((view,), encoding, len(view), level))


def decode_stream(chunks: Iterable[Buffer], encoding: str) -> Iterator[Buffer]:
    """Yield the decoded stream in pieces.

    Raises
    ------
    IntegrityError
        If it is not such a stream, or is truncated.
    """
    return ENCODINGS[encoding].decode(chunks)


def decode(content: Buffer, encoding: str) -> bytes:
    """Return content decoded; raises as :func:`decode_stream`."""
    return b"".join(decode_stream((content,), encoding))
