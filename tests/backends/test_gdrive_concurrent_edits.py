"""What other people do on Google Drive: twins, deleted folders, replaced files."""

from __future__ import annotations

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

pytest.importorskip("pydrive2", reason="pydrive2 is not installed")

from cottoncandy.backends.gdrive.backend import GDriveBackend
from cottoncandy.backends.gdrive.folders import Folders, Path
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    BucketNotFoundError,
    ObjectChangedError,
)
from tests.backends._drive import DriveTests, keys, read
from tests.servers.drive import DriveServer
from tests.servers.drive.harness import DriveHarness
from tests.servers.drive.store import FOLDER

pytestmark = pytest.mark.server


class TestDuplicateNames(DriveTests):
    """Two files of one name in one folder."""

    @pytest.fixture
    def twins(self, server: DriveServer, harness: DriveHarness) -> list[str]:
        """Return the ids, the older first."""
        harness.raw_put("f/name", b"old", {"age": "old"})
        old = harness.raw_file("f/name")
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
        self, server: DriveServer, harness: DriveHarness, backend: GDriveBackend
    ) -> None:
        harness.raw_put("f/one", b"1")
        top = server.store.files[harness.raw_file("f/one").parents[0]].parents[0]
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

    def test_processes_create_a_folder_at_once(
        self, server: DriveServer, backend: GDriveBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither has found one, and both insert it before either looks again."""
        barrier, insert = Barrier(2), Folders._insert

        def together(self: Folders, path: Path, parent: str) -> str:
            barrier.wait(60)
            found = insert(self, path, parent)
            barrier.wait(60)
            return found

        monkeypatch.setattr(Folders, "_insert", together)
        backends = [backend, pickle.loads(pickle.dumps(backend))]
        with ThreadPoolExecutor(2) as pool:
            for each, name in zip(backends, ("d/0", "d/1"), strict=True):
                pool.submit(each.put, name, Body.of(b"x"))
        folders = [file for file in server.store.files.values() if file.title == "d"]
        assert [file.explicitly_trashed for file in folders].count(False) == 1
        for each in backends:
            assert keys(each) == ["d/0", "d/1"]
            assert read(each, "d/0") == read(each, "d/1") == b"x"


class TestConcurrentEdits(DriveTests):
    """Concurrent changes in the browser."""

    def test_a_folder_was_deleted(
        self, server: DriveServer, harness: DriveHarness, backend: GDriveBackend
    ) -> None:
        backend.put("a/b/name", Body.of(b"1"))
        server.store.delete(server.store.files[harness.raw_file("a/b/name").parents[0]])
        assert not backend.exists("a/b/name")
        assert keys(backend) == []
        backend.put("a/b/name", Body.of(b"2"))
        assert read(backend, "a/b/name") == b"2"

    def test_a_folder_was_trashed(
        self, server: DriveServer, harness: DriveHarness, backend: GDriveBackend
    ) -> None:
        backend.put("a/b/name", Body.of(b"1"))
        server.store.files[harness.raw_file("a/b/name").parents[0]].explicitly_trashed = True
        assert not backend.exists("a/b/name")
        backend.put("a/b/name", Body.of(b"2"))  # into the trashed folder first, then out of it
        assert harness.raw_get("a/b/name").body == b"2"
        assert keys(backend) == ["a/b/name"]

    def test_the_bucket_was_deleted(
        self, server: DriveServer, harness: DriveHarness, backend: GDriveBackend
    ) -> None:
        backend.put("name", Body.of(b"1"))
        server.store.delete(server.store.files[harness.raw_file("name").parents[0]])
        with pytest.raises(BucketNotFoundError):
            keys(backend)
        with pytest.raises(BucketNotFoundError, match=harness.bucket):
            keys(backend)

    def test_folders_of_other_people_stay(
        self, server: DriveServer, harness: DriveHarness, backend: GDriveBackend
    ) -> None:
        harness.raw_put("theirs/name", b"")
        backend.put("ours/name", Body.of(b""))
        backend.put("ours/deep/er/name", Body.of(b""))
        list(backend.delete(["theirs/name", "ours/name", "ours/deep/er/name"]))
        left = {
            f.title
            for f in server.store.files.values()
            if f.is_folder and not server.store.is_trashed(f)
        }
        assert left == {"My Drive", harness.bucket, "theirs"}

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
        self, harness: DriveHarness, server: DriveServer, backend: GDriveBackend, seen: bool
    ) -> None:
        """With the right to see revisions the old one is read; without, it's an error."""
        backend.put("name", Body.of(b"12345"))
        harness.raw_file("name").can_read_revisions = seen
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
