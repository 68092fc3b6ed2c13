"""A bucket as a zarr store: chunks are plain objects, encrypted or not, on every backend.

The objects are those that zarr's own stores read and write: the value of ``key`` is the object
``prefix/key``. See https://zarr.readthedocs.io/en/stable/user-guide/storage.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from cottoncandy.backends.base import IfAbsent, ObjectInfo, PutOptions
from cottoncandy.config.options import DEFAULT_ACL
from cottoncandy.core.buffers import Body
from cottoncandy.core.buffers import Buffer as Bytes
from cottoncandy.core.names import Key, clean_object_name, pathjoin, prefix_of
from cottoncandy.core.threads import after_fork, in_background, map_threads
from cottoncandy.exceptions import (
    MissingDependencyError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreError,
)

try:
    from zarr.abc import store as zarr_store
    from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
except ImportError as exc:
    message = 'zarr stores need zarr 3: pip install "cottoncandy[zarr]"'
    raise MissingDependencyError(message) from exc

if TYPE_CHECKING:
    from cottoncandy.backends.base import ObjectReader

__all__ = ["CottonCandyStore"]

R = TypeVar("R")

_THREADS = 16  # zarr limits its own requests to 10 at once (the option async.concurrency)
_RANGE_THREADS = 4
_PAGE = 1000  # keys that are fetched from a listing between two turns of the event loop


class CottonCandyStore(zarr_store.Store):
    """A zarr 3 store in a bucket, below a prefix.

    It takes everything from its interface: backend, credentials, ACL, encryption.

    Parameters
    ----------
    cci : BasicInterface
        The interface on the bucket. Changing its bucket later does not affect the store.
    prefix : str, default ''
        Name below which the keys are stored; ``''`` is the whole bucket.
    read_only : bool, default False
        Whether to reject writing and deleting.

    Raises
    ------
    MissingDependencyError
        If zarr is not installed.

    Examples
    --------
    >>> import cottoncandy as cc
    >>> import zarr
    >>> cci = cc.get_interface("my_bucket", backend="memory", verbose=False)
    >>> store = CottonCandyStore(cci, "volumes/a")
    >>> volume = zarr.create_array(store, shape=(4, 6), chunks=(2, 6), dtype="f4")
    >>> volume[:2] = 1
    >>> float(zarr.open_array(store, mode="r")[1, 5])
    1.0
    >>> cci.glob("volumes/*/c/*/*")
    ['volumes/a/c/0/0']

    Notes
    -----
    A missing key reads as missing; every other error (a denied request, a damaged object, an
    unreachable server) is raised, so it never turns into fill values.
    """

    def __init__(self, cci: Any, prefix: str = "", read_only: bool = False) -> None:
        self.cci = cci
        self.prefix = clean_object_name(prefix).rstrip("/")
        self._store = cci._store
        super().__init__(read_only=read_only or not self._backend.capabilities.writable)

    @property
    def _backend(self) -> Any:
        return self._store.backend

    def with_read_only(self, read_only: bool = False) -> CottonCandyStore:
        return type(self)(self.cci, self.prefix, read_only=read_only)

    def __str__(self) -> str:
        return f"cottoncandy://{pathjoin(self._store.bucket or '', self.prefix)}"

    def __repr__(self) -> str:
        return f"<CottonCandyStore {self.prefix!r} in {self._store.describe()}>"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CottonCandyStore)
            and (self.prefix, self.read_only) == (other.prefix, other.read_only)
            and self._store.same_settings(other._store)
        )

    __hash__ = None  # type: ignore[assignment]  # mutable: open or not

    # -- reading ---------------------------------------------------------------------------------

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: zarr_store.ByteRequest | None = None,
    ) -> Buffer | None:
        return await _in_thread(
            lambda: self.get_sync(key, prototype=prototype, byte_range=byte_range)
        )

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: zarr_store.ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the value of a key, or a part of it; None if the key does not exist."""
        return self._read(key, [byte_range], prototype or default_buffer_prototype())[0]

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, zarr_store.ByteRequest | None]],
    ) -> list[Buffer | None]:
        ranges = list(key_ranges)
        wanted = defaultdict(list)
        for key, byte_range in ranges:
            wanted[key].append(byte_range)

        async def read(key: str) -> Iterator[Buffer | None]:
            return iter(await _in_thread(lambda: self._read(key, wanted[key], prototype)))

        found = dict(zip(wanted, await asyncio.gather(*map(read, wanted)), strict=True))
        return [next(found[key]) for key, _ in ranges]

    def _read(
        self,
        key: str,
        ranges: list[zarr_store.ByteRequest | None],
        prototype: BufferPrototype,
    ) -> list[Buffer | None]:
        """Return parts of one version of an object, or as many times None."""
        for wanted in ranges:
            if wanted is not None and not isinstance(wanted, _REQUESTS):
                raise ValueError(f"Unexpected byte_range, got {wanted}.")  # as zarr's stores do
        # Sharded arrays begin with the end of a shard: its index comes with the header.
        ends = [each.suffix for each in ranges if isinstance(each, zarr_store.SuffixByteRequest)]
        first = True if None in ranges or not ranges else _span(ranges[0], sys.maxsize)
        threads = 1 if len(ranges) == 1 else _RANGE_THREADS  # zarr reads many chunks at once
        try:
            reader = self._store.open(
                self._key(key), threads, prefetch=first, tail=max(ends, default=0)
            )
        except ObjectNotFoundError:
            return [None] * len(ranges)
        with reader:
            parts = map_threads(lambda wanted: _part(reader, wanted), ranges, threads)
            return [prototype.buffer.from_bytes(part) for part in parts]  # not a copy

    async def exists(self, key: str) -> bool:
        return await _in_thread(lambda: self._store.has_object(self._key(key)))

    async def getsize(self, key: str) -> int:
        info: ObjectInfo = await _in_thread(lambda: self._backend.head(self._key(key)))
        return info.size

    async def getsize_prefix(self, prefix: str) -> int:
        below = prefix_of(prefix.rstrip("/"))  # "c" means the contents of "c/", and not "cc/0"
        return sum([entry.size async for entry in self._scan(below)])

    # -- writing ---------------------------------------------------------------------------------

    async def set(self, key: str, value: Buffer) -> None:
        await _in_thread(lambda: self.set_sync(key, value))

    def set_sync(self, key: str, value: Buffer, *, if_absent: bool = False) -> None:
        """Store the value of a key, in one step: readers see the old one or the new one."""
        self._check_writable()
        if not isinstance(value, Buffer):
            raise TypeError(f"value must be a zarr Buffer, got {type(value).__name__}")
        options = PutOptions(
            acl=self._store.acl(DEFAULT_ACL), condition=IfAbsent() if if_absent else None
        )
        body = Body.of(memoryview(value.as_buffer_like()))
        body.owned = True  # zarr's other stores send it without a copy, too
        self._backend.put(self._key(key), body, options)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        with suppress(ObjectExistsError):
            await _in_thread(lambda: self.set_sync(key, value, if_absent=True))

    async def delete(self, key: str) -> None:
        await _in_thread(lambda: self.delete_sync(key))

    def delete_sync(self, key: str) -> None:
        """Delete a key, if it exists."""
        self._check_writable()
        self._store.delete([self._key(key)])

    async def delete_dir(self, prefix: str) -> None:
        self._check_writable()
        below = self._below(prefix)

        def delete() -> None:
            self._backend.remove_links(below)
            self._store.delete(entry.key for entry in self._backend.scan(below))

        await _in_thread(delete)

    # -- listing ---------------------------------------------------------------------------------

    def list(self) -> AsyncIterator[str]:
        return self.list_prefix("")

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        async for entry in self._scan(prefix):
            yield entry.key[len(self._root) :]

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        directory = self._below(prefix)
        found = self._backend.scan(directory, delimiter="/")
        async for entry in _in_turns(found):
            if name := entry.key[len(directory) :].rstrip("/"):
                yield name

    def _scan(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Yield the objects whose key in the store starts with a prefix."""
        return _in_turns(self._backend.scan(self._root + prefix))

    @property
    def supports_writes(self) -> bool:
        """Whether the store can be written to; see also ``read_only``."""
        return bool(self._backend.capabilities.writable)

    supports_deletes = supports_writes
    supports_listing = True

    # -- keys ------------------------------------------------------------------------------------

    @property
    def _root(self) -> str:
        return prefix_of(self.prefix)

    def _below(self, prefix: str) -> str:
        return prefix_of((self._root + prefix).rstrip("/"))

    def _key(self, key: str) -> Key:
        # Without a key, the name would be that of an object next to the store's.
        return Key((self._root + key).rstrip("/") if key.strip("/") else "")


_REQUESTS = (
    zarr_store.RangeByteRequest,
    zarr_store.OffsetByteRequest,
    zarr_store.SuffixByteRequest,
)


def _part(reader: ObjectReader, wanted: zarr_store.ByteRequest | None) -> Bytes:
    if isinstance(wanted, zarr_store.SuffixByteRequest):
        return reader.tail(wanted.suffix)
    return reader.buffer(*_span(wanted, reader.size))


def _span(wanted: zarr_store.ByteRequest | None, size: int) -> tuple[int, int]:
    """Return the range that a request means in a value of some size."""
    start, stop = 0, size
    if isinstance(wanted, zarr_store.RangeByteRequest):
        start, stop = wanted.start, wanted.end
    elif isinstance(wanted, zarr_store.OffsetByteRequest):
        start = wanted.offset
    return min(start, size), min(stop, size)


async def _in_thread(function: Callable[[], R]) -> R:
    """Run a blocking call in a thread; an executor would take twice the time to hand it over."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[R] = loop.create_future()
    _calls().put((function, loop, outcome))
    return await outcome


@cache
def _calls() -> SimpleQueue[Any]:
    """Return the queue of the threads that run calls."""
    calls: SimpleQueue[Any] = SimpleQueue()
    in_background(_work, calls)
    with suppress(StoreError):  # the system allows no more: those that it allowed do the work
        for _ in range(_THREADS - 1):
            in_background(_work, calls)
    return calls


after_fork(_calls.cache_clear)  # the parent's threads do not exist in a child


def _work(calls: SimpleQueue[Any]) -> NoReturn:
    while True:
        function, loop, outcome = calls.get()
        result = error = None
        try:
            if not outcome.cancelled():
                result = function()
        except BaseException as exc:  # noqa: BLE001 - handed to the waiting task whole
            error = exc
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(_resolve, outcome, result, error)
        del function, loop, outcome, result, error  # hold nothing while idle


def _resolve(outcome: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if outcome.done():  # its task was cancelled
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)


async def _in_turns(entries: Iterator[R]) -> AsyncIterator[R]:
    """Iterate over a listing without blocking the event loop."""
    from itertools import islice

    while page := await _in_thread(lambda: list(islice(entries, _PAGE))):
        for entry in page:
            yield entry
