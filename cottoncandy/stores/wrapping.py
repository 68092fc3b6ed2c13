"""Backends around other backends: the base of all, and the one that only reads."""

from __future__ import annotations

import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator
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
from cottoncandy.core.buffers import Buffer, bytes_view
from cottoncandy.core.stats import Counter

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type[Backend])

#: Public methods that are about the wrapper itself.
_OWN = frozenset({"can_copy_from", "read_only_error"})


def _passed_on(verb: F) -> F:
    """Return a verb that is that of the inner backend."""

    def call(self: WrappedBackend, *args: Any, **options: Any) -> Any:
        return getattr(self.inner, verb.__name__)(*args, **options)

    functools.update_wrapper(call, verb)
    vars(call).pop("__isabstractmethod__", None)
    return cast("F", call)


def _passing_verbs_on(wrapper: C) -> C:
    """Pass on every public method of a backend that the wrapper does not define."""
    for name, verb in vars(Backend).items():
        own = name.startswith("_") or name in _OWN or name in vars(wrapper)
        if inspect.isfunction(verb) and not own:
            setattr(wrapper, name, _passed_on(verb))
    return wrapper


@_passing_verbs_on
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

    # The abstract verbs; the decorator adds the others.
    get = _passed_on(Backend.get)
    put = _passed_on(Backend.put)
    scan = _passed_on(Backend.scan)
    delete = _passed_on(Backend.delete)
    has_bucket = _passed_on(Backend.has_bucket)
    create_bucket = _passed_on(Backend.create_bucket)
    delete_bucket = _passed_on(Backend.delete_bucket)


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
    """A reader that makes whole blocks out of the bytes of another one.

    Parameters
    ----------
    inner : ObjectReader
        The stored object; closed with this reader.
    info : ObjectInfo
        What this reader returns, as a header.
    block_bytes : int
        Size of all blocks but the last.
    """

    max_resumes = 0  # the pieces of the inner reader are resumed

    def __init__(self, inner: ObjectReader, info: ObjectInfo, block_bytes: int) -> None:
        self._inner, self.info, self._block_bytes = inner, info, block_bytes
        self.threads, self.window_bytes = inner.threads, inner.window_bytes
        self.pinned = inner.pinned

    @abstractmethod
    def blocks(self, first: int, end: int) -> Iterator[Buffer]:
        """Yield the blocks ``[first, end)``, one or several at a time."""

    def stream(self, start: int, stop: int) -> Iterator[Buffer]:
        first, end = start // self._block_bytes, -(-stop // self._block_bytes)
        position = first * self._block_bytes
        for blocks in self.blocks(first, end):
            view = bytes_view(blocks)
            if piece := view[max(start - position, 0) : max(stop - position, 0)]:
                yield piece
            position += len(view)

    def is_replaced(self) -> bool:
        return self._inner.is_replaced()

    def close(self) -> None:
        self._inner.close()
