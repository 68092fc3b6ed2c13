"""Descriptions of arrays: the user's metadata, and what ``info`` returns."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from cottoncandy.arrays.manifests import read_manifest
from cottoncandy.arrays.versions import ArrayVersion, RawArray, open_parts
from cottoncandy.backends.base import Backend, IfMatch, ObjectInfo, PutResult
from cottoncandy.core.buffers import Body
from cottoncandy.core.names import Key
from cottoncandy.core.output import bytes2human, html_table, printable
from cottoncandy.exceptions import MetadataError, ObjectChangedError, ObjectNotFoundError
from cottoncandy.formats.chunked import Chunks
from cottoncandy.formats.encryption.segments import ENCRYPTION_METADATA
from cottoncandy.formats.generations import UPLOAD_ID
from cottoncandy.formats.raw import FORMAT_METADATA
from cottoncandy.stores.store import Store, replace_metadata

#: How often a change of metadata begins again because another client was faster.
_ATTEMPTS = 20


def user_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return the metadata that do not describe the format."""
    return {
        name: value
        for name, value in (metadata or {}).items()
        if name not in FORMAT_METADATA and not name.startswith("cc-")
    }


def set_metadata(store: Store, name: Key, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change the user's metadata of an object, or of the manifest of an array; None removes one.

    Raises
    ------
    ObjectNotFoundError
        If nothing has that name.
    MetadataError
        If a name describes the format, or the store cannot keep the metadata.
    """
    try:
        info = update_metadata(store, name, changes)
    except ObjectNotFoundError as exc:
        key = open_parts(store, name, exc).info.key
        info = update_metadata(store, key, changes, manifest=True)
    return PutResult(info.etag).response


def update_metadata(
    store: Store,
    key: str,
    changes: Mapping[str, Any],
    opened: ObjectInfo | None = None,
    *,
    manifest: bool = False,
) -> ObjectInfo:
    """Change metadata, if they are still those of the opened version; return the new header.

    If another client changes the object at the same moment, it is read again. On S3 and
    Google Drive, this is noticed only for a manifest.
    """
    replace = _replace_manifest if manifest else replace_metadata
    lower = {str(name).lower(): value for name, value in changes.items()}
    if protected := sorted(name for name in lower if not user_metadata({name: ""})):
        raise MetadataError(
            f"metadata {protected[0]!r} of object '{key}' describes the stored format and "
            f"cannot be changed"
        )
    for last in (*(False,) * _ATTEMPTS, True):
        info = store.backend.head(key)
        if opened is not None and not _same_version(info, opened):
            raise ObjectChangedError(
                f"object '{key}' in bucket '{store.bucket}' was replaced since it was opened; "
                f"nothing was changed"
            )
        changed = {**(info.metadata or {}), **lower}
        kept = {name: value for name, value in changed.items() if value is not None}
        new = store.backend.capabilities.metadata.check(kept, key)
        try:
            result = replace(store.backend, key, new, info.etag)
            break
        except ObjectChangedError:
            if last:
                raise
    return info._replace(etag=result.etag, metadata=new)


def _replace_manifest(
    backend: Backend, key: str, metadata: Mapping[str, str], etag: str | None
) -> PutResult:
    """Store a manifest with other metadata.

    Its JSON grows by a space. S3's ETag depends on the body only, so it would be the same after the
    change, and another client that had read the old metadata would replace the new.
    """
    with backend.get(key, prefetch=False) as reader:
        if etag is not None:
            IfMatch(etag).check(reader.info.etag or "", f"object '{key}'")
        body = Body.of(read_manifest(reader) + b" ")
        return backend.put(key, body, backend.capabilities.options_like(reader.info, metadata))


def _same_version(info: ObjectInfo, opened: ObjectInfo) -> bool:
    """Return whether two headers are of one version; others may have changed its metadata."""
    found, known = (
        {name: value for name, value in metadata.items() if not user_metadata({name: ""})}
        for metadata in (info.metadata or {}, opened.metadata or {})
    )
    identified = not found.keys().isdisjoint({"cc-checksum", UPLOAD_ID})
    return found == known and (identified or info.etag == opened.etag)


@dataclass(frozen=True, repr=False)
class ArrayInfo:
    """The description of an array, without its data: :meth:`DefaultInterface.info` returns it.

    Parameters
    ----------
    name : str
    kind : {'raw', 'chunked', 'sparse', 'file'}
        ``'file'``: the object is not an array.
    dtype : dtype or None
        None if it is not an array.
    shape : tuple of int or None
    chunks : tuple of tuple of int or None
        Lengths of the chunks along each axis, as in Dask.
    codec : str or None
        Name of the codec; None if it is uncompressed, or if only its chunks have one.
    nbytes : int or None
        Size of the array in memory, in bytes; a sparse array is counted as a dense one.
    stored_bytes : int or None
        Size of the object, in bytes; None if there are several.
    checksum : str or None
        Of the uncompressed bytes: ``'crc32:'`` and eight hexadecimal digits.
    encrypted : bool
    modified : datetime or None
        When it was stored.
    etag : str or None
        Identifies the version.
    metadata : mapping of str to str
        The user's metadata, names in lower case.
    """

    name: str
    kind: str
    dtype: np.dtype[Any] | None
    shape: tuple[int, ...] | None
    chunks: tuple[tuple[int, ...], ...] | None
    codec: str | None
    nbytes: int | None
    stored_bytes: int | None
    checksum: str | None
    encrypted: bool
    modified: datetime.datetime | None
    etag: str | None
    metadata: Mapping[str, str]

    def __repr__(self) -> str:
        return "\n".join(f"{name:<13} {text}" for name, text in self._rows().items())

    def _repr_html_(self) -> str:
        return html_table(self.name, self._rows())

    def _rows(self) -> dict[str, str]:
        rows = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.chunks is not None:
            rows["chunks"] = chunks_text(self.chunks)
        for name in ("nbytes", "stored_bytes"):
            if rows[name] is not None:
                rows[name] = f"{rows[name]} ({bytes2human(rows[name])})"
        rows["metadata"] = ", ".join(f"{name}={value!r}" for name, value in self.metadata.items())
        return {name: printable(str(value)) for name, value in rows.items()}


def chunks_text(chunks: Chunks) -> str:
    """Return how many chunks there are, and the largest lengths, as in ``12 of (100, 64)``."""
    return f"{math.prod(map(len, chunks)):,} of {tuple(map(max, chunks))}"


def array_info(store: Store, name: Key) -> ArrayInfo:
    """Return the description of an array, or of another object: with the requests of open_array."""
    array: ArrayVersion
    try:
        info = store.backend.head(name)
    except ObjectNotFoundError as exc:
        array = open_parts(store, name, exc)
        return _described(name, array.info, array)
    try:
        return _described(name, info, RawArray(store, info))
    except MetadataError as exc:
        try:
            array = open_parts(store, name, exc)
        except MetadataError:
            return _described(name, info, None)
    return _described(name, array.info, array)


def _described(name: str, info: ObjectInfo, array: ArrayVersion | None) -> ArrayInfo:
    raw = array if isinstance(array, RawArray) else None
    checksum = None if raw is None else raw.header.checksum
    return ArrayInfo(
        name=name,
        kind="file" if array is None else array.kind,
        dtype=None if array is None else array.dtype,
        shape=None if array is None else array.shape,
        chunks=None if array is None else array.chunks,
        codec=None if raw is None else raw.compression,
        nbytes=None if array is None else math.prod(array.shape) * array.dtype.itemsize,
        stored_bytes=info.size if array is None or raw is not None else None,
        checksum=None if checksum is None else f"crc32:{checksum:08x}",
        encrypted=info.encrypted or ENCRYPTION_METADATA in (info.metadata or {}),
        modified=info.modified,
        etag=info.etag,
        metadata=user_metadata(info.metadata),
    )
