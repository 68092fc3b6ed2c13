"""Conformance: the store as a state machine, compared with a dictionary."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cottoncandy.backends.base import Backend, IfAbsent, PutOptions
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import ObjectExistsError, ObjectNotFoundError
from cottoncandy.testing.harness import StoreHarness, fetched, keys_of

_KEYS = st.sampled_from(["a", "a-b", "a.b", "a/b", "a/b/c", "a/bc", "b", "b/ü", "b/d/e/f"])
_BODIES = st.binary(max_size=40)
_METADATA = st.none() | st.dictionaries(
    st.sampled_from(["dtype", "shape"]), st.text("abc,1", min_size=1, max_size=4), max_size=2
)


def random_cases(number: int, **options: Any) -> settings:
    """Return the settings of a test with random cases: the same ones each time."""
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        **options,
    )


class StoreMachine(RuleBasedStateMachine):
    """The store must always agree with a dictionary."""

    def __init__(self, backend: Backend, harness: StoreHarness) -> None:
        super().__init__()
        self.backend = backend
        self.harness = harness
        self.model: dict[str, tuple[bytes, dict[str, str]]] = {}
        for key in harness.raw_keys():
            harness.raw_delete(key)

    def blocked(self, key: str) -> bool:
        """Return whether the store cannot have this key in addition to the others."""
        return not self.backend.capabilities.object_and_prefix and any(
            other.startswith(key + "/") or key.startswith(other + "/") for other in self.model
        )

    @rule(key=_KEYS, body=_BODIES, metadata=_METADATA, overwrite=st.booleans())
    def put(self, key: str, body: bytes, metadata: dict[str, str] | None, overwrite: bool) -> None:
        options = PutOptions(metadata, condition=None if overwrite else IfAbsent())
        if self.blocked(key) or (key in self.model and not overwrite):
            with pytest.raises(ObjectExistsError):
                self.backend.put(key, Body.of(body), options)
        else:
            self.backend.put(key, Body.of(body), options)
            self.model[key] = body, metadata or {}

    @rule(key=_KEYS)
    def get(self, key: str) -> None:
        if key not in self.model:
            with pytest.raises(ObjectNotFoundError):
                self.backend.get(key)
            return
        assert fetched(self.backend, key) == self.model[key]

    @rule(keys=st.lists(_KEYS, max_size=3))
    def delete(self, keys: list[str]) -> None:
        gone = list(self.backend.delete(keys))
        assert sorted(gone) == sorted((key, None) for key in keys)
        for key in keys:
            self.model.pop(key, None)

    @rule(source=_KEYS, dest=_KEYS, overwrite=st.booleans(), verb=st.sampled_from(["copy", "move"]))
    def copy(self, source: str, dest: str, overwrite: bool, verb: str) -> None:
        call = getattr(self.backend, verb)
        if source not in self.model:
            with pytest.raises(ObjectNotFoundError):
                call(source, dest)
        elif self.blocked(dest) or (dest in self.model and not overwrite):
            with pytest.raises(ObjectExistsError):
                call(source, dest, overwrite=overwrite)
        else:
            call(source, dest, overwrite=overwrite)
            self.model[dest] = self.model[source]
            if verb == "move" and dest != source:
                del self.model[source]

    @invariant()
    def the_listing_agrees(self) -> None:
        assert keys_of(self.backend) == sorted(self.model, key=str.encode)


def check_against_dictionary(backend: Backend, harness: StoreHarness, histories: int) -> None:
    """Apply random operations to a store and to a dictionary."""
    run_state_machine_as_test(
        lambda: StoreMachine(backend, harness),  # type: ignore[arg-type]  # or a factory
        settings=random_cases(histories, stateful_step_count=25),
    )
