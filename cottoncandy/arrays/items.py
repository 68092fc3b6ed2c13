"""A bucket as a mapping: the names of its values, from a listing alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from cottoncandy.core.names import SEPARATOR
from cottoncandy.formats.generations import MANIFEST, array_object, is_upload_id

#: The parts that make an array, if a manifest is there too.
_COMPLETE: tuple[set[str], ...] = (
    {"chunk"}, {"data", "indices", "indptr"}, {"data", "row", "col"}, {"data", "offsets"},
    {"data", "coord0"},
)  # fmt: skip


def value_names(keys: Iterable[str]) -> Iterator[str]:
    """Yield the names of the values that sorted keys belong to.

    The manifest and the parts of a chunked or sparse array are one name, that of the array. They
    are recognized by their names, so none is opened.

    Examples
    --------
    >>> list(value_names(["a/metadata.json", "a/notes", "a/pt0000", "b"]))
    ['a', 'a/notes', 'b']
    """
    pending: list[tuple[str, str | None]] = []  # keys, with the array they may be a part of
    parts: defaultdict[str, set[str]] = defaultdict(set)
    outer = ""  # the highest array that keys may be parts of
    done: list[str] = []  # names that arrays may have as well, each below the one before
    for key in keys:
        if pending and not key.startswith(outer):
            yield from _names(pending, parts, done)
            pending, parts = [], defaultdict(set)
        found = array_object(key)
        if found is not None:
            parts[found.root].add("chunk" if found.name.startswith("pt") else found.name)
            if not pending:
                outer = found.root + SEPARATOR
        if found is None and not pending:
            yield from _names([(key, None)], parts, done)
        else:
            pending.append((key, None if found is None else found.root))
    yield from _names(pending, parts, done)


def may_be_array(names: Iterable[str]) -> bool:
    """Return whether the names in a directory are those of a manifest and parts.

    Directories of parts are included: an array that was replaced has one.
    """
    found = [array_object(f"array/{name}") for name in names]
    parts = {each.name for each in found if each is not None}
    parts |= {"chunk"} if any(part.startswith("pt") for part in parts) else set()
    replaced = any(map(is_upload_id, names))
    return _is_array(parts) or (replaced and MANIFEST in parts)


def _is_array(parts: set[str]) -> bool:
    return MANIFEST in parts and any(needed <= parts for needed in _COMPLETE)


def _names(
    keys: Iterable[tuple[str, str | None]], parts: dict[str, set[str]], done: list[str]
) -> Iterator[str]:
    for key, root in keys:
        name = root if root is not None and _is_array(parts[root]) else key
        while done and key > done[-1] + "0":  # "0" follows "/"
            done.pop()
        if name not in done:
            done.append(name)
            yield name
