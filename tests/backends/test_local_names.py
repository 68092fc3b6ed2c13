"""What failed uploads leave in a local directory, and how messages show long names."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from cottoncandy.backends.base import PutOptions
from cottoncandy.backends.local import commit, files, location
from cottoncandy.backends.local.backend import LocalBackend
from cottoncandy.backends.local.commit import staging
from cottoncandy.backends.local.files import FilesBackend
from cottoncandy.backends.local.location import LocalLocation
from cottoncandy.core.buffers import Body
from cottoncandy.core.files import is_folded, other_spelling
from cottoncandy.core.names import shorten
from cottoncandy.exceptions import (
    InvalidNameError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageFullError,
)
from tests.backends._local import put


def below(root: Path) -> list[str]:
    """Return all files and directories, hidden ones too."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


def interface(root: Path) -> Any:
    return cottoncandy.get_interface(str(root), backend="local", verbose=False)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A disk that accepts a limited number of writes."""
    write = os.pwrite
    rest: list[int] = []

    def limited(descriptor: int, data: Any, position: int) -> int:
        rest[0] -= 1
        if rest[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data, position)

    def fill(writes: int) -> None:
        rest[:] = [writes]
        monkeypatch.setattr(os, "pwrite", limited)

    return fill


@pytest.mark.parametrize("writes", range(0, 12, 3))
@pytest.mark.parametrize("threads", [1, 4])
def test_an_array_that_does_not_fit_leaves_no_more_than_parts(
    root: Path, full_disk: Any, writes: int, threads: int
) -> None:
    cci = interface(root)
    cci.upload_object("deep/other", b"kept")
    before = below(root)
    full_disk(writes)
    with pytest.raises(StorageFullError, match="No space left"):
        cci.upload_dask_array(
            "deep/down/runs", np.zeros((8, 8)), axis=0, buffersize=64, threads=threads
        )
    assert not cci.glob("deep/down/runs/metadata*")
    cci.clean("deep/down/runs", grace=0)
    assert below(root) == before


def test_an_array_whose_replacement_does_not_fit_stays(root: Path, full_disk: Any) -> None:
    cci = interface(root)
    cci.upload_dask_array("runs", np.zeros((2, 8)), axis=0, buffersize=64)
    before = below(root)
    full_disk(7)
    with pytest.raises(StorageFullError):
        cci.upload_dask_array("runs", np.ones((8, 8)), axis=0, buffersize=64, threads=1)
    assert below(root) == before
    assert not cci.download_dask_array("runs").compute().any()


def test_two_that_fail_in_one_new_directory(root: Path) -> None:
    """The first makes the directory, and the second is in it when the first fails."""
    backend = LocalBackend(str(root))

    def inner() -> Any:
        yield b"inner"
        raise RuntimeError("pretended")

    def outer() -> Any:
        yield b"outer"
        with pytest.raises(RuntimeError):
            backend.put("new/place/inner", Body(inner))
        raise RuntimeError("pretended")

    with pytest.raises(RuntimeError, match="pretended"):
        backend.put("new/place/outer", Body(outer))
    assert below(root) == []


def test_the_second_goes_last(root: Path) -> None:
    made = staging(LocalLocation.of("new/a", str(root)))
    made.__enter__()
    other = staging(LocalLocation.of("new/b", str(root)))
    other.__enter__()
    error = RuntimeError("pretended")
    assert not made.__exit__(RuntimeError, error, None)
    assert below(root) != []  # the other one is still there
    assert not other.__exit__(RuntimeError, error, None)
    assert below(root) == []


def test_directories_that_were_there_stay(root: Path) -> None:
    (root / "kept" / "too").mkdir(parents=True)

    def failing() -> Any:
        yield b"x"
        raise RuntimeError("pretended")

    for key in ("kept/a", "kept/too/a", "kept/too/new/er/a"):
        with pytest.raises(RuntimeError, match="pretended"):
            LocalBackend(str(root)).put(key, Body(failing))
    assert below(root) == ["kept", "kept/too"]


def test_long_names_are_shortened_in_messages(root: Path) -> None:
    cci = interface(root)
    name = "directory/" + "start" + "x" * 290 + "end"
    for call in (
        lambda: cci.upload_object(name, b""),
        lambda: cci.download_object(name),
        lambda: cci.cp(name, "other"),
    ):
        with pytest.raises((InvalidNameError, ObjectNotFoundError)) as caught:
            call()
        message = str(caught.value)
        assert name not in message
        assert "directory/startxxx" in message
        assert "xxxend (308 characters)'" in message
    assert below(root) == []
    with pytest.raises(InvalidNameError, match=r"characters\)' cannot be the name"):
        cci.upload_object("a/" * 300 + "../b", b"")


@pytest.mark.slow
def test_keys_deeper_than_the_recursion_limit(root: Path, request: pytest.FixtureRequest) -> None:
    # pytest cannot remove what a failure leaves, nor can any run after it.
    request.addfinalizer(lambda: subprocess.run(["rm", "-rf", root], check=True))
    backend = LocalBackend(str(root))
    key = "d/" * 1100 + "name"
    backend.put(key, Body.of(b"deep"))
    with backend.get(key) as reader:
        assert reader.read() == b"deep"
    assert [entry.key for entry in backend.scan()] == [key]  # type: ignore[union-attr]
    assert [entry.prefix for entry in backend.scan(delimiter="/")] == ["d/"]  # type: ignore[union-attr]
    backend.remove_links("d/")
    with pytest.raises(ObjectExistsError, match="d"):
        backend.put("d", Body.of(b"in the way"))
    backend.move(key, "d/" * 1050 + "moved")
    list(backend.delete(["d/" * 1050 + "moved"]))
    assert below(root) == []
    with pytest.raises(InvalidNameError, match="4096"):
        backend.put("d/" * 2100 + "name", Body.of(b"too deep"))


def test_shortened() -> None:
    assert shorten("x" * 160) == "x" * 160
    assert len(shorten("x" * 161)) < 180
    assert shorten("short") == "short"


@pytest.fixture(params=[LocalBackend, FilesBackend])
def folding(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LocalBackend:
    """A directory in which ``d/readme`` and ``D/README`` seem to be names of ``d/README``."""
    backend: LocalBackend = request.param(str(tmp_path))
    put(backend, "d/README", b"old")
    (tmp_path / "d" / "readme").hardlink_to(tmp_path / "d" / "README")
    (tmp_path / "D").symlink_to("d")
    found = {"readme": "README", "D": "d"}
    monkeypatch.setattr(location, "other_spelling", lambda path: found.get(os.path.basename(path)))
    for module in (commit, files):
        monkeypatch.setattr(module, "is_folded", lambda path: True)
    return backend


def test_the_name_in_the_listing_is_the_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "readme"
    for each in (path, tmp_path / "README"):
        each.touch()  # two inodes: exFAT on Linux shows one for each spelling of a name
    assert is_folded(str(path))
    assert other_spelling(str(path)) is None
    monkeypatch.setattr(os, "listdir", lambda directory: ["other", "README"])
    assert other_spelling(str(path)) == "README"
    assert other_spelling(str(tmp_path / "missing")) is None


@pytest.mark.parametrize("key", ["d/readme", "D/README"])
def test_another_spelling_replaces_nothing(folding: LocalBackend, tmp_path: Path, key: str) -> None:
    other = "d/README" if key.startswith("d") else "d"
    with pytest.raises(ObjectExistsError, match=rf"{key}.*'{other}'.*exists"):
        folding.put(key, Body.of(b"new"))
    with pytest.raises(ObjectExistsError):
        folding.put(key, Body.of(b"new"), PutOptions({"a": "b"}))
    (deletion,) = folding.delete([key])
    assert isinstance(deletion.error, ObjectExistsError)
    assert (tmp_path / "d" / "README").read_bytes() == b"old"
    folding.put("d/README", Body.of(b"new"))
    assert (tmp_path / "d" / "README").read_bytes() == b"new"


def test_another_spelling_of_a_directory(folding: LocalBackend, tmp_path: Path) -> None:
    for options in (PutOptions(), PutOptions({"a": "b"})):
        with pytest.raises(ObjectExistsError, match=r"D/new.*'d'.*exists"):
            folding.put("D/new", Body.of(b"new"), options)
        folding.put("d/new", Body.of(b"new"), options)
        list(folding.delete(["d/new"]))
    assert sorted(each.name for each in (tmp_path / "d").iterdir()) == ["README", "readme"]


def test_hard_links_are_two_names(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path))
    put(backend, "readme", b"old")
    (tmp_path / "README").hardlink_to(tmp_path / "readme")
    put(backend, "README", b"new")
    assert backend.get("readme").read() == b"old"
