"""Buckets in this process's memory: for examples, tests and scratch data."""

from __future__ import annotations

import datetime
import hashlib
import secrets
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    BucketInfo,
    Capabilities,
    CommonPrefix,
    ConnectionArguments,
    DeleteResult,
    IfAbsent,
    IfMatch,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
    group_by_delimiter,
)
from cottoncandy.core.buffers import PIECE_BYTES, Body, Buffer
from cottoncandy.core.names import encode_key
from cottoncandy.core.threads import ForkSafeLock
from cottoncandy.exceptions import (
    BucketExistsError,
    BucketNotEmptyError,
    BucketNotFoundError,
    InvalidNameError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)

_PAGE = 1000


@dataclass(slots=True)
class _Object:
    info: ObjectInfo
    body: bytes


@dataclass(slots=True)
class _Bucket:
    created: datetime.datetime
    objects: dict[bytes, _Object] = field(default_factory=dict)
    order: list[bytes] = field(default_factory=list)


_BUCKETS: dict[str, _Bucket] = {}
_LOCK = ForkSafeLock()
#: Identifies this process, on any machine. A fork inherits the buckets and keeps the identifier.
_PROCESS = secrets.token_hex(8)


class _MemoryReader(ObjectReader):
    max_resumes = 0

    def __init__(self, stored: _Object) -> None:
        self.info = stored.info
        self._body = memoryview(stored.body)

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        for position in range(start, stop, PIECE_BYTES):
            piece = self._body[position : min(position + PIECE_BYTES, stop)]
            self.counter.add(received=len(piece))
            yield piece


class MemoryBackend(Backend):
    """Objects in a dictionary that all interfaces of this process share, by bucket name.

    Notes
    -----
    A forked process has a copy of the buckets as they were: neither its parent nor its siblings see
    what it stores. A process that is not forked cannot use an interface that was pickled.
    """

    name: ClassVar[str] = "memory"
    creates_buckets: ClassVar[bool] = True
    capabilities: ClassVar[Capabilities] = Capabilities(
        conditional_put=True,
        stored_checksum="md5",
        headers=frozenset({"content_encoding", "cache_control", "storage_class"}),
    )

    def __init__(self, bucket_name: str | None = None, process: str = _PROCESS) -> None:
        self.bucket_name = bucket_name
        self._process = process

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        arguments.check_extra("memory")
        return cls(arguments.bucket_name)

    def __reduce__(self) -> tuple[Any, ...]:
        # Rejected on first use, not when unpickled: an error here would end a worker process.
        state = {"upload_options": dict(self.upload_options)}
        return type(self), (self.bucket_name, self._process), state

    # -- objects ---------------------------------------------------------------------------------

    def get(
        self, key: str, *, threads: int = 4, prefetch: bool | tuple[int, int] = True, tail: int = 0
    ) -> ObjectReader:
        reader = _MemoryReader(self._find(key))
        reader.counter = self.counter
        return reader

    def head(self, key: str) -> ObjectInfo:
        return self._find(key).info

    def put(
        self, key: str, body: Body, options: PutOptions = DEFAULT_OPTIONS, *, threads: int = 4
    ) -> PutResult:
        encoded, options = encode_key(key), self._checked(key, options)
        data = bytes(body.read())
        info = ObjectInfo(
            key,
            len(data),
            _now(),
            hashlib.md5(data, usedforsecurity=False).hexdigest(),
            options.metadata or {},
            options.content_type,
            **options.headers,
        )
        self.counter.add(1, sent=len(data))
        with _LOCK:
            self._store(encoded, _Object(info, data), options.condition)
        return PutResult(info.etag)

    def scan(
        self,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        name = self.bucket
        self._open(name)
        found = self._walk(name, prefix.encode(), start_after.encode())
        return group_by_delimiter(found, prefix, delimiter)

    def delete(
        self, keys: Iterable[str], *, threads: int = 4, permanently: bool = True
    ) -> Iterator[DeleteResult]:
        name = self.bucket
        for key in keys:
            try:
                encoded = encode_key(key)
            except InvalidNameError as error:
                yield DeleteResult(key, error)
                continue
            self.counter.add(1)
            with _LOCK:
                held = self._open(name)
                if held.objects.pop(encoded, None) is not None:
                    del held.order[bisect_left(held.order, encoded)]
            yield DeleteResult(key)

    def copy(
        self, source: str, dest: str, *, source_bucket: str | None = None, overwrite: bool = True
    ) -> PutResult:
        encoded = encode_key(dest)
        with _LOCK:
            stored = self._origin(source_bucket)._find(source)
            info = stored.info._replace(key=dest, modified=_now())
            condition = None if overwrite else IfAbsent()
            self._store(encoded, _Object(info, stored.body), condition)
        return PutResult(info.etag)

    def can_copy_from(self, other: Backend) -> bool:
        return type(other) is type(self)

    # -- buckets ---------------------------------------------------------------------------------

    def list_buckets(self) -> Iterator[BucketInfo]:
        self._check_process()
        with _LOCK:
            found = [BucketInfo(name, held.created) for name, held in sorted(_BUCKETS.items())]
        return iter(found)

    def has_bucket(self, bucket: str) -> bool:
        self._check_process()
        return bucket in _BUCKETS

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        if not bucket:
            raise InvalidNameError("a bucket name must not be empty")
        self._check_process()
        with _LOCK:
            if bucket in _BUCKETS:
                raise BucketExistsError(f"bucket '{bucket}' already exists")
            _BUCKETS[bucket] = _Bucket(_now())

    def delete_bucket(self, bucket: str) -> None:
        with _LOCK:
            held = self._open(bucket)
            if held.objects:
                raise BucketNotEmptyError(
                    f"bucket '{bucket}' contains {len(held.objects)} objects; delete them first"
                )
            del _BUCKETS[bucket]

    # -- inside ----------------------------------------------------------------------------------

    def _check_process(self) -> None:
        if self._process != _PROCESS:
            raise UnsupportedOperationError(
                "the memory backend cannot be used in another process, because its objects stay in "
                "the process that created them; use backend='local' for work in several processes"
            )

    def _open(self, bucket: str) -> _Bucket:
        self._check_process()
        try:
            return _BUCKETS[bucket]
        except KeyError:
            raise BucketNotFoundError(f"there is no bucket '{bucket}' in memory") from None

    def _find(self, key: str) -> _Object:
        name = self.bucket
        self.counter.add(1)
        try:
            return self._open(name).objects[encode_key(key)]
        except KeyError:
            raise ObjectNotFoundError(f"there is no object '{key}' in bucket '{name}'") from None

    def _store(self, encoded: bytes, stored: _Object, condition: IfAbsent | IfMatch | None) -> None:
        held = self._open(self.bucket)
        present = held.objects.get(encoded)
        if condition is not None:
            etag = None if present is None else present.info.etag
            condition.check(etag, f"object '{stored.info.key}' in bucket '{self.bucket}'")
        if present is None:
            insort(held.order, encoded)
        held.objects[encoded] = stored

    def _walk(self, bucket: str, prefix: bytes, start_after: bytes) -> Iterator[ObjectInfo]:
        """Yield the objects page by page, so that a listing is lazy and never holds the lock."""
        start = max(prefix, start_after + b"\0")
        while True:
            self.counter.add(1)
            with _LOCK:
                held = self._open(bucket)
                first = bisect_left(held.order, start)
                page = [
                    held.objects[key].info._replace(metadata=None)
                    for key in held.order[first : first + _PAGE]
                    if key.startswith(prefix)
                ]
            yield from page
            if len(page) < _PAGE:
                return
            start = page[-1].key.encode() + b"\0"


def clear() -> None:
    """Delete all buckets of this process."""
    with _LOCK:
        _BUCKETS.clear()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
