"""Many calls at once: order, laziness, errors, interruption."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cottoncandy
from cottoncandy.core import threads
from cottoncandy.core.output import Progress
from cottoncandy.core.threads import (
    ForkSafeLock,
    abandoned,
    after_fork,
    cached_property,
    in_background,
    interruptible,
    map_threads,
)
from cottoncandy.exceptions import StoreError
from tests.cases import each
from tests.interrupts import interrupted_when
from tests.processes import exit_code, fork

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
fork_warning = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@each("threads", [1, 3, 20])
def test_results_come_in_order(threads: int) -> None:
    assert list(map_threads(lambda x: x * x, range(50), threads)) == [x * x for x in range(50)]


def test_items_are_taken_lazily() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = map_threads(lambda x: x, items(), 2)
    assert next(results) == 0
    assert len(taken) <= 5
    results.close()
    assert len(taken) <= 5


def test_calls_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=60)
    list(map_threads(lambda _: meeting.wait(), range(3), 3))


def test_the_first_error_comes_out_and_ends_the_work() -> None:
    begun: list[int] = []
    done: list[int] = []
    failing = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            failing.set()
            raise RuntimeError("three")
        if number == 2:
            failing.wait(60)
        done.append(number)
        return number

    results = map_threads(work, range(1000), 2)
    with pytest.raises(RuntimeError, match="three"):
        list(results)
    assert {0, 1, 2} <= set(done)
    assert len(done) < 20
    assert sorted(begun) == sorted([*done, 3])  # nothing runs on


@pytest.mark.parametrize("abandon", [True, False])
def test_ctrl_c_leaves_calls_that_hang(abandon: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may never answer: neither the prompt nor the end of the program waits for it."""
    monkeypatch.setattr("cottoncandy.core.threads._GRACE_S", 0.1)
    release = threading.Event()
    hung: list[threading.Thread] = []

    def hang(number: int) -> None:
        hung.append(threading.current_thread())
        release.wait(60)

    with interrupted_when(lambda: len(hung) == 2), pytest.raises(KeyboardInterrupt):
        list(map_threads(hang, range(9), 2, abandon=abandon))
    assert not release.is_set()
    assert len(hung) == 2
    assert all(thread.daemon and thread.is_alive() for thread in hung)
    release.set()
    for thread in hung:
        thread.join(60)
    assert len(hung) == 2  # the rest was dropped


def test_abandoned_calls_are_told_and_awaited() -> None:
    begun, told = threading.Event(), []

    def work(number: int) -> None:
        if number == 0:
            assert begun.wait(20)
            raise RuntimeError("zero")
        begun.set()
        while not abandoned():
            pass
        told.append(number)

    with pytest.raises(RuntimeError, match="zero"):
        list(map_threads(work, range(2), 2, abandon=True, grace_s=20))
    assert told == [1]
    assert not abandoned()


def test_an_interruptible_call_returns_and_raises() -> None:
    assert interruptible(lambda: 5) == 5
    with pytest.raises(RuntimeError, match="inside"):
        interruptible(lambda: (_ for _ in ()).throw(RuntimeError("inside")))
    with pytest.raises(SystemExit):
        interruptible(lambda: (_ for _ in ()).throw(SystemExit(3)))


def test_one_thread_serves_many_calls() -> None:
    names = {interruptible(threading.get_ident) for _ in range(20)}
    assert len(names) == 1
    assert names != {threading.get_ident()}


def test_calls_nest() -> None:
    assert interruptible(lambda: interruptible(lambda: 7)) == 7


def test_other_threads_run_their_calls_themselves() -> None:
    found: list[bool] = []

    def look() -> None:
        found.append(interruptible(threading.get_ident) == threading.get_ident())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [True]


def test_ctrl_c_ends_the_wait() -> None:
    running, release = threading.Event(), threading.Event()

    def hang() -> None:
        running.set()
        release.wait(60)

    with interrupted_when(running.is_set), pytest.raises(KeyboardInterrupt):
        interruptible(hang)
    assert interruptible(lambda: "another worker") == "another worker"
    release.set()


@forks
@fork_warning
def test_interruptible_starts_a_new_worker_after_a_fork() -> None:
    interruptible(lambda: None)
    assert exit_code(fork(lambda: interruptible(lambda: None))) == 0


@forks
@fork_warning
def test_forked_child_does_not_wait_for_a_call_of_its_parent() -> None:
    release = threading.Event()
    running, done = in_background(release.wait), in_background(lambda: "done")
    done.result()

    def check() -> None:
        assert done.result() == "done"
        with pytest.raises(StoreError, match="forked child"):
            running.result()

    assert exit_code(fork(check)) == 0
    release.set()
    assert running.result()


@forks
@fork_warning
def test_after_fork_calls_functions_and_methods_of_living_objects() -> None:
    called: list[str] = []

    class Thing:
        def reset(self) -> None:
            called.append("method")

    thing, dropped = Thing(), Thing()
    after_fork(thing.reset)
    after_fork(dropped.reset)
    del dropped

    def check() -> None:
        assert called == ["method"]

    assert exit_code(fork(check)) == 0
    assert called == []
    del thing
    called.append("method")
    assert exit_code(fork(check)) == 0


def test_after_fork_forgets_dead_objects() -> None:
    """Thousands of files may be opened."""

    class Thing:
        def reset(self) -> None:
            pass

    before = len(threads._methods)
    for _ in range(100):
        after_fork(Thing().reset)
    assert len(threads._methods) <= before + 1


@forks
@fork_warning
def test_lock_is_free_in_a_forked_child() -> None:
    lock = ForkSafeLock()
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock, lock:
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        held.wait(60)
        assert exit_code(fork(lock.__enter__)) == 0
    finally:
        release.set()
        holder.join()


@forks
@fork_warning
def test_a_cached_property_is_free_in_a_forked_child() -> None:
    held, release = threading.Event(), threading.Event()

    class Thing:
        def __init__(self, waits: bool) -> None:
            self.waits = waits

        @cached_property
        def value(self) -> object:
            if self.waits:
                held.set()
                release.wait(60)
            return object()

    slow, other = Thing(waits=True), Thing(waits=False)
    holder = threading.Thread(target=lambda: slow.value)
    holder.start()
    try:
        held.wait(60)
        assert exit_code(fork(lambda: other.value)) == 0
        slow.waits = False
        first = slow.value
    finally:
        release.set()
        holder.join()
    assert slow.value is first


@forks
@fork_warning
@pytest.mark.parametrize(
    "store",
    ["local", pytest.param("memory", marks=pytest.mark.server)],  # as long again
)
def test_children_forked_in_the_middle_of_everything_work(store: str, tmp_path: Path) -> None:
    """Threads upload, read, list, delete and show progress while the main thread forks."""
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    cci: Any = cottoncandy.get_interface(str(bucket), backend=store, verbose=False)
    over = threading.Event()
    errors: list[BaseException] = []

    def work(name: str) -> None:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        cci.upload_object(f"all/{name}/a", b"body" * 100, {"who": name})
        cci.upload_json(f"all/{name}/deep/b", {"who": name})
        assert cci.download_object(f"all/{name}/a") == b"body" * 100
        cci.download_to_file(f"all/{name}/a", path / "a")
        assert f"all/{name}/a" in cci.glob(f"all/{name}/*")
        with Progress(2, unit="files", label=name, show=True) as bar:
            bar.update(1)
        cci.rm(f"all/{name}", recursive=True)

    def loop(name: str) -> None:
        try:
            while not over.is_set():
                work(name)
        except BaseException as error:
            errors.append(error)

    work("warm")  # CPython does not free the lock of a module that is being imported
    threads = [threading.Thread(target=loop, args=(f"thread{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        children = [fork(lambda n=n: work(f"child{n}")) for n in range(8)]  # type: ignore[misc]  # its default
        codes = [exit_code(child) for child in children]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * len(children)
    assert not errors


def test_ctrl_c_while_a_thread_starts_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(map_threads(lambda x: x, range(9), 4))
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


@each("allowed", [0, 1, 3])
def test_fewer_threads_do_the_work_if_the_system_allows_no_more(
    allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    left = [allowed]

    def limited(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert list(map_threads(lambda x: x * x, range(50), 8)) == [x * x for x in range(50)]
    monkeypatch.setattr(threads, "_idle", [])
    assert interruptible(lambda: 5) == 5
    with pytest.raises(StoreError, match="cannot start more threads"):
        in_background(int)


def test_calls_in_a_destructor_at_the_end_of_the_program_do_not_hang() -> None:
    program = """
from cottoncandy.core.threads import interruptible, map_threads

class Last:
    def __del__(self):
        print(interruptible(lambda: 5), list(map_threads(abs, [-1, -2], 2)))

last = Last()
interruptible(int)  # its idle worker ends with the program
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert done.stdout == b"5 [1, 2]\n"
