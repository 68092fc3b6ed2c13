"""Both ends of a transfer, seen as sorted entries: a store and a prefix, or a directory on disk."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

from cottoncandy.backends.base import ObjectInfo
from cottoncandy.core.names import SEPARATOR, prefix_of, shorten
from cottoncandy.exceptions import BucketNotFoundError, InvalidArgumentError, ObjectNotFoundError
from cottoncandy.stores.connect import connect, connect_directory
from cottoncandy.stores.finding import scan_objects
from cottoncandy.stores.store import Store
from cottoncandy.stores.urls import is_url
from cottoncandy.transfer.engine import listing


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Everything below a prefix of a store. A directory on disk is a bucket of the local backend.

    Parameters
    ----------
    store : Store
    prefix : str
        ``''``, or a key that ends in ``/``.
    """

    store: Store
    prefix: str = ""

    @classmethod
    def of(cls, place: str | os.PathLike[str]) -> Self:
        """Return the endpoint that a user names: a URL, or the path of a directory on disk.

        Raises
        ------
        InvalidArgumentError
            If it is neither.
        """
        if is_url(place):
            store, prefix = connect_directory(str(place))
            return cls(store, prefix_of(prefix))
        if not isinstance(place, str | os.PathLike) or not os.fspath(place):
            raise InvalidArgumentError(
                f"expected a URL or the path of a directory, got {shorten(repr(place))}"
            )
        path = os.path.realpath(os.path.expanduser(os.fspath(place)))  # noqa: PTH111 - paths are text
        if os.path.isfile(path):  # noqa: PTH113 - paths are text
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return cls(connect("local", path))

    def __str__(self) -> str:
        place = self.store.describe()
        return f"'{self.prefix}' in {place}" if self.prefix else place

    def key(self, path: str) -> str:
        """Return the key of a path below the prefix."""
        return self.prefix + path

    def entries(self) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield path and header of every object, sorted by path. Directory markers are skipped.

        Raises
        ------
        BucketNotFoundError
            If the bucket, or the directory on disk, does not exist.
        """
        start = len(self.prefix)
        for info in cast("Iterator[ObjectInfo]", listing(self.store, self.prefix)):
            if len(info.key) > start and not info.key.endswith("/"):
                yield info.key[start:], info

    def exists(self) -> bool:
        """Return whether the bucket, or the directory on disk, exists."""
        bucket = self.store.bucket
        return bucket is not None and self.store.backend.has_bucket(bucket)

    def create(self) -> None:
        """Create the directory on disk if it does not exist. Buckets are not created."""
        backend, bucket = self.store.backend, self.store.bucket
        if backend.creates_buckets and bucket is not None and not self.exists():
            self.store.create_bucket()

    def contains(self, other: Self) -> bool:
        """Return whether another endpoint is the same, or below this one."""
        own, others = self.store.backend, other.store.backend
        links = own.resolve_links(self.prefix), others.resolve_links(other.prefix)
        if links[0] is not None and links[1] is not None:
            root, below = Path(links[0]), Path(links[1])
            # A disk that folds case has several paths of one directory.
            return any(each == root or _is_same(each, root) for each in (below, *below.parents))
        here, there = (prefix_of(f"{each.store.bucket}/{each.prefix}") for each in (self, other))
        if not there.startswith(here):
            return False
        if own.can_copy_from(others) or own.describe() == others.describe():
            return True
        return here != there and self._has_the_same(other)

    def _has_the_same(self, other: Self) -> bool:
        """Return whether both are one store at two addresses, as far as one object shows it."""
        own, others = self.store.backend, other.store.backend
        if own.store_kind is not others.store_kind:
            return False
        with suppress(ObjectNotFoundError, BucketNotFoundError):
            for info in scan_objects(others, other.prefix):
                found = own.head(info.key)
                return (found.etag, found.modified) == (info.etag, info.modified)
        return False

    def holds(self) -> Callable[[str], bool]:
        """Return a function that returns whether a path is here, not below a link."""
        backend, prefix = self.store.backend, self.prefix
        root = backend.resolve_links(prefix)
        if root is None:
            return lambda path: True

        @functools.lru_cache(1024)
        def is_here(directory: str) -> bool:
            return backend.resolve_links(prefix + directory) == os.path.join(root, directory)  # noqa: PTH118 - paths are text

        return lambda path: SEPARATOR not in path or is_here(path.rpartition(SEPARATOR)[0])


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return False
