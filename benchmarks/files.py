"""CloudFiles and cloud-files 6.4.3 on one server and one disk, in one run.

    python benchmarks/files.py                 # starts a Ceph node on loopback
    python benchmarks/files.py --quick         # a tenth of the files, one round

Both libraries do the same calls, each in a separate process, in turn. Compare the ratio of each
row: a machine whose speed drifts drifts for both. cloud-files runs in a separate environment, which
the first run builds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

#: Row: where, number of files, bytes of each, ratio that is promised.
ROWS: dict[str, tuple[str, int, int, float]] = {
    "puts": ("ceph", 1000, 8192, 2.0),
    "get": ("ceph", 1000, 8192, 4.0),
    "exists": ("ceph", 1000, 8192, 4.0),
    "list": ("ceph", 30_000, 16, 6.0),
    "puts ": ("disk", 10_000, 8192, 1.5),
    "get ": ("disk", 10_000, 8192, 1.5),
}


def work(library: str, task: str, path: str, count: int, size: int) -> float:
    """Do one task in this process; return its duration in seconds."""
    if library == "cloud-files":
        from cloudfiles import CloudFiles
    else:
        from cottoncandy.cloudfiles import CloudFiles
    secrets = json.loads(os.environ.get("BENCHMARK_SECRETS", "null"))
    cf: Any = CloudFiles(path, secrets=secrets)
    names = [f"{number:06d}" for number in range(count)]
    content = os.urandom(size)
    cf.exists("warm-up")
    begun = time.perf_counter()
    if task == "puts":
        cf.puts(((name, content) for name in names), total=count)
    elif task == "get":
        found = cf.get(names)
        assert all(file["content"] is not None for file in found)
    elif task == "exists":
        assert all(cf.exists(names).values())
    else:
        assert sum(1 for _ in cf.list()) == count
    return time.perf_counter() - begun


def run(python: str, library: str, task: str, path: str, count: int, size: int, env: Any) -> float:
    """Do one task in another process."""
    command = [python, __file__, "--work", library, task, path, str(count), str(size)]
    result = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return float(result.stdout.split()[-1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files, one round")
    parser.add_argument("--only", default="", help="rows, separated by commas")
    options = parser.parse_args()
    if options.work:
        library, task, path, count, size = options.work
        print(work(library, task, path, int(count), int(size)))
        return
    sys.path.insert(0, str(ROOT))
    from tests.environments import CLOUD_FILES
    from tests.servers.ceph import CephServer

    pythons = {"cloud-files": str(CLOUD_FILES.python()), "cottoncandy": sys.executable}
    only = set(filter(None, options.only.split(",")))
    rows = {name: row for name, row in ROWS.items() if not only or name.strip() in only}
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    server = CephServer()
    try:
        s3 = server.users[0]
        secrets = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
        env = {
            **os.environ,
            "BENCHMARK_SECRETS": json.dumps(secrets),
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
        }
        bucket = s3.borrow_bucket()
        print(f"{'task':<28}{'cloud-files':>12}{'cottoncandy':>13}{'ratio':>8}{'promised':>10}")
        for name, (where, count, size, promised) in rows.items():
            count = count // 10 if options.quick else count
            task = name.strip()
            base = f"s3://{s3.endpoint_url}/{bucket}" if where == "ceph" else f"file://{folder}"
            times: dict[str, list[float]] = {library: [] for library in pythons}
            shared = f"{base}/{task}-{where}"
            if task != "puts":
                run(pythons["cottoncandy"], "cottoncandy", "puts", shared, count, size, env)
            for turn in range(1 if options.quick else 3):
                for library, python in pythons.items():
                    path = f"{shared}-{turn}-{library}" if task == "puts" else shared
                    times[library].append(run(python, library, task, path, count, size, env))
            old, new = median(times["cloud-files"]), median(times["cottoncandy"])
            label = f"{task} {count} x {size} B, {where}"
            print(
                f"{label:<28}{old:>11.2f}s{new:>12.2f}s{old / new:>8.1f}{promised:>10.1f}",
                flush=True,
            )
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
