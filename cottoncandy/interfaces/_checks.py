"""Arguments that make no sense, refused in words and before anything is sent."""

from __future__ import annotations

import difflib
import operator
from typing import Any

from cottoncandy.exceptions import InvalidArgumentError

__all__ = ["canned_acl", "whole_number"]

#: Canned ACLs: Amazon's, then what other stores that speak S3 have beside them (Google; Alibaba and
#: Tencent; Huawei).
_CANNED_ACLS = (
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "log-delivery-write",
    "project-private",
    "default",
    "public-read-delivered",
    "public-read-write-delivered",
)


def whole_number(value: Any, name: str, least: int) -> int:
    """Return an argument as an int.

    Raises
    ------
    InvalidArgumentError
        If it is no whole number, or less than ``least``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise InvalidArgumentError(
            f"{name} is a whole number from {least} on, and {value!r} was given"
        )
    return number


def canned_acl(acl: Any) -> str:
    """Return the name of a canned ACL.

    Raises
    ------
    InvalidArgumentError
        If no store has one of that name.
    """
    if isinstance(acl, str) and acl in _CANNED_ACLS:
        return acl
    near = difflib.get_close_matches(str(acl), _CANNED_ACLS, 1)
    meant = f"did you mean {near[0]!r}? Known are " if near else "known are "
    raise InvalidArgumentError(
        f"there is no canned ACL {acl!r}, and nothing was sent; {meant}{', '.join(_CANNED_ACLS)}"
    )
