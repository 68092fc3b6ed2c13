"""The connection to Drive: authorized HTTP, requests that the client library retries, errors."""

from __future__ import annotations

import http.client
import json
import ssl
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from googleapiclient.discovery import build_from_document
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.errors import HttpError
from googleapiclient.http import build_http
from httplib2.error import HttpLib2Error
from oauth2client.client import AccessTokenRefreshError

from cottoncandy.backends.gdrive.auth import GDriveOptions, make_auth
from cottoncandy.backends.responses import status_error
from cottoncandy.core.stats import Counter
from cottoncandy.core.threads import ForkSafeLock, after_fork, cached_property
from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    CredentialsError,
    IntegrityError,
    StorageFullError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
)

_IDS_PER_REQUEST = 100
_LOGIN = "delete the credentials file and log in again"

_RATE = {"userRateLimitExceeded", "rateLimitExceeded", "sharingRateLimitExceeded"}
_FULL = {
    "quotaExceeded",
    "storageQuotaExceeded",
    "teamDriveFileLimitExceeded",
    "numChildrenInNonRootLimitExceeded",
    "teamDriveHierarchyTooDeep",
}
_TRANSIENT_STATUS = {0, 408, 429, 500, 502, 503, 504}


class DriveError(Exception):
    """An error response of Drive, or a missing or incomplete one.

    Parameters
    ----------
    status : int
        The HTTP status; 0 if there is no whole response. ``__cause__`` is then the error of the
        HTTP library.
    reason, message : str
        Drive's own.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message

    @staticmethod
    def of(status: int, content: bytes) -> DriveError:
        """Parse the body of an error response, which may be malformed."""
        reason, message = "", ""
        try:
            error: Any = json.loads(content)["error"]
            message = str(error.get("message", ""))
            reason = str(error["errors"][0].get("reason", ""))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            pass  # the page of a proxy, or an empty body
        kind = MissingError if status == 404 else DriveError
        return kind(status, reason, message)

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _TRANSIENT_STATUS or (self.status == 403 and self.reason in _RATE)

    def __str__(self) -> str:
        return f"{self.status or ''} {self.reason}: {self.message}".lstrip()


class MissingError(DriveError):
    """A file or a folder that does not exist, or may not be seen."""


class Session:
    """Sends requests to Drive; shared by all threads."""

    def __init__(self, options: GDriveOptions) -> None:
        self.options = options
        self.counter = Counter()
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

    def close(self) -> None:
        """Close the idle connections; later requests open new ones."""
        _close_all(self._idle)

    @property
    def auth(self) -> Any:
        """pydrive2's ``GoogleAuth`` with credentials; loading it may ask the user to log in."""
        with self._lock:
            if self._auth is None:
                self._auth = make_auth(self.options)
            return self._auth

    @cached_property
    def service(self) -> Any:
        """The API's methods, built from the description that the client library ships."""
        document = json.loads(get_static_doc("drive", "v2"))
        address = self.options.endpoint_url
        if address is not None:
            # Uploads use rootUrl, everything else baseUrl; no option sets the former.
            document["rootUrl"] = address.rstrip("/") + "/"
            document["baseUrl"] = document["rootUrl"] + document["servicePath"]
            document.pop("mtlsRootUrl", None)
        return build_from_document(document, http=self._connect())

    @cached_property
    def api(self) -> Any:
        """The methods on files, which take the library milliseconds to build."""
        return self.service.files()

    # -- requests ----------------------------------------------------------------------------------

    def call(self, request: Any) -> Any:
        """Send an idempotent request; return its JSON, or the bytes of a file.

        Raises
        ------
        DriveError
            Of the last attempt.
        """
        with self.connection() as connection:
            return request.execute(http=connection, num_retries=self.options.retries)

    def files(self, verb: str, **arguments: Any) -> Any:
        """Call a method on files, in shared drives too."""
        return self.call(getattr(self.api, verb)(supportsAllDrives=True, **arguments))

    def pages(self, methods: Any, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of a listing, page by page."""
        request = methods.list(**arguments)
        while request is not None:
            answer = self.call(request)
            yield from answer.get("items", ())
            request = methods.list_next(request, answer)

    def new_file(self, title: str, parent: str, **description: Any) -> dict[str, Any]:
        """Return the description of a new file.

        It has an id, with which an insertion can be repeated and happens once.
        """
        with self._lock:
            if not self._ids:
                request = self.api.generateIds(maxResults=_IDS_PER_REQUEST, fields="ids")
                self._ids = list(self.call(request)["ids"])
            file_id = self._ids.pop()
        return {"id": file_id, "title": title, "parents": [{"id": parent}], **description}

    def create(self, verb: str, body: dict[str, Any], **arguments: Any) -> Any:
        """Send a request that creates the file with the id in ``body``, exactly once."""
        try:
            return self.files(verb, body=body, **arguments)
        except DriveError as fault:
            if fault.status != 409:
                raise
        # An earlier attempt succeeded, but its response was lost.
        return self.files("get", fileId=body["id"], fields=arguments["fields"])

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Yield an authorized connection; errors in the block are converted."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        connection.sent_before = set()
        try:
            yield connection
        except HttpError as error:
            self._idle.append(connection)
            raise DriveError.of(int(error.resp.status), error.content) from None
        except (HttpLib2Error, OSError) as error:
            connection.close()
            if isinstance(error, CredentialsError):  # an OSError too
                raise
            raise DriveError(0, type(error).__name__, str(error)) from error
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def _connect(self) -> Any:
        connection = build_http()
        connection.timeout = self.options.timeout_s
        credentials = self.auth.credentials
        if credentials.store is not None:
            # A copy for each connection: when its token is rejected, it takes a newer one from the
            # store if another connection has renewed it.
            credentials = credentials.store.get() or credentials
        once = connection.request
        connection.sent_before = set()

        def counted(uri: str, method: str = "GET", body: Any = None, *more: Any, **kw: Any) -> Any:
            length = len(body) if isinstance(body, str | bytes) else 0
            self.counter.add(1, length, retries=(method, uri) in connection.sent_before)
            connection.sent_before.add((method, uri))
            response, content = once(uri, method, body, *more, **kw)
            if response.status < 300:
                self.counter.add(received=len(content))
            return response, content

        connection.request = counted
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
                    f"Delete {self.options.credentials} and log in again"
                ) from None

        connection.request = request
        return connection


def _close_all(connections: list[Any]) -> None:
    while connections:
        connections.pop().close()


# -- errors --------------------------------------------------------------------------------------


@contextmanager
def translating(what: str) -> Iterator[None]:
    """Turn Drive's errors inside the block into this library's; ``what`` names the object."""
    try:
        yield
    except DriveError as fault:
        raise translated(fault, what) from fault


def translated(fault: DriveError, what: str) -> CottonCandyError:
    """Return this library's error for one of Drive's or of the connection.

    Parameters
    ----------
    fault : DriveError
    what : str
        The object and its location, for the message: ``object 'a/b' in 'My Drive'``.
    """
    if (error := fault.__cause__) is None:
        return _translated_answer(fault, what)
    if isinstance(error, TimeoutError):
        return StoreTimeoutError(
            f"the request to Google Drive for {what} timed out; pass a larger http_timeout"
        )
    if isinstance(error, ssl.SSLError):
        return StoreUnreachableError(f"no secure connection to Google Drive for {what}: {error}")
    if isinstance(error.__cause__, http.client.IncompleteRead):
        return IntegrityError(f"the connection to Google Drive ended during {what}; try again")
    return StoreUnreachableError(
        f"Google Drive cannot be reached for {what} ({fault}); check the network"
    )


def _translated_answer(fault: DriveError, what: str) -> CottonCandyError:
    detail = fault.message or fault.reason
    if fault.reason in _FULL:
        return StorageFullError(f"no room on Google Drive for {what}: {detail}")
    if fault.reason == "accessNotConfigured":
        return AccessDeniedError(
            f"the Google Drive API is not enabled in the project of your client secrets: enable it "
            f"in the Google Cloud console ({detail})"
        )
    if fault.reason in {"insufficientPermissions", "insufficientScopes"}:
        return CredentialsError(f"the stored credentials do not cover {what} ({detail}); {_LOGIN}")
    if fault.transient:
        return StoreError(
            f"Google Drive is unavailable ({detail or fault.status}); try {what} later"
        )
    if fault.status == 403:
        return AccessDeniedError(f"Google Drive denies access to {what}: {detail or 403}")
    return status_error(fault.status, what, _LOGIN, detail)
