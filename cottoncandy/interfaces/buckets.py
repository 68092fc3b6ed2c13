"""Methods on buckets, and the native objects of client libraries."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Self

from cottoncandy.backends.base import ObjectInfo
from cottoncandy.config.options import DEFAULT_ACL, DefaultInt
from cottoncandy.core.buffers import MiB
from cottoncandy.core.names import check_text
from cottoncandy.core.output import bytes2human, echo, printable
from cottoncandy.exceptions import AccessDeniedError, BucketNotFoundError, InvalidArgumentError
from cottoncandy.interfaces.base import ObjectAccess
from cottoncandy.stores.checks import check_int
from cottoncandy.stores.connect import check_bucket_name
from cottoncandy.stores.finding import scan_objects


class BucketMethods(ObjectAccess):
    """Selecting, creating, removing and measuring buckets; closing their connections."""

    def _greet(self) -> None:
        """Print the available buckets and the current one."""
        echo(self._store.backend.status_message())
        if self.bucket_name is None:
            return
        echo("Available buckets:")
        try:
            self.show_buckets()
        except AccessDeniedError:
            echo("(these credentials may not list buckets)")
        echo(f"Current bucket: {self.bucket_name}")

    def close(self) -> None:
        """Close the connections of this interface.

        ``with cottoncandy.get_interface(...) as cci:`` does so at the end of the block.

        Notes
        -----
        As with boto3's clients, nothing becomes unusable: the interface, its copies on other
        buckets and what they have opened (lazy arrays, streams, browsers, stores of zarr, file
        systems) connect again when they are used. Running transfers continue.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> with cc.get_interface("my_bucket", backend="memory", verbose=False) as cci:
        ...     response = cci.upload_object("hello", b"world")
        """
        self._store.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def exists_bucket(self, bucket_name: str) -> bool:
        """Check whether a bucket exists.

        Parameters
        ----------
        bucket_name : str

        Returns
        -------
        exists : bool
            True even if the bucket exists but these credentials cannot list it.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> cci.exists_bucket('my_bucket'), cci.exists_bucket('other')
        (True, False)
        """
        return self._store.backend.has_bucket(check_bucket_name(bucket_name))

    def create_bucket(self, bucket_name: str, acl: str = DEFAULT_ACL) -> None:
        """Create a bucket and make it the current one.

        Parameters
        ----------
        bucket_name : str
        acl : str, default ``[basic] default_acl`` of the options
            Canned ACL. If the store denies ACLs, the bucket is created without one, and a warning
            is logged once.

        Raises
        ------
        BucketExistsError
            If the name is taken, by you or by another account.
        InvalidNameError
            If the name breaks the store's rules, or lacks ``[basic] mandatory_bucket_prefix``.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> cci.create_bucket('scans')
        >>> cci.bucket_name
        'scans'
        """
        self._store.require_writable()
        self._store.backend.create_bucket(check_bucket_name(bucket_name), acl=self._store.acl(acl))
        self._store = self._store.in_bucket(bucket_name)

    def rm_bucket(self, bucket_name: str) -> None:
        """Remove an empty bucket.

        Parameters
        ----------
        bucket_name : str

        Raises
        ------
        BucketNotEmptyError
            If it contains anything.
        BucketNotFoundError
            If there is no such bucket.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> cci.rm_bucket('my_bucket')
        >>> cci.exists_bucket('my_bucket')
        False
        """
        self._store.require_writable()
        self._store.backend.delete_bucket(check_bucket_name(bucket_name))
        if self.bucket_name == bucket_name:
            self._store = self._store.in_bucket(None)

    def set_bucket(self, bucket_name: str) -> None:
        """Set the current bucket of this interface.

        Open lazy arrays, datasets, browsers and streams, and calls that are running in other
        threads, stay in their bucket.

        Parameters
        ----------
        bucket_name : str

        Raises
        ------
        BucketNotFoundError
            If there is no such bucket; the current one stays.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> cci.create_bucket('scans')
        >>> cci.set_bucket('my_bucket')
        >>> cci.bucket_name
        'my_bucket'
        """
        if not self._store.backend.has_bucket(check_bucket_name(bucket_name)):
            raise BucketNotFoundError(
                f"there is no bucket '{bucket_name}'; create it with "
                f"cci.create_bucket('{bucket_name}')"
            )
        self._store = self._store.in_bucket(bucket_name)

    def get_bucket(self) -> Any:
        """Get the client library's own bucket: boto3's ``Bucket``.

        Returns
        -------
        bucket : boto3 Bucket, google.cloud.storage Bucket, or pydrive2 GoogleDrive

        Raises
        ------
        UnsupportedOperationError
            If the backend has no client library.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket')  # doctest: +SKIP
        >>> cci.get_bucket().Versioning().status  # doctest: +SKIP
        'Enabled'
        """
        return self._store.backend.native_bucket()

    def get_object(self, object_name: str, bucket_name: str | None = None) -> Any:
        """Get the client library's own object: boto3's ``Object``, whether it exists or not.

        Parameters
        ----------
        object_name : str
        bucket_name : str, optional
            Defaults to the current bucket.

        Returns
        -------
        object : boto3 Object, google.cloud.storage Blob, or pydrive2 GoogleDriveFile

        Raises
        ------
        UnsupportedOperationError
            If the backend has no client library.
        ObjectNotFoundError
            If there is no such object on Google Drive.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket')  # doctest: +SKIP
        >>> cci.get_object('sub01/run1').version_id  # doctest: +SKIP
        '3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrH'
        """
        store = self._store_in(bucket_name)
        return store.backend.native_object(store.key(object_name))

    def get_objects(
        self,
        *,
        limit: int | None = None,
        page_size: int | None = None,
        filter: Mapping[str, str] | None = None,  # noqa: A002 - boto3's name for it
    ) -> list[ObjectInfo]:
        """Get the objects of the current bucket, sorted by name.

        Parameters
        ----------
        limit : int, optional
            Maximum number of objects. All of them by default.
        page_size : int, optional
            Accepted for compatibility: the store's largest pages are requested.
        filter : dict, optional
            ``{'Prefix': 'path/to'}`` returns only objects whose names start with it. ``'/'`` and
            ``''`` mean all objects.

        Returns
        -------
        objects : list of ObjectInfo
            With ``key``, ``size`` (bytes), ``last_modified`` and ``e_tag``.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_object('greetings/hello', b'hello')
        >>> [(ob.key, ob.size) for ob in cci.get_objects(filter=dict(Prefix='greetings'))]
        [('greetings/hello', 5)]
        """
        if filter is not None and not isinstance(filter, Mapping):
            raise InvalidArgumentError(
                f"filter must be a dictionary such as {{'Prefix': 'path/to'}}, got {filter!r}"
            )
        count = checked_limit(limit, page_size)
        wanted = dict(filter or {})
        prefix = check_text(wanted.pop("Prefix", ""))
        if wanted:
            raise InvalidArgumentError(f"filter accepts only 'Prefix', got {wanted}")
        found = scan_objects(self._store.backend, "" if prefix == "/" else prefix)
        return list(islice(found, count))

    def get_bucket_objects(self, **kwargs: Any) -> list[ObjectInfo]:
        """Get the objects of the current bucket: the former name of :meth:`get_objects`.

        Parameters
        ----------
        **kwargs
            Parameters of :meth:`get_objects`.

        Returns
        -------
        objects : list of ObjectInfo
        """
        warnings.warn("get_bucket_objects() is now get_objects()", DeprecationWarning, stacklevel=3)
        return self.get_objects(**kwargs)

    def get_size(self) -> int:
        """Get the total size of the objects in the current bucket, and print it.

        Returns
        -------
        total_bytes : int
            As stored: compressed, if the objects are compressed.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_object('notes', b'it works')
        >>> total = cci.get_size()
        8 bytes (8.00B) over 1 objects
        """
        total = count = 0
        for info in scan_objects(self._store.backend):
            total += info.size
            count += 1
        echo(f"{total} bytes ({bytes2human(total)}) over {count} objects")
        return total

    def get_bucket_size(self, limit: int = 10**6, page_size: int = 10**6) -> int:
        """Count the size of all objects in the current bucket, and print it.

        Parameters
        ----------
        limit, page_size : int
            Accepted for compatibility: every object is counted.

        Returns
        -------
        total_bytes : int
            The byte count of all objects in the bucket.
        """
        return self.get_size()

    def show_buckets(self) -> None:
        """Print the available buckets and when they were created.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> cci.show_buckets()
        my_bucket ...
        """
        echo(
            *(
                f"{bucket.name: <40} {_local_time(bucket.created)}".rstrip()
                for bucket in self._store.backend.list_buckets()
            )
        )

    def show_objects(self, limit: int | None = 1000, page_size: int = 1000) -> None:
        """Print the objects in the current bucket: name, date, size.

        Parameters
        ----------
        limit : int or None, default 1000
            Maximum number of objects to print; a last line is printed if there are more. None
            prints all.
        page_size : int, default 1000
            Accepted for compatibility, as in :meth:`get_objects`.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_object('notes', b'it works')
        >>> cci.show_objects()
        notes ... 8B
        """
        count = checked_limit(limit, page_size)
        found = scan_objects(self._store.backend)
        print_objects(islice(found, count))
        if next(found, None) is not None:
            echo(f"... and more: the first {limit} are shown, limit=None shows all")


def checked_limit(limit: int | None, page_size: int | None = None) -> int | None:
    """Return how many names to list at most: None unless the user passed a limit.

    Raises
    ------
    InvalidArgumentError
        If an argument is invalid; the size of a page has no effect.
    """
    if page_size is not None:
        check_int(page_size, "page_size", 1)
    if limit is None or isinstance(limit, DefaultInt):
        return None
    return check_int(limit, "limit", 0)


def print_objects(objects: Iterable[ObjectInfo]) -> None:
    """Print name, date and size of objects, a screenful at a time."""
    found = iter(objects)
    while batch := list(islice(found, 1000)):
        names = [printable(info.key) for info in batch]
        width = min(max(map(len, names)) + 3, 70)
        for name, info in zip(names, batch, strict=True):
            echo(f"{name: <{width}} {_local_time(info.modified)} {_listed_size(info.size)}")


def _listed_size(nbytes: int) -> str:
    """Return a size as 0.4.0 lists it, in MB; small ones in KB or bytes."""
    if nbytes < 1024:
        return f"{nbytes}B"
    return f"{nbytes / 1024:.1f}K" if nbytes < MiB / 10 else f"{nbytes / MiB:.1f}M"


def _local_time(moment: datetime.datetime | None) -> str:
    return "" if moment is None else moment.astimezone().strftime("%Y/%m/%d (%H:%M:%S)")
