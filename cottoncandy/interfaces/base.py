"""The base of all interfaces: a store, and methods on buckets."""

from __future__ import annotations

import datetime
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

from cottoncandy.backends.base import Backend, ObjectInfo
from cottoncandy.backends.options import UPLOAD_OPTIONS
from cottoncandy.config.options import DEFAULT_ACL, Settings
from cottoncandy.core.buffers import MiB
from cottoncandy.core.names import check_text
from cottoncandy.core.output import bytes2human, echo, escape, html_table, printable
from cottoncandy.core.stats import Stats
from cottoncandy.exceptions import (
    AccessDeniedError,
    BucketExistsError,
    BucketNotFoundError,
    InvalidArgumentError,
)
from cottoncandy.formats.encryption.keys import KeyScheme
from cottoncandy.stores.checks import check_bool, check_int
from cottoncandy.stores.connect import check_bucket_name, connect
from cottoncandy.stores.finding import scan_objects
from cottoncandy.stores.store import Store

Interface = TypeVar("Interface", bound="ObjectAccess")

#: Public methods that give the interface another bucket.
_REBINDING = frozenset({"create_bucket", "rm_bucket", "set_bucket"})
#: Other public methods that store or delete; so do those whose names begin with ``upload_``.
_WRITING = frozenset(
    {
        *("append_dask_array", "clean", "cp", "dict2cloud", "mv", "restore", "rm", "rotate_keys"),
        "set_metadata",
    }
)

#: Public methods that take ``storage_class=`` and its like; so do those named ``upload_*``.
_UPLOADING = frozenset({"append_dask_array", "dict2cloud", "open"})

_CAPABILITIES = {
    "acls": "ACLs",
    "owners": "owners",
    "trash": "trash",
    "conditional_put": "conditional uploads",
}
_FIRST_STEPS = (
    "cci.upload_raw_array('name', array)",
    "cci.download_raw_array('name')",
    "cci.ls('*')",
    "cci.get_browser()",
)


class InterfaceObject:
    """Base of everything that the factories return."""


class ObjectAccess(InterfaceObject):
    """Access to objects through a store, which only ``set_bucket`` and its like replace.

    Each public method of a subclass works with the store that the interface had when it was
    called.
    """

    backend: str
    _store: Store

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__module__.startswith("cottoncandy."):
            return  # a user's methods may set attributes
        for name, value in list(vars(cls).items()):
            if inspect.isfunction(value) and not name.startswith("_") and name not in _REBINDING:
                writing = name in _WRITING or name.startswith("upload_")
                setattr(cls, name, _in_one_bucket(value, writing))

    def __init__(
        self,
        bucket_name: str | None,
        ACCESS_KEY: str | None = None,  # noqa: N803 - the documented name
        SECRET_KEY: str | None = None,  # noqa: N803 - the documented name
        url: str | None = None,
        force_bucket_creation: bool | None = False,
        verbose: bool = True,
        backend: str = "s3",
        **kwargs: Any,
    ) -> None:
        # Factories and subclasses pass on the settings they have read. Reading the file twice could
        # mix two versions of it.
        settings: Settings = kwargs.pop("_settings", None) or Settings.load()
        keys: KeyScheme | None = kwargs.pop("_keys", None)
        url = kwargs.pop("endpoint_url", url)  # the documents of 0.4.0 have both names
        self.verbose = verbose
        self._store = connect(
            backend,
            bucket_name,
            ACCESS_KEY,
            SECRET_KEY,
            url,
            settings=settings,
            extra=kwargs,
            keys=keys,
        )
        self.backend = self._store.backend.name
        self._check_bucket(force_bucket_creation)
        if verbose:
            self._greet()

    def __repr__(self) -> str:
        store = getattr(self, "_store", None)
        where = "not connected" if store is None else store.backend.describe()
        return f"<cottoncandy.{type(self).__name__} {where}>"

    def _repr_html_(self) -> str:
        """Return a table about the store, without secrets. No request is sent."""
        store, declared = self._store, self._store.backend.capabilities
        supported = [text for name, text in _CAPABILITIES.items() if getattr(declared, name)]
        rows = {
            "Store": store.describe(),
            "Supports": ", ".join(supported) or "objects and metadata",
        }
        if store.bucket is None:
            rows["Bucket"] = "none; choose one with cci.set_bucket('name')"
        if declared.acls:
            rows["Default ACL"] = store.settings.default_acl or "the server's"
        steps = "".join(f"<div><code>{escape(step)}</code></div>" for step in _FIRST_STEPS)
        begin = f"To begin, with <code>cci</code> for this interface:{steps}"
        return html_table(f"cottoncandy.{type(self).__name__}", rows, begin)

    @property
    def bucket_name(self) -> str | None:
        """Name of the current bucket; None if none was chosen."""
        return self._store.bucket

    def _store_in(self, bucket_name: str | None) -> Store:
        """Return the store on a bucket; None means the current one."""
        store = self._store
        return store if bucket_name is None else store.in_bucket(check_bucket_name(bucket_name))

    @property
    def backend_interface(self) -> Backend:
        """The backend, bound to the current bucket."""
        return self._store.backend

    @backend_interface.setter
    def backend_interface(self, backend: Backend) -> None:
        self._store = replace(self._store, backend=backend)

    @property
    def stats(self) -> Stats:
        """Requests, bytes and retries of this interface until now, in this process.

        Returns
        -------
        stats : cottoncandy.interfaces.Stats
            A value that does not change. The difference of two is what happened in between.

        Notes
        -----
        Counted are all requests of the connection, those for other buckets, array handles and
        Dask arrays of this process included. An interface that was pickled or forked begins at
        zero in its new process. On disk and in memory, a request is an operation of the backend.

        Examples
        --------
        >>> import cottoncandy
        >>> cci = cottoncandy.get_interface("bucket", backend="memory", verbose=False)
        >>> before = cci.stats
        >>> cci.exists_object("array")
        False
        >>> (cci.stats - before).requests
        1
        """
        return self.backend_interface.counter.read()

    @property
    def settings(self) -> Settings:
        """The options that apply to this interface, without secrets."""
        return self._store.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._store = replace(self._store, settings=settings)

    def _check_bucket(self, create: bool | None) -> None:
        """Raise if the bucket is missing, or create it; None means as the options say."""
        bucket = self.bucket_name
        backend = self._store.backend
        if bucket is None or not backend.checks_buckets or backend.has_bucket(bucket):
            return
        if create is None:
            create = self.settings.force_bucket_creation or backend.creates_buckets
        if not (create and backend.capabilities.writable):
            directory = "/" in bucket and Path(bucket).is_dir()
            hint = "; for the directory on disk, pass backend='local'" if directory else ""
            raise BucketNotFoundError(
                f"there is no bucket '{bucket}' ({backend.describe()}); check its "
                f"name, or pass force_bucket_creation=True to create it{hint}"
            )
        try:
            backend.create_bucket(bucket, acl=self._store.acl(DEFAULT_ACL))
        except BucketExistsError:
            # Another process created it after the check above.
            if not backend.has_bucket(bucket):
                raise

    def _greet(self) -> None:
        echo(self._store.backend.status_message())


def _in_one_bucket(method: Callable[..., Any], writing: bool) -> Callable[..., Any]:
    """Return a method that runs on a snapshot of its interface.

    A running call stays in its bucket, whatever other threads do to the interface. Objects that it
    opens keep the snapshot, so ``set_bucket`` never moves lazy arrays or browsers. A writing method
    raises on a read-only store, before any request, unless it is a dry run. Options of an upload,
    such as ``storage_class=``, apply to everything it stores.
    """
    parameters = inspect.signature(method).parameters
    names = [*parameters][1:]
    flags = {name for name in names if parameters[name].annotation == "bool"}
    uploading = method.__name__.startswith("upload_") or method.__name__ in _UPLOADING

    @functools.wraps(method)
    def run(self: ObjectAccess, *args: Any, **kwargs: Any) -> Any:
        passed = {**dict(zip(names, args, strict=False)), **kwargs}
        for name in flags & passed.keys():  # 'no' would be true
            check_bool(passed[name], name)
        if writing and not passed.get("dry_run"):
            self._store.require_writable()
        snapshot = object.__new__(type(self))
        snapshot.__dict__.update(self.__dict__)
        if uploading:
            options = {name: kwargs.pop(name) for name in UPLOAD_OPTIONS if name in kwargs}
            snapshot._store = self._store.with_upload_options(options)
        return method(snapshot, *args, **kwargs)

    return run


def interface_on(kind: type[Interface], store: Store) -> Interface:
    """Return an interface on an open store, without a request."""
    made = object.__new__(kind)
    made._store = store
    made.backend, made.verbose = store.backend.name, False
    return made


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
        count = None if limit is None else check_int(limit, "limit", 0)
        wanted = dict(filter or {})
        prefix = check_text(wanted.pop("Prefix", ""))
        if wanted:
            raise InvalidArgumentError(f"filter accepts only 'Prefix', got {wanted}")
        check_page_size(page_size)
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
        """Print the available buckets and when they were created."""
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
        """
        count = None if limit is None else check_int(limit, "limit", 0)
        check_page_size(page_size)
        found = scan_objects(self._store.backend)
        print_objects(islice(found, count))
        if next(found, None) is not None:
            echo(f"... and more: the first {limit} are shown, limit=None shows all")


def check_page_size(page_size: int | None) -> None:
    """Raise InvalidArgumentError if a page size is invalid; it has no effect."""
    if page_size is not None:
        check_int(page_size, "page_size", 1)


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
