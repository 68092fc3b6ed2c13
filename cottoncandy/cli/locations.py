"""Locations on the command line, and the options with which they are opened."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from cottoncandy.core.names import has_magic
from cottoncandy.core.output import printable
from cottoncandy.exceptions import (
    CottonCandyError,
    CredentialsError,
    InvalidArgumentError,
    ObjectNotFoundError,
    StorageFullError,
    StoreUnreachableError,
)

if TYPE_CHECKING:
    from cottoncandy.cloudfiles import CloudFiles
    from cottoncandy.interfaces import DefaultInterface
    from cottoncandy.stores.store import Store

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: Entries of a context's ``meta``: the words of the command that continues this one, and whether a
#: program waits for a result, or for lines, of which each failure is one.
WORDS, AWAITED = "cottoncandy.words", "cottoncandy.awaited"

_LINES = "lines"


def _json_option(*, lines: bool, **options: Any) -> Callable[[F], F]:
    """Return the option ``--json``, which also notes what a program waits for."""

    def note(ctx: click.Context, _: click.Parameter, value: bool) -> bool | str:
        awaited: bool | str = ctx.meta.setdefault(AWAITED, value and _LINES if lines else value)
        return awaited

    return click.option("--json", "as_json", is_flag=True, callback=note, **options)


BLOCK_SIZE = click.option(
    "-b",
    "--block-size",
    type=click.IntRange(min=1),
    expose_value=False,
    help="Accepted for compatibility: files are streamed.",
)
ENDPOINT = click.option(
    "--endpoint-url", metavar="URL", help="Address of the S3 server, for locations without one."
)
JSON = _json_option(lines=False, help="Print the result as JSON.")
JSON_LINES = _json_option(lines=True, help="Print one JSON object per line.")
#: For commands that always print JSON, or have no result: programs may pass it to each.
JSON_ACCEPTED = _json_option(lines=True, hidden=True, expose_value=False)
PROGRESS = click.option(
    "--progress/--no-progress",
    default=True,
    callback=lambda ctx, param, value: value and sys.stderr.isatty(),
    help="Show a progress bar on a terminal, after a second of work.",
)

#: Schemes in any case, and their names in all parts of the library.
_SCHEMES = {name: name for name in ("s3", "gs", "gdrive", "file", "http", "https", "mem")} | {
    "gcs": "gs",
    "memory": "mem",
}

#: Advice of the library's errors, and the words of the command for it.
_ADVICE = (
    (r"^\[Errno \d+\] ", ""),
    (r"an object name must not be empty", "expected an object, got a bucket or a directory"),
    (r"look for it with cci\.glob or cci\.ls", "look for it with 'cottoncandy ls'"),
    (r"\bcci?\.(clean|cp|info|ls|mv|restore|rm|sync|verify)\b(\(\))?", r"'cottoncandy \1'"),
    (r"pass anon=True", "pass --no-sign-request"),
    (r"pass encryptionKey \(.*\), or set", "set"),
    (r"encryption='(\w+)'", r"--encryption \1"),
    (r"\bdelete=True", "--delete"),
    (r"\bmax_delete=", "--max-delete "),
    (r"pass encryptionKey=", "pass --encryption-key "),
    (r"pass that one as encryptionKey", "add that one to 'old_keys' in the options file"),
    (r"open it with get_interface\(\)", "read it without --encryption"),
    (r"pass ACCESS_KEY and SECRET_KEY, or write them", "write ACCESS_KEY and SECRET_KEY"),
)
#: Errors after which the other locations would fail, too.
_FATAL = (BrokenPipeError, CredentialsError, StorageFullError, StoreUnreachableError)
_PYTHON = re.compile(
    r"\bcci?\.\w|\b(down|up)load_\w+|\bcc\.\w|\bpass \w+=|\w+=True|\bcottoncandy\.\w+\(|__main__"
)


class Connection(NamedTuple):
    """How to reach locations: the options of a command."""

    endpoint_url: str | None = None
    no_sign_request: bool = False
    encryption: str | None = None
    encryption_key: str | None = None

    @property
    def encrypted(self) -> bool:
        """Whether objects are decrypted and encrypted."""
        return bool(self.encryption or self.encryption_key)

    def one_of_two(self, location: str) -> Self:
        """Return the options for an end of a copy: without encryption for a path on disk."""
        on_disk = "://" not in location
        return self._replace(encryption=None, encryption_key=None) if on_disk else self

    def store(self, location: str, *, named: bool | None = False) -> tuple[Store, str]:
        """Return the store of a location, and the name or prefix in it."""
        from cottoncandy.stores.connect import connect_location

        options: dict[str, Any] = {
            "encryption": self.encryption,
            "encryptionKey": self.encryption_key,
        }
        if "://" in location:
            from cottoncandy.cloudfiles.connection import Options, factory_arguments

            given = Options(endpoint=self.endpoint_url, no_sign_request=self.no_sign_request)
            options |= factory_arguments(location, given)
        return connect_location(location, named, **options)

    def file(self, location: str, *, named: bool = False) -> tuple[Store, str]:
        """Return the store of a file, and its name; on disk, as ``CloudFiles`` names it.

        A name that a file has on disk, or with the suffix of a content encoding, is literal.
        """
        store, name = self.store(location, named=named)
        if self.encrypted or not is_on_disk(location) or is_encoded(name):
            return store, name
        if name and store.has_object(name):
            return store, name
        from cottoncandy.stores.connect import connect

        return connect("files", store.bucket), name

    def interface(self, location: str, *, named: bool = False) -> tuple[DefaultInterface, str]:
        """Return an interface on the store of a location, and the name in it."""
        from cottoncandy.interfaces import DefaultInterface, EncryptedInterface
        from cottoncandy.interfaces.base import interface_on

        store, name = self.store(location, named=named)
        return interface_on(EncryptedInterface if self.encrypted else DefaultInterface, store), name


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a connection to a command, which gets a :class:`Connection` first."""

    @ENDPOINT
    @click.option(
        "--no-sign-request",
        "--no-auth",
        is_flag=True,
        help="Read public data, without credentials.",
    )
    @click.option(
        "--encryption",
        type=click.Choice(["AES", "RSA"], case_sensitive=False),
        help="Decrypt and encrypt with the key of the options file.",
    )
    @click.option("--encryption-key", metavar="FILE", help="PEM file, for --encryption RSA.")
    @functools.wraps(command)
    def wrapped(**arguments: Any) -> Any:
        connection = Connection(*(arguments.pop(name) for name in Connection._fields))
        return command(connection, **arguments)

    return wrapped


class _Location(click.ParamType):  # type: ignore[type-arg]  # not generic in older versions
    """A URL or a path; the shell completes both."""

    name = "location"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("a location must not be empty", param, ctx)
        location, (scheme, separator, rest) = value, value.partition("://")
        if separator and scheme.lower() not in _SCHEMES:
            from cottoncandy.cloudfiles.paths import FORMAT

            if head := FORMAT.match(value):  # it does not matter to files
                location = value[head.end() :]
                scheme, separator, rest = location.partition("://")
        if separator and scheme.lower() in _SCHEMES:
            location = _SCHEMES[scheme.lower()] + separator + rest
        elif location == value:
            return value
        if ctx is not None and (words := ctx.meta.get(WORDS)):
            words[:] = [location if word == value else word for word in words]
        return location

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        if "://" not in incomplete:
            return [CompletionItem(incomplete, type="file")]
        beginning = incomplete[: incomplete.rfind("/") + 1]
        try:
            return [
                CompletionItem(url) for url in _below(ctx, beginning) if url.startswith(incomplete)
            ]
        except Exception:  # noqa: BLE001 - a completion never disturbs the prompt
            return []


@add_completion_class
class _Bash(BashComplete):
    """Completion in bash, which splits words at ``:`` and ``=``, and completes the last part."""

    source_template = BashComplete.source_template.replace("read type", "read -r type").replace(
        "COMPREPLY+=($value)", 'COMPREPLY+=("$value"); [[ $value != */ ]] || compopt -o nospace'
    )
    _start = 0  # of that part
    _quote = ""  # that is open

    def get_completion_args(self) -> tuple[list[str], str]:
        parts = os.environ["COMP_WORDS"].split("\n")[: int(os.environ["COMP_CWORD"]) + 1]
        if len(parts) == 1:  # not from the script above
            return super().get_completion_args()
        text = re.sub(r"\n([:=]+)(\n|$)", r"\1", "\n".join(parts))
        first = parts[-1][:1]
        self._quote = first if parts[-1].count(first) % 2 else ""  # else closed
        *words, last = ("".join(split_arg_string(word)) for word in text.split("\n"))
        if not text.endswith("\n" + parts[-1]):
            self._start = max(last.rfind(":"), last.rfind("=")) + 1
        return words[1:], last

    def format_completion(self, item: CompletionItem[str]) -> str:
        value = item.value[self._start :]
        if self._quote == "'":
            value = value.replace("'", r"'\''")
        else:
            special = r'(["$`\\])' if self._quote == '"' else r"([^\w@%+=:,./~-])"
            value = re.sub(special, r"\\\1", value)
        return f"{item.type},{value}"


@add_completion_class
class _Zsh(ZshComplete):
    """Completion in zsh, without a blank after a directory."""

    source_template = ZshComplete.source_template.replace(
        'completions+=("$key")',
        """[[ "$key" == */ ]] && compadd -U -S '' -- "$key" || completions+=("$key")""",
    )


@add_completion_class
class _Fish(FishComplete):
    """Completion in fish, of names with commas, too."""

    source_template = FishComplete.source_template.replace("string split", "string split -m 1")


def _below(ctx: click.Context, directory: str) -> Iterator[str]:
    from itertools import islice

    from cottoncandy.core.names import prefix_of

    connection = Connection(ctx.params.get("endpoint_url"), bool(ctx.params.get("no_sign_request")))
    store, name = connection.store(directory)
    prefix = prefix_of(name)
    for entry in islice(store.backend.scan(prefix, delimiter="/"), 1000):
        yield directory + entry.key[len(prefix) :]


LOCATION = _Location()


def is_on_disk(location: str) -> bool:
    """Return whether a location is a path, or a URL of one."""
    return "://" not in location or location.lower().startswith("file://")


def is_relative(location: str) -> bool:
    """Return whether a path ends with a directory that has no name here: ``.`` or ``..``."""
    return is_on_disk(location) and location.rstrip("/").rpartition("/")[2] in (".", "..")


def is_encoded(name: str) -> bool:
    """Return whether a name or pattern has the suffix of a content encoding, such as ``.gz``."""
    from cottoncandy.backends.local.files import SUFFIXES

    suffix = "." + name.rpartition(".")[2]
    return suffix != ".*" and any(fnmatchcase(each, suffix) for each in SUFFIXES.values())


def files_in(directory: str, as_on_disk: bool, options: dict[str, Any]) -> CloudFiles:
    """Return the files in a directory; with the names that they have on disk, or in the store."""
    from cottoncandy.cloudfiles.files import CloudFiles, FilesAsOnDisk

    files = CloudFiles(directory, **options)
    as_on_disk = as_on_disk and is_on_disk(directory) and files._endpoint().exists()
    return FilesAsOnDisk(directory, **options) if as_on_disk else files


def in_words(message: str) -> str:
    """Return an error of the library in the words of the command, without advice on Python."""
    for pattern, words in _ADVICE:
        message = re.sub(pattern, words, message)
    first, *rest = re.split(r"(?=(?:;|\.) )", message)
    return first + "".join(each for each in rest if not _PYTHON.search(each))


def nothing_at(location: str) -> ObjectNotFoundError:
    """Return the error for a location without files."""
    known = location.startswith((".", "/", "~")) or Path(location.split("/")[0]).exists()
    bucket = not known and "://" not in location
    hint = f"; a bucket is a URL, such as s3://{location}" if bucket else ""
    return ObjectNotFoundError(f"there is nothing at '{location}'{hint}")


def some(found: Iterable[T], location: str) -> Iterator[T]:
    """Yield what is found at a location; raise if there is nothing."""
    empty = True
    for each in found:
        empty = False
        yield each
    if empty:
        raise nothing_at(location)


def print_error(error: BaseException) -> str:
    """Print an error of the library in one line; return it."""
    text = printable("; ".join([in_words(str(error)), *getattr(error, "__notes__", ())]))
    click.echo(f"cottoncandy: {text}", err=True)
    return text


class Failures:
    """Errors of single locations, which do not stop the others."""

    def __init__(self) -> None:
        self._any = False
        self.done = 0  # files of calls that failed for others, or were interrupted

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Print an error in the block."""
        try:
            yield
        except BaseException as error:
            self.done += getattr(error, "done", 0)
            if isinstance(error, _FATAL) or not isinstance(error, CottonCandyError | OSError):
                raise
            self.note(error)

    def note(self, error: Exception) -> None:
        """Print an error."""
        text = print_error(error)
        if click.get_current_context().meta.get(AWAITED) == _LINES:
            print_json({"error": text})
        self._any = True

    def finish(self) -> None:
        """End the command with status 1 if there was an error."""
        if self._any:
            click.get_current_context().exit(1)


def for_each(
    function: Callable[[T], object],
    items: Iterable[T],
    then: Callable[[], object] = lambda: None,
    failures: Failures | None = None,
) -> None:
    """Call a function with each item, then another; one that fails does not stop the others."""
    failures = failures or Failures()
    for item in items:
        with failures.noted():
            function(item)
    then()
    failures.finish()


def print_json(value: Any) -> None:
    """Print a result for programs."""
    meta = click.get_current_context().meta
    if meta.get(AWAITED) != _LINES:
        meta[AWAITED] = False
    click.echo(json.dumps(value, default=str))


def write_bytes(data: Any) -> None:
    """Write bytes to the standard output, unchanged."""
    output = sys.stdout.buffer
    # Python returns a short count when the reader of a pipe leaves during a large write.
    if output.write(data) < len(data):
        raise BrokenPipeError
    output.flush()


def standard_input() -> Iterator[str]:
    """Yield the lines of the standard input: names."""
    given = () if sys.stdin is None else sys.stdin.buffer  # closed by the shell
    lines = (line.decode(errors="surrogateescape") for line in given)
    return filter(None, (line.rstrip("\r\n") for line in lines))


def split_pattern(pattern: str, recursive: bool = False) -> tuple[str, Callable[[str], bool]]:
    """Return the directory above the magic of a pattern, and what tells if a path below matches.

    ``*`` does not match ``/``, ``**`` does. If ``recursive``, all below a match matches.
    """
    from fsspec.utils import glob_translate

    parts = pattern.split("/")
    first = next(number for number, part in enumerate(parts) if has_magic(part))
    if any("**" in part and part != "**" for part in parts):
        raise InvalidArgumentError(
            f"'**' must be a whole part of a path, as in 'a/**/b': '{pattern}'"
        )
    matches = re.compile(glob_translate("/".join(parts[first:]))).match

    def found(path: str) -> bool:
        ends = [place.start() for place in re.finditer("/", path)] if recursive else []
        return any(matches(path[:end]) for end in [*ends, len(path)])

    return "/".join(parts[:first]) or ("/" if pattern.startswith("/") else "."), found
