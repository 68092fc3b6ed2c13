"""What encryption costs: bytes per second of processor time, and memory.

    python benchmarks/encryption.py
    python benchmarks/encryption.py --mib 1024

Throughput is that of the format alone, in memory, by one thread: bytes per second of this process's
processor time, next to that of pycryptodome's AES-GCM over the same segments, which is the most
that can be had. Memory is the rise of the peak in a separate process that moves an array to a
local directory or back, beyond the array.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - after the path is set
from Crypto.Cipher import AES  # noqa: E402

from cottoncandy.backends.base import ObjectInfo, ObjectReader  # noqa: E402
from cottoncandy.core.buffers import Body  # noqa: E402
from cottoncandy.formats.encryption import encrypt_body  # noqa: E402
from cottoncandy.options import Settings  # noqa: E402
from cottoncandy.stores.decryption import open_encrypted  # noqa: E402
from cottoncandy.stores.keys import generate_key, resolve_keys  # noqa: E402

MiB = 2**20
SEGMENT_BYTES = 256 * 1024


class Stored(ObjectReader):
    """An encrypted object in memory."""

    def __init__(self, body: bytes, metadata: dict[str, str]) -> None:
        self.info = ObjectInfo("object", len(body), metadata=metadata)
        self._body = memoryview(body)

    def stream(self, start: int, stop: int):
        """Yield the body as the network would."""
        for position in range(start, stop, MiB // 4):
            yield self._body[position : min(position + MiB // 4, stop)]


def rate(operation: Callable[[], object], nbytes: int, rounds: int = 5) -> float:
    """Return MB per second of processor time: the median of some rounds."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        operation()
        seconds.append(time.process_time() - start)
    return nbytes / median(seconds) / 1e6


def bare_gcm(data: memoryview, out: bytearray) -> None:
    """Encrypt the segments with nothing around them."""
    key = bytes(32)
    view = memoryview(out)
    for number, position in enumerate(range(0, len(data), SEGMENT_BYTES)):
        cipher = AES.new(key, AES.MODE_GCM, nonce=number.to_bytes(12, "big"))
        piece = data[position : position + SEGMENT_BYTES]
        cipher.encrypt(piece, output=view[position : position + len(piece)])
        cipher.digest()


def throughput(nbytes: int) -> None:
    """Print what the format does per second of processor time."""
    data = np.random.default_rng(0).bytes(nbytes)
    keys = resolve_keys("AES", generate_key(), None, Settings())
    view = memoryview(data)
    scratch = bytearray(nbytes)

    def encrypt() -> int:
        body, _ = encrypt_body(Body.of(data), {}, keys)
        return sum(len(block) for block in body)

    body, metadata = encrypt_body(Body.of(data), {}, keys)
    stored = b"".join(body)

    def decrypt() -> None:
        with open_encrypted(Stored(stored, metadata), keys) as reader:
            reader.read_into(memoryview(scratch))

    for label, operation in (
        ("AES-256-GCM by pycryptodome alone", lambda: bare_gcm(view, scratch)),
        ("encrypt an upload", encrypt),
        ("decrypt a download", decrypt),
    ):
        print(f"{label:34} {rate(operation, nbytes):6.0f} MB/s per core")
    if scratch != data:
        raise SystemExit("what was decrypted is not what was encrypted")


def memory(mib: int) -> None:
    """Print by how much memory rises beyond an array that is moved."""
    key = generate_key()
    for label, encrypted in (("plain", False), ("AES", True)):
        options = {"backend": "local"}
        if encrypted:
            options |= {"encrypted": True, "encryption": "AES", "encryptionKey": key}
        with tempfile.TemporaryDirectory() as bucket:
            for direction in ("up", "down"):
                done = subprocess.run(
                    [
                        sys.executable, "-m", "tests.interfaces.memory_probe",
                        direction, "None", str(mib), bucket, json.dumps(options),
                    ],
                    cwd=ROOT,
                    env=os.environ | {"PYTHONPATH": str(ROOT)},
                    capture_output=True,
                    text=True,
                    check=True,
                )  # fmt: skip
                rise = int(done.stdout) / MiB
                print(f"{label:5} {direction:4} {mib} MiB: {rise:5.0f} MiB beyond the array")


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=256, help="size of the array (default 256 MiB)")
    arguments = parser.parse_args()
    throughput(arguments.mib * MiB)
    memory(arguments.mib)


if __name__ == "__main__":
    main()
