"""Every verb is wired, on every store, plain and encrypted.

The other files of this directory test each verb in detail, in memory; the conformance class of
``tests/backends`` tests each store. These tests show that the two fit together: one short use of
each verb, compared with the contents of the store.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from cottoncandy.exceptions import ObjectExistsError, ObjectNotFoundError
from tests.harness import HARNESSES, StoreHarness
from tests.interfaces.arrays import LAYOUTS, assert_same, sample


def marks(store: str, encryption: str) -> list[pytest.MarkDecorator]:
    """RSA is AES with other keys; without servers, AES is tested on one store."""
    if encryption == "RSA":
        return [pytest.mark.slow]
    return [pytest.mark.server] if (store, encryption) == ("local", "AES") else []


@pytest.mark.parametrize(
    ("store", "encryption"),
    [
        pytest.param(store, encryption, marks=marks(store, encryption))
        for encryption in ("plain", "AES", "RSA")
        for store in HARNESSES
        if store != "files"
    ],
    indirect=True,
)
class TestSmoke:
    def test_objects(self, cci: Any, store: StoreHarness, encryption: str) -> None:
        for name, body in (("a/bytes", b"x" * 1000), ("a/empty", b""), ("a/pieces", [b"0", b"1"])):
            cci.upload_object(name, body, Run=1)
            data = cci.download_object(f"/{name}")
            assert type(data) is bytes
            assert data == b"".join(body) if isinstance(body, list) else data == body
            assert cci.exists_object(name)
            stored = store.raw_get(name)
            assert (stored.body == data) == (encryption == "plain")
            assert stored.metadata["run"] == "1"
        assert store.raw_keys() == ["a/bytes", "a/empty", "a/pieces"]

    def test_streams(self, cci: Any) -> None:
        body = bytes(range(256)) * 1000
        cci.upload_object("object", body, run="1")
        with cci.download_stream("object") as stream:
            assert (stream.size, stream.metadata["run"]) == (len(body), "1")
            assert stream.content.read(10) == body[:10]
            stream.content.seek(100_000)
            assert stream.content.read() == body[100_000:]

    def test_json_and_pickles(self, cci: Any) -> None:
        cci.upload_json("json", {"a": [1, None, "ü"]})
        assert cci.download_json("json") == {"a": [1, None, "ü"]}
        cci.upload_pickle("pickle", {1, 2})
        assert cci.download_pickle("pickle") == {1, 2}

    def test_files(self, cci: Any, tmp_path: Path) -> None:
        body = bytes(range(256)) * 1000
        (tmp_path / "file").write_bytes(body)
        cci.upload_from_file(tmp_path / "file", "a/file", ExtraArgs={"Metadata": {"run": "1"}})
        cci.download_to_file("a/file", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == body
        with cci.download_stream("a/file") as stream:
            assert stream.metadata["run"] == "1"

    def test_directories(self, cci: Any, store: StoreHarness, tmp_path: Path) -> None:
        files = {"top": b"1" * 100, "deep/er": b"2" * 100, "empty": b""}
        for name, body in files.items():
            path = tmp_path / "up" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        (tmp_path / "down").mkdir()
        (tmp_path / "down" / "top").write_bytes(b"3" * 100)
        cci.upload_from_directory(tmp_path / "up", "tree", recursive=True)
        before = store.raw_get("tree/top").body
        (tmp_path / "up" / "empty").write_bytes(b"no more")
        cci.upload_from_directory(tmp_path / "up", "tree", recursive=True, skip_existing=True)
        assert store.raw_get("tree/top").body == before  # not sent again: it would differ
        for _ in range(2):
            cci.download_directory("tree", tmp_path / "down", skip_existing=True)
            for name, body in (files | {"empty": b"no more"}).items():
                assert (tmp_path / "down" / name).read_bytes() == body

    def test_raw_arrays(self, cci: Any) -> None:
        array = sample(">f4", (30, 40))
        for compression in (True, False, "Zstd"):
            cci.upload_raw_array("a/b", array, compression=compression, subject="s01")
            assert_same(cci.download_raw_array("a/b"), array)
            assert_same(cci.download_raw_array("a/b", selection=np.s_[3:9]), array[3:9])
        with cci.download_stream("a/b") as stream:
            assert (stream.metadata["subject"], stream.metadata["shape"]) == ("s01", "30,40")
        for layout in ("structured", "0-d", "empty"):
            cci.upload_raw_array("a/b", LAYOUTS[layout])
            assert_same(cci.download_raw_array("a/b"), LAYOUTS[layout])

    @pytest.mark.server  # in memory, tests/interfaces/test_slices.py
    def test_an_array_of_several_parts(self, cci: Any) -> None:
        array = sample("<i4", (17, 2**18))  # 17 MiB
        cci.upload_raw_array("large", array, compression=False)
        assert_same(cci.download_raw_array("large"), array)
        assert_same(cci.download_raw_array("large", selection=np.s_[8]), array[8])

    def test_npy_arrays(self, cci: Any) -> None:
        cci.upload_npy_array("a.npy", LAYOUTS["F"])
        np.testing.assert_array_equal(cci.download_npy_array("a.npy"), LAYOUTS["F"])

    def test_chunked_arrays(self, cci: Any, store: StoreHarness) -> None:
        for size in (40, 10):  # the second one has fewer chunks
            array = sample("<f8", (4, size))
            cci.upload_dask_array("a/chunked", array, buffersize=160)
            result = cci.download_dask_array("a/chunked")
            assert_same(np.array(result), array)
            assert_same(np.array(result[1:3, 2:7]), array[1:3, 2:7])
        cci.clean("a/chunked", grace=0)
        assert len(store.raw_keys("a/chunked/")) == 3

    def test_sparse_arrays(self, cci: Any) -> None:
        array = sparse.csr_array(np.diag([1.0, 0, 3]))
        cci.upload_sparse_array("a/sparse", array)
        result = cci.download_sparse_array("a/sparse")
        assert type(result) is type(array)
        np.testing.assert_array_equal(result.toarray(), array.toarray())

    def test_dictionaries(self, cci: Any) -> None:
        tree = {"a": sample("<f4"), "b": {"c": np.arange(3), "d": np.zeros((0, 2))}}
        cci.dict2cloud("tree", tree, verbose=False)
        cci.upload_raw_array("tree2", np.arange(2))
        result = cci.cloud2dict("tree", verbose=False)
        assert (set(result), set(result["b"])) == ({"a", "b"}, {"c", "d"})
        assert_same(result["a"], tree["a"])
        assert_same(result["b"]["d"], tree["b"]["d"])
        assert set(cci.cloud2dict("tree", keys=["b/c"], verbose=False)) == {"b"}

    def test_datasets(self, cci: Any) -> None:
        array = sample("<f8", (6, 7))
        cci.upload_raw_array("group/raw", array, compression=False)
        cci.upload_dask_array("group/chunked", array, buffersize=100)
        group = cci.cloud2dataset("group")
        assert group.keys() == ["chunked", "raw"]
        for name in group:
            assert (group[name].shape, group[name].dtype) == ((6, 7), array.dtype)
            np.testing.assert_array_equal(group[name][2:, ::3], array[2:, ::3])

    def test_the_browser(self, cci: Any, store: StoreHarness) -> None:
        cci.upload_object("b/a.grp/x", b"xyz")
        cci.upload_raw_array("b/c", np.arange(12.0).reshape(3, 4), compression=False)
        browser = cci.get_browser()
        assert browser.b.keys() == ["a.grp", "c"]
        assert dir(browser.b) == ["a_DOT_grp", "c"]
        assert browser.b.a_DOT_grp.x.load() == b"xyz"
        assert "shape=(3,4)" in repr(browser.b.c).replace(" ", "")
        assert browser.b.c.preview().data.startswith(b"\x89PNG")
        assert browser.b._glob() == ["b/a.grp/x", "b/c"]
        assert "a.grp" in browser._repr_html_()
        called = browser.b.c()
        if store.name == "gdrive":
            assert called["title"] == "c"
            called.auth.thread_local.http.close()  # pydrive2 leaves its connection open
        else:
            assert (called.name if store.name == "gcs" else called.key) == "b/c"

    def test_listings(self, cci: Any, capsys: pytest.CaptureFixture[str]) -> None:
        keys = ["a/sub01/x", "a/sub02/x", "a/top", "ab", "b/é*[1]"]
        assert cci.glob("*") == cci.ls("*") == cci.lsdir() == []
        for key in keys:
            cci.upload_object(key, b"body")
        assert cci.glob("*") == keys
        assert cci.glob("a/sub0[12]/*") == keys[:2]
        assert cci.glob("a") == keys[:3]
        assert cci.ls("a/*") == cci.lsdir("a") == ["a/sub01", "a/sub02", "a/top"]
        assert cci.ls("b/*[[]1]") == keys[4:]
        capsys.readouterr()
        cci.search("a/*/x")
        assert capsys.readouterr().out.endswith('Found 2 objects matching "a/*/x"\n')

    @pytest.mark.parametrize("verb", ["cp", "mv"])
    def test_copying_and_moving(self, cci: Any, store: StoreHarness, verb: str) -> None:
        for name in ("a/x", "a/y/z", "ab", "c"):
            cci.upload_raw_array(name, np.arange(len(name)), subject=name)
        move = getattr(cci, verb)
        move("c", "d")
        with pytest.raises(ObjectExistsError):
            move("d", "ab")
        move("d", "ab", overwrite=True)
        assert_same(cci.download_raw_array("ab"), np.arange(1))
        assert move("a", "new", recursive=True) == ["new/x", "new/y/z"]
        assert_same(cci.download_raw_array("new/y/z"), np.arange(5))
        with cci.download_stream("new/x") as stream:
            assert stream.metadata["subject"] == "a/x"
        other = store.fresh_bucket()
        move("new", "", dest_bucket=other, recursive=True)
        assert store.raw_keys(bucket=other) == ["new/x", "new/y/z"]
        sources = ["a/x", "a/y/z", "c", "d", "new/x", "new/y/z"]
        assert store.raw_keys() == (["ab"] if verb == "mv" else sorted([*sources, "ab"]))

    def test_removing(
        self, cci: Any, store: StoreHarness, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("a/x", "a/y/z", "ab", "c"):
            cci.upload_object(name, b"")
        cci.rm("c")
        cci.rm("a", recursive=True)
        assert capsys.readouterr().out == "deleting 2 objects...\n"
        cci.rm("a", recursive=True)
        assert capsys.readouterr().out == "nothing found under 'a'\n"
        assert store.raw_keys() == ["ab"]

    def test_inspection(self, cci: Any, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("a/x", "a/y", "b"):
            cci.upload_object(name, bytes(2**20))
        objects = cci.get_objects(filter={"Prefix": "a"}, page_size=1)
        assert [found.key for found in objects] == ["a/x", "a/y"]
        assert all(found.e_tag and found.last_modified.tzinfo for found in objects)
        assert 3 * 2**20 <= cci.get_size() < 3.01 * 2**20
        capsys.readouterr()
        cci.show_objects()
        shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
        assert shown == ["a/x", "a/y", "b"]
        cci.show_buckets()
        assert cci.bucket_name in capsys.readouterr().out

    def test_buckets(self, cci: Any, store: StoreHarness) -> None:
        cci.upload_object("here", b"body")
        other = store.fresh_bucket()
        assert cci.exists_bucket(other)
        assert not cci.exists_object("here", bucket_name=other)
        cci.set_bucket(other)
        cci.upload_object("there", b"body")
        assert (store.raw_keys(bucket=other), store.raw_keys()) == (["there"], ["here"])

    def test_missing_objects(self, cci: Any) -> None:
        for verb in ("object", "stream", "json", "pickle", "raw_array", "npy_array", "dask_array",
                     "sparse_array"):  # fmt: skip
            with pytest.raises(ObjectNotFoundError, match="nothing"):
                getattr(cci, f"download_{verb}")("nothing")
        with pytest.raises(ObjectNotFoundError, match="nothing"):
            cci.cloud2dict("nothing")
        assert not cci.exists_object("nothing")

    def test_pickled_interfaces(self, cci: Any) -> None:
        cci.upload_object("object", b"body")
        again = pickle.loads(pickle.dumps(cci))
        assert type(again) is type(cci)
        assert again.bucket_name == cci.bucket_name
        assert again.download_object("object") == b"body"

    def test_secrets_do_not_show(self, cci: Any, store: StoreHarness) -> None:
        secret = store.connection().get("SECRET_KEY", "no secret here")
        cci.upload_dask_array("array", np.arange(3))
        lazy = cci.download_dask_array("array")
        objects = (cci, cci.backend_interface, vars(cci), lazy, dict(lazy.dask))
        for text in (str(cci), *map(repr, objects)):
            assert secret not in text
            assert "obviously fake" not in text
