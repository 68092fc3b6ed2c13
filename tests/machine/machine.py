"""The interface as a state machine, next to a dictionary of what must be in the bucket.

Each step runs one operation on one of two interfaces, often with a fault at one of its requests.
Then every object is read through a separate backend without faults:

* an operation that returned has done all of its work, and nothing else;
* one that raised has left each object old or new;
* listings show all objects and no others, and a local directory holds no other files, except
  those that killed processes left.

Operations run with one thread, so the same seed sends the same requests.
"""

from __future__ import annotations

import fnmatch
import os
import pickle
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cottoncandy.exceptions import CottonCandyError
from tests.backends.wrappers import FAULTS, FaultyBackend, Killed
from tests.harness import StoreHarness
from tests.machine.values import COMPOSITES, SINGLES, TREE, Value, files, upload

__all__ = ["InterfaceMachine"]

_NAMES = st.sampled_from(["a", "d", "d/x", "d/e/z", "w[1]", "d e/ü%20"])
_DIRECTORIES = st.sampled_from(["", "d", "d/e", "e", "arr", "d/arr"])
_BRANCHES = st.sampled_from(["d", "d/e", "e", "arr", "d/arr"])
_PATTERNS = st.sampled_from(["", "d", "d/*", "*", "*/?", "d/[ex]", "w[[]1]", "*z", "d e"])
_NUMBERS = st.integers(0, 11)
_PLACES = st.integers(0, 9)  # of an existing key, in the order of keys; a missing one beyond
_WHO = st.integers(0, 1)
_OVERWRITE = st.sampled_from([True, True, False])
_FAULTS = st.tuples(st.sampled_from([None] * 6 + sorted(FAULTS)), st.integers(1, 12))
_REQUESTS = (1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 6)  # most operations send few

_MANIFEST = "metadata.json"
_FIRST = {
    "a": "object",
    "d e/ü%20": "pickle",
    "w[1]": "raw_array",
    "d": TREE,
    "d/arr": "numpy_chunks",
    "arr": "sparse_array",
}
_STEPS = frozenset(
    {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.utime", "os.chmod", "open"}
)

Fault = tuple[str | None, int]
_NO_FAULT: Fault = None, 1


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


class InterfaceMachine(RuleBasedStateMachine):
    """Two interfaces on one bucket."""

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

    @initialize(numbers=st.lists(_NUMBERS, min_size=len(_FIRST), max_size=len(_FIRST)))
    def populate(self, numbers: list[int]) -> None:
        """Store a value of each kind of upload."""
        for (name, kind), number in zip(_FIRST.items(), numbers, strict=True):
            if kind in COMPOSITES:
                self.upload_composite(name, kind, number, 0, _NO_FAULT)
            elif kind == TREE:
                self.dict2cloud(name, number, 1, _NO_FAULT)
            else:
                self.upload(name, kind, number, 0, _NO_FAULT)

    # -- single objects --------------------------------------------------------------------------

    @rule(name=_NAMES, kind=st.sampled_from(SINGLES), number=_NUMBERS, who=_WHO, fault=_FAULTS)
    def upload(self, name: str, kind: str, number: int, who: int, fault: Fault) -> None:
        value = Value(kind, number)
        self.run(
            Operation(
                lambda cci: upload(cci, name, value), {name: value}, fails=self.is_blocked(name)
            ),
            who,
            fault,
        )

    @rule(place=_PLACES, who=_WHO, fault=_FAULTS)
    def download(self, place: int, who: int, fault: Fault) -> None:
        name = self.key_at(place)
        stored = self.model.get(name)

        def call(cci: Any) -> None:
            if stored is None or stored.value is None:
                cci.download_object(name)
            else:
                assert stored.value.differs(cci, name) == ""

        self.run(Operation(call, fails=stored is None), who, fault)

    @rule(place=_PLACES, who=_WHO)
    def open_stream(self, place: int, who: int) -> None:
        name = self.key_at(place)
        if name in self.model and len(self.streams) < 3:
            stream = self.ccis[who].download_stream(name)
            self.streams.append((stream, self.clean.download_object(name)))

    @rule()
    def finish_streams(self) -> None:
        """A stream returns the version that was opened, or raises."""
        for stream, body in self.streams:
            with stream:
                try:
                    assert stream.content.read() == body
                except CottonCandyError:
                    assert body  # an empty object was read in full when it was opened
        self.streams.clear()

    @rule(place=_PLACES, who=_WHO, fault=_FAULTS)
    def rm(self, place: int, who: int, fault: Fault) -> None:
        self.remove(self.key_at(place), False, who, fault)

    @rule(branch=_BRANCHES, recursive=_OVERWRITE, who=_WHO, fault=_FAULTS)
    def remove(self, branch: str, recursive: bool, who: int, fault: Fault) -> None:
        keys = [key for key in self.model if key == branch or (recursive and is_in(key, branch))]
        self.run(
            Operation(
                lambda cci: cci.rm(branch, recursive=recursive, threads=1),
                dict.fromkeys(keys),
                dict.fromkeys(root for root in self.roots if recursive and is_in(root, branch)),
            ),
            who,
            fault,
        )

    @rule(
        verb=st.sampled_from(["cp", "mv"]),
        place=_PLACES,
        dest=_NAMES,
        overwrite=_OVERWRITE,
        who=_WHO,
        fault=_FAULTS,
    )
    def transfer(
        self, verb: str, place: int, dest: str, overwrite: bool, who: int, fault: Fault
    ) -> None:
        source = self.key_at(place)
        fails: bool | None = source not in self.model or (dest in self.model and not overwrite)
        if not fails and source != dest and self.is_blocked(dest):
            fails = None if verb == "mv" else True
        self.run_transfer(verb, {source: dest}, (source, dest, overwrite, False), fails, who, fault)

    # -- branches --------------------------------------------------------------------------------

    @rule(
        verb=st.sampled_from(["cp", "mv"]),
        source=_BRANCHES,
        dest=_BRANCHES,
        overwrite=_OVERWRITE,
        who=_WHO,
        fault=_FAULTS,
    )
    def transfer_branch(
        self, verb: str, source: str, dest: str, overwrite: bool, who: int, fault: Fault
    ) -> None:
        pairs = {key: dest + key[len(source) :] for key in self.model if is_in(key, source)}
        if source == dest:
            fails: bool | None = not pairs or not overwrite
        else:
            into_itself = is_below(dest, source) and list(pairs) != [source]
            taken = not overwrite and any(key in self.model for key in pairs.values())
            onto_itself = any(key in pairs for key in pairs.values())
            fails = not pairs or into_itself or taken or onto_itself
            if not fails and any(self.is_blocked(key) for key in pairs.values()):
                fails = None
        self.run_transfer(verb, pairs, (source, dest, overwrite, True), fails, who, fault)

    def run_transfer(
        self,
        verb: str,
        pairs: dict[str, str],
        arguments: tuple[str, str, bool, bool],
        fails: bool | None,
        who: int,
        fault: Fault,
    ) -> None:
        source, dest, overwrite, recursive = arguments
        operation = Operation(
            lambda cci: getattr(cci, verb)(
                source, dest, overwrite=overwrite, recursive=recursive, threads=1
            ),
            fails=fails,
            mixes=True,
        )
        if source != dest and fails is not True:
            operation.changes.update({new: self.model[old] for old, new in pairs.items()})
            within = [root for root in self.roots if recursive and is_in(root, source)]
            operation.roots.update({dest + r[len(source) :]: self.roots[r] for r in within})
            end = f"/{_MANIFEST}"
            arrays = {key.removesuffix(end) for key in pairs if key.endswith(end)}
            # An array that exists is replaced, below a new upload id.
            for root in arrays if recursive else ():
                target = dest + root[len(source) :]
                if target + end in self.model:
                    for key in self.area(root, pairs):
                        del operation.changes[pairs[key]]
                    if root not in within:
                        operation.unknown.add(target)
            if operation.fails is False and arrays - set(within):
                operation.fails = None  # an array that is not whole cannot replace another
            kept = set(operation.changes)
            if verb == "mv":
                operation.changes.update(dict.fromkeys(pairs))
                operation.roots.update(dict.fromkeys(within))
                # The parts of one that is replaced get other names.
                operation.moves.extend(pair for pair in pairs.items() if pair[1] in kept)
        self.run(operation, who, fault)

    @rule(root=_BRANCHES, number=_NUMBERS, who=_WHO, fault=_FAULTS)
    def dict2cloud(self, root: str, number: int, who: int, fault: Fault) -> None:
        value = Value(TREE, number)
        leaves = {f"{root}/{name}": _Leaf(array) for name, array in leaves_of(value.build())}
        directories = {leaf.rpartition("/")[0] for leaf in leaves} - {root}
        groups = {name for name in self.model.keys() | self.roots.keys() if name in directories}
        arrays = {
            name
            for name in groups & self.model.keys()
            if {"dtype", "shape"} <= self.model[name].metadata.keys()
        }
        self.run(
            Operation(
                lambda cci: upload(cci, root, value),
                {**dict.fromkeys(arrays), **leaves},
                dict.fromkeys(groups & self.roots.keys()),
                {name for name in directories if f"{name}/{_MANIFEST}" in self.model},
                fails=None if any(map(self.is_blocked, leaves)) else False,
            ),
            who,
            fault,
        )

    @rule(into=_DIRECTORIES, number=_NUMBERS, skip_existing=st.booleans(), who=_WHO, fault=_FAULTS)
    def upload_directory(
        self, into: str, number: int, skip_existing: bool, who: int, fault: Fault
    ) -> None:
        directory = Path(tempfile.mkdtemp(dir=self.scratch))
        write(directory, files(number))
        changes = {
            f"{into}/{path}".removeprefix("/"): _Leaf(body) for path, body in files(number).items()
        }
        self.run(
            Operation(
                lambda cci: cci.upload_from_directory(
                    directory, into, recursive=True, threads=1, skip_existing=skip_existing
                ),
                dict(changes),
                fails=None if any(map(self.is_blocked, changes)) else False,
            ),
            who,
            fault,
        )

    @rule(source=_DIRECTORIES, skip_existing=st.booleans(), who=_WHO, fault=_FAULTS)
    def download_directory(self, source: str, skip_existing: bool, who: int, fault: Fault) -> None:
        directory = Path(tempfile.mkdtemp(dir=self.scratch))
        keys = [key for key in self.model if not source or is_below(key, source)]
        new = {
            key[len(source) :].removeprefix("/"): self.clean.download_object(key) for key in keys
        }
        clash = any(is_below(other, path) for path in new for other in new)
        old = {} if clash else dict.fromkeys(list(new)[::2], b"old")
        write(directory, old)
        outcome = self.run(
            Operation(
                lambda cci: cci.download_directory(
                    source, directory, threads=1, skip_existing=skip_existing
                ),
                fails=(not keys and bool(source)) or clash,
            ),
            who,
            fault,
        )
        found = {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in directory.rglob("*")
            if path.is_file()
        }
        if outcome == "done":
            assert found == new
        for path, body in found.items():
            if path in new:
                assert body in (old.get(path), new[path])
            else:
                assert outcome == "killed", path

    # -- chunked and sparse arrays ---------------------------------------------------------------

    @rule(
        root=_BRANCHES,
        kind=st.sampled_from([*COMPOSITES, *[""] * 3]),
        number=_NUMBERS,
        who=_WHO,
        fault=_FAULTS,
    )
    def upload_composite(self, root: str, kind: str, number: int, who: int, fault: Fault) -> None:
        old = self.roots.get(root)
        value = Value(kind or (old.kind if old else COMPOSITES[0]), number)
        self.run(
            Operation(
                lambda cci: upload(cci, root, value),
                roots={root: value},
                fails=self.is_blocked(f"{root}/{_MANIFEST}"),
            ),
            who,
            fault,
        )

    @rule(root=_BRANCHES, who=_WHO, fault=_FAULTS)
    def download_composite(self, root: str, who: int, fault: Fault) -> None:
        value = self.roots.get(root)
        if value is not None:

            def call(cci: Any) -> None:
                assert value.differs(cci, root) == ""

            self.run(Operation(call), who, fault)

    # -- interfaces and listings -----------------------------------------------------------------

    @rule(who=_WHO, pickled=st.booleans())
    def reopen(self, who: int, pickled: bool) -> None:
        cci = self.ccis[who]
        self.ccis[who] = pickle.loads(pickle.dumps(cci)) if pickled else self.faulty()

    @rule(pattern=_PATTERNS, who=_WHO, fault=_FAULTS)
    def find(self, pattern: str, who: int, fault: Fault) -> None:
        def call(cci: Any) -> None:
            assert cci.glob(pattern) == [key for key in self.keys() if matches(key, pattern)]

        self.run(Operation(call), who, fault)

    @rule(directory=_DIRECTORIES, who=_WHO, fault=_FAULTS)
    def list_directory(self, directory: str, who: int, fault: Fault) -> None:
        start = f"{directory}/" if directory else ""
        children = {
            start + key[len(start) :].partition("/")[0]
            for key in self.model
            if key.startswith(start)
        }
        itself = [directory] if directory in self.model and not children else []

        def call(cci: Any) -> None:
            assert cci.lsdir(directory) == sorted(children)
            assert cci.ls(directory, threads=1) == sorted(children) or itself
            assert cci.ls(f"{start}*", threads=1) == sorted(children)

        self.run(Operation(call), who, fault)

    @invariant()
    def listings_agree(self) -> None:
        for cci in self.ccis:
            assert cci.glob("") == self.keys()

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
            if "dtype" in found[key].metadata and f"{key}/{_MANIFEST}" in before:
                free |= self.area(key, before)
        # A raw array of the same name would hide the new value, so the upload removes it.
        free |= {
            root for root in operation.roots if root in before and "dtype" in before[root].metadata
        }
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
        names = {_MANIFEST, "data", "indices", "indptr", "row", "col", "offsets"}
        names |= {f"pt{number:04}" for number in range(30)}
        own = {f"{root}/{name}" for name in names}
        return {key for key in keys if key in own or key.startswith(f"{root}/cc-")}

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


@dataclass(frozen=True)
class _Leaf:
    """An array or bytes that an operation on a branch stores."""

    content: Any

    def differs(self, cci: Any, name: str) -> str:
        from tests.compat.cases import download, same

        kind = "object" if isinstance(self.content, bytes) else "raw_array"
        return same(self.content, download(cci, name, kind))


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


def matches(key: str, pattern: str) -> bool:
    if any(magic in pattern for magic in "*?["):
        return fnmatch.fnmatchcase(key, pattern)
    return not pattern or is_in(key, pattern)


def leaves_of(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves_of(value, f"{above}{name}/")
        else:
            yield above + name, value


def write(directory: Path, content: Mapping[str, bytes]) -> None:
    for path, body in content.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(body)
