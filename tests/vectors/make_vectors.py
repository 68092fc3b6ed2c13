"""Write the test vectors: OpenSSL's command line, and ``reference.py``; nothing of the package.

Run it in this directory: ``python make_vectors.py``. All keys are fakes for these tests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import subprocess
import tempfile
from pathlib import Path

import reference

HERE = Path(__file__).parent
PASSPHRASE = "fake passphrase"


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(
        ["openssl", *arguments], input=data, capture_output=True, check=True
    ).stdout


def fake_bytes(size: int, start: int = 0) -> bytes:
    return bytes((start + i) % 256 for i in range(size))


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def legacy_body(plaintext: bytes, key: bytes, iv: bytes) -> bytes:
    padding = 16 - (len(plaintext) + 8) % 16
    message = plaintext + b" " * padding + struct.pack("<Q", len(plaintext))
    cipher = f"-aes-{8 * len(key)}-cbc"
    return iv + openssl("enc", cipher, "-K", key.hex(), "-iv", iv.hex(), "-nopad", data=message)


def wrapped_key(key: bytes, hash_name: str) -> str:
    with tempfile.NamedTemporaryFile() as file:
        file.write(key)
        file.flush()
        options = ["rsa_padding_mode:oaep", f"rsa_oaep_md:{hash_name}", f"rsa_mgf1_md:{hash_name}"]
        flags = [flag for option in options for flag in ("-pkeyopt", option)]
        wrapped = openssl(
            "pkeyutl", "-encrypt", "-pubin", "-inkey", str(HERE / "fake_rsa.pub.pem"),
            "-in", file.name, *flags,
        )  # fmt: skip
    return text(wrapped)


def key_files() -> None:
    private = HERE / "fake_rsa.pem"
    if private.exists():
        return
    openssl("genrsa", "-out", str(private), "2048")
    openssl("rsa", "-in", str(private), "-pubout", "-out", str(HERE / "fake_rsa.pub.pem"))
    openssl(
        "pkcs8", "-topk8", "-in", str(private), "-v2", "aes-256-cbc", "-passout",
        f"pass:{PASSPHRASE}", "-out", str(HERE / "fake_rsa_locked.pem"),
    )  # fmt: skip


def legacy_vectors() -> list[dict[str, object]]:
    vectors: list[dict[str, object]] = []
    for key_size in (16, 24, 32):
        for size in (0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 100, 4096):
            key, iv = fake_bytes(key_size, 1), fake_bytes(16, size)
            plaintext = fake_bytes(size, 7)
            vectors.append(
                {
                    "scheme": "AES",
                    "key": text(key),
                    "metadata": {"dtype": "|u1", "shape": str(size), "compression": "False"},
                    "plaintext": text(plaintext),
                    "body": text(legacy_body(plaintext, key, iv)),
                }
            )
    for size, split in ((0, False), (33, False), (48, True)):
        key, iv = fake_bytes(32, size), fake_bytes(16, 99)
        plaintext = fake_bytes(size, 3)
        wrapped = wrapped_key(key, "sha1")
        metadata = {"key": wrapped}
        if split:  # as it had to be on Google Drive
            pieces = [wrapped[i : i + 100] for i in range(0, len(wrapped), 100)]
            metadata = {"key": "in chunks", "keychunks": str(len(pieces))}
            metadata |= {f"keychunk{i}": piece for i, piece in enumerate(pieces)}
        vectors.append(
            {
                "scheme": "RSA",
                "metadata": metadata,
                "plaintext": text(plaintext),
                "body": text(legacy_body(plaintext, key, iv)),
            }
        )
    return vectors


def key_id(scheme: str, key: bytes) -> str:
    if scheme == "AES":
        return reference.aes_key_id(key)
    public = openssl(
        "pkey", "-pubin", "-in", str(HERE / "fake_rsa.pub.pem"), "-pubout", "-outform", "DER"
    )
    return hashlib.sha256(public).hexdigest()[:16]


def v1_vectors(*, with_id: bool) -> list[dict[str, object]]:
    vectors: list[dict[str, object]] = []
    array = {"dtype": "<f8", "shape": "3,5", "order": "C", "compression": "False"}
    cases = [
        ("AES", 0, 6, {}),
        ("AES", 1, 6, {}),
        ("AES", 64, 6, {"author": "not bound"}),
        ("AES", 120, 6, array | {"cc-checksum": "fake:0123", "author": "not bound"}),
        ("AES", 200, 18, {"dtype": "|u1", "shape": ""}),
        ("RSA", 130, 7, array),
    ]
    for scheme, size, log2, plain_metadata in cases:
        key, plaintext = fake_bytes(32, size), fake_bytes(size, 5)
        stored = dict(plain_metadata)
        stored["cc-encryption"] = f"AES-256-GCM; v=1; key={scheme}; segment={2**log2}"
        if with_id:
            stored["cc-encryption"] += f"; id={key_id(scheme, key)}"
        if scheme == "RSA":
            stored["key"] = wrapped_key(key, "sha256")
        body = reference.encrypt(
            plaintext,
            key,
            fake_bytes(32, 200),
            stored,
            scheme={"AES": 1, "RSA": 2}[scheme],
            log2=log2,
        )
        vectors.append(
            {
                "scheme": scheme,
                "key": text(key),
                "metadata": stored,
                "clean_metadata": plain_metadata,
                "plaintext": text(plaintext),
                "body": text(body),
            }
        )
    return vectors


if __name__ == "__main__":
    key_files()
    made = {
        "legacy": legacy_vectors(),
        "v1": v1_vectors(with_id=False),  # the names of keys are optional
        "v1-id": v1_vectors(with_id=True),
    }
    for name, vectors in made.items():
        (HERE / f"{name}.json").write_text(json.dumps(vectors, indent=1) + "\n")
