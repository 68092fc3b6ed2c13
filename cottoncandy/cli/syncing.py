"""``sync``: make one place a copy of another."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cottoncandy.cli.locations import JSON, LOCATION, Connection, connected, is_on_disk, print_json
from cottoncandy.core.output import printable
from cottoncandy.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from cottoncandy.transfer.entries import Endpoint


@click.command()
@click.argument("source", type=LOCATION)
@click.argument("destination", type=LOCATION)
@click.option("--delete", is_flag=True, help="Delete what the source does not have.")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be done.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Only these paths.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Neither copy nor delete these.")
@click.option("--max-delete", type=int, metavar="N", help="Delete nothing if it would be more.")
@click.option("--checksum", is_flag=True, help="Compare contents, not sizes and times.")
@click.option("--retries", type=int, metavar="N", help="How often to repeat a copy, at most.")
@click.option("--threads", default=16, show_default=True, help="Files to transfer at once.")
@JSON
@connected
def sync(
    connection: Connection,
    source: str,
    destination: str,
    delete: bool,
    dry_run: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    max_delete: int | None,
    checksum: bool,
    retries: int | None,
    threads: int,
    as_json: bool,
) -> None:
    """Make DESTINATION a copy of SOURCE, in a store or on disk.

    A file is copied if its size differs, or if the one at the destination is older. Run it again to
    continue after an interruption.
    """
    from cottoncandy.transfer.sync import make_rules, synchronize

    report = synchronize(
        _endpoint(connection, source),
        _endpoint(connection, destination),
        make_rules(delete, checksum, include, exclude),
        threads=threads,
        dry_run=dry_run,
        max_delete=max_delete,
        retries=retries,
        progress=None,
    )
    if as_json:
        print_json(asdict(report))
    else:
        for step in report.actions:
            click.echo(printable(f"{step.verb:7} {step.path} ({step.reason})"))
        click.echo(str(report), err=not dry_run)
    click.get_current_context().exit(1 if report.left_out else 0)


def compare(
    connection: Connection, source: str, dest: str, only_matching: bool, as_json: bool
) -> int:
    """Print the differences of two locations, as ``cp`` names their files; return the status."""
    from cottoncandy.core.names import prefix_of
    from cottoncandy.transfer import sync
    from cottoncandy.transfer.entries import Endpoint

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
        here, there = (Endpoint(store, prefix_of(name)) for store, name in places)
        report = sync.synchronize(here, there, rules, dry_run=True)
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
    return 1 if shown else 0


def _endpoint(connection: Connection, location: str) -> Endpoint:
    from cottoncandy.core.names import prefix_of
    from cottoncandy.transfer.entries import Endpoint

    connection = connection.one_of_two(location)
    if is_on_disk(location) and not connection.encrypted:
        return Endpoint.of(location)
    store, prefix = connection.store(location)
    return Endpoint(store, prefix_of(prefix))
