"""cottoncandy and its predecessor 0.4.0, on one server, in one run.

    python benchmarks/compare.py                      # starts a Ceph node on loopback
    python benchmarks/compare.py --endpoint-url http://localhost:9000 --access-key … --secret-key …
    python benchmarks/compare.py --only download,glob --rounds 5

Both libraries do the same work through the same calls, each in a separate process, in turn, so
that a machine whose speed drifts drifts for both. Compare the ratio of each pair; times are
shown for orientation. 0.4.0 runs in a separate environment, which the first run builds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.environments import COTTONCANDY_040  # noqa: E402 - after the path is set
from tests.servers import S3Server  # noqa: E402

MiB = 2**20


@dataclass(frozen=True)
class Comparison:
    """One row of the table: a task, what it needs beforehand, and the ratio that is promised.

    Parameters
    ----------
    name : str
        Title of the row.
    task : str
        Function of ``worker.py``.
    amount, unit : float, str
        How much work it is.
    job : dict
        What the task is told.
    promised : float, optional
        How many times as fast it should be.
    before : str, optional
        What makes the objects that the task works on: a task, or ``"fill"``.
    used_up : bool, default False
        True where the task consumes its objects, so that each run gets new ones. Else both
        libraries work on the same, which the new one has made.
    """

    name: str
    task: str
    amount: float
    unit: str
    job: dict[str, Any]
    promised: float | None = None
    before: str | None = None
    used_up: bool = False


def comparisons(scale: float) -> list[Comparison]:
    """Return the rows; ``scale`` shrinks the work, for trying the script itself."""
    large = int(256 * scale)
    less = int(24 * scale)  # 0.4.0 takes a minute or more for these, at gzip's level 9
    few, some = int(100 * scale), int(1000 * scale)
    keys, doomed = int(30_000 * scale), int(10_000 * scale)
    rows = [
        Comparison(
            *("upload, default compression", "upload_default", less, "MiB/s"),
            {"nbytes": less * MiB},
            promised=4,
        ),
        Comparison(
            *(f"upload, {large} MiB uncompressed", "upload_uncompressed", large, "MiB/s"),
            {"nbytes": large * MiB},
        ),
        Comparison(
            *("upload, one small array after the other", "upload_small", few, "arrays/s"),
            {"count": few},
        ),
    ]
    for size in (8, 64, 256, 1024):
        mib = max(int(size * scale), 1)
        rows.append(
            Comparison(
                *(f"download, {mib} MiB uncompressed", "download", mib, "MiB/s"),
                {"nbytes": mib * MiB},
                promised=3 if size == 256 else None,
                before="upload_uncompressed",
            )
        )
    rows += [
        Comparison(
            *("download, gzip", "download", less, "MiB/s"),
            {"nbytes": less * MiB},
            before="upload_default",
        ),
        Comparison(
            *("download, one small array after the other", "download_small", few, "arrays/s"),
            {"count": few},
            before="upload_small",
        ),
        Comparison("dict2cloud, small arrays", "dict2cloud", some, "arrays/s", {"count": some}),
        Comparison(
            *("cloud2dict, small arrays", "cloud2dict", some, "arrays/s"),
            {"count": some},
            promised=15,
            before="dict2cloud",
        ),
        Comparison("glob", "glob", keys, "keys/s", {"count": keys}, promised=5, before="fill"),
        Comparison(
            *("rm, recursive", "remove", doomed, "objects/s"),
            {"count": doomed},
            promised=10,
            before="fill",
            used_up=True,
        ),
    ]
    return rows


@contextmanager
def server(arguments: argparse.Namespace) -> Iterator[S3Server]:
    """Give the server that was named, or a Ceph node for this run."""
    if arguments.endpoint_url:
        yield S3Server(arguments.endpoint_url, arguments.access_key, arguments.secret_key)
        return
    from tests.servers.ceph import CephServer

    ceph = CephServer()
    try:
        yield ceph.users[0]
    finally:
        ceph.stop()


def run(python: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Run one task in one interpreter."""
    done = subprocess.run(
        [python, ROOT / "benchmarks" / "worker.py"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT) if python == Path(sys.executable) else ""},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{job['task']} failed in {python}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def fill(place: S3Server, bucket: str, name: str, count: int) -> None:
    """Put many tiny objects, not timed."""
    from concurrent.futures import ThreadPoolExecutor

    client = place.client(max_pool_connections=16)
    with ThreadPoolExecutor(16) as pool:
        list(
            pool.map(
                lambda i: client.put_object(
                    Bucket=bucket, Key=f"{name}/branch{i % 10}/object{i:06d}", Body=b"x"
                ),
                range(count),
            )
        )


def compare(place: S3Server, bucket: str, row: Comparison, rounds: int) -> list[tuple[Any, Any]]:
    """Run a task with both libraries in turn; return the pairs, 0.4.0's first."""
    new = Path(sys.executable)
    job = row.job | {
        "task": row.task,
        "name": re.sub(r"\W+", "-", row.name),
        "connection": {"bucket_name": bucket, **place.interface_arguments()},
    }

    def prepare() -> None:
        if row.before == "fill":
            fill(place, bucket, job["name"], row.job["count"])
        elif row.before is not None:
            run(new, job | {"task": row.before})

    if not row.used_up:
        prepare()
    pairs = []
    for number in range(rounds):
        results = []
        for python in (COTTONCANDY_040.python(), new):
            if row.used_up:
                prepare()
            results.append(run(python, job))
        pairs.append((results[0], results[1]))
        old, now = pairs[-1]
        print(f"  round {number + 1}: {old['seconds']:.3f} s, {now['seconds']:.3f} s", flush=True)
    return pairs


def main() -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint-url", help="an S3 server; a Ceph node is started without")
    parser.add_argument("--access-key")
    parser.add_argument("--secret-key")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the work (default 1)")
    parser.add_argument("--only", help="beginnings of tasks to run, joined by commas")
    arguments = parser.parse_args()
    wanted = tuple(arguments.only.split(",")) if arguments.only else ("",)
    lines = []
    with server(arguments) as place:
        bucket = place.make_bucket("benchmark")
        for row in comparisons(arguments.scale):
            if not row.task.startswith(wanted):
                continue
            print(row.name, flush=True)
            pairs = compare(place, bucket, row, arguments.rounds)
            old, new = (median(row.amount / pair[i]["seconds"] for pair in pairs) for i in (0, 1))
            ratio = median(pair[0]["seconds"] / pair[1]["seconds"] for pair in pairs)
            cpu = median(pair[0]["cpu_seconds"] / pair[1]["cpu_seconds"] for pair in pairs)
            promised = f"{row.promised:g}" if row.promised else ""
            lines.append(
                f"| {row.name} | {old:,.0f} {row.unit} | {new:,.0f} {row.unit} | {ratio:.1f} "
                f"| {cpu:.1f} | {promised} |"
            )
        place.remove_bucket(bucket)
    print()
    print("| work | 0.4.0 | now | times as fast | times less CPU | promised |")
    print("|---|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
