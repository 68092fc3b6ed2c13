"""Every option, declared once: its place in the files, its type, its default and its description.

The tests compare ``defaults.cfg`` with these declarations: names, defaults and descriptions.
"""

from __future__ import annotations

import configparser
import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from cottoncandy.config.sources import Key, RawOption, read_sources
from cottoncandy.exceptions import ConfigurationError

_MB = 2**20

_TRUE = {"true", "tru", "t", "yes", "y", "on", "1"}
_FALSE = {"false", "f", "no", "n", "off", "0", "none", ""}
#: Words for "no value" in options files.
_UNSET = {"", "false", "none"}


def to_boolean(text: str) -> bool:
    """Return what a word for true or false means, in any spelling that 0.4.0 accepted.

    Raises
    ------
    ValueError
        If it is not such a word.
    """
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"neither true nor false: {text!r}")


def _one_line(text: str) -> str:
    if "\n" in text:  # an indented line in a file continues the line before
        raise ValueError(text)
    return text


def _text(text: str) -> str:
    return "" if text.lower() in _UNSET else _one_line(text)


def _count(text: str, least: int = 1) -> int:
    value = int(text)
    if value < least:
        raise ValueError(text)
    return value


def _megabytes(text: str) -> int:
    value = float(text) * _MB
    if not (math.isfinite(value) and value >= 1):
        raise ValueError(text)
    return int(value)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip().removeprefix(".") for word in text.split(",") if word.strip())


def _method(text: str) -> str:
    if text.upper() not in ("AES", "RSA"):
        raise ValueError(text)
    return text.upper()


def _progress(text: str) -> bool | None:
    return None if text.lower() in ("auto", "none") else to_boolean(text)


class _Kind(NamedTuple):
    """How the text of an option becomes a value."""

    convert: Callable[[str], Any]
    expected: str
    #: Whether an empty text is a value; otherwise the option keeps the value of earlier sources.
    allow_empty: bool = False


_TEXT = _Kind(_text, "text in one line", allow_empty=True)
_OPTIONAL = _Kind(lambda text: _text(text) or None, "text in one line", allow_empty=True)
_KEYS = _Kind(
    lambda text: tuple(filter(None, map(str.strip, _text(text).split(",")))),
    "keys in one line, separated by commas",
    allow_empty=True,
)
_FLAG = _Kind(to_boolean, "True or False")
_COUNT = _Kind(_count, "a whole number above 0")
_RETRIES = _Kind(lambda text: _count(text, least=0), "a whole number")
_SIZE = _Kind(_megabytes, "a size in MB above 0")
_WORDS = _Kind(_words, "words", allow_empty=True)
_NAME = _Kind(_one_line, "a name")
_METHOD = _Kind(_method, "AES or RSA")
_PROGRESS = _Kind(_progress, "auto, True or False")


def _option(default: Any, section: str, kind: _Kind, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"section": section, "kind": kind})


@dataclass(frozen=True, slots=True)
class Settings:
    """Options resolved once, for one interface. Sizes are in bytes here, in MB in the files.

    :meth:`load` resolves them; nothing is frozen when cottoncandy is imported. No repr contains
    keys or secrets.

    Parameters
    ----------
    access_key : str, optional
        S3 access key. Empty: ~/.passwd-s3fs, then AWS_ACCESS_KEY and AWS_SECRET_KEY, then
        whatever boto3 finds (profiles, roles, AWS_ACCESS_KEY_ID, ...).
    secret_key : str, optional
        S3 secret key, the other half of the pair.
    endpoint_url : str, optional
        URL of the S3 server, as in http://localhost:9000. Empty: boto3 decides, which means
        Amazon unless AWS_ENDPOINT_URL_S3 or a profile is set.
    verbose_boto : bool
        Whether boto3 logs every request in full, where the program shows its log (True, False).
    default_acl : str
        Canned ACL (permissions) of new objects and buckets: private, authenticated-read,
        public-read, ... Empty: none.
    default_bucket : str, optional
        Bucket to use if none is named; may be empty.
    mandatory_bucket_prefix : str
        Prefix that the name of every new bucket must have; may be empty.
    force_bucket_creation : bool
        Whether a bucket that does not exist is created without asking (True, False).
    signature_version : str, optional
        How requests are signed: s3v4, s3, ... Empty: boto3 decides.
    threads : int
        Number of connections that one operation may use at once; at least 1.
    retries : int
        How often sync and CloudFiles repeat a request while the store is busy (0: never), after
        random pauses of up to 0.5 s that double each time, up to 60 s.
    progress : bool, optional
        Progress bars of long operations. auto: in terminals and notebooks only; True; False.
    mpu_use_threshold_bytes : int
        Bodies larger than this are uploaded in parts (MB).
    mpu_chunksize_bytes : int
        Size of one part (MB); on S3 at most 16. Memory: up to one part for each thread.
    dask_chunksize_bytes : int
        Size of one chunk of a Dask array, before compression (MB).
    min_mpu_size_bytes : int
        Smallest part that the server accepts (MB).
    max_put_size_bytes : int
        Largest body that the server accepts in one request (MB).
    max_mpu_parts : int
        Largest number of parts of one object that the server accepts.
    mpd_use_threshold_bytes : int
        When a directory is downloaded: files larger than this are downloaded in parallel ranges
        (MB).
    mpd_chunksize_bytes : int
        Size of the first range (MB); on S3 at most 8. Larger bodies are downloaded in parallel
        ranges.
    ccgroup : tuple of str
        Endings of the names that the browser shows as groups, separated by commas.
    ccdataset : tuple of str
        Endings of the names that the browser shows as datasets, separated by commas.
    gdrive_secrets : str
        Google Drive: name of the client secrets, a file in this file's folder.
    gdrive_credentials : str
        Google Drive: name of the stored credentials, a file in this file's folder.
    encryption_method : str
        AES: one key for everything. RSA: a separate key for each object, wrapped with a key
        pair.
    encryption_key : str, optional
        AES: the key in base64, or auto, which creates one at first use and stores it in the
        options file. RSA: path of a PEM file. Back up the key elsewhere: without it, the data
        is lost.
    encryption_old_keys : tuple of str
        Earlier keys, separated by commas. They read what was written with them.
    do_compression : bool
        Whether arrays are compressed if the caller does not specify it (True, False).
    small_array : str
        Codec of arrays below 2 GiB: gzip, Zstd, LZ4, Zlib, BZ2, LZMA.
    large_array : str
        Codec of larger arrays.
    """

    # [login]
    access_key: str | None = _option(None, "login", _OPTIONAL, secret=True)
    secret_key: str | None = _option(None, "login", _OPTIONAL, secret=True)
    endpoint_url: str | None = _option(None, "login", _OPTIONAL, secret=True)
    verbose_boto: bool = _option(False, "login", _FLAG)
    # [basic]
    default_acl: str = _option("authenticated-read", "basic", _TEXT)
    default_bucket: str | None = _option(None, "basic", _OPTIONAL)
    mandatory_bucket_prefix: str = _option("", "basic", _TEXT)
    force_bucket_creation: bool = _option(False, "basic", _FLAG)
    signature_version: str | None = _option(None, "basic", _OPTIONAL)
    threads: int = _option(4, "basic", _COUNT)
    retries: int = _option(7, "basic", _RETRIES)
    progress: bool | None = _option(None, "basic", _PROGRESS)
    # [upload_settings]
    mpu_use_threshold_bytes: int = _option(32 * _MB, "upload_settings", _SIZE)
    mpu_chunksize_bytes: int = _option(16 * _MB, "upload_settings", _SIZE)
    dask_chunksize_bytes: int = _option(100 * _MB, "upload_settings", _SIZE)
    min_mpu_size_bytes: int = _option(5 * _MB, "upload_settings", _SIZE)
    max_put_size_bytes: int = _option(5000 * _MB, "upload_settings", _SIZE)
    max_mpu_parts: int = _option(10000, "upload_settings", _COUNT)
    # [download_settings]
    mpd_use_threshold_bytes: int = _option(16 * _MB, "download_settings", _SIZE)
    mpd_chunksize_bytes: int = _option(8 * _MB, "download_settings", _SIZE)
    # [extensions]
    ccgroup: tuple[str, ...] = _option(("grp", "ccg"), "extensions", _WORDS)
    ccdataset: tuple[str, ...] = _option(("arr", "dar", "rarr", "ccd"), "extensions", _WORDS)
    # [gdrive]
    gdrive_secrets: str = _option("client_secrets.json", "gdrive", _NAME)
    gdrive_credentials: str = _option("credentials.txt", "gdrive", _NAME)
    # [encryption]
    encryption_method: str = _option("AES", "encryption", _METHOD)
    encryption_key: str | None = _option(None, "encryption", _OPTIONAL, secret=True)
    encryption_old_keys: tuple[str, ...] = _option((), "encryption", _KEYS, secret=True)
    # [compression]
    do_compression: bool = _option(True, "compression", _FLAG)
    small_array: str = _option("gzip", "compression", _NAME)
    large_array: str = _option("Zstd", "compression", _NAME)

    def without_secrets(self) -> Self:
        """Return the settings without keys: what may be kept, pickled and passed on."""
        return replace(
            self, access_key=None, secret_key=None, encryption_key=None, encryption_old_keys=()
        )

    @classmethod
    def load(cls) -> Self:
        """Resolve the options: defaults, then the user's file, then the environment.

        Raises
        ------
        ConfigurationError
            If an options file is malformed, or a value is invalid; the message names the place
            and what is expected there.

        Examples
        --------
        >>> Settings.load().threads
        4
        """
        found, declared = _read(), declared_options()
        # An older defaults.cfg, edited for a whole site, may lack some options.
        keys = [key for key in declared if key in found]
        return cls(**{declared[key].name: _convert(key, declared[key], found[key]) for key in keys})


def _convert(key: Key, option: Field[Any], raw: RawOption) -> Any:
    kind = option.metadata["kind"]
    try:
        return kind.convert(raw.text)
    except ValueError:
        pass  # not chained: its message repeats the text
    shown = repr(raw.text) if option.repr else "something else"
    raise ConfigurationError(
        f"{raw.source}: [{key[0]}] {key[1]} must be {kind.expected}, got {shown}"
    )


# Options of 0.4.0 without an effect. Old files may contain them, and programs may read them.
_RETIRED = {("basic", "path_separator"): "/", ("upload_settings", "max_mpu_size_tb"): "5"}


def declared_options() -> dict[Key, Field[Any]]:
    """Return the fields of Settings by section and name of the option."""
    return {
        (
            each.metadata["section"],
            each.name.removeprefix(f"{each.metadata['section']}_").removesuffix("_bytes"),
        ): each
        for each in fields(Settings)
    }


def _read() -> Mapping[Key, RawOption]:
    options = declared_options().items()
    allow_empty = {key: each.metadata["kind"].allow_empty for key, each in options}
    return read_sources({**dict.fromkeys(_RETIRED, False), **allow_empty})


def option_sources() -> list[tuple[str, str]]:
    """Return the name of each option, as ``[section] name``, and where its value comes from."""
    return [(f"[{section}] {name}", raw.source) for (section, name), raw in _read().items()]


def get_config() -> configparser.ConfigParser:
    """Return the options as text, merged from all sources, in the form that 0.4.0 had.

    Examples
    --------
    >>> get_config().get("basic", "threads")
    '4'
    """
    config = configparser.ConfigParser(interpolation=None)
    texts = {key: found.text for key, found in _read().items()}
    for (section, name), text in {**_RETIRED, **texts}.items():
        if not config.has_section(section):
            config.add_section(section)
        config.set(section, name, text)
    return config


# A signature shows the documented default (``acl='authenticated-read'``, ``threads=4``), yet an
# omitted argument must follow the user's options. The type of these values marks them as defaults.


class DefaultStr(str):
    """Text of a default: the options override it."""

    __slots__ = ()


class DefaultInt(int):
    """A number of a default: the options override it."""

    __slots__ = ()


_SHIPPED = Settings()

DEFAULT_ACL = DefaultStr(_SHIPPED.default_acl)
DEFAULT_THREADS = DefaultInt(_SHIPPED.threads)
DEFAULT_DASK_CHUNK = DefaultInt(_SHIPPED.dask_chunksize_bytes)
DEFAULT_EXTRA_ARGS: Mapping[str, str] = MappingProxyType({"ACL": DEFAULT_ACL})
