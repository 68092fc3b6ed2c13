"""The layout of cottoncandy 0.2 and older, for reading: AES-CBC without authentication.

``IV (16 bytes)``, then AES-CBC of: plaintext, 1 to 16 spaces, plaintext length (uint64,
little-endian). CBC can start at any block, so a range needs only the block before it in addition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cottoncandy.core.buffers import Buffer, regroup
from cottoncandy.formats.encryption.keys import Secret, crypto_module

BLOCK = 16
_LENGTH_BYTES = 8
_PIECE_BYTES = 256 * 1024


def could_be_legacy(stored: int) -> bool:
    """Return whether a body of that size can be one: IV and at least one block."""
    return stored >= 2 * BLOCK and stored % BLOCK == 0


def decrypted(stored: Iterable[Buffer], key: Secret) -> Iterator[bytes]:
    """Decrypt blocks of a body, in pieces; the first one is the initialization vector."""
    pieces = regroup(stored, (BLOCK, _PIECE_BYTES))  # each block is the vector of the next one
    before = bytes(next(pieces, b""))
    if len(before) < BLOCK:  # the body ends early, which the reader reports
        return
    aes = crypto_module("Cipher.AES")
    cipher = aes.new(key.reveal(), aes.MODE_CBC, iv=before)
    for piece in pieces:
        if whole := len(piece) // BLOCK * BLOCK:
            yield cipher.decrypt(bytes(piece[:whole]))


def plaintext_size(tail: bytes, blocks: int) -> int | None:
    """Return the plaintext length in the last two of the decrypted blocks.

    None if the padding contradicts it: the key is another one, or the object is not encrypted.
    """
    size = int.from_bytes(tail[-_LENGTH_BYTES:], "little")
    padding = BLOCK - (size + _LENGTH_BYTES) % BLOCK
    spaces = tail[:-_LENGTH_BYTES][-padding:]
    fits = size + padding + _LENGTH_BYTES == blocks * BLOCK and not spaces.strip(b" ")
    return size if fits else None
