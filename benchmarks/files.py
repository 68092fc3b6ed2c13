"""CloudFiles next to cloud-files 6.4.3 and bare obstore, on one server and one disk, in one run.

    python benchmarks/files.py                     # starts a Ceph node on loopback
    python benchmarks/files.py --quick             # a hundredth of the files, one round
    python benchmarks/files.py --only disk,large   # rows whose names begin so

Peers do the same calls in turn, each in a separate process. Compare the ratio of each row: a
machine whose speed drifts drifts for both. Rows of one peer measure scale: their memory is shown.
The table is added to docs/inside/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TABLE = "Files: CloudFiles, cloud-files 6.4.3 and bare obstore"


class Row(NamedTuple):
    """One row of the table. Without a peer, the promise is memory in MiB."""

    task: str
    where: str
    count: int
    size: int
    promised: float
    peer: str | None = "cloud-files"


ROWS = {
    "puts": Row("puts", "ceph", 1000, 8192, 2.0),
    "get": Row("get", "ceph", 1000, 8192, 4.0),
    "exists": Row("exists", "ceph", 1000, 8192, 4.0),
    "list": Row("list", "ceph", 30_000, 16, 6.0),
    "disk-puts": Row("puts", "disk", 10_000, 8192, 1.5),
    "disk-get": Row("get", "disk", 10_000, 8192, 1.5),
    "large-puts": Row("puts", "ceph", 1, 2**30, 0.9, "obstore"),
    "large-get": Row("get", "ceph", 1, 2**30, 0.9, "obstore"),
    "million": Row("copy", "mem", 1_000_000, 16, 64, None),
    "scale-puts": Row("puts", "ceph", 300_000, 16, 64, None),
    "scale-list": Row("list", "ceph", 300_000, 16, 64, None),
    "scale-copy": Row("copy", "ceph", 300_000, 16, 64, None),
    "scale-delete": Row("delete", "ceph", 300_000, 16, 64, None),
}


def work(peer: str, task: str, path: str, count: int, size: int) -> dict[str, float]:
    """Do one task in this process; return seconds, seconds of CPU, and MiB above the start."""
    if peer == "obstore":
        call = _obstore_call(task, path, size)
    else:
        call = _files_call(peer, task, path, count, size)
    if size >= 2**20:
        sys.path.insert(0, str(Path(__file__).parent / "peers"))
        from job import use_memory

        use_memory(3 * size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, cpu = time.perf_counter(), time.process_time()
    call()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": seconds, "cpu": cpu, "memory": peak / 1024}


def _files_call(peer: str, task: str, path: str, count: int, size: int) -> Any:
    if peer == "cloud-files":
        from cloudfiles import CloudFiles
    else:
        from cottoncandy.cloudfiles import CloudFiles
    secrets = json.loads(os.environ.get("BENCHMARK_SECRETS", "null"))
    cf: Any = CloudFiles(path, secrets=secrets)
    content = os.urandom(size)
    cf.exists("warm-up")
    numbers = range(count)
    names = (f"{number:06d}" for number in numbers)
    if task == "puts":
        return lambda: cf.puts(((name, content) for name in names), total=count)
    if task == "copy" and path.startswith("mem:"):
        cf.put("a", content)
        return lambda: cf.transfer_to(cf, repeat({"path": "a", "dest_path": "b"}, count))
    if task == "copy":
        copy = CloudFiles(f"{path}-copy", secrets=secrets)
        return lambda: (cf.transfer_to(copy), _check(sum(1 for _ in copy.list()) == count))
    if task == "delete":
        return lambda: (cf.delete(cf.list()), _check(not cf.isdir()))
    if task == "get":
        wanted = list(names)
        return lambda: _check(all(len(file["content"]) == size for file in cf.get(wanted)))
    if task == "exists":
        wanted = list(names)
        return lambda: _check(all(cf.exists(wanted).values()))
    return lambda: _check(sum(1 for _ in cf.list()) == count)


def _check(right: bool) -> None:
    if not right:
        raise SystemExit("the result is wrong")


def _obstore_call(task: str, path: str, size: int) -> Any:
    """Return what puts or gets one large file with the client's own parallel parts."""
    import obstore
    from obstore.store import S3Store

    scheme, rest = path.removeprefix("s3://").split("://")
    host, bucket, name = rest.split("/", 2)
    secrets = json.loads(os.environ["BENCHMARK_SECRETS"])
    store = S3Store(
        bucket,
        endpoint=f"{scheme}://{host}",
        region="us-east-1",
        access_key_id=secrets["AWS_ACCESS_KEY_ID"],
        secret_access_key=secrets["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
    )
    key = f"{name}/000000"
    if task == "puts":
        content = os.urandom(size)
        return lambda: obstore.put(store, key, content, chunk_size=16 * 2**20)
    step = 16 * 2**20
    starts = list(range(0, size, step))
    ends = [min(start + step, size) for start in starts]
    return lambda: _check(
        sum(map(len, obstore.get_ranges(store, key, starts=starts, ends=ends))) == size
    )


def run(python: str, *words: Any, env: Any) -> dict[str, float]:
    """Do one task in another process."""
    command = [python, __file__, "--work", *map(str, words)]
    result = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return found


def compare(row: Row, pythons: dict[str, str], base: str, rounds: int, env: Any) -> list[str]:
    """Return the cells of a row."""
    peers = ["cottoncandy", *([row.peer] if row.peer else [])]
    found: dict[str, list[dict[str, float]]] = {peer: [] for peer in peers}
    ours, theirs = pythons["cottoncandy"], pythons.get(row.peer or "", "")
    shared = f"{base}/{'scale' if row.count >= 3000 and not row.peer else row.task}-{row.size}"
    if row.peer and row.task != "puts":
        run(ours, "cottoncandy", "puts", shared, row.count, row.size, env=env)
    for turn in range(rounds if row.peer else 1):
        for peer in peers[turn % 2 :] + peers[: turn % 2]:
            path = f"{shared}-{turn}-{peer}" if row.task == "puts" and row.peer else shared
            python = ours if peer == "cottoncandy" else theirs
            found[peer].append(run(python, peer, row.task, path, row.count, row.size, env=env))
    best = {peer: min(each["cpu"] for each in found[peer]) for peer in peers}
    usual = {peer: median(each["seconds"] for each in found[peer]) for peer in peers}
    cells = [" / ".join(f"{values[peer]:.2f}" for peer in peers) for values in (usual, best)]
    if row.peer is None:
        memory = found["cottoncandy"][0]["memory"]
        return [*cells, f"{memory:.0f} MiB", f"at most {row.promised:.0f} MiB"]
    ratios = (values[row.peer] / max(values["cottoncandy"], 1e-9) for values in (usual, best))
    return [*cells, "{:.2f} (CPU {:.2f})".format(*ratios), f"{row.promised:g}"]


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the files, one round")
    parser.add_argument("--only", default="", help="beginnings of rows, separated by commas")
    parser.add_argument("--share", type=float, default=1.0, help="share of the files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "inside")
    options = parser.parse_args()
    if options.work:
        peer, task, path, count, size = options.work
        print(json.dumps(work(peer, task, path, int(count), int(size))))
        return
    sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
    import report

    from tests.environments import CLOUD_FILES
    from tests.servers.ceph import CephServer

    pythons = dict.fromkeys(("cottoncandy", "obstore"), sys.executable)
    pythons["cloud-files"] = str(CLOUD_FILES.python())
    rounds, share = (1, 0.01) if options.quick else (options.rounds, options.share)
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    output = folder if options.quick else options.output
    server = None
    env = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    bases = {"disk": f"file://{folder}", "mem": "mem://bucket"}
    try:
        for name, row in ROWS.items():
            if not name.startswith(tuple(options.only.split(","))):
                continue
            if row.where == "ceph" and server is None:
                server = CephServer()
                s3 = server.users[0]
                keys = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
                env["BENCHMARK_SECRETS"] = json.dumps(keys)
                bases["ceph"] = f"s3://{s3.endpoint_url}/{s3.borrow_bucket()}"
            row = row._replace(count=max(int(row.count * share), 1))
            peers = f", against {row.peer}" if row.peer else ""
            title = f"{row.task} of {row.count:,} x {row.size:,} B, {row.where}{peers}"
            cells = compare(row, pythons, bases[row.where], rounds, env)
            report.add_row(output, TABLE, title, *cells)
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
