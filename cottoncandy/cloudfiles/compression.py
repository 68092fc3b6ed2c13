"""Compression of file contents by the names of content encodings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from cottoncandy.backends.base import ObjectInfo, PutOptions
from cottoncandy.backends.ranges import AT_ONCE_BYTES
from cottoncandy.cloudfiles.exceptions import (
    CompressionError,
    DecompressionError,
    UnsupportedCompressionType,
)
from cottoncandy.core.buffers import Body, Buffer, bytes_view
from cottoncandy.core.output import Progress
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError, MissingDependencyError
from cottoncandy.formats.codecs.base import StreamCodec
from cottoncandy.formats.codecs.deflate import GzipCodec
from cottoncandy.formats.codecs.streams import BrotliCodec, Bz2Codec, LzmaCodec, ZstdCodec
from cottoncandy.transfer.copying import Conversion

__all__ = [
    "COMPRESSION_TYPES",
    "brotli_compress",
    "brotli_decompress",
    "compress",
    "decompress",
    "gunzip",
    "gzip_compress",
    "normalize_encoding",
    "transcode",
    "zstd_compress",
    "zstd_decompress",
]


class _GzipFile(GzipCodec):
    """gzip as other programs write it: several members are one stream."""

    trailing = "streams"

    def blocks(self, size: int) -> None:
        return None


#: Codecs by content encoding: the names that HTTP has for them.
ENCODINGS: dict[str, StreamCodec] = {
    "gzip": _GzipFile(),
    "br": BrotliCodec(),
    "zstd": ZstdCodec(),
    "xz": LzmaCodec(),
    "bz2": Bz2Codec(),
}
#: What every ``compress=`` accepts.
COMPRESSION_TYPES = [None, False, True, "", "bz2", "bzip2", "gzip", "br", "zstd", "xz", "lzma"]

_SYNONYMS = {"bzip2": "bz2", "lzma": "xz", "gz": "gzip", "x-gzip": "gzip"}


def normalize_encoding(encoding: str | bool | None) -> str | None:
    """Return the content encoding of a ``compress=`` argument; None for no encoding.

    Parameters
    ----------
    encoding : str, bool or None
        ``True`` is gzip; ``False``, None, ``''`` and ``'none'`` mean that there is none.

    Raises
    ------
    UnsupportedCompressionType

    Examples
    --------
    >>> normalize_encoding("GZIP"), normalize_encoding(True), normalize_encoding(None)
    ('gzip', 'gzip', None)
    """
    if encoding is None or isinstance(encoding, bool):
        return "gzip" if encoding else None
    name = str(encoding).strip().lower()
    if name in ("", "none", "identity"):
        return None
    found = _SYNONYMS.get(name, name)
    if found not in ENCODINGS:
        raise UnsupportedCompressionType(
            f"there is no compression {encoding!r}; choose one of {', '.join(ENCODINGS)}"
        )
    return found


def compress(
    content: Buffer, method: str | bool | None = "gzip", compress_level: int | None = None
) -> Buffer:
    """Return content compressed.

    Parameters
    ----------
    content : bytes-like
    method : str, bool or None, default 'gzip'
        As in :func:`normalize_encoding`.
    compress_level : int, optional
        Default: a fast one.

    Raises
    ------
    CompressionError
        If the content is not bytes.

    Examples
    --------
    >>> decompress(compress(b"hello", "xz"), "xz")
    b'hello'
    """
    encoding = normalize_encoding(method)
    if encoding is None:
        return content
    try:
        view = bytes_view(content)
        return b"".join(encode_stream((view,), encoding, len(view), compress_level))
    except TypeError as exc:
        raise CompressionError(f"expected bytes, got a {type(content).__name__}") from exc


def decompress(content: Buffer, encoding: str | bool | None, filename: str = "content") -> Buffer:
    """Return content decompressed.

    Parameters
    ----------
    content : bytes-like
    encoding : str, bool or None
        As in :func:`normalize_encoding`, or several as in the header ``Content-Encoding``.
    filename : str
        For messages.

    Raises
    ------
    DecompressionError
        If the content is not in that encoding, or is truncated.
    """
    header = encoding if isinstance(encoding, str) else normalize_encoding(encoding)
    return b"".join(decoded_stream((content,), header, filename)) if header else content


def encodings(header: str | None) -> list[str]:
    """Return the encodings of a Content-Encoding header, in the order in which to undo them."""
    names = [name.strip().lower() for name in (header or "").split(",")]
    # Amazon's clients may name how they sent the bytes, too.
    found = (normalize_encoding(name) for name in names if name != "aws-chunked")
    return [encoding for encoding in found if encoding][::-1]


def decoded_stream(chunks: Iterable[Buffer], header: str | None, path: str) -> Iterator[Buffer]:
    """Yield chunks without their content encodings; raises as :func:`decompress`."""
    try:
        for encoding in encodings(header):
            chunks = ENCODINGS[encoding].decode(chunks)
        yield from chunks
    except IntegrityError as exc:
        raise DecompressionError(f"'{path}' is not in its content encoding: {exc}") from exc


def gzip_compress(content: Buffer, compresslevel: int | None = None) -> Buffer:
    """Return content in gzip."""
    return compress(content, "gzip", compresslevel)


def brotli_compress(content: Buffer, quality: int | None = None) -> Buffer:
    """Return content in brotli."""
    return compress(content, "br", quality)


def zstd_compress(content: Buffer, level: int | None = None) -> Buffer:
    """Return content in zstd."""
    return compress(content, "zstd", level)


gunzip = partial(decompress, encoding="gzip")
brotli_decompress = partial(decompress, encoding="br")
zstd_decompress = partial(decompress, encoding="zstd")


def transcode(
    files: dict[str, Any] | Iterable[Any],
    encoding: str | bool | None,
    level: int | None = None,
    progress: bool = False,
    in_place: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield files in another content encoding, one at a time.

    Parameters
    ----------
    files : dict, or iterable of dict
        As ``CloudFiles.get`` returns them, or pairs of path and content. Files in that encoding
        already (``raw`` and ``compress``), and files that do not exist, are passed on unchanged.
    encoding : str, bool or None
        None decompresses.
    level : int, optional
        Compression level.
    progress : bool, default False
        Whether to show a progress bar.
    in_place : bool, default False
        Whether to change the dictionaries instead of copies of them, to save memory.

    Examples
    --------
    >>> file = {"path": "a", "content": b"hello", "raw": False, "compress": None}
    >>> [each["compress"] for each in transcode([file], "gzip")]
    ['gzip']
    """
    wanted = normalize_encoding(encoding)
    with Progress(None, unit="files", label="transcoding", show=progress) as bar:
        items: Iterable[Any] = [files] if isinstance(files, dict) else files
        for item in items:
            pair = isinstance(item, tuple)
            file: dict[str, Any] = {"path": item[0], "content": item[1]} if pair else item
            result = file if in_place else dict(file)
            if file["content"] is not None:
                stored = normalize_encoding(file.get("compress")) if file.get("raw") else None
                if stored != wanted:
                    plain = decompress(file["content"], stored, str(file.get("path")))
                    result["content"] = compress(plain, wanted, level)
                result["raw"], result["compress"] = True, wanted
            yield result
            bar.update(1)


# -- streams -------------------------------------------------------------------------------------


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


def encoded_body(body: Body, encoding: str, level: int | None) -> Body:
    """Return a body that is compressed: while it is sent, if it is large."""
    size = body.size
    if size is None:  # its size is not known before it is read: a pipe, an iterator
        whole = body.read()
        body, size = Body.of(whole), len(whole)
    if size <= AT_ONCE_BYTES:
        return Body.of(b"".join(encode_stream(body, encoding, size, level)))
    return Body(
        lambda: encode_stream(body, encoding, size, level),
        max_size=size + size // 4 + 65536,
        replayable=body.replayable,
    )


def conversion(reencode: str | bool | None, content_type: str | None) -> Conversion | None:
    """Return what changes the encoding or the content type of a copy; None if nothing does."""
    if reencode is None and content_type is None:
        return None
    wanted = None if reencode is None else normalize_encoding(reencode) or ""
    return partial(_convert, wanted, content_type)


def _convert(
    wanted: str | None, content_type: str | None, info: ObjectInfo, body: Body, options: PutOptions
) -> tuple[Body, PutOptions]:
    """Return a copy in an encoding, which is ``''`` for none; None keeps it."""
    stored = encodings(info.content_encoding)
    if content_type is not None:
        options = replace(options, content_type=content_type)
    if wanted is None or ",".join(stored) == wanted or _is_ours(info):
        return body, options
    if stored:
        chunks = decoded_stream(body, info.content_encoding, info.key)
        body = Body(lambda: chunks, replayable=False)
    if wanted:
        body = encoded_body(body, wanted, None)
    return body, replace(options, content_encoding=wanted or None)


def as_on_disk(info: ObjectInfo, body: Body, options: PutOptions) -> tuple[Body, PutOptions]:
    """Name the encoding of a copy as suffixes do: ``gzip`` for ``x-gzip``; no ``aws-chunked``."""
    with suppress(UnsupportedCompressionType):  # which the store raises, with the path
        stored = encodings(info.content_encoding)
        if len(stored) < 2:
            options = replace(options, content_encoding=stored[0] if stored else None)
    return body, options


def _is_ours(info: ObjectInfo) -> bool:
    """Return whether an object is an array, a part of one, or encrypted.

    Its body is what its metadata describe; in a content encoding, it could not be read any more.
    """
    names = (info.metadata or {}).keys()
    return names >= {"dtype", "shape"} or any(name.startswith("cc-") for name in names)
