"""The errors of botocore, said once in ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import botocore.exceptions as boto
import urllib3.exceptions
from boto3.exceptions import Boto3Error
from botocore.parsers import ResponseParserError

from cottoncandy.backends.s3.certificates import why_tls_failed
from cottoncandy.backends.s3.credentials import NO_CREDENTIALS
from cottoncandy.backends.s3.redirects import REDIRECT_STATUSES
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketExistsError,
    BucketNotEmptyError,
    BucketNotFoundError,
    ConfigurationError,
    CottonCandyError,
    CredentialsError,
    IntegrityError,
    InvalidNameError,
    MetadataError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageFullError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
)

__all__ = [
    "ErrorDetails",
    "S3Location",
    "confirmed",
    "from_details",
    "parse_error",
    "redact",
    "translate",
    "translated",
]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class S3Location:
    """What a request was about, for messages."""

    endpoint: str
    bucket: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoint", redact(self.endpoint))

    def __str__(self) -> str:
        parts = []
        if self.key is not None:
            parts.append(f"object '{self.key}'")
        if self.bucket is not None:
            parts.append(f"bucket '{self.bucket}'")
        return f"{' in '.join(parts) or 'the store'} at {self.endpoint}"


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """What can be known of a failed request: HTTP status, S3's error code, its message."""

    status: int = 0
    code: str = ""
    message: str = ""


#: S3's error code -> our class and what to do. ``{location}`` names object, bucket and endpoint.
CODES: dict[str, tuple[type[CottonCandyError], str]] = {
    "NoSuchKey": (
        ObjectNotFoundError,
        "there is no {location}; look for it with cci.glob or cci.ls",
    ),
    "NoSuchVersion": (ObjectNotFoundError, "there is no such version of {location}"),
    "NoSuchUpload": (
        StoreError,
        "{location}: its upload was ended by somebody else, or expired; nothing was changed",
    ),
    "NoSuchBucket": (
        BucketNotFoundError,
        "there is no bucket '{bucket}' at {endpoint}; cci.show_buckets() lists yours, and "
        "cci.create_bucket() makes one",
    ),
    "InvalidBucketName": (InvalidNameError, "'{bucket}' is no valid name for a bucket: {message}"),
    "KeyTooLongError": (InvalidNameError, "the name of {location} is too long for the store"),
    "XMinioInvalidObjectName": (InvalidNameError, "the store refuses the name of {location}"),
    "InvalidObjectName": (InvalidNameError, "the store refuses the name of {location}"),
    "InvalidURI": (InvalidNameError, "the store refuses the name of {location}"),
    "MetadataTooLarge": (MetadataError, "{location}: more metadata than the store takes"),
    "BucketAlreadyExists": (
        BucketExistsError,
        "bucket '{bucket}' exists already, maybe in somebody else's account; choose another name",
    ),
    "BucketAlreadyOwnedByYou": (BucketExistsError, "you have a bucket '{bucket}' already"),
    "BucketNotEmpty": (
        BucketNotEmptyError,
        "bucket '{bucket}' holds objects (or versions of deleted ones); delete them first",
    ),
    "PreconditionFailed": (ObjectChangedError, "{location} was replaced meanwhile; read it again"),
    "ConditionalRequestConflict": (
        ObjectChangedError,
        "somebody else writes {location} at this moment; try again",
    ),
    "InvalidRange": (
        ObjectChangedError,
        "{location} is shorter now than it was when it was opened",
    ),
    "QuotaExceeded": (
        StorageFullError,
        "the quota for {location} is exhausted; nothing was changed",
    ),
    "StorageFull": (StorageFullError, "the store is full; {location} was not changed"),
    "XMinioStorageFull": (StorageFullError, "the store is full; {location} was not changed"),
    "InsufficientCapacity": (StorageFullError, "the store is full; {location} was not changed"),
    "EntityTooLarge": (StoreError, "{location} is larger than the store takes in one piece"),
    "InvalidObjectState": (
        StoreError,
        "{location} is archived and can't be read before it is restored (RestoreObject)",
    ),
    "RequestTimeout": (StoreTimeoutError, "{location}: the store waited too long for our bytes"),
    "BadDigest": (
        IntegrityError,
        "{location}: the bytes that arrived are not those that were sent",
    ),
    "InvalidDigest": (IntegrityError, "{location}: the store can't make sense of the checksum"),
    "XAmzContentSHA256Mismatch": (
        IntegrityError,
        "{location}: the bytes that arrived are not those that were sent",
    ),
    "IncompleteBody": (IntegrityError, "{location}: fewer bytes arrived than were announced"),
    "InvalidAccessKeyId": (
        CredentialsError,
        "the store at {endpoint} does not know the access key; check ACCESS_KEY (or [login] "
        "access_key in the options file) and endpoint_url",
    ),
    "SignatureDoesNotMatch": (
        CredentialsError,
        "the store at {endpoint} knows the access key, and the secret key does not match it; "
        "check SECRET_KEY (or [login] secret_key in the options file)",
    ),
    "RequestTimeTooSkewed": (
        CredentialsError,
        "the clocks of this machine and of {endpoint} differ too much; set yours",
    ),
    "AccessDenied": (
        AccessDeniedError,
        "access denied to {location}; ask the bucket's owner for the permission, or check whose "
        "credentials you use",
    ),
}
_EXPIRED = (
    CredentialsError,
    "the credentials for {endpoint} have expired or are not valid there ({code}); get new ones",
)
for _code in (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidToken",
    "TokenRefreshRequired",
    "InvalidSecurity",
    "NotSignedUp",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "AuthFailure",
    "AuthorizationHeaderMalformed",
    "CredentialsNotSupported",
    "InvalidAccessKey",
):
    CODES[_code] = _EXPIRED
CODES["ObjectNotInActiveTierError"] = CODES["InvalidObjectState"]
for _code in ("AllAccessDisabled", "AccountProblem", "UnauthorizedAccess", "Forbidden"):
    CODES[_code] = CODES["AccessDenied"]

_STATUS: dict[int, str] = {
    401: "AccessDenied",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    416: "InvalidRange",
    507: "StorageFull",
}
_UNREACHABLE = (
    "nobody answers at {endpoint}; check endpoint_url (host, port, http or https), the network, "
    "and the proxy, if you have one"
)
_REDIRECTED = (
    "{location}: the server sends its visitors on to another address; check endpoint_url (https "
    "instead of http, or the host's full name)"
)
_TIMED_OUT = (
    "{location}: no answer within the timeout; try again, or allow more with "
    "config=botocore.config.Config(read_timeout=…)"
)
_HUNG_UP = (
    "{location}: the server ended the connection without an answer; try again, or check "
    "endpoint_url (port, http or https)"
)
_BROKEN = "{location}: the connection ended before the whole body had arrived; try again"
_FOREIGN = (
    "{location}: {problem}, so it is not an S3 server's; check endpoint_url, and any proxy between"
)

_LOGIN = re.compile(r"://[^/?#\s@]*@")
_SECRET = re.compile(
    r"(?i)(x-amz-(?:signature|credential|security-token)|signature|credential|authorization"
    r"|secret[a-z_]*|session_?token)(\"?\s*[=:]\s*)\S+"
)


def parse_error(exc: BaseException) -> ErrorDetails:
    """Return the status, code and message of an error response; nothing of other errors."""
    if not isinstance(exc, boto.ClientError):
        return ErrorDetails()
    error = exc.response.get("Error", {})
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(error.get("Code", ""))
    # A response without a body (to a HEAD) has the status where the code should be.
    return ErrorDetails(status, "" if code.isdigit() else code, str(error.get("Message") or ""))


def translate(exc: BaseException, location: S3Location) -> CottonCandyError | None:
    """Return our error for one of botocore's or urllib3's; None for any other."""
    if isinstance(exc, (boto.BotoCoreError, boto.ClientError, Boto3Error)):
        return _translate_botocore(exc, location)
    if isinstance(exc, urllib3.exceptions.HTTPError):
        return StoreError(_BROKEN.format(location=location))
    if isinstance(exc, ResponseParserError):
        return StoreError(_FOREIGN.format(location=location, problem="the response is unreadable"))
    return None


def confirmed(value: T | None, name: str, location: S3Location) -> T:
    """Return a value that every S3 server puts into its response to a write.

    Raises
    ------
    StoreError
        If it is missing. Otherwise a login page with status 200 would be taken for a success.
    """
    if not value:
        raise StoreError(_FOREIGN.format(location=location, problem=f"the response has no {name}"))
    return value


@contextmanager
def translated(location: S3Location) -> Iterator[None]:
    """Turn the libraries' errors into ours; others pass."""
    try:
        yield
    except CottonCandyError:
        raise
    except Exception as exc:
        error = translate(exc, location)
        if error is None:
            raise
        raise error from exc


def from_details(failure: ErrorDetails, location: S3Location) -> CottonCandyError:
    """Return our error for what an answer said."""
    code = failure.code if failure.code in CODES else ""
    if not code and failure.status in _STATUS:
        code = _STATUS[failure.status]
        if code == "NoSuchKey" and location.key is None:
            code = "NoSuchBucket"
    message = redact(failure.message)
    if code:
        cls, template = CODES[code]
        return cls(
            template.format(
                location=location,
                bucket=location.bucket,
                endpoint=location.endpoint,
                message=message or failure.code,
                code=failure.code,
            )
        )
    if failure.status in REDIRECT_STATUSES and not failure.code:
        return StoreUnreachableError(_REDIRECTED.format(location=location))
    said = " ".join(part for part in (str(failure.status or ""), failure.code, message) if part)
    advice = "; try again later" if failure.status in (429, 500, 502, 503, 504) else ""
    return StoreError(f"{location}: the store answered {said or 'with an error'}{advice}")


def _translate_botocore(exc: BaseException, location: S3Location) -> CottonCandyError:
    if isinstance(exc, boto.ClientError):
        return from_details(parse_error(exc), location)
    if isinstance(exc, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return CredentialsError(NO_CREDENTIALS)
    if isinstance(
        exc,
        (
            boto.CredentialRetrievalError,
            boto.TokenRetrievalError,
            boto.RefreshWithMFAUnsupportedError,
        ),
    ):
        return CredentialsError(f"boto3 could not get credentials: {redact(str(exc))}")
    if isinstance(exc, (boto.ConnectTimeoutError, boto.ReadTimeoutError)):
        return StoreTimeoutError(_TIMED_OUT.format(location=location))
    if isinstance(exc, (boto.IncompleteReadError, boto.ResponseStreamingError)):
        return IntegrityError(_BROKEN.format(location=location))
    if isinstance(exc, (boto.ChecksumError, boto.FlexibleChecksumError)):
        return IntegrityError(f"{location}: the checksum of the body does not match")
    # OpenSSL's message for a connection that is closed without a word.
    if isinstance(exc, boto.ConnectionClosedError) or "EOF occurred in violation" in str(exc):
        return StoreUnreachableError(_HUNG_UP.format(location=location))
    if isinstance(exc, boto.SSLError) and (tls := why_tls_failed(str(exc), location.endpoint)):
        return StoreUnreachableError(redact(tls))
    if isinstance(exc, (boto.EndpointConnectionError, boto.SSLError, boto.ProxyConnectionError)):
        reason = "" if type(exc) is boto.EndpointConnectionError else f" ({redact(str(exc))})"
        return StoreUnreachableError(_UNREACHABLE.format(endpoint=location.endpoint) + reason)
    if isinstance(exc, boto.HTTPClientError) and isinstance(_error_in(exc), Warning):
        # Whoever turns warnings into errors wants to see this one.
        return ConfigurationError(f"a warning was turned into an error: {redact(str(exc))}")
    if isinstance(exc, (boto.ConnectionError, boto.HTTPClientError)):
        return StoreUnreachableError(_UNREACHABLE.format(endpoint=location.endpoint))
    if isinstance(exc, boto.ParamValidationError):
        if location.key is None and location.bucket is not None:
            return InvalidNameError(f"'{location.bucket}' is no valid name for a bucket")
        return ConfigurationError(f"{location}: {redact(str(exc))}")
    return ConfigurationError(f"boto3 can't work with these options: {redact(str(exc))}")


def _error_in(exc: BaseException) -> object:
    """Return the error that an error of botocore tells of."""
    return getattr(exc, "kwargs", {}).get("error")


def redact(text: str) -> str:
    """Return a text without the values of signatures, credentials, tokens and passwords."""
    return _SECRET.sub(r"\1\2***", _LOGIN.sub("://***@", text))
