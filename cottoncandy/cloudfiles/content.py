"""Contents of files: what a call asks for, encodings, checksums, JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from cottoncandy.backends.base import Backend, ObjectInfo, PutOptions
from cottoncandy.backends.ranges import AT_ONCE_BYTES
from cottoncandy.cloudfiles.base import path_text
from cottoncandy.cloudfiles.compression import decode_stream, normalize_encoding
from cottoncandy.cloudfiles.exceptions import (
    CRC32CIntegrityError,
    MD5IntegrityError,
    UnsupportedCompressionType,
)
from cottoncandy.core.buffers import Body, Buffer
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError
from cottoncandy.formats.codecs.content import encode_stream
from cottoncandy.transfer.copying import Conversion, check_content, md5_of

#: Tokens of Content-Encoding that do not describe the stored bytes.
_IGNORED = {"", "identity", "aws-chunked", "none"}


class File(NamedTuple):
    """One file to download, or a range of it, and its place in the list."""

    path: str
    order: int
    start: int | None = None
    end: int | None = None
    tags: Any = None
    raw: bool = False

    @property
    def span(self) -> slice:
        return slice(self.start, self.end)

    @property
    def ranged(self) -> bool:
        return (self.start, self.end) != (None, None)


def requested(order: int, item: Any, *, raw: bool = False) -> File:
    """Return what an item of ``get`` asks for: a path, or a dictionary with a range."""
    if isinstance(item, str | os.PathLike):
        return File(os.fspath(item), order, raw=raw)
    if not isinstance(item, Mapping) or "path" not in item:
        raise InvalidArgumentError(
            f"a file to download is a path, or a dictionary with 'path', got {item!r:.80}"
        )
    start, end = item.get("byte_range") or (item.get("start"), item.get("end"))
    return File(path_text(item["path"]), order, start, end, item.get("tags"), raw)


# -- encodings -----------------------------------------------------------------------------------


def encodings(header: str | None) -> list[str]:
    """Return the encodings of a Content-Encoding header, in the order in which to undo them."""
    tokens = [token.strip().lower() for token in (header or "").split(",")]
    found = (normalize_encoding(token) for token in tokens if token not in _IGNORED)
    return [encoding for encoding in found if encoding][::-1]


def decoded(content: bytes, header: str | None, path: str) -> bytes:
    """Return content without its content encodings.

    Raises
    ------
    DecompressionError, UnsupportedCompressionType
    """
    return b"".join(decoded_stream((content,), header, path)) if header else content


def decoded_stream(chunks: Iterable[Buffer], header: str | None, path: str) -> Iterable[Buffer]:
    """Return chunks without their content encodings; raises as :func:`decoded`."""
    for encoding in encodings(header):
        chunks = decode_stream(chunks, encoding, path)
    return chunks


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
    chunks = decoded_stream(body, info.content_encoding, info.key)
    body = Body(lambda: iter(chunks), size=None if stored else body.size, replayable=False)
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


# -- checks --------------------------------------------------------------------------------------


def verify(backend: Backend, info: ObjectInfo, content: Buffer, part_bytes: int | None) -> None:
    """Compare whole content with the MD5 that the store has, or that of its parts.

    Raises
    ------
    MD5IntegrityError, CRC32CIntegrityError
    """
    if (backend.capabilities.stored_checksum, info.md5, info.crc32c) == (None, None, None):
        return
    digest, _, parts = (info.etag or "").strip('"').partition("-")
    if part_bytes and parts.isdigit():
        pieces = (content[at : at + part_bytes] for at in range(0, len(content), part_bytes))
        digests = [hashlib.md5(piece, usedforsecurity=False).digest() for piece in pieces]
        if len(digests) != int(parts) or md5_of(digests) != digest:
            raise MD5IntegrityError(
                f"file '{info.key}' arrived with another MD5 than that of its parts in the store; "
                f"download it again"
            )
        return
    try:
        check_content(backend, info, content)
    except IntegrityError as exc:
        crc32c = info.md5 is None and info.crc32c is not None
        raise (CRC32CIntegrityError if crc32c else MD5IntegrityError)(str(exc)) from exc


# -- uploads -------------------------------------------------------------------------------------


def upload_body(content: Any, path: str, encoding: str | None, level: int | None) -> Body:
    """Return the body of an upload, compressed unless ``encoding`` is None.

    Raises
    ------
    InvalidArgumentError
        If the content is not bytes, text or a file of bytes.
    """
    if content is None:
        raise InvalidArgumentError(f"file '{path}' has no content; nothing was stored")
    body = Body.of(content.encode() if isinstance(content, str) else content)
    return body if encoding is None else encoded_body(body, encoding, level)


def json_bytes(value: Any, path: str) -> bytes:
    """Return a value as JSON; NaN and infinities become ``null``.

    Raises
    ------
    InvalidArgumentError
        If the value has no JSON.
    """
    options: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False, "default": _plain}
    try:
        try:
            text = json.dumps(value, allow_nan=False, **options)
        except ValueError:
            finite = json.loads(json.dumps(value, **options), parse_constant=lambda name: None)
            text = json.dumps(finite, **options)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidArgumentError(f"file '{path}' cannot be stored as JSON: {exc}") from exc


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy
        return value.tolist()
    if hasattr(value, "isoformat"):  # dates and times
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, os.PathLike | UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no JSON")
