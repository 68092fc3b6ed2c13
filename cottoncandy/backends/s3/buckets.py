"""Buckets: listing, making and removing them, and what each is known to refuse."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import botocore.exceptions as boto

from cottoncandy.backends.base import BucketInfo
from cottoncandy.backends.s3.connection import Connection
from cottoncandy.backends.s3.errors import S3Location, parse_error, redact, translated
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketExistsError,
    BucketNotFoundError,
    CottonCandyError,
    CredentialsError,
    InvalidNameError,
)

__all__ = ["Buckets", "refuses_acls"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_ACL_REFUSALS = frozenset({"AccessControlListNotSupported", "InvalidBucketAclWithObjectOwnership"})


def refuses_acls(exc: BaseException) -> bool:
    """Tell whether an error (of a library, or ours from it) says that there are no ACLs here."""
    for error in (exc, exc.__cause__):
        if error is None:
            continue
        failure = parse_error(error)
        if failure.code in _ACL_REFUSALS:
            return True
        if failure.code == "NotImplemented" and "acl" in failure.message.lower():
            return True
    return False


class Buckets:
    """The buckets of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _location(self, bucket: str | None = None) -> S3Location:
        return S3Location(self._connection.endpoint, bucket)

    def list(self) -> Iterator[BucketInfo]:
        """Yield the user's buckets."""
        with translated(self._location()):
            answer = self._connection.client.list_buckets()
        found = answer.get("Buckets", ())
        return iter([BucketInfo(each["Name"], each.get("CreationDate")) for each in found])

    def has(self, bucket: str) -> bool:
        """Tell whether a bucket exists; one that may not be read does."""
        try:
            self._connection.client.head_bucket(Bucket=bucket)
        except boto.ParamValidationError:
            return False
        except (boto.ClientError, boto.BotoCoreError) as exc:
            status = parse_error(exc).status
            if status == 301:
                return True
            if status == 404:
                return False
            if status in (400, 403):
                return self._diagnose_denied_head(bucket)
            with translated(self._location(bucket)):
                raise
        self.remember(bucket)
        return True

    def _diagnose_denied_head(self, bucket: str) -> bool:
        """Ask again where a HEAD was refused: it can't say whether the name or the keys are bad."""
        try:
            with translated(self._location(bucket)):
                self._connection.client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        except (InvalidNameError, BucketNotFoundError):
            return False
        except CredentialsError:
            raise  # it is an AccessDeniedError too
        except AccessDeniedError:
            pass  # it exists, and may be written to, or have public objects
        return True

    def create(self, bucket: str, acl: str | None) -> None:
        """Make a bucket."""
        prefix = self._connection.options.settings.mandatory_bucket_prefix
        if prefix and not bucket.startswith(prefix):
            raise InvalidNameError(
                f"the name of bucket '{bucket}' must start with '{prefix}' ([basic] "
                f"mandatory_bucket_prefix in the options file)"
            )
        if not bucket:
            raise InvalidNameError("a bucket needs a name")
        # Ceph and AWS's oldest region answer "done" where the bucket is there and yours.
        if self.has(bucket):
            raise BucketExistsError(f"{self._location(bucket)} exists already; choose another name")
        request: dict[str, Any] = {"Bucket": bucket}
        region = self._connection.client.meta.region_name
        if self._connection.on_aws and region not in (None, "us-east-1", "aws-global"):
            request["CreateBucketConfiguration"] = {"LocationConstraint": region}
        with translated(self._location(bucket)):
            if acl is not None:
                try:
                    self._connection.client.create_bucket(**request, ACL=acl)
                except boto.ClientError as exc:
                    if not refuses_acls(exc):
                        raise
                    self.disable_acls(bucket)
                else:
                    return
            self._connection.client.create_bucket(**request)

    def delete(self, bucket: str) -> None:
        """Remove an empty bucket."""
        with translated(self._location(bucket)):
            self._connection.client.delete_bucket(Bucket=bucket)
        self._connection.process_cache("known").pop(bucket, None)

    # -- what was learned ------------------------------------------------------------------------

    def remember(self, bucket: str) -> None:
        """Remember that a bucket exists: a 404 without a body then means the object."""
        self._connection.process_cache("known")[bucket] = True

    def require(self, bucket: str) -> None:
        """Raise if there is no such bucket; asks once per process and bucket."""
        if bucket not in self._connection.process_cache("known") and not self.has(bucket):
            raise BucketNotFoundError(
                f"there is no bucket '{bucket}' at {redact(self._connection.endpoint)}; "
                f"cci.show_buckets() lists yours, and cci.create_bucket() makes one"
            )

    def accepts_acls(self, bucket: str) -> bool:
        """Tell whether the bucket has not refused an ACL yet."""
        return bucket not in self._connection.process_cache("without acls")

    def with_acl(self, bucket: str, acl: str | None, send: Callable[[str | None], T]) -> T:
        """Send with the ACL, or without it if the bucket rejects ACLs."""
        if acl is None or not self.accepts_acls(bucket):
            return send(None)
        try:
            return send(acl)
        except CottonCandyError as exc:
            if not refuses_acls(exc):
                raise
        self.disable_acls(bucket)
        return send(None)

    def disable_acls(self, bucket: str) -> None:
        """Remember that a bucket refuses ACLs, and say so once."""
        seen = self._connection.process_cache("without acls")
        if seen.setdefault(bucket, False):
            return
        seen[bucket] = True
        logger.warning(
            "bucket '%s' has ACLs disabled (the default of new AWS buckets); uploads go on without "
            "them, and the bucket's policy decides who may read. Set [basic] default_acl to "
            "nothing in the options file to say so yourself",
            bucket,
        )
