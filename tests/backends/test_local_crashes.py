"""The local backend's writers are killed at every step; readers never see half of anything.

Every call that changes a file system raises an audit event before it happens. A crash in front of
the n-th is played by failing it *and all that follow*, so that no clean-up runs, just as in a
process that is gone. Some tests kill real processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cottoncandy.backends.base import Backend, IfAbsent, PutOptions
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import AccessDeniedError, ObjectNotFoundError
from cottoncandy.testing.harness import keys_of, pattern

_CHANGES = frozenset(
    {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.utime", "os.chmod", "open"}
)


class Killed(BaseException):
    """The process is gone at this point."""


class _Killer:
    """Counts the changes below a directory, and fails from the n-th on."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.left = 0
        self.fired = False
        sys.addaudithook(self)  # there is no way to take it off

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.root is None or event not in _CHANGES:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
            return
        if not str(arguments[0]).startswith(self.root):
            return
        self.left -= 1
        if self.left < 0:
            self.fired = True
            raise Killed(event)


_KILLER: list[_Killer] = []


def crashes_of(call: Callable[[], object], root: Path) -> Iterator[int]:
    """Run a call again and again, killed one step later each time; the last one gets through.

    The loop's body runs after each, and sees what the killed call left.
    """
    if not _KILLER:
        _KILLER.append(_Killer())
    killer = _KILLER[0]
    for steps in range(100):
        killer.root, killer.left, killer.fired = str(root), steps, False
        try:
            call()
        except Killed:
            pass
        finally:
            killer.root = None
        yield steps
        if not killer.fired:
            assert steps > 2, "nothing was counted"
            return
    raise AssertionError("it never got through")


State = tuple[bytes, dict[str, str]] | None


def state(backend: Backend, key: str) -> State:
    try:
        with backend.get(key) as reader:
            return reader.read(), dict(reader.metadata)
    except ObjectNotFoundError:
        return None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def backend(root: Path) -> LocalBackend:
    root.mkdir()
    return LocalBackend(str(root))


OLD: list[State] = [
    None,
    (b"old", {}),
    (b"old", {"which": "old", "more": "1"}),
    (b"new", {"a": ""}),
]
NEW: list[State] = [(b"new", {}), (b"new", {"which": "new"}), (b"newer", {"which": "new"})]


def restore(backend: Backend, key: str, wanted: State) -> None:
    list(backend.delete([key]))
    if wanted is not None:
        backend.put(key, Body.of(wanted[0]), PutOptions(wanted[1]))


@pytest.mark.parametrize("old", OLD, ids=repr)
@pytest.mark.parametrize("new", NEW, ids=repr)
def test_put_is_old_or_new(backend: LocalBackend, root: Path, old: State, new: State) -> None:
    assert new is not None
    body, metadata = new
    seen = []
    restore(backend, "a/name", old)
    for _ in crashes_of(lambda: backend.put("a/name", Body.of(body), PutOptions(metadata)), root):
        found = state(backend, "a/name")
        assert found in (old, new)
        seen.append(found)
        assert keys_of(backend) == ([] if found is None else ["a/name"])
        # The next writer is not hindered by it.
        restore(backend, "a/name", old)
        assert state(backend, "a/name") == old
    assert seen[0] == old
    assert seen[-1] == new


@pytest.mark.parametrize("old", OLD, ids=repr)
def test_put_on_what_a_crash_left(backend: LocalBackend, root: Path, old: State) -> None:
    """Several crashes without a repair in between."""
    restore(backend, "name", old)
    versions: list[State] = [old]
    for number in range(1, 4):
        body, metadata = b"version %i" % number, {"version": str(number)}
        before = state(backend, "name")
        assert before in versions
        for _ in crashes_of(
            lambda body=body, metadata=metadata: backend.put(
                "name", Body.of(body), PutOptions(metadata)
            ),
            root,
        ):
            found = state(backend, "name")
            assert found in (before, (body, metadata))
        versions.append((body, metadata))
        assert state(backend, "name") == (body, metadata)


def test_put_without_overwriting(backend: LocalBackend, root: Path) -> None:
    new = b"new", {"which": "new"}
    for _ in crashes_of(
        lambda: backend.put("a/b", Body.of(new[0]), PutOptions(new[1], condition=IfAbsent())), root
    ):
        assert state(backend, "a/b") in (None, new)
        restore(backend, "a/b", None)


@pytest.mark.server  # a hundred crashes, without servers those of uploads only
@pytest.mark.parametrize("old", OLD, ids=repr)
@pytest.mark.parametrize("overwrite", [True, False])
def test_move_loses_nothing(backend: LocalBackend, root: Path, old: State, overwrite: bool) -> None:
    source = b"source", {"which": "source"}
    if old is not None and not overwrite:
        return
    restore(backend, "a/source", source)
    restore(backend, "b/dest", old)
    for _ in crashes_of(lambda: backend.move("a/source", "b/dest", overwrite=overwrite), root):
        here, there = state(backend, "a/source"), state(backend, "b/dest")
        assert here in (source, None)
        assert there in (old, source)
        assert source in (here, there)
        restore(backend, "a/source", source)
        restore(backend, "b/dest", old)


@pytest.mark.parametrize("old", OLD, ids=repr)
def test_copy_is_old_or_new(backend: LocalBackend, root: Path, old: State) -> None:
    source = b"source", {"which": "source"}
    restore(backend, "source", source)
    restore(backend, "dest", old)
    for _ in crashes_of(lambda: backend.copy("source", "dest"), root):
        assert state(backend, "dest") in (old, source)
        assert state(backend, "source") == source
        restore(backend, "dest", old)


def test_delete_is_there_or_gone(backend: LocalBackend, root: Path) -> None:
    old = b"old", {"which": "old"}
    restore(backend, "a/b/name", old)
    for _ in crashes_of(lambda: list(backend.delete(["a/b/name"])), root):
        assert state(backend, "a/b/name") in (old, None)
        # The next object there inherits nothing.
        backend.put("a/b/name", Body.of(b"next"))
        assert state(backend, "a/b/name") == (b"next", {})
        restore(backend, "a/b/name", old)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("verb", ["put", "delete", "move"])
def test_crash_leaves_nothing_that_blocks_uploads(
    backend: LocalBackend, root: Path, verb: str, listed: bool
) -> None:
    old = b"old", {"which": "old"}
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: backend.put("a/name", Body.of(b"new"), PutOptions({"which": "new"})),
        "delete": lambda: list(backend.delete(["a/name"])),
        "move": lambda: backend.move("a/name", "b"),
    }
    restore(backend, "a/name", None if verb == "put" else old)
    for _ in crashes_of(calls[verb], root):
        if state(backend, "a/name") is None:
            if listed:
                assert keys_of(backend) in ([], ["b"])
                assert not (root / "a" / "name.meta.json").exists()
            restore(backend, "a", (b"a file", {"its": "own"}))
            assert sorted(path.name for path in root.glob("a*")) == ["a", "a.meta.json"]
            restore(backend, "a", None)
        restore(backend, "b", None)
        restore(backend, "a/name", None if verb == "put" else old)


@pytest.mark.parametrize("overwrite", [True, False])
def test_rejected_move_leaves_no_sidecar(
    backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    restore(backend, "source", (b"source", {"which": "source"}))
    replace = os.replace

    def refuse(source: str, dest: str) -> None:
        if not str(dest).endswith(".meta.json"):
            raise PermissionError(13, "refused")
        replace(source, dest)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(AccessDeniedError):
        backend.move("source", "dest", overwrite=overwrite)
    assert sorted(path.name for path in root.iterdir()) == ["source", "source.meta.json"]
    assert state(backend, "source") == (b"source", {"which": "source"})


_WRITER = """
import sys
from cottoncandy.core.buffers import Body
from cottoncandy.backends.base import PutOptions
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.testing.harness import pattern
backend = LocalBackend(sys.argv[1])
seed, count = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
for number in range(count) if count else iter(int, 1):
    seed += 100
    body = pattern(500 + seed % 500, seed)
    backend.put("folder/name", Body.of(body), PutOptions({"seed": str(seed)}))
"""


def _writer(root: Path, seed: int, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _WRITER, str(root), str(seed), str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def _check_version(backend: Backend) -> str:
    with backend.get("folder/name") as reader:
        seed = int(reader.metadata["seed"])
        assert reader.read() == pattern(500 + seed % 500, seed)
        return reader.metadata["seed"]


@pytest.mark.slow
def test_processes_that_write_and_are_killed(backend: LocalBackend, root: Path) -> None:
    """Readers see whole versions only, while writers work and when they are shot."""
    body = pattern(500, 0)
    backend.put("folder/name", Body.of(body), PutOptions({"seed": "0"}))
    for round_ in range(2):
        seen: set[str] = set()
        writers = [_writer(root, 10 * round_ + number, 0) for number in range(2)]
        try:
            while len(seen) < 10:
                seen.add(_check_version(backend))
        finally:
            for writer in writers:
                writer.send_signal(signal.SIGKILL)
                writer.communicate()
        _check_version(backend)
        assert keys_of(backend) == ["folder/name"]


def test_processes_that_write_at_once(backend: LocalBackend, root: Path) -> None:
    """Of several writers one is last, with its bytes and its metadata, and nothing is left over."""
    writers = [_writer(root, number, 40) for number in range(2)]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    _check_version(backend)
    assert sorted(os.listdir(root / "folder")) == ["name", "name.meta.json"]
    assert b"cc-pending" not in (root / "folder" / "name.meta.json").read_bytes()
