"""One node of Ceph with its S3 gateway, in memory, on loopback: a strict S3 server.

By hand: ``python -m tests.servers.ceph`` prints the endpoint and the keys as shell exports, then
serves until it is interrupted.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from pathlib import Path

from tests.environments import ORIGINAL_ENVIRONMENT
from tests.servers.base import ManagedProcess, S3Server, ServerError, free_port

__all__ = ["CephServer", "why_no_ceph"]

_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_COMMAND_TIMEOUT_S = 300
_ATTEMPTS = 3

_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v1:127.0.0.1:{mon_port}]
public addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
run dir = {directory}
admin socket = {directory}/$name.asok
crash dir = {directory}
log file = {directory}/$name.log
mon cluster log file = {directory}/cluster.log
# One copy of everything, and no second host to put one on.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
# No process reads what the daemons gather in memory for the day they crash, and it takes them time.
debug ms = 0/0
debug mon = 0/0
debug osd = 0/0
debug rgw = 0/0
debug objecter = 0/0
debug rados = 0/0
debug objclass = 0/0
debug finisher = 0/0
debug optracker = 0/0
debug tp = 0/0
debug timer = 0/0
debug throttle = 0/0
debug monc = 0/0
debug auth = 0/0
# The loopback interface changes no bytes.
ms crc data = false

[mon]
mon data = {directory}/mon
mon data avail crit = 1
mon max pg per osd = 1000

[osd]
osd data = {directory}/osd
osd objectstore = memstore
memstore device bytes = 8589934592
# The place in the crush map is set below. Left to the daemon, its first command races with the
# monitor's first answer, and loses ("wrong fsid") one time in a few.
osd crush update on start = false
osd class update on start = false

[client.rgw]
rgw data = {directory}
# Without tcp_nodelay each small GET takes 40 ms.
rgw frontends = beast endpoint=127.0.0.1:{rgw_port} tcp_nodelay=1
# Overwritten data would fill the memory.
rgw gc obj min wait = 5
rgw gc processor period = 5
rgw max put size = 6442450944
"""


def _memory(program: str) -> dict[str, str]:
    """Return the variables that have a daemon keep the memory which it will need again.

    Blocks of 4 MiB pass through the gateway; glibc would ask the system for each, and give it back:
    a third of the time of a read. In the daemon that holds the objects glibc's memory falls into
    crumbs, and deletions get slower and slower. Ceph is meant to run with tcmalloc, which its
    packages need, but which Debian's do not link.
    """
    if program == "radosgw":
        return {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
    tcmalloc = find_library("tcmalloc_minimal") or find_library("tcmalloc")
    return {"LD_PRELOAD": tcmalloc} if tcmalloc else {}


@functools.cache
def why_no_ceph() -> str | None:
    """Return why Ceph can't run here, or None if it can."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return (
            f"Ceph is not installed ({', '.join(missing)} not found); on Debian: apt-get install "
            f"--no-install-recommends ceph-mon ceph-osd ceph-mgr ceph-common radosgw"
        )
    if os.geteuid() != 0:
        return "Ceph's daemons need root here"
    return None


class CephServer:
    """A Ceph node in a temporary directory, ready when the constructor returns (about 13 s).

    ``users`` are the S3 gateway with the main user's keys, and with those of another user, who may
    not read what is the main one's.
    """

    users: tuple[S3Server, ...]

    def __init__(self) -> None:
        self._processes: list[ManagedProcess] = []
        # Its ports can't be reserved: another process may take one before the daemon does.
        for attempts_left in reversed(range(_ATTEMPTS)):
            self.directory = Path(tempfile.mkdtemp(prefix="cottoncandy-ceph-"))
            try:
                self._start()
                return
            except ServerError:
                self.stop()
                if not attempts_left:
                    raise
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Kill the daemons and forget everything: there is nothing to save in memory."""
        for process in reversed(self._processes):
            process.stop(signal.SIGKILL)
        self._processes.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self) -> None:
        fsid = str(uuid.uuid4())
        mon_port, rgw_port = free_port(), free_port()
        (self.directory / "ceph.conf").write_text(
            _CONFIGURATION.format(
                fsid=fsid,
                directory=self.directory,
                mon_port=mon_port,
                rgw_port=rgw_port,
            )
        )
        for name in ("mon", "osd"):
            (self.directory / name).mkdir()
        monmap = str(self.directory / "monmap")
        address = f"[v1:127.0.0.1:{mon_port}]"
        self._command("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap)
        self._command("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._daemon("ceph-mon", "-i", "a")
        self._wait_for_port(mon_port)
        self._command("ceph", "osd", "create")
        self._command("ceph-osd", "-i", "0", "--mkfs")
        self._command("ceph", "osd", "crush", "add", "osd.0", "1", "root=default", "host=node")
        self._daemon("ceph-osd", "-i", "0")
        self._daemon("radosgw", "-n", "client.rgw")
        self._wait_for_port(rgw_port)
        with ThreadPoolExecutor() as pool:
            keys = pool.map(self._create_user, ("MAIN", "OTHER"))
            endpoint_url = f"http://127.0.0.1:{rgw_port}"
            self.users = tuple(S3Server(endpoint_url, *pair) for pair in keys)

    def _create_user(self, name: str) -> tuple[str, str]:
        keys = f"FAKECEPHACCESSKEY{name}", f"FAKE-CEPH-SECRET-KEY-{name}"
        self._command(
            *("radosgw-admin", "-n", "client.rgw", "user", "create"),
            *("--uid", name.lower(), "--display-name", f"Test user {name.lower()}"),
            *("--access-key", keys[0], "--secret-key", keys[1], "--max-buckets", "100000"),
        )
        return keys

    def _command(self, program: str, *arguments: str) -> None:
        result = subprocess.run(
            [program, "-c", str(self.directory / "ceph.conf"), *arguments],
            env=ORIGINAL_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        for process in self._processes:
            process.check()
        if result.returncode:
            output = result.stdout.decode(errors="replace")[-4000:]
            raise ServerError(f"{program} {' '.join(arguments)} failed:\n{output}")

    def _daemon(self, program: str, *arguments: str) -> None:
        self._processes.append(
            ManagedProcess(
                [program, "-f", "-c", self.directory / "ceph.conf", *arguments],
                self.directory / f"{program}.out",
                _memory(program),
            )
        )

    def _wait_for_port(self, port: int) -> None:
        """Wait until the last daemon takes connections."""
        try:
            self._processes[-1].wait_for(port)
        except ServerError as error:
            logs = sorted(self.directory.glob("*.log"))
            tails = [f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs]
            raise ServerError("\n".join([str(error), *tails])) from error


def _main() -> int:
    reason = why_no_ceph()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    # A shell's background job ignores Ctrl-C, unless it says otherwise.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    ceph = CephServer()
    try:
        for name, value in ceph.users[0].environment().items():
            print(f"export {name}={value}")
        sys.stdout.flush()
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        ceph.stop()
    return 0


if __name__ == "__main__":
    sys.exit(_main())
