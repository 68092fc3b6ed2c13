"""Backends that count or break requests: each wraps any other and keeps its contract."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Self, TypeVar

from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    BucketInfo,
    CommonPrefix,
    DeleteResult,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
    UnfinishedUpload,
)
from cottoncandy.core.buffers import Body, Buffer, bytes_view
from cottoncandy.exceptions import (
    IntegrityError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
)
from cottoncandy.stores import wrapping

__all__ = ["FAULTS", "CountingBackend", "FaultyBackend", "Killed", "WrappedBackend"]

T = TypeVar("T")


class WrappedBackend(wrapping.WrappedBackend):
    """Another backend, with hooks around every verb; subclasses override these.

    Each verb runs inside of ``_call(verb, *keys)``. ``_sent``, ``_received`` and ``_listed`` are
    called for every piece of a body and every item of a result. Verbs are ``get head put scan
    delete copy move`` and ``exists``, the five of buckets, and ``read`` for each call that reads
    from an open object.
    """

    # -- what subclasses override ----------------------------------------------------------------

    @contextmanager
    def _call(self, verb: str, *keys: str) -> Iterator[None]:
        """Run a verb: the block sends its requests."""
        yield

    def _sent(self, block: Buffer) -> None:
        """Note a piece of a body that goes to the store."""

    def _received(self, size: int) -> None:
        """Note some bytes of a body that came from the store."""

    def _listed(self) -> None:
        """Note an item of a listing, or a key that was deleted."""

    # -- the contract ----------------------------------------------------------------------------

    def get(
        self, key: str, *, threads: int = 4, prefetch: bool | tuple[int, int] = True, tail: int = 0
    ) -> ObjectReader:
        with ExitStack() as opened:
            with self._call("get", key):
                reader = opened.enter_context(
                    self.inner.get(key, threads=threads, prefetch=prefetch, tail=tail)
                )
            opened.pop_all()
            return _WrappedReader(self, reader)

    def head(self, key: str) -> ObjectInfo:
        with self._call("head", key):
            return self.inner.head(key)

    def exists(self, key: str) -> bool:
        with self._call("exists", key):
            return self.inner.exists(key)

    def put(
        self, key: str, body: Body, options: PutOptions = DEFAULT_OPTIONS, *, threads: int = 4
    ) -> PutResult:
        with self._call("put", key):
            return self.inner.put(key, self._watched(body), options, threads=threads)

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        return self.inner.unfinished_uploads(prefix)

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        self.inner.abort_upload(upload)

    def puts_atomically(self, key: str, size: int = 0) -> bool:
        return self.inner.puts_atomically(key, size)

    def scan(
        self,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        return self._items(
            lambda: self.inner.scan(
                prefix,
                delimiter=delimiter,
                start_after=start_after,
                page_size=page_size,
            ),
            "scan",
            prefix,
        )

    def delete(
        self, keys: Iterable[str], *, threads: int = 4, permanently: bool = True
    ) -> Iterator[DeleteResult]:
        taken = list(keys)
        return self._items(
            lambda: self.inner.delete(taken, threads=threads, permanently=permanently),
            "delete",
            *taken,
        )

    def copy(self, source: str, dest: str, **options: Any) -> PutResult:
        with self._call("copy", source, dest):
            return self.inner.copy(source, dest, **options)

    def move(self, source: str, dest: str, **options: Any) -> PutResult:
        with self._call("move", source, dest):
            return self.inner.move(source, dest, **options)

    def set_metadata(self, key: str, metadata: Mapping[str, str], **options: Any) -> PutResult:
        with self._call("set_metadata", key):
            return self.inner.set_metadata(key, metadata, **options)

    def list_buckets(self) -> Iterator[BucketInfo]:
        with self._call("list_buckets"):
            return self.inner.list_buckets()

    def has_bucket(self, bucket: str) -> bool:
        with self._call("has_bucket"):
            return self.inner.has_bucket(bucket)

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        with self._call("create_bucket"):
            self.inner.create_bucket(bucket, acl=acl)

    def delete_bucket(self, bucket: str) -> None:
        with self._call("delete_bucket"):
            self.inner.delete_bucket(bucket)

    def owner(self, key: str) -> Mapping[str, str]:
        with self._call("owner", key):
            return self.inner.owner(key)

    def __getattr__(self, name: str) -> Any:
        """Pass on what only some backends have."""
        if name.startswith("__") or "inner" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.inner, name)

    def _items(self, verb: Callable[[], Iterator[T]], *call: str) -> Iterator[T]:
        """Begin a verb at once, and go through what it yields."""
        with ExitStack() as entered:
            entered.enter_context(self._call(*call))
            found = verb()
            calling = entered.pop_all()

        def items() -> Iterator[T]:
            with calling:
                for item in found:
                    yield item
                    self._listed()

        return items()

    def _watched(self, body: Body) -> Body:
        """Return the same body, with a callback for every piece that is read."""

        def blocks() -> Iterator[Buffer]:
            for block in body:
                self._sent(block)
                yield block

        return Body(blocks, size=body.size, max_size=body.max_size, replayable=body.replayable)


class _WrappedReader(ObjectReader):
    def __init__(self, backend: WrappedBackend, inner: ObjectReader) -> None:
        self._backend = backend
        self._inner = inner
        self.info = inner.info
        self.threads, self.window_bytes = inner.threads, inner.window_bytes
        self.prefetched, self.max_resumes = inner.prefetched, inner.max_resumes
        self.held = inner.held
        backend._received(len(self.held[1]))

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        with self._backend._call("read", self.info.key):
            for piece in self._inner.stream(start, stop):
                self._backend._received(len(bytes_view(piece)))
                yield piece

    def close(self) -> None:
        self._inner.close()


class CountingBackend(WrappedBackend):
    """Counts verbs and bytes.

    Examples
    --------
    >>> counting = CountingBackend(MemoryBackend("bucket"))
    >>> interface.backend_interface = counting
    >>> with counting.expect(get=1, read=1):
    ...     interface.download_object("name")
    """

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begin at nothing."""
        #: Verb -> how often; ``delete`` counts calls, not keys.
        self.verbs: Counter[str] = Counter()
        #: Every verb in its order, with its keys.
        self.calls: list[tuple[str, ...]] = []
        self.bytes_sent = 0
        self.bytes_received = 0

    @contextmanager
    def expect(self, **verbs: int) -> Iterator[Self]:
        """Fail unless exactly these verbs are called within."""
        self.reset()
        yield self
        assert dict(self.verbs) == verbs, self.calls

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @contextmanager
    def _call(self, verb: str, *keys: str) -> Iterator[None]:
        with self._lock:
            self.verbs[verb] += 1
            self.calls.append((verb, *keys))
        yield

    def _sent(self, block: Buffer) -> None:
        with self._lock:
            self.bytes_sent += len(bytes_view(block))

    def _received(self, size: int) -> None:
        with self._lock:
            self.bytes_received += size


class Killed(BaseException):
    """The process is gone at this point."""


#: Fault of a request -> when it occurs, and the error. An upload that breaks off in the
#: middle has sent a piece of its body, a listing has returned an entry.
FAULTS: dict[str, tuple[str, Callable[[str], BaseException]]] = {
    "refused": ("before", StoreUnreachableError),
    "busy": ("before", StoreError),  # 503, more often than requests are repeated
    "reset": ("middle", StoreUnreachableError),
    "cut": ("middle", IntegrityError),
    "lost": ("after", StoreTimeoutError),  # done, but the answer never arrived
    "killed before": ("before", Killed),
    "killed": ("middle", Killed),
    "killed after": ("after", Killed),
    "slow": ("slow", StoreError),
}


class FaultyBackend(WrappedBackend):
    """Breaks one request, as :data:`FAULTS` says; all others pass.

    Examples
    --------
    >>> faulty = FaultyBackend(MemoryBackend("bucket"))
    >>> faulty.fail("lost", 2)  # the second request from now
    """

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.fail(None)

    def fail(self, kind: str | None, at: int = 1) -> None:
        """Break the ``at``-th request from now; None breaks none."""
        self.kind = kind
        self.left = at
        #: Whether it happened.
        self.fired = False
        self._pending = False

    @contextmanager
    def _call(self, verb: str, *keys: str) -> Iterator[None]:
        self.left -= 1
        when, error = FAULTS[self.kind] if self.kind else ("", None)
        if self.fired and error is Killed:
            raise Killed  # a process that is gone cleans nothing up
        mine = self.left == 0
        if mine and when == "before":
            self._break()
        if mine and when == "slow":
            time.sleep(0.002)
        self._pending = mine and when == "middle"
        yield
        if mine and when in ("middle", "after"):
            self._break()

    def _break(self) -> None:
        self.fired = True
        self._pending = False
        raise FAULTS[self.kind or ""][1](f"made to fail: {self.kind}")

    def _sent(self, block: Buffer) -> None:
        if self._pending:
            self._break()

    def _received(self, size: int) -> None:
        if self._pending:
            self._break()

    def _listed(self) -> None:
        if self._pending:
            self._break()
