"""Backends around other backends: the base of all, and the one that only reads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, NoReturn, Self, TypeVar, cast

from cottoncandy.backends.base import (
    Backend,
    Capabilities,
    ConnectionArguments,
    ObjectInfo,
    ObjectReader,
    ReadOnlyVerbs,
)
from cottoncandy.core.stats import Counter

F = TypeVar("F", bound=Callable[..., Any])


def _passed_on(verb: F) -> F:
    """Return a verb that is that of the inner backend."""

    def call(self: WrappedBackend, *args: Any, **options: Any) -> Any:
        return getattr(self.inner, verb.__name__)(*args, **options)

    functools.update_wrapper(call, verb)
    vars(call).pop("__isabstractmethod__", None)
    return cast("F", call)


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
        return f"<{type(self).__name__} {self.describe()}>"

    @property
    def bucket_name(self) -> str | None:  # type: ignore[override]  # fixed; see with_bucket()
        """The bucket of the inner backend."""
        return self.inner.bucket_name

    @property
    def store_kind(self) -> type[Backend]:
        """The class of the inner backend."""
        return self.inner.store_kind

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

    # -- every verb ------------------------------------------------------------------------------

    status_message = _passed_on(Backend.status_message)
    describe = _passed_on(Backend.describe)
    close = _passed_on(Backend.close)
    get = _passed_on(Backend.get)
    head = _passed_on(Backend.head)
    exists = _passed_on(Backend.exists)
    put = _passed_on(Backend.put)
    puts_atomically = _passed_on(Backend.puts_atomically)
    unfinished_uploads = _passed_on(Backend.unfinished_uploads)
    abort_upload = _passed_on(Backend.abort_upload)
    unlisted = _passed_on(Backend.unlisted)
    scan = _passed_on(Backend.scan)
    delete = _passed_on(Backend.delete)
    copy = _passed_on(Backend.copy)
    move = _passed_on(Backend.move)
    set_metadata = _passed_on(Backend.set_metadata)
    has_md5_etag = _passed_on(Backend.has_md5_etag)
    storage_class = _passed_on(Backend.storage_class)
    remove_links = _passed_on(Backend.remove_links)
    resolve_links = _passed_on(Backend.resolve_links)
    list_buckets = _passed_on(Backend.list_buckets)
    has_bucket = _passed_on(Backend.has_bucket)
    create_bucket = _passed_on(Backend.create_bucket)
    delete_bucket = _passed_on(Backend.delete_bucket)
    owner = _passed_on(Backend.owner)
    acl = _passed_on(Backend.acl)
    presign = _passed_on(Backend.presign)
    native_object = _passed_on(Backend.native_object)
    native_bucket = _passed_on(Backend.native_bucket)


class ReadOnlyBackend(ReadOnlyVerbs, WrappedBackend):
    """Another backend, of which only the verbs that change nothing are passed on.

    Parameters
    ----------
    inner : Backend
    """

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner, writable=False)
        self.creates_buckets = False  # type: ignore[misc]  # an instance differs from its class


class WrappedReader(ObjectReader):
    """A reader whose bytes come from those of another one.

    Parameters
    ----------
    inner : ObjectReader
        The stored object; closed with this reader.
    info : ObjectInfo
        What this reader returns, as a header.
    """

    max_resumes = 0  # the pieces of the inner reader are resumed

    def __init__(self, inner: ObjectReader, info: ObjectInfo) -> None:
        self._inner, self.info = inner, info
        self.threads, self.window_bytes = inner.threads, inner.window_bytes
        self.pinned = inner.pinned

    def is_replaced(self) -> bool:
        return self._inner.is_replaced()

    def close(self) -> None:
        self._inner.close()
