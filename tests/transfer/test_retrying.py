"""Busy stores slow everyone down; busy calls are repeated."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import pytest

import cottoncandy as cc
from cottoncandy.backends.base import DeleteResult
from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.cloudfiles import clear_memory
from cottoncandy.cloudfiles.base import FilesBase
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
    remote = property(lambda _: False, lambda *_: None)  # what is in memory is never busy
    monkeypatch.setattr(FilesBase, "_local", remote, raising=False)
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


VERBS: dict[str, tuple[str, Callable[[cc.CloudFiles], object]]] = {
    "get": ("get", lambda cf: cf.get("a")),
    "get of many": ("get", lambda cf: cf.get(["a", "b"])),
    "iter_get": ("get", lambda cf: list(cf.iter_get(["a"]))),
    "exists": ("head", lambda cf: cf.exists("a")),
    "size": ("head", lambda cf: cf.size(["a", "b"])),
    "put": ("put", lambda cf: cf.put("c", b"3")),
    "touch": ("put", lambda cf: cf.touch("d")),
    "renew": ("set_metadata", lambda cf: cf.touch("a")),
    "copy": ("copy", lambda cf: cf.transfer_to("mem://verbs/to")),
    "stream": ("put", lambda cf: cf.transfer_to("mem://verbs/to", reencode="gzip")),
    "delete": ("delete", lambda cf: cf.delete(["a", "b"])),
    "list": ("scan", lambda cf: list(cf)),
    "isdir": ("scan", lambda cf: cf.isdir()),
    "size of all": ("scan", lambda cf: cf.subtree_size()),
    "sync": ("scan", lambda cf: cc.sync("memory://verbs/x", "memory://verbs/y")),
}


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_repeated(
    name: str, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    verb, call = VERBS[name]
    clear_memory()
    cf = cc.CloudFiles("mem://verbs/x", num_threads=1)
    cf.puts([("a", b"1"), ("b", b"2")])
    expected = call(cf)
    cf.puts([("a", b"1"), ("b", b"2")])
    original, answers = getattr(MemoryBackend, verb), [True, True]

    def busy(*arguments: object, **options: object) -> object:
        if answers and answers.pop():
            raise StoreBusyError("busy")
        return original(*arguments, **options)

    monkeypatch.setattr(MemoryBackend, verb, busy)
    found = call(cf)
    assert len(pauses) == 2
    assert str(found) == str(expected) or name in ("list", "copy", "stream", "sync", "size of all")


def test_streams_are_not_sent_twice(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    put = MemoryBackend.put

    def busy(self: Any, key: str, body: Any, *arguments: Any, **options: Any) -> Any:
        if not body.read():
            return put(self, key, body, *arguments, **options)
        raise StoreBusyError("busy")

    monkeypatch.setattr(MemoryBackend, "put", busy)
    cf = cc.CloudFiles("mem://streams/x")
    with pytest.raises(StoreBusyError):
        cf.put("a", iter([b"1"]))
    assert list(cf) == pauses == []


def test_listings_continue_where_they_were_interrupted(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    cf = cc.CloudFiles("mem://listings/x")
    names = sorted(f"{number % 7}/{number}" for number in range(50))
    cf.puts((name, b"1") for name in names)
    scan, left = MemoryBackend.scan, [0, 3, 3, 0, 10]

    def busy(*arguments: Any, **options: Any) -> Iterator[Any]:
        count = left.pop() if left else None
        yield from islice(scan(*arguments, **options), count)
        if count is not None:
            raise StoreBusyError("busy")

    monkeypatch.setattr(MemoryBackend, "scan", busy)
    assert list(cf) == names
    assert len(pauses) == 2
    left[:] = [0, 2, 3]
    assert list(cf.list(flat=True)) == [f"{number}/" for number in range(7)]


def test_deletions_are_repeated_for_single_keys(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    cf = cc.CloudFiles("mem://deletions/x")
    cf.puts((str(number), b"1") for number in range(5))
    delete, left = MemoryBackend.delete, ["x/3", "x/1"]

    def busy(self: Any, keys: Iterable[str], **options: Any) -> Iterator[DeleteResult]:
        wrong = left.pop() if left else ""
        for key in keys:
            yield from (
                [DeleteResult(key, StoreBusyError("busy"))] if key == wrong else delete(self, [key])
            )

    monkeypatch.setattr(MemoryBackend, "delete", busy)
    assert cf.delete(str(number) for number in range(4)) == 4
    assert list(cf) == ["4"]
    assert len(pauses) == 2


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
