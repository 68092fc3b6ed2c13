"""Output for people: printed lines, escaped names, sizes, progress bars."""

from __future__ import annotations

import codecs
import html
import re
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Self, TypeVar

from cottoncandy.core.threads import after_fork

T = TypeVar("T")

# Control characters, surrogates, and the marks that reverse the direction of text: they can hide
# what a name says, or act on the terminal.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB", "EB", "ZB")


def echo(*lines: str) -> None:
    """Print lines that a method's documentation promises; names in them are made printable."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        codecs.lookup(encoding)
    except LookupError:  # of a stream that is not Python's own
        encoding = "utf-8"
    for line in lines:
        # A name that the terminal's locale does not have must not end a transfer.
        text = printable(line).encode(encoding, "backslashreplace").decode(encoding)
        print(text)  # noqa: T201 - the documented output of interactive methods


def printable(text: str) -> str:
    r"""Return text with control characters and invisible marks escaped.

    Examples
    --------
    >>> print(printable("a\nb"))
    a\x0ab
    """
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def html_table(title: str, rows: Mapping[str, str], more: str = "") -> str:
    """Return a table for notebooks; texts are escaped, except those of ``more``."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left;overflow-wrap:anywhere'>{escape(value)}</td></tr>"
        for name, value in rows.items()
    )
    return (
        f"<div style='font:13px/1.5 system-ui,sans-serif'><b>{escape(title)}</b>"
        f"<table>{cells}</table>{more}</div>"
    )


def escape(text: str) -> str:
    """Return text for a page: without markup or invisible characters."""
    return html.escape(printable(text))


def bytes2human(nbytes: float) -> str:
    """Return a size for people, in powers of 1024.

    Parameters
    ----------
    nbytes : float
        Size in bytes.

    Returns
    -------
    text : str

    Examples
    --------
    >>> bytes2human(10 * 2**20)
    '10.00MB'
    """
    value = float(nbytes)
    for unit in _UNITS[:-1]:
        if abs(value) < 1024:
            return f"{value:.2f}{unit}"
        value /= 1024
    return f"{value:.2f}{_UNITS[-1]}"


#: Work that is done sooner than this shows no bar, in seconds.
DELAY_S = 1.0

_MAX_AHEAD = 100_000  # items that wait until the work has reached them


class Progress:
    """A bar over ``total`` units of work; it shows once the work has lasted a second.

    An interruption (Ctrl-C) carries a note that says what was done.

    Parameters
    ----------
    total : int, optional
        Units of work; None if unknown.
    unit : str
        ``"B"`` for bytes, else the noun of what is counted.
    label : str
        What is being done.
    show : bool, optional
        True: always; False: never; None: in terminals and notebooks only.
    """

    def __init__(
        self, total: int | None, *, unit: str, label: str, show: bool | None = None
    ) -> None:
        self._bar: Any = None
        self._counting = threading.Lock()
        self._done, self._total, self._unit, self._label = 0, total, unit, label
        if show is False or (show is None and not _is_interactive()):
            return
        # In a notebook without ipywidgets tqdm asks for them, and goes on to show its bar as text.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm

        self._bar = tqdm(
            total=total,
            unit=unit,
            unit_scale=unit == "B",
            unit_divisor=1024,
            desc=label,
            delay=DELAY_S,
            leave=False,
        )

    @property
    def shown(self) -> bool:
        """Whether there is a bar to move."""
        return self._bar is not None

    def update(self, units: int) -> None:
        """Count some more units as done; from any thread."""
        with self._counting:
            self._done += units
            if self._bar is not None:
                self._bar.update(units)

    def counted(
        self, items: Iterable[T], units: Callable[[T], int] = lambda item: 1
    ) -> Iterator[T]:
        """Yield items whose number is unknown; a bar that is shown runs ahead, to know the total.

        At most 100,000 items are held. Then the time left is that of the items seen so far.
        """
        if self._bar is None or self._total is not None:
            yield from items
            return
        waiting: deque[T] = deque()
        remaining = iter(items)
        while True:
            found = list(islice(remaining, 10 if len(waiting) < _MAX_AHEAD else 1))
            self._bar.total = (self._bar.total or 0) + sum(map(units, found))
            waiting.extend(found)
            if not waiting:
                return
            yield waiting.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, *rest: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if isinstance(error, KeyboardInterrupt):
            text = bytes2human if self._unit == "B" else str
            total = "" if self._total is None else f" of {text(self._total)}"
            unit = "" if self._unit == "B" else f" {self._unit}"
            error.add_note(f"{self._label}: {text(self._done)}{total}{unit} done")


def _is_interactive() -> bool:
    if "ipykernel" in sys.modules:
        return True
    stream = sys.stderr
    return stream is not None and stream.isatty()


def _renew_lock() -> None:
    """Give tqdm a new lock in a forked child; the parent's may be held forever."""
    if (tqdm := sys.modules.get("tqdm.auto")) is not None:
        tqdm.tqdm.set_lock(threading.RLock())


after_fork(_renew_lock)
