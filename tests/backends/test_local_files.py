"""Other files in a local root, and the fate of the backend's files."""

from __future__ import annotations

import errno
import os
import socket
import zlib
from pathlib import Path

import pytest

from cottoncandy.backends import reader as reader_module
from cottoncandy.backends.base import DANGLING, CommonPrefix, ObjectInfo
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.backends.local.reader import LocalReader
from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import (
    IntegrityError,
    MetadataError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from cottoncandy.testing.harness import keys_of, pattern
from tests.backends._local import LocalTests, put, tree


class TestFiles(LocalTests):
    def test_links_are_followed(self, backend: LocalBackend, root: Path, tmp_path: Path) -> None:
        data = tmp_path / "data"
        data.mkdir()
        (data / "file").write_bytes(b"linked")
        (root / "dir").symlink_to(data)
        (root / "file").symlink_to(data / "file")
        (root / "nowhere").symlink_to("missing")
        (root / "self").symlink_to("self")
        (data / "loop").symlink_to(root)
        assert keys_of(backend) == ["dir/file", "file"]
        assert list(backend.scan(delimiter="/")) == [
            CommonPrefix("dir/"),
            next(backend.scan("file")),
        ]
        for key in ("dir/file", "file", "dir/loop/file"):
            with backend.get(key) as reader:
                assert reader.read() == b"linked"
        for key in ("nowhere", "self", "self/x", "dir"):
            with pytest.raises(ObjectNotFoundError):
                backend.head(key)
            assert backend.exists(key) is False
        # Anything but an object is not deleted as one.
        list(backend.delete(["dir", "nowhere", "self"]))
        assert {"dir", "nowhere", "self"} <= {path.name for path in root.iterdir()}
        put(backend, "dir/new")
        assert (data / "new").exists()

    def test_moving_through_a_link_raises(
        self, backend: LocalBackend, root: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "name").write_bytes(b"stays")
        (root / "link").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UnsupportedOperationError, match="'link' is a symbolic link"):
            backend.move("link/name", "name")
        assert (tmp_path / "elsewhere" / "name").read_bytes() == b"stays"
        put(backend, "link/more", b"follows the link")
        assert (tmp_path / "elsewhere" / "more").read_bytes() == b"follows the link"
        list(backend.delete(["link/more"]))
        assert keys_of(backend) == ["link/name"]

    @pytest.mark.parametrize("prefix", ["", "a/", "a/link", "a/link/"])
    def test_links_below_a_prefix_are_removed(
        self, backend: LocalBackend, root: Path, tmp_path: Path, prefix: str
    ) -> None:
        (tmp_path / "elsewhere" / "below").mkdir(parents=True)
        (tmp_path / "elsewhere" / "below" / "link").symlink_to(tmp_path)
        put(backend, "a/name", b"body")
        (root / "a" / "link").symlink_to(tmp_path / "elsewhere")
        (root / "a" / "file").symlink_to("name")
        (root / "a" / "loop").symlink_to("loop")
        (root / "other").symlink_to(tmp_path)
        backend.remove_links(prefix)
        kept = ["a", "a/file", "a/loop", "a/name"] + (["other"] if prefix else [])
        assert sorted(path.relative_to(root).as_posix() for path in root.glob("**/*")) == kept
        assert (tmp_path / "elsewhere" / "below" / "link").is_symlink()

    def test_files_that_are_not_objects_below_the_root_of_the_disk(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to(tmp_path)
        (tmp_path / "nowhere").symlink_to("missing")
        prefix = f"{tmp_path}/"[1:]
        found = list(LocalBackend("/").unlisted(prefix))
        assert found == [(f"{prefix}nowhere", DANGLING)]

    def test_an_upload_replaces_the_link(
        self, backend: LocalBackend, root: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "precious").write_bytes(b"precious")
        (root / "name").symlink_to(tmp_path / "precious")
        (root / "nowhere").symlink_to("missing")
        put(backend, "name", b"new", a="b")
        put(backend, "nowhere", b"new")
        assert (tmp_path / "precious").read_bytes() == b"precious"
        assert not (root / "name").is_symlink()
        assert (root / "name").read_bytes() == (root / "nowhere").read_bytes() == b"new"

    def test_a_moved_link_is_a_copy(self, backend: LocalBackend, root: Path) -> None:
        put(backend, "data/file", b"body", a="b")
        (root / "link").symlink_to("data/file")
        (root / "link.meta.json").write_text('{"c": "d"}')
        backend.move("link", "deep/er/name")
        with backend.get("deep/er/name") as reader:
            assert reader.read() == b"body"
            assert reader.metadata == {"c": "d"}
        assert keys_of(backend) == ["data/file", "deep/er/name"]
        assert not (root / "link.meta.json").exists()

    def test_moving_between_hard_links(self, backend: LocalBackend, root: Path) -> None:
        put(backend, "one", b"body", a="1")
        put(backend, "two", b"other", a="2")
        (root / "two").unlink()
        (root / "two").hardlink_to(root / "one")
        backend.move("one", "two")
        assert keys_of(backend) == ["two"]
        assert backend.head("two").metadata == {"a": "1"}
        assert tree(root) == ["two", "two.meta.json"]

    def test_no_objects(self, backend: LocalBackend, root: Path) -> None:
        os.mkfifo(root / "pipe")
        with socket.socket(socket.AF_UNIX) as server:
            where = os.getcwd()
            os.chdir(root)  # the path of a socket must be short
            server.bind("socket")
            os.chdir(where)
            assert keys_of(backend) == []
            for key in ("pipe", "socket"):
                with pytest.raises(ObjectNotFoundError):
                    backend.get(key)
                with pytest.raises(ObjectExistsError):
                    put(backend, key)
                list(backend.delete([key]))
        assert {path.name for path in root.iterdir()} == {"pipe", "socket"}

    def test_a_pipe_in_the_place_of_a_sidecar(self, backend: LocalBackend, root: Path) -> None:
        put(backend, "object", b"body")
        os.mkfifo(root / "object.meta.json")
        with pytest.raises(MetadataError, match="is not a JSON object"):
            backend.head("object")

    def test_names_that_are_no_unicode(self, backend: LocalBackend, root: Path) -> None:
        Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_bytes(b"x")
        directory = Path(os.fsdecode(os.fsencode(root) + b"/d\xff"))
        directory.mkdir()
        (directory / "name").write_bytes(b"x")
        put(backend, "name")
        assert keys_of(backend) == ["name"]
        assert [type(entry) for entry in backend.scan(delimiter="/")] == [ObjectInfo]

    def test_empty_parents_go(self, backend: LocalBackend, root: Path) -> None:
        put(backend, "a/b/c/one", x="y")
        put(backend, "a/b/two")
        list(backend.delete(["a/b/c/one"]))
        assert tree(root) == ["a", "a/b", "a/b/two"]
        backend.move("a/b/two", "c/d")
        assert tree(root) == ["c", "c/d"]
        list(backend.delete(["c/d"]))
        assert tree(root) == []
        assert root.exists()

    def test_permissions_stay(self, backend: LocalBackend, root: Path) -> None:
        put(backend, "name")
        (root / "name").chmod(0o664)
        put(backend, "name", b"new")
        assert (root / "name").stat().st_mode & 0o777 == 0o664

    def test_truncated_while_open(self, backend: LocalBackend, root: Path) -> None:
        put(backend, "name", pattern(1000))
        with backend.get("name") as reader:
            os.truncate(root / "name", 10)
            with pytest.raises(IntegrityError, match="1000"):
                reader.read()
            with pytest.raises(IntegrityError, match="1000"):
                reader.read_into(memoryview(bytearray(1000)))

    def test_changed_in_place_while_open(self, backend: LocalBackend, root: Path) -> None:
        put(backend, "name", b"old")
        with backend.get("name") as reader:
            (root / "name").write_bytes(b"new")
            with pytest.raises(ObjectChangedError):
                reader.read()
            with pytest.raises(ObjectChangedError):
                reader.read_into(memoryview(bytearray(3)))

    def test_short_reads_are_continued(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = pattern(1000)
        put(backend, "name", body)
        read = os.preadv
        monkeypatch.setattr(os, "preadv", lambda fd, into, at: read(fd, [into[0][:7]], at))
        with backend.get("name") as reader:
            out = bytearray(900)
            checksum = reader.read_into(memoryview(out), 50, checksum=True)
        assert (out, checksum) == (body[50:950], zlib.crc32(body[50:950]))

    @pytest.mark.parametrize("threads", [1, 3, 100])
    def test_parts_in_parallel(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, threads: int
    ) -> None:
        monkeypatch.setattr(LocalReader, "window_bytes", 1000)
        monkeypatch.setattr(reader_module, "_INLINE_BYTES", 0)
        body = pattern(10_007)
        put(backend, "name", body)
        with backend.get("name", threads=threads) as reader:
            out = bytearray(10_000)
            reader.read_into(memoryview(out), 5)
            assert out == body[5:10_005]
            reader.read_into(memoryview(bytearray()), 5)

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="there is no /proc")
    def test_files_are_not_left_open(self, backend: LocalBackend) -> None:
        put(backend, "name")
        for _ in range(20):
            backend.get("name")  # dropped
            backend.get("name").close()
            backend.head("name")
            backend.copy("name", "other")
        opened = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
        assert not [path for path in opened if path.startswith(backend.bucket)]

    @pytest.mark.parametrize("copied", [0, 3 * MiB + 1])
    def test_a_big_copy_that_the_kernel_does_not_finish(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, copied: int
    ) -> None:
        def copy_some(source: int, dest: int, count: int, start: int, place: int) -> int:
            if start == copied:
                raise OSError(errno.EXDEV, "no")
            return os.pwrite(dest, os.pread(source, copied, start), place)

        monkeypatch.setattr(os, "copy_file_range", copy_some, raising=False)
        body = pattern(9 * MiB)
        put(backend, "name", body, a="b")
        backend.copy("name", "copy")
        with backend.get("copy") as reader:
            assert reader.read() == body

    def test_moving_between_mounts_of_one_file_system(
        self, backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replace = os.replace

        def refuse(source: str, dest: str) -> None:
            if source == str(root / "name"):
                raise OSError(errno.EXDEV, "no", source)
            replace(source, dest)

        put(backend, "name", b"body", a="b")
        put(backend, "dest", b"old", c="d")
        monkeypatch.setattr(os, "replace", refuse)
        backend.move("name", "dest")
        with backend.get("dest") as reader:
            assert (reader.read(), reader.metadata) == (b"body", {"a": "b"})
        assert tree(root) == ["dest", "dest.meta.json"]

    def test_moving_to_another_file_system(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        other = Path("/dev/shm")
        if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is one file system only")
        bucket = str(other / f"cottoncandy-test-{os.getpid()}")
        backend.create_bucket(bucket)
        put(backend, "name", b"body", a="b")
        there = backend.with_bucket(bucket)
        there.move("name", "there", source_bucket=backend.bucket)
        with there.get("there") as reader:
            assert (reader.read(), reader.metadata) == (b"body", {"a": "b"})
        assert keys_of(backend) == []
        list(there.delete(["there"]))
        backend.delete_bucket(bucket)
