"""``read_only=True``: nothing is stored or deleted, whichever method is called."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import cottoncandy
from cottoncandy.backends.base import Backend, UnfinishedUpload
from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    BucketNotFoundError,
    ConfigurationError,
    CottonCandyError,
    UnsupportedOperationError,
)
from cottoncandy.interfaces import DefaultInterface
from cottoncandy.stores.wrapping import ReadOnlyBackend, WrappedBackend
from tests.backends.wrappers import CountingBackend
from tests.cases import each

WRITES = {
    *("put", "delete", "copy", "move", "create_bucket", "delete_bucket", "set_metadata"),
    *("abort_upload", "remove_links"),
}


def arguments(method: Any, directory: Path) -> dict[str, Any]:
    """Return values for the required parameters of a method."""
    values = {
        "a": "a",
        "arr": np.arange(3.0),
        "array": np.arange(3.0),
        "array_dict": {"a": np.arange(3.0)},
        "body": b"body",
        "bucket_name": "read-only-other",
        "cloud_path": "cloud",
        "ddict": {"a": 1},
        "dest_name": "elsewhere",
        "directory": "tree",
        "disk_name": directory / "downloads",
        "dest": directory / "synced",
        "disk_path": directory,
        "file_name": directory / "file",
        "flname": directory / "file",
        "data": None,
        "data_object": {"a": 1},
        "dict_object": {"a": 1},
        "obj": {"a": 1},
        "name": "name",
        "object_name": "name",
        "object_root": "tree",
        "pattern": "*",
        "source": "tree",
        "source_name": "name",
    }
    if "xarray" in method.__name__:
        import xarray

        values["data"] = xarray.Dataset({"a": ("x", [1, 2])})
    if "sparse" in method.__name__:
        values["arr"] = scipy.sparse.eye(3, format="csr")
    required = [
        name
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return {name: values[name] for name in required}


def interface(read_only: bool) -> tuple[Any, CountingBackend]:
    """Return an interface on a bucket with some objects, and what counts its requests."""
    cci = cottoncandy.get_interface("memory://read-only", verbose=False)
    cci.upload_raw_array("name", np.arange(3))
    cci.upload_json("tree/a", {})
    counting = CountingBackend(MemoryBackend("read-only"))
    cci.backend_interface = ReadOnlyBackend(counting) if read_only else counting
    return cci, counting


@pytest.fixture(autouse=True)
def no_buckets_remain() -> Iterator[None]:
    yield
    remove_buckets()


def remove_buckets() -> None:
    backend = MemoryBackend()
    for bucket in ("read-only", "read-only-other"):
        if backend.has_bucket(bucket):
            here = backend.with_bucket(bucket)
            list(here.delete([entry.key for entry in here.scan()]))
            backend.delete_bucket(bucket)


@each(
    "name",
    sorted(
        name
        for name, _ in inspect.getmembers(DefaultInterface, inspect.isfunction)
        if not name.startswith("_") and ("xarray" not in name or find_spec("xarray"))
    ),
)
def test_writing_methods_raise_before_any_request(name: str, tmp_path: Path) -> None:
    remove_buckets()
    (tmp_path / "file").write_bytes(b"body")

    def call(read_only: bool) -> tuple[Exception | None, set[str]]:
        cci, counting = interface(read_only)
        method = getattr(cci, name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                method(**arguments(method, tmp_path))
        except CottonCandyError as error:
            return error, set(counting.verbs)
        return None, set(counting.verbs)

    _, sent = call(read_only=False)
    error, sent_read_only = call(read_only=True)
    if isinstance(error, UnsupportedOperationError) and "read-only" in str(error):
        assert not sent_read_only
    else:
        assert not WRITES & sent, "add it to _WRITING in interfaces/base.py"
        assert sent == sent_read_only


def test_writing_verbs_of_the_backend_raise() -> None:
    backend = interface(read_only=True)[0].backend_interface
    calls = {
        "put": lambda: backend.put("a", Body.of(b"x")),
        "delete": lambda: backend.delete(["name"]),
        "copy": lambda: backend.copy("name", "a"),
        "move": lambda: backend.move("name", "a"),
        "set_metadata": lambda: backend.set_metadata("name", {}),
        "remove_links": lambda: backend.remove_links(""),
        "create_bucket": lambda: backend.create_bucket("read-only-other"),
        "delete_bucket": lambda: backend.delete_bucket("read-only"),
        "puts_atomically": lambda: backend.puts_atomically("a"),
        "abort_upload": lambda: backend.abort_upload(UnfinishedUpload("a", None, "id")),
    }
    for call in calls.values():
        with pytest.raises(UnsupportedOperationError, match="read-only"):
            call()
    reading = {
        *("get", "head", "exists", "scan", "list_buckets", "has_bucket", "owner", "connect"),
        *("unfinished_uploads", "presign", "can_copy_from", "unlisted", "has_md5_etag"),
        *("native_object", "native_bucket", "with_bucket", "status_message", "describe"),
        *(
            "acl",
            "read_only_error",
            "with_upload_options",
            "close",
            "resolve_links",
            "storage_class",
        ),
    }
    verbs = {name for name, _ in inspect.getmembers(Backend, callable) if not name.startswith("_")}
    assert verbs == {*calls, *reading}, "is the new verb one that writes?"


def test_read_only_survives_pickling_copies_and_buckets() -> None:
    interface(read_only=False)
    for factory, options in (
        (cottoncandy.get_interface, {}),
        (cottoncandy.get_encrypted_interface, {"encryption": "AES", "encryptionKey": bytes(32)}),
    ):
        cci: Any = factory("memory://read-only", read_only=True, verbose=False, **options)
        for one in (cci, copy.copy(cci), pickle.loads(pickle.dumps(cci))):
            one.set_bucket("read-only")
            with pytest.raises(UnsupportedOperationError, match="read-only"):
                one.upload_object("a", b"x")
            assert one.exists_object("name")
            assert not one.backend_interface.capabilities.writable


def test_read_only_overrides_bucket_creation(tmp_path: Path) -> None:
    for bucket in ("memory://read-only-other", f"file://{tmp_path}/other"):
        with pytest.raises(BucketNotFoundError):
            cottoncandy.get_interface(
                bucket, read_only=True, force_bucket_creation=True, verbose=False
            )
    assert not MemoryBackend().has_bucket("read-only-other")
    assert not (tmp_path / "other").exists()


def test_files_and_encrypted_interfaces_are_read_only() -> None:
    interface(read_only=False)
    options: dict[str, Any] = {"encryption": "AES", "encryptionKey": bytes(32), "verbose": False}
    encrypted = cottoncandy.get_encrypted_interface("memory://read-only", read_only=True, **options)
    plain = cottoncandy.get_interface("memory://read-only", read_only=True, verbose=False)
    for call in (
        lambda: encrypted.rotate_keys(),
        lambda: encrypted.upload_object("a", b"x"),
        lambda: plain.open("a", "wb"),
        lambda: plain.open("a", "x"),
    ):
        with pytest.raises(UnsupportedOperationError, match="read-only"):
            call()


def test_sync_to_a_read_only_store_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"body")
    cci, counting = interface(read_only=True)
    with pytest.raises(UnsupportedOperationError, match="read-only"):
        cci.sync(tmp_path, "copies")
    assert not WRITES & set(counting.verbs)
    cci.sync("tree", tmp_path / "downloads")
    assert (tmp_path / "downloads/a").exists()


def test_dry_runs_list_what_is_in_read_only_stores(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"body")
    writer, _ = interface(read_only=False)
    for _ in range(2):
        writer.upload_dask_array("tree/chunked", np.arange(3))
    cci, counting = interface(read_only=True)
    assert len(cci.clean("tree", 0, True)) == 2
    assert cci.clean("tree", dry_run=True) == []
    cci.upload_from_directory(str(tmp_path), "copies", dry_run=True)
    assert not WRITES & set(counting.verbs)
    with pytest.raises(UnsupportedOperationError, match="read-only"):
        cci.clean("tree", dry_run=False)


def test_read_only_must_be_a_flag() -> None:
    with pytest.raises(ConfigurationError, match="read_only"):
        cottoncandy.get_interface("memory://read-only", read_only="yes", verbose=False)


def test_wrapped_backends_pass_on_every_verb() -> None:
    """Otherwise the default would answer, such as that an ETag is an MD5 where it is not."""
    own = {"can_copy_from", "read_only_error"}
    verbs = {name for name, _ in inspect.getmembers(Backend, callable) if not name.startswith("_")}
    inherited = {name for name in verbs if getattr(WrappedBackend, name) is getattr(Backend, name)}
    assert inherited == own
