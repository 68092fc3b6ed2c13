"""Measure this version next to its peers, on one server, in one run.

    python benchmarks/run.py                         # everything, on a Ceph node that it starts
    python benchmarks/run.py --only up-,down- --rounds 5
    python benchmarks/run.py --server http://KEY:SECRET@localhost:9000
    python benchmarks/run.py --quick                 # small and on moto: does it work, not how fast

Peers run in turn within each round, each in a separate process and environment, so that a machine
whose speed drifts drifts for all; compare ratios, not times. With ``--quick``, one process of each
does all its tasks. A last run of each counts requests, through a proxy. Results are checked for
equality. They are merged into the JSON file of the report by scenario, so a report can be filled in
parts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import report  # noqa: E402 - after the path is set
from environments import PEERS, WORKERS  # noqa: E402
from places import array_file, server, slow_line  # noqa: E402
from scenarios import Scenario, scenarios  # noqa: E402

from tests.environments import ORIGINAL_ENVIRONMENT  # noqa: E402
from tests.servers import S3Server  # noqa: E402
from tests.servers.proxy import FaultProxy  # noqa: E402

MiB = 2**20
_SLOW_S = 10  # a peer that takes longer is measured once
_TIMEOUT_S = 300


class FailedError(Exception):
    """A peer could not do its task."""


class Runner:
    """Runs scenarios on one server and keeps their results.

    Parameters
    ----------
    place : S3Server
    results : dict
        What the report shows; changed in place.
    folder : Path
        For data, files and homes; in memory if possible.
    quick : bool
        Whether speed does not matter, and a failure ends the run.
    here : bool
        Whether to run only the peers that need no separate environment.
    """

    def __init__(
        self, place: S3Server, results: dict[str, Any], folder: Path, *, quick: bool, here: bool
    ) -> None:
        self.place, self.results, self.folder = place, results, folder
        self.quick, self.here = quick, here
        self._bucket = self._shared = ""
        self._done: set[tuple[str, ...]] = set()
        self._workers: dict[tuple[str | Path, ...], Any] = {}

    def run(self, scenario: Scenario, rounds: int, *, count: bool) -> None:
        """Run one scenario: rounds that are timed, and one whose requests are counted."""
        self._enter(scenario.shared or scenario.name)
        peers = [name for name in scenario.peers if PEERS[name].quick or not self.here]
        found: dict[str, Any] = {name: {"seconds": [], "cpu": [], "memory": []} for name in peers}
        out = set()
        for number in range(min(rounds, scenario.rounds or rounds)):
            for name in peers[number % len(peers) :] + peers[: number % len(peers)]:
                if name in out:
                    continue
                try:
                    result = self._once(scenario, name, found[name])
                except FailedError as error:
                    found[name] = {"error": str(error)}
                    out.add(name)
                    continue
                if result["seconds"] > _SLOW_S and name != peers[0]:
                    out.add(name)
        if count and scenario.task != "import" and not scenario.task.startswith("local"):
            for name in peers[:1] if self.quick else peers:
                if "error" not in found[name]:
                    self._count(scenario, name, found[name])
        entry = self.results.setdefault(scenario.name, {"peers": {}})
        entry |= {key: value for key, value in asdict(scenario).items() if key != "peers"}
        for name, values in found.items():
            old = entry["peers"].get(name, {})
            kept = values if "error" in values else {k: v for k, v in values.items() if v != []}
            entry["peers"][name] = kept if "error" in values else {**old, **kept}
            entry["peers"][name].pop("error" if "error" not in values else "", None)
        shown = [
            f"{name} {median(values['seconds']):.2f} s"
            if values.get("seconds")
            else f"{name} {values.get('error', 'counted')}"
            for name, values in found.items()
        ]
        print(f"{scenario.name}: {', '.join(shown)}", flush=True)

    def close(self) -> None:
        """Remove what is stored, and end the workers."""
        self._enter("")
        self._end_workers()

    def _end_workers(self) -> None:
        for worker, errors in self._workers.values():
            worker.communicate()
            errors.close()
        self._workers.clear()

    def _enter(self, shared: str) -> None:
        """Work in a bucket of this group of scenarios; the one before is removed."""
        if shared != self._shared:
            if self._bucket:
                self.place.remove_bucket(self._bucket)
            self._done.clear()
            self._shared = shared
            self._bucket = self.place.make_bucket("benchmark") if shared else ""

    def _once(self, scenario: Scenario, peer: str, values: dict[str, Any]) -> dict[str, float]:
        self._prepare(scenario, peer)
        with slow_line(self.place) if scenario.line else nullcontext(self.place) as place:
            result = self._work(scenario, peer, scenario.task, place)
            if scenario.line:
                self._end_workers()  # which keep connections through the line
        for key in ("seconds", "cpu", "memory"):
            values[key].append(round(result[key], 4))
        self._done.add((scenario.task, peer))
        return result

    def _count(self, scenario: Scenario, peer: str, values: dict[str, Any]) -> None:
        """Run once more through a proxy that counts; the requests of connecting are subtracted."""
        proxy = FaultProxy(self.place)
        try:
            self._prepare(scenario, peer)
            self._work(scenario, peer, scenario.task, proxy.server)
            ours = [each for each in proxy.requests if "warm-up" not in each.path]
            values["requests"] = len(ours)
            values["sent"] = sum(each.received for each in ours)
            values["received"] = sum(each.sent for each in ours)
        except FailedError as error:
            print(f"{scenario.name}: {peer} fails behind the proxy: {error}", file=sys.stderr)
        finally:
            proxy.stop()

    def _prepare(self, scenario: Scenario, peer: str) -> None:
        """Make what a task works on, unless an earlier one has."""
        if scenario.before is None:
            return
        peer = "limit" if scenario.before == "fill" else peer
        if scenario.used_up or (scenario.before, peer) not in self._done:
            self._work(scenario, peer, scenario.before, self.place)
            self._done.add((scenario.before, peer))

    def _work(self, scenario: Scenario, peer: str, task: str, place: S3Server) -> dict[str, float]:
        python = PEERS[peer].python(quick=self.here)
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        environment = ORIGINAL_ENVIRONMENT | {"HOME": str(home), "XDG_CONFIG_HOME": ""}
        if PEERS[peer].environment is None:
            environment["PYTHONPATH"] = str(ROOT)
        if task == "import":
            code = (
                "import time; s = time.perf_counter(); c = time.process_time(); import {}; print("
            )
            code += '\'{{"seconds": %f, "cpu": %f, "memory": 0}}\' % (time.perf_counter() - s, '
            code += "time.process_time() - c))"
            command, job = [python, "-c", code.format(PEERS[peer].module)], {}
        else:
            command = [python, WORKERS / f"{PEERS[peer].worker}.py"]
            name = "keys" if scenario.before == "fill" else peer.replace(" ", "").replace(",", "-")
            job = {
                **{key: value for key, value in scenario.job.items() if key != "mib"},
                "task": task,
                "name": name,
                "peer": peer,
                "bucket": self._bucket,
                "endpoint": place.endpoint_url,
                "folder": str(self.folder),
                "access_key": place.access_key,
                "secret_key": place.secret_key,
            }
            if self.quick:
                job["warm_bytes"] = MiB
            if "data" in scenario.job:
                job["data"] = str(
                    array_file(self.folder, scenario.job["data"], scenario.job["mib"])
                )
        for _ in range(2 if self.quick else 1):
            answer, status, said = self._ask(command, job, environment)
            # A process of bare obstore was once ended by a signal, without a message.
            if answer or status >= 0 or peer.startswith("cottoncandy"):
                break
        if answer:
            result: dict[str, float] = json.loads(answer)
            return result
        said = said.strip() or f"it took {_TIMEOUT_S} s, or ended with status {status}"
        if self.quick:
            raise SystemExit(f"{scenario.name}: {peer} failed:\n{said}")
        raise FailedError(said.splitlines()[-1][:200])

    def _ask(
        self, command: list[str | Path], job: dict[str, Any], environment: dict[str, str]
    ) -> tuple[str, int, str]:
        """Return a worker's answer or, if there is none, its exit status and its last words."""
        worker, errors = self._workers.pop(tuple(command), (None, None))
        if worker is None:
            errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives with the worker
            worker = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=self.folder,
                env=environment,
            )
        timer = threading.Timer(_TIMEOUT_S, worker.kill)
        timer.start()
        with suppress(BrokenPipeError):
            worker.stdin.write(json.dumps(job) + "\n")
            worker.stdin.flush()
        # The first import of cottoncandy prints a welcome.
        answer = next((line for line in worker.stdout if line.startswith("{")), "")
        if answer and self.quick:
            self._workers[tuple(command)] = worker, errors
            timer.cancel()
            return answer, 0, ""
        worker.communicate()
        timer.cancel()
        with errors:
            errors.seek(0)
            return answer, worker.returncode, errors.read()


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default=None, help="ceph (default), moto, or a URL")
    parser.add_argument("--only", default="", help="beginnings of scenarios, joined by commas")
    parser.add_argument("--skip", default="", help="beginnings of scenarios to leave out")
    # Each of two, three or six peers begins as many rounds.
    parser.add_argument("--rounds", type=int, default=6, help="timed rounds; 0: only requests")
    parser.add_argument("--peers", default="", help="peers to run, joined by commas")
    parser.add_argument("--promised", action="store_true", help="only what is promised")
    parser.add_argument("--no-count", action="store_true", help="do not count requests")
    parser.add_argument("--quick", action="store_true", help="small, once, without environments")
    parser.add_argument("--all-peers", action="store_true", help="also with --quick")
    parser.add_argument("--build", action="store_true", help="only build the environments")
    parser.add_argument("--cache", help="where environments are kept")
    parser.add_argument("--output", type=Path, help="where the report goes (docs/inside)")
    options = parser.parse_args()
    if options.cache:
        ORIGINAL_ENVIRONMENT["COTTONCANDY_TEST_CACHE"] = options.cache
    if options.build:
        for name, peer in PEERS.items():
            print(name, peer.python(), flush=True)
        return
    only, skip = options.only.split(","), tuple(filter(None, options.skip.split(",")))
    wanted = [
        each.of(options.peers.split(",") if options.peers else each.promises)
        if options.peers or options.promised
        else each
        for each in scenarios(quick=options.quick)
        if each.name.startswith(tuple(only))
        and not (skip and each.name.startswith(skip))
        and (each.promises or not options.promised)
    ]
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="cottoncandy-benchmark-", dir=memory if memory.is_dir() else None
    ) as name:
        folder = Path(name)
        output = options.output or (folder if options.quick else ROOT / "docs" / "inside")
        kept = report.load(output)
        kind = options.server or ("moto" if options.quick else "ceph")
        kept["machine"] = {
            "date": time.strftime("%Y-%m-%d"),
            "server": {"ceph": "Ceph", "moto": "moto"}.get(kind, "another"),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "system": platform.system(),
            "processor": platform.machine(),
        }
        begun, here = time.time(), options.quick and not options.all_peers
        with server(kind, folder) as place:
            runner = Runner(place, kept["scenarios"], folder, quick=options.quick, here=here)
            for scenario in wanted:
                rounds = 1 if options.quick else options.rounds
                runner.run(scenario, rounds, count=not options.no_count)
                report.save(kept, output)  # the scenarios that ran, if the run is interrupted
            runner.close()
        report.write(kept, output)
        print(f"{len(wanted)} scenarios in {time.time() - begun:.0f} s: {output}")


if __name__ == "__main__":
    main()
