"""The one place that prints: what the documents promise on standard output."""

from __future__ import annotations

import re

__all__ = ["bytes2human", "echo", "printable"]

# Control characters, surrogates, and the marks that reverse the direction of text: they can hide
# what a name says, or act on the terminal.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB", "EB", "ZB")


def echo(*lines: str) -> None:
    """Print lines that a method's documentation promises; names in them are made printable."""
    for line in lines:
        print(printable(line))  # noqa: T201 - the documented output of interactive methods


def printable(text: str) -> str:
    r"""Return text with control characters and invisible marks escaped.

    Examples
    --------
    >>> print(printable("a\nb"))
    a\x0ab
    """
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


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
