"""Google's client: options, credentials, and errors."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import google.auth
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.acl import ACL
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2 import service_account

from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.responses import status_error
from cottoncandy.core.stats import Counter
from cottoncandy.core.threads import after_fork
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketExistsError,
    BucketNotEmptyError,
    ConfigurationError,
    CottonCandyError,
    CredentialsError,
    IntegrityError,
    InvalidNameError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
    UnsupportedOperationError,
)

#: Six attempts in about half a minute. Uploads are safe to repeat: the last one wins.
RETRY = DEFAULT_RETRY.with_delay(0.5, 8, 2).with_timeout(30)
TIMEOUT_S = (5, 60)

# urllib3 warns of more connections than requests keeps.
_CONNECTIONS = 10
_EXTRA = ("anon", "credentials", "project", "request_payer")
_LOGIN = (
    "run 'gcloud auth application-default login', or pass "
    "credentials='/path/to/service-account.json'"
)
_SCOPES = ["https://www.googleapis.com/auth/devstorage.full_control"]


@dataclass(frozen=True, slots=True)
class GCSOptions:
    """The options of a connection. They pickle, secrets included, but their repr hides these.

    Parameters
    ----------
    credentials : google.auth.credentials.Credentials or str, optional
        The latter is the path of a service account's JSON file. None: as Google's tools find them.
    endpoint_url : str, optional
        Address of another server.
    project : str, optional
        For new buckets, listings of buckets, and charges.
    anonymous : bool
        Whether requests are sent without credentials.
    requester_pays : bool
        Whether requests are charged to the project.
    """

    credentials: Any = field(default=None, repr=False)
    endpoint_url: str | None = None
    project: str | None = None
    anonymous: bool = False
    requester_pays: bool = False

    @classmethod
    def of(cls, arguments: ConnectionArguments) -> Self:
        """Resolve the user's arguments.

        Raises
        ------
        ConfigurationError
            If an option is unknown or has the wrong type.
        """
        extra = arguments.extra
        arguments.check_extra("gcs", _EXTRA)
        anonymous = extra.get("anon", False)
        credentials = extra.get("credentials") or arguments.access_key
        if anonymous and credentials:
            raise ConfigurationError("anon=True sends no credentials; omit them")
        endpoint = arguments.endpoint_url or os.environ.get("STORAGE_EMULATOR_HOST")
        if endpoint and "://" not in endpoint:
            endpoint = f"http://{endpoint}"
        emulated = endpoint is not None and arguments.endpoint_url is None
        return cls(
            os.fspath(credentials) if isinstance(credentials, os.PathLike) else credentials,
            endpoint and endpoint.rstrip("/"),
            extra.get("project"),
            bool(anonymous) or (emulated and not credentials),
            extra.get("request_payer") is not None,
        )

    def without_credentials(self) -> Self | None:
        """Return the same options for anonymous requests; None if these are."""
        return None if self.anonymous else replace(self, credentials=None, anonymous=True)


class Connection:
    """The client of one backend, created when first needed.

    Parameters
    ----------
    options : GCSOptions
    """

    def __init__(self, options: GCSOptions) -> None:
        self.options = options
        self.counter = Counter()
        self._reset()
        after_fork(self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._slots = threading.BoundedSemaphore(_CONNECTIONS)
        self._client: Any = None
        self._sent = threading.local()

    @property
    def client(self) -> Any:
        """Google's client."""
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
                self._count_requests(self._client._http)  # nothing public returns it
            return self._client

    def close(self) -> None:
        """Close the client; the next use creates another."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _new_client(self) -> Any:
        options = self.options
        credentials, project = options.credentials, options.project
        try:
            if options.anonymous:
                credentials = AnonymousCredentials()
            elif isinstance(credentials, str):
                credentials = service_account.Credentials.from_service_account_file(
                    credentials, scopes=_SCOPES
                )
                project = project or credentials.project_id
            elif credentials is None:
                credentials, found = google.auth.default(scopes=_SCOPES)
                project = project or found
        except auth.DefaultCredentialsError:
            credentials = AnonymousCredentials()  # public data can be read
        except (OSError, ValueError) as exc:  # MalformedError is a ValueError
            raise ConfigurationError(
                f"the service account's file {credentials!r} cannot be read: {exc}"
            ) from exc
        return storage.Client(
            project=project or os.environ.get("GOOGLE_CLOUD_PROJECT") or None,
            credentials=credentials,
            client_options={"api_endpoint": options.endpoint_url} if options.endpoint_url else None,
        )

    def _count_requests(self, session: requests.Session) -> None:
        """Count what a session sends: the first attempt, and those of Google's retries."""
        send = session.send

        def counted(request: requests.PreparedRequest, **options: Any) -> requests.Response:
            same = (request.method, request.url, request.headers.get("Content-Range"))
            before = vars(self._sent).setdefault("before", set())
            length = int(request.headers.get("Content-Length") or 0)
            self._sent.repeated = same in before
            self.counter.add(1, length, retries=self._sent.repeated)
            before.add(same)
            response = send(request, **options)
            if request.method != "HEAD" and response.status_code < 300:
                self.counter.add(received=int(response.headers.get("Content-Length") or 0))
            return response

        session.send = counted  # type: ignore[method-assign]  # its hooks don't see failures

    @property
    def repeated(self) -> bool:
        """Whether the last request of this thread repeated another, after an error."""
        return getattr(self._sent, "repeated", False)

    def bucket(self, name: str, *, pays: bool = False) -> Any:
        """Return Google's object of a bucket; no request is sent."""
        client, pays = self.client, pays or self.options.requester_pays
        payer = (self.options.project or client.project) if pays else None
        return client.bucket(name, user_project=payer)

    @contextmanager
    def request(self, label: str) -> Iterator[None]:
        """Send requests, a limited number at a time, and translate their errors."""
        with self._slots:
            self._sent.before = set()
            try:
                yield
            except CottonCandyError:
                raise
            except Exception as exc:
                error = translate(exc, label)
                if (response := getattr(exc, "response", None)) is not None:
                    response.close()  # Google's library does not read it
                if error is None:
                    raise
                raise error from exc


def predefined_acl(acl: str | None) -> str | None:
    """Return Google's name of a canned ACL.

    Raises
    ------
    UnsupportedOperationError
        If Google has no such ACL.
    """
    try:
        name: str | None = ACL.validate_predefined(acl or None)
    except ValueError:
        raise UnsupportedOperationError(
            f"Google Cloud Storage has no ACL {acl!r}; omit acl="
        ) from None
    return name


def translate(exc: Exception, label: str) -> CottonCandyError | None:
    """Return cottoncandy's error for one of Google's libraries; None for any other."""
    if isinstance(exc, api.RetryError):
        cause = exc.cause
        known = translate(cause, label) if isinstance(cause, Exception) else None
        return known or StoreTimeoutError(f"{label}: the server did not answer in time")
    if isinstance(exc, InvalidResponse):
        return _from_status(exc.response.status_code, exc.response.text[:300], label)
    if isinstance(exc, DataCorruption):
        return IntegrityError(f"{label}: the checksum of the body does not match")
    if isinstance(exc, api.GoogleAPICallError):
        return _from_status(int(exc.code or 0), str(exc.message), label)
    if isinstance(exc, auth.TransportError):
        return StoreUnreachableError(f"{label}: cannot connect to Google to get credentials: {exc}")
    if isinstance(exc, auth.InvalidOperation):  # a 401, after which Google's library wants new ones
        return _from_status(401, "", label)
    if isinstance(exc, auth.GoogleAuthError):
        return CredentialsError(
            f"{label}: Google does not accept the credentials ({exc}); {_LOGIN}"
        )
    if isinstance(exc, requests.exceptions.InvalidJSONError | KeyError | TypeError) or isinstance(
        getattr(exc, "obj", None), bytes
    ):  # what Google's library raises for other responses; without any content, they are bytes
        return foreign(label)
    if isinstance(exc, requests.Timeout):
        return StoreTimeoutError(f"{label}: the request timed out; try again later")
    if isinstance(exc, requests.RequestException):
        return StoreUnreachableError(
            f"{label}: cannot connect to the server, or it closed the connection; check the "
            f"network, endpoint_url and STORAGE_EMULATOR_HOST"
        )
    return None


def foreign(label: str) -> StoreError:
    """Return the error for a success that something other than the store reports."""
    return StoreError(
        f"{label}: the response is not one of Google Cloud Storage; check endpoint_url, "
        f"STORAGE_EMULATOR_HOST, and any proxy"
    )


def _from_status(status: int, message: str, label: str) -> CottonCandyError:
    text = message.partition(": ('Request failed")[0]  # Google's library repeats itself
    text = re.sub(r"https?://\S+?(?=[:,]?(\s|$))", "the request", text).strip()
    if "requester pays" in message.lower() or "UserProjectMissing" in message:
        return AccessDeniedError(
            f"access denied to {label}: the reader is charged for requests to this bucket; pass "
            f"request_payer='requester' and project='the project that pays'"
        )
    if "uniform bucket-level access" in text:
        return UnsupportedOperationError(
            f"{label}: the bucket has no ACLs, but uniform bucket-level access; omit acl="
        )
    if status == 409:
        if "not empty" in text:
            return BucketNotEmptyError(f"{label} contains objects; delete them first")
        return BucketExistsError(f"{label} already exists, possibly in another account")
    if status == 400 and "name" in text.lower():
        return InvalidNameError(f"the store rejects the name of {label}: {text}")
    return status_error(status, label, _LOGIN, text)
