"""A backend around a backend that encrypts uploads and decrypts downloads, and its readers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar, NoReturn

from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    CommonPrefix,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
)
from cottoncandy.core.buffers import Body, Buffer, regroup
from cottoncandy.exceptions import (
    DecryptionError,
    EncryptionKeyError,
    MetadataError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from cottoncandy.formats.encryption import legacy
from cottoncandy.formats.encryption.keys import KeyScheme
from cottoncandy.formats.encryption.segments import (
    ENCRYPTION_METADATA,
    HEADER_BYTES,
    MAGIC,
    SEGMENT_BYTES,
    TAG_BYTES,
    EncryptionInfo,
    SegmentCipher,
    bound_metadata,
    encrypt_body,
    parse_header,
    plaintext_size,
    stored_size,
)
from cottoncandy.stores.store import replace_metadata
from cottoncandy.stores.wrapping import WrappedBackend, WrappedReader

logger = logging.getLogger(__name__)

_MAX_ROTATIONS = 5


class EncryptedBackend(WrappedBackend):
    """Another backend, whose objects are encrypted before upload and decrypted after download.

    Parameters
    ----------
    inner : Backend
        Stores the encrypted objects.
    keys : KeyScheme

    Notes
    -----
    Names and most metadata are stored unchanged. Copies and moves stay in the store, because
    bodies are bound to their metadata but not to their names. Sizes are those of the plaintext: in
    listings they follow from the stored sizes, as if every object were encrypted.
    """

    name: ClassVar[str] = "encrypted"

    def __init__(self, inner: Backend, keys: KeyScheme) -> None:
        self._keys = keys
        limits = inner.capabilities.metadata
        if limits.max_bytes is not None:
            own = len(ENCRYPTION_METADATA) + len(str(EncryptionInfo.of(keys)))
            limits = replace(limits, max_bytes=limits.max_bytes - own - keys.metadata_bytes)
        super().__init__(inner, stored_checksum=None, metadata=limits)

    def describe(self) -> str:
        return f"{self.inner.describe()}, encrypted with {self._keys.name}"

    # -- objects ---------------------------------------------------------------------------------

    def get(
        self, key: str, *, threads: int = 4, prefetch: bool | tuple[int, int] = True, tail: int = 0
    ) -> ObjectReader:
        # The segments that contain the tail, wherever they begin.
        tail = tail and stored_size(tail + SEGMENT_BYTES)
        if isinstance(prefetch, tuple):  # the format's header comes first
            near = prefetch[1] <= SEGMENT_BYTES
            prefetch = (0, stored_size(SEGMENT_BYTES) if near else HEADER_BYTES)
        reader = self.inner.get(key, threads=threads, prefetch=prefetch, tail=tail)
        try:
            return open_encrypted(reader, self._keys, self._label(key))
        except BaseException:
            reader.close()
            raise

    def head(self, key: str) -> ObjectInfo:
        """Return an object's header; for plain objects, and those of 0.2, as stored."""
        info, label = self.inner.head(key), self._label(key)
        text = (info.metadata or {}).get(ENCRYPTION_METADATA)
        if text is None:  # only the body shows what it is
            return info
        segment_bytes = EncryptionInfo.parse(text, label).segment_bytes
        return _plain_info(info, self._keys, plaintext_size(info.size, segment_bytes, label))

    def puts_atomically(self, key: str, size: int = 0) -> bool:
        return self.inner.puts_atomically(key, stored_size(size))

    def put(
        self, key: str, body: Body, options: PutOptions = DEFAULT_OPTIONS, *, threads: int = 4
    ) -> PutResult:
        options = self._checked(key, options)
        metadata = self._without_reserved(key, options.metadata or {})
        sealed, stored = encrypt_body(body, metadata, self._keys)
        options = replace(options, metadata=stored)
        return self.inner.put(key, sealed, options, threads=threads)

    def check_writes(self) -> None:
        """Raise EncryptionKeyError if the first key only reads."""
        self._keys.new_object_key()

    def rotate(self, key: str) -> bool:
        """Store an object under the first key; return whether it was under another.

        Only the version that was read is replaced. Metadata, headers and ACL are kept. With RSA,
        the body is not decrypted: the first key wraps the object's own. An object of cottoncandy
        0.2 is stored in the current format, even if it is under the first key.

        Raises
        ------
        DecryptionError
            If no key opens the object, or it was altered.
        ObjectChangedError
            If it was replaced again and again.
        """
        for attempt in count(1):
            try:
                with self.inner.get(key, prefetch=False) as reader:
                    return self._rotate(key, reader)
            except ObjectNotFoundError:
                break  # deleted since it was listed
            except EncryptionKeyError as exc:  # it concerns this object only
                raise DecryptionError(str(exc)) from exc
            except ObjectChangedError:
                if attempt == _MAX_ROTATIONS:
                    raise
        return False

    def _rotate(self, key: str, reader: ObjectReader) -> bool:
        label, info = self._label(key), reader.info
        text = reader.metadata.get(ENCRYPTION_METADATA)
        key_id = None if text is None else EncryptionInfo.parse(text, label).key_id
        if key_id == self._keys.id:
            return False
        if key.endswith("/") and not reader.size:  # a directory, as consoles create them
            return False
        opened = open_encrypted(reader, self._keys, label)
        if isinstance(opened, SegmentReader):
            cipher = opened.unlock()
            if cipher.source is self._keys:
                return False
            wrapped = self._keys.wrapped(cipher.object_key)
            if wrapped is not None:
                mark = EncryptionInfo.of(self._keys, cipher.info.segment_bytes)
                metadata = {**opened.metadata, ENCRYPTION_METADATA: str(mark), **wrapped}
                replace_metadata(self.inner, key, metadata, info.etag)
                return True
        plaintext = Body(opened.chunks, size=opened.size)
        body, metadata = encrypt_body(plaintext, opened.metadata, self._keys)
        options = self.inner.capabilities.options_like(info, metadata)
        self.inner.put(key, body, options)
        return True

    def set_metadata(
        self, key: str, metadata: Mapping[str, str], *, etag: str | None = None
    ) -> PutResult:
        options = self._checked(key, PutOptions(metadata))
        metadata = self._without_reserved(key, options.metadata or {})
        info = self.inner.head(key)
        stored = info.metadata or {}
        if ENCRYPTION_METADATA not in stored or bound_metadata(stored) != bound_metadata(metadata):
            # The body is bound to the old metadata, or cottoncandy 0.2 wrote it.
            return Backend.set_metadata(self, key, metadata, etag=etag)
        own = {name: value for name, value in stored.items() if self._reserves(name)}
        version = info.etag if etag is None else etag
        return self.inner.set_metadata(key, {**metadata, **own}, etag=version)

    def _without_reserved(self, key: str, metadata: Mapping[str, str]) -> Mapping[str, str]:
        """Return the metadata; raise if a name is the encryption's own."""
        for name in filter(self._reserves, metadata):
            raise MetadataError(
                f"metadata '{name}' of object '{key}' is reserved: "
                f"encryption='{self._keys.name}' stores its own under that name; choose another"
            )
        return metadata

    def _reserves(self, name: str) -> bool:
        return name == ENCRYPTION_METADATA or self._keys.owns_metadata(name)

    def scan(self, *args: Any, **options: Any) -> Iterator[ObjectInfo | CommonPrefix]:
        return map(_listed, self.inner.scan(*args, **options))

    def _label(self, key: str) -> str:
        return f"object '{key}' in bucket '{self.bucket}'"


def _listed(entry: ObjectInfo | CommonPrefix) -> ObjectInfo | CommonPrefix:
    if isinstance(entry, CommonPrefix):
        return entry
    try:
        size = plaintext_size(entry.size, SEGMENT_BYTES, "")
        return entry._replace(size=size, md5=None, crc32c=None)
    except DecryptionError:
        return entry  # not an encrypted object


# -- readers -------------------------------------------------------------------------------------


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
        return SegmentReader(inner, keys, parse_header(start, label)[0], label)
    if not legacy.could_be_legacy(inner.size):
        raise DecryptionError(
            f"{label} is not encrypted: open it with get_interface(), or, if it should be "
            f"encrypted, upload it again"
        )
    return LegacyReader(inner, keys, label)


def _plain_info(info: ObjectInfo, keys: KeyScheme, size: int) -> ObjectInfo:
    """Return a header with the size of the plaintext, and the user's part of the metadata."""
    metadata = {
        name: value
        for name, value in (info.metadata or {}).items()
        if name != ENCRYPTION_METADATA and not keys.owns_metadata(name)
    }
    return info._replace(size=size, metadata=metadata, encrypted=True, md5=None, crc32c=None)


class DecryptingReader(WrappedReader):
    """The plaintext of one object.

    Parameters
    ----------
    inner : ObjectReader
        The stored object; closed with this reader.
    keys : KeyScheme
        Of the same scheme as the object.
    size : int
        Size of the plaintext, in bytes.
    block_bytes : int
        Bytes of it that are encrypted together.
    """

    def __init__(self, inner: ObjectReader, keys: KeyScheme, size: int, block_bytes: int) -> None:
        super().__init__(inner, _plain_info(inner.info, keys, size), block_bytes)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a reader of an encrypted object holds its key and does not pickle")


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
        step = encryption.segment_bytes
        super().__init__(inner, keys, plaintext_size(inner.size, step, label), step)
        self._keys = keys
        self._encryption = encryption
        self._label = label
        self._cipher: SegmentCipher | None = None
        self._unlocking = threading.Lock()
        # Whole segments of the bytes that were returned with the header.
        segments = max(inner.prefetched - HEADER_BYTES, 0) // (step + TAG_BYTES)
        whole = inner.prefetched == inner.size
        self.prefetched = self.size if whole else min(segments * step, self.size)
        if not self.size:  # the bytes of an empty object are never requested
            for _ in self.blocks(0, 1):
                pass

    def blocks(self, first: int, end: int) -> Iterator[Buffer]:
        sealed_bytes = self._block_bytes + TAG_BYTES
        final = -(-(self._inner.size - HEADER_BYTES) // sealed_bytes) - 1
        start, stop = (HEADER_BYTES + number * sealed_bytes for number in (first, end))
        stop = min(stop, self._inner.size)
        if self._cipher is None and first == 0:  # the same request returns the header
            segments = regroup(self._inner.pieces(0, stop), (HEADER_BYTES, sealed_bytes))
            cipher = self._unlock(bytes(next(segments, b"")))
        else:
            cipher = self.unlock()
            segments = regroup(self._inner.pieces(start, stop), sealed_bytes)
        for index, sealed in enumerate(segments, first):
            yield cipher.open(index, index == final, sealed, self._label)

    def unlock(self) -> SegmentCipher:
        """Check header, key and metadata, once; return the cipher."""
        with self._unlocking:  # several threads may read ranges: one fetches the header
            return self._cipher or self._unlock(self._inner.read(0, HEADER_BYTES))

    def _unlock(self, head: bytes) -> SegmentCipher:
        self._cipher = SegmentCipher.for_reading(
            head, self._encryption, self._keys, self._inner.metadata, self._label
        )
        return self._cipher


class LegacyReader(DecryptingReader):
    """An object of cottoncandy 0.2 or older, which is not authenticated."""

    def __init__(self, inner: ObjectReader, keys: KeyScheme, label: str) -> None:
        blocks = inner.size // legacy.BLOCK - 1
        end = max(blocks - 2, 0) * legacy.BLOCK
        for key in keys.candidates(label, legacy=True):
            object_key = key.object_key(inner.metadata, label, legacy=True)
            if object_key is None:
                continue
            last = legacy.decrypted(inner.pieces(end, inner.size), object_key)
            size = legacy.plaintext_size(b"".join(last), blocks)
            if size is not None:
                break
        else:
            raise DecryptionError(
                f"{label} is not encrypted, or with another key, or was altered; open it with "
                f"get_interface() if it was uploaded without encryption"
            )
        super().__init__(inner, keys, size, legacy.BLOCK)
        self._key = object_key
        logger.info(
            "%s is in the encrypted format of cottoncandy 0.2 and older, which does not detect "
            "changes; upload it again, or call rotate_keys(), to protect it",
            label,
        )

    def blocks(self, first: int, end: int) -> Iterator[Buffer]:
        # The block before is the initialization vector; before the first one, there is another.
        stored = self._inner.pieces(first * legacy.BLOCK, (end + 1) * legacy.BLOCK)
        return legacy.decrypted(stored, self._key)
