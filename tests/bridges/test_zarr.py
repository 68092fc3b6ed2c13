"""The zarr store, judged by zarr's own tests, on every store, plain and encrypted."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cottoncandy.exceptions import (
    AccessDeniedError,
    DecryptionError,
    EncryptionError,
    InvalidNameError,
)

zarr = pytest.importorskip("zarr", minversion="3.1")

from hypothesis import settings  # noqa: E402
from hypothesis.stateful import run_state_machine_as_test  # noqa: E402
from zarr.abc.store import (  # noqa: E402
    OffsetByteRequest,
    RangeByteRequest,
    SuffixByteRequest,
)
from zarr.core.buffer import cpu, default_buffer_prototype  # noqa: E402
from zarr.storage import LocalStore  # noqa: E402
from zarr.testing.stateful import (  # noqa: E402
    ZarrHierarchyStateMachine,
    ZarrStoreStateMachine,
)
from zarr.testing.store import StoreTests  # noqa: E402

from cottoncandy.bridges import zarr as bridge  # noqa: E402
from cottoncandy.bridges.zarr import CottonCandyStore  # noqa: E402
from tests.bridges.conftest import EVERY_STORE  # noqa: E402

PREFIX = "below/this"


@pytest.mark.parametrize(
    ("place", "encryption"),
    [*EVERY_STORE, pytest.param("ceph", "RSA", marks=pytest.mark.slow)],
    indirect=["encryption"],
)
class TestConformance(StoreTests[CottonCandyStore, cpu.Buffer]):
    store_cls = CottonCandyStore
    buffer_cls = cpu.Buffer

    @pytest.fixture
    def store_kwargs(self, suite_cci: Any, prefix: str) -> dict[str, Any]:
        return {"cci": suite_cci, "prefix": prefix}

    async def get(self, store: CottonCandyStore, key: str) -> cpu.Buffer:
        return self.buffer_cls.from_bytes(store.cci.download_object(f"{store.prefix}/{key}"))

    async def set(self, store: CottonCandyStore, key: str, value: cpu.Buffer) -> None:
        store.cci.upload_object(f"{store.prefix}/{key}", value.to_bytes())

    def test_store_repr(self, store: CottonCandyStore) -> None:
        assert repr(store).startswith(f"<CottonCandyStore '{store.prefix}' in ")
        assert str(store).startswith("cottoncandy://")

    def test_store_supports_writes(self, store: CottonCandyStore) -> None:
        assert store.supports_writes

    def test_store_supports_listing(self, store: CottonCandyStore) -> None:
        assert store.supports_listing


def test_the_whole_suite_runs(page_and_count: tuple[str, int]) -> None:
    page, count = page_and_count
    version = zarr.__version__.rpartition(".")[0]
    assert f"zarr {version} has {count}" in page or version not in ("3.1", "3.4")


@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_sharded_arrays_read_parts_of_shards(cci: Any) -> None:
    expected = np.arange(64 * 64, dtype="<i4").reshape(64, 64)
    array = zarr.create_array(
        CottonCandyStore(cci, "a"), shape=(64, 64), shards=(32, 32), chunks=(8, 8), dtype="<i4"
    )
    array[:] = expected
    array[8:16, 8:16] = 0
    expected[8:16, 8:16] = 0
    reopened = zarr.open_array(cci.zarr_store("a"), mode="r")
    np.testing.assert_array_equal(reopened[:], expected)
    np.testing.assert_array_equal(reopened[3:20, 30:40], expected[3:20, 30:40])


def test_zarrs_own_store_reads_the_objects_and_the_reverse(tmp_path: Any) -> None:
    import cottoncandy as cc

    (tmp_path / "bucket").mkdir()
    cci = cc.get_interface(str(tmp_path / "bucket"), backend="local", verbose=False)
    values = np.random.default_rng(0).standard_normal((10, 7))
    zarr.save_array(CottonCandyStore(cci, "ours"), values)
    theirs = zarr.open_array(LocalStore(tmp_path / "bucket" / "ours"), mode="r")
    np.testing.assert_array_equal(theirs[:], values)
    zarr.save_array(LocalStore(tmp_path / "bucket" / "theirs"), values)
    np.testing.assert_array_equal(zarr.open_array(cci.zarr_store("theirs"), mode="r")[:], values)


@pytest.mark.parametrize("place", ["local"], indirect=True)
def test_a_denied_chunk_raises_and_is_not_missing(
    cci: Any, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CottonCandyStore(cci)
    array = zarr.create_array(store, shape=(4,), chunks=(2,), dtype="u1", fill_value=9)
    array[:] = 1

    def denied(*arguments: Any, **options: Any) -> None:
        raise AccessDeniedError("denied")

    monkeypatch.setattr(type(cci._store.backend), "get", denied)
    with pytest.raises(AccessDeniedError):
        array[:]


@pytest.mark.parametrize("encryption", ["AES"], indirect=True)
def test_a_damaged_chunk_raises(cci: Any, place: Any) -> None:
    array = zarr.create_array(CottonCandyStore(cci), shape=(4,), chunks=(4,), dtype="u1")
    array[:] = 1
    stored = place.raw_get("c/0")
    place.raw_put("c/0", stored.body[:-1] + b"\0", stored.metadata)
    with pytest.raises(DecryptionError):
        array[:]


@pytest.mark.parametrize("encryption", ["AES"], indirect=True)
def test_damage_and_wrong_keys_are_never_missing(cci: Any, place: Any) -> None:
    """Neither through zarr, where it would give fill values, nor through fsspec."""
    import cottoncandy as cc

    zarr.create_array(cci.zarr_store("a"), shape=(4,), shards=(4,), chunks=(2,), dtype="u1")[:] = 1
    stored = place.raw_get("a/c/0")
    other = cc.get_encrypted_interface(
        place.bucket, encryptionKey=bytes(range(32)), backend="memory", verbose=False
    )
    plain = cc.get_interface(place.bucket, backend="memory", verbose=False)
    array = zarr.open_array(cci.zarr_store("a"), mode="r")
    for reader in (other, plain):
        with pytest.raises(EncryptionError):
            zarr.open_array(reader.zarr_store("a"), mode="r")
        with pytest.raises(EncryptionError):
            reader.filesystem().cat("a/c/0")
    middle = len(stored.body) // 2
    flipped = bytes([stored.body[middle] ^ 1])
    for body in (stored.body[:-9], b"", stored.body[:middle] + flipped + stored.body[middle + 1 :]):
        place.raw_put("a/c/0", body, stored.metadata)
        for read in (lambda: array[:1], lambda: cci.filesystem().cat("a/c/0")):
            with pytest.raises(DecryptionError):
                read()


def test_stores_compare_and_pickle_by_settings(cci: Any) -> None:
    store = CottonCandyStore(cci, "a")
    assert pickle.loads(pickle.dumps(store)) == store == cci.zarr_store("/a/")
    assert store != CottonCandyStore(cci, "b")
    assert store != CottonCandyStore(cci, "a", read_only=True)
    with pytest.raises(TypeError):
        hash(store)


def test_a_store_stays_in_its_bucket(cci: Any, place: Any) -> None:
    store = CottonCandyStore(cci)
    cci.set_bucket(place.fresh_bucket())
    zarr.save_array(store, np.arange(3))
    assert cci.glob("*") == []


def test_listings_are_below_the_prefix_only(cci: Any) -> None:
    cci.upload_object("ab/x", b"1")
    cci.upload_object("a/x/0", b"22")
    cci.upload_object("a/xx/0", b"333")
    store = CottonCandyStore(cci, "a")

    async def collect() -> list[Any]:
        sizes = [await store.getsize_prefix(prefix) for prefix in ("", "x", "x/")]
        return [key async for key in store.list()] + sizes

    assert zarr.core.sync.sync(collect()) == ["x/0", "xx/0", 5, 2, 2]


def test_stores_of_read_only_interfaces_are_read_only(place: Any) -> None:
    cci = place.interface(read_only=True)
    assert cci.zarr_store().read_only
    assert not cci.zarr_store().supports_writes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_children_read_with_threads_of_their_own(cci: Any) -> None:
    cci.upload_object("a", b"1")
    store = CottonCandyStore(cci)
    assert asyncio.run(store.exists("a"))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(60)  # it dies if it hangs
            code = 0 if asyncio.run(store.exists("a")) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_cancelled_call_and_a_closed_loop_leave_the_threads_alone(cci: Any) -> None:
    store, release = CottonCandyStore(cci), threading.Event()

    async def cancel() -> None:
        calls = [asyncio.create_task(bridge._in_thread(release.wait)) for _ in range(40)]
        await asyncio.sleep(0)
        late = asyncio.create_task(bridge._in_thread(lambda: started.append(1)))
        await asyncio.sleep(0)
        for call in (calls[0], late):
            call.cancel()
        release.set()
        for call in (calls[0], late):
            with pytest.raises(asyncio.CancelledError):
                await call
        await bridge._in_thread(bool)

    started: list[int] = []
    asyncio.run(cancel())
    assert not started
    with pytest.raises(StopAsyncIteration):
        asyncio.run(bridge._in_thread(_raise_stop))
    assert not asyncio.run(store.exists("a"))


def _raise_stop() -> None:
    raise StopAsyncIteration


def test_a_chunk_is_sent_without_a_copy(cci: Any, monkeypatch: Any) -> None:
    store, values, sent = CottonCandyStore(cci), np.arange(5, dtype="u1"), []
    monkeypatch.setattr(type(store._backend), "put", lambda *arguments: sent.append(arguments[2]))
    store.set_sync("a", cpu.Buffer.from_array_like(values))
    assert np.shares_memory(np.frombuffer(sent[0].read(), "u1"), values)


def test_the_memory_backend_keeps_a_copy_of_a_chunk(cci: Any) -> None:
    store, values = CottonCandyStore(cci), np.arange(5, dtype="u1")
    store.set_sync("a", cpu.Buffer.from_array_like(values))
    values[:] = 0
    assert cci.download_object("a") == bytes(range(5))


@pytest.mark.parametrize("place", ["moto"], indirect=True)
def test_chunks_have_the_acl_of_the_interface(cci: Any) -> None:
    cci.upload_object("uploaded", b"1")
    CottonCandyStore(cci).set_sync("chunk", cpu.Buffer.from_bytes(b"1"))
    one, two = (cci.get_object(name).Acl().grants for name in ("chunk", "uploaded"))
    assert one == two
    assert "AuthenticatedUsers" in str(one)


def test_ranges_beyond_the_end_are_cut(cci: Any) -> None:
    cci.upload_object("a", b"0123")
    store = CottonCandyStore(cci)
    found = store.get_sync("a", byte_range=RangeByteRequest(2, 100))
    assert found is not None
    assert found.to_bytes() == b"23"
    many = store.get_partial_values(
        default_buffer_prototype(), [("a", RangeByteRequest(0, 1)), ("b", None), ("a", None)]
    )
    values = zarr.core.sync.sync(many)
    assert [None if value is None else value.to_bytes() for value in values] == [
        b"0",
        None,
        b"0123",
    ]


@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_reading_a_part_takes_one_request(fault_proxy: Any, factory: Any) -> None:
    server = fault_proxy.server
    bucket = server.borrow_bucket()
    cci = factory(bucket, verbose=False, **server.interface_arguments())
    body = np.random.default_rng(0).bytes(2**20)
    cci.upload_object("a", body)
    store = cci.zarr_store()

    def requests(*ranges: Any) -> tuple[list[bytes | None], int]:
        fault_proxy.forget()
        found = store.get_partial_values(default_buffer_prototype(), [("a", r) for r in ranges])
        values = zarr.core.sync.sync(found)
        return [None if each is None else each.to_bytes() for each in values], len(
            fault_proxy.requests
        )

    most = 2 if hasattr(cci, "encryption") else 1
    for wanted, expected in (
        (RangeByteRequest(0, 100), body[:100]),
        (RangeByteRequest(700_000, 700_100), body[700_000:700_100]),
        (OffsetByteRequest(900_000), body[900_000:]),
        (OffsetByteRequest(2), body[2:]),
        (SuffixByteRequest(1000), body[-1000:]),
        (None, body),
    ):
        found, count = requests(wanted)
        assert found == [expected], wanted
        assert count <= most, wanted
    fault_proxy.forget()
    assert cci.filesystem().cat_file("a", 700_000, 700_100) == body[700_000:700_100]
    assert len(fault_proxy.requests) <= most
    assert requests(RangeByteRequest(5, 9), RangeByteRequest(600_000, 600_003))[0] == [
        body[5:9],
        body[600_000:600_003],
    ]
    cci.upload_object("a", b"")
    assert requests(OffsetByteRequest(5), RangeByteRequest(1, 9), None)[0] == [b"", b"", b""]
    server.return_bucket(bucket)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # zarr's, about the dtypes that it draws
@pytest.mark.parametrize("machine", [ZarrStoreStateMachine, ZarrHierarchyStateMachine])
@pytest.mark.parametrize(("place", "encryption"), EVERY_STORE, indirect=True)
def test_state_machines_of_zarr_find_nothing(cci: Any, machine: Any) -> None:
    run_state_machine_as_test(
        lambda: machine(cci.zarr_store(PREFIX)),
        settings=settings(max_examples=4, stateful_step_count=20, deadline=None),
    )


def test_files_behind_links_are_not_deleted(tmp_path: Path) -> None:
    import cottoncandy as cc

    (tmp_path / "bucket" / "d").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_bytes(b"kept")
    cci = cc.get_interface(str(tmp_path / "bucket"), backend="local", verbose=False)
    store, fs = cci.zarr_store("d"), cci.filesystem()
    for remove in (lambda: asyncio.run(store.delete_dir("")), lambda: fs.rm("d", recursive=True)):
        cci.upload_object("d/x", b"x")
        (tmp_path / "bucket" / "d" / "link").symlink_to(tmp_path / "elsewhere")
        remove()
        assert cci.glob("*") == []
        assert (tmp_path / "elsewhere" / "kept").read_bytes() == b"kept"


@pytest.mark.slow
def test_the_example_draws_slices_of_an_encrypted_volume(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, str(root / "examples" / "slices.py"), str(tmp_path / "slices.png")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(root), "MPLCONFIGDIR": str(tmp_path)},
    )
    assert int(result.stdout.split(": ")[1].split("%")[0]) < 30
    assert (tmp_path / "slices.png").read_bytes().startswith(b"\x89PNG")


def test_no_key_is_the_empty_name(cci: Any) -> None:
    for prefix in ("", "below"):
        cci.upload_object("below", b"next to the store")
        store = CottonCandyStore(cci, prefix)
        assert not asyncio.run(store.exists(""))
        value = default_buffer_prototype().buffer.from_bytes(b"x")
        for call in (store.set("", value), store.delete("/"), store.getsize("")):
            with pytest.raises(InvalidNameError):
                asyncio.run(call)
        assert cci.download_object("below") == b"next to the store"
