"""What every backend must do, as one test class."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from cottoncandy.backends.base import Backend, IfAbsent, PutOptions
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    BucketExistsError,
    BucketNotEmptyError,
    BucketNotFoundError,
    InvalidNameError,
    ObjectExistsError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from cottoncandy.testing.copying import CopyConformance
from cottoncandy.testing.harness import (
    Stored,
    StoreHarness,
    contents,
    fetched,
    for_each,
    keys_of,
)
from cottoncandy.testing.listing import ListingConformance
from cottoncandy.testing.reading import ReadingConformance
from cottoncandy.testing.writing import WritingConformance


class BucketConformance:
    """Buckets, and operations that only some stores have."""

    def test_bucket_made_used_removed(self, backend: Backend, harness: StoreHarness) -> None:
        name = harness.bucket + "-new"
        assert backend.has_bucket(name) is False
        backend.create_bucket(name)
        assert backend.has_bucket(name) is True
        new = backend.with_bucket(name)
        new.put("folder/name", Body.of(b"x"), PutOptions({"a": "b"}))
        with pytest.raises(BucketNotEmptyError, match=name):
            backend.delete_bucket(name)
        assert harness.raw_get("folder/name", name) == (b"x", {"a": "b"})
        list(new.delete(["folder/name"]))
        backend.delete_bucket(name)
        assert backend.has_bucket(name) is False
        with pytest.raises(BucketNotFoundError, match=name):
            backend.delete_bucket(name)

    def test_current_bucket_is_listed(self, backend: Backend, harness: StoreHarness) -> None:
        assert backend.bucket_name == harness.bucket
        assert harness.bucket in [bucket.name for bucket in backend.list_buckets()]
        assert backend.has_bucket(harness.bucket) is True
        harness.raw_put("name", b"x")
        # S3 lets the owner make his bucket again in some regions, and changes nothing.
        with contextlib.suppress(BucketExistsError):
            backend.create_bucket(harness.bucket)
        assert harness.raw_get("name").body == b"x"
        with pytest.raises(InvalidNameError):
            backend.create_bucket("")

    def test_two_buckets(self, backend: Backend, harness: StoreHarness, other_bucket: str) -> None:
        other = backend.with_bucket(other_bucket)
        assert type(other) is type(backend)
        assert (backend.bucket_name, other.bucket_name) == (harness.bucket, other_bucket)
        other.put("name", Body.of(b"there"))
        assert harness.raw_keys() == []
        backend.put("name", Body.of(b"here"))
        backend.put("second", Body.of(b"here"))
        assert keys_of(other) == harness.raw_keys(bucket=other_bucket) == ["name"]
        assert fetched(other, "name").body == b"there"
        assert fetched(backend, "name").body == b"here"
        assert list(other.delete(["name"])) == [("name", None)]
        assert not other.exists("name")
        assert backend.exists("name")

    def test_owner(self, backend: Backend, harness: StoreHarness) -> None:
        harness.raw_put("name", b"x")
        try:
            owner = backend.owner("name")
        except UnsupportedOperationError as error:
            if backend.name not in str(error):
                raise
            return
        assert owner["ID"]
        with pytest.raises(ObjectNotFoundError):
            backend.owner("missing")

    def test_native_objects_or_words(self, backend: Backend, harness: StoreHarness) -> None:
        harness.raw_put("name", b"x")
        calls: list[Callable[[], object]] = [
            lambda: backend.native_object("name"),
            backend.native_bucket,
        ]
        for call in calls:
            try:
                assert call() is not None
            except UnsupportedOperationError as error:
                if "use" not in str(error):
                    raise


class Step(NamedTuple):
    """One operation of a random history; a verb takes some of the arguments."""

    verb: str
    key: str
    dest: str
    body: bytes
    metadata: dict[str, str] | None
    overwrite: bool


def history(seed: int) -> list[Step]:
    """Return random operations, the same ones each time."""
    source = random.Random(seed)
    keys = ["a", "a-b", "a.b", "a/b", "a/b/c", "a/bc", "b", "b/ü", "b/d/e/f"]
    return [
        Step(
            source.choice(["put", "put", "get", "delete", "copy", "move"]),
            source.choice(keys),
            source.choice(keys),
            source.randbytes(source.randrange(40)),
            source.choice([None, {}, {"dtype": "a"}, {"dtype": "b,1", "shape": "1"}]),
            source.choice([True, False]),
        )
        for _ in range(25)
    ]


def apply(step: Step, backend: Backend, model: dict[str, Stored]) -> None:
    """Apply a step to the store and to a dictionary, which must agree."""
    verb, key, dest, body, metadata, overwrite = step
    missing = key not in model and verb in ("get", "copy", "move")
    target = key if verb == "put" else dest
    blocked = not backend.capabilities.object_and_prefix and any(
        other.startswith(target + "/") or target.startswith(other + "/") for other in model
    )
    refused = verb in ("put", "copy", "move") and (blocked or (target in model and not overwrite))
    with contextlib.ExitStack() as stack:
        if missing or refused:
            expected = ObjectNotFoundError if missing else ObjectExistsError
            stack.enter_context(pytest.raises(expected))
        if verb == "put":
            condition = None if overwrite else IfAbsent()
            backend.put(key, Body.of(body), PutOptions(metadata, condition=condition))
            model[key] = Stored(body, metadata or {})
        elif verb == "get":
            assert fetched(backend, key) == model[key]
        elif verb == "delete":
            assert sorted(backend.delete([key, dest])) == sorted([(key, None), (dest, None)])
            model.pop(key, None)
            model.pop(dest, None)
        else:
            getattr(backend, verb)(key, dest, overwrite=overwrite or missing)
            model[dest] = model[key] if verb == "copy" else model.pop(key)


class HistoryConformance:
    """The store, compared with a dictionary."""

    #: Number of random histories.
    histories = 30

    def test_behaves_like_a_dictionary(self, backend: Backend, harness: StoreHarness) -> None:
        def check(steps: list[Step]) -> None:
            model: dict[str, Stored] = {}
            for step in steps:
                apply(step, backend, model)
                assert keys_of(backend) == sorted(model, key=str.encode)
            assert contents(backend, harness) == model
            list(backend.delete(model))

        for_each(map(history, range(self.histories)), check)


class BackendConformance(
    ReadingConformance,
    WritingConformance,
    ListingConformance,
    CopyConformance,
    BucketConformance,
    HistoryConformance,
):
    """The tests of a backend: subclass it, define :meth:`make_harness`, and override no test.

    Whatever a store cannot do is declared by its ``capabilities``, which alone decide what is
    required of it. ``examples``, ``histories`` and ``crowd`` reduce the work on slow stores.
    """

    def make_harness(self, request: pytest.FixtureRequest) -> StoreHarness:
        """Return access to the store; ``request`` gives other fixtures, such as ``tmp_path``."""
        raise NotImplementedError(f"{type(self).__name__} must define make_harness(self, request)")

    def wrap(self, backend: Backend) -> Backend:
        """Return the backend to be tested; override it to test a wrapper around another one."""
        return backend

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest) -> Iterator[StoreHarness]:
        """Access to the store without the backend."""
        harness = self.make_harness(request)
        yield harness
        harness.close()

    @pytest.fixture
    def backend(self, harness: StoreHarness) -> Iterator[Backend]:
        """The backend to be tested."""
        backend = self.wrap(harness.backend())
        yield backend
        backend.close()

    @pytest.fixture
    def other_bucket(self, harness: StoreHarness) -> str:
        """A second empty bucket."""
        return harness.fresh_bucket()
