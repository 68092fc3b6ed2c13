"""Work on many files in several processes, each with its own threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.synchronize import Event
from typing import Any

from cottoncandy.exceptions import InvalidArgumentError, StoreError

_BLOCK = 256  # files that a process gets at once

# In a process that Ctrl-C has interrupted: the blocks that it has been sent are not begun.
_interrupted: list[bool] = []


def process_count(parallel: int | bool) -> int:
    """Return the number of processes of a ``parallel=`` argument; True is one per core."""
    if isinstance(parallel, bool):
        return (os.cpu_count() or 1) if parallel else 1
    if not isinstance(parallel, int) or parallel < 1:
        raise InvalidArgumentError(f"parallel must be at least 1, got {parallel!r}")
    return parallel


def in_processes(
    task: Callable[[Any], Iterable[Any]], items: Iterable[Any], processes: int
) -> Iterator[Any]:
    """Yield the results of ``task(block)`` for blocks of items, which are taken lazily.

    Raises
    ------
    StoreError
        If a process ended early.
    """
    remaining = iter(items)
    blocks = iter(lambda: list(islice(remaining, _BLOCK)), [])
    # Spawned: a fork would share the connections and locks of this process.
    context = multiprocessing.get_context("spawn")
    pending: set[Future[tuple[list[Any], bool]]] = set()
    stop = context.Event()
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_prepare, initargs=(stop,)
    ) as pool:
        try:
            for block in blocks:
                with _uninterrupted():  # a process that the first tasks start inherits this
                    pending.add(pool.submit(_interruptible, task, block))
                if len(pending) >= 2 * processes:
                    yield from _results(pending, wait(pending, return_when=FIRST_COMPLETED).done)
            yield from _results(pending, list(pending))
        except KeyboardInterrupt:
            # Ctrl-C in a terminal reaches the processes; a notebook interrupts its kernel alone.
            stop.set()
            # The work of the processes until then, too.
            with suppress(BrokenProcessPool):
                yield from _results(pending, [each for each in pending if not each.cancel()])
            raise
        except BrokenProcessPool as exc:
            raise StoreError(
                "a process of parallel= ended early; a script that uses it must be importable: put "
                "its code below if __name__ == '__main__':"
            ) from exc
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C: it would end a process that starts, with a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare(stop: Event) -> None:
    """Ignore Ctrl-C between tasks, and interrupt this process when its parent asks for it."""

    def watch() -> None:
        stop.wait()
        _interrupted.append(True)
        os.kill(os.getpid(), signal.SIGINT)

    def end_with_parent() -> None:  # if it is killed, no task and no end ever arrives
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for target in (watch, end_with_parent):
        threading.Thread(target=target, daemon=True).start()


def _interrupt(_signal: int, _frame: object) -> None:
    """Interrupt a task once: Ctrl-C and the parent may both ask for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _results(
    pending: set[Future[tuple[list[Any], bool]]], futures: Iterable[Future[tuple[list[Any], bool]]]
) -> Iterator[Any]:
    """Yield the results of blocks, and remove these from the pending ones."""
    ended = False
    for future in futures:
        found, interrupted = future.result()
        pending.discard(future)
        ended |= interrupted
        yield from found
    if ended:
        raise KeyboardInterrupt


def _interruptible(task: Callable[[Any], Iterable[Any]], block: Any) -> tuple[list[Any], bool]:
    """Return the results of a task until Ctrl-C; a process that waits for tasks ignores it."""
    found: list[Any] = []
    if not _interrupted:
        signal.signal(signal.SIGINT, _interrupt)
        try:
            found.extend(task(block))  # one by one
        except KeyboardInterrupt:
            _interrupted.append(True)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    return found, bool(_interrupted)
