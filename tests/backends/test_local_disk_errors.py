"""Disks that are full, read-only or simple, and other writers on them."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import cottoncandy
from cottoncandy.backends import memory
from cottoncandy.backends.base import ConnectionArguments, IfAbsent, PutOptions
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.cloudfiles import CloudFiles
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.core.files import TemporaryFile
from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    ObjectChangedError,
    ObjectExistsError,
    StorageFullError,
)
from cottoncandy.testing.harness import keys_of
from tests.backends._local import LocalTests, put, tree


class TestDisks(LocalTests):
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
        write = os.pwrite

        def full(descriptor: int, data: bytes, position: int) -> int:
            calls.append(data)
            if len(calls) == nth:
                raise OSError(getattr(errno, code), "no room")
            return write(descriptor, data, position)

        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", full)
            with pytest.raises(StorageFullError, match=r"'name'.*unchanged"):
                put(backend, "name", b"new", which="new")
        assert len(calls) == nth
        assert backend.head("name").metadata == {"which": "old"}
        assert (root / "name").read_bytes() == b"old"
        assert tree(root) == ["name", "name.meta.json"]

    @pytest.mark.parametrize("nth", [1, 5, 9, None])
    def test_large_bodies_are_written_by_two_threads_or_not_at_all(
        self, backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch, nth: int | None
    ) -> None:
        put(backend, "name", b"old")
        monkeypatch.setattr("cottoncandy.backends.local.backend._LARGE_BYTES", 1000)
        blocks = [bytes([number]) * (100 + number) for number in range(9)]
        write, calls = os.pwrite, itertools.count(1)

        def full(descriptor: int, data: bytes, position: int) -> int:
            if next(calls) == nth:
                raise OSError(errno.ENOSPC, "no room")
            return write(descriptor, data, position)

        monkeypatch.setattr(os, "pwrite", full)
        with nullcontext() if nth is None else pytest.raises(StorageFullError, match="unchanged"):
            backend.put("name", Body.of(iter(blocks)))
        assert (root / "name").read_bytes() == (b"old" if nth else b"".join(blocks))
        assert tree(root) == ["name"]

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
        user = os.geteuid()
        # The user without rights gets there, which $TMPDIR does not promise.
        with tempfile.TemporaryDirectory(dir="/tmp" if user == 0 else None) as name:
            os.chmod(name, 0o755)
            root = Path(name, "root")
            root.mkdir()
            backend = LocalBackend.connect(ConnectionArguments(str(root)))
            put(backend, "name", b"old")
            root.chmod(0o555)
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
        backend.put("name", Body.of(b"x"), PutOptions({"a": "b"}, condition=IfAbsent()))
        with pytest.raises(ObjectExistsError):
            backend.put("name", Body.of(b"y"), PutOptions(condition=IfAbsent()))
        backend.move("name", "other", overwrite=False)
        assert backend.head("other").metadata == {"a": "b"}
        assert keys_of(backend) == ["other"]

    def test_listing_removes_what_killed_writers_left(
        self, backend: LocalBackend, root: Path
    ) -> None:
        put(backend, "folder/name")
        killed = root / "folder" / f".cottoncandy-{'0' * 16}.tmp"
        killed.write_bytes(b"half")
        with TemporaryFile(str(root / "folder" / "other")) as living:
            assert keys_of(backend) == ["folder/name"]
            assert not killed.exists()
            assert Path(living.path).exists()

    def test_without_locks_a_listing_waits_a_day(
        self, backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*arguments: Any) -> None:
            raise OSError(errno.ENOLCK, "no locks here")

        put(backend, "folder/name")
        for name, age in (("0" * 16, 2 * 86_400), ("1" * 16, 60)):
            path = root / "folder" / f".cottoncandy-{name}.tmp"
            path.write_bytes(b"half")
            os.utime(path, (time.time() - age,) * 2)
        monkeypatch.setattr("fcntl.flock", refuse)
        assert keys_of(backend) == ["folder/name"]
        assert tree(root) == ["folder", f"folder/.cottoncandy-{'1' * 16}.tmp", "folder/name"]


class TestOtherWriters(LocalTests):
    def test_a_directory_that_comes_and_goes(self, backend: LocalBackend, root: Path) -> None:
        """One thread deletes the last object of a directory, others store into it."""
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for _ in range(30):
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

    def test_object_deleted_during_an_upload_is_not_write_protected(
        self, backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(backend, "name", b"old")

        def deleted(path: str, mode: int) -> bool:
            Path(path).unlink(missing_ok=True)
            return False

        monkeypatch.setattr(os, "access", deleted)
        put(backend, "name", b"new")
        assert (root / "name").read_bytes() == b"new"

    def test_moves_in_a_circle(self, backend: LocalBackend) -> None:
        """Locks on two directories, taken in either order, never wait for each other."""
        put(backend, "a/x", b"1", n="1")
        put(backend, "b/y", b"2", n="2")

        def work(source: str, dest: str) -> None:
            for _ in range(40):
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
        """A reader that has opened the old body finds the new sidecar, and starts again."""
        from cottoncandy.backends.local import reader as _reader

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
        from cottoncandy.backends.local import reader as _reader

        def overtaken(place: Any, *arguments: Any) -> dict[str, str]:
            Path(place.path).unlink()
            Path(place.path).write_bytes(b"another")
            return {}

        put(backend, "name")
        monkeypatch.setattr(_reader, "read_sidecar", overtaken)
        monkeypatch.setattr(os.path, "samestat", lambda *arguments: False)
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


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount file systems of 1 MiB, which takes a superuser."""
    mounted: list[Path] = []

    def mount(options: str = "size=1m") -> Path:
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this user cannot mount a file system")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def cci() -> Iterator[Any]:
    cci = cottoncandy.get_interface("disks", backend="memory", verbose=False)
    cci.upload_object("t/a", b"small")
    cci.upload_object("t/d/large", bytes(3 * MiB))
    yield cci
    memory.clear()


def _writes(cci: Any, root: Path) -> list[tuple[Callable[[], object], set[str]]]:
    """Return ways to write a large file below a directory, and what else they write."""
    large = bytes(3 * MiB)
    return [
        (lambda: cci.sync("t", root), {"a", "d"}),
        (lambda: cci.download_directory("t", root), {"a", "d"}),
        (lambda: cci.download_to_file("t/d/large", root / "large"), set()),
        (lambda: put(LocalBackend(str(root)), "d/large", large), set()),
        (lambda: CloudFiles(root.as_uri(), progress=False).put("large", large), set()),
    ]


@pytest.mark.parametrize("kind", ["local", "files"])
def test_a_disk_that_reports_it_is_full_to_each_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / "name").write_bytes(b"old")
    close = os.close

    def full(descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        close(descriptor)
        if size == len(b"newer"):
            raise OSError(errno.EDQUOT, "no room")

    store: Any = CloudFiles(str(tmp_path))
    if kind == "local":
        store = LocalBackend(str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(os, "close", full)
        with pytest.raises(StorageFullError, match=r"name.*no room"):
            store.put("name", Body.of(b"newer") if kind == "local" else b"newer")
    assert tree(tmp_path) == ["name"]
    assert (tmp_path / "name").read_bytes() == b"old"


def test_a_disk_that_fills_up(mount: Callable[..., Path], cci: Any) -> None:
    root = mount()
    for write, more in _writes(cci, root):
        with pytest.raises(CottonCandyError, match=r"large.*No space left|full.*large"):
            write()
        assert set(tree(root)) <= more
        for path in root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_disk_that_is_read_only(mount: Callable[..., Path], cci: Any) -> None:
    root = mount()
    put(LocalBackend(str(root)), "large", b"old")
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    for write, _ in _writes(cci, root):
        with pytest.raises(CottonCandyError, match=r"(large|/d)'.*(Read-only|write-protected)"):
            write()
    with pytest.raises(AccessDeniedError, match="'large'"):
        put(LocalBackend(str(root)), "large", b"new")
    with pytest.raises(AccessDeniedError, match="Read-only"):
        cci.download_directory("t", root / "new")
    assert tree(root) == ["large"]
