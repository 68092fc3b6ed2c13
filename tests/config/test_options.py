"""Options: the defaults, the layers above them, and what their texts mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cottoncandy import options
from cottoncandy.config import location
from cottoncandy.config.options import declared_options, to_boolean
from cottoncandy.exceptions import ConfigurationError
from cottoncandy.options import Settings
from tests.cases import each
from tests.config.helpers import FILE_OF_040, MB, options_text, warned


def test_the_shipped_defaults_are_those_of_the_class() -> None:
    assert Settings.load() == Settings()


def test_the_defaults_file_is_as_declared() -> None:
    text = location.defaults_path().read_text()
    assert text[text.index("[login]") :] == options_text()


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
    ("basic", "retries", "0", "retries", 0),
    ("basic", "progress", "False", "progress", False),
    ("upload_settings", "mpu_use_threshold", "1", "mpu_use_threshold_bytes", MB),
    ("upload_settings", "mpu_chunksize", "6.5", "mpu_chunksize_bytes", 13 * MB // 2),
    ("upload_settings", "dask_chunksize", "3", "dask_chunksize_bytes", 3 * MB),
    ("upload_settings", "min_mpu_size", "6", "min_mpu_size_bytes", 6 * MB),
    ("upload_settings", "max_put_size", "20", "max_put_size_bytes", 20 * MB),
    ("upload_settings", "max_mpu_parts", "99", "max_mpu_parts", 99),
    ("download_settings", "mpd_use_threshold", "2", "mpd_use_threshold_bytes", 2 * MB),
    ("download_settings", "mpd_chunksize", "100", "mpd_chunksize_bytes", 100 * MB),
    ("extensions", "ccgroup", "grp,.zarr ,", "ccgroup", ("grp", "zarr")),
    ("extensions", "ccdataset", "", "ccdataset", ()),
    ("gdrive", "secrets", "s.json", "gdrive_secrets", "s.json"),
    ("gdrive", "credentials", "c.txt", "gdrive_credentials", "c.txt"),
    ("encryption", "method", "rsa", "encryption_method", "RSA"),
    ("encryption", "key", "RkFLRQ==", "encryption_key", "RkFLRQ=="),
    ("encryption", "old_keys", "QQ==, ./b.pem,", "encryption_old_keys", ("QQ==", "./b.pem")),
    ("compression", "do_compression", "no", "do_compression", False),
    ("compression", "small_array", "LZ4", "small_array", "LZ4"),
    ("compression", "large_array", "Zlib", "large_array", "Zlib"),
]


def test_every_option_has_a_value_here() -> None:
    tried = {(section, name.lower()) for section, name, *_ in VALUES}
    assert tried == set(declared_options())


@pytest.mark.parametrize("text", ["path_separator = /", "path_separator = \\"])
def test_options_without_an_effect_are_accepted(
    user_file: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    user_file.write_text(f"[basic]\n{text}\n[upload_settings]\nmax_mpu_size_TB = x\n")
    assert Settings.load() == Settings()
    assert not warned(caplog)
    assert options.config.get("upload_settings", "max_mpu_size_TB") == "x"


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


@each("word", ["True", "true", "tru", "t", "y", "yes", "1", "TRUE", " on "])
def test_words_for_true(word: str) -> None:
    assert to_boolean(word) is True


@each("word", ["False", "false", "f", "n", "no", "0", "off", "None", ""])
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
        ("upload_settings", "mpu_chunksize", "0", "a size in MB above 0"),
        ("upload_settings", "mpu_chunksize", "-5", "a size in MB above 0"),
        ("upload_settings", "mpu_chunksize", "nan", "a size in MB above 0"),
        ("upload_settings", "dask_chunksize", "inf", "a size in MB above 0"),
        ("upload_settings", "max_mpu_parts", "1e4", "a whole number above 0"),
        ("upload_settings", "max_put_size", "1e308", "a size in MB above 0"),
        ("upload_settings", "max_mpu_parts", "9" * 5000, "a whole number above 0"),
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
