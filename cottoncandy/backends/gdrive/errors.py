"""Translate Drive's errors into cottoncandy's exceptions; tell which are transient."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    CredentialsError,
    IntegrityError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageFullError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
)

__all__ = [
    "DriveApiError",
    "DriveConnectionError",
    "translated",
    "translating",
]

_RATE = {"userRateLimitExceeded", "rateLimitExceeded", "sharingRateLimitExceeded"}
_FULL = {
    "quotaExceeded",
    "storageQuotaExceeded",
    "teamDriveFileLimitExceeded",
    "numChildrenInNonRootLimitExceeded",
    "teamDriveHierarchyTooDeep",
}
_TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}


class DriveApiError(Exception):
    """An error response of Drive: the HTTP status, Drive's reason and message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message

    @classmethod
    def of(cls, status: int, content: bytes) -> DriveApiError:
        """Parse the body of an error response, which may be malformed."""
        reason, message = "", ""
        try:
            error: Any = json.loads(content)["error"]
            message = str(error.get("message", ""))
            reason = str(error["errors"][0].get("reason", ""))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            pass  # the page of a proxy, or an empty body
        return cls(status, reason, message)

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _TRANSIENT_STATUS or (self.status == 403 and self.reason in _RATE)

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.message}"


class DriveConnectionError(Exception):
    """A missing or incomplete response; ``cause`` is the error of the HTTP library."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause

    transient = True

    def __str__(self) -> str:
        return f"{type(self.cause).__name__}: {self.cause}"


@contextmanager
def translating(what: str) -> Iterator[None]:
    """Turn Drive's errors inside the block into this library's; ``what`` names the object."""
    try:
        yield
    except (DriveApiError, DriveConnectionError) as fault:
        raise translated(fault, what) from fault


def translated(fault: DriveApiError | DriveConnectionError, what: str) -> CottonCandyError:
    """Return this library's error for one of Drive's or of the connection.

    Parameters
    ----------
    fault : DriveApiError or DriveConnectionError
    what : str
        The object and its location, for the message: ``object 'a/b' in 'My Drive'``.
    """
    if isinstance(fault, DriveApiError):
        return _translated_answer(fault, what)
    error = fault.cause
    if isinstance(error, TimeoutError):
        return StoreTimeoutError(
            f"the request to Google Drive for {what} timed out; pass a larger http_timeout"
        )
    if isinstance(error, ssl.SSLError):
        return StoreUnreachableError(f"no secure connection to Google Drive for {what}: {error}")
    if isinstance(error.__cause__, http.client.IncompleteRead):
        return IntegrityError(f"the connection to Google Drive ended during {what}; try again")
    return StoreUnreachableError(
        f"Google Drive cannot be reached for {what} ({fault}); check the network"
    )


def _translated_answer(fault: DriveApiError, what: str) -> CottonCandyError:
    detail = fault.message or fault.reason or f"HTTP status {fault.status}"
    if fault.status == 404:
        return ObjectNotFoundError(f"there is no {what}, or you may not see it")
    if fault.status == 401:
        return CredentialsError(
            f"Google Drive does not accept the credentials ({detail}); delete the credentials file "
            f"and log in again"
        )
    if fault.status == 412:
        return ObjectChangedError(f"{what} was changed by another client; try again")
    if fault.reason in _FULL:
        return StorageFullError(f"no room on Google Drive for {what}: {detail}")
    if fault.reason == "accessNotConfigured":
        return AccessDeniedError(
            f"the Google Drive API is not enabled in the project of your client secrets: enable it "
            f"in the Google Cloud console ({detail})"
        )
    if fault.reason in {"insufficientPermissions", "insufficientScopes"}:
        return CredentialsError(
            f"the stored credentials do not cover {what} ({detail}); delete the credentials file "
            f"and log in again"
        )
    if fault.transient:
        return StoreError(f"Google Drive is unavailable ({detail}); try {what} later")
    if fault.status == 403:
        return AccessDeniedError(f"Google Drive denies access to {what}: {detail}")
    return StoreError(f"Google Drive returned status {fault.status} for {what}: {detail}")
