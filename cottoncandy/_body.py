"""What an upload sends: buffers one after the other, and what is known of their size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cottoncandy._buffers import Buffer, MiB, bytes_view
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError, UnsupportedDtypeError

__all__ = ["Body"]

_READ_BYTES = 4 * MiB


class Body:
    """The bytes of one upload.

    Iterating yields the buffers in order. A body that is ``replayable`` can be iterated again from
    the start, which lets a backend try a request a second time.

    Parameters
    ----------
    blocks : callable
        Takes nothing, returns an iterator of buffers.
    size : int, optional
        Size in bytes; None where only the end tells (compression, pipes).
    max_size : int, optional
        Upper bound of the size in bytes, where ``size`` is not known but bounded.
    buffer : memoryview, optional
        All the bytes, where they lie side by side in memory; backends may slice it.
    replayable : bool, default True
        Whether ``blocks`` may be called more than once.
    """

    __slots__ = ("_blocks", "_spent", "buffer", "max_size", "replayable", "size")

    def __init__(
        self,
        blocks: Callable[[], Iterator[Buffer]],
        *,
        size: int | None = None,
        max_size: int | None = None,
        buffer: memoryview | None = None,
        replayable: bool = True,
    ) -> None:
        self._blocks = blocks
        self._spent = False
        self.size = size
        self.max_size = size if max_size is None else max_size
        self.buffer = buffer
        self.replayable = replayable

    def __iter__(self) -> Iterator[Buffer]:
        if self._spent and not self.replayable:
            raise RuntimeError("a one-shot body was read twice")
        self._spent = True
        return self._blocks()

    def read(self) -> Buffer:
        """Return all the bytes at once; a copy unless they lie side by side already.

        Raises
        ------
        IntegrityError
            If they are more or fewer than ``size``.
        """
        if self.buffer is not None:
            return self.buffer
        if self.size is None:
            return b"".join(self)
        whole, position = memoryview(bytearray(self.size)), 0
        for block in self:
            view = bytes_view(block)
            end = position + len(view)
            if end <= self.size:
                whole[position:end] = view
            position = end
        if position != self.size:
            raise IntegrityError(
                f"the body was to have {self.size} bytes and had {position}; nothing was stored"
            )
        return whole

    @classmethod
    def of(cls, data: Any) -> Body:
        """Make a body of what a user passes.

        Parameters
        ----------
        data : bytes-like, file object or iterable of bytes-like
            A buffer must be C-contiguous. A file is read from its current position.

        Raises
        ------
        InvalidArgumentError
            If ``data`` is text or anything else that has no bytes.
        """
        if isinstance(data, Body):
            return data
        if isinstance(data, str):
            raise InvalidArgumentError(
                "the body of an object is bytes, and a str was given: pass data.encode() instead"
            )
        if hasattr(data, "read"):
            return cls._of_file(data)
        if getattr(getattr(data, "dtype", None), "hasobject", False):
            raise UnsupportedDtypeError(
                f"an array of dtype {data.dtype} contains pointers to Python objects, not bytes: "
                f"use upload_pickle; nothing was uploaded"
            )
        try:
            view = bytes_view(data)
        except (TypeError, BufferError, ValueError):
            if isinstance(data, Iterable):
                blocks = iter(data)
                return cls(lambda: _checked(blocks), replayable=False)
            raise InvalidArgumentError(
                f"the body of an object is bytes-like, a binary file or an iterable of bytes, "
                f"and a {type(data).__name__} was given"
            ) from None
        return cls(lambda: iter((view,)), size=len(view), buffer=view)

    @classmethod
    def _of_file(cls, file: Any) -> Body:
        start = file.tell() if hasattr(file, "seekable") and file.seekable() else None
        size = None
        if start is not None:
            size = max(file.seek(0, 2) - start, 0)
            file.seek(start)

        def blocks() -> Iterator[Buffer]:
            if start is not None:
                file.seek(start)
            while (block := file.read(_READ_BYTES)) is not None and len(block):
                if isinstance(block, str):
                    raise InvalidArgumentError("the file was opened as text; open it with 'rb'")
                yield block
            if block is None:  # more may follow, unlike after b""
                raise InvalidArgumentError(
                    "the file is non-blocking and has no data yet; call "
                    "os.set_blocking(file.fileno(), True) first"
                )

        return cls(blocks, size=size, replayable=start is not None)


def _checked(blocks: Iterator[Any]) -> Iterator[Buffer]:
    for block in blocks:
        try:
            yield bytes_view(block)
        except TypeError:
            raise InvalidArgumentError(
                f"a body made of pieces needs bytes-like pieces, and one is a "
                f"{type(block).__name__}"
            ) from None
