"""``CloudFile``: one file. ``dl``: files of many buckets."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Self

from cottoncandy.cloudfiles.base import as_items, is_single
from cottoncandy.cloudfiles.files import CloudFiles
from cottoncandy.cloudfiles.paths import asbucketpath, extract, normalize, split
from cottoncandy.cloudfiles.reading import Paths
from cottoncandy.core.output import printable
from cottoncandy.exceptions import InvalidArgumentError
from cottoncandy.stores.urls import mask


class CloudFile:
    """One file in any store.

    Parameters
    ----------
    path : str
        A cloud path, or a path on disk.
    cache_meta : bool, default False
        Whether to remember header and size after the first request.
    **options
        Those of :class:`CloudFiles`: ``secrets``, ``endpoint``, ``locking``, ``lock_dir``,
        ``no_sign_request``, ``request_payer``, ``use_https``, ``composite_upload_threshold``.

    Examples
    --------
    >>> file = CloudFile("mem://bucket/greeting")
    >>> file.put(b"hello world")
    1
    >>> file[:5], file.size(), len(file)
    (b'hello', 11, 11)
    """

    def __init__(
        self, path: str | os.PathLike[str], *, cache_meta: bool = False, **options: Any
    ) -> None:
        self.path = normalize(path)
        folder, self.filename = split(self.path)
        if not self.filename or folder.endswith(("://", ":/")):
            raise InvalidArgumentError(f"{mask(self.path)!r} is not the path of a file")
        self.cache_meta = cache_meta
        self.cf = CloudFiles(folder, **options)
        self.protocol, self.sep, self.lock_dir = self.cf.protocol, self.cf.sep, self.cf.lock_dir
        self._head: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<CloudFile {printable(mask(self.path))}>"

    def clear_locks(self) -> None:
        """Remove all lock files from ``lock_dir``."""
        self.cf.clear_locks()

    def get(self, ranges: Iterable[Any] | None = None, raw: bool = False) -> Any:
        """Download the file, or ranges of it.

        Parameters
        ----------
        ranges : iterable of slice, (int, int) or dict, optional
            Ranges of bytes, half-open; dictionaries have ``start`` and ``end``.
        raw : bool, default False
            Whether to return the content as it is stored, still compressed.

        Returns
        -------
        content : bytes or None
            None if the file does not exist.
        files : list of dict
            With ``ranges``, as :meth:`CloudFiles.get` returns them.
        """
        if ranges is None:
            return self.cf.get(self.filename, raw=raw)
        return self.cf.get([self._range(each) for each in ranges], raw=raw)

    def _range(self, part: Any) -> dict[str, Any]:
        if isinstance(part, Mapping):
            return {**part, "path": self.filename}
        start, end = (part.start, part.stop) if isinstance(part, slice) else part
        return {"path": self.filename, "start": start, "end": end}

    def get_json(self) -> Any:
        """Download the file as JSON; None if it does not exist."""
        return self.cf.get_json(self.filename)

    def put(self, content: Any, *args: Any, **options: Any) -> int:
        """Upload the file; the options are those of :meth:`CloudFiles.put`."""
        self._head = None
        return self.cf.put(self.filename, content, *args, **options)

    def put_json(self, content: Any, *args: Any, **options: Any) -> int:
        """Upload a value as JSON; the options are those of :meth:`CloudFiles.put_json`."""
        self._head = None
        return self.cf.put_json(self.filename, content, *args, **options)

    def head(self) -> dict[str, Any] | None:
        """Return the header, as :meth:`CloudFiles.head` does; None if the file does not exist."""
        if self._head is None or not self.cache_meta:
            self._head = self.cf.head(self.filename)
        return self._head

    def size(self) -> int | None:
        """Return the stored size in bytes; None if the file does not exist."""
        head = self.head()
        return None if head is None else head["Content-Length"]

    def exists(self) -> bool:
        """Return whether the file exists."""
        return bool(self.cf.exists(self.filename))

    def get_acl(self) -> Any:
        """Return the permissions by the name of the file, as :meth:`CloudFiles.get_acl` does."""
        return self.cf.get_acl(self.filename)

    def delete(self) -> int:
        """Delete the file, if it exists."""
        self._head = None
        return self.cf.delete(self.filename)

    def touch(self) -> None:
        """Create an empty file, or renew the date of the existing one."""
        self._head = None
        self.cf.touch(self.filename)

    def move(self, dest: str) -> None:
        """Move the file to a cloud path, or to another name in its directory."""
        self._head = None
        self.cf.move(self.filename, dest)

    def transfer_to(self, cloudpath: str | Self, reencode: str | bool | None = None) -> None:
        """Copy the file to a cloud path; the encoding as in :meth:`CloudFiles.transfer_to`."""
        folder, name = _parts(cloudpath)
        self.cf.transfer_to(folder, [(self.filename, name)], reencode=reencode)
        if isinstance(cloudpath, CloudFile):
            cloudpath._head = None

    def transfer_from(self, cloudpath: str | Self, reencode: str | bool | None = None) -> None:
        """Copy a file to this one."""
        folder, name = _parts(cloudpath)
        self.cf.transfer_from(folder, [(name, self.filename)], reencode=reencode)
        self._head = None

    def join(self, *paths: str) -> str:
        """Join paths with ``/``."""
        return self.cf.join(*paths)

    def dirname(self, path: str | None = None) -> str:
        """Return the cloud path of the directory, or a path without its last part."""
        return self.cf.cloudpath if path is None else self.cf.dirname(path)

    def basename(self, path: str | None = None) -> str:
        """Return the name of the file, or the last part of a path."""
        return self.filename if path is None else self.cf.basename(path)

    def __len__(self) -> int:
        return self.size() or 0

    def __bool__(self) -> bool:
        return True  # an empty file is a file

    def __getitem__(self, span: slice) -> bytes | None:
        content: bytes | None = self.cf[self.filename, span]
        return content

    def __setitem__(self, span: slice, content: Any) -> None:
        if span != slice(None):
            raise InvalidArgumentError("a file is written whole: file[:] = content")
        self.put(content)


def _parts(place: str | os.PathLike[str] | CloudFile) -> tuple[Any, str]:
    """Return the directory of a file, and its name."""
    if isinstance(place, CloudFile):
        return place.cf, place.filename
    return split(normalize(place))


def _bucket_of(cloudpath: str) -> tuple[str, str]:
    """Return the bucket of a file, or its directory on disk and on web servers, and the path."""
    path = extract(cloudpath)
    return split(cloudpath) if path.bucket is None else (asbucketpath(path), path.path)


def dl(cloudpaths: Paths, raw: bool = False, **options: Any) -> Any:
    """Download files of many buckets at once.

    Parameters
    ----------
    cloudpaths : str, dict, or iterable of them
        Cloud paths, or dictionaries with ``path`` and a range of bytes, as ``start`` and ``end`` or
        ``byte_range``.
    raw : bool, default False
        Whether to return the content as it is stored, still compressed.
    **options
        Those of :class:`CloudFiles`.

    Returns
    -------
    content : bytes or None
        Of one file; None if it does not exist.
    files : list of dict
        Of several, in order, as :meth:`CloudFiles.get` returns them, with the cloud path as
        ``fullpath``.

    Examples
    --------
    >>> CloudFile("mem://one/a").put(b"first"), CloudFile("mem://two/b").put(b"second")
    (1, 1)
    >>> [file["content"] for file in dl(["mem://one/a", "mem://two/b"])]
    [b'first', b'second']
    """
    names: list[Any] = []
    grouped: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for order, item in enumerate(as_items(cloudpaths)):
        file = item if isinstance(item, Mapping) else {"path": item}
        folder, path = _bucket_of(normalize(file["path"]))
        names.append(file["path"])
        grouped[folder][order] = {**file, "path": path}
    found: dict[int, dict[str, Any]] = {}
    for folder, files in grouped.items():
        contents = CloudFiles(folder, **options).get(list(files.values()), raw=raw)
        for order, content in zip(files, contents, strict=True):
            found[order] = {**content, "fullpath": names[order]}
    if is_single(cloudpaths):
        return found[0]["content"]
    return [found[order] for order in range(len(names))]
