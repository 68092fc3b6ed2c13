"""Stored objects in memory, for the tests of encryption: written once, then tampered with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.core.buffers import Body, Buffer
from cottoncandy.formats.encryption.keys import AESKeys, KeyScheme
from cottoncandy.formats.encryption.segments import encrypt_body
from cottoncandy.stores.encrypted import open_encrypted

VECTORS = Path(__file__).parent.parent / "vectors"
FAKE_KEY = bytes(range(32))
OTHER_FAKE_KEY = bytes(range(1, 33))
METADATA = {"dtype": "<f8", "shape": "5,5", "order": "C", "compression": "False", "author": "me"}


def fake_bytes(size: int) -> bytes:
    """Bytes that differ from segment to segment."""
    return b"".join(i.to_bytes(4, "big") for i in range(size // 4 + 1))[:size]


class StoredReader(ObjectReader):
    """A reader that records the requested ranges, and yields small pieces."""

    max_resumes = 0

    def __init__(self, body: bytes, metadata: Mapping[str, str], chunk: int = 50) -> None:
        self.info = ObjectInfo("name", len(body), metadata=metadata)
        self.ranges: list[tuple[int, int]] = []
        self.closed = False
        self._body = body
        self._chunk = chunk

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        assert 0 <= start <= stop <= self.size
        self.ranges.append((start, stop))
        for position in range(start, stop, self._chunk):
            yield self._body[position : min(position + self._chunk, stop)]

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class StoredObject:
    """An encrypted object in a store."""

    body: bytes
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        plaintext: bytes,
        metadata: Mapping[str, str] = METADATA,
        keys: KeyScheme | None = None,
        segment_bytes: int = 64,
    ) -> StoredObject:
        body, stored = encrypt_body(
            Body.of(plaintext), metadata, keys or AESKeys(FAKE_KEY), segment_bytes=segment_bytes
        )
        return cls(bytes(body.read()), stored)

    def but(self, body: bytes) -> StoredObject:
        return replace(self, body=body)

    def stored(self) -> StoredReader:
        return StoredReader(self.body, self.metadata)

    def open(self, keys: KeyScheme | None = None) -> ObjectReader:
        return open_encrypted(self.stored(), keys or AESKeys(FAKE_KEY))

    def read(self, keys: KeyScheme | None = None) -> bytes:
        return self.open(keys).read()
