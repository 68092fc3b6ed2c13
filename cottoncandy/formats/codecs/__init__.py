"""Codecs: compress a stream of buffers, decompress one straight into place."""

from __future__ import annotations

from importlib import import_module

from cottoncandy.exceptions import InvalidArgumentError
from cottoncandy.formats.codecs.base import Codec

__all__ = ["Codec", "codec_names", "get_codec"]

#: Lower-case name -> module and class; a module loads when its codec is first asked for.
_REGISTRY = {
    "gzip": "cottoncandy.formats.codecs.deflate:GzipCodec",
    "zlib": "cottoncandy.formats.codecs.deflate:ZlibCodec",
    "bz2": "cottoncandy.formats.codecs.bz2:Bz2Codec",
    "zstd": "cottoncandy.formats.codecs.zstd:ZstdCodec",
    "lz4": "cottoncandy.formats.codecs.lz4:Lz4Codec",
}


def codec_names() -> tuple[str, ...]:
    """Return the names of the codecs that need nothing else, as they are stored."""
    return ("gzip", "Zlib", "BZ2", "Zstd", "LZ4")


def get_codec(name: str) -> Codec:
    """Return the codec of that name.

    Parameters
    ----------
    name : str
        ``gzip``, ``Zlib``, ``BZ2``, ``Zstd``, ``LZ4`` or the id of a codec of numcodecs
        (``Blosc``, ``LZMA``, ...), in upper or lower case.

    Returns
    -------
    codec : Codec

    Raises
    ------
    InvalidArgumentError
        If nobody knows the name.
    MissingDependencyError
        If it is none of ours and numcodecs is not installed.

    Examples
    --------
    >>> get_codec("ZSTD").name
    'Zstd'
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidArgumentError(
            f"a codec has a name, and {name!r} was given; known: {', '.join(codec_names())}"
        )
    entry = _REGISTRY.get(name.strip().lower())
    if entry is None:
        from cottoncandy.formats.codecs.fallback import NumcodecsCodec

        return NumcodecsCodec(name.strip())
    module, _, class_name = entry.partition(":")
    codec: Codec = getattr(import_module(module), class_name)()
    return codec
