"""What is particular to the local backend: files, links, names, disks."""

from __future__ import annotations

import errno
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cottoncandy._body import Body
from cottoncandy._buffers import MiB
from cottoncandy.backends.base import CommonPrefix, ConnectionArguments, ObjectInfo
from cottoncandy.backends.local import LocalBackend
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketExistsError,
    BucketNotEmptyError,
    BucketNotFoundError,
    ConfigurationError,
    IntegrityError,
    InvalidNameError,
    MetadataError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageFullError,
)
from tests.backends._data import keys_of, pattern


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def backend(root: Path) -> LocalBackend:
    return LocalBackend.connect(ConnectionArguments(str(root)))


def put(backend: LocalBackend, key: str, body: bytes = b"x", **metadata: str) -> None:
    backend.put(key, Body.of(body), metadata=metadata or None)


def tree(root: Path) -> list[str]:
    """Return everything below a directory, hidden or not."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


class TestRoots:
    @pytest.mark.parametrize("name", ["with space", "ünï/日本", "new\nline", "a/b/c", "%41#?"])
    def test_any_directory(self, tmp_path: Path, name: str) -> None:
        backend = LocalBackend.connect(ConnectionArguments(str(tmp_path / name)))
        put(backend, "folder/name", b"body", a="b")
        assert (tmp_path / name / "folder" / "name").read_bytes() == b"body"
        assert keys_of(backend) == ["folder/name"]
        assert str(tmp_path / name) in backend.describe()

    def test_relative_to_where_we_were(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        backend = LocalBackend.connect(ConnectionArguments("data/sub"))
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        put(backend, "name")
        assert backend.bucket_name == str(tmp_path / "data/sub")
        assert (tmp_path / "data/sub/name").exists()
        assert tree(tmp_path / "elsewhere") == []

    def test_home(self, isolated_environment: Path) -> None:
        backend = LocalBackend.connect(ConnectionArguments("~/data"))
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
        assert tree(tmp_path) == ["home"]

    def test_dots_are_those_of_the_kernel(self, tmp_path: Path) -> None:
        (tmp_path / "far" / "away").mkdir(parents=True)
        (tmp_path / "link").symlink_to("far/away")
        backend = LocalBackend(str(tmp_path / "link" / ".." / "beside"))
        assert backend.bucket_name == str(tmp_path / "far" / "beside")

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"x")
        for name in ("file", "file/below"):
            with pytest.raises(InvalidNameError, match="is a file"):
                LocalBackend.connect(ConnectionArguments(str(tmp_path / name)))
        assert LocalBackend().has_bucket(str(tmp_path / "file")) is False

    def test_nul(self) -> None:
        with pytest.raises(InvalidNameError, match="NUL"):
            LocalBackend("a\0b")

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


class TestNames:
    @pytest.mark.parametrize(
        "key",
        [
            *("/abs", "a/", "a//b", ".", "..", "../x", "a/../../x", "a/./b", "a/.."),
            *("", "/", "\0", "a\0b", "a\udc80", "x.meta.json", "x.meta.json/y", ".meta.json"),
            *(".cottoncandy-abc.tmp", "a/.cottoncandy-abc.tmp/b"),
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


class TestSidecars:
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
            put(backend, "name", n=3)  # type: ignore[arg-type]
        assert tree(root) == []


class TestFiles:
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
        # What is no object is not deleted as one.
        list(backend.delete(["dir", "nowhere", "self"]))
        assert {"dir", "nowhere", "self"} <= {path.name for path in root.iterdir()}
        put(backend, "dir/new")
        assert (data / "new").exists()

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
        assert tree(root) == ["c", "c/d", "c/d.meta.json"]
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

    @pytest.mark.parametrize("threads", [1, 3, 100])
    def test_parts_in_parallel(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, threads: int
    ) -> None:
        from cottoncandy.backends.local import _reader

        monkeypatch.setattr(_reader, "_PART_BYTES", 1000)
        body = pattern(10_007)
        put(backend, "name", body)
        with backend.get("name", threads=threads) as reader:
            out = bytearray(10_000)
            reader.read_into(memoryview(out), 5)
            assert out == body[5:10_005]
            reader.read_into(memoryview(bytearray()), 5)

    def test_files_are_not_left_open(self, backend: LocalBackend) -> None:
        put(backend, "name")
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        for _ in range(20):
            backend.get("name")  # dropped
            backend.get("name").close()
            backend.head("name")
            backend.copy("name", "other")
        after = len(os.listdir("/proc/self/fd")) if before else 0
        assert after == before

    def test_a_big_copy_without_the_kernel(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*arguments: object) -> int:
            raise OSError(errno.EXDEV, "no")

        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
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
        backend.move("name", "there", source_bucket=backend.bucket_name, dest_bucket=bucket)
        with backend.get("there", bucket=bucket) as reader:
            assert (reader.read(), reader.metadata) == (b"body", {"a": "b"})
        assert keys_of(backend) == []
        list(backend.delete(["there"], bucket=bucket))
        backend.delete_bucket(bucket)


class TestDisks:
    @pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EFBIG"])
    @pytest.mark.parametrize("nth", [1, 2, 3])
    def test_full(
        self,
        backend: LocalBackend,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        code: str,
        nth: int,
    ) -> None:
        """The body, the journal or the sidecar finds no room."""
        put(backend, "name", b"old", which="old")
        calls = []
        write = os.write

        def full(descriptor: int, data: bytes) -> int:
            calls.append(data)
            if len(calls) == nth:
                raise OSError(getattr(errno, code), "no room")
            return write(descriptor, data)

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            with pytest.raises(StorageFullError, match=r"'name'.*unchanged"):
                put(backend, "name", b"new", which="new")
        assert len(calls) == nth
        assert backend.head("name").metadata == {"which": "old"}
        assert (root / "name").read_bytes() == b"old"
        assert tree(root) == ["name", "name.meta.json"]

    def test_really_full(self, backend: LocalBackend, root: Path) -> None:
        """The file-size limit of a process stands for a disk."""
        import resource
        import signal

        put(backend, "name", b"old")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5 * MiB, hard))
        try:
            with pytest.raises(StorageFullError):
                put(backend, "name", bytes(9 * MiB))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        assert (root / "name").read_bytes() == b"old"
        assert tree(root) == ["name"]

    @pytest.mark.parametrize("code", ["EACCES", "EPERM", "EROFS"])
    def test_read_only(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, code: str
    ) -> None:
        put(backend, "name", b"old", which="old")
        opened = os.open

        def refuse(path: str, flags: int, *more: int) -> int:
            if flags & os.O_CREAT:
                raise OSError(getattr(errno, code), "no", path)
            return opened(path, flags, *more)

        monkeypatch.setattr(os, "open", refuse)
        for call in (
            lambda: put(backend, "name", b"new", which="new"),
            lambda: backend.copy("name", "other"),
            lambda: backend.move("name", "other"),
        ):
            with pytest.raises(AccessDeniedError, match="permissions"):
                call()
        assert backend.head("name").metadata == {"which": "old"}

    def test_truly_read_only(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            os.chmod(name, 0o755)
            root = Path(name, "root")
            backend = LocalBackend.connect(ConnectionArguments(str(root)))
            put(backend, "name", b"old")
            root.chmod(0o555)
            user = os.geteuid()
            try:
                if user == 0:  # who may write anywhere
                    os.seteuid(65_534)
                calls = [
                    lambda: put(backend, "name", b"new"),
                    lambda: put(backend, "new/name"),
                    lambda: backend.move("name", "other"),
                    lambda: backend.create_bucket(str(root / "below")),
                ]
                for call in calls:
                    with pytest.raises(AccessDeniedError):
                        call()
                (deletion,) = backend.delete(["name"])
                assert isinstance(deletion.error, AccessDeniedError)
            finally:
                os.seteuid(user)
                root.chmod(0o755)
            assert (root / "name").read_bytes() == b"old"
            assert tree(root) == ["name"]

    def test_write_protected(
        self, backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(backend, "name", b"old")
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        with pytest.raises(AccessDeniedError, match="write-protected"):
            put(backend, "name", b"new")
        assert (root / "name").read_bytes() == b"old"

    def test_unreadable(
        self, backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(backend, "name")

        def refuse(*arguments: object) -> int:
            raise PermissionError(errno.EACCES, "no", str(root))

        with monkeypatch.context() as patched:
            patched.setattr(os, "open", refuse)
            with pytest.raises(AccessDeniedError, match="'name'"):
                backend.get("name")
            patched.setattr(os, "stat", refuse)
            with pytest.raises(AccessDeniedError, match="'name'"):
                backend.exists("name")
        # A listing must not be silently shorter.
        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(AccessDeniedError):
            list(backend.scan())

    def test_without_locks_or_hard_links(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import fcntl

        def refuse(*arguments: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "no")

        monkeypatch.setattr(fcntl, "flock", refuse)
        monkeypatch.setattr(os, "link", refuse)
        backend.put("name", Body.of(b"x"), metadata={"a": "b"}, overwrite=False)
        with pytest.raises(ObjectExistsError):
            backend.put("name", Body.of(b"y"), overwrite=False)
        backend.move("name", "other", overwrite=False)
        assert backend.head("other").metadata == {"a": "b"}
        assert keys_of(backend) == ["other"]

    def test_leftovers_of_the_killed(self, backend: LocalBackend, root: Path) -> None:
        put(backend, "folder/name")
        for name, age in (("old", 2 * 86_400), ("fresh", 60)):
            path = root / "folder" / f".cottoncandy-{name}.tmp"
            path.write_bytes(b"half")
            os.utime(path, (time.time() - age,) * 2)
        assert keys_of(backend) == ["folder/name"]
        assert tree(root) == ["folder", "folder/.cottoncandy-fresh.tmp", "folder/name"]


class TestOtherWriters:
    def test_a_directory_that_comes_and_goes(self, backend: LocalBackend, root: Path) -> None:
        """One thread deletes the last object of a directory, others store into it."""
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for _ in range(100):
                    put(backend, f"a/b/c/{number}", a="b")
                    assert backend.exists(f"a/b/c/{number}")
                    list(backend.delete([f"a/b/c/{number}"]))
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert tree(root) == []

    def test_moves_in_a_circle(self, backend: LocalBackend) -> None:
        """Locks on two directories, taken in either order, never wait for each other."""
        put(backend, "a/x", b"1", n="1")
        put(backend, "b/y", b"2", n="2")

        def work(source: str, dest: str) -> None:
            for _ in range(100):
                backend.move(source, dest)
                backend.move(dest, source)

        threads = [
            threading.Thread(target=work, args=("a/x", "b/x")),
            threading.Thread(target=work, args=("b/y", "a/y")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert backend.head("a/x").metadata == {"n": "1"}
        assert backend.head("b/y").metadata == {"n": "2"}

    def test_a_writer_between_body_and_sidecar(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reader that has opened the old body finds the new sidecar, and begins anew."""
        from cottoncandy.backends.local import _reader

        read_sidecar = _reader.read_sidecar
        versions = iter(range(1, 4))

        def overtaken(*arguments: Any) -> dict[str, str]:
            for number in versions:
                put(backend, "name", b"version %i" % number, version=str(number))
                break
            return read_sidecar(*arguments)

        put(backend, "name", b"version 0", version="0")
        monkeypatch.setattr(_reader, "read_sidecar", overtaken)
        with backend.get("name") as reader:
            assert reader.read() == b"version 3"
            assert reader.metadata == {"version": "3"}

    def test_faster_writers_than_readers(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cottoncandy.backends.local import _reader

        def overtaken(place: Any, *arguments: Any) -> dict[str, str]:
            Path(place.path).unlink()
            Path(place.path).write_bytes(b"another")
            return {}

        put(backend, "name")
        monkeypatch.setattr(_reader, "read_sidecar", overtaken)
        monkeypatch.setattr(_reader, "_names", lambda *arguments: False)
        with pytest.raises(ObjectChangedError, match="faster"):
            backend.get("name")

    def test_etags_differ_though_the_clock_stands_still(
        self, backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """File systems give the inode of the last version but one to the next."""
        monkeypatch.setattr(time, "time_ns", lambda: 10**18)
        marks = set()
        for number in range(10):
            put(backend, "name", b"%i" % number)
            marks.add(backend.head("name").etag)
        assert len(marks) == 10

    def test_a_copied_tree_keeps_its_metadata(
        self, backend: LocalBackend, root: Path, tmp_path: Path
    ) -> None:
        """A journal that a crash left is right in a backup, too, where inodes differ."""
        import shutil

        from tests.backends.test_local_crashes import crashes_of

        put(backend, "name", b"old", which="old")
        for number, _ in enumerate(
            crashes_of(lambda: put(backend, "name", b"new", which="new"), root)
        ):
            shutil.copytree(root, tmp_path / f"backup{number}")
            backup = LocalBackend(str(tmp_path / f"backup{number}"))
            with backup.get("name") as reader:
                assert reader.metadata == {"which": reader.read().decode()}


def test_json_of_a_journal_is_readable(root: Path) -> None:
    """The entry of a journal is documented; its place must not move."""
    from cottoncandy.backends.local._sidecar import Mark, encode_journal

    journal = json.loads(encode_journal({"a": "1"}, Mark(1, 2, 3), {"b": "2"}, Mark(4, 5, 6)))
    assert journal == {
        "a": "1",
        "cc-pending": {"body": [4, 5, 6], "instead_of": [1, 2, 3], "metadata": {"b": "2"}},
    }
