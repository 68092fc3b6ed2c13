"""Object metadata as Drive's file properties, which hold 124 bytes each.

A name and value that fit become one property of that name, which is also how cottoncandy 0.4.0
stored them. All others (long values, empty ones, names that begin with ``~``) are stored together
in one JSON text, which is split into the properties ``~0``, ``~1``, ...; the first one begins with
the number of pieces, ``3:``. Properties are public, so that users of another OAuth client see them
too; a private one (of 0.4.0) is read if no public one has its name.

Drive's documentation does not specify whether an update of a file keeps the properties that it does
not name. If a file has such properties, the JSON text also lists the valid names, so that new
content and new metadata become visible at the same time in either case. Old public properties are
kept, because deleting one could remove a property that another client has just written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cottoncandy.exceptions import MetadataError

#: Bytes of a property's key and value together, in UTF-8 (Drive's limit).
PROPERTY_BYTES = 124
#: Public properties of one file (Drive's limit).
MAX_PROPERTIES = 30
#: A size that always fits, names and values in bytes; JSON's escapes need the rest.
MAX_METADATA_BYTES = 2048

_MARK = "~"
_PUBLIC = "PUBLIC"

PropertyName = tuple[str, str]
Property = dict[str, str]


def pack(
    metadata: Mapping[str, str], present: Iterable[PropertyName] = (), *, key: str = ""
) -> list[Property]:
    """Encode metadata as properties.

    Parameters
    ----------
    metadata : mapping of str to str
    present : iterable of (key, visibility)
        Existing properties of the file.
    key : str
        The object, for messages.

    Raises
    ------
    MetadataError
        If the metadata need more properties than a file can have.
    """
    plain = {name: value for name, value in metadata.items() if _fits(name, value)}
    for kept in (plain, {}):
        packed = _packed(metadata, kept, set(present))
        if len(packed) <= MAX_PROPERTIES:
            return packed
    raise MetadataError(
        f"the metadata of object '{key}' need {len(packed)} properties, but a file on Google Drive "
        f"can have {MAX_PROPERTIES}; use fewer or shorter entries"
    )


def unpack(properties: Iterable[Mapping[str, Any]], *, key: str = "") -> dict[str, str]:
    """Decode properties as metadata, names in lower case."""
    found: dict[str, str] = {}
    ordered = sorted(properties, key=lambda entry: entry.get("visibility") == _PUBLIC)
    for entry in ordered:  # private ones first, so that public ones take precedence
        found[entry["key"]] = entry.get("value", "")
    pieces = {name: value for name, value in found.items() if name.startswith(_MARK)}
    plain = {name: value for name, value in found.items() if name not in pieces}
    if f"{_MARK}0" not in pieces:
        return {name.lower(): str(value) for name, value in plain.items()}
    packed = _joined(pieces, key)
    if "names" in packed:
        plain = {name: value for name, value in plain.items() if name in packed["names"]}
    values: dict[str, str] = packed["values"]
    return {name.lower(): value for name, value in plain.items()} | values


def private(present: Iterable[PropertyName]) -> list[str]:
    """Return the keys of private properties, which only an older version wrote."""
    return [key for key, visibility in present if visibility != _PUBLIC]


def _packed(
    entries: Mapping[str, str], plain: Mapping[str, str], present: set[PropertyName]
) -> list[Property]:
    properties = [_property(name, value) for name, value in plain.items()]
    rest = {name: value for name, value in entries.items() if name not in plain}
    surplus = {key for key, _ in present if key not in plain and not key.startswith(_MARK)}
    if not rest and not surplus and (f"{_MARK}0", _PUBLIC) not in present:
        return properties
    content: dict[str, Any] = {"values": rest}
    if surplus:
        content["names"] = sorted(plain)
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return properties + _cut(text)


def _cut(text: str) -> list[Property]:
    """Cut a text into numbered properties; a character is never split."""
    room = PROPERTY_BYTES - len(f"{_MARK}99") - len("99:")
    pieces: list[str] = []
    encoded = text.encode()
    start = 0
    while start < len(encoded):
        stop = min(start + room, len(encoded))
        while stop < len(encoded) and encoded[stop] & 0xC0 == 0x80:  # inside a character
            stop -= 1
        pieces.append(encoded[start:stop].decode())
        start = stop
    pieces[0] = f"{len(pieces)}:{pieces[0]}"
    return [_property(f"{_MARK}{number}", piece) for number, piece in enumerate(pieces)]


def _joined(pieces: Mapping[str, str], key: str) -> dict[str, Any]:
    count, _, first = pieces[f"{_MARK}0"].partition(":")
    try:
        rest = [pieces[f"{_MARK}{number}"] for number in range(1, int(count))]
        content = json.loads(first + "".join(rest))
        if isinstance(content["values"], dict):
            return dict(content)
    except (KeyError, ValueError, TypeError):
        pass
    raise MetadataError(
        f"the metadata of object '{key}' are damaged: the properties {_MARK}0 to {_MARK}{count} of "
        f"the file do not belong together; upload the object again"
    )


def _property(name: str, value: str) -> Property:
    return {"key": name, "value": value, "visibility": _PUBLIC}


def _fits(name: str, value: str) -> bool:
    size = len(name.encode()) + len(value.encode())
    return bool(name and value) and not name.startswith(_MARK) and size <= PROPERTY_BYTES
