"""The browser, as objects."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.browser import (
    S3HDF5,
    BrowserObject,
    S3Dataset,
    S3Directory,
    S3FSLike,
    S3Group,
    browse,
)
from cottoncandy.exceptions import (
    EncryptionError,
    InvalidArgumentError,
    MetadataError,
    ObjectNotFoundError,
    StoreUnreachableError,
)
from tests.cases import each
from tests.harness import MemoryHarness, StoreHarness

GROUP = "sub01_awesome_analysis_DOT_grp"


def test_reprs_of_the_readme(cci: Any) -> None:
    bucket = cci.bucket_name
    browser = cci.get_browser()
    assert repr(browser) == f"cottoncandy-path <bucket:{bucket}>"
    assert repr(browser.sweet_project) == f"cottoncandy-path <bucket:{bucket}> sweet_project"
    group = browser.sweet_project.sub01_awesome_analysis_DOT_grp
    assert repr(group) == (
        f"<cottoncandy-group <bucket:{bucket}> (sub01_awesome_analysis.grp: 3 keys)>"
    )
    assert repr(group.result_model01) == (
        f"<cottoncandy-dataset <bucket:{bucket} [1.00MB:shape=(131072,)]>"
    )
    assert repr(browser.sweet_project.mean).endswith("B:shape=(3,4)]>")
    assert repr(browser.notes_DOT_txt) == f"cottoncandy-file <bucket:{bucket} [5.00B]>"


def test_attributes(cci: Any) -> None:
    browser = cci.get_browser()
    assert dir(browser) == ["notes_DOT_txt", "sweet_project"]
    project = browser.sweet_project
    assert dir(project) == ["about_DOT_json", "mean", GROUP, GROUP.replace("1", "2")]
    assert dir(getattr(project, GROUP)) == [
        "keys", "load", "result_model01", "result_model02", "result_model03",
    ]  # fmt: skip
    assert getattr(project, "about.json") is project.about_DOT_json
    with pytest.raises(AttributeError, match="refresh"):
        _ = project.nothing
    assert not hasattr(project, "nothing")
    assert isinstance(project, S3Directory)
    assert isinstance(project, BrowserObject)
    assert isinstance(getattr(project, GROUP), S3Group)
    assert S3HDF5 is S3Group
    assert isinstance(project.mean, S3Dataset)
    assert isinstance(project.mean, S3FSLike)


def test_the_old_methods(cci: Any) -> None:
    project = cci.get_browser().sweet_project
    assert project._fullpath == "sweet_project"
    assert project._ls() == sorted(dir(project))
    assert project._glob() == cci.glob("sweet_project/*")
    group = getattr(project, GROUP)
    assert group._fullpath == "sweet_project/sub01_awesome_analysis.grp"
    assert group.keys() == ["result_model01", "result_model02", "result_model03"]
    assert group.result_model02._fullpath == group._fullpath + "/result_model02"
    np.testing.assert_array_equal(group.load("result_model02"), np.arange(131072.0))
    np.testing.assert_array_equal(group.result_model02.load(), np.arange(131072.0))
    with pytest.raises(InvalidArgumentError, match="none"):
        group.load("none")


def test_loading_a_group_needs_a_key(cci: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert getattr(cci.get_browser().sweet_project, GROUP).load() is None
    assert capsys.readouterr().out == (
        "Specify key to download:\nresult_model01,result_model02,result_model03\n"
    )


def test_calling_gives_the_object(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_raw_array("sweet_project/mean", np.arange(3), author="me")
    browser = cci.get_browser()
    found = browser.sweet_project.mean()
    assert isinstance(found, ObjectInfo)
    assert (found.key, found.metadata["author"]) == ("sweet_project/mean", "me")
    for directory in (browser, browser.sweet_project, S3Directory("none", cci)):
        with pytest.raises(ObjectNotFoundError):
            directory()


@pytest.mark.parametrize("store", ["moto", "ceph"], indirect=True)
def test_calling_gives_the_object_of_boto3(store: StoreHarness) -> None:
    store.raw_put("a/b", b"x")
    found = store.interface().get_browser().a.b()
    assert (found.bucket_name, found.key) == (store.bucket, "a/b")


def test_a_mapping(cci: Any) -> None:
    project = cci.get_browser()["sweet_project"]
    names = ["about.json", "mean", "sub01_awesome_analysis.grp", "sub02_awesome_analysis.grp"]
    assert project.keys() == list(project) == names
    assert len(project) == 4
    assert "mean" in project
    assert "sub01_awesome_analysis.grp/result_model01" in project
    assert "none" not in project
    assert 3 not in project
    assert [value._fullpath for value in project.values()] == [f"sweet_project/{n}" for n in names]
    assert project.items()[1] == ("mean", project.mean)
    assert project.get("none") is None
    assert project.get("mean") is project.mean
    assert dict(project)["mean"] is project["mean"]
    assert project["sub01_awesome_analysis.grp/result_model01"].shape == (131072,)
    assert cci.get_browser()["sweet_project/"]._fullpath == "sweet_project"
    for missing in ("none", "mean/none", "none/mean", ""):
        with pytest.raises(KeyError):
            project[missing]
    with pytest.raises(TypeError):
        project[0]
    assert project._ipython_key_completions_() == names


def test_names_that_clash(memory: MemoryHarness) -> None:
    names = [
        "keys", "load", "class", "_ls", "interface", "p-q_r", "p_q-r", "a-b", "a_b", "two words",
        "__init__", "_repr_html_", "1", "a.b.c", "refresh", "é",
    ]  # fmt: skip
    for name in names:
        memory.raw_put(f"d/{name}", name.encode())
    directory = memory.interface().get_browser().d
    for name in names:
        assert directory[name].load() == name.encode()
    assert directory.keys_.load() == b"keys"
    assert directory.class_.load() == b"class"
    assert directory.load_.load() == b"load"
    assert directory._ls_.load() == b"_ls"
    assert directory.interface_.load() == b"interface"
    assert directory.NUM_1.load() == b"1"
    assert directory.a_DOT_b_DOT_c.load() == b"a.b.c"
    assert directory.a_b.load() == b"a_b"
    with pytest.raises(AttributeError, match=r"\['p-q_r'\] or \['p_q-r'\]"):
        _ = directory.p_q_r
    assert callable(directory.keys)
    assert directory.keys() == sorted(names)
    assert set(directory._ls()) >= {"two words", "p-q_r", "keys_"}


def test_an_object_and_a_directory_of_one_name(memory: MemoryHarness) -> None:
    memory.raw_put("a", b"object")
    memory.raw_put("a/b", b"below")
    browser = memory.interface().get_browser()
    assert browser.keys() == ["a"]
    assert browser.a.b.load() == b"below"
    assert browser.a.load() == b"object"
    assert browser.a().key == "a"
    assert browser.a._glob() == ["a", "a/b"]


def test_odd_names(memory: MemoryHarness) -> None:
    for key in ("/lead/x", "a//b", "a/b", "m/", "run[1]*/x"):
        memory.raw_put(key, key.encode())
    browser = memory.interface().get_browser()
    assert browser.keys() == ["", "a", "m", "run[1]*"]
    assert browser[""]["lead"]["x"]._fullpath == "/lead/x"
    assert browser["/lead/x"]._fullpath == "/lead/x"
    assert browser.a[""]["b"]._fullpath == "a//b"
    assert browser["a//b"]().key == "a//b"
    assert browser["a/b"].load() == b"a/b"
    assert browser.m.keys() == []
    assert browser["run[1]*"]._glob() == ["run[1]*/x"]
    assert browser["a//b"].load() == b"a//b"
    assert S3Directory("a//", browser.interface).keys() == ["b"]


# -- requests ------------------------------------------------------------------------------------


def test_one_listing_for_each_directory(cci: Any) -> None:
    counting = cci.backend_interface
    with counting.expect():
        browser = cci.get_browser()
        repr(browser)
        bool(browser)
    with counting.expect(scan=1):
        for _ in range(3):
            dir(browser)
            browser._ipython_key_completions_()
            _ = browser.sweet_project
    with counting.expect(scan=2):
        for _ in range(3):
            repr(getattr(browser.sweet_project, GROUP))
            dir(getattr(browser.sweet_project, GROUP))
    assert [call[1] for call in counting.calls] == [
        "sweet_project/",
        "sweet_project/sub01_awesome_analysis.grp/",
    ]
    dataset = getattr(browser.sweet_project, GROUP).result_model01
    with counting.expect(head=1):
        for _ in range(3):
            repr(dataset)
            _ = dataset.shape, dataset.dtype, dataset.nbytes, dataset.attrs


@each(
    "name",
    [
        "_ipython_canary_method_should_not_exist_", "_ipython_display_", "_repr_mimebundle_",
        "_repr_png_", "__array__", "__array_interface__", "__dask_graph__", "__wrapped__",
        "__deepcopy__", "_jupyter_widget_",
    ],
)  # fmt: skip
def test_probes_cost_nothing(cci: Any, name: str) -> None:
    browser = cci.get_browser()
    with cci.backend_interface.expect(), pytest.raises(AttributeError):
        getattr(browser, name)


def test_refresh(cci: Any) -> None:
    browser = cci.get_browser()
    assert "new" not in dir(browser.sweet_project)
    cci.upload_raw_array("sweet_project/new", np.arange(3))
    cci.upload_raw_array("sweet_project/mean", np.arange(5))
    assert browser.sweet_project.mean.shape == (5,)
    assert not hasattr(browser.sweet_project, "new")
    browser.refresh()
    assert browser.sweet_project.new.shape == (3,)
    cci.upload_raw_array("sweet_project/new", np.arange(4))
    browser.sweet_project.new.refresh()
    assert browser.sweet_project.new.shape == (4,)


def test_a_large_directory(memory: MemoryHarness) -> None:
    from cottoncandy.backends import memory as module

    held = module._BUCKETS[memory.bucket]
    memory.raw_put("many/x-0", b"")
    stored = held.objects[b"many/x-0"]
    for number in range(10_000):
        held.objects[f"many/x-{number}".encode()] = stored
    held.objects = {key: module._Object(ObjectInfo(key.decode(), 0), b"") for key in held.objects}
    held.order[:] = sorted(held.objects)
    directory = memory.interface().get_browser().many
    assert len(dir(directory)) == len(directory) == 10_000
    assert directory.x_9999._fullpath == "many/x-9999"
    html = directory._repr_html_()
    assert html.count('class="cc-row"') == 100
    assert "9,900 more" in html


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make reprs list two names, in the order of S3; a listing fails after the last number."""
    scan, limit = MemoryBackend.scan, [100]

    def in_order(self: MemoryBackend, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for number, entry in enumerate(sorted(scan(self, *args, **kwargs), key=lambda it: it.key)):
            if number >= limit[-1]:
                raise StoreUnreachableError("the connection was lost")
            yield entry

    monkeypatch.setattr(MemoryBackend, "scan", in_order)
    monkeypatch.setattr("cottoncandy.browser.directories._GLANCE", 2)
    return limit


@pytest.mark.usefixtures("short_pages")
def test_a_directory_that_the_first_page_shows_as_an_object(memory: MemoryHarness) -> None:
    for key in ("d/x", "d/x-1", "d/x-2", "d/x-3", "d/x/below"):
        memory.raw_put(key, b"1")
    directory = memory.interface().get_browser().d
    repr(directory)
    first = directory._level["x-1"]
    memory.raw_put("d/x", b"replaced")
    assert directory.keys() == ["x", "x-1", "x-2", "x-3"]
    assert directory["x-1"] is first
    assert directory["x/below"].load() == b"1"
    assert directory.x.load() == b"replaced"


def test_a_first_page_that_fails_is_not_the_whole_directory(
    memory: MemoryHarness, short_pages: list[int]
) -> None:
    for number in range(5):
        memory.raw_put(f"d/{number}", b"1")
    directory = memory.interface().get_browser().d
    assert len(directory) == 5
    directory.refresh()
    short_pages.append(2)
    with pytest.raises(StoreUnreachableError):
        repr(directory)
    short_pages.pop()
    assert directory.keys() == ["0", "1", "2", "3", "4"]


def test_copy(cci: Any) -> None:
    browser = cci.get_browser()
    assert copy.copy(browser.sweet_project).mean.shape == (3, 4)


def test_pickle(tmp_path: Any) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    cci = cottoncandy.get_interface(str(bucket), backend="local", verbose=False)
    cci.upload_raw_array("a/b", np.arange(3))
    browser = pickle.loads(pickle.dumps(cci.get_browser()))
    np.testing.assert_array_equal(browser.a.b.load(), np.arange(3))


def test_extensions_of_the_options(memory: MemoryHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.grp", "a.ccg", "a.ccd", "a.h5", "a.mine", "plain"):
        memory.raw_put(f"{name}/x", b"")
    browser = memory.interface().get_browser()
    kinds = {name: type(browser[name]) for name in browser}
    assert {name for name, kind in kinds.items() if kind is S3Group} == {
        "a.grp", "a.ccg", "a.ccd", "a.h5",
    }  # fmt: skip
    cci = memory.interface()
    from dataclasses import replace

    cci.settings = replace(cci.settings, ccgroup=("mine",), ccdataset=())
    browser = cci.get_browser()
    assert type(browser["a.mine"]) is S3Group
    assert type(browser["a.ccg"]) is S3Directory


# -- datasets ------------------------------------------------------------------------------------


def test_datasets(cci: Any) -> None:
    array = np.arange(60, dtype=">i4").reshape(3, 4, 5)
    cci.upload_raw_array("plain", array, compression=False)
    cci.upload_raw_array("packed", array, compression="gzip")
    browser = cci.get_browser()
    for name, codec in (("plain", None), ("packed", "gzip")):
        dataset = browser[name]
        assert (dataset.shape, dataset.dtype, dataset.ndim) == ((3, 4, 5), array.dtype, 3)
        assert (dataset.size, dataset.nbytes, len(dataset)) == (60, 240, 3)
        assert dataset.compression == codec
        assert dataset.info.metadata["shape"] == "3,4,5"
        assert dataset.info.key == name
        for selection in (1, slice(1, 3), (slice(None), 2), (..., slice(1, 4)), ..., ()):
            result = dataset[selection]
            np.testing.assert_array_equal(result, array[selection])
            assert result.dtype == array.dtype
        np.testing.assert_array_equal(np.asarray(dataset), array)
        assert np.asarray(dataset, dtype="f4").dtype == np.dtype("f4")
        assert len(list(dataset)) == 3
        with pytest.raises(ValueError, match="copy"):
            np.array(dataset, copy=False)


def test_slices_fetch_what_they_need(cci: Any) -> None:
    dataset = cci.get_browser()[f"sweet_project/{'sub01_awesome_analysis.grp'}/result_model01"]
    counting = cci.backend_interface
    counting.reset()
    np.testing.assert_array_equal(dataset[1000:1010], np.arange(1000.0, 1010.0))
    assert counting.bytes_received == 80


def test_structured_and_0d(cci: Any) -> None:
    table = np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")])
    cci.upload_raw_array("table", table)
    cci.upload_raw_array("scalar", np.array(3.5))
    browser = cci.get_browser()
    np.testing.assert_array_equal(browser.table["b"], table["b"])
    assert browser.scalar[()] == 3.5
    assert browser.scalar.shape == ()
    with pytest.raises(TypeError, match="0-d"):
        len(browser.scalar)


def test_files(cci: Any) -> None:
    cci.upload_npy_array("a.npy", np.arange(3))
    browser = cci.get_browser()
    assert browser.sweet_project.about_DOT_json.load() == {"subjects": 2}
    assert browser.notes_DOT_txt.load() == b"notes"
    np.testing.assert_array_equal(browser.a_DOT_npy.load(), np.arange(3))
    assert not hasattr(browser.notes_DOT_txt, "shape")
    with pytest.raises(MetadataError, match=r"notes\.txt"):
        _ = browser.notes_DOT_txt.dtype


def test_arrays_in_parts(cci: Any) -> None:
    array = np.arange(24.0).reshape(4, 6)
    cci.upload_dask_array("chunked", array)
    np.testing.assert_array_equal(np.asarray(cci.get_browser().chunked.load()), array)
    sparse = pytest.importorskip("scipy.sparse")
    cci.upload_sparse_array("sparse", sparse.csr_matrix(array))
    np.testing.assert_array_equal(cci.get_browser().sparse.load().toarray(), array)


def test_cloud2dataset(cci: Any) -> None:
    counting = cci.backend_interface
    cci.dict2cloud("model", {"w": np.arange(6.0), "fit": {"r2": np.arange(2.0)}}, verbose=False)
    group = cci.cloud2dataset("/model/")
    assert isinstance(group, S3Group)
    assert repr(group) == f"<cottoncandy-group <bucket:{cci.bucket_name}> (model: 2 keys)>"
    assert group.keys() == ["fit", "w"]
    np.testing.assert_array_equal(group["fit/r2"][:], np.arange(2.0))
    np.testing.assert_array_equal(group.load("w"), np.arange(6.0))
    assert isinstance(group.fit, S3Group)
    single = cci.cloud2dataset("model/w")
    assert isinstance(single, S3Dataset)
    assert single.shape == (6,)
    assert type(browse("model", cci)) is S3Group
    seen: list[tuple[str, type]] = []
    group.refresh()
    with counting.expect(scan=1):
        assert group.visititems(lambda name, node: seen.append((name, type(node)))) is None
        _ = group.fit.r2
    assert seen == [("fit", S3Group), ("fit/r2", S3Dataset), ("w", S3Dataset)]
    names: list[str] = []
    group.visit(names.append)
    assert names == ["fit", "fit/r2", "w"]
    assert group.visititems(lambda name, node: name if "r2" in name else None) == "fit/r2"


def test_encrypted_arrays(memory: MemoryHarness) -> None:
    array = np.arange(200_000, dtype="<i4")
    options = {"backend": "memory", "verbose": False, "encryption": "AES"}
    cci = cottoncandy.get_encrypted_interface(memory.bucket, encryptionKey=bytes(32), **options)
    cci.upload_raw_array("a/secret", array, compression=False)
    dataset = cci.get_browser().a.secret
    assert (dataset.shape, dataset.dtype, dataset.nbytes) == ((200_000,), array.dtype, 800_000)
    assert "shape=(200000,)" in repr(dataset)
    np.testing.assert_array_equal(dataset[5:9], array[5:9])
    np.testing.assert_array_equal(dataset.load(), array)
    assert dataset.preview().caption.endswith("0 to 2e+05")
    # Without the key what is not secret can be seen.
    plain = memory.interface().get_browser()
    assert "shape=(200000,)" in repr(plain.a.secret)
    assert "(200000,)" in plain._repr_html_()
    with pytest.raises(EncryptionError):
        plain.a.secret.load()


# -- faults that readers found -------------------------------------------------------------------


def test_normalized_attributes_lead_to_their_names(memory: MemoryHarness) -> None:
    keys = ["d/\ufb01le", "d/file", "d/\u00b5V", "d/cafe\u0301"]
    for key in keys:
        memory.raw_put(key, key.encode())
    directory = memory.interface().get_browser().d
    for attribute in dir(directory):
        found = eval(f"directory.{attribute}", {"directory": directory})
        assert found.load() == found._fullpath.encode()
    assert eval("directory.caf\u00e9", {"directory": directory})._fullpath == keys[3]
    with pytest.raises(AttributeError, match=r"\['file'\] or \['ﬁle'\]"):
        _ = directory.file
    for key in keys:
        assert directory[key.removeprefix("d/")]._fullpath == key


@pytest.mark.parametrize("chunked", [False, True])
def test_indices_are_those_of_numpy(memory: MemoryHarness, chunked: bool) -> None:
    cci = memory.interface()
    array = np.arange(12.0).reshape(3, 4)
    upload = cci.upload_dask_array if chunked else cci.upload_raw_array
    upload("a", array)
    dataset = cci.cloud2dataset("a")
    for index in (np.int64(1), None, (None, 1), (), ..., np.uint8(2), (slice(None), np.int8(-1))):
        expected = array[index]
        assert dataset[index].shape == expected.shape
        np.testing.assert_array_equal(dataset[index], expected)
    np.testing.assert_array_equal(cci.get_browser().a[np.int64(1)], array[1])


def test_assignment_raises(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_raw_array("p/old", np.ones(3))
    browser = cci.get_browser()
    for name in ("new", "old", "keys"):
        with pytest.raises(InvalidArgumentError, match=rf"upload_raw_array\('p/{name}', array\)"):
            setattr(browser.p, name, np.ones(3))
    with pytest.raises(InvalidArgumentError, match="nothing is uploaded"):
        browser.p.old.note = 1
    assert memory.raw_keys() == ["p/old"]


def test_control_characters_are_escaped(
    memory: MemoryHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    cci = memory.interface()
    cci.upload_object("d\x1b[31m/a\nb\u202e", b"x")
    cci.upload_object("d\x1b[31m/c", b"x")
    cci.show_objects()
    cci.search("d*")
    cci.ls("d\x1b[31m/*", verbose=True)
    cci.rm("d\x1b[31m")
    print(cci.get_browser()["d\x1b[31m"], cci.cloud2dataset("d\x1b[31m"))
    print(cci.download_stream("d\x1b[31m/c"), cci.open("d\x1b[31m/\u202e", "wb"))
    shown = capsys.readouterr().out
    assert not {"\x1b", "\u202e"} & set(shown)
    assert shown.count("\\x1b[31m/a\\x0ab\\u202e") == 3


def test_names_of_many_levels(memory: MemoryHarness) -> None:
    key = "/".join(["x"] * 1100)
    memory.raw_put(key, b"deep")
    cci = memory.interface()
    browser = cci.get_browser()
    assert browser[key].load() == b"deep"
    visited: list[str] = []
    browser.visit(visited.append)
    assert len(visited) == 1100
    assert browser._repr_html_()
    assert cci.ls("**/x")[-1] == key
    assert cci.cp("x", "y", recursive=True) == ["y" + key[1:]]
    assert cci.rm("y", recursive=True) == 1
    found = cci.cloud2dict("x", verbose=False)
    for _ in range(1098):
        found = found["x"]
    assert found == {"x": None}


def test_opened_nodes_stay_in_their_bucket(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_raw_array("g/x", np.zeros(3))
    opened = [S3Directory("", cci), cci.get_browser(), S3Group("", cci)]
    dataset = S3Dataset("g/x", cci)
    other = memory.fresh_bucket()
    memory.interface(other).upload_raw_array("g/x", np.ones(3))
    cci.set_bucket(other)
    for browser in opened:
        assert browser["g/x"].load().tolist() == [0, 0, 0]
    assert dataset.load().tolist() == [0, 0, 0]
    assert cci.get_browser()["g/x"].load().tolist() == [1, 1, 1]


def test_getattr_takes_several_levels(cci: Any) -> None:
    browser = cci.get_browser()
    path = "sweet_project/sub01_awesome_analysis.grp/result_model01"
    assert getattr(browser, path) is browser[path]
    assert not hasattr(browser, path + "/more")


def test_arrays_have_no_keys(cci: Any) -> None:
    cci.upload_dask_array("chunked", np.ones(4))
    assert cci.cloud2dataset("sweet_project/mean").keys() == []
    assert cci.cloud2dataset("chunked").keys() == []
