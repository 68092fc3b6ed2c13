"""Transfers that are killed at random, again and again, end with every file there once."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

import cottoncandy as cc
from cottoncandy.cloudfiles import CloudFiles, ResumableTransfer
from tests.processes import start
from tests.servers.base import S3Server

pytestmark = pytest.mark.server

KILLS = 6
FILES = {f"d{number % 7}/{number:03d}": os.urandom(number * 200) for number in range(90)}

PROGRAMS = {
    "sync to disk": "import cottoncandy as cc; cc.sync({here!r}, {there!r}, threads=4)",
    "sync to a bucket": "import cottoncandy as cc; cc.get_interface({bucket!r}, **{server!r})"
    ".sync({here!r}, 'data', threads=4)",
    "upload_from_directory": "import cottoncandy as cc; cc.get_interface({bucket!r}, **{server!r})"
    ".upload_from_directory({here!r}, 'data', recursive=True, skip_existing=True, threads=4)",
    "transfer_to": "from cottoncandy.cloudfiles import CloudFiles; "
    "CloudFiles({here!r}, num_threads=4).transfer_to({there!r}, resumable=True)",
    "ResumableTransfer": "from cottoncandy.cloudfiles import ResumableTransfer; "
    "ResumableTransfer({db!r}).execute()",
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_bytes(content)
    return tmp_path / "here"


def kill_again_and_again(program: str, state: Callable[[], dict[str, bytes]]) -> None:
    """Start a program and kill it, at a later moment each time; then let it finish."""
    for number in range(KILLS):
        process = start(program)
        process.join(random.uniform(0, 0.05 * (number + 1)))
        process.kill()
        process.join()
        for name, content in state().items():
            assert FILES[name] == content, f"{name} is half-written"
    process = start(program)
    process.join()
    assert process.exitcode == 0
    assert state() == FILES


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync to disk", "transfer_to", "ResumableTransfer"])
def test_killed_transfers_to_disk_end_whole(kind: str, here: Path, tmp_path: Path) -> None:
    there, db = tmp_path / "there", tmp_path / "job.db"
    there.mkdir()
    program = PROGRAMS[kind].format(here=str(here), there=str(there), db=str(db))
    if kind == "ResumableTransfer":
        job = ResumableTransfer(db)
        job.init(str(here), str(there))
        program += f" if __import__('os').path.exists({str(db)!r}) else None"

    def state() -> dict[str, bytes]:
        cf = CloudFiles(str(there))
        return {file["path"]: file["content"] for file in cf.get(list(cf))}

    kill_again_and_again(program, state)
    names = [path for path in there.rglob("*") if path.is_file()]
    assert len(names) == len(FILES)  # no temporary file is left


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync to a bucket", "upload_from_directory"])
def test_killed_uploads_end_whole(kind: str, here: Path, moto: S3Server, moto_bucket: str) -> None:
    server = moto.interface_arguments()
    program = PROGRAMS[kind].format(here=str(here), bucket=moto_bucket, server=server)
    cci = cc.get_interface(moto_bucket, **server)

    def state() -> dict[str, bytes]:
        return {name[5:]: cci.download_object(name) for name in cci.glob("data/")}

    kill_again_and_again(program, state)
