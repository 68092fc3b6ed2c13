"""Objects as files for writing, which appear whole on close; ``open_file`` for both directions."""

from __future__ import annotations

import codecs
import io
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Semaphore
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from cottoncandy.backends.base import IfAbsent
from cottoncandy.config.options import DEFAULT_ACL, DEFAULT_THREADS
from cottoncandy.core.buffers import Body, Buffer, MiB, bytes_view
from cottoncandy.core.threads import after_fork, in_background, is_worker
from cottoncandy.exceptions import InvalidArgumentError, UnsupportedOperationError
from cottoncandy.stores.checks import check_bytes
from cottoncandy.stores.streams import BLOCK_BYTES, CloudStream

if TYPE_CHECKING:
    from cottoncandy.stores.store import Store

logger = logging.getLogger(__name__)

_WRITE_BYTES = 8 * MiB  # a smaller file is stored with one request, on close
_QUEUED = 2  # blocks that wait for being sent
_GRACE_S = 5.0

_Blocks: TypeAlias = "SimpleQueue[bytes | BaseException | None]"


class _DiscardedError(Exception):
    """Ends an upload whose file was not closed cleanly."""


class _DiscardableFile(io.IOBase):
    """A file for writing, which discards what was written if its block raises an exception."""

    def writable(self) -> bool:
        return True

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
    Up to 8 MiB are stored with one request, on ``close()``. More are sent while they are written.
    The file is also discarded if ``close()`` is called in a ``finally`` block, while an exception
    is handled that was raised after the file was opened.
    """

    def __init__(self, put: Callable[[Body], Any], name: str) -> None:
        self.name = name
        self._put = put
        self._pending = bytearray()
        self._written = 0
        # Also used by __del__, which Python may run in any thread, also in one that holds the lock
        # of a Queue.
        self._queue: _Blocks = SimpleQueue()
        self._room = Semaphore(_QUEUED)
        self._upload: Future[Any] | None = None
        self._discarded = self._forked = self._sought = self._asked = False
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

    def tell(self) -> int:
        self._checkClosed()
        return self._written

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> NoReturn:
        self._checkClosed()
        self._asked = True  # zipfile does that, and then writes without seeking
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
        if self._upload is None or sys.is_finalizing():  # at the end, no other thread runs
            return
        with suppress(Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put(_DiscardedError())
        if not is_worker():  # which may be what the upload waits for
            wait([self._upload], _GRACE_S)

    def close(self) -> None:
        if self.closed:
            return
        handled = sys.exception()
        try:
            self._check_process()
            sought = self._sought or (self._asked and not self._written)
            if sought and not self._discarded and handled is None:
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
            # Without a reference to the file, which is discarded when nothing else refers to it.
            body = Body(partial(_blocks, self._queue, self._room), replayable=False)
            self._upload = in_background(self._put, body)
        while not self._upload.done():
            if self._room.acquire(timeout=1):  # otherwise, look whether the upload has failed
                self._queue.put(block)
                return
        self._upload.result()


def _blocks(queue: _Blocks, room: Semaphore) -> Iterator[Buffer]:
    while (block := queue.get()) is not None:
        if isinstance(block, BaseException):
            raise block
        room.release()
        yield block


class _TextWriter(_DiscardableFile, io.TextIOWrapper):
    """A text layer whose file is discarded after an exception and when it is deleted."""

    buffer: Any  # a CloudWriter or a _LayeredWriter

    def __init__(self, file: Any, encoding: str, errors: str | None, newline: str | None) -> None:
        super().__init__(file, encoding, errors, newline)
        if codecs.lookup(self.encoding).name in ("utf-16", "utf-32"):
            file.write("".encode(self.encoding))  # the mark, which Python omits without seek()

    def discard(self) -> None:
        self.buffer.discard()


class _LayeredWriter(_DiscardableFile, io.BufferedIOBase):
    """A layer, such as a compressing one, that does not close its file, and the file."""

    def __init__(self, layer: Any, file: CloudWriter) -> None:
        self._layer, self._file = layer, file

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
    """Open an object as a file; see :meth:`cottoncandy.interfaces.DefaultInterface.open`.

    ``layer`` returns a file that compresses what is written to it into another one.
    """
    kind = mode.replace("t", "", 1) if isinstance(mode, str) and "b" not in mode else mode
    kind = kind[::-1] if kind in ("br", "bw", "bx") else kind  # as the builtin open
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
        size = size or BLOCK_BYTES
        stream = CloudStream(store.open(name, threads, prefetch=(0, size)), size)
        return io.TextIOWrapper(stream, *text_options) if text else stream
    store.require_writable()
    key = store.key(name)
    condition = IfAbsent("open it with mode 'w' to replace it") if kind[0] == "x" else None
    if condition and store.has_object(key):
        condition.check("", f"object '{key}' in bucket '{store.bucket}'")

    put = partial(
        store.put,
        key,
        metadata=metadata,
        acl=acl,
        content_type=content_type,
        condition=condition,
        threads=threads,
    )
    file = CloudWriter(put, key)
    writer: Any = file if layer is None else _LayeredWriter(layer(file), file)
    return _TextWriter(writer, *text_options) if text else writer
