"""CloudFiles between stores, its options, and what it rejects."""

from __future__ import annotations

import io
import pickle
import re
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.cloudfiles import CloudFile, CloudFiles, ResumableTransfer, base
from cottoncandy.cloudfiles.compression import compress
from cottoncandy.cloudfiles.exceptions import (
    DecompressionError,
    MD5IntegrityError,
    UnsupportedProtocolError,
)
from cottoncandy.cloudfiles.monitoring import TransmissionMonitor
from cottoncandy.cloudfiles.processes import in_processes
from cottoncandy.exceptions import (
    BucketNotFoundError,
    CottonCandyError,
    InvalidArgumentError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreError,
)
from tests.cases import each
from tests.cloudfiles.conftest import on_every_store
from tests.interrupts import interrupted_when


def test_move(make: Callable[..., CloudFiles]) -> None:
    cf, other = make(), make()
    cf.puts([("a", b"1"), ("b", b"2"), ("c", b"3")], compress="gzip")
    cf.move("a", "d/e")
    cf.moves(cf, [("b", "f")])
    cf.moves(other, ["c"])
    cf.moves(cf, [("f", "f")])
    assert {name: cf[name] for name in cf} == {"d/e": b"1", "f": b"2"}
    assert {name: other[name] for name in other} == {"c": b"3"}
    assert other.head("c")["Content-Encoding"] == "gzip"
    with pytest.raises(ObjectNotFoundError, match="missing"):
        cf.move("missing", "g")
    cf.move("f", cf.join(cf.cloudpath, "g"))
    assert cf["g"] == b"2"


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", "b"), ("b", "a")],
        [("a", "b"), ("b", "d")],
        [("a", "d"), ("b", "d")],
        [("a", "d"), ("a", "e")],
        [("a", "a"), ("b", "a")],
    ],
    ids=["swap", "chain", "one target", "one source", "onto itself"],
)
def test_moves_that_meet_are_rejected(cf: CloudFiles, pairs: list[tuple[str, str]]) -> None:
    cf.puts([("a", b"1"), ("b", b"2")])
    with pytest.raises(InvalidArgumentError, match="occurs twice; nothing was moved"):
        cf.moves(cf, iter([("c", "f"), *pairs]))
    assert {name: cf[name] for name in cf} == {"a": b"1", "b": b"2"}


def test_files_that_could_not_be_moved_are_named_by_their_paths(cf: CloudFiles) -> None:
    with pytest.raises(ObjectNotFoundError) as caught:
        cf.moves(cf, [("a", "x"), ("b", "y")])
    (note,) = caught.value.__notes__
    assert re.match("1 more failed: '[ab]' ", note)


def test_moves_that_fail_leave_their_file_and_the_rest_is_moved(
    cf: CloudFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    cf.puts([(name, name.encode()) for name in "abc"])
    delete = CloudFiles.delete

    def fail(self: CloudFiles, paths: str) -> int:
        if paths == "b":
            raise StoreError("busy")
        return delete(self, paths)

    monkeypatch.setattr(CloudFiles, "delete", fail)
    with pytest.raises(StoreError, match="busy"):
        cf.moves(cf, [(name, f"to/{name}") for name in "abc"])
    assert {name: cf[name] for name in cf} == {
        "b": b"b",
        **{f"to/{name}": name.encode() for name in "abc"},
    }


@pytest.mark.parametrize("make", ["moto"], indirect=True)
def test_copies_within_a_store_are_made_there_whatever_the_options(
    make: Callable[..., CloudFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    cf = make(retries=1, composite_upload_threshold=10**7, request_payer="requester")
    cf.put("a", b"1")
    monkeypatch.setattr(S3Backend, "get", None)  # for an upload of what was downloaded
    cf.transfer_to(f"{cf.cloudpath}/copy", ["a"])
    cf.transfer_to(make(secrets=cf.secrets, request_payer="requester"), ["a"])


@pytest.mark.parametrize("make", ["moto"], indirect=True)
def test_paths_on_the_same_server_have_its_credentials(make: Callable[..., CloudFiles]) -> None:
    found = make()
    server, bucket = found._path.host, found._path.bucket
    cf = CloudFiles(f"s3://{bucket}/own", endpoint=server, secrets=found.secrets)
    cf.puts([(name, b"1") for name in "abc"])
    cf.move("a", f"s3://{bucket}/own/x")
    cf.transfer_to(f"s3://{bucket}/own/y", ["b"])
    cf.transfer_from(f"s3://{bucket}/own/y", [("b", "z")])
    file = CloudFile(f"s3://{bucket}/own/c", endpoint=server, secrets=found.secrets)
    file.transfer_to(f"s3://{bucket}/own/w")
    file.transfer_from(f"s3://{bucket}/own/x")
    assert list(cf) == ["b", "c", "w", "x", "y/b", "z"]
    cf.delete(cf.list())


def test_paths_as_text(cf: CloudFiles) -> None:
    assert cf.join("a", "b") == "a/b"
    assert (cf.dirname("a/b"), cf.basename("a/b"), cf.sep) == ("a", "b", "/")
    assert cf.abspath("a/b") == cf.cloudpath + "/a/b"
    assert CloudFiles("zarr2://gs://b/c").abspath("a") == "gs://b/c/a"
    assert CloudFiles("gs://b/c//").abspath("a") == "gs://b/c/a"  # which get("a") reads
    assert CloudFiles("file:///").abspath("a") == "file:///a"
    assert cf.cloudpath in repr(cf)


# -- between stores ------------------------------------------------------------------------------


@on_every_store
def test_transfer_keeps_what_belongs_to_a_file(make: Callable[..., CloudFiles]) -> None:
    cf, same = make(), make()
    mem = CloudFiles("mem://elsewhere/x")
    cf.puts([("a", b"1" * 1000), ("b/c", b"2")], compress="gzip", content_type="text/x")
    cf.put("d", b"3", cache_control="no-store")
    record = cf.transfer_to(same)
    assert isinstance(record, TransmissionMonitor)
    mem.transfer_from(cf, block_size=2)
    for dest in (same, mem):
        assert list(dest) == ["a", "b/c", "d"]
        assert [dest[name] for name in dest] == [b"1" * 1000, b"2", b"3"]
        assert dest.get("a", raw=True) == cf.get("a", raw=True)
        assert dest.head("a")["Content-Encoding"] == "gzip"
        if cf.protocol != "file":
            assert dest.head("a")["Content-Type"] == "text/x"
            assert dest.head("d")["Cache-Control"] == "no-store"


def test_transfer_forms_and_reencoding(make: Callable[..., CloudFiles]) -> None:
    cf, dest = make(), make()
    cf.puts([("a", b"1" * 1000), ("b", b"2"), ("c", b"3")], compress="gzip")
    cf.transfer_to(dest, "a", reencode="br")
    cf.transfer_to(dest, [{"path": "b", "dest_path": "x/y"}], reencode="none")
    cf.transfer_to(dest, iter(["c"]), reencode="gzip")
    assert [dest.head(name)["Content-Encoding"] for name in ("a", "x/y", "c")] == [
        *("br", None, "gzip")
    ]
    assert (dest["a"], dest["x/y"], dest["c"]) == (b"1" * 1000, b"2", b"3")
    dest[:] = cf
    assert list(dest) == ["a", "b", "c", "x/y"]
    dest.delete(dest.list())
    dest[1:3] = cf
    assert list(dest) == ["b", "c"]
    dest[:] = [("d", b"4")]
    assert dest["d"] == b"4"
    assert dest[("c", "d")][1]["content"] == b"4"
    for wrong in (("d", 0), ("d", slice(0, 4, 2))):
        with pytest.raises(InvalidArgumentError, match="range of bytes"):
            dest[wrong]


def test_resumable_transfers_skip_copies_that_are_not_older(
    make: Callable[..., CloudFiles],
) -> None:
    cf, dest = make(), make()
    cf.puts([("a", b"1"), ("b", b"2"), ("c", b"3")])
    cf.transfer_to(dest, resumable=True)
    before = {path: dest.head(path) for path in dest}
    dest.put("a", b"10")
    cf.transfer_to(dest, resumable=True)
    assert dest["a"] == b"1"
    assert [dest.head(path) for path in "bc"] == [before[path] for path in "bc"]
    deadline = time.monotonic() + 30
    while cf.head("b")["Last-Modified"] <= dest.head("b")["Last-Modified"]:
        assert time.monotonic() < deadline
        cf.put("b", b"4")
    cf.transfer_to(dest, resumable=True)
    assert dest["b"] == b"4"
    assert dest.head("c") == before["c"]


def test_resumable_transfers_copy_what_has_no_date(
    make: Callable[..., CloudFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    cf, dest = make(), make()
    cf.put("a", b"1")
    cf.transfer_to(dest)
    cf.put("a", b"2")
    head = cf._head
    monkeypatch.setattr(cf, "_head", lambda path: head(path)._replace(modified=None, etag=None))
    cf.transfer_to(dest, resumable=True)
    assert dest["a"] == b"2"


def test_bars_show_their_total_and_follow_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[tuple[Any, bool, int]] = []

    class Bar(base.Progress):
        def __init__(self, total: Any, *, show: bool, **options: Any) -> None:
            super().__init__(total, show=False, **options)
            self.bar, self.count = (total, show), 0

        def update(self, count: int) -> None:
            self.count += count

        def __exit__(self, *exc_info: object) -> None:
            bars.append((*self.bar, self.count))
            super().__exit__(*exc_info)

    monkeypatch.setattr(base, "Progress", Bar)
    cf, quiet = CloudFiles("mem://bars/x", progress=True), CloudFiles("mem://bars/x")
    cf.puts([("a", b"1"), ("b", b"2")])
    quiet.get(iter("ab"), total=2, progress=True)
    quiet.get_json(iter("ab"), total=7)
    cf.exists(["a", "b"], progress=False)
    cf.delete(["a", "b", "c"])
    quiet.touch("d")
    assert bars == [
        (2, True, 2),
        (2, True, 2),
        (7, False, 2),
        (2, False, 2),
        (3, True, 3),
        (1, False, 1),
    ]


@pytest.mark.parametrize("make", ["moto"], indirect=True)
def test_parts_have_a_checksum_if_their_size_is_known(make: Callable[..., CloudFiles]) -> None:
    cf = make(composite_upload_threshold=6_000_000)
    size = cf._store.settings.mpu_chunksize_bytes
    body = bytes(size) + b"end"
    cf.put("a", body)
    assert cf.head("a")["ETag"].endswith('-2"')
    assert cf.get("a", part_size=size) == body
    with pytest.raises(MD5IntegrityError, match="parts"):
        cf.get("a", part_size=size - 1)


def test_transfer_of_missing_files(make: Callable[..., CloudFiles]) -> None:
    cf, dest = make(), make()
    cf.puts([("a", b"1"), ("b", b"2")])
    with pytest.raises(ObjectNotFoundError, match="missing"):
        cf.transfer_to(dest, ["a", "missing", "b"])
    assert list(dest) == ["a", "b"]
    cf.transfer_to(dest, ["a", "missing"], allow_missing=True, resumable=True)


# -- options -------------------------------------------------------------------------------------


def test_instances_pickle(cf: CloudFiles) -> None:
    cf.put("a", b"1")
    assert pickle.loads(pickle.dumps(cf))["a"] == b"1"


@pytest.mark.server  # of processes
def test_processes(cf: CloudFiles) -> None:
    files = [(f"{number}", str(number).encode()) for number in range(5)]
    assert cf.puts(files, parallel=2) == 5
    found = cf.get([name for name, _ in files], parallel=2)
    assert [file["content"] for file in found] == [content for _, content in files]
    unpicklable = [("view", memoryview(b"1")), ("file", io.BytesIO(b"2")), ("parts", iter([b"3"]))]
    assert cf.puts(unpicklable, parallel=2) == 3
    count, record = cf.puts(files, parallel=2, return_recording=True)
    assert (count, record.total_bytes()) == (5, 5)
    assert (
        cf.get([name for name, _ in files], parallel=2, return_recording=True)[1].total_bytes() == 5
    )
    assert [cf["view"], cf["file"], cf["parts"]] == [b"1", b"2", b"3"]


def slowly(begun: Path, block: list[int]) -> Iterator[int]:
    begun.touch()
    for item in block:
        time.sleep(1)
        yield item


@pytest.mark.server  # of processes
def test_an_interrupt_of_the_parent_alone_ends_its_processes(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with interrupted_when(begun.exists), pytest.raises(KeyboardInterrupt):
        list(in_processes(partial(slowly, begun), range(50), 2))  # all of them take 50 seconds


def test_bad_arguments() -> None:
    with pytest.raises(InvalidArgumentError, match="parallel"):
        CloudFiles("mem://b", parallel=0)
    with pytest.raises(InvalidArgumentError, match="parallel"):
        CloudFiles("mem://b").get(["a", "b"], parallel=0)
    with pytest.raises(InvalidArgumentError, match="parallel"):
        CloudFiles("mem://b").delete(["a", "b"], parallel=0)
    with pytest.raises(InvalidArgumentError, match="num_threads"):
        CloudFiles("mem://b", num_threads=0)
    with pytest.raises(UnsupportedProtocolError, match="nope"):
        CloudFiles("nope://b/c")
    with pytest.raises(UnsupportedProtocolError, match="bucket"):
        CloudFiles("s3://")
    with pytest.raises(InvalidArgumentError, match="path"):
        CloudFiles("mem://b").put("", b"1")
    with pytest.raises(TypeError):
        CloudFiles("mem://b", True)  # type: ignore[misc]


def test_green_threads_are_ignored_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="green"):
        CloudFiles("mem://b", green=True)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        CloudFiles("mem://b", green=True)
        CloudFiles("mem://c", green=True)
    assert len(shown) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CloudFiles("mem://b", green=False)


def test_the_package_exports_the_names() -> None:
    assert cottoncandy.CloudFiles is CloudFiles
    assert {"CloudFile", "CloudFiles", "dl"} <= set(dir(cottoncandy))


def test_compress_of_unknown_types() -> None:
    with pytest.raises(ValueError, match="'zip'"):
        compress(b"", "zip")


# -- bad input -----------------------------------------------------------------------------------


def test_a_destination_inside_its_source_is_refused(tmp_path: Any) -> None:
    for cf in (CloudFiles("mem://inside/a"), CloudFiles(str(tmp_path / "a"))):
        cf.puts([("x", b"1"), ("b/y", b"2")])
        inside = CloudFiles(cf.join(cf.cloudpath, "b/c"))
        for transfer in (cf.transfer_to, ResumableTransfer(tmp_path / "q.db").init):
            arguments = (
                (inside,) if transfer == cf.transfer_to else (cf.cloudpath, inside.cloudpath)
            )
            with pytest.raises(InvalidArgumentError, match="inside the source"):
                transfer(*arguments)
        assert list(cf) == ["b/y", "x"]
        cf.transfer_to(inside, ["x"])
        cf.transfer_to(cf, reencode="gzip")
        assert cf.get(["x"])[0]["compress"] == "gzip"
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    with pytest.raises(InvalidArgumentError, match="inside the source"):
        CloudFiles(str(tmp_path / "a")).transfer_to(str(tmp_path / "link"))


def test_a_missing_directory_is_no_source(tmp_path: Any) -> None:
    with pytest.raises(BucketNotFoundError, match="mistyped"):
        CloudFiles(str(tmp_path / "mistyped")).transfer_to(str(tmp_path / "to"))
    with pytest.raises(BucketNotFoundError, match="mistyped"):
        ResumableTransfer(tmp_path / "q.db").init(str(tmp_path / "mistyped"), "mem://to/x")


def test_a_mislabelled_file_is_not_reencoded_and_the_rest_is(cf: CloudFiles) -> None:
    cf.put("bad", b"not gzip", compress="gzip", raw=True)
    cf.put("good", b"1")
    dest = CloudFiles("mem://reencoded/x")
    with pytest.raises(DecompressionError, match="bad'"):
        cf.transfer_to(dest, reencode="br")
    assert list(dest) == ["good"]
    with pytest.raises(InvalidArgumentError, match="bogus"):
        cf.transfer_to(dest, reencode="bogus")


def test_names_that_clash_on_disk_are_named_and_the_rest_is_there(tmp_path: Any) -> None:
    source = CloudFiles("mem://clash/x", num_threads=1)
    source.puts([("n", b"1"), ("n/x", b"2"), ("../up", b"3"), ("a//b", b"4"), ("ok", b"5")])
    with pytest.raises(CottonCandyError) as caught:
        source.transfer_to(str(tmp_path / "to"))
    told = str(caught.value) + "".join(caught.value.__notes__)
    assert all(f"'{name}'" in told for name in ("n/x", "../up", "a//b"))
    assert list(CloudFiles(str(tmp_path / "to"))) == ["n", "ok"]
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


@each("value", [0, -1, "2", None, 1.5])
def test_numbers_below_one_are_refused(value: Any) -> None:
    for options in ({"num_threads": value}, {"parallel": value}):
        with pytest.raises(InvalidArgumentError, match=next(iter(options))):
            CloudFiles("mem://numbers/x", **options)
    with pytest.raises(InvalidArgumentError, match="block_size"):
        CloudFiles("mem://numbers/x").transfer_to("mem://numbers/y", block_size=value)


def test_a_name_that_only_looks_like_a_suffix_is_another_file(tmp_path: Path) -> None:
    cf = CloudFiles(str(tmp_path / "names"))
    cf.put("-a", b"content")
    cf.move("-a", ".gz")
    assert list(cf) == [".gz"]


@each("make", [list, iter])
def test_what_is_no_path_does_not_stop_other_copies(make: Any) -> None:
    source, dest = CloudFiles("mem://no-path/from"), CloudFiles("mem://no-path/to")
    source.puts([("a", b"1"), ("b", b"2")])
    with pytest.raises(InvalidArgumentError, match="a file to copy is a path") as caught:
        source.transfer_to(dest, make(["a", 5, ("b", "c")]))
    assert caught.value.done == 2  # type: ignore[attr-defined]
    assert sorted(dest) == ["a", "c"]
    dest.delete(["a", "c"])


def test_copies_on_disk_never_remove_their_source(tmp_path: Any) -> None:
    """Names that are one name in two content encodings."""
    for name, other in (("h", "h.gz"), ("h.gz", "h")):
        folder = tmp_path / f"from_{name}"
        folder.mkdir()
        (folder / name).write_bytes(b"content")
        cf = CloudFiles(str(folder))
        for copy in (
            lambda cf=cf, pair=(name, other): cf.move(*pair),
            lambda cf=cf, pair=(name, other): cf.transfer_to(str(cf.abspath("")), [pair]),
            lambda cf=cf, pair=(name, other): cf.transfer_to(cf, [pair], reencode="gzip"),
        ):
            with pytest.raises(InvalidArgumentError, match="in a content encoding"):
                copy()
            assert [path.read_bytes() for path in folder.iterdir()] == [b"content"]
        cf.transfer_to(str(folder / "below"), [(name, other)])
        assert (folder / name).read_bytes() == b"content"


def test_copies_on_disk_are_never_the_file_of_another_copy(tmp_path: Path) -> None:
    """An object whose name ends as an encoding, and another one in that encoding."""
    cf = CloudFiles("mem://one-file/x")
    cf.puts({"d/x.gz": b"1", "y.gz": b"2"}.items())
    cf.put("d/x", b"3", compress="gzip")
    with ResumableTransfer(tmp_path / "db") as job:
        job.init(cf.cloudpath, str(tmp_path / "queue"), ["d/x.gz", "y.gz", "d/x"])
        for copy in (
            lambda: cf.transfer_to(tmp_path / "copy"),
            lambda: job.execute(block_size=1),
            lambda: cf.moves(tmp_path / "moved", ["d/x", "d/x.gz"]),
        ):
            with pytest.raises(CottonCandyError, match=r"the copy of 'd/x' is 'x\.gz'"):
                copy()
    for name in ("copy", "queue"):
        assert CloudFiles(tmp_path / name)["d/x"] == b"3"
        assert (tmp_path / name / "y.gz").read_bytes() == b"2"
    assert list(cf) == ["d/x.gz", "y.gz"]
    assert CloudFiles(tmp_path / "moved")["d/x"] == b"3"
    cf.put("d/x", b"3", compress="gzip")
    cf.transfer_to(tmp_path / "plain", reencode=False)
    assert (tmp_path / "plain/d/x.gz").read_bytes() == b"1"
    cf.transfer_to(tmp_path / "copy", [("d/x.gz", "d/z.gz")])
    assert (tmp_path / "copy/d/z.gz").read_bytes() == b"1"


def test_no_copy_on_disk_asks_for_a_twin_that_no_list_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most names with the suffix of an encoding are those of files that end so: ``.nii.gz``."""
    cf = CloudFiles("mem://no-twins/x")
    names = ["a", "a-b.gz", "a.gz", "a.gz.xz", "b/c.nii.gz", "b/d.nii.gz"]
    cf.puts((name, b"1") for name in names)
    asked: list[str] = []
    head = CloudFiles._head

    def noted(self: CloudFiles, path: str) -> Any:
        asked.append(path)
        return head(self, path)

    monkeypatch.setattr(CloudFiles, "_head", noted)
    with ResumableTransfer(tmp_path / "db") as job:
        job.init(cf.cloudpath, str(tmp_path / "queue"))
        for copy, twins in (
            (lambda: cf.transfer_to(tmp_path / "all"), ["a", "a.gz"]),
            (lambda: cf.transfer_to(tmp_path / "list", names[::-1]), ["a", "a.gz"]),
            (lambda: cf.transfer_to(tmp_path / "one", "a.gz"), []),
            (lambda: cf.transfer_to(tmp_path / "other", [("a", "b"), "a.gz"]), []),
            (
                lambda: cf.transfer_to(tmp_path / "any", iter(names[::-1])),
                ["a", "a-b", "a.gz", "b/c.nii"],
            ),
            (lambda: cf.transfer_to("mem://no-twins/y"), []),
            (job.execute, ["a", "a.gz"]),
            (lambda: cf.moves(tmp_path / "moved", names), ["a", "a.gz"]),
        ):
            asked.clear()
            copy()
            assert sorted(asked) == twins


def test_copies_on_disk_remove_no_other_copy(tmp_path: Path) -> None:
    """Of two objects, one has the name of the other and the suffix of an encoding."""
    cf = CloudFiles("mem://twins/x")
    twins = {"a": b"1", "a.gz": b"2", "d/b": b"3", "d/b.zstd": b"4"}
    cf.puts(twins.items())

    def copies(name: str) -> dict[str, bytes]:
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        return {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files}

    for name in sorted(twins, reverse=True):  # the suffix first
        cf.transfer_to(tmp_path / "copy", name)
    assert copies("copy") == twins
    cf.transfer_to(tmp_path / "copy", resumable=True)
    assert copies("copy") == twins
    with ResumableTransfer(tmp_path / "db") as job:
        job.init(cf.cloudpath, str(tmp_path / "queue"), sorted(twins, reverse=True))
        job.execute(block_size=1)
    assert copies("queue") == twins
    cf.moves(tmp_path / "moved", ["a.gz", "d/b.zstd"])  # as if the rest had been interrupted
    cf.moves(tmp_path / "moved", ["a", "d/b"])
    assert copies("moved") == twins
    (tmp_path / "moved/e.gz").write_bytes(b"the user's")
    cf.put("e", b"5")
    cf.transfer_to(tmp_path / "moved", "e")
    assert copies("moved") == twins | {"e": b"5", "e.gz": b"the user's"}
    on_disk = CloudFiles(tmp_path / "on_disk")
    on_disk.puts({"e": b"6", "a": b"7"}.items())
    on_disk.transfer_to(tmp_path / "moved", "e")
    on_disk.moves(tmp_path / "moved", ["a"])
    assert copies("moved") == twins | {"a": b"7", "e": b"6", "e.gz": b"the user's"}
    there = CloudFiles(tmp_path / "there")
    there.put("a", b"5", compress="gzip")
    there.transfer_to(there, reencode="br")
    assert list(copies("there")) == ["a.br"]
    there.put("a", b"6")
    assert copies("there") == {"a": b"6"}


def test_a_loop_of_links_is_listed_once(tmp_path: Any) -> None:
    cf = CloudFiles(str(tmp_path / "a"))
    cf.puts([("x", b"1"), ("b/y", b"2")])
    (tmp_path / "a" / "b" / "loop").symlink_to(tmp_path / "a")
    assert list(cf) == ["b/y", "x"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files() -> None:
    def held() -> int:
        return tracemalloc.get_traced_memory()[0]

    cf = CloudFiles("mem://memory/x", num_threads=2)
    cf.puts((str(number), b"1") for number in range(10))
    tracemalloc.start()
    try:
        for count in (1_000, 10_000):
            before = held()
            assert sum(1 for _ in cf.iter_get(str(n % 10) for n in range(count))) == count
            assert cf.puts((str(n % 10), b"2") for n in range(count)) == count
            assert cf.delete(f"missing-{n}" for n in range(count)) == count
        assert held() - before < 100_000  # 10 bytes per file
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", ["moto"], indirect=True)
def test_a_move_to_another_address_of_the_store_deletes_nothing(
    make: Callable[..., CloudFiles],
) -> None:
    here = make()
    here["a"] = b"a"
    there = CloudFiles(here.cloudpath.replace("127.0.0.1", "localhost"), secrets=here.secrets)
    with pytest.raises(ObjectChangedError, match="two addresses"):
        here.moves(there, ["a"])
    assert here["a"] == b"a"
    here.moves(there, [("a", "b")])
    assert sorted(here) == ["b"]


@each("path", ["https://u:hush@host/a", "https://host/a?signature=hush"])
def test_passwords_and_signatures_are_masked(path: str) -> None:
    cf = CloudFiles(path)
    file = CloudFile(path.replace("/a", "/a/b"))
    for shown in (cf, file, cf._store.backend, cf._store.describe()):
        assert "hush" not in repr(shown)


@each("path", ["s3://u:hush@b/c", "gs://u:hush@b", "mem://u:hush@b", "s3://http://u:hush@h/b"])
def test_passwords_in_other_paths_are_rejected(path: str) -> None:
    with pytest.raises(InvalidArgumentError, match="password") as caught:
        CloudFiles(path)
    assert "hush" not in str(caught.value)


def test_reprs_escape_control_characters() -> None:
    path = "mem://bucket/d\x1b[31m/a"
    assert repr(CloudFiles(path)).startswith("<CloudFiles mem://bucket/d\\x1b[31m/a")
    assert repr(CloudFile(path)) == "<CloudFile mem://bucket/d\\x1b[31m/a>"


def test_paths_may_be_path_objects(tmp_path: Path) -> None:
    cf = CloudFiles(tmp_path / "files")
    path, other = Path("b/a"), Path("c")
    assert cf.put(path, b"1") == 1
    assert cf.puts([(other, b"2"), {"path": Path("d"), "content": b"3"}]) == 2
    assert cf.get(path) == cf[path] == cf.get({"path": path}) == b"1"
    assert cf[path, 0:1] == b"1"
    assert cf.get([path, other], return_dict=True) == {"b/a": b"1", "c": b"2"}
    assert cf.exists(path)
    assert cf.exists([path, other]) == {"b/a": True, "c": True}
    assert cf.size([other]) == {"c": 1}
    cf.put_json(Path("info"), {"x": 1})
    assert cf.get_json(Path("info")) == {"x": 1}
    cf.touch(Path("empty"))
    assert list(cf.list(Path("b"))) == ["b/a"]
    assert cf.isdir(Path("b"))
    assert cf.subtree_size(Path("b")) == {"N": 1, "num_bytes": 1}
    cf.move(Path("d"), Path("e"))
    cf.transfer_to(tmp_path / "there", [path])
    cf.moves(tmp_path / "there", [(other, Path("moved"))])
    assert list(CloudFiles(tmp_path / "there")) == ["b/a", "moved"]
    assert cf.delete(path) == cf.delete([Path("e")]) == 1
    assert list(cf) == ["empty", "info"]


@pytest.mark.parametrize("wrong", [None, 5, b"a", [b"a"], [None]])
def test_wrong_paths_are_typed_errors(wrong: Any) -> None:
    cf = CloudFiles("mem://bucket/wrong")
    for call in (cf.get, cf.exists, cf.delete, cf.touch, cf.head, cf.get_json):
        with pytest.raises(InvalidArgumentError, match="path"):
            call(wrong)


def test_reencode_keeps_arrays_and_encrypted_objects_readable(tmp_path: Path) -> None:
    url = "memory://reencode"
    cci = cottoncandy.get_interface(url, verbose=False)
    array = np.arange(1000.0).reshape(10, 100)
    cci.upload_raw_array("x/raw", array, compression=False)
    cci.upload_dask_array("x/chunked", array, axis=0)
    cci.upload_object("x/text", b"plain")
    options = {"encryption": "AES", "encryptionKey": bytes(32), "verbose": False}
    secret = cottoncandy.get_encrypted_interface(url, **options)
    secret.upload_object("x/secret", b"secret")
    cf = CloudFiles("mem://reencode/x")
    cf.transfer_to(cf, reencode="gzip")
    CloudFiles("mem://reencode/y").transfer_from(cf, reencode="zstd", content_type="text/x")
    assert cf.head("text")["Content-Encoding"] == "gzip"
    for folder in ("x", "y"):
        assert np.array_equal(cci.download_raw_array(f"{folder}/raw"), array)
        assert np.array_equal(cci.download_dask_array(f"{folder}/chunked").compute(), array)
        assert secret.download_object(f"{folder}/secret") == b"secret"
    assert CloudFiles("mem://reencode/y").get("text") == b"plain"


def test_a_move_to_the_same_directory_in_another_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link stands for the name in another case, which nothing resolves."""
    monkeypatch.setattr(
        LocalBackend, "resolve_links", lambda self, prefix: f"{self.bucket}/{prefix}".rstrip("/")
    )
    here = CloudFiles(tmp_path / "data")
    here.put("a", b"precious")
    (tmp_path / "DATA").symlink_to(tmp_path / "data")
    here.moves(CloudFiles(tmp_path / "DATA"), ["a"])
    assert here["a"] == b"precious"
