"""Web servers before a store that say: not here, but by https, or under another name.

botocore takes a redirection for one of S3's, which is about regions, and asks for the bucket's
region, which is redirected too, and so on: https://github.com/boto/boto3/issues/2148. What is
raised here ends that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from cottoncandy.exceptions import StoreUnreachableError

__all__ = ["REDIRECT_STATUSES", "https_required_error", "install_redirect_check"]

#: Statuses of HTTP that send to another address.
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
# nginx and programs in Go
_WANTS_HTTPS = re.compile(r"(?i)HTTP request (?:was sent )?to (?:an )?HTTPS (?:port|server)")


def https_required_error(text: str, endpoint: str) -> StoreUnreachableError | None:
    """Return the error where an answer says that it takes https; None where not."""
    if not _WANTS_HTTPS.search(text):
        return None
    return StoreUnreachableError(
        f"{endpoint} speaks https only; write https:// instead of http:// into endpoint_url"
    )


def install_redirect_check(client: Any, endpoint: str) -> None:
    """Have a boto3 client raise where a web server sends it elsewhere."""

    def check(response_dict: Mapping[str, Any], **_: Any) -> None:
        status, headers = response_dict["status_code"], response_dict["headers"]
        location = urlsplit(headers.get("location") or "")
        # S3 itself says it in XML, and botocore knows what to do.
        by_s3 = "xml" in headers.get("content-type", "") or "x-amz-bucket-region" in headers
        if status in REDIRECT_STATUSES and location.netloc and not by_s3:
            raise StoreUnreachableError(
                f"{endpoint} sends its visitors on to {location.scheme}://{location.netloc}; write "
                f"that into endpoint_url, if it is your store"
            )
        body = response_dict["body"]
        if status == 400 and isinstance(body, bytes):
            error = https_required_error(body[:1000].decode(errors="replace"), endpoint)
            if error is not None:
                raise error

    client.meta.events.register("before-parse.s3", check)
