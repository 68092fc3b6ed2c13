"""Manifests and parts of others, damaged or exchanged."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from cottoncandy.arrays import manifests
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    MetadataError,
    ObjectExistsError,
)
from tests.arrays.kinds import KINDS
from tests.harness import MemoryHarness


@pytest.mark.parametrize("method", ["append_dask_array", "restore"])
def test_another_programs_manifest_is_not_changed(memory: MemoryHarness, method: str) -> None:
    cci = memory.interface()
    cci.upload_json("a/metadata.json", {"mine": 1})
    arguments = (np.ones(3),) if method == "append_dask_array" else ()
    with pytest.raises(MetadataError, match="'a'"):
        getattr(cci, method)("a", *arguments)
    assert memory.raw_keys() == ["a/metadata.json"]


def test_a_predecessor_that_cannot_be_read_is_not_taken_for_none(
    memory: MemoryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    cci = memory.interface()
    cci.upload_dask_array("a", np.zeros(40), buffersize=8)
    cci.upload_dask_array("a", np.zeros(40))
    keys = memory.raw_keys()
    monkeypatch.setattr(manifests, "_MAX_BYTES", 1000)  # the first manifest has more
    for method in (cci.restore, cci.__delitem__):
        with pytest.raises(IntegrityError, match="more than a manifest has"):
            method("a")
    assert memory.raw_keys() == keys
    assert cci.clean("a", grace=0, dry_run=True)  # and does not raise


@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_others_are_detected(store: Any, factory: Any, kind: str) -> None:
    upload, value = KINDS[kind]
    cci = factory(store.bucket, backend=store.backend_name, verbose=False)
    names = ["pt0000", "pt0001"] if kind == "chunked" else ["indices", "data"]
    upload(cci, 0)
    upload(cci, 1)
    (live,) = {key.rpartition("/")[0] for key in store.raw_keys() if key.endswith(names[0])} - {"a"}
    for source in (f"a/{names[0]}", f"{live}/{names[1]}"):  # another upload; another number
        target = f"{live}/{names[0]}"
        kept = store.raw_get(target)
        store.raw_put(target, *store.raw_get(source))
        with pytest.raises(IntegrityError, match=names[0]):
            value(cci, "a")
        store.raw_put(target, *kept)
    assert value(cci, "a") == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("no_collection")
def test_damaged_manifests_are_typed_errors(memory: MemoryHarness, kind: str) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    upload(cci, 0)
    upload(cci, 1)
    body, metadata = memory.raw_get("a/metadata.json")
    good = json.loads(body)
    changes: list[Any] = [
        {"upload_id": 5}, {"upload_id": "x"}, {"previous": ["x"]}, {"parts": None}, {"parts": []},
        {"parts": good["parts"][:-1]}, {"parts": [*good["parts"], good["parts"][0]]},
        {"parts": [[good["upload_id"]]] * 3}, {"parts": 7},
        {"parts": [["../x", 0]] * 3}, {"parts": [[good["upload_id"], -1]] * 3},
        {"parts": good["parts"][::-1] if kind == "chunked" else [[None, "x"]] * 3},
        {"shape": [10**30]}, {"shape": [-1]}, {"dtype": ">f8"},
        {"dtype": "|O"} if kind == "chunked" else {"type": 1},
    ]  # fmt: skip
    if kind == "chunked":
        index, name = good["dask"][0]
        rest = good["dask"][1:]
        changes += [
            {"dask": [[index, "b/secret"], *rest]}, {"dask": [[index, "../pt0000"], *rest]},
            {"dask": [[[7], name], *rest]}, {"dask": [[index, name], *good["dask"]]},
            {"dask": [[index, 5], *rest]}, {"chunks": [[2, 2]]}, {"chunks": [[2, 2, 10**9]]},
        ]  # fmt: skip
    else:
        changes += [
            {"attrs": ["../b/data", *good["attrs"][1:]]}, {"attrs": ["data"] * 3}, {"attrs": {}},
            {"attrs": [f"x/{name}" for name in good["attrs"]]}, {"attrs": [5, None, {}]},
        ]  # fmt: skip
    bodies = [json.dumps({**good, **change}).encode() for change in changes]
    bodies += [body[:position] for position in range(0, len(body), 40)]
    bodies += [b"[" * 100_000, b'{"dask":' * 50_000, bytes([255, 254]), b"null", b"NaN"]
    memory.raw_put("b/secret", b"not yours")
    for damaged in bodies:
        memory.raw_put("a/metadata.json", damaged, metadata)
        with pytest.raises(CottonCandyError, match="a"):
            value(cci, "a")
        for verb in (lambda: upload(cci, 2), lambda: cci.restore("a")):
            try:
                verb()
            except CottonCandyError:
                continue
            memory.raw_put("a/metadata.json", damaged, metadata)
    cci.clean("", grace=0)
    assert memory.raw_get("b/secret").body == b"not yours"


@pytest.mark.parametrize("kind", KINDS)
def test_an_oversized_manifest_is_not_downloaded(
    memory: MemoryHarness, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, value = KINDS[kind]
    cci = memory.interface()
    upload(cci, 0)
    monkeypatch.setattr(manifests, "_MAX_BYTES", 10)
    for read in (lambda: value(cci, "a"), lambda: cci["a"], lambda: cci.info("a")):
        with pytest.raises(IntegrityError, match="more than a manifest has"):
            read()
    with pytest.raises(ObjectExistsError):
        upload(cci, 1)
    assert cci.clean("a", grace=0) == []
