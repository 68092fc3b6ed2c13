"""Several keys on one interface, and rewriting what is under the old ones."""

from __future__ import annotations

import base64
import json
import pickle
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import scipy.sparse

import cottoncandy
from cottoncandy.backends.base import PutOptions
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    DecryptionError,
    EncryptionKeyError,
    ObjectChangedError,
    ObjectNotFoundError,
    PartialFailureError,
    UnsupportedOperationError,
)
from cottoncandy.stores.encrypted import EncryptedBackend
from tests.backends.wrappers import CountingBackend, WrappedBackend
from tests.harness import StoreHarness

VECTORS = Path(__file__).parent.parent / "vectors"
OLD, NEW, OTHER = (bytes(range(start, start + 32)) for start in (0, 100, 200))
OLD_PEM, NEW_PEM, OTHER_PEM = (VECTORS / f"fake_rsa{n}.pem" for n in ("", "_2", "_3"))
SIZES = [0, 1, 5000, 3 * 2**18]

memory = pytest.mark.parametrize("store", ["memory"], indirect=True)
both = pytest.mark.parametrize(
    "method",
    ["AES", pytest.param("RSA", marks=pytest.mark.server)],  # AES with other keys
)


@pytest.fixture
def keys(method: str) -> tuple[Any, Any]:
    """The old and the new key of a method."""
    return (OLD, NEW) if method == "AES" else (OLD_PEM, NEW_PEM)


def encrypted(store: StoreHarness, key: Any, method: str = "AES", **options: Any) -> Any:
    return cottoncandy.get_encrypted_interface(
        store.bucket,
        verbose=False,
        backend=store.backend_name,
        encryption=method,
        encryptionKey=key,
        **store.connection(),
        **options,
    )


def fill(cci: Any) -> dict[str, bytes]:
    """Store objects; return their bodies."""
    bodies = {f"data/{size}": bytes(range(250)) * (size // 250) + b"!" * (size % 250)
              for size in SIZES}  # fmt: skip
    for name, body in bodies.items():
        cci.upload_object(name, body, author="me")
    return bodies


def stored(store: StoreHarness) -> dict[str, Any]:
    return {name: store.raw_get(name) for name in store.raw_keys()}


# -- several keys ---------------------------------------------------------------------------------


@memory
@both
def test_several_keys_read_with_any_and_write_with_the_first(
    store: StoreHarness, method: str, keys: tuple[Any, Any]
) -> None:
    old, new = keys
    bodies = fill(encrypted(store, old, method))
    cci = pickle.loads(pickle.dumps(encrypted(store, [new, old], method)))
    assert {name: cci.download_object(name) for name in bodies} == bodies
    cci.upload_object("fresh", b"fresh")
    assert encrypted(store, new, method).download_object("fresh") == b"fresh"
    with pytest.raises(DecryptionError, match=r"whose id is [0-9a-f]{16}; pass that one"):
        encrypted(store, old, method).download_object("fresh")


@memory
@both
def test_objects_without_an_id_are_read_by_trying(
    store: StoreHarness, method: str, keys: tuple[Any, Any]
) -> None:
    old, new = keys
    bodies = fill(encrypted(store, old, method))
    for name, (body, metadata) in stored(store).items():
        mark = re.sub("; id=.*", "", metadata["cc-encryption"])
        store.raw_put(name, body, metadata | {"cc-encryption": mark})
    assert encrypted(store, old, method).rotate_keys() == []
    cci = encrypted(store, (new, old), method)
    assert {name: cci.download_object(name) for name in bodies} == bodies
    with pytest.raises(DecryptionError, match="cannot be decrypted with this"):
        encrypted(store, new, method).download_object("data/0")
    assert cci.rotate_keys() == sorted(bodies)


@memory
def test_an_altered_id_is_an_error(store: StoreHarness) -> None:
    encrypted(store, OLD).upload_object("object", b"secret")
    encrypted(store, NEW).upload_object("other", b"secret")
    body, metadata = store.raw_get("object")
    wrong = store.raw_get("other").metadata["cc-encryption"]
    for mark in (wrong, wrong[:-1] + "x", wrong[:-16] + "0" * 16):
        store.raw_put("object", body, metadata | {"cc-encryption": mark})
        with pytest.raises(DecryptionError, match="'object'"):
            encrypted(store, [NEW, OLD]).download_object("object")


@memory
def test_a_new_public_key_writes_and_an_old_private_one_reads(store: StoreHarness) -> None:
    bodies = fill(encrypted(store, OLD_PEM, "RSA"))
    public = VECTORS / "fake_rsa_2.pub.pem"
    cci = encrypted(store, [public, OLD_PEM], "RSA")
    assert cci.download_object("data/1") == bodies["data/1"]
    assert cci.rotate_keys("data") == sorted(bodies)
    with pytest.raises(EncryptionKeyError, match="with a public key, which only writes"):
        cci.download_object("data/1")
    assert encrypted(store, NEW_PEM, "RSA").download_object("data/1") == bodies["data/1"]
    assert cci.rotate_keys("data") == []


# -- rotation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["memory", "local"], indirect=True)
@both
def test_rotation_rewrites_what_is_under_an_old_key(
    store: StoreHarness, method: str, keys: tuple[Any, Any]
) -> None:
    old, new = keys
    bodies = fill(encrypted(store, old, method))
    cci = encrypted(store, [new, old], method)
    cci.upload_object("data/current", b"current")
    before = stored(store)
    assert cci.rotate_keys("data") == sorted(bodies)
    assert cci.rotate_keys("data") == []
    after = stored(store)
    assert after["data/current"] == before["data/current"]
    alone = encrypted(store, new, method)
    for name, body in bodies.items():
        assert alone.download_object(name) == body
        # With RSA, only the wrapped key changes.
        assert (after[name].body == before[name].body) == (method == "RSA")
        assert after[name].metadata.keys() == before[name].metadata.keys()
        assert after[name].metadata["author"] == "me"
        with pytest.raises(DecryptionError):
            encrypted(store, old, method).download_object(name)


@memory
def test_rotation_stays_below_the_name(store: StoreHarness) -> None:
    old = encrypted(store, OLD)
    for name in ("a", "a/b", "a/c/d", "a-b", "ab", "b"):
        old.upload_object(name, name.encode())
    cci = encrypted(store, [NEW, OLD])
    assert cci.rotate_keys("a/c") == ["a/c/d"]
    assert cci.rotate_keys("a") == ["a", "a/b"]
    assert cci.rotate_keys("a-b") == ["a-b"]
    assert cci.rotate_keys() == ["ab", "b"]
    with pytest.raises(ObjectNotFoundError, match="nothing found under 'missing'"):
        cci.rotate_keys("missing")


@memory
@both
def test_rotation_keeps_headers_and_metadata(
    store: StoreHarness, method: str, keys: tuple[Any, Any]
) -> None:
    old = encrypted(store, keys[0], method)
    options = PutOptions(
        {"author": "me", "cc-note": "bound"}, None, "text/x-fake", "identity", "no-cache", "COLD"
    )
    old.backend_interface.put("object", Body.of(b"text"), options)
    cci = encrypted(store, [keys[1], keys[0]], method)
    assert cci.rotate_keys("object") == ["object"]
    info = cci.backend_interface.head("object")
    assert info.metadata == options.metadata
    assert info.size == 4
    for name in ("content_type", "content_encoding", "cache_control", "storage_class"):
        assert getattr(info, name) == getattr(options, name)


@memory
@both
def test_arrays_of_all_kinds_survive_a_rotation(
    store: StoreHarness, method: str, keys: tuple[Any, Any]
) -> None:
    array = np.arange(600, dtype=">i4").reshape(20, 30)
    fields = np.zeros(3, [("name", "U5"), ("value", "<f8")])
    sparse = scipy.sparse.csr_matrix(array % 7 == 0)
    old = encrypted(store, keys[0], method)
    old.upload_raw_array("raw", array)
    old.upload_raw_array("fields", fields)
    old.upload_raw_array("scalar", np.array(3.5))
    old.upload_raw_array("empty", np.zeros((0, 5)))
    old.upload_dask_array("dask", dask.array.from_array(array, chunks=(7, 8)))
    old.upload_sparse_array("sparse", sparse)
    old.dict2cloud("dict", {"a": array, "b": {"c": array}})
    lazy = encrypted(store, [keys[1], keys[0]], method).download_dask_array("dask")
    names = store.raw_keys()
    assert encrypted(store, [keys[1], keys[0]], method).rotate_keys() == sorted(names)
    cci = encrypted(store, keys[1], method)
    assert np.array_equal(lazy.compute(), array)
    for found, expected in (
        (cci.download_raw_array("raw"), array),
        (cci.download_raw_array("raw", selection=np.s_[3:5]), array[3:5]),
        (cci.download_raw_array("fields"), fields),
        (cci.download_raw_array("scalar"), np.array(3.5)),
        (cci.download_raw_array("empty"), np.zeros((0, 5))),
        (cci.download_dask_array("dask").compute(), array),
        (cci.download_sparse_array("sparse").toarray(), sparse.toarray()),
        (cci.cloud2dict("dict")["b"]["c"], array),
    ):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()


@memory
@both
def test_legacy_objects_are_rewritten(store: StoreHarness, method: str) -> None:
    old_keys: list[Any] = [] if method == "AES" else [OLD_PEM]
    plaintexts = {}
    for number, vector in enumerate(json.loads((VECTORS / "legacy.json").read_text())):
        if vector["scheme"] == method:
            store.raw_put(f"old{number}", base64.b64decode(vector["body"]), vector["metadata"])
            plaintexts[f"old{number}"] = base64.b64decode(vector["plaintext"])
            if method == "AES" and vector["key"] not in old_keys:
                old_keys.append(vector["key"])
    new: Any = NEW if method == "AES" else NEW_PEM
    cci = encrypted(store, [new, *old_keys], method)
    assert {name: cci.download_object(name) for name in plaintexts} == plaintexts
    assert cci.rotate_keys() == sorted(plaintexts)
    alone = encrypted(store, new, method)
    assert {name: alone.download_object(name) for name in plaintexts} == plaintexts
    for body, metadata in stored(store).values():
        assert body.startswith(b"\x89CCENC")
        assert not any(name.startswith("keychunk") for name in metadata)
    assert cci.rotate_keys() == []


@memory
@both
def test_objects_under_other_keys_are_left_alone_and_reported(
    store: StoreHarness, method: str, keys: tuple[Any, Any]
) -> None:
    old, new = keys
    encrypted(store, old, method).upload_object("d/mine", b"mine")
    stranger = OTHER if method == "AES" else OTHER_PEM
    encrypted(store, stranger, method).upload_object("d/stranger", b"x")
    other = "RSA" if method == "AES" else "AES"
    encrypted(store, OLD if other == "AES" else OLD_PEM, other).upload_object("d/scheme", b"x")
    store.interface().upload_object("d/plain", b"x")
    store.interface().upload_object("d/marker/", b"")
    encrypted(store, old, method).upload_object("d/altered", bytes(100))
    body, metadata = store.raw_get("d/altered")
    store.raw_put("d/altered", b"?" * len(body), metadata)
    before = stored(store)
    cci = encrypted(store, [new, old], method)
    with pytest.raises(PartialFailureError) as caught:
        cci.rotate_keys("d")
    text = str(caught.value)
    assert text.startswith("4 of 6 objects in bucket")
    assert "(1 were rewritten)" in text
    for name in ("stranger", "scheme", "plain", "altered"):
        assert f"'d/{name}'" in text
    after = stored(store)
    assert after.pop("d/mine") != before.pop("d/mine")
    assert after == before
    assert encrypted(store, new, method).download_object("d/mine") == b"mine"


@memory
def test_an_altered_body_is_never_stored_again(store: StoreHarness) -> None:
    encrypted(store, OLD).upload_object("object", bytes(3 * 2**18))
    body, metadata = store.raw_get("object")
    for position in (50, 200, len(body) - 1):
        altered = bytearray(body)
        altered[position] ^= 1
        store.raw_put("object", bytes(altered), metadata)
        with pytest.raises(PartialFailureError, match="altered"):
            encrypted(store, [NEW, OLD]).rotate_keys("object")
        assert store.raw_get("object").body == altered


@memory
def test_a_key_that_cannot_write_is_an_error_before_anything(store: StoreHarness) -> None:
    encrypted(store, OLD).upload_object("object", b"x")
    with pytest.raises(EncryptionKeyError, match="key of 16 bytes"):
        encrypted(store, [NEW[:16], OLD]).rotate_keys()
    with pytest.raises(UnsupportedOperationError, match="read-only"):
        encrypted(store, [NEW, OLD], read_only=True).rotate_keys()


# -- other writers --------------------------------------------------------------------------------


class Racing(WrappedBackend):
    """Calls a function once, right before another one writes."""

    def __init__(self, inner: Any, meddle: Any) -> None:
        super().__init__(inner)
        self.meddle = meddle

    @contextmanager
    def _call(self, verb: str, *keys: str) -> Iterator[None]:
        if verb in ("put", "set_metadata") and self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle()
        yield


def wrap_inner(cci: Any, wrap: Any) -> Any:
    """Put a wrapper between the encryption and the store."""
    backend = cci.backend_interface
    cci.backend_interface = type(backend)(wrap(backend.inner), backend._keys)
    return cci


@memory
@both
def test_only_the_version_that_was_read_is_replaced(
    store: StoreHarness, method: str, keys: tuple[Any, Any]
) -> None:
    old, new = (encrypted(store, key, method) for key in keys)
    for writer, expected in ((old, ["object"]), (new, [])):
        old.upload_object("object", b"first")
        cci = wrap_inner(
            encrypted(store, list(reversed(keys)), method),
            lambda inner, writer=writer: Racing(
                inner, lambda: writer.upload_object("object", b"second")
            ),
        )
        assert cci.rotate_keys("object") == expected
        assert new.download_object("object") == b"second"
    old.upload_object("object", b"first")
    cci = wrap_inner(
        encrypted(store, list(reversed(keys)), method),
        lambda inner: Racing(inner, lambda: old.rm("object")),
    )
    assert cci.rotate_keys("object") == []
    assert not store.raw_keys()


class UnconditionalCopies(Racing):
    """The server copies an object onto itself after it was replaced, as S3 servers may."""

    def set_metadata(self, key: str, metadata: Any, *, etag: str | None = None) -> Any:
        body = self.inner.get(key).read()
        with self._call("set_metadata", key):
            return self.inner.put(key, Body.of(body), PutOptions(metadata))


@memory
def test_rotation_never_undoes_the_replacement_of_an_array(store: StoreHarness) -> None:
    old = encrypted(store, OLD_PEM, "RSA")
    old.upload_dask_array("a", np.zeros(2))
    cci = wrap_inner(
        encrypted(store, [NEW_PEM, OLD_PEM], "RSA"),
        lambda inner: UnconditionalCopies(inner, lambda: old.upload_dask_array("a", np.ones(2))),
    )
    assert cci.rotate_keys("a/metadata.json") == ["a/metadata.json"]
    assert (cci["a"] == 1).all()


@memory
def test_a_rotation_of_what_is_always_replaced_ends(
    store: StoreHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced: list[str] = []

    def rotate(self: Any, key: str, *_: Any) -> bool:
        replaced.append(key)
        raise ObjectChangedError("made to fail")

    monkeypatch.setattr(EncryptedBackend, "_rotate", rotate)
    cci = encrypted(store, OLD)
    cci.upload_object("a", b"secret")
    with pytest.raises(ObjectChangedError):
        cci.backend_interface.rotate("a")
    assert replaced == ["a"] * 5


@memory
def test_two_rotations_at_once_share_the_work(store: StoreHarness) -> None:
    old = encrypted(store, OLD)
    names = [f"d/{number:03}" for number in range(60)]
    for name in names:
        old.upload_object(name, name.encode())
    interfaces = [encrypted(store, [NEW, OLD]) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        rewritten = list(pool.map(lambda cci: cci.rotate_keys("d"), interfaces))
    assert sorted(name for part in rewritten for name in part) == names
    new = encrypted(store, NEW)
    assert [new.download_object(name).decode() for name in names] == names


@memory
@both
def test_rotated_objects_cost_one_request(
    store: StoreHarness, method: str, keys: tuple[Any, Any]
) -> None:
    fill(encrypted(store, keys[1], method))
    counting: list[CountingBackend] = []

    def wrap(inner: Any) -> Any:
        counting.append(CountingBackend(inner))
        return counting[0]

    cci = wrap_inner(encrypted(store, [keys[1], keys[0]], method), wrap)
    assert cci.rotate_keys("data/") == []
    assert counting[0].verbs == {"scan": 1, "get": len(SIZES)}


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
@both
def test_rotation_keeps_the_acl(store: StoreHarness, method: str, keys: tuple[Any, Any]) -> None:
    old, new = keys
    writer = encrypted(store, old, method)
    everybody = "http://acs.amazonaws.com/groups/global/AllUsers"
    writer.upload_object("private", b"x", acl="private")
    writer.upload_object("public", b"x" * 1000, acl="public-read")
    writer.upload_object("odd", b"x", acl="private")
    acl = writer.get_object("odd").Acl()
    grant = {"Grantee": {"Type": "Group", "URI": everybody}, "Permission": "READ_ACP"}
    acl.put(AccessControlPolicy={"Owner": acl.owner, "Grants": [*acl.grants, grant]})
    names = ["odd", "private", "public"]

    def grants() -> dict[str, set[str]]:
        return {
            name: {
                grant["Permission"]
                for grant in writer.get_object(name).Acl().grants
                if grant["Grantee"].get("URI") == everybody
            }
            for name in names
        }

    before = grants()
    assert before["public"] == {"READ"}
    if store.name == "ceph":  # moto ignores the grant
        assert before["odd"] == {"READ_ACP"}
    assert encrypted(store, [new, old], method).rotate_keys() == names
    assert grants() == before
    assert encrypted(store, new, method).download_object("public") == b"x" * 1000
