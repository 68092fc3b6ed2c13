"""Encrypted bodies: AES-256-GCM in segments; for reading, also the layout of cottoncandy 0.2.

No I/O and no key files here: :mod:`cottoncandy.stores.keys` has those. Importing this package needs
no pycryptodome; using it does.
"""

from __future__ import annotations

from cottoncandy.formats.encryption.header import (
    ENCRYPTION_METADATA,
    HEADER_BYTES,
    SEGMENT_BYTES,
    TAG_BYTES,
    EncryptionInfo,
    bound_metadata,
    plaintext_size,
    stored_size,
)
from cottoncandy.formats.encryption.keys import AESKeys, KeyScheme, RSAKeys, parse_aes_key
from cottoncandy.formats.encryption.segments import SegmentCipher, encrypt_body

__all__ = [
    "ENCRYPTION_METADATA",
    "HEADER_BYTES",
    "SEGMENT_BYTES",
    "TAG_BYTES",
    "AESKeys",
    "EncryptionInfo",
    "KeyScheme",
    "RSAKeys",
    "SegmentCipher",
    "bound_metadata",
    "encrypt_body",
    "parse_aes_key",
    "plaintext_size",
    "stored_size",
]
