"""Codecs: compress a stream of buffers, decompress one straight into place."""

from __future__ import annotations

from cottoncandy.exceptions import InvalidArgumentError
from cottoncandy.formats.codecs.base import BUILT_IN, Codec
from cottoncandy.formats.codecs.deflate import GzipCodec, ZlibCodec
from cottoncandy.formats.codecs.streams import BrotliCodec, Bz2Codec, LzmaCodec, ZstdCodec
from cottoncandy.formats.codecs.whole import Lz4Codec, NumcodecsCodec

_CODECS: dict[str, Codec] = {
    codec.name.lower(): codec
    for codec in (
        *(GzipCodec(), ZlibCodec(), Bz2Codec(), ZstdCodec(), Lz4Codec(), LzmaCodec()),
        BrotliCodec(),
    )
}


def get_codec(name: str) -> Codec:
    """Return the codec of that name.

    Parameters
    ----------
    name : str
        ``gzip``, ``Zlib``, ``BZ2``, ``Zstd``, ``LZ4``, ``LZMA``, ``br`` or the id of a codec of
        numcodecs (``Blosc``, ...), in upper or lower case.

    Returns
    -------
    codec : Codec

    Raises
    ------
    InvalidArgumentError
        If there is no codec of that name.
    MissingDependencyError
        If it is not built in and numcodecs is not installed.

    Examples
    --------
    >>> get_codec("ZSTD").name
    'Zstd'
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidArgumentError(
            f"the name of a codec must be text, got {name!r}; known: {', '.join(BUILT_IN)}"
        )
    return _CODECS.get(name.strip().lower()) or NumcodecsCodec(name.strip())
