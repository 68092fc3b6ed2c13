"""Methods on bytes, JSON and pickles, and on objects as files."""

from __future__ import annotations

import io
import json
import pickle
from typing import Any

from cottoncandy.arrays.manifests import parse_json
from cottoncandy.config.options import DEFAULT_ACL, DEFAULT_THREADS
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import (
    IntegrityError,
    InvalidArgumentError,
    MissingDependencyError,
    ObjectNotFoundError,
    UnsupportedDtypeError,
)
from cottoncandy.interfaces.base import ObjectAccess
from cottoncandy.stores.checks import checked_metadata, reject_reserved, upload_condition
from cottoncandy.stores.files import CloudWriter, open_file
from cottoncandy.stores.streams import CloudStream
from cottoncandy.transfer.copying import check_content

_OPEN_OPTIONS = ("errors", "newline", "metadata", "acl", "content_type", "threads")


class ObjectMethods(ObjectAccess):
    """One object at a time, as bytes or as a Python value."""

    def exists_object(
        self, object_name: str, bucket_name: str | None = None, raise_err: bool = False
    ) -> bool:
        """Check whether an object exists.

        Parameters
        ----------
        object_name : str
            The object name.
        bucket_name : str, optional
            Defaults to the current bucket.
        raise_err : bool, default False
            Whether to raise an error if the object does not exist.

        Returns
        -------
        exists : bool

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist and ``raise_err`` is True.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_object('notes', b'it works')
        >>> cci.exists_object('notes'), cci.exists_object('plans')
        (True, False)
        """
        store = self._store_in(bucket_name)
        key = store.key(object_name)
        exists = bool(key) and store.backend.exists(key)
        if raise_err and not exists:
            raise ObjectNotFoundError(f"there is no object '{key}' in bucket '{store.bucket}'")
        return exists

    def upload_object(
        self,
        object_name: str,
        body: Any,
        acl: str = DEFAULT_ACL,
        threads: int = DEFAULT_THREADS,
        *,
        overwrite: bool = True,
        if_match: str | None = None,
        **metadata: Any,
    ) -> dict[str, Any]:
        """Upload bytes.

        Parameters
        ----------
        object_name : str
        body : bytes-like, binary file object, or iterable of bytes-like
            A buffer is sent without a copy in memory. A file is read from its current position to
            its end.
        acl : str, default ``[basic] default_acl`` of the options
            Canned ACL of the object.
        threads : int, default ``[basic] threads`` of the options
            How many parts of a large object are transferred at once.
        overwrite : bool, default True
            Whether to replace an existing object.
        if_match : str, optional
            Replace only the version whose upload returned this ``ETag``, with or without its
            quotes.
        **metadata : str
            Stored as metadata of the object. Numbers become text. A name that looks like a
            misspelled parameter is rejected; ``metadata={...}`` takes any name.
            ``storage_class``, ``server_side_encryption``, ``sse_kms_key_id`` and
            ``request_payer`` are options of the upload, here and in every method that uploads.

        Returns
        -------
        response : dict
            ``ETag`` and, in versioned buckets, ``VersionId``.

        Raises
        ------
        ObjectExistsError
            If ``overwrite`` is False and the object exists; nothing is stored.
        ObjectChangedError
            If ``if_match`` is not the ETag of the object, or there is none; nothing is stored.
        InvalidArgumentError
            If ``body`` is text, or anything else that is not bytes; or if a keyword is a misspelled
            parameter (``ACL``).
        InvalidNameError, MetadataError
            If the store cannot keep the name or the metadata; nothing is sent.

        Notes
        -----
        An upload that fails or is interrupted leaves an existing object unchanged.

        With ``overwrite=False`` and ``if_match``, the check and the upload are one step, if the
        store supports it: S3 does on AWS, Ceph and MinIO, except for large objects on servers other
        than AWS; Google Cloud Storage, a local directory and memory do. Elsewhere the check is a
        separate request.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_object('notes/today', b'it works', author='me')
        >>> cci.download_object('notes/today')
        b'it works'
        """
        checked = checked_metadata(metadata, self.upload_object)
        key = self._store.key(object_name)  # before the body: they may be in the wrong order
        return self._store.put(
            key,
            Body.of(body),
            metadata=checked,
            acl=acl,
            threads=threads,
            condition=upload_condition(overwrite, if_match),
        )

    def download_stream(self, object_name: str, threads: int = DEFAULT_THREADS) -> CloudStream:
        """Open an object for reading as a stream.

        Parameters
        ----------
        object_name : str
            Name of the object to download.
        threads : int, default ``[basic] threads`` of the options
            How many ranges of a large object are transferred at once.

        Returns
        -------
        stream : CloudStream
            A binary file object; ``stream.metadata`` is a dictionary.

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_object('notes/today', b'it works', author='me')
        >>> with cci.download_stream('notes/today') as stream:
        ...     stream.read(2), stream.metadata
        (b'it', {'author': 'me'})
        """
        return CloudStream(self._store.open(object_name, threads))

    def open(
        self,
        name: str,
        mode: str = "rb",
        *,
        block_size: int | str | None = None,
        encoding: str | None = None,
        **options: Any,
    ) -> CloudStream | CloudWriter | io.TextIOWrapper:
        r"""Open an object as a file.

        Parameters
        ----------
        name : str
            Name of the object.
        mode : {'rb', 'r', 'wb', 'w', 'xb', 'x'}, default 'rb'
            Read, write, or create an object that must not exist; bytes (``b``) or text.
        block_size : int or str, optional
            Size of the smallest download: bytes, or text such as ``'1MB'``. Default: 64 KiB.
        encoding : str, optional
            Encoding of text. Default: UTF-8.
        **options
            Text: ``errors`` and ``newline``, as in the builtin ``open``. Writing: ``metadata``
            (dict), ``acl`` and ``content_type``. Both: ``threads``.

        Returns
        -------
        file : CloudStream, CloudWriter or io.TextIOWrapper
            A reader can seek on every store, and downloads only what is read. A written object
            appears whole when the file is closed, and not at all after an exception in the
            ``with`` block, or if the file is never closed.

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist and the mode is for reading.
        ObjectExistsError
            If it exists and the mode is ``'xb'`` or ``'x'``.
        InvalidArgumentError
            If the mode is another one: an object cannot be appended to or changed in place.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> with cci.open('notes/table.csv', 'w') as file:
        ...     n = file.write('name,age\nsub01,31\n')
        >>> with cci.open('notes/table.csv') as file:
        ...     n = file.seek(-3, 2)
        ...     file.read()
        b'31\n'
        """
        unknown = options.keys() - _OPEN_OPTIONS
        if unknown:
            raise InvalidArgumentError(
                f"open() has no option {min(unknown)!r}; it accepts {', '.join(_OPEN_OPTIONS)}"
            )
        reject_reserved(options.get("metadata") or ())
        return open_file(
            self._store, name, mode, block_size=block_size, encoding=encoding, **options
        )

    def download_object(self, object_name: str, threads: int = DEFAULT_THREADS) -> bytes:
        """Download the raw bytes of an object.

        Parameters
        ----------
        object_name : str
        threads : int, default ``[basic] threads`` of the options
            How many ranges of a large object are transferred at once.

        Returns
        -------
        byte_data : bytes
            Object byte contents.

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist.
        IntegrityError
            If the body is truncated or changes during the download, or has another MD5 than the
            store has for it: on S3, of objects that were uploaded with one request.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_object('notes', b'it works')
        >>> cci.download_object('notes')
        b'it works'
        """
        with self._store.open(object_name, threads) as reader:
            content = reader.read()
            check_content(self._store.backend, reader.info, content)
            return content

    def upload_json(
        self,
        object_name: str,
        ddict: Any,
        acl: str = DEFAULT_ACL,
        threads: int = 1,
        *,
        overwrite: bool = True,
        if_match: str | None = None,
        **metadata: Any,
    ) -> dict[str, Any]:
        """Upload a dictionary as JSON, using :func:`json.dumps`.

        Parameters
        ----------
        object_name : str
        ddict : dict
            Any value that JSON can represent.
        acl : str, default ``[basic] default_acl`` of the options
        threads : int, default 1
        overwrite : bool, default True
            As in :meth:`upload_object`.
        if_match : str, optional
            As in :meth:`upload_object`.
        **metadata : str
            Stored as metadata of the object.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it.

        Raises
        ------
        ObjectExistsError, ObjectChangedError
            As :meth:`upload_object` raises them.
        UnsupportedDtypeError
            If JSON cannot represent a value (an array, bytes, a set); nothing is sent.
        InvalidArgumentError
            If two keys are the same text in JSON (``1`` and ``'1'``), or a value contains itself;
            nothing is sent.

        Notes
        -----
        NaN and infinity are written as ``NaN`` and ``Infinity``, as Python's json module does.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_json('sub01/info', {'age': 31, 'runs': [1, 2]})
        >>> cci.download_json('sub01/info')
        {'age': 31, 'runs': [1, 2]}
        """
        return self._store.put(
            object_name,
            Body.of(_json_text(ddict).encode()),
            metadata=checked_metadata(metadata, self.upload_json),
            acl=acl,
            content_type="application/json",
            threads=threads,
            condition=upload_condition(overwrite, if_match),
        )

    def download_json(self, object_name: str, threads: int = 1) -> Any:
        """Download a JSON object.

        Parameters
        ----------
        object_name : str
        threads : int, default 1

        Returns
        -------
        json_data : dict
            Dictionary representation of the JSON file.

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist.
        IntegrityError
            If the object is not JSON in UTF-8.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_json('sub01/info', {'age': 31})
        >>> cci.download_json('sub01/info')['age']
        31
        """
        with self._store.open(object_name, threads) as reader:
            return parse_json(reader.read(), reader.info.key)

    def upload_pickle(
        self,
        object_name: str,
        data_object: Any,
        acl: str = DEFAULT_ACL,
        threads: int = DEFAULT_THREADS,
        *,
        overwrite: bool = True,
        if_match: str | None = None,
        **metadata: Any,
    ) -> dict[str, Any]:
        """Upload an object using pickle: :func:`pickle.dumps`.

        Parameters
        ----------
        object_name : str
        data_object : object
        acl : str, default ``[basic] default_acl`` of the options
        threads : int, default ``[basic] threads`` of the options
        overwrite : bool, default True
            As in :meth:`upload_object`.
        if_match : str, optional
            As in :meth:`upload_object`.
        **metadata : str
            Stored as metadata of the object.

        Returns
        -------
        response : dict
            As :meth:`upload_object` returns it.

        Raises
        ------
        ObjectExistsError, ObjectChangedError
            As :meth:`upload_object` raises them.
        UnsupportedDtypeError
            If the object cannot be pickled (a lambda, an open file); nothing is sent.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_pickle('sub01/labels', {1, 2, 3})
        >>> cci.download_pickle('sub01/labels')
        {1, 2, 3}
        """
        try:
            data = pickle.dumps(data_object)
        except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as exc:
            raise UnsupportedDtypeError(
                f"cannot pickle a value of type {type(data_object).__name__}: {exc}; nothing was "
                f"uploaded"
            ) from exc
        options: dict[str, Any] = {"overwrite": overwrite, "if_match": if_match, **metadata}
        return self.upload_object(object_name, data, acl, threads, **options)

    def download_pickle(self, object_name: str, threads: int = DEFAULT_THREADS) -> Any:
        """Download a pickled object.

        Parameters
        ----------
        object_name : str
        threads : int, default ``[basic] threads`` of the options

        Returns
        -------
        data_object : object

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist.
        IntegrityError
            If the object is not a complete pickle.
        MissingDependencyError
            If a library of one of its objects is not installed.

        Warnings
        --------
        Loading a pickle runs whatever code its writer chose. Load only what people you trust wrote.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_pickle('sub01/labels', {1, 2, 3})
        >>> cci.download_pickle('sub01/labels')
        {1, 2, 3}
        """
        data = self.download_object(object_name, threads)
        try:
            return pickle.loads(data)  # noqa: S301 - what the method is for; see its warning
        except ImportError as exc:
            raise MissingDependencyError(
                f"object '{object_name}' contains an object of a library that is not installed: "
                f"{exc}"
            ) from exc
        except Exception as exc:  # damaged pickles raise errors of almost any type
            raise IntegrityError(
                f"object '{object_name}' in bucket '{self.bucket_name}' is not a whole pickle: "
                f"{exc}"
            ) from exc


def _json_text(value: Any) -> str:
    try:
        text = json.dumps(value)
        json.loads(text, object_pairs_hook=_check_names)
    except TypeError as exc:
        raise UnsupportedDtypeError(
            f"cannot upload as JSON: {exc}; use upload_raw_array for arrays, or convert with "
            f".tolist(). Nothing was uploaded"
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise InvalidArgumentError(f"cannot upload as JSON: {exc}; nothing was uploaded") from exc
    return text


def _check_names(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("two keys of a dictionary are the same text in JSON, such as 1 and '1'")
