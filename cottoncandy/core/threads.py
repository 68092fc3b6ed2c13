"""Many blocking calls at once, bounded and interruptible."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from queue import SimpleQueue
from types import MethodType
from typing import Any, TypeVar

__all__ = ["ForkSafeLock", "after_fork", "in_background", "interruptible", "map_threads"]

T = TypeVar("T")
R = TypeVar("R")

#: How long an interrupted caller waits for running calls: a server may never answer.
_GRACE_S = 5.0


def map_threads(
    function: Callable[[T], R],
    items: Iterable[T],
    threads: int,
    *,
    max_pending: int | None = None,
    abandon: bool = False,
    ordered: bool = True,
) -> Iterator[R]:
    """Yield ``function(item)`` in the order of the items, up to ``threads`` of them at once.

    If ``ordered`` is False, each result is yielded as soon as it is ready, so a slow item does not
    hold up the others.

    Items are taken lazily: at most ``max_pending`` results (default: twice the threads) are running
    or waiting. The first error is raised at its place in the order. Items that have not started are
    then dropped and running calls are awaited, so nothing continues in the background. After
    Ctrl-C, or if the consumer stops early, that takes a few seconds at most: the threads are
    daemons, which hold up neither the prompt nor the end of the program. With ``abandon``, running
    calls are not awaited; the caller stops them with a flag.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    window = 2 * threads if max_pending is None else max_pending
    jobs: SimpleQueue[tuple[Future[R], T] | None] = SimpleQueue()
    pending: deque[Future[R]] = deque()
    done: SimpleQueue[Future[R]] = SimpleQueue()
    started = 0
    patience: float | None = 0.0 if abandon else _GRACE_S

    def work() -> None:
        while (job := jobs.get()) is not None:
            future, item = job
            if future.set_running_or_notify_cancel():
                _resolve_future(future, lambda item=item: function(item))  # type: ignore[misc]  # its default
            del job, future, item  # a waiting thread shall hold no buffer

    def next_result() -> R:
        if ordered:
            return pending.popleft().result()
        future = done.get()
        pending.remove(future)
        return future.result()

    try:
        for item in items:
            if started < threads:
                threading.Thread(target=work, name="cottoncandy", daemon=True).start()
                started += 1
            future: Future[R] = Future()
            if not ordered:
                future.add_done_callback(done.put)
            pending.append(future)
            jobs.put((future, item))
            if len(pending) >= window:
                yield next_result()
        while pending:
            yield next_result()
    except Exception:
        patience = 0.0 if abandon else None
        raise
    finally:
        running = [future for future in pending if not future.cancel()]
        for _ in range(started):
            jobs.put(None)
        wait(running, patience)


def in_background(function: Callable[..., R], *arguments: Any) -> Future[R]:
    """Start one call in a thread of its own, which does not hold up the end of the program."""
    outcome: Future[R] = Future()
    call = threading.Thread(
        target=_resolve_future,
        args=(outcome, lambda: function(*arguments)),
        name="cottoncandy",
        daemon=True,
    )
    call.start()
    return outcome


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
            worker.stop()


class _Worker:
    """A thread that waits for calls: starting one for each costs as much as a small request."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="cottoncandy-call", daemon=True).start()

    def submit(self, function: Callable[[], R]) -> Future[R]:
        outcome: Future[R] = Future()
        self._calls.put((function, outcome))
        return outcome

    def stop(self) -> None:
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, outcome = call
            _resolve_future(outcome, function)
            del call, function, outcome  # hold nothing while idle


def _resolve_future(outcome: Future[R], call: Callable[[], R]) -> None:
    try:
        outcome.set_result(call())
    except BaseException as error:  # noqa: BLE001 - handed to the waiting thread whole
        outcome.set_exception(error)


#: Workers without a call. Only the main thread touches it: one, or more where calls nest.
_idle: list[_Worker] = []


# -- forks ---------------------------------------------------------------------------------------

#: What a forked child resets: references that give a function, or None if its object is gone.
_resets: set[Callable[[], Callable[[], object] | None]] = set()


def after_fork(reset: Callable[[], object]) -> None:
    """Call ``reset`` in every forked child, before any other code runs there.

    The child has one thread and no part in its parent's work: it must not use locks, descriptors,
    workers or clients of the parent. A bound method is held weakly, with its object.
    """
    if isinstance(reset, MethodType):
        _resets.add(weakref.WeakMethod(reset, _resets.discard))
    else:
        _resets.add(lambda: reset)


def _reset_all() -> None:
    for reference in list(_resets):
        reset = reference()
        if reset is not None:
            reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)

after_fork(_idle.clear)


class ForkSafeLock:
    """A reentrant lock that is free in a forked child, whichever thread of the parent held it."""

    def __init__(self) -> None:
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()
