"""The protocol of replacements, request by request."""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import threading
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cottoncandy.arrays.generations import Upload, committing, restoring, tidying
from cottoncandy.arrays.manifests import Version, read_version
from cottoncandy.backends.base import PutOptions, PutResult
from cottoncandy.core.buffers import Body
from cottoncandy.core.names import Key
from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    ObjectNotFoundError,
    StoreTimeoutError,
    StoreUnreachableError,
)
from cottoncandy.formats.chunked import Manifest
from cottoncandy.formats.generations import new_upload_id

ROOT = Key("a")


class Found(NamedTuple):
    etag: str
    body: bytes
    metadata: Mapping[str, str]


class Read(NamedTuple):
    key: str


class Put(NamedTuple):
    key: str
    body: bytes
    options: PutOptions


class Delete(NamedTuple):
    keys: list[str]


class Killed(BaseException):
    """Ends a client in the middle of everything."""


class Objects:
    """A store of small objects: conditional, or one that checks first and stores later."""

    def __init__(self, *, atomic: bool) -> None:
        self.objects: dict[str, Found] = {}
        self.atomic = atomic
        self.counter = itertools.count()

    def check(self, put: Put) -> None:
        present = self.objects.get(put.key)
        if put.options.condition is not None:
            put.options.condition.check(present and present.etag, put.key)

    def store(self, put: Put) -> PutResult:
        etag = f"etag{next(self.counter)}"
        self.objects[put.key] = Found(etag, put.body, put.options.metadata)
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


class Connection:
    """The store of one client: each request waits until the test answers it."""

    def __init__(self) -> None:
        self.requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.backend, self.bucket = self, "bucket"

    def ask(self, request: Read | Put | Delete) -> Any:
        self.requests.put(request)
        answer = self.answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @contextlib.contextmanager
    def open(self, key: str, threads: int) -> Iterator[Any]:
        found = self.ask(Read(key))
        if found is None:
            raise ObjectNotFoundError(key)
        info = SimpleNamespace(key=key, etag=found.etag)
        body = found.body
        yield SimpleNamespace(info=info, size=len(body), metadata=found.metadata, read=lambda: body)

    def put(self, key: str, body: Body, options: PutOptions) -> PutResult:
        result: PutResult = self.ask(Put(key, b"".join(map(bytes, body)), options))
        return result

    def delete(self, keys: list[str]) -> None:
        self.ask(Delete(keys))


class Writer:
    """One client: it runs the protocol request by request, and may be broken at each."""

    def __init__(self, store: Objects, name: str, fixed: bool, kind: str = "replace") -> None:
        self.store, self.name, self.fixed, self.kind = store, name, fixed, kind
        self.upload_id = new_upload_id()
        self.outcome: str | None = None
        self.error: BaseException | None = None
        self.checked: Put | None = None
        self.late: list[Put] = []
        self.connection: Any = Connection()
        self.upload = Upload(self.connection, ROOT, self.upload_id, fixed=fixed)
        self.began = False
        self.thread = threading.Thread(target=self.main, daemon=True)
        self.thread.start()
        self.request = self.connection.requests.get()

    def main(self) -> None:
        try:
            self.run()
        except Killed:
            self.outcome = self.outcome or "killed"
        except CottonCandyError as exc:
            self.outcome, self.error = self.outcome or "raised", exc
        finally:
            self.connection.requests.put(None)

    def run(self) -> None:
        if self.kind == "restore":
            self.upload.fixed = True
            before = restoring(self.upload)
            content, metadata = before.content, dict(before.metadata)
        else:
            self.upload.live = read_version(self.connection, ROOT)
            manifest = Manifest.of(
                (2,), np.dtype("u1"), ((1, 1),), f"a/{self.upload_id}", self.upload_id
            )
            for part in manifest.parts():
                identity = {"cc-upload-id": self.upload_id, "cc-part": str(part.number)}
                self.connection.put(part.name, Body.of(self.name.encode()), PutOptions(identity))
            content, metadata = manifest.to_json(), {}
        self.began = True
        _, replaced, stored = committing(self.upload, lambda _: content, metadata)
        self.outcome = "committed"
        if replaced is not None:
            tidying(self.connection, replaced, stored)

    def step(self, fault: str) -> None:
        """Answer the request, break it, or kill the client."""
        answer: Any = None
        try:
            if fault == "killed":
                raise Killed
            if fault == "refused":
                raise StoreUnreachableError("refused")
            if fault == "denied":
                raise AccessDeniedError("denied")
            if isinstance(self.request, Put) and not self.store.atomic and self.checked is None:
                self.store.check(self.request)
                self.checked = self.request
                return  # another client may come in between
            if self.checked is not None:
                answer, self.checked = self.store.store(self.checked), None
            elif fault == "late" and isinstance(self.request, Put):
                self.late.append(self.request)  # it arrives after the client has given up
                raise StoreTimeoutError("late")
            else:
                answer = self.store.perform(self.request)
            if fault == "lost":
                raise StoreTimeoutError("lost")
        except (CottonCandyError, Killed) as exc:
            answer, self.checked = exc, None
        self.connection.answers.put(answer)
        self.request = self.connection.requests.get()


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
        while writer.request is not None:
            writer.step("killed")
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
