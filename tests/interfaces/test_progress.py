"""Progress bars: each long operation counts to its end, in terminals and notebooks."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cottoncandy.core import output as _progress
from cottoncandy.stores import store

ARRAY = np.arange(600_000, dtype="<i4").reshape(3, -1)


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Label, count and total of every bar, when it ends; bars show at once, for small work too."""
    ended: list[tuple[str, int, int]] = []
    close = _progress.Progress.__exit__

    def closed(self: _progress.Progress, *error: Any) -> None:
        if self._bar is not None:
            ended.append((self._bar.desc, self._bar.n, self._bar.total))
        close(self, *error)

    monkeypatch.setattr(_progress.Progress, "__exit__", closed)
    monkeypatch.setattr(_progress, "DELAY_S", 0)
    monkeypatch.setattr(store, "_PROGRESS_BYTES", 0)
    monkeypatch.setenv("COTTONCANDY_BASIC_PROGRESS", "True")
    return ended


@pytest.fixture
def watched(bars: list[Any], cci: Any) -> Any:
    """The interface, made with bars shown."""
    return cci


def directory(root: Path) -> str:
    for number in range(5):
        (root / str(number)).write_text("content")
    return str(root)


WORK: dict[str, tuple[Callable[[Any, Path], object], str, int]] = {
    "upload": (
        lambda cci, _: cci.upload_raw_array("new", ARRAY, compression=False),
        "uploading new",
        ARRAY.nbytes,
    ),
    "download": (lambda cci, _: cci.download_raw_array("a"), "downloading a", ARRAY.nbytes),
    "rows": (
        lambda cci, _: cci.download_raw_array("a", selection=np.s_[1:]),
        "downloading a",
        ARRAY.nbytes * 2 // 3,
    ),
    "to a file": (
        lambda cci, root: cci.download_to_file("a", str(root / "file")),
        "downloading a",
        ARRAY.nbytes,
    ),
    "dictionary up": (
        lambda cci, _: cci.dict2cloud("new", {"x": ARRAY, "y": {"z": ARRAY}}, verbose=False),
        "uploading arrays",
        2,
    ),
    "dictionary down": (lambda cci, _: cci.cloud2dict("d", verbose=False), "downloading arrays", 2),
    "directory up": (
        lambda cci, root: cci.upload_from_directory(directory(root), "new"),
        "uploading {root}",
        5,
    ),
    "copies": (lambda cci, _: cci.cp("d", "copy", recursive=True), "cop", 2),
    "removal": (lambda cci, _: cci.rm("d", recursive=True), "deleting", 2),
}


@pytest.mark.parametrize(
    ("store", "encryption"),
    [
        ("memory", "plain"),
        pytest.param("memory", "AES", marks=pytest.mark.server),  # the same bars
        ("moto", "plain"),
    ],
    indirect=True,
)
@pytest.mark.parametrize("work", WORK)
def test_bars_count_up_to_the_end(
    watched: Any, bars: list[tuple[str, int, int]], work: str, tmp_path: Path
) -> None:
    do, label, total = WORK[work]
    watched.upload_raw_array("a", ARRAY, compression=False)
    watched.dict2cloud("d", {"x": ARRAY[:, :3], "y": {"z": ARRAY[:, :3]}}, verbose=False)
    bars.clear()
    do(watched, tmp_path)
    wanted = label.format(root=tmp_path)
    [(found, whole)] = [(n, whole) for name, n, whole in bars if name.startswith(wanted)]
    assert found == whole
    # Encrypted bodies are a little longer.
    assert total <= whole <= total * 1.001


def test_bars_are_seen(
    watched: Any, capsys: pytest.CaptureFixture[str], bars: list[tuple[str, int, int]]
) -> None:
    watched.upload_raw_array("subject/run", ARRAY, compression=False)
    shown = capsys.readouterr()
    assert "uploading subject/run" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("notebook", [False, True])
def test_bars_are_for_terminals_and_notebooks(
    bars: list[tuple[str, int, int]],
    cci: Any,
    notebook: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Standard error is a file here, and other tests may have loaded the notebook's kernel."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    cci.settings = replace(cci.settings, progress=None)  # the default
    cci.upload_raw_array("a", ARRAY, compression=False)
    assert ("uploading a" in capsys.readouterr().err) == bool(bars) == notebook
