"""The local backend: a bucket is a directory, an object a file in it."""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH103, PTH106, PTH108, PTH114, PTH116, PTH118
from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import ClassVar, Self

from cottoncandy.backends.base import (
    DANGLING,
    DEFAULT_OPTIONS,
    Backend,
    Capabilities,
    CommonPrefix,
    ConnectionArguments,
    DeleteResult,
    IfAbsent,
    IfMatch,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
    group_by_delimiter,
)
from cottoncandy.backends.local.commit import (
    commit,
    marked,
    remove,
    remove_empty_parents,
    staging,
    unlink,
)
from cottoncandy.backends.local.listing import Listing
from cottoncandy.backends.local.location import (
    LocalLocation,
    bucket_path,
    check_root,
    is_directory,
    is_loop,
    os_errors,
)
from cottoncandy.backends.local.reader import (
    LocalReader,
    guess_type,
    open_version,
)
from cottoncandy.core.buffers import Body, Buffer, MiB, bytes_view
from cottoncandy.core.files import NewFile, TemporaryFile, locked
from cottoncandy.core.names import SIDECAR_SUFFIX
from cottoncandy.core.threads import run_threads
from cottoncandy.exceptions import (
    BucketExistsError,
    BucketNotEmptyError,
    CottonCandyError,
    InvalidNameError,
    ObjectNotFoundError,
    StoreError,
    UnsupportedOperationError,
)

_LARGE_BYTES = 32 * MiB
_GENERIC_TYPES = ("application/octet-stream", "binary/octet-stream")


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
    (``.cottoncandy-*.tmp``) and renamed, in an order that keeps them consistent for every
    reader, even if the program is killed at any point. Temporary files of a killed program are
    never listed, and are removed by the next listing, or by the next writer of the same name.

    *Not synced.* Nothing waits for the disk (no ``fsync``): stored objects survive the end of the
    program, but a power failure within some seconds may undo them.

    *Locks.* Writers hold a lock (``flock``) on the directory for a few renames. It covers all
    processes of one machine. If two machines replace one object on a network file system at the
    same moment, one wins, and its metadata may be the other's.

    *Links.* Symbolic links inside the root are followed, so data may be elsewhere. An upload to the
    name of a link replaces the link, never the file it points to; removing a tree removes the links
    to directories in it, not the files in those directories; objects reached through a link to a
    directory cannot be moved. Dangling links, pipes, and files with names that are not UTF-8 are
    not objects.
    """

    name: ClassVar[str] = "local"
    creates_buckets: ClassVar[bool] = True
    capabilities: ClassVar[Capabilities] = Capabilities(
        owners=True,
        object_and_prefix=False,
        any_key=False,
        conditional_put=True,
        headers=frozenset({"content_encoding", "cache_control", "storage_class"}),
    )

    #: Suffixes of files that their keys do not have, and the content encodings that they stand for.
    _encodings: ClassVar[Mapping[bytes, str]] = {}

    def __init__(self, bucket_name: str | None = None) -> None:
        self.bucket_name = bucket_name

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        arguments.check_extra("local")
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

    def unlisted(self, prefix: str) -> Iterator[tuple[str, str]]:
        root = self.bucket
        top = f"{root.rstrip('/')}/{prefix.rpartition('/')[0]}"
        for directory, folders, names in os.walk(top, followlinks=True):
            paths = {each: os.path.join(directory, each) for each in folders}
            folders[:] = [each for each, path in paths.items() if not is_loop(path, root)]
            for name in names:
                path = os.path.join(directory, name)
                body = path.removesuffix(SIDECAR_SUFFIX)
                if body != path and not os.path.lexists(body):
                    path, reason = body, "sidecar without body"
                elif path != os.fsencode(path).decode(errors="replace"):
                    reason = "name that is not UTF-8"
                elif os.path.islink(path) and not os.access(path, os.F_OK):
                    reason = DANGLING
                else:
                    continue
                key = os.path.relpath(path, root)
                if key.startswith(prefix):
                    yield key, reason

    def get(
        self, key: str, *, threads: int = 4, prefetch: bool | tuple[int, int] = True, tail: int = 0
    ) -> ObjectReader:
        return self._open(self._location(key), threads)

    def exists(self, key: str) -> bool:
        self.counter.add(1)
        try:
            location = self._location(key)
            with os_errors("look for", location):
                return stat.S_ISREG(os.stat(location.path).st_mode)
        except (InvalidNameError, ObjectNotFoundError):
            return False  # an invalid name

    def put(
        self, key: str, body: Body, options: PutOptions = DEFAULT_OPTIONS, *, threads: int = 4
    ) -> PutResult:
        location = self._location(key)
        options = self._checked(key, options)
        if options.content_type in {*_GENERIC_TYPES, guess_type(key)}:
            options = replace(options, content_type=None)  # files need no sidecar for these
        with staging(location, options.condition) as staged:
            self._write(staged, location, body, threads)
            # None makes no sidecar, an empty mapping does.
            entries = options.entries or options.metadata
            return _finish(staged, location, entries, options.condition)

    def scan(
        self,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        root = self.bucket
        self._check_root()
        self.counter.add(1)
        # Text that is not valid Unicode cannot begin a key, but has a place in the order.
        listing = Listing(
            os.fsencode(root),
            prefix.encode(errors="surrogatepass"),
            start_after.encode(errors="surrogatepass"),
            self._encodings,
            by_directory=delimiter == "/",
        )
        return _translated(group_by_delimiter(listing, prefix, delimiter), root)

    def delete(
        self, keys: Iterable[str], *, threads: int = 4, permanently: bool = True
    ) -> Iterator[DeleteResult]:
        root = self.bucket
        check_root(root)
        for key in keys:
            try:
                location = LocalLocation.of(key, root)
                self.counter.add(1)
                with os_errors("delete", location):
                    remove(location)
            except CottonCandyError as error:
                yield DeleteResult(key, error)
            else:
                yield DeleteResult(key)

    def copy(
        self, source: str, dest: str, *, source_bucket: str | None = None, overwrite: bool = True
    ) -> PutResult:
        here, there = self._origin(source_bucket)._location(source), self._location(dest)
        condition = None if overwrite else IfAbsent()
        with self._open(here) as reader:
            if here == there and overwrite:
                return PutResult(reader.info.etag)
            with staging(there, condition) as staged:
                _copy_bytes(reader, staged, there)
                return _finish(staged, there, reader.entries, condition)

    def can_copy_from(self, other: Backend) -> bool:
        return type(other) is type(self)

    def move(
        self, source: str, dest: str, *, source_bucket: str | None = None, overwrite: bool = True
    ) -> PutResult:
        here, there = self._origin(source_bucket)._location(source), self._location(dest)
        condition = None if overwrite else IfAbsent()
        if link := next(filter(os.path.islink, here.parents()), None):
            raise UnsupportedOperationError(
                f"cannot move {here}: '{os.path.relpath(link, here.root)}' is a symbolic link, and "
                f"the files in its target are kept; use cci.cp() and then cci.rm()"
            )
        if here.is_same_name(there):  # through links: what is stored is not to be removed
            there = here
        if here != there and not os.path.islink(here.path):  # a relative link would break
            # The temporary file keeps other processes from removing the directory.
            with self._open(here), staging(there, condition):
                try:
                    return _rename(here, there, condition)
                except StoreError as error:  # file systems differ, or mounts of the same one
                    if getattr(error.__cause__, "errno", None) != errno.EXDEV:
                        raise
        result = self.copy(source, dest, source_bucket=source_bucket, overwrite=overwrite)
        if here != there:
            with os_errors("delete", here):
                remove(here)
        return result

    def remove_links(self, prefix: str) -> None:
        root = self.bucket
        with os_errors("remove links below", root):
            pending = [self._directory(prefix)]
            while pending:  # os.walk() would recur
                path = pending.pop()
                if not is_directory(path):
                    continue
                if os.path.islink(path) and path != root:
                    os.unlink(path)
                    continue
                with os.scandir(path) as entries:
                    found = (each.path for each in entries if each.is_symlink() or each.is_dir())
                    pending.extend(found)

    def resolve_links(self, prefix: str) -> str | None:
        return os.path.realpath(self._directory(prefix))

    # -- buckets ---------------------------------------------------------------------------------

    def has_bucket(self, bucket: str) -> bool:
        root = bucket_path(bucket)
        with os_errors("look for", root):
            return is_directory(root)

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        root = bucket_path(bucket)
        if self.has_bucket(root):
            raise BucketExistsError(f"bucket '{root}' already exists")
        with os_errors("create", root):
            try:
                os.makedirs(root, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise InvalidNameError(
                    f"'{root}' cannot be a bucket: '{error.filename or root}' is a file"
                ) from error

    def delete_bucket(self, bucket: str) -> None:
        root = bucket_path(bucket)
        check_root(root)
        with os_errors("remove", root):
            try:
                os.rmdir(os.path.realpath(root))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise BucketNotEmptyError(
                    f"bucket '{root}' is not empty; delete its objects first, and other "
                    f"files by hand"
                ) from error
            if os.path.islink(root):
                os.unlink(root)

    def owner(self, key: str) -> Mapping[str, str]:
        with self._open(self._location(key)) as reader:
            user = os.fstat(reader.descriptor).st_uid
        try:
            return {"ID": str(user), "DisplayName": pwd.getpwuid(user).pw_name}
        except KeyError:
            return {"ID": str(user)}

    # -- helpers ---------------------------------------------------------------------------------

    def _write(self, staged: NewFile, location: LocalLocation, body: Body, threads: int) -> None:
        """Write a body. The next block of a large one is computed while others are written."""
        if body.owned and body.buffer is not None and body.buffer.nbytes <= _LARGE_BYTES:
            with os_errors("write", location):  # most files
                staged.write(body.read())
            self.counter.add(1, body.buffer.nbytes)
            return
        self.counter.add(1)
        large = body.max_size is None or body.max_size > _LARGE_BYTES
        _write_blocks(staged, location, self.counter.sent(body), min(threads, 2) if large else 1)

    def _check_root(self) -> None:
        check_root(self.bucket)

    def _location(self, key: str) -> LocalLocation:
        return LocalLocation.of(key, self.bucket)

    def _directory(self, prefix: str) -> str:
        key = prefix.rstrip("/")
        return self._location(key).path if key else self.bucket

    def _open(self, location: LocalLocation, threads: int = 1) -> LocalReader:
        self.counter.add(1)
        with os_errors("read", location):
            reader = open_version(location, threads)
        reader.counter = self.counter
        return reader


def _finish(
    staged: TemporaryFile,
    location: LocalLocation,
    entries: Mapping[str, str] | None,
    condition: IfAbsent | IfMatch | None,
) -> PutResult:
    with os_errors("write", location):
        staged.close()
        with locked(location.directory):
            new = commit(location, staged.path, entries, condition, stamp=True)
    return PutResult(new.etag)


def _rename(
    here: LocalLocation, there: LocalLocation, condition: IfAbsent | IfMatch | None
) -> PutResult:
    """Move within a file system; renaming the body is the atomic step."""
    with os_errors("move", here), locked(here.directory, there.directory):
        with open_version(here) as reader:
            entries = reader.entries
        with os_errors("write", there), marked(here):
            new = commit(there, here.path, entries, condition, stamp=False)
            unlink(here.sidecar)
    remove_empty_parents(here)
    return PutResult(new.etag)


def _copy_bytes(reader: LocalReader, staged: TemporaryFile, there: LocalLocation) -> None:
    """Copy in the kernel if it can, which shares the blocks on some file systems."""
    done = 0
    # If the kernel cannot, or the disk is full, the rest finds out.
    with suppress(AttributeError, OSError):
        while count := os.copy_file_range(
            reader.descriptor, staged.descriptor, reader.size - done, done, done
        ):
            done += count
    _write_blocks(staged, there, reader.chunks(done), start=done)
    reader.check()


def _write_blocks(
    staged: NewFile,
    location: LocalLocation,
    blocks: Iterable[Buffer],
    threads: int = 1,
    start: int = 0,
) -> None:
    """Write blocks one after another; only errors of the disk are translated."""

    def placed() -> Iterator[tuple[Buffer, int]]:
        position = start
        for block in blocks:
            yield block, position
            position += bytes_view(block).nbytes

    lock = Lock()  # the system writes a file for one thread at a time, and another would spin

    def write(piece: tuple[Buffer, int]) -> None:
        with os_errors("write", location), lock:
            staged.write(*piece)

    run_threads(write, placed(), threads, max_pending=2)


def _translated(
    found: Iterator[ObjectInfo | CommonPrefix], root: str
) -> Iterator[ObjectInfo | CommonPrefix]:
    with os_errors("list", root):
        yield from found
