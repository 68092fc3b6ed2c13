"""Unfinished uploads: the bucket rule of the guide on files, and ``clean``."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest

import cottoncandy
from tests.docs.blocks import ROOT
from tests.harness import StoreHarness

pytestmark = pytest.mark.server


def recipe() -> str:
    """Return the guide's code, which needs an S3 server and so is run here."""
    page = (ROOT / "docs" / "guide" / "files.md").read_text("utf-8")
    _, found, after = page.partition("a lifecycle rule of the bucket")
    assert found
    return after.partition("```python\n")[2].partition("```")[0]


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_the_recipe_of_the_guide(store: StoreHarness) -> None:
    cci: Any = cottoncandy.get_interface(store.bucket, verbose=False, **store.connection())
    exec(recipe(), {"cci": cci})
    server = store.server  # type: ignore[attr-defined]  # S3 harnesses have it
    with closing(server.client(retries={"total_max_attempts": 1})) as client:
        found = client.get_bucket_lifecycle_configuration(Bucket=store.bucket)["Rules"]
        client.delete_bucket_lifecycle(Bucket=store.bucket)
    assert [rule["AbortIncompleteMultipartUpload"] for rule in found] == [
        {"DaysAfterInitiation": 7}
    ]
    assert [rule["Status"] for rule in found] == ["Enabled"]


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_clean_aborts_unfinished_uploads_of_parts(store: StoreHarness) -> None:
    cci: Any = store.interface()
    cci.upload_dask_array("a/array", np.arange(6.0), buffersize=16)
    cci.upload_dask_array("ab", np.arange(6.0), buffersize=16)
    upload_id = f"cc-{'0' * 32}"
    mine = ["a/array/pt0007", f"a/array/{upload_id}/pt0000"]
    others = ["a/movie", "a/array/movie", "ab/pt0007"]
    with closing(store.server.client()) as client:  # type: ignore[attr-defined]  # S3 harnesses have it
        for key in mine + others:
            client.create_multipart_upload(Bucket=store.bucket, Key=key)

        def unfinished() -> list[str]:
            answer = client.list_multipart_uploads(Bucket=store.bucket)
            return sorted(found["Key"] for found in answer.get("Uploads", ()))

        if store.name == "ceph":  # moto's uploads are of 2010
            assert cci.clean("a", grace="1h") == []
        assert cci.clean("a", grace=0, dry_run=True) == sorted(mine)
        assert unfinished() == sorted(mine + others)
        assert cci.clean("a", grace=0) == sorted(mine)
        assert unfinished() == sorted(others)
        assert cci["a/array"].sum() == 15
        for found in client.list_multipart_uploads(Bucket=store.bucket)["Uploads"]:
            client.abort_multipart_upload(
                Bucket=store.bucket, Key=found["Key"], UploadId=found["UploadId"]
            )
