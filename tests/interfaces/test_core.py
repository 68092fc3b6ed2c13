"""An interface holds a store: set_bucket moves the interface, and nothing that is open."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.exceptions import BucketNotFoundError, CottonCandyError, InvalidNameError
from cottoncandy.interfaces import DefaultInterface
from tests.backends.wrappers import WrappedBackend
from tests.cases import each
from tests.harness import StoreHarness
from tests.interfaces.arrays import assert_same

HERE = np.arange(60.0).reshape(6, 10)
both_ways = pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)


@pytest.fixture
def other(store: StoreHarness, cci: Any, factory: Any) -> str:
    """Another bucket, in which the same names hold other values; ``cci`` has the first ones."""
    name = store.fresh_bucket()
    there = factory(name, verbose=False, backend=store.backend_name, **store.connection())
    for interface, array in ((cci, HERE), (there, -HERE)):
        interface.upload_raw_array("array", array)
        interface.upload_dask_array("chunked", array, axis=0, buffersize=160)
        interface.dict2cloud("group", {"leaf": array})
        interface.upload_object("object", array.tobytes())
    return name


@both_ways
def test_set_bucket_leaves_what_is_open_in_its_bucket(cci: Any, other: str) -> None:
    lazy = cci.download_dask_array("chunked")
    browser, group = cci.get_browser(), cci.cloud2dataset("group")
    dataset = browser.array
    stream = cci.download_stream("object")
    cci.set_bucket(other)
    assert_same(lazy.compute(), HERE)
    assert_same(browser.array[...], HERE)
    assert_same(browser.chunked[2:4], HERE[2:4])
    assert_same(dataset[...], HERE)
    assert_same(group["leaf"][...], HERE)
    assert stream.read() == HERE.tobytes()
    assert_same(pickle.loads(pickle.dumps(lazy)).compute(), HERE)
    # The interface itself is in the other bucket.
    assert cci.bucket_name == cci.backend_interface.bucket_name == other
    assert_same(cci.download_raw_array("array"), -HERE)
    assert_same(cci.download_dask_array("chunked").compute(), -HERE)
    assert_same(cci.get_browser().array[...], -HERE)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
@both_ways
def test_copies_choose_buckets_independently(
    cci: Any, other: str, store: StoreHarness, copied: Any
) -> None:
    twin = copied(cci)
    twin.set_bucket(other)
    assert (cci.bucket_name, twin.bucket_name) == (store.bucket, other)
    assert_same(cci.download_raw_array("array"), HERE)
    assert_same(twin.download_raw_array("array"), -HERE)
    cci.set_bucket(other)
    cci.rm("array")
    twin.set_bucket(store.bucket)
    assert_same(twin.download_raw_array("array"), HERE)


class PausesAtSecondPut(WrappedBackend):
    """Waits, before the second object is stored, until it may continue."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.puts: list[str] = []
        self.paused, self.go_on = threading.Event(), threading.Event()

    @contextmanager
    def _call(self, verb: str, *keys: str) -> Iterator[None]:
        if verb == "put":
            self.puts.append(keys[0])
            if len(self.puts) == 2:
                self.paused.set()
                assert self.go_on.wait(60)
        yield


@both_ways
def test_upload_stays_in_its_bucket_while_another_thread_changes_it(
    cci: Any, store: StoreHarness
) -> None:
    other = store.fresh_bucket()
    cci.backend_interface = backend = PausesAtSecondPut(cci.backend_interface)
    thread = threading.Thread(
        target=cci.upload_dask_array, args=("chunked", HERE), kwargs={"buffersize": 160}
    )
    thread.start()
    assert backend.paused.wait(60)
    cci.set_bucket(other)
    backend.go_on.set()
    thread.join()
    assert store.raw_keys(bucket=other) == []
    cci.set_bucket(store.bucket)
    assert_same(cci.download_dask_array("chunked").compute(), HERE)


def test_dictionary_stays_in_its_bucket_while_another_thread_changes_it(
    cci: Any, store: StoreHarness
) -> None:
    """Each of its arrays is uploaded by a method of the interface, called later."""
    other = store.fresh_bucket()
    cci.backend_interface = backend = PausesAtSecondPut(cci.backend_interface)
    arrays = {str(number): HERE for number in range(8)}
    options = {"threads": 1, "verbose": False}
    thread = threading.Thread(target=cci.dict2cloud, args=("group", arrays), kwargs=options)
    thread.start()
    assert backend.paused.wait(60)
    cci.set_bucket(other)
    backend.go_on.set()
    thread.join()
    assert store.raw_keys(bucket=other) == []
    assert len(store.raw_keys("group/")) == 8


def test_two_threads_that_change_buckets_never_mix_them(
    cci: Any, other: str, store: StoreHarness
) -> None:
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            cci.set_bucket(other)
            cci.set_bucket(store.bucket)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for number in range(4):
            cci.upload_dask_array("again", HERE + number, axis=0, buffersize=160)
            found = cci.cloud2dict("group")["leaf"]
            assert np.array_equal(found, HERE) or np.array_equal(found, -HERE)
            assert abs(cci.download_dask_array("chunked").sum().compute()) == HERE.sum()
    finally:
        done.set()
        thread.join()
    for bucket in (store.bucket, other):
        keys = store.raw_keys("again/", bucket=bucket)
        if keys:  # each array is whole, or not here
            cci.set_bucket(bucket)
            assert cci.download_dask_array("again").compute().shape == HERE.shape


def test_public_methods_run_in_one_bucket() -> None:
    rebinding = {"create_bucket", "rm_bucket", "set_bucket"}
    for name, method in inspect.getmembers(DefaultInterface, inspect.isfunction):
        if not name.startswith("_"):
            assert hasattr(method, "__wrapped__") is (name not in rebinding), name


def test_methods_of_a_users_class_may_set_attributes(store: StoreHarness) -> None:
    class Mine(DefaultInterface):
        def remember(self) -> None:
            self.noted = self.bucket_name

    mine = Mine(store.bucket, backend=store.backend_name, verbose=False)
    mine.remember()
    assert mine.noted == store.bucket


def test_interface_whose_constructor_failed_has_a_repr() -> None:
    unfinished = DefaultInterface.__new__(DefaultInterface)
    assert repr(unfinished) == "<cottoncandy.DefaultInterface not connected>"


def test_what_is_open_reports_a_deleted_bucket(store: StoreHarness, cci: Any) -> None:
    name = store.fresh_bucket()
    cci.set_bucket(name)
    cci.upload_dask_array("chunked", HERE)
    lazy, browser = cci.download_dask_array("chunked"), cci.get_browser()
    cci.rm("chunked", recursive=True)
    cci.rm_bucket(name)
    assert cci.bucket_name is None
    for use in (lazy.compute, lambda: dir(browser), lambda: cci.upload_object("x", b"x")):
        with pytest.raises(BucketNotFoundError):
            use()


@each("name", [None, 5, "", "  ", b"bytes", ["a"]])
def test_bucket_names_that_are_none_raise(cci: Any, store: StoreHarness, name: Any) -> None:
    for method in (cci.set_bucket, cci.create_bucket, cci.rm_bucket, cci.exists_bucket):
        with pytest.raises(InvalidNameError, match="bucket name"):
            method(name)
    assert cci.bucket_name == store.bucket


def test_a_bucket_name_that_acts_on_the_terminal_is_escaped() -> None:
    cci = cottoncandy.get_interface("a\x1b[31m", backend="memory", verbose=False)
    assert repr(cci) == r"<cottoncandy.DefaultInterface bucket:a\x1b[31m on memory>"


@each("name", [5, "  ", b"bytes"])
def test_factories_reject_bucket_names_that_are_none(store: StoreHarness, name: Any) -> None:
    with pytest.raises(CottonCandyError, match="bucket name"):
        store.interface(name)


def test_a_directory_on_disk_is_no_bucket_of_another_store(tmp_path: Any) -> None:
    with pytest.raises(BucketNotFoundError, match="pass backend='local'"):
        cottoncandy.get_interface(str(tmp_path), backend="memory", force_bucket_creation=False)


def test_missing_local_directory_is_not_created_unasked(tmp_path: Any) -> None:
    missing = tmp_path / "mistyped"
    with pytest.raises(BucketNotFoundError, match="mistyped"):
        cottoncandy.get_browser(str(missing), backend="local")
    with pytest.raises(BucketNotFoundError, match="force_bucket_creation=True"):
        cottoncandy.get_interface(missing, backend="local", force_bucket_creation=False)
    assert not missing.exists()
    for create in (None, True):
        cottoncandy.get_interface(
            str(missing), backend="local", verbose=False, force_bucket_creation=create
        )
        missing.rmdir()


def test_missing_memory_bucket_is_not_created_if_forbidden() -> None:
    for attempt in (cottoncandy.get_browser, cottoncandy.get_interface):
        with pytest.raises(BucketNotFoundError, match="nowhere"):
            attempt("nowhere", backend="memory", force_bucket_creation=False)


@pytest.mark.parametrize("backend", ["memory", "local"])
def test_eight_workers_that_create_a_bucket_all_succeed(backend: str, tmp_path: Any) -> None:
    def work(number: int) -> str:
        cci = cottoncandy.get_interface(
            str(tmp_path / "new"), backend=backend, force_bucket_creation=True, verbose=False
        )
        cci.upload_object(f"{number}", b"x")
        return str(cci.bucket_name)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(work, range(8)))) == 1


def test_bucket_names_that_are_not_text_raise(cci: Any) -> None:
    for call in (
        lambda: cci.exists_object("a", bucket_name=5),
        lambda: cci.get_object("a", bucket_name=5),
        lambda: cci.cp("a", "b", source_bucket=5),
        lambda: cci.mv("a", "b", dest_bucket=5),
    ):
        with pytest.raises(InvalidNameError, match="bucket name must be a str"):
            call()


def test_urls_as_names_raise(cci: Any, store: StoreHarness) -> None:
    for call in (
        lambda: cci.upload_raw_array("s3://bkt/a/b", HERE),
        lambda: cci.download_raw_array("s3://bkt/a/b"),
        lambda: cci.rm("s3://bkt/a/b"),
    ):
        with pytest.raises(InvalidNameError, match="pass 'a/b' to an interface on bucket 'bkt'"):
            call()
    with pytest.raises(InvalidNameError, match=r"expected: pass 'x'$"):
        cci.upload_object("file:///x", b"")
    assert store.raw_keys() == []
    store.raw_put("s3://bkt/a", b"exactly this one")
    assert cci.download_object("s3://bkt/a") == b"exactly this one"
