"""Transfers that survive the end of the program."""

from __future__ import annotations

import json
import logging
import os
import posixpath
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from cottoncandy.cloudfiles.base import as_items
from cottoncandy.cloudfiles.compression import conversion, normalize_encoding
from cottoncandy.cloudfiles.files import ENCODED, CloudFiles, Route, route_of
from cottoncandy.core.output import Progress
from cottoncandy.exceptions import (
    CottonCandyError,
    InvalidArgumentError,
    ObjectNotFoundError,
    PartialFailureError,
)
from cottoncandy.stores.checks import check_int
from cottoncandy.transfer.copying import Conversion
from cottoncandy.transfer.engine import Result, each, summary
from cottoncandy.transfer.queue import Item, TransferQueue

_logger = logging.getLogger(__name__)
_LEASE_S = 60.0
_POLL_S = 0.2
_GROUP, _GROUP_S = 10, 0.5  # files or seconds after which the queue is told


class ResumableTransfer:
    """A transfer of many files that continues where it stopped, also after a kill.

    Parameters
    ----------
    db : str or path-like
        File of the queue, on a local disk. It is removed when all files are copied.
    lease_msec : int, default 0
        How long a client may work on files without a sign of life, in milliseconds, before others
        take them over. 0 is a minute. Clients give signs of life while they work, and files of a
        client that was killed on this machine are taken over at once.
    **options
        Options of both :class:`CloudFiles`, such as ``secrets``.

    Notes
    -----
    Several clients, on one machine, may execute one queue. A file is copied by one of them, and is
    there once: it is replaced atomically.

    Examples
    --------
    >>> import tempfile
    >>> from cottoncandy import CloudFiles
    >>> CloudFiles("mem://bucket/from").puts([("a", b"1"), ("b", b"2")])
    2
    >>> job = ResumableTransfer(tempfile.mkdtemp() + "/job.db")
    >>> job.init("mem://bucket/from", "mem://bucket/to")
    >>> job.execute()
    2
    >>> job.close()
    >>> list(CloudFiles("mem://bucket/to"))
    ['a', 'b']
    """

    def __init__(self, db: str | os.PathLike[str], lease_msec: int = 0, **options: Any) -> None:
        self._queue = TransferQueue(db)
        self._existed = self._queue.path.exists()
        self._lease_s = _lease(lease_msec)
        self._options = options

    def __len__(self) -> int:
        try:
            return self._queue.remaining()
        except ObjectNotFoundError:
            return 0

    def _is_over(self) -> bool:
        """Return whether other clients have completed the queue since this one was made."""
        return self._existed and not self._queue.path.exists()

    def init(
        self, src: str, dest: str, paths: Any = None, reencode: str | bool | None = None
    ) -> None:
        """List the files to transfer into the queue.

        Parameters
        ----------
        src, dest : str
            Cloud paths.
        paths : iterable of str or dict, optional
            Default: all files. Dictionaries have ``path`` and optionally ``dest_path``.
        reencode : str or bool, optional
            Content encoding of the copies. None keeps it.

        Raises
        ------
        InvalidArgumentError
            If the file is the queue of another transfer, or all files would be copied to a
            directory among them.
        """
        source = CloudFiles(src, **self._options)
        target = CloudFiles(dest, **self._options)
        normalize_encoding(reencode)
        if paths is None:
            source._check_apart(target)
        ends = {"source": source.cloudpath, "dest": target.cloudpath}
        items = source.list() if paths is None else as_items(paths)
        routes = ((route.path, route.target) for route in map(route_of, items))
        self._queue.create({**ends, "reencode": json.dumps(reencode)}, routes)
        self._existed = True

    def execute(
        self,
        db: str | os.PathLike[str] | bool | None = None,
        progress: bool = False,
        block_size: int = 200,
        *,
        lease_msec: int | None = None,
        client: Any = None,
    ) -> int:
        """Copy what the queue has and no other client works on, until all is done.

        Parameters
        ----------
        db : str or path-like, optional
            Accepted because the document shows it: the file of the queue.
        progress : bool, default False
            Whether to show a progress bar.
        block_size : int, default 200
            Number of files to lease at once.
        lease_msec : int, optional
            Overrides that of the instance.
        client : distributed.Client, optional
            Copy on the workers of this cluster, block by block. They need access to both ends.

        Returns
        -------
        count : int
            Number of files that this call copied; 0 if other clients have completed the queue since
            this one was made. A source that does not exist any more is logged, and is in
            :meth:`errors`.

        Raises
        ------
        ObjectNotFoundError
            If there is no queue.
        InvalidArgumentError
            If there is a client, and files are in memory: that of another process.
        PartialFailureError
            If some files could not be copied. They stay in the queue; call it again.
        """
        if isinstance(db, bool):  # in cloud-files, the first argument is progress
            progress, db = db, None
        if db is not None and Path(db).expanduser().absolute() != self._queue.path:
            raise InvalidArgumentError(
                f"this is the transfer of '{self._queue.path}', not of '{db}'"
            )
        check_int(block_size, "block_size", 1)
        seconds = self._lease_s if lease_msec is None else _lease(lease_msec)
        try:
            job = self._queue.job()
        except ObjectNotFoundError:
            if self._is_over():
                return 0
            raise
        source, dest = (CloudFiles(job[end], **self._options) for end in ("source", "dest"))
        reencode = json.loads(job["reencode"])
        if client is not None and "mem" in (source.protocol, dest.protocol):
            raise InvalidArgumentError(
                "workers of a cluster do not share mem:// with this process; call execute() "
                "without client="
            )
        twins = source._may_have_twins(dest, reencode)
        copies = partial(_copies, source, dest, conversion(reencode, None))
        copied = 0
        failed: dict[str, Exception] = {}
        with (
            Progress(len(self), unit="files", label="transferring", show=progress) as bar,
            self._heartbeat(seconds),
        ):
            while items := self._next(block_size, seconds):
                leased: Iterable[Item] = items
                if client is None:  # a slow file does not delay the next blocks
                    more = iter(lambda: self._queue.lease(block_size, seconds), [])
                    leased = chain(items, chain.from_iterable(more))
                if twins:
                    leased = map(self._with_twin, leased)
                groups = (
                    _in_groups(copies(leased))
                    if client is None
                    else _remote(copies, [*leased], client)
                )
                for group in groups:
                    copied += self._record(group, failed, source)
                    bar.update(len(group))
        if failed:
            raise PartialFailureError(
                f"{len(failed)} files could not be copied to {job['dest']}, and stay in the queue "
                f"'{self._queue.path}': {summary(failed.items(), len(failed))}"
            ) from next(iter(failed.values()))
        return copied

    def _next(self, count: int, seconds: float) -> list[Item]:
        """Lease files; wait for those of others, which may be given back."""
        while True:
            if items := self._queue.lease(count, seconds):
                return items
            self._queue.release_dead()
            # Others keep what has failed until they end, too; two would wait for each other.
            if not self._queue.undecided():
                return []
            time.sleep(_POLL_S)

    def _with_twin(self, item: Item) -> Item:
        """Return a file with the other one of the queue whose copy on disk may be its own."""
        (plain, suffix), target = posixpath.splitext(item.path), posixpath.splitext(item.dest)[0]
        found = suffix in ENCODED and item.dest.endswith(suffix) and self._queue.has(plain, target)
        return item._replace(twin=plain) if found else item

    def _record(
        self,
        results: Sequence[Result[Item, Any]],
        failed: dict[str, Exception],
        source: CloudFiles,
    ) -> int:
        rows: list[tuple[Item, str | None, bool]] = []
        for item, _, error in results:
            vanished = isinstance(error, ObjectNotFoundError) and (
                source.protocol != "file" or source._endpoint().exists()  # else a disk is missing
            )
            if vanished:
                _logger.warning("skipping %s: %s", item.path, error)
            elif error is not None:
                failed[item.path] = error
            rows.append((item, None if error is None else str(error), error is None or vanished))
        self._queue.finish(rows)
        return sum(error is None for _, error, _ in rows)

    @contextmanager
    def _heartbeat(self, seconds: float) -> Iterator[None]:
        """Renew the leases while the block runs; give back what it leaves."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(seconds / 3):
                with suppress(CottonCandyError):  # a busy disk; the next beat may succeed
                    self._queue.renew(seconds)

        self._queue.release()  # what an earlier run could not give back, as on a full disk
        thread = threading.Thread(target=beat, name="cottoncandy-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._queue.release()

    def errors(self) -> dict[str, str]:
        """Return the errors, by path: of files that do not exist any more, too."""
        try:
            return self._queue.errors()
        except ObjectNotFoundError:
            if self._is_over():
                return {}
            raise

    def close(self) -> None:
        """Close the queue; remove its file if all files are done."""
        self._queue.close()

    def __enter__(self) -> ResumableTransfer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _lease(lease_msec: int) -> float:
    if lease_msec < 0:
        raise InvalidArgumentError(f"lease_msec must not be negative, got {lease_msec!r}")
    return lease_msec / 1000 if lease_msec else _LEASE_S


_Copies = Callable[[Iterable[Item]], Iterator[Result[Item, Any]]]


def _copies(
    source: CloudFiles, dest: CloudFiles, convert: Conversion | None, items: Iterable[Item]
) -> Iterator[Result[Item, Any]]:
    return each(
        lambda item: source._transfer(Route(*item[1:]), dest, convert),
        items,
        threads=source.num_threads,
        local=source._local and dest._local,
    )


def _remote(
    copies: _Copies, items: Sequence[Item], client: Any
) -> Iterator[Sequence[Result[Item, Any]]]:
    """Yield the results of workers of dask.distributed, each for a range of the block."""
    from distributed import as_completed

    workers = max(len(client.nthreads()), 1)  # scheduler_info() may leave some out
    size = max(-(-len(items) // (2 * workers)), 1)
    shards = [items[start : start + size] for start in range(0, len(items), size)]
    futures = {
        client.submit(lambda shard: list(copies(shard)), shard, pure=False, retries=3): shard
        for shard in shards
    }
    try:
        for future in as_completed(futures, loop=client.loop):  # type: ignore[no-untyped-call]  # dask has no types
            try:
                yield future.result()
            except CottonCandyError:
                raise  # concerns all files
            except Exception as exc:  # noqa: BLE001 - dask's: its workers died again and again
                yield [Result(item, None, exc) for item in futures[future]]
    finally:
        client.cancel(list(futures))  # else workers copy what the queue gives to others


def _in_groups(results: Iterable[Result[Item, Any]]) -> Iterator[Sequence[Result[Item, Any]]]:
    """Yield results in small groups, and soon, so that a kill loses little."""
    group: list[Result[Item, Any]] = []
    told = time.monotonic()
    for result in results:
        group.append(result)
        if len(group) == _GROUP or time.monotonic() - told > _GROUP_S:
            yield group
            group, told = [], time.monotonic()
    if group:
        yield group
