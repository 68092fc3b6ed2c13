"""Web servers in front of a store that redirect to https, or to another name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cottoncandy.backends.base import PutOptions
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import StoreUnreachableError
from tests.backends._s3 import QUICK, backend_at
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.server

NGINX = (
    b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
)
GO = b"Client sent an HTTP request to an HTTPS server.\n"


@pytest.fixture
def backend(fault_proxy: FaultProxy, moto_bucket: str) -> S3Backend:
    return backend_at(fault_proxy.server, moto_bucket, config=QUICK)


def requests_by_boto(backend: S3Backend) -> list[Callable[[], object]]:
    bucket = str(backend.bucket_name)
    return [
        lambda: backend.has_bucket(bucket),
        lambda: list(backend.scan()),
        lambda: backend.get("odd//name"),
        lambda: backend.put("odd//name", Body.of(b"x")),
        lambda: backend.put("plain", Body.of(b"x")),
        lambda: backend.native_bucket().creation_date,
    ]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection(backend: S3Backend, fault_proxy: FaultProxy, status: int) -> None:
    """botocore alone would ask for ever where the bucket's region is."""
    headers = {"Content-Type": "text/html", "Location": "https://s3.example.org/b/k?x=1"}
    rule = fault_proxy.on().answer(status, headers=headers)
    for request in requests_by_boto(backend):
        with pytest.raises(StoreUnreachableError, match="endpoint_url") as caught:
            request()
        assert "redirects to https://s3.example.org; if" in str(caught.value)
        assert fault_proxy.endpoint_url in str(caught.value)
    rule.remove()
    backend.put("plain", Body.of(b"x"))
    assert backend.get("plain").read() == b"x"


def test_bucket_of_another_region_exists(backend: S3Backend, fault_proxy: FaultProxy) -> None:
    fault_proxy.on("HEAD").answer(301, headers={"x-amz-bucket-region": "eu-west-1"})
    assert backend.has_bucket(str(backend.bucket_name))


@pytest.mark.parametrize("status", [301, 307])
@pytest.mark.parametrize("content_type", ["application/xml", "text/html"])
def test_redirection_without_an_address_raises(
    backend: S3Backend, fault_proxy: FaultProxy, status: int, content_type: str
) -> None:
    """botocore alone recurses; for the list of buckets, it looks for the region of None."""
    fault_proxy.on().answer(status, headers={"Content-Type": content_type})
    for request in (*requests_by_boto(backend), backend.list_buckets):
        with pytest.raises(StoreUnreachableError, match="redirects to another address; check"):
            request()


def test_web_page_instead_of_an_answer_raises(backend: S3Backend, fault_proxy: FaultProxy) -> None:
    """As the login page of a network does, with status 200."""
    page = b"\n<!DOCTYPE html><html><body>Please log in</body></html>"
    for method in ("GET", "PUT", "POST", "DELETE"):
        fault_proxy.on(method).answer(200, body=page, headers={"Content-Type": "text/html"})
    for request in (
        backend.list_buckets,
        lambda: backend.create_bucket("another-bucket"),
        lambda: backend.delete_bucket(str(backend.bucket_name)),
        lambda: list(backend.scan()),
        lambda: list(backend.delete(["name"])),
        lambda: backend.put("odd//name", Body.of(b"x")),
    ):
        with pytest.raises(StoreUnreachableError, match="web page"):
            request()


def test_redirection_to_a_web_page_raises(backend: S3Backend, fault_proxy: FaultProxy) -> None:
    """obstore follows it, and the page of a network's login was the object."""
    backend.put("plain", Body.of(b"x"))
    login = f"{fault_proxy.endpoint_url}/login"
    fault_proxy.on(path="plain").answer(302, headers={"Location": login})
    page = {"Content-Type": "text/html; charset=utf-8", "ETag": '"5e-1"'}
    page["Last-Modified"] = "Sat, 28 Nov 2026 12:00:00 GMT"
    fault_proxy.on(path="login").answer(200, body=b"<html>Log in</html>", headers=page)
    for request in (backend.get, backend.head):
        with pytest.raises(StoreUnreachableError, match="redirects to"):
            request("plain")


def test_objects_that_are_web_pages_are_read(backend: S3Backend) -> None:
    backend.put("page", Body.of(b"<html>"), PutOptions(content_type="text/html"))
    assert backend.get("page").read() == b"<html>"
    assert backend.head("page").content_type == "text/html"


@pytest.mark.parametrize("body", [NGINX, GO], ids=["nginx", "go"])
def test_https_only(backend: S3Backend, fault_proxy: FaultProxy, body: bytes) -> None:
    fault_proxy.on().answer(400, body=body, headers={"Content-Type": "text/html"})
    for request in (
        *requests_by_boto(backend),
        lambda: backend.get("plain"),
        lambda: backend.put("plain", Body.of(b"x")),
    ):
        with pytest.raises(StoreUnreachableError, match="only accepts https; change http://"):
            request()


def test_what_s3_says_itself_is_for_botocore(
    moto: S3Server, backend: S3Backend, fault_proxy: FaultProxy
) -> None:
    """A bucket of another region, at a store that is not Amazon's."""
    headers = {"Location": f"{moto.endpoint_url}/elsewhere", "x-amz-bucket-region": "eu-west-1"}
    fault_proxy.on("HEAD").answer(301, headers=headers)
    rule = fault_proxy.on("GET", times=1).answer(301, "PermanentRedirect", headers=headers)
    assert list(backend.scan()) == []  # botocore looked for the region, and asked again
    assert rule.hits == 1
