"""Google Cloud Storage: options, credentials, errors, and another emulator."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

import cottoncandy
from cottoncandy.backends.base import ConnectionArguments, IfAbsent, PutOptions
from cottoncandy.cloudfiles import CloudFiles
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketNotFoundError,
    ConfigurationError,
    CredentialsError,
    IntegrityError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreBusyError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
    UnsupportedOperationError,
)
from cottoncandy.transfer import engine
from tests.servers.web import RangeHandler, WebServer

pytest.importorskip("google.cloud.storage", reason="the extra gcs is not installed")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import service_account

from cottoncandy.backends.gcs import backend as gcs
from cottoncandy.backends.gcs import client
from cottoncandy.backends.gcs.backend import GCSBackend
from tests.cases import each

pytestmark = pytest.mark.server


@pytest.fixture
def emulated(gcs_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server, as ``STORAGE_EMULATOR_HOST`` names it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    return gcs_server


def fill_and_read(url: str, **options: Any) -> None:
    """Use an interface as programs do."""
    array = np.arange(600_000.0).reshape(600, 1000)
    for factory, keys in (
        (cottoncandy.get_interface, {}),
        (cottoncandy.get_encrypted_interface, {"encryption": "AES", "encryptionKey": bytes(32)}),
    ):
        cci: Any = factory(url, force_bucket_creation=True, verbose=False, **keys, **options)
        cci.upload_raw_array("a b/ü%#?", array, compression=False)
        cci.upload_raw_array("packed", array[:5])
        cci.upload_dask_array("chunked", array[:, :10], buffersize=8000)
        np.testing.assert_array_equal(cci.download_raw_array("a b/ü%#?"), array)
        np.testing.assert_array_equal(cci.download_raw_array("packed"), array[:5])
        part = cci.download_raw_array("a b/ü%#?", selection=np.s_[500, 3:5])
        np.testing.assert_array_equal(part, array[500, 3:5])
        found = pickle.loads(pickle.dumps(cci)).download_dask_array("chunked").compute()
        np.testing.assert_array_equal(found, array[:, :10])
        assert "a b/ü%#?" in cci.glob("*")
        cci.cp("packed", "copy")
        cci.mv("copy", "moved")
        np.testing.assert_array_equal(cci.download_raw_array("moved"), array[:5])
        cci.rm("", recursive=True)
        assert cci.glob("*") == []


def test_arrays_on_google_cloud_storage(emulated: Any) -> None:
    fill_and_read("gs://arrays-by-url")


def test_array_from_a_url(emulated: Any) -> None:
    cci = cottoncandy.get_interface("gs://array-by-url", force_bucket_creation=True, verbose=False)
    cci.upload_raw_array("a/b", np.arange(9), compression=False)
    assert cci.backend == "gcs"
    assert cottoncandy.array("gs://array-by-url/a/b")[3] == 3
    with pytest.raises(BucketNotFoundError):
        cottoncandy.get_interface("gs://no-such-bucket", verbose=False)


@pytest.mark.slow
def test_arrays_on_another_emulator(
    other_emulator_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", other_emulator_server)
    fill_and_read("gs://other-emulator", project="test-project")
    cci = cottoncandy.get_interface("gs://other-emulator", verbose=False)
    body = os.urandom(20 * MiB)
    cci.upload_object("big", body)
    with cci.backend_interface.get("big", tail=100) as reader:
        assert reader.tail(100) == body[-100:]
        assert reader.read(5, 9 * MiB) == body[5 : 9 * MiB]
    for name in ("0/a", "c/d/e", "c/f"):
        cci.upload_object(name, b"")
    found = [each.key for each in cci.backend_interface.scan(delimiter="/", start_after="c/")]
    assert "c/" in found
    assert "0/" not in found


def connect(url: str, bucket: str = "bucket", **extra: Any) -> GCSBackend:
    return GCSBackend.connect(ConnectionArguments(bucket, endpoint_url=url, extra=extra))


def test_headers_and_checksums(emulated: Any) -> None:
    emulated.client.create_bucket("headers")
    backend = connect(emulated.url, "headers", anon=True)
    options = PutOptions(
        {"a": "1"}, content_type="text/plain", content_encoding="gzip", cache_control="no-cache"
    )
    backend.put("name", Body.of(b"stored as it is"), options)
    info = backend.head("name")
    assert (info.content_type, info.content_encoding) == ("text/plain", "gzip")
    assert info.cache_control == "no-cache"
    assert info.md5 == hashlib.md5(b"stored as it is").hexdigest()
    assert len(info.crc32c or "") == 8
    with backend.get("name") as reader:
        assert reader.read() == b"stored as it is"


def test_encrypted_objects_have_no_checksums_of_their_ciphertext(emulated: Any) -> None:
    options: Any = {"encryption": "AES", "encryptionKey": bytes(32), "verbose": False}
    cci = cottoncandy.get_encrypted_interface(
        "gs://checksums", force_bucket_creation=True, **options
    )
    cci.upload_object("name", b"body")
    backend = cci.backend_interface
    with backend.get("name") as reader:
        for info in (reader.info, backend.head("name"), *backend.scan()):
            assert (info.size, info.md5, info.crc32c) == (4, None, None)


def test_a_reader_stays_with_its_version(emulated: Any) -> None:
    emulated.client.create_bucket("versions")
    backend = connect(emulated.url, "versions", anon=True)
    backend.put("name", Body.of(os.urandom(3 * MiB)))
    with backend.get("name") as reader:
        backend.put("name", Body.of(os.urandom(3 * MiB)))
        with pytest.raises(ObjectChangedError):
            reader.read(2 * MiB)


def test_bodies_that_were_altered_or_cut_are_rejected(
    emulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulated.client.create_bucket("altered")
    backend = connect(emulated.url, "altered", anon=True)
    body = bytes(range(256)) * 16_000  # more than arrives with the header
    backend.put("small", Body.of(body[:100]))
    backend.put("large", Body.of(body))
    download = gcs._download
    monkeypatch.setattr(gcs, "_download", lambda *span: b"?" + download(*span)[1:])
    with pytest.raises(IntegrityError), backend.get("small") as reader:
        reader.read()
    monkeypatch.setattr(gcs, "_download", lambda *span: download(*span)[:-1])
    with pytest.raises(IntegrityError), backend.get("large", prefetch=False) as reader:
        reader.read(10, 3 * MiB)


def test_what_the_library_gave_up_is_not_tried_again(
    emulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulated.client.create_bucket("given-up")
    backend, tries = connect(emulated.url, "given-up", anon=True), []
    backend.put("a", Body.of(b"1"))

    def failing(*span: Any) -> bytes:
        tries.append(span)
        raise StoreTimeoutError("stalled")

    monkeypatch.setattr(gcs, "_download", failing)
    with pytest.raises(StoreTimeoutError), backend.get("a", prefetch=False) as reader:
        reader.read()
    assert len(tries) == 1


def test_uploads_are_checked_by_the_server(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    emulated.client.create_bucket("checked")
    backend, sent = connect(emulated.url, "checked", anon=True), []
    session = backend._connection.client._http
    send = session.send

    def recorded(request: Any, **options: Any) -> Any:
        sent.append(f"{request.headers} {request.body!r:.9999}")
        return send(request, **options)

    monkeypatch.setattr(session, "send", recorded)
    backend.put("a", Body.of(b"123456789"))
    assert any("4waSgw==" in each for each in sent)  # the CRC-32C of these bytes


def test_a_condition_is_checked_before_a_long_body_is_sent(emulated: Any) -> None:
    emulated.client.create_bucket("unmet")
    backend = connect(emulated.url, "unmet", anon=True)
    backend.put("a", Body.of(b"old"))
    before = backend.counter.read()
    with pytest.raises(ObjectExistsError):
        backend.put("a", Body.of(bytes(17 * MiB)), PutOptions(condition=IfAbsent()))
    assert (backend.counter.read() - before).bytes_sent == 0


def test_long_uploads_are_resumable(emulated: Any) -> None:
    emulated.client.create_bucket("resumable")
    backend = connect(emulated.url, "resumable", anon=True)
    body = os.urandom(20 * MiB + 7)
    backend.put("known", Body.of(body), PutOptions(condition=IfAbsent()))
    pieces = [body[start : start + 5 * MiB] for start in range(0, len(body), 5 * MiB)]
    backend.put("unknown", Body(lambda: iter(pieces)))
    for key in ("known", "unknown"):
        with backend.get(key) as reader:
            assert reader.read() == body
    for size in (20 * MiB, 21 * MiB):
        with pytest.raises(IntegrityError, match="bytes"):
            backend.put("known", Body(lambda: iter(pieces), size=size))
    assert backend.head("known").size == len(body)


def test_a_lost_upload_is_begun_again(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    emulated.client.create_bucket("lost-uploads")
    files = CloudFiles("gs://lost-uploads", retries=1)
    session = files._store.backend._connection.client._http
    send, lost = session.send, []

    def losing(request: Any, **options: Any) -> Any:
        answer = send(request, **options)
        if request.method == "PUT" and not lost:
            lost.append(request.url)
            answer.status_code = 410
        return answer

    monkeypatch.setattr(session, "send", losing)
    monkeypatch.setattr(engine.random, "uniform", lambda least, most: 0)
    body = os.urandom(17 * MiB)
    files.put("long", body)
    assert lost
    assert files["long"] == body


class Answering(RangeHandler):
    """Sends one status and text to every request."""

    status, text = 500, b""

    def do_GET(self) -> None:
        self.log_message()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.text)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(self.text)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()


@pytest.mark.parametrize(
    ("status", "message", "expected", "words"),
    [
        (
            401,
            "Anonymous caller does not have access",
            CredentialsError,
            "without credentials, .*gcloud auth",
        ),
        (403, "no access", AccessDeniedError, "permission"),
        (400, "odd", StoreError, r"answered 400 \w+ the request: (odd|.*odd\"}})$"),
        (404, "No such object: bucket/name", ObjectNotFoundError, "name"),
        (
            400,
            "Bucket is a requester pays bucket but no user project provided.",
            AccessDeniedError,
            "request_payer='requester'",
        ),
    ],
)
def test_statuses_become_errors(
    tmp_path: Path, status: int, message: str, expected: type[Exception], words: str
) -> None:
    text = json.dumps({"error": {"code": status, "message": message}}).encode()
    server = WebServer(tmp_path, type("Handler", (Answering,), {"status": status, "text": text}))
    try:
        backend = connect(server.url, anon=True)
        backend.known_buckets.add("bucket")
        for call in (lambda: backend.head("name"), lambda: backend.get("name")):
            with pytest.raises(expected, match=words):
                call()
        if status != 404:
            with pytest.raises(expected, match=words):
                list(backend.scan())
            with pytest.raises(expected, match=words):
                backend.put("name", Body.of(b"x"))
            with pytest.raises(expected):
                backend.exists("name")
    finally:
        server.stop()


@pytest.mark.parametrize("text", [b"", b"{}", b"<html>log in</html>"])
def test_what_another_server_reports_is_no_success(tmp_path: Path, text: bytes) -> None:
    """It may be a login page, or a filter."""
    server = WebServer(tmp_path, type("Handler", (Answering,), {"status": 200, "text": text}))
    try:
        backend = connect(server.url, anon=True)
        for call in (
            lambda: backend.put("name", Body.of(b"x")),
            lambda: backend.put("name", Body.of(bytes(17 * MiB))),
            lambda: backend.head("name"),
            lambda: backend.get("name"),
            lambda: backend.copy("name", "other"),
            lambda: list(backend.scan()),
        ):
            with pytest.raises(StoreError, match=r"(not one of Google|must contain header)"):
                call()
    finally:
        server.stop()


def test_a_listing_of_an_older_emulator(tmp_path: Path) -> None:
    text = b'{"kind": "storage#object", "prefixes": ["a/"], "items": []}'
    server = WebServer(tmp_path, type("Handler", (Answering,), {"status": 200, "text": text}))
    try:
        assert [each.key for each in connect(server.url, anon=True).scan(delimiter="/")] == ["a/"]
    finally:
        server.stop()


def test_requester_pays_names_the_project(tmp_path: Path) -> None:
    server = WebServer(tmp_path, type("Handler", (Answering,), {"status": 404, "text": b"{}"}))
    try:
        backend = connect(server.url, anon=True, project="lab", request_payer="requester")
        with pytest.raises((ObjectNotFoundError, BucketNotFoundError)):
            backend.head("name")
        assert all("userProject=lab" in path for _, path in server.requests)
    finally:
        server.stop()


def test_acls_are_sent_if_they_are_passed(tmp_path: Path) -> None:
    text = json.dumps({"name": "name", "bucket": "bucket", "generation": "1"}).encode()
    server = WebServer(tmp_path, type("Handler", (Answering,), {"status": 200, "text": text}))
    try:
        cci = cottoncandy.get_interface(
            "bucket", backend="gcs", endpoint_url=server.url, anon=True, verbose=False
        )
        cci.upload_object("name", b"x")  # the default ACL of the options is for S3
        cci.upload_object("name", b"x", acl="public-read")
        uploads = dict.fromkeys(path for _, path in server.requests if "upload" in path)
        assert ["predefinedAcl=publicRead" in path for path in uploads] == [False, True]
        with pytest.raises(UnsupportedOperationError, match="aws-exec-read"):
            cci.upload_object("name", b"x", acl="aws-exec-read")
        cci.upload_object("name", b"x", request_payer="requester")  # by the project
    finally:
        server.stop()


def test_nothing_is_deleted_from_a_missing_bucket(emulated: Any) -> None:
    backend = connect(emulated.url, "no-such-bucket", anon=True)
    with pytest.raises(BucketNotFoundError, match="no-such-bucket"):
        list(backend.delete(["name", "other"]))


def test_a_copy_takes_one_request(tmp_path: Path) -> None:
    found = {"name": "copy", "bucket": "bucket", "generation": "1"}
    done = {"done": True, "totalBytesRewritten": 1, "objectSize": 1, "resource": found}
    text = json.dumps(done).encode()
    server = WebServer(tmp_path, type("Handler", (Answering,), {"status": 200, "text": text}))
    try:
        connect(server.url, anon=True).copy("name", "copy")
        (path,) = {path for _, path in server.requests if "/o/" in path}  # of objects
        assert "/o/name/rewriteTo/b/bucket/o/copy" in path
    finally:
        server.stop()


def test_stores_with_equal_options_copy_from_each_other() -> None:
    own = connect("http://127.0.0.1:9", anon=True)
    assert own.can_copy_from(connect("http://127.0.0.1:9", "other", anon=True))
    assert own.with_bucket("other").can_copy_from(own)
    assert not own.can_copy_from(connect("http://127.0.0.1:8", anon=True))
    assert not own.can_copy_from(connect("http://127.0.0.1:9"))


def test_metadata_are_set_on_the_version_that_was_read(tmp_path: Path) -> None:
    found = {"name": "name", "bucket": "bucket", "generation": "1", "size": "1"}
    done = {"done": True, "totalBytesRewritten": 1, "objectSize": 1, "resource": found}
    text = json.dumps({**found, **done}).encode()  # answers every request
    server = WebServer(tmp_path, type("Handler", (Answering,), {"status": 200, "text": text}))
    try:
        connect(server.url, anon=True).set_metadata("name", {"a": "1"})
        (rewrite,) = {path for _, path in server.requests if "rewriteTo" in path}
        assert "ifGenerationMatch=1" in rewrite
    finally:
        server.stop()


def test_new_metadata_keep_headers_of_other_programs(emulated: Any) -> None:
    blob = emulated.client.create_bucket("kept-headers").blob("a")
    blob.content_disposition, blob.content_language = "inline", "de"
    blob.upload_from_string(b"1")
    backend = connect(emulated.url, "kept-headers", anon=True)
    backend.set_metadata("a", {"new": "1"})
    found = emulated.client.bucket("kept-headers").get_blob("a")
    assert (found.content_disposition, found.metadata) == ("inline", {"new": "1"})
    assert found.content_language == "de"


def test_acls_of_a_bucket_without_any_are_rejected(tmp_path: Path) -> None:
    message = "Cannot insert legacy ACL for an object when uniform bucket-level access is enabled."
    text = json.dumps({"error": {"code": 400, "message": message}}).encode()
    server = WebServer(tmp_path, type("Handler", (Answering,), {"status": 400, "text": text}))
    try:
        with pytest.raises(UnsupportedOperationError, match="omit acl="):
            connect(server.url, anon=True).put("name", Body.of(b"x"), PutOptions(acl="private"))
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (403, "someone does not have storage.objects.getIamPolicy access", AccessDeniedError),
        (400, "... when uniform bucket-level access is enabled", UnsupportedOperationError),
    ],
)
def test_errors_of_reading_an_acl(
    tmp_path: Path, status: int, message: str, error: type[Exception]
) -> None:
    text = json.dumps({"error": {"code": status, "message": message}}).encode()
    server = WebServer(tmp_path, type("Handler", (Answering,), {"status": status, "text": text}))
    try:
        with pytest.raises(error, match="object 'name'"):
            connect(server.url, anon=True).acl("name")
    finally:
        server.stop()


def test_urls_are_signed_with_a_key() -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    credentials = service_account.Credentials.from_service_account_info(
        {
            "client_email": "me@lab.iam.gserviceaccount.com",
            "private_key": key.decode(),
            "token_uri": "http://127.0.0.1:9/token",
        }
    )
    url = connect("http://127.0.0.1:9", credentials=credentials).presign("a b/ü", 3600)
    assert url.startswith(
        "http://127.0.0.1:9/bucket/a%20b/%C3%BC?X-Goog-Algorithm=GOOG4-RSA-SHA256"
    )
    assert "X-Goog-Expires=3600" in url
    with pytest.raises(UnsupportedOperationError, match=r"service-account\.json"):
        connect("http://127.0.0.1:9", anon=True).presign("name", 60)


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cottoncandy.backends.gcs.backend._READ", {"timeout": 1, "retry": None})
    with pytest.raises(StoreUnreachableError, match="connect"):
        connect("http://127.0.0.1:9", anon=True).head("name")


def test_without_credentials_requests_are_anonymous(isolated_environment: Path) -> None:
    backend = connect("http://127.0.0.1:9")
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        # No request to a metadata server of a cloud's machine.
        patch.setenv("NO_GCE_CHECK", "true")
        patch.setenv("GCE_METADATA_TIMEOUT", "1")
        found = backend._connection.client
    assert type(found._credentials).__name__ == "AnonymousCredentials"


@each(
    "options, message",
    [
        ({"request_payer": "me"}, "requester"),
        ({"anon": True, "credentials": "key.json"}, "anon"),
        ({"projekt": "x"}, "did you mean 'project'"),
    ],
)
def test_wrong_options_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        connect("http://127.0.0.1:9", **options)
    with pytest.raises(ConfigurationError, match=r"key\.json"):
        connect("http://127.0.0.1:9", credentials="key.json").head("name")


def test_a_missing_library_costs_one_line() -> None:
    program = (
        "import sys\n"
        "sys.modules['google.cloud.storage'] = sys.modules['google.oauth2'] = None\n"
        "import cottoncandy\n"
        "for options in ({}, {'secrets': {'project_id': 'p'}}):\n"
        "    try:\n"
        "        (cottoncandy.CloudFiles if options else cottoncandy.get_interface)("
        "'gs://bucket', **options)\n"
        "    except ImportError as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    for line in shown.splitlines():
        assert line.startswith("MissingDependencyError")
        assert 'pip install "cottoncandy[gcs]"' in line
    assert shown.count("\n") == 2


def test_retries_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = client.RETRY.with_delay(0.01, 0.02, 1).with_timeout(0.1)
    monkeypatch.setattr("cottoncandy.backends.gcs.backend._READ", {"timeout": 5, "retry": quick})
    server = WebServer(tmp_path, Answering)
    try:
        with pytest.raises(cottoncandy.exceptions.StoreError):
            connect(server.url, anon=True).head("name")
        assert len(server.requests) > 1
    finally:
        server.stop()


def test_a_block_that_was_kept_in_part_is_an_error_of_the_store(
    emulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulated.client.create_bucket("in-part")
    backend = connect(emulated.url, "in-part", anon=True)
    session = backend._connection.client._http
    send = session.send

    def keeping_less(request: Any, **options: Any) -> Any:
        answer = send(request, **options)
        if answer.status_code == 308:
            answer.headers["Range"] = "bytes=0-99"
        return answer

    monkeypatch.setattr(session, "send", keeping_less)
    with pytest.raises(StoreBusyError, match="'long'"):
        backend.put("long", Body.of(bytes(17 * MiB)))
    assert not backend.exists("long")


@pytest.mark.parametrize(
    "kind",
    [ValueError, KeyError, ObjectNotFoundError, ObjectChangedError, requests.ConnectionError],
)
def test_errors_of_a_body_are_raised_as_they_are(emulated: Any, kind: type[Exception]) -> None:
    error = kind("of the caller")

    def body() -> Iterator[bytes]:
        yield bytes(33 * MiB)
        raise error

    bucket = f"body-{kind.__name__.lower()}"
    emulated.client.create_bucket(bucket)
    backend = connect(emulated.url, bucket, anon=True)
    with pytest.raises(kind) as raised:
        backend.put("long", Body(body, replayable=False), PutOptions(condition=IfAbsent()))
    assert raised.value is error
    assert not backend.exists("long")


def test_lost_response_to_a_copy_that_must_not_replace(
    emulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt finds what the first has made."""
    emulated.client.create_bucket("lost-copy")
    backend = connect(emulated.url, "lost-copy", anon=True)
    monkeypatch.setitem(gcs._READ, "retry", client.RETRY.with_delay(0.01, 0.02, 1))
    backend.put("a", Body.of(b"1"), PutOptions({"own": "1"}))
    session = backend._connection.client._http
    send, lost = session.send, []

    def losing(request: Any, **options: Any) -> Any:
        if "rewriteTo" not in request.url:
            return send(request, **options)
        if not lost:
            lost.append(send(request, **options))
            raise ConnectionError
        answer = send(request, **options)
        answer.status_code, answer._content = 412, b"{}"  # the emulator ignores conditions
        return answer

    monkeypatch.setattr(session, "send", losing)
    assert backend.copy("a", "b", overwrite=False).etag == backend.head("b").etag
    assert lost
    with pytest.raises(ObjectExistsError):  # nothing was repeated
        backend.copy("a", "c", overwrite=False)
