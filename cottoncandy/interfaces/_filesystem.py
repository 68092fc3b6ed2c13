"""FileSystemInterface: finding, copying, moving and removing objects."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cottoncandy._defaults import DEFAULT_THREADS
from cottoncandy.exceptions import AccessDeniedError, UnsupportedOperationError
from cottoncandy.interfaces._directories import download_directory
from cottoncandy.interfaces._finding import FindingMethods
from cottoncandy.interfaces._moving import MovingMethods
from cottoncandy.interfaces._removing import RemovingMethods

__all__ = ["FileSystemInterface"]

#: Metadata in which the s3cmd program keeps the file's owner: ``uid:1000/uname:someone/...``.
_S3CMD = "s3cmd-attrs"


class FileSystemInterface(FindingMethods, MovingMethods, RemovingMethods):
    """Emulate some file system functionality."""

    def get_object_owner(self, object_name: str) -> Mapping[str, str]:
        """Get the owner of an object.

        Parameters
        ----------
        object_name : str

        Returns
        -------
        owner : dict
            ``ID`` and, where the store says it, ``DisplayName``. Where the store does not let you
            see the owner, but s3cmd uploaded the object: what that program noted.

        Raises
        ------
        ObjectNotFoundError
            If there is no such object.
        AccessDeniedError
            If you may not see its owner.
        UnsupportedOperationError
            If objects have no owner on this backend.
        """
        key = self._key(object_name)
        try:
            return self.backend_interface.owner(key)
        except (AccessDeniedError, UnsupportedOperationError):
            noted = (self.backend_interface.head(key).metadata or {}).get(_S3CMD, "")
            pairs = (item.partition(":") for item in noted.split("/"))
            owner = {name: value for name, colon, value in pairs if colon}
            if not owner:
                raise
            return owner

    def download_directory(
        self,
        directory: str,
        disk_name: str | os.PathLike[str],
        *,
        threads: int = DEFAULT_THREADS,
        skip_existing: bool = False,
    ) -> None:
        """Download an entire directory: all objects below a name, several at a time.

        Parameters
        ----------
        directory : str
            Directory in the cloud to download; ``''`` and ``'/'`` are the whole bucket.
        disk_name : str or path-like
            Name of the directory on disk to download to. It is made if it does not exist, and so
            are those in it.
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many files travel at once.
        skip_existing : bool, default False
            Whether to leave files alone that have the object's size and bytes already: a download
            that was interrupted goes on where it was. Bytes are compared by the store's ETag where
            it is an MD5, else by reading the object.

        Raises
        ------
        ObjectNotFoundError
            If there is nothing below that name.
        InvalidNameError
            Before anything is written: if a key would lead out of the directory (``..``) or cannot
            be a file name, if an object is also the start of other names, or if a symbolic link in
            the directory leads out of it.
        NotADirectoryError, IsADirectoryError
            Before anything is written: if a file is in the way of a directory, or the reverse.
        StorageFullError
            If the disk is full.
        PartialFailureError
            If some objects could not be downloaded; the others were, and the message names those.

        Notes
        -----
        Files are written whole or not at all. Others in the directory stay. An object whose name
        ends in ``/``, with which some programs mark empty directories, becomes a directory.
        """
        download_directory(self, directory, disk_name, threads=threads, skip_existing=skip_existing)
