"""What all interfaces have: a store, and methods that work with one store per call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from cottoncandy._body import Body
from cottoncandy._buffers import Buffer
from cottoncandy._defaults import DEFAULT_ACL
from cottoncandy._names import Key
from cottoncandy._output import echo
from cottoncandy.backends.base import Backend, ObjectReader
from cottoncandy.exceptions import BucketExistsError, BucketNotFoundError
from cottoncandy.formats.encryption import KeyScheme
from cottoncandy.options import Settings
from cottoncandy.stores.connect import connect
from cottoncandy.stores.store import Store

__all__ = ["InterfaceObject", "ObjectAccess"]

#: Public methods that give the interface another bucket.
_REBINDING = frozenset({"create_bucket", "rm_bucket", "set_bucket"})


class InterfaceObject:
    """Base of everything that the factories return."""


class ObjectAccess(InterfaceObject):
    """How interfaces reach objects: through a store, which is theirs until ``set_bucket``.

    Each public method of a subclass works with the store that the interface had when it was
    called.
    """

    backend: str
    _store: Store

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__module__.startswith("cottoncandy."):
            return  # a user's methods may set attributes of their own
        for name, value in list(vars(cls).items()):
            if inspect.isfunction(value) and not name.startswith("_") and name not in _REBINDING:
                setattr(cls, name, _in_one_bucket(value))

    def __init__(
        self,
        bucket_name: str | None,
        ACCESS_KEY: str | None = None,  # noqa: N803 - the documented name
        SECRET_KEY: str | None = None,  # noqa: N803 - the documented name
        url: str | None = None,
        force_bucket_creation: bool | None = False,
        verbose: bool = True,
        backend: str = "s3",
        **kwargs: Any,
    ) -> None:
        # A factory or subclass that has read the options passes them on: read twice, a file that
        # is edited in between would count in two versions.
        settings: Settings = kwargs.pop("_settings", None) or Settings.load()
        keys: KeyScheme | None = kwargs.pop("_keys", None)
        self.backend = backend
        self.verbose = verbose
        self._store = connect(
            backend,
            bucket_name,
            ACCESS_KEY,
            SECRET_KEY,
            url,
            settings=settings,
            extra=kwargs,
            keys=keys,
        )
        self._check_bucket(force_bucket_creation)
        if verbose:
            self._greet()

    def __repr__(self) -> str:
        store = getattr(self, "_store", None)
        where = "not connected" if store is None else store.backend.describe()
        return f"<cottoncandy.{type(self).__name__} {where}>"

    @property
    def bucket_name(self) -> str | None:
        """Name of the current bucket; None if none was chosen."""
        return self._store.bucket

    @property
    def backend_interface(self) -> Backend:
        """The backend, bound to the current bucket."""
        return self._store.backend

    @backend_interface.setter
    def backend_interface(self, backend: Backend) -> None:
        self._store = replace(self._store, backend=backend)

    @property
    def settings(self) -> Settings:
        """The options that apply to this interface, without secrets."""
        return self._store.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._store = replace(self._store, settings=settings)

    def _check_bucket(self, create: bool | None) -> None:
        """Raise if the bucket is missing, or create it; None means as the options say."""
        bucket = self.bucket_name
        if bucket is None or self.backend_interface.has_bucket(bucket):
            return
        if create is None:
            create = self.settings.force_bucket_creation or self.backend_interface.creates_buckets
        if not create:
            raise BucketNotFoundError(
                f"there is no bucket '{bucket}' ({self.backend_interface.describe()}); check its "
                f"name, or pass force_bucket_creation=True to create it"
            )
        try:
            self.backend_interface.create_bucket(bucket, acl=self._acl(DEFAULT_ACL))
        except BucketExistsError:
            # Another process created it after the check above.
            if not self.backend_interface.has_bucket(bucket):
                raise

    def _greet(self) -> None:
        echo(self.backend_interface.greeting())

    # -- the store, under the names that the mixins use -------------------------------------------

    def _open(self, object_name: str, threads: int = 4, *, prefetch: bool = True) -> ObjectReader:
        return self._store.open(object_name, threads, prefetch=prefetch)

    def _put(self, object_name: str, body: Body, **options: Any) -> dict[str, Any]:
        return self._store.put(object_name, body, **options)

    def _key(self, name: str, **options: Any) -> Key:
        return self._store.key(name, **options)

    def _has_object(self, key: str, bucket: str | None = None) -> bool:
        return self._store.has_object(key, bucket)

    def _has_below(self, key: str, bucket: str | None = None) -> bool:
        return self._store.has_below(key, bucket)

    def _fill(self, reader: ObjectReader, out: memoryview, start: int = 0, **options: Any) -> int:
        return self._store.fill(reader, out, start, **options)

    def _chunks(self, reader: ObjectReader) -> Iterator[Buffer]:
        return self._store.chunks(reader)

    def _acl(self, acl: str | None) -> str | None:
        return self._store.acl(acl)

    def _threads(self, threads: int) -> int:
        return self._store.threads(threads)

    def _bulk_threads(self, threads: int) -> int:
        return self._store.bulk_threads(threads)


def _in_one_bucket(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that runs on a snapshot of its interface.

    A call that has begun stays in its bucket, whatever other threads do to the interface, and
    what it opens holds the snapshot: ``set_bucket`` never moves lazy arrays or browsers.
    """

    @functools.wraps(method)
    def run(self: ObjectAccess, *args: Any, **kwargs: Any) -> Any:
        snapshot = object.__new__(type(self))
        snapshot.__dict__.update(self.__dict__)
        return method(snapshot, *args, **kwargs)

    return run
