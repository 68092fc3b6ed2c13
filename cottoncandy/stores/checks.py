"""Checks of arguments, before anything is sent."""

from __future__ import annotations

import contextlib
import datetime
import difflib
import inspect
import numbers
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cottoncandy.backends.base import IfAbsent, IfMatch
from cottoncandy.backends.options import UPLOAD_OPTIONS
from cottoncandy.config.sources import nearest
from cottoncandy.exceptions import InvalidArgumentError, MetadataError

#: Canned ACLs: Amazon's, then the additional ones of other S3 stores (Google; Alibaba and
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


_DURATION = re.compile(r"(\d+(?:\.\d+)?) *(s|m|h|d|w)", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?) *([kKMGT]?)B?", re.ASCII)
_SIMILARITY = 0.75  # of a keyword and the parameter that it misspells
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def check_int(value: Any, name: str, minimum: int) -> int:
    """Return an argument as an int.

    Raises
    ------
    InvalidArgumentError
        If it is not an integer of at least ``minimum``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < minimum:
        raise InvalidArgumentError(
            f"{name} must be an integer of at least {minimum}, got {value!r}"
        )
    return number


def check_bool(value: Any, name: str) -> None:
    """Raise InvalidArgumentError if an argument is neither True nor False."""
    if getattr(value, "shape", ()) or value not in (True, False):  # an array has no truth value
        raise InvalidArgumentError(f"{name} must be True or False, got {value!r:.80}")


def check_bytes(value: Any, name: str) -> int:
    """Return a size in bytes: an integer, or text such as ``'500MB'`` or ``'20 GB'``.

    Raises
    ------
    InvalidArgumentError
        If it is anything else, or less than 1.
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) > 0:
        return int(value)
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        with contextlib.suppress(OverflowError):
            size = int(float(found[1]) * 1000 ** "KMGT".find(found[2].upper() or "?") * 1000)
            if size > 0:
                return size
    raise InvalidArgumentError(
        f"{name} must be a number of bytes or text such as '500MB' or '20GB', got {value!r:.80}"
    )


def check_duration(value: Any, name: str) -> datetime.timedelta:
    """Return a duration: a ``timedelta``, seconds, or text such as ``'1d'`` or ``'12h'``.

    Raises
    ------
    InvalidArgumentError
        If it is anything else.
    """
    if isinstance(value, datetime.timedelta) and value >= datetime.timedelta():
        return value
    with contextlib.suppress(OverflowError, ValueError):
        if isinstance(value, numbers.Real) and not isinstance(value, bool) and float(value) >= 0:
            return datetime.timedelta(seconds=float(value))
        if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
            return datetime.timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    raise InvalidArgumentError(
        f"{name} must be a number of seconds or text such as '1d', '12h' or '30m', got "
        f"{value!r:.80}"
    )


def upload_condition(overwrite: bool, if_match: str | None) -> IfAbsent | IfMatch | None:
    """Return the condition that two arguments of an upload express.

    Raises
    ------
    InvalidArgumentError
        If they contradict each other, or ``if_match`` is not an ETag.
    """
    if if_match is None:
        return None if overwrite else IfAbsent()
    if not overwrite:
        raise InvalidArgumentError(
            "overwrite=False and if_match= contradict each other; pass one of them"
        )
    etag = if_match.strip('"') if isinstance(if_match, str) else ""
    if not etag or '"' in etag or not (etag.isascii() and etag.isprintable()):
        raise InvalidArgumentError(
            f"if_match must be the ETag that an upload returned, got {if_match!r:.80}"
        )
    return IfMatch(etag)


def check_canned_acl(acl: Any) -> str:
    """Return the name of a canned ACL.

    Raises
    ------
    InvalidArgumentError
        If no store has one of that name.
    """
    if isinstance(acl, str) and acl in _CANNED_ACLS:
        return acl
    hint = nearest(str(acl), _CANNED_ACLS, "{!r}") or "."
    raise InvalidArgumentError(
        f"there is no canned ACL {acl!r}, and nothing was sent{hint} Valid names: "
        f"{', '.join(_CANNED_ACLS)}"
    )


#: Names of parameters of other methods and libraries, and what to use here.
_OTHER_NAMES = {
    "bucket": "get_interface or set_bucket, which choose the bucket",
    "bucketname": "get_interface or set_bucket, which choose the bucket",
    "chunks": "buffersize= of upload_dask_array, or a Dask array",
    "chunksize": "buffersize= of upload_dask_array, or a Dask array",
    "compress": "compression=",
    "compressor": "compression=",
    "contenttype": "ExtraArgs={'ContentType': ...} of upload_from_file",
    "extraargs": "acl= and metadata=, or upload_from_file",
}


def checked_metadata(
    keywords: Mapping[str, Any], *methods: Callable[..., object]
) -> dict[str, Any]:
    """Return the metadata in the extra keywords of a method.

    Parameters
    ----------
    keywords : mapping
        What ``**metadata`` collected. The entry ``metadata``, if it is a mapping, holds names that
        are not checked.
    *methods : callable
        The methods whose parameters may be meant.

    Raises
    ------
    InvalidArgumentError
        If a keyword is a parameter in another spelling: stored as metadata, ``ACL='private'``
        would leave the object public.
    """
    if not keywords:
        return {}
    meant = keywords.get("metadata")  # a str is metadata of that name
    exact = dict(meant) if isinstance(meant, Mapping) else {}
    found = {name: value for name, value in keywords.items() if not exact or name != "metadata"}
    # Reading signatures is slow next to a small upload.
    parameters = [
        parameter.name
        for method in (methods if found else ())
        for parameter in inspect.signature(method).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    parameters += UPLOAD_OPTIONS
    for name in found:
        plain = _plain(name)
        near = (f"{known}=" for known in parameters if _is_spelling(plain, _plain(known)))
        instead = next(near, _OTHER_NAMES.get(plain))
        if instead is not None and name not in parameters:  # dict2cloud passes compression= on
            raise InvalidArgumentError(
                f"unknown keyword {name!r}; did you mean {instead}? Nothing was transferred. "
                f"If it is metadata, pass metadata={{{name!r}: ...}}"
            )
        if name in exact:
            raise InvalidArgumentError(f"metadata {name!r} is passed twice; nothing was uploaded")
    checked = {**found, **exact}
    if odd := [name for name in checked if not isinstance(name, str)]:
        raise MetadataError(f"metadata names must be text, got {odd[0]!r}; nothing was uploaded")
    reject_reserved(checked)
    return checked


def reject_reserved(names: Iterable[Any]) -> None:
    """Raise MetadataError if a user's metadata has a name of the storage format."""
    reserved = sorted(name for name in names if str(name).lower().startswith("cc-"))
    if reserved:
        raise MetadataError(
            f"metadata {reserved[0].lower()!r} is reserved for the storage format; choose a name "
            f"that does not begin with 'cc-'; nothing was uploaded"
        )


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _is_spelling(name: str, parameter: str) -> bool:
    """Return whether a name is a parameter with one or two letters wrong.

    Of three letters one may be added, since too many names differ in one (``acq``, ``acl``).
    """
    if len(parameter) <= 3:
        return name == parameter or (len(name) == 4 and name.startswith(parameter))
    return difflib.SequenceMatcher(None, name, parameter).ratio() >= _SIMILARITY
