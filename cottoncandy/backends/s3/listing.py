"""Listings: botocore's requests, signatures and retries, with a faster parser."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from functools import partial
from html import unescape
from operator import lt, ne
from typing import Any

from cottoncandy.backends.base import CommonPrefix, ObjectInfo
from cottoncandy.backends.pages import Page, check_order, parse_page
from cottoncandy.backends.s3.errors import S3Location, translated
from cottoncandy.backends.windows import in_windows
from cottoncandy.core.threads import in_background
from cottoncandy.exceptions import IntegrityError, StoreError

#: Number of keys that S3 returns at most in one response.
MAX_PAGE = 1000

_BODY = "CottonCandyBody"
_TOKEN = re.compile(rb"<NextContinuationToken>([^<]+)<")


def install_parser(client: Any) -> None:
    """Keep botocore's parser away from the listings of a boto3 client."""
    # Handlers of the more general pattern come first. Registered after botocore's check for errors
    # in a 200 response ("before-parse.s3.*"), this would be slower, because that check parses the
    # document once more, and it rejects control characters.
    client.meta.events.register_first("before-parse.*.ListObjectsV2", _take_body)


def _take_body(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    body: bytes = response_dict["body"]
    if response_dict["status_code"] == 200 and b"ListBucketResult" in body:
        customized_response_dict[_BODY] = body
        response_dict["body"] = b"<ListBucketResult/>"


def scan(
    client: Any,
    location: S3Location,
    *,
    prefix: str,
    delimiter: str,
    start_after: str,
    page_size: int | None,
    in_order: bool = False,
) -> Iterator[ObjectInfo | CommonPrefix]:
    """Yield a listing, whose pages are requested ahead from the second one on.

    Parameters
    ----------
    in_order : bool, default False
        Whether no pages of a long listing may be requested at the same time.

    Raises
    ------
    IntegrityError
        If the server returns an incomplete page, keys outside ``prefix``, keys out of order, or
        the same page again.
    """
    arguments: dict[str, Any] = {
        "Bucket": location.bucket,
        "Prefix": prefix,
        "EncodingType": "url",
        "MaxKeys": max(1, min(page_size or MAX_PAGE, MAX_PAGE)),
    }
    if delimiter:
        arguments["Delimiter"] = delimiter
    pages = partial(_pages, client, location, arguments)
    if in_order or delimiter or _unordered(location):
        return (entry for page in pages(start_after, lambda: True) for entry in page.entries)
    return in_windows(pages, prefix, start_after)


def _pages(
    client: Any,
    location: S3Location,
    arguments: dict[str, Any],
    start_after: str,
    ahead: Callable[[], bool],
) -> Iterator[Page]:
    """Yield the checked pages of a listing."""
    prefix: str = arguments["Prefix"]
    if start_after:
        arguments = {**arguments, "StartAfter": start_after}
    tokens: set[str | None] = {None, ""}
    last_key, last_prefix = start_after, ""
    follows = ne if _unordered(location) else lt

    def request(token: str | None) -> bytes:
        more = {"ContinuationToken": token} if token is not None else {}
        with translated(location):
            body: bytes | None = client.list_objects_v2(**arguments, **more).get(_BODY)
        if body is None:
            raise StoreError(
                f"{location}: the response is not an S3 listing; check that endpoint_url is an S3 "
                f"server"
            )
        return body

    body = request(None)
    for number in itertools.count():
        # The next page is requested while this one is parsed, but not for callers that only read
        # the first one.
        found = _TOKEN.search(body) if number and ahead() else None
        token = unescape(found[1].decode("utf-8", "replace")) if found else None
        following = in_background(request, token) if token else None
        try:
            page = parse_page(body)
            if page.truncated and page.token in tokens:
                raise ValueError("it is incomplete and does not say where it continues")
            keys = [each.key for each in page.objects]
            last_key = check_order(keys, last_key, prefix, follows=follows)
            prefixes = [each.key for each in page.prefixes]
            last_prefix = check_order(prefixes, last_prefix, prefix, follows=follows)
        except ValueError as exc:
            raise IntegrityError(
                f"{location}: the server's listing is damaged ({exc}); try again"
            ) from exc
        tokens.add(page.token)
        yield page
        if not page.truncated:
            return
        body = following.result() if following and token == page.token else request(page.token)


def _unordered(location: S3Location) -> bool:
    """Return whether a bucket is a directory bucket (S3 Express), which is not listed in order."""
    return (location.bucket or "").endswith("--x-s3")
