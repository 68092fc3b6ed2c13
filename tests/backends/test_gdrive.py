"""What is particular to Google Drive: paths, properties, duplicates, retries, the trash."""

from __future__ import annotations

import datetime
import itertools
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pydrive2", reason="pydrive2 is not installed")

from cottoncandy._body import Body
from cottoncandy.backends.base import CommonPrefix
from cottoncandy.backends.gdrive import GDriveBackend
from cottoncandy.backends.gdrive._properties import PROPERTY_BYTES, pack, unpack
from cottoncandy.backends.gdrive._query import quoted
from cottoncandy.backends.gdrive._retry import RetryPolicy
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketNotFoundError,
    ConfigurationError,
    CredentialsError,
    IntegrityError,
    InvalidNameError,
    MetadataError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageFullError,
    StoreError,
    StoreUnreachableError,
    UnsupportedOperationError,
)
from tests.backends._data import pattern
from tests.servers.drive import DriveServer
from tests.servers.drive.query import parse_query
from tests.servers.drive.rig import DriveRig
from tests.servers.drive.store import FOLDER

CHUNK = 512 * 1024


@pytest.fixture
def server() -> Iterator[DriveServer]:
    with DriveServer() as running:
        yield running


@pytest.fixture
def rig(server: DriveServer, tmp_path: Path) -> DriveRig:
    return DriveRig(server, tmp_path)


@pytest.fixture
def waits() -> list[float]:
    """How long the backend waited between tries."""
    return []


@pytest.fixture
def backend(rig: DriveRig, waits: list[float]) -> GDriveBackend:
    return make(rig, waits)


def make(
    rig: DriveRig, waits: list[float], bucket: str | None = None, **extra: Any
) -> GDriveBackend:
    made = rig.backend(bucket, **extra)
    assert isinstance(made, GDriveBackend)
    policy = RetryPolicy(sleep=waits.append, random=lambda: 1.0)
    # Small chunks make small tests.
    config = replace(made._config, upload_chunk_bytes=CHUNK, download_chunk_bytes=CHUNK)
    return GDriveBackend(config, made.bucket_name, policy)


def read(backend: GDriveBackend, key: str) -> bytes:
    with backend.get(key) as reader:
        return reader.read()


def keys(backend: GDriveBackend, prefix: str = "") -> list[str]:
    return [entry.key for entry in backend.scan(prefix)]  # type: ignore[union-attr]


class TestRequests:
    def test_connecting_sends_nothing(self, server: DriveServer, rig: DriveRig) -> None:
        rig.backend()
        assert server.operations() == []

    def test_small_objects_take_two_requests(
        self, server: DriveServer, backend: GDriveBackend
    ) -> None:
        backend.put("a/b/first", Body.of(b"1"))
        server.forget()
        backend.put("a/b/name", Body.of(b"12"), metadata={"x": "y"})
        assert server.operations() == ["files.list", "files.insert.multipart"]
        server.forget()
        assert read(backend, "a/b/name") == b"12"
        assert server.operations() == ["files.list", "files.get_media"]
        server.forget()
        backend.put("a/b/name", Body.of(b"123"))
        assert server.operations() == ["files.list", "files.update.multipart"]
        server.forget()
        backend.copy("a/b/name", "a/b/copy")
        assert server.operations() == ["files.list", "files.list", "files.copy"]
        server.forget()
        backend.move("a/b/copy", "a/b/moved")
        assert server.operations()[:3] == ["files.list", "files.list", "files.patch"]

    def test_large_bodies_go_in_chunks(self, server: DriveServer, backend: GDriveBackend) -> None:
        size = 2 * CHUNK + 5
        body = pattern(size)
        first, second = f"bytes 0-{CHUNK - 1}", f"bytes {CHUNK}-{2 * CHUNK - 1}"
        third = f"bytes {2 * CHUNK}-{size - 1}/{size}"
        for data, total in ((body, size), (iter([body[:100], body[100:]]), "*")):
            server.forget()
            backend.put("big", Body.of(data))
            chunks = [r for r in server.requests if r.operation == "upload.chunk"]
            spans = [chunk.headers["content-range"] for chunk in chunks]
            assert spans == [f"{first}/{total}", f"{second}/{total}", third]
            assert read(backend, "big") == body

    def test_many_are_looked_up_at_once(
        self, server: DriveServer, rig: DriveRig, backend: GDriveBackend
    ) -> None:
        names = [f"f{n % 2}/{'long ' * 20}it's {n}" for n in range(60)]
        for name in names:
            rig.raw_put(name, b"")
        keys(backend)
        server.forget()
        assert all(error is None for _, error in backend.delete(names))
        assert rig.raw_keys() == []
        assert server.operations().count("files.delete") == 60
        # Two queries for each folder, one that tells that the folder is empty, and its mark.
        assert server.operations().count("files.list") == 6
        assert len(server.operations()) == 60 + 6 + 2

    def test_one_body_of_exactly_one_chunk(self, backend: GDriveBackend) -> None:
        body = pattern(CHUNK)
        backend.put("exact", Body.of(iter([body])))
        assert read(backend, "exact") == body

    def test_a_body_that_ends_with_a_carriage_return(self, backend: GDriveBackend) -> None:
        for body in (b"\r", b"\n", b"\r\n", b"a\r\n--x\r\n\r", b"--"):
            backend.put("name", Body.of(body))
            assert read(backend, "name") == body

    def test_folders_are_listed_in_pages(
        self, server: DriveServer, rig: DriveRig, backend: GDriveBackend
    ) -> None:
        names = [f"f/{n:03}" for n in range(25)]
        for name in names:
            rig.raw_put(name, b"")
        server.api.page_limit = 7
        assert keys(backend) == names
        pages = [r for r in server.requests if "pageToken" in r.params]
        assert len(pages) == 3

    def test_only_folders_that_can_match_are_read(
        self, server: DriveServer, rig: DriveRig, backend: GDriveBackend
    ) -> None:
        for key in ("a/1", "ab/2", "b/3", "c/d/4"):
            rig.raw_put(key, b"")
        server.forget()
        assert keys(backend, "c/d/") == ["c/d/4"]
        # The bucket, among shared drives and by name; c; d; what is in it.
        assert server.operations() == ["drives.list", *["files.list"] * 4]
        server.forget()
        assert keys(backend, "a") == ["a/1", "ab/2"]
        assert server.operations()[-3:] == ["files.list"] * 3
        server.forget()
        assert [type(entry) for entry in backend.scan(delimiter="/")] == [CommonPrefix] * 4


class TestNames:
    @pytest.mark.parametrize(
        "name", ["it's", "back\\slash", "\\'", "'", "a' or trashed = true or title = '", "ü'日本\\"]
    )
    def test_queries_are_escaped(self, backend: GDriveBackend, name: str) -> None:
        key = f"folder {name}/{name}"
        backend.put(key, Body.of(b"x"))
        assert keys(backend) == [key]
        assert read(backend, key) == b"x"
        assert list(backend.delete([key])) == [(key, None)]
        assert keys(backend) == []

    def test_names_differ_by_case(self, backend: GDriveBackend) -> None:
        """Drive's search does not tell them apart, so the backend has to."""
        for key in ("Name", "name", "FOLDER/x", "folder/x"):
            backend.put(key, Body.of(key.encode()))
        assert keys(backend) == ["FOLDER/x", "Name", "folder/x", "name"]
        assert read(backend, "Name") == b"Name"
        assert read(backend, "folder/x") == b"folder/x"
        list(backend.delete(["NAME", "name"]))
        assert keys(backend) == ["FOLDER/x", "Name", "folder/x"]

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(st.text(max_size=20))
    def test_quoting_and_the_grammar_agree(self, text: str) -> None:
        class Item:
            title = text

        assert parse_query(f"title = {quoted(text)}", str)(Item)

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "a/./b", "..", "a\nb", "\udc80"])
    def test_names_that_are_no_paths(
        self, server: DriveServer, backend: GDriveBackend, key: str
    ) -> None:
        with pytest.raises(InvalidNameError):
            backend.put(key, Body.of(b""))
        with pytest.raises(InvalidNameError):
            backend.head(key)
        assert server.operations() == []

    def test_files_that_are_no_objects_are_left_out(
        self,
        server: DriveServer,
        rig: DriveRig,
        backend: GDriveBackend,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        rig.raw_put("name", b"x")
        parent = [{"id": rig.raw_file("name").parents[0]}]
        native = "application/vnd.google-apps.document"
        server.store.insert({"title": "doc", "mimeType": native, "parents": parent}, None, None)
        server.store.insert({"title": "a/b", "parents": parent}, b"", None)
        with caplog.at_level(logging.WARNING):
            assert keys(backend) == ["name"]
        assert "'a/b'" in caplog.text
        with pytest.raises(ObjectNotFoundError):
            backend.head("doc")
        backend.put("doc", Body.of(b"bytes"))  # beside it
        assert read(backend, "doc") == b"bytes"

    def test_an_object_and_a_folder_of_one_name(self, backend: GDriveBackend) -> None:
        backend.put("a/b", Body.of(b"below"))
        backend.put("a", Body.of(b"object"))
        assert keys(backend) == ["a", "a/b"]
        list(backend.delete(["a"]))
        assert keys(backend) == ["a/b"]


class TestTwins:
    """Two files of one name in one folder."""

    @pytest.fixture
    def twins(self, server: DriveServer, rig: DriveRig) -> list[str]:
        """Return the ids, the older first."""
        rig.raw_put("f/name", b"old", {"age": "old"})
        old = rig.raw_file("f/name")
        body = {"title": "name", "parents": [{"id": old.parents[0]}]}
        return [old.id, server.store.insert(body, b"newer", None).id]

    def test_the_newest_counts(
        self, backend: GDriveBackend, twins: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            assert read(backend, "f/name") == b"newer"
            assert read(backend, "f/name") == b"newer"
        (record,) = [r for r in caplog.records if "2 files" in r.message]
        assert all(twin in record.message for twin in twins)
        assert keys(backend) == ["f/name"]

    def test_a_put_updates_the_newest(
        self, server: DriveServer, backend: GDriveBackend, twins: list[str]
    ) -> None:
        backend.put("f/name", Body.of(b"newest"))
        assert read(backend, "f/name") == b"newest"
        assert server.store.files[twins[0]].content == b"old"

    def test_deleting_trashes_the_older(
        self, server: DriveServer, backend: GDriveBackend, twins: list[str]
    ) -> None:
        list(backend.delete(["f/name"]))
        assert not backend.exists("f/name")
        assert twins[1] not in server.store.files
        assert server.store.files[twins[0]].explicitly_trashed

    def test_moving_trashes_the_older(
        self, server: DriveServer, backend: GDriveBackend, twins: list[str]
    ) -> None:
        backend.move("f/name", "g")
        assert keys(backend) == ["g"]
        assert read(backend, "g") == b"newer"
        assert server.store.files[twins[0]].explicitly_trashed

    def test_two_folders_of_one_name_are_one(
        self, server: DriveServer, rig: DriveRig, backend: GDriveBackend
    ) -> None:
        rig.raw_put("f/one", b"1")
        top = server.store.files[rig.raw_file("f/one").parents[0]].parents[0]
        twin = server.store.insert(
            {"title": "f", "mimeType": FOLDER, "parents": [{"id": top}]}, None, None
        )
        server.store.insert({"title": "two", "parents": [{"id": twin.id}]}, b"2", None)
        assert keys(backend) == ["f/one", "f/two"]
        assert (read(backend, "f/one"), read(backend, "f/two")) == (b"1", b"2")
        backend.put("f/three", Body.of(b"3"))
        assert keys(backend) == ["f/one", "f/three", "f/two"]
        assert [entry.prefix for entry in backend.scan(delimiter="/")] == ["f/"]  # type: ignore[union-attr]

    def test_threads_make_a_folder_once(self, server: DriveServer, backend: GDriveBackend) -> None:
        start = Barrier(8)

        def put(number: int) -> None:
            start.wait()
            backend.put(f"deep/er/{number}", Body.of(b"x"))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(8)))
        folders = [file.title for file in server.store.files.values() if file.is_folder]
        assert folders.count("deep") == folders.count("er") == 1
        assert len(keys(backend)) == 8


class TestProperties:
    def test_plain_where_they_fit(self, rig: DriveRig, backend: GDriveBackend) -> None:
        backend.put("name", Body.of(b""), metadata={"dtype": "<f8", "Shape": "1,2"})
        assert rig.raw_file("name").properties == {
            ("dtype", "PUBLIC"): "<f8",
            ("shape", "PUBLIC"): "1,2",
        }

    def test_long_ones_are_split(self, rig: DriveRig, backend: GDriveBackend) -> None:
        metadata = {
            "key": "k" * 344,
            "ü" * 30: "日本" * 60,
            "empty": "",
            "~0": "tilde",
            "short": "s",
        }
        backend.put("name", Body.of(b""), metadata=metadata)
        assert backend.head("name").metadata == metadata
        stored = rig.raw_file("name").properties
        assert stored["short", "PUBLIC"] == "s"
        assert max(len((k + v).encode()) for (k, _), v in stored.items()) <= PROPERTY_BYTES
        backend.copy("name", "copy")
        backend.move("name", "moved")
        assert backend.head("copy").metadata == backend.head("moved").metadata == metadata

    @pytest.mark.parametrize("replaces", [False, True])
    def test_left_overs_do_not_count(
        self, server: DriveServer, rig: DriveRig, backend: GDriveBackend, replaces: bool
    ) -> None:
        """Whether an update keeps the other properties is not documented; both must work."""
        server.store.replace_properties = replaces
        rig.raw_put("name", b"0", {"gzip": "True", "dtype": "<f4"})
        for metadata in (
            {"a": "x" * 300, "b": "1"},
            {"dtype": "<f8"},
            {},
            {"b": "2", "c": ""},
            {"~": "~"},
        ):
            backend.put("name", Body.of(b"1"), metadata=metadata)
            assert backend.head("name").metadata == metadata
            backend.copy("name", "copy")
            assert backend.head("copy").metadata == metadata
        assert all(mode == "PUBLIC" for _, mode in rig.raw_file("name").properties)

    def test_the_key_in_chunks_of_older_versions(
        self, rig: DriveRig, backend: GDriveBackend
    ) -> None:
        chunks = {"key": "in chunks", "keyChunks": "2", "keyChunk0": "abc", "keyChunk1": "def"}
        rig.raw_put("old", b"x", chunks)
        found = backend.head("old").metadata
        assert found == {name.lower(): value for name, value in chunks.items()}

    def test_more_than_fits(self, backend: GDriveBackend) -> None:
        with pytest.raises(MetadataError, match="2048"):
            backend.put("name", Body.of(b""), metadata={"a": "x" * 3000})
        many = {f"name{n}": "v" for n in range(100)}
        backend.put("name", Body.of(b""), metadata=many)
        assert backend.head("name").metadata == many

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(
        st.lists(
            st.dictionaries(st.text(max_size=40), st.text(max_size=150), max_size=6), max_size=4
        ),
        st.booleans(),
    )
    def test_what_is_packed_is_unpacked(
        self, histories: list[dict[str, str]], merges: bool
    ) -> None:
        stored: dict[tuple[str, str], str] = {}
        for metadata in histories:
            lower = {name.lower(): value for name, value in metadata.items()}
            try:
                packed = pack(metadata, stored)
            except MetadataError:
                continue
            fresh = {(entry["key"], entry["visibility"]): entry["value"] for entry in packed}
            assert len(fresh) == len(packed)
            assert all(value for value in fresh.values())
            stored = {**stored, **fresh} if merges else fresh
            entries = [
                {"key": k, "visibility": v, "value": value} for (k, v), value in stored.items()
            ]
            assert unpack(entries) == lower

    def test_damaged_pieces(self) -> None:
        packed = pack({"a": "x" * 1000})
        with pytest.raises(MetadataError, match="damaged"):
            unpack(packed[:-1])


class TestBrokenAnswers:
    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            (403, "userRateLimitExceeded"),
            (403, "rateLimitExceeded"),
            (429, "tooMany"),
            (500, "internalError"),
            (503, "backendError"),
        ],
    )
    def test_transient_errors_are_tried_again(
        self,
        server: DriveServer,
        backend: GDriveBackend,
        waits: list[float],
        status: int,
        reason: str,
    ) -> None:
        for operation in (
            "files.list",
            "files.insert.multipart",
            "files.get_media",
            "files.copy",
            "files.patch",
            "files.delete",
            "files.generateIds",
        ):
            server.fail(operation, status, reason, times=2)
        backend.put("f/name", Body.of(b"body"), metadata={"a": "b"})
        assert read(backend, "f/name") == b"body"
        backend.copy("f/name", "copy")
        backend.move("copy", "moved")
        list(backend.delete(["f/name"]))
        assert keys(backend) == ["moved"]
        assert waits == [1.0, 2.0] * 7

    def test_giving_up(
        self, server: DriveServer, backend: GDriveBackend, waits: list[float]
    ) -> None:
        server.fail("files.list", 503, times=100)
        with pytest.raises(StoreError, match="busy"):
            backend.head("name")
        assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 32.0]

    def test_the_total_time_is_limited(self) -> None:
        now = itertools.count(0, 50)
        policy = RetryPolicy(
            sleep=lambda _: None, clock=lambda: float(next(now)), random=lambda: 1.0, total_s=120
        )
        tries = []

        def fail() -> None:
            tries.append(1)
            from cottoncandy.backends.gdrive._errors import DriveApiError

            raise DriveApiError(503, "", "")

        with pytest.raises(Exception, match="503"):
            policy.run(fail, "a test")
        assert len(tries) == 3

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize(
        "operation",
        [
            "files.list",
            "files.insert.multipart",
            "files.insert",
            "files.update.multipart",
            "files.get_media",
            "files.copy",
            "files.patch",
            "files.delete",
            "files.trash",
        ],
    )
    def test_dropped_connections(
        self, server: DriveServer, backend: GDriveBackend, operation: str, after: bool
    ) -> None:
        """Nothing is done twice, even where only the answer was lost."""
        # One more than the HTTP library's own second try.
        fault = server.fail(operation, drop=True, after=after, times=3)
        backend.put("f/name", Body.of(b"1"), metadata={"a": "b"})
        backend.put("f/name", Body.of(b"2"), metadata={"a": "c"})
        backend.copy("f/name", "f/copy")
        backend.move("f/copy", "f/moved")
        assert keys(backend) == ["f/moved", "f/name"]
        assert (read(backend, "f/name"), read(backend, "f/moved")) == (b"2", b"2")
        assert backend.head("f/moved").metadata == {"a": "c"}
        assert list(backend.delete(["f/name", "f/moved"])) == [("f/name", None), ("f/moved", None)]
        assert keys(backend) == []
        assert fault.met >= 2
        titles = [file.title for file in server.store.files.values()]
        assert titles.count("f") == 1

    def test_truncated_media(
        self, server: DriveServer, backend: GDriveBackend, waits: list[float]
    ) -> None:
        body = pattern(100_000)
        backend.put("name", Body.of(body))
        server.fail("files.get_media", truncate=500, times=2)
        assert read(backend, "name") == body
        assert len(waits) == 2
        server.fail("files.get_media", truncate=500, times=100)
        with pytest.raises(IntegrityError, match="name"):
            read(backend, "name")

    def test_damaged_media(
        self, server: DriveServer, rig: DriveRig, backend: GDriveBackend
    ) -> None:
        backend.put("name", Body.of(b"12345"))
        reader = backend.get("name")
        file = rig.raw_file("name")
        file.revisions[file.head] = b"1x345"
        with pytest.raises(ObjectChangedError):
            reader.read()  # Drive says so, too
        reader = backend.get("name")
        object.__setattr__(reader._file, "md5", "0" * 32)  # type: ignore[attr-defined]
        with pytest.raises((IntegrityError, ObjectChangedError)):
            reader.read_into(memoryview(bytearray(5)))

    def test_chunks_that_get_lost(self, server: DriveServer, backend: GDriveBackend) -> None:
        body = pattern(5 * CHUNK)
        server.fail("upload.chunk", 503, times=2)
        server.fail("upload.chunk", drop=True, after=True, times=2, skip=1)
        server.fail("upload.chunk", accept=300_000, times=1)
        server.fail("files.insert.resumable", 500)
        backend.put("big", Body.of(iter([body])))
        assert read(backend, "big") == body
        assert len(keys(backend)) == 1

    def test_an_upload_that_drive_forgot(self, server: DriveServer, backend: GDriveBackend) -> None:
        body = pattern(CHUNK + 5)
        server.fail("upload.chunk", 404, skip=1)
        backend.put("big", Body.of(body))
        assert read(backend, "big") == body
        server.fail("upload.chunk", 410, skip=1)
        with pytest.raises(StoreError, match="half-way"):
            backend.put("other", Body.of(iter([body])))
        assert keys(backend) == ["big"]
        assert server.operations().count("upload.cancel") >= 1

    @pytest.mark.parametrize(
        ("status", "reason", "expected", "words"),
        [
            (403, "insufficientFilePermissions", AccessDeniedError, "refuses"),
            (403, "storageQuotaExceeded", StorageFullError, "no room"),
            (403, "accessNotConfigured", AccessDeniedError, "enable it"),
            (403, "insufficientPermissions", CredentialsError, "log in again"),
            (403, "dailyLimitExceeded", AccessDeniedError, "dailyLimit"),
            (412, "conditionNotMet", ObjectChangedError, "somebody else"),
            (400, "invalid", StoreError, "400"),
        ],
    )
    def test_errors_in_our_words(
        self,
        server: DriveServer,
        backend: GDriveBackend,
        waits: list[float],
        status: int,
        reason: str,
        expected: type[Exception],
        words: str,
    ) -> None:
        backend.put("name", Body.of(b"x"))
        for operation, call in (
            ("files.list", lambda: backend.head("name")),
            ("files.update.multipart", lambda: backend.put("name", Body.of(b"y"))),
            ("files.list", lambda: keys(backend)),
        ):
            server.fail(operation, status, reason)
            with pytest.raises(expected, match=words) as caught:
                call()
            assert type(caught.value) is expected
        assert waits == []
        (deletion,) = (server.fail("files.delete", status, reason), *backend.delete(["name"]))[1:]
        assert type(deletion.error) is expected
        assert read(backend, "name") == b"x"

    def test_nobody_there(self, rig: DriveRig, waits: list[float]) -> None:
        with DriveServer() as gone:
            pass
        backend = make(DriveRig(gone, rig.directory), waits, "bucket")
        with pytest.raises(StoreUnreachableError, match="network"):
            backend.head("name")
        assert len(waits) == 7

    def test_quota(self, server: DriveServer, backend: GDriveBackend) -> None:
        backend.put("name", Body.of(b"old"))
        server.store.quota = 10
        with pytest.raises(StorageFullError):
            backend.put("name", Body.of(b"much longer than that"))
        assert read(backend, "name") == b"old"


class TestOtherPeople:
    """What others do in the browser meanwhile."""

    def test_a_folder_was_deleted(
        self, server: DriveServer, rig: DriveRig, backend: GDriveBackend
    ) -> None:
        backend.put("a/b/name", Body.of(b"1"))
        server.store.delete(server.store.files[rig.raw_file("a/b/name").parents[0]])
        assert not backend.exists("a/b/name")
        assert keys(backend) == []
        backend.put("a/b/name", Body.of(b"2"))
        assert read(backend, "a/b/name") == b"2"

    def test_a_folder_was_trashed(
        self, server: DriveServer, rig: DriveRig, backend: GDriveBackend
    ) -> None:
        backend.put("a/b/name", Body.of(b"1"))
        server.store.files[rig.raw_file("a/b/name").parents[0]].explicitly_trashed = True
        assert not backend.exists("a/b/name")
        backend.put("a/b/name", Body.of(b"2"))  # into the trashed folder first, then out of it
        assert rig.raw_get("a/b/name").body == b"2"
        assert keys(backend) == ["a/b/name"]

    def test_the_bucket_was_deleted(
        self, server: DriveServer, rig: DriveRig, backend: GDriveBackend
    ) -> None:
        backend.put("name", Body.of(b"1"))
        server.store.delete(server.store.files[rig.raw_file("name").parents[0]])
        with pytest.raises(BucketNotFoundError):
            keys(backend)
        with pytest.raises(BucketNotFoundError, match=rig.bucket):
            keys(backend)

    def test_folders_of_other_people_stay(
        self, server: DriveServer, rig: DriveRig, backend: GDriveBackend
    ) -> None:
        rig.raw_put("theirs/name", b"")
        backend.put("ours/name", Body.of(b""))
        backend.put("ours/deep/er/name", Body.of(b""))
        list(backend.delete(["theirs/name", "ours/name", "ours/deep/er/name"]))
        left = {
            f.title
            for f in server.store.files.values()
            if f.is_folder and not server.store.is_trashed(f)
        }
        assert left == {"My Drive", rig.bucket, "theirs"}

    def test_search_that_lags_behind(self, server: DriveServer, backend: GDriveBackend) -> None:
        server.store.lag = True
        backend.put("name", Body.of(b"1"))
        assert read(backend, "name") == b"1"
        backend.put("name", Body.of(b"2"))
        assert read(backend, "name") == b"2"
        assert sum(file.title == "name" for file in server.store.files.values()) == 1
        list(backend.delete(["name"]))
        assert not backend.exists("name")

    @pytest.mark.parametrize("seen", [True, False])
    def test_replaced_while_read(
        self, rig: DriveRig, server: DriveServer, backend: GDriveBackend, seen: bool
    ) -> None:
        """With the right to see revisions the old one is read; without, it's an error."""
        backend.put("name", Body.of(b"12345"))
        rig.raw_file("name").can_read_revisions = seen
        readers = [backend.get("name") for _ in range(3)]
        backend.put("name", Body.of(b"67890"))
        out = bytearray(5)
        calls = [
            (lambda: readers[0].read(), b"12345"),
            (lambda: readers[1].read(1, 3), b"23"),
            (lambda: (readers[2].read_into(memoryview(out)), bytes(out))[1], b"12345"),
        ]
        for call, expected in calls:
            if seen:
                assert call() == expected
            else:
                with pytest.raises(ObjectChangedError, match="replaced"):
                    call()

    def test_revisions_that_may_not_be_read_after_all(
        self, server: DriveServer, backend: GDriveBackend
    ) -> None:
        backend.put("name", Body.of(b"12345"))
        server.fail("files.get_media", 403, "insufficientFilePermissions")
        assert read(backend, "name") == b"12345"


class TestBuckets:
    def test_the_top_of_my_drive_is_the_default(
        self, server: DriveServer, rig: DriveRig, waits: list[float]
    ) -> None:
        backend = make(rig, waits, "")
        assert backend.bucket_name == "My Drive"
        backend.put("top", Body.of(b"x"))
        backend.put(f"{rig.bucket}/inner", Body.of(b"y"))
        assert server.file_at("top")["fileSize"] == "1"
        assert rig.raw_keys() == ["inner"]
        assert keys(backend) == [f"{rig.bucket}/inner", "top"]
        backend.move("top", f"{rig.bucket}/top")
        backend.move(f"{rig.bucket}/top", "top again")
        assert keys(backend) == [f"{rig.bucket}/inner", "top again"]

    @pytest.mark.parametrize("by", ["id", "name"])
    def test_shared_drives(
        self, server: DriveServer, rig: DriveRig, waits: list[float], by: str
    ) -> None:
        drive_id = server.store.add_drive("The lab's drive")
        backend = make(rig, waits, drive_id if by == "id" else "The lab's drive")
        backend.put("a/name", Body.of(b"x"), metadata={"a": "b"})
        assert server.store.find(drive_id).id == drive_id
        assert {f.drive_id for f in server.store.files.values() if f.title == "name"} == {drive_id}
        assert read(backend, "a/name") == b"x"
        backend.put("a/name", Body.of(b"xy"))
        backend.copy("a/name", "mine", dest_bucket=rig.bucket)
        backend.move("a/name", "mine too", dest_bucket=rig.bucket)
        assert rig.raw_keys() == ["mine", "mine too"]
        assert keys(backend) == []
        backend.move("mine", "back", source_bucket=rig.bucket, dest_bucket=backend.bucket_name)
        assert keys(backend) == ["back"]
        with pytest.raises(UnsupportedOperationError, match="shared drive"):
            backend.owner("back")
        assert list(backend.delete(["back"], permanently=False)) == [("back", None)]
        assert {"My Drive", "The lab's drive"} <= {b.name for b in backend.list_buckets()}
        with pytest.raises(InvalidNameError):
            backend.delete_bucket("The lab's drive")

    def test_many_shared_drives(
        self, server: DriveServer, rig: DriveRig, waits: list[float]
    ) -> None:
        for number in range(5):
            server.store.add_drive(f"drive {number}")
        server.store.add_drive("drive 4")
        server.api.page_limit = 2
        backend = make(rig, waits)
        assert backend.has_bucket("drive 3")
        with pytest.raises(BucketNotFoundError, match="2 shared drives"):
            backend.has_bucket("drive 4")

    def test_another_root(self, server: DriveServer, rig: DriveRig, waits: list[float]) -> None:
        rig.raw_put("lab/data/name", b"x")
        folder = rig.raw_file("lab/data/name").parents[0]
        for root in (folder, f"/{rig.bucket}/lab/data"):
            backend = make(rig, waits, "My Drive", root=root)
            assert keys(backend) == ["name"]
        backend.put("second", Body.of(b""))
        assert rig.raw_keys() == ["lab/data/name", "lab/data/second"]
        for root in ("/no/such", "noSuchId", rig.raw_file("lab/data/name").id):
            with pytest.raises(ConfigurationError):
                keys(make(rig, waits, "My Drive", root=root))

    @pytest.mark.parametrize(
        "extra",
        [
            {"rot": "x"},
            {"root": ""},
            {"auth_method": "carrier"},
            {"http_timeout": 0},
            {"http_timeout": "1"},
        ],
    )
    def test_options_that_make_no_sense(self, rig: DriveRig, extra: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(extra))):
            rig.backend(**extra)


class TestTrash:
    def test_trashed_and_brought_back(self, rig: DriveRig, backend: GDriveBackend) -> None:
        assert backend.capabilities.trash
        backend.put("f/name", Body.of(b"x"), metadata={"a": "b"})
        file = rig.raw_file("f/name")
        list(backend.delete(["f/name"], permanently=False))
        assert not backend.exists("f/name")
        assert file.explicitly_trashed
        file.explicitly_trashed = False
        rig.server.store.files[file.parents[0]].explicitly_trashed = False
        assert read(backend, "f/name") == b"x"

    def test_what_is_copied_over_goes_to_the_trash(
        self, server: DriveServer, rig: DriveRig, backend: GDriveBackend
    ) -> None:
        backend.put("a", Body.of(b"a"))
        backend.put("b", Body.of(b"b"))
        replaced = rig.raw_file("b")
        backend.copy("a", "b")
        assert read(backend, "b") == b"a"
        assert replaced.explicitly_trashed
        assert replaced.content == b"b"


def test_moving_keeps_the_file(rig: DriveRig, backend: GDriveBackend) -> None:
    backend.put("a/name", Body.of(b"x"), metadata={"a": "b"}, content_type="text/plain")
    before = rig.raw_file("a/name").id
    backend.move("a/name", "b/c/other")
    assert rig.raw_file("b/c/other").id == before
    info = backend.head("b/c/other")
    assert (info.content_type, info.metadata) == ("text/plain", {"a": "b"})
    assert [entry.key for entry in backend.scan()] == ["b/c/other"]  # type: ignore[union-attr]


def test_what_the_client_library_offers(backend: GDriveBackend) -> None:
    backend.put("f/name", Body.of(b"text"))
    assert backend.native_object("f/name").GetContentString() == "text"
    drive = backend.native_bucket()
    titles = [file["title"] for file in drive.ListFile({"q": "title = 'name'"}).GetList()]
    assert titles == ["name"]
    assert backend.owner("f/name")["ID"] == "someone@example.org"
    made = drive.CreateFile({"title": "by pydrive2"})
    made.SetContentString("two\nlines\n")
    made.Upload()
    drive.auth.thread_local.http.close()
    with backend.get("by pydrive2", bucket="My Drive") as reader:
        assert reader.read() == b"two\nlines\n"


def test_times_have_a_zone(backend: GDriveBackend) -> None:
    backend.put("name", Body.of(b""))
    modified = backend.head("name").modified
    assert modified is not None
    assert modified.tzinfo == datetime.UTC
