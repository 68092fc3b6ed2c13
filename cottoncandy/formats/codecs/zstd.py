"""Zstandard by python-zstandard, with its own threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, cast

from cottoncandy._buffers import Buffer, MiB, bytes_view
from cottoncandy.exceptions import IntegrityError
from cottoncandy.formats.codecs.base import Codec, Filler

__all__ = ["ZstdCodec"]

# Measured on five kinds of scientific data: 160-420 MB/s a core; level 3, the library's default,
# takes 1.3 to 5 times as long for bodies that are 0 to 4 % smaller.
_LEVEL = 1

_SKIPPABLE_MAGIC = b"\x50\x2a\x4d\x18"  # its first four bits are free
_INPUT_BYTES = MiB
_OUTPUT_BYTES = 16 * MiB
_MAX_WINDOW_BYTES = 128 * MiB  # as on the command line; a frame that asks for more is refused


class ZstdCodec(Codec):
    """One zstd frame with its content size [1]_; several frames are read as one stream.

    References
    ----------
    .. [1] RFC 8878, https://www.rfc-editor.org/rfc/rfc8878
    """

    name = "Zstd"
    max_ratio = 32 * 1024  # a block of 128 KiB from four bytes

    def encode_blocks(
        self, blocks: Iterable[Buffer], size: int, *, threads: int = 1
    ) -> Iterator[Buffer]:
        import zstandard

        compressor = zstandard.ZstdCompressor(
            level=_LEVEL,
            threads=threads if threads > 1 and size > 4 * MiB else 0,
            write_checksum=True,
            write_content_size=True,
        )
        encoder = compressor.compressobj(size=size)
        for block in blocks:
            if encoded := encoder.compress(block):
                yield encoded
        yield encoder.flush()

    def decode_into(self, chunks: Iterable[Buffer], out: memoryview) -> None:
        import zstandard

        filler = Filler(out, self.name)
        source = _Source(chunks)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        reader = decompressor.stream_reader(
            cast("IO[bytes]", source), read_size=_INPUT_BYTES, read_across_frames=True
        )
        try:
            while filler.missing:
                taken = reader.readinto(out[filler.position : filler.position + _OUTPUT_BYTES])
                if not taken:
                    break
                filler.position += taken
            # Also reads the checksum of the last frame, and whatever follows it.
            if not filler.missing and reader.read(1):
                raise filler.overflow()
        except zstandard.ZstdError as exc:
            raise IntegrityError(
                f"the Zstd stream is corrupt after {filler.position} decoded bytes: {exc}"
            ) from exc
        filler.finish(ended=source.frames.complete)

    def max_encoded_bytes(self, size: int) -> int:
        return size + size // 256 + 64 * 1024  # ZSTD_COMPRESSBOUND, and room for small blocks


class _Source:
    """Gives a decoder the bytes of chunks as a file would, and follows the frames in them."""

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self.frames = _FrameScanner()
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def read(self, size: int) -> memoryview:
        """Return up to ``size`` bytes; none at the end."""
        while not len(self._rest):
            chunk = next(self._chunks, None)
            if chunk is None:
                return memoryview(b"")
            self._rest = bytes_view(chunk)
        taken, self._rest = self._rest[:size], self._rest[size:]
        self.frames.feed(taken)
        return taken


class _FrameScanner:
    """Finds where frames end by their block headers (RFC 8878, 3.1.1).

    The decoder does not tell a cut-off frame from one that ended, as long as all its data came.
    """

    def __init__(self) -> None:
        self._begun = False
        self._head = b""  # a header that has not come whole
        self._skip = 0  # bytes to go to the next header
        self._in_frame = False
        self._last_block = False
        self._trailer = 0

    @property
    def complete(self) -> bool:
        """Whether there was a frame, and the last one ended."""
        return self._begun and not (self._in_frame or self._head or self._skip)

    def feed(self, data: memoryview) -> None:
        """Follow the headers in the next bytes."""
        position = 0
        while True:
            step = min(self._skip, len(data) - position)
            self._skip -= step
            position += step
            if self._skip:
                return
            if self._in_frame and self._last_block:
                self._in_frame = self._last_block = False
            if position == len(data):
                return
            needed = self._needed()
            self._head += bytes(data[position : position + needed])
            position += min(needed, len(data) - position)
            if not self._needed():
                self._follow(self._head)
                self._head = b""

    def _needed(self) -> int:
        """Return how many bytes of the header are missing."""
        head = self._head
        if self._in_frame:
            return 3 - len(head)
        if len(head) < 5:
            return 5 - len(head)
        if head[1:4] == _SKIPPABLE_MAGIC[1:] and head[0] & 0xF0 == 0x50:
            return 8 - len(head)
        return 0

    def _follow(self, head: bytes) -> None:
        if self._in_frame:
            field = int.from_bytes(head, "little")
            self._last_block = bool(field & 1)
            is_rle = (field >> 1) & 3 == 1
            self._skip = 1 if is_rle else field >> 3
            if self._last_block:
                self._skip += self._trailer
            if not self._skip and self._last_block:
                self._in_frame = self._last_block = False
        elif len(head) == 8:
            self._begun = True
            self._skip = int.from_bytes(head[4:], "little")
        else:
            self._begun = self._in_frame = True
            descriptor = head[4]
            single_segment = (descriptor >> 5) & 1
            size_flag = descriptor >> 6
            self._skip = (
                (1 - single_segment)
                + (0, 1, 2, 4)[descriptor & 3]
                + ((1 if single_segment else 0), 2, 4, 8)[size_flag]
            )
            self._trailer = 4 if descriptor & 4 else 0
