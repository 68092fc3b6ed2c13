"""The layout of cottoncandy 0.2 and older, for reading: AES-CBC without authentication.

``IV (16 bytes)``, then AES-CBC of: plaintext, 1 to 16 spaces, plaintext length (uint64,
little-endian). CBC can start at any block, so a range needs only the block before it in addition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cottoncandy.core.buffers import Buffer, regroup
from cottoncandy.formats.encryption.crypto import Secret, crypto_module

BLOCK = 16
_LENGTH_BYTES = 8
_PIECE_BYTES = 256 * 1024


def could_be_legacy(stored: int) -> bool:
    """Return whether a body of that size can be one: IV and at least one block."""
    return stored >= 2 * BLOCK and stored % BLOCK == 0


class LegacyCipher:
    """Decrypts ranges of one object.

    Parameters
    ----------
    key : Secret
        16, 24 or 32 bytes.
    fetch : callable
        ``fetch(start, stop)`` yields those bytes of the stored body.
    """

    def __init__(self, key: Secret, fetch: Callable[[int, int], Iterator[Buffer]]) -> None:
        self._key = key
        self._fetch = fetch

    def blocks(self, first: int, last: int) -> Iterator[bytes]:
        """Yield the decrypted blocks ``[first, last)``, in pieces."""
        if first >= last:
            return
        aes = crypto_module("Cipher.AES")
        # Each block is the initialization vector of the next one.
        pieces = regroup(self._fetch(first * BLOCK, (last + 1) * BLOCK), (BLOCK, _PIECE_BYTES))
        before = bytes(next(pieces, b""))
        if len(before) < BLOCK:  # the body ends early, which the reader reports
            return
        cipher = aes.new(self._key.reveal(), aes.MODE_CBC, iv=before)
        for piece in pieces:
            if whole := len(piece) // BLOCK * BLOCK:
                yield cipher.decrypt(bytes(piece[:whole]))

    def plaintext_size(self, stored: int) -> int | None:
        """Return the plaintext length at the end of the body; None if the padding contradicts it.

        Then the key is another one, or the object is not encrypted.
        """
        blocks = stored // BLOCK - 1
        tail = b"".join(self.blocks(max(blocks - 2, 0), blocks))
        size = int.from_bytes(tail[-_LENGTH_BYTES:], "little")
        padding = BLOCK - (size + _LENGTH_BYTES) % BLOCK
        spaces = tail[:-_LENGTH_BYTES][-padding:]
        fits = size + padding + _LENGTH_BYTES == blocks * BLOCK and not spaces.strip(b" ")
        return size if fits else None
