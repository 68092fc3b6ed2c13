"""Objects as file objects: readers that fetch what is read, writers that appear whole on close."""

from __future__ import annotations

import codecs
import io
import logging
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any, NoReturn

from cottoncandy.backends.base import IfAbsent
from cottoncandy.config.options import DEFAULT_ACL, DEFAULT_THREADS
from cottoncandy.core.buffers import Body, Buffer, MiB, bytes_view
from cottoncandy.core.threads import after_fork, in_background
from cottoncandy.exceptions import (
    IntegrityError,
    InvalidArgumentError,
    UnsupportedOperationError,
)
from cottoncandy.stores.checks import check_bytes

if TYPE_CHECKING:
    from cottoncandy.backends.base import ObjectReader
    from cottoncandy.stores.store import Store

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 64 * 1024
_CACHE_BYTES = 12 * MiB
_DENSE_BYTES = 4 * MiB  # at most this is downloaded around a block, if much of it was read
_DENSE = 8  # ... which is more than one block of that many
_STREAM_BYTES = 8 * MiB  # a reader that gets this far in a row continues with look-ahead
_DIRECT_BYTES = MiB  # reads of this size go straight into the caller's buffer
_WRITE_BYTES = 8 * MiB  # a smaller file is stored with one request, on close
_GRACE_S = 5.0


class CloudStream(io.BufferedReader):
    """A binary file object that downloads as it is read.

    It works wherever Python expects an open binary file, as in ``pandas.read_csv(stream)`` or
    ``h5py.File(stream)``. Only the blocks that are read are downloaded. Sequential reads are
    requested ahead: the first one by one block, each later one by twice as many. Use it in a
    ``with`` statement, or call ``close()``.

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
        super().__init__(_RawStream(reader, block_size or _BLOCK_BYTES))
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
        self._next = -1  # the block after the last download
        self._ahead = 1  # number of blocks of the last download
        self._chunks: Iterator[Buffer] | None = None
        self._chunk = memoryview(b"")
        self._chunk_at = 0
        self._error: BaseException | None = None

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
            copied = block if len(block) == len(data) else memoryview(bytes(block))
            self._blocks[(start + offset) // size] = copied
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


class _DiscardedError(Exception):
    """Ends an upload whose file was not closed cleanly."""


class _DiscardableFile(io.IOBase):
    """A file that discards what was written if its ``with`` block raises an exception."""

    def discard(self) -> None:
        """Store nothing, and forget what was written."""
        raise NotImplementedError

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self.discard()
        self.close()


class CloudWriter(_DiscardableFile, io.BufferedIOBase):
    """A binary file object that uploads as it is written.

    The object appears, whole, when the file is closed. It does not appear at all after an exception
    in the ``with`` block, if the file is deleted without being closed, or at the end of the
    program; an object that it would have replaced stays.

    Parameters
    ----------
    put : callable
        Stores a :class:`~cottoncandy.core.buffers.Body`.
    name : str
        Name of the object.

    Notes
    -----
    Up to 8 MiB are stored with one request, on ``close()``. More are sent while they are written. A
    ``close()`` while an exception that was raised after the file was opened is being handled
    (``finally: file.close()``) discards the file, too.
    """

    def __init__(self, put: Callable[[Body], Any], name: str) -> None:
        self.name = name
        self._put = put
        self._pending = bytearray()
        self._written = 0
        self._queue: Queue[bytes | BaseException | None] = Queue(2)
        self._upload: Future[Any] | None = None
        self._discarded = self._forked = self._sought = False
        self._handled = sys.exception()
        after_fork(self._disown)

    def _disown(self) -> None:
        """Discard the copy in a forked child: the thread that uploads is the parent's."""
        self._discarded = self._forked = True
        self._upload = None

    def _check_process(self) -> None:
        if self._forked:
            raise UnsupportedOperationError(
                f"'{self.name}' was opened by the parent process, which stores it; open another "
                f"file in this process"
            )

    def __repr__(self) -> str:
        return f"<CloudWriter {self.name!r} ({self._written} bytes written)>"

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        self._checkClosed()
        return self._written

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> NoReturn:
        self._checkClosed()
        # soundfile ignores the error; what it writes then is in the wrong place.
        self._sought |= offset != (self._written if whence == io.SEEK_SET else 0)
        raise self._no_seeking()

    def _no_seeking(self) -> UnsupportedOperationError:
        return UnsupportedOperationError(
            f"'{self.name}' is sent while it is written, so a program cannot go back in it; let it "
            f"write a file on the disk, and use upload_from_file"
        )

    def write(self, data: Any) -> int:
        self._checkClosed()
        self._check_process()
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'; open with mode 'w'")
        view = bytes_view(data)
        if not self._discarded:
            self._pending += view
            while len(self._pending) >= _WRITE_BYTES:
                block = bytes(self._pending[:_WRITE_BYTES])
                del self._pending[:_WRITE_BYTES]
                self._send(block)
            self._written += len(view)
        return len(view)

    def discard(self) -> None:
        self._discarded = True
        self._pending.clear()
        if self._upload is None:
            return
        while not self._upload.done():
            with suppress(Full):
                self._queue.put_nowait(_DiscardedError())
                break
            with suppress(Empty):
                self._queue.get_nowait()
        wait([self._upload], _GRACE_S)

    def close(self) -> None:
        if self.closed:
            return
        handled = sys.exception()
        try:
            self._check_process()
            if self._sought and not self._discarded and handled is None:
                raise self._no_seeking()
            if not self._discarded and handled is not None and handled is not self._handled:
                logger.warning("'%s' was not stored, because an exception was raised", self.name)
                self._discarded = True
            if self._discarded:
                self.discard()
            elif self._upload is None:
                self._put(Body.of(bytes(self._pending)))
            else:
                self._send(bytes(self._pending))
                self._send(None)
                self._upload.result()
        except BaseException:
            self.discard()
            raise
        finally:
            super().close()

    def __del__(self) -> None:  # that of IOBase calls close()
        if not self.closed:
            self._dealloc_warn(self)
            with suppress(Exception):
                self.close()

    def _dealloc_warn(self, source: object) -> None:
        """Discard the file; called by a text or buffer layer that is deleted without a close."""
        if self._forked:
            return
        logger.warning("'%s' was not stored, because the file was not closed", self.name)
        self.discard()

    def _send(self, block: bytes | None) -> None:
        if self._upload is None:
            body = Body(self._blocks, replayable=False)
            self._upload = in_background(self._put, body)
        while not self._upload.done():
            with suppress(Full):
                self._queue.put(block, timeout=1)  # then look whether the upload has failed
                return
        self._upload.result()

    def _blocks(self) -> Iterator[Buffer]:
        while (block := self._queue.get()) is not None:
            if isinstance(block, BaseException):
                raise block
            yield block


class _TextWriter(_DiscardableFile, io.TextIOWrapper):
    """A text layer whose file is discarded after an exception and when it is deleted."""

    buffer: Any  # a CloudWriter or a _LayeredWriter

    def __init__(
        self,
        file: Any,
        encoding: str,
        errors: str | None,
        newline: str | None,
    ) -> None:
        super().__init__(file, encoding, errors, newline)
        if codecs.lookup(self.encoding).name in ("utf-16", "utf-32"):
            file.write("".encode(self.encoding))  # the mark, which Python omits without seek()

    def discard(self) -> None:
        self.buffer.discard()


class _LayeredWriter(_DiscardableFile, io.BufferedIOBase):
    """A layer, such as a compressing one, that does not close its file, and the file."""

    def __init__(self, layer: Any, file: CloudWriter) -> None:
        self._layer, self._file = layer, file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._checkClosed()
        written: int = self._layer.write(data)
        return written

    def close(self) -> None:
        if not self.closed:
            super().close()
            with self._file:
                self._layer.close()

    def discard(self) -> None:
        self._file.discard()

    def __del__(self) -> None:
        """Do nothing: that of IOBase calls close()."""

    def _dealloc_warn(self, source: object) -> None:
        self._file._dealloc_warn(source)


_MODES = "'rb', 'r', 'wb', 'w', 'xb' or 'x'"


def open_file(
    store: Store,
    name: str,
    mode: str = "rb",
    *,
    block_size: int | str | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    acl: str = DEFAULT_ACL,
    content_type: str | None = None,
    threads: int = DEFAULT_THREADS,
    layer: Callable[[CloudWriter], Any] | None = None,
) -> CloudStream | CloudWriter | io.TextIOWrapper:
    """Open an object as a file; see :meth:`cottoncandy.interfaces.ObjectMethods.open`.

    ``layer`` returns a file that compresses what is written to it into another one.
    """
    kind = mode.replace("t", "", 1) if isinstance(mode, str) and "b" not in mode else mode
    text = kind in ("r", "w", "x")
    if not text and kind not in ("rb", "wb", "xb"):
        raise InvalidArgumentError(
            f"mode must be {_MODES}, got {mode!r}: an object is written whole and replaced whole, "
            f"so it cannot be appended to or changed in place"
        )
    if not text and (encoding, errors, newline) != (None, None, None):
        raise InvalidArgumentError(
            f"encoding, errors and newline are for text: use mode {kind[0]!r} or omit them"
        )
    size = None if block_size is None else check_bytes(block_size, "block_size")
    text_options = encoding or "utf-8", errors, newline
    if kind.startswith("r"):
        size = size or _BLOCK_BYTES
        stream = CloudStream(store.open(name, threads, prefetch=(0, size)), size)
        return io.TextIOWrapper(stream, *text_options) if text else stream
    store.require_writable()
    key = store.key(name)
    condition = IfAbsent() if kind.startswith("x") else None
    if condition and store.has_object(key):
        condition.check("", f"object '{key}' in bucket '{store.bucket}'")

    def put(body: Body) -> None:
        store.put(
            key,
            body,
            metadata=metadata,
            acl=acl,
            content_type=content_type,
            condition=condition,
            threads=threads,
        )

    file = CloudWriter(put, key)
    writer: Any = file if layer is None else _LayeredWriter(layer(file), file)
    return _TextWriter(writer, *text_options) if text else writer
