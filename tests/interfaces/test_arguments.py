"""Invalid arguments: rejected with a typed error, before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.exceptions import (
    ConfigurationError,
    CottonCandyError,
    EncryptionKeyError,
    InvalidArgumentError,
    MetadataError,
    UnknownOptionError,
)
from cottoncandy.interfaces import DefaultInterface
from cottoncandy.options import Settings
from tests.backends.wrappers import CountingBackend
from tests.cases import each
from tests.harness import MemoryHarness, S3Harness, StoreHarness
from tests.servers import S3Server

Call = Callable[[Any, Any], Any]

ARRAY = np.ones((4, 4))

THREADS: list[Call] = [
    lambda cci, n: cci.upload_raw_array("a", ARRAY, threads=n),
    lambda cci, n: cci.download_raw_array("array", threads=n),
    lambda cci, n: cci.upload_npy_array("a", ARRAY, threads=n),
    lambda cci, n: cci.upload_dask_array("a", ARRAY, threads=n),
    lambda cci, n: cci.upload_dask_array("a", da(ARRAY), threads=n),
    lambda cci, n: cci.download_dask_array("chunked", threads=n),
    lambda cci, n: cci.dict2cloud("a", {"b": ARRAY}, threads=n),
    lambda cci, n: cci.cloud2dict("branch", threads=n),
    lambda cci, n: cci.upload_object("a", b"", threads=n),
    lambda cci, n: cci.download_stream("array", threads=n),
    lambda cci, n: cci.upload_json("a", {}, threads=n),
    lambda cci, n: cci.cp("branch", "a", recursive=True, threads=n),
    lambda cci, n: cci.rm("branch", recursive=True, threads=n),
    lambda cci, n: cci.ls("*", threads=n),
]
LIMITS: list[Call] = [
    lambda cci, n: cci.glob("*", limit=n),
    lambda cci, n: cci.search("*", limit=n),
    lambda cci, n: cci.ls("*", limit=n),
    lambda cci, n: cci.lsdir("", limit=n),
    lambda cci, n: cci.get_objects(limit=n),
    lambda cci, n: cci.show_objects(limit=n),
]
PAGES: list[Call] = [
    lambda cci, n: cci.glob("*", page_size=n),
    lambda cci, n: cci.ls("*", page_size=n),
    lambda cci, n: cci.get_objects(page_size=n),
    lambda cci, n: cci.show_objects(page_size=n),
]
AXES: list[Call] = [
    lambda cci, axis: cci.upload_dask_array("a", ARRAY, axis=axis),
    lambda cci, axis: cci.upload_dask_array("a", da(ARRAY), axis=axis),
]
SIZES: list[Call] = [lambda cci, size: cci.upload_dask_array("a", ARRAY, buffersize=size)]


def da(array: Any) -> Any:
    import dask.array

    return dask.array.from_array(array, chunks=2)


@pytest.fixture
def cci(memory: MemoryHarness) -> Any:
    cci = memory.interface()
    cci.upload_raw_array("array", ARRAY)
    cci.upload_raw_array("branch/array", ARRAY)
    cci.upload_dask_array("chunked", ARRAY)
    cci.backend_interface = CountingBackend(cci.backend_interface)
    return cci


@pytest.fixture
def memory() -> Any:
    harness = MemoryHarness()
    yield harness
    harness.close()


def _label(value: Any) -> str:
    """Name a parameter as the same text in each process."""
    return "call" if callable(value) else repr(value)


CASES = [
    *((call, value, "threads") for call in THREADS for value in ("x", None, 0, -1, 1.5)),
    *((call, value, "limit") for call in LIMITS for value in ("x", -1, 1.5)),
    *((call, value, "page_size") for call in PAGES for value in ("x", -1, 0, 1.5)),
    *((call, value, "axis") for call in AXES for value in ("a", 2, -3, 1.0, (0, 1))),
    *(
        (call, value, "buffersize")
        for call in SIZES
        for value in ("x", 0, -1, None, np.nan, np.inf)
    ),
]


FLAGS = [
    (name, parameter.name)
    for name, method in inspect.getmembers(DefaultInterface, inspect.isfunction)
    for parameter in inspect.signature(method).parameters.values()
    if not name.startswith("_") and parameter.annotation == "bool"
]


@each("name, flag", FLAGS)
def test_flags_that_are_none(cci: Any, name: str, flag: str) -> None:
    method = getattr(cci, name)
    parameters = [*inspect.signature(method).parameters.values()]
    needed = {each.name: "branch" for each in parameters if each.default is each.empty}
    needed = {name: value for name, value in needed.items() if name not in ("kwargs", "metadata")}
    cci.backend_interface.verbs.clear()
    with pytest.raises(InvalidArgumentError, match=f"^{flag} must be True or False, got 'no'$"):
        method(**needed, **{flag: "no"})
    assert not cci.backend_interface.verbs


def test_flags_are_checked_by_position_too(cci: Any) -> None:
    assert {("rm", "recursive"), ("cp", "overwrite"), ("clean", "dry_run")} <= {*FLAGS}
    with pytest.raises(InvalidArgumentError, match="recursive"):
        cci.rm("branch", "no")
    with pytest.raises(InvalidArgumentError, match="recursive must be"):
        cci.rm("branch", recursive=np.zeros(2))
    cci.upload_object("flags", b"", verbose="no", metadata={"recursive": "no"})  # are metadata
    cci.rm("branch", np.True_)
    assert "branch/array" not in cci


@each("call, value, name", CASES)
def test_numbers_that_are_none(cci: Any, call: Call, value: Any, name: str) -> None:
    with (
        cci.backend_interface.expect(),
        pytest.raises(
            InvalidArgumentError, match=f"^{name} (is .*given|must be .*, got .*)$"
        ) as caught,
    ):
        call(cci, value)
    assert repr(value) in str(caught.value)


@each("call", [*THREADS, *LIMITS, *PAGES])
def test_numbers_of_numpy_are_numbers(cci: Any, call: Call) -> None:
    call(cci, np.int64(2))


def test_a_size_may_be_a_float(cci: Any) -> None:
    cci.upload_dask_array("a", ARRAY, axis=np.int8(0), buffersize=6.4e1)
    assert cci.download_dask_array("a").chunks == ((2, 2), (4,))


def test_other_arguments(cci: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="filter"):
        cci.get_objects(filter="branch")
    with pytest.raises(InvalidArgumentError, match="max_bytes"):
        cci.cloud2dataset("array").preview(max_bytes="x")


@pytest.fixture
def s3(moto: S3Server) -> Any:
    harness = S3Harness(moto)
    yield harness
    harness.close()


@pytest.mark.parametrize("acl", ["bogus", "public_read", 3, "PRIVATE"])
def test_canned_acls_that_are_none(s3: StoreHarness, acl: Any) -> None:
    cci = s3.interface()
    cci.backend_interface = CountingBackend(cci.backend_interface)
    for call in (
        lambda: cci.upload_object("a", b"", acl=acl),
        lambda: cci.upload_raw_array("a", ARRAY, acl=acl),
        lambda: cci.upload_dask_array("a", ARRAY, acl=acl),
        lambda: cci.dict2cloud("a", {"b": ARRAY}, acl=acl),
        lambda: cci.create_bucket("another-bucket", acl=acl),
    ):
        with pytest.raises(InvalidArgumentError, match=f"no canned ACL {acl!r}.*bucket-owner-full"):
            call()
    assert not {"put", "create_bucket"} & set(cci.backend_interface.verbs)
    assert s3.raw_keys() == []
    if acl == "public_read":
        with pytest.raises(InvalidArgumentError, match="did you mean 'public-read'"):
            cci.upload_object("a", b"", acl=acl)


def test_no_acl_and_stores_without(s3: StoreHarness, memory: MemoryHarness) -> None:
    for acl in (None, "", "bucket-owner-full-control"):
        s3.interface().upload_object(f"with-{acl}", b"", acl=acl)
    memory.interface().upload_object("a", b"", acl="bogus")  # there are none, so it means nothing


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: cottoncandy.get_interface(**options),
        lambda **options: cottoncandy.get_browser(**options),
        lambda **options: cottoncandy.get_encrypted_interface(encryptionKey=bytes(32), **options),
        lambda **options: DefaultInterface(**options),
    ],
    ids=["interface", "browser", "encrypted", "class"],
)
def test_the_options_are_read_once(
    memory: MemoryHarness, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    loads = []
    load = Settings.load

    def counted() -> Settings:
        loads.append(load())
        return loads[-1]

    monkeypatch.setattr(Settings, "load", counted)
    make(bucket_name=memory.bucket, backend="memory", verbose=False)
    assert len(loads) == 1


WIDE = np.zeros(3, dtype=[(f"field_number_{number:03}", "<f8") for number in range(120)])


def test_a_dtype_that_metadata_has_no_room_for(s3: StoreHarness, memory: MemoryHarness) -> None:
    cci = s3.interface()
    cci.upload_dask_array("chunked", ARRAY)
    keys = cci.glob("")
    for call in (
        lambda: cci.upload_raw_array("wide", WIDE),
        lambda: cci.upload_dask_array("chunked", WIDE),
        lambda: cci.dict2cloud("branch", {"wide": WIDE}),
    ):
        with pytest.raises(MetadataError, match=r"'cc-dtype'.*upload_npy_array"):
            call()
    assert cci.glob("") == keys
    np.testing.assert_array_equal(cci.download_dask_array("chunked"), ARRAY)
    cci.upload_npy_array("wide", WIDE)
    assert cci.download_npy_array("wide").dtype == WIDE.dtype
    with pytest.raises(MetadataError) as caught:  # not the dtype's fault
        cci.upload_raw_array("array", ARRAY, note="x" * 3000)
    assert "upload_npy_array" not in str(caught.value)
    memory.interface().upload_raw_array("wide", WIDE)  # has room for any


@pytest.mark.parametrize("size", [2010, 3000])
def test_metadata_that_leave_no_room_for_the_upload_id(s3: StoreHarness, size: int) -> None:
    cci = s3.interface()
    with pytest.raises(MetadataError):
        cci.upload_dask_array("chunked", ARRAY, note="x" * size)
    assert s3.raw_keys() == []


@pytest.mark.parametrize(
    "wrong", [{"acl": "bogus"}, {"compression": "bogus"}, {"axis": 7}, {"threads": 0}], ids=str
)
def test_a_refused_upload_replaces_no_array(s3: StoreHarness, wrong: Any) -> None:
    cci = s3.interface()
    cci.upload_dask_array("chunked", ARRAY)
    with pytest.raises(CottonCandyError):
        cci.upload_dask_array("chunked", ARRAY + 1, **wrong)
    np.testing.assert_array_equal(cci.download_dask_array("chunked"), ARRAY)


SPELLINGS = [
    ("upload_object", b"", {"ACL": "private"}, "acl="),
    ("upload_object", b"", {"thread": 2}, "threads="),
    ("upload_object", b"", {"n_threads": 2}, "threads="),
    ("upload_object", b"", {"over_write": False}, "overwrite="),
    ("upload_object", b"", {"content_type": "text/plain"}, "ExtraArgs="),
    ("upload_object", b"", {"bucket_name": "other"}, "get_interface or set_bucket"),
    ("upload_json", {}, {"Acl": "private"}, "acl="),
    ("upload_pickle", 1, {"acls": "private"}, "acl="),
    ("upload_npy_array", ARRAY, {"ACL": "private"}, "acl="),
    ("upload_raw_array", ARRAY, {"compresion": "gzip"}, "compression="),
    ("upload_raw_array", ARRAY, {"Compression": False}, "compression="),
    ("upload_raw_array", ARRAY, {"compress": False}, "compression="),
    ("upload_raw_array", ARRAY, {"chunks": (1, 2)}, "buffersize= of upload_dask_array"),
    ("upload_dask_array", ARRAY, {"chunks": (1, 2)}, "buffersize= of upload_dask_array"),
    ("upload_dask_array", ARRAY, {"buffer_size": 8}, "buffersize="),
    ("upload_dask_array", ARRAY, {"axsi": 0}, "axis="),
    ("dict2cloud", {"a": ARRAY}, {"compresion": False}, "compression="),
    ("dict2cloud", {"a": ARRAY}, {"verbos": False}, "verbose="),
]


@each("method, value, keyword, meant", SPELLINGS)
def test_misspelled_parameter_is_not_stored(
    cci: Any, method: str, value: Any, keyword: Any, meant: str
) -> None:
    with cci.backend_interface.expect(), pytest.raises(InvalidArgumentError) as caught:
        getattr(cci, method)("a", value, **keyword)
    assert f"did you mean {meant}" in str(caught.value)
    with pytest.raises(InvalidArgumentError, match=r"did you mean keys=\? Nothing was transferred"):
        cci.cloud2dict("branch", key="a")


def test_unknown_options_are_errors_of_python_too(cci: Any) -> None:
    for caught in (UnknownOptionError, InvalidArgumentError, TypeError):
        with pytest.raises(caught, match=r"ls has no option 'limt'; did you mean limit=\?"):
            cci.ls("*", limt=3)
    with pytest.raises(TypeError, match="takes 2 positional arguments but 3 were given"):
        cci.glob("*", 3)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'object_name'"):
        cci.download_raw_array()


@each("method, value", [(method, value) for method, value, _, _ in SPELLINGS[:10]])
def test_names_in_the_metadata_argument_are_stored(cci: Any, method: str, value: Any) -> None:
    getattr(cci, method)("a", value, metadata={"ACL": "x", "Acq": 3}, acq2="y")
    stored = cci.download_stream("a").metadata
    assert {name: stored[name] for name in ("acl", "acq", "acq2")} == {
        "acl": "x",
        "acq": "3",
        "acq2": "y",
    }
    with pytest.raises(InvalidArgumentError, match="passed twice"):
        getattr(cci, method)("a", value, metadata={"acq": 3}, acq="y")


def test_metadata_of_other_names_is_stored(cci: Any) -> None:
    names = ["author", "acq", "task", "run", "bold", "subject", "tr", "metadata", "note"]
    cci.upload_raw_array("a", ARRAY, **dict.fromkeys(names, "1"))
    assert set(names) <= set(cci.cloud2dataset("a").attrs)
    cci.upload_dask_array("b", ARRAY, metadata={"chunks": "mine"})
    assert cci.cloud2dataset("b").attrs["chunks"] == "mine"
    cci.dict2cloud("c", {"d": ARRAY}, metadata={"ACL": "mine"})
    assert cci.cloud2dataset("c/d").attrs["acl"] == "mine"


# -- factories -----------------------------------------------------------------------------------


@each("backend", ["s3", "local", "memory", "gdrive"])
@each(
    "name, meant",
    [
        ("endpoint_ulr", "endpoint_url"),
        ("url", "endpoint_url"),
        ("access_key", "ACCESS_KEY"),
        ("SecretKey", "SECRET_KEY"),
        ("bucketname", "bucket_name"),
        ("force_bucket_create", "force_bucket_creation"),
    ],
)
def test_misspelled_parameter_is_named(backend: str, name: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"unknown option '{name}'.*mean '{meant}'"):
        cottoncandy.get_interface("b", backend=backend, verbose=False, **{name: "x"})  # type: ignore[arg-type]


@each("name", ["named", "directory", "settings", "keys", "_settings", "_keys", "location"])
def test_parameters_of_inner_functions_are_unknown(name: str, tmp_path: Path) -> None:
    option: Any = {name: True}
    for url in ("memory://b/x", f"file://{tmp_path}/x", "http://localhost/x"):
        for function in (cottoncandy.array, cottoncandy.doctor, cottoncandy.verify):
            with pytest.raises(ConfigurationError, match=f"unknown option '{name}'"):
                function(url, **option)


@each("name", ["encryption", "encryptionKey", "passphrase"])
def test_parameter_of_another_factory_names_that(name: str) -> None:
    for factory in (cottoncandy.get_interface, cottoncandy.get_browser):
        with pytest.raises(
            ConfigurationError, match=r"pass it to get_encrypted_interface\(\)"
        ) as it:
            factory("b", backend="memory", verbose=False, **{name: "FAKE"})  # type: ignore[arg-type]
        assert "did you mean" not in str(it.value)


@each("name", ["ACCESS_KEY", "SECRET_KEY", "endpoint_url"])
@each("value", [b"bytes", 5, ["a"]])
def test_credentials_that_are_not_text_are_rejected(name: str, value: Any) -> None:
    for backend in ("s3", "gdrive", "gcs", "memory"):
        with pytest.raises(ConfigurationError, match=f"{name} must be a str, got a "):
            cottoncandy.get_interface(backend=backend, verbose=False, **{name: value})


@each("name", ["zzz", "colour", "n", "compression_level"])
def test_parameter_like_no_other_gets_no_suggestion(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"unknown option '{name}'") as caught:
        cottoncandy.get_interface("b", verbose=False, **{name: "x"})  # type: ignore[arg-type]
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("value", ["text/plain\n", "a\r\nx-amz-acl: public-read", "é", "\0", 7])
def test_content_type_that_is_no_header_is_rejected(tmp_path: Path, value: Any) -> None:
    cci = cottoncandy.get_interface("b", backend="memory", verbose=False)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgumentError, match="content_type must be printable ASCII"):
        cci.upload_from_file(
            str(tmp_path / "file"), "content-type", ExtraArgs={"ContentType": value}
        )
    assert not cci.exists_object("content-type")


@pytest.mark.parametrize("upload", ["upload_raw_array", "upload_object"])
def test_metadata_name_that_is_not_text_is_rejected(upload: str) -> None:
    cci = cottoncandy.get_interface("b", backend="memory", verbose=False)
    with pytest.raises(MetadataError, match="names must be text, got 1"):
        getattr(cci, upload)("odd-metadata", np.zeros(3), metadata={1: "2"})
    assert not cci.exists_object("odd-metadata")


@each("encryption, key", [(5, "x"), ("RSA", 5), ("RSA", [1])])
def test_encryption_that_is_not_text_is_a_typed_error(encryption: Any, key: Any) -> None:
    with pytest.raises(EncryptionKeyError):
        cottoncandy.get_encrypted_interface(
            "b", backend="memory", verbose=False, encryption=encryption, encryptionKey=key
        )
