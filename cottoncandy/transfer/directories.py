"""Directories on disk: uploading and downloading many files."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from cottoncandy.backends.base import Backend, ObjectInfo
from cottoncandy.backends.options import split_entries
from cottoncandy.core.buffers import MiB
from cottoncandy.core.files import disk_errors, fold, folds_names, is_temporary, other_spelling
from cottoncandy.core.names import (
    SEPARATOR,
    SIDECAR_SUFFIX,
    Key,
    has_magic,
    pathjoin,
    prefix_of,
    shorten,
)
from cottoncandy.core.output import Progress
from cottoncandy.exceptions import (
    EncryptionError,
    IntegrityError,
    InvalidArgumentError,
    InvalidNameError,
    ObjectNotFoundError,
)
from cottoncandy.stores.finding import objects_below
from cottoncandy.stores.store import Store
from cottoncandy.transfer.copying import etag_md5, md5_of
from cottoncandy.transfer.engine import complete, each
from cottoncandy.transfer.sync import Step, SyncReport

_logger = logging.getLogger(__name__)

_MAX_NAME_BYTES = 255  # of common file systems


class File(NamedTuple):
    """One file of a transfer.

    Parameters
    ----------
    path : Path
        On disk.
    relative : str
        Its path below the directory, with ``/``.
    key : Key
        Of its object.
    size : int
        Bytes to transfer.
    info : ObjectInfo, optional
        The object, if it exists.
    error : OSError, optional
        Why it cannot be read.
    extra : dict
        The ``ExtraArgs`` that its sidecar contains.
    """

    path: Path
    relative: str = ""
    key: Key = Key("")
    size: int = 0
    info: ObjectInfo | None = None
    error: OSError | None = None
    extra: dict[str, Any] = {}  # noqa: RUF012 - never changed


def transfer_files(
    store: Store,
    files: Sequence[File],
    transfer: Callable[[File, int], object],
    root: Path,
    branch: str,
    *,
    uploading: bool,
    threads: int,
    skip_existing: bool,
    dry_run: bool,
) -> SyncReport | None:
    """Upload or download files; return what a dry run would do.

    Parameters
    ----------
    transfer : callable
        Transfers a file with a number of threads.
    root : Path
        Directory on disk.
    branch : str
        Name of the directory in the store.
    """
    settings, bucket = store.settings, store.bucket
    ends: tuple[Backend | None, Backend | None]
    if uploading:
        ends = None, store.backend
        label, large = f"uploading {root}", settings.mpu_use_threshold_bytes
        failing = f"files below '{root}' could not be uploaded to '{branch}' in bucket '{bucket}'"
        if skip_existing or dry_run:
            existing = {info.key: info for info in objects_below(store.backend, branch)}
            files = [file._replace(info=existing.get(file.key)) for file in files]
    else:
        ends = store.backend, None
        label, large = f"downloading {branch}", settings.mpd_use_threshold_bytes
        failing = (
            f"objects below '{branch}' in bucket '{bucket}' could not be downloaded to '{root}'"
        )

    def step(file: File) -> Step:
        if file.info is None or not file.path.is_file():
            return Step("copy", file.relative, "not in the destination", file.size)
        if not skip_existing:
            return Step("replace", file.relative, "it exists", file.size)
        if same_bytes(store, file.info, file.path):
            return Step("skip", file.relative, "the content is the same")
        return Step("replace", file.relative, "the content differs", file.size)

    def attempt(file: File) -> None:
        if file.error is not None:
            raise file.error
        if step(file).verb != "skip":
            transfer(file, threads if file.size > large else 1)

    if dry_run:
        report = SyncReport(dry_run=True)
        deque(report.noting(step(file) for file in files if file.error is None), 0)
        report.estimate(*ends)
        return report
    complete(
        each(attempt, files, threads=store.bulk_threads(threads)),
        lambda failures, total: f"{failures} of {total} {failing}, the others are there",
        Progress(len(files), unit="files", label=label, show=settings.progress),
        name=lambda file: str(file.path) if uploading else file.key,
    )
    return None


# -- up ------------------------------------------------------------------------------------------


def files_below(root: Path, target: Key, recursive: bool) -> list[File]:
    """Return the regular files, sorted within each directory, and what could not be read.

    Symbolic links to files and directories are followed, except those back to a parent directory.
    Sockets, pipes, devices and unfinished downloads are skipped. If the directory is a local store,
    the sidecars are not files but the metadata of those next to them.
    """
    files: list[File] = []
    pending: list[tuple[Path, str, frozenset[tuple[int, int]]]] = [(root, "", frozenset())]
    while pending:
        directory, relative, above = pending.pop()
        try:
            status = directory.stat()
            paths = sorted(directory.iterdir())
        except OSError as exc:
            if not relative:
                raise
            files.append(File(directory, error=exc))
            continue
        identity = status.st_dev, status.st_ino
        if identity in above:
            _logger.warning("skipping %s: it links back to a parent directory", directory)
            continue
        deeper = []
        sidecars = _sidecars(paths)
        for path in paths:
            name, body = relative + path.name, path.name.removesuffix(SIDECAR_SUFFIX)
            try:
                status = path.stat()
            except OSError as exc:  # a dangling link, or just deleted
                files.append(File(path, error=exc))
                continue
            if is_temporary(path.name):
                _logger.info("skipping %s: an unfinished download", path)
            elif stat.S_ISDIR(status.st_mode):
                deeper.append((path, name + SEPARATOR, above | {identity}))
            elif not stat.S_ISREG(status.st_mode):
                _logger.info("skipping %s: neither a file nor a directory", path)
            elif body == path.name or body not in sidecars:
                key, extra = Key(pathjoin(target, name)), sidecars.get(path.name, {})
                files.append(File(path, name, key, status.st_size, extra=extra))
        if recursive:
            pending.extend(reversed(deeper))
        elif deeper:
            _logger.warning(
                "%d directories in '%s' are not uploaded; pass recursive=True to upload them too",
                len(deeper),
                root,
            )
    return files


def _sidecars(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return the ``ExtraArgs`` in the sidecars of a local store, by the names of the bodies.

    A user's file may have such a name, so a sidecar is byte for byte what the backend writes.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        body = path.name.removesuffix(SIDECAR_SUFFIX)
        with suppress(OSError, ValueError, AttributeError, RecursionError):
            if body == path.name or not (path.is_file() and path.with_name(body).is_file()):
                continue
            content = path.read_bytes()
            entries = json.loads(content)
            # As backends/local/reader.py writes it, which cannot be imported on Windows.
            if json.dumps(entries, indent=4).encode() == content and all(
                isinstance(text, str) for text in entries.values()
            ):
                metadata, headers = split_entries(entries)
                headers.pop("storage_class", None)  # which means something on that store only
                extra = {name.title().replace("_", ""): text for name, text in headers.items()}
                found[body] = {"Metadata": metadata, **extra}
    return found


# -- down ----------------------------------------------------------------------------------------


def files_to_download(
    store: Store, directory: str, root: Path, *, create: bool
) -> tuple[str, list[File]]:
    """Return a prefix and the objects below it; create their directories on disk, if wanted.

    Everything that could be in the way is checked before.
    """
    branch, objects = _directory_objects(store, directory)
    found, directories = _plan(branch, objects, store.bucket)
    _check_disk(root, found, {"", *directories})
    if create:
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        _check_spellings(root, {*found, *directories})
        for relative in sorted(directories):  # parents first
            with disk_errors(root / relative):
                (root / relative).mkdir(exist_ok=True)
    return branch, [
        File(root / path, path, Key(info.key), info.size, info) for path, info in found.items()
    ]


def _directory_objects(store: Store, directory: str) -> tuple[str, list[ObjectInfo]]:
    """Return a prefix and its objects; ``path/*`` is the same as ``path``."""
    key = store.key(directory, tree=True)
    branch = prefix_of(key)
    objects = list(objects_below(store.backend, branch))
    if not objects and (branch == "*/" or branch.endswith("/*/")):
        branch = branch[:-2]
        objects = list(objects_below(store.backend, branch))
    if objects or not branch:
        return branch, objects
    if has_magic(key):
        raise InvalidArgumentError(
            f"there is nothing under '{directory}' in bucket '{store.bucket}'; download_directory "
            f"does not accept patterns: loop over cci.glob() with cci.download_to_file()"
        )
    if store.has_object(key):
        raise ObjectNotFoundError(
            f"'{key}' in bucket '{store.bucket}' is an object, with nothing below it; use "
            f"cci.download_to_file()"
        )
    raise ObjectNotFoundError(f"there is nothing under '{key}' in bucket '{store.bucket}'")


def _plan(
    branch: str, objects: Iterable[ObjectInfo], bucket: str | None
) -> tuple[dict[str, ObjectInfo], set[str]]:
    """Return the files to write and the directories to make, by their paths below the target.

    Raises
    ------
    InvalidNameError
        If a key would lead out of the target, or cannot be a path.
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


def _is_file_name(part: str) -> bool:
    """Return whether a part of a key can be the name of a file that is not temporary."""
    if part in ("", ".", "..") or "\0" in part or is_temporary(part):
        return False
    return len(os.fsencode(part)) <= _MAX_NAME_BYTES


def _check_disk(root: Path, files: Iterable[str], directories: set[str]) -> None:
    """Reject conflicting files and links that lead out, before anything is written."""
    inside = _real(root)
    for relative in sorted({*files, *directories}):  # parents first
        path = root / relative
        if path.is_symlink() and not (target := _real(path)).is_relative_to(inside):
            raise InvalidNameError(
                f"'{path}' leads out of the target directory, to '{target}'; nothing was "
                f"downloaded. Remove that symbolic link, or download into another directory"
            )
        if path.is_dir() != (relative in directories) and os.path.lexists(path):
            code = errno.ENOTDIR if relative in directories else errno.EISDIR
            text = f"{os.strerror(code)}, and in the way; nothing was downloaded"
            raise OSError(code, text, str(path))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike resolve(), takes a link to itself


def _check_spellings(root: Path, names: Iterable[str]) -> None:
    """Reject names that the file system does not tell from others, before anything is written.

    Raises
    ------
    InvalidNameError
    """
    if not folds_names(root):
        return
    folded: dict[str, str] = {}
    for name in sorted(names):
        other = folded.setdefault(fold(name), name)
        if other == name:
            found = other_spelling(str(root / name))
            other = name if found is None else str(Path(name).with_name(found))
        if other != name:
            raise InvalidNameError(
                f"'{name}' and '{other}' would be one file, because the file system of '{root}' "
                f"does not tell their names apart; nothing was downloaded. Download one of them "
                f"with cci.download_to_file()"
            )


def same_bytes(store: Store, info: ObjectInfo, path: Path) -> bool:
    """Return whether an object has the bytes of a file.

    If the store has a checksum of the body, or of parts as large as this store's, the file is
    hashed and nothing is downloaded. Otherwise (other stores, encrypted objects, parts of another
    size) the object is read, up to the first byte that differs.
    """
    size, backend = path.stat().st_size, store.backend
    if info.size < size:
        return False
    # Not if the store encrypts: a plain object with the same bytes has the same ETag.
    md5 = etag_md5(backend, info) if info.size == size else None
    digest, in_parts, _ = (info.etag or "").strip('"').partition("-")
    with path.open("rb") as file:
        if md5:
            if md5_of(iter(partial(file.read, MiB), b"")) == md5:
                return True
            if etag_md5(backend, info, confirm=True):
                return False
        elif in_parts and info.size == size and backend.capabilities.stored_checksum == "md5":
            parts = iter(partial(file.read, store.settings.mpu_chunksize_bytes), b"")
            if md5_of(bytes.fromhex(md5_of((part,))) for part in parts) == digest:
                return True
        file.seek(0)
        try:
            # The stored size of an encrypted object is larger than its content; the reader has
            # both.
            with store.open(Key(info.key), prefetch=False) as reader:
                return reader.size == size and all(
                    file.read(len(chunk)) == chunk for chunk in map(bytes, reader.chunks())
                )
        except (ObjectNotFoundError, EncryptionError, IntegrityError):
            return False  # deleted or unreadable: its transfer reports that
