"""Keys: one AES key for all objects, or an RSA pair that wraps a fresh key for each."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from cottoncandy.exceptions import DecryptionError, EncryptionKeyError
from cottoncandy.formats.encryption.crypto import Secret, oaep_cipher, rsa_module
from cottoncandy.formats.encryption.header import ENCRYPTION_METADATA, SEGMENT_BYTES, EncryptionInfo

__all__ = ["AESKeys", "KeyScheme", "RSAKeys", "parse_aes_key"]

KEY_BYTES = 32
_LEGACY_KEY_BYTES = (16, 24, 32)
_MIN_WRITING_BITS = 2048
_WRAPPED = "key"
# Google Drive's properties are short: cottoncandy 0.2 split the value over several of them.
_OWN_NAMES = re.compile("key|keychunks|keychunk[0-9]+")


class KeyScheme(ABC):
    """Source of the keys of objects."""

    #: Name in arguments and metadata.
    name: ClassVar[str]
    #: Number in the header.
    code: ClassVar[int]

    @abstractmethod
    def new_object_key(self) -> tuple[Secret, dict[str, str]]:
        """Return the key for a new object, and the metadata to recover it from."""

    @abstractmethod
    def object_key(self, metadata: Mapping[str, str], label: str) -> Secret:
        """Return the key of a stored object."""

    @abstractmethod
    def legacy_key(self, metadata: Mapping[str, str], label: str) -> Secret:
        """Return the key of an object that cottoncandy 0.2 or older wrote."""

    @property
    def metadata_bytes(self) -> int:
        """Size of the metadata that encryption adds to an object."""
        return len(ENCRYPTION_METADATA) + len(str(EncryptionInfo(self.name, SEGMENT_BYTES)))

    def owns_metadata(self, name: str) -> bool:
        """Return whether metadata of that name (in lower case) is the scheme's, not the user's."""
        return False


class AESKeys(KeyScheme):
    """One key, shared by all readers and writers.

    Parameters
    ----------
    key : bytes
        32 bytes; 16 or 24 can only read objects of cottoncandy 0.2 or older.
    """

    name: ClassVar[str] = "AES"
    code: ClassVar[int] = 1

    def __init__(self, key: bytes) -> None:
        if len(key) not in _LEGACY_KEY_BYTES:
            raise EncryptionKeyError(_wrong_length(len(key)))
        self._key = Secret(key)

    def __repr__(self) -> str:
        return "<AES key>"

    def new_object_key(self) -> tuple[Secret, dict[str, str]]:
        return self._full_length("writing"), {}

    def object_key(self, metadata: Mapping[str, str], label: str) -> Secret:
        return self._full_length(f"reading {label}")

    def legacy_key(self, metadata: Mapping[str, str], label: str) -> Secret:
        return self._key

    def _full_length(self, purpose: str) -> Secret:
        if len(self._key) != KEY_BYTES:
            raise EncryptionKeyError(
                f"{purpose} needs a key of {KEY_BYTES} bytes, and the given one has "
                f"{len(self._key)}: such a key only reads what cottoncandy 0.2 or older wrote"
            )
        return self._key


class RSAKeys(KeyScheme):
    """A key pair: the public half writes, the private half reads (and writes).

    Parameters
    ----------
    pem : bytes
        A private or public RSA key in PEM (or DER). Writing requires at least 2048 bits.
    passphrase : str, optional
        Decrypts a private key.
    source : str, default "the RSA key"
        Name of the key in messages.
    """

    name: ClassVar[str] = "RSA"
    code: ClassVar[int] = 2

    def __init__(
        self, pem: bytes, passphrase: str | None = None, *, source: str = "the RSA key"
    ) -> None:
        key = None
        # pycryptodome encodes text as Latin-1, as versions before 0.5 did.
        for encoding in ("utf-8", "latin-1"):
            with contextlib.suppress(ValueError, IndexError, TypeError):
                secret = None if passphrase is None else passphrase.encode(encoding)
                key = rsa_module().import_key(pem, secret)
                break
        if key is None:
            locked = b"ENCRYPTED" in pem
            reason = (
                "it is locked, and needs its passphrase=..."
                if locked and passphrase is None
                else "the passphrase is wrong, or the file is damaged"
                if locked
                else "it is not an RSA key in PEM format"
            )
            raise EncryptionKeyError(f"{source} cannot be used: {reason}")
        self._key = key
        self._source = source

    def __repr__(self) -> str:
        return f"<RSA {'private' if self._key.has_private() else 'public'} key>"

    # pycryptodome's keys cannot be pickled, and worker processes need them to read.
    def __getstate__(self) -> dict[str, Any]:
        names = "nedpq" if self.can_read else "ne"
        numbers = " ".join(str(int(getattr(self._key, name))) for name in names)
        return {"numbers": Secret(numbers.encode()), "source": self._source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        numbers = [int(number) for number in state["numbers"].reveal().split()]
        # The numbers were checked when the key was read, which takes 0.2 s.
        self._key = rsa_module().construct(numbers, consistency_check=False)
        self._source = state["source"]

    @property
    def can_read(self) -> bool:
        """Whether this includes the private key."""
        return bool(self._key.has_private())

    def new_object_key(self) -> tuple[Secret, dict[str, str]]:
        bits = self._key.size_in_bits()
        if bits < _MIN_WRITING_BITS:
            raise EncryptionKeyError(
                f"{self._source} has {bits} bits, and writing requires at least "
                f"{_MIN_WRITING_BITS}: create a new pair with "
                f"cottoncandy.stores.keys.generate_key_pair(path)"
            )
        fresh = Secret(os.urandom(KEY_BYTES))
        wrapped = oaep_cipher(self._key, "SHA256").encrypt(fresh.reveal())
        return fresh, {_WRAPPED: base64.b64encode(wrapped).decode("ascii")}

    def object_key(self, metadata: Mapping[str, str], label: str) -> Secret:
        return self._unwrap(metadata, label, "SHA256", (KEY_BYTES,))

    def legacy_key(self, metadata: Mapping[str, str], label: str) -> Secret:
        return self._unwrap(metadata, label, "SHA1", _LEGACY_KEY_BYTES)

    @property
    def metadata_bytes(self) -> int:
        wrapped = -(-int(self._key.size_in_bytes()) // 3) * 4  # in base64
        return super().metadata_bytes + len(_WRAPPED) + wrapped

    def owns_metadata(self, name: str) -> bool:
        return _OWN_NAMES.fullmatch(name) is not None

    def _unwrap(
        self, metadata: Mapping[str, str], label: str, hash_name: str, lengths: tuple[int, ...]
    ) -> Secret:
        if not self.can_read:
            raise EncryptionKeyError(
                f"{label} cannot be read with a public key, which only writes: pass the path of "
                f"the private key as encryptionKey"
            )
        text = _joined(metadata, label)
        try:
            wrapped = base64.b64decode(text, validate=True)
            key = Secret(oaep_cipher(self._key, hash_name).decrypt(wrapped))
        except (ValueError, TypeError):  # binascii.Error is a ValueError
            key = Secret(b"")
        if len(key) not in lengths:
            raise DecryptionError(
                f"{label} cannot be decrypted with this private key: it was encrypted for another "
                f"one, or its metadata '{_WRAPPED}' was altered"
            )
        return key


def parse_aes_key(text: str | bytes) -> AESKeys:
    """Parse an AES key: raw bytes, or base64.

    Raises
    ------
    EncryptionKeyError
        If it is neither, or of the wrong length.
    """
    if isinstance(text, bytes) and len(text) in _LEGACY_KEY_BYTES:
        return AESKeys(text)
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if b"-----BEGIN" in data:
        raise EncryptionKeyError(
            "encryption='AES' takes a key of 32 bytes (bytes or base64), and a PEM key was given: "
            "pass encryption='RSA' to use it"
        )
    try:
        key = base64.b64decode(data.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise EncryptionKeyError(
            "encryption='AES' takes a key of 32 bytes, as bytes or in base64 (44 characters), and "
            "something else was given; cottoncandy.stores.keys.generate_key() makes one"
        ) from None
    if len(key) not in _LEGACY_KEY_BYTES:
        raise EncryptionKeyError(_wrong_length(len(key)))
    return AESKeys(key)


def _wrong_length(found: int) -> str:
    return (
        f"an AES key has 32 bytes (16 or 24 to read what cottoncandy 0.2 or older wrote), and "
        f"{found} were given; cottoncandy.stores.keys.generate_key() makes one"
    )


def _joined(metadata: Mapping[str, str], label: str) -> str:
    """Return the wrapped key, put together if it was split to fit Google Drive's properties."""
    lowered = {name.lower(): value for name, value in metadata.items()}
    value = lowered.get(_WRAPPED)
    if value is None:
        raise DecryptionError(
            f"{label} has no wrapped key (metadata '{_WRAPPED}'): it is not encrypted, or not "
            f"with encryption='RSA', or lost its metadata; get_interface() opens plain objects"
        )
    if value != "in chunks":
        return value
    try:
        count = int(lowered["keychunks"])
        if not 0 < count <= 100:
            raise ValueError
        return "".join(lowered[f"keychunk{index}"] for index in range(count))
    except (KeyError, ValueError):
        raise DecryptionError(
            f"{label} lost some of the pieces of its key: metadata 'keyChunks' and 'keyChunk0', ..."
        ) from None
