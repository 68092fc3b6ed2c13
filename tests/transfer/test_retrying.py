"""Busy stores slow everyone down; busy calls are repeated."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator

import pytest

import cottoncandy as cc
from cottoncandy.config.options import Settings
from cottoncandy.core import threads
from cottoncandy.exceptions import (
    InvalidArgumentError,
    PartialFailureError,
    StoreBusyError,
    StoreError,
)
from cottoncandy.stores.connect import connect
from cottoncandy.transfer import engine
from cottoncandy.transfer.engine import retrying

RETRIES = Settings().retries
STORE = connect("memory", "retrying")


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

    assert retrying(call, STORE) == "done"
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32]


def test_an_interruption_ends_pauses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_GRACE_S", 600)
    pausing = threading.Barrier(3)
    monkeypatch.setattr(engine.random, "uniform", lambda least, most: (pausing.wait(), 600)[1])

    def busy(item: int) -> None:
        retrying(lambda: (_ for _ in ()).throw(StoreBusyError("busy")), STORE)

    def items() -> Iterator[int]:
        yield from range(2)
        pausing.wait()
        raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(engine.each(busy, items(), threads=2))
    assert time.monotonic() - begun < 300


def test_a_store_that_stays_busy_is_an_error(pauses: list[float]) -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        raise StoreBusyError("busy")

    with pytest.raises(StoreBusyError):
        retrying(call, STORE)
    assert calls == RETRIES + 1


def test_other_errors_are_not_repeated(pauses: list[float]) -> None:
    def call() -> None:
        raise StoreError("no")

    with pytest.raises(StoreError):
        retrying(call, STORE)
    assert pauses == []


def test_everyone_slows_down_and_recovers() -> None:
    pace = engine._pace
    pace._running.extend([None] * 8)
    with pytest.raises(StoreBusyError), pace:
        raise StoreBusyError("busy")
    assert pace._limit == 4
    pace._running.clear()
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
    workers = [threading.Thread(target=retrying, args=(call, STORE)) for _ in range(16)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    assert most <= 8
    while pace._limit < math.inf:
        with pace:
            pass


@pytest.mark.parametrize("retries", [None, 0, 2])
def test_retries_are_an_option(
    retries: int | None, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    cc.CloudFiles("mem://retries/from").put("a", b"1")

    def busy(*arguments: object, **options: object) -> None:
        raise StoreBusyError("busy")

    monkeypatch.setattr("cottoncandy.backends.memory.MemoryBackend.copy", busy)
    monkeypatch.setattr("cottoncandy.backends.memory.MemoryBackend.head", busy)
    with pytest.raises(PartialFailureError, match="busy"):
        cc.sync("memory://retries/from", "memory://retries/to", retries=retries)
    expected = 7 if retries is None else retries
    assert len(pauses) == expected
    with pytest.raises(StoreBusyError):
        cc.CloudFiles("mem://retries/from", retries=retries).size("a")
    assert len(pauses) == 2 * expected
    monkeypatch.setenv("COTTONCANDY_BASIC_RETRIES", "1")
    with pytest.raises(StoreBusyError):
        cc.CloudFiles("mem://retries/from").size("a")
    assert len(pauses) == 2 * expected + 1


@pytest.mark.parametrize("wrong", [-1, 1.5, "3", True + 0.5])
def test_wrong_retries_are_rejected(wrong: object) -> None:
    with pytest.raises(InvalidArgumentError, match="retries must be"):
        cc.sync("memory://retries/a", "memory://retries/b", retries=wrong)
    with pytest.raises(InvalidArgumentError, match="retries must be"):
        cc.CloudFiles("mem://retries/a", retries=wrong)
