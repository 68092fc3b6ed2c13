"""Sparse matrices and arrays in a store: a manifest, and parts that are raw arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from cottoncandy.arrays.raw import Array, array_header, read_array
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.core.names import Key, pathjoin
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import SelectionError
from cottoncandy.formats import dtypes, sparse
from cottoncandy.stores.store import Store

__all__ = ["SparseArray"]

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
        self._names = tuple(sparse.parts_of(manifest, object_name=root))
        self._dtype: np.dtype[Any] | None = None
        self.info = info
        self.shape: tuple[int, ...] = tuple(manifest["shape"])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type; manifests of older versions don't have it, so a header is downloaded."""
        if self._dtype is None:
            texts = {name: self._manifest.get(name) for name in ("dtype", "cc-dtype")}
            found = {name: text for name, text in texts.items() if isinstance(text, str)}
            if "dtype" in found:
                self._dtype = dtypes.from_metadata(found, object_name=self._root)
            else:
                with self._store.open(pathjoin(self._root, "data"), prefetch=False) as reader:
                    self._dtype = array_header(reader).dtype
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
        inner = max(1, threads // len(self._names))

        def load(name: str) -> Array:
            with self._store.open(pathjoin(self._root, name), inner) as reader:
                return read_array(self._store, reader, array_header(reader))

        arrays = map_threads(load, self._names, threads)
        parts = dict(zip(self._names, arrays, strict=True))
        matrix = sparse.from_parts(self._manifest, parts, object_name=self._root)
        if selection is Ellipsis or (isinstance(selection, tuple) and not selection):
            return matrix
        try:
            return (matrix if matrix.format in _SLICEABLE else matrix.tocsr())[selection]
        except (IndexError, TypeError, ValueError, NotImplementedError) as exc:
            raise SelectionError(f"sparse array '{self._root}': {exc}") from exc
