"""``cp`` and ``mv``: which file goes where, by the rules of fsspec and the shell.

=====================  ===========================  ==================================
source                 destination                  result
=====================  ===========================  ==================================
file                   name                         ``name``
file                   ``dir/``, or an existing     ``dir/file``
                       directory
directory (``-r``)     existing directory           ``dest/directory/...``
``directory/`` (-r)    existing directory           ``dest/...``
directory (``-r``)     new name                     ``name/...``
pattern, several       directory                    ``dest/...``, each by the rules above
=====================  ===========================  ==================================
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cottoncandy.cli.locations import LOCATION, write_bytes
from cottoncandy.core.names import has_magic
from cottoncandy.exceptions import InvalidArgumentError, ObjectNotFoundError

if TYPE_CHECKING:
    pass

__all__ = ["cp", "mv", "routes"]


class Route(NamedTuple):
    """A file, and the name of its copy in the destination."""

    directory: str
    path: str
    target: str


@click.command()
@click.argument("sources", type=LOCATION, nargs=-1, required=True)
@click.argument("destination", type=LOCATION)
@click.option("-r", "--recursive", is_flag=True, help="Directories, too.")
@click.option(
    "-c",
    "--compression",
    default="same",
    type=click.Choice(["same", "none", "gzip", "br", "zstd", "bz2", "xz"]),
    show_default=True,
    help="Content encoding of the copies.",
)
@click.option("--progress", is_flag=True, help="Show a progress bar.")
@click.option("-b", "--block-size", default=128, show_default=True, help="Files in flight at most.")
@click.option(
    "--part-bytes", default=10**8, show_default=True, help="Upload larger files in parts."
)
@click.option("--no-sign-request", is_flag=True, help="Read the sources without credentials.")
@click.option("--resumable", is_flag=True, help="Skip files whose copy exists and is not older.")
@click.option("--endpoint-url", metavar="URL", help="Address of the S3 server.")
def cp(
    sources: tuple[str, ...],
    destination: str,
    recursive: bool,
    compression: str,
    progress: bool,
    block_size: int,
    part_bytes: int,
    no_sign_request: bool,
    resumable: bool,
    endpoint_url: str | None,
) -> None:
    """Copy files.

    The source - reads names from the standard input, the destination - writes contents to the
    standard output.
    """
    from cottoncandy.cloudfiles import CloudFiles

    options: dict[str, Any] = {"progress": progress, "endpoint": endpoint_url}
    reading = options | {"no_sign_request": no_sign_request}
    writing = options | {"composite_upload_threshold": part_bytes}
    if destination == "-":
        for route in routes(sources, "", recursive, reading):
            content = CloudFiles(route.directory, **reading).get(route.path)
            if content is None:
                raise ObjectNotFoundError(f"there is no file '{route.path}' in {route.directory}")
            write_bytes(content)
        return
    folder, name = _destination(destination, sources, recursive, writing)
    for directory, items in _by_directory(routes(sources, name, recursive, reading)):
        CloudFiles(directory, **reading).transfer_to(
            CloudFiles(folder, **writing),
            ({"path": route.path, "dest_path": route.target} for route in items),
            block_size=block_size,
            reencode=None if compression == "same" else compression,
            resumable=resumable,
        )


@click.command()
@click.argument("sources", type=LOCATION, nargs=-1, required=True)
@click.argument("destination", type=LOCATION)
@click.option("-r", "--recursive", is_flag=True, help="Directories, too.")
@click.option("--progress", is_flag=True, help="Show a progress bar.")
@click.option("-b", "--block-size", default=128, show_default=True, help="Files in flight at most.")
@click.option(
    "--part-bytes", default=10**8, show_default=True, help="Upload larger files in parts."
)
@click.option("--endpoint-url", metavar="URL", help="Address of the S3 server.")
def mv(
    sources: tuple[str, ...],
    destination: str,
    recursive: bool,
    progress: bool,
    block_size: int,
    part_bytes: int,
    endpoint_url: str | None,
) -> None:
    """Move files; each source is deleted after its copy was checked."""
    from cottoncandy.cloudfiles import CloudFiles

    options: dict[str, Any] = {"progress": progress, "endpoint": endpoint_url}
    writing = options | {"composite_upload_threshold": part_bytes}
    folder, name = _destination(destination, sources, recursive, writing)
    for directory, items in _by_directory(routes(sources, name, recursive, options)):
        CloudFiles(directory, **options).moves(
            CloudFiles(folder, **writing),
            [(route.path, route.target) for route in items],
            block_size=block_size,
        )


def _destination(
    destination: str, sources: tuple[str, ...], recursive: bool, options: dict[str, Any]
) -> tuple[str, str]:
    """Return the directory of the copies, and the name of the copy in it; ``''`` is any name."""
    from cottoncandy.cloudfiles import CloudFiles

    many = len(sources) > 1 or sources == ("-",) or any(map(has_magic, sources))
    if many or destination.endswith("/") or CloudFiles(destination, **options).isdir():
        return destination, ""
    if recursive and not _is_file(sources[0], options):
        return destination, "."
    folder, _, name = destination.rpartition("/")
    if not name or folder.endswith(":/"):
        return destination, ""
    return folder or ("." if "/" not in destination else "/"), name


def routes(
    sources: Iterable[str], name: str, recursive: bool, options: dict[str, Any]
) -> Iterator[Route]:
    """Yield the files to copy, and the names of the copies.

    Parameters
    ----------
    sources : iterable of str
    name : str
        Name of the copy of one file; ``''`` if the destination is a directory, which copies of
        directories go into with their own name; ``'.'`` if it is what a directory is copied to.
    recursive : bool
    options : dict
        Options of the sources' ``CloudFiles``.
    """
    from cottoncandy.cloudfiles import CloudFiles

    for source in _named(sources):
        if has_magic(source):
            yield from _matching(source, options)
            continue
        folder, _, base = source.rstrip("/").rpartition("/")
        if not source.endswith("/") and _is_file(source, options):
            yield Route(folder or _root(source), base, name if name not in ("", ".") else base)
            continue
        if not recursive:
            found = CloudFiles(source, **options).isdir()
            raise (InvalidArgumentError if found else ObjectNotFoundError)(
                f"'{source}' is a directory: pass -r" if found else f"there is no file '{source}'"
            )
        below = "" if name == "." or source.endswith("/") else base + "/"
        files = CloudFiles(source, **options)
        empty = True
        for path in files:
            empty = False
            yield Route(source, path, below + path)
        if empty:
            raise ObjectNotFoundError(f"there is nothing at '{source}'")


def _named(sources: Iterable[str]) -> Iterator[str]:
    for source in sources:
        if source == "-":
            yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        else:
            yield source


def _matching(pattern: str, options: dict[str, Any]) -> Iterator[Route]:
    """Yield the files that match a pattern: ``*`` does not match ``/``, ``**`` does."""
    from fsspec.utils import glob_translate

    from cottoncandy.cloudfiles import CloudFiles

    parts = pattern.split("/")
    first = next(number for number, part in enumerate(parts) if has_magic(part))
    folder = "/".join(parts[:first]) or _root(pattern)
    matches = re.compile(glob_translate("/".join(parts[first:]))).match
    found = False
    for path in CloudFiles(folder, **options):
        if matches(path):
            found = True
            yield Route(folder, path, path.rpartition("/")[2])
    if not found:
        raise ObjectNotFoundError(f"nothing matches '{pattern}'")


def _is_file(location: str, options: dict[str, Any]) -> bool:
    from cottoncandy.cloudfiles import CloudFiles

    folder, _, name = location.rpartition("/")
    if not name or folder.endswith(":/"):
        return False
    return bool(CloudFiles(folder or _root(location), **options).exists(name))


def _root(location: str) -> str:
    return "/" if location.startswith("/") else "."


def _by_directory(found: Iterable[Route]) -> Iterator[tuple[str, Iterator[Route]]]:
    """Group files by their directory, lazily: a million are never held in memory."""
    return groupby(found, key=attrgetter("directory"))
