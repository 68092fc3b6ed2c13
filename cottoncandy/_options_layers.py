"""The text of every option, from whichever layer says it last: defaults, user's file, environment.

What a text means is for :mod:`cottoncandy._settings` to say.
"""

from __future__ import annotations

import configparser
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cottoncandy import _options_file
from cottoncandy.exceptions import ConfigurationError

__all__ = ["Option", "Raw", "parse_file", "read_layers", "variable_name"]

logger = logging.getLogger(__name__)

# The sizes of transfers that 0.4.0 wrote into every options file it created, with nobody asking.
# The four of them together mean that nobody chose them, and what is measured best today applies.
_HISTORICAL_SIZES = {
    ("upload_settings", "mpu_use_threshold"): "200",
    ("upload_settings", "mpu_chunksize"): "100",
    ("download_settings", "mpd_use_threshold"): "100",
    ("download_settings", "mpd_chunksize"): "100",
}
# The same goes for this one. Left alone, it would hide AWS_ENDPOINT_URL_S3 from boto3.
_HISTORICAL_ENDPOINT = "https://s3.amazonaws.com"

_told: set[str] = set()


class Option(NamedTuple):
    """One option: where it stands in the files, and how its text becomes a value of Settings."""

    section: str
    name: str
    field: str
    convert: Callable[[str], Any]
    expected: str
    #: Whether an empty text is a value; elsewhere it leaves the option to the layer below.
    empty: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Section and name, the latter as configparser folds it."""
        return self.section, self.name.lower()


class Raw(NamedTuple):
    """The text of an option and where it was found, for messages."""

    text: str
    source: str


Layer = dict[tuple[str, str], Raw]


def variable_name(section: str, name: str) -> str:
    """Return the environment variable that overrides an option."""
    return f"COTTONCANDY_{section}_{name}".upper()


def read_layers(options: Iterable[Option], environ: Mapping[str, str] | None = None) -> Layer:
    """Return the text of every option that any layer knows, the uppermost winning.

    Raises
    ------
    ConfigurationError
        If a file is malformed, or one that ``COTTONCANDY_OPTIONS`` names cannot be read.
    """
    known = {option.key: option for option in options}
    merged: Layer = {}
    for layer in (
        _defaults_layer(),
        _user_layer(known),
        _environment_layer(known, os.environ if environ is None else environ),
    ):
        for key, raw in layer.items():
            if raw.text or key not in known or known[key].empty:
                merged[key] = raw
    return merged


def parse_file(path: Path, text: str) -> configparser.ConfigParser:
    """Parse the text of an options file.

    Raises
    ------
    ConfigurationError
        Naming the file and the line, and not what stands there: it may be a secret.
    """
    parser = configparser.ConfigParser(interpolation=None)  # a secret may contain '%'
    try:
        parser.read_string(text)
        return parser
    # Without a cause, since configparser's own messages quote the line.
    except configparser.DuplicateSectionError as exc:
        problem = f"line {exc.lineno}: section [{exc.section}] is there twice"
    except configparser.DuplicateOptionError as exc:
        problem = f"line {exc.lineno}: [{exc.section}] {exc.option} is there twice"
    except configparser.ParsingError as exc:
        # Its subclasses know the line; it has a list of lines.
        line = exc.lineno if hasattr(exc, "lineno") else exc.errors[0][0]
        problem = f"line {line}: expected '[section]' or 'option = value'"
    raise ConfigurationError(
        f"options file '{path}', {problem}; correct it, or remove the file and import "
        f"cottoncandy to get a new one"
    )


def _defaults_layer() -> Layer:
    path = _options_file.defaults_path()
    try:
        text = path.read_text("utf-8")
    except OSError as exc:
        raise ConfigurationError(
            f"the installation of cottoncandy is incomplete: '{path}' cannot be read "
            f"({exc.strerror}); install it again"
        ) from exc
    return _layer(path, parse_file(path, text))


def _user_layer(known: Mapping[tuple[str, str], Option]) -> Layer:
    try:
        path = _options_file.options_path()
    except ConfigurationError as exc:
        _tell_once(f"no options file is used: {exc}")
        return {}
    text = _user_text(path)
    if text is None:
        return {}
    parser = parse_file(path, text)
    _warn_of_unknown(path, parser, known)
    layer = _layer(path, parser)
    texts = {key: raw.text for key, raw in layer.items()}
    if all(texts.get(key) == text for key, text in _HISTORICAL_SIZES.items()):
        for key in _HISTORICAL_SIZES:
            del layer[key]
    endpoint = ("login", "endpoint_url")
    if texts.get(endpoint, "").rstrip("/") == _HISTORICAL_ENDPOINT:
        del layer[endpoint]
    return layer


def _user_text(path: Path) -> str | None:
    """Return the text of the user's options file; None where there is none."""
    named = bool(os.environ.get(_options_file.OPTIONS_VARIABLE))
    try:
        data = path.read_bytes()
    except OSError as exc:
        # A file that is there holds settings that matter (credentials, an endpoint): going on
        # without them would be silently wrong. A home that is out of reach is no such case.
        if named or os.path.lexists(path):
            hint = f", named by {_options_file.OPTIONS_VARIABLE}" if named else ""
            raise ConfigurationError(
                f"options file '{path}'{hint} cannot be read: {exc.strerror}"
            ) from exc
        failure = _options_file.creation_failure()
        if failure is not None:
            reason = getattr(failure, "strerror", None) or failure
            _tell_once(
                f"the options file '{path}' could not be created ({reason}); going on with "
                f"defaults and environment variables"
            )
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
    raise ConfigurationError(f"options file '{path}', line {line}: expected UTF-8 text")


def _environment_layer(
    known: Mapping[tuple[str, str], Option], environ: Mapping[str, str]
) -> Layer:
    variables = {variable_name(option.section, option.name): option for option in known.values()}
    sections = tuple({variable_name(option.section, "") for option in known.values()})
    layer: Layer = {}
    for variable, text in environ.items():
        option = variables.get(variable.upper())
        if option is not None:
            layer[option.key] = Raw(text.strip(), f"environment variable {variable}")
        elif variable.startswith(sections):
            _tell_once(
                f"environment variable {variable} names no option of cottoncandy"
                f"{_nearest(variable, variables)}"
            )
    return layer


def _layer(path: Path, parser: configparser.ConfigParser) -> Layer:
    source = f"options file '{path}'"
    return {
        (section, name): Raw(text.strip(), source)
        for section in parser.sections()
        for name, text in parser.items(section)
    }


def _warn_of_unknown(
    path: Path, parser: configparser.ConfigParser, known: Mapping[tuple[str, str], Option]
) -> None:
    sections = {section for section, _ in known}
    for section in parser.sections():
        if section not in sections:
            _tell_once(
                f"options file '{path}': there is no section [{section}]"
                f"{_nearest(section, sections, '[{}]')}"
            )
            continue
        for name in parser[section]:
            if (section, name) not in known and name not in parser.defaults():
                names = [option.name for option in known.values() if option.section == section]
                _tell_once(
                    f"options file '{path}': section [{section}] has no option '{name}'"
                    f"{_nearest(name, names)}"
                )


def _nearest(word: str, words: Iterable[str], form: str = "{}") -> str:
    import difflib

    close = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {form.format(close[0])}?" if close else ""


def _tell_once(message: str) -> None:
    if message not in _told:
        _told.add(message)
        logger.warning("%s", message)
