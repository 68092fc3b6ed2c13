"""One file, files of many buckets, files on disk, credentials."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cottoncandy.cloudfiles import (
    CloudFile,
    CloudFiles,
    base,
    compression,
    dl,
    monitoring,
    paths,
    reset_connection_pools,
)
from cottoncandy.cloudfiles.monitoring import Flight, IOEnum, IOSampler, TransmissionMonitor
from cottoncandy.cloudfiles.paths import split
from cottoncandy.core.files import UnnamedFile
from cottoncandy.exceptions import (
    AccessDeniedError,
    ConfigurationError,
    InvalidArgumentError,
    ObjectNotFoundError,
)
from tests.cases import each
from tests.cloudfiles.conftest import on_every_store

#: Text that a higher level compresses further.
TEXT = b" ".join(random.Random(1).choices([b"alpha", b"beta", b"gamma", b"delta"], k=3000))


def options_of(cf: CloudFiles) -> dict[str, Any]:
    return {"secrets": cf.secrets}


# -- CloudFile -----------------------------------------------------------------------------------


@on_every_store
def test_one_file(cf: CloudFiles) -> None:
    file = CloudFile(cf.abspath("a/b"), **options_of(cf))
    assert (file.get(), file.size(), file.head(), file.exists(), len(file)) == (
        *(None, None, None, False, 0),
    )
    assert file.put(b"hello world", compress="gzip") == 1
    assert (file.get(), file[:5], file[:], file.exists()) == (
        *(b"hello world", b"hello", b"hello world", True),
    )
    assert file.size() == len(file) == len(file.get(raw=True)) == cf.size("a/b")
    assert file.head()["Content-Encoding"] == "gzip"
    ranges = file.get(ranges=[slice(0, 1), (1, 3), {"start": 6, "end": 8}])
    assert [part["content"] for part in ranges] == [b"h", b"el", b"wo"]
    file[:] = b"new"
    assert file.get() == b"new"
    file.put_json([1])
    assert file.get_json() == [1]
    assert (file.filename, file.basename(), file.protocol, file.sep) == (
        *("b", "b", cf.protocol, "/"),
    )
    assert file.dirname() == cf.abspath("a")
    assert file.join("x", "y") == "x/y"
    if cf.protocol != "gs":  # the emulator has no ACLs
        assert set(cf.get_acl("a/b")) == {"a/b"}
        assert set(file.get_acl()) == {"b"}
    assert bool(CloudFile(cf.abspath("empty"), **options_of(cf)))


def test_one_file_is_moved_copied_and_deleted(cf: CloudFiles) -> None:
    file = CloudFile(cf.abspath("a"), **options_of(cf))
    other = CloudFile(cf.abspath("b"), **options_of(cf))
    file.touch()
    assert file.get() == b""
    file.put(b"1")
    file.transfer_to(other)
    assert other.get() == b"1"
    other.put(b"2")
    file.transfer_from(other, reencode="br")
    assert file.get() == b"2"
    assert file.head()["Content-Encoding"] == "br"
    file.move("c")
    assert list(cf) == ["b", "c"]
    assert other.delete() == 1
    assert list(cf) == ["c"]


def test_cached_header_is_renewed_by_a_put() -> None:
    file, fresh = CloudFile("mem://b/a", cache_meta=True), CloudFile("mem://b/a")
    file.put(b"1")
    assert file.size() == 1
    CloudFiles("mem://b").put("a", b"12")
    assert file.size() == 1
    assert fresh.size() == 2
    file.put(b"123")
    assert file.size() == fresh.size() == 3
    file.transfer_from("mem://b/c") if CloudFile("mem://b/c").put(b"1234") else None
    assert file.size() == 4
    other = CloudFile("mem://b/d", cache_meta=True)
    assert other.head() is None
    CloudFile("mem://b/c").transfer_to(other, reencode="br")
    assert other.head()["Content-Encoding"] == "br"
    with pytest.raises(InvalidArgumentError, match="written whole"):
        other[0:2] = b"1"
    assert next(CloudFiles("mem://b").list(size=True)) == ("a", 4)


@each("path", ["mem://b", "mem://b/a/", "/"])
def test_paths_that_are_no_files(path: str) -> None:
    with pytest.raises(InvalidArgumentError):
        CloudFile(path)


def test_files_in_the_root_directory_are_not_those_of_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"no-file-in-{tmp_path.name}"
    (tmp_path / name).write_bytes(b"here")
    assert split(f"file:///{name}") == ("file:///", name)
    assert CloudFile(f"/{name}").cf.abspath(name) == f"file:///{name}"
    assert dl(f"/{name}") is None
    with pytest.raises(ObjectNotFoundError):
        CloudFiles(tmp_path).transfer_from("/", [name])
    with pytest.raises(ObjectNotFoundError):
        CloudFile(f"/{name}").move(str(tmp_path / "moved"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_dl_of_many_buckets(tmp_path: Path) -> None:
    CloudFiles("mem://one").put("a", b"first")
    CloudFiles(str(tmp_path)).put("b", b"second", compress="gzip")
    here = f"file://{tmp_path}/b"
    found = dl([here, "mem://one/a", "mem://one/missing"])
    assert [file["fullpath"] for file in found] == [here, "mem://one/a", "mem://one/missing"]
    assert [file["content"] for file in found] == [b"second", b"first", None]
    assert dl("mem://one/a") == b"first"
    assert dl("mem://one/missing") is None
    ranges = [{"path": here, "byte_range": (0, 3)}, {"path": here, "start": 3, "end": 9}]
    assert [file["content"] for file in dl(ranges)] == [b"sec", b"ond"]
    assert dl(here, raw=True) == (tmp_path / "b.gz").read_bytes()
    mixed = dl(["mem://one/a", here, {"path": "mem://one/a", "start": 1}])
    assert [file["content"] for file in mixed] == [b"first", b"second", b"irst"]
    with pytest.raises(InvalidArgumentError, match="num_threads"):
        dl(["mem://one/a"], num_threads=0)


def test_dl_names_files_of_one_bucket_by_their_paths_in_it() -> None:
    CloudFiles("mem://one").puts([("x/info", b"1"), ("y/info", b"2")])
    found = dl(cloudpaths=["mem://one/x/info", "mem://one/y/info"])
    assert {file["path"]: file["content"] for file in found} == {"x/info": b"1", "y/info": b"2"}


@each("name", ["x//y", "x/y", "/y", "y", "a//b///c"])
def test_names_with_empty_parts(name: str) -> None:
    cf = CloudFiles("mem://one/dir")
    cf.puts((each, each.encode()) for each in ["x//y", "x/y", "/y", "y", "a//b///c"])
    path = cf.abspath(name)
    assert path == f"mem://one/dir/{name}"
    assert CloudFile(path).get() == dl(path) == name.encode()
    CloudFile(path).delete()
    assert cf.exists(name) is False
    assert len(list(cf)) == 4


# -- files on disk -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def test_suffixes_are_hidden(folder: Path) -> None:
    cf = CloudFiles(str(folder))
    for encoding, suffix in [("gzip", "gz"), ("br", "br"), ("zstd", "zstd"), ("xz", "xz")]:
        cf.put("a", b"1", compress=encoding)
        assert [path.name for path in folder.iterdir()] == [f"a.{suffix}"]
    assert list(cf) == ["a"]
    (folder / "a-b.gz").write_bytes(b"")
    (folder / "a").mkdir()
    (folder / "a" / "c.bz2").write_bytes(b"")
    assert list(cf) == ["a", "a-b", "a/c"]
    assert list(cf.list(flat=True)) == ["a", "a-b", "a/"]
    assert list(cf.list("a-")) == ["a-b"]


def test_newer_of_two_files_counts(folder: Path) -> None:
    cf = CloudFiles(str(folder))
    cf.put("a", b"old", compress="gzip")
    kept = (folder / "a.gz").read_bytes()
    cf.put("a", b"new")
    (folder / "a.gz").write_bytes(kept)  # as a killed writer leaves it, but for the date
    os.utime(folder / "a.gz", (1, 1))
    assert cf["a"] == b"new"
    assert list(cf) == ["a"]
    os.utime(folder / "a.gz", (2e9 * 2, 2e9 * 2))  # the clock was wrong
    assert cf["a"] == b"old"
    cf.put("a", b"newest", compress="br")
    assert [path.name for path in folder.iterdir()] == ["a.br"]
    assert cf["a"] == b"newest"
    (folder / "a.br").chmod(0o640)
    cf.put("a", b"again", compress="br")
    assert (folder / "a.br").stat().st_mode & 0o777 == 0o640
    (folder / "a").write_bytes(b"other")
    assert cf.delete("a") == 1
    assert list(folder.iterdir()) == []


def test_names_that_end_in_a_suffix(folder: Path) -> None:
    cf = CloudFiles(str(folder))
    (folder / "a.tar.gz").write_bytes(gzip.compress(b"1"))
    assert list(cf) == ["a.tar"]
    assert cf["a.tar"] == b"1"
    assert gzip.decompress(cf["a.tar.gz"]) == b"1"


def test_files_that_change_their_encoding_stay_in_a_listing(folder: Path) -> None:
    cf = CloudFiles(str(folder))
    cf.puts([("a", b"1"), ("b", b"2"), ("c", b"3")], compress="gzip")
    names = cf.list(size=True)
    assert next(names) == ("a", cf.size("a"))
    cf.put("b", b"22")
    cf.put("c", b"3", compress="zstd")
    assert list(names) == [("b", 2), ("c", cf.size("c"))]


def test_writers_of_two_encodings_leave_one_whole_file(folder: Path) -> None:
    cf = CloudFiles(str(folder))
    stop = threading.Event()
    seen: list[bytes | None] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(cf["a"])

    cf.put("a", b"0" * 1000)
    reader = threading.Thread(target=read)
    reader.start()
    writers = [
        threading.Thread(
            target=lambda encoding=encoding: [
                cf.put("a", str(number).encode() * 1000, compress=encoding) for number in range(9)
            ]
        )
        for encoding in (None, "gzip", "zstd")
    ]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert all(content is not None and len(set(content)) == 1 for content in seen)
    assert len(list(folder.iterdir())) == 1
    assert cf["a"] == b"8" * 1000


@pytest.mark.parametrize("problem", ["none", "unnamed", "created"])
def test_new_files_are_whole_and_alone(
    folder: Path, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files without a name do not exist everywhere, and another writer may be faster."""
    cf = CloudFiles(str(folder))
    umask = os.umask(0o027)
    os.umask(umask)
    init, link = UnnamedFile.__init__, UnnamedFile.link

    def create(self: UnnamedFile, target: str) -> None:
        if problem == "unnamed":
            raise OSError(errno.EOPNOTSUPP, "not supported", target)
        init(self, target)

    def late(self: UnnamedFile) -> None:
        if problem == "created":
            Path(self.target).write_bytes(b"other")
        link(self)

    monkeypatch.setattr(UnnamedFile, "__init__", create)
    monkeypatch.setattr(UnnamedFile, "link", late)
    for name in ("a", "d/b", "d/c"):
        cf.put(name, name.encode())
    assert {name: cf[name] for name in cf} == {"a": b"a", "d/b": b"d/b", "d/c": b"d/c"}
    assert sorted(path.name for path in folder.rglob("*")) == ["a", "b", "c", "d"]
    assert (folder / "d" / "c").stat().st_mode & 0o777 == 0o666 & ~umask


def test_missing_directories_are_made_by_the_first_file(tmp_path: Path) -> None:
    cf = CloudFiles(tmp_path / "x" / "y")  # type: ignore[arg-type]  # a path works too
    assert list(cf) == []
    assert cf.get(["a"])[0]["content"] is None
    assert not cf.exists("a")
    assert cf.delete("a") == 1
    assert not (tmp_path / "x").exists()
    cf.put("a/b", b"1")
    assert (tmp_path / "x" / "y" / "a" / "b").read_bytes() == b"1"


def test_denied_files_are_not_missing(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    cf = CloudFiles(str(tmp_path))
    cf.put("a", b"1")
    (tmp_path / "a").chmod(0)
    with pytest.raises(AccessDeniedError):
        cf.get("a")


def test_locks_are_shared_by_readers_and_held_by_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_FILES_DIR", str(tmp_path / "cf"))
    cf = CloudFiles(tmp_path / "files", locking=True)
    assert cf.lock_dir == str(tmp_path / "cf" / "locks")
    assert CloudFile(cf.abspath("a"), locking=True).lock_dir == cf.lock_dir
    cf.put("a", b"1")
    held: list[bool] = []
    with cf._locked("a", shared=True):
        assert cf["a"] == b"1"
        monkeypatch.setattr(base, "lock", lambda descriptor, *, shared: held.append(shared))
        cf.put("a", b"2")
        cf.transfer_to(cf, [("a", "b")])
        assert cf.get(["a", "b"], return_dict=True) == {"a": b"2", "b": b"2"}
    assert held == [False, False, True, True]


def test_locks_exclude_other_holders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "locks"
    cf = CloudFiles(str(tmp_path / "files"), lock_dir=str(folder))
    assert cf.locking
    assert cf.lock_dir == str(folder)
    cf.put("a", b"1", compress="gzip")
    done = threading.Event()

    def write() -> None:
        CloudFiles(f"file://{tmp_path}/files/", lock_dir=str(folder)).put("a", b"2")
        done.set()

    with cf._locked("a"):
        writer = threading.Thread(target=write)
        writer.start()
        assert not done.wait(0.05)
    writer.join()
    assert cf["a"] == b"2"
    assert len(list(folder.iterdir())) == 1
    cf.clear_locks()
    assert list(folder.iterdir()) == []
    assert not CloudFiles(str(tmp_path), lock_dir=str(folder), locking=False).locking
    assert not CloudFiles(str(tmp_path)).locking
    monkeypatch.setenv("CLOUD_FILES_LOCK_DIR", str(folder))
    assert CloudFiles(str(tmp_path)).locking
    assert not CloudFiles("mem://b").locking


def test_a_lock_folder_that_may_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(base, "open_lockable", denied)
    with pytest.raises(AccessDeniedError, match="locks' cannot be written"):
        CloudFiles(tmp_path / "files", lock_dir=str(tmp_path / "locks")).put("a", b"1")


# -- connections ---------------------------------------------------------------------------------


def test_connections_differ_in_everything_that_shapes_them() -> None:
    keys = [{"AWS_ACCESS_KEY_ID": n, "AWS_SECRET_ACCESS_KEY": n} for n in ("1", "2")]

    def backend(path: str = "s3://bucket", **options: Any) -> Any:
        return CloudFiles(path, **options)._store.backend

    first = backend(secrets=keys[0])
    assert backend("s3://other", secrets=keys[0])._connection is first._connection
    assert backend("s3://other", secrets=keys[0]).bucket_name == "other"
    for changed in (
        {"secrets": keys[1]},
        {"secrets": keys[0], "endpoint": "http://localhost:1"},
        {"no_sign_request": True},
        {"secrets": keys[0], "path": "s3://http://localhost:1/bucket"},
    ):
        assert backend(**changed)._connection is not first._connection
    anonymous = backend(no_sign_request=True)._connection.options
    assert anonymous.unsigned
    assert backend(endpoint="http://localhost:1")._connection.options.endpoint_url.endswith(":1")
    # The address in a path counts: two ends of a copy have the same option.
    named = backend("s3://http://localhost:2/bucket", endpoint="http://localhost:1")
    assert named._connection.options.endpoint_url.endswith(":2")


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_CONFIG_FILE", "https_proxy", "STORAGE_EMULATOR_HOST"]
)
def test_a_changed_environment_makes_another_connection(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "gs://bucket" if name.startswith("STORAGE") else "s3://bucket"
    stores = []
    for value in ("http://localhost:1", "http://localhost:2", "http://localhost:2"):
        monkeypatch.setenv(name, value)
        stores.append(CloudFiles(path)._store.backend)
    assert stores[0]._connection is not stores[1]._connection
    assert stores[1]._connection is stores[2]._connection


def test_the_options_precede_the_environment_as_in_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for half in ("ACCESS", "SECRET"):
        monkeypatch.setenv(f"COTTONCANDY_LOGIN_{half}_KEY", "options")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment")
    assert connected("s3://bucket").keys[0] == "options"


VECTORS = Path(__file__).parent.parent / "vectors"


def connected(path: str, **options: Any) -> Any:
    """The options of the connection of a path."""
    return CloudFiles(path, **options)._store.backend._connection.options


def test_options_of_s3_reach_the_connection(
    isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = isolated_environment / ".cloudvolume" / "secrets"
    folder.mkdir(parents=True)
    for name in ("aws", "own-aws", "lab"):
        secrets = {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": "s"}
        secrets |= {"AWS_SESSION_TOKEN": f"token of {name}", "AWS_DEFAULT_REGION": f"{name}-1"}
        (folder / f"{name}-secret.json").write_text(json.dumps(secrets))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment")
    paths.add_alias("lab", "s3://https://h.org/")
    try:
        for path, name in (("s3://b", "aws"), ("s3://own/x", "own-aws"), ("lab://b", "lab")):
            found = connected(path)
            assert found.keys[::2] == (name, f"token of {name}")
            assert found.region_name == f"{name}-1"
        assert found.endpoint_url == "https://h.org"
    finally:
        paths.remove_alias("lab")
    given = {"AWS_ACCESS_KEY_ID": "given", "AWS_SECRET_ACCESS_KEY": "s"}
    assert connected("s3://own", secrets=given).keys[0] == "given"
    assert connected("s3://own", secrets=given, request_payer="requester").requester_pays
    anonymous = connected("s3://own", secrets=given, no_sign_request=True)
    assert (anonymous.unsigned, anonymous.keys) == (True, None)
    cf = CloudFiles("s3://own", composite_upload_threshold=int(2e8), retries=3)
    assert cf._store.settings.mpu_use_threshold_bytes == 200_000_000
    assert cf._store.settings.retries == 3
    pooled = connected("s3://own")
    assert connected("s3://own") is pooled
    reset_connection_pools()
    assert connected("s3://own") is not pooled


def test_options_of_google_reach_the_connection(isolated_environment: Path) -> None:
    folder = isolated_environment / ".cloudvolume" / "secrets"
    folder.mkdir(parents=True)
    for name in ("google", "own-google"):
        (folder / f"{name}-secret.json").write_text("{}")
        bucket = name.removesuffix("google").removesuffix("-") or "b"
        assert connected(f"gs://{bucket}").credentials == str(folder / f"{name}-secret.json")
    anonymous = connected("gs://own", no_sign_request=True)
    assert (anonymous.anonymous, anonymous.credentials) == (True, None)
    paid = connected("gs://own", request_payer="a-project")
    assert (paid.requester_pays, paid.project) == (True, "a-project")
    with pytest.raises(ValueError, match="client_email"):  # of Google's library
        CloudFiles("gs://own", secrets={"project_id": "p"})
    account = {"project_id": "p", "token_uri": "https://host/token"}
    account["private_key"] = (VECTORS / "fake_rsa.pem").read_text()
    for name in ("first", "second"):
        given = connected("gs://own", secrets={**account, "client_email": name})
        assert (given.credentials.service_account_email, given.project) == (name, "p")


def test_secrets_are_a_dictionary_json_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.json"
    text = '{"AWS_ACCESS_KEY_ID": "1", "AWS_SECRET_ACCESS_KEY": "2"}'
    path.write_text(text)
    for secrets in (text, str(path)):
        options = CloudFiles("s3://bucket", secrets=secrets)._store.backend._connection.options
        assert options.keys[0] == "1"
    with pytest.raises(ConfigurationError, match="secrets"):
        CloudFiles("s3://bucket", secrets="{hush")


@pytest.mark.parametrize("make", ["moto"], indirect=True)
def test_files_on_s3_belong_to_the_owner_of_the_bucket(make: Callable[..., CloudFiles]) -> None:
    cf = make()
    sent: list[str | None] = []
    put = cf._store.backend.put
    cf._store.backend.put = lambda key, body, options, **rest: (  # type: ignore[method-assign]
        sent.append(options.acl),
        put(key, body, options, **rest),
    )[1]
    cf.put("a", b"1")
    other = CloudFiles("mem://acl/x")
    other.put("b", b"2")
    cf.transfer_from(other)
    assert sent == ["bucket-owner-full-control"] * 2
    grants = cf.get_acl("a")["a"]["Grants"]
    assert all("URI" not in grant["Grantee"] for grant in grants)


# -- monitoring ----------------------------------------------------------------------------------


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    """The time of a clock that stands still."""
    monkeypatch.setattr(monitoring, "time", SimpleNamespace(time=lambda: 1e9))
    return 1e9


def test_monitor_counts_bytes_and_rates(now: float) -> None:
    record = TransmissionMonitor(IOEnum.RX)
    assert (record.total_bytes(), record.total_bps(), record.peak_bps()) == (0, 0, 0)
    for start in (now - 2.0, now - 1.0):
        record.end_io(record.start_io(1000, start), 1000)
    record.end_error(record.start_io(5))
    assert record.total_bytes() == record.histogram(0.5).sum() == 2000
    assert 0 < record.total_bps() <= 8000.1
    assert record.total_Mbps() == pytest.approx(record.total_MBps() * 8)
    assert record.total_Gbps() == pytest.approx(record.total_GBps() * 8)
    assert record.current_Mbps(2.0) > 0
    assert record.peak_bps() >= 4000
    assert record.start_unix_time() < record.end_unix_time()
    assert TransmissionMonitor.merge([record, record]).total_bytes() == 4000
    assert len(record.errors) == 1
    instant = TransmissionMonitor(IOEnum.RX)
    instant.end_io(instant.start_io(5), 5)
    assert instant.histogram().tolist() == [5]


def test_histogram_of_a_long_record(now: float) -> None:
    """The time must not be that of all intervals for each transfer."""
    record = TransmissionMonitor(IOEnum.RX)
    for number in range(4000):
        start = now - 40_000 + 10 * number
        record._record(Flight(start, start + 0.3, 100))
    begun = time.perf_counter()
    found = record.histogram(0.1)
    assert time.perf_counter() - begun < 5
    assert int(found.sum()) == pytest.approx(400_000, rel=0.1)


def test_monitor_does_not_grow_with_the_number_of_transfers(
    now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "_MAX_KEPT", 8)
    record = TransmissionMonitor(IOEnum.TX)
    begun = now - 1
    for number in range(100):
        record.end_io(record.start_io(0, begun), number)
    assert len(record._flights) <= 8
    assert record.total_bytes() == sum(range(100))
    assert record.start_unix_time() == begun
    assert int(record.histogram(0.1).sum()) == pytest.approx(4950, abs=20)


def test_sampler_of_the_machine() -> None:
    with IOSampler(buffer_sec=1, interval=0.01) as sampler:
        assert sampler.is_sampling()
        while sampler.num_samples() < 3:
            time.sleep(0.01)
    assert not sampler.is_sampling()
    assert 0 < sampler.start_time() < sampler.end_time()
    received, sent, times = sampler.samples()
    assert len(received) == len(sent) == len(times) >= 3
    assert len(sampler.current_bps()) == len(sampler.peak_bps()) == 2
    assert sampler.histogram_rx(0.01).sum() >= 0


def test_compression_has_the_signatures_of_cloud_files() -> None:
    assert compression.gunzip(compression.gzip_compress(b"x", compresslevel=1)) == b"x"
    assert compression.gunzip(compression.gzip_compress(b"x", 6)) == b"x"
    assert compression.brotli_decompress(compression.brotli_compress(b"x", quality=5)) == b"x"
    assert compression.zstd_decompress(compression.zstd_compress(b"x", level=3)) == b"x"


def test_transcode_accepts_pairs() -> None:
    (found,) = compression.transcode([("a", b"hello")], "gzip")
    assert (found["path"], found["raw"], found["compress"]) == ("a", True, "gzip")
    assert compression.gunzip(found["content"]) == b"hello"


def test_transcode_accepts_one_file_and_leaves_missing_ones() -> None:
    file = {"path": "a", "content": b"hello", "raw": False, "compress": None}
    (found,) = compression.transcode(file, "br")
    assert (found["raw"], found["compress"]) == (True, "br")
    assert [each["content"] for each in compression.transcode([found], None)] == [b"hello"]
    assert found is not file
    assert next(compression.transcode([file], "gzip", in_place=True)) is file
    raw = {**file, "content": b"is not read", "raw": True, "compress": "zstd"}
    assert next(compression.transcode([raw], "zstd"))["content"] == b"is not read"
    low, high = (
        next(compression.transcode([{**file, "content": TEXT, "raw": False}], "gzip", level))
        for level in (1, 9)
    )
    assert len(high["content"]) < len(low["content"])
    missing = {**file, "content": None}
    assert list(compression.transcode([missing], "gzip")) == [missing]
