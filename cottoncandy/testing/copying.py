"""Conformance: copies and moves inside the store."""

from __future__ import annotations

import pytest

from cottoncandy.backends.base import Backend, PutOptions
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import BucketNotFoundError, ObjectExistsError, ObjectNotFoundError
from cottoncandy.testing.harness import BIG, StoreHarness, contents


class CopyConformance:
    """Copies and moves within the store."""

    @pytest.fixture(params=["copy", "move"])
    def verb(self, request: pytest.FixtureRequest) -> str:
        """The method that is tested."""
        return str(request.param)

    @pytest.mark.parametrize("replaces", [False, True])
    @pytest.mark.parametrize(
        ("body", "metadata"), [(b"body", {}), (b"body", {"dtype": "<f8"}), (BIG, {"dtype": "<f8"})]
    )
    def test_copied_with_metadata(
        self,
        backend: Backend,
        harness: StoreHarness,
        verb: str,
        body: bytes,
        metadata: dict[str, str],
        replaces: bool,
    ) -> None:
        harness.raw_put("source/name", body, metadata)
        if replaces:
            backend.put("dest/other name", Body.of(b"old and longer"), PutOptions({"old": "1"}))
        result = getattr(backend, verb)("source/name", "dest/other name")
        assert result.etag in (None, backend.head("dest/other name").etag)
        copied = ["dest/other name", "source/name"] if verb == "copy" else ["dest/other name"]
        assert contents(backend, harness) == dict.fromkeys(copied, (body, metadata))

    def test_copied_never_over_another(
        self, backend: Backend, harness: StoreHarness, verb: str
    ) -> None:
        harness.raw_put("source", b"source", {"a": "s"})
        harness.raw_put("dest", b"dest", {"a": "d"})
        before = contents(backend, harness)
        with pytest.raises(ObjectExistsError, match="dest"):
            getattr(backend, verb)("source", "dest", overwrite=False)
        assert contents(backend, harness) == before
        getattr(backend, verb)("source", "free", overwrite=False)
        assert harness.raw_get("free") == (b"source", {"a": "s"})

    def test_copied_across_buckets(
        self, backend: Backend, harness: StoreHarness, other_bucket: str, verb: str
    ) -> None:
        harness.raw_put("name", b"body", {"a": "b"})
        other = backend.with_bucket(other_bucket)
        getattr(other, verb)("name", "folder/name", source_bucket=harness.bucket)
        assert harness.raw_get("folder/name", other_bucket) == (b"body", {"a": "b"})
        assert harness.raw_keys() == (["name"] if verb == "copy" else [])
        assert harness.raw_keys(bucket=other_bucket) == ["folder/name"]

    def test_copied_onto_itself(self, backend: Backend, harness: StoreHarness, verb: str) -> None:
        harness.raw_put("name", b"body", {"a": "b"})
        getattr(backend, verb)("name", "name")
        getattr(backend, verb)("name", "name", source_bucket=harness.bucket)
        with pytest.raises(ObjectExistsError):
            getattr(backend, verb)("name", "name", overwrite=False)
        assert contents(backend, harness) == {"name": (b"body", {"a": "b"})}

    def test_copied_from_a_missing_source(
        self, backend: Backend, harness: StoreHarness, verb: str
    ) -> None:
        harness.raw_put("dest", b"dest")
        for dest in ("dest", "missing", "folder/free"):
            with pytest.raises(ObjectNotFoundError, match="missing"):
                getattr(backend, verb)("missing", dest)
        assert contents(backend, harness) == {"dest": (b"dest", {})}

    def test_copied_to_a_missing_bucket(
        self, backend: Backend, harness: StoreHarness, verb: str
    ) -> None:
        harness.raw_put("name", b"body")
        nowhere = backend.with_bucket(harness.bucket + "-missing")
        with pytest.raises(BucketNotFoundError):
            getattr(nowhere, verb)("name", "name", source_bucket=harness.bucket)
        assert harness.raw_get("name").body == b"body"

    def test_copies_are_independent(self, backend: Backend, harness: StoreHarness) -> None:
        backend.put("source", Body.of(b"first"), PutOptions({"a": "1"}))
        backend.copy("source", "dest")
        backend.put("source", Body.of(b"second"), PutOptions({"a": "2"}))
        assert harness.raw_get("dest") == (b"first", {"a": "1"})
        list(backend.delete(["source"]))
        assert harness.raw_get("dest") == (b"first", {"a": "1"})
