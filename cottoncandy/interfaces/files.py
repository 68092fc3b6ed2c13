"""Methods on files and directories on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cottoncandy.config.options import DEFAULT_ACL, DEFAULT_EXTRA_ARGS, DEFAULT_THREADS
from cottoncandy.core.buffers import Body
from cottoncandy.core.files import atomic_write, expand_home
from cottoncandy.core.names import prefix_of
from cottoncandy.core.output import echo
from cottoncandy.exceptions import InvalidArgumentError, ObjectNotFoundError
from cottoncandy.interfaces.base import ObjectAccess
from cottoncandy.stores.checks import reject_reserved, upload_condition
from cottoncandy.stores.urls import is_url
from cottoncandy.transfer.copying import checked_blocks
from cottoncandy.transfer.directories import files_below, files_to_download, transfer_files
from cottoncandy.transfer.entries import Endpoint
from cottoncandy.transfer.sync import Rules, SyncReport, synchronize

#: boto3's names of the arguments of a put, and of the options of an upload.
_PUT_ARGS = {
    "ACL": "acl",
    "CacheControl": "cache_control",
    "ContentEncoding": "content_encoding",
    "ContentType": "content_type",
    "Metadata": "metadata",
}
_UPLOAD_ARGS = {
    "StorageClass": "storage_class",
    "ServerSideEncryption": "server_side_encryption",
    "SSEKMSKeyId": "sse_kms_key_id",
    "RequestPayer": "request_payer",
}
_EXTRA_ARGS = (*_PUT_ARGS, *_UPLOAD_ARGS)


class FileMethods(ObjectAccess):
    """Files and directories on disk, uploaded, downloaded and compared."""

    def upload_from_file(
        self,
        flname: str | os.PathLike[str],
        object_name: str | None = None,
        ExtraArgs: Mapping[str, Any] = DEFAULT_EXTRA_ARGS,  # noqa: N803 - the documented name
        threads: int = DEFAULT_THREADS,
        *,
        overwrite: bool = True,
        if_match: str | None = None,
    ) -> dict[str, Any]:
        """Upload a file to the cloud.

        Parameters
        ----------
        flname : str or path-like
            Path of the file to upload. A str may begin with ``~/``.
        object_name : str, optional
            Name of the uploaded object. If None, the full file name is the object name.
        ExtraArgs : dict, default ``{'ACL': default_acl of the options}``
            boto3's names: ``ACL``, ``CacheControl``, ``ContentEncoding`` and ``ContentType`` (str),
            and ``Metadata`` (dict of str); on S3 also ``StorageClass``, ``ServerSideEncryption``,
            ``SSEKMSKeyId`` and ``RequestPayer``. A content encoding describes the file; nothing is
            compressed.
        threads : int, default ``[basic] threads`` of the options
            How many parts of a large file are transferred at once.
        overwrite : bool, default True
            As in :meth:`upload_object`.
        if_match : str, optional
            As in :meth:`upload_object`.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it.

        Raises
        ------
        ObjectExistsError, ObjectChangedError
            As :meth:`upload_object` raises them.
        FileNotFoundError, IsADirectoryError, PermissionError
            If the file cannot be read; nothing is sent.

        Notes
        -----
        The file is read in pieces as it is sent, so memory use does not depend on its size.

        Examples
        --------
        >>> from pathlib import Path
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> n = Path('notes.txt').write_text('it works')
        >>> response = cci.upload_from_file('notes.txt', 'sub01/notes.txt')
        >>> cci.download_object('sub01/notes.txt')
        b'it works'
        """
        path = expand_home(flname)
        name = os.fspath(path) if object_name is None else object_name
        options = {"threads": threads, "condition": upload_condition(overwrite, if_match)}
        return self._put_file(path, name, extra_args(ExtraArgs), **options)

    def _put_file(
        self, path: Any, name: str, given: Mapping[str, Any], **options: Any
    ) -> dict[str, Any]:
        """Upload a file, with any metadata."""
        extra = {"ACL": DEFAULT_ACL, **given}
        uploads = {ours: extra.get(name) for name, ours in _UPLOAD_ARGS.items()}
        with Path(path).open("rb") as file:
            return self._store.with_upload_options(uploads).put(
                name,
                Body.of(file),
                **options,
                **{ours: extra[name] for name, ours in _PUT_ARGS.items() if name in extra},
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
            Path where the data will be on disk. A str may begin with ``~/``. An existing file is
            replaced only when the download is complete.
        threads : int, default ``[basic] threads`` of the options
            How many ranges of a large object are transferred at once.

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist.
        IntegrityError
            As :meth:`download_object` raises it; the file is not replaced.
        StorageFullError
            If the disk is full.
        FileNotFoundError, IsADirectoryError, PermissionError
            If the file cannot be written.

        Notes
        -----
        Until it is complete, the file has a temporary name (``.cottoncandy-*.tmp``) in the same
        directory. The next download to the same file removes one that a killed process left.

        Examples
        --------
        >>> from pathlib import Path
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_object('sub01/notes.txt', b'it works')
        >>> cci.download_to_file('sub01/notes.txt', 'notes.txt')
        >>> Path('notes.txt').read_text()
        'it works'
        """
        path = expand_home(file_name)
        with self._store.open(object_name, threads) as reader, atomic_write(path) as file:
            chunks = partial(self._store.chunks, reader)
            for chunk in checked_blocks(chunks, self._store.backend, reader.info):
                file.write(chunk)

    def upload_from_directory(
        self,
        disk_path: str | os.PathLike[str],
        cloud_path: str | None = None,
        recursive: bool = False,
        ExtraArgs: Mapping[str, Any] = DEFAULT_EXTRA_ARGS,  # noqa: N803 - the documented name
        threads: int = DEFAULT_THREADS,
        *,
        skip_existing: bool = False,
        overwrite: bool = True,
        dry_run: bool = False,
    ) -> SyncReport | None:
        """Upload the files of a directory, several at a time.

        Parameters
        ----------
        disk_path : str or path-like
            Directory to upload.
        cloud_path : str, optional
            Name that the files go under. If None, the path of the directory.
        recursive : bool, default False
            Whether to include its subdirectories.
        ExtraArgs : dict
            As in :meth:`upload_from_file`.
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many files are transferred at once.
        skip_existing : bool, default False
            Whether to skip files whose object exists already, with the same bytes.
        overwrite : bool, default True
            Whether to replace existing objects, as in :meth:`upload_object`: each object that
            exists is one that could not be uploaded.
        dry_run : bool, default False
            Whether only to report what would be done.

        Returns
        -------
        report : SyncReport or None
            Of a dry run: files, bytes, and an estimate of requests and cost.

        Raises
        ------
        NotADirectoryError, FileNotFoundError
            If ``disk_path`` is not a directory.
        PartialFailureError
            If some files could not be uploaded; the message names them. The others were uploaded.

        Notes
        -----
        Hidden files are uploaded too. Symbolic links are followed, to files and (with
        ``recursive``) to directories; links back to a parent directory, sockets,
        pipes and devices are skipped. Unreadable files and dangling links do not stop the others.
        Empty directories are not stored. In a directory that is a local store, ``NAME.meta.json``
        next to ``NAME`` is not uploaded as a file: it has the metadata of the object. With
        ``skip_existing``, sizes are compared, then bytes: by
        the ETag if it is an MD5, otherwise by reading the object.

        Examples
        --------
        >>> from pathlib import Path
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> Path('scans').mkdir()
        >>> n = Path('scans', 'run1').write_bytes(b'...')
        >>> cci.upload_from_directory('scans', 'sub01')
        Uploaded "scans" to "sub01"
        >>> cci.glob('sub01')
        ['sub01/run1']
        """
        extra_args(ExtraArgs)
        condition = upload_condition(overwrite, None)
        root = Path(expand_home(disk_path))
        default = "" if root.as_posix() == "." else root.as_posix()
        target = self._store.key(default if cloud_path is None else cloud_path, tree=True)
        report = transfer_files(
            self._store,
            files_below(root, target, recursive),
            lambda file, count: self._put_file(
                file.path,
                file.key,
                {**file.extra, **ExtraArgs},
                threads=count,
                condition=condition,
            ),
            root,
            target,
            uploading=True,
            threads=threads,
            skip_existing=skip_existing,
            dry_run=dry_run,
        )
        if not dry_run:
            echo(f'Uploaded "{root}" to "{target}"')
        return report

    def download_directory(
        self,
        directory: str,
        disk_name: str | os.PathLike[str],
        *,
        threads: int = DEFAULT_THREADS,
        skip_existing: bool = False,
        dry_run: bool = False,
    ) -> SyncReport | None:
        """Download an entire directory: all objects below a name, several at a time.

        Parameters
        ----------
        directory : str
            Directory in the cloud to download; ``''`` and ``'/'`` are the whole bucket.
        disk_name : str or path-like
            Name of the directory on disk to download to. It is created if it does not
            exist, and so are its subdirectories.
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many files are transferred at once.
        skip_existing : bool, default False
            Whether to skip files that have the object's size and bytes already, for example to
            resume an interrupted download. Bytes are compared by the ETag if it is an MD5,
            otherwise by reading the object.
        dry_run : bool, default False
            Whether only to report what would be done.

        Returns
        -------
        report : SyncReport or None
            Of a dry run: files, bytes, and an estimate of requests and cost.

        Raises
        ------
        ObjectNotFoundError
            If nothing exists below that name.
        InvalidNameError
            Before anything is written: if a key would lead out of the directory (``..``) or cannot
            be a file name, if an object is also the start of other names, or if a symbolic link in
            the directory leads out of it.
        NotADirectoryError, IsADirectoryError
            Before anything is written: if a file is in the way of a directory, or the reverse.
        StorageFullError
            If the disk is full.
        PartialFailureError
            If some objects could not be downloaded; the message names them. The others were
            downloaded.

        Notes
        -----
        Files are written completely or not at all. Other files in the directory are kept. An object
        whose name ends in ``/``, the marker of an empty directory, becomes a directory.

        Examples
        --------
        >>> from pathlib import Path
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_object('sub01/anat/notes', b'it works')
        >>> cci.download_directory('sub01', 'copy')
        >>> Path('copy/anat/notes').read_bytes()
        b'it works'
        """
        root = Path(expand_home(disk_name))
        branch, files = files_to_download(self._store, directory, root, create=not dry_run)
        return transfer_files(
            self._store,
            files,
            lambda file, count: self.download_to_file(file.key, file.path, count),
            root,
            branch,
            uploading=False,
            threads=threads,
            skip_existing=skip_existing,
            dry_run=dry_run,
        )

    def sync(
        self,
        source: str | os.PathLike[str],
        dest: str | os.PathLike[str],
        *,
        delete: bool = False,
        dry_run: bool = False,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        max_delete: int | None = None,
        checksum: bool = False,
        threads: int = DEFAULT_THREADS,
        retries: int | None = None,
    ) -> SyncReport:
        """Make one place a copy of another, as :func:`cottoncandy.sync` does.

        Parameters
        ----------
        source, dest : str or path-like
            Text is a name in the bucket, with everything below it; ``''`` is the whole bucket. A
            :class:`pathlib.Path`, or text that begins with ``/``, ``./``, ``../`` or ``~``, is a
            directory on disk. Or a URL.
        delete, dry_run, include, exclude, max_delete, checksum, threads, retries : optional
            As in :func:`cottoncandy.sync`.

        Returns
        -------
        report : SyncReport

        Raises
        ------
        BucketNotFoundError, ObjectNotFoundError
            If there is nothing at the source. Then nothing is deleted.
        InvalidArgumentError
            If an end is inside the other, or more than ``max_delete`` files would be deleted.
        PartialFailureError
            If some files could not be copied; the message names them.

        Examples
        --------
        >>> cci.sync("data", "/backup/data", delete=True)  # doctest: +SKIP
        """
        try:
            return synchronize(
                self._endpoint(source),
                self._endpoint(dest),
                Rules(delete, checksum, include, exclude, max_delete),
                SyncReport(dry_run=dry_run),
                threads=threads,
                retries=retries,
                progress=self._store.settings.progress,
            )
        except ObjectNotFoundError as exc:
            if isinstance(source, str) and Path(source).is_dir():
                raise ObjectNotFoundError(
                    f"{exc}; './{source}' is the directory on this computer"
                ) from None
            raise

    def _endpoint(self, place: str | os.PathLike[str]) -> Endpoint:
        on_disk = ("/", "./", "../", "~")
        if not isinstance(place, str) or place.startswith(on_disk) or is_url(place):
            return Endpoint.of(place)
        return Endpoint(self._store, prefix_of(self._store.key(place, tree=True)))


def extra_args(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return boto3-style ``ExtraArgs``, after rejecting unsupported ones.

    Raises
    ------
    InvalidArgumentError
        If there is a key that no backend supports.
    MetadataError
        If metadata has a name of the storage format.
    """
    unknown = sorted(set(given) - set(_EXTRA_ARGS))
    if unknown:
        raise InvalidArgumentError(
            f"ExtraArgs accepts {', '.join(_EXTRA_ARGS)}, got {', '.join(unknown)}"
        )
    reject_reserved(given.get("Metadata") or ())
    return given
