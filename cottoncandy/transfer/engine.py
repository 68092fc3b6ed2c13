"""Many calls at once: bounded memory, no stalls, every failure reported once."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from cottoncandy.backends.base import Backend, CommonPrefix, DeleteResult, ObjectInfo
from cottoncandy.core.names import shorten
from cottoncandy.core.output import Progress
from cottoncandy.core.threads import after_fork, map_threads, pause
from cottoncandy.exceptions import (
    BucketNotFoundError,
    CottonCandyError,
    CredentialsError,
    EncryptionKeyError,
    PartialFailureError,
    StorageFullError,
    StoreBusyError,
    StoreUnreachableError,
)
from cottoncandy.stores.store import Store

T = TypeVar("T")
R = TypeVar("R")

#: Errors that concern the other items too: the run ends immediately.
_FATAL = (
    BucketNotFoundError,
    CredentialsError,
    EncryptionKeyError,
    StorageFullError,
    StoreUnreachableError,
)
_SHOWN = 10

_FIRST_PAUSE_S = 0.5
_LAST_PAUSE_S = 60.0
_MAX_PACE = 64
_FAST_S = 0.001  # threads gain nothing for calls that take less
_BATCH = 1000  # keys of one deletion request

logger = logging.getLogger(__name__)


#: What :func:`each` and :meth:`Backend.delete` yield: an item first, its error or None last.
Outcomes = Iterator[tuple[Any, ...]]


class _Pace:
    """The number of calls at once that a busy store allows; shared by the whole process.

    It is halved when a store is busy, at most once a second, and grows by one with each success.
    """

    def __init__(self) -> None:
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._limit = math.inf
        self._slowed = 0.0

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._running < self._limit)
            self._running += 1

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with self._changed:
            if kind is None:
                self._limit = self._limit + 1 / self._limit if self._limit < _MAX_PACE else math.inf
            elif issubclass(kind, StoreBusyError) and time.monotonic() - self._slowed > 1.0:
                self._slowed = time.monotonic()
                self._limit = max(self._running // 2, 1)
            self._running -= 1
            self._changed.notify_all()


_pace = _Pace()


def retrying(call: Callable[[], R], store: Store) -> R:
    """Return the result of a call that may be repeated; repeat it while the store is busy.

    Everyone in this process slows down with it. There are as many repetitions as the options of the
    store say, after random pauses of up to 0.5 s that double each time, up to 60 s.
    """
    attempt = 0
    while True:
        try:
            with _pace:
                return call()
        except StoreBusyError as exc:
            longest = min(_FIRST_PAUSE_S * 2**attempt, _LAST_PAUSE_S)
            attempt += 1
            if attempt > store.settings.retries:
                raise
            logger.info("retrying after %s", exc)
            if not pause(random.uniform(0, longest)):  # noqa: S311 - jitter
                raise


def listing(
    store: Store, prefix: str = "", *, delimiter: str = "", start_after: str = ""
) -> Iterator[ObjectInfo | CommonPrefix]:
    """Yield what the backend lists; while it is busy, continue after the last entry."""
    last = start_after
    while True:
        begun = last
        scan = partial(store.backend.scan, prefix, delimiter=delimiter, start_after=last)
        try:
            for entry in retrying(partial(started, scan), store):
                if entry.key != last:  # a directory that was yielded begins again
                    yield entry
                    last = entry.key
            return
        except StoreBusyError:
            if last == begun:
                raise


def started(scan: Callable[[], Iterator[R]]) -> Iterator[R]:
    """Return a listing whose first request was sent."""
    entries = scan()
    return itertools.chain(list(itertools.islice(entries, 1)), entries)


def delete_all(store: Store, keys: Iterable[str], *, threads: int) -> Outcomes:
    """Delete keys; yield the outcome of each. Some are deleted again while the store is busy."""
    remaining = iter(keys)
    while batch := list(itertools.islice(remaining, threads * _BATCH)):
        yield from retrying(partial(_deleted, store.backend, batch, threads), store)


def _deleted(backend: Backend, keys: list[str], threads: int) -> list[DeleteResult]:
    results = list(backend.delete(keys, threads=threads))
    for _, error in results:
        if isinstance(error, StoreBusyError):
            raise error
    return results


class Result(NamedTuple, Generic[T, R]):
    """The result of one item; ``value`` is None if there is an error."""

    item: T
    value: R | None
    error: Exception | None = None


def each(
    function: Callable[[T], R], items: Iterable[T], *, threads: int, local: bool = False
) -> Iterator[Result[T, R]]:
    """Call ``function(item)``, up to ``threads`` at once; yield each result as soon as it is there.

    Items are taken lazily, twice the threads ahead. A slow item does not delay others. An error of
    the library or of the system (``OSError``) concerns its item only; errors that concern all items
    (credentials, a full disk, no connection) are raised after the running calls have ended. A lost
    connection concerns all items unless one has succeeded since the last.

    Parameters
    ----------
    local : bool, default False
        Whether there are no requests: then this thread makes the calls as long as they are fast.
    """
    reached = False

    def attempt(item: T) -> Result[T, R]:
        nonlocal reached
        try:
            result = Result(item, function(item))
        except _FATAL as exc:
            if not (reached and isinstance(exc, StoreUnreachableError)):
                raise
            reached = False
            return Result(item, None, exc)
        except (CottonCandyError, OSError) as exc:
            return Result(item, None, exc)
        reached = True
        return result

    if local:
        return _mostly_here(attempt, items, threads)
    return map_threads(attempt, items, threads, ordered=False)


def _mostly_here(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Call in this thread; after slow calls, as on a network file system, in threads for a while.

    Threads that share the interpreter take three times as long for small files on a local disk.
    """
    remaining, slow = iter(items), 0
    for item in remaining:
        begun = time.perf_counter()
        result = function(item)
        slow = 0 if time.perf_counter() - begun < _FAST_S else slow + 1
        yield result
        if slow > 1:  # one call may have waited for the processor
            ahead = itertools.islice(remaining, threads << min(slow, 20))
            yield from map_threads(function, ahead, threads, ordered=False)


def complete(
    outcomes: Iterable[tuple[Any, ...]],
    describe: Callable[[int, int], str] | None = None,
    bar: Progress | None = None,
    *,
    name: Callable[[Any], str] = str,
    stop: bool = False,
) -> int:
    """Exhaust outcomes and return their number, or raise one error about all failures.

    The error, also one that ends the outcomes early, has the number ``done``.

    Parameters
    ----------
    outcomes : iterable of tuple
        Those of :func:`each` or :meth:`Backend.delete`.
    describe : callable, optional
        Returns the beginning of the message, from the numbers of failures and of items. Without it,
        the first error is raised, with a note about the others.
    bar : Progress, optional
        Moves with each outcome.
    name : callable, default str
        Returns the name of an item, for the message.
    stop : bool, default False
        Whether no further call begins after an error.

    Raises
    ------
    PartialFailureError
        If any of them failed.
    """
    failed: list[tuple[str, Exception]] = []
    count = failures = 0
    try:
        with bar or contextlib.nullcontext():
            for item, *_, error in outcomes:
                count += 1
                if bar is not None:
                    bar.update(1)
                if error is None:
                    continue
                failures += 1
                if len(failed) < _SHOWN:
                    failed.append((name(item), error))
                if stop:
                    break
    except BaseException as end:
        end.done = count - failures  # type: ignore[attr-defined]  # for those who report it
        raise
    if not failed:
        return count
    if stop and isinstance(outcomes, Generator):
        outcomes.close()  # awaits running calls
    first: Any = failed[0][1]
    if describe is not None:
        error = PartialFailureError(f"{describe(failures, count)}: {summary(failed, failures)}")
        error.done = count - failures
        raise error from first
    if failures > 1:
        first.add_note(f"{failures - 1} more failed: {summary(failed[1:], failures - 1)}")
    first.done = count - failures
    raise first


def summary(failed: Iterable[tuple[str, Exception]], failures: int) -> str:
    """Return the names and errors of the first failures, and the number of the others."""
    lines = [f"'{shorten(name)}' ({error})" for name, error in itertools.islice(failed, _SHOWN)]
    if failures > len(lines):
        lines.append(f"and {failures - len(lines)} more")
    return "; ".join(lines)
