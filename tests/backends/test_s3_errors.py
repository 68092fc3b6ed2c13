"""Every error of botocore is translated, and none contains a secret."""

from __future__ import annotations

import inspect
import threading
import traceback
from typing import Any

import botocore.exceptions
import pytest
import urllib3.exceptions
from botocore.exceptions import ClientError

import cottoncandy
from cottoncandy.backends.base import ConnectionArguments, DeleteResult
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.backends.s3.errors import (
    CODES,
    ErrorDetails,
    S3Location,
    from_details,
    parse_error,
    redact,
    translate,
    translated,
)
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketNotFoundError,
    CottonCandyError,
    CredentialsError,
    IntegrityError,
    InvalidNameError,
    ObjectNotFoundError,
    StoreBusyError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
)
from cottoncandy.options import Settings
from tests.backends._s3 import QUICK, backend_at
from tests.cases import each
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
    """Return an error of botocore with the fields that its message requires."""
    exc = cls.__new__(cls)
    fmt = getattr(cls, "fmt", "an error")
    Exception.__init__(exc, fmt.format_map(_Fields()))
    return exc


@each("cls", BOTOCORE)
def test_botocore(cls: type[Exception]) -> None:
    error = translate(make(cls), WHERE)
    assert isinstance(error, CottonCandyError)
    assert str(error)


def test_only_the_last_error_of_the_libraries_is_shown() -> None:
    error = botocore.exceptions.EndpointConnectionError(endpoint_url="x", error=None)
    error.__context__ = ConnectionRefusedError("refused")
    with pytest.raises(StoreUnreachableError) as caught, translated(WHERE):
        raise error
    cause = caught.value.__cause__
    assert cause is error
    assert isinstance(cause.__context__, ConnectionRefusedError)  # for debuggers
    shown = "".join(traceback.format_exception(caught.value))
    assert "EndpointConnectionError: Could not connect" in shown
    assert "refused" not in shown


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


@each("code", sorted(name for name in CODES if not name.isdigit()))
def test_error_codes(code: str) -> None:
    error = translate(client_error(code, 400), WHERE)
    assert type(error) is CODES[code][0]
    assert "{" not in str(error)


@each(
    "status, cls",
    [
        (401, AccessDeniedError),
        (403, AccessDeniedError),
        (404, ObjectNotFoundError),
        (400, StoreError),
        (500, StoreError),
        (503, StoreBusyError),
    ],
)
def test_answers_without_a_code(status: int, cls: type[CottonCandyError]) -> None:
    """As a HEAD has them; 403 is never "missing", nor is 5xx."""
    assert type(translate(client_error(str(status), status, None), WHERE)) is cls


def test_others_pass() -> None:
    for exc in (KeyboardInterrupt(), RuntimeError("x"), MemoryError()):
        assert translate(exc, WHERE) is None
    assert isinstance(translate(urllib3.exceptions.ProtocolError("x"), WHERE), StoreError)


@each(
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
    """AWS reports it with status 400, and to a HEAD without a body."""
    backend = backend_at(fault_proxy.server, moto_bucket)
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
    backend = backend_at(fault_proxy.server, moto_bucket)
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
    backend = backend_at(fault_proxy.server, moto_bucket, config=QUICK)
    for status in (500, 503):
        rule = fault_proxy.on("HEAD", "name").answer(status)
        with pytest.raises(StoreError, match=str(status)):
            backend.exists(key)
        rule.remove()
    rule = fault_proxy.on("HEAD", "name").answer(403)
    with pytest.raises(AccessDeniedError, match="name"):
        backend.exists(key)


LOGIN_PAGE = {"body": b"<html><body>Log in</body></html>", "headers": {"Content-Type": "text/html"}}


@pytest.mark.parametrize("page", [LOGIN_PAGE, {"body": b""}, {"body": b"<Foo/>"}])
@pytest.mark.parametrize(
    ("method", "query", "act"),
    [
        ("PUT", None, lambda backend: backend.put("name", Body.of(b"new"))),
        ("POST", "uploads", lambda backend: backend.put("name", Body.of(bytes(11 << 20)))),
        ("PUT", "partNumber", lambda backend: backend.put("name", Body.of(bytes(11 << 20)))),
        ("POST", "uploadId", lambda backend: backend.put("name", Body.of(bytes(11 << 20)))),
        ("PUT", None, lambda backend: backend.copy("name", "copy")),
        ("POST", "delete", lambda backend: list(backend.delete(["name", "other"]))),
    ],
    ids=["put", "create", "part", "complete", "copy", "delete"],
)
def test_success_that_no_s3_server_reported_is_an_error(
    fault_proxy: FaultProxy, method: str, query: str | None, act: Any, page: Any
) -> None:
    backend = backend_at(fault_proxy.server, fault_proxy.server.make_bucket())
    backend.put("name", Body.of(b"old"))
    fault_proxy.on(method, query=query).answer(200, **page)
    with pytest.raises(StoreError, match="not an S3 server"):
        act(backend)
    fault_proxy.remove_rules()
    assert backend.get("name").read() == b"old"


@pytest.mark.parametrize("recursive", [False, True])
def test_a_copy_that_no_s3_server_reported_keeps_the_original(
    fault_proxy: FaultProxy, recursive: bool
) -> None:
    bucket = fault_proxy.server.make_bucket()
    arguments = fault_proxy.server.interface_arguments()
    cci = cottoncandy.get_interface(bucket, verbose=False, **arguments)
    cci.upload_object("a/b", b"data")
    fault_proxy.on("PUT").answer(200, **LOGIN_PAGE)
    with pytest.raises(StoreError):
        cci.mv("a" if recursive else "a/b", "c", recursive=recursive)
    fault_proxy.remove_rules()
    assert cci.glob("*") == ["a/b"]


@pytest.mark.parametrize("page", [LOGIN_PAGE, {"body": b""}])
def test_a_login_page_is_not_an_object(fault_proxy: FaultProxy, page: Any) -> None:
    backend = backend_at(fault_proxy.server, fault_proxy.server.make_bucket())
    backend.put("name", Body.of(b"old"))
    fault_proxy.on("GET").answer(200, **page)
    fault_proxy.on("HEAD").answer(200, **page)
    with pytest.raises(StoreError, match="not an S3 server"):
        backend.get("name").read()
    with pytest.raises(StoreError, match="not an S3 server"):
        backend.head("name")


@pytest.mark.parametrize(
    ("header", "value"),
    [("Content-Length", None), ("Content-Length", "-5"), ("Last-Modified", "yesterday")],
)
def test_a_header_that_makes_no_sense_is_a_typed_error(
    fault_proxy: FaultProxy, header: str, value: str | None
) -> None:
    backend = backend_at(fault_proxy.server, fault_proxy.server.make_bucket())
    backend.put("name", Body.of(b"old"))
    fault_proxy.on("GET").change_header(header, value)
    with pytest.raises(StoreError):
        backend.get("name").read()


def test_an_unreadable_answer_is_typed(fault_proxy: FaultProxy) -> None:
    backend = backend_at(fault_proxy.server, fault_proxy.server.make_bucket())
    fault_proxy.on("GET").answer(206, body=b"hello")
    with pytest.raises(StoreError, match="not an S3 server"):
        list(backend.scan())


def test_status_in_place_of_a_code_is_not_a_code() -> None:
    """botocore puts the status there, if a response has no body."""
    response: Any = {"Error": {"Code": "301"}, "ResponseMetadata": {"HTTPStatusCode": 301}}
    details = parse_error(ClientError(response, "HeadObject"))
    assert (details.status, details.code) == (301, "")


def test_a_missing_thing_without_a_code_is_what_was_requested() -> None:
    """A response to HEAD has no body with a code."""
    assert type(from_details(ErrorDetails(404), S3Location("e", "b", "k"))) is ObjectNotFoundError
    assert type(from_details(ErrorDetails(404), S3Location("e", "b"))) is BucketNotFoundError


def test_an_error_without_any_details_is_a_sentence() -> None:
    """A bulk deletion may report one for a key."""
    error = from_details(ErrorDetails(), S3Location("e", "b", "k"))
    assert str(error).endswith(": the server answered with an error")


def test_no_bucket_has_an_impossible_name(moto: S3Server) -> None:
    backend = backend_at(moto, "bucket")
    for name in ("", "a/b"):
        assert not backend.has_bucket(name)
        with pytest.raises(InvalidNameError):
            backend.create_bucket(name)


def test_a_deleted_bucket_is_looked_up_again(moto: S3Server) -> None:
    backend = backend_at(moto, "deleted-bucket")
    backend.create_bucket("deleted-bucket")
    backend.put("name", Body.of(b"x"))  # the bucket is known now
    list(backend.delete(["name"]))
    backend.delete_bucket("deleted-bucket")
    with pytest.raises(BucketNotFoundError):
        backend.head("name")


def test_the_result_of_a_deletion_is_there_before_slower_ones(
    moto: S3Server, moto_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cottoncandy.backends.s3.backend._MAX_DELETED", 1)
    answered = threading.Event()

    def delete(self: S3Backend, location: object, keys: list[str]) -> list[DeleteResult]:
        assert keys != ["a"] or answered.wait(10)
        return [DeleteResult(key) for key in keys]

    monkeypatch.setattr(S3Backend, "_delete_batch", delete)
    results = backend_at(moto, moto_bucket).delete(["a", "b"])
    assert next(results) == ("b", None)
    answered.set()
    assert list(results) == [("a", None)]


def test_a_denied_deletion_does_not_stop_the_others(
    fault_proxy: FaultProxy, moto_bucket: str
) -> None:
    backend = backend_at(fault_proxy.server, moto_bucket)
    names = ["a", "odd\tname", "z"]  # the second one needs a separate request
    for name in names:
        backend.put(name, Body.of(b"x"))
    fault_proxy.on("DELETE", "odd").answer(403, "AccessDenied")
    results = list(backend.delete(names))
    assert [type(error) for _, error in results] == [type(None), AccessDeniedError, type(None)]
    assert [info.key for info in backend.scan("")] == ["odd\tname"]
