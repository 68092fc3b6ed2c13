"""Format version 1 without the cipher: header, metadata, and the layout of the segments.

The exact layout is on the page ``docs/encryption-format.md``. Nothing here needs a cipher.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from cottoncandy.exceptions import DecryptionError

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

_HEADER = struct.Struct("<8sBBB5x32s16s32s")

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


@dataclass(frozen=True, slots=True)
class Header:
    """The parsed start of an encrypted body, not yet authenticated."""

    scheme_code: int
    segment_bytes: int
    salt: bytes
    key_check: bytes = bytes(16)
    mac: bytes = bytes(32)

    def pack(self) -> bytes:
        """Return the bytes of the header."""
        return _HEADER.pack(
            MAGIC,
            VERSION,
            self.scheme_code,
            self.segment_bytes.bit_length() - 1,
            self.salt,
            self.key_check,
            self.mac,
        )

    @classmethod
    def parse(cls, data: bytes, label: str) -> Header:
        """Parse the start of a body.

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
        _, version, scheme, log2, salt, check, mac = _HEADER.unpack(data[:HEADER_BYTES])
        _check_version(version, label)
        if log2 not in _LOG2_RANGE or any(data[11:16]):
            raise DecryptionError(f"{label} has a malformed header: it was altered")
        return cls(scheme, 1 << log2, salt, check, mac)


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
