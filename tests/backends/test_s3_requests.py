"""Requests to S3: which, how many, and on which conditions."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from botocore.config import Config

from cottoncandy.arrays.raw import TAIL_BYTES, array_header, read_array
from cottoncandy.backends.base import IfAbsent, PutOptions
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.core.buffers import Body, MiB
from cottoncandy.exceptions import (
    BucketNotFoundError,
    CredentialsError,
    ObjectExistsError,
    StoreUnreachableError,
)
from cottoncandy.formats.raw import encode_array
from cottoncandy.options import Settings
from cottoncandy.stores.store import Store
from cottoncandy.testing.harness import pattern
from tests.backends._s3 import (
    S3Tests,
    backend_at,
    pieces_of,
)
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.server


def requests_of(proxy: FaultProxy, call: Callable[[], object]) -> list[str]:
    before = len(proxy.requests)
    call()
    return [request.method for request in proxy.requests[before:]]


class TestRequests(S3Tests):
    def test_requests_of_small_objects(self, backend: S3Backend, fault_proxy: FaultProxy) -> None:
        assert requests_of(fault_proxy, lambda: backend.put("a", Body.of(b"body"))) == ["PUT"]
        assert requests_of(fault_proxy, lambda: backend.get("a").read()) == ["GET"]
        assert requests_of(fault_proxy, lambda: backend.head("a")) == ["HEAD"]
        assert requests_of(fault_proxy, lambda: backend.get("a", prefetch=False)) == ["HEAD"]
        assert requests_of(fault_proxy, lambda: backend.exists("missing")) == ["HEAD"]
        pieces = Body.of(iter([b"b", b"ody"]))
        assert requests_of(fault_proxy, lambda: backend.put("a", pieces)) == ["PUT"]
        assert backend.get("a").read() == b"body"

    def test_an_acl_that_was_refused_is_not_sent_again(
        self, backend: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        fault_proxy.on(method="PUT").refuse_acl()
        options = PutOptions(acl="private")
        backend.put("a", Body.of(b"body"), options)
        for name in ("b", "c"):
            put = functools.partial(backend.put, name, Body.of(b"body"), options)
            assert requests_of(fault_proxy, put) == ["PUT"]

    def test_a_bucket_that_was_removed_is_missing(
        self, backend: S3Backend, moto_bucket: str
    ) -> None:
        """It was there before, and an answer to HEAD has no body that tells it from an object."""
        bucket = f"{moto_bucket}-removed"
        backend.create_bucket(bucket)
        there = backend.with_bucket(bucket)
        there.put("a", Body.of(b"body"))
        list(there.delete(["a"]))
        backend.delete_bucket(bucket)
        with pytest.raises(BucketNotFoundError):
            there.head("a")

    def test_requests_of_a_slice(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        """One request for header and index, and one per run of blocks, all of one version."""
        array = np.random.default_rng(0).standard_normal((2048, 1024)).astype("f4")  # 8 blocks
        metadata, body = encode_array(array, "gzip")
        result = behind.put("array", body, PutOptions(metadata))
        store = Store(backend, Settings())
        for selection, runs in ((5, 1), ([0, 2047], 2), ([3, 600, 1500], 2), (np.s_[:0], 0)):
            before = len(fault_proxy.requests)
            with store.open("array", tail=TAIL_BYTES) as reader:
                found = read_array(store, reader, array_header(reader), selection)
            assert found.tobytes() == array[selection].tobytes()
            first, *others = fault_proxy.requests[before:]
            assert (first.method, first.headers.get("range")) == ("GET", f"bytes=-{TAIL_BYTES}")
            assert len(others) == runs
            etag = (result.etag or "").strip('"')
            assert all(etag in request.headers["if-match"] for request in others)

    def test_requests_of_a_large_object(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        data = pattern(4 * MiB + 5)
        behind.put("large", Body.of(data))
        out = bytearray(len(data))
        backend.get("large", threads=3).read_into(memoryview(out))
        assert out == data
        ranges = sorted(request.range for request in fault_proxy.select("GET", "large"))
        share = MiB + 2  # a window came with the head; the rest is shared by three threads
        starts = [0, *(MiB + i * share for i in range(3)), len(data)]
        assert ranges == list(itertools.pairwise(starts))
        etag = behind.head("large").etag
        conditions = [
            request.headers.get("if-match") for request in fault_proxy.select("GET", "large")
        ]
        assert sorted(map(str, conditions)) == sorted(["None", *[str(etag)] * 3])

    def test_a_slice_brings_only_its_bytes(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        data = pattern(3 * MiB)
        behind.put("large", Body.of(data))
        reader = backend.get("large", prefetch=False)
        assert reader.read(MiB - 2, MiB + 2) == data[MiB - 2 : MiB + 2]
        assert [request.range for request in fault_proxy.select("GET")] == [(MiB - 2, MiB + 2)]

    def test_listing_looks_no_further_than_needed(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        for i in range(9):
            behind.put(f"k{i}", Body.of(b""))
        listing = backend.scan(page_size=2)
        assert fault_proxy.requests == []
        assert [next(listing).key, next(listing).key] == ["k0", "k1"]  # type: ignore[union-attr]
        assert len(fault_proxy.requests) == 1
        assert [each.key for each in listing] == [f"k{i}" for i in range(2, 9)]  # type: ignore[union-attr]
        assert len(fault_proxy.requests) == 5

    def test_bulk_deletion(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        keys = [f"k{i}" for i in range(12)] + ["a\x01b", "a\rb"]
        for key in keys:
            behind.put(key, Body.of(b""))
        outcome = list(backend.delete([*keys, "never there"]))
        assert [(each.key, each.error) for each in outcome] == [
            (k, None) for k in [*keys, "never there"]
        ]
        assert sorted(
            request.method for request in fault_proxy.requests if request.method != "GET"
        ) == [
            "DELETE",
            "DELETE",
            "POST",
        ]
        assert list(behind.scan()) == []

    def test_dead_endpoint_is_reported_soon(self) -> None:
        server = S3Server("http://127.0.0.1:9", "FAKE-ACCESS", "FAKE-SECRET")
        backend = backend_at(server, "bucket", config=Config(retries={"max_attempts": 1}))
        for request in (
            lambda: backend.get("x"),
            lambda: backend.head("x"),
            lambda: backend.put("x", Body.of(b"")),
            lambda: list(backend.scan()),
            lambda: backend.has_bucket("bucket"),
        ):
            with pytest.raises(StoreUnreachableError, match=server.endpoint_url):
                request()

    def test_expired_credentials_do_not_hide_a_bucket(
        self, backend: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        fault_proxy.on("HEAD").answer(400)
        fault_proxy.on("GET").answer(400, "ExpiredToken")
        with pytest.raises(CredentialsError, match="expired"):
            backend.has_bucket("bucket")


class TestACLs(S3Tests):
    @pytest.mark.parametrize("size", [10, 11 * MiB])
    @pytest.mark.parametrize("one_shot", [False, True])
    def test_bucket_without_acls(
        self,
        backend: S3Backend,
        fault_proxy: FaultProxy,
        caplog: pytest.LogCaptureFixture,
        size: int,
        one_shot: bool,
    ) -> None:
        """As new AWS buckets are: said once, and nothing of the body is lost."""
        fault_proxy.on().refuse_acl()
        data = pattern(size)
        with caplog.at_level(logging.WARNING):
            for key in ("first", "second"):
                body = Body.of(pieces_of(data, MiB // 3)) if one_shot else Body.of(data)
                backend.put(key, body, PutOptions(acl="authenticated-read"))
                assert backend.get(key).read() == data
        warned = [each for each in caplog.records if each.name.startswith("cottoncandy")]
        assert [record.levelname for record in warned] == ["WARNING"]
        assert "ACLs disabled" in caplog.text
        # obstore's error is not read; botocore's says why.
        assert len(fault_proxy.select(header="x-amz-acl")) == (2 if size == 10 else 1)

    def test_new_bucket_without_acls(
        self, moto: S3Server, backend: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        fault_proxy.on("PUT", header="x-amz-acl").answer(400, "InvalidBucketAclWithObjectOwnership")
        name = f"{backend.bucket_name}-new"
        backend.create_bucket(name, acl="authenticated-read")
        assert backend.has_bucket(name)
        moto.remove_bucket(name)


class TestCopies(S3Tests):
    @pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
    @pytest.mark.parametrize("largest", [None, 6 * MiB])
    def test_copy_keeps_everything(self, store: Any, largest: int | None) -> None:
        """By one request and, above the limit, by parts."""
        settings = Settings() if largest is None else Settings(max_put_size_bytes=largest)
        backend = backend_at(store.server, store.bucket, settings)
        data = pattern(13 * MiB)
        store.client.put_object(
            Bucket=store.bucket,
            Key="src//x",
            Body=data,
            Metadata={"dtype": "<f8"},
            ContentType="text/x-own",
            ACL="public-read",
        )
        backend.copy("src//x", "dest ü")
        info = backend.head("dest ü")
        assert (info.metadata, info.content_type) == ({"dtype": "<f8"}, "text/x-own")
        assert store.raw_get("dest ü").body == data
        acls = [
            store.client.get_object_acl(Bucket=store.bucket, Key=key)["Grants"]
            for key in ("src//x", "dest ü")
        ]
        assert sorted(map(str, acls[0])) == sorted(map(str, acls[1]))
        assert ((info.etag or "").endswith('-3"')) == (largest is not None)


class TestConditions(S3Tests):
    @pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
    def test_no_overwriting_by_boto3(self, store: Any) -> None:
        """A key that obstore cannot express."""
        key = "odd//name"
        backend = backend_at(store.server, store.bucket)
        backend.put(key, Body.of(b"first"), PutOptions(condition=IfAbsent()))
        for body in (Body.of(b"second"), Body.of(pattern(11 * MiB))):
            with pytest.raises(ObjectExistsError, match="overwrite=True"):
                backend.put(key, body, PutOptions(condition=IfAbsent()))
        assert store.raw_get(key).body == b"first"

    @pytest.mark.parametrize("key", ["name", "odd//name"])
    def test_no_overwriting_of_what_came_meanwhile(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy, key: str
    ) -> None:
        """The check sees nothing, and the request itself refuses."""
        behind.put(key, Body.of(b"first"))
        fault_proxy.on("HEAD", "name").answer(404)
        with pytest.raises(ObjectExistsError):
            backend.put(key, Body.of(b"second"), PutOptions(condition=IfAbsent()))
        assert behind.get(key).read() == b"first"
