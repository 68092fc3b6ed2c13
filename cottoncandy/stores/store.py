"""A backend and a bucket, with the user's defaults: what interfaces and browsers work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType
from typing import Any, Self

from cottoncandy.backends.base import (
    Backend,
    IfAbsent,
    IfMatch,
    ObjectReader,
    PutOptions,
    PutResult,
)
from cottoncandy.config.options import DEFAULT_THREADS, DefaultInt, DefaultStr, Settings
from cottoncandy.core.buffers import Body, Buffer, MiB
from cottoncandy.core.names import SEPARATOR, Key, prefix_of, resolve_name
from cottoncandy.core.output import Progress
from cottoncandy.exceptions import (
    BucketExistsError,
    CottonCandyError,
    EncryptionError,
    InvalidNameError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreError,
)
from cottoncandy.formats.generations import MANIFEST, UPLOAD_ID, new_upload_id
from cottoncandy.stores.checks import check_canned_acl, check_int

_ENCRYPTION_METADATA = "cc-encryption"  # EncryptedBackend removes it from what it can read
_PROGRESS_BYTES = 64 * MiB  # smaller transfers show no bar
_BULK_THREADS = 16  # many small objects: latency counts, not bandwidth


@dataclass(frozen=True, slots=True)
class Store:
    """One bucket of one backend, and the options that apply to it.

    It never changes: an interface that goes to another bucket gets another store, and whatever was
    opened with this one stays in its bucket.

    Parameters
    ----------
    backend : Backend
        Its ``bucket_name`` is the bucket.
    settings : Settings
        Without secrets: a store pickles.
    """

    backend: Backend
    settings: Settings

    @property
    def bucket(self) -> str | None:
        """Name of the bucket; None if none was chosen."""
        return self.backend.bucket_name

    def describe(self) -> str:
        """Return where the objects are, without secrets."""
        return self.backend.describe()

    def in_bucket(self, bucket: str | None) -> Self:
        """Return a store on another bucket of the same backend."""
        return replace(self, backend=self.backend.with_bucket(bucket))

    def create_bucket(self, acl: str | None = None) -> None:
        """Create the bucket, unless another process has just done that."""
        bucket = self.backend.bucket
        try:
            self.backend.create_bucket(bucket, acl=acl)
        except BucketExistsError:
            if not self.backend.has_bucket(bucket):
                raise

    def with_upload_options(self, options: Mapping[str, Any]) -> Self:
        """Return a store whose uploads have options, such as a storage class; None omits one."""
        given = {name: value for name, value in options.items() if value is not None}
        if not given:
            return self
        return replace(self, backend=self.backend.with_upload_options(**given))

    def require_writable(self) -> None:
        """Raise UnsupportedOperationError if nothing can be stored or deleted."""
        if not self.backend.capabilities.writable:
            raise self.backend.read_only_error()

    def same_settings(self, other: Store) -> bool:
        """Return whether another store has the same backend, bucket, credentials and keys."""
        return bool(state_of(self.backend) == state_of(other.backend))

    # -- objects ---------------------------------------------------------------------------------

    def open(
        self,
        name: str,
        threads: int = DEFAULT_THREADS,
        *,
        prefetch: bool | tuple[int, int] = True,
        tail: int = 0,
    ) -> ObjectReader:
        """Open an object for reading: its header has arrived, its body follows on demand."""
        key = self.key(name)
        count = self.threads(threads)
        try:
            reader = self.backend.get(key, threads=count, prefetch=prefetch, tail=tail)
        except ObjectNotFoundError as exc:
            if isinstance(name, Key):  # of the library, which expects that it may be missing
                raise
            raise self.not_found(key, exc) from exc.__cause__
        if _ENCRYPTION_METADATA in reader.metadata:
            reader.close()
            raise EncryptionError(
                f"object '{key}' in bucket '{self.bucket}' is encrypted; open the bucket with "
                f"cottoncandy.get_encrypted_interface() and the key it was written with"
            )
        return reader

    def put(
        self,
        name: str,
        body: Body,
        *,
        metadata: Mapping[str, Any] | None = None,
        acl: str | None = None,
        condition: IfAbsent | IfMatch | None = None,
        threads: int = DEFAULT_THREADS,
        **headers: Any,
    ) -> dict[str, Any]:
        """Store an object, with headers of ``PutOptions``; return the documented response."""
        self.require_writable()
        key = self.key(name)
        if condition is not None:
            metadata = {UPLOAD_ID: new_upload_id(), **(metadata or {})}
        options = PutOptions(metadata, self.acl(acl), condition=condition, **headers)
        with self.bar(f"uploading {key}", body.max_size) as bar:
            body.progress = bar.update if bar.shown else None
            try:
                result = self.backend.put(key, body, options, threads=self.threads(threads))
            except (ObjectExistsError, ObjectChangedError, StoreError) as exc:
                if condition is None:
                    raise
                result = self._own_upload(key, options, exc)
        return result.response

    def _own_upload(self, key: Key, options: PutOptions, error: CottonCandyError) -> PutResult:
        """Return the result of a conditional upload whose answer was lost; raise the error if not.

        A request that is repeated after a lost answer finds its own object in its way.
        """
        sent = {name.lower(): str(value) for name, value in (options.metadata or {}).items()}
        with suppress(CottonCandyError):
            found = self.backend.head(key)
            if sent.items() <= (found.metadata or {}).items():
                return PutResult(found.etag)
        raise error

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; the first error is raised when all were tried."""
        errors = [done.error for done in self.backend.delete(keys) if done.error is not None]
        if errors:
            raise errors[0]

    def fill(
        self, reader: ObjectReader, out: memoryview, start: int = 0, *, checksum: bool = False
    ) -> int:
        """Read the bytes from ``start`` into a buffer; return their CRC-32 if requested."""
        with self.bar(f"downloading {reader.info.key}", len(out)) as bar:
            progress = bar.update if bar.shown else None
            return reader.read_into(out, start, checksum=checksum, progress=progress)

    def chunks(self, reader: ObjectReader) -> Iterator[Buffer]:
        """Read the whole body piece by piece."""
        with self.bar(f"downloading {reader.info.key}", reader.size) as bar:
            for chunk in reader.chunks():
                yield chunk
                bar.update(len(chunk))

    def bar(self, label: str, nbytes: int | None) -> Progress:
        """Return the progress bar of a transfer, which is not shown for a small one."""
        small = nbytes is not None and nbytes < _PROGRESS_BYTES
        show = False if small else self.settings.progress
        return Progress(nbytes, unit="B", label=label, show=show)

    # -- names -----------------------------------------------------------------------------------

    def key(self, name: str, *, tree: bool = False, strict: bool = False) -> Key:
        """Return the key that a user's name refers to: see :func:`resolve_name`.

        ``tree`` also accepts a name that has objects below it.
        """

        def exists(key: str) -> bool:
            return self.has_object(key) or (tree and self.has_below(key))

        return resolve_name(name, exists, strict)

    def has_object(self, key: str) -> bool:
        """Return whether an object exists; the store cannot have one whose name it rejects."""
        try:
            return bool(key) and self.backend.exists(key)
        except InvalidNameError:
            return False

    def has_below(self, key: str) -> bool:
        found = self.backend.scan(prefix_of(key), page_size=1)
        return next(found, None) is not None

    def not_found(self, key: str, error: ObjectNotFoundError) -> ObjectNotFoundError:
        """Return the error for a missing object, after a look for a directory of its name."""
        with suppress(CottonCandyError):  # some stores and credentials cannot list
            if self.has_below(key):
                return ObjectNotFoundError(
                    f"there is no object '{key}' in bucket '{self.bucket}', but a directory has "
                    f"that name; download it with download_directory, or list it with "
                    f"cci.ls('{key}')"
                )
        return error

    # -- defaults from the options ---------------------------------------------------------------

    def acl(self, acl: str | None) -> str | None:
        can, default = self.backend.capabilities, isinstance(acl, DefaultStr)
        chosen = self.settings.default_acl if default else acl
        if not chosen or not (can.default_acl if default else can.acls):
            return None
        return check_canned_acl(chosen)

    def threads(self, threads: int) -> int:
        if isinstance(threads, DefaultInt):
            return self.settings.threads
        return check_int(threads, "threads", 1)

    def bulk_threads(self, threads: int) -> int:
        """Return the number of small objects to transfer at once; more than 4 by default."""
        chosen = self.threads(threads)
        return max(chosen, _BULK_THREADS) if isinstance(threads, DefaultInt) else chosen


def state_of(value: Any) -> Any:
    """Return the settings that an object is pickled as, with the same repr in every process."""
    if isinstance(value, Mapping):
        return sorted((str(name), state_of(each)) for name, each in value.items())
    if isinstance(value, tuple | list):
        return [state_of(each) for each in value]
    if isinstance(value, frozenset | set):
        return sorted(str(state_of(each)) for each in value)
    if isinstance(value, float) and value.is_integer():
        return int(value)  # equal numbers
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):  # the name of a global object
        return f"{value.__module__}.{reduced}"
    rebuild, *state = reduced[:3]
    return [getattr(rebuild, "__qualname__", ""), *map(state_of, state)]


def replace_metadata(
    backend: Backend, key: str, metadata: Mapping[str, str], etag: str | None
) -> PutResult:
    """Replace all metadata of an object, as the backend does; a manifest is stored again.

    A copy on the server is not conditional: it could replace a concurrent upload of an array.
    """
    if key.endswith(SEPARATOR + MANIFEST):
        return Backend.set_metadata(backend, key, metadata, etag=etag)
    return backend.set_metadata(key, metadata, etag=etag)
