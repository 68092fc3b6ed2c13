"""The commands for arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cottoncandy as cc
from tests.cli.conftest import run


def test_arrays_go_to_files_and_back(bucket: Path, tmp_path: Path) -> None:
    array = np.arange(6, dtype=">i2").reshape(2, 3)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "z.npz", a=array, b=np.float32(1))
    assert run("load", tmp_path / "a.npy", bucket / "x").exit_code == 0
    assert run("load", tmp_path / "z.npz", bucket / "z").exit_code == 0
    assert run("save", bucket / "x", tmp_path / "back.npy").exit_code == 0
    assert run("save", bucket / "z", tmp_path / "back.npz").exit_code == 0
    back = np.load(tmp_path / "back.npy")
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype
    with np.load(tmp_path / "back.npz") as arrays:
        assert sorted(arrays) == ["a", "b"]
        np.testing.assert_array_equal(arrays["a"], array)
    assert run("save", bucket / "z/a", tmp_path / "one.npz").exit_code == 0
    with np.load(tmp_path / "one.npz") as arrays:
        assert list(arrays) == ["a"]
        np.testing.assert_array_equal(arrays["a"], array)
    assert run("save", bucket / "missing", tmp_path / "none.npz").exit_code == 1


def test_a_short_write_of_numpy_is_a_full_disk(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*arguments: Any, **options: Any) -> None:
        raise OSError("12 requested and 3 written")

    monkeypatch.setattr(np, "save", save)
    result = run("save", bucket / "d/arr", tmp_path / "x.npy")
    assert (result.exit_code, "the disk is full" in result.stderr) == (1, True)
    assert not (tmp_path / "x.npy").exists()


def test_info_describes_an_array(bucket: Path) -> None:
    found = json.loads(run("info", "--json", bucket / "d/arr").stdout)
    assert (found["dtype"], found["shape"], found["kind"]) == ("float64", [3, 4], "raw")
    assert found["metadata"] == {"subject": "s01"}
    assert found["ratio"] == round(96 / (bucket / "d/arr").stat().st_size, 2)
    assert (found["encrypted"], "checksum" in found) == (False, True)
    assert "gzip" in run("info", bucket / "d/arr").stdout


def test_preview_shows_statistics_and_a_picture(bucket: Path, tmp_path: Path) -> None:
    text = run("preview", bucket / "d/arr").stdout
    assert "min 0, max 11, mean 5.5" in text
    assert "@" in text
    found = json.loads(run("preview", "--json", bucket / "d/arr").stdout)
    assert found.pop("std") == pytest.approx(np.arange(12.0).std())
    assert found == {
        "dtype": "float64",
        "shape": [3, 4],
        "whole": True,
        "not_finite": 0,
        "min": 0,
        "max": 11,
        "mean": 5.5,
    }
    cci = cc.get_interface(str(bucket), backend="local", verbose=False)
    for name, array in (
        ("empty", np.zeros((0, 3))),
        ("nan", np.array([np.nan, np.inf, 1])),
        ("text", np.array(["a"])),
        ("flag", np.array(True)),
        ("large", np.array([1e308, -1e308])),
    ):
        cci.upload_raw_array(name, array)
        assert run("preview", bucket / name).exit_code == 0
    found = json.loads(run("preview", "--json", bucket / "large").stdout)
    assert (found["min"], found["mean"], found["std"]) == (-1e308, 0, 1e308)


def test_replaced_arrays_are_restored_and_cleaned(bucket: Path) -> None:
    cci = cc.get_interface(str(bucket), backend="local", verbose=False)
    for number in range(2):
        cci.upload_dask_array("series", np.full(3, number))
    assert json.loads(run("info", "--json", bucket / "series").stdout)["kind"] == "chunked"
    assert run("restore", bucket / "series").exit_code == 0
    assert cci.download_dask_array("series").compute()[0] == 0
    assert run("restore", f"file://{bucket}/series").exit_code == 0
    names = run("clean", "--dry-run", "--grace", "0", bucket / "series").stdout
    assert names
    assert run("clean", bucket / "series").stdout == ""
    assert run("clean", "--grace", "0", bucket / "series").stdout == names
    assert cci.download_dask_array("series").compute()[0] == 1
    assert run("restore", bucket / "series").exit_code == 1


def test_rotating_without_keys_and_loading_other_files_are_usage_errors(
    bucket: Path, tmp_path: Path
) -> None:
    assert run("rotate-keys", bucket / "d").exit_code == 2
    (tmp_path / "text.npy").write_text("no array")
    result = run("load", tmp_path / "text.npy", bucket / "x")
    assert result.exit_code == 2
    assert not (bucket / "x").exists()
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    assert run("load", tmp_path / "objects.npy", bucket / "x").exit_code == 2
