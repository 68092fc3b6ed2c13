"""Arrays that only key holders can read: one AES key, then an RSA pair for writers and readers.

    python examples/encryption.py

works in a temporary directory, with keys that are thrown away. Yours belong in a safe place, and a
copy of them in another: without the key, the data is lost.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import cottoncandy as cc
from cottoncandy.encryption import generate_key, generate_key_pair
from cottoncandy.exceptions import DecryptionError, EncryptionKeyError


def one_key(bucket: str, scans: np.ndarray) -> None:
    """Store with one key; read a slice; try another key."""
    key = generate_key()
    cci = cc.get_encrypted_interface(
        bucket, backend="local", verbose=False, encryption="AES", encryptionKey=key
    )
    cci.upload_raw_array("scans", scans, compression=False)
    rows = cci.download_raw_array("scans", selection=np.s_[100:110])
    print(f"AES: rows 100 to 110 are the same: {np.array_equal(rows, scans[100:110])}")

    stranger = cc.get_encrypted_interface(
        bucket, backend="local", verbose=False, encryption="AES", encryptionKey=generate_key()
    )
    try:
        stranger.download_raw_array("scans")
    except DecryptionError as exc:
        print(f"AES, another key: {exc}")


def key_pair(bucket: str, scans: np.ndarray, keys: Path) -> None:
    """Let the scanner write with the public key, and the lab read with the private one."""
    private, public = generate_key_pair(keys / "lab.pem", passphrase="not a real passphrase")
    scanner = cc.get_encrypted_interface(
        bucket, backend="local", verbose=False, encryption="RSA", encryptionKey=public
    )
    scanner.upload_raw_array("today", scans)
    try:
        scanner.download_raw_array("today")
    except EncryptionKeyError as exc:
        print(f"RSA, the scanner: {exc}")
    lab = cc.get_encrypted_interface(
        bucket,
        backend="local",
        verbose=False,
        encryption="RSA",
        encryptionKey=private,
        passphrase="not a real passphrase",
    )
    print(f"RSA, the lab: the same: {np.array_equal(lab.download_raw_array('today'), scans)}")


def main() -> None:
    """Run both."""
    scans = np.random.default_rng(0).standard_normal((500, 300))
    with tempfile.TemporaryDirectory() as folder:
        bucket = Path(folder, "bucket")
        bucket.mkdir()
        one_key(str(bucket), scans)
        key_pair(str(bucket), scans, Path(folder))
    print("encryption: ok")


if __name__ == "__main__":
    main()
