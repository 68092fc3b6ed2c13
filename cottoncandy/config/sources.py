"""The text of every option, from the last source that sets it: defaults, user's file, environment.

:mod:`cottoncandy.config.options` converts the texts.
"""

from __future__ import annotations

import configparser
import difflib
import functools
import logging
import os
import stat
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cottoncandy.config import location
from cottoncandy.exceptions import ConfigurationError

logger = logging.getLogger(__name__)

#: Section and name of an option, the latter in lower case, as in configparser.
Key = tuple[str, str]

# 0.4.0 wrote these transfer sizes into every options file. If all four are there, the user did not
# choose them, and the present defaults apply.
_HISTORICAL_SIZES = {
    ("upload_settings", "mpu_use_threshold"): "200",
    ("upload_settings", "mpu_chunksize"): "100",
    ("download_settings", "mpd_use_threshold"): "100",
    ("download_settings", "mpd_chunksize"): "100",
}
#: The same is true of this address of AWS. It would hide AWS_ENDPOINT_URL_S3 from boto3.
HISTORICAL_ENDPOINT = "https://s3.amazonaws.com"

_warned: set[str] = set()

_pipes: dict[Path, bytes] = {}
_pipes_lock = threading.Lock()


class RawOption(NamedTuple):
    """The text of an option and its source, for messages. It may be a secret."""

    text: str
    source: str

    def __repr__(self) -> str:
        return f"<text from {self.source}>"


Layer = dict[Key, RawOption]
PREFIX = "COTTONCANDY_"  # of all environment variables


def variable_name(section: str, name: str) -> str:
    """Return the environment variable that overrides an option."""
    return f"{PREFIX}{section}_{name}".upper()


def read_sources(known: Mapping[Key, bool]) -> Layer:
    """Return the text of every option that is set, and its source.

    Parameters
    ----------
    known : mapping
        All options, and whether an empty text is a value; otherwise it sets nothing.

    Raises
    ------
    ConfigurationError
        If a file is malformed, or the file that ``COTTONCANDY_OPTIONS`` names cannot be read.
    """
    defaults = _defaults_layer(location.defaults_path())
    layers = (defaults, _user_layer(known), _environment_layer(known))
    return {
        key: raw
        for layer in layers
        for key, raw in layer.items()
        if raw.text or known.get(key, True)
    }


def parse_file(path: Path, data: bytes) -> configparser.ConfigParser:
    """Parse the content of an options file.

    Raises
    ------
    ConfigurationError
        With the file and the line, but not the line's text: it may be a secret.
    """
    parser = configparser.ConfigParser(interpolation=None)  # a secret may contain '%'
    try:
        parser.read_string(data.decode("utf-8-sig"))
        return parser
    # Not chained: configparser's own messages quote the line.
    except UnicodeDecodeError as exc:
        line, problem = data.count(b"\n", 0, exc.start) + 1, "expected UTF-8 text"
    except configparser.DuplicateSectionError as exc:
        line, problem = exc.lineno or 0, f"duplicate section [{exc.section}]"
    except configparser.DuplicateOptionError as exc:
        line, problem = exc.lineno or 0, f"duplicate option {exc.option} in section [{exc.section}]"
    except configparser.ParsingError as exc:
        # Its subclasses have the line; it has a list of lines.
        line = exc.lineno if hasattr(exc, "lineno") else exc.errors[0][0]
        problem = "expected '[section]' or 'option = value'"
    del data  # tools that print local variables must not show it
    raise ConfigurationError(
        f"options file '{path}', line {line}: {problem}; correct the file, or remove it and import "
        f"cottoncandy to create a new one"
    )


def nearest(word: str, words: Iterable[str], form: str = "{}", cutoff: float = 0.6) -> str:
    """Return a suggestion for a misspelled word, to be appended to a message; empty if none."""
    spelled = {each.lower(): each for each in words}
    close = difflib.get_close_matches(word.lower(), spelled, n=1, cutoff=cutoff)
    return f"; did you mean {form.format(spelled[close[0]])}?" if close else ""


@functools.lru_cache(maxsize=1)
def _defaults_layer(path: Path) -> Layer:
    """Parse the defaults once: every interface asks for them."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(
            f"the installation of cottoncandy is incomplete: '{path}' cannot be read "
            f"({exc.strerror}); install it again"
        ) from exc
    return _layer(path, parse_file(path, data))


def _user_layer(known: Mapping[Key, bool]) -> Layer:
    try:
        path = location.options_path()
    except ConfigurationError as exc:
        if os.environ.get(location.OPTIONS_VARIABLE):
            raise
        _warn_once(f"no options file is used: {exc}")
        return {}
    parser = parse_file(path, _read(path))
    layer = _layer(path, parser)
    _warn_of_unknown(path, parser, known)
    for written in (_HISTORICAL_SIZES, {("login", "endpoint_url"): HISTORICAL_ENDPOINT}):
        if written == {key: layer[key].text.rstrip("/") for key in written if key in layer}:
            for key in written:
                del layer[key]
    return layer


def _read(path: Path) -> bytes:
    """Return the content of the user's options file; nothing if there is none."""
    named = bool(os.environ.get(location.OPTIONS_VARIABLE))
    try:
        with _pipes_lock:
            if path in _pipes:
                return _pipes[path]
            with path.open("rb") as file:
                data = file.read()
                # A pipe, as in COTTONCANDY_OPTIONS=<(...), can be read only once.
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    _pipes[path] = data
            return data
    except (OSError, ValueError) as exc:  # ValueError: a null byte in the path
        reason = getattr(exc, "strerror", None) or exc
        # An existing file contains settings that matter (credentials, an endpoint), so it is not
        # ignored. A home directory that cannot be reached is.
        if named or os.path.lexists(path):
            hint = f", named by {location.OPTIONS_VARIABLE}," if named else ""
            raise ConfigurationError(
                f"options file '{path}'{hint} cannot be read: {reason}; "
                + ("correct or unset the variable" if named else "correct its permissions")
            ) from exc
    failure = location.creation_failure()
    if failure is not None:
        reason = getattr(failure, "strerror", None) or failure
        _warn_once(
            f"could not create options file '{path}' ({reason}); using defaults and environment "
            f"variables"
        )
    return b""


def _environment_layer(known: Mapping[Key, bool]) -> Layer:
    variables = {variable_name(*key): key for key in known}
    sections = tuple({variable_name(section, "") for section, _ in known})
    options = tuple({f"_{option.upper()}" for _, option in known})
    layer: Layer = {}
    for variable, text in os.environ.items():
        name = variable.upper()
        key = variables.get(name)
        if key is not None:
            layer[key] = RawOption(text.strip(), f"environment variable {variable}")
        # Another section, or none. Other variables may belong to other programs.
        elif name.startswith(sections) or (name.startswith(PREFIX) and name.endswith(options)):
            _warn_once(
                f"environment variable {variable} is not an option of cottoncandy"
                f"{nearest(variable, variables)}"
            )
    return layer


def _unquoted(text: str) -> str:
    """Return a value without quotes around it, which the format does not need."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def _layer(path: Path, parser: configparser.ConfigParser) -> Layer:
    source = f"options file '{path}'"
    return {
        (section, name): RawOption(_unquoted(text.strip()), source)
        for section in parser.sections()
        for name, text in parser.items(section)
    }


def _warn_of_unknown(path: Path, parser: configparser.ConfigParser, known: Iterable[Key]) -> None:
    names: dict[str, list[str]] = {}
    for section, name in known:
        names.setdefault(section, []).append(name)
    for section in parser.sections():
        if section not in names:
            hint = nearest(section, names, "[{}]")
            _warn_once(f"options file '{path}': there is no section [{section}]{hint}")
            continue
        for name in parser[section]:
            if name not in names[section] and name not in parser.defaults():
                hint = nearest(name, names[section])
                _warn_once(
                    f"options file '{path}': section [{section}] has no option '{name}'{hint}"
                )


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        logger.warning("%s", message)
