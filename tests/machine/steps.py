"""One step of the state machine: an operation that may break, and a look at the whole bucket."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis.stateful import RuleBasedStateMachine

from cottoncandy.exceptions import CottonCandyError
from cottoncandy.formats.generations import PART_NUMBER, array_object
from tests.backends.wrappers import FaultyBackend, Killed
from tests.harness import StoreHarness
from tests.machine.values import Value

_REQUESTS = (1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 6)  # most operations send few

MANIFEST = "metadata.json"
_STEPS = frozenset(
    {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.utime", "os.chmod", "open"}
)

Fault = tuple[str | None, int]


class Stored(NamedTuple):
    """A stored object, and its value, if it is not a part of one."""

    body: bytes
    metadata: Mapping[str, str]
    value: Value | None = None

    def is_same(self, other: Stored) -> bool:
        return self[:2] == other[:2]


@dataclass
class Operation:
    """A step and the change that it should make.

    Parameters
    ----------
    call : callable
        Takes the interface.
    changes : dict
        Key -> its new value, a copy of what is stored elsewhere, or None (removed).
    roots : dict
        Name of a chunked or sparse array -> its new value, or None (removed).
    unknown : set
        Names of arrays that it may replace by others that may not be whole.
    fails : bool, optional
        Whether it must raise, without a fault; None: it may.
    moves : list
        Pairs of keys: the first goes only when the second is there.
    mixes : bool
        Whether half of it leaves chunked and sparse arrays that are old and new in parts.
    """

    call: Callable[[Any], Any]
    changes: dict[str, Value | Stored | None] = field(default_factory=dict)
    roots: dict[str, Value | None] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    fails: bool | None = False
    moves: list[tuple[str, str]] = field(default_factory=list)
    mixes: bool = False


class CheckedMachine(RuleBasedStateMachine):
    """Two interfaces on one bucket, and what must be in it."""

    def __init__(self, harness: StoreHarness, factory: Callable[..., Any]) -> None:
        super().__init__()
        self.harness, self.factory = harness, factory
        self.scratch = Path(tempfile.mkdtemp(prefix="cottoncandy-machine-"))
        self.observer = harness.backend()
        self.clean = self.interface()
        self.ccis = [self.faulty(), self.faulty()]
        self.model: dict[str, Stored] = {}
        self.roots: dict[str, Value] = {}
        self.streams: list[tuple[Any, bytes]] = []
        self.left_by_the_killed: set[str] = set()

    def teardown(self) -> None:
        for stream, _ in self.streams:
            stream.close()
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.harness.close()

    def interface(self) -> Any:
        return self.factory(
            self.harness.bucket,
            backend=self.harness.backend_name,
            verbose=False,
            **self.harness.connection(),
        )

    def faulty(self) -> Any:
        cci = self.interface()
        cci.backend_interface = FaultyBackend(cci.backend_interface)
        return cci

    # -- one step --------------------------------------------------------------------------------

    def run(self, operation: Operation, who: int, fault: Fault) -> str:
        """Run an operation, compare the bucket with the model; return the outcome."""
        before = dict(self.model)
        roots = self.roots.keys() | operation.roots.keys() | operation.unknown
        areas = {root: self.area(root, before) for root in roots}
        outcome, error = self.attempt(operation.call, who, fault)
        if outcome == "raised" and operation.fails is False:
            raise AssertionError(f"{operation} raised without a fault") from error
        assert not (outcome == "done" and operation.fails), "it must raise"
        found = self.observe()
        for root, value in operation.roots.items():
            self.check_root(root, value, outcome, operation.mixes)
        for root in areas:
            areas[root] |= self.area(root, found)
        free = {key for root in operation.roots.keys() | operation.unknown for key in areas[root]}
        # A raw array replaces another one of its name.
        for key in operation.changes.keys() & found.keys():
            if "dtype" in found[key].metadata and f"{key}/{MANIFEST}" in before:
                free |= self.area(key, before)
        # A raw array of the same name would hide the new value, so the upload removes it.
        for root in operation.roots.keys() | operation.unknown:
            if root in before and "dtype" in before[root].metadata:
                free.add(root)
        for key in before.keys() | found.keys():
            self.check_object(key, before.get(key), found.get(key), operation, outcome, key in free)
        for source, dest in operation.moves:
            assert source in found or same_object(found.get(dest), before[source]), source
        for root in areas.keys() - operation.roots.keys():
            if any(before.get(key) != self.model.get(key) for key in areas[root]):
                self.roots.pop(root, None)
        self.check_files(outcome)
        return outcome

    def check_object(
        self,
        key: str,
        old: Stored | None,
        new: Stored | None,
        operation: Operation,
        outcome: str,
        free: bool,
    ) -> None:
        """Check that an object is the old or the new one, and note it in the model."""
        unchanged = same_object(old, new)
        value: Any = old and old.value
        if key in operation.changes and operation.fails is not True:
            wanted = operation.changes[key]
            assert unchanged or outcome != "done" or wanted is None or new is not None, key
            if outcome == "done" or not unchanged:
                assert (new is None) == (wanted is None), f"{key} is neither old nor new"
                if isinstance(wanted, Stored):
                    assert same_object(new, wanted), f"{key} is not the copy"
                    value = wanted.value
                elif wanted is not None:
                    assert wanted.differs(self.clean, key) == "", key
                    value = wanted
        elif not free:
            assert unchanged, f"{key} was not to be touched: {old!r:.300} became {new!r:.300}"
        elif not unchanged:
            value = None
        if new is None:
            self.model.pop(key, None)
        else:
            self.model[key] = new._replace(value=value)

    def check_root(self, root: str, new: Value | None, outcome: str, mixes: bool) -> None:
        """Check a value of several objects, and note it in the model.

        One that was not replaced is still the old one. Only a branch that was copied or moved in
        part may be a mixture.
        """
        old = self.roots.pop(root, None)
        if outcome == "done":
            if new is not None:
                assert new.differs(self.clean, root) == "", root
                self.roots[root] = new
            return
        wrong = []
        for value in (old, new):
            try:
                differs = "" if value is None else value.differs(self.clean, root)
            except CottonCandyError:
                continue
            wrong.append(differs)
            if value is not None and not differs:
                self.roots[root] = value
        gone = not wrong and (old is None or new is None)
        assert mixes or gone or "" in wrong, f"{root} is neither old nor new: {wrong}"

    def attempt(
        self, call: Callable[[Any], Any], who: int, fault: Fault
    ) -> tuple[str, BaseException | None]:
        """Return "done", "raised" (without a fault), "broken" (by one) or "killed"."""
        cci = self.ccis[who]
        kind, at = fault
        if kind is not None and kind.startswith("killed") and self.harness.name == "local":
            return self.attempt_in_child(call, cci, at)
        faulty = cci.backend_interface
        faulty.fail(kind, _REQUESTS[at - 1])
        try:
            call(cci)
        except CottonCandyError as error:
            return "broken" if faulty.fired else "raised", error
        except Killed as error:
            self.ccis[who] = self.faulty()
            return "killed", error
        finally:
            faulty.fail(None)
        return "done", None

    def attempt_in_child(
        self, call: Callable[[Any], Any], cci: Any, at: int
    ) -> tuple[str, BaseException | None]:
        """Run the call in a process that kills itself before its ``at``-th change of a file."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads that are idle
            child = os.fork()
        if not child:
            code = 3
            try:
                signal.alarm(60)
                sys.addaudithook(_Killer(at, str(self.harness.bucket), str(self.scratch)))
                call(cci)
                code = 0
            except CottonCandyError:
                code = 1
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, "the child hangs"
            return "killed", None
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 1), "the child failed; its traceback is above"
        return ("raised" if code else "done"), None

    # -- looking ---------------------------------------------------------------------------------

    def keys(self) -> list[str]:
        return sorted(self.model, key=str.encode)

    def key_at(self, place: int) -> str:
        keys = self.keys()
        return keys[place] if place < len(keys) else "no/such"

    def observe(self) -> dict[str, Stored]:
        """Return the contents of the bucket, read by a backend without faults."""
        found = {}
        for entry in self.observer.scan():
            with self.observer.get(entry.key) as reader:  # type: ignore[union-attr]  # an object
                found[reader.info.key] = Stored(bytes(reader.read()), dict(reader.metadata))
        return found

    def area(self, root: str, keys: Iterable[str]) -> set[str]:
        """Return those keys that belong, or may belong, to a chunked or sparse array."""
        names = {MANIFEST, "data", "indices", "indptr", "row", "col", "offsets"}
        names |= {f"pt{number:04}" for number in range(30)}
        own = {f"{root}/{name}" for name in names}
        return {key for key in keys if key in own or key.startswith(f"{root}/cc-")}

    def is_part(self, key: str) -> bool:
        """Return whether an object says that it is a part or an older manifest of an array."""
        found = array_object(key)
        if found is None or found.name == MANIFEST:
            return False
        return found.upload_id is not None or PART_NUMBER in self.model[key].metadata

    def is_blocked(self, key: str) -> bool:
        """Return whether the store cannot hold the key next to the existing objects."""
        return not self.observer.capabilities.object_and_prefix and any(
            is_below(other, key) or is_below(key, other) for other in self.model
        )

    def check_files(self, outcome: str) -> None:
        """Check that a local directory holds the objects, and nothing else."""
        if self.harness.name != "local":
            return
        root = Path(self.harness.bucket)
        known = {*self.model, *(f"{key}.meta.json" for key in self.model)}
        others = {
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if not (any(path.iterdir()) if path.is_dir() else False)
        } - known
        if outcome != "killed":
            assert others <= self.left_by_the_killed, others - self.left_by_the_killed
        self.left_by_the_killed = others


class _Killer:
    """Kills this process before the n-th change below some directories."""

    def __init__(self, at: int, *directories: str) -> None:
        self.left, self.directories = at, directories

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event not in _STEPS or not str(arguments[0]).startswith(self.directories):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
            return
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def is_below(key: str, directory: str) -> bool:
    return key.startswith(f"{directory}/")


def is_in(key: str, branch: str) -> bool:
    return key == branch or is_below(key, branch)


def same_object(one: Stored | None, other: Stored | None) -> bool:
    return one is other if one is None or other is None else one.is_same(other)
