"""Commands on arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable
from errno import ENOSPC
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import click

from cottoncandy.cli.locations import (
    JSON,
    JSON_ACCEPTED,
    JSON_LINES,
    LOCATION,
    Connection,
    connected,
    nothing_at,
    print_json,
)
from cottoncandy.core.output import bytes2human, printable
from cottoncandy.exceptions import InvalidArgumentError, ObjectNotFoundError


@click.command()
@click.argument("location", type=LOCATION)
@JSON
@connected
def info(connection: Connection, location: str, as_json: bool) -> None:
    """Print dtype, shape, codec, sizes and metadata of an array."""
    from cottoncandy.arrays.description import array_info

    store, name = connection.store(location, named=True)
    found = array_info(store, store.key(name, tree=True))
    ratio = found.nbytes / found.stored_bytes if found.nbytes and found.stored_bytes else None
    parts = ("name", "kind", "dtype", "shape", "chunks", "codec", "nbytes", "stored_bytes")
    rows: dict[str, Any] = {key: getattr(found, key) for key in parts}
    rows["ratio"] = None if ratio is None else round(ratio, 2)
    rows |= {key: getattr(found, key) for key in ("checksum", "encrypted", "modified")}
    rows["metadata"] = dict(found.metadata)
    if as_json:
        print_json(rows)
        return
    for key in ("nbytes", "stored_bytes"):
        if rows[key] is not None:
            rows[key] = f"{rows[key]} ({bytes2human(rows[key])})"
    metadata = rows.pop("metadata")
    for key, value in rows.items():
        if value is not None:
            click.echo(f"{key.replace('_', ' '):13} {printable(str(value))}")
    for key, value in metadata.items():
        click.echo(f"{'metadata':13} {printable(f'{key}: {value}')}")


@click.command()
@click.argument("location", type=LOCATION)
@JSON
@connected
def preview(connection: Connection, location: str, as_json: bool) -> None:
    """Print statistics of an array and a small picture."""
    from cottoncandy.browser.preview import describe, statistics

    cci, name = connection.interface(location, named=True)
    if as_json:
        print_json(statistics(cci.array(name))[0])
    else:
        click.echo(describe(cci.array(name)))


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("location", type=LOCATION)
@JSON_ACCEPTED
@connected
def load(connection: Connection, file: Path, location: str) -> None:
    """Upload arrays from a .npy or .npz file.

    The arrays of a .npz file are stored below LOCATION.
    """
    import numpy as np

    cci, name = connection.interface(location, named=True)
    try:
        with file.open("rb") as stream:
            opened = np.load(stream, allow_pickle=False)
            opened = opened if isinstance(opened, np.ndarray) else dict(opened)
    except (ValueError, EOFError, BadZipFile):
        raise click.BadParameter(f"{file} is not a .npy or .npz file without objects") from None
    if isinstance(opened, dict) and not opened:
        raise click.BadParameter(f"{file} has no arrays, so nothing was uploaded")
    if isinstance(opened, np.ndarray):
        cci.upload_raw_array(name, opened)
    else:
        cci.dict2cloud(name, opened, verbose=False)
    click.echo(f"uploaded {printable(name)}", err=True)


@click.command()
@click.argument("location", type=LOCATION)
@click.argument("file", type=click.Path(path_type=Path))
@JSON_ACCEPTED
@connected
def save(connection: Connection, location: str, file: Path) -> None:
    """Download arrays to a .npy or .npz file.

    A .npy file has one array, a .npz file one or all arrays below LOCATION.
    """
    import numpy as np

    from cottoncandy.core.files import atomic_write

    if re.match(r"\w+:/", str(file)):
        raise click.BadParameter(
            "FILE is on this computer and comes last; load uploads a file, and cp copies an array"
        )
    if file.suffix not in (".npy", ".npz"):
        raise click.BadParameter(f"FILE must end with .npy or .npz, got '{file}'")
    cci, name = connection.interface(location, named=True)
    if file.suffix == ".npz":
        try:
            arrays = _flat(cci.cloud2dict(name, verbose=False))
        except ObjectNotFoundError:  # an array, not the prefix of some
            arrays = {name.rpartition("/")[2]: np.asarray(cci.array(name))}
        if not arrays:
            raise ObjectNotFoundError(f"there are no arrays below '{location}'")
        with atomic_write(file) as opened:
            np.savez(opened, **arrays)
    else:
        array = np.asarray(cci.array(name))
        with atomic_write(file) as opened:
            try:
                np.save(opened, array, allow_pickle=False)
            except OSError as error:  # after a short write, NumPy's has no number
                raise OSError(error.errno or ENOSPC, error.strerror, str(file)) from error
    click.echo(f"saved {file}", err=True)


@click.command()
@click.argument("location", type=LOCATION)
@click.option("--grace", default="1d", show_default=True, help="Keep younger parts.")
@click.option("--dry-run", is_flag=True, help="Print the names, and remove nothing.")
@JSON_LINES
@connected
def clean(connection: Connection, location: str, grace: str, dry_run: bool, as_json: bool) -> None:
    """Remove replaced versions and parts of killed uploads."""
    from cottoncandy.stores.checks import check_duration
    from cottoncandy.stores.finding import objects_at

    try:
        duration = check_duration(float(grace) if grace.isdecimal() else grace, "--grace")
    except InvalidArgumentError as error:
        raise click.BadParameter(str(error)) from None
    cci, name = connection.interface(location, named=True)
    names = cci.clean(name, grace=duration, dry_run=dry_run)
    if name and not names:
        store = cci._store
        if next(objects_at(store, store.key(name, tree=True)), None) is None:
            raise nothing_at(location)
    _print_names(names, as_json)


@click.command()
@click.argument("location", type=LOCATION)
@JSON_ACCEPTED
@connected
def restore(connection: Connection, location: str) -> None:
    """Make the replaced version of an array current again.

    A second call undoes that.
    """
    cci, name = connection.interface(location, named=True)
    cci.restore(name)
    click.echo(f"restored {printable(name)}", err=True)


@click.command(name="rotate-keys")
@click.argument("location", type=LOCATION)
@JSON_LINES
@connected
def rotate_keys(connection: Connection, location: str, as_json: bool) -> None:
    """Re-encrypt objects of old keys with the current one."""
    if not connection.encrypted:
        raise click.UsageError("pass --encryption AES or --encryption RSA")
    cci, name = connection.interface(location, named=True)
    _print_names(cci.rotate_keys(name), as_json)  # type: ignore[attr-defined]  # with --encryption


def _print_names(names: Iterable[str], as_json: bool) -> None:
    for name in names:
        if as_json:
            print_json({"name": name})
        else:
            click.echo(printable(name))


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    found = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{above}{name}/"))
        elif value is not None:  # which is what is not an array
            found[above + name] = value
    return found
