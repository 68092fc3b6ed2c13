"""Run many actions at once: bounded memory, no stalls, every failure reported once."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar, cast

from cottoncandy.backends.base import Backend
from cottoncandy.core.names import shorten
from cottoncandy.core.output import Progress
from cottoncandy.core.threads import after_fork, map_threads
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

__all__ = [
    "Action",
    "Outcome",
    "Result",
    "complete",
    "delete",
    "each",
    "perform",
    "report",
    "retrying",
    "run",
]

T = TypeVar("T")
R = TypeVar("R")

#: Errors that concern the other actions too: the run ends immediately.
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

logger = logging.getLogger(__name__)


class Action(NamedTuple):
    """One step of an operation on many objects.

    Parameters
    ----------
    name : str
        What it concerns, for the report.
    call : callable
        Performs it. An error of the library or of the system (``OSError``) concerns this step only.
    """

    name: str
    call: Callable[[], object]


class Outcome(NamedTuple):
    """The end of one step; ``error`` is None if it succeeded."""

    name: str
    error: Exception | None = None


#: What :func:`run` and :func:`delete` yield.
Outcomes = Iterator[Outcome]


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
            busy = kind is not None and issubclass(kind, StoreBusyError)
            if busy and time.monotonic() - self._slowed > 1.0:
                self._slowed = time.monotonic()
                self._limit = max(self._running // 2, 1)
            elif kind is None and self._limit < _MAX_PACE:
                self._limit += 1 / self._limit
            elif kind is None:
                self._limit = math.inf
            self._running -= 1
            self._changed.notify_all()


_pace = _Pace()


def retrying(call: Callable[[], R], store: Store) -> R:
    """Return the result of a call that may be repeated; repeat it while the store is busy.

    Everyone in this process slows down with it. There are as many repetitions as the options of the
    store say, after random pauses of up to 0.5 s that double each time, up to 60 s.
    """
    for attempt in itertools.count():
        try:
            with _pace:
                return call()
        except StoreBusyError as exc:
            if attempt >= store.settings.retries:
                raise
            logger.info("retrying after %s", exc)
        time.sleep(random.uniform(0, min(_FIRST_PAUSE_S * 2**attempt, _LAST_PAUSE_S)))  # noqa: S311 - jitter
    raise AssertionError


class Result(NamedTuple, Generic[T, R]):
    """The result of one item; ``value`` is None if there is an error."""

    item: T
    value: R | None
    error: Exception | None = None


def each(function: Callable[[T], R], items: Iterable[T], *, threads: int) -> Iterator[Result[T, R]]:
    """Call ``function(item)``, up to ``threads`` at once; yield each result as soon as it is there.

    Items are taken lazily, twice the threads ahead. A slow item does not delay others. An error of
    the library or of the system (``OSError``) concerns its item only; errors that concern all items
    (credentials, a full disk, no connection) are raised after the running calls have ended.
    """

    def attempt(item: T) -> Result[T, R]:
        try:
            return Result(item, function(item))
        except _FATAL:
            raise
        except (CottonCandyError, OSError) as exc:
            return Result(item, None, exc)

    return map_threads(attempt, items, threads, ordered=False)


def run(actions: Iterable[Action], *, threads: int) -> Outcomes:
    """Run actions as :func:`each` calls a function; yield each outcome as soon as it is there."""

    def call(action: Action) -> None:
        action.call()

    results = each(call, actions, threads=threads)
    with contextlib.closing(cast("Generator[Result[Action, None]]", results)):
        for result in results:
            yield Outcome(result.item.name, result.error)


def delete(
    backend: Backend, keys: Iterable[str], *, threads: int, permanently: bool = True
) -> Outcomes:
    """Delete objects with the store's bulk requests; yield the outcome of each."""
    results = backend.delete(keys, threads=threads, permanently=permanently)
    return (Outcome(*result) for result in results)


def complete(outcomes: Iterable[Outcome], describe: Callable[[int, int], str] | None = None) -> int:
    """Exhaust outcomes and return their number, or raise one error about all failures.

    Parameters
    ----------
    outcomes : iterable of Outcome
    describe : callable, optional
        Returns the beginning of the message, from the numbers of failures and of actions. Without
        it, the first error is raised unchanged, and no further action begins.

    Raises
    ------
    PartialFailureError
        If any action failed.
    """
    failed: list[Outcome] = []
    total = failures = 0
    for outcome in outcomes:
        total += 1
        if outcome.error is None:
            continue
        failures += 1
        if len(failed) < _SHOWN:
            failed.append(outcome)
        if describe is None:
            break
    if not failed or failed[0].error is None:
        return total
    if describe is None:
        if isinstance(outcomes, Generator):
            outcomes.close()  # awaits running actions
        raise failed[0].error
    lines = [f"'{shorten(name)}' ({error})" for name, error in failed]
    if failures > len(failed):
        lines.append(f"and {failures - len(failed)} more")
    message = f"{describe(failures, total)}: {'; '.join(lines)}"
    raise PartialFailureError(message) from failed[0].error


def perform(
    store: Store,
    actions: Iterable[Action],
    total: int,
    *,
    threads: int,
    unit: str,
    label: str,
    describe: Callable[[int, int], str] | None = None,
) -> int:
    """Run actions with a progress bar of ``total`` steps: :func:`run`, then :func:`report`."""
    outcomes = run(actions, threads=threads)
    return report(store, outcomes, total, unit=unit, label=label, describe=describe)


def report(
    store: Store,
    outcomes: Outcomes,
    total: int,
    *,
    unit: str,
    label: str,
    describe: Callable[[int, int], str] | None = None,
) -> int:
    """Show a progress bar of ``total`` steps while outcomes arrive: :func:`complete`."""

    def counted() -> Outcomes:
        for outcome in outcomes:
            yield outcome
            bar.update(1)

    with Progress(total, unit=unit, label=label, show=store.settings.progress) as bar:
        return complete(counted(), describe)
