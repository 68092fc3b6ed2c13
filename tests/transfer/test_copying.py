"""Copies of single objects: checksums and headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cottoncandy.backends.base import ObjectInfo, PutOptions
from cottoncandy.cloudfiles import reading
from cottoncandy.cloudfiles.exceptions import CRC32CIntegrityError, MD5IntegrityError
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    IntegrityError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreError,
)
from cottoncandy.formats.encryption.keys import AESKeys
from cottoncandy.stores.connect import connect
from cottoncandy.transfer.copying import check_content, checked_blocks, copy_object
from tests.harness import StoreHarness

HELLO_CRC32C = "9a71bb4c"


def test_crc32c_is_checked_where_a_store_has_no_md5() -> None:
    backend = connect("memory", "checksums").backend
    info = ObjectInfo("composite", 5, crc32c=HELLO_CRC32C)
    check_content(backend, info, b"hello")
    pieces = lambda: iter([memoryview(b"he"), bytearray(b"llo")])  # noqa: E731 - read twice
    assert b"".join(checked_blocks(pieces, backend, info)) == b"hello"
    reading.verify(backend, info, b"hello", None)
    with pytest.raises(CRC32CIntegrityError, match="another CRC-32C"):
        reading.verify(backend, info, b"jello", None)
    wrong = checked_blocks(lambda: iter([b"j", b"ello"]), backend, info)
    assert next(wrong) == b"j"
    with pytest.raises(IntegrityError, match="another CRC-32C"):
        next(wrong)


def test_md5_is_checked_where_a_store_has_one() -> None:
    backend = connect("memory", "checksums").backend
    info = ObjectInfo("a", 5, etag="5d41402abc4b2a76b9719d911017c592")
    reading.verify(backend, info, b"hello", None)
    with pytest.raises(MD5IntegrityError, match="another MD5"):
        reading.verify(backend, info, b"jello", None)


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_metadata_and_headers_are_copied(store: StoreHarness, tmp_path: Path) -> None:
    memory, disk = connect("memory", store.bucket), connect("local", str(tmp_path))
    own = {"content_type": "text/x", "content_encoding": "gzip", "cache_control": "no-store"}
    options: Any = {**own, "storage_class": "COLD"}
    memory.backend.put("a", Body.of(b"1"), PutOptions({"note": "x"}, **options))
    copy_object(memory, "a", disk, "a")
    info = disk.backend.head("a")
    assert info.metadata == {"note": "x"}
    assert {name: getattr(info, name) for name in own} == own
    assert info.storage_class is None  # it means something to one kind of store only


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize("keys", [None, AESKeys(bytes(32))], ids=["plain", "encrypted"])
@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_a_file_that_is_replaced_while_it_is_copied(
    store: StoreHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: Any, times: int
) -> None:
    """A later sync would skip the newer version, which is older than the copy."""
    disk, memory = connect("local", str(tmp_path), _keys=keys), connect("memory", store.bucket)
    disk.backend.put("a", Body.of(b"0"))
    put, calls = memory.backend.put, []

    def replaces(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) <= times:
            disk.backend.put("a", Body.of(b"%d" % len(calls)))
        return put(*arguments, **options)

    monkeypatch.setattr(memory.backend, "put", replaces)
    if times == 1:
        assert copy_object(disk, "a", memory, "a") == 1
        assert memory.backend.get("a").read() == b"1"
    else:
        with pytest.raises(ObjectChangedError, match="'a' was replaced whenever"):
            copy_object(disk, "a", memory, "a")
    assert len(calls) < 10


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_a_copy_that_was_altered_in_transit_is_rejected(
    store: StoreHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, memory = connect("local", str(tmp_path)), connect("memory", store.bucket)
    disk.backend.put("a", Body.of(b"hello"))
    put = memory.backend.put

    def alters(key: str, body: Body, *arguments: Any, **options: Any) -> Any:
        return put(key, Body.of(b"j" + b"".join(body)[1:]), *arguments, **options)

    monkeypatch.setattr(memory.backend, "put", alters)
    with pytest.raises(IntegrityError, match="'a' was altered in transit"):
        copy_object(disk, "a", memory, "a")
    monkeypatch.setattr(memory.backend, "has_md5_etag", lambda key: False)
    copy_object(disk, "a", memory, "a")  # as if the server had encrypted it with a separate key


def test_a_destination_that_finds_nothing_is_not_a_missing_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, memory = connect("local", str(tmp_path)), connect("memory", "finds-nothing")
    disk.backend.put("a", Body.of(b"hello"))

    def loses(*arguments: Any, **options: Any) -> Any:
        raise ObjectNotFoundError("there is no upload")

    monkeypatch.setattr(memory.backend, "put", loses)
    with pytest.raises(StoreError, match="'a' could not be stored: there is no upload"):
        copy_object(disk, "a", memory, "a")


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_storage_class_is_kept_between_accounts(store: StoreHarness) -> None:
    given = store.connection()
    own, other = (
        connect(store.backend_name, store.bucket, key, "secret", given["endpoint_url"])
        for key in ("ONE", "TWO")
    )
    assert not other.backend.can_copy_from(own.backend)
    store.interface().upload_object("a", b"1", storage_class="STANDARD_IA")
    store.interface().upload_object("b", b"1")
    for key in ("a", "b"):
        copy_object(own, key, other, f"copy/{key}")
    found = [other.backend.storage_class(f"copy/{key}") for key in ("a", "b")]
    assert found == ["STANDARD_IA", None]
