"""Object names: how users write them, and the keys they stand for.

Methods resolve the names that users pass, once, into a :class:`Key`
(:meth:`Store.key <cottoncandy.stores.store.Store.key>`). Below that, keys are never cleaned.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import PurePath

from cottoncandy.exceptions import InvalidNameError

SEPARATOR = "/"

#: Characters of a path that are not escaped in a URL.
SAFE_CHARACTERS = "/!$&'()*+,;=:@~"

#: Suffix of the files in which a local store keeps metadata.
SIDECAR_SUFFIX = ".meta.json"

_SLASHES = re.compile("//+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<bucket>[^/]*)/*(?P<key>.*)", re.DOTALL)
_MAGIC = re.compile(r"[*?[]")


class Key(str):
    """The key of an object, byte for byte: a name that is resolved already."""

    __slots__ = ()


def resolve_name(name: str, exists: Callable[[str], bool], strict: bool = False) -> Key:
    """Return the key that a user's name refers to.

    A name that :func:`clean_object_name` would change refers to exactly that object if it exists,
    so that a listed name leads back to its object. Otherwise it is cleaned, as in 0.4.0.

    Parameters
    ----------
    name : str
    exists : callable
        Returns whether there is an object of exactly that name; called for such names only.
    strict : bool, default False
        Whether to raise instead of cleaning: for methods that remove or replace objects.

    Raises
    ------
    InvalidNameError
        If ``name`` is not a str, a URL that names no object, or ``strict`` and it is not the name
        of an object.
    """
    if isinstance(name, Key):
        return name
    cleaned = Key(clean_object_name(check_text(name)))
    if cleaned == name or name == SEPARATOR:  # '/' is the documented name of the whole bucket
        return cleaned
    if exists(name):
        return Key(name)
    if url := _URL.match(name):
        where = f" to an interface on bucket {url['bucket']!r}" if url["bucket"] else ""
        raise InvalidNameError(
            f"{shorten(name)!r} is a URL, and an object name is expected: pass "
            f"{url['key'] or 'a name'!r}{where}"
        )
    if strict:
        raise InvalidNameError(
            f"there is no object named exactly {shorten(name)!r}, and nothing was changed; "
            f"did you mean {shorten(cleaned)!r}?"
        )
    return cleaned


def _not_text(name: object) -> str:
    hint = (
        "; pass path.as_posix()"
        if isinstance(name, PurePath)
        else "; the name comes first"
        if hasattr(name, "shape") or isinstance(name, bytes | dict | list | tuple | set)
        else ""
    )
    return f"an object name must be a str, got {type(name).__name__}{hint}"


def check_text(name: str) -> str:
    """Return a name, if it is text that has an encoding.

    Raises
    ------
    InvalidNameError
        If it is not a str, or has unpaired surrogates: names of files that are not UTF-8 do.
    """
    if not isinstance(name, str):
        raise InvalidNameError(_not_text(name))
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidNameError(f"the name {shorten(name)!r} is not valid Unicode text") from None
    return name


def encode_key(key: str) -> bytes:
    """Return the UTF-8 of a key.

    Raises
    ------
    InvalidNameError
        If it is empty, not a str, or not valid Unicode text.
    """
    if not check_text(key):
        raise InvalidNameError("an object name must not be empty")
    return key.encode()


def spellings(name: str) -> tuple[Key, ...]:
    """Return the keys that a name can refer to, for listings: unchanged, then cleaned."""
    cleaned = Key(clean_object_name(check_text(name)))
    as_it_is = isinstance(name, Key) or cleaned == name or name == SEPARATOR
    return (Key(name) if name != SEPARATOR else cleaned,) if as_it_is else (Key(name), cleaned)


def prefix_of(key: str) -> str:
    """Return the prefix of everything below a name; of ``''``, everything in the bucket.

    Examples
    --------
    >>> prefix_of("data"), prefix_of("data/"), prefix_of("")
    ('data/', 'data/', '')
    """
    return key if not key or key.endswith(SEPARATOR) else key + SEPARATOR


def clean_object_name(name: str) -> str:
    """Return the key that a name stands for: slashes are merged, the leading one is dropped.

    Parameters
    ----------
    name : str

    Raises
    ------
    InvalidNameError
        If it is not a str.

    Examples
    --------
    >>> clean_object_name("//path//to/object")
    'path/to/object'
    """
    if not isinstance(name, str):
        raise InvalidNameError(_not_text(name))
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
    if wrong := [part for part in (a, *p) if not isinstance(part, str)]:
        raise InvalidNameError(f"a part of a path must be a str, got {wrong[0]!r}")
    path = posixpath.join(a, *p)
    return Key(path) if isinstance(a, Key) else path


def has_magic(pattern: str) -> bool:
    """Return whether a string has glob magic: ``*``, ``?`` or ``[``.

    Parameters
    ----------
    pattern : str
    """
    return _MAGIC.search(pattern) is not None


def shorten(name: str, max_length: int = 160) -> str:
    """Return a name for a message; a long one is reduced to its beginning, its end and its length.

    Parameters
    ----------
    name : str
    max_length : int, default 160
        Longest name that is shown whole, in characters.

    Examples
    --------
    >>> shorten("abcdefghij" * 3, 20)
    'abcdefghij...hij (30 characters)'
    """
    if len(name) <= max_length:
        return name
    head = max_length // 2
    return f"{name[:head]}...{name[-(max_length // 2 - 7) :]} ({len(name)} characters)"
