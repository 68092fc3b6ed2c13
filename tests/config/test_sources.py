"""Options files: those of 0.4.0, and all that can be wrong with one."""

from __future__ import annotations

import configparser
import logging
import os
import re
import string
import threading
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cottoncandy import options
from cottoncandy.config import sources
from cottoncandy.exceptions import ConfigurationError
from cottoncandy.options import Settings
from tests.cases import CHARACTERS
from tests.config.helpers import FILE_OF_040, MB, warned


def test_a_file_of_040_means_the_defaults(
    user_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user_file.write_text(FILE_OF_040)
    assert Settings.load() == Settings()
    assert not warned(caplog)
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


@pytest.mark.parametrize(
    ("text", "value"), [("'FAKE'", "FAKE"), ('"FAKE"', "FAKE"), ("'FAKE", "'FAKE"), ("'", "'")]
)
def test_quotes_around_a_value_are_removed(user_file: Path, text: str, value: str) -> None:
    user_file.write_text(f"[login]\naccess_key = {text}\n")
    assert Settings.load().access_key == value


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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("secret_key = FAKESECRET\n", "line 1: expected"),
        ("[login]\n\nFAKESECRET\n", "line 3: expected"),
        ("[login\naccess_key = FAKESECRET\n", "line 1: expected"),
        (
            "[login]\nsecret_key = a\nsecret_key = FAKESECRET\n",
            "line 3: duplicate option",
        ),
        ("[login]\n[basic]\n[login]\n", "line 3: duplicate section [login]"),
    ],
)
def test_a_malformed_file_names_its_line(user_file: Path, text: str, problem: str) -> None:
    user_file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert f"options file '{user_file}', {problem}" in str(caught.value)
    assert "FAKESECRET" not in shown_by_tools(caught.value)


def shown_by_tools(error: BaseException) -> str:
    """Return all that a tool can show of an error: messages, causes, local variables."""
    found, chain = [], [error]
    for each in chain:
        found.append(str(each))
        chain += [other for other in (each.__cause__, each.__context__) if other is not None]
        traceback = each.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_globals["__name__"].startswith("cottoncandy"):
                found.append(repr(traceback.tb_frame.f_locals))
            traceback = traceback.tb_next
    return "\n".join(found)


def test_a_file_that_is_no_text_names_its_line(user_file: Path) -> None:
    user_file.write_bytes(b"[login]\naccess_key = FAKESECRET\nsecret_key = \xff\xfe\n")
    with pytest.raises(
        ConfigurationError, match=r"options\.cfg', line 3: expected UTF-8"
    ) as caught:
        Settings.load()
    assert "FAKESECRET" not in shown_by_tools(caught.value)


def test_a_byte_order_mark_and_windows_line_ends(user_file: Path) -> None:
    user_file.write_bytes(b"\xef\xbb\xbf[basic]\r\nthreads = 6\r\n")
    assert Settings.load().threads == 6


def test_unknown_names_are_warned_of_once(
    user_file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text("[login]\nacces_key = FAKE\n[bassic]\nthreads = 9\n[zzz]\nq = 1\n")
    monkeypatch.setenv("COTTONCANDY_BASIC_TREADS", "9")
    monkeypatch.setenv("COTTONCANDY_SOMETHING_ELSE", "9")
    monkeypatch.setenv("COTTONCANDY_ENDPOINT_URL", "http://localhost")
    assert Settings.load() == Settings()
    assert [record.getMessage().split(": ", 1)[-1] for record in warned(caplog)] == [
        "section [login] has no option 'acces_key'; did you mean access_key?",
        "there is no section [bassic]; did you mean [basic]?",
        "there is no section [zzz]",
        "environment variable COTTONCANDY_BASIC_TREADS is not an option of cottoncandy; "
        "did you mean COTTONCANDY_BASIC_THREADS?",
        "environment variable COTTONCANDY_ENDPOINT_URL is not an option of cottoncandy; "
        "did you mean COTTONCANDY_LOGIN_ENDPOINT_URL?",
    ]
    assert "FAKE" not in caplog.text
    caplog.clear()
    Settings.load()
    assert not warned(caplog)


def test_an_unknown_section_without_options(
    user_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user_file.write_text("[bassic]\n")
    Settings.load()
    assert "there is no section [bassic]; did you mean [basic]?" in caplog.text


def test_an_installation_without_defaults(
    user_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources.location, "defaults_path", lambda: tmp_path / "missing.cfg")
    with pytest.raises(ConfigurationError, match=r"is incomplete: '.*missing\.cfg' cannot be read"):
        Settings.load()


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
    with pytest.raises(ConfigurationError, match=r"missing\.cfg', named by .*unset the variable"):
        Settings.load()
    monkeypatch.setenv("COTTONCANDY_OPTIONS", "")
    assert Settings.load().threads == 5
    assert not warned(caplog)


def test_a_wrong_value_shows_no_secret(user_file: Path) -> None:
    user_file.write_text("[login]\naccess_key = FAKESECRET\nsecret_key = FAKE\n SECRET\n")
    with pytest.raises(ConfigurationError, match="secret_key must be text in one line") as caught:
        Settings.load()
    assert "FAKE" not in shown_by_tools(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_read_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in COTTONCANDY_OPTIONS=<(decrypt options.cfg)."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("[basic]\nthreads = 9\n",))
    writer.start()
    monkeypatch.setenv("COTTONCANDY_OPTIONS", str(pipe))
    assert Settings.load().threads == 9
    writer.join()
    assert Settings.load().threads == 9
    assert options.config.get("basic", "threads") == "9"


@pytest.mark.parametrize("name", ["with\0null", "x" * 5000, "~nosuchuser/options.cfg"])
def test_a_name_that_no_file_can_have_is_an_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "COTTONCANDY_OPTIONS": name})
    with pytest.raises(ConfigurationError, match="options"):
        Settings.load()


def test_a_file_that_cannot_be_read_is_an_error(user_file: Path) -> None:
    user_file.mkdir()  # stands for a file without permission, which root could read
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Settings.load()


names = st.text(string.ascii_lowercase, min_size=1, max_size=8)

texts = st.text([each for each in CHARACTERS if each.isprintable() and each != " "], max_size=12)


@given(st.lists(st.one_of(names, texts, st.sampled_from(["[login]", "a = b", " c", "[d", ""]))))
def test_any_text_is_read_or_refused_with_a_line(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        sources.parse_file(Path("options.cfg"), text.encode())
    except ConfigurationError as exc:
        found = re.match(r"options file 'options\.cfg', line (\d+): ", str(exc))
        valid = found is not None and 1 <= int(found[1]) <= len(lines)
        if not valid:
            pytest.fail(f"no line of the file is named: {exc}")


def test_the_library_warns_by_logging(caplog: pytest.LogCaptureFixture, user_file: Path) -> None:
    user_file.write_text("[basic]\ntreads = 9\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings.load()
    assert [(record.name, record.levelno, record.getMessage()) for record in warned(caplog)] == [
        (
            "cottoncandy.config.sources",
            logging.WARNING,
            f"options file '{user_file}': section [basic] has no option 'treads'; "
            "did you mean threads?",
        )
    ]
