"""The whole interface as a state machine; see :mod:`tests.machine.machine`.

The default test run tries a few histories, the same each time. To look for longer, set the time for
each store and, to continue where another run ended, the first seed::

    COTTONCANDY_MACHINE_SECONDS=3600 COTTONCANDY_MACHINE_SEED=1000 \
        pytest tests/machine -k "memory or local" -s
    COTTONCANDY_MACHINE_SECONDS=900 pytest tests/machine -m slow -k ceph -s

A seed stands for ten histories; the seed that failed is printed, and fails again the same way.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import dask
import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import get_state_machine_test

from tests.environments import ORIGINAL_ENVIRONMENT
from tests.harness import HARNESSES
from tests.machine.machine import InterfaceMachine

_SECONDS = float(ORIGINAL_ENVIRONMENT.get("COTTONCANDY_MACHINE_SECONDS", "0"))
_SEED = int(ORIGINAL_ENVIRONMENT.get("COTTONCANDY_MACHINE_SEED", "0"))


def _settings(histories: int) -> settings:
    return settings(
        max_examples=histories,
        stateful_step_count=20,
        deadline=None,
        derandomize=not _SECONDS,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


@pytest.mark.timeout(_SECONDS + 900)
@pytest.mark.parametrize(
    ("store", "encryption", "histories"),
    [
        ("memory", "plain", 4),
        ("local", "AES", 2),
        pytest.param("memory", "RSA", 4, marks=pytest.mark.slow),
        pytest.param("local", "plain", 6, marks=pytest.mark.slow),
        pytest.param("moto", "AES", 3, marks=pytest.mark.slow),
        pytest.param("ceph", "plain", 3, marks=pytest.mark.slow),
    ],
    indirect=["encryption"],
)
def test_interface_behaves_like_a_dictionary(
    request: pytest.FixtureRequest,
    factory: Callable[..., Any],
    store: str,
    encryption: str,
    histories: int,
) -> None:
    test = get_state_machine_test(
        lambda: InterfaceMachine(HARNESSES[store](request), factory),  # type: ignore[arg-type]
        settings=_settings(10 if _SECONDS else histories),
    )
    with dask.config.set(scheduler="synchronous"):
        if not _SECONDS:
            test()
            return
        end = time.monotonic() + _SECONDS
        for seed in itertools.count(_SEED):
            if time.monotonic() > end:
                print(f"{store} {encryption}: seeds {_SEED} to {seed - 1}")
                return
            try:
                hypothesis.seed(seed)(test)()
            except BaseException as error:
                error.add_note(f"seed {seed} on {store}, {encryption}")
                raise
