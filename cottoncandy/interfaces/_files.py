"""Single files between the disk and the store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cottoncandy._body import Body
from cottoncandy._defaults import DEFAULT_ACL, DEFAULT_EXTRA_ARGS, DEFAULT_THREADS
from cottoncandy._local_files import atomic_write
from cottoncandy.exceptions import InvalidArgumentError
from cottoncandy.interfaces._core import ObjectAccess

__all__ = ["FileMethods"]

_EXTRA_ARGS = ("ACL", "ContentType", "Metadata")


class FileMethods(ObjectAccess):
    """Files up and down, whole or not at all."""

    def upload_from_file(
        self,
        flname: str | os.PathLike[str],
        object_name: str | None = None,
        ExtraArgs: Mapping[str, Any] = DEFAULT_EXTRA_ARGS,  # noqa: N803 - the documented name
        threads: int = DEFAULT_THREADS,
    ) -> dict[str, Any]:
        """Upload a file to the cloud.

        Parameters
        ----------
        flname : str or path-like
            Path of the file to upload.
        object_name : str, optional
            Name of the uploaded object. If None, the full file name is the object name.
        ExtraArgs : dict, default ``{'ACL': default_acl of the options}``
            ``ACL`` (str), ``Metadata`` (dict of str) and ``ContentType`` (str).
        threads : int, default ``[basic] threads`` of the options
            How many parts of a large file travel at once.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it.

        Raises
        ------
        FileNotFoundError, IsADirectoryError, PermissionError
            If the file cannot be read; nothing is sent.

        Notes
        -----
        The file is read piece by piece as it is sent: memory does not grow with its size.
        """
        extra = extra_args(ExtraArgs)
        name = os.fspath(flname) if object_name is None else object_name
        with Path(flname).open("rb") as file:
            return self._put(
                name,
                Body.of(file),
                metadata=extra.get("Metadata"),
                acl=extra.get("ACL", DEFAULT_ACL),
                content_type=extra.get("ContentType"),
                threads=threads,
            )

    def download_to_file(
        self,
        object_name: str,
        file_name: str | os.PathLike[str],
        threads: int = DEFAULT_THREADS,
    ) -> None:
        """Download an object to a file.

        Parameters
        ----------
        object_name : str
        file_name : str or path-like
            Path where the data will be on disk. A file that is there is replaced when the download
            is complete, and not before.
        threads : int, default ``[basic] threads`` of the options
            How many ranges of a large object travel at once.

        Raises
        ------
        ObjectNotFoundError
            If there is no such object.
        StorageFullError
            If the disk is full.
        FileNotFoundError, IsADirectoryError, PermissionError
            If the file cannot be written.

        Notes
        -----
        Until it is complete, the file has a temporary name (``.cottoncandy-*.tmp``) in the same
        directory. The next download to the same file removes what a killed process left.
        """
        with self._open(object_name, threads) as reader, atomic_write(file_name) as file:
            for chunk in self._chunks(reader):
                file.write(chunk)


def extra_args(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return boto3-style ``ExtraArgs``, after refusing what would be ignored.

    Raises
    ------
    InvalidArgumentError
        If there is a key that no backend honours.
    """
    unknown = sorted(set(given) - set(_EXTRA_ARGS))
    if unknown:
        raise InvalidArgumentError(
            f"ExtraArgs knows {', '.join(_EXTRA_ARGS)}, and {', '.join(unknown)} was given"
        )
    return given
