"""Uploading, deleting and touching files."""

from __future__ import annotations

import json
import os
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID

from cottoncandy.backends.base import IfAbsent, ObjectInfo
from cottoncandy.backends.local.files import SUFFIXES
from cottoncandy.cloudfiles.base import (
    ACL,
    LARGE_THREADS,
    as_items,
    finish,
    is_pair,
    is_single,
    path_text,
)
from cottoncandy.cloudfiles.compression import encoded_body, normalize_encoding
from cottoncandy.cloudfiles.monitoring import Flight, IOEnum, TransmissionMonitor
from cottoncandy.cloudfiles.processes import process_count
from cottoncandy.cloudfiles.reading import Paths, ReadingMethods, verify
from cottoncandy.core.buffers import Body
from cottoncandy.core.files import disk_errors
from cottoncandy.exceptions import (
    InvalidArgumentError,
    InvalidNameError,
    ObjectChangedError,
    ObjectExistsError,
    UnsupportedOperationError,
)
from cottoncandy.transfer.copying import kept_by
from cottoncandy.transfer.engine import Result, delete_all

# Parts of one large file that are sent at once: with fewer, a server waits between them.
_ALONE_THREADS = 12


class WritingMethods(ReadingMethods):
    """Methods that store and delete files."""

    def put(
        self,
        path: str,
        content: Any,
        content_type: str | None = None,
        compress: str | bool | None = None,
        compression_level: int | None = None,
        cache_control: str | None = None,
        raw: bool = False,
        storage_class: str | None = None,
    ) -> int:
        """Upload one file; the parameters are those of :meth:`puts`. Returns 1."""
        file = {"path": path, "content": content}
        settings = _settings(locals())
        return int(self.puts([file], progress=False, parallel=1, **settings))

    def puts(
        self,
        files: Any,
        *,
        content_type: str | None = None,
        compress: str | bool | None = None,
        compression_level: int | None = None,
        cache_control: str | None = None,
        total: int | None = None,
        raw: bool = False,
        progress: bool | None = None,
        parallel: int | bool | None = None,
        storage_class: str | None = None,
        return_recording: bool = False,
        compression: str | bool | None = None,
    ) -> Any:
        """Upload files.

        Parameters
        ----------
        files : tuple, dict, or iterable of them
            Pairs of path and content, or dictionaries with ``path``, ``content`` and any of
            ``content_type``, ``compress``, ``compression_level``, ``cache_control``, ``raw`` and
            ``storage_class``, which override the parameters. Content is bytes-like, text (stored as
            UTF-8) or a file that is open for reading bytes.
        content_type : str, optional
            MIME type.
        compress : str, bool or None
            Content encoding to store the files with: ``'gzip'``, ``'br'``, ``'zstd'``, ``'xz'`` or
            ``'bz2'``; True is gzip.
        compression_level : int, optional
            Default: a fast one.
        cache_control : str, optional
        total : int, optional
            Number of files in a generator, for the progress bar.
        raw : bool, default False
            Whether the content is compressed already, as ``compress`` says.
        progress, parallel : optional
            Override those of the instance.
        storage_class : str, optional
            A storage class of the store.
        return_recording : bool, default False
            Whether to return a pair of the count and a ``TransmissionMonitor``.
        compression : str, bool or None
            Accepted because the document shows it: the same as ``compress``.

        Returns
        -------
        count : int
            Number of files.

        Raises
        ------
        InvalidArgumentError
            If a path occurs twice, the content is not bytes, or the compression does not exist.
        CottonCandyError
            The first error, with a note about the others; all other files were uploaded.
        """
        compress = compression if compress is None else compress
        given = _settings(locals())
        items = _made(partial(_as_file, settings=given), files)
        if isinstance(items, list):
            self._check_unique(items)
        alone = (len(items) if isinstance(items, list) else total) == 1
        put = partial(self._put, threads=_ALONE_THREADS if alone else LARGE_THREADS)
        monitor = TransmissionMonitor(IOEnum.TX)
        results = self._each(put, items, "uploading", total, progress, parallel)
        count = finish(results, monitor if return_recording else None)
        return (count, monitor) if return_recording else count

    def _check_unique(self, files: list[dict[str, Any]]) -> None:
        """Raise, before anything is stored, if a path occurs twice."""
        found: dict[str, dict[str, Any]] = {}
        for file in files:
            path = file["path"]
            if found.setdefault(path, file) is not file:
                raise InvalidArgumentError(f"file '{path}' occurs twice; nothing was stored")
        for path, file in found.items() if self.protocol == "file" else ():
            plain, suffix = posixpath.splitext(path)
            twins = plain != path and plain in found and suffix in SUFFIXES.values()
            pair = (file, found[plain]) if twins else ()
            if path in (each["path"] + _suffix(each) for each in pair):
                raise InvalidArgumentError(
                    f"'{path}' is '{plain}' in a content encoding, on disk; nothing was stored. "
                    f"Choose another name for one of them"
                )

    def _put(
        self,
        file: dict[str, Any],
        condition: IfAbsent | None = None,
        threads: int = LARGE_THREADS,
    ) -> Flight:
        path = file["path"]
        key = self._key(path)
        encoding = normalize_encoding(file.get("compress"))
        applied = None if file.get("raw") else encoding
        content = file.pop("content", None)  # results need not keep it
        body = upload_body(content, path, applied, file.get("compression_level"))
        headers = {name: file[name] for name in _HEADERS if file.get(name) is not None}
        for name, value in headers.items():
            if not isinstance(value, str):
                raise InvalidArgumentError(f"{name} must be text, got {value!r:.80}")
        backend = self._store.backend
        options = kept_by(backend.capabilities, acl=ACL, content_encoding=encoding, **headers)
        if condition is not None:
            options = options.changed(condition=condition)
        put = partial(backend.put, key, body, options, threads=threads)
        with self._locked(path):
            begun = time.time()
            result = self._retrying(put) if body.replayable else put()
            flight = Flight(begun, time.time(), body.size or 0)
        if body.buffer is not None and backend.capabilities.stored_checksum is not None:
            stored = ObjectInfo(key, len(body.buffer), etag=result.etag)
            verify(backend, stored, body.buffer, None)
        return flight

    def put_json(
        self,
        path: str,
        content: Any,
        compress: str | bool | None = None,
        compression_level: int | None = None,
        cache_control: str | None = None,
        storage_class: str | None = None,
    ) -> int:
        """Upload one value as JSON; the parameters are those of :meth:`puts`. Returns 1."""
        settings = _settings(locals())
        return int(self.put_jsons([(path, content)], progress=False, parallel=1, **settings))

    def put_jsons(
        self,
        files: Any,
        compress: str | bool | None = None,
        compression_level: int | None = None,
        cache_control: str | None = None,
        **options: Any,
    ) -> Any:
        """Upload values as JSON: NumPy arrays and numbers too, NaN as ``null``.

        Parameters
        ----------
        files : tuple, dict, or iterable of them
            As in :meth:`puts`, with any value as the content.
        compress : str, bool or None
        compression_level : int, optional
        cache_control : str, optional
        **options
            Those of :meth:`puts`, as those above.
        """
        options = {"content_type": "application/json"} | options | _settings(locals())

        def encoded(item: Any) -> dict[str, Any]:
            file = _as_file(item, {})
            return {**file, "content": json_bytes(file["content"], file["path"])}

        return self.puts(_made(encoded, files), **options)

    def delete(
        self,
        paths: Paths,
        total: int | None = None,
        progress: bool | None = None,
        parallel: int | bool | None = None,
    ) -> int:
        """Delete files, with bulk requests if the store has them. Missing files are skipped.

        Returns
        -------
        count : int
            Number of paths.

        Raises
        ------
        UnsupportedOperationError
            If one of several files is behind a link to a directory: it is stored elsewhere.
        CottonCandyError
            The first error, with a note about the others; all other files were deleted.
        """
        items = as_items(paths)
        process_count(1 if parallel is None else parallel)
        start = len(self._connection[1])
        is_here = self._endpoint().holds()
        linked: list[Result[str, None]] = []

        def keys() -> Iterator[str]:
            for path in map(path_text, items):
                key = self._key(path)
                with suppress(InvalidNameError):  # the store raises it
                    if not is_single(paths) and not is_here(path):
                        error = UnsupportedOperationError(
                            f"'{path}' is behind a link to a directory, and was not deleted; "
                            f"delete it alone, or remove the link"
                        )
                        linked.append(Result(path, None, error))
                        continue
                yield key

        with self._bar("deleting", items, total, progress) as bar:

            def results() -> Iterator[Result[str, None]]:
                threads = min(self.num_threads, 8)
                for key, error in delete_all(self._store, keys(), threads=threads):
                    bar.update(1)
                    yield Result(key[start:], None, error)
                yield from linked

            return finish(results())

    def touch(
        self,
        paths: Paths,
        progress: bool | None = None,
        total: int | None = None,
        nocopy: bool = False,
    ) -> None:
        """Create empty files; renew the date of existing ones, unless ``nocopy``."""

        def touch(path: str) -> None:
            info = self._head(path)
            with suppress(ObjectExistsError, ObjectChangedError):  # another client has just written
                if info is None:
                    self._put({"path": path, "content": b""}, condition=IfAbsent())
                elif not nocopy:
                    self._retrying(partial(self._renew, info))

        finish(self._each(touch, paths, "touching", total, progress, 1))

    def _renew(self, info: ObjectInfo) -> None:
        backend = self._store.backend
        if self.protocol == "file":
            with backend.get(info.key) as reader, disk_errors(info.key):
                os.utime(reader.descriptor)  # type: ignore[attr-defined]  # a file on disk
        else:
            backend.set_metadata(info.key, info.metadata or {}, etag=info.etag)


_HEADERS = ("content_type", "cache_control", "storage_class")
_SETTINGS = (*_HEADERS, "compress", "compression_level", "raw")


def _settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a put that may also be set for each file."""
    return {name: arguments[name] for name in _SETTINGS if name in arguments}


def _made(
    function: Callable[[Any], dict[str, Any]], files: Any
) -> list[dict[str, Any]] | Iterator[dict[str, Any]]:
    """Return what a function makes of each file; of other than lists, when it is needed.

    A sequence of another type may read each content from a disk.
    """
    items = [files] if is_pair(files) else as_items(files)
    made = map(function, items)
    return list(made) if isinstance(items, list | tuple) else made


def _as_file(item: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file to upload as a dictionary; its own settings win."""
    if isinstance(item, Mapping) and "path" in item:
        return {**settings, **item, "path": path_text(item["path"])}
    if is_pair(item):
        return {**settings, "path": path_text(item[0]), "content": item[1]}
    raise InvalidArgumentError(
        f"a file to upload is a pair of path and content, or a dictionary, got {item!r:.80}"
    )


def _suffix(file: Mapping[str, Any]) -> str:
    """Return what the name of a file on disk ends with, because of its encoding."""
    return SUFFIXES[normalize_encoding(file.get("compress"))]


def upload_body(content: Any, path: str, encoding: str | None, level: int | None) -> Body:
    """Return the body of an upload, compressed unless ``encoding`` is None.

    Raises
    ------
    InvalidArgumentError
        If the content is not bytes, text or a file of bytes.
    """
    if content is None:
        raise InvalidArgumentError(f"file '{path}' has no content; nothing was stored")
    body = Body.of(content.encode() if isinstance(content, str) else content)
    return body if encoding is None else encoded_body(body, encoding, level)


def json_bytes(value: Any, path: str) -> bytes:
    """Return a value as JSON; NaN and infinities become ``null``.

    Raises
    ------
    InvalidArgumentError
        If the value has no JSON.
    """
    options: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False, "default": _plain}
    try:
        try:
            text = json.dumps(value, allow_nan=False, **options)
        except ValueError:
            finite = json.loads(json.dumps(value, **options), parse_constant=lambda name: None)
            text = json.dumps(finite, **options)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidArgumentError(f"file '{path}' cannot be stored as JSON: {exc}") from exc


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy
        return value.tolist()
    if hasattr(value, "isoformat"):  # dates and times
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, os.PathLike | UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no JSON")
