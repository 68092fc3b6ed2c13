"""Primitives: pycryptodome, loaded on first use, key derivation, and a wrapper for secrets."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from cottoncandy.exceptions import MissingDependencyError

_MISSING = 'encrypted objects need pycryptodome: pip install "cottoncandy[encryption]"'


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


def crypto_module(name: str) -> Any:
    """Return one of pycryptodome's modules, such as ``"Cipher.AES"``."""
    try:
        return __import__(f"Crypto.{name}", fromlist=["*"])
    except ImportError as exc:
        raise MissingDependencyError(_MISSING) from exc


def hkdf_sha256(secret: Secret, salt: bytes, info: bytes, length: int) -> bytes:
    """Derive ``length`` bytes from a secret: HKDF with SHA-256 [RFC 5869]."""
    extracted = hmac.digest(salt or bytes(32), secret.reveal(), hashlib.sha256)
    block = output = b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes([counter]), hashlib.sha256)
        output += block
    return output[:length]
