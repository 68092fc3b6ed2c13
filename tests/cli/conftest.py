"""Directories to act on, and the command in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import cottoncandy as cc
from cottoncandy.cli.main import main

COMMAND = [sys.executable, "-c", "from cottoncandy.cli import run; run()"]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A directory with two files and an array."""
    path = tmp_path / "bucket"
    cci = cc.get_interface(str(path), backend="local", verbose=False)
    cci.upload_object("a.txt", b"0123456789", who="me")
    cci.upload_object("d/b.bin", bytes(range(256)))
    cci.upload_raw_array("d/arr", np.arange(12.0).reshape(3, 4), subject="s01")
    return path


def run(*arguments: Any, stdin: Any = None) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments], input=stdin)


TREE = {"src/a": b"1", "src/sub/b": b"2", "src/sub/deep/c": b"3", "one": b"4"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, body in TREE.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    (tmp_path / "tree" / "there" / "x").parent.mkdir()
    (tmp_path / "tree" / "there" / "x").write_bytes(b"x")
    return tmp_path / "tree"
