"""Downloading files, and looking at them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any, NamedTuple, cast

from cottoncandy.backends.base import Backend, ObjectInfo
from cottoncandy.cloudfiles.base import (
    LARGE_THREADS,
    FilesBase,
    as_items,
    finish,
    is_single,
    mapped,
    path_text,
)
from cottoncandy.cloudfiles.compression import decompress
from cottoncandy.cloudfiles.exceptions import CRC32CIntegrityError, MD5IntegrityError
from cottoncandy.cloudfiles.monitoring import Flight, IOEnum, TransmissionMonitor
from cottoncandy.core.buffers import Buffer
from cottoncandy.exceptions import (
    IntegrityError,
    InvalidArgumentError,
    ObjectNotFoundError,
    UnsupportedOperationError,
)
from cottoncandy.stores.store import Store
from cottoncandy.transfer.copying import check_content, etag_md5, md5_of
from cottoncandy.transfer.engine import Result, each, listing

Paths = str | os.PathLike[str] | Mapping[str, Any] | Iterable[Any]


class File(NamedTuple):
    """One file to download, or a range of it, and its place in the list."""

    path: str
    order: int
    start: int | None = None
    end: int | None = None
    tags: Any = None
    raw: bool = False

    @property
    def span(self) -> slice:
        return slice(self.start, self.end)

    @property
    def ranged(self) -> bool:
        return (self.start, self.end) != (None, None)


def requested(order: int, item: Any, *, raw: bool = False) -> File:
    """Return what an item of ``get`` asks for: a path, or a dictionary with a range."""
    if isinstance(item, str | os.PathLike):
        return File(os.fspath(item), order, raw=raw)
    if not isinstance(item, Mapping) or "path" not in item:
        raise InvalidArgumentError(
            f"a file to download is a path, or a dictionary with 'path', got {item!r:.80}"
        )
    start, end = item.get("byte_range") or (item.get("start"), item.get("end"))
    return File(path_text(item["path"]), order, start, end, item.get("tags"), raw)


class Found(NamedTuple):
    """The content of a file, the encoding in the store, and how it arrived."""

    content: Buffer
    encoding: str | None
    flight: Flight


class ReadingMethods(FilesBase):
    """Methods that read contents, headers and listings."""

    def get(
        self,
        paths: Paths,
        *,
        total: int | None = None,
        raw: bool = False,
        progress: bool | None = None,
        parallel: int | bool | None = None,
        return_dict: bool = False,
        raise_errors: bool = True,
        part_size: int | None = None,
        return_recording: bool = False,
    ) -> Any:
        """Download files.

        Parameters
        ----------
        paths : str, dict, or iterable of them
            A dictionary has ``path`` and optionally ``start`` and ``end``, a range of bytes, and
            ``tags``, which is returned.
        total : int, optional
            Number of files in a generator, for the progress bar.
        raw : bool, default False
            Whether to return the content as it is stored, still compressed.
        progress, parallel : optional
            Override those of the instance.
        return_dict : bool, default False
            Whether to return a dictionary from path to content.
        raise_errors : bool, default True
            Whether to raise the first error after all other files were downloaded. Otherwise it is
            returned as ``error``, unless the result has no place for it.
        part_size : int, optional
            Size of the parts that files on S3 were uploaded in, to check their ETags.
        return_recording : bool, default False
            Whether to return a pair of the result and a ``TransmissionMonitor``.

        Returns
        -------
        content : bytes or None
            Of one file; None if it does not exist.
        files : list of dict
            Of several, in order: ``path``, ``content`` (None if it does not exist), ``byte_range``,
            ``error``, ``compress`` (the content encoding it is stored with), ``raw`` and ``tags``.

        Raises
        ------
        MD5IntegrityError
            If a whole file does not have the MD5 that the store has for it.
        DecompressionError
            If a file is not in its content encoding.
        AuthorizationError
            If access is denied; a denied file is not a missing one.

        Notes
        -----
        A range of a compressed file is cut out of its decompressed content. All results are held in
        memory; use :meth:`iter_get` for more files than fit.
        """
        single = is_single(paths)
        order = count()
        files = mapped(lambda item: requested(next(order), item, raw=raw), paths)
        call = partial(self._get_again, part_size=part_size)
        found = list(self._each(call, files, "downloading", total, progress, parallel))
        found.sort(key=lambda result: result.item.order)
        if raise_errors or return_dict or single:
            finish(found)
        contents = [_as_dict(result) for result in found]
        value: Any = contents
        if return_dict:
            value = {file["path"]: file["content"] for file in contents}
        elif single:
            value = contents[0]["content"]
        if not return_recording:
            return value
        monitor = TransmissionMonitor(IOEnum.RX)
        for result in found:
            if result.value is not None:
                monitor._record(result.value.flight)
        return value, monitor

    def iter_get(
        self, paths: Iterable[str | Mapping[str, Any]], *, raw: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield files as :meth:`get` returns them, each as soon as it is there.

        At most twice ``num_threads`` files are held in memory. Errors are in ``error``.

        Examples
        --------
        >>> from cottoncandy import CloudFiles
        >>> cf = CloudFiles("mem://bucket/iterate")
        >>> cf.put("a", b"first")
        1
        >>> [file["content"] for file in cf.iter_get(cf.list())]
        [b'first']
        """
        files = map(partial(requested, raw=raw), count(), as_items(paths))
        results = each(self._get_again, files, threads=self.num_threads, local=self._local)
        return map(_as_dict, results)

    def _get_again(self, file: File, part_size: int | None = None) -> Found | None:
        return self._retrying(partial(self._get, file, part_size))

    def _get(self, file: File, part_size: int | None) -> Found | None:
        """Return one file; None if it does not exist."""
        backend, key = self._store.backend, self._key(file.path)
        # If a range is far from the start, only the header is requested first.
        part = file.ranged
        prefetch = not (file.start or (part and file.end is None))
        try:
            with self._locked(file.path, shared=True):
                begun = time.time()
                with backend.get(key, threads=LARGE_THREADS, prefetch=prefetch) as reader:
                    info = reader.info
                    ranged = part and (file.raw or not info.content_encoding)
                    start, stop, _ = file.span.indices(info.size) if ranged else (0, info.size, 1)
                    content: Buffer = reader.read(start, max(start, stop))
                flight = Flight(begun, time.time(), len(content))
        except ObjectNotFoundError:
            return None
        if not ranged:
            verify(backend, info, content, part_size)
        encoding = info.content_encoding
        if encoding and not file.raw:
            content = decompress(content, encoding, file.path)
            content = content[file.span] if part else content
        return Found(content, encoding, flight)

    def get_json(self, paths: Paths, total: int | None = None) -> Any:
        """Download JSON files; return the value of one, or a list in order. None if missing.

        Raises
        ------
        json.JSONDecodeError
            If a file is not JSON.
        """
        found = self.get(paths, total=total)
        if is_single(paths):
            return None if found is None else json.loads(found)
        contents = (file["content"] for file in found)
        return [None if content is None else json.loads(content) for content in contents]

    # -- looking ---------------------------------------------------------------------------------

    def exists(self, paths: Paths, total: int | None = None, progress: bool | None = None) -> Any:
        """Return whether a file exists, or a dictionary from path to that."""
        return self._ask(self._exists, paths, total, progress, "looking for")

    def _exists(self, path: str) -> bool:
        return self._retrying(lambda: self._store.backend.exists(self._key(path)))

    def size(
        self,
        paths: Paths,
        total: int | None = None,
        progress: bool | None = None,
        return_sum: bool = False,
    ) -> Any:
        """Return the stored size of a file in bytes, or a dictionary from path to that.

        None for a file that does not exist. With ``return_sum``, the sum of all sizes.
        """

        def size(path: str) -> int | None:
            info = self._head(path)
            return None if info is None else info.size

        found = self._ask(size, paths, total, progress, "measuring")
        if not return_sum:
            return found
        return sum(filter(None, found.values())) if isinstance(found, dict) else found or 0

    def head(self, paths: Paths, total: int | None = None, progress: bool | None = None) -> Any:
        """Return the header of a file, or a dictionary from path to that; None if it is missing.

        The names are those of HTTP: ``Content-Length``, ``Content-Type``, ``ETag``, ...
        """

        def head(path: str) -> dict[str, Any] | None:
            info = self._head(path)
            return None if info is None else _header(self._store, info)

        return self._ask(head, paths, total, progress, "reading headers")

    def _head(self, path: str) -> ObjectInfo | None:
        try:
            return self._retrying(lambda: self._store.backend.head(self._key(path)))
        except ObjectNotFoundError:
            return None

    def get_acl(
        self,
        paths: Paths,
        total: int | None = None,
        progress: bool | None = None,
        return_recording: bool = False,
    ) -> Any:
        """Return a dictionary from path to the permissions of a file: ``Owner`` and ``Grants``.

        On disk, the mode; None if the file does not exist, or the store keeps no permissions.
        """

        def acl(path: str) -> Any:
            backend, key = self._store.backend, self._key(path)
            try:
                if self.protocol == "file":
                    with backend.get(key) as reader:
                        return os.fstat(reader.descriptor).st_mode  # type: ignore[attr-defined]  # a file on disk
                return self._retrying(partial(backend.acl, key))
            except (ObjectNotFoundError, UnsupportedOperationError):
                return None

        found = self._ask(acl, as_items(paths), total, progress, "reading permissions")
        return (found, TransmissionMonitor(IOEnum.RX)) if return_recording else found

    def list(
        self,
        prefix: str = "",
        flat: bool = False,
        size: bool = False,
        return_resume_token: bool = False,
        resume_token: str | None = None,
    ) -> Iterator[Any]:
        """Yield the paths of files, sorted, as the store lists them.

        Parameters
        ----------
        prefix : str, default ''
            Beginning of the paths; it may end within a name.
        flat : bool, default False
            Whether to stop at the next ``/`` after the prefix, and yield directories with it.
        size : bool, default False
            Whether to yield pairs of path and stored size in bytes. Directories have no size.
        return_resume_token : bool, default False
            Whether to add a token to each path, which continues the listing after it.
        resume_token : str, optional
            Where to continue.
        """
        store, base = self._connection
        found = listing(
            store,
            base + path_text(prefix),
            delimiter="/" if flat else "",
            start_after=base + resume_token if resume_token else "",
        )
        start, plain = len(base), not (size or return_resume_token)
        for entry in found:
            path = entry.key[start:]
            if not path:
                continue  # the marker of the directory itself
            if plain:
                yield path
                continue
            extras: Any = [entry.size] if size and isinstance(entry, ObjectInfo) else []
            extras += [path] if return_resume_token else []
            yield (path, *extras) if extras else path

    def __iter__(self) -> Iterator[str]:
        return self.list()

    def isdir(self, prefix: str = "") -> bool:
        """Return whether there are files below a path."""
        store, base = self._connection
        return self._retrying(lambda: store.has_below(base + path_text(prefix or "")))

    def subtree_size(self, prefix: str | Iterable[str] = "") -> dict[str, int]:
        """Return number (``N``) and total size (``num_bytes``) of the files with a prefix."""
        store, base = self._connection
        count = nbytes = 0
        for each_ in as_items(prefix):
            for info in listing(store, base + path_text(each_)):
                count, nbytes = count + 1, nbytes + cast("ObjectInfo", info).size
        return {"N": count, "num_bytes": nbytes}


def verify(backend: Backend, info: ObjectInfo, content: Buffer, part_bytes: int | None) -> None:
    """Compare whole content with the MD5 that the store has, or that of its parts.

    Raises
    ------
    MD5IntegrityError, CRC32CIntegrityError
    """
    if (backend.capabilities.stored_checksum, info.md5, info.crc32c) == (None, None, None):
        return
    digest, _, parts = (info.etag or "").strip('"').partition("-")
    if part_bytes and parts.isdigit():
        pieces = (content[at : at + part_bytes] for at in range(0, len(content), part_bytes))
        digests = [hashlib.md5(piece, usedforsecurity=False).digest() for piece in pieces]
        if len(digests) != int(parts) or md5_of(digests) != digest:
            raise MD5IntegrityError(
                f"file '{info.key}' arrived with another MD5 than that of its parts in the store; "
                f"download it again"
            )
        return
    try:
        check_content(backend, info, content)
    except IntegrityError as exc:
        crc32c = info.md5 is None and info.crc32c is not None
        raise (CRC32CIntegrityError if crc32c else MD5IntegrityError)(str(exc)) from exc


def _as_dict(result: Result[File, Found | None]) -> dict[str, Any]:
    file, found = result.item, result.value
    return {
        "path": file.path,
        "content": found and found.content,
        "byte_range": (file.start, file.end),
        "error": result.error,
        "compress": found and found.encoding,
        "raw": file.raw,
        "tags": file.tags,
    }


def _header(store: Store, info: ObjectInfo) -> dict[str, Any]:
    backend = store.backend
    digest, storage_class = etag_md5(backend, info), info.storage_class
    if storage_class is None and "storage_class" in backend.capabilities.headers:
        storage_class = backend.storage_class(info.key)
    return {
        "Cache-Control": info.cache_control,
        "Content-Length": info.size,
        "Content-Type": info.content_type,
        "ETag": info.etag,
        "Last-Modified": info.modified,
        "Content-Md5": digest and _base64(digest),
        "Content-Encoding": info.content_encoding,
        "Content-Disposition": None,
        "Content-Language": None,
        "Storage-Class": storage_class,
        "Request-Charged": None,
        "Parts-Count": None,
        **({} if info.crc32c is None else {"Content-Crc32c": _base64(info.crc32c)}),
    }


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()
