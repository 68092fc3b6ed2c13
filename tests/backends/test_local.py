"""Features of the local backend: roots, names, sidecars."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cottoncandy.backends.base import CommonPrefix, ConnectionArguments, PutOptions
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketExistsError,
    BucketNotEmptyError,
    BucketNotFoundError,
    ConfigurationError,
    InvalidNameError,
    MetadataError,
    ObjectExistsError,
)
from cottoncandy.testing.harness import keys_of
from tests.backends._local import LocalTests, put, tree
from tests.cases import each


@pytest.fixture
def denied(tmp_path: Path) -> Iterator[Path]:
    """A directory that the test may not search."""
    user = os.geteuid()
    # The user without rights gets there, which $TMPDIR does not promise.
    with tempfile.TemporaryDirectory(dir="/tmp" if user == 0 else None) as name:
        os.chmod(name, 0o755)
        directory = Path(name, "denied")
        (directory / "root").mkdir(parents=True)
        directory.chmod(0)
        if user == 0:  # who may go anywhere
            os.seteuid(65_534)
        try:
            yield directory
        finally:
            os.seteuid(user)
            directory.chmod(0o755)


class TestRoots(LocalTests):
    @pytest.mark.parametrize("name", ["with space", "ünï/日本", "new\nline", "a/b/c", "%41#?"])
    def test_any_directory(self, tmp_path: Path, name: str) -> None:
        backend = LocalBackend.connect(ConnectionArguments(str(tmp_path / name)))
        assert not backend.has_bucket(str(tmp_path / name))
        backend.create_bucket(str(tmp_path / name))
        put(backend, "folder/name", b"body", a="b")
        assert (tmp_path / name / "folder" / "name").read_bytes() == b"body"
        assert keys_of(backend) == ["folder/name"]
        assert str(tmp_path / name) in backend.describe()

    def test_relative_to_where_we_were(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        backend = LocalBackend.connect(ConnectionArguments("data/sub"))
        backend.create_bucket("data/sub")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        put(backend, "name")
        assert backend.bucket_name == str(tmp_path / "data/sub")
        assert (tmp_path / "data/sub/name").exists()
        assert tree(tmp_path / "elsewhere") == []

    def test_home(self, isolated_environment: Path) -> None:
        backend = LocalBackend.connect(ConnectionArguments("~/data"))
        backend.create_bucket("~/data")
        put(backend, "~/name")
        assert (isolated_environment / "data" / "~" / "name").exists()

    def test_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "target").mkdir()
        (tmp_path / "link").symlink_to("target")
        backend = LocalBackend.connect(ConnectionArguments(str(tmp_path / "link")))
        put(backend, "a/b")
        assert keys_of(backend) == ["a/b"]
        assert tree(tmp_path / "target") == ["a", "a/b"]
        list(backend.delete(["a/b"]))
        backend.delete_bucket(str(tmp_path / "link"))
        assert tree(tmp_path) == []

    def test_dots_are_those_of_the_kernel(self, tmp_path: Path) -> None:
        (tmp_path / "far" / "away").mkdir(parents=True)
        (tmp_path / "link").symlink_to("far/away")
        backend = LocalBackend(str(tmp_path / "link" / ".." / "beside"))
        assert backend.bucket_name == str(tmp_path / "far" / "beside")

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"x")
        for name in ("file", "file/below"):
            with pytest.raises(InvalidNameError, match="is a file"):
                LocalBackend().create_bucket(str(tmp_path / name))
        assert LocalBackend().has_bucket(str(tmp_path / "file")) is False

    @each("name", ["a\0b", " ", b"bytes", 5, "~nosuchuser/data", "~nosuchuser"])
    def test_invalid_root_raises(self, name: Any) -> None:
        with pytest.raises(InvalidNameError, match="directory"):
            LocalBackend(name)
        with pytest.raises(InvalidNameError, match="directory"):
            LocalBackend().has_bucket(name)

    def test_missing_root_is_not_created(self, root: Path) -> None:
        backend = LocalBackend.connect(ConnectionArguments(str(root)))
        for call in (lambda: put(backend, "a/b"), lambda: put(backend, "a"), backend.scan):
            with pytest.raises(BucketNotFoundError, match="create_bucket"):
                call()
        assert not root.exists()
        assert not backend.has_bucket(str(root / ("x" * 300)))

    def test_denied_root_is_not_missing(self, denied: Path) -> None:
        """The parent of the root may not be searched."""
        root = str(denied / "root")
        backend = LocalBackend(root)
        calls = [
            lambda: backend.has_bucket(root),
            lambda: list(backend.list_buckets()),
            lambda: backend.create_bucket(root),
            lambda: backend.delete_bucket(root),
            lambda: list(backend.scan()),
            lambda: list(backend.delete(["a"])),
            lambda: backend.exists("a"),
            lambda: backend.head("a"),
            lambda: put(backend, "a"),
            lambda: put(backend, "a/b"),
        ]
        for call in calls:
            with pytest.raises(AccessDeniedError, match="root"):
                call()
        inside = LocalBackend(str(denied))
        for call in (lambda: list(inside.scan()), lambda: inside.remove_links("")):
            with pytest.raises(AccessDeniedError, match=f"of '{denied}"):
                call()

    def test_vanished(self, backend: LocalBackend, root: Path) -> None:
        root.rmdir()
        with pytest.raises(BucketNotFoundError, match=str(root)):
            put(backend, "a/b")
        assert not root.exists()
        assert list(backend.list_buckets()) == []

    def test_unknown_option(self, root: Path) -> None:
        with pytest.raises(ConfigurationError, match="'colour'"):
            LocalBackend.connect(ConnectionArguments(str(root), extra={"colour": 1}))

    def test_only_empty_ones_are_removed(self, backend: LocalBackend, root: Path) -> None:
        (root / "empty").mkdir()
        with pytest.raises(BucketNotEmptyError):
            backend.delete_bucket(str(root))
        with pytest.raises(BucketExistsError):
            backend.create_bucket(str(root))
        (root / "empty").rmdir()
        backend.delete_bucket(str(root))
        assert not root.exists()


class TestNames(LocalTests):
    @pytest.mark.parametrize(
        "key",
        [
            *("/abs", "a/", "a//b", ".", "..", "../x", "a/../../x", "a/./b", "a/.."),
            *("", "/", "\0", "a\0b", "a\udc80", "x.meta.json", "x.meta.json/y", ".meta.json"),
            *(".cottoncandy-0123456789abcdef.tmp", "a/.cottoncandy-0123456789abcdef.tmp/b"),
        ],
    )
    def test_refused_by_every_verb(self, backend: LocalBackend, root: Path, key: str) -> None:
        put(backend, "name")
        (root.parent / "x").write_bytes(b"outside")
        calls = [
            lambda: put(backend, key),
            lambda: backend.get(key),
            lambda: backend.head(key),
            lambda: backend.copy(key, "dest"),
            lambda: backend.copy("name", key),
            lambda: backend.move(key, "dest"),
            lambda: backend.move("name", key),
            lambda: backend.owner(key),
        ]
        for call in calls:
            with pytest.raises(InvalidNameError):
                call()
        assert backend.exists(key) is False
        (deletion,) = backend.delete([key])
        assert isinstance(deletion.error, InvalidNameError)
        assert tree(root) == ["name"]
        assert (root.parent / "x").read_bytes() == b"outside"

    def test_too_long_for_the_file_system(self, backend: LocalBackend, root: Path) -> None:
        with pytest.raises(InvalidNameError, match="255 bytes"):
            put(backend, "folder/" + "x" * 256)
        with pytest.raises(InvalidNameError, match=r"\.meta\.json"):
            put(backend, "folder/" + "x" * 250, a="b")
        with pytest.raises(InvalidNameError):
            backend.head("x" * 256)
        assert tree(root) == []
        put(backend, "folder/" + "x" * 250)
        assert backend.head("folder/" + "x" * 250).metadata == {}
        list(backend.delete(["folder/" + "x" * 250]))
        assert tree(root) == []

    def test_empty_directories_are_not_in_the_way(self, backend: LocalBackend, root: Path) -> None:
        (root / "a" / "b" / "c").mkdir(parents=True)
        put(backend, "a", b"body")
        assert (root / "a").read_bytes() == b"body"

    def test_a_directory_of_something_else_is(self, backend: LocalBackend, root: Path) -> None:
        (root / "a" / "b").mkdir(parents=True)
        (root / "a" / "b" / "leftover.meta.json").write_text("{}")
        with pytest.raises(ObjectExistsError, match=r"a/b/leftover\.meta\.json"):
            put(backend, "a", b"body")
        assert (root / "a" / "b" / "leftover.meta.json").exists()

    def test_failing_leaves_no_directories(self, backend: LocalBackend, root: Path) -> None:
        def broken() -> Iterator[bytes]:
            yield b"x"
            raise KeyboardInterrupt

        (root / "kept").mkdir()
        for key in ("a/b/c/name", "kept/name"):
            with pytest.raises(KeyboardInterrupt):
                backend.put(key, Body.of(broken()))
        assert tree(root) == ["kept"]


class TestSidecars(LocalTests):
    def test_as_040_writes_them(self, backend: LocalBackend, root: Path) -> None:
        put(backend, "a/name", dtype="<f8", shape="1,2")
        content = (root / "a" / "name.meta.json").read_text()
        assert content == '{\n    "dtype": "<f8",\n    "shape": "1,2"\n}'
        put(backend, "a/name")
        assert tree(root) == ["a", "a/name"]

    def test_what_040_wrote(self, backend: LocalBackend, root: Path) -> None:
        (root / "name").write_bytes(b"x")
        (root / "name.meta.json").write_text('{"DType": "<f8", "n": 3, "flag": true, "no": null}')
        expected = {"dtype": "<f8", "n": "3", "flag": "True", "no": "None"}
        assert backend.head("name").metadata == expected

    def test_headers_are_entries(self, backend: LocalBackend, root: Path) -> None:
        options = PutOptions(None, None, "a/b", "gzip", "no-store", "STANDARD_IA")
        backend.put("name", Body.of(b"x"), options)
        assert json.loads((root / "name.meta.json").read_bytes()) == {
            "cc-content-type": "a/b",
            "cc-content-encoding": "gzip",
            "cc-cache-control": "no-store",
            "cc-storage-class": "STANDARD_IA",
        }
        found = backend.head("name")
        assert (found.content_type, found.storage_class) == ("a/b", "STANDARD_IA")
        backend.put("name", Body.of(b"x"), PutOptions({}))
        assert (root / "name.meta.json").read_text() == "{}"

    @pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'"x"', b'{"cc-pending": 1}'])
    def test_broken(self, backend: LocalBackend, root: Path, content: bytes) -> None:
        put(backend, "name", b"body", a="b")
        (root / "name.meta.json").write_bytes(content)
        for call in (backend.head, backend.get):
            with pytest.raises(MetadataError, match=r"name\.meta\.json"):
                call("name")
        assert keys_of(backend) == ["name"]
        put(backend, "name", b"new", c="d")
        assert backend.head("name").metadata == {"c": "d"}
        (root / "name.meta.json").write_bytes(content)
        list(backend.delete(["name"]))
        assert tree(root) == []

    def test_stale_ones_are_nobodys(self, backend: LocalBackend, root: Path) -> None:
        (root / "name.meta.json").write_text('{"stale": "1"}')
        assert keys_of(backend) == []
        assert list(backend.scan(delimiter="/")) == []
        put(backend, "name")
        assert backend.head("name").metadata == {}
        assert tree(root) == ["name"]

    def test_in_no_listing_and_no_directory_of_them(
        self, backend: LocalBackend, root: Path
    ) -> None:
        (root / "d").mkdir()
        (root / "d" / "gone.meta.json").write_text("{}")
        put(backend, "e/name", a="b")
        assert list(backend.scan(delimiter="/")) == [CommonPrefix("e/")]
        assert keys_of(backend) == ["e/name"]

    def test_metadata_that_is_no_text(self, backend: LocalBackend, root: Path) -> None:
        with pytest.raises(MetadataError, match="'n'"):
            put(backend, "name", n=b"3")  # type: ignore[arg-type]
        assert tree(root) == []


def test_json_of_a_journal_is_readable() -> None:
    """The entry of a journal is documented; its place must not move."""
    from cottoncandy.backends.local.reader import Fingerprint, encode_journal

    journal = json.loads(
        encode_journal({"a": "1"}, Fingerprint(1, 2, 3), {"b": "2"}, Fingerprint(4, 5, 6))
    )
    assert journal == {
        "a": "1",
        "cc-pending": {"body": [4, 5, 6], "instead_of": [1, 2, 3], "metadata": {"b": "2"}},
    }
