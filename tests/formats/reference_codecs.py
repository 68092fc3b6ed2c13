"""Bodies made by other people's encoders, never by the code under test."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib

import lz4.block
import zstandard

from cottoncandy.formats.codecs import get_codec

CODECS = ["gzip", "Zlib", "BZ2", "Zstd", "LZ4", "LZMA"]


def encode(name: str, data: bytes) -> bytes:
    """Encode with the library that defines the format."""
    if name == "gzip":
        return gzip.compress(data, 6)
    if name == "Zlib":
        return zlib.compress(data)
    if name == "BZ2":
        return bz2.compress(data)
    if name == "Zstd":
        return zstandard.ZstdCompressor(write_checksum=True).compress(data)
    if name == "LZMA":
        return lzma.compress(data)
    assert name == "LZ4"
    return struct.pack("<I", len(data)) + lz4.block.compress(data, store_size=False)


def decode(name: str, body: bytes) -> bytes:
    """Decode with the library that defines the format."""
    if name == "gzip":
        return gzip.decompress(body)
    if name == "Zlib":
        return zlib.decompress(body)
    if name == "BZ2":
        return bz2.decompress(body)
    if name == "Zstd":
        return zstandard.ZstdDecompressor().decompress(body)
    if name == "LZMA":
        return lzma.decompress(body)
    assert name == "LZ4"
    return lz4.block.decompress(body[4:], uncompressed_size=struct.unpack("<I", body[:4])[0])


def decode_ours(name: str, chunks, size: int) -> bytes:
    """Decode with the code under test, with guards around the target."""
    target = bytearray(b"\xa5" * (size + 16))
    get_codec(name).decode_into(chunks, memoryview(target)[8 : 8 + size])
    assert target[:8] == target[-8:] == b"\xa5" * 8
    return bytes(target[8 : 8 + size])


def encode_ours(name: str, data: bytes, threads: int = 1) -> bytes:
    """Encode with the code under test."""
    return b"".join(get_codec(name).encode([memoryview(data)], len(data), threads=threads))


def index_bytes(name: str, size: int) -> int:
    """Return the size of the block index that a body ends with."""
    layout = get_codec(name).blocks(size)
    return layout.index_bytes if layout else 0


def cut(body: bytes, size: int):
    """Cut a body into chunks."""
    return [body[start : start + size] for start in range(0, len(body), size)]
