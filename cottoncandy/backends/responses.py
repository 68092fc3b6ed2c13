"""Headers and statuses of the responses of stores that speak HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    CredentialsError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreBusyError,
    StoreError,
    StoreTimeoutError,
)

#: Statuses after which a request may be sent again.
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def content_range(headers: Mapping[str, str], name: str = "Content-Range") -> list[int] | None:
    """Return the start and the end of the range in a response, and the size of the whole body."""
    found = _CONTENT_RANGE.fullmatch(headers.get(name) or "")
    return found and [int(found[1]), int(found[2]) + 1, int(found[3])]


def header_text(value: str) -> str:
    """Return a header's value as UTF-8; http.client decodes it as Latin-1."""
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except UnicodeError:
        return value


def status_error(status: int, label: str, login: str, reason: str = "") -> CottonCandyError:
    """Return the error for a response that is not a success.

    Parameters
    ----------
    label : str
        What was requested, without secrets.
    login : str
        How to pass credentials.
    reason : str, optional
        The server's, without secrets.
    """
    if status == 401:
        return CredentialsError(
            f"access denied to {label} without credentials, or with invalid ones; {login}"
        )
    if status == 403:
        return AccessDeniedError(f"access denied to {label}; ask its owner for permission")
    if status in (404, 410):
        return ObjectNotFoundError(f"there is no {label}")
    if status in (412, 416):
        return ObjectChangedError(f"{label} was replaced while it was being read; read it again")
    if status in (408, 504):
        return StoreTimeoutError(f"{label}: the server did not answer in time; try again later")
    advice = "; try again later" if status in TRANSIENT else ""
    kind = StoreBusyError if status in (429, 503) else StoreError
    described = " ".join(filter(None, (str(status or ""), reason))) or "with an error"
    return kind(f"{label}: the server answered {described}{advice}")
