"""Odd keys: whether the server takes them as they are, found out without writing anything."""

from __future__ import annotations

import secrets

import botocore.exceptions as boto

from cottoncandy.backends.s3._connection import Connection
from cottoncandy.backends.s3._errors import Where, translated
from cottoncandy.backends.s3._keys import has_dot_segments
from cottoncandy.exceptions import InvalidNameError

__all__ = ["NameProbe"]


class NameProbe:
    """Asks a server once whether it tidies up paths, which would store ``a/../b`` as ``b``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def require(self, where: Where) -> None:
        """Raise if an object would be stored under another name.

        Raises
        ------
        InvalidNameError
            Before anything is sent that could overwrite another object.
        """
        key = where.key or ""
        if "\x00" in key:
            raise InvalidNameError(f"{where}: servers cut names at a NUL character; leave it out")
        if self._connection.on_aws:
            return
        probes = []
        if has_dot_segments(key):
            probes.append(f"{secrets.token_hex(8)}/..")
        if "//" in key or key.startswith("/"):
            probes.append("/")
        for probe in probes:
            if self._is_tidied(where, probe):
                raise InvalidNameError(
                    f"{where}: this server merges slashes or resolves '.' and '..' in names, so "
                    f"the object would be stored under another one; choose a name without them"
                )

    def _is_tidied(self, where: Where, probe: str) -> bool:
        """Ask for a key that becomes the bucket itself when tidied: then a listing comes."""
        facts = self._connection.facts("tidied")
        kind = (where.bucket, ".." in probe)
        if kind not in facts:
            facts[kind] = self._looks_like_listing(where, probe)
        return bool(facts[kind])

    def _looks_like_listing(self, where: Where, probe: str) -> bool:
        try:
            with translated(where):
                try:
                    answer = self._connection.client.get_object(Bucket=where.bucket, Key=probe)
                except boto.ClientError as exc:
                    if exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (404, 403):
                        return False
                    raise
                with answer["Body"] as body:
                    return b"ListBucketResult" in body.read(2048)
        except InvalidNameError:
            return True
