"""The interface that every storage backend implements.

A backend deals in *keys* (any text), *buckets* and *buffers*; arrays, compression and patterns are
handled above it. To add one, subclass :class:`Backend`, implement its abstract methods, translate
the client library's errors into those of :mod:`cottoncandy.exceptions`, add one line to the
registry in :mod:`cottoncandy.backends`, and one to the conformance test.
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, NoReturn, Self

from cottoncandy.backends.options import (
    DEFAULT_OPTIONS,
    Capabilities,
    ConnectionArguments,
    IfAbsent,
    IfMatch,
    MetadataLimits,
    PutOptions,
)
from cottoncandy.backends.reader import ObjectInfo, ObjectReader
from cottoncandy.core.buffers import Body
from cottoncandy.core.stats import Counter
from cottoncandy.core.threads import cached_property
from cottoncandy.exceptions import (
    BucketNotFoundError,
    CottonCandyError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)

__all__ = [
    "DEFAULT_OPTIONS",
    "Backend",
    "BucketInfo",
    "Capabilities",
    "CommonPrefix",
    "ConnectionArguments",
    "DeleteResult",
    "IfAbsent",
    "IfMatch",
    "MetadataLimits",
    "ObjectInfo",
    "ObjectReader",
    "PutOptions",
    "PutResult",
    "UnfinishedUpload",
]

#: The reason of :meth:`Backend.unlisted` for which a sync keeps the copies of what is below.
DANGLING = "dangling link"


@dataclass(frozen=True, slots=True)
class CommonPrefix:
    """A "directory" in a delimited listing; ``prefix`` ends with the delimiter."""

    prefix: str

    @property
    def key(self) -> str:
        """The same as ``prefix``: where the entry is in the order of a listing."""
        return self.prefix


@dataclass(frozen=True, slots=True)
class BucketInfo:
    """One bucket that the user can see."""

    name: str
    created: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class PutResult:
    """Result of a successful upload."""

    etag: str | None = None
    version_id: str | None = None

    @property
    def response(self) -> dict[str, Any]:
        """The documented response of an upload, without values that the store did not return."""
        found = {"ETag": self.etag, "VersionId": self.version_id}
        return {name: value for name, value in found.items() if value is not None}


class DeleteResult(NamedTuple):
    """Outcome of deleting one key; ``error`` is None if the key no longer exists."""

    key: str
    error: CottonCandyError | None = None


class UnfinishedUpload(NamedTuple):
    """An upload in parts that was not completed."""

    key: str
    started: datetime.datetime | None
    upload_id: str


def group_by_delimiter(
    found: Iterable[ObjectInfo | CommonPrefix], prefix: str, delimiter: str
) -> Iterator[ObjectInfo | CommonPrefix]:
    """Collapse the keys that contain a delimiter after the prefix; ``found`` is sorted."""
    last = None
    for entry in found:
        if delimiter and isinstance(entry, ObjectInfo):
            end = entry.key.find(delimiter, len(prefix))
            if end >= 0:
                entry = CommonPrefix(entry.key[: end + len(delimiter)])
        if entry != last:
            yield entry
        last = entry


class Backend(ABC):
    """One store, seen as buckets of keys.

    Keys are those of the bucket ``bucket_name``; every method raises
    :class:`~cottoncandy.exceptions.BucketNotFoundError` if it does not exist. A backend may be used
    from several threads at once, and is pickled as its settings, never its connections.
    """

    #: Name in the registry; for messages only.
    name: ClassVar[str]

    capabilities: ClassVar[Capabilities] = Capabilities()

    #: Whether the option ``[basic] default_bucket`` applies to this store. False if the store has
    #: its own default bucket.
    uses_default_bucket: ClassVar[bool] = True

    #: Whether interfaces create a bucket that does not exist unless the user forbids it.
    creates_buckets: ClassVar[bool] = False

    #: Whether interfaces look up their bucket when they are created. False if a bucket can be read
    #: although it cannot be found, such as a directory of a web server without an index page.
    checks_buckets: ClassVar[bool] = True

    #: How many requests a copy within the store takes; all but one of them read.
    copy_requests: ClassVar[int] = 1

    #: The bucket; None if none was chosen. It never changes: see :meth:`with_bucket`.
    bucket_name: str | None = None

    #: Options of each put that does not specify them: see :meth:`with_upload_options`.
    upload_options: Mapping[str, str] = MappingProxyType({})

    @property
    def store_kind(self) -> type[Backend]:
        """The class of the store: storage classes mean something within one kind."""
        return type(self)

    @cached_property
    def counter(self) -> Counter:
        """Requests and bytes of this process, of all buckets; implementations add to it."""
        return Counter()

    # -- connecting ------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        """Create a backend without sending a request. An unknown option is an error."""

    def with_bucket(self, bucket: str | None) -> Self:
        """Return the same backend on another bucket; connections are shared."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, counter=self.counter)
        other.bucket_name = bucket
        return other

    def with_upload_options(self, **options: str) -> Self:
        """Return the same backend with options for the puts that do not specify them.

        Parameters
        ----------
        **options
            ``storage_class``, ``server_side_encryption``, ``sse_kms_key_id``, ``request_payer``.

        Raises
        ------
        UnsupportedOperationError
            If the store does not have one of them.
        InvalidArgumentError
        """
        self._checked("", PutOptions(**options))  # type: ignore[arg-type]  # they are text
        other = self.with_bucket(self.bucket_name)
        other.upload_options = {**self.upload_options, **options}
        return other

    def close(self) -> None:  # noqa: B027 - some stores have no connections
        """Close the idle connections, which the backend shares with those on other buckets.

        Any later use opens new ones.
        """

    def status_message(self) -> str:
        """Return the line that ``verbose=True`` prints once an interface is ready."""
        return f"{self.name.capitalize()} backend instantiated."

    def describe(self) -> str:
        """Return the location of the objects, without secrets, for a repr."""
        return f"bucket:{self.bucket_name} on {self.name}"

    # -- objects ---------------------------------------------------------------------------------

    @abstractmethod
    def get(
        self, key: str, *, threads: int = 4, prefetch: bool | tuple[int, int] = True, tail: int = 0
    ) -> ObjectReader:
        """Open an object with one request.

        It returns the header and, if ``prefetch``, the start of the body or another part.

        Parameters
        ----------
        threads : int, default 4
            Maximum number of concurrent requests of the reader.
        prefetch : bool or tuple of int, default True
            False if little or nothing of the body will be read: then only the header is requested.
            ``(start, stop)`` if that range will be read, which may reach beyond the end: stores
            that can return it with the header do so.
        tail : int, default 0
            If not 0, the first request returns up to this many bytes of the body's end instead of
            its start, if the store can do that.

        Raises
        ------
        ObjectNotFoundError, BucketNotFoundError, AccessDeniedError
        """

    def head(self, key: str) -> ObjectInfo:
        """Return the header of an object, with its metadata.

        Raises
        ------
        ObjectNotFoundError, BucketNotFoundError, AccessDeniedError
        """
        with self.get(key, prefetch=False) as reader:
            return reader.info

    @abstractmethod
    def put(
        self, key: str, body: Body, options: PutOptions = DEFAULT_OPTIONS, *, threads: int = 4
    ) -> PutResult:
        """Store an object atomically: on any error, the previous object is kept.

        Parameters
        ----------
        options : PutOptions, optional
            Implementations begin with ``_checked``, which validates them before anything is
            sent.

        Raises
        ------
        MetadataError, InvalidNameError, UnsupportedOperationError
            Before anything is sent.
        ObjectExistsError
            If the object exists and the condition is ``IfAbsent``, or the store cannot hold an
            object and a prefix of the same name.
        ObjectChangedError
            If the condition is ``IfMatch`` and the object has another ETag, or is missing.
        """

    @abstractmethod
    def scan(
        self,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """Yield the objects whose keys start with ``prefix``, lazily, sorted by their UTF-8 bytes.

        ``prefix`` is plain text and may end within a name. With a ``delimiter`` (``"/"``), keys
        that contain it after the prefix are collapsed into a :class:`CommonPrefix`, in sort order.
        Keys up to and including ``start_after`` are skipped. ``page_size`` is a hint.
        """

    @abstractmethod
    def delete(
        self, keys: Iterable[str], *, threads: int = 4, permanently: bool = True
    ) -> Iterator[DeleteResult]:
        """Delete keys in bulk and yield the outcome of each. A missing key is treated as deleted.

        Nothing is deleted until the result is iterated.
        """

    def copy(
        self, source: str, dest: str, *, source_bucket: str | None = None, overwrite: bool = True
    ) -> PutResult:
        """Copy an object into this bucket, with metadata, headers and ACL.

        ``source_bucket`` defaults to this bucket. Backends whose server can do this override it;
        here, the body is stored again, without the ACL.

        Raises
        ------
        ObjectNotFoundError
            If ``source`` does not exist.
        ObjectExistsError
            If ``dest`` exists and ``overwrite`` is False.
        """
        origin, condition = self._origin(source_bucket), None if overwrite else IfAbsent()
        with origin.get(source) as reader:
            self._check_condition(dest, condition)
            if (source, origin.bucket) == (dest, self.bucket):
                return PutResult(reader.info.etag)
            like = self.capabilities.options_like(reader.info, reader.metadata or None)
            options = replace(like, condition=condition, acl_of=None, keep_encoded=True)
            return self.put(dest, Body(reader.chunks, size=reader.size), options)

    def set_metadata(
        self, key: str, metadata: Mapping[str, str], *, etag: str | None = None
    ) -> PutResult:
        """Replace all metadata of an object. The body, the headers and the ACL are kept.

        Backends whose server can do this override it; here, the body is stored again.

        Parameters
        ----------
        metadata : mapping of str to str
        etag : str, optional
            Version to change. Default: the current one.

        Raises
        ------
        ObjectNotFoundError
        ObjectChangedError
            If the object has another ETag, or is replaced in the same moment.
        """
        with self.get(key, prefetch=False) as reader:
            if etag is not None:
                IfMatch(etag).check(reader.info.etag or "", f"object '{key}'")
            body = Body(reader.chunks, size=reader.size)
            return self.put(key, body, self.capabilities.options_like(reader.info, metadata))

    def has_md5_etag(self, key: str) -> bool:
        """Return whether the ETag of an object is an MD5, if its form and the store allow that."""
        return self.capabilities.stored_checksum == "md5"

    def storage_class(self, key: str) -> str | None:
        """Return the storage class of an object; those of S3 are not in the answer to a GET."""
        return self.head(key).storage_class

    def can_copy_from(self, other: Backend) -> bool:
        """Return whether :meth:`copy` also copies from another backend's buckets."""
        return other is self

    def exists(self, key: str) -> bool:
        """Return whether the object exists. Errors other than "not found" are raised."""
        try:
            self.head(key)
        except ObjectNotFoundError:
            return False
        return True

    def puts_atomically(self, key: str, size: int = 0) -> bool:
        """Return whether a put of that size checks its condition and stores in one atomic step.

        It may send a request, to find out what the server supports.
        """
        return self.capabilities.conditional_put

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """Yield the uploads in parts that were begun and neither completed nor aborted."""
        return iter(())

    def unlisted(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield what is stored but not an object, so that no listing shows it: name and reason."""
        return iter(())

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Abort one of the unfinished uploads; its parts are deleted."""
        raise UnsupportedOperationError(f"the {self.name} backend has no unfinished uploads")

    def move(
        self, source: str, dest: str, *, source_bucket: str | None = None, overwrite: bool = True
    ) -> PutResult:
        """Rename an object. The source is deleted only after the copy exists."""
        result = self.copy(source, dest, source_bucket=source_bucket, overwrite=overwrite)
        origin = self._origin(source_bucket)
        if (source, origin.bucket) == (dest, self.bucket):
            return result  # onto itself
        for deletion in origin.delete([source]):
            if deletion.error is not None:
                raise deletion.error
        return result

    def remove_links(self, prefix: str) -> None:  # noqa: B027 - few stores have links
        """Remove the links to directories at and below a prefix, before its objects are deleted.

        Objects reached through a link appear below the prefix but are stored elsewhere; they are
        kept.
        """

    def resolve_links(self, prefix: str) -> str | None:
        """Return the directory that a prefix is, with links followed; None on stores without."""
        return None

    # -- buckets ---------------------------------------------------------------------------------

    def list_buckets(self) -> Iterator[BucketInfo]:
        """List the buckets that the user can see: only this one, if the store lists no others.

        Yields
        ------
        BucketInfo
        """
        if self.bucket_name is not None and self.has_bucket(self.bucket_name):
            yield BucketInfo(self.bucket_name)

    @abstractmethod
    def has_bucket(self, bucket: str) -> bool:
        """Return whether the bucket exists, even if it may not be read."""

    @abstractmethod
    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        """Create a bucket.

        Raises
        ------
        BucketExistsError, InvalidNameError
        """

    @abstractmethod
    def delete_bucket(self, bucket: str) -> None:
        """Delete an empty bucket.

        Raises
        ------
        BucketNotEmptyError, BucketNotFoundError
        """

    # -- only on some stores --------------------------------------------------------------------

    def owner(self, key: str) -> Mapping[str, str]:
        """Return the owner of an object: ``ID`` and, if known, ``DisplayName``."""
        raise UnsupportedOperationError(f"objects have no owner on the {self.name} backend")

    def acl(self, key: str) -> Any:
        """Return who may do what with an object, in the words of the store."""
        raise UnsupportedOperationError(f"objects have no ACL on the {self.name} backend")

    def presign(self, key: str, expires_s: int) -> str:
        """Return a URL that reads an object without credentials, until it expires."""
        raise UnsupportedOperationError(
            f"the {self.name} backend cannot sign URLs; copy the object to an S3 store to share it"
        )

    def native_object(self, key: str) -> Any:
        """Return the client library's own object (boto3's ``Object``)."""
        raise UnsupportedOperationError(
            f"the {self.name} backend has no native object; use download_object() or "
            f"download_stream()"
        )

    def native_bucket(self) -> Any:
        """Return the client library's own bucket (boto3's ``Bucket``)."""
        raise UnsupportedOperationError(
            f"the {self.name} backend has no native bucket object; use get_objects()"
        )

    # -- helpers for subclasses ------------------------------------------------------------------

    def _checked(self, key: str, options: PutOptions) -> PutOptions:
        """Return the options with normalized metadata; raise if the store can't honor one."""
        can, headers = self.capabilities, {**self.upload_options, **options.headers}
        for name in headers.keys() - can.headers:
            raise UnsupportedOperationError(
                f"the {self.name} backend does not support {name}; omit it, or store the "
                f"object on S3. Nothing was stored"
            )
        metadata = options.metadata
        return options.changed(
            **headers,
            metadata=None if metadata is None else can.metadata.check(metadata, key),
            acl=(options.acl or None) if can.acls else None,
        )

    def read_only_error(self) -> UnsupportedOperationError:
        """Return the error for a verb that writes, on a store that is not writable."""
        return UnsupportedOperationError(
            f"{self.describe()} is read-only, and nothing was changed; to write, create the "
            f"interface without read_only=True, on a store that can be written"
        )

    def _check_condition(self, key: str, condition: IfAbsent | IfMatch | None) -> None:
        """Check the condition of a put with a request, if the store cannot check it."""
        if condition is None:
            return
        try:
            etag = self.head(key).etag or ""
        except ObjectNotFoundError:
            etag = None
        condition.check(etag, f"object '{key}' in bucket '{self.bucket}'")

    def _origin(self, bucket: str | None) -> Self:
        """Return the backend on the bucket that is copied from."""
        return self if bucket in (None, self.bucket_name) else self.with_bucket(bucket)

    @property
    def bucket(self) -> str:
        """The bucket.

        Raises
        ------
        BucketNotFoundError
            If none was chosen.
        """
        if not self.bucket_name:
            raise BucketNotFoundError(
                "no bucket selected; pass bucket_name, call cci.set_bucket(name), or set [basic] "
                "default_bucket in the options file"
            )
        return self.bucket_name


class ReadOnlyVerbs(Backend):
    """The verbs that write, of a backend that only reads."""

    def _reject(self, *arguments: Any, **options: Any) -> NoReturn:
        raise self.read_only_error()

    put = delete = copy = move = set_metadata = remove_links = _reject
    create_bucket = delete_bucket = abort_upload = puts_atomically = _reject
