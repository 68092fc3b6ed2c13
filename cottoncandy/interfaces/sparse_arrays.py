"""Methods on sparse matrices and arrays of SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from cottoncandy.arrays.handle import ArrayHandle
from cottoncandy.arrays.manifests import latest
from cottoncandy.arrays.uploads import upload_sparse
from cottoncandy.arrays.versions import open_parts
from cottoncandy.config.options import DEFAULT_ACL, DEFAULT_THREADS
from cottoncandy.interfaces.raw_arrays import RawArrayMethods
from cottoncandy.stores.checks import upload_condition

if TYPE_CHECKING:
    import scipy.sparse


class SparseArrayMethods(RawArrayMethods):
    """SciPy's sparse matrices and arrays."""

    def upload_sparse_array(
        self,
        object_name: str,
        arr: Any,
        threads: int = DEFAULT_THREADS,
        *,
        acl: str = DEFAULT_ACL,
        overwrite: bool = True,
        if_match: str | None = None,
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
            How many of its arrays are transferred at once.
        acl : str, default ``[basic] default_acl`` of the options
        overwrite : bool, default True
            As in :meth:`upload_dask_array`.
        if_match : str, optional
            As in :meth:`upload_dask_array`.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it, of the manifest.

        Raises
        ------
        ObjectExistsError, ObjectChangedError
            As :meth:`upload_dask_array` raises them.
        UnsupportedDtypeError
            If ``arr`` is not sparse, or its elements are Python objects; nothing is sent.

        Notes
        -----
        A csr matrix named "my_matrix" is these objects: ``my_matrix/data``, ``my_matrix/indices``,
        ``my_matrix/indptr`` and, uploaded last, ``my_matrix/metadata.json``. It is replaced in one
        instant, as :meth:`upload_dask_array` replaces an array.

        Examples
        --------
        >>> import scipy.sparse
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_sparse_array('connectivity', scipy.sparse.eye(1000, format='csr'))
        >>> cci.download_sparse_array('connectivity').shape
        (1000, 1000)
        """
        condition = upload_condition(overwrite, if_match)
        return upload_sparse(
            self._store,
            self._store.key(object_name, tree=True),
            arr[...] if isinstance(arr, ArrayHandle) else arr,
            acl=self._store.acl(acl),
            threads=self._store.threads(threads),
            condition=condition,
        )

    def download_sparse_array(
        self, object_name: str, threads: int = DEFAULT_THREADS
    ) -> scipy.sparse.spmatrix | scipy.sparse.sparray:
        """Download a scipy.sparse array.

        Parameters
        ----------
        object_name : str
            The object name for the sparse array to be retrieved.
        threads : int, default ``[basic] threads`` of the options
            How many of its arrays are transferred at once.

        Returns
        -------
        arr : scipy.sparse.spmatrix or scipy.sparse.sparray
            The array stored at the location given by object_name, in the format it was saved in.

        Raises
        ------
        ObjectNotFoundError
            If the array does not exist.
        MetadataError, IntegrityError
            If the manifest is malformed, or the arrays do not match.

        Examples
        --------
        >>> import scipy.sparse
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_sparse_array('identity', scipy.sparse.eye_array(3, format='csc'))
        >>> again = cci.download_sparse_array('identity')
        >>> again.format, again.shape, again.nnz
        ('csc', (3, 3), 3)
        """
        root = self._store.key(object_name, tree=True)
        workers = self._store.threads(threads)
        matrix = latest(lambda: open_parts(self._store, root, kind="sparse").read(..., workers))
        return cast("scipy.sparse.spmatrix | scipy.sparse.sparray", matrix)
