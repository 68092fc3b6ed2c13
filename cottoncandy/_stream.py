"""File-like reading of one object, for ``download_stream``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cottoncandy._buffers import Buffer, bytes_view

if TYPE_CHECKING:
    from cottoncandy.backends.base import ObjectReader

__all__ = ["CloudStream"]


class CloudStream:
    """An object being downloaded.

    Use it in a ``with`` statement, or call :meth:`close`, if you do not read it to its end.

    Parameters
    ----------
    reader : ObjectReader
        The opened object.

    Attributes
    ----------
    content : io.BufferedReader
        Binary file object with ``read``, ``readinto`` and ``seek``; nothing but the bytes that are
        read travels, plus a little ahead.
    metadata : dict of str to str
        User metadata of the object, names in lower case.
    """

    def __init__(self, reader: ObjectReader) -> None:
        self.content = io.BufferedReader(_RawStream(reader))
        self.metadata = dict(reader.metadata)
        self._reader = reader

    @property
    def size(self) -> int:
        """Size of the object in bytes."""
        return self._reader.size

    def close(self) -> None:
        """Stop downloading."""
        self.content.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<CloudStream '{self._reader.info.key}' ({self.size} bytes)>"


class _RawStream(io.RawIOBase):
    """What :class:`io.BufferedReader` needs, over an object reader."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._position = 0
        self._chunks: Iterator[Buffer] | None = None
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._reader.size}
        target = base[whence] + offset
        if target < 0:
            raise ValueError(f"cannot seek to {target}, which is before the start of the object")
        if target != self._position:
            self._drop()
            self._position = target
        return target

    def readinto(self, buffer: object) -> int:
        out = bytes_view(buffer)
        if not len(out) or self._position >= self._reader.size:
            return 0
        while not len(self._rest):
            if self._chunks is None:
                self._chunks = iter(self._reader.chunks(self._position))
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = bytes_view(chunk)
        count = min(len(out), len(self._rest))
        out[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count

    def readall(self) -> bytes:
        start = self._position
        self._drop()
        self._position = max(self._reader.size, start)
        return self._reader.read(start) if start < self._reader.size else b""

    def close(self) -> None:
        if not self.closed:
            self._drop()
            self._reader.close()
        super().close()

    def _drop(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
        self._chunks = None
        self._rest = memoryview(b"")
