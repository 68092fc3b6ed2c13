"""Uploading, deleting and touching files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

from cottoncandy.backends.base import ObjectInfo, PutOptions
from cottoncandy.cloudfiles.base import (
    ACL,
    LARGE_THREADS,
    FilesBase,
    as_items,
    finish,
    is_pair,
    path_text,
)
from cottoncandy.cloudfiles.compression import normalize_encoding
from cottoncandy.cloudfiles.content import json_bytes, upload_body
from cottoncandy.cloudfiles.monitoring import IOEnum, TransmissionMonitor, recorded
from cottoncandy.cloudfiles.reading import Paths
from cottoncandy.exceptions import InvalidArgumentError
from cottoncandy.transfer.copying import copy_object
from cottoncandy.transfer.engine import Result, retrying

__all__ = ["WritingMethods"]


class WritingMethods(FilesBase):
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
        given = _settings(locals())
        items = [files] if isinstance(files, Mapping) or is_pair(files) else files
        lazy = (_as_file(item, given) for item in items)
        sized = isinstance(items, list | tuple)
        monitor = TransmissionMonitor(IOEnum.TX)
        results = self._each(
            partial(self._put, monitor=monitor if return_recording else None),
            _unique(lazy) if sized else lazy,
            "uploading",
            total=total,
            progress=progress,
            parallel=parallel,
        )
        count = finish(results)
        return (count, monitor) if return_recording else count

    def _put(self, file: Mapping[str, Any], monitor: TransmissionMonitor | None = None) -> int:
        path = file["path"]
        key = self._key(path)
        encoding = normalize_encoding(file.get("compress"))
        applied = None if file.get("raw") else encoding
        body = upload_body(file.get("content"), path, applied, file.get("compression_level"))
        headers = {name: file.get(name) for name in _HEADERS}
        for name, value in headers.items():
            if not isinstance(value, str | None):
                raise InvalidArgumentError(f"{name} must be text, got {value!r:.80}")
        backend = self._store.backend
        kept = backend.capabilities
        options = _options(kept.default_acl, kept.headers, encoding, **headers)
        put = partial(backend.put, key, body, options, threads=LARGE_THREADS)
        with self._locks.held(self.cloudpath, path), recorded(monitor) as flight:
            retrying(put, self._store) if body.replayable else put()
            flight.nbytes = body.size or 0
        return flight.nbytes

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

    def put_jsons(self, files: Any, **options: Any) -> Any:
        """Upload values as JSON: NumPy arrays and numbers too, NaN as ``null``.

        Parameters
        ----------
        files : tuple, dict, or iterable of them
            As in :meth:`puts`, with any value as the content.
        **options
            Those of :meth:`puts`.
        """
        single = isinstance(files, Mapping) or is_pair(files)

        def encoded(item: Any) -> dict[str, Any]:
            file = _as_file(item, {})
            return {**file, "content": json_bytes(file["content"], file["path"])}

        options.setdefault("content_type", "application/json")
        if single:
            return self.puts(encoded(files), **options)
        lazy = map(encoded, files)
        return self.puts(list(lazy) if isinstance(files, list | tuple) else lazy, **options)

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
        CottonCandyError
            The first error, with a note about the others; all other files were deleted.
        """
        items = as_items(paths)
        start = len(self._connection[1])
        keys = map(self._key, items)
        outcomes = self._store.backend.delete(keys, threads=min(self.num_threads, 8))
        with self._bar("deleting", items, total, progress) as bar:

            def results() -> Iterator[Result[str, None]]:
                for key, error in outcomes:
                    bar.update(1)
                    yield Result(key[start:], None, error)

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
            key = self._key(path)
            if not self._store.backend.exists(key):
                self._put({"path": path, "content": b""})
            elif not nocopy:
                copy_object(self._store, key, self._store, key, acl=ACL, convert=_unchanged)

        finish(self._each(touch, paths, "touching", total=total, progress=progress, parallel=1))


@lru_cache
def _options(
    default_acl: bool,
    kept: frozenset[str],
    encoding: str | None,
    *,
    content_type: str | None,
    cache_control: str | None,
    storage_class: str | None,
) -> PutOptions:
    """Return what a store keeps of the options of a file; most files of a call have the same."""
    values = (encoding, cache_control, storage_class)
    headers = dict(zip(("content_encoding", "cache_control", "storage_class"), values, strict=True))
    options = PutOptions(acl=ACL if default_acl else None, content_type=content_type)
    return options.changed(**{name: headers[name] for name in headers.keys() & kept})


_HEADERS = ("content_type", "cache_control", "storage_class")
_SETTINGS = (*_HEADERS, "compress", "compression_level", "raw")


def _settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a put that may also be set for each file."""
    return {name: arguments[name] for name in _SETTINGS if name in arguments}


def _as_file(item: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file to upload as a dictionary; its own settings win."""
    if isinstance(item, Mapping) and "path" in item:
        return {**settings, **item, "path": path_text(item["path"])}
    if is_pair(item):
        return {**settings, "path": path_text(item[0]), "content": item[1]}
    raise InvalidArgumentError(
        f"a file to upload is a pair of path and content, or a dictionary, got {item!r:.80}"
    )


def _unique(files: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return files in a list, before anything is stored; each path may occur once."""
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        if found.setdefault(file["path"], file) is not file:
            raise InvalidArgumentError(f"file '{file['path']}' occurs twice; nothing was stored")
    return list(found.values())


def _unchanged(info: ObjectInfo, body: Any, options: PutOptions) -> tuple[Any, PutOptions]:
    return body, options
