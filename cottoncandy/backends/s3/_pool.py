"""Requests side by side whose caller can leave at any time.

``cottoncandy._parallel`` waits for what is under way; here a hanging request must not hold up a
Ctrl-C. The threads are daemons, so it can't hold up the end of the program either. Whoever leaves
tells the work so by a flag of its own.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["in_background", "in_order"]

T = TypeVar("T")
R = TypeVar("R")


def in_background(function: Callable[..., R], *arguments: Any) -> Future[R]:
    """Start one call in a thread of its own."""
    outcome: Future[R] = Future()
    call = threading.Thread(
        target=_settle,
        args=(outcome, lambda: function(*arguments)),
        name="cottoncandy-s3",
        daemon=True,
    )
    call.start()
    return outcome


def in_order(
    function: Callable[[T], R], items: Iterable[T], threads: int, *, ahead: int | None = None
) -> Iterator[R]:
    """Yield ``function(item)`` in the order of the items, up to ``threads`` at once.

    At most ``ahead`` (default ``threads``) results are under way or waiting. Where the iteration
    ends early, by an error or by its consumer, what has not begun is dropped and what is under way
    is left to end by itself.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    jobs: queue.SimpleQueue[tuple[Future[R], T] | None] = queue.SimpleQueue()
    pending: deque[Future[R]] = deque()
    started = 0

    def work() -> None:
        while (job := jobs.get()) is not None:
            future, item = job
            if future.set_running_or_notify_cancel():
                _settle(future, lambda item=item: function(item))  # type: ignore[misc]  # its default
            del job, future, item  # a waiting thread shall hold no buffer

    try:
        for item in items:
            if started < threads:
                threading.Thread(target=work, name="cottoncandy-s3", daemon=True).start()
                started += 1
            future: Future[R] = Future()
            pending.append(future)
            jobs.put((future, item))
            if len(pending) >= (ahead or threads):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        for _ in range(started):
            jobs.put(None)


def _settle(outcome: Future[R], call: Callable[[], R]) -> None:
    try:
        outcome.set_result(call())
    except BaseException as error:  # noqa: BLE001 - handed to the waiting thread whole
        outcome.set_exception(error)
