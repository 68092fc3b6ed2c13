"""The interfaces that users get."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cottoncandy.config.options import DEFAULT_THREADS, Settings
from cottoncandy.core.names import pathjoin
from cottoncandy.core.output import Progress
from cottoncandy.exceptions import (
    AccessDeniedError,
    InvalidArgumentError,
    ObjectNotFoundError,
    StoreError,
    UnsupportedOperationError,
)
from cottoncandy.formats.generations import MANIFEST
from cottoncandy.interfaces.buckets import BucketMethods
from cottoncandy.interfaces.dictionaries import DictionaryMethods
from cottoncandy.interfaces.files import FileMethods
from cottoncandy.interfaces.finding import FindingMethods
from cottoncandy.interfaces.moving import MovingMethods, RemovingMethods
from cottoncandy.interfaces.objects import ObjectMethods
from cottoncandy.stores.checks import check_duration
from cottoncandy.stores.finding import tree
from cottoncandy.stores.keys import HiddenKey, KeyLike, resolve_keys
from cottoncandy.transfer.engine import complete, each

if TYPE_CHECKING:
    from cottoncandy.bridges.fsspec import CottonCandyFileSystem
    from cottoncandy.bridges.zarr import CottonCandyStore

_MAX_SHARED = datetime.timedelta(days=7)  # signatures of version 4 are valid no longer

#: Metadata in which s3cmd records the owner of a file: ``uid:1000/uname:someone/...``.
_S3CMD = "s3cmd-attrs"


class BasicInterface(ObjectMethods, FileMethods, BucketMethods):
    """Basic cottoncandy interface to the cloud.

    Parameters
    ----------
    bucket_name : str
        Bucket (on the local backend: directory) to work in.
    ACCESS_KEY, SECRET_KEY : str, optional
        As in :func:`cottoncandy.get_interface`.
    url : str, optional
        URL of the S3 server.
    force_bucket_creation : bool, default False
        Whether to create the bucket if it does not exist.
    verbose : bool, default True
        Whether to print the buckets and the current one.
    backend : str, default 's3'
        As in :func:`cottoncandy.get_interface`.
    **kwargs
        As in :func:`cottoncandy.get_interface`.

    Raises
    ------
    BucketNotFoundError
        If the bucket does not exist and ``force_bucket_creation`` is False.
    CredentialsError
        If the store does not accept the credentials.
    StoreUnreachableError
        If the endpoint does not answer.
    ConfigurationError
        If an option is invalid.

    Notes
    -----
    Several threads can use an interface at once, and it can be pickled to other processes.
    """

    def pathjoin(self, a: str, *p: str) -> str:
        """Join path components with ``/``.

        Parameters
        ----------
        a, *p : str
            Components. One that starts with ``/`` discards those before it.

        Returns
        -------
        path : str

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> cci.pathjoin('sub01', 'run1')
        'sub01/run1'
        """
        return pathjoin(a, *p)

    def share(self, name: str, expires: float | str = "1h") -> str:
        """Return a URL that lets anyone read an object, until it expires.

        Parameters
        ----------
        name : str
            Name of an object, or of an array that is one object (``upload_raw_array``,
            ``upload_npy_array``).
        expires : float or str, default '1h'
            Seconds, or a number with ``s``, ``m``, ``h`` or ``d``; up to seven days. A URL signed
            with temporary credentials expires no later than they do.

        Returns
        -------
        url : str
            :func:`cottoncandy.array` opens a raw array by its URL and reads parts of it. The
            URL of an encrypted object returns the encrypted bytes: readers need the key as well.

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist.
        UnsupportedOperationError
            If the store has no such URLs, or the name is an array of several objects.
        InvalidArgumentError
            If ``expires`` is not a duration, or longer than seven days.

        Notes
        -----
        One request is sent, to look up the object. The URL cannot be withdrawn, except by removing
        the object or the credentials. It returns the object that has the name when it is read.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket')  # doctest: +SKIP
        >>> url = cci.share('sub01/run1', expires='2d')  # doctest: +SKIP
        >>> cc.array(url)[:3]  # doctest: +SKIP
        array([0, 1, 2])
        """
        duration = check_duration(expires, "expires")
        if not datetime.timedelta(seconds=1) <= duration <= _MAX_SHARED:
            raise InvalidArgumentError(
                f"expires must be from one second to seven days, got {expires!r}"
            )
        key, backend = self._store.key(name), self._store.backend
        url = backend.presign(key, math.ceil(duration.total_seconds()))
        if not self._store.has_object(key):
            if self._store.has_object(pathjoin(key, MANIFEST)):
                raise UnsupportedOperationError(
                    f"'{key}' in bucket '{self.bucket_name}' consists of several objects, and a "
                    f"URL shares one; upload it with upload_raw_array to share it"
                )
            raise ObjectNotFoundError(f"there is no object '{key}' in bucket '{self.bucket_name}'")
        return url


class ArrayInterface(DictionaryMethods, BasicInterface):
    """Provides numpy.array concepts: numpy, dask and sparse arrays, dictionaries of arrays.

    Takes the parameters of :class:`BasicInterface`.
    """


class FileSystemInterface(FindingMethods, MovingMethods, RemovingMethods, BasicInterface):
    """Emulate some file system functionality."""

    def get_object_owner(self, object_name: str) -> Mapping[str, str]:
        """Get the owner of an object.

        Parameters
        ----------
        object_name : str

        Returns
        -------
        owner : dict
            ``ID`` and, if the store has it, ``DisplayName``. If the store hides the owner but s3cmd
            uploaded the object, the owner that s3cmd recorded.

        Raises
        ------
        ObjectNotFoundError
            If there is no such object.
        AccessDeniedError
            If you are not allowed to see its owner.
        UnsupportedOperationError
            If objects have no owner on this backend.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket')  # doctest: +SKIP
        >>> cci.get_object_owner('sub01/run1')['DisplayName']  # doctest: +SKIP
        'lab'
        """
        key = self._store.key(object_name)
        try:
            return self._store.backend.owner(key)
        except (AccessDeniedError, StoreError, UnsupportedOperationError):
            noted = (self._store.backend.head(key).metadata or {}).get(_S3CMD, "")
            pairs = (item.partition(":") for item in noted.split("/"))
            owner = {name: value for name, colon, value in pairs if colon}
            if not owner:
                raise
            return owner


class DefaultInterface(FileSystemInterface, ArrayInterface):
    """Default cottoncandy interface to the cloud.

    This includes numpy.array and file-system-like concepts for easy data I/O and bucket/object
    exploration. :func:`cottoncandy.get_interface` returns one.
    """

    def filesystem(self, prefix: str = "") -> CottonCandyFileSystem:
        r"""Return an fsspec file system on the current bucket.

        Parameters
        ----------
        prefix : str, default ''
            Directory that its paths are relative to.

        Returns
        -------
        fs : cottoncandy.bridges.fsspec.CottonCandyFileSystem
            For pandas, Dask, pyarrow and others. It pickles with the credentials of the interface.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> import pandas
        >>> cci = cc.get_interface("my_bucket", backend="memory", verbose=False)
        >>> fs = cci.filesystem("tables")
        >>> fs.pipe("ages.csv", b"name,age\nsub01,31\n")
        >>> with fs.open("ages.csv") as file:
        ...     int(pandas.read_csv(file).age.sum())
        31
        """
        from cottoncandy.bridges.fsspec import InterfaceFileSystem

        return InterfaceFileSystem(self._store, prefix)

    def zarr_store(self, prefix: str = "", *, read_only: bool = False) -> CottonCandyStore:
        """Return a zarr 3 store in the current bucket.

        Parameters
        ----------
        prefix : str, default ''
            Name below which zarr's objects are stored.
        read_only : bool, default False
            Whether the store rejects writing and deleting.

        Returns
        -------
        store : cottoncandy.bridges.zarr.CottonCandyStore
            For every function of zarr and xarray that takes a store.

        Raises
        ------
        MissingDependencyError
            If zarr is not installed.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> import zarr
        >>> cci = cc.get_interface("my_bucket", backend="memory", verbose=False)
        >>> array = zarr.create_array(cci.zarr_store("a"), shape=(4, 6), chunks=(2, 6), dtype="f4")
        >>> array[:] = 1
        >>> float(zarr.open_array(cci.zarr_store("a"), mode="r")[:].sum())
        24.0
        """
        from cottoncandy.bridges.zarr import CottonCandyStore

        return CottonCandyStore(self, prefix, read_only=read_only)

    def upload_xarray(self, name: str, data: Any, **options: Any) -> None:
        """Store an xarray dataset or data array as a zarr group.

        Parameters
        ----------
        name : str
            Name of the group. Everything below it is replaced, chunk by chunk: unlike an array of
            :meth:`upload_dask_array`, not in one step. The old dataset is deleted first,
            unless xarray or zarr rejects the new one.
        data : xarray.Dataset or xarray.DataArray
        **options
            Options of :meth:`xarray.Dataset.to_zarr`, such as ``encoding``, ``append_dim`` and
            ``mode``.

        Raises
        ------
        UnsupportedDtypeError
            If ``data`` is something else.
        InvalidArgumentError
            If ``data`` is lazy and read from what would be replaced, or that cannot be found out;
            or if a variable has a slash in its name. Nothing is changed.
        MissingDependencyError
            If xarray or zarr is not installed.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> import xarray
        >>> cci = cc.get_interface("my_bucket", backend="memory", verbose=False)
        >>> bold = xarray.DataArray([[1.0, 2.0]], dims=("time", "voxel"), name="bold")
        >>> cci.upload_xarray("sub01/bold", bold)
        >>> bool(cci.download_xarray("sub01/bold").identical(bold))
        True
        """
        from cottoncandy.bridges.xarray import upload_xarray

        upload_xarray(self, name, data, **options)

    def download_xarray(self, name: str) -> Any:
        """Open a dataset or data array that ``upload_xarray`` stored.

        Parameters
        ----------
        name : str

        Returns
        -------
        data : xarray.Dataset or xarray.DataArray
            Lazy: its variables are Dask arrays. ``load()`` downloads them.

        Raises
        ------
        ObjectNotFoundError
            If there is no zarr group of that name.
        """
        from cottoncandy.bridges.xarray import download_xarray

        return download_xarray(self, name)


class EncryptedInterface(DefaultInterface):
    """An interface that encrypts objects before upload and decrypts them on download.

    Bodies are encrypted and authenticated (AES-256-GCM). Names, sizes and metadata are not
    encrypted; metadata that decoding depends on (dtype, shape, order, ...) is authenticated.
    :func:`cottoncandy.get_encrypted_interface` returns one.

    Parameters
    ----------
    bucket_name, ACCESS_KEY, SECRET_KEY, url, force_bucket_creation, verbose, backend, **kwargs
        As in :class:`BasicInterface`.
    encryption : {'AES', 'RSA'}, optional
        ``'AES'``: one key for all objects. ``'RSA'``: a fresh key for each object, wrapped with a
        public key; reading takes the private one. Default: ``[encryption] method`` of the options.
    encryptionKey : str, bytes, path-like or list of these, optional
        AES: 32 bytes, or base64 of them, or ``'auto'``: created at first use and kept in the
        options file. RSA: path of a PEM file, private or public, or its content. The first of a
        list writes, and an object is read with the one that fits. Default: ``[encryption] key``
        and ``old_keys`` of the options.
    passphrase : str or list of str, optional
        Unlocks RSA private keys. A list has one for each key, or None.

    Raises
    ------
    EncryptionKeyError
        If the key is missing, of the wrong length or of the wrong kind; no request is sent.
    MissingDependencyError
        If pycryptodome is not installed.

    Notes
    -----
    Listings show the sizes of the plaintext, which follow from the stored ones. A pickled
    interface contains its key, because Dask's workers need it. Do not share it.
    """

    def __init__(
        self,
        bucket_name: str | None,
        ACCESS_KEY: str | None = None,  # noqa: N803 - the documented name
        SECRET_KEY: str | None = None,  # noqa: N803 - the documented name
        url: str | None = None,
        force_bucket_creation: bool | None = False,
        verbose: bool = True,
        backend: str = "s3",
        encryption: str | None = None,
        encryptionKey: KeyLike | Sequence[KeyLike] | HiddenKey | None = None,  # noqa: N803 - the documented name
        passphrase: str | Sequence[str | None] | HiddenKey | None = None,
        **kwargs: Any,
    ) -> None:
        settings = Settings.load()  # once: reading the file twice could mix two versions of it
        keys = resolve_keys(encryption, encryptionKey, passphrase, settings)
        self._encryption = keys.name
        super().__init__(
            bucket_name,
            ACCESS_KEY,
            SECRET_KEY,
            url,
            force_bucket_creation=force_bucket_creation,
            verbose=verbose,
            backend=backend,
            _settings=settings,
            _keys=keys,
            **kwargs,
        )

    @property
    def encryption(self) -> str:
        """Name of the key scheme: ``'AES'`` or ``'RSA'``."""
        return self._encryption

    def rotate_keys(self, prefix: str = "", threads: int = DEFAULT_THREADS) -> list[str]:
        """Store objects that are under an old key under the first one.

        Parameters
        ----------
        prefix : str, default ''
            Name of an object, of an array or of a directory: the object of that name and everything
            below it. ``'a'`` does not include ``'a-b'``. The default is the whole bucket.
        threads : int, default ``[basic] threads`` of the options, at least 16
            Number of objects that are processed at once.

        Returns
        -------
        rewritten : list of str
            Names of the objects that were stored again, sorted. Objects that are under the first
            key already are skipped, so an interrupted call can be repeated.

        Raises
        ------
        ObjectNotFoundError
            If there is nothing of that name.
        EncryptionKeyError
            If the first key cannot write.
        PartialFailureError
            If some objects could not be rewritten, because their key was not given, because they
            are not encrypted, or because they were altered. They are unchanged; the message names
            them and has the number of those that were rewritten.

        Notes
        -----
        Each object is replaced in one step, and only the version that was read. Metadata and
        content type are kept, and on S3 the ACL. With AES, the body is decrypted and encrypted
        again; with RSA, only the wrapped key changes. An object of cottoncandy 0.2 or older is
        stored in the current format, which detects changes. In a versioned bucket, older versions
        stay under the old key.

        One request is sent for each object that is under the first key already.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> from cottoncandy.encryption import generate_key
        >>> old, new = generate_key(), generate_key()
        >>> options = {"backend": "memory", "verbose": False}
        >>> cci = cc.get_encrypted_interface("my_bucket", encryptionKey=old, **options)
        >>> response = cci.upload_object("secret", b"it works")
        >>> cci = cc.get_encrypted_interface("my_bucket", encryptionKey=[new, old], **options)
        >>> cci.download_object("secret")
        b'it works'
        >>> cci.rotate_keys("secret")
        ['secret']
        >>> cci.rotate_keys("secret")
        []
        """
        store = self._store
        backend: Any = store.backend  # which encrypts
        backend.check_writes()
        key = store.key(prefix, tree=True, strict=True)
        keys = tree(store, key)
        if key and not keys:
            raise ObjectNotFoundError(f"nothing found under '{prefix}' in bucket '{store.bucket}'")
        rewritten: list[str] = []

        def rotate(key: str) -> None:
            if backend.rotate(key):
                rewritten.append(key)

        def describe(failed: int, total: int) -> str:
            return (
                f"{failed} of {total} objects in bucket '{store.bucket}' could not be rewritten "
                f"under the new key and are unchanged ({len(rewritten)} were rewritten)"
            )

        results = each(rotate, keys, threads=store.bulk_threads(threads))
        show = store.settings.progress
        complete(
            results, describe, Progress(len(keys), unit="objects", label="rewriting", show=show)
        )
        return sorted(rewritten)
