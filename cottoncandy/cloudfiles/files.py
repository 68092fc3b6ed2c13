"""``CloudFiles``: many files at once in a directory of any store."""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple, Self

from cottoncandy.backends.local.files import SUFFIXES, stat_variants
from cottoncandy.cloudfiles import paths as cloudpaths
from cottoncandy.cloudfiles.base import ACL, LARGE_THREADS, as_items, finish, mapped, path_text
from cottoncandy.cloudfiles.compression import as_on_disk, conversion
from cottoncandy.cloudfiles.monitoring import Flight, IOEnum, TransmissionMonitor
from cottoncandy.cloudfiles.paths import WEB
from cottoncandy.cloudfiles.writing import WritingMethods
from cottoncandy.core.threads import cached_property
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketNotFoundError,
    InvalidArgumentError,
    InvalidNameError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from cottoncandy.stores.checks import check_int
from cottoncandy.stores.connect import connect
from cottoncandy.stores.store import Store
from cottoncandy.transfer.copying import Conversion, copy_object
from cottoncandy.transfer.sync import compare


class CloudFiles(WritingMethods):
    """Files in a directory of a store: read, written, listed and copied many at once.

    Parameters
    ----------
    cloudpath : str
        Such as ``'gs://bucket/path'``, ``'s3://bucket/path'``, ``'s3://https://host/bucket/path'``,
        ``'gdrive://folder/path'``, ``'file:///path'``, ``'mem://bucket/path'``,
        ``'https://host/path'``, an alias, or a path on disk.
    progress : bool, default False
        Whether to show a progress bar for several files.
    green : bool, optional
        Accepted and ignored: threads are always preemptive.
    secrets : str or dict, optional
        Credentials, as in a secrets file, instead of those in the secrets folders: a dictionary,
        JSON, or the path of a file.
    num_threads : int, default 20
        Number of requests at once.
    use_https : bool, default False
        Whether to read ``gs://`` and ``s3://`` as public web servers, without credentials.
    endpoint : str, optional
        URL of an S3 server other than Amazon's, unless the path contains one.
    parallel : int or bool, default 1
        Number of processes; True is one per core.
    request_payer : str, optional
        ``'requester'`` on S3, a project on Google Storage: who pays for the requests.
    locking : bool, optional
        Whether to lock files on disk against other processes that do. None: if there is a
        ``lock_dir``.
    lock_dir : str, optional
        Folder of the locks. Default: ``$CLOUD_FILES_LOCK_DIR``, then ``locks`` in
        ``$CLOUD_FILES_DIR``.
    composite_upload_threshold : int, default 100 MB
        Files above this size, in bytes, are uploaded in parts.
    no_sign_request : bool, default False
        Whether to send requests without credentials.
    retries : int, default ``[basic] retries`` of the options, 7
        How often a request is repeated while the store is busy.

    Raises
    ------
    UnsupportedProtocolError
        If the path is not a cloud path.
    InvalidArgumentError
        If ``num_threads`` or ``parallel`` is below 1.

    Notes
    -----
    Nothing is requested until a method is called. Instances can be used by several threads, and
    pickled. A file is written completely or not at all, on disk too.

    Examples
    --------
    >>> cf = CloudFiles("mem://bucket/path")
    >>> cf.puts([("a", b"first"), ("b", b"second")], compress="gzip")
    2
    >>> cf["a"], cf["b", 0:3]
    (b'first', b'sec')
    >>> list(cf)
    ['a', 'b']
    """

    def transfer_to(
        self,
        cf_dest: Self | str,
        paths: Any = None,
        block_size: int = 64,
        reencode: str | bool | None = None,
        content_type: str | None = None,
        allow_missing: bool = False,
        progress: bool | None = None,
        resumable: bool = False,
    ) -> TransmissionMonitor:
        """Copy files to another place, within the store if both are in one.

        Parameters
        ----------
        cf_dest : CloudFiles or str
        paths : str, dict, or iterable of them, optional
            Default: all files. Dictionaries have ``path`` and optionally ``dest_path``.
        block_size : int, default 64
            Accepted for compatibility: files are streamed, ``num_threads`` at once.
        reencode : str or bool, optional
            Content encoding of the copies; ``False`` and ``'none'`` decompress. None keeps it.
            Arrays and encrypted objects are copied unchanged: otherwise they could not be read.
        content_type : str, optional
            MIME type of the copies. None keeps it.
        allow_missing : bool, default False
            Whether to skip paths that do not exist.
        progress : bool, optional
            Overrides that of the instance.
        resumable : bool, default False
            Whether to skip files whose copy exists, with the same size, and is not older.

        Returns
        -------
        monitor : TransmissionMonitor
            Bytes that passed through this machine.

        Raises
        ------
        ObjectNotFoundError
            If a path does not exist; the other files were copied.
        InvalidArgumentError
            If all files would be copied to a directory among them.
        IntegrityError
            If a copy is not what its source is.

        Notes
        -----
        Metadata, content type, encoding and cache control are kept. Copies have the MD5 of their
        source, where both stores have one. On disk, a copy of ``a`` does not remove ``a.gz``, which
        may be another object; :meth:`get` reads the newer one as ``a``.
        """
        dest = self._at(cf_dest)
        check_int(block_size, "block_size", 1)
        convert = conversion(reencode, content_type)
        if paths is None:
            self._check_apart(dest)
            paths = self
        routes = self._routes(paths, dest, reencode)
        copy = partial(self._transfer, dest=dest, convert=convert, resumable=resumable)
        results = self._each(copy, routes, "transferring", progress=progress, dest=dest)
        if allow_missing:
            results = (each for each in results if not isinstance(each.error, ObjectNotFoundError))
        monitor = TransmissionMonitor(IOEnum.TX)
        finish(results, monitor)
        return monitor

    def transfer_from(
        self,
        cf_src: Self | str,
        paths: Any = None,
        block_size: int = 64,
        reencode: str | bool | None = None,
        content_type: str | None = None,
        allow_missing: bool = False,
        progress: bool | None = None,
        resumable: bool = False,
    ) -> TransmissionMonitor:
        """Copy files from another place; the parameters are those of :meth:`transfer_to`."""
        return self._at(cf_src).transfer_to(
            self, paths, block_size, reencode, content_type, allow_missing, progress, resumable
        )

    def _at(self, place: Self | str) -> CloudFiles:
        """Return the files at a place; those on the same server have the same credentials."""
        if isinstance(place, CloudFiles):
            return place
        path, own = cloudpaths.extract(cloudpaths.normalize(place)), self._path
        options: dict[str, Any] = {"num_threads": self.num_threads}
        if (path.protocol, path.host, path.alias) == (own.protocol, own.host, own.alias):
            names = ("secrets", "endpoint", "request_payer", "retries")
            options |= {name: getattr(self._options, name) for name in names}
        return CloudFiles(place, **options)

    def _check_apart(self, dest: CloudFiles) -> None:
        """Reject a copy of everything to a directory in it, or from none."""
        source, target = self._endpoint(), dest._endpoint()
        if self.protocol == "file" and not source.exists():
            raise BucketNotFoundError(f"there is no {source}; nothing was copied")
        if source.contains(target) and not target.contains(source):
            raise InvalidArgumentError(
                f"the destination is inside the source: {target} is below {source}; nothing was "
                f"copied"
            )

    def _transfer(
        self,
        item: Any,
        dest: CloudFiles,
        convert: Conversion | None = None,
        resumable: bool = False,
    ) -> Flight | None:
        """Copy one file, unless its copy exists."""
        path, target, twin = route_of(item)
        if resumable and self._is_current(path, dest, target):
            return None
        self._check_other_name(path, dest, target)
        if twin is not None:
            self._check_twin(path, twin, target)
        if dest.protocol == "file" and target.endswith("/") and self.size(path) == 0:
            return None  # the marker of a directory, which is there with its files
        if convert is None and dest.protocol == "file" != self.protocol:
            convert = as_on_disk
        with dest._locked(target):
            begun = time.time()
            nbytes = copy_object(
                self._store,
                self._key(path),
                dest._store,
                dest._key(target),
                acl=ACL,
                threads=LARGE_THREADS,
                convert=convert,
            )
            return Flight(begun, time.time(), nbytes)

    def _check_other_name(self, path: str, dest: CloudFiles, target: str) -> None:
        """Raise if a copy on disk would remove its source, as another encoding of its name."""
        plain, encoded = sorted(map(posixpath.basename, (path, target)))
        if {self.protocol, dest.protocol} != {"file"}:
            return
        if encoded not in {plain + suffix for suffix in ENCODED}:
            return
        if self._place(path)[0] == dest._place(target)[0]:
            raise InvalidArgumentError(
                f"'{path}' cannot become '{target}' in one directory, where '{encoded}' is "
                f"'{plain}' in a content encoding; choose another directory or name"
            )

    def _routes(
        self, paths: Any, dest: CloudFiles, reencode: str | bool | None = None
    ) -> Iterable[Any]:
        """Return the items to copy: unchanged, or routes if there may be twins."""
        items: Iterable[Any] = as_items(paths)  # they may be millions
        if not self._may_have_twins(dest, reencode):
            return items
        routes = mapped(route_of, paths)
        if isinstance(routes, list):
            return list(with_twins(sorted(routes, key=attrgetter("target"))))
        return with_twins(routes)

    def _may_have_twins(self, dest: CloudFiles, reencode: str | bool | None) -> bool:
        """Return whether two files may become one, because encodings are suffixes on disk."""
        stores = self.protocol, dest.protocol
        return reencode is None and stores[1] == "file" and stores[0] not in ("file", *WEB)

    def _check_twin(self, path: str, twin: str, target: str) -> None:
        """Raise if a copy on disk would be the file of another copy, which has an encoding."""
        with suppress(AccessDeniedError):  # then it has no copy
            found = self._head(twin)
            if found is not None and target.endswith(SUFFIXES.get(found.content_encoding) or "/"):
                raise InvalidNameError(
                    f"'{path}' was not copied, because on disk the copy of '{twin}' is "
                    f"'{posixpath.basename(target)}'; copy it under another name"
                )

    def _is_current(self, path: str, dest: CloudFiles, target: str) -> bool:
        there, here = dest._head(target), self._head(path)
        if there is None or here is None or None in (there.modified, here.modified):
            return False
        ends = (self._store.backend, here), (dest._store.backend, there)
        return compare(*ends, path=path, read=False).verb == "skip"

    def move(self, src: str, dest: str) -> None:
        """Move one file.

        Parameters
        ----------
        src : str
            Path of the file.
        dest : str
            A cloud path, or a path in the same directory as ``src``.
        """
        dest = path_text(dest)
        if "://" in dest or dest.startswith(("/", "~")):
            folder, name = cloudpaths.split(cloudpaths.normalize(dest))
            self.moves(folder, [(src, name)])
        else:
            self.moves(self, [(src, dest)])

    def moves(
        self,
        cf_dest: Self | str,
        paths: Iterable[str | tuple[str, str]],
        block_size: int = 64,
        total: int | None = None,
        progress: bool | None = None,
    ) -> None:
        """Move files to another place; each source is deleted after its copy was checked.

        Parameters
        ----------
        cf_dest : CloudFiles or str
        paths : iterable of str or (str, str)
            Paths, or pairs of a path and its new path; held in memory.
        block_size, total, progress : optional
            As in :meth:`transfer_to`.

        Raises
        ------
        InvalidArgumentError
            If a file occurs twice, as in a swap; nothing was moved.
        CottonCandyError
            The first error, with a note about the others; all other files were moved.

        Notes
        -----
        What a link to a directory refers to is copied, and not deleted.

        No store can copy and delete in one step. What another program writes to a source between
        the two is lost; the copy has the content from before.
        """
        self._store.require_writable()  # before there are copies
        dest = self._at(cf_dest)
        routes = list(map(route_of, self._routes(list(as_items(paths)), dest)))
        self._check_distinct(routes, dest)
        move = partial(self._move, dest=dest)
        # A file that could be the copy of another one is moved before that is gone.
        parts = [each for each in routes if each.twin], [each for each in routes if not each.twin]
        finish(
            result
            for part in filter(None, parts)
            for result in self._each(move, part, "moving", total, progress, dest=dest)
        )

    def _check_distinct(self, routes: Iterable[Route], dest: CloudFiles) -> None:
        """Raise if one move could replace what another one moves: they run at the same time."""
        seen: set[tuple[str, str]] = set()
        for path, target, _ in routes:
            with suppress(InvalidNameError):  # raised for this file alone, later
                places = {self._place(path), dest._place(target)}
                if not seen.isdisjoint(places):
                    raise InvalidArgumentError(
                        f"cannot move '{path}' to '{target}', because one of them occurs twice; "
                        f"nothing was moved: move the files one after another"
                    )
                seen |= places

    def _move(self, route: Route, *, dest: CloudFiles) -> None:
        path, target, _ = route
        if self._place(path) != dest._place(target):
            self._check_single(path)
            self._transfer(route, dest)
            self._check_other(path, dest, target)
            if self._endpoint().holds()(path):
                self.delete(path)

    def _check_single(self, path: str) -> None:
        """Raise if several files on disk have a name: one is copied, and all would be deleted."""
        if self.protocol == "file":
            found = stat_variants(os.path.join(self._path.path, path))  # noqa: PTH118 - paths are text
            if len(found) > 1:
                names = " and ".join(f"'{path}{SUFFIXES[encoding]}'" for encoding in found)
                raise InvalidArgumentError(
                    f"'{path}' was not moved, because {names} have that name; move or delete all "
                    f"but one of them first"
                )

    def _check_other(self, path: str, dest: CloudFiles, target: str) -> None:
        """Raise if a copy may be its original, in a store that has two addresses."""
        ends = (self._store, self._key(path)), (dest._store, dest._key(target))
        if len({(store.bucket, key, store.backend.name) for store, key in ends}) == 2:
            return
        here, there = (store.backend.head(key) for store, key in ends)
        if (here.etag, here.modified) == (there.etag, there.modified):
            raise ObjectChangedError(
                f"'{path}' was copied and not deleted, because the copy looks as if it were the "
                f"same object, in a store that has two addresses; if not, delete it"
            )

    def _place(self, path: str) -> tuple[str, str]:
        """Return where a file is, links to its directory followed."""
        backend, key = self._store.backend, self._key(path)
        parent, _, name = key.rpartition("/")
        directory = backend.resolve_links(parent)
        if directory is None:
            return backend.describe(), key
        with suppress(OSError):  # a disk that folds case has several paths of one directory
            status = os.stat(directory)  # noqa: PTH116 - paths are text
            directory = f"{status.st_dev} {status.st_ino}"
        return directory, name

    # -- cf[...] ---------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], slice | int):
            path, span = key
            if isinstance(span, int):
                raise InvalidArgumentError(f"a range of bytes is a slice, as in cf[{path!r}, 0:30]")
            if span.step not in (None, 1):
                raise InvalidArgumentError("a range of bytes has no step")
            return self.get({"path": path, "start": span.start, "end": span.stop})
        if isinstance(key, slice):
            return self.get(islice(self, *_nonnegative(key)))
        return self.get(key)

    def __setitem__(self, key: str | slice, value: Any) -> None:
        if not isinstance(key, slice):
            self.put(key, value)
        elif isinstance(value, CloudFiles):
            whole = key == slice(None)
            self.transfer_from(value, None if whole else islice(value, *_nonnegative(key)))
        else:
            self.puts(value)

    def __delitem__(self, key: Any) -> None:
        self.delete(key)


class FilesAsOnDisk(CloudFiles):
    """Files in a directory on disk, all under their own names: ``a.gz`` is not ``a`` in gzip."""

    @cached_property
    def _connection(self) -> tuple[Store, str]:
        return connect("local", self._path.path), ""

    def _check_single(self, path: str) -> None:
        """Do nothing: a name has one file."""


class Route(NamedTuple):
    """A file, the path of its copy, and another file whose copy may be the same file on disk."""

    path: str
    target: str
    twin: str | None = None


def route_of(item: Any) -> Route:
    """Return the path of a file and that of its copy."""
    if isinstance(item, Route):
        return item
    if isinstance(item, Mapping) and "path" in item:
        item = (item["path"], item.get("dest_path") or item["path"])
    elif isinstance(item, str | os.PathLike):
        item = (item, item)
    if isinstance(item, tuple | list) and len(item) == 2:
        return Route(path_text(item[0]), path_text(item[1]))
    raise InvalidArgumentError(
        f"a file to copy is a path, a pair of paths, or a dictionary, got {item!r:.80}"
    )


#: Suffixes of names that content encodings have on disk.
ENCODED = frozenset(filter(None, SUFFIXES.values()))


def with_twins(routes: Iterable[Route]) -> Iterator[Route]:
    """Yield routes; one whose copy has the name of another and the suffix of an encoding, with it.

    In the order of a listing, a name follows those that it begins with. In another order, any name
    with such a suffix may have a twin.
    """
    others: dict[str, str] = {}  # the paths of copies, each the beginning of the next one
    ordered, last = True, ""
    for path, target, _ in routes:
        while others and not target.startswith(next(reversed(others))):
            others.popitem()
        ordered, last = ordered and last <= target, target
        plain, suffix = posixpath.splitext(target)
        twin = others.get(plain) if suffix in ENCODED else None
        if suffix in ENCODED and not ordered and path.endswith(suffix):
            twin = path.removesuffix(suffix)
        others[target] = path
        yield Route(path, target, twin)


def _nonnegative(span: slice) -> tuple[int | None, int | None, int | None]:
    parts = (span.start, span.stop, span.step)
    if any(part is not None and part < 0 for part in parts):
        raise InvalidArgumentError("files are counted from the first; use no negative numbers")
    return parts
