"""Commands on files: listing, reading, measuring, deleting."""

from __future__ import annotations

import io
import os
import posixpath
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout, suppress
from itertools import chain, product
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from cottoncandy.cli.locations import (
    BLOCK_SIZE,
    JSON,
    JSON_ACCEPTED,
    JSON_LINES,
    LOCATION,
    PROGRESS,
    Connection,
    Failures,
    connected,
    files_in,
    for_each,
    is_encoded,
    is_on_disk,
    is_relative,
    nothing_at,
    print_json,
    some,
    split_pattern,
    standard_input,
    write_bytes,
)
from cottoncandy.core.names import has_magic
from cottoncandy.core.output import bytes2human, printable
from cottoncandy.exceptions import (
    InvalidArgumentError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)

if TYPE_CHECKING:
    from cottoncandy.backends.base import ObjectInfo
    from cottoncandy.stores.store import Store

# Expressions that generate prefixes: ``[ab]`` is ``a`` or ``b``, ``[ab]{2}`` all pairs of them.
_LIMIT = 100_000
_SET = re.compile(r"\[(?P<characters>[^\[\]]+)\](?:\{(?P<count>\d+)\})?")
_SEPARATING = re.compile("[\r\n\ud800-\udfff]")  # what a list of names does not keep
# As cloud-files has it, for commands that show no bar.
_PROGRESS_FLAG = click.option("--progress", is_flag=True, hidden=True, expose_value=False)


@click.command()
@click.argument("locations", type=LOCATION, nargs=-1, required=True)
@click.option("--flat", is_flag=True, help="One level only, with directories.")
@click.option("-l", "--long", is_flag=True, help="With size and modification time.")
@click.option("-e", "--expr", is_flag=True, help="Expand [abc] and [abc]{2} in LOCATION.")
@click.option("--sqlite", metavar="FILE", help="Write name, size and time into a database.")
@JSON_LINES
@click.option("--fullpath/--shortpath", help="Whole locations, as cp - reads them.")
@_PROGRESS_FLAG
@connected
def ls(
    connection: Connection,
    locations: tuple[str, ...],
    flat: bool,
    long: bool,
    expr: bool,
    sqlite: str | None,
    as_json: bool,
    fullpath: bool,
) -> None:
    """List everything below locations, or what matches patterns."""

    def listing(location: str) -> Iterator[tuple[str, int | None, Any]]:
        opened = connection.store if is_encoded(location) else connection.file
        for folder, name, size, modified in _listing(opened, location, flat):
            yield folder + name if fullpath else name, size, modified

    def rows(location: str) -> Iterator[tuple[str, int | None, Any]]:
        if not expr:
            return listing(location)
        return some(chain.from_iterable(map(maybe, expand(location))), location)

    def maybe(prefix: str) -> Iterator[tuple[str, int | None, Any]]:
        with suppress(ObjectNotFoundError):  # an expression need not match with all its prefixes
            yield from listing(prefix)

    literal = fullpath and not (long or sys.stdout.isatty())  # for "cp -"

    def show(location: str) -> None:
        for name, size, modified in rows(location):
            if literal and not (as_json or _SEPARATING.search(name)):
                click.echo(name, color=True)
            elif as_json:
                print_json({"name": name, "size": size, "modified": modified})
            elif long:
                moment = "" if modified is None else modified.astimezone().isoformat(" ", "seconds")
                click.echo(f"{'' if size is None else size:>14} {moment:25} {printable(name)}")
            else:
                click.echo(printable(name))

    if sqlite is None:
        for_each(show, locations)
    else:
        _write_database(sqlite, chain.from_iterable(map(rows, locations)))


def _listing(
    opened: Callable[[str], tuple[Store, str]], location: str, flat: bool
) -> Iterator[tuple[str, str, int | None, Any]]:
    """Yield the location of a directory, and paths below it with size and time."""
    from cottoncandy.backends.base import CommonPrefix

    store, prefix = opened(location)
    if prefix and not prefix.endswith("/") and store.has_below(prefix):
        prefix += "/"
    found = False
    skipped = prefix.rfind("/") + 1
    beginning = prefix[skipped:]  # of names
    folder = location.removesuffix(beginning) if beginning else location.rstrip("/") + "/"
    for entry in store.backend.scan(prefix, delimiter="/" if flat else ""):
        found = True
        if isinstance(entry, CommonPrefix):
            yield folder, entry.prefix[skipped:], None, None
        elif entry.key != prefix or not prefix.endswith("/"):
            yield folder, entry.key[skipped:], entry.size, entry.modified
    if not found and has_magic(location):
        folder, matches = split_pattern(location)
        for row in _listing(opened, folder, flat=False):
            if matches(row[1]):
                found = True
                yield row
    if not found and prefix:
        raise nothing_at(location)


def expand(text: str) -> Iterator[str]:
    """Yield the texts that an expression stands for, in order.

    Raises
    ------
    InvalidArgumentError
        If there are more than 100,000, or a bracket is not closed.

    Examples
    --------
    >>> list(expand("s3://bucket/[ab]"))
    ['s3://bucket/a', 's3://bucket/b']
    """
    choices: list[str | list[str]] = []
    total, position = 1, 0
    for found in _SET.finditer(text):
        choices.append([text[position : found.start()]])
        count = int(found["count"] or 1)
        characters = sorted(set(found["characters"]))
        total *= len(characters) ** count
        if total > _LIMIT:
            raise InvalidArgumentError(f"{text!r} stands for more than {_LIMIT} prefixes")
        choices.extend([characters] * count)
        position = found.end()
    rest = text[position:]
    if set("[]{}") & set(rest + "".join(choice[0] for choice in choices if len(choice) == 1)):
        raise InvalidArgumentError(f"{text!r} has a bracket without its counterpart")
    return map("".join, product(*choices, [rest]))


def _write_database(path: str, rows: Iterable[tuple[str, int | None, Any]]) -> None:
    import sqlite3
    from contextlib import closing

    try:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("BEGIN")  # a failed listing leaves no table
            database.execute("CREATE TABLE files (path TEXT, size INTEGER, modified TEXT)")
            database.executemany(
                "INSERT INTO files VALUES (?, ?, ?)",
                (
                    (name, size, None if time is None else time.isoformat())
                    for name, size, time in rows
                ),
            )
    except sqlite3.Error as error:
        raise InvalidArgumentError(f"cannot write the database '{path}': {error}") from error


@click.command()
@click.argument("locations", type=LOCATION, nargs=-1, required=True)
@click.option("-r", "--range", "span", metavar="START-STOP", help="Bytes from START up to STOP.")
@connected
def cat(connection: Connection, locations: tuple[str, ...], span: str | None) -> None:
    """Write the contents of objects to the standard output.

    Content encodings are undone. A single - reads locations from the standard input.
    """
    start, stop = (None, None) if span is None else _span(span)

    def write(location: str) -> None:
        store, name = connection.file(location, named=True)
        with store.open(name, prefetch=span is None) as reader:
            if reader.info.content_encoding is None:
                first, end, _ = slice(start, stop).indices(reader.size)
                for chunk in reader.chunks(first, end):
                    write_bytes(chunk)
                return
            from cottoncandy.cloudfiles.compression import decoded_stream

            position = 0
            encoding = reader.info.content_encoding
            for chunk in decoded_stream(reader.chunks(), encoding, location):
                last = None if stop is None else max(stop - position, 0)
                write_bytes(memoryview(chunk)[max((start or 0) - position, 0) : last])
                position += len(chunk)
                if stop is not None and position >= stop:
                    break

    for_each(write, standard_input() if locations == ("-",) else locations)


def _span(text: str) -> tuple[int | None, int | None]:
    start, dash, stop = text.partition("-")
    if not dash or not (start + stop).isdecimal() or int(start or 0) > int(stop or sys.maxsize):
        raise click.BadParameter(f"must be START-STOP, such as 0-100, got {text!r}")
    return int(start) if start else None, int(stop) if stop else None


@click.command()
@click.argument("locations", type=LOCATION, nargs=-1, required=True)
@JSON_ACCEPTED
@connected
def head(connection: Connection, locations: tuple[str, ...]) -> None:
    """Print the headers and metadata of objects as JSON."""

    def show(location: str) -> None:
        store, name = connection.file(location, named=True)
        key = store.key(name)
        try:
            info = store.backend.head(key)
        except ObjectNotFoundError as error:
            raise store.not_found(key, error) from error
        print_json(info._asdict())

    for_each(show, locations)


@click.command()
@click.argument("locations", type=LOCATION, nargs=-1, required=True)
@click.option("-s", "--summarize", is_flag=True, help="One total for each location.")
@click.option("-h", "--human-readable", is_flag=True, help="Sizes with units.")
@click.option("-c", "--grand-total", is_flag=True, help="A total of all locations.")
@click.option("-N", "--count-files", is_flag=True, help="The number of files, too.")
@click.option("-e", "--group-by-ext", is_flag=True, help="Totals by suffix.")
@JSON_LINES
@connected
def du(
    connection: Connection,
    locations: tuple[str, ...],
    summarize: bool,
    human_readable: bool,
    grand_total: bool,
    count_files: bool,
    group_by_ext: bool,
    as_json: bool,
) -> None:
    """Print the size of everything below locations, in bytes."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def show(label: str, size: int, count: int) -> None:
        if as_json:
            print_json({"name": label, "size": size, "files": count})
            return
        text = bytes2human(size) if human_readable else str(size)
        number = f"\t{count}" if count_files else ""
        click.echo(f"{text}{number}\t{printable(label)}")

    everything = [0, 0]

    def measure(location: str) -> None:
        own = [0, 0]
        for info in _objects(connection, location):
            for total in (own, everything, totals[PurePosixPath(info.key).suffix or "(none)"]):
                total[0] += info.size
                total[1] += 1
            if not (summarize or group_by_ext):
                show(info.key, info.size, 1)
        if summarize or not group_by_ext:
            show(location, *own)

    def show_totals() -> None:
        if group_by_ext:
            for suffix, total in sorted(totals.items()):
                show(suffix, *total)
        if grand_total:
            show("total", *everything)

    for_each(measure, locations, show_totals)


def _objects(connection: Connection, location: str) -> Iterator[ObjectInfo]:
    """Yield the object at a location and everything below it."""
    from cottoncandy.stores.finding import objects_at

    store, name = connection.file(location)
    found = objects_at(store, name)
    return some(found, location) if name else found


@click.command()
@click.argument("locations", type=LOCATION, nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Everything below LOCATIONS, too.")
@click.option("-f", "--force", is_flag=True, help="Skip what does not exist.")
@PROGRESS
@BLOCK_SIZE
@JSON
@connected
@click.pass_context
def rm(
    ctx: click.Context,
    connection: Connection,
    locations: tuple[str, ...],
    recursive: bool,
    force: bool,
    progress: bool,
    as_json: bool,
) -> None:
    """Delete objects. A single - reads locations from the standard input."""
    count, failures = 0, Failures()

    def remove(location: str) -> None:
        nonlocal count
        if is_relative(location):
            raise InvalidArgumentError(f"'{location}' has no name here; name what to delete")
        cci, name = connection.interface(location, named=True)
        if not name:
            raise InvalidArgumentError(f"'{location}' is a whole bucket; name what to delete in it")
        if has_magic(name) and not cci.exists_object(name):
            above, matches = split_pattern(location, recursive)
            options = {"progress": progress, "endpoint": connection.endpoint_url}
            files = files_in(above, is_encoded(location), options | {"parallel": ctx.obj})
            in_folder = files._endpoint().holds()  # what a link to a directory refers to is kept
            removed = files.delete(path for path in files if matches(path) and in_folder(path))
        else:
            # What it prints are messages. Without -r there is one: the error below, in other words.
            shown = recursive and not force
            with redirect_stdout(sys.stderr if shown else io.StringIO()):
                removed = cci.rm(name, recursive=recursive)
            if not (removed or recursive) and cci.lsdir(name, limit=1):
                raise ObjectNotFoundError(f"'{location}' is a directory: pass -r")
        folder = Path(cci.bucket_name or "", name)
        left = recursive and is_on_disk(location) and folder.is_dir() and not folder.is_symlink()
        if not (removed or force or left):
            raise _nothing_to_delete(connection, location)
        count += removed
        if left:
            _remove_directories(folder, location)

    try:
        given = standard_input() if locations == ("-",) else locations
        for_each(remove, given, failures=failures)
    finally:
        if as_json:
            print_json({"files": count + failures.done})


def _remove_directories(folder: Path, location: str) -> None:
    """Remove the empty directories in a directory, which are not objects, and then itself."""
    for directory, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(directory).rmdir()
    try:
        if folder.is_dir():
            folder.rmdir()
    except OSError as error:
        text = "maybe because of files that are not objects"
        text = f"'{location}' is still there, {text}: {error.strerror}"
        raise UnsupportedOperationError(text) from error


def _nothing_to_delete(connection: Connection, location: str) -> ObjectNotFoundError:
    """Return the error, which names the files that have the name with a content encoding."""
    from cottoncandy.backends.local.files import SUFFIXES

    store, name = connection.store(location)
    if name and is_on_disk(location):
        suffixes = filter(None, SUFFIXES.values())
        found = [f"'{location}{each}'" for each in suffixes if store.has_object(name + each)]
        if found:
            names = " and ".join(found)
            return ObjectNotFoundError(f"there is nothing at '{location}'; there is {names}")
    return nothing_at(location)


@click.command()
@click.argument("locations", type=LOCATION, nargs=-1, required=True)
@_PROGRESS_FLAG
@JSON_ACCEPTED
@connected
def touch(connection: Connection, locations: tuple[str, ...]) -> None:
    """Create empty objects, unless they exist."""
    from cottoncandy.core.buffers import Body

    def touch(location: str) -> None:
        store, name = connection.file(location)
        if store.has_object(store.key(name)):
            return
        plain = posixpath.splitext(location)[0]
        if is_on_disk(location) and is_encoded(location):
            other, name_there = connection.file(plain)
            if other.has_object(name_there):
                raise InvalidArgumentError(
                    f"'{location}' would replace '{plain}', which has that name without an encoding"
                )
        store.put(name, Body.of(b""))

    for_each(touch, locations)


@click.command()
@click.argument("paths", type=LOCATION, nargs=-1, required=True)
@JSON_ACCEPTED
def mkdir(paths: tuple[str, ...]) -> None:
    """Create directories on this computer. Stores need none."""

    def make(path: str) -> None:
        if "://" not in path or path.startswith("file://"):
            os.makedirs(os.path.expanduser(path.removeprefix("file://")), exist_ok=True)  # noqa: PTH103, PTH111 - takes '~name'

    for_each(make, paths)


@click.group()
def acl() -> None:
    """Owner and permissions of objects."""


@acl.command(name="get")
@click.argument("locations", type=LOCATION, nargs=-1, required=True)
@_PROGRESS_FLAG
@JSON_ACCEPTED
@connected
def get_acl(connection: Connection, locations: tuple[str, ...]) -> None:
    """Print owner and grants of objects as JSON; of files on disk, the mode."""
    from cottoncandy.cloudfiles import CloudFile

    def show(location: str) -> None:
        file = CloudFile(
            location,
            endpoint=connection.endpoint_url,
            no_sign_request=connection.no_sign_request,
        )
        found = file.get_acl()[file.filename]
        if found is None:
            if not file.exists():
                store, name = connection.file(location)
                raise store.not_found(name, nothing_at(location))
            raise UnsupportedOperationError(f"the store of '{location}' has no ACLs")
        fields = found.items() if isinstance(found, dict) else [("acl", found)]
        print_json({"location": location, **{name.lower(): value for name, value in fields}})

    for_each(show, locations)
