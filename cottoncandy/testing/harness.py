"""How the conformance tests reach a store without the backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from cottoncandy.backends.base import Backend


class Stored(NamedTuple):
    """A stored object."""

    body: bytes
    metadata: dict[str, str]


class StoreHarness(ABC):
    """One store with an empty bucket for each test.

    The ``raw_`` methods bypass the backend, so that a mistake in it cannot hide in both directions.
    ``bucket=None`` means :attr:`bucket`.
    """

    #: An empty bucket that belongs to the test.
    bucket: str

    #: A password or key that must not appear in a description of the backend.
    secret: str = "no such secret"

    @abstractmethod
    def backend(self) -> Backend:
        """Return a backend on the bucket."""

    @abstractmethod
    def fresh_bucket(self) -> str:
        """Create another empty bucket and return its name."""

    @abstractmethod
    def raw_put(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] | None = None,
        bucket: str | None = None,
    ) -> None:
        """Store an object."""

    @abstractmethod
    def raw_get(self, key: str, bucket: str | None = None) -> Stored:
        """Return an object as it is stored; raise KeyError if it does not exist."""

    @abstractmethod
    def raw_keys(self, prefix: str = "", bucket: str | None = None) -> list[str]:
        """Return the keys that start with a prefix, sorted by their UTF-8 bytes."""

    @abstractmethod
    def raw_delete(self, key: str, bucket: str | None = None) -> None:
        """Delete an object."""

    @abstractmethod
    def close(self) -> None:
        """Remove the buckets."""
