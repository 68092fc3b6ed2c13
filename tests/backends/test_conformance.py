"""All backends, and the wrappers around them, keep one contract."""

from __future__ import annotations

import pickle

import pytest

from cottoncandy._body import Body
from cottoncandy.backends.base import Backend
from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.exceptions import ObjectNotFoundError, StoreError
from tests.backends.conformance import BackendConformance
from tests.backends.wrappers import CountingBackend, FailingBackend
from tests.rigs import MemoryRig


class TestMemory(BackendConformance):
    rig_name = "memory"


class TestLocal(BackendConformance):
    rig_name = "local"


class TestMoto(BackendConformance):
    rig_name = "moto"
    examples = 20
    histories = 2


class TestCeph(BackendConformance):
    rig_name = "ceph"
    examples = 40
    histories = 3
    crowd = 1005


class TestCounting(BackendConformance):
    rig_name = "memory"
    examples = 10
    histories = 3

    def wrap(self, backend: Backend) -> Backend:
        return CountingBackend(backend)


class TestFailing(BackendConformance):
    """One that is not told to fail."""

    rig_name = "local"
    examples = 10
    histories = 3

    def wrap(self, backend: Backend) -> Backend:
        return FailingBackend(backend)


def test_nobody_overrides_an_inherited_test() -> None:
    pending = [BackendConformance]
    names: list[str] = []
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if cls is not BackendConformance:
            inherited = {name for name in dir(BackendConformance) if not name.startswith("__")}
            replaced = inherited & {*vars(cls)}
            assert replaced <= {"crowd", "examples", "histories", "rig_name", "wrap"}, cls
            names.append(cls.__name__)
    assert len(names) >= 6


def test_no_two_parts_of_the_class_share_a_test() -> None:
    seen: set[str] = set()
    for part in BackendConformance.__bases__:
        tests = {name for name in vars(part) if name.startswith("test_")}
        assert tests
        assert not tests & seen
        seen |= tests


class TestWrappers:
    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryRig().backend()  # type: ignore[return-value]

    def test_counts(self, backend: Backend) -> None:
        counting = CountingBackend(backend)
        counting.put("name", Body.of(iter([b"12", b"345"])))
        with counting.get("name") as reader:
            reader.read()
            reader.read_into(memoryview(bytearray(2)), 1)
        assert counting.verbs == {"put": 1, "get": 1, "read": 2}
        assert counting.calls[0] == ("put", "name")
        assert (counting.bytes_sent, counting.bytes_received) == (5, 7)
        with counting.expect(scan=1):
            list(counting.scan())
        with pytest.raises(AssertionError), counting.expect(scan=1):
            counting.exists("name")
        assert pickle.loads(pickle.dumps(counting)).verbs == {"exists": 1}

    def test_fails_at_the_nth_call(self, backend: Backend) -> None:
        failing = FailingBackend(backend, {"put": 2})
        failing.put("one", Body.of(b"1"))
        with pytest.raises(StoreError, match="put number 2"):
            failing.put("two", Body.of(b"2"))
        failing.put("three", Body.of(b"3"))
        assert [entry.key for entry in failing.scan()] == ["one", "three"]

    def test_fails_in_the_middle_of_a_body(self, backend: Backend) -> None:
        failing = FailingBackend(backend, {"sent": 2}, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            failing.put("name", Body.of(iter([b"1", b"2", b"3"])))
        with pytest.raises(ObjectNotFoundError):
            failing.get("name")
