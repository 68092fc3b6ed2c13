"""AES-256-GCM in segments: seal a stream, open any part of it.

The size of a segment belongs to the header: ``SEGMENT_BYTES`` in ``header.py``.

The construction is STREAM [1]_, as in Tink's streaming AEAD [2]_: each segment is authenticated
separately, under a nonce that holds its index and whether it is the last. Segments can therefore be
neither altered, swapped, repeated nor dropped, and the stream can be neither cut nor extended.
Each object (each *attempt* to write one) has its own keys, derived from the master key with a
random salt of 32 bytes [3]_, so that nonces of different objects never collide [4]_.

References
----------
.. [1] Hoang, Reyhanitabar, Rogaway, Vizar: "Online Authenticated-Encryption and its Nonce-Reuse
   Misuse-Resistance", CRYPTO 2015, section 7.
.. [2] https://developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming
.. [3] RFC 5869, HKDF.
.. [4] NIST SP 800-38D, section 8.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from cottoncandy.core.buffers import Body, Buffer, regroup
from cottoncandy.exceptions import DecryptionError, EncryptionError
from cottoncandy.formats.encryption.crypto import Secret, crypto_module, hkdf_sha256
from cottoncandy.formats.encryption.header import (
    ENCRYPTION_METADATA,
    SEGMENT_BYTES,
    TAG_BYTES,
    Header,
    bound_metadata,
    stored_size,
)
from cottoncandy.formats.encryption.keys import KeyScheme

_INFO = b"cottoncandy encryption v1"
_SALT_BYTES = 32
# An unencrypted checksum of the plaintext would confirm a guess of it, and the tags of the segments
# detect every change.
_CHECKSUM = "cc-checksum"
_MAX_SEGMENTS = 2**32


class SegmentCipher:
    """Seals and opens the segments of one object; thread-safe.

    Parameters
    ----------
    header : Header
        Of the object; its salt and parameters take part in the derivation of the keys.
    object_key : Secret
        32 bytes: the master key, or what the object's own key unwraps to.
    """

    __slots__ = ("_key", "_mac_key", "_nonce_prefix", "header", "key_check", "object_key", "source")

    #: The key that opened the object.
    source: KeyScheme

    def __init__(self, header: Header, object_key: Secret) -> None:
        self.header = header
        self.object_key = object_key
        derived = hkdf_sha256(object_key, header.salt, _INFO + header.pack()[:16], 87)
        self._key = Secret(derived[:32])
        self._mac_key = Secret(derived[32:64])
        self.key_check = derived[64:80]
        self._nonce_prefix = derived[80:87]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a cipher holds the key of an object and does not pickle")

    @classmethod
    def for_writing(
        cls, scheme_code: int, object_key: Secret, metadata: Mapping[str, str], segment_bytes: int
    ) -> SegmentCipher:
        """Return the cipher of a new object, with a complete ``header``."""
        header = Header(scheme_code, segment_bytes, os.urandom(_SALT_BYTES))
        cipher = cls(header, object_key)
        header = replace(header, key_check=cipher.key_check)
        cipher.header = replace(header, mac=cipher._mac(header, metadata))
        return cipher

    @classmethod
    def for_reading(
        cls,
        header: Header,
        keys: KeyScheme,
        key_id: str | None,
        metadata: Mapping[str, str],
        label: str,
    ) -> SegmentCipher:
        """Return the cipher of a stored object, after checking key, header and metadata.

        Raises
        ------
        DecryptionError
            If they do not belong to the object.
        EncryptionKeyError
            If the key is of a kind that cannot read.
        """
        for source in keys.candidates(label, key_id):
            object_key = source.object_key(metadata, label)
            if object_key is None:
                continue
            cipher = cls(header, object_key)
            if hmac.compare_digest(cipher.key_check, header.key_check):
                break
        else:
            raise DecryptionError(
                f"{label} cannot be decrypted with {keys.description}: it was encrypted with "
                f"another one, or was altered"
            )
        if not hmac.compare_digest(cipher._mac(header, metadata), header.mac):
            raise DecryptionError(
                f"{label} does not belong to its metadata (dtype, shape, order, compression, ...): "
                f"one of the two was altered or taken from another object"
            )
        cipher.source = source
        return cipher

    def _mac(self, header: Header, metadata: Mapping[str, str]) -> bytes:
        message = header.pack()[:64] + bound_metadata(metadata)
        return hmac.digest(self._mac_key.reveal(), message, hashlib.sha256)

    def seal(self, index: int, final: bool, plaintext: Buffer) -> memoryview:
        """Return one encrypted segment, followed by its tag."""
        if index >= _MAX_SEGMENTS:
            raise EncryptionError(
                f"an encrypted object has at most 2**32 segments of {self.header.segment_bytes} "
                f"bytes; cut the data into several objects"
            )
        size = len(plaintext)
        sealed = memoryview(bytearray(size + TAG_BYTES))
        cipher = self._gcm(index, final)
        if size:
            cipher.encrypt(plaintext, output=sealed[:size])
        sealed[size:] = cipher.digest()
        return sealed

    def open(
        self, index: int, final: bool, sealed: memoryview, label: str, into: memoryview
    ) -> memoryview:
        """Decrypt one segment into ``into``, and return the filled part.

        Raises
        ------
        DecryptionError
            If it is not authentic; ``into`` is then zeroed.
        """
        size = len(sealed) - TAG_BYTES
        output = into[: max(size, 0)]
        cipher = self._gcm(index, final)
        try:
            if size > 0:
                cipher.decrypt(sealed[:size], output=output)
            cipher.verify(bytes(sealed[max(size, 0) :]))
        except ValueError:
            output[:] = bytes(len(output))
            raise DecryptionError(
                f"{label} was altered, truncated or put together from pieces: segment {index} is "
                f"not the one that was stored there"
            ) from None
        return output

    def seal_all(self, buffers: Iterable[Buffer]) -> Iterator[Buffer]:
        """Yield the whole stored body: the header, then each segment."""
        yield self.header.pack()
        index, held = 0, memoryview(b"")
        for index, block in enumerate(regroup(buffers, self.header.segment_bytes)):
            if index:
                yield self.seal(index - 1, False, held)
            held = block
        yield self.seal(index, True, held)

    def _gcm(self, index: int, final: bool) -> Any:
        aes = crypto_module("Cipher.AES")
        nonce = self._nonce_prefix + index.to_bytes(4, "big") + bytes([final])
        return aes.new(self._key.reveal(), aes.MODE_GCM, nonce=nonce, mac_len=TAG_BYTES)


def encrypt_body(
    body: Body,
    metadata: Mapping[str, str],
    keys: KeyScheme,
    *,
    segment_bytes: int = SEGMENT_BYTES,
) -> tuple[Body, dict[str, str]]:
    """Encrypt an upload.

    Parameters
    ----------
    body : Body
        The plaintext. It is read as the result is consumed, a few segments at a time.
    metadata : mapping of str to str
        User and format metadata; a checksum of the plaintext is removed. Entries that decoding
        depends on are bound to the body.
    keys : KeyScheme
        Source of the object key.
    segment_bytes : int, default 256 KiB
        Plaintext bytes in a segment, a power of two. Only tests change it.

    Returns
    -------
    body : Body
        The bytes to store. Each replay has its own salt, and so its own keys and nonces: pieces of
        two replays cannot be mixed.
    metadata : dict of str to str
        The metadata to store.

    Raises
    ------
    EncryptionKeyError
        If the keys can only read.
    """
    object_key, wrapped = keys.new_object_key()
    stored = {
        **metadata,
        ENCRYPTION_METADATA: str(keys.info(segment_bytes)),
        **wrapped,
    }
    stored.pop(_CHECKSUM, None)

    def blocks() -> Iterator[Buffer]:
        cipher = SegmentCipher.for_writing(keys.code, object_key, stored, segment_bytes)
        return cipher.seal_all(body)

    sizes = [
        None if size is None else stored_size(size, segment_bytes)
        for size in (body.size, body.max_size)
    ]
    encrypted = Body(blocks, size=sizes[0], max_size=sizes[1], replayable=body.replayable)
    return encrypted, stored
