"""Requests to web servers, with retries and typed errors."""

from __future__ import annotations

import base64
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    LocationValueError,
    MaxRetryError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from cottoncandy.backends import responses
from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.responses import TRANSIENT
from cottoncandy.core.stats import Counter
from cottoncandy.core.threads import after_fork
from cottoncandy.exceptions import (
    ConfigurationError,
    CottonCandyError,
    IntegrityError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
)

logger = logging.getLogger(__name__)

# As on S3: four attempts, with pauses of some seconds in total.
_RETRIES = 3
_PAUSE_S = 0.5  # after the second attempt; doubled for each later one
_MAX_PAUSE_S = 20.0  # longest one that a server may ask for
_LOGIN = (
    "pass ACCESS_KEY (the user) and SECRET_KEY (the password), or write "
    "https://user:password@host/..."
)
_EXTRA = ("headers", "query", "timeout", "verify")


@dataclass(frozen=True, slots=True)
class HTTPOptions:
    """The options of a connection. They pickle, secrets included, but their repr hides these.

    Parameters
    ----------
    origin : str
        Scheme, host and port that the headers and the query are for.
    headers : mapping
        Headers of every request, such as ``{"Authorization": "Bearer ..."}``.
    query : str
        Query of every request, such as the signature of a presigned URL.
    timeout_s : float
        For the response to begin, and for each piece of the body.
    verify : bool or str
        Whether certificates are checked, or the path of those to trust.
    """

    origin: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: str = field(default="", repr=False)
    timeout_s: float = 60
    verify: bool | str = True

    @classmethod
    def of(cls, arguments: ConnectionArguments, url: str) -> Self:
        """Resolve the user's arguments.

        Raises
        ------
        ConfigurationError
            If an option is unknown or has the wrong type.
        """
        extra = arguments.extra
        arguments.check_extra("http", _EXTRA)
        headers, timeout = extra.get("headers") or {}, extra.get("timeout", 60)
        verify = extra.get("verify", True)
        if not isinstance(headers, Mapping) or not all(
            isinstance(text, str) and "\n" not in text for pair in headers.items() for text in pair
        ):
            raise ConfigurationError("headers must be a mapping of text to text in one line")
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
            raise ConfigurationError(f"timeout must be a number of seconds, got {timeout!r}")
        user, password, headers = arguments.access_key, arguments.secret_key, dict(headers)
        if user is not None or password is not None:
            login = base64.b64encode(f"{user or ''}:{password or ''}".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        verify = os.fsdecode(verify) if isinstance(verify, os.PathLike) else verify
        return cls(_origin(url), headers, extra.get("query", ""), timeout, verify)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class WebClient:
    """Connections to web servers.

    Parameters
    ----------
    options : HTTPOptions
    """

    def __init__(self, options: HTTPOptions) -> None:
        self.options = options
        self.counter = Counter()
        self._reset()
        after_fork(self._reset)
        for name in ("connectionpool", "poolmanager", "util.retry"):  # also of redirects
            logging.getLogger(f"urllib3.{name}").addFilter(_mask_queries)

    def _reset(self) -> None:
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def close(self) -> None:
        """Close the connections; later requests open new ones."""
        for pool in list(self._pools.values()):
            pool.clear()

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> urllib3.BaseHTTPResponse:
        """Send a request and return the response, whose body is not read yet.

        Transient errors are retried. Any other status is returned, since its meaning depends on the
        request. Redirects are followed; secrets are not sent to other hosts.

        Raises
        ------
        StoreUnreachableError, StoreTimeoutError, StoreError
        """
        options = self.options
        sent = {"Accept-Encoding": "identity", "User-Agent": "cottoncandy", **(headers or {})}
        if _origin(url) == options.origin:
            sent.update(options.headers)
            query = "&".join(filter(None, (options.query, query)))
        target = f"{url}?{query}" if query else url
        retries = _Retry(
            None,
            connect=_RETRIES,
            read=_RETRIES,
            status=_RETRIES,
            other=0,
            redirect=10,
            status_forcelist=TRANSIENT,
            raise_on_status=False,
            backoff_factor=_PAUSE_S,
            backoff_jitter=_PAUSE_S,
            remove_headers_on_redirect={"Authorization", "Cookie", *options.headers},
        )
        try:
            response = self._pool(url).request(
                method, target, headers=sent, retries=retries, preload_content=False
            )
        except HTTPError as exc:
            unanswered = isinstance(exc, MaxRetryError) and _RETRIES
            self.counter.add(1 + unanswered, retries=unanswered)
            raise _translated(exc, url) from None  # urllib3's text contains the query
        before = response.retries.history if response.retries else ()
        repeated = sum(each.redirect_location is None for each in before)
        self.counter.add(1 + len(before), retries=repeated)
        return response

    def read(self, response: urllib3.BaseHTTPResponse, url: str) -> bytes:
        """Return the whole body of a response."""
        with body_errors(url):
            body = response.read(decode_content=True)
        if response.status < 300:
            self.counter.add(received=response.tell())  # before decompression
        return body

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        bypass = proxy_bypass(parts.netloc.rpartition("@")[2])
        proxy = None if bypass else getproxies().get(parts.scheme)
        if proxy not in self._pools:
            options = self.options
            settings: dict[str, Any] = {
                "timeout": urllib3.Timeout(connect=5, read=options.timeout_s),
                "maxsize": 32,
                "cert_reqs": "CERT_REQUIRED" if options.verify else "CERT_NONE",
            }
            if isinstance(options.verify, str):
                settings["ca_certs"] = options.verify
            self._pools[proxy] = (
                urllib3.PoolManager(**settings)
                if proxy is None
                else urllib3.ProxyManager(
                    proxy if "://" in proxy else f"http://{proxy}", **settings
                )
            )
        return self._pools[proxy]


class _Retry(urllib3.Retry):
    """urllib3's retries, which wait no longer than some seconds for a server that says when."""

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        try:
            return min(super().get_retry_after(response) or 0, _MAX_PAUSE_S)
        except InvalidHeader:
            return None


def _mask_queries(record: logging.LogRecord) -> bool:
    """Hide the queries of URLs in urllib3's log: they may contain signatures."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            re.sub(r"\?\S+", "?***", arg) if isinstance(arg, str) else arg for arg in record.args
        )
    return True


def status_error(status: int, label: str) -> CottonCandyError:
    """Return the error for a response that is not a success."""
    return responses.status_error(status, label, _LOGIN)


def _translated(exc: HTTPError, url: str) -> CottonCandyError:
    reason = exc.reason if isinstance(exc, MaxRetryError) else exc
    host = _origin(url)
    timed_out = isinstance(reason, (ConnectTimeoutError, ReadTimeoutError))
    if timed_out and not isinstance(reason, NewConnectionError):  # it is a subclass
        return StoreTimeoutError(f"{url}: the server did not answer in time; try again later")
    if isinstance(reason, SSLError):
        return StoreUnreachableError(
            f"the certificate of {host} is not accepted ({reason}); check the address, or pass "
            f"verify='/path/to/ca.pem' to trust another authority"
        )
    if isinstance(reason, urllib3.exceptions.ResponseError):
        return StoreError(f"{url}: the server redirects too often")
    if isinstance(reason, LocationValueError):
        return ConfigurationError(f"{url} is not a valid address")
    return StoreUnreachableError(
        f"cannot connect to {host}; check the address, the network, and your proxy, if any"
    )


@contextmanager
def body_errors(label: str) -> Iterator[None]:
    """Translate errors of a body that is being received; the reader resumes after them."""
    try:
        yield
    except ReadTimeoutError:
        raise StoreTimeoutError(f"{label}: the server stopped sending") from None
    except HTTPError as exc:
        raise IntegrityError(
            f"{label}: the connection ended before the whole body had arrived "
            f"({type(exc).__name__})"
        ) from None
