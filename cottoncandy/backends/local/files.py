"""Directories of plain files whose suffixes are content encodings: ``a.gz`` is ``a`` in gzip."""

# Paths are text here: pathlib's objects cost more than the system calls.
# ruff: noqa: PTH103, PTH122
from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeVar

from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    ConnectionArguments,
    DeleteResult,
    ObjectReader,
    PutOptions,
    PutResult,
)
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.backends.local.commit import stat_existing
from cottoncandy.backends.local.location import LocalLocation, check_root, os_errors, stat_or_none
from cottoncandy.backends.local.reader import Fingerprint, object_info
from cottoncandy.backends.options import split_entries
from cottoncandy.core.buffers import Body
from cottoncandy.core.files import TemporaryFile, UnnamedFile, is_folded, locked, other_spelling
from cottoncandy.exceptions import (
    BucketNotFoundError,
    CottonCandyError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)

T = TypeVar("T")

#: Suffixes of files, by content encoding.
SUFFIXES: dict[str | None, str] = {
    None: "",
    "gzip": ".gz",
    "br": ".br",
    "zstd": ".zstd",
    "xz": ".xz",
    "bz2": ".bz2",
}


class FilesBackend(LocalBackend):
    """Files of a directory as other programs see them.

    Parameters
    ----------
    bucket_name : str, optional
        Path of the directory.
    lazy : bool, default False
        Whether a directory that does not exist is an empty one, which the first upload creates.

    Notes
    -----
    A name has one encoding at a time. If a killed program leaves two files of one name, the newer
    one counts, and the next upload removes the other. So it is after copies, which leave files with
    a suffix: those may be other objects. Content types, cache control and storage classes are not
    kept.
    """

    name: ClassVar[str] = "files"
    creates_buckets: ClassVar[bool] = False
    capabilities = replace(LocalBackend.capabilities, headers=frozenset({"content_encoding"}))
    _encodings: ClassVar[Mapping[bytes, str]] = {
        suffix.encode(): encoding for encoding, suffix in SUFFIXES.items() if encoding
    }

    def __init__(self, bucket_name: str | None = None, *, lazy: bool = False) -> None:
        super().__init__(bucket_name)
        self.lazy = lazy

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        arguments.check_extra("files", ("lazy",))
        return cls(arguments.bucket_name, lazy=arguments.extra.get("lazy", False))

    # -- objects ---------------------------------------------------------------------------------

    def get(self, key: str, *, threads: int = 4, **options: Any) -> ObjectReader:
        location = self._location(key)
        reader = _found(location, lambda: self._open_newest(location, threads))
        if reader is None:
            self._check_root()
            raise ObjectNotFoundError(f"there is no file '{key}' in '{self.bucket}'")
        return reader

    def _open_newest(self, location: LocalLocation, threads: int) -> ObjectReader | None:
        variants = stat_variants(location.path)
        if not variants:
            return None
        encoding = max(variants, key=variants.__getitem__)
        try:
            reader = self._open(_file(location, encoding), threads)
        except ObjectNotFoundError:
            return None
        metadata, headers = split_entries(reader.entries or {})
        # The encoding of a store in this directory is in its sidecars.
        encoding = encoding or headers.get("content_encoding")
        reader.info = object_info(
            location.key, reader.status, metadata=metadata, content_encoding=encoding
        )
        return reader

    def exists(self, key: str) -> bool:
        if _variants(self._location(key)):
            return True
        self._check_root()
        return False

    def put(
        self, key: str, body: Body, options: PutOptions = DEFAULT_OPTIONS, *, threads: int = 4
    ) -> PutResult:
        encoding = options.content_encoding
        if encoding not in SUFFIXES:
            raise UnsupportedOperationError(
                f"file '{key}' cannot be stored with content encoding {encoding!r}; choose one of "
                f"{', '.join(filter(None, SUFFIXES))}"
            )
        plain = options.changed(content_type=None, content_encoding=None)
        location = self._location(key)
        if options.condition is not None:
            with os_errors("look for", location):
                before = stat_variants(location.path)
            if before and encoding not in before:
                self._check_condition(key, options.condition)
                plain = plain.changed(condition=None)
        file = _file(location, encoding)
        try:
            result = self._put_plain(file, body, plain, threads) or super().put(
                file.key, body, plain, threads=threads
            )
        except BucketNotFoundError:
            if not self.lazy:
                raise
            with os_errors("create", self.bucket):
                os.makedirs(self.bucket, exist_ok=True)
            result = super().put(file.key, body, plain, threads=threads)
        others = [other for other in SUFFIXES if other != encoding]
        if options.keep_encoded:  # then only a plain file whose name has no suffix is this object
            has_suffix = os.path.splitext(key)[1].encode() in self._encodings
            others = [] if encoding is None or has_suffix else [None]
        # Afterwards, so that of two concurrent writers at least one finds the other's file.
        with os_errors("replace", location):
            if any(os.access(location.path + SUFFIXES[other], os.F_OK) for other in others):
                self._supersede(location, encoding, others)
        return result

    def _put_plain(
        self, location: LocalLocation, body: Body, options: PutOptions, threads: int
    ) -> PutResult | None:
        """Replace a file that has no metadata before and after; None if this is another case.

        One rename is atomic: the lock of the directory, and the steps that keep a body
        and its metadata together, would take three times as long.
        """
        if options.metadata or options.condition is not None:
            return None
        if self.upload_options or options.headers:
            self._checked(location.key, options)  # raises
        # access() needs no exception for a missing file.
        if os.access(location.sidecar, os.F_OK):
            return None
        exists = os.access(location.path, os.F_OK)
        if not exists and (result := self._put_new(location, body, threads)) is not None:
            return result
        with os_errors("write", location):
            status = stat_existing(location, None)
            if exists and status is None:
                return None  # a directory, or removed since
            try:
                staged = TemporaryFile(location.path)
            except (FileNotFoundError, NotADirectoryError):
                return None  # its directory is missing
        with staged:
            self._write(staged, location, body, threads)
            with os_errors("write", location):
                if status is not None:
                    os.fchmod(staged.descriptor, status.st_mode & 0o777)
                new = Fingerprint.of(os.fstat(staged.descriptor))
                if is_folded(staged.path):
                    location.check_spelling()
                    if status is None and staged.link():
                        return PutResult(new.etag)
                    location.check_spelling()  # of a file that was created concurrently
                staged.replace()
        return PutResult(new.etag)

    def _put_new(self, location: LocalLocation, body: Body, threads: int) -> PutResult | None:
        """Write a file that does not exist; None if that fails, as for one that was just created.

        The file system rejects a name that it does not tell from that of another file.
        """
        if not body.replayable or ("/" in location.key and is_folded(location.directory)):
            return None
        try:
            file = UnnamedFile(location.path)
        except OSError:
            return None
        with file:
            self._write(file, location, body, threads)
            try:
                new = Fingerprint.of(os.fstat(file.descriptor))
                file.link()
            except OSError:
                return None
        return PutResult(new.etag)

    def delete(
        self, keys: Iterable[str], *, threads: int = 4, permanently: bool = True
    ) -> Iterator[DeleteResult]:
        for key in keys:
            try:
                found = _variants(self._location(key))
            except CottonCandyError as error:
                yield DeleteResult(key, error)
                continue
            names = [key + SUFFIXES[encoding] for encoding in found]
            results = super().delete(names) if names else ()
            yield DeleteResult(key, next((each.error for each in results if each.error), None))

    copy, move = Backend.copy, Backend.move

    def unlisted(self, prefix: str) -> Iterator[tuple[str, str]]:
        yield from super().unlisted(prefix)
        for directory, _, files in os.walk(self.bucket):
            parts = [os.path.splitext(file) for file in files]
            for name in {name for name, suffix in parts if os.fsencode(suffix) in self._encodings}:
                found = stat_variants(f"{directory}/{name}")
                for encoding in sorted(found, key=found.__getitem__)[:-1]:
                    path = f"{directory}/{name}{SUFFIXES[encoding]}"
                    if (key := os.path.relpath(path, self.bucket)).startswith(prefix):
                        yield key, "a newer file has that name"

    # -- files of one name -----------------------------------------------------------------------

    def _check_root(self) -> None:
        if not self.lazy:
            check_root(self.bucket)

    def _supersede(
        self, location: LocalLocation, encoding: str | None, others: Iterable[str | None]
    ) -> None:
        """Remove the files of a name in other encodings, unless another writer removed this one.

        Two concurrent writers see both files: the first one that gets the lock wins.
        """
        with locked(location.directory):
            if not os.access(_file(location, encoding).path, os.F_OK):
                return
            for old in (_file(location, other) for other in others):
                if os.access(old.path, os.F_OK) and other_spelling(old.path) is None:
                    for name in (old.path, old.sidecar):
                        with suppress(FileNotFoundError):
                            os.unlink(name)  # noqa: PTH108 - paths are text here


def _file(location: LocalLocation, encoding: str | None) -> LocalLocation:
    """Return the file of a name in an encoding."""
    suffix = SUFFIXES[encoding]
    if not suffix:
        return location
    return LocalLocation(location.key + suffix, location.root, location.path + suffix)


def _found(location: LocalLocation, look: Callable[[], T]) -> T:
    """Return what is found, if not at once, then while no writer changes the encoding."""
    with os_errors("look for", location):
        found = look()
        if not found:
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                locked(location.directory, shared=True),
            ):
                found = look()
    return found


def _variants(location: LocalLocation) -> dict[str | None, int]:
    """Return the encodings that a name has files of, with their times in nanoseconds."""
    return _found(location, lambda: stat_variants(location.path))


def stat_variants(path: str) -> dict[str | None, int]:
    """Return the encodings that a path has files of, with their times in nanoseconds."""
    found: dict[str | None, int] = {}
    for encoding, suffix in SUFFIXES.items():
        # The first one reports a denied access; access() needs no exception for a missing file.
        if suffix and not os.access(path + suffix, os.F_OK):
            continue
        status = stat_or_none(path + suffix)
        if status is not None and stat.S_ISREG(status.st_mode):
            found[encoding] = status.st_mtime_ns
    return found
