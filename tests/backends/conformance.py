"""What every backend must do, as one test class.

A backend joins with a subclass that names its harness (see :mod:`tests.harness`) and overrides no
tests. What a store cannot do is declared by its ``capabilities``, and these alone decide what is
asked of it. The rig's raw methods bypass the backend, so that a mistake in it can't hide in both
directions.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cottoncandy.backends.base import Backend
from tests.backends._buckets import BucketConformance
from tests.backends._copying import CopyConformance
from tests.backends._listing import ListingConformance
from tests.backends._reading import ReadingConformance
from tests.backends._stateful import StatefulConformance
from tests.backends._writing import WritingConformance
from tests.harness import HARNESSES, StoreHarness

__all__ = ["BackendConformance"]


class BackendConformance(
    ReadingConformance,
    WritingConformance,
    ListingConformance,
    CopyConformance,
    BucketConformance,
    StatefulConformance,
):
    """Subclass it, set ``rig_name``; ``examples`` lowers the work on slow stores."""

    rig_name: str

    @pytest.fixture
    def rig(self, request: pytest.FixtureRequest) -> Iterator[StoreHarness]:
        rig = HARNESSES[self.rig_name](request)
        yield self.wrap_rig(rig)
        rig.close()

    @pytest.fixture
    def backend(self, rig: StoreHarness) -> Backend:
        return self.wrap(rig.backend())

    @pytest.fixture
    def other_bucket(self, rig: StoreHarness) -> str:
        return rig.fresh_bucket()

    def wrap_rig(self, rig: StoreHarness) -> StoreHarness:
        """Return the rig whose raw methods look behind what is tested."""
        return rig

    def wrap(self, backend: Backend) -> Backend:
        """Return what is tested, made of the rig's backend."""
        return backend
