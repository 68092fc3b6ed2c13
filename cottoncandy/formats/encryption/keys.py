"""Keys: one AES key for all objects, or an RSA pair that wraps a fresh key for each.

Parses keys and derives those of objects, with pycryptodome, which is loaded on first use. Files and
options are read by :mod:`cottoncandy.stores.keys`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from cottoncandy.exceptions import DecryptionError, EncryptionKeyError, MissingDependencyError

KEY_BYTES = 32
_MIN_WRITING_BITS = 2048
_KEY_ID_BYTES = 8
_KEY_ID_INFO = b"cottoncandy key id"
_WRAPPED = "key"
# Google Drive's properties are short: cottoncandy 0.2 split the value over several of them.
_OWN_NAMES = re.compile("key|keychunks|keychunk[0-9]+")
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


class KeyScheme(ABC):
    """A key from which objects get theirs, and older keys that only read."""

    #: Name in arguments and metadata.
    name: ClassVar[str]
    #: Description of the key, for messages.
    label: ClassVar[str]

    #: Keys of the same scheme that read what was written before this one.
    old: tuple[Self, ...] = ()

    @property
    @abstractmethod
    def id(self) -> str:
        """Fingerprint of the key, 16 hexadecimal digits; stored with each object."""

    @abstractmethod
    def new_object_key(self) -> tuple[Secret, dict[str, str]]:
        """Return the key for a new object, and the metadata to recover it from."""

    @abstractmethod
    def object_key(
        self, metadata: Mapping[str, str], label: str, *, legacy: bool = False
    ) -> Secret | None:
        """Return the key of a stored object; None if it belongs to another key.

        ``legacy``: cottoncandy 0.2 or older wrote it.
        """

    def wrapped(self, object_key: Secret) -> dict[str, str] | None:
        """Return an object's key as metadata; None if objects have no separate keys."""
        return None

    @abstractmethod
    def obstacle(self, *, legacy: bool) -> str | None:
        """Return why the key cannot read, as the end of a sentence; None if it can."""

    @property
    def description(self) -> str:
        """The keys, for messages."""
        return f"any of these {len(self.old) + 1} keys" if self.old else f"this {self.label}"

    def candidates(
        self, label: str, key_id: str | None = None, *, legacy: bool = False
    ) -> list[Self]:
        """Return the keys that may open an object.

        Parameters
        ----------
        label : str
            The object, for messages.
        key_id : str, optional
            The key that its metadata names. None: every key may fit.
        legacy : bool, default False
            Whether cottoncandy 0.2 or older wrote it.

        Raises
        ------
        DecryptionError
            If the metadata name another key.
        EncryptionKeyError
            If the key is of a kind that cannot read.
        """
        keys = [self, *self.old]
        able = [key for key in keys if key.obstacle(legacy=legacy) is None]
        named = [key for key in keys if key_id in (None, key.id)]
        if found := [key for key in able if key in named]:
            return found
        if named or not able:
            reason = (named or keys)[0].obstacle(legacy=legacy)
            raise EncryptionKeyError(f"{label} cannot be read with {reason}")
        raise DecryptionError(
            f"{label} cannot be decrypted with {self.description}: it was encrypted with another "
            f"one, whose id is {key_id}; pass that one as encryptionKey"
        )

    @property
    def metadata_bytes(self) -> int:
        """Size of the metadata that the key of an object takes."""
        return 0

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
    label: ClassVar[str] = "key"

    #: Sizes of keys in bytes; the largest one also writes.
    SIZES: ClassVar[tuple[int, ...]] = (16, 24, KEY_BYTES)

    def __init__(self, key: bytes) -> None:
        if len(key) not in self.SIZES:
            raise EncryptionKeyError(
                f"an AES key has 32 bytes (16 or 24 to read what cottoncandy 0.2 or older wrote), "
                f"got {len(key)}; create a key with cottoncandy.encryption.generate_key()"
            )
        self._key = Secret(key)

    def __repr__(self) -> str:
        return "<AES key>"

    @property
    def id(self) -> str:
        return hkdf_sha256(self._key, b"", _KEY_ID_INFO, _KEY_ID_BYTES).hex()

    def new_object_key(self) -> tuple[Secret, dict[str, str]]:
        if reason := self.obstacle(legacy=False):
            raise EncryptionKeyError(f"objects cannot be encrypted with {reason}")
        return self._key, {}

    def object_key(
        self, metadata: Mapping[str, str], label: str, *, legacy: bool = False
    ) -> Secret:
        return self._key

    def obstacle(self, *, legacy: bool) -> str | None:
        if legacy or len(self._key) == KEY_BYTES:
            return None
        return (
            f"a key of {len(self._key)} bytes, which only reads what cottoncandy 0.2 or older "
            f"wrote; pass one of {KEY_BYTES} bytes"
        )


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
    label: ClassVar[str] = "private key"

    def __init__(
        self, pem: bytes, passphrase: str | None = None, *, source: str = "the RSA key"
    ) -> None:
        key = None
        # pycryptodome encodes text as Latin-1, as versions before 0.5 did.
        for encoding in ("utf-8", "latin-1"):
            with contextlib.suppress(ValueError, IndexError, TypeError):
                secret = None if passphrase is None else passphrase.encode(encoding)
                key = crypto_module("PublicKey.RSA").import_key(pem, secret)
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
        return f"<RSA {'private' if self.can_read else 'public'} key>"

    # pycryptodome's keys cannot be pickled, and worker processes need them to read.
    def __getstate__(self) -> dict[str, Any]:
        names = "nedpq" if self.can_read else "ne"
        numbers = " ".join(str(int(getattr(self._key, name))) for name in names)
        return {**vars(self), "_key": Secret(numbers.encode())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        numbers = [int(number) for number in state["_key"].reveal().split()]
        # The numbers were checked when the key was read, which takes 0.2 s.
        key = crypto_module("PublicKey.RSA").construct(numbers, consistency_check=False)
        self.__dict__.update(state, _key=key)

    @property
    def id(self) -> str:
        public: bytes = self._key.public_key().export_key("DER")
        return hashlib.sha256(public).digest()[:_KEY_ID_BYTES].hex()

    @property
    def can_read(self) -> bool:
        """Whether this includes the private key."""
        return bool(self._key.has_private())

    def new_object_key(self) -> tuple[Secret, dict[str, str]]:
        fresh = Secret(os.urandom(KEY_BYTES))
        return fresh, self.wrapped(fresh)

    def wrapped(self, object_key: Secret) -> dict[str, str]:
        bits = self._key.size_in_bits()
        if bits < _MIN_WRITING_BITS:
            raise EncryptionKeyError(
                f"{self._source} has {bits} bits, and writing requires at least "
                f"{_MIN_WRITING_BITS}: create a new pair with "
                f"cottoncandy.encryption.generate_key_pair(path)"
            )
        wrapped = self._oaep("SHA256").encrypt(object_key.reveal())
        return {_WRAPPED: base64.b64encode(wrapped).decode("ascii")}

    def object_key(
        self, metadata: Mapping[str, str], label: str, *, legacy: bool = False
    ) -> Secret | None:
        text = _joined(metadata, label)
        try:
            wrapped = base64.b64decode(text, validate=True)
            key = Secret(self._oaep("SHA1" if legacy else "SHA256").decrypt(wrapped))
        except (ValueError, TypeError):  # binascii.Error is a ValueError
            return None
        return key if len(key) in (AESKeys.SIZES if legacy else (KEY_BYTES,)) else None

    def obstacle(self, *, legacy: bool) -> str | None:
        if self.can_read:
            return None
        return "a public key, which only writes: pass the path of the private key as encryptionKey"

    @property
    def metadata_bytes(self) -> int:
        wrapped = -(-int(self._key.size_in_bytes()) // 3) * 4  # in base64
        return len(_WRAPPED) + wrapped

    def owns_metadata(self, name: str) -> bool:
        return _OWN_NAMES.fullmatch(name) is not None

    def _oaep(self, hash_name: str) -> Any:
        """Return RSAES-OAEP [RFC 8017, section 7.1] with SHA256 or SHA1, also for MGF1."""
        algorithm = crypto_module(f"Hash.{hash_name}")
        return crypto_module("Cipher.PKCS1_OAEP").new(self._key, hashAlgo=algorithm)


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
        return "".join(lowered[f"keychunk{index}"] for index in range(count))
    except (KeyError, ValueError):
        raise DecryptionError(
            f"{label} lost some of the pieces of its key: metadata 'keyChunks' and 'keyChunk0', ..."
        ) from None
