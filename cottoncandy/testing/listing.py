"""Conformance: listings, against a plain reference."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cottoncandy.backends.base import Backend, CommonPrefix, ObjectInfo
from cottoncandy.testing.harness import StoreHarness, fitting, for_each, keys_of

_KEYS = [
    *("a", "a!", "a-b", "a-b/c", "a.b", "a/b", "a/b-c", "a/b/c", "a/b/d", "a/bc", "a/c/d/e/f"),
    *("a0", "aa/b", "b", "b b/c d", "z/ü/ö", "z/v", "é/e", "ß", "日本/語"),
    *("data/exp/1", "data/exp/2", "data/experiment2/1", "data/exp.txt", "data/exp-1/1"),
    *("\uffee after the others", "🍬/candy"),
]

_TEXTS = sorted({key[:cut] for key in _KEYS for cut in range(len(key) + 1)} | {"a/x", "~", "c"})


def reference(
    keys: list[str], prefix: str, delimiter: str, start_after: str
) -> list[tuple[type, str]]:
    """Return what a listing must contain, computed in the plainest way."""
    found: list[tuple[type, str]] = []
    for key in sorted(keys, key=str.encode):
        if not key.startswith(prefix) or key.encode() <= start_after.encode():
            continue
        head, mark, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        entry = (CommonPrefix, prefix + head + mark) if mark else (ObjectInfo, key)
        if entry not in found:
            found.append(entry)
    return found


def listing(backend: Backend, *arguments: str, **options: Any) -> list[tuple[type, str]]:
    return [(type(entry), entry.key) for entry in backend.scan(*arguments, **options)]


class ListingConformance:
    """Listings, compared with a plain reference."""

    #: Number of random cases.
    examples = 100

    #: A number of objects that exceeds a page; above 1,000 if the server chooses the page size.
    crowd = 45

    def test_listing_tells_sizes(self, backend: Backend, harness: StoreHarness) -> None:
        harness.raw_put("folder/name", b"12345", {"a": "b"})
        harness.raw_put("name", b"")
        folder, name = backend.scan()
        head = backend.head("folder/name")
        assert isinstance(folder, ObjectInfo)
        assert isinstance(name, ObjectInfo)
        assert (folder.key, folder.size, folder.etag) == ("folder/name", 5, head.etag)
        assert folder.modified is not None
        assert head.modified is not None
        # Some stores give the head's time in whole seconds.
        assert abs((folder.modified - head.modified).total_seconds()) < 1
        assert folder.metadata is None
        assert (name.key, name.size) == ("name", 0)

    def test_prefixes_and_delimiters_are_text(
        self, backend: Backend, harness: StoreHarness
    ) -> None:
        keys = ["dat", "data/exp.txt", "data/exp/1", "data/experiment2/1", "database"]
        keys += ["a-b", "a-c", "a", "b/c-d", "b/c-e", "b/c"]
        for key in keys:
            harness.raw_put(key, b"")
        for prefix in ("", "data/exp", "data/exp/", "data", "data/exp/1", "data/exp/1/", "b/c"):
            for delimiter in ("", "/", "-"):
                found = listing(backend, prefix, delimiter=delimiter)
                assert found == reference(keys, prefix, delimiter, "")

    def test_odd_prefixes_find_nothing(self, backend: Backend, harness: StoreHarness) -> None:
        assert list(backend.scan()) == []
        harness.raw_put("a/b", b"")

        def check(prefix: str) -> None:
            assert list(backend.scan(prefix)) == []
            assert list(backend.scan(prefix, delimiter="/")) == []

        for_each(["/", "//", "../", "a/../", "./", "a//", "\0", "a\n", "%61"], check)

    def test_listing_agrees_with_the_reference(
        self, backend: Backend, harness: StoreHarness
    ) -> None:
        keys = fitting(backend, _KEYS)
        for key in keys:
            harness.raw_put(key, b"")
        pick = random.Random(1).choice

        def check(texts: tuple[str, str, str]) -> None:
            prefix, delimiter, start_after = texts
            # Stores differ in whether they begin in the middle of a directory.
            if start_after.startswith(prefix) and "/" in start_after[len(prefix) :]:
                delimiter = ""
            found = listing(
                backend,
                prefix,
                delimiter=delimiter,
                start_after=start_after,
                page_size=pick([None, 1, 2, 3, 1000]),
            )
            assert found == reference(keys, prefix, delimiter, start_after)

        cases = [(pick(_TEXTS), pick(["", "/"]), pick(["", *_TEXTS])) for _ in range(self.examples)]
        for_each(cases, check)

    def test_listing_more_than_a_page(self, backend: Backend, harness: StoreHarness) -> None:
        keys = [f"many/{n:04}" for n in range(self.crowd)] + ["many.txt", "more/1"]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: harness.raw_put(key, b""), keys))
        last = self.crowd - 10
        for page_size in (None, 20):
            assert keys_of(backend, page_size=page_size) == sorted(keys)
            assert listing(backend, delimiter="/", page_size=page_size) == [
                (ObjectInfo, "many.txt"),
                (CommonPrefix, "many/"),
                (CommonPrefix, "more/"),
            ]
            found = keys_of(backend, start_after=keys[last], page_size=page_size)
            assert found == [*keys[last + 1 : self.crowd], "more/1"]
        gone = list(backend.delete(keys))
        assert [deletion.error for deletion in gone] == [None] * len(keys)
        assert sorted(deletion.key for deletion in gone) == sorted(keys)
        assert harness.raw_keys() == []

    def test_listing_is_lazy(self, backend: Backend, harness: StoreHarness) -> None:
        for n in range(30):
            harness.raw_put(f"{n:02}", b"")
        entries = backend.scan(page_size=10)
        assert next(entries).key == "00"
        # Abandoned in the middle: nothing complains.
        del entries

    def test_deleting_while_listing(self, backend: Backend, harness: StoreHarness) -> None:
        for n in range(25):
            harness.raw_put(f"folder{n % 5}/{n:02}", b"")
        for entry in backend.scan(page_size=4):
            assert isinstance(entry, ObjectInfo)
            assert list(backend.delete([entry.key])) == [(entry.key, None)]
        assert harness.raw_keys() == []
