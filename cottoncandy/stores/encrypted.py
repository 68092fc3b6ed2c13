"""A backend around a backend that encrypts uploads and decrypts downloads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

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
from cottoncandy.exceptions import DecryptionError, MetadataError
from cottoncandy.formats.encryption import (
    ENCRYPTION_METADATA,
    SEGMENT_BYTES,
    KeyScheme,
    encrypt_body,
    plaintext_size,
    stored_size,
)
from cottoncandy.stores.decryption import encrypted_info, open_encrypted
from cottoncandy.stores.wrapping import WrappedBackend

__all__ = ["EncryptedBackend"]


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

    def __repr__(self) -> str:
        return f"<EncryptedBackend {self._keys.name} {self.inner.describe()}>"

    # -- objects ---------------------------------------------------------------------------------

    def get(
        self,
        key: str,
        *,
        bucket: str | None = None,
        threads: int = 4,
        prefetch: bool = True,
        tail: int = 0,
    ) -> ObjectReader:
        # The segments that contain the tail, wherever they begin.
        tail = tail and stored_size(tail + SEGMENT_BYTES)
        reader = self.inner.get(key, bucket=bucket, threads=threads, prefetch=prefetch, tail=tail)
        try:
            return open_encrypted(reader, self._keys, self._label(key, bucket))
        except BaseException:
            reader.close()
            raise

    def head(self, key: str, *, bucket: str | None = None) -> ObjectInfo:
        """Return an object's header; for plain objects, and those of 0.2, as stored."""
        info = self.inner.head(key, bucket=bucket)
        return encrypted_info(info, self._keys, self._label(key, bucket))

    def put(
        self,
        key: str,
        body: Body,
        options: PutOptions = DEFAULT_OPTIONS,
        *,
        bucket: str | None = None,
        threads: int = 4,
    ) -> PutResult:
        options = self._checked(key, options)
        metadata = options.metadata or {}
        for name in metadata:
            if name == ENCRYPTION_METADATA or self._keys.owns_metadata(name):
                raise MetadataError(
                    f"metadata '{name}' of object '{key}' is reserved: "
                    f"encryption='{self._keys.name}' stores its own under that name; choose another"
                )
        sealed, stored = encrypt_body(body, metadata, self._keys)
        options = replace(options, metadata=stored)
        return self.inner.put(key, sealed, options, bucket=bucket, threads=threads)

    def scan(
        self,
        prefix: str = "",
        *,
        bucket: str | None = None,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        found = super().scan(
            prefix,
            bucket=bucket,
            delimiter=delimiter,
            start_after=start_after,
            page_size=page_size,
        )
        return map(_listed, found)

    def _label(self, key: str, bucket: str | None) -> str:
        return f"object '{key}' in bucket '{self._bucket(bucket)}'"


def _listed(entry: ObjectInfo | CommonPrefix) -> ObjectInfo | CommonPrefix:
    if isinstance(entry, CommonPrefix):
        return entry
    try:
        return replace(entry, size=plaintext_size(entry.size, SEGMENT_BYTES, ""))
    except DecryptionError:
        return entry  # not an encrypted object
