"""Requests to Google Drive: how many, and what is done about those that fail."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from multiprocessing import get_context
from typing import Any

import pytest

pytest.importorskip("pydrive2", reason="pydrive2 is not installed")

from cottoncandy.backends.base import CommonPrefix, PutOptions
from cottoncandy.backends.gdrive.backend import GDriveBackend
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    AccessDeniedError,
    CredentialsError,
    IntegrityError,
    ObjectChangedError,
    StorageFullError,
    StoreError,
    StoreUnreachableError,
)
from cottoncandy.testing.harness import pattern
from cottoncandy.transfer.copying import check_content
from tests.backends._drive import CHUNK, DriveTests, keys, make, read
from tests.servers.drive import DriveServer
from tests.servers.drive.harness import DriveHarness

pytestmark = pytest.mark.server


class TestRequests(DriveTests):
    def test_connecting_sends_nothing(self, server: DriveServer, harness: DriveHarness) -> None:
        harness.backend()
        assert server.operations() == []

    def test_small_objects_take_two_requests(
        self, server: DriveServer, backend: GDriveBackend
    ) -> None:
        backend.put("a/b/first", Body.of(b"1"))
        server.forget()
        backend.put("a/b/name", Body.of(b"12"), PutOptions({"x": "y"}))
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
        self, server: DriveServer, harness: DriveHarness, backend: GDriveBackend
    ) -> None:
        names = [f"f{n % 2}/{'long ' * 20}it's {n}" for n in range(60)]
        for name in names:
            harness.raw_put(name, b"")
        keys(backend)
        server.forget()
        assert all(error is None for _, error in backend.delete(names))
        assert harness.raw_keys() == []
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
        self, server: DriveServer, harness: DriveHarness, backend: GDriveBackend
    ) -> None:
        names = [f"f/{n:03}" for n in range(25)]
        for name in names:
            harness.raw_put(name, b"")
        server.api.page_limit = 7
        assert keys(backend) == names
        pages = [r for r in server.requests if "pageToken" in r.params]
        assert len(pages) == 3

    def test_only_folders_that_can_match_are_read(
        self, server: DriveServer, harness: DriveHarness, backend: GDriveBackend
    ) -> None:
        for key in ("a/1", "ab/2", "b/3", "c/d/4"):
            harness.raw_put(key, b"")
        server.forget()
        assert keys(backend, "c/d/") == ["c/d/4"]
        # The bucket, among shared drives and by name; c; d; its contents.
        assert server.operations() == ["drives.list", *["files.list"] * 4]
        server.forget()
        assert keys(backend, "a") == ["a/1", "ab/2"]
        assert server.operations()[-3:] == ["files.list"] * 3
        server.forget()
        assert [type(entry) for entry in backend.scan(delimiter="/")] == [CommonPrefix] * 4


class TestBrokenAnswers(DriveTests):
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
        backend.put("f/name", Body.of(b"body"), PutOptions({"a": "b"}))
        assert read(backend, "f/name") == b"body"
        backend.copy("f/name", "copy")
        backend.move("copy", "moved")
        list(backend.delete(["f/name"]))
        assert keys(backend) == ["moved"]
        assert waits == [2.0, 4.0] * 7

    def test_giving_up(
        self, server: DriveServer, backend: GDriveBackend, waits: list[float]
    ) -> None:
        server.fail("files.list", 503, times=100)
        with pytest.raises(StoreError, match="unavailable"):
            backend.head("name")
        assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0]

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
        backend.put("f/name", Body.of(b"1"), PutOptions({"a": "b"}))
        backend.put("f/name", Body.of(b"2"), PutOptions({"a": "c"}))
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

    def test_ranges_that_are_ignored(
        self, harness: DriveHarness, backend: GDriveBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A whole body is not treated as a range of the same length."""
        call = backend._connection.call

        def call_without_range(request: Any) -> Any:
            request.headers.pop("range", None)
            return call(request)

        backend.put("name", Body.of(b"1234567890"))
        with backend.get("name") as reader:
            file = harness.raw_file("name")
            file.revisions[file.head] = b"abcde"
            monkeypatch.setattr(backend._connection, "call", call_without_range)
            with pytest.raises(ObjectChangedError):
                reader.read(5, 10)

    def test_damaged_media(self, harness: DriveHarness, backend: GDriveBackend) -> None:
        """Downloads of whole objects compare the MD5."""
        backend.put("name", Body.of(b"12345"))
        with backend.get("name") as reader:
            file = harness.raw_file("name")
            file.revisions[file.head] = b"1x345"
            with pytest.raises(IntegrityError, match="MD5"):
                check_content(backend, reader.info, reader.read())

    def test_chunks_that_get_lost(self, server: DriveServer, backend: GDriveBackend) -> None:
        body = pattern(5 * CHUNK)
        server.fail("upload.chunk", 503, times=2)
        server.fail("upload.chunk", drop=True, after=True, times=2, skip=1)
        server.fail("upload.chunk", accept=300_000, times=1)
        server.fail("files.insert.resumable", 500)
        backend.put("big", Body.of(iter([body])))
        assert read(backend, "big") == body
        assert len(keys(backend)) == 1

    def test_the_number_of_retries(
        self, server: DriveServer, harness: DriveHarness, waits: list[float]
    ) -> None:
        server.fail("files.list", 503, times=2)
        with pytest.raises(StoreError, match="unavailable"):
            make(harness, retries=1).head("name")
        assert waits == [2.0]
        server.fail("upload.chunk", 503, times=1)
        with pytest.raises(StoreError, match="unavailable"):
            make(harness, retries=0).put("name", Body.of(bytes(2 * CHUNK)))
        assert waits == [2.0]
        assert server.operations().count("upload.chunk") == 1

    def test_a_process_killed_during_an_upload(
        self, server: DriveServer, backend: GDriveBackend
    ) -> None:
        backend.put("d/big", Body.of(b"old"))

        def blocks() -> Iterator[bytes]:
            for _ in range(3):
                yield pattern(CHUNK)
            os.kill(os.getpid(), signal.SIGKILL)

        child = get_context("fork").Process(
            target=lambda: backend.put("d/big", Body(blocks, size=5 * CHUNK))
        )
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert server.operations().count("upload.chunk") >= 1
        assert (read(backend, "d/big"), keys(backend)) == (b"old", ["d/big"])
        backend.put("d/big", Body.of(b"new"))
        assert read(backend, "d/big") == b"new"

    def test_an_upload_that_drive_forgot(self, server: DriveServer, backend: GDriveBackend) -> None:
        body = pattern(CHUNK + 5)
        server.fail("upload.chunk", 404, skip=1)
        backend.put("big", Body.of(body))
        assert read(backend, "big") == body
        server.fail("upload.chunk", 410, skip=1)
        with pytest.raises(StoreError, match="before the end"):
            backend.put("other", Body.of(iter([body])))
        assert keys(backend) == ["big"]
        assert server.operations().count("upload.cancel") >= 1

    @pytest.mark.parametrize(
        ("status", "reason", "expected", "words"),
        [
            (403, "insufficientFilePermissions", AccessDeniedError, "denies access"),
            (403, "storageQuotaExceeded", StorageFullError, "no room"),
            (403, "accessNotConfigured", AccessDeniedError, "enable it"),
            (403, "insufficientPermissions", CredentialsError, "log in again"),
            (403, "dailyLimitExceeded", AccessDeniedError, "dailyLimit"),
            (412, "conditionNotMet", ObjectChangedError, "replaced"),
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

    def test_nobody_there(self, harness: DriveHarness, waits: list[float]) -> None:
        with DriveServer() as gone:
            pass
        backend = make(DriveHarness(gone, harness.directory), "bucket")
        with pytest.raises(StoreUnreachableError, match="network"):
            backend.head("name")
        assert len(waits) == 6

    def test_quota(self, server: DriveServer, backend: GDriveBackend) -> None:
        backend.put("name", Body.of(b"old"))
        server.store.quota = 10
        with pytest.raises(StorageFullError):
            backend.put("name", Body.of(b"much longer than that"))
        assert read(backend, "name") == b"old"
