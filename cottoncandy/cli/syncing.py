"""``sync``: make one place a copy of another."""

from __future__ import annotations

import posixpath
from collections import deque
from dataclasses import asdict
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import click

from cottoncandy.cli.locations import (
    JSON,
    LOCATION,
    Connection,
    connected,
    is_on_disk,
    nothing_at,
    print_json,
)
from cottoncandy.core.output import printable
from cottoncandy.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from cottoncandy.transfer.entries import Endpoint
    from cottoncandy.transfer.sync import SyncReport

_THREADS = 16  # files at once


@click.command()
@click.argument("source", type=LOCATION)
@click.argument("destination", type=LOCATION)
@click.option("-r", "--recursive", is_flag=True, hidden=True, expose_value=False)  # it always is
@click.option("--delete", is_flag=True, help="Delete what the source does not have.")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be done.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Only these paths.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Neither copy nor delete these.")
@click.option(
    "--max-delete", type=click.IntRange(0), metavar="N", help="Delete nothing if it would be more."
)
@click.option("--checksum", is_flag=True, help="Compare contents, not sizes and times.")
@click.option(
    "--retries", type=click.IntRange(0), metavar="N", help="How often to repeat a copy, at most."
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=_THREADS,
    show_default=True,
    help="Files to transfer at once.",
)
@JSON
@connected
def sync(
    connection: Connection,
    source: str,
    destination: str,
    dry_run: bool,
    retries: int | None,
    threads: int,
    as_json: bool,
    **rules: Any,
) -> None:
    """Make DESTINATION a copy of SOURCE, in a store or on disk.

    A file is copied if its size differs, or if the one at the destination is older. Run it again to
    continue after an interruption.
    """
    from cottoncandy.transfer.sync import Rules, SyncReport, synchronize

    report = SyncReport(dry_run=dry_run)
    try:
        synchronize(
            _endpoint(connection, source),
            _endpoint(connection, destination),
            Rules(**rules),
            report,
            threads=threads,
            retries=retries,
        )
    finally:
        if as_json:
            actions = [step._asdict() for step in report.actions]
            print_json({**asdict(report), "actions": actions})
    if not as_json:
        for step in report.actions:
            click.echo(printable(f"{step.verb:7} {step.path} ({step.reason})"))
        click.echo(str(report), err=not dry_run)
    click.get_current_context().exit(1 if report.left_out else 0)


def compare(
    connection: Connection, source: str, dest: str, only_matching: bool, as_json: bool
) -> int:
    """Print the differences of two locations; return the exit status."""
    from cottoncandy.transfer import sync

    places = [connection.one_of_two(location).file(location) for location in (source, dest)]
    report = sync.SyncReport(dry_run=True)
    files = [store.has_object(name) for store, name in places]
    if any(files) and not all(files):
        raise InvalidArgumentError(
            "only one of the two is a file; compare two files, or two directories"
        )
    if all(files):
        ends = ((store.backend, store.backend.head(name)) for store, name in places)
        deque(report.noting([sync.compare(*ends, path=source, read=True)]), 0)
    else:
        rules = sync.Rules(delete=True, checksum=True)
        here, there = (_existing(connection, location) for location in (source, dest))
        sync.check_apart(here, there, rules)
        deque(report.noting(sync.plan(here, there, rules, threads=_THREADS)), 0)
        sync.note_left_out(here, rules, report)
        for number, location in enumerate((source, dest)):
            if is_on_disk(location):
                _compare_encoded(report, number, here, there)
    words = {"copy": "only in the source", "delete": "only in the copy", "replace": "different"}
    shown = [
        (step.path, words[step.verb])
        for step in report.actions
        if step.verb == "replace" or not only_matching
    ]
    if as_json:
        print_json({"same": report.skipped, "different": dict(shown)})
    else:
        for path, text in shown:
            click.echo(printable(f"{text}: {path}"))
        click.echo(f"the same: {report.skipped}, different: {len(shown)}", err=True)
    return 1 if shown or report.left_out else 0


def _compare_encoded(report: SyncReport, disk: int, *ends: Endpoint) -> None:
    """Compare what ``cp`` stored on a disk under another name: ``info``, in gzip, as ``info.gz``.

    ``disk`` is the number of that end.
    """
    from cottoncandy.backends.local.files import SUFFIXES
    from cottoncandy.core.threads import map_threads
    from cottoncandy.transfer.sync import Step, compare

    encodings = {suffix: encoding for encoding, suffix in SUFFIXES.items() if encoding}
    found: dict[tuple[str, str], Step] = {(step.verb, step.path): step for step in report.actions}
    own, other = ("copy", "delete")[:: -1 if disk else 1]  # what only one of the ends has

    def compared(path: str) -> Step | None:
        name, suffix = posixpath.splitext(path)
        if suffix not in encodings or (other, name) not in found:
            return None
        paths = (name, path) if disk else (path, name)
        pair = [
            (end.store.backend, end.store.backend.head(end.key(each)))
            for end, each in zip(ends, paths, strict=True)
        ]
        is_copy = pair[not disk][1].content_encoding == encodings[suffix]
        return compare(*pair, path=name, read=True) if is_copy else None

    paths = [path for verb, path in found if verb == own]
    for path, step in zip(paths, map_threads(compared, paths, _THREADS), strict=True):
        if step is not None:
            del found[own, path], found[other, step.path]
            found[step.verb, step.path] = step
            report.note(step)
    steps = (step for step in found.values() if step.verb != "skip")
    report.actions = sorted(steps, key=attrgetter("path"))


def _existing(connection: Connection, location: str) -> Endpoint:
    """Return the endpoint of a directory; raise if there is none."""
    endpoint = _endpoint(connection, location)
    if not endpoint.exists() or (endpoint.prefix and next(endpoint.entries(), None) is None):
        raise nothing_at(location)
    return endpoint


def _endpoint(connection: Connection, location: str) -> Endpoint:
    from cottoncandy.core.names import prefix_of
    from cottoncandy.transfer.entries import Endpoint

    connection = connection.one_of_two(location)
    if is_on_disk(location) and not connection.encrypted:
        return Endpoint.of(location)
    store, prefix = connection.store(location)
    return Endpoint(store, prefix_of(prefix))
