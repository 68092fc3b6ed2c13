"""Conformance: heads, bodies and ranges."""

from __future__ import annotations

import contextlib
import datetime
import pickle
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cottoncandy.backends.base import Backend, ObjectInfo, ObjectReader, PutOptions
from cottoncandy.core.buffers import Body, MiB, bytes_view
from cottoncandy.exceptions import (
    BucketNotFoundError,
    CottonCandyError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from cottoncandy.testing.harness import BIG, StoreHarness, fetched, for_each, pattern, same

_BODIES = [b"", b"\0", b"text\r\n\x1a\xff"]
_BODIES += [BIG[:size] for size in (100, 101, 700_000, 15 * MiB)]
#: All ways to open an object: what arrives with the header differs.
_OPENINGS: list[dict[str, Any]] = [
    {"threads": 1},
    {"prefetch": False},
    {"tail": 100},
    *({"prefetch": span} for span in [(0, 1), (2, 7), (MiB, MiB + 5), (7, 12 * MiB), (5, 10**9)]),
]
_SPANS = [(0, 0), (0, 1), (8 * MiB - 1, 8 * MiB + 1)]


def check_range(reader: ObjectReader, body: memoryview, start: int, stop: int) -> None:
    """Compare one range, read in all ways."""
    expected = body[start:stop]
    assert same(reader.read(start, stop), expected)
    assert same(b"".join(reader.chunks(start, stop)), expected)
    out = memoryview(bytearray(b"\xaa" * (stop - start + 2)))
    assert reader.read_into(out[1:-1], start) == 0
    assert same(out[1:-1], expected)
    assert out[0] == out[-1] == 0xAA


class ReadingConformance:
    """Headers, bodies and ranges."""

    @pytest.mark.parametrize("body", _BODIES, ids=len)
    def test_read_what_another_program_stored(
        self, backend: Backend, harness: StoreHarness, body: bytes
    ) -> None:
        """However an object is opened, each way of reading returns its bytes."""
        metadata = {"dtype": "<f8", "shape": "100,600"} if body else {}
        harness.raw_put("folder/name", body, metadata)
        head, (listed,) = backend.head("folder/name"), backend.scan()
        assert isinstance(listed, ObjectInfo)
        assert (head.key, head.size, head.metadata) == ("folder/name", len(body), metadata)
        assert (listed.key, listed.size, listed.etag) == (head.key, head.size, head.etag)
        view, size = memoryview(body), len(body)

        def check(opening: dict[str, Any]) -> None:
            with backend.get("folder/name", **opening) as reader:
                info = reader.info
                assert (info.key, info.size, info.etag) == (head.key, head.size, head.etag)
                assert (info.modified, info.metadata) == (head.modified, head.metadata)
                assert (reader.size, reader.metadata) == (size, metadata)
                if "tail" in opening:
                    for count in (0, 1, 100, 101, size + 1):
                        assert same(reader.tail(count), view[max(size - count, 0) :])
                span = opening.get("prefetch") or (0, 0)
                for start, stop in (span, span, *_SPANS, (size // 2, size), (size - 1, size)):
                    check_range(reader, view, min(max(start, 0), size), min(stop, size))
                assert same(reader.read(size // 3), view[size // 3 :])
                assert same(b"".join(reader.chunks()), body)
            reader.close()  # once more

        for_each(_OPENINGS, check)

    def test_modified_has_a_zone_and_is_now(self, backend: Backend) -> None:
        before = datetime.datetime.now(datetime.UTC)
        backend.put("name", Body.of(b"x"))
        modified = backend.head("name").modified
        assert modified is not None
        assert modified.utcoffset() is not None
        # Some stores count whole seconds.
        assert abs(modified - before) < datetime.timedelta(seconds=30)

    def test_etag_changes_with_the_body(self, backend: Backend) -> None:
        marks = set()
        for number in range(20):
            result = backend.put("name", Body.of(b"%02i" % number))
            mark = backend.head("name").etag
            assert mark
            assert result.etag in (None, mark)
            marks.add(mark)
        assert len(marks) == 20

    def test_metadata_names_come_back_in_lower_case(
        self, backend: Backend, harness: StoreHarness
    ) -> None:
        harness.raw_put("raw", b"", {"CamelCase": "Value"})
        backend.put("ours", Body.of(b""), PutOptions({"CamelCase": "Value"}))
        assert backend.head("raw").metadata == {"camelcase": "Value"}
        assert backend.head("ours").metadata == {"camelcase": "Value"}

    def test_read_into_reports_progress(self, backend: Backend, harness: StoreHarness) -> None:
        harness.raw_put("big", BIG)

        def check(way: tuple[bool, int]) -> None:
            prefetch, start = way
            out = memoryview(bytearray(len(BIG) - start))
            seen: list[int] = []
            with backend.get("big", prefetch=prefetch) as reader:
                checksum = reader.read_into(out, start, checksum=True, progress=seen.append)
            assert same(out, memoryview(BIG)[start:])
            assert checksum == zlib.crc32(out)
            assert sum(seen) == len(out)
            assert len(seen) > 1

        for_each([(True, 0), (False, 5)], check)

    def test_chunks_come_piece_by_piece(self, backend: Backend, harness: StoreHarness) -> None:
        harness.raw_put("big", BIG)
        with backend.get("big") as reader:
            chunks = reader.chunks()
            first = bytes(bytes_view(next(chunks)))
            assert 0 < len(first) < len(BIG)
            assert first == BIG[: len(first)]
            # The rest is dropped in the middle; the reader still reads.
            del chunks
            assert reader.read(3, 9) == BIG[3:9]

    def test_a_reader_can_be_read_again_and_by_several(
        self, backend: Backend, harness: StoreHarness
    ) -> None:
        body = pattern(300_000)
        harness.raw_put("name", body)
        with backend.get("name") as reader, ThreadPoolExecutor(8) as pool:
            starts = range(0, 300_000, 10_000)
            pieces = pool.map(lambda start: reader.read(start, start + 10_000), starts)
            assert b"".join(pieces) == body
            assert reader.read() == body

    @pytest.mark.parametrize(
        ("size", "prefetch", "tail"),
        [
            *((1000, True, 0), (1000, False, 0), (21 * MiB, True, 0)),
            *((1000, True, 100), (700_000, True, 100)),
        ],
    )
    def test_replaced_while_open(
        self, backend: Backend, size: int, prefetch: bool, tail: int
    ) -> None:
        old, new = BIG[:size], BIG[7 : size + 7]
        backend.put("name", Body.of(old), PutOptions({"which": "old"}))
        with backend.get("name", prefetch=prefetch, tail=tail) as reader:
            backend.put("name", Body.of(new), PutOptions({"which": "new"}))
            out = bytearray(size)
            try:
                reader.read_into(memoryview(out))
            except ObjectChangedError:
                pass
            else:
                assert out == old
            assert reader.metadata == {"which": "old"}
        assert fetched(backend, "name") == (new, {"which": "new"})

    def test_deleted_while_open(self, backend: Backend, harness: StoreHarness) -> None:
        harness.raw_put("name", BIG)
        with backend.get("name", prefetch=False) as reader:
            harness.raw_delete("name")
            with contextlib.suppress(ObjectChangedError, ObjectNotFoundError):
                assert same(reader.read(), BIG)

    def test_missing_object(self, backend: Backend, harness: StoreHarness) -> None:
        harness.raw_put("name-and-more", b"")
        harness.raw_put("name.d/below", b"")
        for key in ("name", "name.d", "name-and-more/below", "name.d/below/deeper", "ünïcödé?"):
            with pytest.raises(ObjectNotFoundError) as caught:
                backend.get(key)
            assert key in str(caught.value)
            assert isinstance(caught.value, FileNotFoundError)
            with pytest.raises(ObjectNotFoundError):
                backend.get(key, prefetch=False)
            with pytest.raises(ObjectNotFoundError):
                backend.head(key)
            assert backend.exists(key) is False

    def test_missing_bucket(self, backend: Backend, harness: StoreHarness) -> None:
        missing = harness.bucket + "-missing"
        nowhere = backend.with_bucket(missing)
        calls: list[Callable[[], object]] = [
            lambda: nowhere.get("name"),
            lambda: nowhere.head("name"),
            lambda: nowhere.exists("name"),
            lambda: nowhere.put("name", Body.of(b"x")),
            lambda: list(nowhere.scan()),
            lambda: list(nowhere.scan("a/", delimiter="/")),
            lambda: backend.copy("name", "other", source_bucket=missing),
            lambda: backend.delete_bucket(missing),
        ]
        for call in calls:
            with pytest.raises(BucketNotFoundError) as caught:
                call()
            assert missing in str(caught.value)
        assert backend.has_bucket(missing) is False

    def test_no_bucket_chosen(self, backend: Backend) -> None:
        backend = backend.with_bucket(None)
        with pytest.raises(BucketNotFoundError, match="bucket_name"):
            backend.head("name")
        with pytest.raises(BucketNotFoundError, match="bucket_name"):
            list(backend.scan())

    def test_travels_to_another_process_or_says_why_not(
        self, backend: Backend, harness: StoreHarness
    ) -> None:
        harness.raw_put("name", b"x", {"a": "b"})
        try:
            twin = pickle.loads(pickle.dumps(backend))
        except CottonCandyError as error:
            if "process" not in str(error):
                raise
            return
        assert twin.bucket_name == backend.bucket_name
        assert twin.describe() == backend.describe()
        assert fetched(twin, "name") == (b"x", {"a": "b"})

    def test_describes_itself_without_secrets(
        self, backend: Backend, harness: StoreHarness
    ) -> None:
        secret = harness.secret
        text = backend.describe() + backend.status_message() + repr(backend) + str(vars(backend))
        assert harness.bucket in backend.describe()
        assert secret not in text
