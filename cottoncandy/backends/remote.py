"""Backends with connections; and public data, which needs no credentials."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any, ClassVar, Self, TypeVar, cast

from cottoncandy.backends.base import Backend
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketNotFoundError,
    ObjectNotFoundError,
    StoreError,
)

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


class RemoteBackend(Backend):
    """A backend with connections, which is pickled as their options.

    Parameters
    ----------
    options
        Pickles include them, secrets too, because workers need them; the repr does not.
    bucket_name : str, optional
        The bucket.
    """

    #: Takes the options; has ``options``, ``counter`` and ``close()``.
    connection_class: ClassVar[type[Any]]

    def __init__(self, options: Any, bucket_name: str | None = None) -> None:
        self.bucket_name = bucket_name
        self._connection = type(self).connection_class(options)
        self.counter = self._connection.counter
        #: Buckets that can only be read without credentials.
        self.public_buckets: set[str | None] = set()
        self._twins: list[Self] = []  # none or one, shared with those on other buckets
        #: Buckets that exist: an answer "not found" then is about the object.
        self.known_buckets: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"upload_options": dict(self.upload_options)}
        return type(self), (self._connection.options, self.bucket_name), state

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()}>"

    def anonymous(self) -> Self | None:
        """Return the same backend without credentials; None if it sends none anyway."""
        options = self._connection.options.without_credentials()
        if options is None:
            return None
        if not self._twins:
            twin = type(self)(options)
            twin.counter = twin._connection.counter = self.counter
            self._twins.append(twin)
        return self._twins[0].with_bucket(self.bucket_name)

    @property
    def _address(self) -> str:
        """Where the store is, for messages."""
        return self.name

    def close(self) -> None:
        self._connection.close()
        for twin in self._twins:
            twin.close()

    @contextmanager
    def _in_bucket(self) -> Iterator[None]:
        """If nothing is found in the block, look whether the bucket exists: once per process."""
        bucket = self.bucket
        try:
            yield
        except ObjectNotFoundError:
            if bucket not in self.known_buckets and not self.has_bucket(bucket):
                raise self._no_bucket(bucket) from None
            raise
        self.known_buckets.add(bucket)

    def _no_bucket(self, bucket: str) -> BucketNotFoundError:
        return BucketNotFoundError(
            f"there is no bucket '{bucket}' at {self._address}; cci.show_buckets() lists yours, "
            f"and cci.create_bucket() creates one"
        )


def reads_public_data(method: F) -> F:
    """Return a reading verb that is repeated without credentials if access is denied.

    That is also the case if there are no credentials. If it is denied again, the first error is
    raised. Later reads of the bucket send no credentials.
    """

    @functools.wraps(method)
    def read(self: RemoteBackend, *args: Any, **kwargs: Any) -> Any:
        bucket = args[0] if method.__name__ == "has_bucket" else self.bucket_name

        def attempt(backend: RemoteBackend) -> Any:
            return _begun(method(backend, *args, **kwargs))

        if bucket in self.public_buckets and (twin := self.anonymous()) is not None:
            with suppress(AccessDeniedError):  # some objects may be private
                return attempt(twin)
        try:
            return attempt(self)
        except AccessDeniedError as denied:
            if (twin := self.anonymous()) is None:
                raise
            try:
                result = attempt(twin)
                if result is True:  # a bucket that exists may still be private
                    _begun(twin.with_bucket(bucket).scan(page_size=1))
            except (AccessDeniedError, StoreError):
                raise denied from None
            if bucket not in self.public_buckets:
                logger.info("reading bucket '%s' without credentials after: %s", bucket, denied)
                self.public_buckets.add(bucket)
            return result

    @functools.wraps(method)
    def read_lazily(*args: Any, **kwargs: Any) -> Iterator[Any]:
        yield from read(*args, **kwargs)

    return cast("F", read_lazily if method.__name__ == "scan" else read)


def _begun(result: Any) -> Any:
    """Return a result. The first request of a listing was sent."""
    return chain(list(islice(result, 1)), result) if isinstance(result, Iterator) else result
