"""The local backend: a bucket is a directory, an object a file in it."""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH103, PTH106, PTH108, PTH112, PTH114, PTH116
from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import ClassVar, Self

from cottoncandy._body import Body
from cottoncandy._buffers import Buffer
from cottoncandy._local_files import TemporaryFile
from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    BucketInfo,
    Capabilities,
    CommonPrefix,
    ConnectionArguments,
    Deletion,
    IfAbsent,
    IfMatch,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
)
from cottoncandy.backends.local._commit import (
    commit,
    locked,
    look,
    remove,
    remove_empty_parents,
    remove_sidecar,
    staging,
)
from cottoncandy.backends.local._errors import bucket_errors, no_directory, object_errors
from cottoncandy.backends.local._listing import Listing
from cottoncandy.backends.local._paths import Place, bucket_path
from cottoncandy.backends.local._reader import LocalReader, open_version
from cottoncandy.exceptions import (
    BucketExistsError,
    BucketNotEmptyError,
    ConfigurationError,
    CottonCandyError,
    IntegrityError,
    InvalidNameError,
    ObjectNotFoundError,
    StoreError,
)

__all__ = ["LocalBackend"]

# Where the kernel cannot copy from this file to that one by itself.
_NO_KERNEL_COPY = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM}
)


class LocalBackend(Backend):
    """Objects as files: ``ROOT/NAME`` is the body, ``ROOT/NAME.meta.json`` the metadata.

    Parameters
    ----------
    bucket_name : str, optional
        Path of the root directory. A relative one is taken from the present working directory, and
        ``~`` is the home directory.

    Notes
    -----
    *Atomic.* Bodies and sidecars are written to temporary files in the same directory
    (``.cottoncandy-*.tmp``) and renamed, in an order that keeps them together for every reader,
    also if the program is killed at any point. Temporary files that a killed program leaves are
    never shown; a listing that meets one removes it if it is older than a day.

    *Not synced.* Nothing waits for the disk (no ``fsync``): what was stored survives the end of
    the program, and a power failure within some seconds may undo it.

    *Locks.* Writers hold a lock (``flock``) on the directory for a few renames. It reaches all
    processes of one machine. Of two machines that replace one object on a network file system at
    the same moment, one wins, and its metadata may be the other's.

    *Links.* Symbolic links inside the root are followed, so data may lie elsewhere; an upload to
    the name of a link replaces the link, never the file it points to. Links to nowhere and pipes
    are no objects. Files whose names are no UTF-8 are not shown.
    """

    name: ClassVar[str] = "local"
    creates_buckets: ClassVar[bool] = True
    capabilities: ClassVar[Capabilities] = Capabilities(
        owners=True, object_and_prefix=False, any_key=False, conditional_put=True
    )

    def __init__(self, bucket_name: str | None = None) -> None:
        self.bucket_name = bucket_name

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        if arguments.extra:
            raise ConfigurationError(
                f"the local backend takes no option {next(iter(arguments.extra))!r}"
            )
        return cls(arguments.bucket_name)

    @property
    def bucket_name(self) -> str | None:
        """Absolute path of the current root."""
        return self._bucket_name

    @bucket_name.setter
    def bucket_name(self, bucket: str | None) -> None:
        self._bucket_name = bucket_path(bucket) if bucket else None

    def describe(self) -> str:
        return f"local directory {self.bucket_name}"

    # -- objects ---------------------------------------------------------------------------------

    def get(
        self,
        key: str,
        *,
        bucket: str | None = None,
        threads: int = 4,
        prefetch: bool = True,
    ) -> ObjectReader:
        return self._open(self._place(key, bucket), threads)

    def head(self, key: str, *, bucket: str | None = None) -> ObjectInfo:
        with self._open(self._place(key, bucket)) as reader:
            return reader.info

    def exists(self, key: str, *, bucket: str | None = None) -> bool:
        try:
            place = self._place(key, bucket)
            with object_errors(place, "look for"):
                return stat.S_ISREG(os.stat(place.path).st_mode)
        except (InvalidNameError, ObjectNotFoundError):
            return False  # what cannot be stored is not there

    def put(
        self,
        key: str,
        body: Body,
        options: PutOptions = DEFAULT_OPTIONS,
        *,
        bucket: str | None = None,
        threads: int = 4,
    ) -> PutResult:
        place = self._place(key, bucket)
        options = self._checked(key, options)
        with object_errors(place, "write"):
            look(place, options.condition)
        with _staged(place) as staged:
            size = 0
            for block in body:
                size += _write(staged, block, place)
            if body.size is not None and size != body.size:
                raise IntegrityError(
                    f"the data for {place} ended after {size} bytes, and {body.size} were "
                    f"announced; nothing was stored"
                )
            return _finish(staged, place, options.metadata, options.condition)

    def scan(
        self,
        prefix: str = "",
        *,
        bucket: str | None = None,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        root = self._bucket(bucket)
        if not os.path.isdir(root):
            raise no_directory(root)
        # Text that is no unicode cannot be the start of a key, but has a place in the order.
        listing = Listing(
            os.fsencode(root),
            prefix.encode(errors="surrogatepass"),
            start_after.encode(errors="surrogatepass"),
            by_directory=delimiter == "/",
        )
        return _listed(root, listing, prefix, delimiter)

    def delete(
        self,
        keys: Iterable[str],
        *,
        bucket: str | None = None,
        threads: int = 4,
        permanently: bool = True,
    ) -> Iterator[Deletion]:
        root = self._bucket(bucket)
        if not os.path.isdir(root):
            raise no_directory(root)
        for key in keys:
            try:
                place = Place.of(key, root)
                with object_errors(place, "delete"):
                    remove(place)
            except CottonCandyError as error:
                yield Deletion(key, error)
            else:
                yield Deletion(key)

    def copy(
        self,
        source: str,
        dest: str,
        *,
        source_bucket: str | None = None,
        dest_bucket: str | None = None,
        overwrite: bool = True,
    ) -> PutResult:
        place, target = self._places(source, dest, source_bucket, dest_bucket)
        condition = None if overwrite else IfAbsent()
        with self._open(place) as reader:
            with object_errors(target, "write"):
                if place == target and overwrite:
                    return PutResult(reader.info.etag)
                look(target, condition)
            with _staged(target) as staged:
                _copy_bytes(reader, staged, target)
                return _finish(staged, target, reader.metadata, condition)

    def move(
        self,
        source: str,
        dest: str,
        *,
        source_bucket: str | None = None,
        dest_bucket: str | None = None,
        overwrite: bool = True,
    ) -> PutResult:
        place, target = self._places(source, dest, source_bucket, dest_bucket)
        if place != target and not os.path.islink(place.path):  # a relative link would break
            with self._open(place), object_errors(target, "write"):
                look(target, None if overwrite else IfAbsent())
            with _staged(target) as staged:  # holds the directory for us, too
                try:
                    with object_errors(place, "move"):
                        if os.stat(place.path).st_dev == os.fstat(staged.descriptor).st_dev:
                            return self._rename(place, target, overwrite)
                except StoreError as error:
                    # Mounts of one file system at two places cannot rename either.
                    if getattr(error.__cause__, "errno", None) != errno.EXDEV:
                        raise
        result = self.copy(
            source,
            dest,
            source_bucket=source_bucket,
            dest_bucket=dest_bucket,
            overwrite=overwrite,
        )
        if place != target:
            with object_errors(place, "delete"):
                remove(place)
        return result

    # -- buckets ---------------------------------------------------------------------------------

    def list_buckets(self) -> Iterator[BucketInfo]:
        """Yield the current root: which other directories are meant as buckets, nobody knows."""
        if self.bucket_name is not None and os.path.isdir(self.bucket_name):
            yield BucketInfo(self.bucket_name)

    def has_bucket(self, bucket: str) -> bool:
        return bool(bucket) and os.path.isdir(bucket_path(bucket))

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        if not bucket:
            raise InvalidNameError("a bucket of the local backend is a directory and needs a path")
        root = bucket_path(bucket)
        if os.path.isdir(root):
            raise BucketExistsError(f"local directory '{root}' exists already")
        _make_root(root)

    def delete_bucket(self, bucket: str) -> None:
        root = self._bucket(bucket)
        if not os.path.isdir(root):
            raise no_directory(root)
        with bucket_errors(root, "remove"):
            try:
                os.rmdir(os.path.realpath(root))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise BucketNotEmptyError(
                    f"local directory '{root}' is not empty; delete its objects first (other "
                    f"files in it are removed by hand)"
                ) from error
            if os.path.islink(root):
                os.unlink(root)

    def owner(self, key: str, *, bucket: str | None = None) -> Mapping[str, str]:
        place = self._place(key, bucket)
        with self._open(place), object_errors(place, "look at"):
            user = os.stat(place.path).st_uid
        try:
            return {"ID": str(user), "DisplayName": pwd.getpwuid(user).pw_name}
        except KeyError:
            return {"ID": str(user)}

    # -- inside ----------------------------------------------------------------------------------

    def _bucket(self, bucket: str | None) -> str:
        return bucket_path(super()._bucket(bucket))

    def _place(self, key: str, bucket: str | None) -> Place:
        return Place.of(key, self._bucket(bucket))

    def _places(
        self, source: str, dest: str, source_bucket: str | None, dest_bucket: str | None
    ) -> tuple[Place, Place]:
        return (
            self._place(source, source_bucket),
            self._place(dest, source_bucket if dest_bucket is None else dest_bucket),
        )

    def _open(self, place: Place, threads: int = 1) -> LocalReader:
        with object_errors(place, "read"):
            return open_version(place, threads)

    def _rename(self, place: Place, target: Place, overwrite: bool) -> PutResult:
        """Move within a file system: the body's new name is the moment that counts."""
        with locked(place.directory, target.directory):
            with open_version(place) as reader:
                metadata = dict(reader.metadata)
            with object_errors(target, "write"):
                condition = None if overwrite else IfAbsent()
                mark = commit(target, place.path, metadata, condition, stamp=False)
            remove_sidecar(place)
        remove_empty_parents(place)
        return PutResult(mark.etag)


@contextmanager
def _staged(place: Place) -> Iterator[TemporaryFile]:
    """Open a temporary file; errors of what happens meanwhile (the caller's body) stay theirs."""
    with ExitStack() as stack:
        with object_errors(place, "write"):
            staged = stack.enter_context(staging(place))
        yield staged


def _finish(
    staged: TemporaryFile,
    place: Place,
    metadata: Mapping[str, str] | None,
    condition: IfAbsent | IfMatch | None,
) -> PutResult:
    with object_errors(place, "write"):
        staged.close()
        with locked(place.directory):
            mark = commit(place, staged.path, metadata, condition, stamp=True)
    return PutResult(mark.etag)


def _write(staged: TemporaryFile, buffer: Buffer, place: Place) -> int:
    with object_errors(place, "write"):
        return staged.write(buffer)


def _copy_bytes(reader: LocalReader, staged: TemporaryFile, target: Place) -> None:
    """Copy inside the kernel where it can, which shares the blocks on some file systems."""
    done = 0
    copy = getattr(os, "copy_file_range", None)
    with object_errors(target, "write"):
        while copy is not None and done < reader.size:
            try:
                count = copy(reader.descriptor, staged.descriptor, reader.size - done, done, done)
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise
                break
            if not count:
                break
            done += count
        os.lseek(staged.descriptor, done, os.SEEK_SET)
    for chunk in reader.chunks(done):
        _write(staged, chunk, target)
    reader.check()


def _listed(
    root: str, listing: Listing, prefix: str, delimiter: str
) -> Iterator[ObjectInfo | CommonPrefix]:
    found: Iterator[ObjectInfo | CommonPrefix] = iter(listing)
    if delimiter not in ("", "/"):
        found = _grouped(found, prefix, delimiter)
    with bucket_errors(root, "list"):
        yield from found


def _grouped(
    found: Iterator[ObjectInfo | CommonPrefix], prefix: str, delimiter: str
) -> Iterator[ObjectInfo | CommonPrefix]:
    """Sum up keys by a delimiter that is none of the file system's."""
    last = None
    for entry in found:
        if isinstance(entry, ObjectInfo):
            cut = entry.key.find(delimiter, len(prefix))
            if cut >= 0:
                entry = CommonPrefix(entry.key[: cut + len(delimiter)])
        if entry != last:
            yield entry
        last = entry


def _make_root(root: str) -> None:
    with bucket_errors(root, "make"):
        try:
            os.makedirs(root, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InvalidNameError(
                f"'{root}' cannot be a local directory: '{error.filename or root}' is a file"
            ) from error
