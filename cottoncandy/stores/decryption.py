"""Encrypted objects opened for reading: the same seam as stored ones, with the plaintext in it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import NoReturn

from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.core.buffers import Buffer, bytes_view, regroup
from cottoncandy.exceptions import DecryptionError, EncryptionKeyError
from cottoncandy.formats.encryption.header import (
    HEADER_BYTES,
    MAGIC,
    MARK,
    TAG_BYTES,
    Header,
    Mark,
    plaintext_size,
    plan,
)
from cottoncandy.formats.encryption.keys import KeyScheme
from cottoncandy.formats.encryption.legacy import (
    BLOCK,
    LegacyCipher,
    could_be_legacy,
    legacy_plaintext_size,
)
from cottoncandy.formats.encryption.segments import SegmentCipher

__all__ = ["DecryptingReader", "clean_metadata", "encrypted_info", "open_encrypted"]

logger = logging.getLogger(__name__)

_SCHEMES = {1: "AES", 2: "RSA"}


def open_encrypted(inner: ObjectReader, keys: KeyScheme, label: str | None = None) -> ObjectReader:
    """Open an encrypted object, of any format that was ever written.

    Where the metadata has no mark, the start of the body is read to tell the format, and an empty
    object is checked at once; otherwise nothing is read before somebody asks for bytes.

    Parameters
    ----------
    inner : ObjectReader
        The stored object; closed with the result.
    keys : KeyScheme
        Whose keys to use.
    label : str, optional
        What messages call the object; default ``object 'NAME'``.

    Raises
    ------
    DecryptionError
        If the object is not encrypted, not with this key, or was altered.
    EncryptionKeyError
        If the key is of the wrong kind or can only write.
    """
    label = f"object '{inner.info.key}'" if label is None else label
    text = inner.metadata.get(MARK)
    if text is not None:
        return _authenticated(DecryptingReader(inner, keys, Mark.parse(text, label), label))
    start = inner.read(0, min(HEADER_BYTES, inner.size))
    if start[: len(MAGIC)] == MAGIC:
        mark = _mark_of(Header.parse(start, label), label)
        return _authenticated(DecryptingReader(inner, keys, mark, label))
    if not could_be_legacy(inner.size):
        raise DecryptionError(
            f"{label} is not encrypted: open it with get_interface(), or, if it should be "
            f"encrypted, upload it again"
        )
    return _LegacyReader(inner, keys, label)


def encrypted_info(info: ObjectInfo, keys: KeyScheme, label: str) -> ObjectInfo:
    """Return the header of an encrypted object as that of its plaintext.

    One without a mark is returned as it is: only its body tells what it is.
    """
    metadata = info.metadata or {}
    if MARK not in metadata:
        return info
    mark = Mark.parse(metadata[MARK], label)
    size = plaintext_size(info.size, mark.segment_bytes, label)
    return replace(info, size=size, metadata=clean_metadata(metadata, keys))


def clean_metadata(metadata: Mapping[str, str], keys: KeyScheme) -> dict[str, str]:
    """Return the user's part of an encrypted object's metadata."""
    return {
        name: value
        for name, value in metadata.items()
        if name != MARK and not keys.owns_metadata(name)
    }


def _authenticated(reader: DecryptingReader) -> DecryptingReader:
    """Check an empty object at once: nobody asks for the bytes of one."""
    if not reader.size:
        for _ in reader.stream(0, 0):
            pass
    return reader


def _mark_of(header: Header, label: str) -> Mark:
    scheme = _SCHEMES.get(header.scheme_code)
    if scheme is None:
        raise DecryptionError(f"{label} has a header that makes no sense: it was altered")
    return Mark(scheme, header.segment_bytes)


class DecryptingReader(ObjectReader):
    """The plaintext of one object, whose ranges fetch and decrypt only the segments they touch.

    Nothing leaves that was not authenticated. ``info.size`` follows from the stored size; the last
    segment proves it, so reading anything at the end (or the whole) does.
    """

    max_resumes = 0  # the stored object's pieces are

    def __init__(self, inner: ObjectReader, keys: KeyScheme, mark: Mark, label: str) -> None:
        if mark.scheme != keys.name:
            raise EncryptionKeyError(
                f"{label} is encrypted with encryption='{mark.scheme}', and this interface has a "
                f"key for '{keys.name}'; open it with "
                f"get_encrypted_interface(..., encryption='{mark.scheme}')"
            )
        self._inner = inner
        self._keys = keys
        self._mark = mark
        self._label = label
        self._cipher: SegmentCipher | None = None
        self._unlocking = threading.Lock()
        self.threads, self.window_bytes = inner.threads, inner.window_bytes
        size = plaintext_size(inner.size, mark.segment_bytes, label)
        self.info = replace(inner.info, size=size, metadata=clean_metadata(inner.metadata, keys))
        # Whole segments of what came with the header.
        sealed = mark.segment_bytes + TAG_BYTES
        segments = max(inner.prefetched - HEADER_BYTES, 0) // sealed
        self.prefetched = min(segments * mark.segment_bytes, self.size)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a reader of an encrypted object holds its key and does not pickle")

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        for index, final, sealed, cipher in self._sealed(start, stop):
            # A buffer of its own: nothing is returned that was not authenticated.
            opened = cipher.open(
                index, final, sealed, self._label, memoryview(bytearray(len(sealed)))
            )
            offset = index * self._mark.segment_bytes
            if piece := opened[max(start - offset, 0) : max(stop - offset, 0)]:
                yield piece

    def close(self) -> None:
        self._inner.close()

    def _sealed(
        self, start: int, end: int
    ) -> Iterator[tuple[int, bool, memoryview, SegmentCipher]]:
        """Yield the segments that hold ``[start, end)``: index, finality, bytes, cipher."""
        wanted = plan(start, end, self.size, self._mark.segment_bytes)
        source: Iterable[Buffer]
        if self._cipher is None and wanted.first == 0:  # the header comes with the same request
            head, source = _split(self._inner.pieces(0, wanted.stored_stop), HEADER_BYTES)
            cipher = self._unlock(head)
        else:
            with self._unlocking:  # several threads may read ranges: one fetches the header
                cipher = self._cipher or self._unlock(self._inner.read(0, HEADER_BYTES))
            source = self._inner.pieces(wanted.stored_start, wanted.stored_stop)
        index = wanted.first
        for sealed in regroup(source, self._mark.segment_bytes + TAG_BYTES):
            yield index, index == wanted.final, sealed, cipher
            index += 1
        if index != wanted.last + 1:
            raise DecryptionError(
                f"{self._label} is truncated: it ended before segment {index} of {wanted.final + 1}"
            )

    def _unlock(self, head: bytes) -> SegmentCipher:
        """Check header, key and metadata, once."""
        header = Header.parse(head, self._label)
        found = _mark_of(header, self._label)
        if found != self._mark:
            raise DecryptionError(
                f"{self._label} was altered: its metadata says '{self._mark}', and its header "
                f"says '{found}'"
            )
        object_key = self._keys.object_key(self._inner.metadata, self._label)
        self._cipher = SegmentCipher.for_reading(
            header, object_key, self._inner.metadata, self._label
        )
        return self._cipher


class _LegacyReader(ObjectReader):
    max_resumes = 0

    def __init__(self, inner: ObjectReader, keys: KeyScheme, label: str) -> None:
        self._inner = inner
        self._label = label
        self._cipher = LegacyCipher(keys.legacy_key(inner.metadata, label), inner.pieces)
        self.threads, self.window_bytes = inner.threads, inner.window_bytes
        size = legacy_plaintext_size(self._cipher, inner.size, label)
        self.info = replace(inner.info, size=size, metadata=clean_metadata(inner.metadata, keys))
        logger.info(
            "%s is in the encrypted format of cottoncandy 0.2 and older, which cannot tell whether "
            "somebody altered it; upload it again to protect it",
            label,
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("a reader of an encrypted object holds its key and does not pickle")

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        first = start // BLOCK
        position = first * BLOCK
        for piece in self._cipher.blocks(first, -(-stop // BLOCK)):
            view = memoryview(piece)[max(start - position, 0) : max(stop - position, 0)]
            position += len(piece)
            yield view

    def close(self) -> None:
        self._inner.close()


def _split(chunks: Iterable[Buffer], count: int) -> tuple[bytes, Iterator[Buffer]]:
    """Return the first ``count`` bytes (fewer where there are no more), and what follows them."""
    head = b""
    source = iter(chunks)
    for chunk in source:
        view = bytes_view(chunk)
        missing = count - len(head)
        head += bytes(view[:missing])
        if len(head) == count:
            return head, chain((view[missing:],), source)
    return head, islice(source, 0)
