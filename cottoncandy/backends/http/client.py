"""Requests to web servers, with retries and typed errors."""

from __future__ import annotations

import base64
import logging
import os
import random
import re
import time
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
    LocationValueError,
    MaxRetryError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.core.stats import Counter
from cottoncandy.core.threads import after_fork
from cottoncandy.exceptions import (
    AccessDeniedError,
    ConfigurationError,
    CottonCandyError,
    CredentialsError,
    IntegrityError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
)

__all__ = ["HTTPOptions", "WebClient", "body_errors", "status_error"]

logger = logging.getLogger(__name__)

# As on S3: four attempts, with pauses of 3.5 s in total on average.
_ATTEMPTS = 4
_PAUSE_S = 1.0  # longest one after the first attempt; doubled for each later one
_MAX_PAUSE_S = 20.0  # longest one that a server may ask for
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_EXTRA = ("headers", "query", "timeout", "verify")


@dataclass(frozen=True, slots=True)
class HTTPOptions:
    """The options of a connection. They pickle, secrets included, but their repr hides these.

    Parameters
    ----------
    login : str, optional
        ``user:password``, for basic authentication.
    origin : str
        Scheme, host and port that the login, the headers and the query are for.
    headers : mapping
        Headers of every request, such as ``{"Authorization": "Bearer ..."}``.
    query : str
        Query of every request, such as the signature of a presigned URL.
    timeout_s : float
        For the response to begin, and for each piece of the body.
    verify : bool or str
        Whether certificates are checked, or the path of those to trust.
    """

    login: str | None = field(default=None, repr=False)
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
        user, password = arguments.access_key, arguments.secret_key
        login = None if user is None and password is None else f"{user or ''}:{password or ''}"
        verify = os.fsdecode(verify) if isinstance(verify, os.PathLike) else verify
        return cls(login, _origin(url), dict(headers), extra.get("query", ""), timeout, verify)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class WebClient:
    """Connections to web servers. It pickles as its options.

    Parameters
    ----------
    options : HTTPOptions
    """

    def __init__(self, options: HTTPOptions) -> None:
        self.options = options
        self.counter = Counter()
        self._reset()
        after_fork(self._reset)
        if options.query or options.login:
            logging.getLogger("urllib3.connectionpool").addFilter(_mask_queries)

    def __reduce__(self) -> tuple[Any, ...]:
        return WebClient, (self.options,)

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
            if options.login is not None:
                token = base64.b64encode(options.login.encode()).decode()
                sent["Authorization"] = f"Basic {token}"
            query = "&".join(filter(None, (options.query, query)))
        target = f"{url}?{query}" if query else url
        retries = urllib3.Retry(
            None,
            connect=0,
            read=0,
            other=0,
            redirect=10,
            remove_headers_on_redirect={"Authorization", "Cookie", *options.headers},
        )
        for attempt in range(_ATTEMPTS):
            last = attempt == _ATTEMPTS - 1
            self.counter.add(1, retries=attempt > 0)
            try:
                response = self._pool(url).request(
                    method, target, headers=sent, retries=retries, preload_content=False
                )
            except HTTPError as exc:
                error = _translated(exc, url)
                if last or not isinstance(error, (StoreUnreachableError, StoreTimeoutError)):
                    # Not chained: urllib3's text contains the query.
                    raise error from None
                pause = 0.0
            else:
                self.counter.add(len(response.retries.history) if response.retries else 0)
                if last or response.status not in _TRANSIENT:
                    return response
                error = status_error(response.status, url)
                pause = _retry_after(response)
                response.drain_conn()
            logger.info("retrying after error: %s", error)
            time.sleep(pause or random.uniform(0, _PAUSE_S * 2**attempt))  # noqa: S311 - jitter
        raise AssertionError  # the last attempt returns or raises

    def read_text(self, response: urllib3.BaseHTTPResponse, url: str) -> str:
        """Return the body of a response as text."""
        with body_errors(url):
            text = response.read(decode_content=True).decode(errors="replace")
        if response.status < 300:
            self.counter.add(received=response.tell())  # before decompression
        return text

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


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MAX_PAUSE_S) if re.fullmatch(r"\d{1,9}", text) else 0.0


def _mask_queries(record: logging.LogRecord) -> bool:
    """Hide the queries of URLs in urllib3's log: they may contain signatures."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            re.sub(r"\?\S+", "?***", arg) if isinstance(arg, str) else arg for arg in record.args
        )
    return True


def status_error(status: int, label: str) -> CottonCandyError:
    """Return the error for a response that is not a success.

    Parameters
    ----------
    status : int
    label : str
        What was requested, without secrets.
    """
    if status == 401:
        return CredentialsError(
            f"{label} requires a login; pass ACCESS_KEY (the user) and SECRET_KEY (the password), "
            f"or write https://user:password@host/..."
        )
    if status == 403:
        return AccessDeniedError(f"access denied to {label}; ask its owner for permission")
    if status in (404, 410):
        return ObjectNotFoundError(f"there is no {label}")
    if status in (412, 416):
        return ObjectChangedError(f"{label} was replaced while it was being read; read it again")
    advice = "; try again later" if status in _TRANSIENT else ""
    return StoreError(f"{label}: the server answered with status {status}{advice}")


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
