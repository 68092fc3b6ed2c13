"""BasicInterface: objects, files and buckets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cottoncandy._defaults import DEFAULT_EXTRA_ARGS, DEFAULT_THREADS
from cottoncandy._names import pathjoin
from cottoncandy.interfaces._buckets import BucketMethods
from cottoncandy.interfaces._directories import upload_directory
from cottoncandy.interfaces._files import FileMethods
from cottoncandy.interfaces._objects import ObjectMethods

__all__ = ["BasicInterface"]


class BasicInterface(ObjectMethods, FileMethods, BucketMethods):
    """Basic cottoncandy interface to the cloud.

    Parameters
    ----------
    bucket_name : str
        Bucket (on the local backend: directory) to work in.
    ACCESS_KEY : str, optional
        The S3 access key, or the client secrets JSON file on Google Drive.
    SECRET_KEY : str, optional
        The S3 secret key, or the client credentials file on Google Drive.
    url : str, optional
        The URL of the S3 gateway.
    force_bucket_creation : bool, default False
        Whether to make the bucket if it does not exist.
    verbose : bool, default True
        Whether to print the buckets and the current one.
    backend : {'s3', 'local', 'memory', 'gdrive'}, default 's3'
        Which store to use.
    **kwargs
        Options of the backend. On S3 those of a boto3 client, such as
        ``config=botocore.client.Config(...)``.

    Raises
    ------
    BucketNotFoundError
        If the bucket does not exist and ``force_bucket_creation`` is False.
    CredentialsError
        If the store does not accept the credentials.
    StoreUnreachableError
        If nobody answers at the endpoint.
    ConfigurationError
        If an option makes no sense.

    Notes
    -----
    An interface may be used by several threads at once, and pickled to other processes.
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
        """
        return pathjoin(a, *p)

    def upload_from_directory(
        self,
        disk_path: str | os.PathLike[str],
        cloud_path: str | None = None,
        recursive: bool = False,
        ExtraArgs: Mapping[str, Any] = DEFAULT_EXTRA_ARGS,  # noqa: N803 - the documented name
        threads: int = DEFAULT_THREADS,
        *,
        skip_existing: bool = False,
    ) -> None:
        """Upload the files of a directory, several at a time.

        Parameters
        ----------
        disk_path : str or path-like
            Directory to upload.
        cloud_path : str, optional
            Name that the files go under. If None, the directory's own path.
        recursive : bool, default False
            Whether to descend into its directories.
        ExtraArgs : dict
            As :meth:`upload_from_file` takes it.
        threads : int, default ``[basic] threads`` of the options
            How many files travel at once.
        skip_existing : bool, default False
            Whether to leave out files whose object is there already, with the same bytes.

        Raises
        ------
        NotADirectoryError, FileNotFoundError
            If ``disk_path`` is no directory.
        PartialFailureError
            If some files could not be uploaded; the others were, and the message names those.

        Notes
        -----
        Hidden files are uploaded too. Symbolic links are followed, to files and (with
        ``recursive``) to directories; one that leads back to a directory above it is left out, and
        so are sockets, pipes and devices. A file that cannot be read, or a link to nothing, does
        not keep the others back. An empty directory leaves no trace: a store has objects only.
        With ``skip_existing`` sizes are compared, then bytes: by the store's ETag where it is an
        MD5, else by reading the object.
        """
        upload_directory(
            self,
            disk_path,
            cloud_path,
            recursive=recursive,
            extra_args=ExtraArgs,
            threads=threads,
            skip_existing=skip_existing,
        )
