"""Cached facts about buckets and their server: ACLs, odd keys, conditions."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from cottoncandy.backends.base import IfMatch, PutOptions
from cottoncandy.backends.s3.clients import Connection
from cottoncandy.backends.s3.errors import S3Location, parse_error, translated
from cottoncandy.backends.s3.keys import has_dot_segments
from cottoncandy.exceptions import CottonCandyError, InvalidNameError

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Whether a server honors the conditions of uploads, by endpoint, for all connections.
_honor_conditions: dict[str, bool] = {}

_ACL_CODES = frozenset({"AccessControlListNotSupported", "InvalidBucketAclWithObjectOwnership"})


def rejects_acls(exc: BaseException) -> bool:
    """Return whether an error, or its cause, means that there are no ACLs."""
    details = parse_error(exc)
    return details.code in _ACL_CODES or (
        details.code == "NotImplemented" and "acl" in details.message.lower()
    )


class Buckets:
    """The buckets of one connection; facts are kept for the life of the process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._without_acls: set[str] = set()
        self._owners_only: dict[str, bool] = {}
        self._normalizes: dict[tuple[str, str], bool] = {}

    # -- ACLs ------------------------------------------------------------------------------------

    def accepts_acls(self, bucket: str) -> bool:
        """Return whether the bucket has not rejected an ACL yet."""
        return bucket not in self._without_acls

    def keeps_acls(self, bucket: str) -> bool:
        """Return whether objects of a bucket may have ACLs: Amazon is asked once per process."""
        known = self._owners_only
        if self._connection.on_aws and bucket not in known:
            rules: Any = ()
            with suppress(CottonCandyError):  # not allowed, or not set
                location = self._connection.location(bucket)
                response = self._connection.call(location, "get_bucket_ownership_controls")
                rules = response["OwnershipControls"].get("Rules", ())
            known[bucket] = {"ObjectOwnership": "BucketOwnerEnforced"} in rules
        return self.accepts_acls(bucket) and not known.get(bucket)

    def with_acl(self, bucket: str, acl: str | None, send: Callable[[str | None], T]) -> T:
        """Send with the ACL, or without it if the bucket rejects ACLs."""
        if acl is None or not self.accepts_acls(bucket):
            return send(None)
        try:
            return send(acl)
        except CottonCandyError as exc:
            if not rejects_acls(exc):
                raise
        self.disable_acls(bucket)
        return send(None)

    def disable_acls(self, bucket: str) -> None:
        """Remember that a bucket rejects ACLs, and warn once."""
        if not self.accepts_acls(bucket):
            return
        self._without_acls.add(bucket)
        logger.warning(
            "bucket '%s' has ACLs disabled (the default of new AWS buckets); objects are uploaded "
            "without them, and the bucket's policy decides who may read. To silence this warning, "
            "set [basic] default_acl to an empty value in the options file",
            bucket,
        )

    # -- odd keys --------------------------------------------------------------------------------

    def require_exact_key(self, location: S3Location) -> None:
        """Raise if the server would store an object under another key, ``a/../b`` as ``b``.

        Raises
        ------
        InvalidNameError
            Before anything is sent that could overwrite another object.
        """
        key = location.key
        if "\x00" in key:
            raise InvalidNameError(f"{location}: servers cut names at a NUL character; remove it")
        if self._connection.on_aws:
            return
        # Keys that become the bucket itself if the server normalizes paths: then a listing comes.
        probes = {"dots": f"{secrets.token_hex(8)}/.."} if has_dot_segments(key) else {}
        if "//" in key or key.startswith("/"):
            probes["slashes"] = "/"
        found = self._normalizes
        for kind, probe in probes.items():
            if (location.bucket, kind) not in found:
                found[location.bucket, kind] = self._returns_listing(location, probe)
            if found[location.bucket, kind]:
                raise InvalidNameError(
                    f"{location}: this server merges slashes or resolves '.' and '..' in names, so "
                    f"the object would be stored under another one; choose a name without them"
                )

    def _returns_listing(self, location: S3Location, probe: str) -> bool:
        try:
            response = self._connection.call(location, "get_object", Key=probe)
        except InvalidNameError:
            return True
        except CottonCandyError as exc:
            if parse_error(exc).status in (404, 403):
                return False
            raise
        with translated(location), response["Body"] as body:
            return b"ListBucketResult" in body.read(2048)

    # -- conditions ------------------------------------------------------------------------------

    def honors_conditions(self, location: S3Location, put: Callable[..., object]) -> bool:
        """Return whether a put with a condition is one atomic step: found out once per process.

        AWS is known to honor them. Another server is asked to store an empty object next to this
        one if its ETag is one that it cannot have. One that stores it ignores conditions.

        Parameters
        ----------
        put : callable
            Stores a body; see ``Transport.put``.
        """
        if self._connection.on_aws:
            return True
        endpoint = self._connection.endpoint
        if endpoint not in _honor_conditions:
            probe = location._replace(key=f"{location.key}.cc-probe-{secrets.token_hex(16)}")
            try:
                put(probe, b"", PutOptions(condition=IfMatch("0" * 32)))
            except CottonCandyError as exc:
                status = parse_error(exc).status
                if status not in (404, 412, 501):
                    raise  # denied, or no connection: conditions may be supported
                _honor_conditions[endpoint] = status != 501
            else:
                _honor_conditions[endpoint] = False
                self._connection.call(probe, "delete_object")
            if not _honor_conditions[endpoint]:
                logger.warning(
                    "not atomic here: %s ignores the conditions of uploads; with overwrite=False, "
                    "if_match= and replacements of chunked arrays, another client may store an "
                    "object between the check and the upload",
                    location.endpoint,
                )
        return _honor_conditions[endpoint]
