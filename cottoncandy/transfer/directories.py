"""Directories on disk: uploading and downloading many files."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import starmap
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
from cottoncandy.transfer.engine import complete, run
from cottoncandy.transfer.sync import Step, SyncReport

#: Downloads one object: the path of its file, its key, and the number of threads.
Download = Callable[[Path, Key, int], object]
#: Uploads one file: the same, and the ``ExtraArgs`` that its sidecar contains.
Upload = Callable[[Path, Key, int, dict[str, Any]], object]

_logger = logging.getLogger(__name__)

_MAX_NAME_BYTES = 255  # of common file systems


class _File(NamedTuple):
    """One file on disk, its path below the directory, with ``/``, and why it cannot be read."""

    path: Path
    relative: str = ""
    size: int = 0
    error: OSError | None = None
    extra: dict[str, Any] = {}  # noqa: RUF012 - never changed


# -- up ------------------------------------------------------------------------------------------


def upload_directory(
    store: Store,
    root: Path,
    target: Key,
    upload: Upload,
    *,
    recursive: bool,
    threads: int,
    skip_existing: bool,
    dry_run: bool,
) -> SyncReport | None:
    """Upload the files below a directory; return what a dry run would do."""
    files = _files_below(root, recursive)
    existing: dict[str, ObjectInfo] = {}
    if skip_existing or dry_run:
        existing = {info.key: info for info in objects_below(store.backend, target)}
    large = store.settings.mpu_use_threshold_bytes

    def decide(file: _File) -> Step:
        known = existing.get(pathjoin(target, file.relative))
        ends = None if known is None else (known, file.path)
        return _step(store, file.relative, file.size, ends, skip_existing)

    if dry_run:
        return _dry_run((decide(file) for file in files if file.error is None), None, store.backend)

    def transfer(file: _File) -> None:
        if file.error is not None:
            raise file.error
        key = Key(pathjoin(target, file.relative))
        if decide(file).verb != "skip":
            upload(file.path, key, threads if file.size > large else 1, file.extra)

    def describe(failures: int, total: int) -> str:
        return (
            f"{failures} of {total} files below '{root}' could not be uploaded to '{target}' in "
            f"bucket '{store.bucket}', the others are there"
        )

    workers = store.bulk_threads(threads)
    outcomes = run(transfer, files, threads=workers, name=lambda file: str(file.path))
    show, count = store.settings.progress, len(files)
    complete(outcomes, describe, total=count, label=f"uploading {root}", show=show)
    return None


def _files_below(root: Path, recursive: bool) -> list[_File]:
    """Return the regular files, sorted within each directory, and what could not be read.

    Symbolic links to files and directories are followed, except those back to a parent directory.
    Sockets, pipes, devices and unfinished downloads are skipped. If the directory is a local store,
    the sidecars are not files but the metadata of those next to them.
    """
    files: list[_File] = []
    left_out = 0
    pending = [(root, "", frozenset([_identity(root.stat())]))]
    while pending:
        directory, relative, above = pending.pop()
        try:
            paths = sorted(directory.iterdir())
        except OSError as exc:
            if not relative:
                raise
            files.append(_File(directory, error=exc))
            continue
        deeper = []
        sidecars = _sidecars(paths)
        for path in paths:
            try:
                status = path.stat()
            except OSError as exc:  # a dangling link, or just deleted
                files.append(_File(path, error=exc))
                continue
            if is_temporary(path.name):
                _logger.info("skipping %s: an unfinished download", path)
            elif stat.S_ISREG(status.st_mode):
                body = path.name.removesuffix(SIDECAR_SUFFIX)
                if body != path.name and body in sidecars:
                    continue
                extra = sidecars.get(path.name, {})
                files.append(_File(path, relative + path.name, status.st_size, extra=extra))
            elif not stat.S_ISDIR(status.st_mode):
                _logger.info("skipping %s: neither a file nor a directory", path)
            elif not recursive:
                left_out += 1
            else:
                identity = _identity(status)
                if identity in above:
                    _logger.warning("skipping %s: it links back to a parent directory", path)
                else:
                    deeper.append((path, f"{relative}{path.name}{SEPARATOR}", above | {identity}))
        pending.extend(reversed(deeper))
    if left_out:
        _logger.warning(
            "%d directories in '%s' are not uploaded; pass recursive=True to upload them too",
            left_out,
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
            if body == path.name or not path.with_name(body).is_file():
                continue
            content = path.read_bytes()
            entries = json.loads(content)
            # As backends/local/sidecar.py writes it, which cannot be imported on Windows.
            if json.dumps(entries, indent=4).encode() == content and all(
                isinstance(text, str) for text in entries.values()
            ):
                metadata, headers = split_entries(entries)
                headers.pop("storage_class", None)  # which means something on that store only
                extra = {name.title().replace("_", ""): text for name, text in headers.items()}
                found[body] = {"Metadata": metadata, **extra}
    return found


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


# -- down ----------------------------------------------------------------------------------------


def download_directory(
    store: Store,
    directory: str,
    root: Path,
    download: Download,
    *,
    threads: int,
    skip_existing: bool,
    dry_run: bool,
) -> SyncReport | None:
    """Download the objects below a name; return what a dry run would do."""
    branch, objects = _directory_objects(store, directory)
    files, directories = _plan(branch, objects, store.bucket)
    _check_disk(root, files, {"", *directories})

    def decide(relative: str, info: ObjectInfo) -> Step:
        path = root / relative
        ends = (info, path) if path.is_file() else None
        return _step(store, relative, info.size, ends, skip_existing)

    if dry_run:
        return _dry_run(starmap(decide, files.items()), store.backend, None)
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    _check_spellings(root, {*files, *directories})
    for relative in sorted(directories):  # parents first
        with disk_errors(root / relative):
            (root / relative).mkdir(exist_ok=True)
    large = store.settings.mpd_use_threshold_bytes

    def transfer(file: tuple[str, ObjectInfo]) -> None:
        relative, info = file
        if decide(relative, info).verb != "skip":
            download(root / relative, Key(info.key), threads if info.size > large else 1)

    def describe(failures: int, total: int) -> str:
        return (
            f"{failures} of {total} objects below '{branch}' in bucket '{store.bucket}' could "
            f"not be downloaded to '{root}', the others are there"
        )

    workers = store.bulk_threads(threads)
    outcomes = run(transfer, files.items(), threads=workers, name=lambda file: file[1].key)
    show, count = store.settings.progress, len(files)
    complete(outcomes, describe, total=count, label=f"downloading {branch}", show=show)
    return None


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


def _step(
    store: Store, relative: str, size: int, ends: tuple[ObjectInfo, Path] | None, compared: bool
) -> Step:
    """Return the step of a file; ``ends`` are the object and the file, if it is at both."""
    if ends is None:
        return Step("copy", relative, "not in the destination", size)
    if compared and same_bytes(store, *ends):
        return Step("skip", relative, "the content is the same")
    return Step("replace", relative, "the content differs" if compared else "it exists", size)


def _dry_run(steps: Iterable[Step], source: Backend | None, dest: Backend | None) -> SyncReport:
    report = SyncReport(dry_run=True)
    deque(report.noting(steps), 0)
    report.estimate(source, dest)
    return report


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
