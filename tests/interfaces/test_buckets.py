"""Buckets: choosing, making, removing, measuring, showing."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import cottoncandy
from cottoncandy.exceptions import (
    BucketExistsError,
    BucketNotEmptyError,
    BucketNotFoundError,
    InvalidArgumentError,
    InvalidNameError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from tests.cases import each
from tests.harness import on_every_store


def new_name(store: Any) -> str:
    """Return the name of a bucket that is not there yet."""
    name = store.fresh_bucket()
    store.interface().rm_bucket(name)
    return name


@on_every_store
def test_making_and_removing(store: Any) -> None:
    cci = store.interface()
    name = new_name(store)
    assert cci.exists_bucket(name) is False
    cci.create_bucket(name)
    assert cci.exists_bucket(name) is True
    assert cci.bucket_name == name
    cci.upload_object("object", b"body")
    with pytest.raises(BucketNotEmptyError, match=name[-8:]):
        cci.rm_bucket(name)
    assert cci.download_object("object") == b"body"
    with pytest.raises(BucketExistsError):
        store.interface().create_bucket(name)
    assert cci.download_object("object") == b"body"
    store.raw_delete("object", bucket=name)
    cci.rm_bucket(name)
    assert cci.bucket_name != name
    assert cci.exists_bucket(name) is False
    with pytest.raises(BucketNotFoundError):
        cci.rm_bucket(name)
    with pytest.raises(BucketNotFoundError):
        cci.download_object("object")


@on_every_store
def test_choosing(store: Any) -> None:
    cci = store.interface()
    other = store.fresh_bucket()
    store.raw_put("object", b"other", bucket=other)
    cci.set_bucket(other)
    assert cci.bucket_name == other
    assert cci.download_object("object") == b"other"
    missing = new_name(store)
    with pytest.raises(BucketNotFoundError, match=missing[-8:]):
        cci.set_bucket(missing)
    assert cci.bucket_name == other


@pytest.mark.parametrize("store", ["moto", "ceph", "gdrive"], indirect=True)
def test_a_bucket_that_is_not_there(store: Any) -> None:
    missing = new_name(store)
    with pytest.raises(BucketNotFoundError, match="force_bucket_creation"):
        store.interface(missing)
    cci = store.interface(missing, force_bucket_creation=True)
    cci.upload_object("object", b"body")
    assert store.raw_get("object", bucket=missing).body == b"body"
    store.raw_delete("object", bucket=missing)
    cci.rm_bucket(missing)


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_without_a_bucket(store: Any) -> None:
    cci = store.interface("")
    assert cci.bucket_name is None
    with pytest.raises(BucketNotFoundError, match="set_bucket"):
        cci.upload_object("object", b"body")
    cci.set_bucket(store.bucket)
    cci.upload_object("object", b"body")
    assert store.raw_get("object").body == b"body"


@on_every_store
def test_the_default_bucket(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTTONCANDY_BASIC_DEFAULT_BUCKET", store.bucket)
    for nothing in (None, "", False):
        cci = cottoncandy.get_interface(
            nothing, verbose=False, backend=store.backend_name, **store.connection()
        )
        # Drive has its own default bucket; the option is about S3 there.
        own = not type(cci.backend_interface).uses_default_bucket
        assert cci.bucket_name == ("My Drive" if own else store.bucket)
        assert cci.backend_interface.has_bucket(cci.bucket_name)


@pytest.mark.parametrize("store", ["gdrive"], indirect=True)
def test_drive_is_not_upset_by_a_default_bucket_on_s3(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTTONCANDY_BASIC_DEFAULT_BUCKET", "a-bucket-on-s3")
    for factory, options in (
        (cottoncandy.get_interface, {}),
        (cottoncandy.get_encrypted_interface, {"encryptionKey": bytes(32)}),
    ):
        cci = factory(verbose=False, backend="gdrive", **options, **store.connection())
        assert cci.bucket_name == "My Drive"
        cci.upload_object(f"{store.bucket}/object", b"body")
        assert cci.download_object(f"{store.bucket}/object") == b"body"
    browser = cottoncandy.get_browser(backend="gdrive", **store.connection())
    assert store.bucket in browser


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_the_mandatory_prefix(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTTONCANDY_BASIC_MANDATORY_BUCKET_PREFIX", "mylab_")
    with pytest.raises(InvalidNameError, match="mylab_"):
        store.interface().create_bucket("other-bucket")


def test_sizes(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cci = store.interface()
    assert cci.get_size() == 0
    assert capsys.readouterr().out == "0 bytes (0.00B) over 0 objects\n"
    for number in range(3):
        store.raw_put(f"branch/object{number}", bytes(1000), {"a": "b"})
    assert cci.get_size() == 3000
    assert capsys.readouterr().out == "3000 bytes (2.93KB) over 3 objects\n"
    assert cci.get_bucket_size() == 3000
    assert cci.get_bucket_size(limit=1) == 3000


def test_getting_objects(store: Any) -> None:
    cci = store.interface()
    for key in ("a/1", "a/2", "ab", "b"):
        store.raw_put(key, key.encode(), {"m": "v"})
    objects = cci.get_objects()
    assert [(ob.key, ob.size) for ob in objects] == [("a/1", 3), ("a/2", 3), ("ab", 2), ("b", 1)]
    assert all(ob.last_modified.tzinfo is not None for ob in objects)
    assert all(ob.e_tag for ob in objects)
    assert [ob.key for ob in cci.get_objects(filter={"Prefix": "a"}, limit=2)] == ["a/1", "a/2"]
    assert len(cci.get_objects(filter={"Prefix": "/"})) == 4
    with pytest.raises(InvalidArgumentError, match="Suffix"):
        cci.get_objects(filter={"Suffix": "x"})
    with pytest.warns(DeprecationWarning, match="get_objects"):
        assert len(cci.get_bucket_objects(limit=3, page_size=2)) == 3


def test_more_objects_than_a_page(store: Any) -> None:
    cci = store.interface()
    for number in range(12):
        store.raw_put(f"{number:04d}", b"x")
    assert len(cci.get_objects(page_size=5)) == 12
    assert len(cci.get_objects(page_size=5, limit=7)) == 7


def test_showing_objects(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cci = store.interface()
    store.raw_put("one", bytes(2**20))
    store.raw_put("two", b"")
    store.raw_put("three", b"")
    cci.show_objects()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["one", "three", "two"]
    assert lines[0].endswith(" 1.0M")
    cci.show_objects(limit=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["one", "three", "..."]
    assert "limit=None" in lines[-1]


@each(
    "size, shown",
    [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (100_000, "97.7K"), (2**20, "1.0M")],
)
def test_small_sizes_are_shown_in_small_units(
    cci: Any, capsys: pytest.CaptureFixture[str], size: int, shown: str
) -> None:
    cci.upload_object("a", bytes(size))
    cci.show_objects()
    assert capsys.readouterr().out.split()[-1] == shown


def test_showing_buckets(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    store.interface().show_buckets()
    assert store.bucket in capsys.readouterr().out


@on_every_store
def test_greeting(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    store.interface(verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert "Available buckets:" in lines
    assert lines[-1] == f"Current bucket: {store.bucket}"
    store.interface(verbose=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("store", ["local", "memory"], indirect=True)
def test_no_client_objects(store: Any) -> None:
    cci = store.interface()
    store.raw_put("branch/object", b"body")
    with pytest.raises(UnsupportedOperationError, match="get_objects"):
        cci.get_bucket()
    with pytest.raises(UnsupportedOperationError, match="download_object"):
        cci.get_object("branch/object")


@pytest.mark.parametrize("store", ["gdrive"], indirect=True)
def test_client_objects_of_drive(store: Any) -> None:
    cci = store.interface()
    store.raw_put("branch/object", b"body")
    native = cci.get_object("/branch//object")
    assert native["title"] == "object"
    query = {"q": f"'{native['parents'][0]['id']}' in parents"}
    assert [file["title"] for file in cci.get_bucket().ListFile(query).GetList()] == ["object"]
    native.auth.thread_local.http.close()  # pydrive2 leaves its connection open
    with pytest.raises(ObjectNotFoundError):
        cci.get_object("nothing")


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_client_objects(store: Any) -> None:
    cci = store.interface()
    store.raw_put("branch/object", b"body")
    bucket = cci.get_bucket()
    assert [ob.key for ob in bucket.objects.all()] == ["branch/object"]
    native = cci.get_object("/branch//object")
    assert native.content_length == 4
    with native.get()["Body"] as body:
        assert body.read() == b"body"


def test_no_stray_warnings(store: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.interface().get_bucket_size()


def test_bucket_that_another_process_creates_meanwhile_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check finds nothing, and the creation finds the bucket."""
    from cottoncandy.backends.memory import MemoryBackend

    MemoryBackend().create_bucket("created-by-two")
    has_bucket = MemoryBackend.has_bucket
    answers: list[bool] = []

    def late(self: MemoryBackend, bucket: str) -> bool:
        answers.append(bool(answers) and has_bucket(self, bucket))
        return answers[-1]

    monkeypatch.setattr(MemoryBackend, "has_bucket", late)
    cci = cottoncandy.get_interface(
        "created-by-two", backend="memory", force_bucket_creation=True, verbose=False
    )
    assert cci.bucket_name == "created-by-two"
    assert answers == [False, True]


def test_eight_workers_that_create_a_bucket_all_succeed(moto: Any) -> None:
    name = "created-by-eight"
    together = threading.Barrier(8)

    def work(number: int) -> str:
        together.wait()
        cci = cottoncandy.get_interface(
            name, force_bucket_creation=True, verbose=False, **moto.interface_arguments()
        )
        cci.upload_object(f"from/{number}", b"body")
        return str(cci.bucket_name)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [name] * 8
