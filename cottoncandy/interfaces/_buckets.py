"""Buckets, and what is in them."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from cottoncandy._checks import check_int
from cottoncandy._defaults import DEFAULT_ACL
from cottoncandy._names import check_text
from cottoncandy._output import bytes2human, echo, printable
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.exceptions import AccessDeniedError, BucketNotFoundError, InvalidArgumentError
from cottoncandy.interfaces._core import ObjectAccess
from cottoncandy.stores.connect import check_bucket_name
from cottoncandy.transfer.entries import scan_objects

__all__ = ["BucketMethods", "print_objects"]

_MB = 2**20


class BucketMethods(ObjectAccess):
    """Choosing, making, removing and measuring buckets."""

    def _greet(self) -> None:
        """Say what is there: the buckets, and which one is current."""
        echo(self.backend_interface.greeting())
        if self.bucket_name is None:
            return
        echo("Available buckets:")
        try:
            self.show_buckets()
        except AccessDeniedError:
            echo("(these credentials may not list buckets)")
        echo(f"Current bucket: {self.bucket_name}")

    def exists_bucket(self, bucket_name: str) -> bool:
        """Check whether a bucket exists.

        Parameters
        ----------
        bucket_name : str

        Returns
        -------
        exists : bool
            True also where the bucket exists and these credentials may not look into it.
        """
        return self.backend_interface.has_bucket(check_bucket_name(bucket_name))

    def create_bucket(self, bucket_name: str, acl: str = DEFAULT_ACL) -> None:
        """Create a bucket and make it the current one.

        Parameters
        ----------
        bucket_name : str
        acl : str, default ``[basic] default_acl`` of the options
            Canned ACL. A store that refuses ACLs makes the bucket without one, and says so once.

        Raises
        ------
        BucketExistsError
            If there is a bucket of that name, yours or somebody else's.
        InvalidNameError
            If the name breaks the store's rules, or lacks ``[basic] mandatory_bucket_prefix``.
        """
        self.backend_interface.create_bucket(check_bucket_name(bucket_name), acl=self._acl(acl))
        self._store = self._store.in_bucket(bucket_name)

    def rm_bucket(self, bucket_name: str) -> None:
        """Remove an empty bucket.

        Parameters
        ----------
        bucket_name : str

        Raises
        ------
        BucketNotEmptyError
            If there is anything in it.
        BucketNotFoundError
            If there is no such bucket.
        """
        self.backend_interface.delete_bucket(check_bucket_name(bucket_name))
        if self.bucket_name == bucket_name:
            self._store = self._store.in_bucket(None)

    def set_bucket(self, bucket_name: str) -> None:
        """Choose the current bucket of this interface.

        What was opened before (lazy arrays, datasets, browsers, streams) and calls that are
        running in other threads stay in their bucket.

        Parameters
        ----------
        bucket_name : str

        Raises
        ------
        BucketNotFoundError
            If there is no such bucket; the current one stays.
        """
        if not self.backend_interface.has_bucket(check_bucket_name(bucket_name)):
            raise BucketNotFoundError(
                f"there is no bucket '{bucket_name}'; create it with "
                f"cci.create_bucket('{bucket_name}')"
            )
        self._store = self._store.in_bucket(bucket_name)

    def get_bucket(self) -> Any:
        """Get the client library's own bucket: boto3's ``Bucket``.

        Returns
        -------
        bucket : boto3 Bucket or pydrive2 GoogleDrive

        Raises
        ------
        UnsupportedOperationError
            If the backend is neither S3 nor Google Drive.
        """
        return self.backend_interface.native_bucket()

    def get_object(self, object_name: str, bucket_name: str | None = None) -> Any:
        """Get the client library's own object: boto3's ``Object``, whether it exists or not.

        Parameters
        ----------
        object_name : str
        bucket_name : str, optional
            Defaults to the current bucket.

        Returns
        -------
        object : boto3 Object or pydrive2 GoogleDriveFile

        Raises
        ------
        UnsupportedOperationError
            If the backend is neither S3 nor Google Drive.
        ObjectNotFoundError
            If there is no such object on Google Drive.
        """
        return self.backend_interface.native_object(
            self._key(object_name, bucket=bucket_name), bucket=bucket_name
        )

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
            How many objects the store is asked for at once; a hint.
        filter : dict, optional
            ``{'Prefix': 'path/to'}`` returns only objects whose names start like this. ``'/'`` and
            ``''`` stand for all objects.

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
                f"filter is a dictionary such as {{'Prefix': 'path/to'}}, and {filter!r} was given"
            )
        count = None if limit is None else check_int(limit, "limit", 0)
        wanted = dict(filter or {})
        prefix = check_text(wanted.pop("Prefix", ""))
        if wanted:
            raise InvalidArgumentError(f"filter knows 'Prefix' only, and {wanted} was given")
        found = self._scan_objects("" if prefix == "/" else prefix, page_size)
        return list(islice(found, count))

    def get_bucket_objects(self, **kwargs: Any) -> list[ObjectInfo]:
        """Get the objects of the current bucket: the older name of :meth:`get_objects`.

        Parameters
        ----------
        **kwargs
            As :meth:`get_objects` takes them.

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
            As stored: compressed or encrypted bytes, if they are.
        """
        total = count = 0
        for info in self._scan_objects():
            total += info.size
            count += 1
        echo(f"{total} bytes ({bytes2human(total)}) over {count} objects")
        return total

    def get_bucket_size(self, limit: int = 10**6, page_size: int = 10**6) -> int:
        """Count the size of all objects in the current bucket, and print it.

        Parameters
        ----------
        limit, page_size : int
            Accepted for compatibility: every object is counted, however many there are.

        Returns
        -------
        total_bytes : int
            The byte count of all objects in the bucket.
        """
        return self.get_size()

    def show_buckets(self) -> None:
        """Print the available buckets and when they were made."""
        echo(
            *(
                f"{bucket.name: <40} {_local_time(bucket.created)}".rstrip()
                for bucket in self.backend_interface.list_buckets()
            )
        )

    def show_objects(self, limit: int | None = 1000, page_size: int = 1000) -> None:
        """Print the objects in the current bucket: name, date, size.

        Parameters
        ----------
        limit : int or None, default 1000
            Maximum number of objects to print; a last line says if there are more. None prints all.
        page_size : int, default 1000
            How many objects the store is asked for at once; a hint.
        """
        count = None if limit is None else check_int(limit, "limit", 0)
        found = self._scan_objects(page_size=page_size)
        print_objects(islice(found, count))
        if next(found, None) is not None:
            echo(f"... and more: the first {limit} are shown, limit=None shows all")

    def _scan_objects(self, prefix: str = "", page_size: int | None = None) -> Iterator[ObjectInfo]:
        """Yield every object under a prefix, lazily."""
        page = None if page_size is None else check_int(page_size, "page_size", 1)
        return scan_objects(self.backend_interface, prefix, page_size=page)


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
    return f"{nbytes / 1024:.1f}K" if nbytes < _MB / 10 else f"{nbytes / _MB:.1f}M"


def _local_time(moment: datetime.datetime | None) -> str:
    return "" if moment is None else moment.astimezone().strftime("%Y/%m/%d (%H:%M:%S)")
