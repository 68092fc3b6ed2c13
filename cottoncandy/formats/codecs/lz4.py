"""LZ4: the size in four bytes, then one block."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from cottoncandy._buffers import Buffer
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError
from cottoncandy.formats.codecs.base import Codec

__all__ = ["Lz4Codec"]

_MAX_INPUT_BYTES = 0x7E000000  # LZ4_MAX_INPUT_SIZE of lz4.h
_MAX_RATIO = 255  # each byte of a match length stands for at most 255


class Lz4Codec(Codec):
    """Four bytes with the uncompressed size (little-endian), then one LZ4 block [1]_.

    Notes
    -----
    A block is decoded at once: that takes the compressed body, the array and one more copy of it.

    References
    ----------
    .. [1] https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
    """

    name = "LZ4"
    max_ratio = _MAX_RATIO

    def encode(self, data: memoryview, *, threads: int = 1) -> Iterator[Buffer]:
        self.check_input(len(data))
        return self._encode(data)

    def encode_blocks(
        self, blocks: Iterable[Buffer], size: int, *, threads: int = 1
    ) -> Iterator[Buffer]:
        self.check_input(size)
        return self._encode(memoryview(b"".join(blocks)))

    def _encode(self, data: memoryview) -> Iterator[Buffer]:
        import lz4.block  # type: ignore[import-untyped]  # ships no stubs

        yield lz4.block.compress(data, store_size=True)

    def check_input(self, size: int) -> None:
        if size > _MAX_INPUT_BYTES:
            raise InvalidArgumentError(
                f"LZ4 takes at most {_MAX_INPUT_BYTES} bytes at once, and the array has {size}: "
                f"use compression='Zstd'"
            )

    def decode_into(self, chunks: Iterable[Buffer], out: memoryview) -> None:
        import lz4.block

        body = b"".join(chunks)
        if len(body) < 4:
            raise IntegrityError(f"the LZ4 body is truncated: it has {len(body)} bytes")
        (size,) = struct.unpack_from("<I", body)
        if size != len(out):
            raise IntegrityError(
                f"the LZ4 body says that it decodes to {size} bytes, and {len(out)} were expected"
            )
        if size == 0:
            # The library's decoder takes no empty target; an empty block is one zero token.
            if body[4:] not in {b"", b"\0"}:
                raise IntegrityError("the LZ4 body is corrupt: it should be empty")
            return
        try:
            decoded = lz4.block.decompress(memoryview(body)[4:], uncompressed_size=size)
        except (lz4.block.LZ4BlockError, ValueError) as exc:
            raise IntegrityError(f"the LZ4 body is corrupt: {exc}") from exc
        if len(decoded) != len(out):
            raise IntegrityError(
                f"the LZ4 body decodes to {len(decoded)} bytes, and {len(out)} were expected"
            )
        out[:] = decoded

    def max_encoded_bytes(self, size: int) -> int:
        return 4 + size + size // 255 + 16  # LZ4_COMPRESSBOUND
