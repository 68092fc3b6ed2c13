"""Uploads: simple, multipart and resumable."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.servers.drive.errors import ApiError, invalid

CHUNK = 256 * 1024


@dataclass
class Session:
    """One resumable upload in progress."""

    id: str
    operation: str
    file_id: str | None
    params: dict[str, Any]
    body: dict[str, Any]
    mime_type: str | None
    declared: int | None
    received: bytearray = field(default_factory=bytearray)
    answer: dict[str, Any] | None = None


def split_multipart(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes, str]:
    """Return metadata, content and the content's type of a multipart/related request."""
    match = re.fullmatch(r'multipart/related;\s*boundary="?([^";]+)"?', content_type)
    if match is None:
        raise invalid(f"an upload of both parts is multipart/related, not {content_type}")
    mark = b"--" + match[1].encode()
    # google-api-python-client ends lines with a bare LF; whichever it is, it is so throughout.
    end = b"\r\n" if body.startswith(mark + b"\r\n") else b"\n"
    pieces = (end + body).split(end + mark)
    if len(pieces) != 4 or pieces[0] or not pieces[3].startswith(b"--"):
        raise invalid("a multipart upload has two parts")
    parts = []
    for piece in pieces[1:3]:
        head, found, content = piece.removeprefix(end).partition(end + end)
        if not found:
            raise invalid("a part has a head and a body")
        headers = dict(re.findall(r"(?im)^([\w-]+):\s*(.*?)\r?$", head.decode()))
        parts.append(({name.lower(): value for name, value in headers.items()}, content))
    if not parts[0][0].get("content-type", "").startswith("application/json"):
        raise invalid("the first part is JSON")
    return json.loads(parts[0][1]), parts[1][1], parts[1][0].get("content-type", "")


def receive(session: Session, header: str, data: bytes, accept: int | None) -> bool:
    """Store one chunk; return whether the upload is complete.

    ``accept`` is a fault: only that many bytes of the chunk are kept, as Drive may do.
    """
    match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", header)
    if match is None:
        raise invalid(f"bad Content-Range {header!r}")
    total = None if match[3] == "*" else int(match[3])
    for limit in (session.declared, total):
        if limit is not None and limit != (session.declared or limit):
            raise invalid("the size is another than the one declared")
    if match[1] is not None:
        start, stop = int(match[1]), int(match[2]) + 1
        if stop - start != len(data):
            raise invalid(f"{header} announces {stop - start} bytes, and {len(data)} came")
        if start != len(session.received):
            raise ApiError(400, "badRequest", f"expected byte {len(session.received)}")
        if stop != total and len(data) % CHUNK:
            raise invalid("chunks but the last are multiples of 256 KiB")
        if total is not None and stop > total:
            raise invalid("more bytes than announced")
        session.received += data if accept is None else data[:accept]
    elif data:
        raise invalid("a status query has no body")
    return total is not None and len(session.received) == total
