"""File-like reading of one object, for ``download_stream``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cottoncandy.core.buffers import Buffer, bytes_view
from cottoncandy.exceptions import IntegrityError

if TYPE_CHECKING:
    from cottoncandy.backends.base import ObjectReader

__all__ = ["CloudStream"]


class CloudStream(io.BufferedReader):
    """A binary file object that downloads as it is read.

    It works wherever Python expects an open binary file, as in ``pandas.read_csv(stream)``. Only
    the bytes you read are downloaded, plus a small read-ahead. Use it in a ``with`` statement, or
    call ``close()``, if you do not read it to its end.

    Parameters
    ----------
    reader : ObjectReader
        The opened object.

    Attributes
    ----------
    metadata : dict of str to str
        User metadata of the object, names in lower case.

    Notes
    -----
    After a failed read, every further read raises the same error until you ``seek()``, because the
    position is unknown.
    """

    def __init__(self, reader: ObjectReader) -> None:
        super().__init__(_RawStream(reader))
        self.metadata = dict(reader.metadata)
        self._reader = reader

    @property
    def content(self) -> io.BufferedReader:
        """The stream itself: the file object of cottoncandy 0.4.0."""
        return self

    @property
    def size(self) -> int:
        """Size of the object in bytes."""
        return self._reader.size

    def __repr__(self) -> str:
        return f"<CloudStream '{self._reader.info.key}' ({self.size} bytes)>"


class _RawStream(io.RawIOBase):
    """Unbuffered reads at a position, from the chunks of an object reader."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._position = 0
        self._chunks: Iterator[Buffer] | None = None
        self._rest = memoryview(b"")
        self._error: BaseException | None = None

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
        self._error = None
        if target != self._position:
            self._drop()
            self._position = target
        return target

    def readinto(self, buffer: object) -> int:
        out = bytes_view(buffer)
        with self._sticky():
            if not len(out) or self._position >= self._reader.size:
                return 0
            if not len(self._rest):
                self._rest = self._next_chunk()
        count = min(len(out), len(self._rest))
        out[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count

    def readall(self) -> bytes:
        with self._sticky():
            self._drop()
            start = self._position
            data = bytes(self._reader.read(start)) if start < self._reader.size else b""
        self._position += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            self._drop()
            self._reader.close()
        super().close()

    @contextmanager
    def _sticky(self) -> Iterator[None]:
        """Raise the error of an earlier read again: BufferedReader has dropped what preceded it."""
        if self._error is not None:
            raise self._error
        try:
            yield
        except BaseException as error:
            self._drop()
            self._error = error
            raise

    def _next_chunk(self) -> memoryview:
        if self._chunks is None:
            self._chunks = iter(self._reader.chunks(self._position))
        for chunk in self._chunks:
            if len(view := bytes_view(chunk)):
                return view
        raise IntegrityError(
            f"object '{self._reader.info.key}' ended after {self._position} bytes, "
            f"expected {self._reader.size}"
        )

    def _drop(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
        self._chunks = None
        self._rest = memoryview(b"")
