"""The interface of codecs, and the one loop that decodes streams within bounded memory."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from cottoncandy.core.buffers import Buffer, MiB, regroup
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError

if TYPE_CHECKING:
    from cottoncandy.formats.codecs.blocks import BlockLayout

#: Names of the codecs that need no optional package, as stored in metadata.
BUILT_IN = ("gzip", "Zlib", "BZ2", "Zstd", "LZ4", "LZMA")

#: Plain bytes that one step of an encoder takes.
BLOCK_BYTES = MiB

# Decoders copy the input that they have not used yet, so a piece is small.
_INPUT_BYTES = 128 * 1024
_OUTPUT_BYTES = MiB


class Codec(ABC):
    """A lossless compression of byte streams. Codecs have no state and may be shared by threads."""

    #: As stored in the metadata of an object.
    name: str

    #: Bytes that the format can contain; None if it has no bound.
    max_input: int | None = None

    #: No stream decodes to more than this multiple of its size; None if the format has no bound.
    max_ratio: ClassVar[int | None] = None

    #: Whether readers of version 0.4.0 honor Fortran order with this codec.
    keeps_order: ClassVar[bool] = False

    #: Whether encoding takes all the bytes at once.
    needs_whole: ClassVar[bool] = False

    @abstractmethod
    def encode(self, blocks: Iterable[Buffer], size: int, *, threads: int = 1) -> Iterator[Buffer]:
        """Yield the encoded stream of ``blocks``, reading them as the stream is consumed.

        Parameters
        ----------
        blocks : iterable of buffer
            Of any lengths.
        size : int
            Their total size in bytes.
        threads : int, default 1
            Number of threads that may compress. Most codecs use one.

        Raises
        ------
        InvalidArgumentError
            If the format cannot contain that many bytes.
        """

    @abstractmethod
    def decode(self, chunks: Iterable[Buffer], size: int) -> Iterator[Buffer]:
        """Yield the decoded stream in pieces.

        Parameters
        ----------
        chunks : iterable of buffer
        size : int
            The expected size in bytes. The iterator ends once more is decoded, mostly one byte.

        Raises
        ------
        IntegrityError
            If the stream is corrupt, is truncated or has trailing bytes.
        """

    def decode_into(self, chunks: Iterable[Buffer], out: memoryview) -> None:
        """Fill ``out`` (writable, flat, bytes) exactly with the decoded stream.

        Raises
        ------
        IntegrityError
            If the stream is corrupt, is truncated, has trailing bytes, or decodes to fewer or more
            bytes than ``out`` has.
        """
        position = 0
        for block in self.decode(chunks, len(out)):
            if len(block) > len(out) - position:
                raise IntegrityError(
                    f"the {self.name} stream decodes to more than the {len(out)} bytes that its "
                    f"metadata promises: the body or the metadata is not what was stored"
                )
            out[position : position + len(block)] = block
            position += len(block)
        if position != len(out):
            raise IntegrityError(
                f"the {self.name} stream decodes to {position} bytes, expected {len(out)}"
            )

    def max_encoded_bytes(self, size: int) -> int:
        """Return an upper bound of the encoded size of ``size`` bytes."""
        return size + size // 64 + 64 * 1024  # bzip2 takes most, with 1 % and 600 bytes

    def blocks(self, size: int) -> BlockLayout | None:
        """Return the layout of the block index that the stream of ``size`` bytes ends with."""
        return None

    def check_input(self, size: int) -> None:
        """Reject more bytes than the format can contain, before anything is encoded.

        Raises
        ------
        InvalidArgumentError
        """
        if self.max_input is not None and size > self.max_input:
            raise InvalidArgumentError(
                f"{self.name} takes at most {self.max_input} bytes at once, and the array has "
                f"{size}: use compression='Zstd'"
            )

    def check_sizes(self, body_bytes: int, array_bytes: int) -> None:
        """Reject sizes that contradict each other, before memory is allocated.

        Raises
        ------
        IntegrityError
            If no stream of ``body_bytes`` decodes to ``array_bytes``.
        """
        if body_bytes == 0:
            raise IntegrityError(f"the body is empty, which is not a {self.name} stream")
        if self.max_ratio is not None and array_bytes > body_bytes * self.max_ratio:
            raise IntegrityError(
                f"{body_bytes} bytes of {self.name} cannot decode to {array_bytes} bytes: "
                f"at most {self.max_ratio} times their size"
            )


class Decoder(Protocol):
    """The protocol that the decompressors of bz2, lzma, zstd (PEP 784) and ISA-L share."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""

    @property
    def needs_input(self) -> bool:
        """Whether all output for the input so far was returned."""

    @property
    def unused_data(self) -> bytes:
        """The input after the end of the stream."""

    def decompress(self, data: Buffer, max_length: int) -> bytes:
        """Return at most ``max_length`` bytes; unused input is kept for the next call."""


class StreamCodec(Codec):
    """A codec whose library encodes and decodes piece by piece.

    Notes
    -----
    Memory for decoding: one piece of input, one of output, and the library's window.
    """

    #: What may follow a stream: further streams, zeros, or nothing.
    trailing: ClassVar[Literal["streams", "zeros", "nothing"]] = "nothing"

    #: As the library counts.
    level: ClassVar[int]

    @abstractmethod
    def encoder(self, level: int) -> Any:
        """Return an encoder: ``compress(data)`` and ``flush()``, as those of bz2 and lzma."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """Return a decoder at the start of a stream."""

    def encode(self, blocks: Iterable[Buffer], size: int, *, threads: int = 1) -> Iterator[Buffer]:
        return self.encode_with(self.encoder(self.level), blocks)

    @staticmethod
    def encode_with(encoder: Any, blocks: Iterable[Buffer]) -> Iterator[Buffer]:
        """Yield what an encoder makes of the blocks."""
        for block in regroup(blocks, BLOCK_BYTES):
            if encoded := encoder.compress(block):
                yield encoded
        yield encoder.flush()

    def decode(self, chunks: Iterable[Buffer], size: int = sys.maxsize) -> Iterator[Buffer]:
        decoder, position = self.decoder(), 0
        # Regrouped, because ISA-L misreads a gzip header with optional fields that is split
        # between two inputs (seen with python-isal 1.9.1).
        for piece in regroup(chunks, _INPUT_BYTES):
            data: Buffer = piece
            while len(data):
                if decoder.eof:
                    if self.trailing != "streams":
                        self._check_tail(data)
                        break
                    decoder = self.decoder()
                while True:
                    length = min(_OUTPUT_BYTES, size - position + 1)
                    block = self._decode(decoder, data, length, position)
                    position += len(block)
                    yield block
                    if position > size:
                        return  # the caller rejects it
                    if decoder.eof or decoder.needs_input:
                        break
                    data = b""
                data = decoder.unused_data if decoder.eof else b""
        if not decoder.eof:
            raise IntegrityError(
                f"the {self.name} stream is truncated: it stops after {position} decoded bytes"
            )

    def _decode(self, decoder: Decoder, data: Buffer, max_length: int, position: int) -> bytes:
        try:
            return decoder.decompress(data, max_length)
        except MemoryError:
            raise
        except Exception as exc:  # each library has its own error types
            raise IntegrityError(
                f"the {self.name} stream is corrupt after {position} decoded bytes: {exc}"
            ) from exc

    def _check_tail(self, tail: Buffer) -> None:
        if self.trailing == "nothing" or bytes(tail).strip(b"\0"):
            raise IntegrityError(f"bytes follow the end of the {self.name} stream")
