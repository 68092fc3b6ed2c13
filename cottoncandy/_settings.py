"""What the options mean: texts become the values of one frozen object."""

from __future__ import annotations

import configparser
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from cottoncandy._options_layers import Option, read_layers
from cottoncandy.exceptions import ConfigurationError

__all__ = ["Settings", "get_config", "to_boolean"]

_MB = 2**20

_TRUE = {"true", "tru", "t", "yes", "y", "on", "1"}
_FALSE = {"false", "f", "no", "n", "off", "0", "none", ""}
#: How options files say that there is no value.
_UNSET = {"", "false", "none"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Options resolved once, for one interface. Sizes are in bytes here, in MB in the files.

    The values here are those of ``defaults.cfg``, where each is explained. :meth:`load` resolves
    them; nothing is frozen when cottoncandy is imported. Keys and secrets are in no repr.
    """

    # [login]
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    endpoint_url: str | None = None
    verbose_boto: bool = False
    # [basic]
    default_acl: str = "authenticated-read"
    default_bucket: str | None = None
    mandatory_bucket_prefix: str = ""
    force_bucket_creation: bool = False
    path_separator: str = "/"
    signature_version: str | None = None
    threads: int = 4
    progress: bool | None = None  # None: bars where somebody looks (a terminal, a notebook)
    # [upload_settings]
    mpu_use_threshold_bytes: int = 32 * _MB
    mpu_chunksize_bytes: int = 16 * _MB
    dask_chunksize_bytes: int = 100 * _MB
    min_mpu_size_bytes: int = 5 * _MB
    max_put_size_bytes: int = 5000 * _MB
    max_mpu_size_bytes: int = 5 * _MB * _MB
    max_mpu_parts: int = 10000
    # [download_settings]
    mpd_use_threshold_bytes: int = 16 * _MB
    mpd_chunksize_bytes: int = 8 * _MB
    # [extensions]
    ccgroup: tuple[str, ...] = ("grp", "ccg")
    ccdataset: tuple[str, ...] = ("arr", "dar", "rarr", "ccd")
    # [gdrive]
    gdrive_secrets: str = "client_secrets.json"
    gdrive_credentials: str = "credentials.txt"
    # [encryption]
    encryption_method: str = "AES"
    encryption_key: str | None = field(default=None, repr=False)
    # [compression]
    do_compression: bool = True
    small_array: str = "gzip"
    large_array: str = "Zstd"

    def without_secrets(self) -> Self:
        """Return the settings without keys: what may be kept, pickled and passed on."""
        return replace(self, access_key=None, secret_key=None, encryption_key=None)

    @classmethod
    def load(cls) -> Self:
        """Resolve the options as they stand now: defaults, the user's file, the environment.

        Raises
        ------
        ConfigurationError
            If an options file is malformed, or a value makes no sense; the message says where it
            stands and what was expected.

        Examples
        --------
        >>> Settings.load().threads
        4
        """
        raws = read_layers(_OPTIONS)
        values: dict[str, Any] = {}
        for option in _OPTIONS:
            raw = raws.get(option.key)
            if raw is None or (not raw.text and not option.empty):
                continue  # an older defaults.cfg, edited for a whole site, may lack some
            try:
                values[option.field] = option.convert(raw.text)
            except ValueError as exc:
                raise ConfigurationError(
                    f"{raw.source}: [{option.section}] {option.name} is {raw.text!r}, and "
                    f"{option.expected} was expected"
                ) from exc
        return cls(**values)


def get_config() -> configparser.ConfigParser:
    """Return the options as text, merged from all layers, in the shape that 0.4.0 had them.

    Examples
    --------
    >>> get_config().get("basic", "threads")
    '4'
    """
    config = configparser.ConfigParser(interpolation=None)
    for (section, name), raw in read_layers(_OPTIONS).items():
        if not config.has_section(section):
            config.add_section(section)
        config.set(section, name, raw.text)
    return config


def to_boolean(text: str) -> bool:
    """Return what a word for true or false means, in any spelling that 0.4.0 understood.

    Raises
    ------
    ValueError
        If it is no such word.
    """
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"neither true nor false: {text!r}")


def _text(text: str) -> str:
    return "" if text.lower() in _UNSET else text


def _optional(text: str) -> str | None:
    return _text(text) or None


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _bytes(unit: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        value = float(text)
        if not (math.isfinite(value) and value * unit >= 1):
            raise ValueError(text)
        return int(value * unit)

    return convert


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip().removeprefix(".") for word in text.split(",") if word.strip())


def _method(text: str) -> str:
    if text.upper() not in ("AES", "RSA"):
        raise ValueError(text)
    return text.upper()


def _progress(text: str) -> bool | None:
    return None if text.lower() in ("auto", "none") else to_boolean(text)


def _separator(text: str) -> str:
    if text != "/":
        raise ValueError(text)
    return text


def _optional_text(section: str, name: str, field: str = "") -> Option:
    return Option(section, name, field or name, _optional, "text", empty=True)


def _flag(section: str, name: str) -> Option:
    return Option(section, name, name, to_boolean, "True or False")


def _number(section: str, name: str) -> Option:
    return Option(section, name, name, _count, "a whole number above 0")


def _megabytes(section: str, name: str) -> Option:
    return Option(section, name, f"{name}_bytes", _bytes(_MB), "a size in MB above 0")


_OPTIONS: tuple[Option, ...] = (
    _optional_text("login", "access_key"),
    _optional_text("login", "secret_key"),
    _optional_text("login", "endpoint_url"),
    _flag("login", "verbose_boto"),
    Option("basic", "default_acl", "default_acl", _text, "text", empty=True),
    _optional_text("basic", "default_bucket"),
    Option(
        "basic", "mandatory_bucket_prefix", "mandatory_bucket_prefix", _text, "text", empty=True
    ),
    _flag("basic", "force_bucket_creation"),
    Option("basic", "path_separator", "path_separator", _separator, "'/' (no other is supported)"),
    _optional_text("basic", "signature_version"),
    _number("basic", "threads"),
    Option("basic", "progress", "progress", _progress, "auto, True or False"),
    _megabytes("upload_settings", "mpu_use_threshold"),
    _megabytes("upload_settings", "mpu_chunksize"),
    _megabytes("upload_settings", "dask_chunksize"),
    _megabytes("upload_settings", "min_mpu_size"),
    _megabytes("upload_settings", "max_put_size"),
    Option(
        "upload_settings",
        "max_mpu_size_TB",
        "max_mpu_size_bytes",
        _bytes(_MB * _MB),
        "a size in TB above 0",
    ),
    _number("upload_settings", "max_mpu_parts"),
    _megabytes("download_settings", "mpd_use_threshold"),
    _megabytes("download_settings", "mpd_chunksize"),
    Option("extensions", "ccgroup", "ccgroup", _words, "words", empty=True),
    Option("extensions", "ccdataset", "ccdataset", _words, "words", empty=True),
    Option("gdrive", "secrets", "gdrive_secrets", str, "a file name"),
    Option("gdrive", "credentials", "gdrive_credentials", str, "a file name"),
    Option("encryption", "method", "encryption_method", _method, "AES or RSA"),
    _optional_text("encryption", "key", "encryption_key"),
    _flag("compression", "do_compression"),
    Option("compression", "small_array", "small_array", str, "the name of a codec"),
    Option("compression", "large_array", "large_array", str, "the name of a codec"),
)
