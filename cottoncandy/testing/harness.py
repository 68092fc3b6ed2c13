"""How the conformance tests reach a store without the backend, and what they store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, NamedTuple, TypeVar

import numpy as np

from cottoncandy.backends.base import Backend, ObjectInfo
from cottoncandy.core.buffers import Buffer, MiB, bytes_view

T = TypeVar("T")


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


# -- samples ---------------------------------------------------------------------------------------


def pattern(size: int, seed: int = 0) -> bytes:
    """Return bytes without a short period, so that no two ranges are equal."""
    words = np.arange(seed * 7919, seed * 7919 + size // 4 + 1, dtype="<u4")
    return (words * np.uint32(2654435761)).tobytes()[:size]  # modulo 2**32


#: A body of several parts and ranges, whatever their size; made once.
BIG = (pattern(MiB - 3) * 23)[: 22 * MiB + 5]

#: Every store must keep these unchanged.
PLAIN_KEYS = [
    *("simple", "with/slashes/in/it", "with space/and  two", "UPPER/lower", "-dash/_under_"),
    # What means something in URLs, shells and patterns
    *("percent%20/%2F%25%", "hash#tag", "plus+plus", "question?mark=1&more"),
    *("quotes'single\"double", "brackets[1]{2}(3)<4>", "back\\slash|pipe^caret~tilde`tick"),
    "semi;colon:comma,at@dollar$bang!star*",
    # Other scripts, and one accent in two encodings
    *("ünïcödé/ß/日本語/🍬", "e\u0301 is not \u00e9"),
    # Nearly the names that local directories reserve
    *(".hidden/.file", "dots...in.name.", "metadata.json", "name.meta.jsonx"),
    # 1024 bytes are the most that S3 takes.
    *("/".join(["deep"] * 60), "/".join("x" * 204 for _ in range(5))),
]

#: A store keeps each under exactly its name, or refuses it.
ODD_KEYS = [
    *("/leading", "trailing/", "double//slash", "//", "/"),
    *(".", "..", "./dot", "../escape", "a/./b", "a/../b", "a/..", "a/.", "%2e%2e/%2fetc"),
    *("line\nfeed", "carriage\rreturn", "tab\tstop", "bell\x07", "delete\x7f", "next\x85line"),
    *("nul\0char", "surrogate\udc80", "not a character \ufffe", " blank before", "blank behind "),
    *("sidecar.meta.json", ".cottoncandy-0123456789abcdef.tmp", "~/home", "C:\\windows"),
    *("x" * 250, "x" * 1025),
]

#: A store keeps each exactly, or refuses it.
ODD_METADATA = [
    *({"note": note} for note in ("blank behind ", " blank before", "two  blanks", "tab\tstop")),
    *(
        {"note": note}
        for note in ("line\nfeed", "nul\0", "ünïcödé", "日本語", "=?utf-8?q?encoded?=")
    ),
    *({name: "1"} for name in ("under_score", "a name", "colon:", "ünïcödé", "", "x-amz-meta-x")),
    *({"empty": ""}, {"content-type": "text/nonsense"}, {"cc-pending": "1"}),
]


def same(found: Buffer, expected: Buffer) -> bool:
    """Compare bodies at once: a memoryview compares element by element, ten times as long."""
    return bytes(bytes_view(found)) == bytes(bytes_view(expected))


def fitting(backend: Backend, keys: list[str]) -> list[str]:
    """Return the keys that the store can hold at the same time."""
    if backend.capabilities.object_and_prefix:
        return keys
    return [key for key in keys if not any(other.startswith(key + "/") for other in keys)]


def keys_of(backend: Backend, prefix: str = "", **options: Any) -> list[str]:
    """Return the keys of a listing, without those of directories."""
    return [entry.key for entry in backend.scan(prefix, **options) if isinstance(entry, ObjectInfo)]


def fetched(backend: Backend, key: str) -> Stored:
    """Return an object as the backend reads it."""
    with backend.get(key) as reader:
        return Stored(reader.read(), dict(reader.metadata))


def contents(backend: Backend, harness: StoreHarness) -> dict[str, Stored]:
    """Return all objects of the bucket; the store, listings, headers and bodies must agree."""
    found = {key: harness.raw_get(key) for key in harness.raw_keys()}
    assert keys_of(backend) == list(found)
    for key, stored in found.items():
        assert fetched(backend, key) == stored
        head = backend.head(key)
        assert (head.size, head.metadata) == (len(stored.body), stored.metadata)
    return found


def for_each(items: Iterable[T], check: Callable[[T], None]) -> None:
    """Check all items and report all failures; one test per item would take too long."""
    failed = []
    for item in items:
        try:
            check(item)
        except Exception as error:
            error.add_note(f"with {item!r}")
            failed.append(error)
    if failed:
        raise ExceptionGroup("some failed", failed)


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run calls in threads that begin together; return the results, or raise the first error."""
    start = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def holdable(harness: StoreHarness, keys: list[str]) -> list[str]:
    """Return the keys that the store itself can handle, without the backend."""
    good = []
    for key in keys:
        try:
            harness.raw_put(key, b"x")
            harness.raw_get(key)
            listed = harness.raw_keys() == [key]
            harness.raw_delete(key)
        except Exception as error:
            # A rejected key is a case for the backend; a lost one is a fault of the server.
            listed = getattr(error, "response", {}).get("Error", {}).get("Code") != "NoSuchKey"
            listed = listed and not isinstance(error, KeyError)
        if listed:
            good.append(key)
    return good
