"""Run many actions at once: bounded memory, no stalls, every failure reported once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar, cast

from cottoncandy.backends.base import Backend
from cottoncandy.core.names import shorten
from cottoncandy.core.output import Progress
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import (
    BucketNotFoundError,
    CottonCandyError,
    CredentialsError,
    EncryptionKeyError,
    PartialFailureError,
    StorageFullError,
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
