"""Keys for :func:`cottoncandy.get_encrypted_interface`: making, storing and finding them."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from cottoncandy._local_files import write_private
from cottoncandy.config.location import options_path
from cottoncandy.config.sources import parse_file
from cottoncandy.exceptions import ConfigurationError, EncryptionKeyError
from cottoncandy.formats.encryption import AESKeys, KeyScheme, RSAKeys, parse_aes_key
from cottoncandy.formats.encryption._crypto import aes_module, rsa_module
from cottoncandy.options import Settings

__all__ = ["KeyLike", "generate_key", "generate_key_pair", "resolve_keys"]

logger = logging.getLogger(__name__)

#: How users give a key: raw bytes, text (base64, PEM, a path) or a path.
KeyLike: TypeAlias = str | bytes | os.PathLike[str]

_AUTO = "auto"
_UNSET = ("", "false", "none", _AUTO)
_MIN_BITS = 2048
# PBKDF2 with SHA-512: what OWASP's password storage cheat sheet asks for (2023).
_PBKDF2_ROUNDS = 210_000

_BACKUP = (
    "a new encryption key was stored in '%s'. Make a backup of that file: if you lose the key, you "
    "cannot recover your data"
)


def generate_key() -> str:
    """Make a key for ``encryption='AES'``.

    Returns
    -------
    key : str
        32 random bytes in base64. Keep a copy of it somewhere else than the data.

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
    """Make a key pair for ``encryption='RSA'`` and store it in two PEM files.

    Parameters
    ----------
    path : str or path-like
        Where the private key goes, e.g. ``'lab.pem'``. The public one goes beside it, into
        ``'lab.pub.pem'``. Files that exist are never replaced.
    passphrase : str, optional
        Locks the private key: whoever reads needs both.
    bits : int, default 3072
        Size of the keys; 2048 to 4096 are sensible. A larger one takes longer for each object.

    Returns
    -------
    private_path, public_path : str
        Give the public one to those who only write.

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
        raise EncryptionKeyError(f"an RSA key has {_MIN_BITS} bits at least, and {bits} were asked")
    private = Path(path)
    public = private.with_name(f"{private.stem}.pub{private.suffix}")
    for target in (private, public):
        if os.path.lexists(target):
            raise _exists(target)
    key = rsa_module().generate(bits)
    locked: dict[str, Any] = {}
    if passphrase is not None:
        locked = {
            "passphrase": passphrase,
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
    key: KeyLike | None,
    passphrase: str | None,
    settings: Settings,
) -> KeyScheme:
    """Find the keys of an interface: from its arguments, else from the options.

    Parameters
    ----------
    encryption : {'AES', 'RSA'}, optional
        Default: ``[encryption] method`` of the options.
    key : str, bytes or path-like, optional
        AES: bytes, base64, or ``'auto'``, which makes a key at first use and stores it in the
        options file. RSA: path of a PEM file, or its content. Default: ``[encryption] key``.
    passphrase : str, optional
        Unlocks an RSA private key.
    settings : Settings

    Raises
    ------
    EncryptionKeyError
        If the key is missing, of the wrong length or of the wrong kind.
    MissingDependencyError
        If pycryptodome is not installed.
    """
    method = (encryption or settings.encryption_method).upper()
    given = settings.encryption_key if key is None else key
    if method == "AES":
        aes_module()
        return _aes_keys(given)
    if method == "RSA":
        return _rsa_keys(given, passphrase)
    raise EncryptionKeyError(f"encryption is 'AES' or 'RSA', and {encryption!r} was given")


def _aes_keys(given: KeyLike | None) -> AESKeys:
    if not given:
        raise EncryptionKeyError(
            "encryption='AES' needs a key: pass encryptionKey (32 bytes, or base64; "
            "cottoncandy.encryption.generate_key() makes one), or put 'key = auto' under "
            "[encryption] in the options file to have one made and kept there"
        )
    if isinstance(given, bytearray | memoryview):
        given = bytes(given)
    if not isinstance(given, str | bytes):
        raise EncryptionKeyError(
            f"encryption='AES' takes a key of 32 bytes, as bytes or in base64, and a "
            f"{type(given).__name__} was given"
        )
    if isinstance(given, str) and given.strip().lower() == _AUTO:
        given = _automatic_key()
    if isinstance(given, str) and given.lower().endswith((".pem", ".pub", ".der")):
        raise EncryptionKeyError(
            "encryption='AES' takes a key of 32 bytes (bytes or base64), and the path of a key "
            "file was given: pass encryption='RSA' to use it"
        )
    return parse_aes_key(given)


def _rsa_keys(given: KeyLike | None, passphrase: str | None) -> RSAKeys:
    if not given or (isinstance(given, str) and given.strip().lower() == _AUTO):
        raise EncryptionKeyError(
            "encryption='RSA' needs a key pair: pass encryptionKey, the path of a PEM file; "
            "cottoncandy.encryption.generate_key_pair(path) makes one"
        )
    if isinstance(given, bytes | bytearray | memoryview):
        return RSAKeys(bytes(given), passphrase)
    if isinstance(given, str) and "-----BEGIN" in given:
        return RSAKeys(given.encode(), passphrase)
    if isinstance(given, str) and _is_aes_key(given):
        raise EncryptionKeyError(
            "encryption='RSA' takes the path of a PEM file, and an AES key was given: pass "
            "encryption='AES' to use it"
        )
    path = Path(given).expanduser()
    # What is no path may be a secret: only a Path, or what looks like one, is repeated.
    named = not isinstance(given, str) or path.suffix.lower() in (".pem", ".pub", ".key", ".der")
    shown = f"the key file '{path}'" if named else "the key file given as encryptionKey"
    try:
        pem = path.read_bytes()
    except (OSError, ValueError) as exc:  # ValueError: a null byte in it
        reason = getattr(exc, "strerror", None) or "no such path"
        raise EncryptionKeyError(
            f"encryption='RSA' takes the path of a PEM file, and {shown} cannot be read: {reason}"
        ) from None
    return RSAKeys(pem, passphrase, source=shown)


def _is_aes_key(text: str) -> bool:
    try:
        parse_aes_key(text)
    except EncryptionKeyError:
        return False
    return True


def _automatic_key() -> str:
    """Return the key in the user's options file, after making one where there is none."""
    path = Path(os.path.realpath(options_path()))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.parent):
            text = path.read_text("utf-8-sig") if path.exists() else ""
            found = parse_file(path, text.encode()).get("encryption", "key", fallback="").strip()
            if found.lower() not in _UNSET:
                return found
            key = generate_key()
            changed = _with_option(text, "encryption", "key", key)
            _check_change(path, text, changed, key)
            write_private(path, changed.encode(), replace=True)
    except OSError as exc:
        raise EncryptionKeyError(
            f"a key that cannot be kept would lose your data: the options file '{path}' cannot be "
            f"written ({exc.strerror}); pass encryptionKey instead"
        ) from exc
    logger.warning(_BACKUP, path)
    return key


def _check_change(path: Path, before: str, after: str, key: str) -> None:
    """Make sure that the key, and nothing else, is what changed."""
    old, new = (
        {
            (section, name): value
            for section, values in parse_file(path, text.encode()).items()
            for name, value in values.items()
        }
        for text in (before, after)
    )
    old["encryption", "key"] = key
    if old != new:
        raise ConfigurationError(
            f"options file '{path}': no key could be put under [encryption]; put it there by hand "
            f"(cottoncandy.encryption.generate_key() makes one)"
        )


def _with_option(text: str, section: str, name: str, value: str) -> str:
    """Return the text of an options file with one option set, and all else as it was."""
    lines = text.splitlines(keepends=True)
    header = re.compile(r"\[(?P<name>[^]]+)\]")
    option = re.compile(rf"\s*{re.escape(name)}\s*([=:].*)?$", re.IGNORECASE | re.DOTALL)
    line = f"{name} = {value}\n"
    inside = False
    start = None
    for number, found in enumerate(lines):
        match = header.match(found)
        if match:
            inside = match["name"] == section
            start = number if inside else start
        elif inside and option.match(found):
            return "".join([*lines[:number], line, *lines[number + 1 :]])
    if start is not None:
        return "".join([*lines[: start + 1], line, *lines[start + 1 :]])
    gap = "\n" if text and not text.endswith("\n") else ""
    return f"{text}{gap}\n[{section}]\n{line}" if text else f"[{section}]\n{line}"


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other threads and processes out, where the system has locks for directories."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        # Some network file systems lock no directories: two first uses at the same moment are
        # then the user's to avoid.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _exists(path: Path) -> EncryptionKeyError:
    return EncryptionKeyError(
        f"'{path}' exists, and keys are never replaced: choose another path, or move it away"
    )
