"""Commands on options and servers."""

from __future__ import annotations

from dataclasses import asdict

import click

from cottoncandy.cli.locations import LOCATION, Connection, connected, print_json
from cottoncandy.core.output import printable

__all__ = ["alias", "doctor"]


@click.command()
@click.argument("location", type=LOCATION)
@click.option("--json", "as_json", is_flag=True, help="Print for programs.")
@connected
@click.pass_context
def doctor(ctx: click.Context, connection: Connection, location: str, as_json: bool) -> None:
    """Try what a store can do, and print where each option comes from.

    Objects are created below one scratch prefix only, and removed. The exit status is 1 if listing,
    reading, writing or deleting does not work.
    """
    from cottoncandy.core.names import prefix_of
    from cottoncandy.stores.doctor import examine

    store, name = connection.store(location)
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
        click.echo(printable(str(report)).replace("\\x0a", "\n"))
        for option in report.options:
            click.echo(f"option  {option.name}: from {printable(option.source)}")
    ctx.exit(0 if report.usable else 1)


@click.group()
def alias() -> None:
    """Name the beginning of a URL: ``alias add lab s3://https://s3.example.org/``."""


@alias.command(name="add")
@click.argument("name")
@click.argument("url")
def add_alias(name: str, url: str) -> None:
    """Use NAME:// for URL."""
    from cottoncandy.cloudfiles.paths import add_persistent_alias

    add_persistent_alias(name, url)


@alias.command(name="ls")
def list_aliases() -> None:
    """List all aliases."""
    from cottoncandy.stores.urls import mask, read_aliases

    for name, url in sorted(read_aliases().items()):
        click.echo(printable(f"{name}:// {mask(url)}"))


@alias.command(name="rm")
@click.argument("name")
def remove_alias(name: str) -> None:
    """Remove an alias."""
    from cottoncandy.cloudfiles.paths import remove_persistent_alias
    from cottoncandy.exceptions import InvalidArgumentError
    from cottoncandy.stores.urls import read_aliases

    if name not in read_aliases():
        raise InvalidArgumentError(f"there is no alias {name!r}")
    remove_persistent_alias(name)
