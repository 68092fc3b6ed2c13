"""The one place that prints: what the documents promise on standard output."""

from __future__ import annotations

__all__ = ["bytes2human", "say"]

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB", "EB", "ZB")


def say(*lines: str) -> None:
    """Print lines that a method's documentation promises."""
    for line in lines:
        print(line)  # noqa: T201 - the documented output of interactive methods


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
