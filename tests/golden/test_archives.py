"""Objects that past versions stored are read as what they were, to the bit."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy
from tests.compat.cases import CASES, download, same
from tests.golden.archives import ARCHIVES, GENERATIONS, PREFIX, Archive

pytestmark = pytest.mark.skipif(
    np.dtype(np.longdouble).itemsize != 16 or sys.byteorder != "little",
    reason="the archives hold this machine's long doubles",
)


@pytest.fixture(
    scope="module",
    params=[
        # Encrypted ones only with the default tests: the values are the same.
        pytest.param(each, id=each.writer, marks=[pytest.mark.server] if each.options else [])
        for each in ARCHIVES
    ],
)
def archive(request: pytest.FixtureRequest) -> Archive:
    return request.param


@pytest.fixture(scope="module")
def root(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the objects, which tests only read."""
    root = tmp_path_factory.mktemp("golden")
    archive.extract(root)
    return root


def interface(archive: Archive, root: Path) -> Any:
    encrypted = cottoncandy.get_encrypted_interface
    factory: Callable[..., Any] = encrypted if archive.options else cottoncandy.get_interface
    return factory(str(root), backend="local", verbose=False, **archive.options)


@pytest.fixture
def cci(archive: Archive, root: Path) -> Any:
    return interface(archive, root)


@pytest.fixture
def names(root: Path) -> list[str]:
    """Return the cases in the archive."""
    there = {path.relative_to(root / PREFIX).as_posix() for path in (root / PREFIX).rglob("*")}
    return [name for name in CASES if name in there]


def raw_metadata(root: Path, key: str) -> dict[str, str]:
    sidecar = root / f"{key}.meta.json"
    return json.loads(sidecar.read_bytes()) if sidecar.exists() else {}


def test_every_value_is_read_as_it_was(
    archive: Archive, names: list[str], cci: Any, root: Path
) -> None:
    """Values, dtypes and field names, if the writer stored them; and the order in memory."""
    wrong = {}
    for name in names:
        case, expected = CASES[name], CASES[name].expected()
        found = download(cci, f"{PREFIX}/{name}", case.kind)
        wrong[name] = same(expected, found)
        if case.kind == "raw_array" and not wrong[name]:
            stored = raw_metadata(root, f"{PREFIX}/{name}")
            dtype = expected.dtype
            if not archive.writer.startswith("0.5"):
                dtype = np.dtype(dtype.str)
            if found.dtype != dtype or not found.flags[f"{stored['order']}_CONTIGUOUS"]:
                wrong[name] = f"{found.dtype}, {found.flags}"
    assert {name: text for name, text in wrong.items() if text} == {}
    assert len(wrong) > 3


@pytest.mark.server
def test_metadata_are_those_stored(archive: Archive, cci: Any, root: Path) -> None:
    """What encryption added is the only thing missing."""
    for key in cci.glob(f"{PREFIX}/raw"):
        with cci.download_stream(key) as stream:
            missing = dict(raw_metadata(root, key).items() - stream.metadata.items())
            assert stream.metadata.items() <= raw_metadata(root, key).items()
        if not archive.options:
            assert missing == {}
        assert all(name.startswith(("key", "cc-encryption")) for name in missing)


@pytest.mark.server
def test_every_object_belongs_to_a_value(names: list[str], cci: Any) -> None:
    whole = {f"{PREFIX}/{name}" for name in names}
    for key in cci.glob(""):
        assert key in whole or any(key.startswith(f"{name}/") for name in whole), key


@pytest.mark.server
def test_listing_shows_every_object(cci: Any, root: Path) -> None:
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    sidecars = {name for name in files if name.removesuffix(".meta.json") in files - {name}}
    assert set(cci.glob("")) == files - sidecars


@pytest.mark.server
def test_copied_branches_are_read_where_they_are(
    archive: Archive, names: list[str], root: Path, tmp_path: Path
) -> None:
    """Manifests hold absolute names, and the objects they name may be gone."""
    (tmp_path / "copy").mkdir()
    cci = interface(archive, tmp_path)
    for name in names:
        if CASES[name].kind in ("dask_array", "sparse_array"):
            shutil.copytree(root / PREFIX / name, tmp_path / "copy" / name)
            found = download(cci, f"copy/{name}", CASES[name].kind)
            assert same(CASES[name].expected(), found) == "", name


@pytest.mark.parametrize("archive", GENERATIONS, ids=lambda archive: archive.writer)
def test_generations_are_read_restored_and_continued(archive: Archive, tmp_path: Path) -> None:
    archive.extract(tmp_path)
    cci = interface(archive, tmp_path)
    array = np.arange(6.0)
    np.testing.assert_array_equal(cci[f"{PREFIX}/replaced"], array + 1)
    np.testing.assert_array_equal(cci[f"{PREFIX}/appended"], [*(array + 1), 7, 7, 8, 8])
    np.testing.assert_array_equal(cci[f"{PREFIX}/sparse"].toarray(), np.diag(array + 1))
    assert cci.info(f"{PREFIX}/replaced").metadata == {"subject": "sub01"}
    blocks = np.repeat(np.arange(25, dtype="<i4"), 2**14)
    np.testing.assert_array_equal(cci[f"{PREFIX}/blocks"], blocks)
    np.testing.assert_array_equal(
        cci.array(f"{PREFIX}/blocks")[2**18 - 9 :: 1000], blocks[2**18 - 9 :: 1000]
    )
    cci.restore(f"{PREFIX}/replaced")
    cci.restore(f"{PREFIX}/sparse")
    np.testing.assert_array_equal(cci[f"{PREFIX}/replaced"], array)
    np.testing.assert_array_equal(cci[f"{PREFIX}/sparse"].toarray(), np.diag(array))
    cci.append_dask_array(f"{PREFIX}/appended", np.full(1, 9.0))
    cci.clean("", grace=0)
    np.testing.assert_array_equal(cci[f"{PREFIX}/replaced"], array)
    np.testing.assert_array_equal(cci[f"{PREFIX}/appended"], [*(array + 1), 7, 7, 8, 8, 9])
