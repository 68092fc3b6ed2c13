"""Whole directories between the disk and the store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cottoncandy._names import pathjoin
from cottoncandy._output import say
from cottoncandy._parallel import map_threads

if TYPE_CHECKING:
    from cottoncandy.interfaces._basic import BasicInterface

__all__ = ["upload_directory"]


def upload_directory(
    cci: BasicInterface,
    disk_path: str | os.PathLike[str],
    cloud_path: str | None,
    *,
    recursive: bool,
    extra_args: Mapping[str, Any],
    threads: int,
    skip_existing: bool,
) -> None:
    """Upload the files below a directory."""
    root = Path(disk_path)
    target = os.fspath(disk_path) if cloud_path is None else cloud_path

    def upload(path: Path) -> None:
        name = pathjoin(target, path.relative_to(root).as_posix())
        cci.upload_from_file(path, name, ExtraArgs=extra_args, threads=1)

    for _ in map_threads(upload, _files(root, recursive), cci._bulk_threads(threads)):
        pass
    say(f'Uploaded "{root}" to "{target}"')


def _files(root: Path, recursive: bool) -> Iterator[Path]:
    for path in sorted(root.iterdir()):
        if path.is_file():
            yield path
        elif recursive and path.is_dir():
            yield from _files(path, recursive)
