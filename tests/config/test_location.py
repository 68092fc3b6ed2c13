"""The options file: where it is, and how the first import makes it."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
import sys
from pathlib import Path

import platformdirs
import platformdirs.macos
import platformdirs.unix
import platformdirs.windows
import pytest

from cottoncandy.config import location
from cottoncandy.core.files import write_private
from cottoncandy.options import Settings
from tests.config.helpers import ROOT, run_python


def test_the_folder_on_each_system(
    isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as in 0.4.0."""
    home = isolated_environment
    support = home / "Library" / "Application Support" / "cottoncandy"
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    local = home / "AppData" / "Local"
    monkeypatch.setattr(platformdirs.windows, "get_win_folder", lambda name: str(local))
    for system, platform, folder in (
        (platformdirs.unix.Unix, "linux", home / ".config" / "cottoncandy"),
        (platformdirs.macos.MacOS, "darwin", support),
        (platformdirs.windows.Windows, "linux", local / "cottoncandy" / "cottoncandy"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(platformdirs, "PlatformDirs", system)
        assert location.user_directory() == folder


def test_the_folder_of_the_environment(
    isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = isolated_environment
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platformdirs, "PlatformDirs", platformdirs.unix.Unix)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    assert location.user_directory() == home / "elsewhere" / "cottoncandy"
    for invalid in ("", "relative/path"):
        monkeypatch.setenv("XDG_CONFIG_HOME", invalid)
        assert location.user_directory() == home / ".config" / "cottoncandy"


def test_the_folder_of_040_on_macos_comes_first(
    isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = isolated_environment
    support = home / "Library" / "Application Support" / "cottoncandy"
    support.mkdir(parents=True)
    (support / "options.cfg").touch()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platformdirs, "PlatformDirs", platformdirs.macos.MacOS)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    assert location.user_directory() == support


def test_the_first_import_creates_the_file(isolated_environment: Path) -> None:
    path = isolated_environment / ".config" / "cottoncandy" / "options.cfg"
    result = run_python("import os; os.umask(0); import cottoncandy")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert "Welcome to cottoncandy!" in result.stderr
    assert "ACL authenticated-read" in result.stderr
    assert "default_acl = private" in result.stderr
    assert str(path) in result.stderr
    assert path.read_bytes() == (ROOT / "defaults.cfg").read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]

    path.write_text("[basic]\nthreads = 3\n")
    again = run_python("import cottoncandy; print(cottoncandy.options.Settings.load().threads)")
    assert (again.returncode, again.stdout, again.stderr) == (0, "3\n", "")


def test_what_an_admin_put_into_the_defaults_is_copied(
    isolated_environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    edited = tmp_path / "defaults.cfg"
    edited.write_text("# ours\n[encryption]\nkey = RkFLRQ==\n[basic]\nthreads = 2\n")
    monkeypatch.setattr(location, "defaults_path", lambda: edited)
    location.ensure_options_file()
    path = location.options_path()
    assert path.read_bytes() == edited.read_bytes()
    assert Settings.load() == dataclasses.replace(Settings(), encryption_key="RkFLRQ==", threads=2)


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_is_there_is_never_replaced(
    user_file: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    if not hard_links:

        def refuse(*args: object) -> None:
            raise PermissionError(1, "no hard links here")

        monkeypatch.setattr(os, "link", refuse)
    assert write_private(user_file, b"first", replace=False)
    assert not write_private(user_file, b"second", replace=False)
    assert user_file.read_bytes() == b"first"
    assert write_private(user_file, b"third", replace=True)
    assert user_file.read_bytes() == b"third"
    assert stat.S_IMODE(user_file.stat().st_mode) == 0o600
    assert list(user_file.parent.iterdir()) == [user_file]


def test_of_many_first_imports_one_creates_it(isolated_environment: Path) -> None:
    path = isolated_environment / ".config" / "cottoncandy" / "options.cfg"
    code = (
        "import sys; from cottoncandy.config import location\n"
        "import os; os.environ.pop('COTTONCANDY_OPTIONS')\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "location.ensure_options_file()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COTTONCANDY_OPTIONS": os.devnull}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    assert not path.exists()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted("Welcome" in error for error in errors) == [False, False, False, True]
    assert path.read_bytes() == (ROOT / "defaults.cfg").read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_nothing_behind(
    isolated_environment: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    location.ensure_options_file()
    assert list(location.user_directory().iterdir()) == []
    assert Settings.load() == Settings()
    assert "No space left on device" in caplog.text


HOMES = {
    "a file where the folder should be": "open(home + '/.config', 'w').close()",
    "a folder that refuses new files": "os.mkdir = os.open = refuse",
    "a home that is not a folder": "os.environ['HOME'] = home + '/no/such/home'; os.mkdir = refuse",
    "no home at all": "os.environ.pop('HOME'); pathlib.Path.home = homeless",
}


@pytest.mark.parametrize("prepare", HOMES.values(), ids=HOMES.keys())
def test_a_home_out_of_reach_costs_one_warning(isolated_environment: Path, prepare: str) -> None:
    result = run_python(
        "import os, pathlib, sys\n"
        "home = os.environ['HOME']\n"
        "os.environ.pop('XDG_CONFIG_HOME')\n"
        "def refuse(*args, **kwargs): raise OSError(30, 'Read-only file system')\n"
        "def homeless(*args): raise RuntimeError('no home')\n"
        f"{prepare}\n"
        "import cottoncandy\n"
        "print('imported', file=sys.stderr)\n"
        "from cottoncandy.options import Settings\n"
        "assert Settings.load() == Settings() == Settings.load()\n"
    )
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    assert lines[0] == "imported"
    assert len(lines) == 2
    assert "options file" in lines[1]


def test_a_closed_stderr_fails_no_import(isolated_environment: Path) -> None:
    result = run_python("import sys; sys.stderr = None; import cottoncandy; print('fine')")
    assert (result.returncode, result.stdout) == (0, "fine\n")
