"""Many blocking calls at once, bounded and interruptible."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import MethodType
from typing import Any, Self, TypeAlias, TypeVar, cast, overload

from cottoncandy.exceptions import StoreError

T = TypeVar("T")
R = TypeVar("R")

_Outcomes: TypeAlias = "SimpleQueue[tuple[R | None, BaseException | None]]"
_Calls: TypeAlias = "SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]"

#: How long a caller that is interrupted waits for running calls: a server may never answer.
_GRACE_S = 5.0

_NAME = "cottoncandy"  # of threads

#: ``ended`` of a thread of :func:`map_threads` is set when its results are not awaited any more.
_worker = threading.local()


def map_threads(
    function: Callable[[T], R],
    items: Iterable[T],
    threads: int,
    *,
    max_pending: int | None = None,
    abandon: bool = False,
    grace_s: float = 0,
    ordered: bool = True,
) -> Iterator[R]:
    """Yield ``function(item)`` in the order of the items, up to ``threads`` of them at once.

    If ``ordered`` is False, each result is yielded as soon as it is available, so that a slow item
    does not delay the others.

    Items are consumed lazily: at most ``max_pending`` results (default: twice the threads) are
    running or waiting. The first error is raised at its position in the order; calls that have not
    started are then dropped, and running ones are awaited. After Ctrl-C, or if the generator is
    closed, the wait is limited to a few seconds; the threads are daemons, so they delay neither the
    prompt nor the end of the program. With ``abandon`` the wait is limited to ``grace_s`` seconds,
    also after an error, for calls that end soon once they are :func:`abandoned`. If the system
    allows no more threads, those that it allowed do the work; without any, the caller does.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    window = 2 * threads if max_pending is None else max_pending
    jobs: SimpleQueue[tuple[T, _Outcomes[R]] | None] = SimpleQueue()
    available: _Outcomes[R] = SimpleQueue()
    pending: deque[_Outcomes[R]] = deque()  # where the result of each call will be
    started = 0
    patience: float | None = grace_s if abandon else _GRACE_S
    ended = threading.Event()

    def work() -> None:
        _worker.ended = ended
        while (job := jobs.get()) is not None:
            item, outcome = job
            try:
                outcome.put((function(item), None))
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread whole
                outcome.put((None, error))
            del job, item, outcome  # do not keep buffers alive while waiting

    def next_result() -> R:
        value, error = pending.popleft().get()
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame
        return cast("R", value)

    try:
        source = iter(items)
        for item in source:
            if started < threads:
                # Counted first, because Ctrl-C may interrupt the start of a thread that then waits.
                started += 1
                if not _start_thread(work):
                    started -= 1
                    threads = started
                    if not threads:
                        yield function(item)
                        yield from map(function, source)
                        return
            pending.append(SimpleQueue() if ordered else available)
            jobs.put((item, pending[-1]))
            if len(pending) >= window:
                yield next_result()
        while pending:
            yield next_result()
    except Exception:
        patience = grace_s if abandon else None
        raise
    finally:
        if patience is not None:
            ended.set()
        with suppress(Empty):
            while True:
                jobs.get_nowait()
                pending.pop()  # it was not started
        for _ in range(started):
            jobs.put(None)
        end = None if patience is None else time.monotonic() + patience
        with suppress(Empty):
            for outcome in pending:
                outcome.get(timeout=None if end is None else max(end - time.monotonic(), 0))


def run_threads(
    function: Callable[[T], object], items: Iterable[T], threads: int, **options: Any
) -> None:
    """Call a function with each item, as :func:`map_threads` does, which has the options."""
    for _ in map_threads(function, items, threads, **options):
        pass


def abandoned() -> bool:
    """Return whether the results of this thread are not awaited any more."""
    ended: threading.Event | None = getattr(_worker, "ended", None)
    return ended is not None and ended.is_set()


def pause(seconds: float) -> bool:
    """Sleep; return False, early, if the results of this thread are not awaited any more."""
    ended: threading.Event | None = getattr(_worker, "ended", None)
    if ended is None:
        time.sleep(seconds)
        return True
    return not ended.wait(seconds)


def in_background(function: Callable[..., R], *arguments: Any) -> Future[R]:
    """Start one call in a separate daemon thread, which does not delay the end of the program.

    Raises
    ------
    StoreError
        If the system allows no more threads.
    """
    outcome: Future[R] = _Call()
    _start_worker((outcome, lambda: function(*arguments)), None)
    return outcome


class _Call(Future[R]):
    """The outcome of a call in another thread, which a forked child does not have."""

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()

    def result(self, timeout: float | None = None) -> R:
        """Return the result; raise StoreError instead of waiting for a thread of the parent."""
        if self._process != os.getpid() and not self.done():
            raise StoreError("a forked child cannot wait for a call of its parent; begin it again")
        return super().result(timeout)


def is_worker() -> bool:
    """Return whether the current thread is one that this module has started."""
    return threading.current_thread().name.startswith(_NAME)


def _start_thread(target: Callable[[], object]) -> bool:
    """Start a daemon thread; return False if no more are possible, as at the end of the program."""
    if sys.is_finalizing():
        return False
    try:
        threading.Thread(target=target, name=_NAME, daemon=True).start()
    except RuntimeError:
        return False
    return True


def _start_worker(*begin: tuple[Future[Any], Callable[[], Any]] | None) -> _Calls:
    """Start a thread that makes the calls in a queue, up to a None; StoreError if none is left."""
    calls: _Calls = SimpleQueue()
    for call in begin:
        calls.put(call)

    def work() -> None:
        while (call := calls.get()) is not None:
            outcome, function = call
            try:
                outcome.set_result(function())
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread whole
                outcome.set_exception(error)
            del call, function, outcome  # hold nothing while idle

    if not _start_thread(work):
        raise StoreError(
            "this process cannot start more threads (ulimit -u); close others, or pass threads=1"
        )
    return calls


def interruptible(function: Callable[[], R]) -> R:
    """Run a blocking call so that Ctrl-C ends the wait, if this is the main thread.

    Python delivers signals to the main thread between bytecodes, so a call into native
    code delays them until it returns. From the main thread, the call therefore runs in another
    thread. After Ctrl-C, it continues there until its own timeout.
    """
    # At the end of the program, in a destructor, other threads don't run any more.
    if threading.current_thread() is not threading.main_thread() or sys.is_finalizing():
        return function()
    try:
        calls = _idle.pop() if _idle else _start_worker()
    except StoreError:
        return function()
    outcome: Future[R] = Future()
    calls.put((outcome, function))
    try:
        return outcome.result()
    finally:
        # If no one is waiting for this call any more, let its thread exit.
        if outcome.done():
            _idle.append(calls)
        else:
            calls.put(None)


#: Threads that wait for calls of the main thread: one, or more if calls nest. Starting one for each
#: call costs as much as a small request.
_idle: list[_Calls] = []


# -- forks ---------------------------------------------------------------------------------------

#: Calls of a forked child: functions, and methods of the objects that are still alive.
_functions: list[Callable[[], object]] = []
_methods: weakref.WeakKeyDictionary[object, Callable[[Any], object]] = weakref.WeakKeyDictionary()


def after_fork(reset: Callable[[], object]) -> None:
    """Call ``reset`` in every forked child, before any other code runs there.

    The child has one thread and must not use locks, descriptors, workers or clients of its
    parent. A bound method is referenced weakly, and each object may register one.
    """
    if isinstance(reset, MethodType):
        _methods[reset.__self__] = reset.__func__
    else:
        _functions.append(reset)


def _reset_all() -> None:
    for function in _functions:
        function()
    for owner, method in list(_methods.items()):
        method(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)

after_fork(_idle.clear)


class cached_property(functools.cached_property[T]):  # noqa: N801 - as the other is called
    """A property that is computed once, without a lock; the first of several results is kept.

    Python 3.11 locks it in all instances together, and a forked child waits for ever if a thread
    of its parent held the lock.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        return instance.__dict__.setdefault(self.attrname, self.func(instance))


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
