"""Copies within S3: what is kept with the bytes, and sources that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from cottoncandy.backends.base import PutOptions
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import (
    ObjectChangedError,
    ObjectExistsError,
    StoreBusyError,
    StoreError,
    StoreUnreachableError,
)
from cottoncandy.options import Settings
from tests.backends._s3 import QUICK, SMALL, backend_at
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.server

# Small bodies are treated as large, so they are copied in parts.
PARTS = Settings(max_put_size_bytes=5 * MiB, min_mpu_size_bytes=5 * MiB)


def head_of(moto: S3Server, bucket: str, key: str) -> Any:
    return moto.client().head_object(Bucket=bucket, Key=key)


@pytest.mark.parametrize("settings", [SMALL, PARTS], ids=["whole", "parts"])
@pytest.mark.parametrize("verb", ["copy", "move"])
def test_copy_keeps_storage_class_and_encryption(
    moto: S3Server, moto_bucket: str, settings: Settings, verb: str
) -> None:
    moto.client().put_object(
        Bucket=moto_bucket,
        Key="a",
        Body=bytes(6 * MiB),
        StorageClass="STANDARD_IA",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId="fake-key",
        BucketKeyEnabled=True,
        CacheControl="no-store",
    )
    before = head_of(moto, moto_bucket, "a")
    getattr(backend_at(moto, moto_bucket, settings), verb)("a", "b")
    after = head_of(moto, moto_bucket, "b")
    names = ["StorageClass", "ServerSideEncryption", "SSEKMSKeyId"]
    assert {name: after.get(name) for name in names} == {name: before.get(name) for name in names}
    assert after["StorageClass"] == "STANDARD_IA"
    assert after["SSEKMSKeyId"] == "fake-key"
    assert after["CacheControl"] == "no-store"
    if settings is SMALL:  # moto forgets it in multipart uploads
        assert after["BucketKeyEnabled"] is True


@pytest.mark.parametrize("settings", [SMALL, PARTS], ids=["whole", "parts"])
def test_new_metadata_keep_the_headers_and_the_acl(
    moto: S3Server, moto_bucket: str, settings: Settings
) -> None:
    headers = {"CacheControl": "no-store", "ContentType": "a/b", "ContentDisposition": "inline"}
    kept = {**headers, "StorageClass": "STANDARD_IA"}
    moto.client().put_object(
        Bucket=moto_bucket, Key="a", Body=bytes(6 * MiB), Metadata={"old": "1"}, ACL="public-read",
        **kept,
    )  # fmt: skip
    backend_at(moto, moto_bucket, settings).set_metadata("a", {"New": "2"})
    after = head_of(moto, moto_bucket, "a")
    assert after["Metadata"] == {"new": "2"}
    assert {name: after.get(name) for name in kept} == kept
    assert after["ContentLength"] == 6 * MiB
    grants = moto.client().get_object_acl(Bucket=moto_bucket, Key="a")["Grants"]
    assert sorted(each["Permission"] for each in grants) == ["FULL_CONTROL", "READ"]


def test_copy_of_an_archived_object_names_the_archive(moto: S3Server, moto_bucket: str) -> None:
    moto.client().put_object(Bucket=moto_bucket, Key="a", Body=b"x", StorageClass="GLACIER")
    backend = backend_at(moto, moto_bucket)
    with pytest.raises(StoreError, match=r"object 'a' .*is archived"):
        backend.copy("a", "b")
    with pytest.raises(StoreError, match="is archived"):
        backend.get("a").read()


def test_copy_of_a_restored_object_is_archived_again(moto: S3Server, moto_bucket: str) -> None:
    client = moto.client()
    client.put_object(Bucket=moto_bucket, Key="a", Body=b"x", StorageClass="GLACIER")
    client.restore_object(Bucket=moto_bucket, Key="a", RestoreRequest={"Days": 1})
    while 'ongoing-request="true"' in head_of(moto, moto_bucket, "a").get("Restore", ""):
        pass  # moto's clock of restorations advances with each request
    backend_at(moto, moto_bucket).copy("a", "b")
    assert head_of(moto, moto_bucket, "b")["StorageClass"] == "GLACIER"


def test_refusal_of_an_archived_source_names_the_archive(
    fault_proxy: FaultProxy, moto_bucket: str
) -> None:
    """The server reports it only when it copies."""
    backend: S3Backend = backend_at(fault_proxy.server, moto_bucket)
    fault_proxy.server.client().put_object(Bucket=moto_bucket, Key="a", Body=b"x")
    fault_proxy.on("PUT", "/b").answer(403, "ObjectNotInActiveTierError")
    with pytest.raises(StoreError, match="is archived"):
        backend.copy("a", "b")


@pytest.mark.parametrize(
    "grant",
    [
        b'<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group">'
        b"<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>",
        b"<Permission>READ</Permission>",
    ],
)
def test_copy_with_an_incomplete_acl_is_private(
    fault_proxy: FaultProxy, moto_bucket: str, grant: bytes
) -> None:
    backend = backend_at(fault_proxy.server, moto_bucket)
    client = fault_proxy.server.client()
    client.put_object(Bucket=moto_bucket, Key="a", Body=b"x", ACL="public-read")
    fault_proxy.on("GET", "/a", query="acl").answer(
        200,
        body=b"<AccessControlPolicy><Owner><ID>me</ID></Owner><AccessControlList><Grant>"
        + grant
        + b"</Grant></AccessControlList></AccessControlPolicy>",
    )
    backend.copy("a", "b")
    grants = client.get_object_acl(Bucket=moto_bucket, Key="b")["Grants"]
    assert [each["Permission"] for each in grants] == ["FULL_CONTROL"]


def test_copy_keeps_what_the_owner_may_do(fault_proxy: FaultProxy, moto_bucket: str) -> None:
    """Canned ACLs give owners full control, so it takes a separate request."""
    fault_proxy.server.client().put_object(Bucket=moto_bucket, Key="a", Body=b"x")
    user = (
        b'<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="%b">'
        b"<%b>%b</%b></Grantee><Permission>%b</Permission>"
    )
    owner = user % (b"CanonicalUser", b"ID", b"me", b"ID", b"READ_ACP")
    uri = b"http://acs.amazonaws.com/groups/global/AllUsers"
    everybody = user % (b"Group", b"URI", uri, b"URI", b"READ")
    fault_proxy.on("GET", "/a", query="acl").answer(
        200,
        body=b"<AccessControlPolicy><Owner><ID>me</ID></Owner><AccessControlList>"
        + b"<Grant>%b</Grant><Grant>%b</Grant>" % (owner, everybody)
        + b"</AccessControlList></AccessControlPolicy>",
    )
    backend_at(fault_proxy.server, moto_bucket).copy("a", "b")
    assert [request.path for request in fault_proxy.requests if "acl" in request.query] == [
        f"/{moto_bucket}/a",
        f"/{moto_bucket}/b",
    ]


def test_copy_sends_the_permission_of_one_user(fault_proxy: FaultProxy, moto_bucket: str) -> None:
    """No canned ACL describes it, so it takes a separate request."""
    client = fault_proxy.server.client()
    client.put_object(Bucket=moto_bucket, Key="a", Body=b"x", GrantRead="id=fake-user")
    backend_at(fault_proxy.server, moto_bucket).copy("a", "b")
    assert [request.path for request in fault_proxy.requests if "acl" in request.query] == [
        f"/{moto_bucket}/a",
        f"/{moto_bucket}/b",
    ]


@pytest.mark.parametrize(
    ("ownership", "read"), [("BucketOwnerEnforced", []), ("ObjectWriter", ["acl", "acl"])]
)
def test_acls_are_not_read_if_the_bucket_has_none(
    fault_proxy: FaultProxy, moto_bucket: str, ownership: str, read: list[str]
) -> None:
    client = fault_proxy.server.client()
    rules = {"Rules": [{"ObjectOwnership": ownership}]}
    client.put_bucket_ownership_controls(Bucket=moto_bucket, OwnershipControls=rules)
    client.put_object(Bucket=moto_bucket, Key="a", Body=b"x")
    backend = backend_at(fault_proxy.server, moto_bucket)
    backend._connection.cached("on_aws", lambda: True)
    before = len(fault_proxy.requests)
    for copy in ("b", "c"):
        backend.copy("a", copy)
    queries = [request.query for request in fault_proxy.requests[before:]]
    assert [name for query in queries for name in query] == ["ownershipControls", *read]


@pytest.mark.parametrize(
    ("overwrite", "error"), [(True, ObjectChangedError), (False, ObjectExistsError)]
)
def test_an_object_that_is_replaced_while_it_is_copied(
    fault_proxy: FaultProxy, moto_bucket: str, overwrite: bool, error: type[Exception]
) -> None:
    """Storage class, key and ACL of the copy would be those of another version."""
    client = fault_proxy.server.client()
    etag = client.put_object(Bucket=moto_bucket, Key="a", Body=b"x")["ETag"]
    rule = fault_proxy.on("PUT", "/b", header="x-amz-copy-source-if-match")
    rule.answer(412, "PreconditionFailed")
    with pytest.raises(error, match="was replaced while it was being copied"):
        backend_at(fault_proxy.server, moto_bucket).copy("a", "b", overwrite=overwrite)
    (request,) = [each for each in fault_proxy.requests if each.path.endswith("/b")][-1:]
    assert request.headers["x-amz-copy-source-if-match"] == etag


def test_copy_of_an_object_without_a_length(fault_proxy: FaultProxy, moto_bucket: str) -> None:
    fault_proxy.server.client().put_object(Bucket=moto_bucket, Key="a", Body=b"x")
    fault_proxy.on("HEAD", "/a").change_header("Content-Length", None)
    with pytest.raises(StoreError, match="no Content-Length"):
        backend_at(fault_proxy.server, moto_bucket, config=QUICK).copy("a", "b")


@pytest.mark.parametrize("status", [403, 404, 501])
def test_copy_of_an_object_whose_acl_cannot_be_read_is_private(
    fault_proxy: FaultProxy, moto_bucket: str, status: int
) -> None:
    client = fault_proxy.server.client()
    client.put_object(Bucket=moto_bucket, Key="a", Body=b"x", ACL="public-read")
    fault_proxy.on("GET", "/a", query="acl").answer(status)
    backend_at(fault_proxy.server, moto_bucket, config=QUICK).copy("a", "b")
    grants = client.get_object_acl(Bucket=moto_bucket, Key="b")["Grants"]
    assert [each["Permission"] for each in grants] == ["FULL_CONTROL"]


@pytest.mark.parametrize("fault", ["busy", "reset"])
def test_a_failing_store_does_not_make_a_copy_private(
    fault_proxy: FaultProxy, moto_bucket: str, fault: str
) -> None:
    client = fault_proxy.server.client()
    client.put_object(Bucket=moto_bucket, Key="a", Body=b"x", ACL="public-read")
    rule = fault_proxy.on("GET", "/a", query="acl")
    rule.answer(503, "SlowDown") if fault == "busy" else rule.reset()
    with pytest.raises((StoreBusyError, StoreUnreachableError)):
        backend_at(fault_proxy.server, moto_bucket, config=QUICK).copy("a", "b")
    assert not any(each.path.endswith("/b") for each in fault_proxy.requests)


@pytest.mark.parametrize("status", [403, 500])
def test_copy_stays_private_if_a_permission_cannot_be_set(
    fault_proxy: FaultProxy, moto_bucket: str, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    client = fault_proxy.server.client()
    client.put_object(Bucket=moto_bucket, Key="a", Body=b"x", GrantRead="id=fake-user")
    fault_proxy.on("PUT", "/b", query="acl").answer(status)
    assert backend_at(fault_proxy.server, moto_bucket, config=QUICK).copy("a", "b").etag
    assert "its ACL could not be set" in caplog.text
    grants = client.get_object_acl(Bucket=moto_bucket, Key="b")["Grants"]
    assert [each["Permission"] for each in grants] == ["FULL_CONTROL"]


def test_a_copy_in_parts_keeps_tags(
    fault_proxy: FaultProxy, moto_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, tags = fault_proxy.server.client(), "kind=a%2Bb%3Dc&empty="
    client.put_object(Bucket=moto_bucket, Key="a", Body=bytes(6 * MiB), Tagging=tags)
    backend = backend_at(fault_proxy.server, moto_bucket, PARTS, config=QUICK)
    expected = [{"Key": "kind", "Value": "a+b=c"}, {"Key": "empty", "Value": ""}]
    backend.copy("a", "b")
    assert client.get_object_tagging(Bucket=moto_bucket, Key="b")["TagSet"] == expected
    fault_proxy.on("GET", "/a", query="acl").answer(403)  # moto has none for uploads in parts
    backend.set_metadata("a", {"new": "1"})
    assert client.get_object_tagging(Bucket=moto_bucket, Key="a")["TagSet"] == expected
    fault_proxy.on("GET", "/a", query="tagging", times=1).answer(503, "SlowDown")
    with pytest.raises(StoreBusyError):
        backend.copy("a", "b")
    fault_proxy.on("GET", "/a", query="tagging").answer(403, "AccessDenied")
    backend.copy("a", "c")
    assert client.get_object_tagging(Bucket=moto_bucket, Key="c")["TagSet"] == []
    assert "tags" in caplog.text
    client.delete_object_tagging(Bucket=moto_bucket, Key="b")
    fault_proxy.on("GET", "/b", query="tagging").answer(404, "NoSuchTagSet")
    fault_proxy.on("GET", "/b", query="acl").answer(403)
    backend.copy("b", "d")  # as some servers say that there are none


@pytest.mark.parametrize("parts", [1, 2])
def test_lost_response_to_a_copy_that_must_not_replace(
    fault_proxy: FaultProxy, moto_bucket: str, parts: int
) -> None:
    """The second attempt finds what the first has made."""
    client, backend = fault_proxy.server.client(), backend_at(fault_proxy.server, moto_bucket)
    backend.put("a", Body.of(bytes(parts * 5 * MiB)), PutOptions({"own": "1"}))
    client.put_object(Bucket=moto_bucket, Key="c", Body=bytes(parts * 5 * MiB))
    assert ("-" in client.head_object(Bucket=moto_bucket, Key="a")["ETag"]) == (parts > 1)
    fault_proxy.on("GET", "/a", query="acl").answer(403)  # moto has none for uploads in parts
    lost = fault_proxy.on("PUT", "/b", times=1).reset(delivered=True)
    unmet = fault_proxy.on("PUT", "/b", skip=1).answer(412, "PreconditionFailed")
    etag = backend.copy("a", "b", overwrite=False).etag
    assert (lost.hits, unmet.hits) == (1, 1)
    assert etag == client.head_object(Bucket=moto_bucket, Key="b")["ETag"]
    fault_proxy.on("PUT", "/c", times=1).answer(500)
    fault_proxy.on("PUT", "/c").answer(412, "PreconditionFailed")
    fault_proxy.on("HEAD", "/c", times=1).answer(404)
    with pytest.raises(ObjectExistsError):  # another client was faster
        backend.copy("a", "c", overwrite=False)
