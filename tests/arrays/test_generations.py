"""Replacements of chunked and sparse arrays: the protocol, its writers, undo."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cottoncandy.arrays import manifests
from cottoncandy.arrays.generations import (
    Delete,
    Found,
    Put,
    Read,
    Upload,
    committing,
    reading,
    restoring,
    tidying,
)
from cottoncandy.arrays.manifests import Version
from cottoncandy.backends.base import PutResult
from cottoncandy.core.names import Key
from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    IntegrityError,
    MetadataError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageFullError,
    StoreTimeoutError,
    StoreUnreachableError,
)
from cottoncandy.formats.chunked import Manifest
from cottoncandy.formats.generations import new_upload_id
from tests.arrays.kinds import KINDS, Interleaved, current, matrix, only, uploads
from tests.backends.wrappers import FAULTS as BACKEND_FAULTS
from tests.backends.wrappers import FaultyBackend, Killed, WrappedBackend
from tests.harness import MemoryHarness

ROOT = Key("a")


# -- the protocol, without a store -----------------------------------------------------------------


class Objects:
    """A store of small objects: conditional, or one that checks first and stores later."""

    def __init__(self, *, atomic: bool) -> None:
        self.objects: dict[str, Found] = {}
        self.atomic = atomic
        self.counter = itertools.count()

    def check(self, put: Put) -> None:
        present = self.objects.get(put.key)
        if put.condition is not None:
            put.condition.check(present and present.etag, put.key)

    def store(self, put: Put) -> PutResult:
        etag = f"etag{next(self.counter)}"
        self.objects[put.key] = Found(etag, put.body, put.metadata)
        return PutResult(etag)

    def perform(self, request: Read | Put | Delete) -> Any:
        match request:
            case Read(key):
                return self.objects.get(key)
            case Put():
                self.check(request)
                return self.store(request)
            case Delete(keys):
                for key in keys:
                    self.objects.pop(key, None)
        return None


class Writer:
    """One client: it runs a protocol request by request, and may be broken at each."""

    def __init__(self, store: Objects, name: str, fixed: bool, kind: str = "replace") -> None:
        self.store, self.name, self.fixed, self.kind = store, name, fixed, kind
        self.upload_id = new_upload_id()
        self.outcome: str | None = None
        self.error: BaseException | None = None
        self.checked: Put | None = None
        self.late: list[Put] = []
        self.upload = Upload(None, ROOT, self.upload_id, fixed=fixed)  # type: ignore[arg-type]
        self.began = False
        self.protocol = self.run()
        self.request = next(self.protocol)

    def run(self) -> Iterator[Any]:
        if self.kind == "restore":
            self.upload.fixed = True
            before = yield from restoring(self.upload)
            content, metadata = before.content, dict(before.metadata)
        else:
            self.upload.live = yield from reading(ROOT)
            manifest = Manifest.of(
                (2,), np.dtype("u1"), ((1, 1),), f"a/{self.upload_id}", self.upload_id
            )
            for part in manifest.parts():
                identity = {"cc-upload-id": self.upload_id, "cc-part": str(part.number)}
                yield Put(part.name, self.name.encode(), identity)
            content, metadata = manifest.to_json(), {}
        self.began = True
        _, replaced, body = yield from committing(self.upload, lambda _: content, metadata)
        self.outcome = "committed"
        if replaced is not None:
            yield from tidying(replaced, Version.of(ROOT, "", body, {}))

    def step(self, fault: str) -> None:
        """Send the request, break it, or kill the client."""
        if fault == "killed":
            self.outcome = self.outcome or "killed"
            return self.finish()
        answer: Any = None
        error: CottonCandyError | None = None
        try:
            if fault == "refused":
                raise StoreUnreachableError("refused")
            if fault == "denied":
                raise AccessDeniedError("denied")
            if isinstance(self.request, Put) and not self.store.atomic and self.checked is None:
                self.store.check(self.request)
                self.checked = self.request
                return None  # another client may come in between
            if self.checked is not None:
                answer, self.checked = self.store.store(self.checked), None
            elif fault == "late" and isinstance(self.request, Put):
                self.late.append(self.request)  # it arrives after the client has given up
                raise StoreTimeoutError("late")
            else:
                answer = self.store.perform(self.request)
            if fault == "lost":
                raise StoreTimeoutError("lost")
        except CottonCandyError as exc:
            error, self.checked = exc, None
        try:
            self.request = (
                self.protocol.send(answer) if error is None else self.protocol.throw(error)
            )
        except StopIteration:
            self.finish()
        except CottonCandyError as exc:
            self.outcome, self.error = self.outcome or "raised", exc
            self.finish()
        return None

    def finish(self) -> None:
        self.protocol.close()
        self.request = None


def assert_whole(store: Objects) -> Version | None:
    """Check that the manifest names parts that exist, of the uploads and numbers that it says."""
    found = store.objects.get("a/metadata.json")
    if found is None:
        return None
    manifest = Manifest.from_json(json.loads(found.body), object_name="a")
    for part in manifest.parts():
        metadata = store.objects[part.name].metadata
        assert metadata == {"cc-upload-id": part.upload_id, "cc-part": str(part.number)}
    return Version.of(ROOT, *found)


FAULTS = st.sampled_from(["", "", "", "", "", "refused", "lost", "late", "denied", "killed"])


@given(data=st.data())
def test_any_order_of_requests_and_faults_leaves_a_whole_array(data: st.DataObject) -> None:
    store = Objects(atomic=True)
    kinds = st.sampled_from(["replace", "replace", "fixed", "restore"])
    for _ in range(data.draw(st.integers(0, 2))):
        first = Writer(store, "first", False)
        while first.request is not None:
            first.step("")
    writers = [
        Writer(store, str(number), kind == "fixed", "restore" if kind == "restore" else "replace")
        for number, kind in enumerate(data.draw(st.lists(kinds, min_size=1, max_size=3)))
    ]
    seen: list[str] = []
    for _ in range(200):
        running = [writer for writer in writers if writer.request is not None]
        late = [writer for writer in writers if writer.late]
        if not running and not late:
            break
        writer = data.draw(st.sampled_from(running + late))
        if writer.late and (writer.request is None or data.draw(st.booleans())):
            put = writer.late.pop()
            with contextlib.suppress(CottonCandyError):
                store.perform(put)
        elif writer.request is not None:
            writer.step(data.draw(FAULTS))
        live = assert_whole(store)
        if live is not None and (not seen or seen[-1] != live.upload_id):
            seen.append(live.upload_id or "")
    for writer in writers:
        if writer.outcome == "committed":
            assert writer.upload_id in seen  # it was the current version for a moment at least
        elif writer.outcome == "raised" and writer.began and not writer.upload.sent:
            assert writer.upload_id not in seen  # and so its parts may be deleted
    assert len(seen) == len(set(seen))


@given(data=st.data())
def test_a_store_that_ignores_conditions_loses_versions_but_mixes_none(data: st.DataObject) -> None:
    store = Objects(atomic=False)
    writers = [Writer(store, str(number), False) for number in range(2)]
    while running := [writer for writer in writers if writer.request is not None]:
        data.draw(st.sampled_from(running)).step("")
        assert_whole(store)
    assert {writer.outcome for writer in writers} == {"committed"}
    assert assert_whole(store) is not None


# -- on a store ------------------------------------------------------------------------------------


#: Kind, number of versions before, fault: each fault once, on one predecessor.
ENDINGS = [
    ("chunked", 1, "killed after"),
    ("chunked", 1, "lost"),
    ("sparse", 1, "killed"),
    *(
        pytest.param(*ending, marks=pytest.mark.slow)
        for ending in [
            ("chunked", 1, "killed before"),
            ("chunked", 1, "killed"),
            ("chunked", 1, "busy"),
            ("chunked", 0, "killed after"),
            ("sparse", 0, "lost"),
            ("chunked", 2, "lost"),
            ("sparse", 2, "killed after"),
        ]
    ),
]


@pytest.mark.parametrize(("kind", "before", "fault"), ENDINGS)
def test_an_upload_that_ends_at_any_request_leaves_old_or_new(
    memory: MemoryHarness, kind: str, before: int, fault: str
) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    for number in range(before):
        upload(cci, number)
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
        lazy = cci.array("a") if before else None
        cci.backend_interface = faulty = FaultyBackend(plain)
        faulty.fail(fault, request)
        outcome = "done"
        try:
            upload(cci, 9)
        except (Killed, CottonCandyError):
            outcome = "raised"
        cci.backend_interface = plain
        if outcome == "done" or before or memory.raw_keys("a/metadata.json"):
            assert value(cci, "a") in ({9} if outcome == "done" else {before - 1, 9})
        if lazy is not None:
            lazy_values = lazy[...] if kind == "chunked" else lazy[...].data
            assert only(lazy_values) == before - 1  # one predecessor is kept
        upload(cci, 10)  # remaining chunks have no effect
        assert value(cci, "a") == 10
        cci.clean("a", grace=0)
        assert value(cci, "a") == 10
        parts = {"chunked": 3, "sparse": 3}[kind]
        assert len(memory.raw_keys()) == parts + 1
        if faulty.left > 0:
            break
    assert request > 4


#: Calls on an array that was replaced once and appended to, and the values that it may have then.
CALLS: dict[str, tuple[Callable[[Any], Any], list[list[float]]]] = {
    "append": (lambda cci: cci.append_dask_array("a", np.full(1, 3.0)), [[1, 2, 3]]),
    "restore": (lambda cci: cci.restore("a"), [[1]]),
    "clean": (lambda cci: cci.clean("", grace=0), []),
    "set_metadata": (lambda cci: cci.set_metadata("a", note="x"), []),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "fault", ["killed", "lost", *(pytest.param(f, marks=pytest.mark.slow) for f in BACKEND_FAULTS)]
)
def test_other_calls_that_end_at_any_request_leave_old_or_new(
    memory: MemoryHarness, call: str, fault: str
) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a", np.zeros(1))
    cci.upload_dask_array("a", np.ones(1))
    cci.append_dask_array("a", np.full(1, 2.0))
    function, after = CALLS[call]
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
        cci.backend_interface = faulty = FaultyBackend(plain)
        faulty.fail(fault, request)
        done = False
        with contextlib.suppress(Killed, CottonCandyError):
            function(cci)
            done = True
        cci.backend_interface = plain
        found = cci["a"].tolist()
        assert found in (after if done and after else [[1, 2], *after])
        cci.append_dask_array("a", np.full(1, 9.0))
        assert cci["a"].tolist() == [*found, 9]
        cci.clean("a", grace=0)
        assert cci["a"].tolist() == [*found, 9]
        if faulty.left > 0:
            break
    assert request > 2


class Unanswered(WrappedBackend):
    """Stores a manifest, or not, and raises; the next ``unread`` reads of it fail too."""

    def __init__(self, inner: Any, error: Exception, *, stored: bool, unread: int) -> None:
        super().__init__(inner)
        self.error, self.stored, self.unread = error, stored, unread

    def put(self, key: str, *arguments: Any, **options: Any) -> Any:
        if not key.endswith("a/metadata.json") or self.error is None:
            return super().put(key, *arguments, **options)
        if self.stored:
            super().put(key, *arguments, **options)
        error, self.error = self.error, None
        raise error

    def get(self, key: str, **options: Any) -> Any:
        if self.error is None and self.unread:
            self.unread -= 1
            raise StoreTimeoutError("made to fail")
        return super().get(key, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_commit_without_an_answer_keeps_what_may_be_current(
    memory: MemoryHarness, kind: str
) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    plain = cci.backend_interface
    upload(cci, 0)
    lost = StoreTimeoutError("made to fail")
    cci.backend_interface = Unanswered(plain, lost, stored=True, unread=1)
    with pytest.raises(StoreTimeoutError):
        upload(cci, 1)  # which was stored
    cci.backend_interface = plain
    assert value(cci, "a") == 1
    cci.backend_interface = Unanswered(plain, lost, stored=True, unread=0)
    assert upload(cci, 2)["ETag"] == plain.head("a/metadata.json").etag
    cci.backend_interface = plain
    cci.restore("a")
    assert value(cci, "a") == 1  # version 2 was committed once


@pytest.mark.parametrize("kind", KINDS)
def test_a_commit_that_finds_the_store_full_leaves_no_parts(
    memory: MemoryHarness, kind: str
) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    plain = cci.backend_interface
    upload(cci, 0)
    upload(cci, 1)
    before = {key for key in memory.raw_keys() if "previous" not in key}
    full = Unanswered(plain, StorageFullError("made to fail"), stored=False, unread=9)
    cci.backend_interface = full
    with pytest.raises(StorageFullError):
        upload(cci, 2)
    assert full.unread == 9  # the manifest is not read again
    assert {key for key in memory.raw_keys() if "previous" not in key} == before
    cci.backend_interface = plain
    assert value(cci, "a") == 1


class BeforeCommit(WrappedBackend):
    """Calls a function before each manifest is stored; its error is that of the request."""

    def __init__(self, inner: Any, function: Callable[[], None]) -> None:
        super().__init__(inner)
        self.function, self.count = function, 0

    def put(self, key: str, *arguments: Any, **options: Any) -> Any:
        if key == "a/metadata.json":
            self.count += 1
            self.function()
        return super().put(key, *arguments, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ["overwrite", "if_match", "restore"])
def test_a_writer_that_another_one_overtakes_leaves_nothing(
    memory: MemoryHarness, kind: str, verb: str
) -> None:
    upload, value = KINDS[kind]
    cci, second = memory.interface(), memory.interface()
    etag = None if verb == "overwrite" else upload(cci, 0)["ETag"]
    if verb == "restore":
        upload(cci, 1)
    cci.backend_interface = BeforeCommit(cci.backend_interface, partial(upload, second, 2))
    condition = {"if_match": etag} if etag else {"overwrite": False}
    call = partial(cci.restore, "a") if verb == "restore" else partial(upload, cci, 3, **condition)
    with pytest.raises((ObjectChangedError, ObjectExistsError), match="'a'"):
        call()
    assert value(second, "a") == 2
    live = second.download_json("a/metadata.json")
    kept = {live["upload_id"], live["previous"]} if verb == "restore" else {live["upload_id"]}
    assert uploads(memory) == kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("error", "kept"), [(ObjectChangedError, False), (StoreTimeoutError, True)]
)
def test_a_commit_that_never_succeeds_ends(
    memory: MemoryHarness, kind: str, error: type[Exception], kept: bool
) -> None:
    """Parts are kept if the manifest may still arrive."""
    upload, value = KINDS[kind]
    cci = memory.interface()
    upload(cci, 0)

    def fail() -> None:
        raise error("made to fail")

    cci.backend_interface = never = BeforeCommit(cci.backend_interface, fail)
    with pytest.raises(error, match="made to fail"):
        upload(cci, 1)
    assert never.count == 4
    assert bool(uploads(memory)) == kept
    assert value(memory.interface(), "a") == 0


@pytest.mark.parametrize(
    ("kind", "other", "before"),
    [
        ("chunked", "chunked", 1),
        ("chunked", "sparse", 0),
        ("sparse", "chunked", 1),
        ("sparse", "sparse", 0),
    ],
)
def test_two_writers_never_mix(memory: MemoryHarness, kind: str, other: str, before: int) -> None:
    upload, _ = KINDS[kind]
    cci, second = memory.interface(), memory.interface()
    for _ in range(before):
        upload(cci, 0)
    plain, begin = cci.backend_interface, memory.snapshot()
    for request in itertools.count(1):
        begin()
        cci.backend_interface = watched = Interleaved(
            plain, request, partial(KINDS[other][0], second, 2)
        )
        upload(cci, 1)
        if watched.left > 0:
            break
        last = current(second)
        assert last in (1, 2)
        second.restore("a")
        assert current(second) == 3 - last
        second.clean("a", grace=0)
        assert current(second) == 3 - last
    assert request > 4


def twice(upload: Callable[..., Any], cci: Any) -> None:
    upload(cci, 1)
    upload(cci, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_finds_one_version_whatever_is_replaced(memory: MemoryHarness, kind: str) -> None:
    upload, value = KINDS[kind]
    cci, writer = memory.interface(), memory.interface()
    upload(cci, 0)
    plain, begin = cci.backend_interface, memory.snapshot()
    once = partial(upload, writer, 1)
    for request in itertools.count(1):
        begin()
        cci.backend_interface = watched = Interleaved(plain, request, once)
        assert value(cci, "a") in (0, 1)
        if watched.left > 0:
            break
        begin()
        cci.backend_interface = Interleaved(plain, request, partial(twice, upload, writer))
        if kind == "sparse":
            assert value(cci, "a") in (0, 2)
        else:
            assert only(cci["a"]) in (0, 2)
    assert request > 3


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_array_keeps_its_version_and_then_raises(memory: MemoryHarness, kind: str) -> None:
    upload, _ = KINDS[kind]
    cci = memory.interface()
    upload(cci, 0)
    lazy = cci.array("a")
    upload(cci, 1)
    assert (np.asarray(lazy).ravel()[:1] == 0).all()
    upload(cci, 2)
    with pytest.raises(ObjectChangedError, match="array 'a'"):
        lazy[...]


def test_a_dask_array_is_uploaded_onto_the_name_that_it_reads(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a", np.arange(12.0), buffersize=16)
    for _ in range(3):
        lazy = (cci.download_dask_array("a") + 1)[::-1].rechunk(5)
        with dask.config.set(scheduler="synchronous"):  # writes the first block before it reads all
            cci.upload_dask_array("a", lazy)
    expected = np.arange(12.0)
    for _ in range(3):
        expected = (expected + 1)[::-1]
    np.testing.assert_array_equal(cci.download_dask_array("a"), expected)


def test_compute_false_returns_the_upload(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a", np.zeros(4), buffersize=16)
    for number in (1, 2):
        array = cci.download_dask_array("a") + 1 if number == 2 else np.ones(4)
        task = cci.upload_dask_array("a", array, compute=False)
        np.testing.assert_array_equal(cci.download_dask_array("a"), np.full(4, number - 1))
        response = task.compute(scheduler="threads")
        assert response["ETag"] == memory.backend().head("a/metadata.json").etag
        np.testing.assert_array_equal(cci.download_dask_array("a"), np.full(4, number))


def test_a_delayed_upload_that_fails_leaves_no_parts(memory: MemoryHarness) -> None:
    cci = memory.interface()
    etag = cci.upload_dask_array("a", np.zeros(4))["ETag"]
    task = cci.upload_dask_array("a", np.ones(4), compute=False, if_match=etag)
    cci.upload_dask_array("a", np.full(4, 2.0))
    with pytest.raises(ObjectChangedError, match="'a'"):
        task.compute(scheduler="sync")
    assert uploads(memory) == {cci.download_json("a/metadata.json")["upload_id"]}


@pytest.mark.parametrize("kind", KINDS)
def test_restore_is_an_undo_of_itself(memory: MemoryHarness, kind: str) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    with pytest.raises(ObjectNotFoundError, match="'a'"):
        cci.restore("a")
    upload(cci, 0)
    with pytest.raises(ObjectNotFoundError, match="predecessor"):
        cci.restore("a")
    upload(cci, 1)
    lazy = cci.array("a")
    for expected in (0, 1, 0, 1):
        response = cci.restore("a")
        assert response["ETag"] == memory.backend().head("a/metadata.json").etag
        assert value(cci, "a") == expected
    assert (np.asarray(lazy).ravel()[:1] == 1).all()
    upload(cci, 2)
    cci.restore("a")
    assert value(cci, "a") == 1
    cci.clean("a", grace=0)
    with pytest.raises(ObjectNotFoundError, match="predecessor"):
        cci.restore("a")
    assert value(cci, "a") == 1


def test_a_restore_during_replacements_says_so(memory: MemoryHarness) -> None:
    upload, value = KINDS["chunked"]
    cci, second = memory.interface(), memory.interface()
    upload(cci, 0)
    upload(cci, 1)
    plain = cci.backend_interface
    cci.backend_interface = Interleaved(plain, 3, partial(twice, upload, second))
    with pytest.raises(ObjectChangedError, match="'a' was replaced"):
        cci.restore("a")
    assert value(second, "a") == 2


@pytest.mark.parametrize("method", ["append_dask_array", "restore"])
def test_another_programs_manifest_is_not_changed(memory: MemoryHarness, method: str) -> None:
    cci = memory.interface()
    cci.upload_json("a/metadata.json", {"mine": 1})
    arguments = (np.ones(3),) if method == "append_dask_array" else ()
    with pytest.raises(MetadataError, match="'a'"):
        getattr(cci, method)("a", *arguments)
    assert memory.raw_keys() == ["a/metadata.json"]


# -- tampering -------------------------------------------------------------------------------------


@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_others_are_detected(store: Any, factory: Any, kind: str) -> None:
    upload, value = KINDS[kind]
    cci = factory(store.bucket, backend=store.backend_name, verbose=False)
    names = ["pt0000", "pt0001"] if kind == "chunked" else ["indices", "data"]
    upload(cci, 0)
    upload(cci, 1)
    (live,) = {key.rpartition("/")[0] for key in store.raw_keys() if key.endswith(names[0])} - {"a"}
    for source in (f"a/{names[0]}", f"{live}/{names[1]}"):  # another upload; another number
        target = f"{live}/{names[0]}"
        kept = store.raw_get(target)
        store.raw_put(target, *store.raw_get(source))
        with pytest.raises(IntegrityError, match=names[0]):
            value(cci, "a")
        store.raw_put(target, *kept)
    assert value(cci, "a") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_manifests_are_typed_errors(memory: MemoryHarness, kind: str) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    upload(cci, 0)
    upload(cci, 1)
    body, metadata = memory.raw_get("a/metadata.json")
    good = json.loads(body)
    changes: list[Any] = [
        {"upload_id": 5}, {"upload_id": "x"}, {"previous": ["x"]}, {"parts": None}, {"parts": []},
        {"parts": good["parts"][:-1]}, {"parts": [*good["parts"], good["parts"][0]]},
        {"parts": [[good["upload_id"]]] * 3}, {"parts": 7},
        {"parts": [["../x", 0]] * 3}, {"parts": [[good["upload_id"], -1]] * 3},
        {"parts": good["parts"][::-1] if kind == "chunked" else [[None, "x"]] * 3},
        {"shape": [10**30]}, {"shape": [-1]}, {"dtype": "|O"} if kind == "chunked" else {"type": 1},
    ]  # fmt: skip
    if kind == "chunked":
        index, name = good["dask"][0]
        rest = good["dask"][1:]
        changes += [
            {"dask": [[index, "b/secret"], *rest]}, {"dask": [[index, "../pt0000"], *rest]},
            {"dask": [[[7], name], *rest]}, {"dask": [[index, name], *good["dask"]]},
            {"dask": [[index, 5], *rest]}, {"chunks": [[2, 2]]}, {"chunks": [[2, 2, 10**9]]},
        ]  # fmt: skip
    else:
        changes += [
            {"attrs": ["../b/data", *good["attrs"][1:]]}, {"attrs": ["data"] * 3}, {"attrs": {}},
            {"attrs": [f"x/{name}" for name in good["attrs"]]}, {"attrs": [5, None, {}]},
        ]  # fmt: skip
    bodies = [json.dumps({**good, **change}).encode() for change in changes]
    bodies += [body[:position] for position in range(0, len(body), 40)]
    bodies += [b"[" * 100_000, b'{"dask":' * 50_000, bytes([255, 254]), b"null", b"NaN"]
    memory.raw_put("b/secret", b"not yours")
    for damaged in bodies:
        memory.raw_put("a/metadata.json", damaged, metadata)
        with pytest.raises(CottonCandyError, match="a"):
            value(cci, "a")
        for verb in (lambda: upload(cci, 2), lambda: cci.restore("a")):
            try:
                verb()
            except CottonCandyError:
                continue
            memory.raw_put("a/metadata.json", damaged, metadata)
    cci.clean("", grace=0)
    assert memory.raw_get("b/secret").body == b"not yours"


@pytest.mark.parametrize("kind", KINDS)
def test_an_oversized_manifest_is_not_downloaded(
    memory: MemoryHarness, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    upload(cci, 0)
    monkeypatch.setattr(manifests, "_MAX_BYTES", 10)
    for read in (lambda: value(cci, "a"), lambda: cci["a"], lambda: cci.info("a")):
        with pytest.raises(IntegrityError, match="more than a manifest has"):
            read()
    with pytest.raises(ObjectExistsError):
        upload(cci, 1)
    assert cci.clean("a", grace=0) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_raw_array_of_the_name_goes_after_the_commit(memory: MemoryHarness, kind: str) -> None:
    cci = memory.interface()
    cci.upload_raw_array("a", np.zeros(3))
    KINDS[kind][0](cci, 1)
    assert current(cci) == 1
    memory.raw_put("b", b"a file, not an array")
    cci.upload_sparse_array("b", matrix(1))
    assert memory.raw_get("b").body == b"a file, not an array"
