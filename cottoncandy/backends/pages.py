"""The XML with which S3, and stores that copy it, list objects: parsed whole or rejected.

botocore's parser takes most of the time of a listing: 71 ms for 1,000 keys. The parser here takes
5 ms, and rejects what is incomplete, so that no key is missing without an error.
"""

from __future__ import annotations

import heapq
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain, repeat
from operator import attrgetter, lt
from typing import NamedTuple
from urllib.parse import unquote_plus

from cottoncandy.backends.base import CommonPrefix, ObjectInfo

_FIELDS = frozenset(
    {
        *("Key", "LastModified", "ETag", "Size", "Prefix"),
        *("EncodingType", "IsTruncated", "KeyCount", "NextContinuationToken", "NextMarker"),
    }
)
_ENTRY_END = b"</Contents>"
_STEP_BYTES = 16 * 1024
_BOOLEANS = {"true": True, "false": False}

# Ceph writes control characters of the prefix and the token unescaped, or as references; XML allows
# neither. They are replaced by noncharacters while the document is parsed, except in line ends
# ("\r\n").
_CONTROL_BYTES = bytes({*range(32)} - {*b"\t\n"})
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\r(?!\n)")
_REFERENCE = re.compile(rb"&#(?:x0*([0-9A-Fa-f]{1,2})|0*([0-9]{1,2}));")
_FIRST_NONCHARACTER = 0xFDD0
_RESTORED = {_FIRST_NONCHARACTER + code: code for code in _CONTROL_BYTES}


class Page(NamedTuple):
    """One response of the server."""

    objects: list[ObjectInfo]
    prefixes: list[CommonPrefix]
    truncated: bool
    token: str | None

    @property
    def entries(self) -> Iterator[ObjectInfo | CommonPrefix]:
        """Objects and prefixes, sorted."""
        if not self.prefixes:
            return iter(self.objects)
        # Strings compare as their UTF-8 bytes do.
        return heapq.merge(self.objects, self.prefixes, key=attrgetter("key"))


def parse_page(body: bytes) -> Page:
    """Return the content of a ListObjectsV2 response.

    Raises
    ------
    ValueError
        If the document is cut short, malformed, or does not have what it announces.
    """
    try:
        return _parse(body)
    except ET.ParseError as exc:
        raise ValueError(f"its XML is damaged: {exc}") from exc
    except KeyError as exc:
        raise ValueError(f"an element is missing or invalid: {exc}") from exc


def _parse(body: bytes) -> Page:
    restore = b"&#" in body or len(body.translate(None, _CONTROL_BYTES)) != len(body)
    if restore:
        body = _REFERENCE.sub(_stand_in, body)
        body = _CONTROL.sub(lambda found: chr(_FIRST_NONCHARACTER + found[0][0]).encode(), body)
    if b"<!DOCTYPE" in body:  # no store sends one; its entities could expand without limit
        raise ValueError("it has a document type declaration")
    # Directories between the objects would change places.
    begin, end = body.find(b"<Contents>"), body.rfind(_ENTRY_END) + len(_ENTRY_END)
    if not 0 <= begin < end or b"<CommonPrefixes" in body[begin:end]:
        begin = end = len(body)
    root = _element(body[:begin] + body[end:])
    if _without_namespace(root.tag) != "ListBucketResult":
        raise ValueError(f"it is a {_without_namespace(root.tag)}")
    header = _fields(root, restore)
    encoding = header.get("EncodingType", "").strip()
    if encoding not in ("", "url"):
        raise ValueError(f"its names are encoded as {encoding[:20]!r}")
    truncated = _BOOLEANS[header["IsTruncated"].strip().lower()]
    objects: list[ObjectInfo] = []
    prefixes: list[CommonPrefix] = []
    fields = 0
    for node in chain(root, _entries(body, begin, end)):
        kind = _without_namespace(node.tag)
        if kind == "Contents":
            objects.append(_object(_fields(node, restore), bool(encoding)))
        elif kind == "CommonPrefixes":
            prefix = _name(_fields(node, restore)["Prefix"], bool(encoding))
            prefixes.append(CommonPrefix(prefix))
        elif kind in _FIELDS:
            fields += 1
    if fields != len(header.keys() & _FIELDS):
        raise ValueError("its header is between its entries")
    found, announced = len(objects) + len(prefixes), header.get("KeyCount")
    # Ceph counts the objects only.
    if announced is not None and int(announced) not in (found, len(objects)):
        raise ValueError(f"it has {found} entries, and announces {int(announced)}")
    token = header.get("NextContinuationToken") or header.get("NextMarker")
    return Page(objects, prefixes, truncated, token)


def _element(text: bytes) -> ET.Element:
    return ET.XML(text, parser=ET.XMLParser(encoding="utf-8"))  # noqa: S314 - no document types


def _entries(body: bytes, begin: int, end: int) -> Iterator[ET.Element]:
    """Parse the entries of a listing, some at a time.

    Python's garbage collector examines the elements again and again while they exist: with all
    those of a page, it takes a third of the time of a listing.
    """
    while begin < end:
        after = body.find(_ENTRY_END, min(begin + _STEP_BYTES, end - len(_ENTRY_END)))
        after += len(_ENTRY_END)
        yield from _element(b"<Entries>" + body[begin:after] + b"</Entries>")
        begin = after


def _stand_in(reference: re.Match[bytes]) -> bytes:
    code = int(reference[1], 16) if reference[1] else int(reference[2])
    if code in _CONTROL_BYTES:
        return chr(_FIRST_NONCHARACTER + code).encode()
    return reference[0]


@lru_cache(64)
def _without_namespace(tag: str) -> str:
    return tag.rpartition("}")[2]


def _fields(node: ET.Element, restore: bool) -> dict[str, str]:
    """Return the texts of the elements in an element."""
    found = {_without_namespace(child.tag): child.text or "" for child in node}
    if len(found) != len(node) or any(map(len, node)):
        seen: set[str] = set()
        for child in node:
            name = _without_namespace(child.tag)
            if name in _FIELDS and (name in seen or len(child)):
                raise ValueError(f"it has more than one {name}")
            seen.add(name)
    return {name: text.translate(_RESTORED) for name, text in found.items()} if restore else found


def _object(fields: dict[str, str], encoded: bool) -> ObjectInfo:
    modified = None
    if text := fields.get("LastModified"):
        modified = datetime.fromisoformat(text.strip())
        modified = modified if modified.tzinfo else modified.replace(tzinfo=UTC)
    size = int(fields["Size"])
    if size < 0:
        raise ValueError("it has a negative size")
    return ObjectInfo(
        _name(fields["Key"], encoded), size, modified, quoted_etag(fields.get("ETag"))
    )


def _name(text: str, encoded: bool) -> str:
    if encoded:
        text = text.replace("%2F", "/")  # often nothing else is encoded, and unquoting is slow
        if "%" in text or "+" in text:
            text = unquote_plus(text)
    if not text:
        raise ValueError("it has an entry without a name")
    return text


def check_order(
    names: list[str], before: str, prefix: str, *, follows: Callable[[str, str], bool] = lt
) -> str:
    """Return the last of some names; raise ValueError if one does not follow the one before it."""
    in_order = map(follows, [before, *names], names)
    within = map(str.startswith, names, repeat(prefix))
    for name, follower, inside in zip(names, in_order, within, strict=True):
        if not (follower and inside):
            raise ValueError(f"{name!r} is out of order, repeated or outside the prefix {prefix!r}")
    return names[-1] if names else before


def quoted_etag(etag: str | None) -> str | None:
    """Return an ETag in quotes, as in HTTP headers; some responses omit them."""
    if not etag:
        return None
    return etag if etag.endswith('"') else f'"{etag}"'
