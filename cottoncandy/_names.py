"""Object names: how users write them, and the keys they stand for."""

from __future__ import annotations

import re

from cottoncandy.exceptions import InvalidNameError

__all__ = ["SEPARATOR", "clean_object_name", "has_magic", "pathjoin", "shortened"]

SEPARATOR = "/"

_SLASHES = re.compile("//+")
_MAGIC = re.compile(r"[*?[]")


def clean_object_name(name: str) -> str:
    """Return the key that a name stands for: slashes are merged, the leading one is dropped.

    Parameters
    ----------
    name : str

    Raises
    ------
    InvalidNameError
        If it is no text.

    Examples
    --------
    >>> clean_object_name("//path//to/object")
    'path/to/object'
    """
    if not isinstance(name, str):
        raise InvalidNameError(f"an object name is a str, and a {type(name).__name__} was given")
    return _SLASHES.sub(SEPARATOR, name).removeprefix(SEPARATOR)


def pathjoin(a: str, *p: str) -> str:
    """Join path components with ``/``, as :func:`posixpath.join` does.

    Parameters
    ----------
    a, *p : str
        Components. One that starts with ``/`` discards those before it; an empty last one leaves a
        trailing ``/``.

    Returns
    -------
    path : str

    Examples
    --------
    >>> pathjoin("path", "to", "object")
    'path/to/object'
    """
    path = a
    for part in p:
        if part.startswith(SEPARATOR):
            path = part
        elif not path or path.endswith(SEPARATOR):
            path += part
        else:
            path += SEPARATOR + part
    return path


def has_magic(pattern: str) -> bool:
    """Tell whether a string has glob magic: ``*``, ``?`` or ``[``.

    Parameters
    ----------
    pattern : str
    """
    return _MAGIC.search(pattern) is not None


def shortened(name: str, most: int = 160) -> str:
    """Return a name for a message: of a long one, its beginning, its end and its length.

    Parameters
    ----------
    name : str
    most : int, default 160
        Names of so many characters are shown whole.

    Examples
    --------
    >>> shortened("abcdefghij" * 3, 20)
    'abcdefghij...hij (30 characters)'
    """
    if len(name) <= most:
        return name
    head = most // 2
    return f"{name[:head]}...{name[-(most // 2 - 7) :]} ({len(name)} characters)"
