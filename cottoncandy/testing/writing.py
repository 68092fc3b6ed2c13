"""Conformance: storing objects whole or not at all."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from cottoncandy.backends.base import Backend, IfAbsent, IfMatch, MetadataLimits, PutOptions
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import (
    IntegrityError,
    InvalidNameError,
    MetadataError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from cottoncandy.testing.harness import (
    BIG,
    ODD_KEYS,
    ODD_METADATA,
    PLAIN_KEYS,
    Stored,
    StoreHarness,
    at_once,
    contents,
    fetched,
    fitting,
    for_each,
    holdable,
    keys_of,
    pattern,
    same,
)

_HEADERS = {"content_encoding": "gzip", "cache_control": "no-transform"}


class WritingConformance:
    """Storing and deleting objects."""

    def test_plain_names(self, backend: Backend, harness: StoreHarness) -> None:
        def check(key: str) -> None:
            stored = Stored(key.encode(), {"a": "b"})
            assert backend.exists(key) is False
            backend.put(key, Body.of(stored.body), PutOptions(stored.metadata))
            assert backend.exists(key) is True
            assert backend.head(key).key == key
            assert harness.raw_get(key) == fetched(backend, key) == stored
            assert keys_of(backend, key) == [key]
            backend.copy(key, "copy/" + key[:1000])
            backend.move("copy/" + key[:1000], moved[key])
            assert harness.raw_get(moved[key]) == stored

        moved = {key: "moved/" + key[:1000] for key in fitting(backend, PLAIN_KEYS)}
        assert len(moved) == len(PLAIN_KEYS)
        for_each(moved, check)
        keys = [*moved, *moved.values()]
        assert harness.raw_keys() == keys_of(backend) == sorted(keys, key=str.encode)
        assert sorted(backend.delete(keys)) == sorted((key, None) for key in keys)
        assert harness.raw_keys() == []

    def test_odd_names_are_kept_exactly_or_refused(
        self, backend: Backend, harness: StoreHarness
    ) -> None:
        def check(key: str) -> None:
            try:
                backend.put(key, Body.of(b"odd"), PutOptions({"a": "b"}))
            except InvalidNameError:
                pass
            else:
                assert contents(backend, harness) == {key: (b"odd", {"a": "b"})}
                assert list(backend.delete([key])) == [(key, None)]

        # The raw methods of a directory would follow such names out of it.
        trusted = backend.capabilities.any_key
        for_each(holdable(harness, ODD_KEYS) if trusted else ODD_KEYS, check)
        assert contents(backend, harness) == {}

    def test_a_name_must_not_be_empty(self, backend: Backend, harness: StoreHarness) -> None:
        harness.raw_put("name", b"")
        for call in (
            lambda: backend.put("", Body.of(b"")),
            lambda: backend.get(""),
            lambda: backend.head(""),
            lambda: backend.copy("name", ""),
        ):
            with pytest.raises(InvalidNameError):
                call()
        assert harness.raw_keys() == ["name"]

    def test_odd_metadata_is_kept_exactly_or_refused(
        self, backend: Backend, harness: StoreHarness
    ) -> None:
        def check(metadata: dict[str, str]) -> None:
            try:
                backend.put("name", Body.of(b"x"), PutOptions(metadata))
            except MetadataError:
                assert not backend.exists("name")
                return
            assert backend.head("name").metadata == metadata
            assert fetched(backend, "name") == (b"x", metadata)
            harness.raw_delete("name")

        for_each(ODD_METADATA, check)

    def test_metadata_up_to_the_limit(self, backend: Backend, harness: StoreHarness) -> None:
        limit = backend.capabilities.metadata.max_bytes
        room = 100_000 if limit is None else limit
        metadata = {f"name{number:03}": "x" * 93 for number in range(room // 100)}
        backend.put("name", Body.of(b""), PutOptions(metadata))
        assert backend.head("name").metadata == metadata
        if limit is not None:
            with pytest.raises(MetadataError, match=str(limit)):
                backend.put("another", _never_read(), PutOptions({"long": "x" * limit}))
        assert harness.raw_keys() == ["name"]

    def test_reserved_metadata_names_are_rejected(self, backend: Backend) -> None:
        for name in MetadataLimits.RESERVED:
            with pytest.raises(MetadataError, match="reserved"):
                backend.put("name", _never_read(), PutOptions({name.upper(): "1"}))

    def test_headers_are_kept_or_rejected(self, backend: Backend) -> None:
        for name, value in _HEADERS.items():
            changes: dict[str, Any] = {name: value}
            options = PutOptions(**changes)
            if name in backend.capabilities.headers:
                backend.put("name", Body.of(b"x"), options)
                assert getattr(backend.head("name"), name) == value
                assert backend.head("name").metadata == {}
            else:
                with pytest.raises(UnsupportedOperationError, match=name):
                    backend.put("name", _never_read(), options)

    def test_headers_belong_to_their_version(self, backend: Backend) -> None:
        names = backend.capabilities.headers & _HEADERS.keys()
        kept: dict[str, Any] = {name: _HEADERS[name] for name in names}
        backend.put("name", Body.of(b"first"), PutOptions({"a": "b"}, None, "a/b", **kept))
        backend.copy("name", "copy")
        backend.move("name", "moved")
        backend.set_metadata("copy", {"c": "d"})
        backend.put("name", Body.of(b"second"), PutOptions({"e": "f"}))
        for key, metadata in {"copy": {"c": "d"}, "moved": {"a": "b"}}.items():
            with backend.get(key) as reader:
                for info in (reader.info, backend.head(key)):
                    assert info.metadata == metadata
                    assert {name: getattr(info, name) for name in kept} == kept
        found = backend.head("name")
        assert found.metadata == {"e": "f"}
        assert not any(getattr(found, name) for name in kept)

    def test_if_match_replaces_only_that_version(
        self, backend: Backend, harness: StoreHarness
    ) -> None:
        first = backend.put("name", Body.of(b"first")).etag or ""
        second = backend.put("name", Body.of(b"second"), PutOptions(condition=IfMatch(first))).etag
        with pytest.raises(ObjectChangedError, match="name"):
            backend.put("name", Body.of(b"third"), PutOptions(condition=IfMatch(first)))
        with pytest.raises(ObjectChangedError, match="missing"):
            backend.put("missing", Body.of(b"x"), PutOptions(condition=IfMatch(first)))
        with pytest.raises(ObjectChangedError):
            backend.put("name", Body.of(BIG), PutOptions(condition=IfMatch(first)))
        assert contents(backend, harness) == {"name": (b"second", {})}
        assert backend.head("name").etag == second

    def test_replacing_takes_everything_anew(self, backend: Backend, harness: StoreHarness) -> None:
        backend.put("name", Body.of(b"first and long"), PutOptions({"one": "1", "both": "1"}))
        backend.put("name", Body.of(b"second"), PutOptions({"two": "2", "both": "2"}))
        assert contents(backend, harness) == {"name": (b"second", {"two": "2", "both": "2"})}
        backend.put("name", Body.of(b"third"))
        assert contents(backend, harness) == {"name": (b"third", {})}

    def test_set_metadata_keeps_everything_else(
        self, backend: Backend, harness: StoreHarness
    ) -> None:
        body = b"body" * 100
        backend.put("name", Body.of(body), PutOptions({"one": "1", "dtype": "<f8"}, None, "a/b"))
        before = backend.head("name")
        for metadata in ({"two": "2", "dtype": "<f8"}, {"dtype": "<i8"}, {}):
            backend.set_metadata("name", metadata, etag=backend.head("name").etag)
            assert contents(backend, harness) == {"name": (body, metadata)}
            assert backend.head("name").content_type == before.content_type
        backend.put("name", Body.of(b"another body"))
        for metadata in ({"two": "2"}, {"dtype": "<i8"}):
            with pytest.raises(ObjectChangedError):
                backend.set_metadata("name", metadata, etag=before.etag)
        with pytest.raises(ObjectNotFoundError):
            backend.set_metadata("missing", {"two": "2"})
        assert contents(backend, harness) == {"name": (b"another body", {})}

    def test_kinds_of_bodies(self, backend: Backend, harness: StoreHarness) -> None:
        array = np.arange(1000, dtype=">i4").reshape(10, 100)
        array.flags.writeable = False
        file = io.BytesIO(b"skipped" + BIG[:100_000])
        file.seek(7)
        bodies: dict[str, tuple[object, bytes]] = {
            "big, by one thread": (BIG, BIG),
            "bytes": (b"text\r\n\0\x1a\xff", b"text\r\n\0\x1a\xff"),
            "big": (BIG, BIG),
            "many bytes": (BIG[:100_003], BIG[:100_003]),
            "big, in pieces": (_cut(BIG, 3 * MiB + 1), BIG),
            "big, in large pieces": (_cut(BIG, 16 * MiB), BIG),
            "bytearray": (bytearray(b"abc"), b"abc"),
            "view": (memoryview(b"xabcx")[1:-1], b"abc"),
            "array": (array, array.tobytes()),
            "nothing": (np.zeros((0, 5)), b""),
            "file": (file, BIG[:100_000]),
            "generator": (_cut(BIG[:1000], 7), BIG[:1000]),
            "mixed": (
                iter([b"a", bytearray(b"b"), memoryview(b"c"), array]),
                b"abc" + bytes(array),
            ),
            "empty pieces": (iter([b"", b"a", b"", b"b", b""]), b"ab"),
            "no pieces": (iter([]), b""),
        }
        options = PutOptions({"dtype": "<f8", "shape": "1,2"})
        for threads, (key, (data, expected)) in enumerate(bodies.items(), 1):
            backend.put(key, Body.of(data), options, threads=threads)
            with backend.get(key, threads=threads) as reader:
                assert same(reader.read(), expected), key
        stored = {key: (body, options.metadata) for key, (_, body) in bodies.items()}
        assert contents(backend, harness) == stored

    def test_the_buffer_is_taken_at_once(self, backend: Backend, harness: StoreHarness) -> None:
        data = bytearray(b"before")
        backend.put("name", Body.of(data))
        data[:] = b"behind"
        assert harness.raw_get("name").body == b"before"

    def test_overwrite_false(self, backend: Backend, harness: StoreHarness) -> None:
        backend.put("name", Body.of(b"first"), PutOptions({"one": "1"}, condition=IfAbsent()))
        for body in (b"second", BIG):
            options = PutOptions({"two": "2"}, condition=IfAbsent())
            with pytest.raises(ObjectExistsError, match="name") as caught:
                backend.put("name", Body.of(body), options)
            assert isinstance(caught.value, FileExistsError)
            assert contents(backend, harness) == {"name": (b"first", {"one": "1"})}

    @pytest.mark.parametrize("exists", [True, False])
    def test_a_body_that_breaks_off_changes_nothing(
        self, backend: Backend, harness: StoreHarness, exists: bool
    ) -> None:
        if exists:
            backend.put("folder/name", Body.of(b"old"), PutOptions({"which": "old"}))
        before = contents(backend, harness)

        def check(case: tuple[int, type[BaseException]]) -> None:
            blocks, error = case

            def broken() -> Iterator[bytes]:
                for _ in range(blocks):
                    yield BIG[: 4 * MiB]
                raise error("the source broke off")

            with pytest.raises(error, match="broke off"):
                backend.put("folder/name", Body.of(broken()), PutOptions({"which": "new"}))
            assert contents(backend, harness) == before

        # At once, while the body is small, and after parts of it were sent.
        for_each(itertools.product([0, 1, 6], [RuntimeError, OSError, KeyboardInterrupt]), check)

    @pytest.mark.parametrize(
        "body",
        [
            Body(lambda: iter([b"12", b"345"]), size=4),
            Body(lambda: iter([b"12", b"345"]), size=6),
            Body(lambda: iter([b"changed"]), size=7, buffer=memoryview(b"changed"), checksum=0),
        ],
        ids=["longer", "shorter", "changed"],
    )
    def test_a_body_that_differs_from_what_was_announced(
        self, backend: Backend, harness: StoreHarness, body: Body
    ) -> None:
        harness.raw_put("name", b"old")
        with pytest.raises(IntegrityError, match=r"changed|bytes"):
            backend.put("name", body)
        assert harness.raw_get("name").body == b"old"

    def test_object_and_prefix(self, backend: Backend, harness: StoreHarness) -> None:
        backend.put("a", Body.of(b"short"))
        backend.put("d/e/f", Body.of(b"long"), PutOptions({"a": "b"}))
        before = contents(backend, harness)
        if backend.capabilities.object_and_prefix:
            backend.put("a/b", Body.of(b"below"))
            backend.put("d/e", Body.of(b"above"))
            assert keys_of(backend) == ["a", "a/b", "d/e", "d/e/f"]
            return
        for key, other in (("a/b", "a"), ("a/b/c", "a"), ("d", "d/e/f"), ("d/e", "d/e/f")):
            with pytest.raises(ObjectExistsError) as caught:
                backend.put(key, _never_read(), PutOptions({"a": "b"}))
            assert f"'{key}'" in str(caught.value)
            assert f"'{other}'" in str(caught.value)
        with pytest.raises(ObjectExistsError):
            backend.copy("d/e/f", "a/b")
        with pytest.raises(ObjectExistsError):
            backend.move("a", "d/e")
        assert contents(backend, harness) == before

    def test_many_threads(self, backend: Backend, harness: StoreHarness) -> None:
        bodies = {f"folder{n % 3}/name {n}": pattern(1000 + n, n) for n in range(60)}

        def store(item: tuple[str, bytes]) -> None:
            backend.put(item[0], Body.of(item[1]), PutOptions({"key": item[0]}))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(store, bodies.items()))
            read = pool.map(lambda key: fetched(backend, key), bodies)
            found = dict(zip(bodies, read, strict=True))
            assert found == {key: (body, {"key": key}) for key, body in bodies.items()}
            assert harness.raw_keys() == sorted(bodies)
            halves = list(bodies)[::2], list(bodies)[1::2]
            gone = pool.map(lambda keys: list(backend.delete(keys)), halves)
            assert [deletion.error for part in gone for deletion in part] == [None] * 60
        assert harness.raw_keys() == []

    def test_writers_and_readers_of_one_name(self, backend: Backend) -> None:
        """Readers get the bytes and the metadata of one writer."""
        versions = {str(n): pattern(20_000 + n, n) for n in range(8)}

        def write(version: str) -> None:
            for _ in range(5):
                options = PutOptions({"version": version})
                backend.put("name", Body.of(versions[version]), options)

        def read() -> None:
            for _ in range(20):
                with contextlib.suppress(ObjectChangedError), backend.get("name") as reader:
                    assert reader.read() == versions[reader.metadata["version"]]

        write("0")
        writers: list[Callable[[], None]] = [partial(write, version) for version in versions]
        at_once([*writers, *[read] * 4])
        read()

    def test_only_one_of_many_creates(self, backend: Backend, harness: StoreHarness) -> None:
        def create(number: int) -> bool:
            options = PutOptions({"writer": str(number)}, condition=IfAbsent())
            try:
                backend.put("name", Body.of(b"%i" % number), options)
            except ObjectExistsError:
                return False
            return True

        created = at_once([partial(create, number) for number in range(8)])
        assert created.count(True) == 1
        winner = str(created.index(True))
        assert contents(backend, harness) == {"name": (winner.encode(), {"writer": winner})}

    def test_delete_many(self, backend: Backend, harness: StoreHarness) -> None:
        for key in ("a", "ab", "b/c", "b/d", "ü&<>\"'"):
            harness.raw_put(key, b"x", {"a": "b"})
        keys = ["a", "missing", "b/c", "b", "b/c/d", "ü&<>\"'", "a"]
        found = list(backend.delete(iter(keys)))
        assert sorted(deletion.key for deletion in found) == sorted(keys)
        assert {deletion.error for deletion in found} == {None}
        assert harness.raw_keys() == ["ab", "b/d"]

    def test_delete_is_lazy(self, backend: Backend, harness: StoreHarness) -> None:
        harness.raw_put("name", b"")
        assert list(backend.delete([])) == []
        deletions = backend.delete(["name"])
        assert harness.raw_keys() == ["name"]
        assert list(deletions) == [("name", None)]
        assert harness.raw_keys() == []

    def test_delete_then_gone(self, backend: Backend) -> None:
        backend.put("folder/name", Body.of(b"x"), PutOptions({"a": "b"}))
        list(backend.delete(["folder/name"]))
        with pytest.raises(ObjectNotFoundError):
            backend.get("folder/name")
        assert list(backend.scan(delimiter="/")) == []
        backend.put("folder/name", Body.of(b"y"))
        assert backend.head("folder/name").metadata == {}
        # The name of a removed directory can be an object.
        list(backend.delete(["folder/name"]))
        backend.put("folder", Body.of(b"z"))
        assert keys_of(backend) == ["folder"]


def _never_read() -> Body:
    """A body that must not be read."""

    def blocks() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    return Body(blocks)


def _cut(data: bytes, size: int) -> Iterator[memoryview]:
    return (memoryview(data)[start : start + size] for start in range(0, len(data), size))
