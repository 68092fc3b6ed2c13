"""A writer of gzip bodies with a block index, from the description of the format alone."""

from __future__ import annotations

import struct
import zlib
from typing import Any

__all__ = ["indexed_gzip", "write"]


def indexed_gzip(data: bytes, block_bytes: int) -> tuple[bytes, str]:
    """Return a body whose blocks have that many plain bytes, and its announcement."""
    count = -(-len(data) // block_bytes)
    payload = 16 + 12 * count + 4
    size = payload + 26 * -(-payload // 65531)
    return write(data, block_bytes), f"v=1; block={block_bytes}; bytes={size}"


def write(data: bytes, block_bytes: int, **changes: Any) -> bytes:
    """Return a body; ``changes`` falsify its index, whose checksum is right nevertheless."""
    body = bytearray(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
    entries = []
    for start in range(0, len(data), block_bytes):
        block = data[start : start + block_bytes]
        encoder = zlib.compressobj(wbits=-15)
        entries.append((len(body), zlib.crc32(block)))
        body += encoder.compress(block) + encoder.flush(zlib.Z_FULL_FLUSH)
    body += b"\x03\x00" + struct.pack("<II", zlib.crc32(data), len(data))
    if "swap" in changes:
        a, b = changes["swap"]
        entries[a], entries[b] = (entries[a][0], entries[b][1]), (entries[b][0], entries[a][1])
    if "entry" in changes:
        number, offset = changes["entry"]
        entries[number] = offset, entries[number][1]
    if "crc" in changes:
        number, crc = changes["crc"]
        entries[number] = entries[number][0], crc
    payload = struct.pack(
        "<IIQ",
        changes.get("version", 1),
        changes.get("size", block_bytes),
        changes.get("count", len(entries)),
    )
    payload += b"".join(struct.pack("<QI", *entry) for entry in entries)
    payload += struct.pack("<I", zlib.crc32(payload))
    for start in range(0, len(payload), 65531):
        part = payload[start : start + 65531]
        body += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"
        body += struct.pack("<H2sH", len(part) + 4, b"CC", len(part)) + part
        body += b"\x03\0" + bytes(8)
    return bytes(body)
