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
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from cottoncandy.exceptions import CottonCandyError
from tests.backends.wrappers import FAULTS
from tests.machine.steps import MANIFEST, CheckedMachine, Fault, Operation, is_below, is_in
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

_FIRST = {
    "a": "object",
    "d e/ü%20": "pickle",
    "w[1]": "raw_array",
    "d": TREE,
    "d/arr": "numpy_chunks",
    "arr": "sparse_array",
}

_NO_FAULT: Fault = None, 1


class InterfaceMachine(CheckedMachine):
    """Two interfaces on one bucket."""

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
            end = f"/{MANIFEST}"
            arrays = {key.removesuffix(end) for key in pairs if key.endswith(end)}
            # The copy of an array is a new upload of its current version.
            owned = {key for root in arrays for key in self.area(root, pairs)}
            # Parts that no array names stay.
            stay = {key for key in pairs if key != source and self.is_part(key)} | owned
            for key in stay if recursive else ():
                operation.changes.pop(pairs[key], None)
            for root in arrays if recursive else ():
                if root not in within:
                    operation.unknown |= {root, dest + root[len(source) :]}
            kept = set(operation.changes)
            if verb == "mv":
                gone = {key for key in pairs if not recursive or key not in stay}
                operation.changes.update(dict.fromkeys(gone))
                operation.roots.update(dict.fromkeys(within))
                # The parts of arrays get other names.
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
                {name for name in directories if f"{name}/{MANIFEST}" in self.model},
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
                fails=self.is_blocked(f"{root}/{MANIFEST}"),
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


@dataclass(frozen=True)
class _Leaf:
    """An array or bytes that an operation on a branch stores."""

    content: Any

    def differs(self, cci: Any, name: str) -> str:
        from tests.compat.cases import download, same

        kind = "object" if isinstance(self.content, bytes) else "raw_array"
        return same(self.content, download(cci, name, kind))


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
