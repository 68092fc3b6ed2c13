"""Copies within the store, and who may do what with an object."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from cottoncandy.backends.base import Backend, IfAbsent, PutResult
from cottoncandy.backends.s3.buckets import Buckets, refuses_acls
from cottoncandy.backends.s3.connection import Connection
from cottoncandy.backends.s3.errors import (
    ErrorDetails,
    S3Location,
    confirmed,
    from_details,
    translated,
)
from cottoncandy.backends.s3.keys import check_key, quoted_etag
from cottoncandy.backends.s3.names import KeyNormalizationProbe
from cottoncandy.backends.s3.upload import MultipartUpload
from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreError,
)

__all__ = ["CopyOperations"]

logger = logging.getLogger(__name__)

# The server moves the bytes, so parts may be large; S3's own limit for one is 5 GiB.
_COPY_PART_BYTES = 512 * MiB

# A multipart copy creates a new object, so these must be sent again.
_HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
)
_KMS_HEADERS = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled")
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})

_EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"

# Grants beside the owner's -> what S3 calls them; these go along with the copy itself.
_CANNED = {
    frozenset({(_EVERYBODY, "READ")}): "public-read",
    frozenset({(_EVERYBODY, "READ"), (_EVERYBODY, "WRITE")}): "public-read-write",
    frozenset({(_USERS, "READ")}): "authenticated-read",
}


class CopyOperations:
    """Server-side copies of one connection."""

    def __init__(self, connection: Connection, buckets: Buckets, backend: Backend) -> None:
        self._connection = connection
        self._buckets = buckets
        self._backend = backend
        self._names = KeyNormalizationProbe(connection)

    def copy(
        self, bucket: str, source: str, dest_bucket: str, dest: str, *, overwrite: bool
    ) -> PutResult:
        """Copy metadata, content type and ACL with the bytes, which stay on the server."""
        check_key(source)
        check_key(dest, writing=True)
        origin = S3Location(self._connection.endpoint, bucket, source)
        target = S3Location(self._connection.endpoint, dest_bucket, dest)
        self._names.require(target)
        head = self._head(origin)
        if _is_archived(head):
            raise from_details(ErrorDetails(code="InvalidObjectState"), origin)
        if not overwrite:
            self._backend._check_condition(dest, IfAbsent(), dest_bucket)
        if origin == target:
            return PutResult(quoted_etag(head.get("ETag")))
        whole = head["ContentLength"] <= self._connection.options.settings.max_put_size_bytes
        send = self._copy_whole if whole else self._copy_parts
        acl = self._acl_of(origin) if self._buckets.accepts_acls(dest_bucket) else None
        try:
            result = self._buckets.with_acl(
                dest_bucket,
                _canned(acl),
                lambda chosen: send(origin, target, head, overwrite, chosen),
            )
        except ObjectChangedError as exc:
            raise self._conflict(origin, target, overwrite) from exc
        if acl is not None and _canned(acl) is None:
            self._set_acl(target, acl)
        return result

    def _head(self, location: S3Location) -> Mapping[str, Any]:
        client = self._connection.client
        try:
            with translated(location):
                head: Mapping[str, Any] = client.head_object(
                    Bucket=location.bucket, Key=location.key
                )
        except ObjectNotFoundError:
            self._buckets.require(location.bucket or "")
            raise
        return head

    def _copy_whole(
        self,
        origin: S3Location,
        target: S3Location,
        head: Mapping[str, Any],
        overwrite: bool,
        acl: str | None,
    ) -> PutResult:
        request = _storage(head)
        if "ETag" in head:
            request["CopySourceIfMatch"] = head["ETag"]
        client = self._connection.client
        if acl is not None:
            request["ACL"] = acl
        if not overwrite and self._connection.on_aws and _takes_condition(client):
            request["IfNoneMatch"] = "*"
        with translated(target):
            answer = client.copy_object(
                Bucket=target.bucket,
                Key=target.key,
                CopySource={"Bucket": origin.bucket, "Key": origin.key},
                **request,
            )
        etag = confirmed(answer.get("CopyObjectResult", {}).get("ETag"), "ETag", target)
        return PutResult(quoted_etag(etag), answer.get("VersionId"))

    def _copy_parts(
        self,
        origin: S3Location,
        target: S3Location,
        head: Mapping[str, Any],
        overwrite: bool,
        acl: str | None,
    ) -> PutResult:
        settings = self._connection.options.settings
        size = head["ContentLength"]
        part = max(
            min(_COPY_PART_BYTES, settings.max_put_size_bytes),
            -(-size // settings.max_mpu_parts),
            settings.min_mpu_size_bytes,
        )
        begin = {**_storage(head), **{name: head[name] for name in _HEADERS if head.get(name)}}
        if acl is not None:
            begin["ACL"] = acl
        upload = MultipartUpload(
            self._connection, target, {**begin, "Metadata": head.get("Metadata", {})}
        )
        return upload.copy(
            {"Bucket": origin.bucket or "", "Key": origin.key or ""},
            head.get("ETag"),
            ((start, min(start + part, size)) for start in range(0, size, part)),
            threads=4,
            complete={} if overwrite or not self._connection.on_aws else {"IfNoneMatch": "*"},
        )

    @staticmethod
    def _conflict(origin: S3Location, target: S3Location, overwrite: bool) -> CottonCandyError:
        if not overwrite:
            return ObjectExistsError(
                f"{target} exists (or {origin} was replaced meanwhile); pass overwrite=True to "
                f"replace it"
            )
        return ObjectChangedError(f"{origin} was replaced while it was copied; try again")

    # -- permissions -----------------------------------------------------------------------------

    def _acl_of(self, location: S3Location) -> Mapping[str, Any] | None:
        """Return an object's ACL; None where only its owner has a grant, or it can't be read."""
        try:
            with translated(location):
                acl: Mapping[str, Any] = self._connection.client.get_object_acl(
                    Bucket=location.bucket, Key=location.key
                )
        except (AccessDeniedError, StoreError, ObjectNotFoundError) as exc:
            # Whoever may only read the source can't know; the copy is private, as S3 makes it.
            logger.info("the ACL of %s can't be read and is not copied: %s", location, exc)
            return None
        grants = acl.get("Grants", ())
        if not all("Permission" in grant and "Grantee" in grant for grant in grants):
            logger.warning("the ACL of %s is incomplete and is not copied", location)
            return None
        return None if _is_private(acl) else acl

    def _set_acl(self, location: S3Location, acl: Mapping[str, Any]) -> None:
        """Give the copy grants that no canned ACL has: CopyObject makes it private."""
        policy = {"Owner": acl.get("Owner", {}), "Grants": acl["Grants"]}
        try:
            with translated(location):
                self._connection.client.put_object_acl(
                    Bucket=location.bucket, Key=location.key, AccessControlPolicy=policy
                )
        except CottonCandyError as exc:
            if refuses_acls(exc):
                self._buckets.disable_acls(location.bucket or "")
                return
            logger.warning("%s was copied, and its ACL could not be set: %s", location, exc)

    def owner(self, bucket: str, key: str) -> Mapping[str, str]:
        """Return who owns an object, by its ACL or by what s3cmd noted in its metadata."""
        check_key(key)
        location = S3Location(self._connection.endpoint, bucket, key)
        try:
            with translated(location):
                acl = self._connection.client.get_object_acl(Bucket=bucket, Key=key)
        except (AccessDeniedError, StoreError):
            noted = self._backend.head(key, bucket=bucket).metadata or {}
            if "s3cmd-attrs" not in noted:
                raise
            fields = (field.partition(":") for field in noted["s3cmd-attrs"].split("/"))
            return {name: value for name, _, value in fields}
        owner: dict[str, str] = dict(acl.get("Owner", {}))
        return owner


def _storage(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return how an object is stored, as arguments for a request that creates its copy."""
    kept = {"StorageClass": head["StorageClass"]} if head.get("StorageClass") else {}
    # Other encryption is the server's own, and the bucket's default decides.
    if str(head.get("ServerSideEncryption", "")).startswith("aws:kms"):
        kept |= {name: head[name] for name in _KMS_HEADERS if head.get(name)}
    return kept


def _is_archived(head: Mapping[str, Any]) -> bool:
    """Return whether an object must be restored before it can be read."""
    archived = head.get("ArchiveStatus") or head.get("StorageClass") in _ARCHIVES
    return bool(archived) and 'ongoing-request="false"' not in head.get("Restore", "")


def _is_private(acl: Mapping[str, Any]) -> bool:
    """Tell whether only the owner has a grant."""
    owner = acl.get("Owner", {}).get("ID")
    grants = acl.get("Grants", ())
    return all(grant.get("Grantee", {}).get("ID") == owner for grant in grants)


def _canned(acl: Mapping[str, Any] | None) -> str | None:
    """Return the name of a canned ACL with the same grants."""
    if acl is None:
        return None
    owner = acl.get("Owner", {}).get("ID")
    others = {
        (grant["Grantee"].get("URI", ""), grant["Permission"])
        for grant in acl["Grants"]
        if (grant["Grantee"].get("ID"), grant["Permission"]) != (owner, "FULL_CONTROL")
    }
    return _CANNED.get(frozenset(others))


def _takes_condition(client: Any) -> bool:
    """Tell whether this botocore knows CopyObject's If-None-Match."""
    shape = client.meta.service_model.operation_model("CopyObject").input_shape
    return "IfNoneMatch" in shape.members
