"""Readers that decrypt: the interface of stored objects, with the plaintext."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import NoReturn

from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.core.buffers import Buffer, regroup
from cottoncandy.exceptions import DecryptionError, EncryptionKeyError
from cottoncandy.formats.encryption.header import (
    ENCRYPTION_METADATA,
    HEADER_BYTES,
    MAGIC,
    TAG_BYTES,
    EncryptionInfo,
    Header,
    plaintext_size,
    stored_size,
)
from cottoncandy.formats.encryption.keys import KeyScheme
from cottoncandy.formats.encryption.legacy import BLOCK, LegacyCipher, could_be_legacy
from cottoncandy.formats.encryption.segments import SegmentCipher

logger = logging.getLogger(__name__)

_SCHEMES = {1: "AES", 2: "RSA"}


def open_encrypted(
    inner: ObjectReader, keys: KeyScheme, label: str | None = None
) -> DecryptingReader:
    """Open an encrypted object in any format that cottoncandy has written.

    If the metadata has no ``cc-encryption``, the start of the body is read to detect the format. An
    empty object is checked immediately; otherwise nothing is read until bytes are requested.

    Parameters
    ----------
    inner : ObjectReader
        The stored object; closed with the result.
    keys : KeyScheme
        Source of the object key.
    label : str, optional
        Name of the object in messages; default ``object 'NAME'``.

    Raises
    ------
    DecryptionError
        If the object is not encrypted, not with this key, or was altered.
    EncryptionKeyError
        If the key is of the wrong kind or can only write.
    """
    label = f"object '{inner.info.key}'" if label is None else label
    text = inner.metadata.get(ENCRYPTION_METADATA)
    if text is not None:
        return SegmentReader(inner, keys, EncryptionInfo.parse(text, label), label)
    start = inner.read(0, min(HEADER_BYTES, inner.size))
    if start[: len(MAGIC)] == MAGIC:
        return SegmentReader(inner, keys, _info_of(Header.parse(start, label), label), label)
    if not could_be_legacy(inner.size):
        raise DecryptionError(
            f"{label} is not encrypted: open it with get_interface(), or, if it should be "
            f"encrypted, upload it again"
        )
    return LegacyReader(inner, keys, label)


def encrypted_info(info: ObjectInfo, keys: KeyScheme, label: str) -> ObjectInfo:
    """Return the header of an encrypted object as that of its plaintext.

    Without ``cc-encryption`` it is returned unchanged: only the body shows what it is.
    """
    metadata = info.metadata or {}
    if ENCRYPTION_METADATA not in metadata:
        return info
    encryption = EncryptionInfo.parse(metadata[ENCRYPTION_METADATA], label)
    return plain_info(info, keys, plaintext_size(info.size, encryption.segment_bytes, label))


def plain_info(info: ObjectInfo, keys: KeyScheme, size: int) -> ObjectInfo:
    """Return a header with the size of the plaintext, and the user's part of the metadata."""
    metadata = {
        name: value
        for name, value in (info.metadata or {}).items()
        if name != ENCRYPTION_METADATA and not keys.owns_metadata(name)
    }
    return info._replace(size=size, metadata=metadata, encrypted=True, md5=None, crc32c=None)


class DecryptingReader(ObjectReader):
    """The plaintext of one object.

    Parameters
    ----------
    inner : ObjectReader
        The stored object; closed with this reader.
    keys : KeyScheme
        Of the same scheme as the object.
    size : int
        Size of the plaintext, in bytes.
    """

    max_resumes = 0  # the stored object's pieces are

    def __init__(self, inner: ObjectReader, keys: KeyScheme, size: int) -> None:
        self._inner = inner
        self.threads, self.window_bytes = inner.threads, inner.window_bytes
        self.pinned = inner.pinned
        self.info = plain_info(inner.info, keys, size)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a reader of an encrypted object holds its key and does not pickle")

    def is_replaced(self) -> bool:
        return self._inner.is_replaced()

    def close(self) -> None:
        self._inner.close()


class SegmentReader(DecryptingReader):
    """An object of format version 1: ranges fetch and decrypt only the segments they touch.

    Only authenticated bytes are returned. ``info.size`` follows from the stored size; the last
    segment proves it, so every read that reaches the end verifies it.
    """

    def __init__(
        self, inner: ObjectReader, keys: KeyScheme, encryption: EncryptionInfo, label: str
    ) -> None:
        if encryption.scheme != keys.name:
            raise EncryptionKeyError(
                f"{label} is encrypted with encryption='{encryption.scheme}', but this interface "
                f"has a key for '{keys.name}'; open it with "
                f"get_encrypted_interface(..., encryption='{encryption.scheme}')"
            )
        super().__init__(inner, keys, plaintext_size(inner.size, encryption.segment_bytes, label))
        self._keys = keys
        self._encryption = encryption
        self._label = label
        self._cipher: SegmentCipher | None = None
        self._unlocking = threading.Lock()
        # Whole segments of the bytes that were returned with the header.
        sealed = encryption.segment_bytes + TAG_BYTES
        segments = max(inner.prefetched - HEADER_BYTES, 0) // sealed
        whole = inner.prefetched == inner.size
        self.prefetched = (
            self.size if whole else min(segments * encryption.segment_bytes, self.size)
        )
        if not self.size:  # the bytes of an empty object are never requested
            for _ in self.stream(0, 0):
                pass

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        step = self._encryption.segment_bytes
        sealed_bytes = step + TAG_BYTES
        final = max(-(-self.size // step), 1) - 1
        index = min(start // step, final)
        last = max(min((stop - 1) // step, final), index)  # at least one segment
        stored = HEADER_BYTES + index * sealed_bytes
        stored_stop = min(HEADER_BYTES + (last + 1) * sealed_bytes, stored_size(self.size, step))
        if self._cipher is None and index == 0:  # the same request returns the header
            pieces = self._inner.pieces(0, stored_stop)
            segments = regroup(pieces, (HEADER_BYTES, sealed_bytes))
            cipher = self._unlock(bytes(next(segments, b"")))
        else:
            cipher = self.unlock()
            segments = regroup(self._inner.pieces(stored, stored_stop), sealed_bytes)
        for sealed in segments:
            # A separate buffer, because only authenticated bytes may be returned.
            into = memoryview(bytearray(len(sealed)))
            opened = cipher.open(index, index == final, sealed, self._label, into)
            offset = index * step
            index += 1
            if piece := opened[max(start - offset, 0) : max(stop - offset, 0)]:
                yield piece

    def unlock(self) -> SegmentCipher:
        """Check header, key and metadata, once; return the cipher."""
        with self._unlocking:  # several threads may read ranges: one fetches the header
            return self._cipher or self._unlock(self._inner.read(0, HEADER_BYTES))

    def _unlock(self, head: bytes) -> SegmentCipher:
        header = Header.parse(head, self._label)
        found = _info_of(header, self._label)
        if found != self._encryption:
            raise DecryptionError(
                f"{self._label} was altered: its metadata says '{self._encryption}', and its "
                f"header says '{found}'"
            )
        self._cipher = SegmentCipher.for_reading(
            header, self._keys, self._encryption.key_id, self._inner.metadata, self._label
        )
        return self._cipher


class LegacyReader(DecryptingReader):
    """An object of cottoncandy 0.2 or older, which is not authenticated."""

    def __init__(self, inner: ObjectReader, keys: KeyScheme, label: str) -> None:
        for key in keys.candidates(label, legacy=True):
            object_key = key.object_key(inner.metadata, label, legacy=True)
            if object_key is None:
                continue
            self._cipher = LegacyCipher(object_key, inner.pieces)
            size = self._cipher.plaintext_size(inner.size)
            if size is not None:
                break
        else:
            raise DecryptionError(
                f"{label} is not encrypted, or with another key, or was altered; open it with "
                f"get_interface() if it was uploaded without encryption"
            )
        super().__init__(inner, keys, size)
        logger.info(
            "%s is in the encrypted format of cottoncandy 0.2 and older, which does not detect "
            "changes; upload it again, or call rotate_keys(), to protect it",
            label,
        )

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        first = start // BLOCK
        position = first * BLOCK
        for piece in self._cipher.blocks(first, -(-stop // BLOCK)):
            view = memoryview(piece)[max(start - position, 0) : max(stop - position, 0)]
            position += len(piece)
            yield view


def _info_of(header: Header, label: str) -> EncryptionInfo:
    scheme = _SCHEMES.get(header.scheme_code)
    if scheme is None:
        raise DecryptionError(f"{label} has a malformed header: it was altered")
    return EncryptionInfo(scheme, header.segment_bytes)
