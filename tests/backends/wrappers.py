"""Backends that count, delay nothing, and break: each wraps any other and keeps its contract."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from cottoncandy._body import Body
from cottoncandy._buffers import Buffer, bytes_view
from cottoncandy.backends.base import (
    Arrived,
    Backend,
    BucketInfo,
    CommonPrefix,
    ConnectionArguments,
    Deletion,
    ObjectInfo,
    ObjectReader,
    PutResult,
)
from cottoncandy.exceptions import StoreError

__all__ = ["CountingBackend", "FailingBackend", "WrappedBackend"]


class WrappedBackend(Backend):
    """Passes every verb on to another backend; subclasses come in between.

    ``_called(verb, *keys)`` runs before each verb, ``_sent`` and ``_received`` see every piece of
    a body. Verbs are ``get head put scan delete copy move`` (and ``exists``), the five of buckets,
    ``read`` for each call that reads from an open object, and ``page`` is not counted: what a
    verb does inside is the wrapped backend's affair.
    """

    name = "wrapped"  # type: ignore[misc]  # an instance takes that of the wrapped one

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.name = inner.name  # type: ignore[misc]
        self.capabilities = inner.capabilities  # type: ignore[misc]

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        raise NotImplementedError("wrap a backend that is connected")

    # -- what subclasses come in with ------------------------------------------------------------

    def _called(self, verb: str, *keys: str) -> None:
        """A verb begins."""

    def _sent(self, block: Buffer) -> None:
        """A piece of a body goes to the store."""

    def _received(self, size: int) -> None:
        """So many bytes of a body came from the store."""

    # -- the contract ----------------------------------------------------------------------------

    @property
    def bucket_name(self) -> str | None:  # type: ignore[override]
        return self.inner.bucket_name

    @bucket_name.setter
    def bucket_name(self, bucket: str | None) -> None:
        self.inner.bucket_name = bucket

    def greeting(self) -> str:
        return self.inner.greeting()

    def describe(self) -> str:
        return self.inner.describe()

    def get(
        self,
        key: str,
        *,
        bucket: str | None = None,
        threads: int = 4,
        prefetch: bool = True,
    ) -> ObjectReader:
        self._called("get", key)
        reader = self.inner.get(key, bucket=bucket, threads=threads, prefetch=prefetch)
        return _WrappedReader(self, reader)

    def head(self, key: str, *, bucket: str | None = None) -> ObjectInfo:
        self._called("head", key)
        return self.inner.head(key, bucket=bucket)

    def exists(self, key: str, *, bucket: str | None = None) -> bool:
        self._called("exists", key)
        return self.inner.exists(key, bucket=bucket)

    def put(
        self,
        key: str,
        body: Body,
        *,
        bucket: str | None = None,
        metadata: Mapping[str, str] | None = None,
        acl: str | None = None,
        content_type: str | None = None,
        threads: int = 4,
        overwrite: bool = True,
    ) -> PutResult:
        self._called("put", key)
        return self.inner.put(
            key,
            self._watched(body),
            bucket=bucket,
            metadata=metadata,
            acl=acl,
            content_type=content_type,
            threads=threads,
            overwrite=overwrite,
        )

    def scan(
        self,
        prefix: str = "",
        *,
        bucket: str | None = None,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        self._called("scan", prefix)
        return self.inner.scan(
            prefix,
            bucket=bucket,
            delimiter=delimiter,
            start_after=start_after,
            page_size=page_size,
        )

    def delete(
        self,
        keys: Iterable[str],
        *,
        bucket: str | None = None,
        threads: int = 4,
        permanently: bool = True,
    ) -> Iterator[Deletion]:
        taken = list(keys)
        self._called("delete", *taken)
        return self.inner.delete(taken, bucket=bucket, threads=threads, permanently=permanently)

    def copy(self, source: str, dest: str, **options: Any) -> PutResult:
        self._called("copy", source, dest)
        return self.inner.copy(source, dest, **options)

    def move(self, source: str, dest: str, **options: Any) -> PutResult:
        self._called("move", source, dest)
        return self.inner.move(source, dest, **options)

    def list_buckets(self) -> Iterator[BucketInfo]:
        self._called("list_buckets")
        return self.inner.list_buckets()

    def has_bucket(self, bucket: str) -> bool:
        self._called("has_bucket")
        return self.inner.has_bucket(bucket)

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        self._called("create_bucket")
        self.inner.create_bucket(bucket, acl=acl)

    def delete_bucket(self, bucket: str) -> None:
        self._called("delete_bucket")
        self.inner.delete_bucket(bucket)

    def owner(self, key: str, *, bucket: str | None = None) -> Mapping[str, str]:
        self._called("owner", key)
        return self.inner.owner(key, bucket=bucket)

    def native_object(self, key: str, *, bucket: str | None = None) -> Any:
        return self.inner.native_object(key, bucket=bucket)

    def native_bucket(self, bucket: str | None = None) -> Any:
        return self.inner.native_bucket(bucket)

    def __getattr__(self, name: str) -> Any:
        """Pass on what only some backends have."""
        if name.startswith("__") or "inner" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.inner, name)

    def _watched(self, body: Body) -> Body:
        """Return the same body, which tells of every piece that is taken."""

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

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[Buffer]:
        self._backend._called("read", self.info.key)
        for chunk in self._inner.chunks(start, stop):
            self._backend._received(len(bytes_view(chunk)))
            yield chunk

    def read_into(self, out: memoryview, start: int = 0, *, arrived: Arrived | None = None) -> None:
        self._backend._called("read", self.info.key)
        self._inner.read_into(out, start, arrived=arrived)
        self._backend._received(len(out))

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        self._backend._called("read", self.info.key)
        data = self._inner.read(start, stop)
        self._backend._received(len(data))
        return data

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

    def _called(self, verb: str, *keys: str) -> None:
        with self._lock:
            self.verbs[verb] += 1
            self.calls.append((verb, *keys))

    def _sent(self, block: Buffer) -> None:
        with self._lock:
            self.bytes_sent += len(bytes_view(block))

    def _received(self, size: int) -> None:
        with self._lock:
            self.bytes_received += size


class FailingBackend(WrappedBackend):
    """Raises at the n-th call of a verb, or in the middle of a body.

    Parameters
    ----------
    fail_at : mapping of str to int, optional
        Verb -> which of its calls fails, from 1. ``"sent"`` and ``"received"`` count pieces of
        bodies instead, so ``{"sent": 2}`` breaks an upload behind its first piece.
    error : callable, optional
        Makes the error.
    """

    def __init__(
        self,
        inner: Backend,
        fail_at: Mapping[str, int] | None = None,
        error: Callable[[], BaseException] | None = None,
    ) -> None:
        super().__init__(inner)
        self.fail_at = dict(fail_at or {})
        self.error = error
        self.seen: Counter[str] = Counter()

    def _called(self, verb: str, *keys: str) -> None:
        self._count(verb)

    def _sent(self, block: Buffer) -> None:
        self._count("sent")

    def _received(self, size: int) -> None:
        self._count("received")

    def _count(self, event: str) -> None:
        self.seen[event] += 1
        if self.seen[event] == self.fail_at.get(event):
            raise (
                StoreError(f"made to fail at {event} number {self.fail_at[event]}")
                if (self.error is None)
                else self.error()
            )
