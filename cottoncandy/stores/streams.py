"""Objects as file objects for reading: what is read is downloaded, in blocks or ahead."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cottoncandy.core.buffers import Buffer, MiB, bytes_view
from cottoncandy.core.threads import after_fork
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError

if TYPE_CHECKING:
    from cottoncandy.backends.base import ObjectReader

#: Size of the smallest download, by default.
BLOCK_BYTES = 64 * 1024

_CACHE_BYTES = 24 * MiB
_WHOLE_BYTES = 40 * MiB  # a file of up to this size is downloaded whole
_JUMPS = 3  # ... after this many downloads here and there: others download it at once
_DENSE_BYTES = 4 * MiB  # at most this is downloaded around a block, if much of it was read
_DENSE = 8  # ... which is more than one block of that many
_STREAM_BYTES = 8 * MiB  # a reader that gets this far in a row continues with look-ahead
_DIRECT_BYTES = MiB  # reads of this size go straight into the caller's buffer


class CloudStream(io.BufferedReader):
    """A binary file object that downloads as it is read.

    It works wherever Python expects an open binary file, as in ``pandas.read_csv(stream)`` or
    ``h5py.File(stream)``. Only the blocks that are read are downloaded. Sequential reads are
    requested ahead: first one block, then twice as many each time. A file of up to 40 MiB is
    downloaded whole after 3 downloads here and there. Use it in a ``with`` statement, or call
    ``close()``.

    Parameters
    ----------
    reader : ObjectReader
        The opened object.
    block_size : int, optional
        Size of the smallest download, in bytes. Default: 64 KiB.

    Attributes
    ----------
    metadata : dict of str to str
        User metadata of the object, names in lower case.

    Notes
    -----
    It reads one version of the object: if the object is replaced, reading raises
    ``ObjectChangedError``, or continues with the old version on stores that keep it. At most 64 MiB
    are held in memory. After a failed read, every further read raises the same error until you
    ``seek()``, because the position is unknown.
    """

    def __init__(self, reader: ObjectReader, block_size: int | None = None) -> None:
        super().__init__(_RawStream(reader, block_size or BLOCK_BYTES))
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

    @property
    def name(self) -> str:
        """Name of the object."""
        return self._reader.info.key

    def __repr__(self) -> str:
        return f"<CloudStream {self._reader.info.key!r} ({self.size} bytes)>"


class _RawStream(io.RawIOBase):
    """Unbuffered reads at a position: from cached blocks, from a stream, or straight into place."""

    def __init__(self, reader: ObjectReader, block_bytes: int) -> None:
        self._reader = reader
        self._block_bytes = block_bytes
        self._position = 0
        self._blocks: OrderedDict[int, memoryview] = OrderedDict()
        self._touched: set[int] = set()  # cached blocks that were read
        self._used = self._wasted = 0  # blocks that were read, and removed without being read
        self._jumps = 0
        self._next = -1  # the block after the last download
        self._ahead = 1  # number of blocks of the last download
        self._chunks: Iterator[Buffer] | None = None
        self._chunk = memoryview(b"")
        self._chunk_at = 0
        self._error: BaseException | None = None
        after_fork(self._leave_stream)

    def _leave_stream(self) -> None:
        """Read ahead anew in a forked child: the threads that do it are the parent's."""
        self._chunks = None
        self._chunk = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._checkClosed()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._checkClosed()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._reader.size}
        if whence not in base:
            raise InvalidArgumentError(f"whence must be 0, 1 or 2, got {whence!r}")
        target = base[whence] + offset
        if target < 0:
            raise InvalidArgumentError(
                f"cannot seek to {target}, which is before the start of the object"
            )
        self._error = None
        self._position = target
        return target

    def readinto(self, buffer: object) -> int:
        self._checkClosed()
        out = bytes_view(buffer)[: max(self._reader.size - self._position, 0)]
        with self._sticky():
            if not len(out):
                return 0
            if len(out) >= _DIRECT_BYTES and not self._is_cached(self._position):
                self._reader.read_into(out, self._position)
                count = len(out)
            else:
                found = self._bytes_at(self._position)
                count = min(len(out), len(found))
                out[:count] = found[:count]
        self._position += count
        return count

    def readall(self) -> bytes:
        self._checkClosed()
        with self._sticky():
            start = self._position
            data = self._reader.read(start) if start < self._reader.size else b""
        self._position += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            self._drop()
            self._blocks.clear()
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

    def _is_cached(self, position: int) -> bool:
        if position // self._block_bytes in self._blocks:
            return True
        return self._chunks is not None and 0 <= position - self._chunk_at <= len(self._chunk)

    def _bytes_at(self, position: int) -> memoryview:
        """Return some bytes that begin at a position before the end."""
        number, offset = divmod(position, self._block_bytes)
        if not self._is_cached(position):
            self._fetch(number, position)
        if (block := self._blocks.get(number)) is None:
            return self._from_stream(position)
        if number not in self._touched:
            self._touched.add(number)
            self._used += 1
        self._blocks.move_to_end(number)
        return block[offset:]

    def _fetch(self, number: int, position: int) -> None:
        """Download a block, or start a stream at a position in it."""
        self._jumps += number != self._next
        if self._jumps > _JUMPS and self._reader.size <= _WHOLE_BYTES:
            self._drop()
            self._blocks.clear()
            self._download(0, self._reader.size)
            return
        if number != self._next and (dense := self._dense(number)):
            self._download(dense.start * self._block_bytes, dense.stop * self._block_bytes)
            self._ahead = 1
            return
        self._ahead = 2 * self._ahead if number == self._next else 1
        start = number * self._block_bytes
        stop = start + self._ahead * self._block_bytes
        if not start:
            there = self._reader.prefetched
            if there < self._reader.size:
                there -= there % self._block_bytes  # blocks are whole
            stop = max(stop, there)
        if stop - start >= _STREAM_BYTES and start:
            self._drop()
            self._make_room(_STREAM_BYTES)
            self._chunks, self._chunk_at = iter(self._reader.chunks(position)), position
        else:
            self._download(start, stop)

    def _dense(self, number: int) -> range | None:
        """Return the missing blocks around one, if others near it were read; None otherwise.

        None as well if most of what was downloaded is not read: a file whose samples are shuffled.
        """
        if self._wasted > self._used:
            return None
        count = _DENSE_BYTES // self._block_bytes
        while count >= _DENSE:
            near = range(number // count * count, (number // count + 1) * count)
            read = 1 + sum(each in self._touched for each in near)
            if read * _DENSE > count:
                first, stop = number, number + 1
                while first > near.start and first - 1 not in self._blocks:
                    first -= 1
                while stop < near.stop and stop not in self._blocks:
                    stop += 1
                return range(first, stop)
            count //= 2
        return None

    def _download(self, start: int, stop: int) -> None:
        """Download whole blocks into the cache with one request."""
        size = self._block_bytes
        self._make_room(stop - start)
        data = memoryview(self._reader.read(start, min(stop, self._reader.size)))
        for offset in range(0, len(data), size):
            block = data[offset : offset + size]
            # A view on more than a block would keep the memory of the others when they are removed.
            alone = len(block) == len(data) or len(data) == self._reader.size
            self._blocks[(start + offset) // size] = block if alone else memoryview(bytes(block))
        self._next = -(-stop // size)
        self._ahead = self._next - start // size

    def _make_room(self, nbytes: int) -> None:
        """Remove the blocks that were not read for longest, to make room for that many bytes."""
        while len(self._blocks) * self._block_bytes > max(_CACHE_BYTES - nbytes, 0):
            oldest, _ = self._blocks.popitem(last=False)
            self._wasted += oldest not in self._touched
            self._touched.discard(oldest)

    def _from_stream(self, position: int) -> memoryview:
        while position - self._chunk_at >= len(self._chunk):
            self._chunk_at += len(self._chunk)
            chunk = next(self._chunks, None)  # type: ignore[arg-type]  # the caller checked
            if chunk is None:
                raise IntegrityError(
                    f"object '{self._reader.info.key}' ended after {position} bytes, "
                    f"expected {self._reader.size}"
                )
            self._chunk = bytes_view(chunk)
        return self._chunk[position - self._chunk_at :]

    def _drop(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
        self._chunks = None
        self._chunk = memoryview(b"")
