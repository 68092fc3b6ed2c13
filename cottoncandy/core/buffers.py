"""Buffers, the body of an upload, and checksums."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from itertools import repeat
from typing import Any, TypeAlias

from isal import isal_zlib
from isal.isal_zlib import crc32_combine

from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import IntegrityError, InvalidArgumentError, UnsupportedDtypeError

MiB = 2**20

#: How much of a body to pass on at once: it stays in the processor's cache.
PIECE_BYTES = MiB // 4

# collections.abc.Buffer needs Python 3.12.
Buffer: TypeAlias = bytes | bytearray | memoryview


def bytes_view(data: object) -> memoryview:
    """Return a flat view of unsigned bytes on a C-contiguous buffer; nothing is copied.

    Pointers to Python objects raise UnsupportedDtypeError.
    """
    view = memoryview(data)  # type: ignore[arg-type]  # TypeError for what is no buffer
    dtype = getattr(view.obj, "dtype", None) if "O" in view.format else None
    if getattr(dtype, "hasobject", False):
        raise UnsupportedDtypeError(
            f"an array of dtype {dtype} contains pointers to Python objects, not bytes: "
            f"use upload_pickle; nothing was uploaded"
        )
    if view.nbytes == 0:
        return memoryview(b"")  # cast() refuses a shape with a zero in it
    return view.cast("B")


def new_buffer(size: int) -> memoryview:
    """Return writable memory, whose contents are arbitrary."""
    if size < MiB:
        return memoryview(bytearray(size))
    import numpy as np  # not for small files: it takes longer to load than they do

    # It comes in large pages, which takes a quarter of the time.
    return np.empty(size, np.uint8).data


_PAGE_BYTES = 2 * MiB  # a large page of x86 and ARM


def new_bytes(size: int) -> tuple[bytes, memoryview]:
    """Return bytes whose contents are arbitrary, and a view to write them before they are used.

    Linux gives them large pages, as it does NumPy's arrays, which takes a quarter of the time.
    BytesIO would also fill them with zeros first.
    """
    import ctypes

    make = ctypes.pythonapi["PyBytes_FromStringAndSize"]
    address_of = ctypes.pythonapi["PyBytes_AsString"]
    make.restype, address_of.restype = ctypes.py_object, ctypes.c_void_p
    data: bytes = make(None, ctypes.c_ssize_t(size))
    address: int = address_of(ctypes.py_object(data))
    if sys.platform == "linux":
        start = -(-address // _PAGE_BYTES) * _PAGE_BYTES
        length = max(address + size - start, 0) // _PAGE_BYTES * _PAGE_BYTES
        advise = ctypes.CDLL(None)["madvise"]
        advise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
    memory: Any = (ctypes.c_char * size).from_address(address)
    memory.owner = data  # a thread that was given up may write after the caller has gone
    return data, memoryview(memory).cast("B")


def regroup(buffers: Iterable[Buffer], block_bytes: int | Iterable[int]) -> Iterator[memoryview]:
    """Yield blocks of exactly ``block_bytes`` (the last may be shorter, none is empty).

    If there are several sizes, a block of each is yielded, then of the last one again. A block
    within one buffer is a view on it. Smaller pieces are copied into the block, from the second one
    on, so they do not accumulate.
    """
    sizes = repeat(block_bytes) if isinstance(block_bytes, int) else iter(block_bytes)
    size, filled = next(sizes), 0
    block = memoryview(b"")
    for buffer in buffers:
        view = bytes_view(buffer)
        while len(view):
            take, view = view[: size - filled], view[size - filled :]
            if filled:
                if len(block) < size:
                    whole = new_buffer(size)  # a bytearray is copied to grow
                    whole[:filled], block = block, whole
                block[filled : filled + len(take)] = take
            else:
                block = take
            filled += len(take)
            if filled < size:
                break
            yield block
            size, filled = next(sizes, size), 0
    if filled:
        yield block[:filled]


_READ_BYTES = 4 * MiB
_STEP_BYTES = 32 * MiB  # how often progress is reported


@dataclass(eq=False, repr=False, slots=True)
class Body:
    """The bytes of one upload.

    Iterating yields the buffers in order, and raises IntegrityError if they are more or fewer bytes
    than ``size``. A body that is ``replayable`` can be iterated again from the start, which lets a
    backend try a request a second time.

    Parameters
    ----------
    blocks : callable
        Takes nothing, returns an iterator of buffers.
    size : int, optional
        Size in bytes; None if it is known only at the end (compression, pipes).
    max_size : int, optional
        Upper bound of the size in bytes, where ``size`` is not known but bounded.
    buffer : memoryview, optional
        All the bytes, if they are contiguous in memory; backends may slice it.
    owned : bool, default False
        Whether nothing changes ``buffer`` while it is sent.
    checksum : int, optional
        CRC-32 of the bytes, if something may change them meanwhile: iterating raises IntegrityError
        before the last block if they did. A backend that slices ``buffer`` calls :meth:`verify`.
    replayable : bool, default True
        Whether ``blocks`` may be called more than once.

    Attributes
    ----------
    progress : callable, optional
        Takes a number of bytes that were sent. A backend that slices ``buffer`` calls it.
    """

    blocks: Callable[[], Iterator[Buffer]]
    _: KW_ONLY
    size: int | None = None
    max_size: int | None = None
    buffer: memoryview | None = None
    owned: bool = False
    checksum: int | None = None
    replayable: bool = True
    progress: Callable[[int], object] | None = field(default=None, init=False)
    _spent: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.max_size is None:
            self.max_size = self.size

    def __iter__(self) -> Iterator[Buffer]:
        if self._spent and not self.replayable:
            raise RuntimeError("a one-shot body was read twice")
        self._spent = True
        return self._whole(self.blocks())

    def _whole(self, blocks: Iterator[Buffer]) -> Iterator[Buffer]:
        """Yield the blocks; raise if their size or checksum is not the expected one."""
        total = checksum = 0
        for block in blocks:
            view = bytes_view(block)
            total += len(view)
            if self.size is not None and total > self.size:
                raise self._wrong_size(f"at least {total}")
            if self.checksum is not None:
                checksum = isal_zlib.crc32(view, checksum)
                if total == self.size:
                    self.verify(checksum)
            if self.progress is None:
                yield block
                continue
            for position in range(0, len(view), _STEP_BYTES):
                piece = view[position : position + _STEP_BYTES]
                yield piece
                self.progress(len(piece))
        if self.size is not None and total < self.size:
            raise self._wrong_size(total)

    def _wrong_size(self, found: object) -> IntegrityError:
        return IntegrityError(
            f"the body must have {self.size} bytes, got {found}; nothing was stored"
        )

    def verify(self, checksum: int) -> None:
        """Raise IntegrityError if the CRC-32 of what was sent is not the expected one."""
        if self.checksum not in (None, checksum):
            raise IntegrityError(
                "the array changed while it was uploaded; nothing was stored: upload a copy of it, "
                "or wait until nothing writes to it"
            )

    def read(self) -> Buffer:
        """Return all the bytes at once, which nothing changes; a copy unless they are owned."""
        if self.buffer is not None and self.checksum is None:
            if self.progress is not None:
                self.progress(len(self.buffer))
            return self.buffer if self.owned else bytes(self.buffer)
        if self.size is None:
            return b"".join(self)
        whole, position = new_buffer(self.size), 0
        for block in self:
            view = bytes_view(block)
            whole[position : position + len(view)] = view
            position += len(view)
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
                "the body of an object must be bytes, not str: pass data.encode() instead"
            )
        if hasattr(data, "read"):
            return cls._of_file(data)
        try:
            view = bytes_view(data)
        except UnsupportedDtypeError:
            raise
        except (TypeError, BufferError, ValueError):
            if isinstance(data, Iterable) and not hasattr(data, "dtype"):
                blocks = iter(data)
                return cls(lambda: _checked(blocks), replayable=False)
            raise InvalidArgumentError(
                f"the body of an object must be bytes-like, a binary file or an iterable of bytes, "
                f"got a {type(data).__name__}"
            ) from None
        owned = isinstance(view.obj, bytes)
        return cls(lambda: iter((view,)), size=len(view), buffer=view, owned=owned)

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
                # A file object may fill one buffer again and again.
                yield block if isinstance(block, bytes) else bytes(block)
            if block is None:  # more may follow, unlike after b""
                raise InvalidArgumentError(
                    "the file is non-blocking and has no data yet; call "
                    "os.set_blocking(file.fileno(), True) first"
                )

        return cls(blocks, size=size, replayable=start is not None)


def _checked(blocks: Iterator[Any]) -> Iterator[Buffer]:
    for block in blocks:
        try:
            view = bytes_view(block)
        except UnsupportedDtypeError:
            raise
        except TypeError:
            raise InvalidArgumentError(
                f"the body of an object must be bytes, a binary file or an iterable of bytes; this "
                f"iterable contains a {type(block).__name__}"
            ) from None
        # A program may fill one buffer again and again.
        yield view if isinstance(block, bytes) else bytes(view)


_BLOCK_BYTES = 16 * MiB


def crc32(blocks: Iterable[memoryview], threads: int = 1) -> int:
    """Return the CRC-32 of consecutive blocks; long ones are shared among threads."""
    checksum = 0
    for block in blocks:
        if len(block) <= _BLOCK_BYTES:
            checksum = isal_zlib.crc32(block, checksum)
            continue
        pieces = (
            block[start : start + _BLOCK_BYTES] for start in range(0, len(block), _BLOCK_BYTES)
        )
        for piece_checksum, size in map_threads(
            lambda piece: (isal_zlib.crc32(piece), len(piece)), pieces, threads
        ):
            checksum = crc32_combine(checksum, piece_checksum, size)
    return checksum
