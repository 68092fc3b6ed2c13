"""The seam between cottoncandy and a store: what every backend does, and nothing else.

A backend speaks of *keys* (any text), *buckets* and *buffers*. It knows no arrays, no
compression, no patterns. To add one: subclass :class:`Backend`, write its abstract verbs,
translate the client library's errors into those of :mod:`cottoncandy.exceptions`, add one line to
the registry in :mod:`cottoncandy.backends`, and one to the conformance test.
"""

from __future__ import annotations

import datetime
import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

from cottoncandy.backends.options import (
    DEFAULT_OPTIONS,
    Capabilities,
    IfAbsent,
    IfMatch,
    MetadataLimits,
    PutOptions,
)
from cottoncandy.backends.reader import ObjectInfo, ObjectReader
from cottoncandy.config.options import Settings
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    BucketNotFoundError,
    ConfigurationError,
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
]


@dataclass(frozen=True, slots=True)
class CommonPrefix:
    """A "directory" in a delimited listing; ``prefix`` ends with the delimiter."""

    prefix: str


@dataclass(frozen=True, slots=True)
class BucketInfo:
    """One bucket that the user can see."""

    name: str
    created: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class PutResult:
    """What the store says of an object that it has just taken."""

    etag: str | None = None
    version_id: str | None = None


class DeleteResult(NamedTuple):
    """What became of one key that was to be deleted; ``error`` is None where it is gone."""

    key: str
    error: CottonCandyError | None = None


_FACTORY_PARAMETERS = (
    *("bucket_name", "ACCESS_KEY", "SECRET_KEY", "endpoint_url", "force_bucket_creation"),
    *("verbose", "backend", "encryption", "encryptionKey", "passphrase"),
)


@dataclass(frozen=True, slots=True)
class ConnectionArguments:
    """What a user passes to a factory, for the backend to make sense of.

    ``access_key``, ``secret_key`` and ``endpoint_url`` are None where the user gave none; the
    settings hold what the options file and the environment say.
    """

    bucket_name: str | None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    endpoint_url: str | None = field(default=None, repr=False)  # it may contain a password
    settings: Settings = field(default_factory=Settings.load, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def check_extra(self, backend: str, accepted: Iterable[str] = ()) -> None:
        """Raise if there are options that a backend does not accept.

        Raises
        ------
        ConfigurationError
            With the parameter of the factories, or the option, that is spelled most like it.
        """
        valid = {name.lower(): name for name in (*accepted, *_FACTORY_PARAMETERS)}
        for name in self.extra:
            if name not in accepted:
                close = difflib.get_close_matches(name.lower(), valid, n=1, cutoff=0.7)
                hint = f"; did you mean {valid[close[0]]!r}?" if close else ""
                options = f" Valid options: {', '.join(sorted(accepted))}" if accepted else ""
                raise ConfigurationError(
                    f"unknown option {name!r} for the {backend} backend{hint}{options}"
                )


class Backend(ABC):
    """One store, seen as buckets of keys.

    Every verb takes ``bucket=None``, which means the current one, and raises
    :class:`~cottoncandy.exceptions.BucketNotFoundError` where there is none. A backend may be used
    from several threads at once, and pickles: as its settings, never its connections.
    """

    #: Name under which the registry has it; for messages only.
    name: ClassVar[str]

    capabilities: ClassVar[Capabilities] = Capabilities()

    #: Whether ``[basic] default_bucket`` of the options is meant for this store too. False where a
    #: store has a bucket of its own for those who name none.
    uses_default_bucket: ClassVar[bool] = True

    #: Whether interfaces create a bucket that does not exist unless the user forbids it.
    creates_buckets: ClassVar[bool] = False

    #: Bucket that verbs use if none is given. Once connected, it stays: see :meth:`with_bucket`.
    bucket_name: str | None = None

    # -- connecting ------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        """Make a backend; no request is sent. An unknown extra option is an error."""

    def with_bucket(self, bucket: str | None) -> Self:
        """Return the same backend on another bucket; connections are shared."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.bucket_name = bucket
        return other

    def status_message(self) -> str:
        """Return the line that ``verbose=True`` prints once an interface is ready."""
        return f"{self.name.capitalize()} backend instantiated."

    def describe(self) -> str:
        """Return where the objects are, for a repr: no secrets."""
        return f"bucket:{self.bucket_name} on {self.name}"

    # -- objects ---------------------------------------------------------------------------------

    @abstractmethod
    def get(
        self,
        key: str,
        *,
        bucket: str | None = None,
        threads: int = 4,
        prefetch: bool = True,
    ) -> ObjectReader:
        """Open an object: one request brings its head and, if ``prefetch``, the start of its body.

        Parameters
        ----------
        threads : int, default 4
            How many requests the reader may have under way at once.
        prefetch : bool, default True
            False where little of the body or nothing will be read: only the head travels.

        Raises
        ------
        ObjectNotFoundError, BucketNotFoundError, AccessDeniedError
        """

    @abstractmethod
    def head(self, key: str, *, bucket: str | None = None) -> ObjectInfo:
        """Return what is known of an object, with its metadata.

        Raises
        ------
        ObjectNotFoundError, BucketNotFoundError, AccessDeniedError
        """

    @abstractmethod
    def put(
        self,
        key: str,
        body: Body,
        options: PutOptions = DEFAULT_OPTIONS,
        *,
        bucket: str | None = None,
        threads: int = 4,
    ) -> PutResult:
        """Store an object: the whole of it, or (on any error) what was there before.

        Parameters
        ----------
        options : PutOptions, optional
            Begin with ``_checked``, which validates them before anything is sent.

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
        bucket: str | None = None,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """Yield the objects whose keys start with ``prefix``, lazily, sorted by their UTF-8 bytes.

        ``prefix`` is plain text: it may end within a name. With a ``delimiter`` (``"/"``), keys
        that go on behind one are summed up as :class:`CommonPrefix`, at their place in the order.
        ``start_after`` begins behind that key. ``page_size`` is a hint.
        """

    @abstractmethod
    def delete(
        self,
        keys: Iterable[str],
        *,
        bucket: str | None = None,
        threads: int = 4,
        permanently: bool = True,
    ) -> Iterator[DeleteResult]:
        """Delete many keys, in bulk; yield what became of each. One that is missing is gone.

        Lazy: nothing happens unless the result is iterated.
        """

    @abstractmethod
    def copy(
        self,
        source: str,
        dest: str,
        *,
        source_bucket: str | None = None,
        dest_bucket: str | None = None,
        overwrite: bool = True,
    ) -> PutResult:
        """Copy within the store, with metadata, content type and ACL; the bytes stay there.

        ``dest_bucket`` defaults to ``source_bucket``.

        Raises
        ------
        ObjectNotFoundError
            If there is no ``source``.
        ObjectExistsError
            If ``dest`` exists and ``overwrite`` is False.
        """

    def exists(self, key: str, *, bucket: str | None = None) -> bool:
        """Tell whether there is such an object; any error but "missing" is raised."""
        try:
            self.head(key, bucket=bucket)
        except ObjectNotFoundError:
            return False
        return True

    def move(
        self,
        source: str,
        dest: str,
        *,
        source_bucket: str | None = None,
        dest_bucket: str | None = None,
        overwrite: bool = True,
    ) -> PutResult:
        """Rename an object. The source goes only when the copy is there."""
        result = self.copy(
            source,
            dest,
            source_bucket=source_bucket,
            dest_bucket=dest_bucket,
            overwrite=overwrite,
        )
        home = self._bucket(source_bucket)
        if source == dest and home == (home if dest_bucket is None else self._bucket(dest_bucket)):
            return result  # onto itself: nothing must go
        for deletion in self.delete([source], bucket=source_bucket):
            if deletion.error is not None:
                raise deletion.error
        return result

    def remove_links(self, prefix: str, *, bucket: str | None = None) -> None:  # noqa: B027 - few stores have links
        """Remove the links to directories at and below a prefix, before its objects are deleted.

        Objects behind a link appear below the prefix but are stored elsewhere, where they stay.
        """

    # -- buckets ---------------------------------------------------------------------------------

    @abstractmethod
    def list_buckets(self) -> Iterator[BucketInfo]:
        """Yield the buckets that the user can see."""

    @abstractmethod
    def has_bucket(self, bucket: str) -> bool:
        """Tell whether the bucket exists, even where it may not be read."""

    @abstractmethod
    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        """Make a bucket.

        Raises
        ------
        BucketExistsError, InvalidNameError
        """

    @abstractmethod
    def delete_bucket(self, bucket: str) -> None:
        """Remove an empty bucket.

        Raises
        ------
        BucketNotEmptyError, BucketNotFoundError
        """

    # -- what only some stores have --------------------------------------------------------------

    def owner(self, key: str, *, bucket: str | None = None) -> Mapping[str, str]:
        """Return who owns an object: ``ID`` and, where known, ``DisplayName``."""
        raise UnsupportedOperationError(f"objects have no owner on the {self.name} backend")

    def native_object(self, key: str, *, bucket: str | None = None) -> Any:
        """Return the client library's own object (boto3's ``Object``)."""
        raise UnsupportedOperationError(
            f"the {self.name} backend has no client objects to hand out; "
            f"use download_object() or download_stream()"
        )

    def native_bucket(self, bucket: str | None = None) -> Any:
        """Return the client library's own bucket (boto3's ``Bucket``)."""
        raise UnsupportedOperationError(
            f"the {self.name} backend has no client objects to hand out; use get_objects()"
        )

    # -- helpers for subclasses ------------------------------------------------------------------

    def _checked(self, key: str, options: PutOptions) -> PutOptions:
        """Return the options with normalized metadata; raise if the store can't honor one."""
        can = self.capabilities
        for name in options.headers.keys() - can.headers:
            raise UnsupportedOperationError(
                f"the {self.name} backend does not keep {name} (object '{key}'); leave it out"
            )
        metadata = options.metadata
        return replace(
            options,
            metadata=None if metadata is None else can.metadata.check(metadata, key),
            acl=(options.acl or None) if can.acls else None,
        )

    def _check_condition(
        self, key: str, condition: IfAbsent | IfMatch | None, bucket: str | None
    ) -> None:
        """Check the condition of a put with a request, for stores that can't do it in one step."""
        if condition is None:
            return
        try:
            etag = self.head(key, bucket=bucket).etag or ""
        except ObjectNotFoundError:
            etag = None
        condition.check(etag, f"object '{key}' in bucket '{self._bucket(bucket)}'")

    def _bucket(self, bucket: str | None) -> str:
        chosen = self.bucket_name if bucket is None else bucket
        if not chosen:
            raise BucketNotFoundError(
                "no bucket was chosen: pass bucket_name to the factory, set [basic] "
                "default_bucket in the options file, or call cci.set_bucket(name)"
            )
        return chosen
