"""Options: the layers, the values, the file's creation, and all that can be wrong with it."""

from __future__ import annotations

import configparser
import dataclasses
import logging
import os
import re
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cottoncandy import _options_file, _options_layers, options
from cottoncandy._settings import _OPTIONS, to_boolean
from cottoncandy.exceptions import ConfigurationError
from cottoncandy.options import Settings

MB = 2**20
ROOT = Path(__file__).resolve().parent.parent

# What 0.4.0 writes on its first import, to the letter: every default, no comment.
FILE_OF_040 = """\
[login]
access_key = False
secret_key = False
endpoint_url = https://s3.amazonaws.com/
verbose_boto = False

[basic]
default_acl = authenticated-read
default_bucket = 
mandatory_bucket_prefix = 
force_bucket_creation = False
path_separator = /
signature_version = 
threads = 4

[upload_settings]
mpu_use_threshold = 200
mpu_chunksize = 100
dask_chunksize = 100
min_mpu_size = 5
max_put_size = 5000
max_mpu_size_tb = 5
max_mpu_parts = 10000

[download_settings]
mpd_use_threshold = 100
mpd_chunksize = 100

[extensions]
ccgroup = grp, ccg
ccdataset = arr, dar, rarr, ccd

[gdrive]
secrets = client_secrets.json
credentials = credentials.txt

[compression]
do_compression = True
small_array = gzip
large_array = Zstd

"""  # noqa: W291 - 0.4.0 leaves a blank behind an empty value


@pytest.fixture(autouse=True)
def _nothing_told() -> Iterator[None]:
    """Let each test hear the warnings that are given once."""
    _options_layers._told.clear()
    yield
    _options_layers._told.clear()
    _options_file._failure = None


@pytest.fixture
def user_file(isolated_environment: Path) -> Path:
    """Where the user's options file belongs; its folder exists, the file does not."""
    path = isolated_environment / ".config" / "cottoncandy" / "options.cfg"
    path.parent.mkdir(parents=True)
    return path


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that finds this cottoncandy."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, text=True, capture_output=True
    )


# -- defaults ------------------------------------------------------------------------------------


def test_the_shipped_defaults_are_those_of_the_class() -> None:
    assert Settings.load() == Settings()


def test_every_option_is_in_the_defaults_with_a_comment() -> None:
    text = _options_file.defaults_path().read_text()
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    in_file = {(section, name) for section in parser.sections() for name in parser[section]}
    assert in_file == {option.key for option in _OPTIONS}
    assert {option.field for option in _OPTIONS} == {f.name for f in dataclasses.fields(Settings)}
    for block in text.split("\n["):
        lines = block.splitlines()[1:]
        assert next(line for line in lines if line.strip()).startswith("#"), block


# -- values --------------------------------------------------------------------------------------

#: Option, its text, and what it means: each differs from the default.
VALUES = [
    ("login", "access_key", "FAKE%ACCESS", "access_key", "FAKE%ACCESS"),
    ("login", "secret_key", "FAKE%(login)sSECRET", "secret_key", "FAKE%(login)sSECRET"),
    ("login", "endpoint_url", "http://localhost:9", "endpoint_url", "http://localhost:9"),
    ("login", "verbose_boto", "True", "verbose_boto", True),
    ("basic", "default_acl", "private", "default_acl", "private"),
    ("basic", "default_bucket", "my_bucket", "default_bucket", "my_bucket"),
    ("basic", "mandatory_bucket_prefix", "lab-", "mandatory_bucket_prefix", "lab-"),
    ("basic", "force_bucket_creation", "yes", "force_bucket_creation", True),
    ("basic", "signature_version", "s3v4", "signature_version", "s3v4"),
    ("basic", "threads", "7", "threads", 7),
    ("basic", "progress", "False", "progress", False),
    ("upload_settings", "mpu_use_threshold", "1", "mpu_use_threshold_bytes", MB),
    ("upload_settings", "mpu_chunksize", "6.5", "mpu_chunksize_bytes", 13 * MB // 2),
    ("upload_settings", "dask_chunksize", "3", "dask_chunksize_bytes", 3 * MB),
    ("upload_settings", "min_mpu_size", "6", "min_mpu_size_bytes", 6 * MB),
    ("upload_settings", "max_put_size", "20", "max_put_size_bytes", 20 * MB),
    ("upload_settings", "max_mpu_size_TB", "50", "max_mpu_size_bytes", 50 * MB * MB),
    ("upload_settings", "max_mpu_parts", "99", "max_mpu_parts", 99),
    ("download_settings", "mpd_use_threshold", "2", "mpd_use_threshold_bytes", 2 * MB),
    ("download_settings", "mpd_chunksize", "100", "mpd_chunksize_bytes", 100 * MB),
    ("extensions", "ccgroup", "grp,.zarr ,", "ccgroup", ("grp", "zarr")),
    ("extensions", "ccdataset", "", "ccdataset", ()),
    ("gdrive", "secrets", "s.json", "gdrive_secrets", "s.json"),
    ("gdrive", "credentials", "c.txt", "gdrive_credentials", "c.txt"),
    ("encryption", "method", "rsa", "encryption_method", "RSA"),
    ("encryption", "key", "RkFLRQ==", "encryption_key", "RkFLRQ=="),
    ("compression", "do_compression", "no", "do_compression", False),
    ("compression", "small_array", "LZ4", "small_array", "LZ4"),
    ("compression", "large_array", "Zlib", "large_array", "Zlib"),
]


def test_every_option_has_a_value_here() -> None:
    tried = {(section, name.lower()) for section, name, *_ in VALUES}
    assert tried | {("basic", "path_separator")} == {option.key for option in _OPTIONS}


@pytest.mark.parametrize(("section", "name", "text", "field", "value"), VALUES)
def test_a_value_in_the_users_file(
    user_file: Path, section: str, name: str, text: str, field: str, value: object
) -> None:
    user_file.write_text(f"[{section}]\n{name} = {text}\n")
    assert Settings.load() == dataclasses.replace(Settings(), **{field: value})  # type: ignore[arg-type]
    assert options.config.get(section, name) == text.strip()


@pytest.mark.parametrize(("section", "name", "text", "field", "value"), VALUES)
def test_the_environment_wins_over_the_users_file(
    user_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    name: str,
    text: str,
    field: str,
    value: object,
) -> None:
    user_file.write_text(FILE_OF_040)
    monkeypatch.setenv(f"COTTONCANDY_{section}_{name}".upper(), text)
    assert Settings.load() == dataclasses.replace(Settings(), **{field: value})  # type: ignore[arg-type]
    assert options.config.get(section, name) == text.strip()


@pytest.mark.parametrize("text", ["", "False", "false", "None", "none"])
@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("login:access_key", "access_key"),
        ("login:secret_key", "secret_key"),
        ("login:endpoint_url", "endpoint_url"),
        ("basic:default_bucket", "default_bucket"),
        ("basic:signature_version", "signature_version"),
        ("encryption:key", "encryption_key"),
    ],
)
def test_words_for_no_value(
    monkeypatch: pytest.MonkeyPatch, user_file: Path, option: str, field: str, text: str
) -> None:
    section, name = option.split(":")
    user_file.write_text(f"[{section}]\n{name} = something\n")
    assert getattr(Settings.load(), field) == "something"
    monkeypatch.setenv(f"COTTONCANDY_{section}_{name}".upper(), text)
    assert getattr(Settings.load(), field) is None


def test_an_empty_number_leaves_the_layer_below(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text("[basic]\nthreads = 9\nprogress =\n")
    monkeypatch.setenv("COTTONCANDY_BASIC_THREADS", "")
    assert Settings.load().threads == 9
    assert Settings.load().progress is None


@pytest.mark.parametrize("word", ["True", "true", "tru", "t", "y", "yes", "1", "TRUE", " on "])
def test_words_for_true(word: str) -> None:
    assert to_boolean(word) is True


@pytest.mark.parametrize("word", ["False", "false", "f", "n", "no", "0", "off", "None", ""])
def test_words_for_false(word: str) -> None:
    assert to_boolean(word) is False


@pytest.mark.parametrize(
    ("section", "name", "text", "expected"),
    [
        ("basic", "threads", "0", "a whole number above 0"),
        ("basic", "threads", "4.5", "a whole number above 0"),
        ("basic", "threads", "many", "a whole number above 0"),
        ("basic", "force_bucket_creation", "maybe", "True or False"),
        ("basic", "progress", "sometimes", "auto, True or False"),
        ("basic", "path_separator", "\\", "'/'"),
        ("upload_settings", "mpu_chunksize", "0", "a size in MB above 0"),
        ("upload_settings", "mpu_chunksize", "-5", "a size in MB above 0"),
        ("upload_settings", "mpu_chunksize", "nan", "a size in MB above 0"),
        ("upload_settings", "dask_chunksize", "inf", "a size in MB above 0"),
        ("upload_settings", "max_mpu_parts", "1e4", "a whole number above 0"),
        ("upload_settings", "max_mpu_size_TB", "5 TB", "a size in TB above 0"),
        ("download_settings", "mpd_chunksize", "8MB", "a size in MB above 0"),
        ("encryption", "method", "ROT13", "AES or RSA"),
    ],
)
def test_a_value_that_makes_no_sense(
    user_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    name: str,
    text: str,
    expected: str,
) -> None:
    user_file.write_text(f"[{section}]\n{name} = {text}\n")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    for part in (str(user_file), f"[{section}]", name, repr(text), expected):
        assert part in str(caught.value)

    user_file.write_text("")
    variable = f"COTTONCANDY_{section}_{name}".upper()
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigurationError, match=f"environment variable {variable}: "):
        Settings.load()


def test_secrets_are_in_no_repr(user_file: Path) -> None:
    user_file.write_text(
        "[login]\naccess_key = FAKEACCESS\nsecret_key = FAKESECRET\n[encryption]\nkey = FAKEKEY\n"
    )
    shown = repr(Settings.load())
    assert "threads=4" in shown
    assert "FAKE" not in shown


# -- files of 0.4.0 ------------------------------------------------------------------------------


def test_a_file_of_040_means_the_defaults(
    user_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user_file.write_text(FILE_OF_040)
    assert Settings.load() == Settings()
    assert not caplog.records
    assert user_file.read_text() == FILE_OF_040


@pytest.mark.parametrize("removed", ["login", "gdrive", "compression", "basic", "extensions"])
def test_an_old_file_that_lacks_a_section(user_file: Path, removed: str) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(FILE_OF_040)
    parser.remove_section(removed)
    with user_file.open("w") as file:
        parser.write(file)
    assert Settings.load() == Settings()


def test_sizes_that_somebody_chose_are_kept(user_file: Path) -> None:
    user_file.write_text(FILE_OF_040.replace("mpu_use_threshold = 200", "mpu_use_threshold = 300"))
    loaded = Settings.load()
    assert loaded.mpu_use_threshold_bytes == 300 * MB
    assert loaded.mpu_chunksize_bytes == 100 * MB
    assert loaded.mpd_use_threshold_bytes == 100 * MB
    assert loaded.mpd_chunksize_bytes == 100 * MB


@pytest.mark.parametrize("url", ["https://s3.amazonaws.com/", "https://s3.amazonaws.com"])
def test_the_historical_endpoint_is_no_choice(
    user_file: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    user_file.write_text(f"[login]\nendpoint_url = {url}\n")
    assert Settings.load().endpoint_url is None
    monkeypatch.setenv("COTTONCANDY_LOGIN_ENDPOINT_URL", url)
    assert Settings.load().endpoint_url == url


def test_the_names_of_040(user_file: Path) -> None:
    user_file.write_text("[login]\naccess_key = FAKE\n[mine]\nown = 1\n")
    assert options.userdir == str(user_file.parent)
    assert options.usercfg == str(user_file)
    assert options.config.get("login", "access_key") == "FAKE"
    assert options.config.get("mine", "own") == "1"
    assert options.get_config().get("basic", "threads") == "4"
    assert options.config.get("upload_settings", "max_mpu_size_TB") == "5"
    with pytest.raises(AttributeError, match="no attribute 'confg'"):
        options.confg  # noqa: B018


# -- malformed, unknown, unreadable --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("secret_key = FAKESECRET\n", "line 1: expected"),
        ("[login]\n\nFAKESECRET\n", "line 3: expected"),
        ("[login\naccess_key = FAKESECRET\n", "line 1: expected"),
        ("[login]\nsecret_key = a\nsecret_key = FAKESECRET\n", "line 3: [login] secret_key is"),
        ("[login]\n[basic]\n[login]\n", "line 3: section [login] is"),
    ],
)
def test_a_malformed_file_names_its_line(user_file: Path, text: str, problem: str) -> None:
    user_file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert f"options file '{user_file}', {problem}" in str(caught.value)
    # What stands there may be a secret, and a traceback shows the causes too.
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "FAKESECRET" not in str(chain)
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)


def test_a_file_that_is_no_text_names_its_line(user_file: Path) -> None:
    user_file.write_bytes(b"[login]\naccess_key = a\nsecret_key = \xff\xfe\n")
    with pytest.raises(ConfigurationError, match=r"options\.cfg', line 3: expected UTF-8"):
        Settings.load()


def test_a_byte_order_mark_and_windows_line_ends(user_file: Path) -> None:
    user_file.write_bytes(b"\xef\xbb\xbf[basic]\r\nthreads = 6\r\n")
    assert Settings.load().threads == 6


def test_unknown_names_are_warned_of_once(
    user_file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text("[login]\nacces_key = FAKE\n[bassic]\nthreads = 9\n[zzz]\nq = 1\n")
    monkeypatch.setenv("COTTONCANDY_BASIC_TREADS", "9")
    monkeypatch.setenv("COTTONCANDY_SOMETHING_ELSE", "9")
    assert Settings.load() == Settings()
    assert [record.getMessage().split(": ", 1)[-1] for record in caplog.records] == [
        "section [login] has no option 'acces_key'; did you mean access_key?",
        "there is no section [bassic]; did you mean [basic]?",
        "there is no section [zzz]",
        "environment variable COTTONCANDY_BASIC_TREADS names no option of cottoncandy; "
        "did you mean COTTONCANDY_BASIC_THREADS?",
    ]
    assert "FAKE" not in caplog.text
    caplog.clear()
    Settings.load()
    assert not caplog.records


def test_another_file(
    tmp_path: Path,
    user_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    user_file.write_text("[basic]\nthreads = 5\n")
    other = tmp_path / "other.cfg"
    other.write_text("[basic]\nthreads = 6\n")
    monkeypatch.setenv("COTTONCANDY_OPTIONS", str(other))
    assert Settings.load().threads == 6
    assert options.usercfg == str(other)
    monkeypatch.setenv("COTTONCANDY_OPTIONS", os.devnull)
    assert Settings.load() == Settings()
    monkeypatch.setenv("COTTONCANDY_OPTIONS", str(tmp_path / "missing.cfg"))
    with pytest.raises(ConfigurationError, match=r"missing\.cfg', named by COTTONCANDY_OPTIONS"):
        Settings.load()
    monkeypatch.setenv("COTTONCANDY_OPTIONS", "")
    assert Settings.load().threads == 5
    assert not caplog.records


def test_a_file_that_cannot_be_read_is_an_error(user_file: Path) -> None:
    user_file.mkdir()  # stands for a file without permission, which root could read
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Settings.load()


names = st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=8)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=12)


@given(st.lists(st.one_of(names, texts, st.sampled_from(["[login]", "a = b", " c", "[d", ""]))))
@settings(max_examples=100)
def test_any_text_is_read_or_refused_with_a_line(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        _options_layers.parse_file(Path("options.cfg"), text)
    except ConfigurationError as exc:
        found = re.match(r"options file 'options\.cfg', line (\d+): ", str(exc))
        valid = found is not None and 1 <= int(found[1]) <= len(lines)
        if not valid:
            pytest.fail(f"no line of the file is named: {exc}")


# -- where it is, and its creation ---------------------------------------------------------------


def test_the_folder_on_each_system(
    isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = isolated_environment
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    assert _options_file.user_directory() == home / "elsewhere" / "cottoncandy"
    for invalid in ("", "relative/path"):
        monkeypatch.setenv("XDG_CONFIG_HOME", invalid)
        assert _options_file.user_directory() == home / ".config" / "cottoncandy"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert (
        _options_file.user_directory() == home / "Library" / "Application Support" / "cottoncandy"
    )
    monkeypatch.setattr(sys, "platform", "win32")
    assert (
        _options_file.user_directory() == home / "AppData" / "Local" / "cottoncandy" / "cottoncandy"
    )


def test_the_first_import_creates_the_file(isolated_environment: Path) -> None:
    path = isolated_environment / ".config" / "cottoncandy" / "options.cfg"
    result = run_python("import os; os.umask(0); import cottoncandy")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert "Welcome to cottoncandy!" in result.stderr
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
    monkeypatch.setattr(_options_file, "defaults_path", lambda: edited)
    _options_file.ensure_options_file()
    path = _options_file.options_path()
    assert path.read_bytes() == edited.read_bytes()
    assert Settings.load() == dataclasses.replace(Settings(), encryption_key="RkFLRQ==", threads=2)


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_is_there_is_never_replaced(
    user_file: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    if not hard_links:

        def refuse(*args: object) -> None:
            raise PermissionError(1, "no hard links here")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert _options_file.write_private(user_file, b"first", replace=False)
    assert not _options_file.write_private(user_file, b"second", replace=False)
    assert user_file.read_bytes() == b"first"
    assert _options_file.write_private(user_file, b"third", replace=True)
    assert user_file.read_bytes() == b"third"
    assert stat.S_IMODE(user_file.stat().st_mode) == 0o600
    assert list(user_file.parent.iterdir()) == [user_file]


def test_of_many_first_imports_one_creates_it(isolated_environment: Path) -> None:
    path = isolated_environment / ".config" / "cottoncandy" / "options.cfg"
    code = (
        "import sys; from cottoncandy import _options_file\n"
        "import os; os.environ.pop('COTTONCANDY_OPTIONS')\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "_options_file.ensure_options_file()\n"
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
    _options_file.ensure_options_file()
    assert list(_options_file.user_directory().iterdir()) == []
    assert Settings.load() == Settings()
    assert "No space left on device" in caplog.text


HOMES = {
    "a file where the folder should be": "open(home + '/.config', 'w').close()",
    "a folder that refuses new files": "os.mkdir = os.open = refuse",
    "a home that is no folder": "os.environ['HOME'] = home + '/no/such/home'; os.mkdir = refuse",
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


def test_the_library_warns_by_logging(caplog: pytest.LogCaptureFixture, user_file: Path) -> None:
    user_file.write_text("[basic]\ntreads = 9\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings.load()
    assert caplog.record_tuples == [
        (
            "cottoncandy._options_layers",
            logging.WARNING,
            f"options file '{user_file}': section [basic] has no option 'treads'; "
            "did you mean threads?",
        )
    ]
