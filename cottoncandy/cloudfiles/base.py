"""What all parts of ``CloudFiles`` share: the connection, and many files at once."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from cottoncandy.cloudfiles import paths as cloudpaths
from cottoncandy.cloudfiles.connection import Options, open_store
from cottoncandy.cloudfiles.locks import Locks
from cottoncandy.cloudfiles.processes import in_processes, process_count
from cottoncandy.core.output import Progress
from cottoncandy.exceptions import InvalidArgumentError
from cottoncandy.stores.store import Store
from cottoncandy.transfer.engine import Result, each

__all__ = ["ACL", "LARGE_THREADS", "FilesBase", "count_results", "first_error", "total_of"]

#: The owner of the bucket can read the files, other accounts cannot.
ACL = "bucket-owner-full-control"
#: Requests for one large file.
LARGE_THREADS = 4
_SHOWN = 10


class FilesBase:
    """A directory of a store, and its options."""

    def __init__(
        self,
        cloudpath: str,
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
    ) -> None:
        if green:
            warnings.warn("green= has no effect: threads are preemptive", UserWarning, stacklevel=2)
        if num_threads < 1:
            raise InvalidArgumentError(f"num_threads must be at least 1, got {num_threads!r}")
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
            secrets, use_https, endpoint, request_payer, composite_upload_threshold, no_sign_request
        )
        self._locks = Locks.of(lock_dir, locking if self.protocol == "file" else False)
        self._opened: tuple[Store, str] | None = None
        self._connection  # noqa: B018 - errors in the path and credentials are raised here

    def __repr__(self) -> str:
        return f"<CloudFiles {self.cloudpath}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def _connection(self) -> tuple[Store, str]:
        if self._opened is None:
            self._opened = open_store(self.cloudpath, self._options)
        return self._opened

    @property
    def _store(self) -> Store:
        return self._connection[0]

    def _key(self, path: str) -> str:
        if not isinstance(path, str) or not path:
            raise InvalidArgumentError(f"the path of a file must be a str, got {path!r}")
        return self._connection[1] + path

    # -- properties, and paths as text -----------------------------------------------------------

    @property
    def protocol(self) -> str:
        """The protocol of the cloud path; ``'s3'`` for an alias."""
        return self._path.protocol

    @property
    def sep(self) -> str:
        """The separator of paths."""
        return "/"

    @property
    def locking(self) -> bool:
        """Whether files on disk are locked."""
        return self._locks.enabled

    @property
    def lock_dir(self) -> str:
        """Folder of the locks."""
        return self._locks.folder

    def clear_locks(self) -> None:
        """Remove all lock files from ``lock_dir``."""
        self._locks.clear()

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
        """Return the cloud path of a file."""
        return self.join(self.cloudpath, path)

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
        if isinstance(paths, str):
            return function(paths)
        found, failed = {}, []
        for result in self._each(
            function, paths, label=label, total=total_of(paths, total), progress=progress
        ):
            if result.error is None:
                found[result.item] = result.value
            else:
                failed.append(result)
        if failed:
            raise first_error(failed, "look at")
        return found

    def _each(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        label: str,
        total: int | None,
        progress: bool | None,
        parallel: int | bool | None = 1,
        task: Callable[[Any], Iterable[Any]] | None = None,
        single: bool = False,
    ) -> Iterator[Result[Any, Any]]:
        """Yield the result of each item, from threads or processes, and move the bar."""
        processes = process_count(self.parallel if parallel is None else parallel)
        with self._bar(label, total, False if single else progress) as bar:
            counted = bar.counted(items)
            if task is None or single or processes == 1 or self.protocol == "mem":
                threads = 1 if single else self.num_threads
                results: Iterator[Result[Any, Any]] = each(function, counted, threads=threads)
            else:
                results = in_processes(task, counted, processes)
            for result in results:
                bar.update(1)
                yield result

    def _bar(self, label: str, total: int | None, progress: bool | None) -> Progress:
        show = self.progress if progress is None else progress
        return Progress(total, unit="files", label=label, show=bool(show))


def total_of(items: Any, total: int | None) -> int | None:
    """Return the number of items, if it is known."""
    return len(items) if total is None and hasattr(items, "__len__") else total


def count_results(results: Iterable[Result[Any, Any]], verb: str) -> int:
    """Exhaust results and return their number, or raise the first error."""
    done, failed = 0, []
    for result in results:
        done += 1
        if result.error is not None:
            failed.append(result)
    if failed:
        raise first_error(failed, verb)
    return done


def first_error(failed: Sequence[Result[Any, Any]], verb: str) -> Exception:
    """Return the error of one file, with a note about the others."""
    error = failed[0].error or InvalidArgumentError("no error")
    if len(failed) > 1:
        names = ", ".join(
            repr(getattr(each_.item, "path", each_.item)) for each_ in failed[1:_SHOWN]
        )
        error.add_note(f"could not {verb} {len(failed) - 1} more files: {names:.500}")
    return error
