"""The S3 backend: the requests of each verb."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Any, ClassVar, Self, TypeVar

from cottoncandy.backends.base import (
    DEFAULT_OPTIONS,
    Backend,
    BucketInfo,
    Capabilities,
    CommonPrefix,
    ConnectionArguments,
    DeleteResult,
    IfAbsent,
    IfMatch,
    ObjectInfo,
    ObjectReader,
    PutOptions,
    PutResult,
    UnfinishedUpload,
)
from cottoncandy.backends.options import STORED_HEADERS, UPLOAD_OPTIONS
from cottoncandy.backends.ranges import GetResponse, RangeReader
from cottoncandy.backends.remote import RemoteBackend, reads_public_data
from cottoncandy.backends.s3.clients import Connection
from cottoncandy.backends.s3.copying import ACLs, CopyOperations
from cottoncandy.backends.s3.errors import (
    ErrorDetails,
    S3Location,
    confirmed,
    from_details,
    parse_error,
    redact,
    translated,
)
from cottoncandy.backends.s3.keys import (
    METADATA_LIMITS,
    bulk_deletable,
    check_key,
    encode_metadata_names,
)
from cottoncandy.backends.s3.listing import scan
from cottoncandy.backends.s3.multipart import (
    GATHERED_AHEAD_BYTES,
    GATHERED_BYTES,
    MultipartUpload,
    part_sizes,
)
from cottoncandy.backends.s3.options import S3Options
from cottoncandy.backends.s3.transport import Transport, boto_arguments, boto_condition
from cottoncandy.core.buffers import Body, Buffer, MiB, regroup
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketExistsError,
    BucketNotFoundError,
    CottonCandyError,
    CredentialsError,
    InvalidNameError,
    ObjectNotFoundError,
    StoreError,
    StoreUnreachableError,
)

# Options files of the first versions set 100 MB, which would exceed the memory limit.
_MIN_WINDOW_BYTES, _MAX_WINDOW_BYTES = MiB, 8 * MiB

T = TypeVar("T")

# Maximum number of keys in one bulk deletion.
_MAX_DELETED = 1000


class S3Backend(RemoteBackend):
    """One S3 store.

    Parameters
    ----------
    options : S3Options
    bucket_name : str, optional
        The bucket.
    """

    name: ClassVar[str] = "s3"
    connection_class = Connection
    copy_requests: ClassVar[int] = 3
    _connection: Connection

    capabilities: ClassVar[Capabilities] = Capabilities(
        acls=True,
        default_acl=True,
        charges=True,
        owners=True,
        presign=True,
        stored_checksum="md5",
        headers=frozenset({*STORED_HEADERS, *UPLOAD_OPTIONS}),
        metadata=METADATA_LIMITS,
    )

    def __init__(self, options: S3Options, bucket_name: str | None = None) -> None:
        super().__init__(options, bucket_name)
        self._acls = ACLs(self._connection)
        self._transport = Transport(self._connection)

    @classmethod
    def connect(cls, arguments: ConnectionArguments) -> Self:
        return cls(S3Options.of(arguments), arguments.bucket_name)

    @property
    def _address(self) -> str:
        return self._connection.location().endpoint

    def status_message(self) -> str:
        return f"S3 backend instantiated at {self._address}."

    def describe(self) -> str:
        endpoint = self._connection.cached_endpoint or "the default S3 endpoint"
        return f"bucket:{self.bucket_name} on {redact(endpoint)}"

    # -- objects ---------------------------------------------------------------------------------

    @reads_public_data
    def get(
        self, key: str, *, threads: int = 4, prefetch: bool | tuple[int, int] = True, tail: int = 0
    ) -> ObjectReader:
        location = self._location(key)
        window = self._connection.options.settings.mpd_chunksize_bytes
        window = min(max(window, _MIN_WINDOW_BYTES), _MAX_WINDOW_BYTES)
        start, stop = prefetch if isinstance(prefetch, tuple) else (0, window * prefetch)
        stop = sys.maxsize if prefetch is True and threads == 1 else min(stop, start + window)
        span = (-tail, 0) if tail else (start, stop)
        get = partial(self._transport.get, location)
        opened: GetResponse | ObjectInfo
        with self._in_bucket():
            opened = get(*span) if tail or start < stop else self._transport.head(location)
        reader = RangeReader(get, location, opened, threads=threads, window_bytes=window)
        reader.counter = self.counter
        reader.max_stall_s = self._connection.max_stall_s
        return reader

    @reads_public_data
    def head(self, key: str) -> ObjectInfo:
        location = self._location(key)
        with self._in_bucket():
            return self._transport.head(location)

    def put(
        self, key: str, body: Body, options: PutOptions = DEFAULT_OPTIONS, *, threads: int = 4
    ) -> PutResult:
        location = self._location(key, writing=True)
        options = self._checked(key, options)
        condition = options.condition
        self._transport.require_exact_key(location)
        if not self._connection.on_aws:
            metadata = options.metadata and encode_metadata_names(key, options.metadata)
            options = options.changed(metadata=metadata)
        if condition is not None and not self._transport.honors_conditions(location):
            self._check_condition(key, condition)
            options = options.changed(condition=None)

        def store(acl: str | None) -> PutResult:
            return self._store(location, body, options.changed(acl=acl), max(threads, 1))

        try:
            if options.acl_of is None:
                result = store(options.acl)
            else:
                bucket, name = options.acl_of
                origin = self._origin(bucket)._location(name)
                result = self._acls.kept(origin, location, store)
        except CottonCandyError as exc:
            unmet = parse_error(exc).status == 412
            unmet |= isinstance(condition, IfMatch) and isinstance(exc, ObjectNotFoundError)
            if condition is not None and unmet:
                raise condition.unmet(str(location)) from exc
            raise
        self.known_buckets.add(location.bucket)
        return result

    def _store(
        self, location: S3Location, body: Body, options: PutOptions, threads: int
    ) -> PutResult:
        """Upload a body with one request if it is small, otherwise in parts."""
        settings = self._connection.options.settings
        threshold = min(settings.mpu_use_threshold_bytes, settings.max_put_size_bytes)
        if options.condition is not None and body.owned:
            threshold = settings.max_put_size_bytes  # only single requests are atomic everywhere
        threshold = max(threshold, settings.min_mpu_size_bytes)
        if body.size is None:  # joined from its pieces, which takes memory twice
            threshold = min(threshold, GATHERED_BYTES)
        ahead = GATHERED_AHEAD_BYTES
        if compressed := body.size is None and body.max_size is not None:
            ahead *= 2
        gathered = body.buffer is None and not compressed
        sizes = part_sizes(settings, body.max_size, gathered=gathered)
        blocks: Iterable[Buffer] = body
        if body.buffer is not None:
            threshold = max(threshold, next(sizes))
            blocks = (body.buffer,)
        parts: Iterator[Buffer] = regroup(blocks, sizes)
        if body.max_size is not None and body.max_size <= threshold:
            # The caller may change it during the upload: checksum, body and retries use a copy.
            parts = iter((body.read(),))
        # Whether there is a second part decides how the first one is sent.
        begun = list(islice(parts, 2))
        if len(begun) < 2:
            whole = next(iter(begun), b"")
            return self._create(location, options, partial(self._transport.put, location, whole))
        if body.buffer is None:
            threads = max(min(threads, ahead // len(begun[0])), 1)
        upload = self._create(
            location,
            options,
            lambda chosen: MultipartUpload(
                self._connection, location, boto_arguments(chosen), body
            ),
        )
        complete = {}
        if self._connection.on_aws:
            complete = boto_condition(options, on_aws=True)
        else:  # ignored by Ceph, without an error
            self._check_condition(location.key or "", options.condition)
        parts = chain((begun.pop(0) for _ in range(2)), parts)  # without keeping the first two
        return upload.run(upload.upload_part, parts, threads=threads, complete=complete)

    def puts_atomically(self, key: str, size: int = 0) -> bool:
        settings = self._connection.options.settings
        whole = min(settings.mpu_use_threshold_bytes, settings.max_put_size_bytes)
        whole = min(whole, next(part_sizes(settings, size, gathered=True)))
        location = self._location(key, writing=True)
        whole_there = self._connection.on_aws or size <= whole
        return whole_there and self._transport.honors_conditions(location)

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        location = self._connection.location(self.bucket)
        pages = self._connection.client.get_paginator("list_multipart_uploads")
        with translated(location):
            for page in pages.paginate(Bucket=location.bucket, Prefix=prefix):
                for found in page.get("Uploads", ()):
                    yield UnfinishedUpload(found["Key"], found.get("Initiated"), found["UploadId"])

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        location = self._location(upload.key)
        self._connection.call(location, "abort_multipart_upload", UploadId=upload.upload_id)

    def _create(
        self, location: S3Location, options: PutOptions, send: Callable[[PutOptions], T]
    ) -> T:
        """Send a request that creates an object, with the ACL unless the bucket rejects ACLs."""
        try:
            return self._acls.sent(
                location.bucket, options.acl, lambda acl: send(options.changed(acl=acl))
            )
        except ObjectNotFoundError as exc:
            if isinstance(options.condition, IfMatch):
                raise  # there is no object to match
            raise InvalidNameError(
                f"the server rejects the object name {location.key!r}; choose a simpler one"
            ) from exc

    @reads_public_data
    def scan(
        self,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        page_size: int | None = None,
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        location = self._connection.location(self.bucket)
        if "\x00" in prefix and not self._connection.on_aws:
            # Ceph fails on such a prefix, and no object has one: put() rejects NUL.
            if not self.has_bucket(location.bucket):
                raise self._no_bucket(location.bucket)
            return iter(())
        return scan(
            self._connection.client,
            location,
            prefix=prefix,
            delimiter=delimiter,
            start_after=start_after,
            page_size=page_size,
            in_order=self._connection.options.settings.threads == 1,
        )

    def delete(
        self, keys: Iterable[str], *, threads: int = 4, permanently: bool = True
    ) -> Iterator[DeleteResult]:
        location = self._connection.location(self.bucket)
        remaining = iter(keys)
        batches = iter(lambda: list(islice(remaining, _MAX_DELETED)), [])
        for batch in map_threads(
            lambda batch: self._delete_batch(location, batch),
            batches,
            threads,
            max_pending=threads,
            abandon=True,
            ordered=False,  # after an interruption, the results of all batches that ended count
        ):
            yield from batch

    def _delete_batch(self, location: S3Location, keys: list[str]) -> list[DeleteResult]:
        unique = list(dict.fromkeys(keys))
        together = [key for key in unique if bulk_deletable(key)] if len(unique) > 1 else []
        errors = self._delete_bulk(location, together) if together else {}
        for key in unique:
            if key not in errors:
                errors[key] = self._delete_one(location._replace(key=key))
        return [DeleteResult(key, errors[key]) for key in keys]

    def _delete_one(self, location: S3Location) -> CottonCandyError | None:
        """Delete with a separate request, in which the key is part of the URL."""
        try:
            check_key(location.key)
            self._transport.require_exact_key(location)
            response = self._connection.call(location, "delete_object")
            status = response["ResponseMetadata"]["HTTPStatusCode"]
            confirmed(status == 204, "status 204", location)
        except ObjectNotFoundError:
            pass
        except (AccessDeniedError, InvalidNameError) as exc:
            return exc
        return None

    def _delete_bulk(
        self, location: S3Location, keys: list[str]
    ) -> dict[str, CottonCandyError | None]:
        """Delete with one request; return the outcomes, none if the server cannot do that."""
        listed = {"Objects": [{"Key": key} for key in keys]}
        try:
            response = self._connection.call(location, "delete_objects", Delete=listed)
        except StoreError as exc:
            details = parse_error(exc)
            if details.code != "NotImplemented" and details.status != 501:
                raise
            return {}  # Google's S3 API has no bulk deletion
        errors = response.get("Errors", ())
        named = {each.get("Key") for each in (*response.get("Deleted", ()), *errors)}
        unnamed = [key for key in keys if key not in named]
        confirmed(not unnamed, f"outcome for {unnamed[:1]}", location)
        outcomes: dict[str, CottonCandyError | None] = dict.fromkeys(keys)
        for each in errors:
            details = ErrorDetails(0, each.get("Code", ""), each.get("Message", ""))
            if details.code != "NoSuchKey":
                outcomes[each["Key"]] = from_details(details, location._replace(key=each["Key"]))
        return outcomes

    def copy(
        self, source: str, dest: str, *, source_bucket: str | None = None, overwrite: bool = True
    ) -> PutResult:
        origin = self._origin(source_bucket)
        target = self._location(dest, writing=True)
        self._transport.require_exact_key(target)
        if not overwrite:
            self._check_condition(dest, IfAbsent())
        with origin._in_bucket():
            return self._copying.copy(origin._location(source), target, absent=not overwrite)

    def set_metadata(
        self, key: str, metadata: Mapping[str, str], *, etag: str | None = None
    ) -> PutResult:
        location = self._location(key, writing=True)
        checked = self.capabilities.metadata.check(metadata, key)
        if not self._connection.on_aws:
            checked = encode_metadata_names(key, checked)
        with self._in_bucket():
            return self._copying.copy(location, location, metadata=checked, etag=etag)

    @property
    def _copying(self) -> CopyOperations:
        return CopyOperations(self._connection, self._acls, self.upload_options)

    def has_md5_etag(self, key: str) -> bool:
        head = self._head(key)
        # Encrypted with a key of KMS or of the customer, the ETag is something else.
        kms = str(head.get("ServerSideEncryption", "")).startswith("aws:kms")
        return not (kms or head.get("SSECustomerAlgorithm"))

    def storage_class(self, key: str) -> str | None:
        found: str | None = self._head(key).get("StorageClass")
        return found

    def _head(self, key: str) -> Mapping[str, Any]:
        """Return all fields of a header; obstore returns some of them."""
        head: Mapping[str, Any] = self._connection.call(self._location(key), "head_object")
        return head

    def can_copy_from(self, other: Backend) -> bool:
        if not isinstance(other, S3Backend):
            return False
        pair = (self._connection.options, other._connection.options)
        own, others = (replace(each, config=each.config and vars(each.config)) for each in pair)
        return own == others

    def _location(self, key: str, *, writing: bool = False) -> S3Location:
        check_key(key, writing=writing)
        return self._connection.location(self.bucket, key)

    # -- buckets ---------------------------------------------------------------------------------

    def list_buckets(self) -> Iterator[BucketInfo]:
        response = self._connection.call(self._connection.location(), "list_buckets")
        found = response.get("Buckets", ())
        return iter([BucketInfo(each["Name"], each.get("CreationDate")) for each in found])

    @reads_public_data
    def has_bucket(self, bucket: str) -> bool:
        location, call = self._connection.location(bucket), self._connection.call
        try:
            try:
                call(location, "head_bucket")
            except CottonCandyError as exc:
                if parse_error(exc).status not in (400, 403):
                    raise
                # It has no body that tells a bad name from bad credentials.
                call(location, "list_objects_v2", MaxKeys=1)
        except (InvalidNameError, BucketNotFoundError):
            return False
        except CredentialsError:
            raise  # it is an AccessDeniedError too
        except AccessDeniedError:
            return True  # writing, or reading public objects, may be allowed
        except StoreUnreachableError as exc:
            if parse_error(exc).status != 301:  # it is in another region
                raise
        self.known_buckets.add(bucket)
        return True

    def create_bucket(self, bucket: str, *, acl: str | None = None) -> None:
        location = self._connection.location(bucket)
        prefix = self._connection.options.settings.mandatory_bucket_prefix
        if prefix and not bucket.startswith(prefix):
            raise InvalidNameError(
                f"the name of bucket '{bucket}' must start with '{prefix}' ([basic] "
                f"mandatory_bucket_prefix in the options file)"
            )
        # Ceph and AWS's oldest region report success if the bucket exists and is yours.
        if self.has_bucket(bucket):
            raise BucketExistsError(f"{location} already exists; choose another name")
        request: dict[str, Any] = {}
        region = self._connection.client.meta.region_name
        if self._connection.on_aws and region not in (None, "us-east-1", "aws-global"):
            request["CreateBucketConfiguration"] = {"LocationConstraint": region}

        def create(acl: str | None) -> None:
            permission = {} if acl is None else {"ACL": acl}
            self._connection.call(location, "create_bucket", **request, **permission)

        self._acls.sent(bucket, acl or None, create)

    def delete_bucket(self, bucket: str) -> None:
        self._connection.call(self._connection.location(bucket), "delete_bucket")
        self.known_buckets.discard(bucket)

    # -- features of S3 --------------------------------------------------------------------------

    def owner(self, key: str) -> Mapping[str, str]:
        return dict(self.acl(key)["Owner"] or {})

    def acl(self, key: str) -> Mapping[str, Any]:
        found = self._connection.call(self._location(key), "get_object_acl")
        return {"Owner": found.get("Owner"), "Grants": found.get("Grants")}

    def presign(self, key: str, expires_s: int) -> str:
        location = self._location(key)
        with translated(location):
            url: str = self._connection.signer(location.bucket).generate_presigned_url(
                "get_object", location.request, ExpiresIn=expires_s
            )
        return url

    def native_object(self, key: str) -> Any:
        return self._connection.resource.Object(self.bucket, key)

    def native_bucket(self) -> Any:
        return self._connection.resource.Bucket(self.bucket)
