"""``clean`` removes what no array needs, and nothing else."""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cottoncandy.exceptions import (
    InvalidArgumentError,
    InvalidNameError,
    ObjectNotFoundError,
)
from cottoncandy.formats.generations import new_upload_id
from cottoncandy.stores.checks import check_duration
from tests.arrays.kinds import KINDS, uploads
from tests.backends.wrappers import WrappedBackend
from tests.harness import MemoryHarness


def test_clean_removes_only_parts_of_this_format(memory: MemoryHarness) -> None:
    cci = memory.interface()
    mine = new_upload_id()
    foreign = {
        "a/notes": b"x",
        "a/pt0099": b"of another program",
        "a/data": b"of another program",
        f"a/{mine}/notes": b"x",
        f"a/{mine}": b"x",
        "a/0123456789abcdef0123456789abcdef/pt0000": b"x",
        "b/metadata.json": b"{}",
        "b/pt0000": b"x",
        "pt0000": b"x",
        "metadata.json": b"x",
        f"{mine}/pt0000": b"at the top",
    }
    KINDS["chunked"][0](cci, 0)
    KINDS["chunked"][0](cci, 1)
    for key, body in foreign.items():
        memory.raw_put(key, body)
    memory.raw_put(f"a/{mine}/pt0000", b"of a killed upload")
    memory.raw_put("a/pt0050", b"too", {"cc-upload-id": mine, "cc-part": "50"})
    planned = cci.clean("", grace=0, dry_run=True)
    assert cci.clean("a", grace="1d") == []
    assert cci.clean("", grace=0) == planned
    assert {f"a/{mine}/pt0000", "a/pt0050", "a/pt0000"} <= set(planned)
    assert set(foreign) <= set(memory.raw_keys())
    assert KINDS["chunked"][1](cci, "a") == 1
    assert cci.clean("", grace=0) == []


def test_clean_spares_what_is_younger_than_the_grace(memory: MemoryHarness) -> None:
    cci = memory.interface()
    killed = f"a/{new_upload_id()}"
    KINDS["chunked"][0](cci, 0)
    memory.raw_put(f"{killed}/pt0000", b"x")
    age(memory, datetime.timedelta(days=2))
    memory.raw_put(f"{killed}/pt0001", b"still running")
    KINDS["chunked"][0](cci, 1)
    assert cci.clean("a") == []  # replaced a moment ago, and one part is young
    age(memory, datetime.timedelta(hours=2))
    assert cci.clean("a", grace="3h", dry_run=True) == []
    removed = cci.clean("a", grace="1h")
    assert {f"{killed}/pt0000", f"{killed}/pt0001", "a/pt0000"} <= set(removed)
    assert KINDS["chunked"][1](cci, "a") == 1


def age(memory: MemoryHarness, by: datetime.timedelta) -> None:
    """Make all objects of the bucket older."""
    from cottoncandy.backends import memory as module

    objects = module._BUCKETS[memory.bucket].objects
    for key, stored in objects.items():
        info = stored.info._replace(modified=stored.info.modified - by)
        objects[key] = module._Object(info, stored.body)


def test_clean_leaves_arrays_alone_whose_manifest_it_cannot_read(
    memory: MemoryHarness, caplog: pytest.LogCaptureFixture
) -> None:
    cci = memory.interface()
    KINDS["chunked"][0](cci, 0)
    KINDS["chunked"][0](cci, 1)
    memory.raw_put("a/metadata.json", b"damaged")
    before = memory.raw_keys()
    with caplog.at_level(logging.WARNING):
        assert cci.clean("", grace=0) == []
    assert "'a'" in caplog.text
    assert memory.raw_keys() == before


@pytest.mark.parametrize("grace", ["1x", "", "d", -1, "-1d", True, None, float("nan"), [1]])
def test_clean_rejects_what_is_not_a_duration(memory: MemoryHarness, grace: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="grace"):
        memory.interface().clean("a", grace=grace)


def test_durations() -> None:
    day = datetime.timedelta(days=1)
    for grace in ("1d", "24h", "1440 m", 86400, 86400.0, day, "86400s", np.int64(86400)):
        assert check_duration(grace, "grace") == day


def test_mistaken_names_are_explained(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_raw_array("raw", np.ones(3))
    with pytest.raises(ObjectNotFoundError, match="only these keep"):
        cci.restore("raw")
    with pytest.raises(InvalidNameError, match="the name comes first"):
        cci.upload_raw_array(np.ones(3), "name")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(InvalidNameError, match="the name comes first"):
        cci.upload_json({"a": 1}, "name")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(InvalidNameError, match="as_posix"):
        cci.upload_raw_array(Path("name"), np.ones(3))  # type: ignore[arg-type]  # the mistake
    with pytest.raises(InvalidArgumentError, match="compression=False"):
        cci.upload_raw_array("name", np.ones(3), compression="none")


class Between(WrappedBackend):
    """Calls a function once, when manifests of predecessors are about to be deleted."""

    function: Any = None

    def delete(self, keys: Any, **options: Any) -> Any:
        wanted = list(keys)
        function, self.function = self.function, None
        if function is not None and any(key.endswith("previous.json") for key in wanted):
            function()
        return super().delete(wanted, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_clean_keeps_what_is_restored_while_it_looks(memory: MemoryHarness, kind: str) -> None:
    upload, value = KINDS[kind]
    cci, second = memory.interface(), memory.interface()
    upload(cci, 0)
    upload(cci, 1)
    cci.backend_interface = between = Between(cci.backend_interface)
    between.function = lambda: second.restore("a")
    cci.clean("a", grace=0)
    assert between.function is None
    assert value(second, "a") == 0


def test_clean_keeps_what_has_an_unreadable_manifest_since(memory: MemoryHarness) -> None:
    upload, _ = KINDS["chunked"]
    cci = memory.interface()
    upload(cci, 0)
    upload(cci, 1)
    parts = [key for key in memory.raw_keys() if "/pt" in key]
    cci.backend_interface = between = Between(cci.backend_interface)
    between.function = lambda: memory.raw_put("a/metadata.json", b"damaged")
    assert cci.clean("a", grace=0) == []
    assert between.function is None
    assert set(parts) <= set(memory.raw_keys())


def test_clean_of_the_directory_of_an_upload_keeps_what_is_current(memory: MemoryHarness) -> None:
    upload, value = KINDS["chunked"]
    cci = memory.interface()
    upload(cci, 0)
    upload(cci, 1)
    (upload_id,) = uploads(memory)
    cci.clean(f"a/{upload_id}", grace=0)
    assert value(cci, "a") == 1


@pytest.mark.parametrize("grace", ["99999999d", 1e13, datetime.timedelta.max])
def test_a_grace_of_ages_keeps_everything(memory: MemoryHarness, grace: Any) -> None:
    cci = memory.interface()
    for number in range(2):
        KINDS["chunked"][0](cci, number)
    assert cci.clean("a", grace=grace) == []
