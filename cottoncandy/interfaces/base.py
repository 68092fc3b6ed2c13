"""The base of all interfaces: a store, to which each call keeps until it ends."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from inspect import Parameter
from pathlib import Path
from typing import Any, TypeVar

from cottoncandy.backends.base import Backend
from cottoncandy.backends.options import UPLOAD_OPTIONS
from cottoncandy.config.options import DEFAULT_ACL, Settings
from cottoncandy.config.sources import nearest
from cottoncandy.core.output import echo, escape, html_table, printable
from cottoncandy.core.stats import Stats
from cottoncandy.exceptions import BucketNotFoundError, UnknownOptionError
from cottoncandy.stores.checks import check_bool
from cottoncandy.stores.connect import check_bucket_name, connect
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
        url = kwargs.pop("endpoint_url", url)  # the documents of 0.4.0 have both names
        self.verbose = verbose
        self._store = connect(backend, bucket_name, ACCESS_KEY, SECRET_KEY, url, **kwargs)
        self.backend = self._store.backend.name
        self._check_bucket(force_bucket_creation)
        if verbose:
            self._greet()

    def __repr__(self) -> str:
        store = getattr(self, "_store", None)
        where = "not connected" if store is None else printable(store.backend.describe())
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
        self._store.create_bucket(self._store.acl(DEFAULT_ACL))

    def _greet(self) -> None:
        echo(self._store.backend.status_message())


def _in_one_bucket(method: Callable[..., Any], writing: bool) -> Callable[..., Any]:
    """Return a method that runs on a snapshot of its interface.

    A running call stays in its bucket, whatever other threads do to the interface. Objects that it
    opens keep the snapshot, so ``set_bucket`` never moves lazy arrays or browsers. A writing method
    raises on a read-only store, before any request, unless it is a dry run. Options of an upload,
    such as ``storage_class=``, apply to everything it stores. Others that the method does not have
    are rejected with the name of the right one.
    """
    parameters = inspect.signature(method).parameters
    names = [*parameters][1:]
    positional = [name for name in names if parameters[name].kind is not Parameter.KEYWORD_ONLY]
    flags = {name for name in names if parameters[name].annotation == "bool"}
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    uploading = method.__name__.startswith("upload_") or method.__name__ in _UPLOADING

    @functools.wraps(method)
    def run(self: ObjectAccess, *args: Any, **kwargs: Any) -> Any:
        passed = {**dict(zip(positional, args, strict=False)), **kwargs}
        for name in flags & passed.keys():  # 'no' would be true
            check_bool(passed[name], name)
        if writing and not passed.get("dry_run"):
            self._store.require_writable()
        snapshot = object.__new__(type(self))
        snapshot.__dict__.update(self.__dict__)
        if uploading:
            options = {name: kwargs.pop(name) for name in UPLOAD_OPTIONS if name in kwargs}
            snapshot._store = self._store.with_upload_options(options)
        unknown = sorted(kwargs.keys() - parameters.keys()) if kwargs and not takes_any else None
        if unknown:
            hint = nearest(unknown[0], names, "{}=")
            raise UnknownOptionError(f"{method.__name__} has no option {unknown[0]!r}{hint}")
        return method(snapshot, *args, **kwargs)

    return run


def interface_on(kind: type[Interface], store: Store) -> Interface:
    """Return an interface on an open store, without a request."""
    made = object.__new__(kind)
    made._store = store
    made.backend, made.verbose = store.backend.name, False
    return made
