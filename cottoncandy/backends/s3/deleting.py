"""Bulk deletion, up to 1,000 keys per request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import botocore.exceptions as boto

from cottoncandy.backends.base import DeleteResult
from cottoncandy.backends.s3.buckets import Buckets
from cottoncandy.backends.s3.errors import (
    ErrorDetails,
    S3Location,
    confirmed,
    from_details,
    parse_error,
    translated,
)
from cottoncandy.backends.s3.keys import bulk_deletable, check_key
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import CottonCandyError, InvalidNameError, ObjectNotFoundError

__all__ = ["BulkDelete"]

#: Maximum number of keys in one bulk deletion.
BATCH = 1000


class BulkDelete:
    """Deletion of many keys of one bucket.

    Parameters
    ----------
    client : boto3 client
    location : S3Location
        The bucket.
    """

    def __init__(self, client: Any, location: S3Location, buckets: Buckets) -> None:
        self._client = client
        self._location = location
        self._buckets = buckets

    def delete(self, keys: Iterable[str], *, threads: int) -> Iterator[DeleteResult]:
        """Yield the outcome of each key, in order."""
        remaining = iter(keys)
        batches = iter(lambda: list(islice(remaining, BATCH)), [])
        for batch in map_threads(
            self._delete_batch, batches, threads, max_pending=threads, abandon=True
        ):
            yield from batch

    def _delete_batch(self, keys: list[str]) -> list[DeleteResult]:
        errors: dict[str, CottonCandyError | None] = {}
        bulk = []
        for key in dict.fromkeys(keys):
            try:
                check_key(key)
            except InvalidNameError as exc:
                errors[key] = exc
                continue
            if len(keys) == 1 or not bulk_deletable(key):
                errors[key] = self._delete_one(key)
            else:
                bulk.append(key)
        if bulk:
            errors.update(self._delete_bulk(bulk))
        return [DeleteResult(key, errors.get(key)) for key in keys]

    def _delete_one(self, key: str) -> CottonCandyError | None:
        """Delete with a separate request, in which the key is part of the URL."""
        location = self._at(key)
        try:
            self._buckets.require_exact_key(location)
            with translated(location):
                response = self._client.delete_object(Bucket=location.bucket, Key=key)
            status = response["ResponseMetadata"]["HTTPStatusCode"]
            confirmed(status == 204, "status 204", location)
        except ObjectNotFoundError:
            return None
        except InvalidNameError as exc:
            return exc
        return None

    def _delete_bulk(self, keys: list[str]) -> dict[str, CottonCandyError | None]:
        with translated(self._location):
            try:
                response = self._client.delete_objects(
                    Bucket=self._location.bucket,
                    Delete={"Objects": [{"Key": key} for key in keys]},
                )
            except boto.ClientError as exc:
                details = parse_error(exc)
                if details.code != "NotImplemented" and details.status != 501:
                    raise
                # Google's S3 API has no bulk deletion.
                return {key: self._delete_one(key) for key in keys}
        errors = response.get("Errors", ())
        done = len(response.get("Deleted", ())) + len(errors)
        confirmed(done == len(keys), f"{len(keys)} keys", self._location)
        return {each["Key"]: self._error(each) for each in errors}

    def _error(self, answer: dict[str, Any]) -> CottonCandyError | None:
        code = answer.get("Code", "")
        if code == "NoSuchKey":
            return None
        details = ErrorDetails(0, code, answer.get("Message", ""))
        return from_details(details, self._at(answer["Key"]))

    def _at(self, key: str) -> S3Location:
        return S3Location(self._location.endpoint, self._location.bucket, key)
