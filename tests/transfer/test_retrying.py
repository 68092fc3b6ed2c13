"""Busy stores slow everyone down; busy calls are repeated."""

from __future__ import annotations

import math
import threading

import pytest

from cottoncandy.exceptions import StoreBusyError, StoreError
from cottoncandy.transfer import engine
from cottoncandy.transfer.engine import RETRIES, retrying


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The longest pauses that would be made."""
    taken: list[float] = []
    monkeypatch.setattr(engine.random, "uniform", lambda least, most: taken.append(most) or 0)
    monkeypatch.setattr(engine, "_pace", engine._Pace())
    return taken


def test_busy_calls_are_repeated_with_growing_pauses(pauses: list[float]) -> None:
    answers: list[object] = [StoreBusyError("busy")] * RETRIES + ["done"]

    def call() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retrying(call) == "done"
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32]


def test_a_store_that_stays_busy_is_an_error(pauses: list[float]) -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        raise StoreBusyError("busy")

    with pytest.raises(StoreBusyError):
        retrying(call)
    assert calls == RETRIES + 1


def test_other_errors_are_not_repeated(pauses: list[float]) -> None:
    def call() -> None:
        raise StoreError("no")

    with pytest.raises(StoreError):
        retrying(call)
    assert pauses == []


def test_everyone_slows_down_and_recovers() -> None:
    pace = engine._pace
    pace._running = 8
    with pytest.raises(StoreBusyError), pace:
        raise StoreBusyError("busy")
    assert pace._limit == 4
    pace._running = 0
    inside = most = 0
    lock = threading.Lock()

    def call() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        event.wait(0.005)
        with lock:
            inside -= 1

    event = threading.Event()
    threads = [threading.Thread(target=retrying, args=(call,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 8
    while pace._limit < math.inf:
        with pace:
            pass
