"""The interfaces that users get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cottoncandy.config.options import DEFAULT_THREADS, Settings
from cottoncandy.core.names import pathjoin
from cottoncandy.core.output import Progress
from cottoncandy.exceptions import (
    AccessDeniedError,
    ObjectNotFoundError,
    StoreError,
    UnsupportedOperationError,
)
from cottoncandy.interfaces.buckets import BucketMethods
from cottoncandy.interfaces.dictionaries import DictionaryMethods
from cottoncandy.interfaces.files import FileMethods
from cottoncandy.interfaces.finding import FindingMethods
from cottoncandy.interfaces.moving import MovingMethods, RemovingMethods
from cottoncandy.interfaces.objects import ObjectMethods
from cottoncandy.interfaces.sharing import BridgeMethods, SharingMethods
from cottoncandy.stores.finding import tree
from cottoncandy.stores.keys import HiddenKey, KeyLike, resolve_keys
from cottoncandy.transfer.engine import complete, each


class BasicInterface(ObjectMethods, FileMethods, SharingMethods, BucketMethods):
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


class ArrayInterface(DictionaryMethods, BasicInterface):
    """Provides numpy.array concepts: numpy, dask and sparse arrays, dictionaries of arrays.

    Takes the parameters of :class:`BasicInterface`.
    """


#: Metadata in which s3cmd records the owner of a file: ``uid:1000/uname:someone/...``.
_S3CMD = "s3cmd-attrs"


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


class DefaultInterface(FileSystemInterface, ArrayInterface, BridgeMethods):
    """Default cottoncandy interface to the cloud.

    This includes numpy.array and file-system-like concepts for easy data I/O and bucket/object
    exploration. :func:`cottoncandy.get_interface` returns one.
    """


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
