"""EncryptedInterface: what is particular to it. The tests that take ``cci`` run over it as well."""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.exceptions import (
    CottonCandyError,
    DecryptionError,
    EncryptionError,
    EncryptionKeyError,
    IntegrityError,
    MetadataError,
    ObjectChangedError,
)
from cottoncandy.formats.encryption.segments import (
    ENCRYPTION_METADATA,
    HEADER_BYTES,
    SEGMENT_BYTES,
    stored_size,
)
from cottoncandy.interfaces import DefaultInterface, EncryptedInterface
from tests.harness import StoreHarness
from tests.interfaces.arrays import assert_same

VECTORS = Path(__file__).parent.parent / "vectors"
FAKE_KEY = bytes(range(32))
PRIVATE = VECTORS / "fake_rsa.pem"
PUBLIC = VECTORS / "fake_rsa.pub.pem"
NEEDLE = b"the needle in the haystack"
KEYS = {"AES": FAKE_KEY, "RSA": PRIVATE}

in_memory = pytest.mark.parametrize("store", ["memory"], indirect=True)
here = pytest.mark.parametrize("store", ["memory", "local"], indirect=True)
both = pytest.mark.parametrize("method", ["AES", "RSA"])


def encrypted(store: StoreHarness, method: str = "AES", key: Any = None, **options: Any) -> Any:
    return cottoncandy.get_encrypted_interface(
        store.bucket,
        verbose=False,
        backend=store.backend_name,
        encryption=method,
        encryptionKey=KEYS[method] if key is None else key,
        **store.connection(),
        **options,
    )


def needles(count: int = 1000) -> np.ndarray:
    return np.frombuffer(NEEDLE * count, np.uint8).copy()


# -- what the store gets to see ---------------------------------------------------------------


@here
@both
def test_the_store_sees_no_plaintext(store: StoreHarness, method: str, tmp_path: Path) -> None:
    cci = encrypted(store, method)
    text = NEEDLE.decode()
    (tmp_path / "file").write_bytes(NEEDLE)
    cci.upload_object("object", NEEDLE)
    cci.upload_json("json", {text: text})
    cci.upload_pickle("pickle", NEEDLE)
    cci.upload_from_file(str(tmp_path / "file"), "file")
    cci.upload_raw_array("array", needles(), compression=False)
    cci.upload_npy_array("npy", needles())
    cci.upload_dask_array("dask", needles())
    cci.dict2cloud("dict", {"leaf": needles()}, compression=False)
    names = store.raw_keys()
    assert len(names) >= 8
    for name in names:
        body, metadata = store.raw_get(name)
        assert body[:9] == b"\x89CCENC\r\n\x01", name
        assert NEEDLE not in body
        mark = f"AES-256-GCM; v=1; key={method}; segment={SEGMENT_BYTES}; id="
        assert metadata[ENCRYPTION_METADATA].startswith(mark)
        assert ("key" in metadata) == (method == "RSA")
        assert "cc-checksum" not in metadata
    assert cci.download_object("object") == NEEDLE
    assert cci.download_json("json") == {text: text}
    assert cci.download_pickle("pickle") == NEEDLE
    cci.download_to_file("file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == NEEDLE
    for array in (
        cci.download_raw_array("array"),
        cci.download_npy_array("npy"),
        cci.download_dask_array("dask").compute(),
        cci.cloud2dict("dict")["leaf"],
    ):
        assert np.array_equal(array, needles())
        assert array.dtype == np.uint8


@in_memory
@both
def test_users_see_their_own_metadata_only(store: StoreHarness, method: str) -> None:
    cci = encrypted(store, method)
    cci.upload_object("object", b"x", author="me", answer=42)
    with cci.download_stream("object") as stream:
        assert dict(stream.metadata) == {"author": "me", "answer": "42"}


@in_memory
def test_the_scheme_keeps_its_metadata_names(store: StoreHarness) -> None:
    cci = encrypted(store, "RSA")
    with pytest.raises(MetadataError, match="'key' of object 'object' is reserved"):
        cci.upload_object("object", b"x", key="mine")
    with pytest.raises(MetadataError, match="'cc-encryption'"):
        cci.upload_object("object", b"x", **{"CC-Encryption": "mine"})
    assert store.raw_keys() == []
    aes = encrypted(store)
    aes.upload_object("object", b"x", key="mine")
    with aes.download_stream("object") as stream:
        assert dict(stream.metadata) == {"key": "mine"}


@in_memory
@both
def test_a_change_of_authenticated_metadata_encrypts_again(
    store: StoreHarness, method: str
) -> None:
    cci = encrypted(store, method)
    cci.upload_object("a", b"body", note="kept")
    backend = cci.backend_interface
    for metadata in ({"dtype": "|u1", "note": "kept"}, {"dtype": "<u2"}, {"note": "changed"}):
        backend.set_metadata("a", metadata)
        assert backend.head("a").metadata == metadata
        assert cci.download_object("a") == b"body"


@in_memory
def test_a_wrapped_key_is_never_put_on_another_version(
    store: StoreHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    cci, second = encrypted(store, "RSA"), encrypted(store, "RSA")
    cci.upload_object("a", b"first")
    inner = cci.backend_interface.inner
    head = inner.head

    def overtaken(key: str) -> Any:
        info = head(key)
        second.upload_object(key, b"second")
        return info

    with monkeypatch.context() as patch:
        patch.setattr(inner, "head", overtaken)
        with pytest.raises(ObjectChangedError):
            cci.backend_interface.set_metadata("a", {"note": "x"})
    assert cci.download_object("a") == b"second"


@in_memory
@both
def test_every_upload_differs(store: StoreHarness, method: str) -> None:
    cci = encrypted(store, method)
    bodies = set()
    for _ in range(3):
        cci.upload_object("object", NEEDLE)
        bodies.add(store.raw_get("object").body)
    assert len(bodies) == 3


# -- partial reads ----------------------------------------------------------------------------


@here
def test_a_slice_reads_the_segments_it_touches(store: StoreHarness) -> None:
    cci = encrypted(store)
    array = np.arange(10 * SEGMENT_BYTES // 8, dtype="<f8").reshape(-1, 64)
    cci.upload_raw_array("array", array, compression=False)
    body, metadata = store.raw_get("array")
    assert len(body) == stored_size(array.nbytes)
    # All other segments are destroyed: reading them fails.
    sealed = SEGMENT_BYTES + 16
    start, stop = HEADER_BYTES + 4 * sealed, HEADER_BYTES + 6 * sealed
    kept = bytearray(len(body))
    for part in (slice(HEADER_BYTES), slice(start, stop)):
        kept[part] = body[part]
    store.raw_put("array", bytes(kept), metadata)
    rows = SEGMENT_BYTES // (64 * 8)
    part = cci.download_raw_array("array", selection=np.s_[4 * rows + 3 : 6 * rows, 5:7])
    assert_same(part, np.ascontiguousarray(array[4 * rows + 3 : 6 * rows, 5:7]))
    with pytest.raises(DecryptionError, match="segment 3"):
        cci.download_raw_array("array", selection=np.s_[4 * rows - 1])
    with pytest.raises(DecryptionError, match="segment 0"):
        cci.download_raw_array("array")


@in_memory
def test_a_cut_array_is_refused_even_where_the_slice_is_there(store: StoreHarness) -> None:
    cci = encrypted(store)
    array = np.arange(2 * SEGMENT_BYTES // 8, dtype="<f8")
    cci.upload_raw_array("array", array, compression=False)
    body, metadata = store.raw_get("array")
    store.raw_put("array", body[: HEADER_BYTES + SEGMENT_BYTES + 16], metadata)
    with pytest.raises(IntegrityError):
        cci.download_raw_array("array", selection=np.s_[:10])


@in_memory
def test_listings_show_plain_sizes(store: StoreHarness) -> None:
    cci = encrypted(store)
    cci.upload_object("secret", bytes(3000))
    store.raw_put("plain", b"7 bytes")  # no plaintext has this size
    assert [info.size for info in cci.backend_interface.scan()] == [7, 3000]


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_an_array_of_many_parts_over_http(store: StoreHarness) -> None:
    cci = encrypted(store)
    array = np.arange(5 * 2**20 + 7, dtype="<i8")  # 40 MiB: several parts up, several ranges down
    cci.upload_raw_array("array", array, compression=False)
    backend = cci.backend_interface
    assert backend.head("array").size == next(backend.scan()).size == array.nbytes
    assert backend.inner.head("array").size == stored_size(array.nbytes)
    assert_same(cci.download_raw_array("array"), array)
    part = np.s_[3 * 2**20 : 3 * 2**20 + 100_000]
    assert_same(cci.download_raw_array("array", selection=part), array[part])


# -- copies -----------------------------------------------------------------------------------


@here
@both
def test_copies_and_moves_decrypt(store: StoreHarness, method: str) -> None:
    cci = encrypted(store, method)
    cci.upload_raw_array("one", needles())
    backend = cci.backend_interface
    backend.copy("one", "deep/two")
    backend.move("deep/two", "three")
    for name in ("one", "three"):
        assert_same(cci.download_raw_array(name), needles())
    other = store.fresh_bucket()
    backend.with_bucket(other).copy("one", "one", source_bucket=backend.bucket)
    cci.set_bucket(other)
    assert_same(cci.download_raw_array("one"), needles())


# -- refusals ---------------------------------------------------------------------------------


@here
@both
def test_the_plain_interface_refuses_encrypted_objects(store: StoreHarness, method: str) -> None:
    cci = encrypted(store, method)
    cci.upload_raw_array("array", needles())
    cci.upload_object("object", NEEDLE)
    plain = store.interface()
    for read, name in [(plain.download_raw_array, "array"), (plain.download_object, "object")]:
        with pytest.raises(EncryptionError, match="get_encrypted_interface"):
            read(name)


@here
@both
def test_the_encrypted_interface_refuses_plain_objects(store: StoreHarness, method: str) -> None:
    plain = store.interface()
    plain.upload_raw_array("array", needles(), compression=False)
    plain.upload_object("object", NEEDLE)
    plain.upload_object("empty", b"")
    cci = encrypted(store, method)
    for read, name in [
        (cci.download_raw_array, "array"),
        (cci.download_object, "object"),
        (cci.download_object, "empty"),
    ]:
        with pytest.raises(
            DecryptionError, match=f"'{name}' in bucket .* (is not encrypted|no key)"
        ):
            read(name)


@in_memory
def test_another_key_is_refused(store: StoreHarness, tmp_path: Path) -> None:
    encrypted(store).upload_raw_array("aes", needles())
    encrypted(store, "RSA").upload_raw_array("rsa", needles())
    other, _ = cottoncandy.encryption.generate_key_pair(tmp_path / "other.pem", bits=2048)
    encrypted(store).upload_dask_array("dask", needles())
    wrong = encrypted(store, key=bytes(32))
    for read, name in [(wrong.download_raw_array, "aes"), (wrong.download_dask_array, "dask")]:
        with pytest.raises(DecryptionError, match="with this key"):
            read(name)
    with pytest.raises(DecryptionError, match="with this private key"):
        encrypted(store, "RSA", key=other).download_raw_array("rsa")
    with pytest.raises(EncryptionKeyError, match="encryption='RSA'"):
        encrypted(store).download_raw_array("rsa")
    with pytest.raises(EncryptionKeyError, match="encryption='AES'"):
        encrypted(store, "RSA").download_raw_array("aes")


@in_memory
def test_swapped_arrays_are_refused(store: StoreHarness) -> None:
    cci = encrypted(store)
    cci.upload_raw_array("rows", np.zeros((2, 8)), compression=False)
    cci.upload_raw_array("columns", np.zeros((8, 2)), compression=False)
    (rows, rows_metadata), (columns, columns_metadata) = map(store.raw_get, ("rows", "columns"))
    store.raw_put("rows", columns, rows_metadata)
    store.raw_put("columns", columns, columns_metadata | {"order": "F"})
    for name in ("rows", "columns"):
        with pytest.raises(DecryptionError, match="does not belong to its metadata"):
            cci.download_raw_array(name)
    store.raw_put("columns", rows, rows_metadata)  # a copy, whole: names are not bound
    assert_same(cci.download_raw_array("columns"), np.zeros((2, 8)))


@in_memory
def test_a_failed_download_leaves_no_file(store: StoreHarness, tmp_path: Path) -> None:
    cci = encrypted(store)
    cci.upload_object("object", bytes(3 * SEGMENT_BYTES))
    body, metadata = store.raw_get("object")
    store.raw_put("object", body[:-1] + bytes([body[-1] ^ 1]), metadata)
    with pytest.raises(DecryptionError):
        cci.download_to_file("object", str(tmp_path / "file"))
    assert not (tmp_path / "file").exists()


@in_memory
def test_a_writer_with_the_public_key_only(store: StoreHarness) -> None:
    writer = encrypted(store, "RSA", key=PUBLIC)
    writer.upload_raw_array("array", needles())
    with pytest.raises(EncryptionKeyError, match=r"'array' in bucket .* public key"):
        writer.download_raw_array("array")
    assert_same(encrypted(store, "RSA").download_raw_array("array"), needles())


@in_memory
def test_a_locked_private_key(store: StoreHarness) -> None:
    locked = VECTORS / "fake_rsa_locked.pem"
    cci = encrypted(store, "RSA", key=str(locked), passphrase="fake passphrase")
    cci.upload_object("object", NEEDLE)
    assert encrypted(store, "RSA").download_object("object") == NEEDLE
    with pytest.raises(EncryptionKeyError, match=r"fake_rsa_locked\.pem' cannot be used"):
        encrypted(store, "RSA", key=str(locked), passphrase="wrong")


def test_the_key_is_checked_before_the_store_is_asked(tmp_path: Path) -> None:
    with pytest.raises(EncryptionKeyError):
        cottoncandy.get_encrypted_interface(
            str(tmp_path / "new"),
            backend="local",
            verbose=False,
            force_bucket_creation=True,
            encryptionKey=b"short",
        )
    assert not (tmp_path / "new").exists()


# -- what cottoncandy 0.2 wrote ---------------------------------------------------------------


@here
@both
def test_legacy_objects_are_read(
    store: StoreHarness, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = json.loads((VECTORS / "legacy.json").read_text())
    for number, vector in enumerate(v for v in vectors if v["scheme"] == method):
        key = base64.b64decode(vector["key"]) if method == "AES" else None
        name = f"old{number}"
        store.raw_put(name, base64.b64decode(vector["body"]), vector["metadata"])
        cci = encrypted(store, method, key=key)
        plaintext = base64.b64decode(vector["plaintext"])
        with caplog.at_level(logging.INFO, "cottoncandy"):
            assert cci.download_object(name) == plaintext
        if method == "AES":
            assert cci.download_raw_array(name).tobytes() == plaintext
            if plaintext:
                part = cci.download_raw_array(name, selection=np.s_[-9:])
                assert part.tobytes() == plaintext[-9:]
    assert "upload it again" in caplog.text


# -- secrets ----------------------------------------------------------------------------------


@here
@both
def test_a_pickled_interface_still_reads(store: StoreHarness, method: str) -> None:
    cci = encrypted(store, method)
    cci.upload_raw_array("array", needles())
    travelled = pickle.loads(pickle.dumps(cci))
    assert type(travelled) is EncryptedInterface
    assert isinstance(travelled, DefaultInterface)
    assert_same(travelled.download_raw_array("array"), needles())


@in_memory
def test_keys_are_told_to_nobody(store: StoreHarness, caplog: pytest.LogCaptureFixture) -> None:
    key = base64.b64encode(FAKE_KEY).decode()
    with caplog.at_level(logging.DEBUG):
        cci = encrypted(store, key=key)
        cci.upload_dask_array("dask", needles())
        lazy = cci.download_dask_array("dask")
        lazy.compute()
        with pytest.raises(CottonCandyError) as caught:
            encrypted(store, key=bytes(32)).download_json("dask/metadata.json")
    texts = [repr(cci), str(cci), repr(vars(cci)), repr(lazy), repr(dict(lazy.dask)), caplog.text]
    texts.append(repr(caught.value))
    for text in texts:
        assert key not in text
        assert repr(FAKE_KEY) not in text
        assert FAKE_KEY.hex() not in text
    where = f"bucket:{store.bucket} on memory, encrypted with AES"
    assert repr(cci) == f"<cottoncandy.EncryptedInterface {where}>"


# -- the example ------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_example_runs() -> None:
    example = Path(__file__).parents[2] / "examples" / "encryption.py"
    result = subprocess.run(
        [sys.executable, str(example)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(example.parents[1])},
    )
    assert result.stdout.splitlines()[-1] == "encryption: ok"
    assert result.stdout.count("the same: True") == 2
    assert result.stdout.count("object '") == 2
