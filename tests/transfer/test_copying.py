"""Copies of single objects: checksums and headers."""

from __future__ import annotations

import pytest

from cottoncandy.backends.base import ObjectInfo
from cottoncandy.cloudfiles import content
from cottoncandy.cloudfiles.exceptions import CRC32CIntegrityError, MD5IntegrityError
from cottoncandy.exceptions import IntegrityError
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
    content.verify(backend, info, b"hello", None)
    with pytest.raises(CRC32CIntegrityError, match="another CRC-32C"):
        content.verify(backend, info, b"jello", None)
    wrong = checked_blocks(lambda: iter([b"j", b"ello"]), backend, info)
    assert next(wrong) == b"j"
    with pytest.raises(IntegrityError, match="another CRC-32C"):
        next(wrong)


def test_md5_is_checked_where_a_store_has_one() -> None:
    backend = connect("memory", "checksums").backend
    info = ObjectInfo("a", 5, etag="5d41402abc4b2a76b9719d911017c592")
    content.verify(backend, info, b"hello", None)
    with pytest.raises(MD5IntegrityError, match="another MD5"):
        content.verify(backend, info, b"jello", None)


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
