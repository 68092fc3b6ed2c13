"""Every error of botocore has one of ours, and none of them contains a secret."""

from __future__ import annotations

import inspect
from typing import Any

import botocore.exceptions
import pytest
import urllib3.exceptions
from botocore.exceptions import ClientError

from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.s3 import S3Backend
from cottoncandy.backends.s3.errors import CODES, S3Location, redact, translate
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    CredentialsError,
    IntegrityError,
    ObjectNotFoundError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
)
from cottoncandy.options import Settings
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

WHERE = S3Location("http://127.0.0.1:9", "the-bucket", "the-key")

BOTOCORE = [
    value
    for _, value in inspect.getmembers(botocore.exceptions, inspect.isclass)
    if issubclass(value, botocore.exceptions.BotoCoreError)
]


def client_error(code: str, status: int, message: str | None = "words") -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "GetObject")


class _Fields(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        return ValueError("cause") if name == "error" else f"a {name}"


def make(cls: type[Exception]) -> Exception:
    """Make an error of botocore with whatever its message wants."""
    exc = cls.__new__(cls)
    fmt = getattr(cls, "fmt", "an error")
    Exception.__init__(exc, fmt.format_map(_Fields()))
    return exc


@pytest.mark.parametrize("cls", BOTOCORE, ids=lambda cls: cls.__name__)
def test_botocore(cls: type[Exception]) -> None:
    error = translate(make(cls), WHERE)
    assert isinstance(error, CottonCandyError)
    assert str(error)


def test_some_are_what_they_should_be() -> None:
    expected: dict[str, type[CottonCandyError]] = {
        "NoCredentialsError": CredentialsError,
        "PartialCredentialsError": CredentialsError,
        "CredentialRetrievalError": CredentialsError,
        "EndpointConnectionError": StoreUnreachableError,
        "ConnectionClosedError": StoreUnreachableError,
        "ProxyConnectionError": StoreUnreachableError,
        "SSLError": StoreUnreachableError,
        "ReadTimeoutError": StoreTimeoutError,
        "ConnectTimeoutError": StoreTimeoutError,
        "IncompleteReadError": IntegrityError,
        "ResponseStreamingError": IntegrityError,
        "ChecksumError": IntegrityError,
    }
    for name, cls in expected.items():
        assert type(translate(make(getattr(botocore.exceptions, name)), WHERE)) is cls, name


@pytest.mark.parametrize("code", sorted(CODES))
def test_error_codes(code: str) -> None:
    error = translate(client_error(code, 400), WHERE)
    assert type(error) is CODES[code][0]
    assert "{" not in str(error)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (401, AccessDeniedError),
        (403, AccessDeniedError),
        (404, ObjectNotFoundError),
        (400, StoreError),
        (500, StoreError),
        (503, StoreError),
    ],
)
def test_answers_without_a_code(status: int, cls: type[CottonCandyError]) -> None:
    """As a HEAD has them; 403 is never "missing", nor is 5xx."""
    assert type(translate(client_error(str(status), status, None), WHERE)) is cls


def test_others_pass() -> None:
    for exc in (KeyboardInterrupt(), ValueError("x"), RuntimeError("x"), MemoryError()):
        assert translate(exc, WHERE) is None
    assert isinstance(translate(urllib3.exceptions.ProtocolError("x"), WHERE), StoreError)


@pytest.mark.parametrize(
    "text",
    [
        "https://h/b/k?X-Amz-Signature=FAKESECRET&x=1",
        "X-Amz-Credential=FAKESECRET/20260101/us-east-1",
        'secret_access_key: "FAKESECRET"',
        "AWS_SECRET_ACCESS_KEY=FAKESECRET",
        "x-amz-security-token: FAKESECRET",
        "Authorization: FAKESECRET",
    ],
)
def test_scrub(text: str) -> None:
    assert "FAKESECRET" not in redact(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"secret_key": "FAKE-WRONG-SECRET"}, "secret key does not match"),
        ({"access_key": "FAKEWRONGKEY"}, "does not know the access key"),
    ],
)
@pytest.mark.parametrize("key", ["name", "odd//name"])
def test_wrong_credentials(
    ceph: S3Server, ceph_bucket: str, change: dict[str, str], words: str, key: str
) -> None:
    pair = {"access_key": ceph.access_key, "secret_key": ceph.secret_key} | change
    backend = S3Backend.connect(
        ConnectionArguments(
            ceph_bucket, endpoint_url=ceph.endpoint_url, settings=Settings(), **pair
        )
    )
    for request in (
        lambda: backend.get(key),
        lambda: backend.get(key, prefetch=False),
        lambda: backend.exists(key),
        lambda: backend.put(key, Body.of(b"1")),
        lambda: list(backend.scan()),
        lambda: list(backend.delete([key, "b"])),
        lambda: list(backend.list_buckets()),
    ):
        with pytest.raises(CredentialsError, match=words) as caught:
            request()
        for secret in pair.values():
            assert secret not in str(caught.value)


@pytest.mark.parametrize("key", ["name", "odd//name"])
def test_expired_credentials(fault_proxy: FaultProxy, moto_bucket: str, key: str) -> None:
    """AWS says so with status 400, and to a HEAD without a body."""
    server = fault_proxy.server
    backend = S3Backend.connect(
        ConnectionArguments(
            moto_bucket, server.access_key, server.secret_key, server.endpoint_url, Settings()
        )
    )
    fault_proxy.on("HEAD").answer(400)
    fault_proxy.on("GET").answer(400, "ExpiredToken")
    for request in (lambda: backend.get(key), lambda: backend.exists(key)):
        with pytest.raises(CredentialsError, match="expired"):
            request()


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_refused_credentials_are_told_at_once(
    fault_proxy: FaultProxy, moto_bucket: str, code: str
) -> None:
    """A HEAD of the bucket says 403 whatever the reason, and has no body."""
    server = fault_proxy.server
    backend = S3Backend.connect(
        ConnectionArguments(
            moto_bucket, server.access_key, server.secret_key, server.endpoint_url, Settings()
        )
    )
    fault_proxy.on("HEAD").answer(403)
    rule = fault_proxy.on("GET").answer(403, code)
    with pytest.raises(CredentialsError, match="key"):
        backend.has_bucket(moto_bucket)
    rule.remove()
    fault_proxy.on("GET").answer(403, "AccessDenied")
    assert backend.has_bucket(moto_bucket)


@pytest.mark.parametrize("key", ["name", "odd//name"])
def test_server_errors_are_not_missing_objects(
    fault_proxy: FaultProxy, moto_bucket: str, key: str
) -> None:
    from botocore.config import Config

    server = fault_proxy.server
    backend = S3Backend.connect(
        ConnectionArguments(
            moto_bucket,
            server.access_key,
            server.secret_key,
            server.endpoint_url,
            Settings(),
            {"config": Config(retries={"max_attempts": 0})},
        )
    )
    for status in (500, 503):
        rule = fault_proxy.on("HEAD", "name").answer(status)
        with pytest.raises(StoreError, match=str(status)):
            backend.exists(key)
        rule.remove()
    rule = fault_proxy.on("HEAD", "name").answer(403)
    with pytest.raises(AccessDeniedError, match="name"):
        backend.exists(key)
