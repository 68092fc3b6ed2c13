"""The connection to Drive: authorized HTTP, and requests that the client library retries."""

from __future__ import annotations

import http.client
import json
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from googleapiclient.discovery import build_from_document
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.errors import HttpError
from googleapiclient.http import build_http
from httplib2.error import HttpLib2Error
from oauth2client.client import AccessTokenRefreshError

from cottoncandy.backends.gdrive.auth import LoginConfig, make_auth
from cottoncandy.backends.gdrive.errors import DriveApiError, DriveConnectionError
from cottoncandy.core.threads import ForkSafeLock, after_fork
from cottoncandy.exceptions import CredentialsError

__all__ = ["RETRIES", "Session"]

#: Retries of one request by the client library, after random pauses of up to 2, 4, ..., 64 s.
RETRIES = 6

_IDS_PER_REQUEST = 100


class Session:
    """Sends requests to Drive; shared by all threads.

    Parameters
    ----------
    login : LoginConfig
    root_url : str, optional
        Address of a proxy or a test server; Google's by default.
    """

    def __init__(self, login: LoginConfig, root_url: str | None = None) -> None:
        self._login = login
        self._root_url = root_url
        self._auth: Any = None
        self._ids: list[str] = []
        self._lock = ForkSafeLock()
        # httplib2 is not thread-safe, so a connection has one user at a time.
        self._idle: list[Any] = []
        weakref.finalize(self, _close_all, self._idle)
        after_fork(self._reset)

    def _reset(self) -> None:
        """Discard connections and credentials, whose locks a thread of the parent may hold."""
        self._idle.clear()
        self._auth = None

    @property
    def auth(self) -> Any:
        """pydrive2's ``GoogleAuth`` with credentials; loading it may ask the user to log in."""
        with self._lock:
            if self._auth is None:
                self._auth = make_auth(self._login)
            return self._auth

    @cached_property
    def service(self) -> Any:
        """The API's methods, built from the description that the client library ships."""
        document = json.loads(get_static_doc("drive", "v2"))
        if self._root_url is not None:
            # Uploads use rootUrl, everything else baseUrl; no option sets the former.
            document["rootUrl"] = self._root_url.rstrip("/") + "/"
            document["baseUrl"] = document["rootUrl"] + document["servicePath"]
            document.pop("mtlsRootUrl", None)
        return build_from_document(document, http=self._connect())

    # Groups of the API's methods; the library takes milliseconds to build one.

    @cached_property
    def api(self) -> Any:
        """The methods on files."""
        return self.service.files()

    @cached_property
    def drives(self) -> Any:
        """The methods on shared drives."""
        return self.service.drives()

    # -- requests ----------------------------------------------------------------------------------

    def call(self, request: Any) -> Any:
        """Send an idempotent request; return its JSON, or the bytes of a file.

        Raises
        ------
        DriveApiError, DriveConnectionError
            Of the last attempt.
        """
        with self.connection() as connection:
            return request.execute(http=connection, num_retries=RETRIES)

    def files(self, verb: str, **arguments: Any) -> Any:
        """Call a method on files, in shared drives too."""
        return self.call(getattr(self.api, verb)(supportsAllDrives=True, **arguments))

    def pages(self, methods: Any, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of a listing, page by page."""
        token: str | None = None
        while True:
            answer = self.call(methods.list(**arguments, pageToken=token))
            yield from answer.get("items", ())
            token = answer.get("nextPageToken")
            if not token:
                return

    def new_id(self) -> str:
        """Return an id for a new file: with it, an insertion can be repeated and happens once."""
        with self._lock:
            if not self._ids:
                request = self.api.generateIds(maxResults=_IDS_PER_REQUEST, fields="ids")
                self._ids = list(self.call(request)["ids"])
            return self._ids.pop()

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Yield an authorized connection; errors in the block are converted."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        except HttpError as error:
            self._idle.append(connection)
            raise DriveApiError.of(int(error.resp.status), error.content) from None
        except (HttpLib2Error, OSError) as error:
            connection.close()
            if isinstance(error, CredentialsError):  # an OSError too
                raise
            raise DriveConnectionError(error) from error
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def _connect(self) -> Any:
        connection = build_http()
        connection.timeout = self._login.timeout_s
        credentials = self.auth.credentials
        if credentials.store is not None:
            # A copy for each connection: when its token is rejected, it takes a newer one from the
            # store if another connection has renewed it.
            credentials = credentials.store.get() or credentials
        credentials.authorize(connection)
        send = connection.request

        def request(*arguments: Any, **options: Any) -> Any:
            # The client library retries connection errors only of the builtin types.
            try:
                return send(*arguments, **options)
            except http.client.HTTPException as error:
                raise ConnectionError(f"{type(error).__name__}: {error}") from error
            except AccessTokenRefreshError as error:
                status = int(getattr(error, "status", None) or 0)
                if status >= 500 or status == 429:
                    raise ConnectionError("no new access token") from error
                raise CredentialsError(
                    f"the login to Google Drive cannot be renewed ({error}): it was revoked or "
                    f"has expired (after 7 days while the OAuth consent screen is in testing). "
                    f"Delete {self._login.credentials} and log in again"
                ) from None

        connection.request = request
        return connection


def _close_all(connections: list[Any]) -> None:
    while connections:
        connections.pop().close()
