"""Commands on options and servers."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import click

from cottoncandy.cli.locations import (
    JSON,
    JSON_ACCEPTED,
    LOCATION,
    WORDS,
    Connection,
    connected,
    in_words,
    print_json,
)
from cottoncandy.core.output import printable


@click.command()
@click.argument("location", type=LOCATION)
@JSON
@connected
@click.pass_context
def doctor(ctx: click.Context, connection: Connection, location: str, as_json: bool) -> None:
    """Try what a store can do, and print the source of each option.

    Objects are created below one scratch prefix only, and removed. The exit status is 1 if listing,
    reading, writing or deleting does not work.
    """
    from cottoncandy.core.names import prefix_of
    from cottoncandy.stores.doctor import examine

    store, name = connection.store(location)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # remove the scratch objects first
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    report = examine(store, prefix_of(name))
    if as_json:
        print_json(
            {
                "usable": report.usable,
                "checks": [asdict(check) for check in report.checks],
                "options": [asdict(option) for option in report.options],
            }
        )
    else:
        for line in str(report).split("\n"):
            click.echo(printable(in_words(line)))
        for source in dict.fromkeys(option.source for option in report.options):
            names = (option.name for option in report.options if option.source == source)
            click.echo(f"options from {printable(source)}: {', '.join(names)}")
    ctx.exit(0 if report.usable else 1)


@click.command()
@click.argument("location", type=LOCATION)
@click.argument("copy", type=LOCATION, required=False)
@click.option("-m", "--only-matching", is_flag=True, help="Compare the files that both have.")
@click.option("-v", "--verbose", "--md5", is_flag=True, hidden=True, expose_value=False)
@click.option("--part-size", "--multipart-threshold", hidden=True, expose_value=False)
@click.option("--subset", metavar="PERCENT", help="Read a share only, the same one each time.")
@click.option(
    "--max-duration", type=click.FloatRange(0), metavar="SECONDS", help="Stop after that time."
)
@click.option("--after", default="", metavar="NAME", help="Begin after that name, to continue.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Objects to read at once; default: the option threads.",
)
@JSON
@connected
def verify(
    connection: Connection,
    location: str,
    copy: str | None,
    only_matching: bool,
    subset: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print what is damaged, missing or left over.

    Everything below the location is read. With COPY, compare the files below both by their
    checksums, or by reading them.
    """
    from cottoncandy.transfer.verify import Fault, VerifyReport, verify_store

    ctx = click.get_current_context()

    def show(fault: Fault) -> None:
        if not as_json:
            click.echo(printable(f"{fault.kind}: {fault.name}: {in_words(fault.text)}"))

    if copy is not None:
        from cottoncandy.cli.syncing import compare

        ctx.exit(compare(connection, location, copy, only_matching, as_json))
    store, name = connection.store(location, named=None)
    report = VerifyReport()
    try:
        verify_store(store, name, subset=_share(subset), found=show, report=report, **options)
    except KeyboardInterrupt:
        words = ctx.meta[WORDS]  # after "--", there are only locations
        place = words.index("--") if "--" in words else len(words)
        words[place:place] = ["--after", report.position]
        raise
    if as_json:
        print_json({**asdict(report), "ok": report.ok})
    else:
        click.echo(printable(str(report).splitlines()[-1]), err=True)
        if not report.complete:
            click.echo(f"to continue: --after {report.position!r}", err=True)
    ctx.exit(0 if report.ok else 1)


def _share(text: str | None) -> float:
    with suppress(ValueError):
        share = 1.0 if text is None else float(text.removesuffix("%")) / 100
        if 0 < share <= 1:
            return share
    raise click.BadParameter(f"must be a percentage such as 5%, got {text!r}")


@click.group()
def alias() -> None:
    """Give the beginning of a URL a short name.

    After "alias add lab s3://https://s3.example.org/", lab://bucket is a location.
    """


@alias.command(name="add")
@click.argument("name")
@click.argument("url")
@JSON_ACCEPTED
def add_alias(name: str, url: str) -> None:
    """Use NAME:// for URL."""
    from cottoncandy.cloudfiles.paths import add_persistent_alias

    add_persistent_alias(name, url)


@alias.command(name="ls")
@JSON
def list_aliases(as_json: bool) -> None:
    """List all aliases."""
    from cottoncandy.stores.urls import mask, read_aliases

    found = {name: mask(url) for name, url in sorted(read_aliases().items())}
    if as_json:
        print_json(found)
        return
    for name, url in found.items():
        click.echo(printable(f"{name}:// {url}"))


@alias.command(name="rm")
@click.argument("name")
@JSON_ACCEPTED
def remove_alias(name: str) -> None:
    """Remove an alias."""
    from cottoncandy.cloudfiles.paths import remove_persistent_alias
    from cottoncandy.exceptions import InvalidArgumentError
    from cottoncandy.stores.urls import read_aliases

    if name not in read_aliases():
        raise InvalidArgumentError(f"there is no alias {name!r}")
    remove_persistent_alias(name)
