"""Files that are written whole or not at all, and what killed processes leave."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import cottoncandy
from cottoncandy.core.buffers import MiB
from cottoncandy.core.files import atomic_write, lock, open_lockable, unlock, write_private
from cottoncandy.testing.harness import pattern
from tests.servers import S3Server
from tests.servers.base import wait_until
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks of this kind are POSIX")


PART = f".cottoncandy-{zlib.crc32(b'scan.nii'):08x}00000000.tmp"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    directory = tmp_path / "downloads"
    directory.mkdir()
    return directory / "scan.nii"


def names_beside(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def write(target: Path, data: bytes) -> None:
    with atomic_write(target) as file:
        file.write(data)


def leave_parts(target: Path, count: int) -> None:
    """Kill a process that writes ``count`` parts at once."""
    script = """
        import contextlib, os, signal, sys
        from cottoncandy.core.files import atomic_write
        with contextlib.ExitStack() as stack:
            for _ in range(int(sys.argv[2])):
                file = stack.enter_context(atomic_write(sys.argv[1]))
                file.write(b"half")
                file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(target), str(count)]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    assert len(names_beside(target)) == count


@pytest.mark.parametrize("count", [1, 3])
def test_what_killed_processes_leave(target: Path, count: int) -> None:
    leave_parts(target, count)
    write(target, b"whole")
    assert names_beside(target) == ["scan.nii"]
    assert target.read_bytes() == b"whole"


def test_what_was_left_goes_even_if_this_one_fails(target: Path) -> None:
    leave_parts(target, 2)

    def write_and_fail() -> None:
        with atomic_write(target) as file:
            file.write(b"half")
            raise RuntimeError("by the test")

    with pytest.raises(RuntimeError, match="by the test"):
        write_and_fail()
    assert names_beside(target) == []


def test_nothing_else_is_removed(target: Path) -> None:
    others = [
        PART.removesuffix(".tmp"),
        PART.removeprefix("."),
        ".cottoncandy-0123456789abcdef.tmp",
        ".scan.nii.0.cottoncandy-part",
    ]
    for name in others:
        target.with_name(name).write_bytes(b"other")
    write(target, b"whole")
    assert names_beside(target) == sorted(["scan.nii", *others])


def test_two_that_write_at_once(target: Path) -> None:
    with atomic_write(target) as first:
        first.write(b"first")
        with atomic_write(target) as second:
            second.write(b"second")
        assert target.read_bytes() == b"second"
        assert names_beside(target) == [PART, "scan.nii"]
    assert target.read_bytes() == b"first"
    assert names_beside(target) == ["scan.nii"]


def test_many_that_write_at_once(target: Path) -> None:
    """No file in use is removed as abandoned, neither before its lock nor after its closing."""
    bodies = [str(number).encode() * 5000 for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: write(target, body), bodies))
    assert target.read_bytes() in bodies
    assert names_beside(target) == ["scan.nii"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_idle_children_hold_no_locks_of_their_parent(tmp_path: Path) -> None:
    held = open_lockable(str(tmp_path), os.O_RDONLY)
    assert lock(held)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        try:
            os.fstat(held)  # closed, in case that the parent is killed while it holds the lock
        except OSError:
            os.read(reading, 1)  # until the parent closes the pipe
            os._exit(0)
        os._exit(1)
    try:
        unlock(held)
        other = open_lockable(str(tmp_path), os.O_RDONLY)
        assert lock(other, wait=False)
        unlock(other)
    finally:
        os.close(writing)
        os.close(reading)
        assert os.waitpid(child, 0)[1] == 0


def test_a_link_or_a_directory_in_the_way(target: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    link, directory = (target.with_name(PART.replace("0.tmp", f"{n}.tmp")) for n in range(2))
    link.symlink_to(precious)
    directory.mkdir()
    os.mkfifo(target.with_name(PART.replace("0.tmp", "2.tmp")))
    write(target, b"whole")
    assert target.read_bytes() == b"whole"
    assert precious.read_bytes() == b"precious"
    assert link.is_symlink()
    assert len(names_beside(target)) == 4


@pytest.mark.parametrize("name", ["x" * 255, "名" * 85])
def test_the_longest_names(target: Path, name: str) -> None:
    write(target.with_name(name), b"whole")
    assert names_beside(target) == [name]


def test_errors_name_the_file_that_was_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "no" / "such"
    with pytest.raises(FileNotFoundError) as caught:
        write(target, b"")
    assert caught.value.filename == str(target)


def test_a_download_that_was_killed(
    fault_proxy: FaultProxy, moto: S3Server, moto_bucket: str, target: Path
) -> None:
    """With a real store: the next download of the same file takes the half of it away."""
    data = pattern(5 * MiB)  # more than comes in one piece
    moto.client().put_object(Bucket=moto_bucket, Key="scan", Body=data)
    rule = fault_proxy.on("GET", "scan").hang(at=1000)
    script = """
        import json, sys
        import cottoncandy
        cci = cottoncandy.get_interface(sys.argv[1], verbose=False, **json.loads(sys.argv[2]))
        cci.download_to_file("scan", sys.argv[3])
    """
    connection: dict[str, Any] = fault_proxy.server.interface_arguments()
    command = [sys.executable, "-c", textwrap.dedent(script), moto_bucket]
    child = subprocess.Popen([*command, json.dumps(connection), str(target)])
    try:
        wait_until(lambda: bool(names_beside(target)), "the download's beginning")
        assert names_beside(target) == [PART]
        cci: Any = cottoncandy.get_interface(
            moto_bucket, verbose=False, **moto.interface_arguments()
        )
        cci.download_to_file("scan", target)
        assert names_beside(target) == [PART, "scan.nii"]  # it is alive
    finally:
        child.kill()
        child.wait()
        rule.release()
    target.unlink()
    cci.download_to_file("scan", target)
    assert names_beside(target) == ["scan.nii"]
    assert target.read_bytes() == data


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_permissions_of_the_old_file_stay(target: Path, mode: int) -> None:
    target.write_bytes(b"old")
    target.chmod(mode)
    seen = []
    with atomic_write(target) as file:
        seen.append(stat.S_IMODE(target.with_name(PART).stat().st_mode))
        file.write(b"new")
    assert [*seen, stat.S_IMODE(target.stat().st_mode)] == [mode, mode]
    assert target.read_bytes() == b"new"


def test_a_pipe_is_written_directly(target: Path) -> None:
    os.mkfifo(target)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(target.read_bytes)
        write(target, b"whole")
        assert read.result(20) == b"whole"
    assert target.is_fifo()


def test_a_device_is_written_directly() -> None:
    write(Path("/dev/null"), b"whole")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OSError, match="No space left"):
        write(Path("/dev/full"), b"whole")
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_is_appended_to(target: Path, name: str) -> None:
    script = """
        import sys
        from cottoncandy.core.files import atomic_write
        print("before", flush=True)
        with atomic_write(sys.argv[1]) as file:
            file.write(b"whole\\n")
        print("after", flush=True)
    """
    if name == "link":
        name = str(target.with_name("link"))
        os.symlink("/dev/stdout", name)
    with target.open("wb") as output:
        inode = os.fstat(output.fileno()).st_ino
        command = [sys.executable, "-c", textwrap.dedent(script), name]
        subprocess.run(command, stdout=output, check=True, timeout=60)
    assert target.read_bytes() == b"before\nwhole\nafter\n"
    assert target.stat().st_ino == inode


def test_a_private_file_behind_a_link_is_replaced_there(target: Path) -> None:
    link = target.with_name("link")
    link.symlink_to(target.name)
    assert write_private(link, b"new", replace=True)
    assert link.is_symlink()
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"new", 0o600)
