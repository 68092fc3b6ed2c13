"""Additions to botocore's requests: counts, charges, and checks of the responses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from cottoncandy.backends.s3.errors import redact
from cottoncandy.backends.s3.options import is_aws
from cottoncandy.core.stats import Counter
from cottoncandy.exceptions import StoreUnreachableError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})

# nginx, and programs in Go
_HTTPS_REQUIRED = re.compile(rb"(?i)HTTP request (?:was sent )?to (?:an )?HTTPS (?:port|server)")

_HTML = re.compile(rb"(?i)\s*<(!doctype html|html)\b")

# botocore numbers the attempts of a request in a header.
_REPEATED = re.compile(r"attempt=(?!1\b)")


def install_handlers(client: Any, counter: Counter, *, requester_pays: bool) -> None:
    """Register the handlers of a boto3 client.

    Parameters
    ----------
    counter : Counter
        Counts requests, bytes and retries.
    requester_pays : bool
        Whether requests declare that the reader is charged for them.
    """
    events, endpoint = client.meta.events, client.meta.endpoint_url
    events.register("before-send.s3", partial(_count_request, counter))
    # Before listing.py takes the body.
    events.register("before-parse.*.*", partial(_count_response, counter))
    if requester_pays:
        events.register("before-call.s3", _accept_charges)
    if client.meta.config.signature_version == "s3":
        events.register("before-sign.s3", _end_as_signed)
    if not is_aws(endpoint):
        events.register("before-parse.s3", partial(_check_server, redact(endpoint)))


def _count_request(counter: Counter, request: Any, **_: Any) -> None:
    """Count an attempt of a request; the first one sends its body without asking before.

    Asking takes a round trip, and tells why a request is rejected if the server then closes the
    connection.
    """
    repeated = _REPEATED.search(str(request.headers.get("amz-sdk-request")))
    if repeated is None:
        request.headers.pop("Expect", None)
    length = int(request.headers.get("Content-Length") or 0)
    counter.add(1, length, retries=repeated is not None)


def _count_response(counter: Counter, response_dict: Mapping[str, Any], **_: Any) -> None:
    body = response_dict["body"]
    # Those of objects are counted as they arrive; those of errors not, as by obstore.
    if isinstance(body, bytes) and response_dict["status_code"] < 300:
        counter.add(received=len(body))


def _accept_charges(params: dict[str, Any], **_: Any) -> None:
    params["headers"]["x-amz-request-payer"] = "requester"


def _end_as_signed(request: Any, **_: Any) -> None:
    # botocore sends ``/bucket`` and signs ``/bucket/``, which AWS accepts; Ceph does not.
    url = urlsplit(request.url)
    if (request.auth_path or "").endswith("/") and not url.path.endswith("/"):
        request.url = url._replace(path=f"{url.path}/").geturl()


def _check_server(
    endpoint: str, response_dict: Mapping[str, Any], operation_model: Any, **_: Any
) -> None:
    """Raise if a web server redirects to https or to another host, or sends its own page.

    botocore treats each redirect as one of S3's, which are about regions, and requests the bucket's
    region, which is redirected too, and so on: https://github.com/boto/boto3/issues/2148.
    """
    status, headers = response_dict["status_code"], response_dict["headers"]
    location = urlsplit(headers.get("location") or "")
    # S3's redirects have the bucket's region, or a body of XML, whereupon botocore asks for the
    # region with HeadBucket.
    by_s3 = "x-amz-bucket-region" in headers or (
        "xml" in headers.get("content-type", "") and operation_model.name != "HeadBucket"
    )
    if status in _REDIRECTS and (not by_s3 or operation_model.name == "ListBuckets"):
        raise StoreUnreachableError(
            f"{endpoint} redirects to {location.scheme}://{location.netloc}; if that is your "
            f"store, set endpoint_url to it"
            if location.netloc
            else f"{endpoint} redirects to another address; check endpoint_url"
        )
    body = response_dict["body"]
    if not isinstance(body, bytes):
        return  # that of an object
    if status == 400 and _HTTPS_REQUIRED.search(body[:1000]):
        raise StoreUnreachableError(
            f"{endpoint} only accepts https; change http:// to https:// in endpoint_url"
        )
    if status == 200 and _HTML.match(body):
        raise StoreUnreachableError(
            f"{endpoint} answers with a web page, so it is not an S3 server; check endpoint_url, "
            f"and any proxy"
        )
