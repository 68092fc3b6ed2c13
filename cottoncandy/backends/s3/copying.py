"""ACLs; and server-side copies, with metadata, content type and ACL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

from cottoncandy.backends.base import DEFAULT_OPTIONS, IfMatch, PutResult
from cottoncandy.backends.pages import quoted_etag
from cottoncandy.backends.responses import TRANSIENT
from cottoncandy.backends.s3.clients import Connection
from cottoncandy.backends.s3.errors import (
    ErrorDetails,
    S3Location,
    confirmed,
    from_details,
    parse_error,
)
from cottoncandy.backends.s3.multipart import MultipartUpload
from cottoncandy.backends.s3.transport import body_length, boto_headers
from cottoncandy.core.buffers import MiB
from cottoncandy.exceptions import (
    AccessDeniedError,
    CottonCandyError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreError,
    StoreTimeoutError,
    StoreUnreachableError,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)

# The data stays on the server, so parts may be large; S3's limit for one is 5 GiB.
_COPY_PART_BYTES = 512 * MiB

_HEADERS = (
    *("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType"),
    "Metadata",
)
_KMS_HEADERS = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled")
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})

_ACL_CODES = frozenset({"AccessControlListNotSupported", "InvalidBucketAclWithObjectOwnership"})
_EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"

# Grants in addition to the owner's -> the canned ACL, which is part of the copy request.
_CANNED = {
    frozenset({(_EVERYBODY, "READ")}): "public-read",
    frozenset({(_EVERYBODY, "READ"), (_EVERYBODY, "WRITE")}): "public-read-write",
    frozenset({(_USERS, "READ")}): "authenticated-read",
}


class ACLs:
    """The ACLs of the objects of one connection, as far as buckets have any."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rejecting: set[str] = set()  # buckets

    def sent(self, bucket: str, acl: str | None, send: Callable[[str | None], T]) -> T:
        """Send a request with a canned ACL, or without it if the bucket rejects ACLs."""
        if acl is None or bucket in self._rejecting:
            return send(None)
        try:
            return send(acl)
        except CottonCandyError as exc:
            if not _rejects_acls(exc):
                raise
        self._disable(bucket)
        return send(None)

    def kept(self, origin: S3Location, target: S3Location, send: Callable[[str | None], T]) -> T:
        """Send a request that creates an object with the ACL of another."""
        acl: Mapping[str, Any] = {}
        if self._useful(target.bucket):
            # With read-only access to the source, the ACL is unknown; S3 makes the copy private.
            acl = _read(self._connection, origin, "acl", "ACL", logging.INFO)
        if not all("Permission" in each and "Grantee" in each for each in acl.get("Grants", ())):
            logger.warning("the ACL of %s is incomplete and is not copied", origin)
            acl = {}
        owner, grants = acl.get("Owner", {}).get("ID"), acl.get("Grants", ())
        shared = any(grant["Grantee"].get("ID") != owner for grant in grants)
        # A canned ACL gives its owner full control.
        others = {
            (grant["Grantee"].get("URI", ""), grant["Permission"])
            for grant in grants
            if (grant["Grantee"].get("ID"), grant["Permission"]) != (owner, "FULL_CONTROL")
        }
        canned = _CANNED.get(frozenset(others)) if shared else None
        result = send(canned)
        if shared and canned is None:
            self._set(target, acl)
        return result

    def _disable(self, bucket: str) -> None:
        """Remember that a bucket rejects ACLs, and warn once."""
        if bucket in self._rejecting:
            return
        self._rejecting.add(bucket)
        logger.warning(
            "bucket '%s' has ACLs disabled (the default of new AWS buckets); objects are uploaded "
            "without them, and the bucket's policy decides who may read. To silence this warning, "
            "set [basic] default_acl to an empty value in the options file",
            bucket,
        )

    def _useful(self, bucket: str) -> bool:
        """Return whether objects of a bucket may have ACLs: Amazon is asked once per process."""
        if bucket in self._rejecting or not self._connection.on_aws:
            return bucket not in self._rejecting
        return self._connection.cached(("owners", bucket), self._has_owners, bucket)

    def _has_owners(self, bucket: str) -> bool:
        rules: Any = ()
        with suppress(CottonCandyError):  # not allowed, or not set
            location = self._connection.location(bucket)
            response = self._connection.call(location, "get_bucket_ownership_controls")
            rules = response["OwnershipControls"].get("Rules", ())
        return {"ObjectOwnership": "BucketOwnerEnforced"} not in rules

    def _set(self, location: S3Location, acl: Mapping[str, Any]) -> None:
        """Set grants that no canned ACL has; CopyObject makes the copy private."""
        policy = {"Owner": acl.get("Owner", {}), "Grants": acl["Grants"]}
        try:
            self._connection.call(location, "put_object_acl", AccessControlPolicy=policy)
        except CottonCandyError as exc:
            if _rejects_acls(exc):
                self._disable(location.bucket)
            else:
                logger.warning("%s was stored, but its ACL could not be set: %s", location, exc)


class CopyOperations:
    """Server-side copies of one connection.

    Each takes three requests. CopyObject alone keeps metadata and headers, but neither the storage
    class nor the key of KMS, which only HEAD returns, nor the ACL. Its condition is the ETag of the
    HEAD, so that a version that replaces the object is not published with the ACL of the old one.
    obstore has no such condition, and returns no ETag of the copy.
    """

    def __init__(self, connection: Connection, acls: ACLs, options: Mapping[str, str]) -> None:
        self._connection = connection
        self._acls = acls
        own = DEFAULT_OPTIONS.changed(**{**options, "storage_class": None})
        self._headers = boto_headers(own)

    def copy(
        self,
        origin: S3Location,
        target: S3Location,
        *,
        absent: bool = False,
        metadata: Mapping[str, str] | None = None,
        etag: str | None = None,
    ) -> PutResult:
        """Copy an object, with metadata, content type and ACL.

        Parameters
        ----------
        absent : bool, default False
            Whether the copy must not replace an object, as far as the server can tell.
        metadata : mapping of str to str, optional
            Metadata of the copy, which may replace its original. Default: the original's.
        etag : str, optional
            Version to copy. Default: the current one.
        """
        head = self._connection.call(origin, "head_object")
        if _is_archived(head):
            raise from_details(ErrorDetails(code="InvalidObjectState"), origin)
        if etag is not None:
            IfMatch(etag).check(head.get("ETag", ""), str(origin))
        if metadata is not None:
            head = {**head, "Metadata": metadata, "MetadataDirective": "REPLACE"}
        elif origin == target:
            return PutResult(quoted_etag(head.get("ETag")))
        condition = {"IfNoneMatch": "*"} if absent and self._connection.on_aws else {}
        copy = partial(self._copy, origin, target, head, condition)
        try:
            return self._acls.kept(
                origin, target, lambda acl: self._acls.sent(target.bucket, acl, copy)
            )
        except ObjectChangedError as exc:
            if not absent:
                message = f"{origin} was replaced while it was being copied; try again"
                raise ObjectChangedError(message) from exc
            if (own := self._own_copy(exc, target, head)) is not None:
                return own
            raise ObjectExistsError(
                f"{target} exists (or {origin} was replaced while it was being copied); pass "
                f"overwrite=True to replace it"
            ) from exc

    def _copy(
        self,
        origin: S3Location,
        target: S3Location,
        head: Mapping[str, Any],
        condition: Mapping[str, str],
        acl: str | None,
    ) -> PutResult:
        """Copy with one request, or in parts if the object is too large for one."""
        client, settings = self._connection.client, self._connection.options.settings
        source: dict[str, Any] = {"CopySource": origin.request}
        source |= {"CopySourceIfMatch": head["ETag"]} if "ETag" in head else {}
        kept = {**self._headers, **_storage(head)}
        kept |= {} if acl is None else {"ACL": acl}
        headers = {name: head[name] for name in _HEADERS if head.get(name)}
        size = body_length(origin, head)
        if size <= settings.max_put_size_bytes:
            if "IfNoneMatch" not in _parameters(client, "CopyObject"):  # an older botocore
                condition = {}
            if directive := head.get("MetadataDirective"):
                kept |= {"MetadataDirective": directive, **headers}
            response = self._connection.call(target, "copy_object", **source, **kept, **condition)
            etag = confirmed(response.get("CopyObjectResult", {}).get("ETag"), "ETag", target)
            return PutResult(quoted_etag(etag), response.get("VersionId"))

        def copy_part(start: int, **part: Any) -> Mapping[str, Any]:
            stop = min(start + part_bytes, size)
            span = {"CopySourceRange": f"bytes={start}-{stop - 1}"}
            response = self._connection.call(target, "upload_part_copy", **part, **source, **span)
            result: Mapping[str, Any] = response.get("CopyPartResult", {})
            return result

        part_bytes = max(
            min(_COPY_PART_BYTES, settings.max_put_size_bytes),
            -(-size // settings.max_mpu_parts),
            settings.min_mpu_size_bytes,
        )
        # A multipart copy creates a new object.
        kept |= self._tags(origin)
        upload = MultipartUpload(self._connection, target, {**kept, **headers})
        return upload.run(copy_part, range(0, size, part_bytes), threads=4, complete=condition)

    def _own_copy(
        self, exc: ObjectChangedError, target: S3Location, head: Mapping[str, Any]
    ) -> PutResult | None:
        """Return the copy that an earlier attempt made, if its response was lost."""
        response = getattr(exc.__cause__, "response", {})
        if not response.get("ResponseMetadata", {}).get("RetryAttempts"):
            return None
        found = self._connection.call(target, "head_object")
        names = ["ContentLength", "Metadata"]
        names += [] if "-" in head.get("ETag", "-") else ["ETag"]  # that of an upload in parts
        if any(found.get(name) != head.get(name) for name in names):
            return None
        return PutResult(quoted_etag(found.get("ETag")), found.get("VersionId"))

    def _tags(self, origin: S3Location) -> dict[str, str]:
        """Return the tags of an object, as an argument of the request that begins a copy."""
        found = _read(self._connection, origin, "tagging", "tags", logging.WARNING)
        tags = urlencode([(each["Key"], each["Value"]) for each in found.get("TagSet", ())])
        return {"Tagging": tags} if tags else {}


def _read(
    connection: Connection, origin: S3Location, part: str, what: str, level: int
) -> Mapping[str, Any]:
    """Return the ACL or the tags of an object; nothing, if they cannot be read."""
    try:
        found: Mapping[str, Any] = connection.call(origin, f"get_object_{part}")
    except (AccessDeniedError, StoreError, ObjectNotFoundError) as exc:
        unanswered = isinstance(exc, StoreTimeoutError | StoreUnreachableError)
        if unanswered or parse_error(exc).status in TRANSIENT:
            raise  # it may succeed later
        logger.log(level, "the copy is made without the %s of %s: %s", what, origin, exc)
        return {}
    return found


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


def _rejects_acls(exc: BaseException) -> bool:
    """Return whether an error, or its cause, means that there are no ACLs."""
    details = parse_error(exc)
    return details.code in _ACL_CODES or (
        details.code == "NotImplemented" and "acl" in details.message.lower()
    )


def _parameters(client: Any, operation: str) -> Any:
    """Return the parameters of an operation in the installed botocore."""
    return client.meta.service_model.operation_model(operation).input_shape.members
