"""Format version 1 a second time: plain Python, from docs/encryption-format.md alone.

Slow and not constant in time; it shares no line and no library with the package.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator, Mapping

__all__ = ["aes_key_id", "decrypt", "encrypt", "oaep_decrypt"]


# -- AES [FIPS 197], encryption of one block ------------------------------------------------------


def _times2(value: int) -> int:
    return (value << 1) ^ (0x11B if value & 0x80 else 0)


def _make_sbox() -> list[int]:
    sbox = [0x63] * 256
    p = q = 1
    while True:
        p ^= _times2(p)
        for shift in (1, 2, 4):
            q ^= q << shift
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        sbox[p] = 0x63 ^ q
        for shift in (1, 2, 3, 4):
            sbox[p] ^= (q << shift | q >> (8 - shift)) & 0xFF
        if p == 1:
            return sbox


_SBOX = _make_sbox()


def _expand(key: bytes) -> list[bytes]:
    words = [key[i : i + 4] for i in range(0, len(key), 4)]
    size, rcon = len(words), 1
    for i in range(size, 4 * (size + 7)):
        word = words[-1]
        if i % size == 0:
            word = bytes(_SBOX[b] for b in word[1:] + word[:1])
            word = bytes([word[0] ^ rcon]) + word[1:]
            rcon = _times2(rcon)
        elif size > 6 and i % size == 4:
            word = bytes(_SBOX[b] for b in word)
        words.append(bytes(a ^ b for a, b in zip(word, words[i - size], strict=True)))
    return [b"".join(words[i : i + 4]) for i in range(0, len(words), 4)]


def _aes(rounds: list[bytes], block: bytes) -> bytes:
    state = bytes(a ^ b for a, b in zip(block, rounds[0], strict=True))
    for number, key in enumerate(rounds[1:], 1):
        state = bytes(_SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16))
        if number < len(rounds) - 1:
            mixed = []
            for c in range(0, 16, 4):
                column = state[c : c + 4]
                total = column[0] ^ column[1] ^ column[2] ^ column[3]
                mixed += [
                    column[i] ^ total ^ _times2(column[i] ^ column[(i + 1) % 4]) for i in range(4)
                ]
            state = bytes(mixed)
        state = bytes(a ^ b for a, b in zip(state, key, strict=True))
    return state


# -- GCM [NIST SP 800-38D], nonces of 12 bytes, no associated data --------------------------------


def _gf_multiply(x: int, y: int) -> int:
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def _gcm(key: bytes, nonce: bytes, text: bytes, *, decrypting: bool) -> tuple[bytes, bytes]:
    rounds = _expand(key)
    hash_key = int.from_bytes(_aes(rounds, bytes(16)), "big")
    output = b""
    for position in range(0, len(text), 16):
        stream = _aes(rounds, nonce + (position // 16 + 2).to_bytes(4, "big"))
        output += bytes(a ^ b for a, b in zip(text[position : position + 16], stream, strict=False))
    ciphertext = text if decrypting else output
    digest = 0
    for position in range(0, len(ciphertext), 16):
        block = ciphertext[position : position + 16].ljust(16, b"\0")
        digest = _gf_multiply(digest ^ int.from_bytes(block, "big"), hash_key)
    digest = _gf_multiply(digest ^ 8 * len(ciphertext), hash_key)
    mask = int.from_bytes(_aes(rounds, nonce + b"\0\0\0\1"), "big")
    return output, (digest ^ mask).to_bytes(16, "big")


# -- the format -----------------------------------------------------------------------------------


def _derive(object_key: bytes, salt: bytes, start: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    extracted = hmac.new(salt, object_key, hashlib.sha256).digest()
    info = b"cottoncandy encryption v1" + start
    blocks = [b""]
    for counter in (1, 2, 3):
        message = blocks[-1] + info + bytes([counter])
        blocks.append(hmac.new(extracted, message, hashlib.sha256).digest())
    derived = b"".join(blocks)
    return derived[:32], derived[32:64], derived[64:80], derived[80:87]


def _mac(mac_key: bytes, header: bytes, metadata: Mapping[str, str]) -> bytes:
    message = header
    for name in sorted(metadata):
        named = name in ("compression", "dtype", "gzip", "order", "shape")
        if metadata[name] and (named or (name.startswith("cc-") and name != "cc-encryption")):
            for text in (name.encode(), metadata[name].encode()):
                message += struct.pack("<I", len(text)) + text
    return hmac.new(mac_key, message, hashlib.sha256).digest()


def aes_key_id(key: bytes) -> str:
    """Return the identifier of an AES key in ``cc-encryption``."""
    extracted = hmac.new(bytes(32), key, hashlib.sha256).digest()
    return hmac.new(extracted, b"cottoncandy key id\x01", hashlib.sha256).hexdigest()[:16]


def _segments(size: int, step: int) -> Iterator[tuple[int, int, bool]]:
    starts = list(range(0, size, step)) or [0]
    for index, start in enumerate(starts):
        yield index, start, start == starts[-1]


def encrypt(
    plaintext: bytes,
    object_key: bytes,
    salt: bytes,
    metadata: Mapping[str, str],
    *,
    scheme: int,
    log2: int,
) -> bytes:
    """Return the stored body."""
    start = b"\x89CCENC\r\n" + bytes([1, scheme, log2]) + bytes(5)
    key, mac_key, check, prefix = _derive(object_key, salt, start)
    header = start + salt + check
    body = header + _mac(mac_key, header, metadata)
    for index, position, final in _segments(len(plaintext), 2**log2):
        nonce = prefix + index.to_bytes(4, "big") + bytes([final])
        piece = plaintext[position : position + 2**log2]
        body += b"".join(_gcm(key, nonce, piece, decrypting=False))
    return body


def decrypt(body: bytes, object_key: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return the plaintext; an assertion fails where something is not as it should be."""
    assert body[:9] == b"\x89CCENC\r\n\x01"
    assert body[11:16] == bytes(5)
    key, mac_key, check, prefix = _derive(object_key, body[16:48], body[:16])
    assert check == body[48:64]
    assert _mac(mac_key, body[:64], metadata) == body[64:96]
    plaintext, step = b"", 2 ** body[10] + 16
    for index, position, final in _segments(len(body) - 96, step):
        sealed = body[96 + position : 96 + position + step]
        nonce = prefix + index.to_bytes(4, "big") + bytes([final])
        piece, tag = _gcm(key, nonce, sealed[:-16], decrypting=True)
        assert tag == sealed[-16:]
        plaintext += piece
    return plaintext


def oaep_decrypt(wrapped: bytes, modulus: int, exponent: int) -> bytes:
    """RSAES-OAEP with SHA-256 and an empty label [RFC 8017, section 7.1.2]."""
    size = -(-modulus.bit_length() // 8)
    encoded = pow(int.from_bytes(wrapped, "big"), exponent, modulus).to_bytes(size, "big")

    def mask(seed: bytes, length: int) -> bytes:
        counters = range(-(-length // 32))
        blocks = (hashlib.sha256(seed + struct.pack(">I", i)).digest() for i in counters)
        return b"".join(blocks)[:length]

    def xor(a: bytes, b: bytes) -> bytes:
        return bytes(x ^ y for x, y in zip(a, b, strict=True))

    seed = xor(encoded[1:33], mask(encoded[33:], 32))
    block = xor(encoded[33:], mask(seed, size - 33))
    assert encoded[0] == 0
    assert block[:32] == hashlib.sha256(b"").digest()
    padding, _, message = block[32:].partition(b"\x01")
    assert not padding.strip(b"\0")
    return message
