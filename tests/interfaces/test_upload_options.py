"""Options of uploads that only some stores have, for one upload and for all of an interface."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import scipy.sparse

import cottoncandy
from cottoncandy.backends.memory import clear
from cottoncandy.exceptions import (
    ConfigurationError,
    InvalidArgumentError,
    UnsupportedOperationError,
)


@pytest.fixture
def bucket() -> Any:
    yield "my_bucket"
    clear()


def open_bucket(bucket: str, **options: Any) -> Any:
    return cottoncandy.get_interface(bucket, backend="memory", verbose=False, **options)


def classes(cci: Any) -> set[str | None]:
    return {each.storage_class for each in cci.backend_interface.scan()}


ARRAY = np.arange(6.0).reshape(2, 3)
UPLOADS: dict[str, Callable[..., Any]] = {
    "object": lambda cci, **kw: cci.upload_object("a", b"x", **kw),
    "json": lambda cci, **kw: cci.upload_json("a", {}, **kw),
    "pickle": lambda cci, **kw: cci.upload_pickle("a", {}, **kw),
    "raw": lambda cci, **kw: cci.upload_raw_array("a", ARRAY, **kw),
    "npy": lambda cci, **kw: cci.upload_npy_array("a", ARRAY, **kw),
    "dask": lambda cci, **kw: cci.upload_dask_array("a", da.from_array(ARRAY, chunks=1), **kw),
    "sparse": lambda cci, **kw: cci.upload_sparse_array("a", scipy.sparse.csr_matrix(ARRAY), **kw),
    "dict": lambda cci, **kw: cci.dict2cloud("a", {"b": {"c": ARRAY}}, **kw),
}


@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS)
def test_each_upload_takes_options(bucket: str, upload: Callable[..., Any]) -> None:
    cci = open_bucket(bucket)
    upload(cci, storage_class="COLD")
    assert classes(cci) == {"COLD"}
    upload(cci)  # of this upload only
    assert None in classes(cci)
    for info in cci.backend_interface.scan():
        assert "storage_class" not in (cci.backend_interface.head(info.key).metadata or {})


@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS)
def test_options_of_an_interface_apply_to_each_upload(
    bucket: str, upload: Callable[..., Any]
) -> None:
    upload(open_bucket(bucket, storage_class="COLD"))
    assert classes(open_bucket(bucket)) == {"COLD"}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("encrypted", [False, True])
def test_options_reach_the_store_through_encryption_and_cache(
    bucket: str, encrypted: bool, cached: bool, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"cache": tmp_path} if cached else {}
    if encrypted:
        options |= {"encryption": "AES", "encryptionKey": bytes(32)}
    factory = cottoncandy.get_encrypted_interface if encrypted else cottoncandy.get_interface
    cci = factory(bucket, backend="memory", verbose=False, **options)
    cci.upload_raw_array("a", ARRAY, storage_class="COLD")
    assert classes(open_bucket(bucket)) == {"COLD"}


def test_files_take_the_options_of_boto3(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    cci = open_bucket(bucket)
    extra = {"StorageClass": "COLD"}
    cci.upload_from_file(tmp_path / "a", "one", ExtraArgs=extra)
    cci.upload_from_directory(tmp_path, "many", ExtraArgs=extra)
    with cci.open("opened", "wb", storage_class="COLD") as file:
        file.write(b"x")
    cci.filesystem().pipe_file("plain", b"x")
    assert {each.key: each.storage_class for each in cci.backend_interface.scan()} == {
        "one": "COLD",
        "many/a": "COLD",
        "opened": "COLD",
        "plain": None,
    }


def test_options_are_kept_by_copies_buckets_and_workers(bucket: str) -> None:
    cci = open_bucket(bucket, storage_class="COLD")
    cci.create_bucket("other")
    store = pickle.loads(pickle.dumps(cci._store))
    assert store.backend.upload_options == cci.backend_interface.upload_options
    cci.upload_object("a", b"x")
    cci.filesystem().pipe_file("b", b"x")
    assert classes(cci) == {"COLD"}


@pytest.mark.parametrize("name", ["server_side_encryption", "sse_kms_key_id", "request_payer"])
def test_a_store_that_cannot_explains(bucket: str, name: str, tmp_path: Path) -> None:
    cci = open_bucket(bucket)
    with pytest.raises(UnsupportedOperationError, match=f"memory backend does not support {name}"):
        cci.upload_object("a", b"x", **{name: "requester"})
    with pytest.raises(UnsupportedOperationError, match=f"does not support {name}"):
        open_bucket(bucket, **{name: "requester"})
    with pytest.raises(UnsupportedOperationError, match=f"local backend does not support {name}"):
        cottoncandy.get_interface(
            str(tmp_path), backend="local", verbose=False, **{name: "requester"}
        )
    assert not list(cci.backend_interface.scan())


def test_wrong_options(bucket: str) -> None:
    cci = open_bucket(bucket)
    with pytest.raises(InvalidArgumentError, match="storage_class="):
        cci.upload_object("a", b"x", StorageClass="COLD")
    with pytest.raises(InvalidArgumentError, match="printable ASCII"):
        cci.upload_object("a", b"x", storage_class="COLD\r\nx-amz-acl: public-read")
    for wrong in (3, ""):
        with pytest.raises(InvalidArgumentError, match="storage_class must be"):
            cci.upload_object("a", b"x", storage_class=wrong)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigurationError, match="storage_class"):
        open_bucket(bucket, storage_clas="COLD")
    with pytest.raises(ConfigurationError, match="'requester'"):
        cottoncandy.get_interface("b", "k", "s", "http://127.0.0.1:9", request_payer="me")


def test_metadata_of_that_name(bucket: str) -> None:
    cci = open_bucket(bucket)
    cci.upload_object("a", b"x", metadata={"storage_class": "mine"})
    assert cci.backend_interface.head("a").metadata == {"storage_class": "mine"}
    assert cci.backend_interface.head("a").storage_class is None
