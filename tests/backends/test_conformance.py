"""All backends, and the wrappers around them, keep one contract."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cottoncandy import testing
from cottoncandy.backends.base import Backend, ObjectInfo, ObjectReader, PutResult
from cottoncandy.backends.http.backend import HTTPBackend
from cottoncandy.backends.http.client import HTTPOptions
from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import BucketNotFoundError
from cottoncandy.formats.encryption.keys import AESKeys, KeyScheme
from cottoncandy.formats.encryption.segments import encrypt_body
from cottoncandy.stores.encrypted import EncryptedBackend, open_encrypted
from cottoncandy.stores.wrapping import WrappedBackend
from tests.backends.conformance import BackendConformance
from tests.backends.wrappers import FAULTS, CountingBackend, FaultyBackend, Killed
from tests.cases import each
from tests.harness import MemoryHarness, Stored, StoreHarness
from tests.servers.web import serving


class TestMemory(BackendConformance):
    store_name = "memory"
    examples = 10
    histories = 3


@pytest.mark.server  # without servers, in memory only
class TestLocal(BackendConformance):
    store_name = "local"
    examples = 10
    histories = 3


@pytest.mark.slow  # nearly the local backend
class TestFiles(BackendConformance):
    store_name = "files"
    examples = 10
    histories = 3


class TestMoto(BackendConformance):
    store_name = "moto"
    examples = 10
    histories = 1


class TestCeph(BackendConformance):
    store_name = "ceph"
    examples = 15
    histories = 2


@pytest.mark.slow
@pytest.mark.parametrize("store", ["ceph"], indirect=True)
def test_listing_more_than_a_page_whose_size_the_server_chooses(store: StoreHarness) -> None:
    conformance = BackendConformance()
    conformance.crowd = 1005
    conformance.test_listing_more_than_a_page(store.backend(), store)


@pytest.mark.slow
class TestTestWrappers(BackendConformance):
    """The backends of the tests that count calls, and fail when they are told to."""

    store_name = "memory"
    examples = 10
    histories = 3

    def wrap(self, backend: Backend) -> Backend:
        return CountingBackend(FaultyBackend(backend))


class TestGCS(BackendConformance):
    store_name = "gcs"
    examples = 10
    histories = 1


class ServedBackend(WrappedBackend):
    """Writes a local directory, and reads it through a web server."""

    def __init__(self, inner: Backend, root: str, url: str) -> None:
        super().__init__(inner)
        self.root, self.url = root, url
        self.server = HTTPBackend(HTTPOptions(), url)

    @property
    def web(self) -> HTTPBackend:
        """The web server's directory that is the bucket."""
        path = self.inner.bucket
        if not self.inner.has_bucket(path):  # a web server tells no missing bucket from others
            raise BucketNotFoundError(f"there is no directory {path}")
        return self.server.with_bucket(self.url + path.removeprefix(self.root))

    def get(self, key: str, **options: Any) -> ObjectReader:
        return self.web.get(key, **options)

    def head(self, key: str) -> ObjectInfo:
        return self.web.head(key)

    def exists(self, key: str) -> bool:
        return self.web.exists(key)

    def scan(self, prefix: str = "", **options: Any) -> Any:
        return self.web.scan(prefix, **options)

    def put(self, *arguments: Any, **options: Any) -> PutResult:
        return PutResult(f'"{self.inner.put(*arguments, **options).etag}"')

    def copy(self, source: str, dest: str, **options: Any) -> PutResult:
        return PutResult(f'"{self.inner.copy(source, dest, **options).etag}"')

    def move(self, source: str, dest: str, **options: Any) -> PutResult:
        return PutResult(f'"{self.inner.move(source, dest, **options).etag}"')


class TestHTTP(BackendConformance):
    """A web server over a local directory: what is read, listed and found is what was stored."""

    store_name = "local"
    examples = 10
    histories = 2

    @pytest.fixture(autouse=True)
    def server(self, tmp_path: Path) -> Iterator[None]:
        root = tmp_path / "stores"
        with serving(root) as server:
            self.root, self.url = str(root), server.url
            yield

    def wrap(self, backend: Backend) -> Backend:
        return ServedBackend(backend, self.root, self.url)


class EncryptedHarness(StoreHarness):
    """A harness whose raw methods encrypt and decrypt, with the format's functions alone."""

    name = "encrypted"

    def __init__(self, inner: StoreHarness, keys: KeyScheme) -> None:
        self.inner, self.keys = inner, keys
        self.bucket, self.backend_name = inner.bucket, inner.backend_name  # type: ignore[misc]  # as wrapped

    def backend(self, bucket: str | None = None, **extra: Any) -> Backend:
        return self.inner.backend(bucket, **extra)

    def fresh_bucket(self) -> str:
        return self.inner.fresh_bucket()

    def raw_put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] | None = None,
        bucket: str | None = None,
    ) -> None:
        lower = {name.lower(): value for name, value in (metadata or {}).items()}
        sealed, stored = encrypt_body(Body.of(body), lower, self.keys)
        self.inner.raw_put(key, bytes(sealed.read()), stored, bucket)

    def raw_get(self, key: str, bucket: str | None = None) -> Stored:
        with self.inner.backend(bucket).get(key) as reader:
            opened = open_encrypted(reader, self.keys)
            return Stored(bytes(opened.read()), dict(opened.metadata))

    def raw_keys(self, prefix: str = "", bucket: str | None = None) -> list[str]:
        return self.inner.raw_keys(prefix, bucket)

    def raw_delete(self, key: str, bucket: str | None = None) -> None:
        self.inner.raw_delete(key, bucket)

    def close(self) -> None:
        self.inner.close()


@pytest.mark.server  # nearly the store beneath: only with the default tests
class EncryptedConformance(BackendConformance):
    examples = 10
    histories = 3
    keys: KeyScheme = AESKeys(bytes(range(32)))

    def make_harness(self, request: pytest.FixtureRequest) -> Any:
        return EncryptedHarness(super().make_harness(request), self.keys)

    def wrap(self, backend: Backend) -> Backend:
        return EncryptedBackend(backend, self.keys)


class TestEncryptedMemory(EncryptedConformance):
    store_name = "memory"


def test_subclasses_override_no_test() -> None:
    pending: list[type] = [testing.BackendConformance]
    names: list[str] = []
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if cls is not testing.BackendConformance:
            inherited = {
                name for name in dir(testing.BackendConformance) if not name.startswith("__")
            }
            replaced = inherited & {*vars(cls)}
            hooks = {"crowd", "examples", "histories", "keys", "make_harness", "store_name", "wrap"}
            assert replaced <= hooks, cls
            names.append(cls.__name__)
    assert len(names) >= 5


def test_no_two_parts_of_the_class_share_a_test() -> None:
    seen: set[str] = set()
    for part in testing.BackendConformance.__bases__:
        tests = {name for name in vars(part) if name.startswith("test_")}
        assert tests
        assert not tests & seen
        seen |= tests


class TestWrappers:
    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryHarness().backend()  # type: ignore[return-value]

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

    @each("kind", FAULTS)
    def test_upload_that_breaks_is_old_or_new(self, backend: Backend, kind: str) -> None:
        faulty = FaultyBackend(backend)
        faulty.put("name", Body.of(b"old"))
        faulty.fail(kind, 2)
        assert faulty.exists("name")
        when, error = FAULTS[kind]
        expected = pytest.raises(error) if when != "slow" else contextlib.nullcontext()
        with expected:  # type: ignore[attr-defined]
            faulty.put("name", Body.of(iter([b"1", b"2"])))
        assert faulty.fired == (when != "slow")
        with backend.get("name") as reader:
            assert reader.read() == (b"12" if when in ("after", "slow") else b"old")

    @pytest.mark.parametrize("kind", ["reset", "lost"])
    def test_reading_and_listing_break(self, backend: Backend, kind: str) -> None:
        faulty = FaultyBackend(backend)
        for key in ("a", "b"):
            faulty.put(key, Body.of(b"body"))
        for verb in (faulty.scan, lambda: faulty.delete(["a", "b"])):
            faulty.fail(kind)
            found = []
            with pytest.raises(FAULTS[kind][1]):
                found.extend(verb())
            faulty.fail(None)
        assert [entry.key for entry in faulty.scan()] == ([] if kind == "lost" else ["b"])
        faulty.put("a", Body.of(b"body"))
        faulty.fail(kind, 2)
        with faulty.get("a") as reader, pytest.raises(FAULTS[kind][1]):
            reader.read()

    def test_killed_backend_does_nothing_more(self, backend: Backend) -> None:
        faulty = FaultyBackend(backend)
        faulty.fail("killed before")
        for _ in range(2):
            with pytest.raises(Killed):
                faulty.put("name", Body.of(b"1"))
        assert pickle.loads(pickle.dumps(faulty)).fired
        assert not backend.exists("name")
