"""Buckets as an fsspec file system, for pandas, Dask, pyarrow, xarray and others.

See https://filesystem-spec.readthedocs.io/en/latest/api.html for what the methods promise.
"""

from __future__ import annotations

import datetime
import errno
import functools
import io
import os
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NoReturn

from cottoncandy.backends.base import IfAbsent, ObjectInfo
from cottoncandy.config.options import DEFAULT_ACL, Settings
from cottoncandy.core.buffers import Body
from cottoncandy.core.files import atomic_write
from cottoncandy.core.names import Key, check_text, prefix_of
from cottoncandy.core.threads import cached_property, map_threads
from cottoncandy.exceptions import (
    CottonCandyError,
    InvalidArgumentError,
    InvalidNameError,
    MissingDependencyError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from cottoncandy.stores.checks import check_int
from cottoncandy.stores.connect import connect
from cottoncandy.stores.files import open_file
from cottoncandy.stores.finding import Node, list_directory, scan_objects, walk
from cottoncandy.stores.keys import optional_keys
from cottoncandy.stores.store import Store, state_of

try:
    from fsspec import AbstractFileSystem
    from fsspec.callbacks import DEFAULT_CALLBACK
    from fsspec.compression import compr
    from fsspec.core import get_compression
    from fsspec.utils import tokenize
except ImportError as exc:
    raise MissingDependencyError("file systems need fsspec: pip install fsspec") from exc

__all__ = ["CottonCandyFileSystem"]

_THREADS = 16


#: Options that fsspec itself takes.
_FSSPEC_OPTIONS = {"use_listings_cache", "listings_expiry_time", "max_paths", "asynchronous"}

#: fsspec's methods on many files, and those that they call for each.
_OF_ONE_FILE = {"get": "get_file", "put": "put_file", "copy": "cp_file"}


class CottonCandyFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A bucket as a file system, with the protocol ``cottoncandy://``.

    Parameters
    ----------
    bucket_name : str, optional
        The bucket, or a URL, as for :func:`cottoncandy.get_interface`. Paths are names in it.
    ACCESS_KEY, SECRET_KEY, endpoint_url, backend, **options
        As for :func:`cottoncandy.get_interface`.
    encryption, encryptionKey, passphrase
        As for :func:`cottoncandy.get_encrypted_interface`. Without the first two, nothing is
        encrypted.
    prefix : str, default ''
        Directory that paths are relative to.

    Notes
    -----
    Constructing sends no request. Nothing is cached: what another process has just stored is
    listed. Directories exist while there are objects below them. A file appears whole when it is
    closed; after an exception, not at all.

    Examples
    --------
    >>> import fsspec
    >>> fs = CottonCandyFileSystem("my_bucket", backend="memory")
    >>> with fs.open("notes/today.txt", "w") as file:
    ...     n = file.write("it works")
    >>> fs.ls("notes", detail=False), fs.cat("notes/today.txt")
    (['notes/today.txt'], b'it works')
    """

    protocol = "cottoncandy"
    root_marker = ""

    def __init__(
        self,
        bucket_name: str | None = None,
        ACCESS_KEY: str | None = None,  # noqa: N803 - the documented name
        SECRET_KEY: str | None = None,  # noqa: N803 - the documented name
        endpoint_url: str | None = None,
        backend: str = "s3",
        *,
        encryption: str | None = None,
        encryptionKey: Any = None,  # noqa: N803 - the documented name
        passphrase: str | None = None,
        prefix: str = "",
        **options: Any,
    ) -> None:
        ours = {name: options.pop(name) for name in _FSSPEC_OPTIONS & options.keys()}
        super().__init__(**ours)
        options.pop("verbose", None)
        self._create: bool | None = options.pop("force_bucket_creation", None)
        settings = Settings.load()
        keys = optional_keys(encryption, encryptionKey, passphrase, settings)
        self._connected = connect(
            backend,
            bucket_name,
            ACCESS_KEY,
            SECRET_KEY,
            endpoint_url,
            _settings=settings,
            _keys=keys,
            **options,
        )
        self.prefix = check_text(prefix).strip("/")

    @cached_property
    def store(self) -> Store:
        """The store; on first access, a missing bucket is created where interfaces do so."""
        backend, bucket = self._connected.backend, self._connected.bucket
        create = backend.creates_buckets if self._create is None else self._create
        if create and bucket and backend.capabilities.writable and not backend.has_bucket(bucket):
            self._connected.create_bucket()
        return self._connected

    def __repr__(self) -> str:
        return f"<CottonCandyFileSystem {self.prefix!r} in {self._connected.describe()}>"

    def __eq__(self, other: object) -> bool:
        # fsspec's is False for a subclass, and the file system of an interface is one.
        return isinstance(other, CottonCandyFileSystem) and self._fs_token == other._fs_token

    __hash__ = AbstractFileSystem.__hash__

    @cached_property
    def _fs_token(self) -> str:
        # File systems of one token are equal, and Dask takes tasks on them for the same task.
        return str(tokenize(state_of(self._connected.backend), self.prefix))

    # -- paths -----------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return os.fspath(path).removeprefix("cottoncandy://").strip("/")

    def _key(self, path: str) -> Key:
        return Key(prefix_of(self.prefix) + self._strip_protocol(path))

    def _below(self, path: str) -> str:
        return prefix_of(self._key(path).rstrip("/"))

    def _path(self, key: str) -> str:
        return key[len(prefix_of(self.prefix)) :]

    @property
    def transaction(self) -> NoReturn:
        """Raise: there are no transactions."""
        raise UnsupportedOperationError(
            "cottoncandy has no transactions; each file appears whole when it is closed"
        )

    def start_transaction(self) -> None:
        """Raise: there are no transactions."""
        _ = self.transaction

    # -- listings --------------------------------------------------------------------------------

    def invalidate_cache(self, path: str | None = None) -> None:
        """Do nothing: there is no cache."""

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Return name, size (of the plain bytes), type, modification time and ETag."""
        path = self._strip_protocol(path)
        if path:
            try:
                return self._entry(self.store.backend.head(self._key(path)))
            except ObjectNotFoundError:
                pass
        if not path or self.store.has_below(self._below(path)):
            return _directory(path)
        raise ObjectNotFoundError(f"there is no object '{path}' and nothing below it")

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Return whether there is a file or a directory; a denied access raises."""
        return self._type(path) is not None

    def isfile(self, path: str) -> bool:
        """Return whether there is a file; a denied access raises."""
        return self._type(path) == "file"

    def isdir(self, path: str) -> bool:
        """Return whether there is a directory; a denied access raises."""
        return self._type(path) == "directory"

    def _type(self, path: str) -> str | None:
        try:
            found: str = self.info(path)["type"]
        except (FileNotFoundError, InvalidNameError):
            return None
        return found

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """List a directory with one delimited listing."""
        path = self._strip_protocol(path)
        found = [self._entry(node) for node in list_directory(self.store, self._below(path))]
        if not found and path:
            entry = self.info(path)
            found = [entry] if entry["type"] == "file" else []
        return found if detail else sorted({entry["name"] for entry in found})

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: Any,
    ) -> Any:
        """List everything below a path with one flat listing."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        path = self._strip_protocol(path)
        entries: dict[str, dict[str, Any]] = {}
        below = self._below(path)
        for found in (
            walk(self.store, below) if withdirs else scan_objects(self.store.backend, below)
        ):
            if maxdepth and found.key.count("/", len(below), -1) >= maxdepth:
                continue
            if not found.key.endswith("/"):
                entries[self._path(found.key)] = self._entry(found)
            elif withdirs:
                entry = self._entry(found)
                entries.setdefault(entry["name"], entry)  # a file of that name has precedence
        if not entries:
            if path and self.isfile(path):
                entries[path] = self.info(path)
        elif withdirs and path:
            entries[path] = _directory(path)
        names = sorted(entries)
        return {name: entries[name] for name in names} if detail else names

    def _entry(self, found: Node | ObjectInfo) -> dict[str, Any]:
        info = found.info if isinstance(found, Node) else found
        if info is None:
            return _directory(self._path(found.key).rstrip("/"))
        return {
            "name": self._path(info.key),
            "size": info.size,
            "type": "file",
            "modified": info.modified,
            "ETag": info.etag,
        }

    def created(self, path: str) -> datetime.datetime:
        """Return when an object was stored: objects are replaced, not changed."""
        return self.modified(path)

    def modified(self, path: str) -> datetime.datetime:
        """Return when an object was stored, with a time zone."""
        moment: datetime.datetime | None = self.info(path)["modified"]
        if moment is None:
            raise UnsupportedOperationError(f"there is no modification time of '{path}'")
        return moment

    def sign(self, path: str, expiration: int = 100, **kwargs: Any) -> str:
        """Return a URL that anyone can read for some seconds, if the store has such URLs.

        For an encrypted object, it returns the encrypted bytes.
        """
        seconds = check_int(expiration, "expiration", 1)
        return str(self.store.backend.presign(self._key(path), seconds))

    # -- reading ---------------------------------------------------------------------------------

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Return an object, or the bytes from ``start`` to ``end`` (negative: from its end)."""
        prefetch: bool | tuple[int, int] = start is None and end is None
        if not prefetch and (start or 0) >= 0 and (end is None or end >= 0):
            prefetch = (start or 0, sys.maxsize if end is None else end)
        with self.store.open(self._key(path), prefetch=prefetch) as reader:
            first, stop, _ = slice(start, end).indices(reader.size)
            return reader.read(first, max(first, stop))

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Return byte ranges of several objects, fetched in parallel."""
        if not isinstance(paths, list):
            raise TypeError(f"paths must be a list, got {type(paths).__name__}")
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(starts) == len(ends) == len(paths):
            raise ValueError("paths, starts and ends must have the same length")

        def fetch(job: tuple[str, int | None, int | None]) -> Any:
            try:
                return self.cat_file(*job)
            except CottonCandyError as error:
                if on_error == "return":
                    return error
                raise

        jobs = zip(paths, starts, ends, strict=True)
        return list(map_threads(fetch, jobs, min(_THREADS, len(paths))))

    def get(self, rpath: Any, lpath: Any, recursive: bool = False, **kwargs: Any) -> None:
        """Copy objects to the disk, several at once."""
        self._at_once("get", rpath, lpath, recursive, **kwargs)

    def get_file(
        self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **kwargs: Any
    ) -> None:
        """Copy an object to the disk; the file is replaced when the download is complete."""
        opened = hasattr(lpath, "write")
        try:
            reader = self.store.open(self._key(rpath))
        except (ObjectNotFoundError, InvalidNameError):  # the top has no name
            if opened or not self.isdir(rpath):
                raise
            Path(lpath).mkdir(parents=True, exist_ok=True)
            return
        if not opened:
            Path(lpath).parent.mkdir(parents=True, exist_ok=True)
        callback.set_size(reader.size)
        with reader, nullcontext(lpath) if opened else atomic_write(lpath) as file:
            for chunk in self.store.chunks(reader):
                file.write(chunk)
                callback.relative_update(len(chunk))

    # -- writing ---------------------------------------------------------------------------------

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        """Store bytes; ``mode='create'`` raises FileExistsError if the object exists."""
        condition = IfAbsent("mode='overwrite' replaces it") if mode == "create" else None
        self.store.put(self._key(path), Body.of(value), acl=DEFAULT_ACL, condition=condition)

    def put(self, lpath: Any, rpath: Any, recursive: bool = False, **kwargs: Any) -> None:
        """Store files, several at once."""
        self._at_once("put", lpath, rpath, recursive, **kwargs)

    def put_file(
        self,
        lpath: str,
        rpath: str,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        **kwargs: Any,
    ) -> None:
        """Store a file."""
        if Path(lpath).is_dir():
            return  # directories exist with their objects
        with Path(lpath).open("rb") as file:
            callback.set_size(os.fstat(file.fileno()).st_size)
            self.pipe_file(rpath, file, mode)
            callback.absolute_update(file.tell())

    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        on_error: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy objects on the server, several at once; ``on_error='ignore'`` skips missing ones."""
        ignored = (FileNotFoundError,) if on_error == "ignore" else ()
        self._at_once("copy", path1, path2, recursive, maxdepth, ignored, **kwargs)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Copy an object, on the server."""
        try:
            self.store.backend.copy(self._key(path1), self._key(path2))
        except (ObjectNotFoundError, InvalidNameError):  # the top has no name
            if not self.isdir(path1):
                raise

    def mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Move objects: copy them, and delete the originals that are none of the copies.

        Nothing is moved if an object would be lost: two with the same new name, or two that
        exchange theirs.
        """
        if self._strip_protocol(path1) == self._strip_protocol(path2):
            return
        paths = self._to_delete(path1, recursive, maxdepth)
        pairs = self._pairs("copy", path1, path2, recursive, maxdepth)
        moves = {self._place(source): (self._place(to), source, to) for source, to in pairs}
        copies = {place for place, _, _ in moves.values()}
        if len(copies) < len(moves):
            raise InvalidArgumentError("two objects would have the same name; nothing was moved")
        ordered = []
        while moves:  # first those whose new name is not the old one of another
            free = [old for old, (new, _, _) in moves.items() if new == old or new not in moves]
            if not free:
                raise InvalidArgumentError("objects would replace each other; nothing was moved")
            ordered += [moves.pop(old) for old in free]
        for _, source, to in ordered:
            self.cp_file(source, to)
        originals = [each for each in paths if self._place(each) not in copies]
        self._delete(originals, path1 if recursive and maxdepth is None else None)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete objects, many per request; a missing one raises."""
        paths = self._to_delete(path, recursive, maxdepth)
        self._delete(paths, path if recursive and maxdepth is None else None)

    def _to_delete(self, path: Any, recursive: bool, maxdepth: int | None) -> list[str]:
        paths: list[str] = self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
        if not recursive:
            for each in paths:
                if self.info(each)["type"] != "file":
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), each)
        return paths

    def _delete(self, paths: list[str], trees: Any) -> None:
        """Delete objects, and the links in directories that are deleted as a whole."""
        for each in [] if trees is None else self.expand_path(trees):
            self.store.backend.remove_links(prefix_of(self._key(each)))
        self.store.delete(filter(None, map(self._key, paths)))  # the top has no name

    def _place(self, path: str) -> tuple[str, str]:
        """Return where an object is, links to its directory followed."""
        parent, _, name = self._key(path).rpartition("/")
        return self.store.backend.resolve_links(parent) or parent, name

    def rm_file(self, path: str) -> None:
        """Delete an object."""
        self.store.delete([self._key(path)])

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Do nothing: directories exist while there are objects below them."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Do nothing: directories exist while there are objects below them."""

    def rmdir(self, path: str) -> None:
        """Raise if there are objects below a directory; otherwise it does not exist."""
        if self.store.has_below(self._below(path)):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Store an empty object; ``truncate=False`` leaves an existing one alone."""
        if truncate or not self.store.has_object(self._key(path)):
            self.pipe_file(path, b"")

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file; ``compression`` as in fsspec, such as ``'gzip'`` or ``'infer'``."""
        compression = get_compression(path, compression)
        if "r" in mode:
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        if "b" not in mode:
            kwargs["encoding"] = io.text_encoding(kwargs.get("encoding"))  # as text is read
        if compression is not None:
            kwargs["layer"] = functools.partial(compr[compression], mode=mode[0])
        return self._open(path, mode, block_size, **kwargs)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,
        autocommit: bool = True,
        cache_type: str | None = None,
        cache_options: Any = None,
        **kwargs: Any,
    ) -> io.IOBase:
        if not autocommit:
            _ = self.transaction
        if "size" in kwargs:  # fsspec's blockcache
            raise UnsupportedOperationError(
                "blockcache:: could mix two versions of a file that is replaced; use filecache::, "
                "simplecache:: or the storage option cache='~/.cache/cottoncandy'"
            )
        size = block_size if isinstance(block_size, int) else None
        return open_file(self.store, self._key(path), mode, block_size=size, **kwargs)

    def _at_once(
        self,
        method: str,
        sources: Any,
        targets: Any,
        recursive: bool,
        maxdepth: int | None = None,
        ignored: tuple[type[Exception], ...] = (),
        callback: Any = DEFAULT_CALLBACK,
        **options: Any,
    ) -> None:
        """Let fsspec pair sources and targets, then transfer them in parallel."""
        transfer = getattr(self, _OF_ONE_FILE[method])
        pairs = self._pairs(method, sources, targets, recursive, maxdepth, **options)
        callback.set_size(len(pairs))

        def run(pair: tuple[str, str]) -> None:
            with suppress(*ignored):
                transfer(*pair, **options)

        for _ in map_threads(run, pairs, min(_THREADS, len(pairs) or 1)):
            callback.relative_update(1)

    def _pairs(
        self,
        method: str,
        sources: Any,
        targets: Any,
        recursive: bool,
        maxdepth: int | None,
        **options: Any,
    ) -> list[tuple[str, str]]:
        """Return the pairs that fsspec's method passes to the one for one file."""
        pairs: list[tuple[str, str]] = []

        def collect(source: str, target: str, **kwargs: Any) -> None:
            pairs.append((source, target))

        def expand(*arguments: Any, **kwargs: Any) -> list[str]:
            # With a slash: fsspec loses the name of a file at the top that goes into a directory.
            return ["/" + path for path in self.expand_path(*arguments, **kwargs)]

        pairing = object.__new__(type(self))  # copy.copy() would return the cached instance
        pairing.__dict__.update(
            self.__dict__, **{_OF_ONE_FILE[method]: collect, "expand_path": expand}
        )
        # With the options, because some are for expand_path.
        getattr(AbstractFileSystem, method)(
            pairing, sources, targets, recursive, maxdepth=maxdepth, **options
        )
        return pairs


class InterfaceFileSystem(CottonCandyFileSystem):
    """The file system of an interface. It pickles with the store of the interface."""

    cachable = False

    def __init__(self, store: Store, prefix: str = "") -> None:
        AbstractFileSystem.__init__(self)
        self._connected, self._create = store, False
        self.prefix = check_text(prefix).strip("/")

    def to_dict(self, **kwargs: Any) -> NoReturn:
        """Raise: only the arguments of the class can be written as JSON."""
        raise UnsupportedOperationError(
            "the file system of an interface can be pickled, but not written as JSON: create it "
            "with CottonCandyFileSystem(bucket_name, ...)"
        )


def _directory(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory", "modified": None}
