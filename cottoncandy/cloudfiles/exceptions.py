"""Errors of the files API, under the names that cloud-files gave them."""

from __future__ import annotations

from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    IntegrityError,
    InvalidArgumentError,
)

__all__ = [
    "AuthorizationError",
    "CRC32CIntegrityError",
    "CompressionError",
    "DecompressionError",
    "IntegrityError",
    "MD5IntegrityError",
    "UnsupportedCompressionType",
    "UnsupportedProtocolError",
]

#: The store denied access; the same class as ``cottoncandy.exceptions.AccessDeniedError``.
AuthorizationError = AccessDeniedError


class UnsupportedProtocolError(InvalidArgumentError):
    """The path is not a URL of a known protocol."""


class UnsupportedCompressionType(InvalidArgumentError):  # noqa: N818 - the established name
    """There is no content encoding of that name."""


class CompressionError(CottonCandyError, ValueError):
    """The content cannot be compressed."""


class DecompressionError(IntegrityError):
    """The content is not in its content encoding, or is truncated."""


class MD5IntegrityError(IntegrityError):
    """The MD5 of the content is not the one that the store has."""


class CRC32CIntegrityError(IntegrityError):
    """The CRC-32C of the content is not the one that the store has."""
