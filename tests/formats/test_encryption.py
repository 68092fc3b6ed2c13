"""Encrypted bodies: round trips, ranges, streaming, and vectors that others computed."""

from __future__ import annotations

import base64
import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import DecryptionError, InvalidArgumentError
from cottoncandy.formats.encryption.keys import (
    AESKeys,
    KeyScheme,
    RSAKeys,
    Secret,
    hkdf_sha256,
)
from cottoncandy.formats.encryption.segments import (
    ENCRYPTION_METADATA,
    HEADER_BYTES,
    SEGMENT_BYTES,
    TAG_BYTES,
    encrypt_body,
    plaintext_size,
    stored_size,
)
from cottoncandy.stores.encrypted import open_encrypted
from tests.cases import each
from tests.formats.encrypted_objects import (
    FAKE_KEY,
    METADATA,
    VECTORS,
    StoredObject,
    StoredReader,
    fake_bytes,
)
from tests.vectors import reference

SIZES = [0, 1, 63, 64, 65, 127, 128, 129, 1000]


def rsa_keys(name: str = "fake_rsa.pem") -> RSAKeys:
    return RSAKeys((VECTORS / name).read_bytes())


# -- round trips ----------------------------------------------------------------------------------


@each("size", SIZES)
def test_what_was_encrypted_comes_back(size: int) -> None:
    plaintext = fake_bytes(size)
    stored = StoredObject.of(plaintext)
    reader = stored.open()
    assert reader.size == size
    assert reader.read() == plaintext
    assert reader.metadata == METADATA
    assert len(stored.body) == stored_size(size, 64)
    assert plaintext_size(len(stored.body), 64, "it") == size


def test_the_default_segment_holds_256_kib() -> None:
    plaintext = fake_bytes(2 * SEGMENT_BYTES + 5)
    body, metadata = encrypt_body(Body.of(plaintext), {}, AESKeys(FAKE_KEY))
    stored = bytes(body.read())
    mark = f"AES-256-GCM; v=1; key=AES; segment=262144; id={reference.aes_key_id(FAKE_KEY)}"
    assert metadata == {ENCRYPTION_METADATA: mark}
    assert len(stored) == HEADER_BYTES + len(plaintext) + 3 * TAG_BYTES
    assert StoredObject(stored, metadata).read() == plaintext


@given(
    size=st.integers(0, 500),
    log2=st.integers(6, 9),
    cuts=st.lists(st.integers(1, 200), max_size=5),
    bounds=st.tuples(st.integers(0, 500), st.integers(0, 500)),
)
def test_any_range_of_any_stream(
    size: int, log2: int, cuts: list[int], bounds: tuple[int, int]
) -> None:
    plaintext = fake_bytes(size)
    pieces, rest = [], plaintext
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    source = Body.of(iter([*pieces, rest]))
    body, metadata = encrypt_body(source, METADATA, AESKeys(FAKE_KEY), segment_bytes=2**log2)
    stored = StoredObject(b"".join(body), metadata)
    assert reference.decrypt(stored.body, FAKE_KEY, metadata) == plaintext
    start, stop = sorted(min(bound, size) for bound in bounds)
    assert stored.open().read(start, stop) == plaintext[start:stop]
    out = bytearray(stop - start)
    stored.open().read_into(memoryview(out), start)
    assert out == plaintext[start:stop]


def test_a_range_fetches_and_decrypts_its_segments_only() -> None:
    stored = StoredObject.of(fake_bytes(640))
    inner = stored.stored()
    reader = open_encrypted(inner, AESKeys(FAKE_KEY))
    assert inner.ranges == []  # the size is known without a request
    assert reader.size == 640
    assert reader.read(130, 200) == fake_bytes(640)[130:200]
    assert inner.ranges == [(0, 96), (96 + 2 * 80, 96 + 4 * 80)]
    inner.ranges.clear()
    assert reader.read(639, 640) == fake_bytes(640)[639:]
    assert inner.ranges == [(96 + 9 * 80, 96 + 10 * 80)]  # the header was read already
    inner.ranges.clear()
    assert reader.read(5, 5) == b""
    assert inner.ranges == []


def test_a_whole_object_is_one_range() -> None:
    inner = StoredObject.of(fake_bytes(640)).stored()
    open_encrypted(inner, AESKeys(FAKE_KEY)).read()
    assert inner.ranges == [(0, 96 + 10 * 80)]


def test_altered_segments_elsewhere_do_not_hinder_a_range() -> None:
    stored = StoredObject.of(fake_bytes(640))
    body = bytearray(stored.body)
    body[96 + 5 * 80] ^= 1
    reader = stored.but(bytes(body)).open()
    assert reader.read(0, 320) == fake_bytes(320)
    with pytest.raises(DecryptionError, match="segment 5"):
        reader.read(319, 321)


@each("bounds", [(-1, 5), (5, 4), (0, 101), (100, 101), (101, 101)])
def test_ranges_lie_inside_the_object(bounds: tuple[int, int]) -> None:
    legacy = next(v for v in vectors("legacy") if vector_id(v) == "AES256-100")
    old = StoredObject(base64.b64decode(legacy["body"]), {})
    for reader in (StoredObject.of(fake_bytes(100)).open(), old.open(vector_keys(legacy))):
        with pytest.raises(InvalidArgumentError, match="it has 100"):
            list(reader.chunks(*bounds))
    with pytest.raises(InvalidArgumentError, match="it has 100"):
        reader.read_into(memoryview(bytearray(101)))


def test_closing_closes_the_stored_object() -> None:
    inner = StoredObject.of(b"x").stored()
    with open_encrypted(inner, AESKeys(FAKE_KEY)):
        pass
    assert inner.closed


def test_objects_without_the_mark_are_known_by_their_first_bytes() -> None:
    stored = StoredObject.of(fake_bytes(100))
    metadata = {
        name: value for name, value in stored.metadata.items() if name != ENCRYPTION_METADATA
    }
    assert StoredObject(stored.body, metadata).read() == fake_bytes(100)


# -- bodies ---------------------------------------------------------------------------------------


def test_a_replayed_body_is_encrypted_afresh() -> None:
    body, metadata = encrypt_body(Body.of(fake_bytes(200)), METADATA, AESKeys(FAKE_KEY))
    assert body.replayable
    first, second = b"".join(body), b"".join(body)
    assert first[16:48] != second[16:48]  # the salt
    assert first[96:] != second[96:]
    for replay in (first, second):
        assert StoredObject(replay, metadata).read() == fake_bytes(200)


def test_a_one_shot_body_stays_one() -> None:
    body, _ = encrypt_body(Body.of(iter([b"a", b"b"])), {}, AESKeys(FAKE_KEY))
    assert not body.replayable
    assert body.size is None
    b"".join(body)
    with pytest.raises(RuntimeError, match="twice"):
        b"".join(body)


def test_sizes_are_known_where_those_of_the_plaintext_are() -> None:
    body, _ = encrypt_body(Body.of(io.BytesIO(fake_bytes(1000))), {}, AESKeys(FAKE_KEY))
    assert body.size == len(body.read()) == stored_size(1000)
    bounded = Body(lambda: iter([b"xy"]), max_size=300_000)
    body, _ = encrypt_body(bounded, {}, AESKeys(FAKE_KEY))
    assert body.size is None
    assert body.max_size == stored_size(300_000)


def test_equal_plaintexts_give_bodies_that_share_nothing() -> None:
    first, second = (StoredObject.of(bytes(640)).body for _ in range(2))
    assert not {first[i : i + 16] for i in range(16, 700, 8)} & {
        second[i : i + 16] for i in range(16, 700, 8)
    }


# -- what others computed -------------------------------------------------------------------------


def vectors(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text())
    return loaded


def vector_id(vector: dict[str, Any]) -> str:
    size = f"{len(base64.b64decode(vector['plaintext']))}"
    if "; id=" in vector["metadata"].get(ENCRYPTION_METADATA, ""):
        size += "-id"
    if vector["scheme"] == "AES":
        return f"AES{8 * len(base64.b64decode(vector['key']))}-{size}"
    return f"RSA-{size}"


def vector_keys(vector: dict[str, Any]) -> KeyScheme:
    return AESKeys(base64.b64decode(vector["key"])) if vector["scheme"] == "AES" else rsa_keys()


@each("vector", vectors("v1") + vectors("v1-id"))
def test_version_1_vectors(vector: dict[str, Any]) -> None:
    stored = StoredObject(base64.b64decode(vector["body"]), vector["metadata"])
    reader = stored.open(vector_keys(vector))
    plaintext = base64.b64decode(vector["plaintext"])
    assert reader.size == len(plaintext)
    assert reader.read() == plaintext
    assert reader.metadata == vector["clean_metadata"]


@each("vector", vectors("legacy"))
def test_legacy_vectors(vector: dict[str, Any]) -> None:
    stored = StoredObject(base64.b64decode(vector["body"]), vector["metadata"])
    reader = stored.open(vector_keys(vector))
    plaintext = base64.b64decode(vector["plaintext"])
    assert reader.size == len(plaintext)
    assert reader.read() == plaintext
    assert not [name for name in reader.metadata if name.startswith("key")]
    for start, stop in [(0, 1), (1, 17), (15, 16), (16, 32), (31, 100), (90, 4096)]:
        start, stop = min(start, reader.size), min(stop, reader.size)
        assert reader.read(start, stop) == plaintext[start:stop]
        out = bytearray(stop - start)
        reader.read_into(memoryview(out), start)
        assert out == plaintext[start:stop]


def test_a_legacy_range_fetches_its_blocks_only() -> None:
    vector = next(v for v in vectors("legacy") if vector_id(v) == "AES256-4096")
    inner = StoredReader(base64.b64decode(vector["body"]), {})
    reader = open_encrypted(inner, vector_keys(vector))
    inner.ranges.clear()
    reader.read(1000, 1010)
    assert inner.ranges == [(62 * 16, 65 * 16)]


def test_the_reference_reads_rsa() -> None:
    keys = rsa_keys()
    stored = StoredObject.of(fake_bytes(100), keys=rsa_keys("fake_rsa.pub.pem"))
    numbers = keys._key
    object_key = reference.oaep_decrypt(
        base64.b64decode(stored.metadata["key"]), int(numbers.n), int(numbers.d)
    )
    assert reference.decrypt(stored.body, object_key, stored.metadata) == fake_bytes(100)


def test_hkdf_of_rfc_5869() -> None:
    # Appendices A.1 and A.3.
    okm = hkdf_sha256(Secret(bytes([0x0B] * 22)), bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert okm.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    okm = hkdf_sha256(Secret(bytes([0x0B] * 22)), b"", b"", 42)
    assert okm.hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


# -- secrets --------------------------------------------------------------------------------------


def test_nothing_that_holds_a_key_pickles_or_tells_it() -> None:
    stored = StoredObject.of(fake_bytes(100))
    reader = stored.open()
    reader.read()
    with pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(reader)
    with pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(reader._cipher)  # type: ignore[attr-defined]
    legacy = vectors("legacy")[-6]
    old = StoredObject(base64.b64decode(legacy["body"]), legacy["metadata"])
    with pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(old.open(vector_keys(legacy)))
    secret = Secret(FAKE_KEY)
    assert repr(secret) == str(secret) == f"{secret}" == "<secret>"
    assert repr(AESKeys(FAKE_KEY)) == "<AES key>"


def test_no_checksum_of_the_plaintext_is_stored() -> None:
    stored = StoredObject.of(b"x" * 8, METADATA | {"cc-checksum": "crc32:00000000"})
    assert "cc-checksum" not in stored.metadata
    assert stored.read() == b"x" * 8


def test_threads_that_share_a_reader_fetch_the_header_once() -> None:
    inner = StoredObject.of(fake_bytes(64 * 40)).stored()
    reader = open_encrypted(inner, AESKeys(FAKE_KEY))
    ranges = [(start, start + 70) for start in range(64, 64 * 38, 60)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda bounds: reader.read(*bounds), ranges))
    assert found == [fake_bytes(64 * 40)[start:stop] for start, stop in ranges]
    assert inner.ranges.count((0, 96)) == 1
