"""``cache=``: what was read once is read from the disk, and never a wrong byte."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy as cc
from cottoncandy.backends.base import Backend
from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.core.files import is_temporary
from cottoncandy.exceptions import ConfigurationError, CottonCandyError, InvalidArgumentError
from cottoncandy.stores import cached as cached_module
from cottoncandy.stores.cached import CachedBackend
from tests.backends.conformance import BackendConformance
from tests.backends.wrappers import CountingBackend
from tests.processes import start

MiB = 2**20


@pytest.mark.server  # nearly the local backend: only with the default tests
class TestCached(BackendConformance):
    """Every test reads through a cache, and some objects twice."""

    store_name = "local"
    examples = 10
    histories = 3

    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path) -> None:
        self.cache = tmp_path / "cache"

    def wrap(self, backend: Backend) -> Backend:
        return CachedBackend(backend, self.cache, 100 * MiB)


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def cached(cci: Any, cache: Path, max_bytes: int = 10**9) -> CountingBackend:
    """Put a cache beneath an interface; return what counts the requests beneath it."""
    counting = CountingBackend(_bare(cci.backend_interface))
    beneath = CachedBackend(counting, cache, max_bytes)
    if hasattr(cci.backend_interface, "inner"):
        cci.backend_interface.inner = beneath
    else:
        cci.backend_interface = beneath
    return counting


def _bare(backend: Any) -> Any:
    return getattr(backend, "inner", backend)


@pytest.fixture
def cci(store: Any, factory: Any) -> Any:
    return factory(store.bucket, backend="memory", verbose=False)


@pytest.mark.parametrize("encryption", ["plain", "AES"], indirect=True)
def test_second_epoch_sends_no_body_bytes(cci: Any, tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((1000, 400))
    cci.upload_raw_array("raw", array, compression=False)
    cci.upload_raw_array("packed", array)
    cci.upload_dask_array("dask", array, axis=0, buffersize=MiB)
    cci.upload_object("empty", b"")
    counting = cached(cci, tmp_path / "cache")

    def epoch() -> None:
        for name in ("raw", "packed"):
            np.testing.assert_array_equal(cci.download_raw_array(name), array)
            np.testing.assert_array_equal(cci.array(name)[500:510], array[500:510])
        np.testing.assert_array_equal(cci.download_dask_array("dask")[7].compute(), array[7])
        with cci.open("raw") as stream:
            assert len(stream.read()) == cci.filesystem().info("raw")["size"]
        assert (
            cci.filesystem().cat_file("raw", 1_500_000, 1_500_008)
            == array.tobytes()[1_500_000:1_500_008]
        )
        assert cci.download_object("empty") == b""

    asked = {}
    get = counting.get

    def recorded(key: str, **options: Any) -> Any:
        asked[key] = options["prefetch"], options["tail"]
        return get(key, **options)

    epoch()
    counting.reset()
    counting.get = recorded  # type: ignore[method-assign]
    epoch()
    assert counting.bytes_received == 0
    del asked["empty"]
    assert set(asked.values()) == {(False, 0)}
    array = array[::-1].copy()
    for name in ("raw", "packed"):
        cci.upload_raw_array(name, array, compression=False if name == "raw" else "gzip")
    cci.upload_dask_array("dask", array, axis=0, buffersize=MiB)
    epoch()
    if hasattr(cci, "encryption"):
        assert not any(array.tobytes()[:64] in path.read_bytes() for path in files(tmp_path))


def test_damaged_and_cut_windows_are_downloaded(cci: Any, tmp_path: Path) -> None:
    body = np.random.default_rng(0).bytes(5 * MiB // 2)
    cci.upload_object("a", body)
    cached(cci, tmp_path / "cache")
    for damage in (
        *(lambda window: b"", lambda window: bytes(4), lambda window: window[:-10]),
        lambda window: bytes([window[0] ^ 1]) + window[1:],
    ):
        assert cci.download_object("a") == body
        for path in files(tmp_path / "cache"):
            assert path.stat().st_mode & 0o77 == 0
            path.write_bytes(damage(path.read_bytes()))
    assert cci.download_object("a") == body


def test_a_pipe_in_the_place_of_a_window_is_not_awaited(cci: Any, tmp_path: Path) -> None:
    cci.upload_object("a", b"body" * 99)
    cached(cci, tmp_path / "cache")
    assert cci.download_object("a") == b"body" * 99
    for path in files(tmp_path / "cache"):
        path.unlink()
        os.mkfifo(path)
    assert cci.download_object("a") == b"body" * 99


def test_exchanged_windows_are_downloaded(cci: Any, tmp_path: Path) -> None:
    """Each is whole, and a slice has no checksum to find it by."""
    array = np.arange(2 * MiB // 8)
    cci.upload_raw_array("a", array, compression=False)
    cached(cci, tmp_path / "c")
    cci.download_raw_array("a")
    one, other, *_ = files(tmp_path / "c")
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    assert cci.array("a")[5] == 5


def test_disks_that_cannot_be_written_only_cost_downloads(cci: Any, tmp_path: Path) -> None:
    cci.upload_object("a", b"body")
    (tmp_path / "file").write_bytes(b"")
    for directory in (tmp_path / "file" / "cache", tmp_path / ("long" * 100)):
        cached(cci, directory)
        assert cci.download_object("a") == cci.download_object("a") == b"body"


def test_full_disks_only_cost_downloads_and_warn_once(
    cci: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    body = np.random.default_rng(0).bytes(5 * MiB // 2)
    cci.upload_object("a", body)
    cached(cci, tmp_path / "cache")

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("cottoncandy.stores.cached.TemporaryFile.write", full)
        assert cci.download_object("a") == cci.download_object("a") == body
    (warning,) = [each.message for each in caplog.records if "not cached" in each.message]
    assert os.strerror(errno.ENOSPC) in warning
    assert files(tmp_path / "cache") == []
    assert cci.download_object("a") == body  # there is room again
    assert files(tmp_path / "cache")


def test_a_directory_that_another_process_removes_is_made_again(
    cci: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that evicts windows removes directories that have become empty."""
    cci.upload_object("a", b"body")
    cached(cci, tmp_path / "cache")
    removed: list[Path] = []
    create = cached_module.TemporaryFile

    def remove_first(path: str, mode: int) -> Any:
        if not removed:
            removed.append(Path(path).parent)
            removed[0].rmdir()
        return create(path, mode)

    monkeypatch.setattr(cached_module, "TemporaryFile", remove_first)
    assert cci.download_object("a") == b"body"
    assert removed
    assert len(files(tmp_path / "cache")) == 1
    assert "not cached" not in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
@pytest.mark.parametrize("mode", [0, 0o500])
def test_denied_directories_only_cost_downloads(cci: Any, tmp_path: Path, mode: int) -> None:
    cci.upload_object("a", b"body")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    cached(cci, tmp_path / "cache")
    try:
        assert cci.download_object("a") == cci.download_object("a") == b"body"
    finally:
        (tmp_path / "cache").chmod(0o700)


def test_other_files_in_the_directory_remain(cci: Any, tmp_path: Path) -> None:
    others = [tmp_path / "notes.txt", tmp_path / "data" / f"{'a' * 64}-0", tmp_path / "ab" / "c"]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(3 * MiB))
        os.utime(path, (1, 1))
    cached(cci, tmp_path, 2 * MiB)
    for number in range(4):
        cci.upload_object(f"{number}", bytes([number]) * MiB)
        assert cci.download_object(f"{number}") == bytes([number]) * MiB
    assert all(path.stat().st_size == 3 * MiB for path in others)
    assert 0 < len(files(tmp_path)) - len(others) <= 2


def test_windows_used_last_remain(cci: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    counting = cached(cci, cache, 4 * MiB)
    for number in range(12):
        cci.upload_object(f"{number}", bytes([number]) * MiB)
        assert cci.download_object(f"{number}") == bytes([number]) * MiB
        counting.reset()
        for last in (0, number):
            assert cci.download_object(f"{last}") == bytes([last]) * MiB
        assert counting.bytes_received == 0
        for age, path in enumerate(sorted(files(cache), key=lambda each: each.stat().st_mtime_ns)):
            os.utime(path, (age, age))
        assert sum(path.stat().st_size for path in files(cache)) <= 4 * MiB + 100


def test_names_hold_the_store_the_bucket_and_the_key(tmp_path: Path) -> None:
    options: dict[str, Any] = {"backend": "local", "cache": tmp_path / "cache", "verbose": False}
    for bucket in ("one", "two"):
        cci = cc.get_interface(str(tmp_path / bucket), **options)
        cci.upload_object("a", bucket.encode())
        cci.upload_object("ab", b"other")
    for bucket in ("one", "two"):
        cci = cc.get_interface(str(tmp_path / bucket), **options)
        again = pickle.loads(pickle.dumps(cci))
        assert cci.download_object("a") == again.download_object("a") == bucket.encode()
        assert cci.download_object("ab") == b"other"
    assert len(files(tmp_path / "cache")) == 4
    url = f"file://{tmp_path}/one/array"
    cc.get_interface(str(tmp_path / "one"), **options).upload_raw_array("array", np.arange(9))
    assert cc.array(url, cache=str(tmp_path / "cache"), cache_size="1GB")[3] == 3


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_names_hold_the_identity(store: Any, tmp_path: Path) -> None:
    login, other = store.connection()["ACCESS_KEY"], store.fresh_bucket()
    for bucket in (store.bucket, other):
        store.interface(bucket).upload_object("a", b"body")
    for bucket, key in ((store.bucket, login), (store.bucket, "another"), (other, login)):
        cci = store.interface(bucket, ACCESS_KEY=key, cache=tmp_path / "cache")
        assert cci.download_object("a") == b"body"
    assert len(files(tmp_path / "cache")) == 3


PROGRAM = """
import cottoncandy as cc
options = dict(backend="local", cache={cache!r}, cache_size="3MB", verbose=False)
cci = cc.get_interface({bucket!r}, **options)
for number in range(12):
    name = str(number % 3)
    assert cci.download_object(name) == (name * 1_500_000).encode()
"""


def test_eight_processes_share_a_small_cache(tmp_path: Path) -> None:
    cci = cc.get_interface(str(tmp_path / "bucket"), backend="local", verbose=False)
    for number in range(3):
        cci.upload_object(str(number), (str(number) * 1_500_000).encode())
    program = PROGRAM.format(bucket=str(tmp_path / "bucket"), cache=str(tmp_path / "cache"))
    running = [start(program) for _ in range(8)]
    running[0].kill()
    for process in running:
        process.join()
    assert [process.exitcode for process in running][1:] == [0] * 7


def test_wrong_options_raise(tmp_path: Path) -> None:
    def connect(**options: Any) -> Any:
        return cc.get_interface("memory://cached", verbose=False, **options)

    for wrong in ("", "9" * 400, "20 XB", "-1", 0, -5, 1.5, True, "GB"):
        with pytest.raises(InvalidArgumentError, match="cache_size must be"):
            connect(cache=tmp_path, cache_size=wrong)
    for directory in ("", "a\0b", b"a", True, 5):
        with pytest.raises(ConfigurationError, match="cache must be a directory"):
            connect(cache=directory)
    with pytest.raises(ConfigurationError, match="cache_size"):
        connect(cache_size="1GB")
    for size in ("1.5GB", "100 MB", "7kB", "10", 10**6):
        connect(cache=tmp_path, cache_size=size)


@pytest.mark.parametrize("warm", [False, True])
def test_a_closed_reader_reads_nothing_from_the_disk(tmp_path: Path, warm: bool) -> None:
    cci = cc.get_interface(
        str(tmp_path / "data"), backend="local", verbose=False, cache=tmp_path / "cache"
    )
    cci.upload_object("a", bytes(3 * MiB))
    if warm:
        cci.download_object("a")
    reader = cci.backend_interface.get("a", prefetch=False)
    reader.close()
    reader.close()  # once more
    with pytest.raises(CottonCandyError):
        reader.read()


def test_short_programs_do_not_overfill_the_cache(cci: Any, tmp_path: Path) -> None:
    killed = tmp_path / ("a" * 2) / ("b" * 62) / f".cottoncandy-{0:016x}.tmp"
    assert is_temporary(killed.name)
    killed.parent.mkdir(parents=True)
    killed.write_bytes(bytes(60_000))
    os.utime(killed, (1, 1))
    plain = cci.backend_interface
    for number in range(30):
        cci.backend_interface = plain
        cci.upload_object(f"{number}", bytes(3000))
        cached(cci, tmp_path, 64_000)  # as in a process that reads one object
        cci.download_object(f"{number}")
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 64_000
    assert not killed.exists()


def test_objects_without_an_etag_are_not_cached(
    cci: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = MemoryBackend.get

    def without_etag(self: Any, key: str, **options: Any) -> Any:
        reader = get(self, key, **options)
        reader.info = reader.info._replace(etag=None)
        return reader

    monkeypatch.setattr(MemoryBackend, "get", without_etag)
    cached(cci, tmp_path)
    for body in (b"one", b"two"):
        cci.upload_object("a", body)
        assert cci.download_object("a") == body
    assert files(tmp_path) == []
