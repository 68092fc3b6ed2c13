"""The command as a process: terminals, interruptions, kills, several processes."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import cottoncandy as cc
from cottoncandy.cli.main import main
from cottoncandy.core.output import Progress, echo
from tests.processes import start
from tests.servers import S3Server
from tests.servers.web import PlainHandler, WebServer, serving

pexpect = pytest.importorskip("pexpect")

ROOT = Path(cc.__file__).parents[1]
COMMAND = [sys.executable, "-c", "from cottoncandy.cli import run; run()"]


def command(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **options,
    )


def fill(folder: Path, count: int) -> dict[str, bytes]:
    files = {f"d{number % 7}/{number:04}": b"%d" % number * 100 for number in range(count)}
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return files


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def written(folder: Path) -> int:
    """Return the number of files while others come and go."""
    return sum(path.is_file() for path in folder.rglob("[!.]*"))


class Slow(PlainHandler):
    """A server that answers thirty requests per second."""

    def do_GET(self) -> None:
        if not self.path.endswith("/"):
            with self.server.turn:  # type: ignore[attr-defined]  # see below
                time.sleep(0.03)
        super().do_GET()


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[WebServer]:
    import threading

    (tmp_path / "web").mkdir()
    fill(tmp_path / "web", 400)
    with serving(tmp_path / "web", Slow) as server:
        server.turn = threading.Lock()  # type: ignore[attr-defined]
        yield server


# -- xfer ----------------------------------------------------------------------------------------


def test_xfer_transfers_once_and_removes_its_file(tmp_path: Path) -> None:
    files = fill(tmp_path / "src", 20)
    job, dest = tmp_path / "job.db", tmp_path / "dest"
    run = CliRunner().invoke
    begun = run(main, ["xfer", "init", str(tmp_path / "src"), str(dest), "--db", str(job)])
    assert (begun.exit_code, begun.stdout) == (0, "")
    assert "20 files" in begun.stderr
    done = command(
        "xfer", "execute", job, "--progress", "-b", "3", "--lease-msec", "1000", "--json"
    )
    assert json.loads(done.stdout) == {"copied": 20, "errors": {}}
    assert "\r" not in done.stderr  # no progress bar without a terminal
    assert contents(dest) == files
    assert not list(tmp_path.glob("job.db*"))
    assert run(main, ["xfer", "execute", str(job)]).exit_code == 1


def test_xfer_continues_in_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fill(tmp_path / "src", 3)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    assert run(main, ["xfer", "init", "src", "dest", "--db", "job.db"]).exit_code == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run(main, ["xfer", "execute", "../job.db"]).exit_code == 0
    assert contents(tmp_path / "dest") == files


def test_xfer_takes_a_list_and_an_encoding(tmp_path: Path) -> None:
    fill(tmp_path / "src", 5)
    run = CliRunner().invoke
    job, dest = str(tmp_path / "job.db"), str(tmp_path / "dest")
    options = ["--txt", "-", "-c", "gzip", "--db", job]
    arguments = ["xfer", "init", str(tmp_path / "src"), dest, *options]
    assert run(main, arguments, input="d0/0000\nd1/0001\n").exit_code == 0
    (tmp_path / "src/d1/0001").unlink()
    result = run(main, ["xfer", "execute", job])
    assert (result.exit_code, result.stdout) == (1, "")  # a file that vanished was not copied
    assert "d1/0001" in result.stderr
    assert cc.CloudFiles(dest).head("d0/0000")["Content-Encoding"] == "gzip"
    empty = run(main, ["xfer", "init", str(tmp_path / "none"), dest, "--db", job])
    assert (empty.exit_code, "there is no" in empty.stderr) == (1, True)
    assert run(main, ["xfer", "init", "a", "b"]).exit_code == 2


# -- processes -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_several_processes_copy_and_move(tmp_path: Path) -> None:
    files = fill(tmp_path / "src", 30)
    copied = command("-p", "2", "cp", "-r", tmp_path / "src", tmp_path / "copy")
    assert copied.returncode == 0, copied.stderr
    assert contents(tmp_path / "copy") == files
    assert command("-p", "2", "mv", tmp_path / "src", tmp_path / "moved").returncode == 0
    assert contents(tmp_path / "moved") == files
    assert not contents(tmp_path / "src")
    assert command("-p", "2", "rm", "-r", tmp_path / "moved/**").returncode == 0
    assert not contents(tmp_path / "moved")
    failed = command("-p", "2", "cp", "-r", tmp_path / "copy", tmp_path / "copy/d0/0000/x")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr


# -- terminals and Ctrl-C ------------------------------------------------------------------------


def terminal(*arguments: Any) -> Any:
    return pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        encoding="utf-8",
        timeout=120,
        dimensions=(40, 160),
        use_poll=True,  # select() fails where a long run has more than 1,024 files open
    )


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["cp -r", "sync"])
def test_terminal_shows_rate_and_time_left_until_interrupted(
    slow_server: WebServer, tmp_path: Path, verb: str
) -> None:
    child = terminal(*verb.split(), f"{slow_server.url}/", tmp_path / "dest")
    child.expect(r"ing: +\d+%.* \d+/400 \[\d+:\d+<\d+:\d+, +[\d.]+ ?files/s")
    child.sendintr()
    child.expect(
        r"interrupted; \w+: (\d+) files done\s+to continue: cottoncandy (cp --resumable -r|sync) "
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert 0 < int(child.match.group(1) if child.match is not pexpect.EOF else 1) < 400
    assert "Traceback" not in child.before
    before = contents(tmp_path / "dest")
    assert before
    assert all(contents(tmp_path / "web")[name] == body for name, body in before.items())


@pytest.mark.slow
def test_interrupted_processes_say_what_was_done(slow_server: WebServer, tmp_path: Path) -> None:
    child = terminal("-p", "2", "cp", "-r", f"{slow_server.url}/", tmp_path / "dest")
    while written(tmp_path / "dest") < 30:  # in a second; some of them are counted by then
        time.sleep(0.05)
        assert child.isalive()
    child.sendintr()
    child.expect(r"interrupted; transferring: (\d+) files done")
    assert 0 < int(child.match.group(1)) <= len(contents(tmp_path / "dest"))
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in child.before


def test_ctrl_c_while_processes_start_ends_them_silently(tmp_path: Path) -> None:
    fill(tmp_path / "src", 3)
    program = (
        "import os, signal\n"
        "from concurrent.futures import ProcessPoolExecutor as Pool\n"
        "submit = Pool.submit\n"
        "def press(*arguments):\n"
        "    future = submit(*arguments)\n"
        "    os.killpg(0, signal.SIGINT)\n"
        "    return future\n"
        "Pool.submit = press\n"
        "from cottoncandy.cli.main import main; main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "-p", "2", "cp", "-r", tmp_path / "src", tmp_path / "dest"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        start_new_session=True,
    )
    assert (ended.returncode, "Traceback" in ended.stderr) == (130, False), ended.stderr


def test_processes_end_with_one_that_is_killed(slow_server: WebServer, tmp_path: Path) -> None:
    killed = subprocess.Popen(
        [*COMMAND, "-p", "2", "cp", "-r", f"{slow_server.url}/", str(tmp_path / "dest")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    while not written(tmp_path / "dest"):
        time.sleep(0.05)
        assert killed.poll() is None
    killed.kill()
    killed.communicate(timeout=30)  # the pipe is open until the last one has ended


def test_ctrl_c_while_modules_are_imported_ends_silently() -> None:
    program = (
        "import atexit, os, signal, sys\n"
        "atexit.register(lambda: print(signal.getsignal(signal.SIGINT)))\n"
        "class Press:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'click':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Press)\n"
        "from cottoncandy.cli import run\n"
        "run()\n"
    )
    command = [sys.executable, "-c", program, "--version"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (-signal.SIGINT, False)
    command[2] = program.replace("os.kill(os.getpid(), signal.SIGINT)", "pass")
    shown = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)
    assert (shown.returncode, b"default_int_handler" in shown.stdout) == (0, True)


@pytest.mark.parametrize("verb", ["cp", "mv", "rm", "sync", "xfer", "verify"])
def test_interruption_says_what_was_done_and_how_to_continue(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fill(tmp_path / "src", 60)
    source, dest, job = str(tmp_path / "src"), str(tmp_path / "dest"), str(tmp_path / "job.db")
    run = CliRunner().invoke
    run(main, ["xfer", "init", source, dest, "--db", job])
    arguments = {
        "cp": ["cp", "-r", source, dest],
        "mv": ["mv", source, dest],
        "rm": ["rm", "-r", source],
        "sync": ["sync", source, dest],
        "xfer": ["xfer", "execute", job],
        "verify": ["verify", source],
    }[verb]
    update, calls = Progress.update, []

    def interrupting(self: Progress, units: int) -> None:
        update(self, units)
        calls.append(units)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", interrupting)
        result = run(main, [*arguments, "--json"])
    assert result.exit_code == 130
    assert isinstance(json.loads(result.stdout), dict)
    assert re.search(
        r"interrupted; .*: [\d.]+(B| files| objects| of \d+ \w+) ?\w* ?done", result.stderr
    )
    words = shlex.split(result.stderr.partition("to continue: ")[2])
    words.remove("--json")
    again = run(main, words[1:])
    assert (words[:2], "--after" in words) == (["cottoncandy", verb], verb == "verify")
    assert again.exit_code == 0, again.stderr
    if verb in ("cp", "mv", "sync", "xfer"):
        assert contents(tmp_path / "dest") == files
    if verb in ("mv", "rm"):
        assert not contents(tmp_path / "src")


def test_commands_that_continue_have_their_words_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = fill(tmp_path / "cp", 3)
    fill(tmp_path / "-dash", 3)

    def press(*_: object) -> None:
        raise KeyboardInterrupt

    run = CliRunner().invoke
    for arguments in (["cp", "-r", "cp", "dest"], ["verify", "--", "-dash"]):
        with monkeypatch.context() as patch:
            patch.setattr(Progress, "update", press)
            stopped = run(main, arguments)
        words = shlex.split(stopped.stderr.partition("to continue: ")[2])
        again = run(main, words[1:])
        assert (stopped.exit_code, again.exit_code) == (130, 0), again.stderr
    assert contents(tmp_path / "dest") == files


_SHELLS = {  # options, and lines to begin with
    "bash": (["--norc", "--noprofile"], 'eval "$({})"'),  # it splits words at colons
    "fish": (["--no-config"], "{} | source"),
    "zsh": (["-f"], 'autoload -Uz compinit; compinit -u -D; eval "$({})"'),
}


@pytest.mark.slow
@pytest.mark.parametrize("shell_name", _SHELLS)
def test_shells_complete_remote_names(shell_name: str, tmp_path: Path) -> None:
    if shutil.which(shell_name) is None:
        pytest.skip(f"{shell_name} is not installed")
    for name in ("bucket/sub/inner", "bucket/other, one"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"[content of {name}]")
    program = "from cottoncandy.cli.main import main; main(prog_name='cottoncandy')"
    script = tmp_path / "bin" / "cottoncandy"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {COMMAND[0]} -c "{program}" "$@"\n')
    script.chmod(0o755)
    (tmp_path / "aliases.json").write_text(json.dumps({"lab": {"host": f"file://{tmp_path}/"}}))
    environment = {"PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment |= {"CLOUD_FILES_DIR": str(tmp_path), "HOME": str(tmp_path), "TERM": "dumb"}
    options, begin = _SHELLS[shell_name]
    shell = pexpect.spawn(shell_name, options, env=environment, encoding="utf-8", timeout=60)
    source = f"env _COTTONCANDY_COMPLETE={shell_name}_source cottoncandy"
    shell.sendline(f"{begin.format(source)}; echo rea''dy")
    shell.expect_exact("ready")
    shell.send("cottoncandy cat lab://bucket/su\tin\t\n")
    shell.expect_exact("[content of bucket/sub/inner]")
    shell.send("cottoncandy cat lab://bucket/ot\t\n")
    shell.expect_exact("[content of bucket/other, one]")
    for quote in ('"', "'"):
        shell.send(f"cottoncandy cat {quote}lab://bucket/ot\t\n")
        shell.expect_exact("[content of bucket/other, one]")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()


# -- kills ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["cp", "sync", "xfer"])
def test_killed_command_completes_when_run_again(verb: str, tmp_path: Path) -> None:
    files = fill(tmp_path / "src", 600)
    source, dest, job = (str(tmp_path / name) for name in ("src", "dest", "job.db"))
    arguments = {
        "cp": ["cp", "-r", "--resumable", f"{source}/", f"{dest}/"],
        "sync": ["sync", source, dest],
        "xfer": ["xfer", "execute", job],
    }[verb]
    run = CliRunner().invoke
    assert run(main, ["xfer", "init", source, dest, "--db", job]).exit_code == 0
    rng = random.Random(verb)
    for _ in range(6):
        process = start(f"from cottoncandy.cli.main import main; main({arguments!r})")
        while process.is_alive() and not written(tmp_path / "dest"):
            time.sleep(0.01)
        process.join(rng.uniform(0, 0.2))
        process.kill()
        process.join()
        assert all(files[name] == body for name, body in visible(tmp_path / "dest").items())
    last = run(main, arguments)
    assert last.exit_code == 0 or (verb == "xfer" and not Path(job).exists()), last.stderr
    assert visible(tmp_path / "dest") == files


def visible(folder: Path) -> dict[str, bytes]:
    """Return the files without the temporary ones of killed writers, which no listing shows."""
    return {name: (folder / name).read_bytes() for name in cc.CloudFiles(str(folder))}


def test_info_needs_no_boto3(moto: S3Server, moto_bucket: str) -> None:
    """Loading boto3 takes longer than all else that the command does."""
    cci = cc.get_interface(
        moto_bucket, moto.access_key, moto.secret_key, moto.endpoint_url, verbose=False
    )
    cci.upload_raw_array("array", np.arange(6.0))
    code = (
        "import sys\n"
        "from cottoncandy.cli.main import main\n"
        "main(standalone_mode=False)\n"
        "sys.exit(str({'boto3', 'botocore.client', 'botocore.config', 'urllib3', 'scipy', 'dask'}"
        " & {*sys.modules}))"
    )
    login = {"AWS_ACCESS_KEY_ID": moto.access_key, "AWS_SECRET_ACCESS_KEY": moto.secret_key}
    login["AWS_ENDPOINT_URL_S3"] = moto.endpoint_url
    found = subprocess.run(
        [sys.executable, "-c", code, "info", f"s3://{moto_bucket}/array"],
        env={**os.environ, **login, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "float64" in found.stdout
    assert found.stderr.endswith("set()\n")


def test_a_terminated_doctor_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from cottoncandy.stores import doctor\n"
        "doctor._Trial._read = lambda self: os.kill(os.getpid(), signal.SIGTERM)\n"
        "from cottoncandy.cli.main import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "doctor", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_unknown_encodings_of_streams_do_not_end_a_transfer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stream(io.StringIO):
        encoding = "nonsense"

    monkeypatch.setattr(sys, "stdout", Stream())
    echo("ümlaut")
    assert sys.stdout.getvalue() == "ümlaut\n"
