"""Sparse matrices and arrays in a store: a manifest, and parts that are raw arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from cottoncandy.arrays.generations import Condition, begin
from cottoncandy.arrays.manifests import reading_parts
from cottoncandy.arrays.raw import array_header, read_array
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.core.names import Key, pathjoin
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import IntegrityError, SelectionError
from cottoncandy.formats import dtypes, sparse
from cottoncandy.formats.generations import check_part
from cottoncandy.stores.store import Store

_SLICEABLE = frozenset({"csr", "csc"})


class SparseArray:
    """One version of a sparse matrix or array, opened.

    Attributes
    ----------
    info : ObjectInfo
        Of the manifest.
    """

    kind = "sparse"
    chunks = None
    compression = None

    def __init__(self, store: Store, root: Key, manifest: Any, info: ObjectInfo) -> None:
        self._store = store
        self._root = root
        self._manifest = manifest
        self._parts = sparse.parts_of(manifest, object_name=root)
        texts = {name: manifest.get(name) for name in ("dtype", "cc-dtype")}
        found = {name: text for name, text in texts.items() if isinstance(text, str)}
        self._dtype: np.dtype[Any] | None = None
        if "dtype" in found:
            self._dtype = dtypes.from_metadata(found, object_name=root)
        self.info = info
        self.shape: tuple[int, ...] = tuple(manifest["shape"])

    @property
    def places(self) -> Iterator[str]:
        """Where the parts are, relative to the manifest."""
        return (place for place, _ in self._parts.values())

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type; manifests of older versions don't have it, so a header is downloaded."""
        if self._dtype is None:
            self._dtype = self._load("data", 1, header_only=True).dtype
        return self._dtype

    def read(self, selection: Any, threads: int) -> Any:
        """Download the parts; return what SciPy selects from the matrix.

        Raises
        ------
        ObjectNotFoundError
            If a part is missing.
        MetadataError, IntegrityError
            If the parts do not match the manifest.
        SelectionError
            If SciPy cannot select that.
        """
        inner = max(1, threads // len(self._parts))
        with reading_parts(self._store, self._root, self.info.etag):
            arrays = map_threads(lambda name: self._load(name, inner), self._parts, threads)
            parts = dict(zip(self._parts, arrays, strict=True))
            matrix = sparse.from_parts(self._manifest, parts, object_name=self._root)
        if selection is Ellipsis or (isinstance(selection, tuple) and not selection):
            return matrix
        try:
            return (matrix if matrix.format in _SLICEABLE else matrix.tocsr())[selection]
        except (IndexError, TypeError, ValueError, NotImplementedError, OverflowError) as exc:
            raise SelectionError(f"sparse array '{self._root}': {exc}") from exc

    def checks(self) -> Iterator[Callable[[], object]]:
        """Yield calls that look whether a part exists and is the one that the manifest names."""
        for name in self._parts:
            yield partial(self._load, name, 1, header_only=True)

    def _load(self, name: str, threads: int, *, header_only: bool = False) -> Any:
        """Download a part, or its header, after a look whether it is the one of the manifest."""
        place, upload_id = self._parts[name]
        key = pathjoin(self._root, place)
        with self._store.open(key, threads, prefetch=not header_only) as reader:
            check_part(reader.metadata, upload_id, name, key)
            header = array_header(reader)
            if name == "data" and self._dtype is not None and header.dtype != self._dtype:
                raise IntegrityError(
                    f"part '{key}' is of dtype {header.dtype}, and the manifest of its array says "
                    f"{self._dtype}: parts of two uploads are mixed"
                )
            return header if header_only else read_array(self._store, reader, header)


def upload_sparse(
    store: Store,
    root: Key,
    matrix: Any,
    *,
    acl: str | None,
    threads: int,
    condition: Condition = None,
) -> dict[str, Any]:
    """Upload a sparse array; return the response of its manifest."""
    manifest, parts = sparse.to_parts(matrix)
    inner = max(1, threads // len(parts))
    # Version 0.4.0 reads only the documented names.
    with begin(store, root, acl=acl, condition=condition, part_bytes=None) as new:

        def put(name: str) -> str:
            return new.put(name, name, parts[name], compression=True, threads=inner)

        places = map_threads(put, parts, threads)
        content = {
            **manifest,
            "attrs": list(places),
            "parts": [[new.upload_id, name] for name in parts],
        }
        return new.commit(lambda _: content, {})
