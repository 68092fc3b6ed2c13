"""``cp``, ``mv`` and ``xfer``: which file goes where, by the rules of fsspec and the shell.

=====================  ===========================  ==================================
source                 destination                  result
=====================  ===========================  ==================================
file                   name                         ``name``
file                   ``dir/``, or an existing     ``dir/file``
                       directory
directory (``-r``)     existing directory           ``dest/directory/...``
``directory/`` (-r)    existing directory           ``dest/...``
directory (``-r``)     new name                     ``name/...``
pattern                directory                    ``dest/...``, from the first part with magic on
list on stdin          directory                    ``dest/...``, below their common directory
several                directory                    each by the rules above
=====================  ===========================  ==================================
"""

from __future__ import annotations

import functools
import itertools
import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import click

from cottoncandy.cli.locations import (
    BLOCK_SIZE,
    ENDPOINT,
    JSON,
    LOCATION,
    PROGRESS,
    WORDS,
    Failures,
    files_in,
    in_words,
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
from cottoncandy.core.output import printable
from cottoncandy.exceptions import InvalidArgumentError, InvalidNameError, ObjectNotFoundError

if TYPE_CHECKING:
    from cottoncandy.cloudfiles import CloudFiles
    from cottoncandy.transfer.entries import Endpoint


class Route(NamedTuple):
    """A file, maybe a compressed one on disk, and the name of its copy in the destination."""

    directory: str
    path: str
    target: str
    as_on_disk: bool = False


class Ends(NamedTuple):
    """The options of ``CloudFiles`` at both ends."""

    reading: dict[str, Any]
    writing: dict[str, Any]
    as_json: bool


_COMPRESSION = click.option(
    "-c",
    "--compression",
    default="same",
    type=click.Choice(["same", "none", "gzip", "br", "zstd", "bz2", "xz"]),
    show_default=True,
    help="Content encoding of the copies.",
)


def _transferring(command: Callable[..., None]) -> Callable[..., None]:
    """Add what ``cp`` and ``mv`` have in common."""

    @click.argument("sources", type=LOCATION, nargs=-1, metavar="SOURCES...")
    @click.argument("destination", type=LOCATION)
    @PROGRESS
    @BLOCK_SIZE
    @click.option(
        "--part-bytes",
        type=click.IntRange(min=1),
        default=10**8,
        show_default=True,
        help="Upload larger files in parts.",
    )
    @click.option("--no-sign-request", is_flag=True, help="Read the sources without credentials.")
    @JSON
    @ENDPOINT
    @functools.wraps(command)
    def wrapped(
        progress: bool,
        part_bytes: int,
        no_sign_request: bool,
        endpoint_url: str | None,
        as_json: bool,
        **arguments: Any,
    ) -> None:
        if not arguments["sources"]:  # click gives a single location to the last argument
            raise click.UsageError("Missing argument 'DESTINATION'.")
        parallel = click.get_current_context().obj
        options = {"progress": progress, "endpoint": endpoint_url, "parallel": parallel}
        reading = options | {"no_sign_request": no_sign_request}
        writing = options | {"composite_upload_threshold": part_bytes}
        command(ends=Ends(reading, writing, as_json), **arguments)

    return wrapped


@click.command()
@_transferring
@click.option("-r", "--recursive", is_flag=True, help="Directories, too.")
@_COMPRESSION
@click.option("--resumable", is_flag=True, help="Skip files whose copy exists and is not older.")
def cp(
    sources: tuple[str, ...],
    destination: str,
    ends: Ends,
    recursive: bool,
    compression: str,
    resumable: bool,
) -> None:
    """Copy files.

    The source - reads names from the standard input, the destination - writes contents to the
    standard output.
    """
    if not resumable:
        words = click.get_current_context().meta.get(WORDS, ["cp"])
        words.insert(words.index("cp") + 1, "--resumable")
    if destination == "-":
        if ends.as_json:
            raise click.UsageError("--json and the destination - both write to the standard output")
        failures = Failures()
        for route in Search("", recursive, ends.reading, failures).routes(sources):
            with failures.noted():
                files = files_in(route.directory, route.as_on_disk, ends.reading)
                content = files.get(route.path)
                if content is None:
                    text = f"there is no file '{route.path}' in {route.directory}"
                    raise ObjectNotFoundError(text)
                write_bytes(content)
        failures.finish()
        return

    def copy(source: CloudFiles, dest: CloudFiles, found: Iterator[Route]) -> None:
        source.transfer_to(
            dest,
            ({"path": route.path, "dest_path": route.target} for route in found),
            reencode=None if compression == "same" else compression,
            resumable=resumable,
        )

    _transfer(copy, sources, destination, recursive, ends, reencode=compression != "same")


@click.command()
@_transferring
@click.option("-r", "--recursive", is_flag=True, help="Directories that match patterns, too.")
def mv(sources: tuple[str, ...], destination: str, ends: Ends, recursive: bool) -> None:
    """Move files and directories.

    Each source is deleted after its copy was checked.
    """
    recursive = recursive or not any(map(has_magic, sources))

    moved = set()

    def move(source: CloudFiles, dest: CloudFiles, found: Iterator[Route]) -> None:
        routes = list(found)
        source.moves(dest, [(route.path, route.target) for route in routes])
        if source._place(routes[0].path) != dest._place(routes[0].target):
            moved.add(routes[0].directory)

    _transfer(move, sources, destination, recursive, ends)
    for source in filter(is_on_disk, sources):
        if source in moved:  # a directory without its files may have links to others
            links = files_in(source, False, ends.reading)._endpoint()
            links.store.backend.remove_links(links.prefix)


def _transfer(
    function: Callable[[CloudFiles, CloudFiles, Iterator[Route]], None],
    sources: tuple[str, ...],
    destination: str,
    recursive: bool,
    ends: Ends,
    *,
    reencode: bool = False,
) -> None:
    """Call a function with the files of each directory; print the number for programs."""
    from cottoncandy.cloudfiles import CloudFiles

    if destination == "-":
        raise click.UsageError("only cp writes to the standard output")
    folder, name = _destination(destination, sources, recursive, ends.writing)
    dest = CloudFiles(folder, **ends.writing)
    failures, done = Failures(), 0
    literal = is_on_disk(folder) and not reencode
    search = Search(name, recursive, ends.reading, failures, dest._endpoint(), literal)
    distinct = sorted(set(sources))
    found = search.routes(distinct)
    if len(distinct) > 1:
        found = _apart(found, distinct, failures)
    try:
        for (directory, as_on_disk), items in groupby(found, attrgetter("directory", "as_on_disk")):
            count = itertools.count()
            with failures.noted():
                source = files_in(directory, as_on_disk, ends.reading)
                function(source, dest, (route for route, _ in zip(items, count)))  # noqa: B905 - count() is endless
                done += next(count)
    finally:
        if ends.as_json:
            print_json({"files": done + failures.done})
    failures.finish()


def _apart(found: Iterator[Route], sources: list[str], failures: Failures) -> Iterator[Route]:
    """Leave out files whose copies would replace those of other sources."""
    sharing = Counter(map(_first_part, sources))
    real = functools.lru_cache(os.path.realpath)
    taken: dict[str, str] = {}  # only of sources whose copies can meet: they may be millions
    for route in found:
        if sharing[route.target.partition("/")[0]] + sharing[""] < 2:
            yield route
            continue
        folder = route.directory.rstrip("/")
        known = folder if "://" in folder else real(folder or "/").rstrip("/")
        origin = f"{known}/{route.path}"
        if route.target not in taken:
            taken[route.target] = origin
            yield route
        elif (other := taken[route.target]) != origin:  # else it is copied already
            text = f"'{folder}/{route.path}' is left out, because the copy of '{other}'"
            failures.note(InvalidNameError(f"{text} has the same name"))


def _first_part(source: str) -> str:
    """Return what the names of all copies of a source begin with; ``''`` if they are many."""
    many = source == "-" or source.endswith("/") or has_magic(source) or is_relative(source)
    return "" if many else source.rpartition("/")[2]


def _destination(
    destination: str, sources: tuple[str, ...], recursive: bool, options: dict[str, Any]
) -> tuple[str, str]:
    """Return the directory of the copies, and the name of the copy in it; ``''`` is any name."""
    from cottoncandy.cloudfiles import CloudFiles

    many = len(sources) > 1 or sources == ("-",)
    pattern = has_magic(sources[0]) and not _is_file(sources[0], options)
    if many or pattern or destination.endswith("/") or CloudFiles(destination, **options).isdir():
        return destination, ""
    if recursive and not _is_file(sources[0], options):
        # The directory exists when the command continues.
        words = click.get_current_context().meta.get(WORDS, [*sources])
        last = len(words) - 1 - words[::-1].index(sources[0])
        words[last] = sources[0].rstrip("/") + "/"
        return destination, "."
    folder, _, name = destination.rpartition("/")
    if not name or folder.endswith(":/"):
        return destination, ""
    return folder or ("." if "/" not in destination else "/"), name


class Search(NamedTuple):
    """How the files to copy are found, and the names of the copies.

    Attributes
    ----------
    name : str
        Name of the copy of one file; ``''`` if the destination is a directory, which copies of
        directories go into with their own name; ``'.'`` if it is what a directory is copied to.
    recursive : bool
    options : dict
        Options of the sources' ``CloudFiles``.
    failures : Failures
        Gets the errors of sources, and the files that cannot be copied.
    dest : Endpoint, optional
        A directory that contains it cannot be copied: its listing would never end.
    literal : bool, default False
        Whether files on disk have the names that they have there; otherwise, the suffix of a
        content encoding is hidden.
    """

    name: str
    recursive: bool
    options: dict[str, Any]
    failures: Failures
    dest: Endpoint | None = None
    literal: bool = False

    def routes(self, sources: Iterable[str]) -> Iterator[Route]:
        """Yield the files to copy."""
        for source in sources:
            with self.failures.noted():
                yield from self._routes_of(source)

    def _routes_of(self, source: str) -> Iterator[Route]:
        from cottoncandy.cloudfiles import CloudFiles

        name, options = self.name, self.options
        folder, _, base = source.rstrip("/").rpartition("/")
        if source == "-":
            yield from _listed()
        elif not source.endswith("/") and _is_file(source, options):
            start, target = folder or _root(source), name if name not in ("", ".") else base
            yield Route(start, base, target, _is_one_of_several(CloudFiles(start, **options), base))
        elif has_magic(source):
            start, matches = split_pattern(source, self.recursive)
            as_on_disk = is_on_disk(source) and (self.literal or is_encoded(source))
            files = files_in(start, as_on_disk, options)
            found = _files(files, self.failures, _outside(self.dest, files, matches))
            yield from some((Route(start, path, path, as_on_disk) for path in found), source)
        elif self.recursive:
            contents = name == "." or source.endswith("/") or is_relative(source)
            below = "" if contents else base + "/"
            literal = self.literal and is_on_disk(source)
            files = files_in(source, literal, options)
            if self.dest is not None and files._endpoint().contains(self.dest):
                raise InvalidArgumentError(f"'{source}' cannot be copied or moved into itself")
            found = _files(files, self.failures, lambda path: True)
            yield from some((Route(source, path, below + path, literal) for path in found), source)
        elif CloudFiles(source, **options).isdir():
            raise InvalidArgumentError(f"'{source}' is a directory: pass -r")
        else:
            raise nothing_at(source)


def _outside(
    dest: Endpoint | None, files: CloudFiles, matches: Callable[[str], object]
) -> Callable[[str], object]:
    """Return what tells if a file matches and is not at the destination, where copies appear."""
    source = files._endpoint()
    if dest is None or not source.contains(dest):
        return matches
    start, end = (each.store.backend.resolve_links(each.prefix) for each in (source, dest))
    inside = (end or dest.prefix).removeprefix(start or source.prefix).strip("/") + "/"
    return lambda path: not path.startswith(inside) and matches(path)


def _files(
    files: CloudFiles, failures: Failures, matches: Callable[[str], object]
) -> Iterator[str]:
    """Yield the files that match, and note what else does."""
    yield from filter(matches, files)
    _note_unlisted(files, failures, matches)


def _note_unlisted(
    files: CloudFiles, failures: Failures, matches: Callable[[str], object] = lambda path: True
) -> None:
    """Note the files that cannot be copied."""
    endpoint = files._endpoint()
    for path, reason in endpoint.store.backend.unlisted(endpoint.prefix):
        if matches(path):
            text = f"not copied, because it is not an object: '{path}' ({reason})"
            failures.note(InvalidNameError(text))


def _listed() -> Iterator[Route]:
    """Yield the files of a list on the standard input, without its directories on this computer."""
    listed = (re.sub(r"^(\./+)+(?=.)", "", each) for each in standard_input())
    names = [each for each in listed if "://" in each or not Path(each).is_dir()]
    common = posixpath.commonprefix([each.split("/")[:-1] for each in names])
    folder = "/".join(common)
    if any("://" in each for each in names) and len(common) < 3:
        raise InvalidArgumentError("the list names files of several buckets; copy each separately")
    for each in sorted(names):
        path = each.removeprefix(folder).removeprefix("/")
        yield Route(folder or _root(each), path, path)


def _is_file(location: str, options: dict[str, Any]) -> bool:
    from cottoncandy.cloudfiles import CloudFiles

    folder, _, name = location.rpartition("/")
    if not name or folder.endswith(":/") or is_relative(location):
        return False
    return bool(CloudFiles(folder or _root(location), **options).exists(name))


def _is_one_of_several(files: CloudFiles, name: str) -> bool:
    """Return whether a file on disk has its name next to others, with content encodings."""
    from cottoncandy.backends.local.files import stat_variants

    found = stat_variants(f"{files._path.path}/{name}") if files.protocol == "file" else {}
    return len(found) > 1 and None in found


def _root(location: str) -> str:
    return "/" if location.startswith("/") else "."


@click.group()
def xfer() -> None:
    """Copy millions of files, and continue after a kill.

    Call init once, then execute. Several processes of this computer may execute one transfer.
    """


@xfer.command(name="init")
@click.argument("source", type=LOCATION)
@click.argument("destination", type=LOCATION)
@_COMPRESSION
@click.option("--db", required=True, type=click.Path(dir_okay=False), help="File to create.")
@click.option(
    "--txt",
    type=click.File(encoding="utf-8", errors="surrogateescape"),
    help="Paths below SOURCE, one a line.",
)
@JSON
@ENDPOINT
def init(
    source: str,
    destination: str,
    compression: str,
    db: str,
    txt: TextIO | None,
    as_json: bool,
    endpoint_url: str | None,
) -> None:
    """List the files below SOURCE into a file."""
    from cottoncandy.cloudfiles import CloudFiles, ResumableTransfer

    paths = None if txt is None else filter(None, (line.rstrip("\r\n") for line in txt))
    with ResumableTransfer(db, endpoint=endpoint_url) as job:
        job.init(source, destination, paths, None if compression == "same" else compression)
        if not (count := len(job)):
            raise nothing_at(source)
    if as_json:
        print_json({"files": count})
    click.echo(f"{count} files to transfer; next: cottoncandy xfer execute {db}", err=True)
    if txt is None:
        failures = Failures()
        _note_unlisted(CloudFiles(source, endpoint=endpoint_url), failures)
        failures.finish()


@xfer.command()
@click.argument("db", type=click.Path(dir_okay=False))
@PROGRESS
@click.option("--lease-msec", default=0, help="How long others leave files to this process.")
@click.option("-b", "--block-size", default=200, show_default=True, help="Files to lease at once.")
@JSON
@ENDPOINT
@click.pass_context
def execute(
    ctx: click.Context,
    db: str,
    progress: bool,
    lease_msec: int,
    block_size: int,
    as_json: bool,
    endpoint_url: str | None,
) -> None:
    """Copy the files that are listed in DB.

    DB is removed when all are copied. Run it again to continue after an interruption.
    """
    from cottoncandy.cloudfiles import ResumableTransfer

    with ResumableTransfer(db, lease_msec=lease_msec, endpoint=endpoint_url) as job:
        copied = job.execute(progress=progress, block_size=block_size)
        errors = job.errors()
    if as_json:
        print_json({"copied": copied, "errors": errors})
    for error in errors.values():
        click.echo(printable(f"cottoncandy: {in_words(error)}"), err=True)
    click.echo(f"{copied} files copied", err=True)
    ctx.exit(1 if errors else 0)
