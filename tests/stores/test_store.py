"""A backend and a bucket: what every user of a store relies on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cottoncandy
from cottoncandy.backends.local.backend import LocalBackend


def test_a_directory_may_be_created_by_two_processes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = LocalBackend.create_bucket

    def late(self: LocalBackend, bucket: str, **options: Any) -> None:
        Path(bucket).mkdir()  # by the other one, after this one has looked
        create(self, bucket, **options)

    monkeypatch.setattr(LocalBackend, "create_bucket", late)
    (tmp_path / "source").mkdir()
    cottoncandy.get_interface(f"file://{tmp_path}/interface", verbose=False)
    cottoncandy.sync(tmp_path / "source", tmp_path / "copy")
    assert {path.name for path in tmp_path.iterdir()} == {"source", "interface", "copy"}
