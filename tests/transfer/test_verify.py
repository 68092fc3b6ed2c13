"""verify finds every planted fault, names it, and finds nothing in what is whole."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import cottoncandy as cc
from cottoncandy.exceptions import (
    BucketNotFoundError,
    InvalidArgumentError,
    ObjectNotFoundError,
)
from cottoncandy.formats.codecs.whole import Lz4Codec
from cottoncandy.transfer.verify import verify_store
from tests.cases import each
from tests.harness import StoreHarness

Plant = Callable[[Any, StoreHarness], str]


@pytest.fixture
def cci(store: StoreHarness, factory: Any) -> Any:
    """An interface on a bucket with one value of each kind."""
    made = factory(store.bucket, verbose=False, backend=store.backend_name, **store.connection())
    fill(made)
    return made


def fill(cci: Any, prefix: str = "v") -> None:
    array = np.random.default_rng(0).standard_normal((30, 20))
    cci.upload_raw_array(f"{prefix}/plain", array, compression=False)
    cci.upload_raw_array(f"{prefix}/gzip", array)
    cci.upload_raw_array(f"{prefix}/zstd", array, compression="Zstd")
    cci.upload_dask_array(f"{prefix}/chunked", array, axis=0, buffersize=1600)
    cci.upload_dask_array(f"{prefix}/replaced", array, axis=0, buffersize=1600)
    cci.upload_dask_array(f"{prefix}/replaced", array * 2, axis=0, buffersize=1600)
    cci.upload_sparse_array(f"{prefix}/sparse", scipy.sparse.random(50, 50, 0.1, "csr"))
    cci.upload_json(f"{prefix}/json", {"a": 1})
    cci.upload_object(f"{prefix}/bytes", b"x" * 1000)


def flip(name: str) -> Plant:
    def plant(cci: Any, store: StoreHarness) -> str:
        stored = store.raw_get(name)
        middle = len(stored.body) // 2
        body = stored.body[:middle] + bytes([stored.body[middle] ^ 1]) + stored.body[middle + 1 :]
        store.raw_put(name, body, stored.metadata)
        return name

    return plant


def cut(name: str) -> Plant:
    def plant(cci: Any, store: StoreHarness) -> str:
        stored = store.raw_get(name)
        store.raw_put(name, stored.body[:-7], stored.metadata)
        return name

    return plant


def remove(name: str) -> Plant:
    def plant(cci: Any, store: StoreHarness) -> str:
        store.raw_delete(name)
        return name.rpartition("/")[0]

    return plant


def exchange(cci: Any, store: StoreHarness) -> str:
    one, two = "v/chunked/pt0000", "v/chunked/pt0001"
    first, second = store.raw_get(one), store.raw_get(two)
    store.raw_put(one, *second)
    store.raw_put(two, *first)
    return "v/chunked"


def leave_part(cci: Any, store: StoreHarness) -> str:
    stored = store.raw_get("v/chunked/pt0000")
    name = "v/chunked/cc-0123456789abcdef0123456789abcdef/pt0000"
    metadata = {**stored.metadata, "cc-upload-id": "cc-0123456789abcdef0123456789abcdef"}
    store.raw_put(name, stored.body, metadata)
    return name


def both_kinds(cci: Any, store: StoreHarness) -> str:
    stored = store.raw_get("v/plain")
    store.raw_put("v/chunked", *stored)
    return "v/chunked"


def break_manifest(cci: Any, store: StoreHarness) -> str:
    stored = store.raw_get("v/chunked/metadata.json")
    content = json.loads(stored.body)
    content["chunks"] = [[1]]
    store.raw_put("v/chunked/metadata.json", json.dumps(content).encode(), stored.metadata)
    return "v/chunked/metadata.json"


FAULTS: list[tuple[str, Plant]] = [
    *(("damaged", flip(f"v/{name}")) for name in ("plain", "gzip", "zstd", "chunked/pt0001")),
    ("wrong size", cut("v/plain")),
    *(("damaged", cut(f"v/{name}")) for name in ("gzip", "zstd")),
    ("missing part", remove("v/chunked/pt0002")),
    ("missing part", remove("v/sparse/indices")),
    ("exchanged parts", exchange),
    ("leftover part", leave_part),
    ("raw and chunked array", both_kinds),
    ("unreadable manifest", break_manifest),
]


@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_whole_values_have_no_faults(cci: Any) -> None:
    report = verify_store(cci._store)
    assert report.faults == []
    assert report.ok
    assert report.objects == len(cci.get_objects())


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_each_kind_of_fault_is_named(cci: Any, store: StoreHarness, number: int) -> None:
    kind, plant = FAULTS[number]
    name = plant(cci, store)
    found = verify_store(cci._store, "v").faults
    assert (kind, name) in {(fault.kind, fault.name) for fault in found}


@pytest.mark.parametrize("encryption", ["AES"], indirect=True)
@pytest.mark.parametrize("name", ["v/plain", "v/json", "v/chunked/pt0001", "v/bytes"])
def test_damaged_ciphertext_is_found(cci: Any, store: StoreHarness, name: str) -> None:
    flip(name)(cci, store)
    faults = verify_store(cci._store).faults
    assert [(fault.kind, fault.name) for fault in faults] == [("damaged", name)]


def test_two_hundred_planted_faults_are_all_found_and_named(
    factory: Any, store: StoreHarness
) -> None:
    cci = factory(store.bucket, verbose=False, backend="memory")
    codecs = (False, "gzip", "Zlib", "BZ2", "LZMA", "LZ4")
    rng = random.Random(0)
    planted: set[tuple[str, str]] = set()
    for number in range(300):
        name = f"a/{number:03}"
        array = np.random.default_rng(number).standard_normal(rng.randrange(1, 400))
        cci.upload_raw_array(name, array, compression=codecs[number % len(codecs)])
        if len(planted) == 200 or not number % 4:
            continue
        stored = store.raw_get(name)
        if number % 10 == 1:
            store.raw_put(name, stored.body[: -rng.randrange(1, 20)], stored.metadata)
            planted.add(("wrong size" if number % len(codecs) == 0 else "damaged", name))
            continue
        body = bytearray(stored.body)
        body[rng.randrange(len(body))] ^= rng.randrange(1, 256)
        store.raw_put(name, bytes(body), stored.metadata)
        planted.add(("damaged", name))
    assert len(planted) == 200
    found = {(fault.kind, fault.name) for fault in verify_store(cci._store).faults}
    assert found == planted


@each("compression", [False, "gzip"])  # the other codecs share the loop of gzip
@pytest.mark.slow
def test_memory_does_not_grow_with_the_array(cci: Any, compression: str | bool) -> None:
    array = np.random.default_rng(0).integers(0, 9, 2**23)  # 64 MiB
    cci.upload_raw_array("large", array, compression=compression)
    verify_store(cci._store, "large")
    tracemalloc.start()
    try:
        assert verify_store(cci._store, "large").ok
        assert tracemalloc.get_traced_memory()[1] < 28 * 2**20
    finally:
        tracemalloc.stop()


def test_an_array_that_memory_cannot_hold_does_not_end_the_run(monkeypatch: Any) -> None:
    cci = cc.get_interface("verify", backend="memory", verbose=False)
    cci.upload_raw_array("large", np.arange(1000), compression="LZ4")

    def decode(self: Any, chunks: Any, size: int) -> Any:
        raise MemoryError
        yield

    monkeypatch.setattr(Lz4Codec, "decode", decode)
    (fault,) = verify_store(cci._store, "large").faults
    assert (fault.kind, fault.name) == ("unreadable", "large")
    assert "memory" in fault.text


@pytest.mark.parametrize("store", ["local"], indirect=True)
def test_sidecars_without_bodies_are_found(cci: Any, store: Any) -> None:
    (Path(store.bucket) / "v" / "lost.meta.json").write_text('{"a": "1"}')
    faults = verify_store(cci._store).faults
    assert [(fault.kind, fault.name) for fault in faults] == [("sidecar without body", "v/lost")]


def test_plain_files_are_checked_by_the_md5_of_the_store(
    cci: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = type(cci._store.backend)
    get = backend.get

    def altered(self: Any, key: str, **options: Any) -> Any:
        reader = get(self, key, **options)
        if key == "v/bytes":
            reader.info = reader.info._replace(etag="0" * 32)
        return reader

    monkeypatch.setattr(backend, "get", altered)
    faults = verify_store(cci._store).faults
    (fault,) = faults
    assert (fault.kind, fault.name) == ("damaged", "v/bytes")
    assert "another MD5" in fault.text


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_unfinished_uploads_are_found(cci: Any, store: Any) -> None:
    client = cci._store.backend._connection.client
    client.create_multipart_upload(Bucket=store.bucket, Key="v/large")
    faults = verify_store(cci._store).faults
    assert [(fault.kind, fault.name) for fault in faults] == [("unfinished upload", "v/large")]


def test_verify_stops_and_continues(cci: Any, store: StoreHarness) -> None:
    everything = verify_store(cci._store)
    names, position = [], ""
    while not (report := verify_store(cci._store, max_duration=0, after=position)).complete:
        assert report.objects == 1
        position = report.position
        names.append(position)
    assert names == store.raw_keys()
    some = verify_store(cci._store, subset=0.3)
    assert 0 < some.objects < everything.objects
    for subset in (0, 1.5, -1):
        with pytest.raises(InvalidArgumentError):
            verify_store(cci._store, subset=subset)


def test_interrupted_verify_says_how_it_continues(cci: Any, store: StoreHarness) -> None:
    flip("v/gzip")(cci, store)

    def interrupt(fault: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        verify_store(cci._store, found=interrupt)
    position = max(name for name in store.raw_keys() if name < "v/gzip")
    assert f"after={position!r} continues" in caught.value.__notes__


@pytest.mark.parametrize("encryption", ["AES"], indirect=True)
def test_encrypted_objects_are_not_called_damaged_without_their_key(
    cci: Any, store: StoreHarness
) -> None:
    report = cc.verify(f"memory://{store.bucket}")
    assert [(fault.kind, fault.name) for fault in report.faults] == [
        ("encrypted", name) for name in store.raw_keys()
    ]
    assert not report.ok
    (fault,) = cc.verify(f"memory://{store.bucket}/v/json", encryptionKey=b"0" * 32).faults
    assert fault.kind == "damaged"
    assert "another one" in fault.text


def test_verify_by_url_covers_one_name_only(store: StoreHarness, cci: Any) -> None:
    flip("v/plain")(cci, store)
    assert cc.verify(f"memory://{store.bucket}/v/gzip").ok
    with pytest.raises(ObjectNotFoundError):
        cc.verify(f"memory://{store.bucket}/v/pl")
    report = cc.verify(f"memory://{store.bucket}")
    assert "damaged: v/plain" in str(report)


def test_the_directory_of_an_array_is_verified_as_that_array(tmp_path: Path) -> None:
    fill(cc.get_interface(str(tmp_path / "bucket"), backend="local", verbose=False))
    (tmp_path / "other.meta.json").write_text("{}")
    directory = tmp_path / "bucket/v"
    for name in ("chunked", "replaced", "sparse", "sparse/"):
        assert cc.verify(f"{directory}/{name}").ok
    (directory / "chunked/pt0001").unlink()
    found = [(fault.kind, fault.name) for fault in cc.verify(f"file://{directory}/chunked/").faults]
    assert found == [("missing part", "chunked"), ("sidecar without body", "chunked/pt0001")]


def test_mistyped_locations_are_not_whole(tmp_path: Path) -> None:
    cci = cc.get_interface("mistyped", backend="memory", verbose=False)
    assert cc.verify("memory://mistyped").ok  # empty
    cci.upload_object("a/b", b"body")
    for url in ("memory://mistyped/c", "memory://mistyped/a/c"):
        with pytest.raises(ObjectNotFoundError, match="nothing was verified"):
            cc.verify(url)
    with pytest.raises(ObjectNotFoundError, match="nothing was verified"):
        cc.verify(f"file://{tmp_path}/missing")
    with pytest.raises(BucketNotFoundError):
        cc.verify("memory://mistyped-bucket")
    assert cc.verify("memory://mistyped/a", subset=1e-9).ok
    report = cc.verify("memory://mistyped/a", after="a/b")
    assert (report.ok, report.objects) == (True, 0)


def test_the_options_set_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    cc.get_interface("verified-threads", backend="memory", verbose=False)
    monkeypatch.setenv("COTTONCANDY_BASIC_THREADS", "3")
    counts: list[int] = []

    def recording(function: Any, items: Any, threads: int) -> Any:
        counts.append(threads)
        return iter(())

    monkeypatch.setattr("cottoncandy.transfer.verify.map_threads", recording)
    cc.verify("memory://verified-threads")
    cc.verify("memory://verified-threads", threads=2)
    assert counts == [3, 2]


@each(
    "wrong",
    [
        *({"subset": value} for value in (0, -1, 2, "x", None, float("nan"))),
        *({"max_duration": value} for value in (-1, "x", float("nan"))),
        *({"after": value} for value in (5, None)),
        *({"threads": value} for value in (0, "x")),
    ],
)
def test_wrong_arguments_raise(wrong: dict[str, Any]) -> None:
    cc.get_interface("verified-wrongly", backend="memory", verbose=False)
    with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
        cc.verify("memory://verified-wrongly", **wrong)
