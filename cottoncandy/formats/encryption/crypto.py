"""Primitives: pycryptodome, loaded on first use, key derivation, and a wrapper for secrets."""

from __future__ import annotations

import hashlib
import hmac
from types import ModuleType
from typing import Any

from cottoncandy.exceptions import MissingDependencyError

__all__ = ["Secret", "aes_module", "hkdf_sha256", "oaep_cipher", "rsa_module"]

_MISSING = 'encrypted objects need pycryptodome; type: pip install "cottoncandy[encryption]"'


class Secret:
    """Bytes that are hidden from reprs, logs and tracebacks; :meth:`reveal` returns them."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "<secret>"

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # not for dictionaries

    def reveal(self) -> bytes:
        """Return the bytes."""
        return self._value


def aes_module() -> ModuleType:
    """Return pycryptodome's AES module."""
    try:
        from Crypto.Cipher import AES
    except ImportError as exc:
        raise MissingDependencyError(_MISSING) from exc
    return AES


def rsa_module() -> ModuleType:
    """Return pycryptodome's RSA module."""
    try:
        from Crypto.PublicKey import RSA
    except ImportError as exc:
        raise MissingDependencyError(_MISSING) from exc
    return RSA


def oaep_cipher(key: Any, hash_name: str) -> Any:
    """Return RSAES-OAEP [RFC 8017, section 7.1] over ``"SHA256"`` or ``"SHA1"``, MGF1 alike."""
    try:
        from Crypto.Cipher import PKCS1_OAEP
        from Crypto.Hash import SHA1, SHA256
    except ImportError as exc:
        raise MissingDependencyError(_MISSING) from exc
    return PKCS1_OAEP.new(key, hashAlgo=SHA1 if hash_name == "SHA1" else SHA256)


def hkdf_sha256(secret: Secret, salt: bytes, info: bytes, length: int) -> bytes:
    """Derive ``length`` bytes from a secret: HKDF with SHA-256 [RFC 5869]."""
    extracted = hmac.digest(salt or bytes(32), secret.reveal(), hashlib.sha256)
    block = output = b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes([counter]), hashlib.sha256)
        output += block
    return output[:length]
