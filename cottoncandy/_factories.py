"""The factory functions; the constructors of the interfaces do the work."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from cottoncandy.arrays.handle import CloudArray
    from cottoncandy.browser import S3Directory
    from cottoncandy.interfaces import DefaultInterface, EncryptedInterface
    from cottoncandy.stores.keys import KeyLike

_F = TypeVar("_F", bound=Callable[..., Any])


def get_interface(
    bucket_name: str | None = None,
    ACCESS_KEY: str | None = None,
    SECRET_KEY: str | None = None,
    endpoint_url: str | None = None,
    force_bucket_creation: bool | None = None,
    verbose: bool = True,
    backend: str = "s3",
    **kwargs: Any,
) -> DefaultInterface:
    """Return an interface to the cloud: arrays, files and file-system commands.

    Parameters
    ----------
    bucket_name : str, optional
        Bucket to use; it can be changed with ``cci.set_bucket``. Default: ``[basic]
        default_bucket`` of the options. On the local backend, a directory. On Google Drive, a
        shared drive or a folder at the top; default ``"My Drive"``, whatever the options are.
        A URL names the backend, too: ``s3://bucket``, ``s3://https://host/bucket``,
        ``gs://bucket``, ``gdrive://folder``, ``file:///directory``, ``memory://name``,
        ``https://host/directory``, or one with an alias from ``aliases.json``.
    ACCESS_KEY, SECRET_KEY : str, optional
        Credentials. S3: default ``[login]`` of the options, then ``~/.passwd-s3fs``, then the
        environment variables ``AWS_ACCESS_KEY`` and ``AWS_SECRET_KEY``, then boto3's own sources
        (profiles, roles, ...). Google Drive: paths of the client secrets and of the stored
        credentials; default ``[gdrive]`` of the options. HTTP: user and password.
    endpoint_url : str, optional
        URL of the S3 server. Default: ``[login] endpoint_url`` of the options, then boto3's sources
        (``AWS_ENDPOINT_URL_S3``, profiles), then Amazon.
    force_bucket_creation : bool, optional
        Whether to create the bucket if it does not exist. Default: ``[basic]
        force_bucket_creation`` of the options, which is False as shipped. The local and memory
        backends create it unless you pass False.
    verbose : bool, default True
        Whether to print where the interface is connected to.
    backend : str, default "s3"
        Where the objects are: ``"s3"`` (Amazon, Ceph, MinIO, ...), ``"local"`` (a directory),
        ``"memory"`` (of this process alone: a forked one stores into a copy; for tests), ``"gcs"``
        (Google Cloud Storage), ``"gdrive"`` (Google Drive) or ``"http"`` (a web server, read-only).
    **kwargs
        ``read_only=True``: methods that store or delete raise `UnsupportedOperationError`, and no
        bucket is created.
        ``cache="~/.cache/cottoncandy"`` keeps what is read in that directory, so that reading it
        again downloads nothing, up to ``cache_size`` (default ``"20GB"``; bytes, or a number with
        ``kB``, ``MB``, ``GB`` or ``TB``).
        Options of the backend. S3: ``config``, a :class:`botocore.config.Config` with timeouts,
        retries, proxies, signature version, addressing style; ``anon=True`` never sends
        credentials; ``request_payer="requester"`` accepts the charges for requests;
        ``storage_class``, ``server_side_encryption`` and ``sse_kms_key_id`` apply to all uploads,
        of arrays and files, that do not pass their own; ``profile_name``,
        ``region_name``, ``aws_session_token``, ``use_ssl`` and ``verify`` are passed to boto3.
        Google Cloud Storage: ``credentials``, ``project``, ``anon``, ``request_payer``,
        ``storage_class``. Google Drive: ``root``, ``auth_method``, ``http_timeout`` in seconds,
        ``retries``. HTTP: ``headers``, ``timeout`` in seconds, ``verify``.

    Returns
    -------
    cci : cottoncandy.interfaces.DefaultInterface

    Raises
    ------
    BucketNotFoundError
        If the bucket does not exist and is not to be created.
    CredentialsError, AccessDeniedError
        If the store rejects the credentials or denies access to the bucket.
    StoreUnreachableError
        If ``endpoint_url`` does not answer.
    ConfigurationError
        If an options file is invalid, or an option is unknown.
    InvalidArgumentError
        If the backend does not exist, or a URL is invalid or has a path after the bucket.
    MissingDependencyError
        If the backend needs a library that is not installed; the message has the pip command.

    See Also
    --------
    get_encrypted_interface : The same, with encryption before upload.
    get_browser : Browse the objects with tab completion.

    Notes
    -----
    On S3, one request is sent to look up the bucket, and another to list the buckets if ``verbose``
    is True. An empty string, None or False as the bucket, a key or the URL means that it is not
    set.

    Examples
    --------
    >>> import cottoncandy as cc
    >>> import numpy as np
    >>> cci = cc.get_interface(
    ...     "my_bucket", backend="memory", force_bucket_creation=True, verbose=False
    ... )
    >>> response = cci.upload_raw_array("myarray", np.arange(3))
    >>> cci.download_raw_array("myarray")
    array([0, 1, 2])

    Timeouts and retries of an S3 server:

    >>> from botocore.client import Config
    >>> config = Config(connect_timeout=60, read_timeout=60, retries={"max_attempts": 10})
    >>> cci = cc.get_interface("my_bucket", config=config)  # doctest: +SKIP
    """
    from cottoncandy.interfaces import DefaultInterface

    _reject_url(kwargs)
    return DefaultInterface(
        bucket_name,
        ACCESS_KEY,
        SECRET_KEY,
        endpoint_url,
        force_bucket_creation=force_bucket_creation,
        verbose=verbose,
        backend=backend,
        **kwargs,
    )


def _shared_text(function: _F) -> _F:
    """Replace the names of entries in a docstring by the entries of :func:`get_interface`."""
    shared = get_interface.__doc__
    if function.__doc__ is not None and shared is not None:  # python -OO has none
        entries = re.findall(r"^    (([*\w]+).*\n(?: {5,}.*\n)+)", shared, re.MULTILINE)
        entries.append((shared.split("-\n")[3].split("\n\n")[0].strip() + "\n", "raises"))
        for text, name in entries:
            function.__doc__ = function.__doc__.replace(f"{{{name}}}\n", text)
    return function


@_shared_text
def get_encrypted_interface(
    bucket_name: str | None = None,
    ACCESS_KEY: str | None = None,
    SECRET_KEY: str | None = None,
    endpoint_url: str | None = None,
    force_bucket_creation: bool | None = None,
    verbose: bool = True,
    backend: str = "s3",
    encryption: str | None = None,
    encryptionKey: KeyLike | Sequence[KeyLike] | None = None,
    passphrase: str | Sequence[str | None] | None = None,
    **kwargs: Any,
) -> EncryptedInterface:
    """Return an interface to the cloud that encrypts everything it stores.

    Parameters
    ----------
    {bucket_name}
    {ACCESS_KEY}
    {endpoint_url}
    {force_bucket_creation}
    {verbose}
    encryption : {"AES", "RSA"}, optional
        ``"AES"``: one key for all objects. ``"RSA"``: a fresh key for each object, wrapped with a
        public key; reading takes the private one. Default: ``[encryption] method`` of the
        options, which is AES as shipped.
    encryptionKey : str, bytes, path-like or list of these, optional
        AES: the key (32 bytes, or base64 of them), or ``"auto"``, which creates one at first use
        and keeps it in the options file. RSA: path of a PEM file. Default: ``[encryption] key`` of
        the options. Keep a copy somewhere else: without it, the data is lost. Of several keys in a
        list, the first writes, and an object is read with the one that fits; see
        :meth:`~cottoncandy.interfaces.EncryptedInterface.rotate_keys`.
    passphrase : str or list of str, optional
        Unlocks RSA private keys. A list has one for each key, or None.
    {backend}
    {**kwargs}

    Returns
    -------
    cci : cottoncandy.interfaces.EncryptedInterface

    Raises
    ------
    EncryptionKeyError
        If the key is missing, of the wrong length or of the wrong kind.
    {raises}

    See Also
    --------
    get_interface : The same, without encryption.
    """
    from cottoncandy.interfaces import EncryptedInterface
    from cottoncandy.stores.keys import HiddenKey

    # Tools that print the local variables of a traceback must not show the key.
    if encryptionKey is not None:
        kwargs["encryptionKey"] = HiddenKey(encryptionKey)
    kwargs["passphrase"] = HiddenKey(passphrase)
    del encryptionKey, passphrase
    _reject_url(kwargs)
    return EncryptedInterface(
        bucket_name,
        ACCESS_KEY,
        SECRET_KEY,
        endpoint_url,
        force_bucket_creation=force_bucket_creation,
        verbose=verbose,
        backend=backend,
        encryption=encryption,
        **kwargs,
    )


@_shared_text
def get_browser(
    bucket_name: str | None = None,
    ACCESS_KEY: str | None = None,
    SECRET_KEY: str | None = None,
    endpoint_url: str | None = None,
    force_bucket_creation: bool | None = False,
    verbose: bool = False,
    backend: str = "s3",
    **kwargs: Any,
) -> S3Directory:
    """Return an object whose attributes are the objects in a bucket, for tab completion.

    Parameters
    ----------
    {bucket_name}
    {ACCESS_KEY}
    {endpoint_url}
    force_bucket_creation : bool, default False
        Whether to create the bucket if it does not exist.
    verbose : bool, default False
        Whether to print where the browser is connected to.
    {backend}
    {**kwargs}

    Returns
    -------
    browser : cottoncandy.browser.S3Directory

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import cottoncandy as cc
    >>> browser = cc.get_browser("my_bucket")  # doctest: +SKIP
    >>> browser.sweet_project.sub<TAB>  # doctest: +SKIP
    browser.sweet_project.sub01_awesome_analysis_DOT_grp
    browser.sweet_project.sub02_awesome_analysis_DOT_grp
    """
    interface = get_interface(
        bucket_name,
        ACCESS_KEY,
        SECRET_KEY,
        endpoint_url,
        force_bucket_creation=force_bucket_creation,
        verbose=verbose,
        backend=backend,
        **kwargs,
    )
    return interface.get_browser()


@_shared_text
def array(
    url: str | os.PathLike[str],
    ACCESS_KEY: str | None = None,
    SECRET_KEY: str | None = None,
    endpoint_url: str | None = None,
    *,
    threads: int | None = None,
    encryption: str | None = None,
    encryptionKey: KeyLike | Sequence[KeyLike] | None = None,
    passphrase: str | Sequence[str | None] | None = None,
    **kwargs: Any,
) -> CloudArray:
    """Open one array by its URL, without downloading its data.

    Parameters
    ----------
    url : str or path-like
        ``s3://bucket/name``, ``s3://https://host/bucket/name``, ``gs://bucket/name``,
        ``gdrive://folder/name``, ``file:///directory/name``, ``memory://bucket/name`` or
        ``https://host/directory/name``, which may be presigned. A :class:`pathlib.Path` is on disk.
    {ACCESS_KEY}
    {endpoint_url}
    threads : int, optional
        How many ranges or chunks are downloaded at once. Default: ``[basic] threads`` of the
        options.
    encryption, encryptionKey, passphrase : optional
        As in :func:`get_encrypted_interface`, for an encrypted array.
    {**kwargs}

    Returns
    -------
    array : CloudArray
        Array-like: with ``shape``, ``dtype``, ``chunks`` and slices that download what they need.
        ``numpy.asarray`` downloads all of it.

    Raises
    ------
    ObjectNotFoundError
        If nothing has that name.
    MetadataError
        If the object is not an array.
    {raises}

    See Also
    --------
    get_interface : Everything in a bucket; its method ``array`` opens one of its arrays.

    Examples
    --------
    >>> import cottoncandy as cc
    >>> import numpy as np
    >>> cci = cc.get_interface("memory://my_bucket", verbose=False)
    >>> response = cci.upload_raw_array("sub01/run1", np.arange(1000), compression=False)
    >>> run = cc.array("memory://my_bucket/sub01/run1")
    >>> run.shape, run[10:13]
    ((1000,), array([10, 11, 12]))
    """
    from cottoncandy.arrays.handle import open_array
    from cottoncandy.config.options import DEFAULT_THREADS
    from cottoncandy.exceptions import InvalidArgumentError
    from cottoncandy.stores.connect import connect_url
    from cottoncandy.stores.urls import mask

    store, name = connect_url(
        url,
        ACCESS_KEY,
        SECRET_KEY,
        endpoint_url,
        encryption=encryption,
        encryptionKey=encryptionKey,
        passphrase=passphrase,
        **kwargs,
    )
    if not name:
        raise InvalidArgumentError(f"the URL {mask(str(url))!r} names a bucket, and no array in it")
    return open_array(
        store,
        store.key(name, tree=True),
        store.threads(DEFAULT_THREADS if threads is None else threads),
    )


def _reject_url(kwargs: dict[str, Any]) -> None:
    """Raise if the endpoint is passed under its name in the classes, ``url``."""
    from cottoncandy.exceptions import ConfigurationError

    if "url" in kwargs:
        raise ConfigurationError("unknown option 'url'; did you mean 'endpoint_url'?")
