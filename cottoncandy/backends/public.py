"""Public data without credentials: reads that are denied are repeated anonymously."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any, Protocol, Self, TypeVar, cast

from cottoncandy.exceptions import AccessDeniedError, StoreError

__all__ = ["reads_public_data"]

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


class _PublicReader(Protocol):
    """A backend with a twin that sends no credentials."""

    bucket_name: str | None
    #: Buckets that only the twin may read.
    public_buckets: set[str | None]

    def anonymous(self) -> Self | None:
        """Return the same backend without credentials; None if it sends none anyway."""

    def scan(self, *, bucket: str | None, page_size: int) -> Iterator[Any]:
        """List the bucket."""


def reads_public_data(method: F) -> F:
    """Return a reading verb that is repeated without credentials if access is denied.

    That is also the case if there are no credentials. If it is denied again, the first error is
    raised. Later reads of the bucket send no credentials.
    """

    @functools.wraps(method)
    def read(self: _PublicReader, *args: Any, **kwargs: Any) -> Any:
        bucket = kwargs.get("bucket") or (args[0] if method.__name__ == "has_bucket" else None)
        bucket = bucket or self.bucket_name

        def anonymously(denied: AccessDeniedError) -> Any:
            twin = self.anonymous()
            if twin is None:
                raise denied
            try:
                result = _begun(method(twin, *args, **kwargs))
                if result is True:  # a bucket that exists may still be private
                    _begun(twin.scan(bucket=bucket, page_size=1))
            except (AccessDeniedError, StoreError):
                raise denied from None
            if bucket not in self.public_buckets:
                logger.info("reading bucket '%s' without credentials after: %s", bucket, denied)
                self.public_buckets.add(bucket)
            return result

        if bucket in self.public_buckets and (twin := self.anonymous()) is not None:
            return method(twin, *args, **kwargs)
        try:
            result = method(self, *args, **kwargs)
        except AccessDeniedError as denied:
            return anonymously(denied)
        return _listing(result, anonymously) if isinstance(result, Iterator) else result

    return cast("F", read)


def _begun(result: Any) -> Any:
    """Return a result; of a listing, the first request was sent."""
    return chain(list(islice(result, 1)), result) if isinstance(result, Iterator) else result


def _listing(
    entries: Iterator[Any], anonymously: Callable[[AccessDeniedError], Any]
) -> Iterator[Any]:
    try:
        begun = _begun(entries)
    except AccessDeniedError as denied:
        begun = anonymously(denied)
    yield from begun
