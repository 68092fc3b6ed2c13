"""What every codec does, and what decoding guards against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

from cottoncandy._buffers import Buffer, MiB, bytes_view
from cottoncandy.exceptions import IntegrityError

__all__ = ["BLOCK_BYTES", "Codec", "Filler"]

#: How much plain data one step of an encoder takes, in bytes.
BLOCK_BYTES = MiB


class Codec(ABC):
    """A lossless compression of byte streams. Codecs hold no state: one may serve many threads."""

    #: As stored in the metadata of an object.
    name: str

    #: No stream of this codec decodes to more than so many times its size; None: no such bound.
    max_ratio: ClassVar[int | None] = None

    #: Whether readers of version 0.4.0 honour Fortran order with this codec.
    keeps_order: ClassVar[bool] = False

    def encode(self, data: memoryview, *, threads: int = 1) -> Iterator[Buffer]:
        """Yield the encoded stream of ``data`` (flat, bytes), a few blocks ahead of the reader.

        Parameters
        ----------
        data : memoryview
            Flat view of bytes.
        threads : int, default 1
            How many threads may compress; codecs that cannot share the work use one.

        Raises
        ------
        InvalidArgumentError
            If the codec's format cannot hold so many bytes.
        """
        return self.encode_blocks(_slices(data), len(data), threads=threads)

    @abstractmethod
    def encode_blocks(
        self, blocks: Iterable[Buffer], size: int, *, threads: int = 1
    ) -> Iterator[Buffer]:
        """Yield the encoded stream of ``blocks``, which are ``size`` bytes altogether."""

    @abstractmethod
    def decode_into(self, chunks: Iterable[Buffer], out: memoryview) -> None:
        """Fill ``out`` (writable, flat, bytes) exactly with the decoded stream.

        Memory: ``out``, one chunk and one window, whatever the stream claims.

        Raises
        ------
        IntegrityError
            If the stream is corrupt, ends early, goes on behind its end, or decodes to fewer or
            more bytes than ``out`` has.
        """

    @abstractmethod
    def max_encoded_bytes(self, size: int) -> int:
        """Return an upper bound of the encoded size of ``size`` bytes."""

    def check_input(self, size: int) -> None:  # noqa: B027 - most formats have no limit
        """Refuse, before anything is encoded, more bytes than the format can hold.

        Raises
        ------
        InvalidArgumentError
        """

    def check_sizes(self, body_bytes: int, array_bytes: int) -> None:
        """Refuse a claim that cannot be true, before memory is asked for.

        Raises
        ------
        IntegrityError
            If no stream of ``body_bytes`` decodes to ``array_bytes``.
        """
        if body_bytes == 0:
            raise IntegrityError(f"the body is empty, and a {self.name} stream never is")
        if self.max_ratio is not None and array_bytes > body_bytes * self.max_ratio:
            raise IntegrityError(
                f"{body_bytes} bytes of {self.name} cannot decode to {array_bytes} bytes: "
                f"at most {self.max_ratio} times their size"
            )

    def __repr__(self) -> str:
        return f"<codec {self.name}>"


class Filler:
    """Copies decoded blocks into place and counts."""

    __slots__ = ("codec_name", "out", "position")

    def __init__(self, out: memoryview, codec_name: str) -> None:
        self.out = out
        self.position = 0
        self.codec_name = codec_name

    @property
    def missing(self) -> int:
        """How many bytes are not there yet."""
        return len(self.out) - self.position

    def add(self, block: Buffer) -> None:
        """Append a block; more than fits is an error."""
        size = len(block)
        if size > self.missing:
            raise self.overflow()
        self.out[self.position : self.position + size] = block
        self.position += size

    def overflow(self) -> IntegrityError:
        """Return the error for a stream that goes on after ``out`` is full."""
        return IntegrityError(
            f"the {self.codec_name} stream decodes to more than the {len(self.out)} bytes that "
            f"its metadata promises: the body or the metadata is not what was stored"
        )

    def finish(self, *, ended: bool) -> None:
        """Check that the stream had its end and ``out`` is full."""
        if not ended:
            raise IntegrityError(
                f"the {self.codec_name} stream is truncated: it stops after {self.position} of "
                f"{len(self.out)} decoded bytes"
            )
        if self.missing:
            raise IntegrityError(
                f"the {self.codec_name} stream decodes to {self.position} bytes, and "
                f"{len(self.out)} were expected"
            )


def _slices(data: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(data), BLOCK_BYTES):
        yield data[start : start + BLOCK_BYTES]


def pieces(chunk: Buffer, size: int) -> Iterator[memoryview]:
    """Yield a chunk in pieces of at most ``size`` bytes, without copying."""
    view = bytes_view(chunk)
    for start in range(0, len(view), size):
        yield view[start : start + size]
