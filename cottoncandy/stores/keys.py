"""Keys for :func:`cottoncandy.get_encrypted_interface`: creating, storing and finding them."""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from cottoncandy.config.location import options_path
from cottoncandy.config.options import Settings
from cottoncandy.config.sources import parse_file
from cottoncandy.core.files import expand_home, locked, write_private
from cottoncandy.exceptions import ConfigurationError, CottonCandyError, EncryptionKeyError
from cottoncandy.formats.encryption.keys import (
    AESKeys,
    KeyScheme,
    RSAKeys,
    crypto_module,
)

logger = logging.getLogger(__name__)

#: How users give a key: raw bytes, text (base64, PEM, a path) or a path.
KeyLike: TypeAlias = str | bytes | os.PathLike[str]


class HiddenKey:
    """A key, several, or a passphrase, as the user passed them. Its repr does not contain them."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def each(self) -> list[HiddenKey]:
        """Return the members of a list or tuple; any other value is the only one."""
        several = isinstance(self.value, list | tuple)
        return [HiddenKey(value) for value in (self.value if several else [self.value])]


_AUTO = "auto"
_UNSET = ("", "false", "none", _AUTO)
_KEY_FILES = (".pem", ".pub", ".key", ".der")
_MIN_BITS = 2048
# PBKDF2 with SHA-512: what OWASP's password storage cheat sheet asks for (2023).
_PBKDF2_ROUNDS = 210_000

_BACKUP = (
    "a new encryption key was stored in '%s'. Make a backup of that file: without the key, the "
    "data is lost"
)


def generate_key() -> str:
    """Create a key for ``encryption='AES'``.

    Returns
    -------
    key : str
        32 random bytes in base64. Back it up elsewhere: without it, the data is lost.

    Examples
    --------
    >>> from cottoncandy.encryption import generate_key
    >>> len(generate_key())
    44
    """
    return base64.b64encode(os.urandom(32)).decode("ascii")


def generate_key_pair(
    path: str | os.PathLike[str], passphrase: str | None = None, bits: int = 3072
) -> tuple[str, str]:
    """Create a key pair for ``encryption='RSA'`` and store it in two PEM files.

    Parameters
    ----------
    path : str or path-like
        Path of the private key, e.g. ``'lab.pem'``. The public key is stored next to it, as
        ``'lab.pub.pem'``. Existing files are never replaced.
    passphrase : str, optional
        Encrypts the private key; reading requires both. It is encoded as UTF-8.
    bits : int, default 3072
        Size of the keys; 2048 to 4096 are sensible. Larger keys take longer for each object.

    Returns
    -------
    private_path, public_path : str
        Clients that only write need the public key only.

    Raises
    ------
    EncryptionKeyError
        If one of the files exists, or ``bits`` is too small.
    MissingDependencyError
        If pycryptodome is not installed.

    Notes
    -----
    Files are of mode 0600. The private key is in PKCS #8, locked with PBKDF2-HMAC-SHA512 and
    AES-256-CBC [1]_, which OpenSSL reads.

    References
    ----------
    .. [1] RFC 8018, PKCS #5.

    Examples
    --------
    >>> from cottoncandy.encryption import generate_key_pair
    >>> generate_key_pair("lab.pem", passphrase="correct horse")  # doctest: +SKIP
    ('lab.pem', 'lab.pub.pem')
    """
    if bits < _MIN_BITS:
        raise EncryptionKeyError(f"bits must be at least {_MIN_BITS}, got {bits}")
    private = Path(expand_home(path))
    public = private.with_name(f"{private.stem}.pub{private.suffix}")
    for target in (private, public):
        if os.path.lexists(target):
            raise _exists(target)
    key = crypto_module("PublicKey.RSA").generate(bits)
    locked: dict[str, Any] = {}
    if passphrase is not None:
        locked = {
            # OpenSSL and other programs encode it as UTF-8, too.
            "passphrase": passphrase.encode(),
            "protection": "PBKDF2WithHMAC-SHA512AndAES256-CBC",
            "prot_params": {"iteration_count": _PBKDF2_ROUNDS},
        }
    for target, pem in (
        (private, key.export_key("PEM", pkcs=8, **locked)),
        (public, key.public_key().export_key("PEM")),
    ):
        if not write_private(target, pem + b"\n", replace=False):
            raise _exists(target)
    return str(private), str(public)


def resolve_keys(
    encryption: str | None,
    key: KeyLike | Sequence[KeyLike] | HiddenKey | None,
    passphrase: str | Sequence[str | None] | HiddenKey | None,
    settings: Settings,
) -> KeyScheme:
    """Find the keys of an interface: from its arguments, else from the options.

    Parameters
    ----------
    encryption : {'AES', 'RSA'}, optional
        Default: ``[encryption] method`` of the options.
    key : str, bytes, path-like or list of these, optional
        AES: bytes, base64, or ``'auto'``, which creates a key at first use and stores it in the
        options file. RSA: path of a PEM file, or its content. The first of a list writes; all of
        them read. Default: ``[encryption] key`` and ``old_keys``.
    passphrase : str or list of str, optional
        Decrypts RSA private keys. A list has one for each key, or None.
    settings : Settings

    Raises
    ------
    EncryptionKeyError
        If a key is missing, of the wrong length or of the wrong kind.
    MissingDependencyError
        If pycryptodome is not installed.
    """
    method = str(encryption or settings.encryption_method).upper()
    # Tools that print the local variables of a traceback must not show keys.
    if not isinstance(key, HiddenKey):
        from_options = (settings.encryption_key, *settings.encryption_old_keys)
        key = HiddenKey(from_options if key is None else key)
        del from_options
    if not isinstance(passphrase, HiddenKey):
        passphrase = HiddenKey(passphrase)
    if method not in ("AES", "RSA"):
        raise EncryptionKeyError(f"encryption must be 'AES' or 'RSA', got {encryption!r}")
    keys, secrets = key.each() or [HiddenKey(None)], passphrase.each()
    if len(secrets) == 1:
        secrets *= len(keys)
    if len(secrets) != len(keys):
        raise EncryptionKeyError(
            f"passphrase must be a str, or a list with one for each of the {len(keys)} keys, got "
            f"{len(secrets)}"
        )
    if method == "AES":
        crypto_module("Cipher.AES")
    found: list[KeyScheme] = []
    for each, secret in zip(keys, secrets, strict=True):
        try:
            one = _aes_key(each.value) if method == "AES" else _rsa_key(each.value, secret.value)
        except CottonCandyError as exc:
            exc.__context__ = None  # without the functions that hold the key
            raise exc.with_traceback(None) from None
        found.append(one)
    first, *old = found
    first.old = tuple(old)
    return first


def optional_keys(
    encryption: Any, key: Any, passphrase: Any, settings: Settings
) -> KeyScheme | None:
    """Return the keys of :func:`resolve_keys`; None if neither a method nor a key is given."""
    if encryption is None and key is None:
        return None
    return resolve_keys(encryption, key, passphrase, settings)


def _aes_key(key: Any) -> AESKeys:
    if not key:
        raise EncryptionKeyError(
            "encryption='AES' requires a key: pass encryptionKey (32 bytes, or base64; "
            "cottoncandy.encryption.generate_key() creates one), or set 'key = auto' under "
            "[encryption] in the options file to have one created and stored there"
        )
    if _is_auto(key):
        key = _automatic_key()
    if isinstance(key, bytes | bytearray | memoryview):
        data = bytes(key)
    elif isinstance(key, str):
        data = key.encode("utf-8", "replace")
    else:
        raise EncryptionKeyError(
            f"encryption='AES' requires a key of 32 bytes, as bytes or in base64; got a "
            f"{type(key).__name__}"
        )
    if not isinstance(key, str) and len(data) in AESKeys.SIZES:
        return AESKeys(data)
    if b"-----BEGIN" in data or data.lower().endswith((b".pem", b".pub", b".der")):
        raise EncryptionKeyError(
            "encryption='AES' requires a key of 32 bytes (bytes or base64), and encryptionKey is "
            "a PEM key or the path of a key file; pass encryption='RSA' to use it"
        )
    try:
        return AESKeys(base64.b64decode(data.strip(), validate=True))
    except binascii.Error:
        raise EncryptionKeyError(
            "encryption='AES' requires a key of 32 bytes, as bytes or in base64 (44 characters), "
            "got something else; create a key with cottoncandy.encryption.generate_key()"
        ) from None


def _rsa_key(key: Any, passphrase: Any) -> RSAKeys:
    if not key or _is_auto(key):
        raise EncryptionKeyError(
            "encryption='RSA' requires a key pair: pass encryptionKey, the path of a PEM file; "
            "cottoncandy.encryption.generate_key_pair(path) creates one"
        )
    if not isinstance(passphrase, str | None):
        raise EncryptionKeyError(f"a passphrase must be a str, got a {type(passphrase).__name__}")
    if isinstance(key, bytes | bytearray | memoryview):
        return RSAKeys(bytes(key), passphrase)
    if isinstance(key, str) and "-----BEGIN" in key:
        return RSAKeys(key.encode("utf-8", "replace"), passphrase)
    if isinstance(key, str) and _is_aes_key(key):
        raise EncryptionKeyError(
            "encryption='RSA' requires the path of a PEM file, and encryptionKey is an AES "
            "key; pass encryption='AES' to use it"
        )
    shown = "the RSA key"
    try:
        path = Path(key).expanduser()
        # Text that is not a path may be a secret, so it is only shown if it looks like one.
        named = not isinstance(key, str) or path.suffix.lower() in _KEY_FILES
        shown = f"the key file '{path}'" if named else "the key file given as encryptionKey"
        pem = path.read_bytes()
    # ValueError: a null byte in the path; RuntimeError: "~nosuchuser"; TypeError: not a path.
    except (OSError, ValueError, RuntimeError, TypeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not a valid path"
        raise EncryptionKeyError(
            f"encryption='RSA' requires the path of a PEM file, and {shown} cannot be read: "
            f"{reason}"
        ) from exc
    return RSAKeys(pem, passphrase, source=shown)


def _is_auto(key: Any) -> bool:
    return isinstance(key, str) and key.strip().lower() == _AUTO


def _is_aes_key(text: str) -> bool:
    try:
        _aes_key(text)
    except EncryptionKeyError:
        return False
    return True


def _automatic_key() -> str:
    """Return the key in the user's options file; create one if there is none."""
    path = Path(os.path.realpath(options_path()))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Without locks, two first uses at the same moment could create two keys.
        with locked(str(path.parent)):
            text = path.read_text("utf-8-sig") if path.exists() else ""
            found = parse_file(path, text.encode()).get("encryption", "key", fallback="").strip()
            if found.lower() not in _UNSET:
                return found
            key = generate_key()
            changed = _with_key(text, key)
            if _options(path, changed) != _options(path, text) | {("encryption", "key"): key}:
                raise ConfigurationError(
                    f"options file '{path}': could not add a key under [encryption]; add it "
                    f"yourself (cottoncandy.encryption.generate_key() creates one)"
                )
            write_private(path, changed.encode(), replace=True)
    except OSError as exc:
        raise EncryptionKeyError(
            f"a key that cannot be kept would lose your data: the options file '{path}' cannot be "
            f"written ({exc.strerror}); pass encryptionKey instead"
        ) from exc
    logger.warning(_BACKUP, path)
    return key


def _options(path: Path, text: str) -> dict[tuple[str, str], str]:
    sections = parse_file(path, text.encode()).items()
    return {
        (section, name): value for section, values in sections for name, value in values.items()
    }


def _with_key(text: str, key: str) -> str:
    """Return the text of an options file with another key and nothing else changed."""
    line = f"key = {key}\n"
    text += "\n" if text and not text.endswith("\n") else ""
    section = re.search(r"^\[encryption\].*\n(?:(?!\[).*\n)*", text, re.MULTILINE)
    if section is None:
        return f"{text}\n[encryption]\n{line}".removeprefix("\n")
    replaced, count = re.subn(r"(?im)^[ \t]*key[ \t]*(?:[=:].*)?\n", line, section[0], count=1)
    if not count:
        replaced = section[0].replace("\n", f"\n{line}", 1)
    return text[: section.start()] + replaced + text[section.end() :]


def _exists(path: Path) -> EncryptionKeyError:
    return EncryptionKeyError(
        f"'{path}' exists, and keys are never replaced; choose another path, or move the file"
    )
