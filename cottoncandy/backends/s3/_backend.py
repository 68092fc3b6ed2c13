"""The verbs of the S3 backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self

from cottoncandy._body import Body
from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    BucketInfo,
    Capabilities,
    CommonPrefix,
    ConnectionArguments,
    Deletion,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
)
from cottoncandy.backends.s3._buckets import Buckets
from cottoncandy.backends.s3._connection import Connection
from cottoncandy.backends.s3._copy import CopyOperations
from cottoncandy.backends.s3._delete import BulkDelete
from cottoncandy.backends.s3._errors import S3Location
from cottoncandy.backends.s3._keys import METADATA_LIMITS
from cottoncandy.backends.s3._listing import scan
from cottoncandy.backends.s3._objects import Objects
from cottoncandy.backends.s3._options import S3Options

__all__ = ["S3Backend"]


class S3Backend(Backend):
    """One S3 store.

    Parameters
    ----------
    options : S3Options
        What shapes the connection; it travels with a pickle, keys included, because workers need
        them, and is never shown.
    bucket_name : str, optional
        Current bucket.
    """

    name: ClassVar[str] = "s3"

    capabilities: ClassVar[Capabilities] = Capabilities(
        acls=True,
        owners=True,
        stored_checksum="md5",
        headers=frozenset({"content_encoding", "cache_control", "storage_class"}),
        metadata=METADATA_LIMITS,
    )

    def __init__(self, options: S3Options, bucket_name: str | None = None) -> None:
        self.bucket_name = bucket_name
        self._connect(Connection(options))

    def _connect(self, connection: Connection) -> None:
        self._connection = connection
        self._buckets = Buckets(connection)
        self._objects = Objects(connection, self._buckets)
        self._copies = CopyOperations(connection, self._buckets, self._objects)
        self._deletions = BulkDelete(connection)

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        return cls(S3Options.of(arguments), arguments.bucket_name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._connection.options, self.bucket_name)

    def __repr__(self) -> str:
        return f"<S3Backend {self.describe()}>"

    def greeting(self) -> str:
        return f"S3 backend instantiated at {self._connection.endpoint}."

    def describe(self) -> str:
        endpoint = self._connection.known_endpoint or "the default S3 endpoint"
        return f"bucket:{self.bucket_name} on {endpoint}"

    # -- objects ---------------------------------------------------------------------------------

    def get(
        self,
        key: str,
        *,
        bucket: str | None = None,
        threads: int = 4,
        prefetch: bool = True,
    ) -> ObjectReader:
        return self._objects.get(self._bucket(bucket), key, threads=threads, prefetch=prefetch)

    def head(self, key: str, *, bucket: str | None = None) -> ObjectInfo:
        return self._objects.head(self._bucket(bucket), key)

    def put(
        self,
        key: str,
        body: Body,
        options: PutOptions = DEFAULT_OPTIONS,
        *,
        bucket: str | None = None,
        threads: int = 4,
    ) -> PutResult:
        return self._objects.put(
            self._bucket(bucket),
            key,
            body,
            self._checked(key, options),
            threads=threads,
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
        location = S3Location(self._connection.endpoint, self._bucket(bucket))
        if "\x00" in prefix and not self._connection.on_aws:
            # Ceph fails on such a prefix, and no object can have it: put() refuses NUL.
            self._buckets.require(self._bucket(bucket))
            return iter(())
        return scan(
            self._connection.client,
            location,
            prefix=prefix,
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
        return self._deletions.delete(self._bucket(bucket), keys, threads=threads)

    def copy(
        self,
        source: str,
        dest: str,
        *,
        source_bucket: str | None = None,
        dest_bucket: str | None = None,
        overwrite: bool = True,
    ) -> PutResult:
        origin = self._bucket(source_bucket)
        target = origin if dest_bucket is None else dest_bucket
        return self._copies.copy(origin, source, target, dest, overwrite=overwrite)

    # -- buckets ---------------------------------------------------------------------------------

    def list_buckets(self) -> Iterator[BucketInfo]:
        return self._buckets.list()

    def has_bucket(self, bucket: str) -> bool:
        return self._buckets.has(bucket)

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        self._buckets.create(bucket, acl or None)

    def delete_bucket(self, bucket: str) -> None:
        self._buckets.delete(bucket)

    # -- what only S3 has ------------------------------------------------------------------------

    def owner(self, key: str, *, bucket: str | None = None) -> Mapping[str, str]:
        return self._copies.owner(self._bucket(bucket), key)

    def native_object(self, key: str, *, bucket: str | None = None) -> Any:
        return self._connection.resource.Object(self._bucket(bucket), key)

    def native_bucket(self, bucket: str | None = None) -> Any:
        return self._connection.resource.Bucket(self._bucket(bucket))
