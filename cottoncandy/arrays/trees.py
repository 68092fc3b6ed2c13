"""Nested dictionaries of arrays: one object for each array, named by its path."""

from __future__ import annotations

import logging
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from cottoncandy.arrays.raw import Array
from cottoncandy.arrays.versions import download_method
from cottoncandy.core.names import SEPARATOR, Key, clean_object_name, pathjoin, prefix_of
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import (
    InvalidArgumentError,
    InvalidNameError,
    ObjectExistsError,
    ObjectNotFoundError,
    UnsupportedDtypeError,
)
from cottoncandy.formats import raw
from cottoncandy.formats.generations import MANIFEST
from cottoncandy.stores.finding import objects_below
from cottoncandy.stores.store import Store

_log = logging.getLogger(__name__)

#: Levels of a dictionary: more do not fit into a name, or on Python's stack.
_MAX_DEPTH = 256


# -- dictionaries --------------------------------------------------------------------------------


def flatten(root: Key, array_dict: Any) -> dict[Key, Array]:
    """Return the arrays of a nested dictionary, by the names of their objects.

    Raises
    ------
    UnsupportedDtypeError
        If a leaf cannot be an array of bytes.
    InvalidNameError
        If a key cannot be a part of a name.
    InvalidArgumentError
        If it is not a dictionary, contains itself, or names are duplicate or below others.
    """
    if not isinstance(array_dict, Mapping):
        raise InvalidArgumentError(
            f"dict2cloud expects a dictionary of arrays, got {type(array_dict).__name__}: use "
            f"upload_raw_array for one array"
        )
    arrays: dict[Key, Array] = {}
    for name, leaf in _leaves(root, array_dict):
        if name in arrays:
            raise InvalidArgumentError(f"two arrays of the dictionary are both named '{name}'")
        try:
            arrays[name] = raw.as_array(leaf)
        except UnsupportedDtypeError as exc:
            raise UnsupportedDtypeError(f"'{name}' of the dictionary: {exc}") from exc
    for shadowed, above in _shadows(arrays):
        raise InvalidArgumentError(
            f"'{shadowed}' of the dictionary is below '{above}', which is also an array: "
            f"cloud2dict could not return both"
        )
    return arrays


def groups_of(root: Key, leaves: Iterable[str]) -> set[Key]:
    """Return the names between a root and its leaves."""
    groups: set[Key] = set()
    for leaf in leaves:
        above = leaf.rpartition(SEPARATOR)[0]
        while len(above) > len(root) and above not in groups:
            groups.add(Key(above))
            above = above.rpartition(SEPARATOR)[0]
    return groups


def _leaves(
    name: Key, branch: Mapping[str, Any], above: tuple[int, ...] = ()
) -> Iterator[tuple[Key, Any]]:
    """Yield the names and values of a nested dictionary's leaves.

    ``above`` are the identities of the dictionaries that lead here.
    """
    if id(branch) in above:
        raise InvalidArgumentError(
            f"the dictionary contains itself at '{name}'; nothing was uploaded"
        )
    if len(above) >= _MAX_DEPTH:
        raise InvalidArgumentError(
            f"the dictionary is nested more than {_MAX_DEPTH} levels deep, at '{name[:80]}...'"
        )
    for key, value in branch.items():
        cleaned = clean_object_name(key) if isinstance(key, str) else ""
        if not cleaned or cleaned.endswith(SEPARATOR):
            raise InvalidNameError(
                f"the keys of the dictionary become names of objects, so they must be text that "
                f"is not empty and does not end in '/', got {key!r} (under '{name}'); nothing was "
                f"uploaded"
            )
        below = Key(pathjoin(name, cleaned))
        if isinstance(value, Mapping):
            if not value:
                _log.warning("the empty dictionary '%s' is not stored", below)
            yield from _leaves(below, value, (*above, id(branch)))
        else:
            yield below, value


# -- stores --------------------------------------------------------------------------------------


def find_arrays(
    store: Store, root: Key, keys: str | Iterable[str] | None, threads: int
) -> list[str]:
    """Return the names that fit into nested dictionaries, sorted.

    Parts of an array are hidden by the array, and objects below an object by that object.

    Raises
    ------
    ObjectNotFoundError
        If nothing exists below the root, or at one of the keys.
    InvalidArgumentError
        If one of the keys is not a str.
    """
    found = _existing(store, root, keys)
    split = (name.rpartition(SEPARATOR) for name in found)
    roots = [Key(above) for above, _, last in split if last == MANIFEST]
    methods = map_threads(partial(download_method, store), roots, threads)
    arrays = {name: how for name, how in zip(roots, methods, strict=True) if how is not None}
    if root in arrays:
        raise ObjectNotFoundError(
            f"'{root}' in bucket '{store.bucket}' is one array in several objects, and not a "
            f"dictionary: use {arrays[root]}"
        )
    names = {*found, *arrays}
    hidden = dict(_shadows(names))
    result = []
    for name in sorted(names):
        above = hidden.get(name)
        if name.endswith(SEPARATOR):
            _log.warning("skipping '%s': it is a directory marker", name)
        elif above in arrays:
            _log.info("skipping '%s': it is a part of an array", name)
        elif above is not None:
            _log.warning("skipping '%s': it is below the object '%s'", name, above)
        else:
            result.append(name)
    return result


def check_places(store: Store, leaves: Iterable[Key], groups: Iterable[Key]) -> None:
    """Raise ObjectExistsError if the store cannot hold an object and a group of one name."""
    if store.backend.capabilities.object_and_prefix:
        return
    for names, found in ((groups, store.has_object), (leaves, store.has_below)):
        for name in filter(found, names):
            raise ObjectExistsError(
                f"'{name}' in bucket '{store.bucket}' is an array, and a directory in the "
                f"dictionary, or the reverse; remove it first; nothing was uploaded"
            )


def check_absent(store: Store, root: Key, names: Container[str]) -> None:
    """Raise ObjectExistsError if an object below the root has one of these names."""
    for info in objects_below(store.backend, prefix_of(root)):
        if info.key in names:
            raise ObjectExistsError(
                f"object '{info.key}' exists in bucket '{store.bucket}'; pass overwrite=True to "
                f"replace it; nothing was uploaded"
            )


def _existing(store: Store, root: Key, keys: str | Iterable[str] | None) -> set[str]:
    """Return the names of the objects below a root, or of those that some keys name."""
    if keys is None:
        return _below(store, root)
    found: set[str] = set()
    for key in _checked_keys(keys):
        name = Key(pathjoin(root, clean_object_name(key)).removesuffix(SEPARATOR))
        found |= {name} if store.backend.exists(name) else _below(store, name)
    return found


def _checked_keys(keys: Any) -> list[str]:
    names = [keys] if isinstance(keys, str) or not isinstance(keys, Iterable) else list(keys)
    for name in names:
        if not isinstance(name, str):
            raise InvalidArgumentError(
                f"keys must be names of arrays or branches, got {name!r}; nothing was downloaded"
            )
    return names


def _below(store: Store, root: Key) -> set[str]:
    """Return the names of the objects below a root; there must be one."""
    found = {info.key for info in objects_below(store.backend, prefix_of(root))}
    if not found:
        raise ObjectNotFoundError(
            f"'{root}' in bucket '{store.bucket}' is one object, and nothing is below it: use "
            f"download_raw_array"
            if store.has_object(root)
            else f"nothing found under '{root}' in bucket '{store.bucket}'"
        )
    return found


def _shadows(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the names that are below others, with the highest of those."""
    for name in names:
        steps = name.split(SEPARATOR)
        above = (SEPARATOR.join(steps[:depth]) for depth in range(1, len(steps)))
        found = next((prefix for prefix in above if prefix in names), None)
        if found is not None:
            yield name, found
