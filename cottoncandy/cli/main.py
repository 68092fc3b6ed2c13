"""The command itself: its subcommands, its errors and its exit codes."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from typing import Any

import click

from cottoncandy import __version__
from cottoncandy.cli.locations import AWAITED, WORDS, print_error, print_json
from cottoncandy.config.sources import nearest
from cottoncandy.core.output import printable
from cottoncandy.exceptions import CottonCandyError

#: Subcommands of each module, which is imported when one of them runs.
_MODULES = {
    "arrays": ("clean", "info", "load", "preview", "restore", "rotate-keys", "save"),
    "config": ("alias", "doctor", "verify"),
    "copying": ("cp", "mv", "xfer"),
    "files": ("acl", "cat", "du", "head", "ls", "mkdir", "rm", "touch"),
    "syncing": ("sync",),
}
_COMMANDS = {name: module for module, names in _MODULES.items() for name in names}
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class _Commands(click.Group):
    """The subcommands; any error of the library becomes one line and exit status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"cottoncandy.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]  # click suggests only commands that are loaded
        if not (name in _COMMANDS or name.startswith("-") or ctx.resilient_parsing):
            ctx.fail(f"No such command {name!r}{nearest(name, _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115 - closed by the shell
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if error.option_name not in ("-p", "--parallel"):
                raise
            text = f"{error.format_message()} It comes before {ctx.invoked_subcommand!r}."
            raise click.UsageError(text, error.ctx) from None
        except BrokenPipeError:  # the reader of a pipe, such as head, has left
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - its flush at exit fails otherwise
            ctx.exit(1)
        except (CottonCandyError, OSError, UnicodeError, MemoryError) as error:
            text = print_error(error)
            if ctx.meta.get(AWAITED):
                print_json({"error": text})
            ctx.exit(1)
        except KeyboardInterrupt as interruption:
            done = "".join(f"; {note}" for note in getattr(interruption, "__notes__", ()))
            again = shlex.join(["cottoncandy", *ctx.meta[WORDS]])
            text = f"cottoncandy: interrupted{done}\nto continue: {again}"
            click.echo("\n" + "\n".join(map(printable, text.splitlines())), err=True)
            if ctx.meta.get(AWAITED):
                print_json({"error": "interrupted"})
            ctx.exit(_INTERRUPTED)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cottoncandy")
@click.option(
    "-p",
    "--parallel",
    type=click.IntRange(min=0, max=1000),
    default=1,
    help="Processes of cp, mv and rm; 0: one per core.",
)
@click.pass_context
def main(ctx: click.Context, parallel: int) -> None:
    """Arrays and files in the cloud.

    A LOCATION is a URL (s3://bucket/name, gs://, gdrive://, file:///path, https://) or a path on
    this computer. Credentials come from the options file, the environment and secrets files.
    """
    ctx.obj = parallel or os.cpu_count()
