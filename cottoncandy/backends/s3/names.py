"""Odd keys: whether the server takes them as they are, found out without writing anything."""

from __future__ import annotations

import secrets

import botocore.exceptions as boto

from cottoncandy.backends.s3.connection import Connection
from cottoncandy.backends.s3.errors import S3Location, translated
from cottoncandy.backends.s3.keys import has_dot_segments
from cottoncandy.exceptions import InvalidNameError

__all__ = ["KeyNormalizationProbe"]


class KeyNormalizationProbe:
    """Asks a server once whether it tidies up paths, which would store ``a/../b`` as ``b``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def require(self, location: S3Location) -> None:
        """Raise if an object would be stored under another name.

        Raises
        ------
        InvalidNameError
            Before anything is sent that could overwrite another object.
        """
        key = location.key or ""
        if "\x00" in key:
            raise InvalidNameError(
                f"{location}: servers cut names at a NUL character; leave it out"
            )
        if self._connection.on_aws:
            return
        probes = []
        if has_dot_segments(key):
            probes.append(f"{secrets.token_hex(8)}/..")
        if "//" in key or key.startswith("/"):
            probes.append("/")
        for probe in probes:
            if self._normalizes_keys(location, probe):
                raise InvalidNameError(
                    f"{location}: this server merges slashes or resolves '.' and '..' in names, so "
                    f"the object would be stored under another one; choose a name without them"
                )

    def _normalizes_keys(self, location: S3Location, probe: str) -> bool:
        """Ask for a key that becomes the bucket itself when tidied: then a listing comes."""
        found = self._connection.process_cache("normalizes keys")
        kind = (location.bucket, ".." in probe)
        if kind not in found:
            found[kind] = self._looks_like_listing(location, probe)
        return bool(found[kind])

    def _looks_like_listing(self, location: S3Location, probe: str) -> bool:
        try:
            with translated(location):
                try:
                    answer = self._connection.client.get_object(Bucket=location.bucket, Key=probe)
                except boto.ClientError as exc:
                    if exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (404, 403):
                        return False
                    raise
                with answer["Body"] as body:
                    return b"ListBucketResult" in body.read(2048)
        except InvalidNameError:
            return True
