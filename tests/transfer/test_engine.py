"""Many actions at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cottoncandy.exceptions import (
    CredentialsError,
    PartialFailureError,
    StoreError,
    StoreUnreachableError,
)
from cottoncandy.transfer import engine
from cottoncandy.transfer.engine import complete, each
from tests.harness import MemoryHarness


def fail(error: BaseException) -> Any:
    raise error


Action = tuple[str, Callable[[], object]]  # a name, and what to call


def perform(actions: Iterable[Action], threads: int) -> Any:
    results = each(lambda action: action[1](), actions, threads=threads)
    try:
        for (name, _), _, error in results:
            yield name, error
    finally:
        results.close()


def test_slow_action_holds_up_no_others() -> None:
    release = threading.Event()
    actions: list[Action] = [("slow", release.wait)]
    actions += [(str(number), lambda: None) for number in range(100)]
    outcomes = perform(actions, threads=2)
    first = [next(outcomes)[0] for _ in range(100)]
    assert sorted(first) == sorted(map(str, range(100)))
    release.set()
    assert [name for name, _ in outcomes] == ["slow"]


def test_local_calls_are_made_here_while_they_are_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(engine, "time", clock)
    together, here = threading.Barrier(2, timeout=60), threading.current_thread()
    callers: list[bool] = []

    def call(number: int) -> int:
        callers.append(threading.current_thread() is here)
        clock.now += number in (2, 4, 5)
        if number > 5 and not callers[-1]:
            together.wait()
        return number

    results = engine.each(call, range(20), threads=2, local=True)
    assert {result.value for result in results} == set(range(20))
    assert callers == [True] * 6 + [False] * 8 + [True] * 6


@pytest.mark.parametrize("threads", [1, 4])
def test_actions_are_taken_lazily(threads: int) -> None:
    taken = 0

    def actions() -> Iterator[Action]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield (str(number), lambda: None)

    outcomes = perform(actions(), threads=threads)
    for seen in range(1, 101):
        next(outcomes)
        assert taken <= seen + 2 * threads
    outcomes.close()
    assert taken <= 100 + 2 * threads


@pytest.mark.parametrize("threads", [1, 4])
def test_failures_are_summarized_and_others_run(threads: int) -> None:
    done = []
    actions = [("good", lambda: done.append(1)) for _ in range(30)]
    actions[3:3] = [(f"bad{n}", lambda: fail(StoreError("no"))) for n in range(12)]
    actions.append(("missing", lambda: fail(FileNotFoundError("gone"))))
    with pytest.raises(PartialFailureError) as caught:
        complete(perform(actions, threads=threads), lambda failed, total: f"{failed} of {total}")
    assert str(caught.value).startswith("13 of 43: 'bad")
    assert str(caught.value).endswith("; and 3 more")
    assert isinstance(caught.value.__cause__, StoreError)
    assert len(done) == 30


@pytest.mark.parametrize("threads", [1, 4])
def test_error_that_concerns_all_ends_the_run(threads: int) -> None:
    bad, good = ("bad", lambda: fail(CredentialsError("who?"))), ("good", lambda: None)
    endless = itertools.chain([bad], itertools.repeat(good))
    with pytest.raises(CredentialsError):
        complete(perform(endless, threads=threads), lambda failed, total: "")


@pytest.mark.parametrize("threads", [1, 4])
def test_a_connection_that_one_item_breaks_ends_nothing(threads: int) -> None:
    bad = ("bad", lambda: fail(StoreUnreachableError("hung up")))
    good = [(str(number), lambda: None) for number in range(9)]
    outcomes = list(perform([*good, bad, *good, bad, *good], threads=threads))
    assert [name for name, error in outcomes if error] == ["bad", "bad"]
    with pytest.raises(StoreUnreachableError):
        list(perform(itertools.chain(good, itertools.repeat(bad)), threads=threads))
    with pytest.raises(StoreUnreachableError):
        list(perform(itertools.repeat(bad), threads=threads))


def test_bug_is_not_taken_for_a_failure() -> None:
    with pytest.raises(ZeroDivisionError):
        complete(perform([("bug", lambda: 1 // 0)], threads=4), lambda failed, total: "")


def test_first_error_is_raised_as_it_is_and_running_actions_are_awaited() -> None:
    begun, finished = threading.Event(), []

    def slow() -> None:
        begun.wait(60)
        finished.append(1)

    def bad() -> None:
        begun.set()
        fail(StoreError("no"))

    with pytest.raises(StoreError, match=r"^no$"):
        complete(perform([("slow", slow), ("bad", bad)], threads=2), stop=True)
    assert finished


def test_deletions_have_outcomes() -> None:
    harness = MemoryHarness()
    harness.raw_put("a", b"")
    assert complete(harness.backend().delete(["a", "missing"], threads=2)) == 2
    assert harness.raw_keys() == []
    harness.close()
