"""What all parts of ``CloudFiles`` share: the connection, and many files at once."""

from __future__ import annotations

import hashlib
import os
import posixpath
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cottoncandy.cloudfiles import paths as cloudpaths
from cottoncandy.cloudfiles.connection import Options, open_store
from cottoncandy.cloudfiles.monitoring import Flight, TransmissionMonitor
from cottoncandy.cloudfiles.processes import in_processes, process_count
from cottoncandy.core.buffers import Body
from cottoncandy.core.files import disk_errors, lock, open_lockable, unlock
from cottoncandy.core.output import Progress, printable
from cottoncandy.core.threads import cached_property
from cottoncandy.exceptions import InvalidArgumentError
from cottoncandy.stores.checks import check_int
from cottoncandy.stores.store import Store
from cottoncandy.stores.urls import cloud_files_dir, mask
from cottoncandy.transfer.engine import Result, complete, each, retrying
from cottoncandy.transfer.entries import Endpoint

R = TypeVar("R")

#: The owner of the bucket can read the files, other accounts cannot.
ACL = "bucket-owner-full-control"
#: Requests for one large file.
LARGE_THREADS = 4


class FilesBase:
    """A directory of a store, and its options."""

    def __init__(
        self,
        cloudpath: str | os.PathLike[str],
        *,
        progress: bool = False,
        green: bool | None = None,
        secrets: str | Mapping[str, Any] | None = None,
        num_threads: int = 20,
        use_https: bool = False,
        endpoint: str | None = None,
        parallel: int | bool = 1,
        request_payer: str | None = None,
        locking: bool | None = None,
        lock_dir: str | None = None,
        composite_upload_threshold: int = 100_000_000,
        no_sign_request: bool = False,
        retries: int | None = None,
    ) -> None:
        if green:
            text = "green= has no effect: threads are preemptive"
            warnings.warn(text, UserWarning, stacklevel=1)  # one line, so that it is shown once
        check_int(num_threads, "num_threads", 1)
        if retries is not None:
            check_int(retries, "retries", 0)
        self.cloudpath = cloudpaths.normalize(cloudpath)
        self.progress = progress
        self.green = green
        self.secrets = secrets
        self.num_threads = num_threads
        self.parallel = process_count(parallel)
        self.request_payer = request_payer
        self.composite_upload_threshold = composite_upload_threshold
        self.no_sign_request = no_sign_request
        self._path = cloudpaths.extract(self.cloudpath)
        self._options = Options(
            secrets,
            use_https,
            endpoint,
            request_payer,
            composite_upload_threshold,
            no_sign_request,
            retries,
        )
        #: The protocol of the cloud path; ``'s3'`` for an alias.
        self.protocol = self._path.protocol
        lock_dir = lock_dir or os.environ.get("CLOUD_FILES_LOCK_DIR")
        #: Whether files on disk are locked.
        self.locking = self.protocol == "file" and bool(lock_dir if locking is None else locking)
        #: Folder of the locks.
        self.lock_dir = str(lock_dir or cloud_files_dir() / "locks")
        self._local = self.protocol in ("file", "mem")
        self._connection  # noqa: B018 - errors in the path and credentials are raised here

    def __repr__(self) -> str:
        return f"<CloudFiles {printable(mask(self.cloudpath))}>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: each for name, each in self.__dict__.items() if name != "_connection"}

    @cached_property
    def _connection(self) -> tuple[Store, str]:
        return open_store(self.cloudpath, self._options)

    @property
    def _store(self) -> Store:
        return self._connection[0]

    def _key(self, path: Any) -> str:
        text = path_text(path)
        if not text:
            raise InvalidArgumentError("the path of a file must not be empty")
        return self._connection[1] + text

    def _endpoint(self) -> Endpoint:
        """Return all files as the source or destination of a transfer."""
        store, prefix = self._connection
        if self.protocol == "file":
            store = store.in_bucket(os.path.realpath(self._path.path))
        return Endpoint(store, prefix)

    # -- properties, and paths as text -----------------------------------------------------------

    #: The separator of paths.
    sep = "/"

    def join(self, *paths: str) -> str:
        """Join paths with ``/``."""
        return posixpath.join(*paths) if paths else ""

    def dirname(self, path: str) -> str:
        """Return a path without its last part."""
        return posixpath.dirname(path)

    def basename(self, path: str) -> str:
        """Return the last part of a path."""
        return posixpath.basename(path)

    def abspath(self, path: str) -> str:
        """Return the cloud path of a file, without a format."""
        folder = self._path._replace(path=self._path.path.rstrip("/"))
        return f"{cloudpaths.asprotocolpath(folder)}/{path}"

    # -- locks -----------------------------------------------------------------------------------

    def _locked(self, path: str, *, shared: bool = False) -> AbstractContextManager[None]:
        """Hold the lock of a file, if files on disk are locked; many may share it.

        Files are replaced atomically, so locks are not needed to read whole ones. They serve
        programs that read a file, change it and write it back.
        """
        return self._held(path, shared) if self.locking else nullcontext()

    @contextmanager
    def _held(self, path: str, shared: bool) -> Iterator[None]:
        location = f"{self._path.path}/{path}".encode(errors="surrogateescape")
        with disk_errors(self.lock_dir):
            Path(self.lock_dir).mkdir(parents=True, exist_ok=True)
            name = f"{self.lock_dir}/{hashlib.sha256(location).hexdigest()}.lock"
            descriptor = open_lockable(name, os.O_RDWR | os.O_CREAT)
        try:
            lock(descriptor, shared=shared)
            yield
        finally:
            unlock(descriptor)

    def clear_locks(self) -> None:
        """Remove all lock files from ``lock_dir``."""
        for path in Path(self.lock_dir).glob("*.lock"):
            path.unlink(missing_ok=True)

    # -- many at once ----------------------------------------------------------------------------

    def _ask(
        self,
        function: Callable[[str], Any],
        paths: Any,
        total: int | None,
        progress: bool | None,
        label: str,
    ) -> Any:
        """Return one answer, or a dictionary of answers."""
        if isinstance(paths, str | os.PathLike):
            return function(os.fspath(paths))
        results = list(self._each(function, paths, label, total, progress, 1))
        finish(results)
        return {path_text(result.item): result.value for result in results}

    def _each(
        self,
        function: Callable[[Any], Any],
        paths: Any,
        label: str,
        total: int | None = None,
        progress: bool | None = None,
        parallel: int | bool | None = None,
        dest: FilesBase | None = None,
    ) -> Iterator[Result[Any, Any]]:
        """Yield the result of each item, from threads or processes, and move the bar.

        Copies have a ``dest``.
        """
        items, ends = as_items(paths), (self, dest or self)
        local = all(end._local for end in ends)
        processes = process_count(self.parallel if parallel is None else parallel)
        threads = self.num_threads
        if isinstance(items, list) and len(items) == 1:
            processes, threads, progress = 1, 1, False
        with self._bar(label, items, total, progress) as bar:
            counted = bar.counted(items)
            call = partial(each, function, threads=threads, local=local)
            if processes == 1 or any(end.protocol == "mem" for end in ends):
                results = call(counted)
            else:
                results = in_processes(call, map(_sendable, counted), processes)
            for result in results:
                bar.update(1)
                yield result

    def _retrying(self, call: Callable[[], R]) -> R:
        """Return the result of a call that may be repeated, while the store is busy."""
        return call() if self._local else retrying(call, self._store)

    def _bar(self, label: str, items: Any, total: int | None, progress: bool | None) -> Progress:
        total = len(items) if total is None and hasattr(items, "__len__") else total
        show = self.progress if progress is None else progress
        return Progress(total, unit="files", label=label, show=bool(show))


def _sendable(item: Any) -> Any:
    """Return an item that pickles: files, iterators and views of memory become bytes."""
    content = item.get("content") if isinstance(item, dict) else None
    if isinstance(content, memoryview | Iterator) or hasattr(content, "read"):
        return {**item, "content": b"".join(Body.of(content))}
    return item


def is_single(paths: Any) -> bool:
    """Return whether an argument is one file: a path, or a dictionary."""
    return isinstance(paths, str | os.PathLike | Mapping)


def mapped(function: Callable[[Any], R], paths: Any) -> Iterable[R]:
    """Return what a function makes of each file of an argument; a list if their number is known."""
    items = as_items(paths)
    found = map(function, items)
    return list(found) if hasattr(items, "__len__") else found


def as_items(paths: Any) -> Any:
    """Return the files of an argument: one, or an iterable of them."""
    if is_single(paths):
        return [paths]
    if isinstance(paths, bytes) or not isinstance(paths, Iterable):
        raise InvalidArgumentError(f"expected the path of a file, or several, got {paths!r:.80}")
    return paths


def path_text(path: Any) -> str:
    """Return the path of a file as text."""
    if isinstance(path, str):
        return path
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise InvalidArgumentError(f"the path of a file must be text or a Path, got {path!r:.80}")
    return text


def is_pair(item: Any) -> bool:
    """Return whether an item is a path and something that belongs to it."""
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str | os.PathLike)


def finish(
    results: Iterable[tuple[Any, Any, Any]], monitor: TransmissionMonitor | None = None
) -> int:
    """Return the number of results, or raise the first error, with a note about the others.

    The error, also one that ends the results early, has the number ``done``. The monitor gets the
    values that are flights.
    """

    def recorded() -> Iterator[tuple[Any, Any, Any]]:
        for result in results:
            if monitor is not None and isinstance(result[1], Flight):
                monitor._record(result[1])
            yield result

    def name(item: Any) -> str:
        path = item[0] if isinstance(item, tuple) else item  # of a move
        return path["path"] if isinstance(path, dict) else str(path)

    return complete(recorded(), name=name)
