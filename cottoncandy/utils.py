"""Small helpers on names and sizes that programs written for 0.4.0 import from here."""

from __future__ import annotations

from cottoncandy.config.options import to_boolean
from cottoncandy.core.names import SEPARATOR, clean_object_name, has_magic, pathjoin
from cottoncandy.core.output import bytes2human
from cottoncandy.exceptions import InvalidArgumentError

__all__ = [
    "bytes2human",
    "clean_object_name",
    "has_magic",
    "pathjoin",
    "remove_root",
    "split_uri",
    "string2bool",
]


def remove_root(string_: str) -> str:
    """Return a name without the ``/`` at its start, if it has one.

    Parameters
    ----------
    string_ : str

    Examples
    --------
    >>> remove_root("/path/to/object")
    'path/to/object'
    """
    return string_.removeprefix(SEPARATOR)


def split_uri(uri: str, pattern: str = "s3://", separator: str = "/") -> tuple[str, str]:
    """Split the address of an object into bucket and object name.

    Parameters
    ----------
    uri : str
        An address that starts with ``pattern``.
    pattern : str, default "s3://"
        The scheme, up to where the bucket's name starts.
    separator : str, default "/"
        What ends the bucket's name.

    Returns
    -------
    bucket, path : str

    Raises
    ------
    InvalidArgumentError
        If the address does not start with ``pattern``.

    Examples
    --------
    >>> split_uri("s3://bucket/path/to/thing")
    ('bucket', 'path/to/thing')
    """
    if not uri.startswith(pattern):
        raise InvalidArgumentError(f"expected an address that starts with {pattern!r}: {uri!r}")
    bucket, _, path = uri.removeprefix(pattern).partition(separator)
    return bucket, path


def string2bool(mstring: str) -> bool | None:
    """Return the value of a word in an options file: True, False, or None for ``None``.

    Any other word is False.

    Parameters
    ----------
    mstring : str

    Examples
    --------
    >>> string2bool("yes"), string2bool("False"), string2bool("None")
    (True, False, None)
    """
    if mstring == "None":
        return None
    try:
        return to_boolean(mstring)
    except ValueError:
        return False
