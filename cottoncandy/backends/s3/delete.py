"""Deleting many keys: a thousand a request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import botocore.exceptions as boto

from cottoncandy.backends.base import DeleteResult
from cottoncandy.backends.s3.connection import Connection
from cottoncandy.backends.s3.errors import (
    ErrorDetails,
    S3Location,
    confirmed,
    from_details,
    translated,
)
from cottoncandy.backends.s3.keys import bulk_deletable, check_key
from cottoncandy.backends.s3.names import KeyNormalizationProbe
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import CottonCandyError, InvalidNameError, ObjectNotFoundError

__all__ = ["BulkDelete"]

#: What S3 takes in one bulk deletion.
BATCH = 1000


class BulkDelete:
    """Bulk deletion over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names = KeyNormalizationProbe(connection)

    def delete(self, bucket: str, keys: Iterable[str], *, threads: int) -> Iterator[DeleteResult]:
        """Yield what became of each key, in their order."""
        location = S3Location(self._connection.endpoint, bucket)
        for batch in map_threads(
            lambda some: self._delete_batch(location, some),
            _batches(keys),
            threads,
            max_pending=threads,
            abandon=True,
        ):
            yield from batch

    def _delete_batch(self, location: S3Location, keys: list[str]) -> list[DeleteResult]:
        errors: dict[str, CottonCandyError | None] = {}
        bulk = []
        for key in dict.fromkeys(keys):
            try:
                check_key(key)
            except InvalidNameError as exc:
                errors[key] = exc
                continue
            if len(keys) == 1 or not bulk_deletable(key):
                errors[key] = self._delete_one(location, key)
            else:
                bulk.append(key)
        if bulk:
            errors.update(self._delete_bulk(location, bulk))
        return [DeleteResult(key, errors.get(key)) for key in keys]

    def _delete_one(self, location: S3Location, key: str) -> CottonCandyError | None:
        """Delete by a request of its own: the name stands in the URL."""
        here = S3Location(location.endpoint, location.bucket, key)
        try:
            self._names.require(here)
            with translated(here):
                answer = self._connection.client.delete_object(Bucket=location.bucket, Key=key)
            status = answer["ResponseMetadata"]["HTTPStatusCode"]
            confirmed(status == 204, "status 204", here)
        except ObjectNotFoundError:
            return None
        except InvalidNameError as exc:
            return exc
        return None

    def _delete_bulk(
        self, location: S3Location, keys: list[str]
    ) -> dict[str, CottonCandyError | None]:
        with translated(location):
            try:
                answer = self._connection.client.delete_objects(
                    Bucket=location.bucket,
                    Delete={"Objects": [{"Key": key} for key in keys]},
                )
            except boto.ClientError as exc:
                if exc.response.get("Error", {}).get("Code") not in ("NotImplemented", "501"):
                    raise
                # Google's S3 door has no bulk deletion.
                return {key: self._delete_one(location, key) for key in keys}
        errors = answer.get("Errors", ())
        done = len(answer.get("Deleted", ())) + len(errors)
        confirmed(done == len(keys), f"{len(keys)} keys", location)
        return {each["Key"]: _error(location, each) for each in errors}


def _error(location: S3Location, answer: dict[str, Any]) -> CottonCandyError | None:
    code = answer.get("Code", "")
    if code == "NoSuchKey":
        return None
    here = S3Location(location.endpoint, location.bucket, answer["Key"])
    return from_details(ErrorDetails(0, code, answer.get("Message", "")), here)


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while batch := list(islice(rest, BATCH)):
        yield batch
