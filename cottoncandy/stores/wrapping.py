"""Backends around other backends: the base of all, and the one that only reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, NoReturn, Self

from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    BucketInfo,
    Capabilities,
    CommonPrefix,
    ConnectionArguments,
    DeleteResult,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
    ReadOnlyVerbs,
    UnfinishedUpload,
)
from cottoncandy.core.buffers import Body
from cottoncandy.core.stats import Counter

__all__ = ["ReadOnlyBackend", "WrappedBackend"]


class WrappedBackend(Backend):
    """Another backend, to which every verb is passed on; subclasses override some.

    Parameters
    ----------
    inner : Backend
    **capabilities
        Capabilities that differ from those of ``inner``.
    """

    name: ClassVar[str] = "wrapped"

    def __init__(self, inner: Backend, **capabilities: Any) -> None:
        self.inner = inner
        # An instance has those of its store; the name is for messages.
        self.name = inner.name  # type: ignore[misc]  # see above
        self.creates_buckets = inner.creates_buckets  # type: ignore[misc]  # see above
        self.checks_buckets = inner.checks_buckets  # type: ignore[misc]  # see above
        self.capabilities: Capabilities = replace(inner.capabilities, **capabilities)  # type: ignore[misc]  # see above

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> NoReturn:
        """Raise: a connected backend is wrapped, by :func:`cottoncandy.stores.connect.connect`."""
        raise TypeError("wrap a connected backend")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.inner.describe()}>"

    @property
    def bucket_name(self) -> str | None:  # type: ignore[override]  # fixed; see with_bucket()
        """The bucket of the inner backend."""
        return self.inner.bucket_name

    @property
    def counter(self) -> Counter:
        """Requests and bytes of the inner backend."""
        return self.inner.counter

    def with_bucket(self, bucket: str | None) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.inner = self.inner.with_bucket(bucket)
        return other

    def with_upload_options(self, **options: str) -> Self:
        other = self.with_bucket(self.bucket_name)
        other.inner = self.inner.with_upload_options(**options)
        return other

    def close(self) -> None:
        self.inner.close()

    def status_message(self) -> str:
        return self.inner.status_message()

    def describe(self) -> str:
        return self.inner.describe()

    # -- objects ---------------------------------------------------------------------------------

    def get(
        self,
        key: str,
        *,
        bucket: str | None = None,
        threads: int = 4,
        prefetch: bool | tuple[int, int] = True,
        tail: int = 0,
    ) -> ObjectReader:
        return self.inner.get(key, bucket=bucket, threads=threads, prefetch=prefetch, tail=tail)

    def head(self, key: str, *, bucket: str | None = None) -> ObjectInfo:
        return self.inner.head(key, bucket=bucket)

    def exists(self, key: str, *, bucket: str | None = None) -> bool:
        return self.inner.exists(key, bucket=bucket)

    def put(
        self,
        key: str,
        body: Body,
        options: PutOptions = DEFAULT_OPTIONS,
        *,
        bucket: str | None = None,
        threads: int = 4,
    ) -> PutResult:
        return self.inner.put(key, body, options, bucket=bucket, threads=threads)

    def puts_atomically(self, key: str, size: int = 0, *, bucket: str | None = None) -> bool:
        return self.inner.puts_atomically(key, size, bucket=bucket)

    def unfinished_uploads(
        self, prefix: str, *, bucket: str | None = None
    ) -> Iterator[UnfinishedUpload]:
        return self.inner.unfinished_uploads(prefix, bucket=bucket)

    def stray_metadata(self, prefix: str, *, bucket: str | None = None) -> Iterator[str]:
        return self.inner.stray_metadata(prefix, bucket=bucket)

    def abort_upload(self, upload: UnfinishedUpload, *, bucket: str | None = None) -> None:
        self.inner.abort_upload(upload, bucket=bucket)

    def scan(
        self,
        prefix: str = "",
        *,
        bucket: str | None = None,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
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
    ) -> Iterator[DeleteResult]:
        return self.inner.delete(keys, bucket=bucket, threads=threads, permanently=permanently)

    def copy(self, source: str, dest: str, **options: Any) -> PutResult:
        return self.inner.copy(source, dest, **options)

    def move(self, source: str, dest: str, **options: Any) -> PutResult:
        return self.inner.move(source, dest, **options)

    def set_metadata(
        self,
        key: str,
        metadata: Mapping[str, str],
        *,
        etag: str | None = None,
        bucket: str | None = None,
    ) -> PutResult:
        return self.inner.set_metadata(key, metadata, etag=etag, bucket=bucket)

    def remove_links(self, prefix: str, *, bucket: str | None = None) -> None:
        self.inner.remove_links(prefix, bucket=bucket)

    # -- buckets, and features of some stores ----------------------------------------------------

    def list_buckets(self) -> Iterator[BucketInfo]:
        return self.inner.list_buckets()

    def has_bucket(self, bucket: str) -> bool:
        return self.inner.has_bucket(bucket)

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        self.inner.create_bucket(bucket, acl=acl)

    def delete_bucket(self, bucket: str) -> None:
        self.inner.delete_bucket(bucket)

    def owner(self, key: str, *, bucket: str | None = None) -> Mapping[str, str]:
        return self.inner.owner(key, bucket=bucket)

    def presign(self, key: str, expires_s: int, *, bucket: str | None = None) -> str:
        return self.inner.presign(key, expires_s, bucket=bucket)

    def native_object(self, key: str, *, bucket: str | None = None) -> Any:
        return self.inner.native_object(key, bucket=bucket)

    def native_bucket(self, bucket: str | None = None) -> Any:
        return self.inner.native_bucket(bucket)


class ReadOnlyBackend(ReadOnlyVerbs, WrappedBackend):
    """Another backend, of which only the verbs that change nothing are passed on.

    Parameters
    ----------
    inner : Backend
    """

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner, writable=False)
        self.creates_buckets = False  # type: ignore[misc]  # an instance differs from its class
