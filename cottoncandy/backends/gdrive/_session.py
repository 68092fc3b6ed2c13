"""The connection to Drive: authorised HTTP, one connection a thread, requests sent and retried."""

from __future__ import annotations

import http.client
import json
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cottoncandy._parallel import ForkSafeLock
from cottoncandy.backends.gdrive._auth import Login, make_auth
from cottoncandy.backends.gdrive._errors import (
    DriveApiError,
    DriveConnectionError,
    connection_errors,
)
from cottoncandy.backends.gdrive._retry import RetryPolicy
from cottoncandy.exceptions import CredentialsError

__all__ = ["Answer", "Api", "Session"]

_IDS_AT_ONCE = 100

#: Status, headers (lower case) and body of an answer.
Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Api:
    """Groups of the API's methods; the library takes milliseconds to make one, so they are kept."""

    files: Any
    drives: Any
    properties: Any


class Session:
    """Sends requests to Drive; shared by all threads.

    Parameters
    ----------
    login : Login
    root_url : str, optional
        Another address than Google's, for a proxy or a test server.
    retries : RetryPolicy
    """

    def __init__(
        self, login: Login, root_url: str | None = None, retries: RetryPolicy | None = None
    ) -> None:
        self.login = login
        self.root_url = root_url
        self.retries = retries or RetryPolicy()
        self._auth: Any = None
        self._service: Any = None
        self._api: Api | None = None
        self._ids: list[str] = []
        self._idle: list[Any] = []
        self._lock = ForkSafeLock()
        self._refresh_lock = ForkSafeLock()
        # httplib2 is not thread-safe, so a connection has one user at a time.
        weakref.finalize(self, _close_all, self._idle)

    @property
    def auth(self) -> Any:
        """pydrive2's ``GoogleAuth``, with credentials; loading it may ask the user to log in."""
        with self._lock:
            if self._auth is None:
                self._auth = make_auth(self.login)
            return self._auth

    @property
    def service(self) -> Any:
        """The API's methods, as google-api-python-client makes them."""
        with self._lock:
            if self._service is None:
                self._service = self._build()
            return self._service

    @property
    def api(self) -> Api:
        """The groups of methods that we use."""
        with self._lock:
            if self._api is None:
                service = self.service
                self._api = Api(service.files(), service.drives(), service.properties())
            return self._api

    def _build(self) -> Any:
        from googleapiclient.discovery import build_from_document
        from googleapiclient.discovery_cache import get_static_doc

        document = json.loads(get_static_doc("drive", "v2"))
        if self.root_url is not None:
            # Uploads go to rootUrl, everything else to both together; no option sets the former.
            document["rootUrl"] = self.root_url.rstrip("/") + "/"
            document["baseUrl"] = document["rootUrl"] + document["servicePath"]
            document.pop("mtlsRootUrl", None)
        return build_from_document(document, http=_new_http(self.login.timeout_s))

    # -- requests ----------------------------------------------------------------------------------

    def call(self, make: Callable[[Api], Any], what: str) -> Any:
        """Send an idempotent request, again after transient errors; return its JSON.

        Parameters
        ----------
        make : callable
            Takes the API, returns a request of google-api-python-client.
        what : str
            For the log.

        Raises
        ------
        DriveApiError, DriveConnectionError
        """
        return self.send_request(make(self.api), what)

    def send_request(self, request: Any, what: str) -> Any:
        """Do the same with a request that is made already."""
        return self.retries.run(lambda: self._execute(request), what)

    def _execute(self, request: Any) -> Any:
        from googleapiclient.errors import HttpError

        try:
            # The library changes a request whose address is long while it sends it.
            uri, verb, body, headers = request.uri, request.method, request.body, request.headers
            try:
                return request.execute(http=_Channel(self), num_retries=0)
            finally:
                request.uri, request.method, request.body = uri, verb, body
                request.headers = {
                    name: value
                    for name, value in headers.items()
                    if name not in ("x-http-method-override", "content-length")
                }
        except HttpError as error:
            raise DriveApiError.of(int(error.resp.status), error.content) from None

    def send(self, verb: str, uri: str, headers: dict[str, str], body: Any = None) -> Answer:
        """Send one request as it is, once; any status is an answer."""
        response, content = self.request(uri, method=verb, body=body, headers=headers)
        return int(response.status), {k.lower(): v for k, v in response.items()}, content

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[Any, bytes]:
        """Send with the access token, which is renewed if need be."""
        token = self._token()
        response, content = self._send_with(token, uri, method, body, headers)
        if response.status == http.client.UNAUTHORIZED:
            token = self._token(refused=token)
            response, content = self._send_with(token, uri, method, body, headers)
        return response, content

    def _send_with(
        self, token: str, uri: str, method: str, body: Any, headers: dict[str, str] | None
    ) -> tuple[Any, bytes]:
        sent = {**(headers or {}), "authorization": f"Bearer {token}"}
        with self._channel() as channel:
            answer: tuple[Any, bytes] = channel.request(uri, method=method, body=body, headers=sent)
        return answer

    def new_id(self) -> str:
        """Return an id for a new file: with it, an insertion can be repeated and happens once."""
        with self._lock:
            if not self._ids:
                answer = self.call(
                    lambda api: api.files.generateIds(maxResults=_IDS_AT_ONCE, fields="ids"),
                    "new ids",
                )
                self._ids = list(answer["ids"])
            return self._ids.pop()

    # -- inside ----------------------------------------------------------------------------------

    def _token(self, refused: str | None = None) -> str:
        """Return an access token; a new one if it is stale or was ``refused``."""
        from oauth2client.client import AccessTokenRefreshError

        credentials = self.auth.credentials
        with self._refresh_lock:
            token = credentials.access_token
            if token is None or token == refused or credentials.access_token_expired:
                try:
                    with self._channel() as channel:
                        credentials.refresh(channel)
                except AccessTokenRefreshError as exc:
                    status = int(getattr(exc, "status", None) or 0)
                    if status >= 500 or status == 429:
                        raise DriveApiError(status, "backendError", "no new access token") from None
                    raise CredentialsError(
                        f"Google does not renew the login to Google Drive ({exc}): it was "
                        f"withdrawn, or has expired (after 7 days while the OAuth consent screen "
                        f"is in testing). Delete {self.login.credentials} and log in again"
                    ) from None
            return str(credentials.access_token)

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        """Lend a connection; one that broke is closed."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = _new_http(self.login.timeout_s)
        try:
            yield connection
        except connection_errors() as exc:
            connection.close()
            raise DriveConnectionError(exc) from exc
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)


class _Channel:
    """What google-api-python-client takes for an HTTP object."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
        **_: Any,
    ) -> tuple[Any, bytes]:
        return self._session.request(uri, method, body, headers)

    def close(self) -> None:
        """Do nothing: the session keeps its connections."""


def _new_http(timeout_s: float) -> Any:
    import httplib2

    connection = httplib2.Http(timeout=timeout_s)
    # 308 is how Drive acknowledges a part of an upload; httplib2 takes it for a redirection.
    connection.redirect_codes = connection.redirect_codes - {308}
    return connection


def _close_all(connections: list[Any]) -> None:
    while connections:
        connections.pop().close()
