"""Keys: what is accepted, what is refused and how, and where new ones are kept."""

from __future__ import annotations

import base64
import builtins
import logging
import os
import pickle
import shutil
import stat
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
from Crypto.PublicKey import RSA

import cottoncandy
from cottoncandy.config.location import options_path
from cottoncandy.exceptions import (
    ConfigurationError,
    CottonCandyError,
    DecryptionError,
    EncryptionKeyError,
    MissingDependencyError,
)
from cottoncandy.formats.encryption.keys import AESKeys, RSAKeys
from cottoncandy.options import Settings
from cottoncandy.stores import keys as encryption
from cottoncandy.stores.keys import generate_key, generate_key_pair, resolve_keys
from tests.cases import each
from tests.formats.encrypted_objects import FAKE_KEY, VECTORS, StoredObject

FAKE_BASE64 = base64.b64encode(FAKE_KEY).decode()
PRIVATE = VECTORS / "fake_rsa.pem"
PUBLIC = VECTORS / "fake_rsa.pub.pem"
LOCKED = VECTORS / "fake_rsa_locked.pem"
OTHER = VECTORS / "fake_rsa_2.pem"
PASSPHRASE = "fake passphrase"


def resolve(method: str | None, key: Any, passphrase: str | None = None) -> Any:
    return resolve_keys(method, key, passphrase, Settings.load())


def options_file(text: str) -> Path:
    path = options_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# -- AES ------------------------------------------------------------------------------------------


@each(
    "key",
    [FAKE_KEY, bytearray(FAKE_KEY), FAKE_BASE64, FAKE_BASE64.encode(), f" {FAKE_BASE64}\n"],
)
def test_forms_of_an_aes_key(key: Any) -> None:
    stored = StoredObject.of(b"secret", keys=AESKeys(FAKE_KEY))
    assert stored.read(resolve("AES", key)) == b"secret"
    assert stored.read(resolve("aes", key)) == b"secret"


@pytest.mark.parametrize("size", [16, 24])
def test_short_keys_read_old_objects_and_do_not_write(size: int) -> None:
    keys = resolve("AES", FAKE_KEY[:size])
    with pytest.raises(EncryptionKeyError, match=f"key of {size} bytes, which only reads"):
        StoredObject.of(b"secret", keys=keys)


@each("size", [1, 15, 17, 31, 33, 64])
def test_wrong_lengths(size: int) -> None:
    key = bytes(size)
    with pytest.raises(EncryptionKeyError, match=r"an AES key has 32 bytes|got something else"):
        resolve("AES", key)
    with pytest.raises(EncryptionKeyError, match=rf"an AES key has 32 bytes.* got {size};"):
        resolve("AES", base64.b64encode(key).decode())


@each(
    "key, message",
    [
        (None, "requires a key"),
        ("", "requires a key"),
        (b"", "requires a key"),
        ("not base64 at all!", "got something else"),
        ("kéy", "got something else"),
        (PRIVATE.read_text(), "encryption='RSA'"),
        (PRIVATE.read_bytes(), "encryption='RSA'"),
        (str(PRIVATE), "the path of a key file"),
        (PRIVATE, "PosixPath|WindowsPath"),
        (7, "got a int"),
    ],
)
def test_what_is_no_aes_key(key: Any, message: str) -> None:
    with pytest.raises(EncryptionKeyError, match=message):
        resolve("AES", key)


def test_the_options_hold_method_and_key() -> None:
    options_file(f"[encryption]\nmethod = AES\nkey = {FAKE_BASE64}\n")
    stored = StoredObject.of(b"secret", keys=resolve(None, None))
    assert stored.read() == b"secret"
    options_file(f"[encryption]\nmethod = RSA\nkey = {PRIVATE}\n")
    assert resolve(None, None).name == "RSA"


def test_the_options_hold_old_keys() -> None:
    other = base64.b64encode(bytes(32)).decode()
    options_file(f"[encryption]\nkey = {other}\nold_keys = {generate_key()}, {FAKE_BASE64}\n")
    stored = StoredObject.of(b"secret", keys=AESKeys(FAKE_KEY))
    assert stored.read(resolve(None, None)) == b"secret"
    assert StoredObject.of(b"new", keys=resolve(None, None)).read(AESKeys(bytes(32))) == b"new"
    with pytest.raises(DecryptionError):
        stored.read(resolve(None, other))  # an argument replaces all keys of the options
    assert FAKE_BASE64 not in repr(Settings.load())
    assert Settings.load().without_secrets().encryption_old_keys == ()


@each(
    "method, key, message",
    [
        ("AES", [], "requires a key"),
        ("RSA", (), "requires a key pair"),
        ("AES", [FAKE_KEY, None], "requires a key"),
        ("AES", [FAKE_KEY, b"short"], "got something else"),
        ("AES", [FAKE_KEY, [FAKE_KEY]], "got a list"),
        ("AES", {FAKE_BASE64}, "got a set"),
        ("AES", [FAKE_KEY, PRIVATE.read_bytes()], "encryption='RSA'"),
        ("RSA", [PRIVATE, FAKE_BASE64], "is an AES key"),
        ("RSA", [PRIVATE, LOCKED], "needs its passphrase"),
    ],
)
def test_each_key_of_a_list_is_checked(method: str, key: Any, message: str) -> None:
    with pytest.raises(EncryptionKeyError, match=message):
        resolve(method, key)


def test_passphrases_of_several_keys() -> None:
    stored = StoredObject.of(b"secret", keys=resolve("RSA", str(PUBLIC)))
    new = RSA.import_key(OTHER.read_bytes()).export_key("PEM", "other", 8)
    for key, passphrase in (
        ([new, LOCKED], ["other", PASSPHRASE]),
        ([PRIVATE, LOCKED], PASSPHRASE),
        ([PUBLIC, LOCKED], (None, PASSPHRASE)),
    ):
        assert stored.read(resolve("RSA", key, passphrase)) == b"secret"  # type: ignore[arg-type]
    with pytest.raises(EncryptionKeyError, match="one for each of the 2 keys, got 3"):
        resolve("RSA", [new, LOCKED], ["a", "b", "c"])  # type: ignore[arg-type]
    with pytest.raises(EncryptionKeyError, match="passphrase must be a str, got a bytes"):
        resolve("RSA", LOCKED, b"bytes")  # type: ignore[arg-type]


def test_an_unknown_method() -> None:
    with pytest.raises(EncryptionKeyError, match="'AES' or 'RSA', got 'ROT13'"):
        resolve("ROT13", FAKE_KEY)


def test_generated_keys_differ() -> None:
    first, second = generate_key(), generate_key()
    assert first != second
    assert len(base64.b64decode(first)) == 32


# -- key = auto -----------------------------------------------------------------------------------

TEXTS = {
    "none": "",
    "auto": "# mine\n[login]\naccess_key = me  # not\n\n[encryption]\nmethod = AES\nkey = auto\n\n"
    "[basic]\nthreads = 7\n",
    "colon": "[encryption]\nKEY: auto\n[login]\naccess_key=key = x\n",
    "no value": "[encryption]\nkey =\n",
    "no key": "[encryption]\nmethod = AES\n[basic]\nthreads = 7",
    "no section": "[basic]\nthreads = 7",
    "bom and crlf": "\ufeff[encryption]\r\nkey = auto\r\n[basic]\r\nthreads = 7\r\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_auto_makes_a_key_once_and_keeps_it(text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = options_file("")
    path.write_bytes(text.encode())
    before = Settings.load()
    with caplog.at_level(logging.WARNING):
        keys = resolve("AES", "auto")
    after = Settings.load()
    key = after.encryption_key
    assert key is not None
    assert len(base64.b64decode(key)) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert (after.threads, after.access_key) == (before.threads, before.access_key)
    rest = path.read_text().replace(f"key = {key}\n", "")
    for line in text.replace("\r", "").splitlines():
        assert line.lstrip("\ufeff") in rest or line.lower().startswith("key")
    assert "backup" in caplog.text
    assert str(path) in caplog.text
    assert key not in caplog.text
    caplog.clear()
    stored = StoredObject.of(b"secret", keys=keys)
    assert stored.read(resolve("AES", "auto")) == b"secret"
    assert stored.read(resolve("AES", None)) == b"secret"
    assert not [record for record in caplog.records if record.name.startswith("cottoncandy")]


def test_auto_where_no_file_is() -> None:
    path = options_path()
    assert not path.exists()
    resolve("AES", "auto")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Settings.load().encryption_key


def test_auto_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTTONCANDY_ENCRYPTION_KEY", "auto")
    stored = StoredObject.of(b"secret", keys=resolve("AES", None))
    assert stored.read(resolve("AES", None)) == b"secret"


def test_auto_keeps_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real.cfg"
    real.write_text("[basic]\nthreads = 7\n")
    path = options_path()
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    resolve("AES", "auto")
    assert path.is_symlink()
    assert "[encryption]\nkey = " in real.read_text()


def test_auto_changes_no_other_option() -> None:
    """The indented line belongs to the value of ``note``."""
    text = "[encryption]\nnote = one\n  key = auto\n"
    options_file(text)
    with pytest.raises(ConfigurationError, match="could not add a key"):
        resolve("AES", "auto")
    assert options_path().read_text() == text


def test_auto_by_many_at_once_is_one_key() -> None:
    options_file("[encryption]\nkey = auto\n")
    found: list[Any] = []
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait()
        found.append(resolve("AES", "auto"))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(keys._key == found[0]._key for keys in found)


def test_auto_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    options_file("[encryption]\nkey = auto\n")

    def refuse(*arguments: Any, **options: Any) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(encryption, "write_private", refuse)
    with pytest.raises(EncryptionKeyError, match=r"would lose your data.*Permission denied"):
        resolve("AES", "auto")


# -- RSA ------------------------------------------------------------------------------------------


@each(
    "key, passphrase",
    [
        (str(PRIVATE), None),
        (PRIVATE, None),
        (PRIVATE.read_bytes(), None),
        (PRIVATE.read_text(), None),
        (str(LOCKED), PASSPHRASE),
        (LOCKED.read_text(), PASSPHRASE),
    ],
)
def test_forms_of_an_rsa_key(key: Any, passphrase: str | None) -> None:
    stored = StoredObject.of(b"secret", keys=resolve("RSA", str(PUBLIC)))
    assert stored.read(resolve("RSA", key, passphrase)) == b"secret"


@each(
    "key, passphrase, message",
    [
        (None, None, "requires a key pair"),
        ("auto", None, "requires a key pair"),
        (FAKE_BASE64, None, "is an AES key"),
        (FAKE_KEY, None, "not an RSA key in PEM format"),
        ("/nowhere/fake.pem", None, "'/nowhere/fake.pem' cannot be read: No such file"),
        (Path("/nowhere/fake"), None, "'/nowhere/fake' cannot be read: No such file"),
        (LOCKED, None, "needs its passphrase"),
        (LOCKED, "wrong", "passphrase is wrong"),
        (VECTORS / "v1.json", None, "v1.json' cannot be used: it is not an RSA key"),
        (VECTORS, None, "cannot be read"),
        ("with\0null", None, "cannot be read"),
    ],
)
def test_what_is_no_rsa_key(key: Any, passphrase: str | None, message: str) -> None:
    with pytest.raises(EncryptionKeyError, match=message):
        resolve("RSA", key, passphrase)


@pytest.mark.server  # which are slow on purpose
def test_passphrases_are_utf_8_and_open_older_keys_in_latin_1() -> None:
    for encoding in ("utf-8", "latin-1"):
        pem = RSA.import_key(PRIVATE.read_bytes()).export_key("PEM", "clé".encode(encoding), 8)
        assert resolve("RSA", pem, "clé").can_read
    with pytest.raises(EncryptionKeyError, match="passphrase is wrong"):
        resolve("RSA", pem, "日本")


def test_short_rsa_keys_do_not_write() -> None:
    keys = RSAKeys((VECTORS / "fake_rsa_short.pem").read_bytes())
    with pytest.raises(EncryptionKeyError, match="1024 bits"):
        StoredObject.of(b"secret", keys=keys)


def test_rsa_keys_pickle_unlocked_and_work_after() -> None:
    keys = pickle.loads(pickle.dumps(resolve("RSA", LOCKED, PASSPHRASE)))
    assert StoredObject.of(b"secret", keys=keys).read(keys) == b"secret"
    assert repr(keys) == "<RSA private key>"
    public = pickle.loads(pickle.dumps(resolve("RSA", PUBLIC)))
    assert repr(public) == "<RSA public key>"
    assert not public.can_read


def generate_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make "new" keys the fake one."""
    fake = RSA.import_key(PRIVATE.read_bytes())
    monkeypatch.setattr(RSA, "generate", lambda bits: fake)


@pytest.mark.parametrize(
    "passphrase",
    ["clé 日本", *(pytest.param(each, marks=pytest.mark.slow) for each in (None, PASSPHRASE))],
)
def test_a_new_pair_works_and_is_private(
    tmp_path: Path, passphrase: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if passphrase is not None:  # one new pair is enough: primes take long to find
        generate_fake(monkeypatch)
    private, public = generate_key_pair(tmp_path / "lab.pem", passphrase, bits=2048)
    assert (private, public) == (str(tmp_path / "lab.pem"), str(tmp_path / "lab.pub.pem"))
    for path in (private, public):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    stored = StoredObject.of(b"secret", keys=resolve("RSA", public))
    assert stored.read(resolve("RSA", private, passphrase)) == b"secret"
    assert (b"ENCRYPTED" in Path(private).read_bytes()) == (passphrase is not None)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["lab.pem", "lab.pub.pem"]


def test_messages_name_the_public_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method, function in (("AES", "generate_key()"), ("RSA", "generate_key_pair(path)")):
        with pytest.raises(EncryptionKeyError) as caught:
            resolve(method, None)
        assert f"cottoncandy.encryption.{function}" in str(caught.value)
    monkeypatch.setenv("HOME", str(tmp_path))
    generate_fake(monkeypatch)
    assert generate_key_pair("~/lab.pem", bits=2048)[0] == str(tmp_path / "lab.pem")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL's command line is not here")
@pytest.mark.parametrize("passphrase", [PASSPHRASE, "clé 日本"])
def test_openssl_opens_a_new_pair(
    tmp_path: Path, passphrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_fake(monkeypatch)
    private, public = generate_key_pair(tmp_path / "lab.pem", passphrase, bits=2048)
    command = ["openssl", "pkey", "-in", private, "-passin", f"pass:{passphrase}", "-pubout"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.split() == Path(public).read_text().split()


@pytest.mark.parametrize("name", ["lab.pem", "lab.pub.pem"])
def test_keys_are_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(EncryptionKeyError, match=f"{name}' exists"):
        generate_key_pair(tmp_path / "lab.pem", bits=2048)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_a_pair_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncryptionKeyError, match="at least 2048, got 1024"):
        generate_key_pair(tmp_path / "lab.pem", bits=1024)


# -- secrets and dependencies ---------------------------------------------------------------------


@each(
    "method, key",
    [
        ("AES", base64.b64encode(bytes(range(31))).decode()),
        ("AES", "fake+secret/that=is=nothing"),
        ("AES", b"fake secret that is nothing"),
        ("AES", "fake+secret.pem"),
        ("RSA", FAKE_BASE64),
        ("RSA", "fake+secret/that=is=nothing"),
        ("AES", ["ZmFrZSBzZWNyZXQgb2YgMzIgYnl0ZXMsIHJlYWxseSE=", "fake+secret/of=no=use"]),
        ("RSA", [PRIVATE.read_text(), "fake+secret/of=no=use"]),
        ("RSA", f"-----BEGIN PRIVATE KEY-----\n{FAKE_BASE64}\n-----END PRIVATE KEY-----"),
        ("RSA", f"-----BEGIN PRIVATE KEY-----\n{FAKE_BASE64}\n\udcff-----END PRIVATE KEY-----"),
    ],
)
def test_errors_do_not_tell_keys(method: str, key: str | bytes | list[str]) -> None:
    """Neither messages nor the local variables of the functions in the traceback."""
    with pytest.raises(CottonCandyError) as caught:
        cottoncandy.get_encrypted_interface(
            "b",
            backend="memory",
            verbose=False,
            encryption=method,
            encryptionKey=key,
            passphrase="fake passphrase",
        )
    error: BaseException = caught.value
    assert error.__context__ is None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][1:]  # without this one
    text = repr([frame.f_locals for frame in frames]) + "".join(traceback.format_exception(error))
    secret = (
        key.decode()
        if isinstance(key, bytes)
        else "\n".join([key] if isinstance(key, str) else key)
    )
    for piece in [*secret.splitlines(), "fake passphrase"]:
        if piece and not piece.startswith("-----"):
            assert piece not in text


def test_without_pycryptodome(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.split(".")[0] == "Crypto":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    command = r'pip install "cottoncandy\[encryption\]"'
    with pytest.raises(MissingDependencyError, match=command):
        resolve("AES", FAKE_KEY)
    with pytest.raises(MissingDependencyError, match=command):
        resolve("RSA", PRIVATE)


def test_importing_needs_no_pycryptodome() -> None:
    code = (
        "import sys, cottoncandy.stores.keys, cottoncandy.interfaces;"
        "sys.exit(any(name.split('.')[0] == 'Crypto' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
