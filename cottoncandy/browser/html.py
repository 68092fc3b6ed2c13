"""The browser in notebooks: a tree of directories and arrays.

Names and metadata are untrusted: nothing reaches the page unescaped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeGuard, TypeVar, cast

from cottoncandy.browser.base import DirectoryListing
from cottoncandy.core.output import bytes2human, escape
from cottoncandy.core.threads import map_threads, run_threads
from cottoncandy.exceptions import CottonCandyError

if TYPE_CHECKING:
    from cottoncandy.backends.base import ObjectInfo
    from cottoncandy.browser.datasets import S3Dataset
    from cottoncandy.browser.directories import S3Directory

T = TypeVar("T")

_MAX_ROWS = 100  # of one directory
_MAX_LISTINGS = 20  # directories listed below the one that is shown
_MAX_DEPTH = 3
_MAX_HEADS = 100  # objects whose headers are fetched
_MAX_MANIFEST_BYTES = 256 * 1024
_THREADS = 16

_STYLE = """
.cc-browser{font:13px/1.5 system-ui,sans-serif;max-width:68em;overflow-x:auto}
.cc-browser .cc-head{display:flex;gap:.6em;align-items:baseline;padding:.2em .3em;
border-bottom:1px solid rgba(128,128,128,.4);font-weight:600;min-width:50em}
.cc-browser .cc-row,.cc-browser summary{display:flex;gap:.6em;align-items:baseline;
padding:.1em .3em;border-radius:3px;min-width:50em;box-sizing:border-box}
.cc-browser .cc-row:hover,.cc-browser summary:hover{background:rgba(128,128,128,.15)}
.cc-browser summary{cursor:pointer;list-style:none}
.cc-browser summary::-webkit-details-marker{display:none}
.cc-browser summary .cc-name::before{content:"\\25B8";display:inline-block;width:1.1em;opacity:.6}
.cc-browser details[open]>summary .cc-name::before{content:"\\25BE"}
.cc-browser .cc-row .cc-name::before{content:"";display:inline-block;width:1.1em}
.cc-browser .cc-level{margin-left:.55em;padding-left:.55em;
border-left:1px solid rgba(128,128,128,.3)}
.cc-browser .cc-name{flex:1 1 14em;min-width:0;white-space:pre-wrap;overflow-wrap:anywhere;
text-align:left}
.cc-browser .cc-shape{flex:0 0 12em;font-family:ui-monospace,monospace;text-align:right}
.cc-browser .cc-dtype{flex:0 0 6.5em;font-family:ui-monospace,monospace}
.cc-browser .cc-size{flex:0 0 6em;text-align:right}
.cc-browser .cc-codec{flex:0 0 4.5em}
.cc-browser .cc-modified{flex:0 0 9.5em;opacity:.75;font-variant-numeric:tabular-nums}
.cc-browser .cc-note{opacity:.65;font-style:italic;padding:.1em .3em .1em 1.4em}
.cc-browser .cc-count{opacity:.65;margin-left:.5em}
.cc-browser dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1em;margin:.5em .3em}
.cc-browser dd{margin:0;overflow-wrap:anywhere;font-family:ui-monospace,monospace}
"""

_COLUMNS = ("shape", "dtype", "size", "codec", "modified")


class Row(NamedTuple):
    """One row of a table, except for the name."""

    info: ObjectInfo | None
    shape: str = ""
    dtype: str = ""
    codec: str = ""
    note: str = ""


def _is_directory(node: S3Directory | S3Dataset) -> TypeGuard[S3Directory]:
    # Not isinstance: directories and datasets import this module.
    return node._is_directory


def directory_html(directory: S3Directory) -> str:
    """Return a directory as a tree, with a bounded number of requests."""
    levels = _collect_listings(directory)
    with_manifest = [
        shown
        for shown, level in levels.items()
        if level.manifest is not None and level.manifest.size <= _MAX_MANIFEST_BYTES
    ]
    _fetch(lambda each: each._array(), with_manifest)
    _fetch(lambda dataset: dataset.info, list(islice(_datasets(levels), _MAX_HEADS)))
    where = f"{directory.interface.bucket_name}/{directory._fullpath}"
    return _frame(where, _level_html(directory, levels))


def object_html(dataset: S3Dataset) -> str:
    """Return one object: its row and its metadata."""
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        for name, value in sorted(dataset.attrs.items())
    )
    where = f"{dataset.interface.bucket_name}/{dataset._fullpath}"
    row = _row_html(dataset._row(), dataset._name)
    return _frame(where, row + (f"<dl>{items}</dl>" if items else ""))


def _frame(where: str, body: str) -> str:
    titles = "".join(f'<span class="cc-{column}">{column}</span>' for column in _COLUMNS)
    return (
        f'<div class="cc-browser"><style>{_STYLE}</style>'
        f'<div class="cc-head">{_name(where)}{titles}</div>'
        f"{body}</div>"
    )


# -- fetching ------------------------------------------------------------------------------------


def _collect_listings(directory: S3Directory) -> dict[S3Directory, DirectoryListing]:
    """Return the listings to show: this directory, then those below it within a budget."""
    levels = {directory: directory._first_page(_MAX_ROWS)}
    edge = [directory]
    budget = _MAX_LISTINGS
    for _ in range(_MAX_DEPTH - 1):
        shown = (child for parent in edge for _, child in _rows(parent, levels[parent]))
        edge = list(islice(filter(_is_directory, shown), budget))
        budget -= len(edge)
        pages = map_threads(lambda each: each._first_page(_MAX_ROWS), edge, _THREADS)
        levels.update(zip(edge, pages, strict=True))
    return levels


def _rows(
    directory: S3Directory, level: DirectoryListing
) -> Iterator[tuple[str, S3Directory | S3Dataset]]:
    """Yield the name and the object of each row."""
    for entry in islice(level.entries.values(), _MAX_ROWS):
        yield entry.name, directory._child(entry)


def _datasets(levels: dict[S3Directory, DirectoryListing]) -> Iterator[S3Dataset]:
    """Yield the objects that have a row; the chunks of an array have none."""
    for shown, level in levels.items():
        if not shown._whole:
            for _, child in _rows(shown, level):
                if not _is_directory(child):
                    yield cast("S3Dataset", child)


def _fetch(ask: Callable[[T], object], nodes: Iterable[T]) -> None:
    """Ask for what is shown of some nodes; unreadable ones are shown without."""

    def fetch(node: T) -> None:
        with contextlib.suppress(CottonCandyError):
            ask(node)

    run_threads(fetch, nodes, _THREADS)


# -- rendering -----------------------------------------------------------------------------------


def _level_html(directory: S3Directory, levels: dict[S3Directory, DirectoryListing]) -> str:
    level = levels[directory]
    rows = []
    for name, child in _rows(directory, level):
        if _is_directory(child) and not child._whole:
            rows.append(_directory_row(child, name, levels))
        else:
            dataset = child._whole if _is_directory(child) else child
            rows.append(_row_html(cast("S3Dataset", dataset)._row(), name))
    if not level.complete:
        rows.append('<div class="cc-note">… and more: keys() lists all</div>')
    elif len(level.entries) > _MAX_ROWS:
        more = len(level.entries) - _MAX_ROWS
        rows.append(f'<div class="cc-note">… and {more:,} more: keys() lists all</div>')
    elif not rows:
        rows.append('<div class="cc-note">empty</div>')
    return "".join(rows)


def _directory_row(
    directory: S3Directory, name: str, levels: dict[S3Directory, DirectoryListing]
) -> str:
    cells = _cells(Row(directory._info))
    if directory not in levels:
        return f'<div class="cc-row">{_name(name + "/", "not listed yet")}{cells}</div>'
    level = levels[directory]
    many = f"{len(level.entries):,}{'' if level.complete else '+'}"
    shown = _name(name + "/", f"{many} {'key' if many == '1' else 'keys'}")
    return (
        f"<details><summary>{shown}{cells}</summary>"
        f'<div class="cc-level">{_level_html(directory, levels)}</div></details>'
    )


def _name(name: str, note: str = "") -> str:
    beside = f' <span class="cc-count">{note}</span>' if note else ""
    return f'<span class="cc-name"><bdi>{escape(name)}</bdi>{beside}</span>'


def _row_html(row: Row, name: str) -> str:
    return f'<div class="cc-row">{_name(name, row.note)}{_cells(row)}</div>'


def _cells(row: Row) -> str:
    size = date = ""
    info, shape, dtype, codec, _ = row
    if info is not None:
        size = bytes2human(info.size)
        date = "" if info.modified is None else f"{info.modified.astimezone():%Y-%m-%d %H:%M}"
    values = (shape, dtype, size, codec, date)
    return "".join(
        f'<span class="cc-{column}">{escape(value)}</span>'
        for column, value in zip(_COLUMNS, values, strict=True)
    )
