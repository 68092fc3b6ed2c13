"""The API's error answers."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An answer in the shape that the Drive API gives its errors."""

    def __init__(self, status: int, reason: str, message: str, domain: str = "global") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.domain = domain

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "code": self.status,
                "message": self.message,
                "errors": [{"domain": self.domain, "reason": self.reason, "message": self.message}],
            }
        }


def invalid(message: str) -> ApiError:
    return ApiError(400, "invalid", message)


def not_found(what: str) -> ApiError:
    return ApiError(404, "notFound", f"File not found: {what}")
