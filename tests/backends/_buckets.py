"""Conformance: buckets, and what only some stores have."""

from __future__ import annotations

import contextlib

import pytest

from cottoncandy.backends.base import Backend, PutOptions
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    BucketExistsError,
    BucketNotEmptyError,
    BucketNotFoundError,
    InvalidNameError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from tests.harness import StoreHarness


class BucketConformance:
    def test_bucket_made_used_removed(self, backend: Backend, rig: StoreHarness) -> None:
        name = rig.bucket + "-new"
        assert backend.has_bucket(name) is False
        backend.create_bucket(name)
        assert backend.has_bucket(name) is True
        backend.put("folder/name", Body.of(b"x"), PutOptions({"a": "b"}), bucket=name)
        with pytest.raises(BucketNotEmptyError, match=name):
            backend.delete_bucket(name)
        assert rig.raw_get("folder/name", name) == (b"x", {"a": "b"})
        list(backend.delete(["folder/name"], bucket=name))
        backend.delete_bucket(name)
        assert backend.has_bucket(name) is False
        with pytest.raises(BucketNotFoundError, match=name):
            backend.delete_bucket(name)

    def test_current_bucket_is_listed(self, backend: Backend, rig: StoreHarness) -> None:
        assert backend.bucket_name == rig.bucket
        assert rig.bucket in [bucket.name for bucket in backend.list_buckets()]
        assert backend.has_bucket(rig.bucket) is True

    def test_bucket_exists_already(self, backend: Backend, rig: StoreHarness) -> None:
        rig.raw_put("name", b"x")
        # S3 lets the owner make his bucket again in some regions, and changes nothing.
        with contextlib.suppress(BucketExistsError):
            backend.create_bucket(rig.bucket)
        assert rig.raw_get("name").body == b"x"

    def test_bucket_needs_a_name(self, backend: Backend) -> None:
        with pytest.raises(InvalidNameError):
            backend.create_bucket("")

    def test_with_bucket_leaves_the_backend_alone(
        self, backend: Backend, rig: StoreHarness, other_bucket: str
    ) -> None:
        other = backend.with_bucket(other_bucket)
        other.put("name", Body.of(b"x"))
        assert type(other) is type(backend)
        assert (backend.bucket_name, other.bucket_name) == (rig.bucket, other_bucket)
        assert rig.raw_keys() == []
        assert rig.raw_keys(bucket=other_bucket) == ["name"]
        backend.put("here", Body.of(b"y"))
        assert [entry.key for entry in other.scan()] == ["name"]

    def test_owner(self, backend: Backend, rig: StoreHarness) -> None:
        rig.raw_put("name", b"x")
        try:
            owner = backend.owner("name")
        except UnsupportedOperationError as error:
            if backend.name not in str(error):
                raise
            return
        assert owner["ID"]
        with pytest.raises(ObjectNotFoundError):
            backend.owner("missing")

    def test_native_objects_or_words(self, backend: Backend, rig: StoreHarness) -> None:
        rig.raw_put("name", b"x")
        for call in (lambda: backend.native_object("name"), backend.native_bucket):
            try:
                assert call() is not None
            except UnsupportedOperationError as error:
                if "use" not in str(error):
                    raise
