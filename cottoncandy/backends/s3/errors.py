"""Translate botocore and urllib3 errors into cottoncandy's exceptions."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import botocore.exceptions as boto

from cottoncandy.backends.responses import status_error
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

T = TypeVar("T")


class S3Location(NamedTuple):
    """The object, bucket and endpoint of a request; key and bucket are empty if there are none."""

    endpoint: str
    bucket: str = ""
    key: str = ""

    def __str__(self) -> str:
        parts = [f"object '{self.key}'"] if self.key else []
        parts += [f"bucket '{self.bucket}'"] if self.bucket else []
        return f"{' in '.join(parts) or 'the store'} at {self.endpoint}"

    @property
    def request(self) -> dict[str, str]:
        """The arguments with which boto3 addresses the object or the bucket."""
        address = {"Bucket": self.bucket, "Key": self.key}
        return {name: value for name, value in address.items() if value}


class ErrorDetails(NamedTuple):
    """HTTP status, S3 error code and message of a failed request, if known."""

    status: int = 0
    code: str = ""
    message: str = ""


NO_CREDENTIALS = (
    "there are no credentials for the S3 store: pass ACCESS_KEY and SECRET_KEY, or write them into "
    "[login] of the options file, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or an AWS "
    "profile); to read public data without any, pass anon=True"
)
_HUNG_UP = (
    "{location}: the server closed the connection without a response; try again, or check "
    "endpoint_url (port, http or https)"
)
_BROKEN = "{location}: the connection ended before the whole body had arrived; try again"
_FOREIGN = "{location}: {problem}, so it is not an S3 server's; check endpoint_url, and any proxy"
_UNREACHABLE = (
    "cannot connect to {endpoint}; check endpoint_url (host, port, http or https), the network, "
    "and your proxy, if any"
)

# Exception -> error codes of S3, statuses, and names of botocore's and urllib3's errors -> message;
# ``{location}`` names object, bucket and endpoint.
_ERRORS: dict[type[CottonCandyError], dict[str, str]] = {
    ObjectNotFoundError: {
        "NoSuchKey NoSuchVersion 404": "there is no {location}; look for it with cci.glob or "
        "cci.ls",
    },
    BucketNotFoundError: {
        "NoSuchBucket": "there is no bucket '{bucket}' at {endpoint}; cci.show_buckets() lists "
        "yours, and cci.create_bucket() creates one",
    },
    BucketExistsError: {
        "BucketAlreadyExists": "bucket '{bucket}' already exists, possibly in another account; "
        "choose another name",
        "BucketAlreadyOwnedByYou": "you already have a bucket '{bucket}'",
    },
    BucketNotEmptyError: {
        "BucketNotEmpty": "bucket '{bucket}' contains objects (or versions of deleted ones); "
        "delete them first",
    },
    InvalidNameError: {
        "InvalidBucketName": "invalid bucket name '{bucket}': {reason}",
        "KeyTooLongError": "the name of {location} is too long for the store",
        "InvalidObjectName XMinioInvalidObjectName InvalidURI": "the store rejects the name of "
        "{location}",
    },
    MetadataError: {"MetadataTooLarge": "{location}: more metadata than the store accepts"},
    ObjectChangedError: {
        "PreconditionFailed 412": "{location} was replaced while it was being read; read it again",
        "ConditionalRequestConflict": "{location} is being written by another client; try again",
        "InvalidRange 416": "{location} is shorter now than it was when it was opened",
    },
    StorageFullError: {
        "QuotaExceeded": "the quota for {location} is exhausted; nothing was changed",
        "StorageFull XMinioStorageFull InsufficientCapacity 507": "the store is full; {location} "
        "was not changed",
    },
    StoreTimeoutError: {
        "RequestTimeout": "{location}: the store timed out waiting for the body",
        "ConnectTimeoutError ReadTimeoutError": "{location}: the request timed out; try again, or "
        "raise the limit with config=botocore.config.Config(read_timeout=…)",
    },
    StoreUnreachableError: {
        "301 302 303 307 308": "{location}: the server redirects to another address; check "
        "endpoint_url (https instead of http, or the full host name)",
        "ConnectionClosedError": _HUNG_UP,
        "SSLError ProxyConnectionError": _UNREACHABLE + " ({reason})",
        "ConnectionError HTTPClientError": _UNREACHABLE,
    },
    StoreError: {
        "NoSuchUpload": "{location}: its upload was aborted by another client, or expired; "
        "nothing was changed",
        "EntityTooLarge": "{location} is larger than the store accepts in one request",
        "InvalidObjectState ObjectNotInActiveTierError": "{location} is archived and cannot be "
        "read before it is restored (RestoreObject)",
        "HTTPError": _BROKEN,
        # A ValueError is from a header that is not a date or number.
        "ResponseParserError ValueError": _FOREIGN.replace(
            "{problem}", "the response is unreadable"
        ),
    },
    IntegrityError: {
        "BadDigest XAmzContentSHA256Mismatch": "{location}: the data was altered in transit "
        "(checksum mismatch)",
        "InvalidDigest": "{location}: the store cannot read the checksum",
        "IncompleteBody": "{location}: the server received fewer bytes than Content-Length",
        "IncompleteReadError ResponseStreamingError": _BROKEN,
        "ChecksumError FlexibleChecksumError": "{location}: the checksum of the body does not "
        "match",
    },
    AccessDeniedError: {
        "AccessDenied AllAccessDisabled AccountProblem UnauthorizedAccess Forbidden 401 "
        "403": "access denied to {location}; ask the bucket's owner for the permission, or check "
        "whose credentials you use; if the bucket charges its readers, pass "
        "request_payer='requester'",
    },
    ConfigurationError: {
        "ParamValidationError": "{location}: {reason}",
        "BotoCoreError": "boto3 cannot work with these options: {reason}",
    },
    CredentialsError: {
        "NoCredentialsError PartialCredentialsError": NO_CREDENTIALS,
        "CredentialRetrievalError TokenRetrievalError RefreshWithMFAUnsupportedError": "boto3 "
        "could not get credentials: {reason}",
        "InvalidAccessKeyId": "the store at {endpoint} does not know the access key; check "
        "ACCESS_KEY (or [login] access_key in the options file) and endpoint_url",
        "SignatureDoesNotMatch": "the secret key does not match the access key at {endpoint}; "
        "check SECRET_KEY (or [login] secret_key in the options file)",
        "RequestTimeTooSkewed": "this machine's clock differs too much from the one at "
        "{endpoint}; correct it",
        "ExpiredToken ExpiredTokenException InvalidToken TokenRefreshRequired InvalidSecurity "
        "NotSignedUp UnrecognizedClientException InvalidClientTokenId AuthFailure "
        "AuthorizationHeaderMalformed CredentialsNotSupported InvalidAccessKey": "the "
        "credentials for {endpoint} have expired or are not valid there ({code}); get new ones",
    },
}

#: Code, status or name -> exception and message.
CODES = {
    code: (cls, message)
    for cls, messages in _ERRORS.items()
    for codes, message in messages.items()
    for code in codes.split()
}

_BUSY = frozenset({"SlowDown", "Throttling", "ServiceUnavailable"})

# Messages of OpenSSL and urllib3 -> explanation; the first match is used.
_CONNECTIONS: tuple[tuple[str, str], ...] = (
    (
        r"(?i)doesn't match|name mismatch|address mismatch",
        "the certificate of {endpoint} is for another host ({reason}); set endpoint_url to the "
        "host name in the certificate",
    ),
    (
        r"has expired|not yet valid",
        "the certificate of {endpoint} has expired or is not valid yet ({reason}); ask the "
        "server's operator for a new one, or correct the clock of this machine",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "the certificate of {endpoint} is not trusted here ({reason}); pass "
        "verify='/path/to/ca.pem', the certificates of the authority that signed it, or set "
        "AWS_CA_BUNDLE to that path",
    ),
    (
        r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE",
        "{endpoint} does not speak TLS; write http:// instead of https:// into endpoint_url, or "
        "the port that https has",
    ),
    (r"EOF occurred in violation", _HUNG_UP),  # OpenSSL, if a connection closes unexpectedly
)
_TLS_REASON = re.compile(
    r"(?:(?<=certificate verify failed: ).+?(?= \(_ssl|\)|$))|hostname '.*' doesn't match .*"
)

_LOGIN = re.compile(r"://[^/?#\s]*@")
_SECRET = re.compile(
    r"(?i)(x-amz-(?:signature|credential|security-token)|signature|credential|authorization"
    r"|secret[a-z_]*|session_?token)(\"?\s*[=:]\s*)\S+"
)


def parse_error(exc: BaseException) -> ErrorDetails:
    """Return the status, code and message of an error response; empty details for other errors.

    It may be botocore's error, or cottoncandy's that it became.
    """
    exc = exc.__cause__ or exc
    if not isinstance(exc, boto.ClientError):
        return ErrorDetails()
    error = exc.response.get("Error", {})
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(error.get("Code", ""))
    # If a response has no body (to a HEAD), botocore uses the status as the code.
    return ErrorDetails(status, "" if code.isdigit() else code, str(error.get("Message") or ""))


def translate(exc: BaseException, location: S3Location) -> CottonCandyError | None:
    """Return cottoncandy's error for one of botocore's or urllib3's; None for any other."""
    if isinstance(exc, boto.ClientError):
        return from_details(parse_error(exc), location)
    name = next((cls.__name__ for cls in type(exc).__mro__ if cls.__name__ in CODES), None)
    if name is None:
        return None
    text = str(exc)
    if isinstance(exc, (boto.ConnectionError, boto.HTTPClientError)):
        for pattern, template in _CONNECTIONS:
            if re.search(pattern, text):
                found = _TLS_REASON.search(text)
                reason = redact(found[0]) if found else "no reason was given"
                return StoreUnreachableError(
                    template.format(location=location, endpoint=location.endpoint, reason=reason)
                )
        if isinstance(getattr(exc, "kwargs", {}).get("error"), Warning):
            return ConfigurationError(f"a warning was turned into an error: {redact(text)}")
    if name == "ParamValidationError" and not location.key:
        name = "InvalidBucketName"
    return _from_table(name, location, redact(text))


def _from_table(name: str, location: S3Location, reason: str, code: str = "") -> CottonCandyError:
    cls, template = CODES[name]
    fields = {**location._asdict(), "reason": reason, "code": code}
    return cls(template.format(location=location, **fields))


def confirmed(value: T | None, name: str, location: S3Location) -> T:
    """Return a value that every S3 server includes in its response to a write.

    Raises
    ------
    StoreError
        If it is missing. Otherwise a login page with status 200 would be treated as a success.
    """
    if not value:
        raise StoreError(_FOREIGN.format(location=location, problem=f"the response has no {name}"))
    return value


@contextmanager
def translated(location: S3Location) -> Iterator[None]:
    """Translate botocore and urllib3 errors; others pass."""
    try:
        yield
    except CottonCandyError:
        raise
    except Exception as exc:
        error = translate(exc, location)
        if error is None:
            raise
        # Only the last error of the libraries is shown: their frames and the errors before it are
        # ninety lines above the message that helps.
        exc.__suppress_context__ = True
        raise error from shown(exc.with_traceback(None))


def from_details(details: ErrorDetails, location: S3Location) -> CottonCandyError:
    """Return the error for a server's error response."""
    message = redact(details.message)
    for name in (details.code, str(details.status)):
        if name in CODES:
            if name in ("NoSuchKey", "404") and not location.key:
                name = "NoSuchBucket"
            return _from_table(name, location, message or details.code, details.code)
    status = 503 if details.code in _BUSY else details.status
    reason = " ".join(filter(None, (details.code, message)))
    return status_error(status, str(location), NO_CREDENTIALS, reason)


def shown(exc: BaseException) -> BaseException | None:
    """Return an error as the cause of another; None if its message contains a login."""
    return None if _LOGIN.search(str(exc)) else exc


@functools.lru_cache(64)  # each request names its endpoint
def redact(text: str) -> str:
    """Return a text without the values of signatures, credentials, tokens and passwords."""
    return _SECRET.sub(r"\1\2***", _LOGIN.sub("://***@", text))
