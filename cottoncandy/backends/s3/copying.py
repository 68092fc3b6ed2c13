"""Server-side copies, with metadata, content type and ACL."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from cottoncandy.backends.base import Backend, IfAbsent, PutResult
from cottoncandy.backends.s3.buckets import Buckets, rejects_acls
from cottoncandy.backends.s3.clients import Connection
from cottoncandy.backends.s3.errors import (
    ErrorDetails,
    S3Location,
    confirmed,
    from_details,
    translated,
)
from cottoncandy.backends.s3.keys import check_key, quoted_etag
from cottoncandy.backends.s3.multipart import MultipartUpload
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

# The data stays on the server, so parts may be large; S3's limit for one is 5 GiB.
_COPY_PART_BYTES = 512 * MiB

# A multipart copy creates a new object, so these must be sent again.
_HEADERS = (
    *("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType"),
)
_KMS_HEADERS = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled")
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})

_EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"

# Grants in addition to the owner's -> the canned ACL, which is part of the copy request.
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

    def copy(self, origin: S3Location, target: S3Location, *, overwrite: bool) -> PutResult:
        """Copy an object, with metadata, content type and ACL."""
        check_key(origin.key or "")
        check_key(target.key or "", writing=True)
        self._buckets.require_exact_key(target)
        head = self._head(origin)
        if _is_archived(head):
            raise from_details(ErrorDetails(code="InvalidObjectState"), origin)
        bucket = target.bucket or ""
        if not overwrite:
            self._backend._check_condition(target.key or "", IfAbsent(), bucket)
        if origin == target:
            return PutResult(quoted_etag(head.get("ETag")))
        whole = head["ContentLength"] <= self._connection.options.settings.max_put_size_bytes
        copy = self._copy_whole if whole else self._copy_parts
        condition = {"IfNoneMatch": "*"} if not overwrite and self._connection.on_aws else {}
        acl = self._acl_of(origin) if self._buckets.accepts_acls(bucket) else None
        try:
            result = self._buckets.with_acl(
                bucket,
                _canned(acl),
                lambda canned: copy(
                    origin, target, head, {} if canned is None else {"ACL": canned}, condition
                ),
            )
        except ObjectChangedError as exc:
            if overwrite:
                message = f"{origin} was replaced while it was being copied; try again"
                raise ObjectChangedError(message) from exc
            raise ObjectExistsError(
                f"{target} exists (or {origin} was replaced while it was being copied); pass "
                f"overwrite=True to replace it"
            ) from exc
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
        acl: Mapping[str, str],
        condition: Mapping[str, str],
    ) -> PutResult:
        client = self._connection.client
        if "IfNoneMatch" not in _parameters(client, "CopyObject"):  # an older botocore
            condition = {}
        pinned = {"CopySourceIfMatch": head["ETag"]} if "ETag" in head else {}
        with translated(target):
            response = client.copy_object(
                Bucket=target.bucket,
                Key=target.key,
                CopySource={"Bucket": origin.bucket, "Key": origin.key},
                **{**pinned, **_storage(head), **acl, **condition},
            )
        etag = confirmed(response.get("CopyObjectResult", {}).get("ETag"), "ETag", target)
        return PutResult(quoted_etag(etag), response.get("VersionId"))

    def _copy_parts(
        self,
        origin: S3Location,
        target: S3Location,
        head: Mapping[str, Any],
        acl: Mapping[str, str],
        condition: Mapping[str, str],
    ) -> PutResult:
        settings = self._connection.options.settings
        size = head["ContentLength"]
        part = max(
            min(_COPY_PART_BYTES, settings.max_put_size_bytes),
            -(-size // settings.max_mpu_parts),
            settings.min_mpu_size_bytes,
        )
        headers = {name: head[name] for name in _HEADERS if head.get(name)}
        metadata = {"Metadata": head.get("Metadata", {})}
        upload = MultipartUpload(
            self._connection, target, {**_storage(head), **headers, **metadata, **acl}
        )
        return upload.copy(
            {"Bucket": origin.bucket or "", "Key": origin.key or ""},
            head.get("ETag"),
            ((start, min(start + part, size)) for start in range(0, size, part)),
            threads=4,
            complete=condition,
        )

    def _acl_of(self, location: S3Location) -> Mapping[str, Any] | None:
        """Return an object's ACL; None if it is private, or cannot be read."""
        try:
            with translated(location):
                acl: Mapping[str, Any] = self._connection.client.get_object_acl(
                    Bucket=location.bucket, Key=location.key
                )
        except (AccessDeniedError, StoreError, ObjectNotFoundError) as exc:
            # With read-only access to the source, the ACL is unknown; S3 makes the copy private.
            logger.info("the ACL of %s cannot be read and is not copied: %s", location, exc)
            return None
        grants = acl.get("Grants", ())
        if not all("Permission" in grant and "Grantee" in grant for grant in grants):
            logger.warning("the ACL of %s is incomplete and is not copied", location)
            return None
        owner = acl.get("Owner", {}).get("ID")
        private = all(grant["Grantee"].get("ID") == owner for grant in grants)
        return None if private else acl

    def _set_acl(self, location: S3Location, acl: Mapping[str, Any]) -> None:
        """Set grants that no canned ACL has; CopyObject makes the copy private."""
        policy = {"Owner": acl.get("Owner", {}), "Grants": acl["Grants"]}
        try:
            with translated(location):
                self._connection.client.put_object_acl(
                    Bucket=location.bucket, Key=location.key, AccessControlPolicy=policy
                )
        except CottonCandyError as exc:
            if rejects_acls(exc):
                self._buckets.disable_acls(location.bucket or "")
                return
            logger.warning("%s was copied, but its ACL could not be set: %s", location, exc)


def _storage(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the storage class and encryption, as arguments for a request that creates a copy."""
    kept = {"StorageClass": head["StorageClass"]} if head.get("StorageClass") else {}
    # Any other encryption is the server's; the default of the target's bucket applies.
    if str(head.get("ServerSideEncryption", "")).startswith("aws:kms"):
        kept |= {name: head[name] for name in _KMS_HEADERS if head.get(name)}
    return kept


def _is_archived(head: Mapping[str, Any]) -> bool:
    """Return whether an object must be restored before it can be read."""
    archived = head.get("ArchiveStatus") or head.get("StorageClass") in _ARCHIVES
    return bool(archived) and 'ongoing-request="false"' not in head.get("Restore", "")


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


def _parameters(client: Any, operation: str) -> Any:
    """Return the parameters of an operation in the installed botocore."""
    return client.meta.service_model.operation_model(operation).input_shape.members
