"""Features of Google Drive: names, properties, drives, the trash."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cottoncandy.backends.base import PutOptions

pytest.importorskip("pydrive2", reason="pydrive2 is not installed")

from cottoncandy.backends.gdrive.backend import GDriveBackend
from cottoncandy.backends.gdrive.files import quoted
from cottoncandy.backends.gdrive.properties import PROPERTY_BYTES, pack, unpack
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    BucketNotFoundError,
    ConfigurationError,
    InvalidNameError,
    MetadataError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from tests.backends._drive import DriveTests, keys, make, read
from tests.cases import CHARACTERS, each
from tests.servers.drive import DriveServer
from tests.servers.drive.harness import DriveHarness
from tests.servers.drive.query import parse_query

pytestmark = pytest.mark.server


class TestNames(DriveTests):
    @each(
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

    @given(st.text(CHARACTERS, max_size=20))
    def test_quoting_and_the_grammar_agree(self, text: str) -> None:
        class Item:
            title = text

        assert parse_query(f"title = {quoted(text)}", str)(Item)

    @pytest.mark.parametrize(
        "key", ["", "/a", "a/", "a//b", "a/./b", "..", "a\nb", "\udc80", "d/" * 1500 + "d"]
    )
    def test_names_that_are_no_paths(
        self, server: DriveServer, backend: GDriveBackend, key: str
    ) -> None:
        with pytest.raises(InvalidNameError):
            backend.put(key, Body.of(b""))
        with pytest.raises(InvalidNameError):
            backend.head(key)
        assert server.operations() == []

    def test_a_listing_below_what_drive_cannot_nest_is_empty(self, backend: GDriveBackend) -> None:
        assert list(backend.scan("d/" * 1500)) == []

    def test_files_that_are_no_objects_are_left_out(
        self,
        server: DriveServer,
        harness: DriveHarness,
        backend: GDriveBackend,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        harness.raw_put("name", b"x")
        parent = [{"id": harness.raw_file("name").parents[0]}]
        native = "application/vnd.google-apps.document"
        server.store.insert({"title": "doc", "mimeType": native, "parents": parent}, None, None)
        server.store.insert({"title": "a/b", "parents": parent}, b"", None)
        with caplog.at_level(logging.WARNING):
            assert keys(backend) == ["name"]
        assert "'a/b'" in caplog.text
        with pytest.raises(ObjectNotFoundError):
            backend.head("doc")
        backend.put("doc", Body.of(b"bytes"))  # next to it
        assert read(backend, "doc") == b"bytes"

    def test_an_object_and_a_folder_of_one_name(self, backend: GDriveBackend) -> None:
        backend.put("a/b", Body.of(b"below"))
        backend.put("a", Body.of(b"object"))
        assert keys(backend) == ["a", "a/b"]
        list(backend.delete(["a"]))
        assert keys(backend) == ["a/b"]


class TestProperties(DriveTests):
    def test_plain_where_they_fit(self, harness: DriveHarness, backend: GDriveBackend) -> None:
        backend.put("name", Body.of(b""), PutOptions({"dtype": "<f8", "Shape": "1,2"}))
        assert harness.raw_file("name").properties == {
            ("dtype", "PUBLIC"): "<f8",
            ("shape", "PUBLIC"): "1,2",
        }

    def test_long_ones_are_split(self, harness: DriveHarness, backend: GDriveBackend) -> None:
        metadata = {
            "key": "k" * 344,
            "ü" * 30: "日本" * 60,
            "empty": "",
            "~0": "tilde",
            "short": "s",
        }
        backend.put("name", Body.of(b""), PutOptions(metadata))
        assert backend.head("name").metadata == metadata
        stored = harness.raw_file("name").properties
        assert stored["short", "PUBLIC"] == "s"
        assert max(len((k + v).encode()) for (k, _), v in stored.items()) <= PROPERTY_BYTES
        backend.copy("name", "copy")
        backend.move("name", "moved")
        assert backend.head("copy").metadata == backend.head("moved").metadata == metadata

    @pytest.mark.parametrize("replaces", [False, True])
    def test_left_overs_do_not_count(
        self, server: DriveServer, harness: DriveHarness, backend: GDriveBackend, replaces: bool
    ) -> None:
        """Whether an update keeps the other properties is not documented; both must work."""
        server.store.replace_properties = replaces
        harness.raw_put("name", b"0", {"gzip": "True", "dtype": "<f4"})
        for metadata in (
            {"a": "x" * 300, "b": "1"},
            {"dtype": "<f8"},
            {},
            {"b": "2", "c": ""},
            {"~": "~"},
        ):
            backend.put("name", Body.of(b"1"), PutOptions(metadata))
            assert backend.head("name").metadata == metadata
            backend.copy("name", "copy")
            assert backend.head("copy").metadata == metadata
        assert all(mode == "PUBLIC" for _, mode in harness.raw_file("name").properties)

    def test_the_key_in_chunks_of_older_versions(
        self, harness: DriveHarness, backend: GDriveBackend
    ) -> None:
        chunks = {"key": "in chunks", "keyChunks": "2", "keyChunk0": "abc", "keyChunk1": "def"}
        harness.raw_put("old", b"x", chunks)
        found = backend.head("old").metadata
        assert found == {name.lower(): value for name, value in chunks.items()}

    def test_more_than_fits(self, backend: GDriveBackend) -> None:
        with pytest.raises(MetadataError, match="2048"):
            backend.put("name", Body.of(b""), PutOptions({"a": "x" * 3000}))
        many = {f"name{n}": "v" for n in range(100)}
        backend.put("name", Body.of(b""), PutOptions(many))
        assert backend.head("name").metadata == many

    @given(
        st.lists(
            st.dictionaries(
                st.text(CHARACTERS, max_size=40), st.text(CHARACTERS, max_size=150), max_size=6
            ),
            max_size=4,
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
                packed = pack(lower, stored)
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


class TestBuckets(DriveTests):
    def test_the_top_of_my_drive_is_the_default(
        self, server: DriveServer, harness: DriveHarness, waits: list[float]
    ) -> None:
        backend = make(harness, "")
        assert backend.bucket_name == "My Drive"
        backend.put("top", Body.of(b"x"))
        backend.put(f"{harness.bucket}/inner", Body.of(b"y"))
        assert server.file_at("top")["fileSize"] == "1"
        assert harness.raw_keys() == ["inner"]
        assert keys(backend) == [f"{harness.bucket}/inner", "top"]
        backend.move("top", f"{harness.bucket}/top")
        backend.move(f"{harness.bucket}/top", "top again")
        assert keys(backend) == [f"{harness.bucket}/inner", "top again"]

    @pytest.mark.parametrize("by", ["id", "name"])
    def test_shared_drives(
        self, server: DriveServer, harness: DriveHarness, waits: list[float], by: str
    ) -> None:
        drive_id = server.store.add_drive("The lab's drive")
        backend = make(harness, drive_id if by == "id" else "The lab's drive")
        backend.put("a/name", Body.of(b"x"), PutOptions({"a": "b"}))
        assert server.store.find(drive_id).id == drive_id
        assert {f.drive_id for f in server.store.files.values() if f.title == "name"} == {drive_id}
        assert read(backend, "a/name") == b"x"
        backend.put("a/name", Body.of(b"xy"))
        mine = backend.with_bucket(harness.bucket)
        mine.copy("a/name", "mine", source_bucket=backend.bucket)
        mine.move("a/name", "mine too", source_bucket=backend.bucket)
        assert harness.raw_keys() == ["mine", "mine too"]
        assert keys(backend) == []
        backend.move("mine", "back", source_bucket=harness.bucket)
        assert keys(backend) == ["back"]
        with pytest.raises(UnsupportedOperationError, match="shared drive"):
            backend.owner("back")
        assert list(backend.delete(["back"], permanently=False)) == [("back", None)]
        assert {"My Drive", "The lab's drive"} <= {b.name for b in backend.list_buckets()}
        with pytest.raises(InvalidNameError):
            backend.delete_bucket("The lab's drive")

    def test_many_shared_drives(
        self, server: DriveServer, harness: DriveHarness, waits: list[float]
    ) -> None:
        for number in range(5):
            server.store.add_drive(f"drive {number}")
        server.store.add_drive("drive 4")
        server.api.page_limit = 2
        backend = make(harness)
        assert backend.has_bucket("drive 3")
        with pytest.raises(BucketNotFoundError, match="2 shared drives"):
            backend.has_bucket("drive 4")

    def test_another_root(
        self, server: DriveServer, harness: DriveHarness, waits: list[float]
    ) -> None:
        harness.raw_put("lab/data/name", b"x")
        folder = harness.raw_file("lab/data/name").parents[0]
        for root in (folder, f"/{harness.bucket}/lab/data"):
            backend = make(harness, "My Drive", root=root)
            assert keys(backend) == ["name"]
        backend.put("second", Body.of(b""))
        assert harness.raw_keys() == ["lab/data/name", "lab/data/second"]
        for root in ("/no/such", "noSuchId", harness.raw_file("lab/data/name").id):
            with pytest.raises(ConfigurationError):
                keys(make(harness, "My Drive", root=root))

    @each(
        "extra",
        [
            {"rot": "x"},
            {"root": ""},
            {"auth_method": "carrier"},
            {"http_timeout": 0},
            *({"retries": value} for value in (-1, 1.5, "3", True, None)),
            {"http_timeout": "1"},
        ],
    )
    def test_options_that_make_no_sense(self, harness: DriveHarness, extra: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(extra))):
            harness.backend(**extra)


class TestTrash(DriveTests):
    def test_trashed_and_brought_back(self, harness: DriveHarness, backend: GDriveBackend) -> None:
        assert backend.capabilities.trash
        backend.put("f/name", Body.of(b"x"), PutOptions({"a": "b"}))
        file = harness.raw_file("f/name")
        list(backend.delete(["f/name"], permanently=False))
        assert not backend.exists("f/name")
        assert file.explicitly_trashed
        file.explicitly_trashed = False
        harness.server.store.files[file.parents[0]].explicitly_trashed = False
        assert read(backend, "f/name") == b"x"

    def test_what_is_copied_over_goes_to_the_trash(
        self, server: DriveServer, harness: DriveHarness, backend: GDriveBackend
    ) -> None:
        backend.put("a", Body.of(b"a"))
        backend.put("b", Body.of(b"b"))
        replaced = harness.raw_file("b")
        backend.copy("a", "b")
        assert read(backend, "b") == b"a"
        assert replaced.explicitly_trashed
        assert replaced.content == b"b"


class TestFiles(DriveTests):
    def test_moving_keeps_the_file(self, harness: DriveHarness, backend: GDriveBackend) -> None:
        backend.put("a/name", Body.of(b"x"), PutOptions({"a": "b"}, content_type="text/plain"))
        before = harness.raw_file("a/name").id
        backend.move("a/name", "b/c/other")
        assert harness.raw_file("b/c/other").id == before
        info = backend.head("b/c/other")
        assert (info.content_type, info.metadata) == ("text/plain", {"a": "b"})
        assert [entry.key for entry in backend.scan()] == ["b/c/other"]  # type: ignore[union-attr]

    def test_what_the_client_library_offers(self, backend: GDriveBackend) -> None:
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
        with backend.with_bucket("My Drive").get("by pydrive2") as reader:
            assert reader.read() == b"two\nlines\n"
