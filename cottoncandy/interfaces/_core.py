"""The seam through which every interface reads and writes objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cottoncandy._body import Body
from cottoncandy._buffers import Buffer, MiB, bytes_view
from cottoncandy._defaults import DEFAULT_ACL, DefaultInt, DefaultStr
from cottoncandy._names import Key, prefix_of, resolve_name
from cottoncandy._output import say
from cottoncandy._progress import Progress
from cottoncandy.backends import backend_class
from cottoncandy.backends.base import (
    Backend,
    ConnectionArguments,
    ObjectReader,
    PutOptions,
)
from cottoncandy.exceptions import (
    BucketExistsError,
    BucketNotFoundError,
    EncryptionError,
    InvalidNameError,
)
from cottoncandy.interfaces._checks import canned_acl, whole_number
from cottoncandy.options import Settings

__all__ = ["ENCRYPTION_MARK", "InterfaceObject", "ObjectAccess"]

#: Metadata name that says how a body is encrypted.
ENCRYPTION_MARK = "cc-encryption"

_PROGRESS_BYTES = 64 * MiB  # smaller transfers show no bar
_STEP_BYTES = 32 * MiB  # how often a bar moves
_NOT_GIVEN = (None, False, "False", "")
_BULK_THREADS = 16  # many small objects: latency counts, not bandwidth


class InterfaceObject:
    """Base of everything that the factories return."""


class ObjectAccess(InterfaceObject):
    """How interfaces reach objects: the backend, the settings, and a few methods on bodies.

    Everything above reads and writes object bodies through :meth:`_open` and :meth:`_put`. An
    interface that changes how bodies are stored overrides :meth:`_incoming` and :meth:`_outgoing`,
    which they call, and nothing else.
    """

    backend: str
    backend_interface: Backend
    settings: Settings

    def __init__(
        self,
        bucket_name: str | None,
        ACCESS_KEY: str | None = None,  # noqa: N803 - the documented name
        SECRET_KEY: str | None = None,  # noqa: N803 - the documented name
        url: str | None = None,
        force_bucket_creation: bool = False,
        verbose: bool = True,
        backend: str = "s3",
        **kwargs: Any,
    ) -> None:
        # Who has read the options already (a factory, a subclass) passes them on: read twice, a
        # file that is edited in between would count in two versions.
        settings: Settings = kwargs.pop("_settings", None) or Settings.load()
        store = backend_class(backend)
        bucket = _given(bucket_name)
        if bucket is None and store.uses_default_bucket:
            bucket = settings.default_bucket
        self.backend = backend
        self.verbose = verbose
        arguments = ConnectionArguments(
            bucket_name=bucket,
            access_key=_given(ACCESS_KEY),
            secret_key=_given(SECRET_KEY),
            endpoint_url=_given(url),
            settings=settings,
            extra=kwargs,
        )
        self.backend_interface = store.connect(arguments)
        # Whoever needs a secret has it by now; an interface pickles, and keeps none it can spare.
        self.settings = settings.without_secrets()
        self._check_bucket(force_bucket_creation)
        if verbose:
            self._greet()

    def __repr__(self) -> str:
        return f"<cottoncandy.{type(self).__name__} {self.backend_interface.describe()}>"

    @property
    def bucket_name(self) -> str | None:
        """Name of the current bucket; None where none was chosen."""
        return self.backend_interface.bucket_name

    def _check_bucket(self, create: bool) -> None:
        bucket = self.bucket_name
        if bucket is None or self.backend_interface.has_bucket(bucket):
            return
        if not create:
            raise BucketNotFoundError(
                f"there is no bucket '{bucket}' ({self.backend_interface.describe()}); check its "
                f"name, or pass force_bucket_creation=True to make it"
            )
        try:
            self.backend_interface.create_bucket(bucket, acl=self._acl(DEFAULT_ACL))
        except BucketExistsError:
            # Another process created it after the check above.
            if not self.backend_interface.has_bucket(bucket):
                raise

    def _greet(self) -> None:
        say(self.backend_interface.greeting())

    # -- the seam --------------------------------------------------------------------------------

    def _open(self, object_name: str, threads: int = 4, *, prefetch: bool = True) -> ObjectReader:
        """Open an object for reading: its head has arrived, its body follows on demand."""
        key = self._key(object_name)
        reader = self.backend_interface.get(key, threads=self._threads(threads), prefetch=prefetch)
        try:
            return self._incoming(key, reader)
        except BaseException:
            reader.close()
            raise

    def _put(
        self,
        object_name: str,
        body: Body,
        *,
        metadata: Mapping[str, Any] | None = None,
        acl: str | None = None,
        content_type: str | None = None,
        threads: int = 4,
    ) -> dict[str, Any]:
        """Store an object; return what the documents call the response."""
        key = self._key(object_name)
        body, metadata = self._outgoing(key, body, metadata)
        options = PutOptions(metadata, self._acl(acl), content_type)
        with self._transfer_bar(f"uploading {key}", body.max_size) as bar:
            result = self.backend_interface.put(
                key, _counted(body, bar), options, threads=self._threads(threads)
            )
        response = {"ETag": result.etag, "VersionId": result.version_id}
        return {name: value for name, value in response.items() if value is not None}

    def _incoming(self, key: str, reader: ObjectReader) -> ObjectReader:
        """Return what reads the body as it was uploaded; ``reader`` has it as it is stored."""
        if ENCRYPTION_MARK in reader.metadata:
            raise EncryptionError(
                f"object '{key}' in bucket '{self.bucket_name}' is encrypted; open the bucket with "
                f"cottoncandy.get_encrypted_interface() and the key it was written with"
            )
        return reader

    def _outgoing(
        self, key: str, body: Body, metadata: Mapping[str, Any] | None
    ) -> tuple[Body, Mapping[str, Any] | None]:
        """Return body and metadata as they are stored."""
        return body, metadata

    # -- names -----------------------------------------------------------------------------------

    def _key(
        self, name: str, *, tree: bool = False, strict: bool = False, bucket: str | None = None
    ) -> Key:
        """Return the key that a user's name refers to: see :func:`resolve_name`.

        ``tree`` also accepts a name that has objects below it.
        """

        def exists(key: str) -> bool:
            return self._has_object(key, bucket) or (tree and self._has_below(key, bucket))

        return resolve_name(name, exists, strict)

    def _has_object(self, key: str, bucket: str | None = None) -> bool:
        """Return whether an object exists; the store cannot have one whose name it rejects."""
        try:
            return bool(key) and self.backend_interface.exists(key, bucket=bucket)
        except InvalidNameError:
            return False

    def _has_below(self, key: str, bucket: str | None = None) -> bool:
        found = self.backend_interface.scan(prefix_of(key), bucket=bucket, page_size=1)
        return next(found, None) is not None

    # -- companions of the seam ------------------------------------------------------------------

    def _fill(
        self, reader: ObjectReader, out: memoryview, start: int = 0, *, checksum: bool = False
    ) -> int:
        """Read the bytes from ``start`` on into a buffer; return their CRC-32 if requested."""
        with self._transfer_bar(f"downloading {reader.info.key}", len(out)) as bar:
            progress = bar.update if bar.shown else None
            return reader.read_into(out, start, checksum=checksum, progress=progress)

    def _chunks(self, reader: ObjectReader) -> Iterator[Buffer]:
        """Read the whole body piece by piece."""
        with self._transfer_bar(f"downloading {reader.info.key}", reader.size) as bar:
            for chunk in reader.chunks():
                yield chunk
                bar.update(len(chunk))

    def _transfer_bar(self, label: str, nbytes: int | None) -> Progress:
        small = nbytes is not None and nbytes < _PROGRESS_BYTES
        show = False if small else self.settings.progress
        return Progress(nbytes, unit="B", label=label, show=show)

    # -- arguments that follow the options where nobody gave them --------------------------------

    def _acl(self, acl: str | None) -> str | None:
        chosen = self.settings.default_acl if isinstance(acl, DefaultStr) else acl
        if not chosen or not self.backend_interface.capabilities.acls:
            return None
        return canned_acl(chosen)

    def _threads(self, threads: int) -> int:
        if isinstance(threads, DefaultInt):
            return self.settings.threads
        return whole_number(threads, "threads", 1)

    def _bulk_threads(self, threads: int) -> int:
        """Return how many small objects travel at once; more than 4 where nobody chose."""
        chosen = self._threads(threads)
        return max(chosen, _BULK_THREADS) if isinstance(threads, DefaultInt) else chosen


def _counted(body: Body, bar: Progress) -> Body:
    """Return a body that moves the bar as it is sent; the same one where no bar shows."""
    if not bar.shown:
        return body

    def blocks() -> Iterator[Buffer]:
        for buffer in body:
            view = bytes_view(buffer)
            for position in range(0, len(view), _STEP_BYTES):
                piece = view[position : position + _STEP_BYTES]
                yield piece
                bar.update(len(piece))

    return Body(blocks, size=body.size, max_size=body.max_size, replayable=body.replayable)


def _given(value: Any) -> Any:
    return None if value in _NOT_GIVEN else value
