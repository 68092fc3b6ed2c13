"""Ctrl-C, pressed in the middle of a test."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from tests.servers.base import wait_until

__all__ = ["interrupted_when"]

_AGAIN_S = 0.2


class interrupted_when:
    """Press Ctrl-C as soon as a condition holds; the main thread is interrupted once.

    CPython loses a signal that comes just before the main thread begins to wait, so the key is
    pressed until the interruption has come. Later ones are ignored.
    """

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._thread = threading.Thread(target=self._press, args=(condition,))
        self._over = False

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._interrupt)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()
        signal.signal(signal.SIGINT, self._before)  # after the handler of any signal that came

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self._over:
            self._over = True
            raise KeyboardInterrupt

    def _press(self, condition: Callable[[], bool]) -> None:
        wait_until(lambda: self._over or condition(), "the moment to press Ctrl-C")
        pause = threading.Event()
        while not self._over:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            pause.wait(_AGAIN_S)
