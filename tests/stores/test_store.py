"""A backend and a bucket: what every user of a store relies on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import cottoncandy
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.stores.store import state_of
from tests.cases import each


class _Options:
    def __init__(self, value: object) -> None:
        self.value = value

    def method(self) -> object:
        return self.value


def _function() -> None: ...


def _namesake() -> None: ...


_namesake.__qualname__, _namesake.__module__ = _function.__qualname__, "another_module"

#: Settings that are equal, and others.
STATES: list[tuple[Any, Any, Any]] = [
    ({"b", "a"}, {"a", "b"}, {"a", "c"}),
    (frozenset({("a", 1), ("b", 2)}), frozenset({("b", 2), ("a", 1)}), frozenset({("a", 1)})),
    ({"timeout": 5}, {"timeout": 5.0}, {"timeout": 5.5}),
    (_function, _function, _namesake),
    (partial(_function, 1), partial(_function, 1), partial(_function, 2)),
    (_Options(1).method, _Options(1).method, _Options(2).method),
]


@each("value, same, other", STATES)
def test_states_of_equal_settings_are_equal(value: Any, same: Any, other: Any) -> None:
    states = [repr(state_of(_Options(each))) for each in (value, same, other)]
    assert states[0] == states[1] != states[2]
    assert " at 0x" not in states[0]


def test_a_directory_may_be_created_by_two_processes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = LocalBackend.create_bucket

    def late(self: LocalBackend, bucket: str, **options: Any) -> None:
        Path(bucket).mkdir()  # by the other one, after this one has looked
        create(self, bucket, **options)

    monkeypatch.setattr(LocalBackend, "create_bucket", late)
    (tmp_path / "source").mkdir()
    cottoncandy.get_interface(f"file://{tmp_path}/interface", verbose=False)
    cottoncandy.sync(tmp_path / "source", tmp_path / "copy")
    assert {path.name for path in tmp_path.iterdir()} == {"source", "interface", "copy"}
