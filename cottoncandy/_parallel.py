"""Many blocking calls at once, bounded and interruptible."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["interruptible", "map_threads"]

T = TypeVar("T")
R = TypeVar("R")


def map_threads(
    function: Callable[[T], R], items: Iterable[T], threads: int, *, ahead: int | None = None
) -> Iterator[R]:
    """Yield ``function(item)`` in the order of the items, up to ``threads`` of them at once.

    Items are taken lazily: no more than ``ahead`` results (default: twice the threads) are under
    way or waiting. The first error is raised at its place in the order; work not yet begun is then
    dropped, and what is under way is waited for, so nothing runs on behind the caller's back.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    window = 2 * threads if ahead is None else ahead
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="cottoncandy")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= window:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def interruptible(function: Callable[[], R]) -> R:
    """Run a blocking call so that Ctrl-C ends the wait, where it can arrive.

    Python delivers signals to the main thread between bytecodes, which a call into native code
    holds up until it returns. From the main thread the call therefore runs in another one. It is
    not stopped there: its own timeout ends it.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    worker = _idle.pop() if _idle else _Worker()
    outcome: Future[R] = worker.submit(function)
    try:
        return outcome.result()
    finally:
        # A worker whose call nobody waits for any more ends with it.
        if outcome.done():
            _idle.append(worker)
        else:
            worker.dismiss()


class _Worker:
    """A thread that waits for calls: starting one for each costs as much as a small request."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="cottoncandy-call", daemon=True).start()

    def submit(self, function: Callable[[], R]) -> Future[R]:
        outcome: Future[R] = Future()
        self._calls.put((function, outcome))
        return outcome

    def dismiss(self) -> None:
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, outcome = call
            try:
                outcome.set_result(function())
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread whole
                outcome.set_exception(error)
            del call, function, outcome  # hold nothing while idle


#: Workers without a call. Only the main thread touches it: one, or more where calls nest.
_idle: list[_Worker] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # threads do not survive a fork
