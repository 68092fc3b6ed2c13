"""URLs: how they are taken apart, and the stores that they lead to."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.config.location import user_directory
from cottoncandy.exceptions import (
    ConfigurationError,
    EncryptionError,
    InvalidArgumentError,
    ObjectNotFoundError,
)
from cottoncandy.stores import urls
from cottoncandy.stores.connect import connect_directory, connect_url
from cottoncandy.stores.urls import StoreURL, mask, parse_url
from tests.cases import each


@each(
    "url, expected",
    [
        ("s3://bucket", ("s3", "bucket", "", None)),
        ("s3://bucket/", ("s3", "bucket", "", None)),
        ("S3://Bucket/a//b/", ("s3", "Bucket", "a//b/", None)),
        ("s3://bucket/a%20b?c#d@e:f", ("s3", "bucket", "a%20b?c#d@e:f", None)),
        ("s3://https://host:9000/bucket/a", ("s3", "bucket", "a", "https://host:9000")),
        ("gs://bucket/a b", ("gcs", "bucket", "a b", None)),
        ("gdrive://My Drive/a", ("gdrive", "My Drive", "a", None)),
        ("memory://name", ("memory", "name", "", None)),
        ("mem://name/a\nb", ("memory", "name", "a\nb", None)),
        ("file:///data/100%25/", ("local", "/data/100%25", "", None)),
        ("file://~/data", ("local", "~/data", "", None)),
        ("file:///", ("local", "/", "", None)),
    ],
)
def test_url_parts(url: str, expected: tuple[Any, ...]) -> None:
    parsed = parse_url(url)
    assert (parsed.backend, parsed.bucket, parsed.path, parsed.endpoint_url) == expected


@each(
    "url, message",
    [
        ("bucket/name", "not a URL"),
        ("s3://", "no bucket"),
        ("s3:///name", "no bucket"),
        ("s3:// /name", "no bucket"),
        ("s3://https://host", "no bucket"),
        ("s3://https:///bucket", "no host"),
        ("s3://http://host:1", "no bucket; write s3://http://host:1/bucket/name"),
        ("gs://", "no bucket"),
        ("memory://", "no bucket"),
        ("file://", "full path"),
        ("file://data/lab", "full path"),
        ("ftp://host/dir", "unknown scheme"),
    ],
)
def test_invalid_urls_are_rejected(url: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        parse_url(url)
    if "://" in url:
        with pytest.raises(InvalidArgumentError, match=message):
            cottoncandy.get_interface(url, verbose=False)


@each(
    "url",
    [
        "s3://user:hunter2@bucket/name",
        "s3://https://user:hunter2@host/bucket",
        "s3://http://hunter2@host/bucket",
        "gs://user:hunter2@bucket",
        "memory://user:hunter2@bucket",
        "file://user:hunter2@host/dir",
        "gdrive://user:hunter2@Folder",
    ],
)
def test_login_is_rejected_and_masked(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="password") as caught:
        parse_url(url)
    assert "hunter2" not in str(caught.value)


@each("part", ["host:port/x", "host:99999/x", "[host/x", "/x"])
def test_invalid_web_urls_are_masked(part: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"https://\*\*\*@") as caught:
        parse_url(f"https://user:hunter2@{part}")
    assert "hunter2" not in str(caught.value)


def test_logins_in_web_urls_are_percent_decoded() -> None:
    parsed = parse_url("https://me%40lab:p%3A%2F@host/directory")
    assert (parsed.user, parsed.password, parsed.bucket) == (
        *("me@lab", "p:/", "https://host/directory"),
    )


def test_mask_hides_passwords_and_signatures() -> None:
    secret = "https://me:hunter2@host/dir/a?X-Amz-Signature=hunter2&x=1"
    assert mask(secret) == "https://***@host/dir/a?***"
    assert mask("s3://bucket/what?now") == "s3://bucket/what?now"
    assert "hunter2" not in repr(StoreURL("http", "b", password="hunter2", query="hunter2"))


def test_interface_from_a_url(tmp_path: Path) -> None:
    cci = cottoncandy.get_interface("memory://urls-here", verbose=False)
    cci.upload_object("100%25/a?b#c", b"body")
    assert (cci.backend, cci.bucket_name) == ("memory", "urls-here")
    store, key = connect_url("memory://urls-here/100%25/a?b#c")
    with store.open(key) as reader:
        assert reader.read() == b"body"

    local = cottoncandy.get_interface(f"file://{tmp_path}/new", verbose=False)
    local.upload_object("a/b", b"body")
    assert local.backend == "local"
    assert (tmp_path / "new/a/b").read_bytes() == b"body"
    store, key = connect_url(f"file://{tmp_path}/new/a/b")
    assert (store.bucket, key) == (f"{tmp_path}/new/a", "b")
    store, key = connect_directory(f"file://{tmp_path}/new")
    assert (store.bucket, key) == (f"{tmp_path}/new", "")

    secret = cottoncandy.get_encrypted_interface(
        "memory://urls-secret", encryption="AES", encryptionKey=bytes(32), verbose=False
    )
    secret.upload_object("a", b"body")
    assert secret.download_object("a") == b"body"
    assert secret.backend == "memory"


def test_array_from_a_url(tmp_path: Path) -> None:
    for url in ("memory://urls-array", f"file://{tmp_path}/new"):
        cci = cottoncandy.get_interface(url, verbose=False)
        cci.upload_raw_array("a b/%20", np.arange(6).reshape(2, 3), compression=False)
        cci.upload_dask_array("chunked", np.arange(100.0), buffersize=80)
        array = cottoncandy.array(f"{url}/a b/%20")
        assert array.shape == (2, 3)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[1], [3, 4, 5])
        np.testing.assert_array_equal(cottoncandy.array(f"{url}/chunked")[50:52], [50, 51])
        with pytest.raises(ObjectNotFoundError):
            cottoncandy.array(f"{url}/missing")
    options: Any = {"encryption": "AES", "encryptionKey": bytes(32)}
    secret = cottoncandy.get_encrypted_interface("memory://urls-array", verbose=False, **options)
    secret.upload_raw_array("secret", np.arange(3))
    assert cottoncandy.array("memory://urls-array/secret", **options)[2] == 2
    with pytest.raises(EncryptionError):
        cottoncandy.array("memory://urls-array/secret")
    with pytest.raises(InvalidArgumentError, match="no array"):
        cottoncandy.array("memory://urls-array")


def test_interface_on_an_s3_server() -> None:
    store, key = connect_url("s3://http://127.0.0.1:9/bucket/a", "FAKE", "FAKE")
    assert key == "a"
    assert store.describe() == "bucket:bucket on http://127.0.0.1:9"


def test_path_after_the_bucket_names_the_remedy() -> None:
    for factory in (cottoncandy.get_interface, cottoncandy.get_browser):
        with pytest.raises(InvalidArgumentError, match=r"cc\.array"):
            factory("memory://bucket/path/name", verbose=False)


def test_contradictions_are_rejected() -> None:
    with pytest.raises(InvalidArgumentError, match="omit it"):
        cottoncandy.get_interface("s3://bucket", backend="memory", verbose=False)
    with pytest.raises(InvalidArgumentError, match="endpoint_url"):
        connect_url("s3://https://one/bucket", endpoint_url="https://other")


def test_aliases(isolated_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = user_directory()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "aliases.json").write_text(json.dumps({"lab": {"host": "s3://https://s3.lab.org"}}))
    assert parse_url("lab://bucket/a%20b") == parse_url("s3://https://s3.lab.org/bucket/a%20b")
    cloudfiles = isolated_environment / ".cloudfiles"
    cloudfiles.mkdir()
    (cloudfiles / "aliases.json").write_text(
        json.dumps({"lab": {"host": "s3://"}, "other": {"host": "memory://"}})
    )
    assert parse_url("lab://bucket").endpoint_url == "https://s3.lab.org"
    assert parse_url("other://bucket/a").backend == "memory"
    monkeypatch.setitem(urls.ALIASES, "lab", "gs://")
    assert parse_url("lab://bucket").backend == "gcs"
    monkeypatch.setitem(urls.ALIASES, "loop", "loop://")
    with pytest.raises(InvalidArgumentError, match="unknown scheme"):
        parse_url("loop://bucket")


@each("text", ["[1]", '{"a": "b"}', '{"a": {"host": 1}}', "{", "[" * 10**5])
@pytest.mark.usefixtures("no_collection")
def test_damaged_aliases_name_the_file(text: str) -> None:
    folder = user_directory()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "aliases.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"aliases\.json"):
        parse_url("lab://bucket")
    assert parse_url("s3://bucket").bucket == "bucket"  # nothing is read for known schemes


def test_url_interface_pickles() -> None:
    cci = cottoncandy.get_interface("memory://urls-pickled", verbose=False)
    cci.upload_object("a", b"body")
    assert pickle.loads(pickle.dumps(cci)).download_object("a") == b"body"


@pytest.mark.parametrize("text", ["s3:/bucket/a", "S3:bucket", "file:/data", "gs:/b", "memory:/x"])
def test_a_scheme_without_two_slashes_is_not_a_directory(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (
        lambda: cottoncandy.sync(tmp_path, text),
        lambda: cottoncandy.sync(text, tmp_path / "there"),
        lambda: cottoncandy.CloudFiles(text),
        lambda: cottoncandy.get_interface(text, backend="local", verbose=False),
        lambda: cottoncandy.array(text),
    ):
        with pytest.raises(InvalidArgumentError, match=r"with (two|three) slashes"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_colon_in_the_name_of_a_directory_is_no_scheme(tmp_path: Path) -> None:
    assert not urls.is_url("sub-01:run")
    assert not urls.is_url(f"{tmp_path}/s3:/x")
    assert not urls.is_url("./s3:/x")


def test_the_options_set_the_threads_of_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTTONCANDY_BASIC_THREADS", "3")
    counts: list[int] = []
    monkeypatch.setattr(
        "cottoncandy.arrays.handle.open_array", lambda store, name, threads: counts.append(threads)
    )
    cottoncandy.array(tmp_path / "a")
    cottoncandy.array(tmp_path / "a", threads=2)
    assert counts == [3, 2]


def test_the_options_set_the_threads_of_what_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTTONCANDY_BASIC_THREADS", "3")
    cci = cottoncandy.get_interface(tmp_path, backend="local", verbose=False)
    counts: list[int] = []
    get = LocalBackend.get

    def counted(*arguments: Any, threads: int, **options: Any) -> Any:
        counts.append(threads)
        return get(*arguments, threads=threads, **options)

    monkeypatch.setattr(LocalBackend, "get", counted)
    cci.filesystem().pipe_file("a", b"123")
    assert cci.filesystem().cat_file("a") == b"123"
    assert counts == [3]


def test_array_opens_a_path_on_disk(tmp_path: Path) -> None:
    cci = cottoncandy.get_interface(tmp_path, backend="local", verbose=False)
    cci.upload_raw_array("sub01/run 1%", np.arange(5))
    assert cottoncandy.array(tmp_path / "sub01" / "run 1%")[2] == 2
    for wrong in (None, 5, b"s3://bucket/a", str(tmp_path / "sub01")):
        with pytest.raises(InvalidArgumentError, match="not a URL"):
            cottoncandy.array(wrong)  # type: ignore[arg-type]  # wrong on purpose
