"""Bodies to S3: in parts, whole or absent, in little memory."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from botocore.config import Config

from cottoncandy.backends.base import IfAbsent, PutOptions
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.backends.s3.multipart import part_sizes
from cottoncandy.core.buffers import Body, MiB, regroup
from cottoncandy.exceptions import (
    IntegrityError,
    ObjectNotFoundError,
    StoreError,
)
from cottoncandy.options import Settings
from cottoncandy.testing.harness import pattern
from tests.backends._s3 import (
    SMALL,
    S3Tests,
    backend_at,
    pieces_of,
    uploads_in,
)
from tests.interrupts import interrupted_when
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

pytestmark = pytest.mark.server


class TestParts:
    def test_part_sizes(self) -> None:
        settings = Settings()
        assert next(part_sizes(settings, 100 * MiB, gathered=False)) == 16 * MiB
        assert next(part_sizes(settings, 100 * MiB, gathered=True)) == 8 * MiB
        bound = 1000 * 1024 * MiB
        assert next(part_sizes(settings, bound, gathered=True)) * settings.max_mpu_parts >= bound
        sizes = part_sizes(settings, None, gathered=True)
        total = sum(next(sizes) for _ in range(settings.max_mpu_parts))
        assert total >= 5 * MiB * MiB
        old_file = Settings(mpu_chunksize_bytes=100 * MiB)
        assert next(part_sizes(old_file, 1000 * MiB, gathered=False)) == 16 * MiB
        assert next(part_sizes(Settings(mpu_chunksize_bytes=1), 9, gathered=True)) == 5 * MiB

    def test_gathered_parts(self) -> None:
        blocks = [b"", b"a", b"bc", b"defghij", b"k", b"", b"lmno"]
        for size in range(1, 17):
            parts = [bytes(part) for part in regroup(iter(blocks), iter([size] * 20))]
            assert b"".join(parts) == b"abcdefghijklmno"
            assert all(len(part) == size for part in parts[:-1])

    @pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
    @pytest.mark.parametrize("as_pieces", [False, True])
    def test_multipart_round_trip(self, store: Any, as_pieces: bool) -> None:
        data = pattern(12 * MiB + 1)
        backend = backend_at(store.server, store.bucket)
        body = Body.of(pieces_of(data, 700_001)) if as_pieces else Body.of(data)
        result = backend.put(
            "a//b", body, PutOptions({"Shape": "3,4"}, acl="public-read", content_type="text/x-own")
        )
        info = backend.head("a//b")
        assert (info.size, info.metadata, info.content_type) == (
            len(data),
            {"shape": "3,4"},
            "text/x-own",
        )
        assert info.etag is not None
        assert info.etag.endswith('-3"')
        assert result.etag in (None, info.etag)
        assert store.raw_get("a//b").body == data
        grants = store.client.get_object_acl(Bucket=store.bucket, Key="a//b")["Grants"]
        assert any("AllUsers" in grant["Grantee"].get("URI", "") for grant in grants)


class TestWholeOrAbsent(S3Tests):
    @pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
    def test_body_that_fails_on_the_way(self, store: Any) -> None:
        backend = backend_at(store.server, store.bucket)
        backend.put("name", Body.of(b"before"))

        def failing() -> Iterator[bytes]:
            yield from pieces_of(pattern(11 * MiB), MiB)
            raise OSError("the tape is torn")

        with pytest.raises(OSError, match="the tape is torn"):
            backend.put("name", Body.of(failing()))
        assert store.raw_get("name").body == b"before"
        assert uploads_in(store.server, store.bucket) == []

    def test_body_whose_source_vanishes(self, backend: S3Backend) -> None:
        """It is not taken for the answer to a condition."""
        error = ObjectNotFoundError("the source")

        def failing() -> Iterator[bytes]:
            yield b"first"
            raise error

        with pytest.raises(ObjectNotFoundError) as raised:
            backend.put("name", Body.of(failing()), PutOptions(condition=IfAbsent()))
        assert raised.value is error

    def test_body_of_another_size_than_announced(self, behind: S3Backend, moto: S3Server) -> None:
        for size, actual in ((10, 9), (10, 11), (12 * MiB, 11 * MiB)):
            data = pattern(actual)
            body = Body(lambda data=data: iter([data]), size=size)  # type: ignore[misc]
            with pytest.raises(IntegrityError, match=f"{size} bytes.* {actual}"):
                behind.put("name", body)
            assert not behind.exists("name")
            assert uploads_in(moto, str(behind.bucket_name)) == []

    @pytest.mark.parametrize("added", ["when_required", "when_supported"])
    @pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
    def test_buffer_that_changes_meanwhile(self, store: Any, added: str) -> None:
        config = Config(request_checksum_calculation=added)
        data = bytearray(pattern(12 * MiB))
        body = Body(
            lambda: iter([data]), size=len(data), buffer=memoryview(data), checksum=crc32(data)
        )
        backend = backend_at(store.server, store.bucket, config=config)
        sent: list[int] = []
        body.progress = sent.append
        backend.put("name", body)
        assert sum(sent) == len(data)
        assert store.raw_get("name").body == data
        before = bytes(data)
        data[11 * MiB] ^= 1
        with pytest.raises(IntegrityError, match="changed while it was uploaded"):
            backend.put("name", body)
        assert store.raw_get("name").body == before
        assert uploads_in(store.server, store.bucket) == []

    @pytest.mark.parametrize("settings", [SMALL, Settings()], ids=["parts", "whole"])
    def test_buffer_that_may_change_is_sent_twice(
        self, fault_proxy: FaultProxy, moto_bucket: str, behind: S3Backend, settings: Settings
    ) -> None:
        backend = backend_at(fault_proxy.server, moto_bucket, settings)
        rule = fault_proxy.on("PUT", "name", times=1).answer(503, "SlowDown")
        data = memoryview(pattern(12 * MiB))
        body = Body(lambda: iter([data]), size=len(data), buffer=data, checksum=crc32(data))
        backend.put("name", body)
        assert rule.hits == 1
        assert behind.get("name").read() == data

    def test_part_that_fails(
        self, backend: S3Backend, behind: S3Backend, moto: S3Server, fault_proxy: FaultProxy
    ) -> None:
        behind.put("name", Body.of(b"before"))
        fault_proxy.on("PUT", "name", query="partNumber", skip=1).answer(403, "AccessDenied")
        with pytest.raises(PermissionError, match="'name'"):
            backend.put("name", Body.of(pattern(16 * MiB)))
        assert behind.get("name").read() == b"before"
        assert uploads_in(moto, str(behind.bucket_name)) == []

    @pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX")
    def test_ctrl_c_while_an_upload_hangs(
        self, backend: S3Backend, behind: S3Backend, moto: S3Server, fault_proxy: FaultProxy
    ) -> None:
        behind.put("name", Body.of(b"before"))
        rule = fault_proxy.on("PUT", "name", query="partNumber").hang()
        with interrupted_when(lambda: rule.hits > 0), pytest.raises(KeyboardInterrupt):
            backend.put("name", Body.of(pattern(16 * MiB)))
        rule.release()
        assert behind.get("name").read() == b"before"
        assert uploads_in(moto, str(behind.bucket_name)) == []

    def test_source_that_is_missing_is_not_a_bad_name(self, behind: S3Backend) -> None:
        """A body may come from another store, whose errors are its own."""

        def elsewhere() -> Iterator[bytes]:
            yield from behind.get("missing source").chunks()

        with pytest.raises(ObjectNotFoundError, match="missing source"):
            behind.put("name", Body.of(elsewhere()))
        assert not behind.exists("name")

    def test_lost_answer_to_the_end_of_an_upload(
        self, fault_proxy: FaultProxy, moto_bucket: str, behind: S3Backend
    ) -> None:
        """The second try finds no upload, because the first was heard."""
        backend = backend_at(fault_proxy.server, moto_bucket)
        data = pattern(11 * MiB)
        rule = fault_proxy.on("POST", "name", query="uploadId", times=1).reset(delivered=True)
        fault_proxy.on("POST", "name", query="uploadId", skip=1).answer(404, "NoSuchUpload")
        backend.put("name", Body.of(data))
        assert rule.hits == 1
        assert behind.get("name").read() == data

    def test_lost_answer_to_the_end_of_an_upload_with_a_key_of_kms(
        self, fault_proxy: FaultProxy, moto_bucket: str, behind: S3Backend
    ) -> None:
        """The ETag is no checksum then."""
        backend = backend_at(fault_proxy.server, moto_bucket)
        options = PutOptions(server_side_encryption="aws:kms")
        data = pattern(11 * MiB)
        fault_proxy.on("HEAD", "name").change_etag(f'"{"0" * 32}-3"')
        fault_proxy.on("POST", "name", query="uploadId", times=1).reset(delivered=True)
        fault_proxy.on("POST", "name", query="uploadId", skip=1).answer(404, "NoSuchUpload")
        backend.put("name", Body.of(data), options)
        assert behind.get("name").read() == data
        fault_proxy.on("HEAD", "name").change_header(
            "Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT"
        )
        with pytest.raises(StoreError, match="aborted by another client"):
            backend.put("name", Body.of(data), options)

    def test_upload_that_somebody_else_ended(
        self, backend: S3Backend, behind: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        behind.put("name", Body.of(b"before"))
        fault_proxy.on("POST", "name", query="uploadId").answer(404, "NoSuchUpload")
        with pytest.raises(StoreError, match="aborted by another client"):
            backend.put("name", Body.of(pattern(11 * MiB)))
        assert behind.get("name").read() == b"before"


_MEMORY = """
import sys, psutil
from tests.interfaces.memory_probe import peak_bytes, reset_peak
from cottoncandy.core.buffers import Body
from cottoncandy.backends.base import ConnectionArguments
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.options import Settings

endpoint, access, secret, bucket = sys.argv[1:]
backend = S3Backend.connect(ConnectionArguments(bucket, access, secret, endpoint, Settings()))
backend.put("warm", Body.of(b"up")); list(backend.scan("warm"))
block = b"y" * 1000003
reset_peak()
before = psutil.Process().memory_info().rss
backend.put("pieces", Body.of(block for _ in range(2**28 // len(block))))
print((peak_bytes() - before) / 2**20)
"""


@pytest.mark.slow
def test_memory_of_an_upload_in_pieces(ceph: S3Server, ceph_bucket: str) -> None:
    """The body is a generator; the tests of interfaces cover arrays."""
    child = subprocess.run(
        [
            *(sys.executable, "-c", _MEMORY),
            *(ceph.endpoint_url, ceph.access_key, ceph.secret_key, ceph_bucket),
        ],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert float(child.stdout) < 64


KMS = {"server_side_encryption": "aws:kms", "sse_kms_key_id": "our-key"}


class TestUploadOptions(S3Tests):
    """Storage class, encryption by the server, and who pays, for one upload or for all."""

    @pytest.mark.parametrize("size", [1, 11 * MiB], ids=["whole", "parts"])
    @pytest.mark.parametrize("default", [False, True])
    def test_storage_class_and_kms_key_are_stored(
        self, moto: S3Server, moto_bucket: str, size: int, default: bool
    ) -> None:
        backend = backend_at(moto, moto_bucket)
        options = {"storage_class": "STANDARD_IA", **KMS}
        if default:
            backend = pickle.loads(pickle.dumps(backend.with_upload_options(**options)))
        backend.put("a", Body.of(bytes(size)), PutOptions(**({} if default else options)))
        head = moto.client().head_object(Bucket=moto_bucket, Key="a")
        assert head["StorageClass"] == "STANDARD_IA"
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "our-key")
        assert backend.get("a").read() == bytes(size)

    def test_an_upload_overrides_the_default(self, moto: S3Server, moto_bucket: str) -> None:
        backend = backend_at(moto, moto_bucket).with_upload_options(storage_class="STANDARD_IA")
        backend.with_bucket(moto_bucket).put("a", Body.of(b"a"))
        backend.put("b", Body.of(b"b"), PutOptions(storage_class="ONEZONE_IA"))
        for key, expected in {"a": "STANDARD_IA", "b": "ONEZONE_IA"}.items():
            head = moto.client().head_object(Bucket=moto_bucket, Key=key)
            assert head["StorageClass"] == expected

    def test_copies_are_encrypted_with_the_default_key(
        self, behind: S3Backend, moto: S3Server, moto_bucket: str
    ) -> None:
        behind.put("a", Body.of(b"a"))
        behind.with_upload_options(sse_kms_key_id="our-key", storage_class="STANDARD_IA").copy(
            "a", "b"
        )
        head = moto.client().head_object(Bucket=moto_bucket, Key="b")
        assert head["SSEKMSKeyId"] == "our-key"
        assert "StorageClass" not in head  # that of the source

    @pytest.mark.parametrize("key", ["a", "a//b"], ids=["obstore", "botocore"])
    def test_headers_of_an_upload(
        self, moto: S3Server, moto_bucket: str, make_proxy: Any, key: str
    ) -> None:
        proxy = make_proxy(moto)
        options = PutOptions(
            {"m": "1"},
            content_encoding="br",
            cache_control="no-store",
            request_payer="requester",
            **KMS,
        )
        backend_at(proxy.server, moto_bucket).put(key, Body.of(b"x"), options)
        sent = next(each.headers for each in proxy.requests if each.method == "PUT")
        assert sent["x-amz-request-payer"] == "requester"
        assert sent["x-amz-server-side-encryption"] == "aws:kms"
        assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "our-key"
        assert ("Botocore" in sent["user-agent"]) == (key == "a//b")
        info = backend_at(moto, moto_bucket).head(key)
        assert (info.content_encoding, info.cache_control) == ("br", "no-store")

    def test_only_a_repeated_part_asks_before_it_sends_its_body(
        self, moto: S3Server, moto_bucket: str, make_proxy: Any
    ) -> None:
        proxy = make_proxy(moto)
        rule = proxy.on("PUT", times=1).answer(503, "SlowDown")
        backend_at(proxy.server, moto_bucket).put("a", Body.of(bytes(11 * MiB)))
        assert rule.hits == 1
        asked = [
            each.headers.get("expect")
            for each in proxy.requests
            if each.method == "PUT" and "attempt=1" in each.headers["amz-sdk-request"]
        ]
        assert asked == [None] * len(asked)
        repeated = [
            each.headers.get("expect")
            for each in proxy.requests
            if "attempt=2" in each.headers.get("amz-sdk-request", "")
        ]
        assert repeated == ["100-continue"]

    def test_the_payer_of_a_multipart_upload(
        self, moto: S3Server, moto_bucket: str, make_proxy: Any
    ) -> None:
        proxy = make_proxy(moto)
        options = PutOptions(request_payer="requester")
        backend_at(proxy.server, moto_bucket).put("a", Body.of(bytes(11 * MiB)), options)
        assert [each.headers.get("x-amz-request-payer") for each in proxy.requests] == (
            ["requester"] * len(proxy.requests)
        )
