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
from dataclasses import dataclass, field
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
        sources: tuple[str, ...],
        destination: str,
        recursive: bool,
        progress: bool,
        part_bytes: int,
        no_sign_request: bool,
        endpoint_url: str | None,
        as_json: bool,
        **arguments: Any,
    ) -> None:
        if not sources:  # click gives a single location to the last argument
            raise click.UsageError("Missing argument 'DESTINATION'.")
        parallel = click.get_current_context().obj
        options = {"progress": progress, "endpoint": endpoint_url, "parallel": parallel}
        reading = options | {"no_sign_request": no_sign_request}
        writing = options | {"composite_upload_threshold": part_bytes}
        call = Call(sources, destination, recursive, as_json, reading, writing)
        command(call, **arguments)

    return wrapped


@click.command()
@_transferring
@click.option("-r", "--recursive", is_flag=True, help="Directories, too.")
@_COMPRESSION
@click.option("--resumable", is_flag=True, help="Skip files whose copy exists and is not older.")
def cp(call: Call, compression: str, resumable: bool) -> None:
    """Copy files.

    The source - reads names from the standard input, the destination - writes contents to the
    standard output.
    """
    if not resumable:
        words = click.get_current_context().meta.get(WORDS, ["cp"])
        words.insert(words.index("cp") + 1, "--resumable")
    if call.destination == "-":
        if call.as_json:
            raise click.UsageError("--json and the destination - both write to the standard output")
        for route in call.routes(call.sources):
            with call.failures.noted():
                files = files_in(route.directory, route.as_on_disk, call.reading)
                content = files.get(route.path)
                if content is None:
                    text = f"there is no file '{route.path}' in {route.directory}"
                    raise ObjectNotFoundError(text)
                write_bytes(content)
        call.failures.finish()
        return

    def copy(source: CloudFiles, dest: CloudFiles, found: Iterator[Route]) -> None:
        source.transfer_to(
            dest,
            ({"path": route.path, "dest_path": route.target} for route in found),
            reencode=None if compression == "same" else compression,
            resumable=resumable,
        )

    call.run(copy, reencode=compression != "same")


@click.command()
@_transferring
@click.option("-r", "--recursive", is_flag=True, help="Directories that match patterns, too.")
def mv(call: Call) -> None:
    """Move files and directories.

    Each source is deleted after its copy was checked.
    """
    call.recursive = call.recursive or not any(map(has_magic, call.sources))
    moved = set()

    def move(source: CloudFiles, dest: CloudFiles, found: Iterator[Route]) -> None:
        routes = list(found)
        source.moves(dest, [(route.path, route.target) for route in routes])
        if source._place(routes[0].path) != dest._place(routes[0].target):
            moved.add(routes[0].directory)

    call.run(move)
    for source in filter(is_on_disk, call.sources):
        if source in moved:  # a directory without its files may have links to others
            links = files_in(source, False, call.reading)._endpoint()
            links.store.backend.remove_links(links.prefix)


@dataclass
class Call:
    """One call of ``cp`` or ``mv``: where the files are, and where their copies go.

    Parameters
    ----------
    sources : tuple of str
    destination : str
    recursive, as_json : bool
    reading, writing : dict
        Options of ``CloudFiles`` at both ends.
    failures : Failures
        Gets the errors of sources, and the files that cannot be copied.
    name : str
        Name of the copy of one file; ``''`` if the destination is a directory, which copies of
        directories go into with their own name; ``'.'`` if it is what a directory is copied to.
    dest : Endpoint, optional
        A directory that contains it cannot be copied: its listing would never end.
    literal : bool, default False
        Whether files on disk have the names that they have there; otherwise, the suffix of a
        content encoding is hidden.
    """

    sources: tuple[str, ...]
    destination: str
    recursive: bool
    as_json: bool
    reading: dict[str, Any]
    writing: dict[str, Any]
    failures: Failures = field(default_factory=Failures)
    name: str = ""
    dest: Endpoint | None = None
    literal: bool = False

    def run(
        self,
        function: Callable[[CloudFiles, CloudFiles, Iterator[Route]], None],
        *,
        reencode: bool = False,
    ) -> None:
        """Call a function with the files of each directory; print the number for programs."""
        if self.destination == "-":
            raise click.UsageError("only cp writes to the standard output")
        folder, self.name = self._folder_and_name()
        dest = files_in(folder, False, self.writing)
        self.dest, self.literal = dest._endpoint(), is_on_disk(folder) and not reencode
        failures, done, distinct = self.failures, 0, sorted(set(self.sources))
        found = self.routes(distinct)
        if len(distinct) > 1:
            found = _apart(found, distinct, failures)
        try:
            for place, items in groupby(found, attrgetter("directory", "as_on_disk")):
                count = itertools.count()
                with failures.noted():
                    source = files_in(*place, self.reading)
                    function(source, dest, (route for route, _ in zip(items, count)))  # noqa: B905 - count() is endless
                    done += next(count)
        finally:
            if self.as_json:
                print_json({"files": done + failures.done})
        failures.finish()

    def _folder_and_name(self) -> tuple[str, str]:
        """Return the directory of the copies, and the ``name``."""
        source, destination = self.sources[0], self.destination
        many = len(self.sources) > 1 or source == "-"
        pattern = has_magic(source) and not self._is_file(source)
        into = many or pattern or destination.endswith("/")
        if into or files_in(destination, False, self.writing).isdir():
            return destination, ""
        if self.recursive and not self._is_file(source):
            # The directory exists when the command continues.
            words = click.get_current_context().meta.get(WORDS, [*self.sources])
            last = len(words) - 1 - words[::-1].index(source)
            words[last] = source.rstrip("/") + "/"
            return destination, "."
        folder, _, name = destination.rpartition("/")
        if not name or folder.endswith(":/"):
            return destination, ""
        return folder or ("." if "/" not in destination else "/"), name

    def routes(self, sources: Iterable[str]) -> Iterator[Route]:
        """Yield the files to copy."""
        for source in sources:
            with self.failures.noted():
                yield from self._routes_of(source)

    def _routes_of(self, source: str) -> Iterator[Route]:
        folder, _, base = source.rstrip("/").rpartition("/")
        if source == "-":
            yield from _listed()
        elif not source.endswith("/") and self._is_file(source):
            start = folder or _root(source)
            target = base if self.name in ("", ".") else self.name
            several = _is_one_of_several(files_in(start, False, self.reading), base)
            yield Route(start, base, target, several)
        elif has_magic(source):
            start, matches = split_pattern(source, self.recursive)
            literal = is_on_disk(source) and (self.literal or is_encoded(source))
            files = files_in(start, literal, self.reading)
            found = self._found(files, self._outside(files, matches))
            yield from some((Route(start, path, path, literal) for path in found), source)
        elif self.recursive:
            contents = self.name == "." or source.endswith("/") or is_relative(source)
            below = "" if contents else base + "/"
            literal = self.literal and is_on_disk(source)
            files = files_in(source, literal, self.reading)
            if self.dest is not None and files._endpoint().contains(self.dest):
                raise InvalidArgumentError(f"'{source}' cannot be copied or moved into itself")
            found = self._found(files, lambda path: True)
            yield from some((Route(source, path, below + path, literal) for path in found), source)
        elif files_in(source, False, self.reading).isdir():
            raise InvalidArgumentError(f"'{source}' is a directory: pass -r")
        else:
            raise nothing_at(source)

    def _outside(
        self, files: CloudFiles, matches: Callable[[str], object]
    ) -> Callable[[str], object]:
        """Return what tells if a file matches, and is not where copies appear."""
        source, dest = files._endpoint(), self.dest
        if dest is None or not source.contains(dest):
            return matches
        start, end = (each.store.backend.resolve_links(each.prefix) for each in (source, dest))
        inside = (end or dest.prefix).removeprefix(start or source.prefix).strip("/") + "/"
        return lambda path: not path.startswith(inside) and matches(path)

    def _found(self, files: CloudFiles, matches: Callable[[str], object]) -> Iterator[str]:
        """Yield the files that match, and note what else does."""
        yield from filter(matches, files)
        _note_unlisted(files, self.failures, matches)

    def _is_file(self, location: str) -> bool:
        folder, _, name = location.rpartition("/")
        if not name or folder.endswith(":/") or is_relative(location):
            return False
        return bool(files_in(folder or _root(location), False, self.reading).exists(name))


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
