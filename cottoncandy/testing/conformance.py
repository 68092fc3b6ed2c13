"""What every backend must do, as one test class."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cottoncandy.backends.base import Backend
from cottoncandy.testing.buckets import BucketConformance
from cottoncandy.testing.copying import CopyConformance
from cottoncandy.testing.harness import StoreHarness
from cottoncandy.testing.listing import ListingConformance
from cottoncandy.testing.reading import ReadingConformance
from cottoncandy.testing.writing import WritingConformance

__all__ = ["BackendConformance"]


class StatefulConformance:
    """The store, compared with a dictionary."""

    #: Number of random histories.
    histories = 30

    def test_behaves_like_a_dictionary(self, backend: Backend, harness: StoreHarness) -> None:
        pytest.importorskip("hypothesis")
        from cottoncandy.testing.stateful import check_against_dictionary

        check_against_dictionary(backend, harness, self.histories)


class BackendConformance(
    ReadingConformance,
    WritingConformance,
    ListingConformance,
    CopyConformance,
    BucketConformance,
    StatefulConformance,
):
    """The tests of a backend: subclass it, define :meth:`make_harness`, and override no test.

    Whatever a store cannot do is declared by its ``capabilities``, which alone decide what is
    required of it. ``examples``, ``histories`` and ``crowd`` reduce the work on slow stores.
    """

    def make_harness(self, request: pytest.FixtureRequest) -> StoreHarness:
        """Return access to the store; ``request`` gives other fixtures, such as ``tmp_path``."""
        raise NotImplementedError(f"{type(self).__name__} must define make_harness(self, request)")

    def wrap(self, backend: Backend) -> Backend:
        """Return the backend to be tested; override it to test a wrapper around another one."""
        return backend

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest) -> Iterator[StoreHarness]:
        """Access to the store without the backend."""
        harness = self.make_harness(request)
        yield harness
        harness.close()

    @pytest.fixture
    def backend(self, harness: StoreHarness) -> Iterator[Backend]:
        """The backend to be tested."""
        backend = self.wrap(harness.backend())
        yield backend
        backend.close()

    @pytest.fixture
    def other_bucket(self, harness: StoreHarness) -> str:
        """A second empty bucket."""
        return harness.fresh_bucket()
