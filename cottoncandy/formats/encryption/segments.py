"""Format version 1, AES-256-GCM in segments: seal a stream, open any part of it.

The exact layout is on the page ``docs/encryption-format.md``.

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
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from cottoncandy.core.buffers import Body, Buffer, regroup
from cottoncandy.exceptions import DecryptionError
from cottoncandy.formats.encryption.keys import KeyScheme, Secret, crypto_module, hkdf_sha256

#: Name of the metadata entry of every encrypted object; :class:`EncryptionInfo` is its value.
ENCRYPTION_METADATA = "cc-encryption"

# As in PNG's signature: the first byte is not ASCII, and text mode would change the line end.
MAGIC = b"\x89CCENC\r\n"
VERSION = 1
HEADER_BYTES = 96
TAG_BYTES = 16

#: Plaintext bytes in a segment of version 1. The version fixes it, so that the size of a plaintext
#: follows from the stored size, in listings too. Setting up GCM in pycryptodome takes about 90 us
#: whatever the size: 64 KiB segments run at 450 MB/s, 256 KiB at 850, 1 MiB at 1100. A read of a
#: few bytes fetches and decrypts a whole segment, which is a reason for small ones.
SEGMENT_BYTES = 256 * 1024
_LOG2_RANGE = range(6, 25)

_HEADER = struct.Struct("<8sBBB5x32s")  # key check and MAC follow
_SCHEMES = ("AES", "RSA")  # the first one is number 1 in the header

_INFO = b"cottoncandy encryption v1"
_SALT_BYTES = 32

# An unencrypted checksum of the plaintext would confirm a guess of it, and the tags of the segments
# detect every change.
_CHECKSUM = "cc-checksum"
# Decoding depends on these. All names that begin with cc- are bound as well.
_BOUND = frozenset({"compression", "dtype", "gzip", "order", "shape"})
_OWN_PREFIX = "cc-"

_INFO_PATTERN = re.compile(
    r"AES-256-GCM; v=(\d+); key=([A-Z]+); segment=(\d{1,8})(?:; id=([0-9a-f]{16}))?"
)


@dataclass(frozen=True, slots=True)
class EncryptionInfo:
    """The parsed value of the ``cc-encryption`` metadata.

    Parameters
    ----------
    scheme : str
        Name of the key scheme, ``"AES"`` or ``"RSA"``.
    segment_bytes : int
        Plaintext bytes in each segment but the last.
    key_id : str, optional
        The key that opens the object. It is not compared: the body does not contain it, so that
        another key can wrap the object's own without a change of the body.
    """

    scheme: str
    segment_bytes: int
    key_id: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        text = f"AES-256-GCM; v={VERSION}; key={self.scheme}; segment={self.segment_bytes}"
        return text if self.key_id is None else f"{text}; id={self.key_id}"

    @classmethod
    def of(cls, keys: KeyScheme, segment_bytes: int = SEGMENT_BYTES) -> EncryptionInfo:
        """Return the value for a new object."""
        return cls(keys.name, segment_bytes, keys.id)

    @classmethod
    def parse(cls, text: str, label: str) -> EncryptionInfo:
        """Parse the metadata value.

        Raises
        ------
        DecryptionError
            If it is malformed, or of a later version.
        """
        match = _INFO_PATTERN.fullmatch(text)
        if match is None:
            raise DecryptionError(
                f"{label} has the metadata {ENCRYPTION_METADATA}={text[:80]!r}, which this version "
                f"of cottoncandy does not support; it was altered, or written by a later version"
            )
        _check_version(int(match[1]), label)
        segment_bytes = int(match[3])
        if segment_bytes.bit_count() != 1 or segment_bytes.bit_length() - 1 not in _LOG2_RANGE:
            raise DecryptionError(f"{label}: segments of {segment_bytes} bytes do not exist")
        return cls(match[2], segment_bytes, match[4])


def parse_header(data: bytes, label: str) -> tuple[EncryptionInfo, bytes]:
    """Return what the start of a body says about it, not yet authenticated, and its salt.

    Raises
    ------
    DecryptionError
        If it is not a header, incomplete, of a later version or malformed.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise DecryptionError(
            f"{label} is marked as encrypted, and its body does not begin like an encrypted "
            f"one: it was altered or replaced; upload it again"
        )
    if len(data) < HEADER_BYTES:
        raise DecryptionError(
            f"{label} is truncated: its body has {len(data)} bytes, and the header of an "
            f"encrypted one has {HEADER_BYTES}"
        )
    _, version, scheme, log2, salt = _HEADER.unpack_from(data)
    _check_version(version, label)
    known = scheme in range(1, len(_SCHEMES) + 1) and log2 in _LOG2_RANGE
    if not known or any(data[11:16]):
        raise DecryptionError(f"{label} has a malformed header: it was altered")
    return EncryptionInfo(_SCHEMES[scheme - 1], 1 << log2), salt


def _check_version(version: int, label: str) -> None:
    if version != VERSION:
        raise DecryptionError(
            f"{label} is encrypted in version {version} of the format, and this cottoncandy "
            f"supports version {VERSION}: upgrade with pip install -U cottoncandy, unless it was "
            f"altered"
        )


def bound_metadata(metadata: Mapping[str, str]) -> bytes:
    """Return the canonical bytes of the metadata that a body is bound to.

    An empty value is treated as a missing one, because some stores drop it.
    """
    lowered = {name.lower(): value for name, value in metadata.items()}
    output = bytearray()
    for name in sorted(lowered):
        value = lowered[name]
        bound = name in _BOUND or (name.startswith(_OWN_PREFIX) and name != ENCRYPTION_METADATA)
        if bound and value:
            for text in (name.encode(), value.encode()):
                output += len(text).to_bytes(4, "little") + text
    return bytes(output)


def stored_size(size: int, segment_bytes: int = SEGMENT_BYTES) -> int:
    """Return how many bytes a plaintext of ``size`` bytes takes once encrypted."""
    segments = max(-(-size // segment_bytes), 1)
    return HEADER_BYTES + size + TAG_BYTES * segments


def plaintext_size(stored: int, segment_bytes: int, label: str) -> int:
    """Return the size of the plaintext in a body of ``stored`` bytes.

    Raises
    ------
    DecryptionError
        If no plaintext gives a body of that size, so it must have been cut or extended.
    """
    body = stored - HEADER_BYTES
    segments = -(-body // (segment_bytes + TAG_BYTES))
    size = body - TAG_BYTES * segments
    if body < TAG_BYTES or stored_size(size, segment_bytes) != stored:
        raise DecryptionError(
            f"{label} is truncated or has bytes too many: no encrypted body has {stored} bytes"
        )
    return size


class SegmentCipher:
    """Seals and opens the segments of one object; thread-safe.

    Parameters
    ----------
    info : EncryptionInfo
    salt : bytes
        32 bytes. It and the parameters take part in the derivation of the keys.
    object_key : Secret
        32 bytes: the master key, or what the object's own key unwraps to.
    """

    __slots__ = ("_key", "_mac_key", "_nonce_prefix", "_start", "info", "object_key", "source")

    #: The key that opened the object.
    source: KeyScheme

    def __init__(self, info: EncryptionInfo, salt: bytes, object_key: Secret) -> None:
        self.info = info
        self.object_key = object_key
        scheme, log2 = _SCHEMES.index(info.scheme) + 1, info.segment_bytes.bit_length() - 1
        start = _HEADER.pack(MAGIC, VERSION, scheme, log2, salt)
        derived = hkdf_sha256(object_key, salt, _INFO + start[:16], 87)
        self._key = Secret(derived[:32])
        self._mac_key = Secret(derived[32:64])
        self._start = start + derived[64:80]  # the header up to the key check
        self._nonce_prefix = derived[80:87]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a cipher holds the key of an object and does not pickle")

    @classmethod
    def for_reading(
        cls,
        header: bytes,
        info: EncryptionInfo,
        keys: KeyScheme,
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
        found, salt = parse_header(header, label)
        if found != info:
            raise DecryptionError(
                f"{label} was altered: its metadata says '{info}', and its header says '{found}'"
            )
        for source in keys.candidates(label, info.key_id):
            object_key = source.object_key(metadata, label)
            if object_key is None:
                continue
            cipher = cls(info, salt, object_key)
            if hmac.compare_digest(cipher._start, header[: len(cipher._start)]):
                break
        else:
            raise DecryptionError(
                f"{label} cannot be decrypted with {keys.description}: it was encrypted with "
                f"another one, or was altered"
            )
        if not hmac.compare_digest(cipher.header(metadata), header):
            raise DecryptionError(
                f"{label} does not belong to its metadata (dtype, shape, order, compression, ...): "
                f"one of the two was altered or taken from another object"
            )
        cipher.source = source
        return cipher

    def header(self, metadata: Mapping[str, str]) -> bytes:
        """Return the start of the body of an object with that metadata."""
        message = self._start + bound_metadata(metadata)
        return self._start + hmac.digest(self._mac_key.reveal(), message, hashlib.sha256)

    def seal(self, index: int, final: bool, plaintext: Buffer) -> memoryview:
        """Return one encrypted segment, followed by its tag."""
        size = len(plaintext)
        sealed = memoryview(bytearray(size + TAG_BYTES))
        cipher = self._gcm(index, final)
        if size:
            cipher.encrypt(plaintext, output=sealed[:size])
        sealed[size:] = cipher.digest()
        return sealed

    def open(self, index: int, final: bool, sealed: memoryview, label: str) -> memoryview:
        """Decrypt one segment into a new buffer, because only authenticated bytes are returned.

        Raises
        ------
        DecryptionError
            If it is not authentic.
        """
        size = max(len(sealed) - TAG_BYTES, 0)
        output = memoryview(bytearray(size))
        cipher = self._gcm(index, final)
        try:
            if size:
                cipher.decrypt(sealed[:size], output=output)
            cipher.verify(bytes(sealed[size:]))
        except ValueError:
            raise DecryptionError(
                f"{label} was altered, truncated or put together from pieces: segment {index} is "
                f"not the one that was stored there"
            ) from None
        return output

    def seal_all(self, buffers: Iterable[Buffer], metadata: Mapping[str, str]) -> Iterator[Buffer]:
        """Yield the whole stored body: the header, then each segment."""
        yield self.header(metadata)
        index, held = 0, memoryview(b"")
        for index, block in enumerate(regroup(buffers, self.info.segment_bytes)):
            if index:
                yield self.seal(index - 1, False, held)
            held = block
        yield self.seal(index, True, held)

    def _gcm(self, index: int, final: bool) -> Any:
        aes = crypto_module("Cipher.AES")
        nonce = self._nonce_prefix + index.to_bytes(4, "big") + bytes([final])
        return aes.new(self._key.reveal(), aes.MODE_GCM, nonce=nonce, mac_len=TAG_BYTES)


def encrypt_body(
    body: Body, metadata: Mapping[str, str], keys: KeyScheme, *, segment_bytes: int = SEGMENT_BYTES
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
    info = EncryptionInfo.of(keys, segment_bytes)
    stored = {**metadata, ENCRYPTION_METADATA: str(info), **wrapped}
    stored.pop(_CHECKSUM, None)

    def blocks() -> Iterator[Buffer]:
        cipher = SegmentCipher(info, os.urandom(_SALT_BYTES), object_key)
        return cipher.seal_all(body, stored)

    sizes = [
        None if size is None else stored_size(size, segment_bytes)
        for size in (body.size, body.max_size)
    ]
    encrypted = Body(blocks, size=sizes[0], max_size=sizes[1], replayable=body.replayable)
    return encrypted, stored
