"""The command, driven in this process, and as a process where that matters."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy as cc
from cottoncandy.cli.files import expand
from cottoncandy.cli.locations import in_words
from cottoncandy.exceptions import InvalidArgumentError
from cottoncandy.transfer import sync
from tests.cases import each
from tests.cli.conftest import COMMAND, run
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy


def test_ls_lists_names_sizes_and_levels(bucket: Path) -> None:
    assert run("ls", bucket).stdout.split() == ["a.txt", "d/arr", "d/b.bin"]
    assert run("ls", "--flat", bucket).stdout.split() == ["a.txt", "d/"]
    assert run("ls", f"file://{bucket}/d").stdout.split() == ["arr", "b.bin"]
    for expression in ("[ab]", "[abc]"):
        result = run("ls", "-e", f"{bucket}/d/{expression}")
        assert (result.stdout.split(), result.exit_code) == (["arr", "b.bin"], 0)
    assert run("ls", "-e", f"{bucket}/d/[cd]").exit_code == 1
    first = json.loads(run("ls", "--json", bucket).stdout.splitlines()[0])
    assert (first["name"], first["size"]) == ("a.txt", 10)
    assert datetime.fromisoformat(first["modified"]).utcoffset() == timedelta()
    size, day, hour, name = run("ls", "-l", bucket).stdout.splitlines()[0].split()
    assert (size, name) == ("10", "a.txt")
    assert abs(datetime.fromisoformat(f"{day} {hour}") - datetime.now(UTC)) < timedelta(hours=1)
    memory = cc.CloudFiles("mem://cli-ls")
    memory.puts([("d/", b""), ("d/x", b"1"), ("dx", b"2")])  # a marker, and a similar name
    assert run("ls", "mem://cli-ls/d").stdout.split() == ["x"]
    assert run("ls", "--flat", "mem://cli-ls/d/").stdout.split() == ["x"]


def test_ls_of_a_file_with_a_slash_lists_nothing(bucket: Path) -> None:
    assert run("ls", f"{bucket}/a.txt").stdout.split() == ["a.txt"]
    for location in (f"{bucket}/a.txt/", f"file://{bucket}/a.txt/"):
        result = run("ls", location)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "there is nothing at" in result.stderr


def test_ls_writes_a_database(bucket: Path, tmp_path: Path) -> None:
    run("ls", "--sqlite", tmp_path / "list.db", bucket)
    with sqlite3.connect(tmp_path / "list.db") as database:
        rows = database.execute("SELECT path, size FROM files ORDER BY 1").fetchall()
    database.close()
    assert rows[0] == ("a.txt", 10)
    assert len(rows) == 3
    for place in (tmp_path / "list.db", tmp_path / "missing/list.db"):  # a second time, and nowhere
        result = run("ls", "--sqlite", place, bucket)
        assert (result.exit_code, "cannot write the database" in result.stderr) == (1, True)
    assert run("ls", "--sqlite", tmp_path / "new.db", bucket / "missing").exit_code == 1
    assert run("ls", "--sqlite", tmp_path / "new.db", "-e", f"{bucket}/d/[b]").exit_code == 0
    with closing(sqlite3.connect(tmp_path / "new.db")) as database:  # without what failed
        ((name, size, modified),) = database.execute("SELECT * FROM files")
    assert (name, size, datetime.fromisoformat(modified).utcoffset()) == ("b.bin", 256, timedelta())


def test_names_that_act_on_the_terminal_are_escaped(bucket: Path) -> None:
    (bucket / "\x1b[2J").write_bytes(b"")
    assert "\\x1b[2J" in run("ls", bucket).stdout


def test_cat_passes_bytes_through(bucket: Path) -> None:
    assert run("cat", bucket / "d/b.bin", bucket / "a.txt").stdout_bytes == (
        bytes(range(256)) + b"0123456789"
    )
    assert run("cat", "-r", "2-4", bucket / "a.txt").stdout == "23"
    assert run("cat", "-r", "8-", bucket / "a.txt").stdout == "89"
    assert run("cat", "-r", "-3", bucket / "a.txt").stdout == "012"
    assert run("cat", "-r", "20-30", bucket / "a.txt").stdout == ""
    for wrong in ("x", "²-3"):
        assert run("cat", "-r", wrong, bucket / "a.txt").exit_code == 2
    names = f"{bucket}/d/b.bin\r\n{bucket}/a.txt\n\n"
    assert run("cat", "-", stdin=names).stdout_bytes == bytes(range(256)) + b"0123456789"
    missing = run("cat", "-", stdin=b"\xff\n")  # not UTF-8
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)


def test_du_sums_and_groups(bucket: Path) -> None:
    lines = run("du", "-s", "-c", "-N", bucket / "a.txt", bucket / "d").stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].split("\t")[:2] == ["10", "1"]
    assert lines[2].split("\t")[1:] == ["3", "total"]
    assert "10\t.txt" in run("du", "-e", bucket).stdout
    assert run("du", "-h", bucket / "a.txt").stdout.startswith("10.00B")


def test_head_prints_metadata(bucket: Path) -> None:
    found = json.loads(run("head", bucket / "a.txt").stdout)
    assert (found["size"], found["metadata"]) == (10, {"who": "me"})
    assert found == json.loads(run("head", "--json", bucket / "a.txt").stdout)


def test_rm_names_what_it_does_not_delete(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bucket / "d")
    for location in (".", "./", "../d/.", ".."):
        refused = run("rm", "-r", location)
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
        assert (bucket / "d/b.bin").exists()
    (bucket / "d/dangling").symlink_to("nowhere")
    left = run("rm", "-r", "--json", bucket / "d")
    assert (left.exit_code, left.stdout) == (1, '{"files": 2}\n')
    assert f"'{bucket}/d' is still there, maybe because of files that are not" in left.stderr


def test_rm_deletes_empty_directories_with_the_objects(bucket: Path) -> None:
    (bucket / "d/empty/too").mkdir(parents=True)
    (bucket / "kept/empty").mkdir(parents=True)
    (bucket / "link").symlink_to("kept")
    assert run("rm", "-r", bucket / "d").exit_code == 0
    run("rm", "-rf", bucket / "link")
    assert (bucket / "kept/empty").exists()
    assert run("rm", "-r", bucket / "kept").exit_code == 0
    assert not (bucket / "d").exists()
    assert not (bucket / "kept").exists()


def test_rm_and_touch(bucket: Path) -> None:
    assert run("touch", bucket / "new/empty", bucket / "a.txt").exit_code == 0
    assert (bucket / "new/empty").read_bytes() == b""
    assert (bucket / "a.txt").read_bytes() == b"0123456789"
    refused = run("rm", bucket / "new")
    assert refused.exit_code == 1
    assert refused.stderr == f"cottoncandy: '{bucket}/new' is a directory: pass -r\n"
    removed = run("rm", "-r", bucket / "new")
    assert (removed.exit_code, removed.stdout) == (0, "")
    for words in (["-rf", bucket / "new"], ["-f", bucket / "new"], ["-f", f"{bucket}/new/*"]):
        removed = run("rm", *words, bucket / "d/none")
        assert (removed.exit_code, removed.stdout, removed.stderr) == (0, "", "")
    assert run("rm", "-", stdin=f"{bucket}/a.txt\n").exit_code == 0
    assert run("ls", bucket).stdout.split() == ["d/arr", "d/b.bin"]
    (bucket / "d/x[1]").write_bytes(b"")
    assert run("rm", bucket / "d/x[1]").exit_code == 0
    assert run("rm", bucket / "d/x*").exit_code == 1
    assert run("rm", "-r", "--progress", "-b", "2", bucket / "d*").exit_code == 0
    assert run("ls", bucket).stdout == ""


def test_acl_prints_owner_and_grants(
    moto_bucket: str, moto: S3Server, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fake")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fake")
    url = f"s3://{moto.endpoint_url}/{moto_bucket}/a"
    assert run("touch", url).exit_code == 0
    found = json.loads(run("acl", "get", url).stdout)
    assert (found["location"], "ID" in found["owner"]) == (url, True)
    assert "FULL_CONTROL" in {grant["Permission"] for grant in found["grants"]}
    mode = (bucket / "a.txt").stat().st_mode
    assert json.loads(run("acl", "get", bucket / "a.txt").stdout)["acl"] == mode
    assert run("cp", bucket / "a.txt", "mem://acl/a").exit_code == 0
    assert "has no ACLs" in run("acl", "get", "mem://acl/a").stderr


def test_a_denied_acl_is_an_error(
    moto_bucket: str, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fake")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fake")
    url = f"s3://{fault_proxy.endpoint_url}/{moto_bucket}/a"
    assert run("touch", url).exit_code == 0
    fault_proxy.on("GET", query="acl").answer(403, "AccessDenied")
    denied = run("acl", "get", url)
    assert (denied.exit_code, denied.stdout, denied.stderr.count("\n")) == (1, "", 1)
    assert "access denied to object 'a'" in denied.stderr


def test_doctor_reports_and_leaves_nothing(bucket: Path) -> None:
    before = sorted(bucket.rglob("*"))
    result = run("doctor", "--json", bucket)
    report = json.loads(result.stdout)
    assert (result.exit_code, report["usable"]) == (0, True)
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert verdicts["deleting"] == "ok"
    assert {option["name"] for option in report["options"]} >= {"[basic] threads"}
    assert sorted(bucket.rglob("*")) == before
    lines = run("doctor", bucket).stdout.splitlines()
    sources = [line for line in lines if line.startswith("options from ")]
    assert len(sources) == len({option["source"] for option in report["options"]})
    assert any("[basic] threads" in line for line in sources)


@pytest.mark.parametrize(
    "arguments",
    [
        ("cat", "missing"),
        ("ls", "missing"),
        ("info", "missing"),
        ("save", "missing", "x.npy"),
        ("doctor", "s3://bucket", "--endpoint-url", "http://127.0.0.1:9"),
        ("ls", "nosuch://x/y"),
        ("rm", "-r", "memory://bucket"),
    ],
)
def test_mistakes_are_one_line_and_status_1(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fake")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fake")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between retries
    result = run(*arguments)
    assert result.exit_code == 1
    if arguments[0] != "doctor":
        assert result.stderr.startswith("cottoncandy: ")
        assert len(result.stderr.splitlines()) == 1


def test_usage_errors_are_status_2(bucket: Path) -> None:
    for arguments in ((), ("nosuch",), ("ls",), ("ls", "--nosuch", bucket), ("load", "no", "x")):
        assert run(*arguments).exit_code == 2


def test_process_survives_a_closed_pipe_and_imports_little(bucket: Path) -> None:
    (bucket / "large").write_bytes(bytes(2**22))
    command = subprocess.Popen([*COMMAND, "cat", str(bucket / "large")], stdout=subprocess.PIPE)
    assert command.stdout is not None
    command.stdout.read(10)
    command.stdout.close()
    assert command.wait(60) == 1
    for words in (["cat", str(bucket / "a.txt")], ["ls", str(bucket)], ["cat", "-"]):
        closed = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&- <&-', "sh", *COMMAND, *words],
            capture_output=True,
            check=False,
        )
        assert (closed.returncode, closed.stderr) == (0, b"")
    code = "import sys, cottoncandy.cli.main as m; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"numpy", "boto3", "dask", "zarr"} & set(loaded.stdout.split())


@pytest.mark.parametrize(("words", "status"), [(["--version"], 0), (["ls", "missing"], 1)])
def test_the_end_of_the_process_awaits_threads_and_calls_what_is_registered(
    words: list[str], status: int
) -> None:
    program = (
        "import atexit, threading, time; from cottoncandy.cli import main, run\n"
        "atexit.register(print, 'registered', end='')\n"
        "threading.Thread(target=lambda: time.sleep(0.05) or print('thread')).start()\n"
        "run()"
    )
    command = [sys.executable, "-c", program, *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == status
    assert "thread\n" in ended.stdout
    assert ended.stdout.endswith("\nregistered")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
@pytest.mark.parametrize("words", [["--help"], ["ls", "."], ["ls", "--json", "."]])
def test_a_full_output_is_an_error_without_a_traceback(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    program = [sys.executable, "-c", "from cottoncandy.cli import run; run()", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(cc.__file__).parents[1])}
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            program,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment,
        )
    assert ended.returncode == 1
    assert ended.stderr.endswith("cottoncandy: No space left on device\n")
    assert "Traceback" not in ended.stderr


def test_names_are_utf_8_in_every_locale(tmp_path: Path) -> None:
    (tmp_path / "ü").write_text("ä")
    program = [sys.executable, "-c", "from cottoncandy.cli import run; run()"]
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    for words, expected in ((["cat", f"{tmp_path}/ü"], "ä"), (["ls", f"{tmp_path}"], "ü\n")):
        found = subprocess.run(
            [*program, *words], env=environment, capture_output=True, encoding="utf-8", check=False
        )
        assert (found.returncode, found.stdout) == (0, expected), found.stderr


def test_users_without_a_home_are_served(bucket: Path, moto: S3Server, moto_bucket: str) -> None:
    program = (
        "import os, pwd\n"
        "del os.environ['HOME']\n"
        "pwd.getpwuid = lambda user: {}[user]\n"
        "from cottoncandy.cli.main import main\n"
        "main()\n"
    )
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": moto.access_key}
    environment["AWS_SECRET_ACCESS_KEY"] = moto.secret_key
    url = f"s3://{moto.endpoint_url}/{moto_bucket}"
    for words in (["cp", bucket / "a.txt", f"{url}/a"], ["ls", url], ["cat", f"{url}/a"]):
        found = subprocess.run(
            [sys.executable, "-c", program, *map(str, words)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stderr


def test_completion_offers_remote_names(bucket: Path) -> None:
    environment = os.environ | {
        "_COTTONCANDY_COMPLETE": "bash_complete",
        "COMP_WORDS": f"cottoncandy cat file://{bucket}/d/b",
        "COMP_CWORD": "2",
    }
    program = "from cottoncandy.cli.main import main; main(prog_name='cottoncandy')"
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.split() == [f"plain,file://{bucket}/d/b.bin"]


def test_expressions_expand_to_prefixes() -> None:
    assert list(expand("x[ab]{2}y")) == ["xaay", "xaby", "xbay", "xbby"]
    assert list(expand("plain")) == ["plain"]
    for wrong in ("[ab", "a]", "[a]{", "[abcdefghij]{6}"):
        with pytest.raises(InvalidArgumentError):
            list(expand(wrong))


def test_aliases_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_FILES_DIR", str(tmp_path / "cloud"))
    assert run("alias", "add", "lab", "s3://https://s3.example.org/").exit_code == 0
    assert "lab:// s3://https://s3.example.org/" in run("alias", "ls").stdout
    listed = json.loads(run("alias", "ls", "--json").stdout)
    assert listed["lab"] == "s3://https://s3.example.org/"
    assert run("alias", "rm", "lab").exit_code == 0
    assert run("alias", "rm", "lab").exit_code == 1
    assert "lab" not in run("alias", "ls").stdout
    for name in ("MyLab", "here"):
        assert run("alias", "add", name, f"file://{tmp_path}/").exit_code == 0
        assert run("ls", "--flat", f"{name}://").stdout == run("ls", "--flat", tmp_path).stdout
    assert run("ls", "--flat", "HERE://").exit_code == 0
    assert run("alias", "add", "other", "here://data/").exit_code == 1  # it would not be found
    assert run("alias", "add", "web", "https://me:hidden@example.org/").exit_code == 0
    for words in (["alias", "ls"], ["alias", "ls", "--json"]):
        assert "web" in run(*words).stdout
        assert "hidden" not in run(*words).stdout


def test_rm_of_patterns_keeps_what_links_refer_to(bucket: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_bytes(b"kept")
    (bucket / "d" / "link").symlink_to(tmp_path / "elsewhere")
    for words in (["-r", bucket / "d*"], [bucket / "**"]):
        assert run("rm", *words).exit_code == 0
        assert (tmp_path / "elsewhere" / "kept").read_bytes() == b"kept"
    assert run("ls", bucket).stdout.split() == ["d/link/kept"]


def test_forms_of_cloud_files_are_accepted(bucket: Path) -> None:
    for words in (
        ["ls", "--shortpath", "--progress", bucket],
        ["touch", "--progress", bucket / "x"],
        ["cp", "--progress", "-b", "4", "--part-bytes", "100", bucket / "x", f"{bucket}/y"],
        ["mv", "--progress", "-b", "4", bucket / "y", f"{bucket}/z"],
        ["rm", "--progress", "-b", "4", bucket / "z"],
        ["du", "-shcN", "-e", bucket],
        ["mkdir", bucket / "new/deep"],
        ["mkdir", bucket / "new/deep", f"file://{bucket}/new", "mem://bucket/x"],
    ):
        result = run(*words)
        assert result.exit_code == 0, result.stderr


def test_secrets_folders_serve_every_command(
    fault_proxy: FaultProxy, moto_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_VOLUME_DIR", str(tmp_path))
    (tmp_path / "secrets").mkdir()
    login = {"AWS_ACCESS_KEY_ID": "FROMTHEFOLDER", "AWS_SECRET_ACCESS_KEY": "fake"}
    (tmp_path / "secrets" / "aws-secret.json").write_text(json.dumps(login))
    np.save(tmp_path / "a.npy", np.arange(3))
    url = f"s3://{fault_proxy.endpoint_url}/{moto_bucket}"
    for words in (
        *(["load", tmp_path / "a.npy", f"{url}/a"], ["ls", url], ["cat", f"{url}/a"]),
        *(["info", f"{url}/a"], ["cp", f"{url}/a", f"{url}/b"], ["sync", url, tmp_path / "copy"]),
        *(["verify", url], ["du", url], ["rm", f"{url}/a"]),
    ):
        result = run(*words)
        assert result.exit_code == 0, result.stderr
    logins = {each.headers.get("authorization", "") for each in fault_proxy.requests}
    assert logins
    assert all("Credential=FROMTHEFOLDER/" in each for each in logins)
    before = len(fault_proxy.requests)
    run("ls", "--no-sign-request", url)
    assert [each.headers.get("authorization") for each in fault_proxy.requests[before:]] == [None]


def test_programs_get_json(bucket: Path, tmp_path: Path) -> None:
    def found(*arguments: Any) -> list[Any]:
        return [json.loads(line) for line in run(*arguments, "--json").stdout.splitlines()]

    sizes = found("du", "-c", bucket / "d")
    assert sizes[0]["name"] == "arr"
    assert sizes[1] == {"name": "b.bin", "size": 256, "files": 1}
    assert sizes[-1] == {"name": "total", "size": sizes[0]["size"] + 256, "files": 2}
    assert found("du", "-se", f"{bucket}/a.txt") == [
        {"name": f"{bucket}/a.txt", "size": 10, "files": 1},
        {"name": ".txt", "size": 10, "files": 1},
    ]
    assert found("cp", "-r", f"{bucket}/", tmp_path / "copy") == [{"files": 3}]
    assert found("mv", tmp_path / "copy/a.txt", tmp_path / "b.txt") == [{"files": 1}]
    assert found("rm", "-r", tmp_path / "copy/d") == [{"files": 2}]
    assert found("rm", tmp_path / "missing") == [{"files": 0}]
    cci = cc.get_interface(str(bucket), backend="local", verbose=False)
    for _ in range(2):
        cci.upload_dask_array("series", np.ones((4, 3)), axis=0, buffersize=48)
    names = found("clean", "--grace", "0", "--dry-run", bucket)
    assert names
    assert {"name"} == set().union(*names)
    assert run("cp", "--json", bucket / "a.txt", "-").exit_code == 2
    job = tmp_path / "job.db"
    (count,) = found("xfer", "init", bucket, tmp_path / "there", "--db", job)
    assert found("xfer", "execute", job) == [{"copied": count["files"], "errors": {}}]
    array = bucket / "d/arr"
    failures = (
        *(["info", bucket], ["preview", bucket], ["verify", "gone"], ["xfer", "execute", job]),
        *(["restore", "gone"], ["save", "gone", tmp_path / "x.npy"]),
    )
    for words in failures:
        result = run(*words, "--json")
        text = result.stderr.removeprefix("cottoncandy: ").rstrip("\n")
        assert (result.exit_code, json.loads(result.stdout)) == (1, {"error": text})
    for words in (  # without a result
        *(["touch", bucket / "a.txt"], ["mkdir", tmp_path / "new"], ["restore", bucket / "series"]),
        *(["save", array, tmp_path / "x.npy"], ["load", tmp_path / "x.npy", bucket / "y"]),
    ):
        result = run(*words, "--json")
        assert (result.exit_code, result.stdout) == (0, ""), result.stderr


def test_options_reach_the_library(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def noting(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            seen.append(options)
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    def passed(name: str, *words: Any) -> set[Any]:
        seen.clear()
        assert run(*words).exit_code == 0
        return {options[name] for options in seen if name in options}

    noting(cc.CloudFiles, "__init__")
    for method in ("__init__", "execute"):
        noting(cc.ResumableTransfer, method)
    noting(sync, "each")
    a, b, job = bucket / "a.txt", bucket / "b.txt", bucket / "job.db"
    assert 2**23 in passed("composite_upload_threshold", "cp", "--part-bytes", 2**23, a, b)
    assert passed("parallel", "-p", 2, "cp", a, b) == {2}
    assert True in passed("no_sign_request", "cp", "--no-sign-request", a, b)
    assert passed("threads", "sync", "--threads", 3, bucket, bucket.parent / "copy") == {3}
    run("xfer", "init", bucket / "d", bucket.parent / "there", "--db", job)
    assert passed("lease_msec", "xfer", "execute", "-b", 5, "--lease-msec", 60_000, job) == {60_000}
    assert {options.get("block_size") for options in seen} >= {5}


@pytest.mark.parametrize(
    ("library", "command"),
    [
        ("there is no x; look for it with cci.glob or cci.ls", "'cottoncandy ls'"),
        (
            "there is no x; cci.show_buckets() lists yours, and cci.create_bucket() makes one",
            "no x",
        ),
        ("there are none; to read public data, pass anon=True", "pass --no-sign-request"),
        ("it is encrypted; pass encryption='AES' to use it", "pass --encryption AES to use it"),
        (
            "another one, whose id is 1f; pass that one as encryptionKey",
            "whose id is 1f; add that one to 'old_keys' in the options file",
        ),
        (
            "'a' is not encrypted: open it with get_interface(), or, if it should be encrypted, "
            "upload it again",
            "not encrypted: read it without --encryption, or, if it should be encrypted, upload it "
            "again",
        ),
        ("x was removed by cci.clean(); open it again", "by 'cottoncandy clean'; open it again"),
        ("no folder. cci.show_buckets() lists yours; create it", "no folder; create it"),
        ("it is inside, and delete=True would delete it", "inside, and --delete would delete it"),
        ("there are more than max_delete=0; nothing", "more than --max-delete 0; nothing"),
        ("access denied; ask; or pass request_payer='requester'", "access denied; ask"),
        ("it is read-only; to write, create the interface without read_only=True", "read-only"),
    ],
)
def test_errors_are_in_the_words_of_the_command(library: str, command: str) -> None:
    assert in_words(library).endswith(command)


def test_missing_object_names_the_command(tmp_path: Path) -> None:
    message = run("cat", tmp_path / "missing").stderr
    assert "cci." not in message


@each(
    "arguments, status, message",
    [
        ("ls nothing", 1, "there is nothing at 'nothing'; a bucket is a URL, such as s3://nothing"),
        ("ls bucket/nothing", 1, "there is nothing at 'bucket/nothing'"),
        ("ls bucket/*.zip", 1, "there is nothing at 'bucket/*.zip'"),
        ("ls s3:/bucket", 1, "with two slashes"),
        ("ls file:/data", 1, "write 'file:///data', with three slashes"),
        ("ls s3://", 1, "has no bucket"),
        ("ls lab://x", 1, "unknown scheme"),
        ("cp bucket/a.txt", 2, "Missing argument 'DESTINATION'"),
        ("cp bucket copy", 1, "'bucket' is a directory: pass -r"),
        ("cp other/x copy", 1, "a bucket is a URL, such as s3://other/x"),
        ("cp -dash copy", 2, "No such option"),
        ("cp ftp://x/y .", 1, "is not a cloud path"),
        ("mv bucket/a.txt -", 2, "only cp writes to the standard output"),
        ("mv nothing copy", 1, "there is nothing at 'nothing'"),
        ("cp -r bucket bucket/new", 1, "cannot be copied or moved into itself"),
        ("cp -r bucket/d bucket/d", 1, "cannot be copied or moved into itself"),
        ("mv bucket bucket/d", 1, "cannot be copied or moved into itself"),
        ("cp --part-bytes 0 bucket/a.txt copy", 2, "0 is not in the range"),
        ("rm bucket/d", 1, "is a directory: pass -r"),
        ("rm -r memory://whole", 1, "is a whole bucket"),
        ("rm memory://whole", 1, "is a whole bucket"),
        ("cat bucket", 1, "a directory has that name"),
        ("touch bucket", 1, "expected an object, got a bucket or a directory"),
        ("cat -r 5 bucket/a.txt", 2, "must be START-STOP"),
        ("cat -r 3-1 bucket/a.txt", 2, "must be START-STOP"),
        ("cat bucket/missing", 1, "there is no file 'missing' in"),
        *((f"{verb} bucket/d", 1, "a directory has that name") for verb in ("head", "acl get")),
        ("du bucket/nothing", 1, "there is nothing at 'bucket/nothing'"),
        ("acl get bucket/missing", 1, "there is nothing at"),
        ("mkdir bucket/a.txt/x", 1, "cottoncandy: Not a directory"),
        ("load bucket/a.txt bucket/x", 2, "is not a .npy or .npz file"),
        ("load empty.npy bucket/x", 2, "is not a .npy or .npz file"),
        ("load damaged.npz bucket/x", 2, "is not a .npy or .npz file"),
        ("load none.npz bucket/x", 2, "none.npz has no arrays, so nothing was uploaded"),
        ("save bucket/a.txt x.npy", 1, "is not a raw array"),
        ("save texts x.npz", 1, "there are no arrays below 'texts'"),
        ("save bucket/d/arr d.npy", 1, "cottoncandy: Is a directory: 'd.npy'"),
        ("save bucket/d/arr x.mat", 2, "FILE must end with .npy or .npz, got 'x.mat'"),
        ("info bucket", 1, "a directory has that name"),
        ("sync nothing bucket", 1, "nothing was copied or deleted"),
        ("sync bucket", 2, "Missing argument"),
        ("sync bucket bucket/d", 1, "the destination is inside the source"),
        ("verify nothing", 1, "nothing was verified"),
        ("cp -p 4 -r bucket copy", 2, "It comes before 'cp'."),
        (
            "info --encryption AES bucket/d/arr",
            1,
            "--encryption AES requires a key: set 'key = auto'",
        ),
        ("-p -3 ls bucket", 2, "-3 is not in the range"),
        ("-p 9999999999 ls bucket", 2, "is not in the range"),
        ("cat ~nobody-has-this-name", 1, "there is no file '~nobody-has-this-name' in"),
        ("mkdir bucket/a.txt", 1, "cottoncandy: File exists"),
        ("clean --grace 2x bucket", 2, "--grace must be a number of seconds or text such as"),
        ("clean bucket/nothing", 1, "there is nothing at 'bucket/nothing'"),
        ("clean bucket/d/*", 1, "there is nothing at 'bucket/d/*'"),
        ("xfer init bucket copy --db q.db --txt texts/none", 1, "there is nothing at 'bucket'"),
        ("lss bucket", 2, "No such command 'lss'; did you mean ls?"),
        ("save bucket/arr file:///tmp/arr.npy", 2, "FILE is on this computer and comes last"),
        ("sync bucket/a.txt copy", 1, "Not a directory: "),
    ],
)
def test_mistakes_get_one_clear_line(
    arguments: str, status: int, message: str, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bucket.parent)
    for name, body in {"empty.npy": b"", "damaged.npz": b"PK\x03\x04" + bytes(50)}.items():
        Path(name).write_bytes(body)
    np.savez("none.npz")
    Path("texts").mkdir(exist_ok=True)
    Path("d.npy").mkdir(exist_ok=True)
    Path("texts/a").write_text("a")
    Path("texts/none").write_text("")
    result = run(*arguments.split())
    assert (result.exit_code, message in result.stderr) == (status, True), result.stderr
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("cottoncandy: ")]
    assert len(lines) == (status == 1)
    assert not re.search(r"Traceback|Errno|cci\.|Aborted|load_", result.stderr.splitlines()[-1])


@pytest.mark.parametrize("command", ["ls", "cat", "cp", "rm", "du", "sync", "info"])
def test_empty_location_is_rejected(command: str, bucket: Path) -> None:
    arguments = [command, "", bucket] if command in ("cp", "sync") else [command, ""]
    result = run(*arguments)
    assert (result.exit_code, "must not be empty" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    "name", [" a b ", "-dash", "ümläut", "line\nbreak", "st*r", "[x]", "#;$'\""]
)
def test_unusual_names_pass_through_every_command(name: str, tmp_path: Path) -> None:
    path = tmp_path / "d" / name
    path.parent.mkdir()
    path.write_bytes(b"\0\xff" + name.encode())
    assert run("cat", path).stdout_bytes == path.read_bytes()
    assert run("cp", path, f"mem://names-{name.encode().hex()}/").exit_code == 0
    assert json.loads(run("ls", "--json", path.parent).stdout)["name"] == name
    assert [json.loads(run("ls", "--json", path).stdout)["name"]] == [name]
    assert run("cp", path, tmp_path / "copy").exit_code == 0
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    assert run("mv", path, f"{tmp_path}/e/").exit_code == 0
    assert run("rm", tmp_path / "e" / name).exit_code == 0
    assert not (tmp_path / "e" / name).exists()


def test_ls_accepts_patterns_and_several_locations(bucket: Path) -> None:
    assert run("ls", f"{bucket}/d/*").stdout.split() == ["arr", "b.bin"]
    assert run("ls", f"{bucket}/*/b*").stdout.split() == ["d/b.bin"]
    assert run("ls", f"{bucket}/a.txt", f"{bucket}/d").stdout.split() == ["a.txt", "arr", "b.bin"]
    (bucket / "st*r").write_text("x")
    assert run("ls", f"{bucket}/st*r").stdout.split() == ["st*r"]
