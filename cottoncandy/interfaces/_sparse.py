"""Sparse matrices, as a manifest and a few arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cottoncandy._defaults import DEFAULT_THREADS
from cottoncandy._names import pathjoin
from cottoncandy._parallel import map_threads
from cottoncandy.exceptions import ObjectNotFoundError
from cottoncandy.formats import sparse
from cottoncandy.interfaces._manifests import MANIFEST
from cottoncandy.interfaces._raw_arrays import RawArrayMethods

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["SparseArrayMethods"]


class SparseArrayMethods(RawArrayMethods):
    """scipy's sparse matrices and arrays."""

    def upload_sparse_array(
        self, object_name: str, arr: Any, threads: int = DEFAULT_THREADS
    ) -> dict[str, Any]:
        """Upload a scipy.sparse array as a folder of array objects.

        Parameters
        ----------
        object_name : str
            The name of the object to be stored.
        arr : scipy.sparse.spmatrix or scipy.sparse.sparray
            A sparse matrix or array to be saved: csr, csc, bsr, coo or dia. If it is dok or lil, it
            is converted to csr before saving.
        threads : int, default ``[basic] threads`` of the options
            How many of its arrays travel at once.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it, of the manifest.

        Raises
        ------
        UnsupportedDtypeError
            If ``arr`` is not sparse, or its elements are Python objects; nothing is sent.

        Notes
        -----
        A csr matrix named "my_matrix" is these objects: ``my_matrix/data``, ``my_matrix/indices``,
        ``my_matrix/indptr`` and, uploaded last, ``my_matrix/metadata.json``.

        Examples
        --------
        >>> import scipy.sparse
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_sparse_array('connectivity', scipy.sparse.eye(1000, format='csr'))
        >>> cci.download_sparse_array('connectivity').shape
        (1000, 1000)
        """
        root = self._key(object_name, tree=True)
        manifest, parts = sparse.to_parts(arr)
        names = {pathjoin(root, name): part for name, part in parts.items()}
        workers = self._threads(threads)
        inner = max(1, workers // len(names))
        with self._atomic_replace(root, set(names)):
            for _ in map_threads(
                lambda item: self.upload_raw_array(*item, threads=inner), names.items(), workers
            ):
                pass
            return self.upload_json(pathjoin(root, MANIFEST), manifest)

    def download_sparse_array(
        self, object_name: str, threads: int = DEFAULT_THREADS
    ) -> scipy.sparse.spmatrix | scipy.sparse.sparray:
        """Download a scipy.sparse array.

        Parameters
        ----------
        object_name : str
            The object name for the sparse array to be retrieved.
        threads : int, default ``[basic] threads`` of the options
            How many of its arrays travel at once.

        Returns
        -------
        arr : scipy.sparse.spmatrix or scipy.sparse.sparray
            The array stored at the location given by object_name, in the format it was saved in.

        Raises
        ------
        ObjectNotFoundError
            If there is no such array.
        MetadataError, IntegrityError
            If the manifest makes no sense, or the arrays do not fit together.
        """
        root = self._key(object_name, tree=True)
        try:
            manifest = self.download_json(pathjoin(root, MANIFEST))
        except ObjectNotFoundError as exc:
            if not self.backend_interface.exists(root):
                raise
            raise ObjectNotFoundError(
                f"'{root}' in bucket '{self.bucket_name}' is not a sparse array: use "
                f"download_raw_array"
            ) from exc
        names = sparse.parts_of(manifest, object_name=root)
        workers = self._threads(threads)
        inner = max(1, workers // len(names))
        arrays = map_threads(
            lambda name: self.download_raw_array(pathjoin(root, name), threads=inner),
            names,
            workers,
        )
        parts = dict(zip(names, arrays, strict=True))
        matrix: scipy.sparse.spmatrix | scipy.sparse.sparray = sparse.from_parts(
            manifest, parts, object_name=root
        )
        return matrix
