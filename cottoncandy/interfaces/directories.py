"""Whole directories between the disk and the store."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cottoncandy.backends.base import ObjectInfo
from cottoncandy.core.buffers import MiB
from cottoncandy.core.files import is_temporary
from cottoncandy.core.names import SEPARATOR, Key, has_magic, pathjoin, prefix_of, shorten
from cottoncandy.core.output import Progress, echo
from cottoncandy.exceptions import (
    EncryptionError,
    IntegrityError,
    InvalidArgumentError,
    InvalidNameError,
    ObjectNotFoundError,
)
from cottoncandy.interfaces.objects import extra_args as check_extra_args
from cottoncandy.stores.finding import objects_below
from cottoncandy.transfer.engine import Action, Outcome, complete, run

__all__ = ["download_directory", "same_bytes", "upload_directory"]

if TYPE_CHECKING:
    from cottoncandy.interfaces.default import BasicInterface

_logger = logging.getLogger(__name__)

_MAX_NAME_BYTES = 255  # of common file systems
_WINDOWS = os.name == "nt"
_WINDOWS_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {
    f"{d}{n}" for d in ("COM", "LPT") for n in "123456789"
}


class _File(NamedTuple):
    """One file on the disk, and its path below the directory, with ``/``."""

    path: Path
    relative: str
    size: int


# -- up ------------------------------------------------------------------------------------------


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
    check_extra_args(extra_args)
    root = Path(disk_path)
    target = cci._store.key(_default_target(root) if cloud_path is None else cloud_path, tree=True)
    files, failed = _files_below(root, recursive)
    there = _objects_below(cci, target) if skip_existing else {}
    large = cci.settings.mpu_use_threshold_bytes

    def upload(file: _File) -> None:
        name = pathjoin(target, file.relative)
        known = there.get(name)
        if known is not None and same_bytes(cci, known, file.path, file.size):
            return
        cci.upload_from_file(
            file.path, name, ExtraArgs=extra_args, threads=threads if file.size > large else 1
        )

    def describe(failures: int, total: int) -> str:
        return (
            f"{failures} of {total} files below '{root}' could not be uploaded to '{target}' in "
            f"bucket '{cci.bucket_name}', the others are there"
        )

    actions = (Action(str(file.path), partial(upload, file)) for file in files)
    workers = cci._store.bulk_threads(threads)
    with Progress(
        len(files), unit="files", label=f"uploading {root}", show=cci.settings.progress
    ) as bar:
        complete(chain(failed, run(actions, threads=workers, progress=bar)), describe)
    echo(f'Uploaded "{root}" to "{target}"')


def _default_target(root: Path) -> str:
    target = root.as_posix()
    return "" if target == "." else target


def _objects_below(cci: BasicInterface, target: str) -> dict[str, ObjectInfo]:
    return {info.key: info for info in objects_below(cci.backend_interface, target)}


def _files_below(root: Path, recursive: bool) -> tuple[list[_File], list[Outcome]]:
    """Return the regular files, sorted within each directory, and what could not be looked at.

    Symbolic links to files and directories are followed, except those back to a parent directory.
    Sockets, pipes, devices and unfinished downloads are skipped.
    """
    files: list[_File] = []
    failed: list[Outcome] = []
    pending = [(root, "", frozenset([_identity(root.stat())]))]
    while pending:
        directory, relative, above = pending.pop()
        try:
            paths = sorted(directory.iterdir())
        except OSError as exc:
            if not relative:
                raise
            failed.append(Outcome(str(directory), exc))
            continue
        deeper = []
        for path in paths:
            try:
                status = path.stat()
            except OSError as exc:  # a link to nowhere, or gone meanwhile
                failed.append(Outcome(str(path), exc))
                continue
            if is_temporary(path.name):
                _logger.info("skipping %s: an unfinished download", path)
            elif stat.S_ISREG(status.st_mode):
                files.append(_File(path, relative + path.name, status.st_size))
            elif not stat.S_ISDIR(status.st_mode):
                _logger.info("skipping %s: neither a file nor a directory", path)
            elif recursive:
                identity = _identity(status)
                if identity in above:
                    _logger.warning("skipping %s: it links back to a parent directory", path)
                else:
                    deeper.append((path, f"{relative}{path.name}{SEPARATOR}", above | {identity}))
        pending.extend(reversed(deeper))
    return files, failed


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


# -- down ----------------------------------------------------------------------------------------


def download_directory(
    cci: BasicInterface,
    directory: str,
    disk_name: str | os.PathLike[str],
    *,
    threads: int,
    skip_existing: bool,
) -> None:
    """Download the objects below a name."""
    branch, objects = _branch_objects(cci, directory)
    root = Path(disk_name)
    files, directories = _plan(branch, objects, cci.bucket_name)
    _check_disk(root, files, directories)
    root.mkdir(parents=True, exist_ok=True)
    for relative in sorted(directories):  # parents first
        (root / relative).mkdir(exist_ok=True)
    large = cci.settings.mpd_use_threshold_bytes

    def download(relative: str) -> None:
        info, path = files[relative], root / relative
        if skip_existing and path.is_file() and same_bytes(cci, info, path, path.stat().st_size):
            return
        cci.download_to_file(Key(info.key), path, threads=threads if info.size > large else 1)

    def describe(failures: int, total: int) -> str:
        return (
            f"{failures} of {total} objects below '{branch}' in bucket '{cci.bucket_name}' could "
            f"not be downloaded to '{root}', the others are there"
        )

    actions = (Action(info.key, partial(download, relative)) for relative, info in files.items())
    workers = cci._store.bulk_threads(threads)
    with Progress(
        len(files), unit="files", label=f"downloading {branch}", show=cci.settings.progress
    ) as bar:
        complete(run(actions, threads=workers, progress=bar), describe)


def _branch_objects(cci: BasicInterface, directory: str) -> tuple[str, list[ObjectInfo]]:
    """Return a branch and its objects; ``path/*`` is the same as ``path``."""
    key = cci._store.key(directory, tree=True)
    branch = prefix_of(key)
    objects = list(objects_below(cci.backend_interface, branch))
    if not objects and (branch == "*/" or branch.endswith("/*/")):
        branch = branch[:-2]
        objects = list(objects_below(cci.backend_interface, branch))
    if objects or not branch:
        return branch, objects
    if has_magic(key):
        raise InvalidArgumentError(
            f"there is nothing under '{directory}' in bucket '{cci.bucket_name}', and patterns "
            f"are not for download_directory: loop over cci.glob() with cci.download_to_file()"
        )
    if cci.exists_object(key):
        raise ObjectNotFoundError(
            f"'{key}' in bucket '{cci.bucket_name}' is an object, with nothing below it; use "
            f"cci.download_to_file()"
        )
    raise ObjectNotFoundError(f"there is nothing under '{key}' in bucket '{cci.bucket_name}'")


def _plan(
    branch: str, objects: Iterable[ObjectInfo], bucket: str | None
) -> tuple[dict[str, ObjectInfo], set[str]]:
    """Return the files to write and the directories to make, by their paths below the target.

    Raises
    ------
    InvalidNameError
        If a key would lead out of the target, or cannot be said as a path.
    """
    files: dict[str, ObjectInfo] = {}
    directories: set[str] = set()
    for info in objects:
        relative = info.key[len(branch) :]
        if not relative:
            continue  # the marker of the branch itself
        parts = relative.removesuffix(SEPARATOR).split(SEPARATOR)
        if not all(_is_file_name(part) for part in parts):
            raise InvalidNameError(
                f"object '{shorten(info.key)}' in bucket '{bucket}' cannot become a file below "
                f"the target directory: its name has a part that is empty, '.', '..', longer than "
                f"{_MAX_NAME_BYTES} bytes or reserved, or characters that no file name has; "
                f"nothing was downloaded. Download it with cci.download_to_file()"
            )
        if relative.endswith(SEPARATOR):
            directories.add(relative.removesuffix(SEPARATOR))
        else:
            files[relative] = info
        directories.update("/".join(parts[:count]) for count in range(1, len(parts)))
    clash = next((name for name in sorted(directories) if name in files), None)
    if clash is not None:
        raise InvalidNameError(
            f"object '{branch}{clash}' in bucket '{bucket}' is also the start of other names, and "
            f"a disk cannot hold a file and a directory of one name; nothing was downloaded"
        )
    return files, directories


def _is_file_name(part: str, *, windows: bool = _WINDOWS) -> bool:
    """Return whether a part of a key can be the name of a file, and of none of our own."""
    if part in ("", ".", "..") or "\0" in part or is_temporary(part):
        return False
    if len(os.fsencode(part)) > _MAX_NAME_BYTES:
        return False
    if not windows:
        return True
    return not (
        any(char in '<>:"/\\|?*' or char < " " for char in part)
        or part[-1] in ". "
        or part.partition(".")[0].upper() in _WINDOWS_DEVICES
    )


def _check_disk(root: Path, files: Iterable[str], directories: Iterable[str]) -> None:
    """Refuse, before anything is written, what is in the way, and links that lead out."""
    if not root.is_dir():
        if os.path.lexists(root):
            raise _in_the_way(NotADirectoryError, errno.ENOTDIR, root)
        return
    inside = root.resolve()
    for relative in sorted(directories):
        path = root / relative
        if os.path.lexists(path):
            _check_inside(path, inside)
            if not path.is_dir():
                raise _in_the_way(NotADirectoryError, errno.ENOTDIR, path)
    for relative in files:
        path = root / relative
        if path.is_dir():
            raise _in_the_way(IsADirectoryError, errno.EISDIR, path)
        if path.is_symlink():
            _check_inside(path, inside)


def _in_the_way(kind: type[OSError], code: int, path: Path) -> OSError:
    return kind(code, f"{os.strerror(code)}, and in the way; nothing was downloaded", str(path))


def _check_inside(path: Path, inside: Path) -> None:
    resolved = path.resolve()
    if not resolved.is_relative_to(inside):
        raise InvalidNameError(
            f"'{path}' leads out of the target directory, to '{resolved}'; nothing was downloaded. "
            f"Remove that symbolic link, or download into another directory"
        )


_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_MULTIPART_MD5 = re.compile(r'"?([0-9a-f]{32})-([0-9]+)"?')
#: Sizes of parts that common clients choose, in bytes.
_PART_BYTES = tuple(count * MiB for count in (5, 8, 10, 15, 16, 25, 32, 50, 64, 100, 128))


def same_bytes(
    cci: BasicInterface, info: ObjectInfo, path: str | os.PathLike[str], size: int
) -> bool:
    """Return whether an object has the bytes of a file of ``size`` bytes.

    If the store's ETag is an MD5 of the body, or of its parts, the file is hashed and nothing is
    downloaded. Otherwise (other stores, encrypted objects, parts of unknown size) the object is
    read, up to the first byte that differs.
    """
    if info.size < size:
        return False
    # Not so if the store encrypts: a plain object of the same bytes has the same ETag.
    if info.size == size and cci.backend_interface.capabilities.stored_checksum == "md5":
        plain = _MD5.fullmatch(info.etag or "")
        if plain:
            return _md5(path) == plain[1]
        parts = _MULTIPART_MD5.fullmatch(info.etag or "")
        if parts and parts[1] in _md5_of_parts(
            path, size, int(parts[2]), cci.settings.mpu_chunksize_bytes
        ):
            return True
    try:
        return _reads_the_same(cci, info.key, path, size)
    except (ObjectNotFoundError, EncryptionError, IntegrityError):
        return False  # it is gone or unreadable, which its transfer reports


def _reads_the_same(cci: BasicInterface, key: str, path: str | os.PathLike[str], size: int) -> bool:
    # The stored size of an encrypted object is larger than its content; the reader knows both.
    with cci._store.open(Key(key), prefetch=False) as reader, Path(path).open("rb") as file:
        if reader.size != size:
            return False
        return all(file.read(len(chunk)) == chunk for chunk in map(bytes, reader.chunks()))


def _md5(path: str | os.PathLike[str]) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _md5_of_parts(
    path: str | os.PathLike[str], size: int, count: int, own_part_bytes: int
) -> Iterator[str]:
    """Yield the MD5 of the parts' MD5s for each size that makes so many parts."""
    for part_bytes in dict.fromkeys((own_part_bytes, *_PART_BYTES)):
        if -(-size // part_bytes) != count:
            continue
        whole = hashlib.md5(usedforsecurity=False)
        with Path(path).open("rb") as file:
            while part := file.read(part_bytes):
                whole.update(hashlib.md5(part, usedforsecurity=False).digest())
        yield whole.hexdigest()
