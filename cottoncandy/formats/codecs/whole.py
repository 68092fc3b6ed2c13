"""Codecs whose libraries work on whole buffers: LZ4, and further ones of numcodecs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from cottoncandy.core.buffers import Buffer
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError, MissingDependencyError
from cottoncandy.formats.codecs.base import BUILT_IN, Codec

# These change values, need parameters or make Python objects: they are not codecs of byte streams.
_UNFIT = frozenset(
    re.findall(
        r"\S+",
        "adler32 astype base64 bitround categorize crc32 crc32c delta fixedscaleoffset fletcher32 "
        "jenkins_lookup3 json2 msgpack2 n5_wrapper packbits pcodec pickle quantize shuffle "
        "vlen-array vlen-bytes vlen-utf8 zfpy",
    )
)


class Lz4Codec(Codec):
    """Four bytes with the uncompressed size (little-endian), then one LZ4 block [1]_.

    Notes
    -----
    A block is decoded at once. Memory: the compressed body, and a second copy of the array.

    References
    ----------
    .. [1] https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
    """

    name = "LZ4"
    needs_whole = True
    max_input = 0x7E000000  # LZ4_MAX_INPUT_SIZE of lz4.h
    max_ratio = 255  # each byte of a match length stands for at most 255

    def encode(self, blocks: Iterable[Buffer], size: int, *, threads: int = 1) -> Iterator[Buffer]:
        import lz4.block  # type: ignore[import-untyped]  # ships no stubs

        yield lz4.block.compress(_joined(blocks), store_size=True)

    def decode(self, chunks: Iterable[Buffer], size: int) -> Iterator[Buffer]:
        import lz4.block

        body = b"".join(chunks)
        if len(body) < 4:
            raise IntegrityError(f"the LZ4 body is truncated: it has {len(body)} bytes")
        if int.from_bytes(body[:4], "little") != size:  # before memory is allocated
            raise IntegrityError(f"the LZ4 body does not decode to the expected {size} bytes")
        if size == 0:
            # The library's decoder takes no empty target; an empty block is one zero token.
            if body[4:] not in {b"", b"\0"}:
                raise IntegrityError("the LZ4 body is corrupt: it should be empty")
            return
        try:
            decoded = lz4.block.decompress(memoryview(body)[4:], uncompressed_size=size)
        except (lz4.block.LZ4BlockError, ValueError) as exc:
            raise IntegrityError(f"the LZ4 body is corrupt: {exc}") from exc
        del body  # before the pages of the array are touched for the first time
        yield decoded


class NumcodecsCodec(Codec):
    """Any other codec that numcodecs has, or the program registered there.

    Parameters
    ----------
    name : str
        Its id, in upper or lower case.

    Notes
    -----
    Memory: the compressed body. Codecs that do not decode into a given buffer, as Blosc does, take
    a second copy of the array.
    """

    needs_whole = True

    def __init__(self, name: str) -> None:
        self.name = name
        known = ", ".join(BUILT_IN)
        try:
            import numcodecs  # type: ignore[import-untyped]  # ships no stubs
        except ImportError as exc:
            raise MissingDependencyError(
                f"unknown codec '{name}'; built in are {known}, and compression=False for none. "
                f'Others require numcodecs: pip install "cottoncandy[numcodecs]"'
            ) from exc
        built_in = {built_in.lower() for built_in in BUILT_IN}
        available = sorted(set(numcodecs.registry.codec_registry) - _UNFIT - built_in)
        if name.lower() not in available:
            raise InvalidArgumentError(
                f"unknown codec '{name}'; built in are {known}, and compression=False for none; "
                f"from numcodecs: {', '.join(available)}"
            )
        self._codec: Any = numcodecs.get_codec({"id": name.lower()})
        self.max_input = getattr(self._codec, "max_buffer_size", None)

    def encode(self, blocks: Iterable[Buffer], size: int, *, threads: int = 1) -> Iterator[Buffer]:
        try:
            yield self._codec.encode(_joined(blocks))
        except ValueError as exc:  # numcodecs: more than 2 GB in one call
            raise InvalidArgumentError(
                f"the codec {self.name} cannot encode {size} bytes: {exc}; "
                f"Zstd and gzip have no limit"
            ) from exc

    def decode(self, chunks: Iterable[Buffer], size: int) -> Iterator[Buffer]:
        out = bytearray(size)
        self.decode_into(chunks, memoryview(out))
        yield out

    def decode_into(self, chunks: Iterable[Buffer], out: memoryview) -> None:
        body = b"".join(chunks)
        if self._codec.codec_id == "blosc":
            _check_blosc(body, len(out))
        try:
            decoded = self._codec.decode(body, out=out) if len(out) else self._codec.decode(body)
            view = memoryview(decoded).cast("B")
        except MemoryError:
            raise
        except Exception as exc:  # each codec has its own errors
            raise IntegrityError(f"the {self.name} body is corrupt: {exc}") from exc
        if len(view) != len(out):
            raise IntegrityError(
                f"the {self.name} body decodes to {len(view)} bytes, expected {len(out)}"
            )
        if decoded is not out:
            out[:] = view

    def max_encoded_bytes(self, size: int) -> int:
        return size + size // 8 + 64 * 1024


def _joined(blocks: Iterable[Buffer]) -> Buffer:
    """Return the blocks as one buffer; a single block is not copied."""
    first, *others = [*blocks] or [b""]
    return b"".join([first, *others]) if others else first


def _check_blosc(body: bytes, size: int) -> None:
    """Compare the sizes in a Blosc header with the true ones: the library does not check them."""
    if len(body) < 16:
        raise IntegrityError(f"the Blosc body is truncated: it has {len(body)} bytes")
    decoded, encoded = int.from_bytes(body[4:8], "little"), int.from_bytes(body[12:16], "little")
    if (decoded, encoded) != (size, len(body)):
        raise IntegrityError(
            f"the Blosc body declares {encoded} bytes that decode to {decoded}, expected "
            f"{len(body)} that decode to {size}"
        )
