"""The bucket rule of the guide on files, which removes unfinished uploads."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

import cottoncandy
from tests.docs.blocks import ROOT
from tests.harness import StoreHarness


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
