"""A backend around a backend that encrypts uploads and decrypts downloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar

from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    CommonPrefix,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
)
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    DecryptionError,
    EncryptionKeyError,
    MetadataError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from cottoncandy.formats.encryption.header import (
    ENCRYPTION_METADATA,
    HEADER_BYTES,
    SEGMENT_BYTES,
    EncryptionInfo,
    bound_metadata,
    plaintext_size,
    stored_size,
)
from cottoncandy.formats.encryption.keys import KeyScheme
from cottoncandy.formats.encryption.segments import encrypt_body
from cottoncandy.stores.decryption import SegmentReader, encrypted_info, open_encrypted
from cottoncandy.stores.store import replace_metadata
from cottoncandy.stores.wrapping import WrappedBackend

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
            limits = replace(limits, max_bytes=limits.max_bytes - keys.metadata_bytes)
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
        info = self.inner.head(key)
        return encrypted_info(info, self._keys, self._label(key))

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
                mark = str(self._keys.info(cipher.header.segment_bytes))
                metadata = {**opened.metadata, ENCRYPTION_METADATA: mark, **wrapped}
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
