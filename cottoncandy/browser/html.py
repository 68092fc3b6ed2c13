"""The browser in notebooks: a tree of directories and arrays.

Names and metadata are untrusted: nothing reaches the page unescaped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cottoncandy.core.output import bytes2human, escape
from cottoncandy.core.threads import run_threads
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


def directory_html(directory: S3Directory) -> str:
    """Return a directory as a tree, with a bounded number of requests."""
    shown = _list_some(directory)
    manifests = ((each, each._manifest()) for each in shown)
    small = [each for each, info in manifests if info and info.size <= _MAX_MANIFEST_BYTES]
    _fetch(lambda each: each._array(), small)
    _fetch(lambda dataset: dataset.info, list(islice(_datasets(shown), _MAX_HEADS)))
    where = f"{directory.interface.bucket_name}/{directory._fullpath}"
    return _frame(where, _level_html(directory, shown))


def object_html(dataset: S3Dataset) -> str:
    """Return one object: its row and its metadata."""
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        for name, value in sorted(dataset.attrs.items())
    )
    where = f"{dataset.interface.bucket_name}/{dataset._fullpath}"
    return _frame(where, _row_html(dataset) + (f"<dl>{items}</dl>" if items else ""))


def _frame(where: str, body: str) -> str:
    titles = "".join(f'<span class="cc-{column}">{column}</span>' for column in _COLUMNS)
    return (
        f'<div class="cc-browser"><style>{_STYLE}</style>'
        f'<div class="cc-head">{_name(where)}{titles}</div>'
        f"{body}</div>"
    )


# -- fetching ------------------------------------------------------------------------------------


def _list_some(directory: S3Directory) -> list[S3Directory]:
    """List this directory, then those below it within a budget; return the listed ones."""
    directory._list(_MAX_ROWS)
    shown, edge = [directory], [directory]
    for _ in range(_MAX_DEPTH - 1):
        below = (child for parent in edge for child in _rows(parent) if child._is_directory)
        edge = list(islice(below, _MAX_LISTINGS + 1 - len(shown)))
        run_threads(lambda each: each._list(_MAX_ROWS), edge, _THREADS)
        shown += edge
    return shown


def _rows(directory: S3Directory) -> Iterator[S3Directory | S3Dataset]:
    """Yield the object of each row."""
    return islice(directory._list(_MAX_ROWS).values(), _MAX_ROWS)


def _datasets(shown: Iterable[S3Directory]) -> Iterator[S3Dataset]:
    """Yield the objects that have a row; the chunks of an array have none."""
    for directory in shown:
        if not directory._whole:
            yield from (child for child in _rows(directory) if not child._is_directory)


def _fetch(ask: Callable[[T], object], nodes: Iterable[T]) -> None:
    """Ask for what is shown of some nodes; unreadable ones are shown without."""

    def fetch(node: T) -> None:
        with contextlib.suppress(CottonCandyError):
            ask(node)

    run_threads(fetch, nodes, _THREADS)


# -- rendering -----------------------------------------------------------------------------------


def _level_html(directory: S3Directory, shown: Collection[S3Directory]) -> str:
    rows = [
        _directory_row(child, shown) if child._is_directory else _row_html(child)
        for child in _rows(directory)
    ]
    more = len(directory._list(_MAX_ROWS)) - _MAX_ROWS
    if not directory._complete:
        rows.append('<div class="cc-note">… and more: keys() lists all</div>')
    elif more > 0:
        rows.append(f'<div class="cc-note">… and {more:,} more: keys() lists all</div>')
    elif not rows:
        rows.append('<div class="cc-note">empty</div>')
    return "".join(rows)


def _directory_row(directory: S3Directory, shown: Collection[S3Directory]) -> str:
    if directory._whole:
        return _row_html(directory._whole)
    name, cells = directory._name + "/", _cells(Row(directory._info))
    if directory not in shown:
        return f'<div class="cc-row">{_name(name, "not listed yet")}{cells}</div>'
    many = f"{len(directory._list(_MAX_ROWS)):,}{'' if directory._complete else '+'}"
    title = _name(name, f"{many} {'key' if many == '1' else 'keys'}")
    return (
        f"<details><summary>{title}{cells}</summary>"
        f'<div class="cc-level">{_level_html(directory, shown)}</div></details>'
    )


def _name(name: str, note: str = "") -> str:
    beside = f' <span class="cc-count">{note}</span>' if note else ""
    return f'<span class="cc-name"><bdi>{escape(name)}</bdi>{beside}</span>'


def _row_html(dataset: S3Dataset) -> str:
    row = dataset._row()
    return f'<div class="cc-row">{_name(dataset._name, row.note)}{_cells(row)}</div>'


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
