"""Copying and moving objects and branches within a store."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cottoncandy._defaults import DEFAULT_THREADS
from cottoncandy._names import SEPARATOR
from cottoncandy._progress import Progress
from cottoncandy.backends.base import CommonPrefix, PutResult
from cottoncandy.exceptions import (
    InvalidArgumentError,
    InvalidNameError,
    ObjectExistsError,
    ObjectNotFoundError,
    PartialFailureError,
)
from cottoncandy.interfaces._basic import BasicInterface
from cottoncandy.interfaces._many import failure_summary, for_all

__all__ = ["MovingMethods"]


@dataclass(frozen=True, slots=True)
class _Route:
    """From where to where; names are keys, without a slash at their end."""

    source: str
    dest: str
    source_bucket: str | None
    dest_bucket: str | None
    branch_only: bool  # the source was written with a slash at its end

    @property
    def source_branch(self) -> str:
        return _branch(self.source)

    @property
    def dest_branch(self) -> str:
        return _branch(self.dest)

    @property
    def in_place(self) -> bool:
        return self.source_bucket == self.dest_bucket

    def target(self, key: str) -> str:
        """Return where one of the objects goes."""
        if key == self.source:
            return self.dest
        return self.dest_branch + key[len(self.source_branch) :]


class MovingMethods(BasicInterface):
    """Copying and moving; the bytes stay in the store."""

    def cp(
        self,
        source_name: str,
        dest_name: str,
        source_bucket: str | None = None,
        dest_bucket: str | None = None,
        overwrite: bool = False,
        *,
        recursive: bool = False,
        threads: int = DEFAULT_THREADS,
    ) -> dict[str, Any] | list[str]:
        """Copy an object, or a branch.

        Parameters
        ----------
        source_name : str
            Name of object to be copied.
        dest_name : str
            Copy name. One that is empty or ends in ``/`` is the directory that the copy goes into,
            under its old last name.
        source_bucket : str, optional
            If copying from a bucket different from the default. Defaults to ``self.bucket_name``.
        dest_bucket : str, optional
            If copying to a bucket different from the source bucket. Defaults to ``source_bucket``.
        overwrite : bool, default False
            Whether to overwrite the ``dest_name`` object if it already exists. Of a branch: any of
            the objects.
        recursive : bool, default False
            Whether to copy the object of that name, if there is one, and all that is below it.
            ``cp('a', 'b', recursive=True)`` makes ``b/x`` of ``a/x``, whether there is a ``b`` or
            not; other objects below ``b`` stay.
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many objects of a branch are copied at once.

        Returns
        -------
        response : dict or list of str
            ``ETag`` and, in versioned buckets, ``VersionId`` of the copy; of a branch, the sorted
            names of the copies.

        Raises
        ------
        ObjectNotFoundError
            If there is no such object; or it is a branch, and ``recursive`` is False.
        ObjectExistsError
            If the destination, or any object of a branch's, exists and ``overwrite`` is False.
            Nothing was copied.
        InvalidArgumentError
            If a branch should be copied into itself, or over objects of its own.
        PartialFailureError
            If some objects of a branch could not be copied; the message names them. The same call
            with ``overwrite=True`` copies all of them again.

        Notes
        -----
        The store copies by itself: no bytes travel here and back. Metadata, content type and ACL
        go along. Copying onto itself with ``overwrite=True`` changes nothing.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_copies', backend='memory', verbose=False)
        >>> response = cci.upload_object('data/sub01/image', b'...')
        >>> response = cci.cp('data/sub01/image', 'data/sub02/')
        >>> cci.cp('data', 'backup', recursive=True)
        ['backup/sub01/image', 'backup/sub02/image']
        """
        route = self._route(source_name, dest_name, source_bucket, dest_bucket)
        transfer = self.backend_interface.copy
        if recursive:
            return self._transfer_branch(transfer, route, overwrite, threads, "copied")
        return self._transfer_object(transfer, route, overwrite)

    def mv(
        self,
        source_name: str,
        dest_name: str,
        source_bucket: str | None = None,
        dest_bucket: str | None = None,
        overwrite: bool = False,
        *,
        recursive: bool = False,
        threads: int = DEFAULT_THREADS,
    ) -> dict[str, Any] | list[str]:
        """Move an object (make copy and delete old object), or a branch.

        Parameters
        ----------
        source_name : str
            Name of object to be moved.
        dest_name : str
            New object name. One that is empty or ends in ``/`` is the directory that the object
            goes into, under its old last name.
        source_bucket : str, optional
            If moving object from a bucket different from the default. Defaults to
            ``self.bucket_name``.
        dest_bucket : str, optional
            If moving to another bucket, provide the bucket name. Defaults to ``source_bucket``.
        overwrite : bool, default False
            Whether to overwrite the ``dest_name`` object if it already exists. Of a branch: any of
            the objects.
        recursive : bool, default False
            Whether to move the object of that name, if there is one, and all that is below it.
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many objects of a branch are moved at once.

        Returns
        -------
        response : dict or list of str
            ``ETag`` and, in versioned buckets, ``VersionId`` of the moved object; of a branch, the
            sorted new names.

        Raises
        ------
        ObjectNotFoundError
            If there is no such object; or it is a branch, and ``recursive`` is False.
        ObjectExistsError
            If the destination, or any object of a branch's, exists and ``overwrite`` is False.
            Nothing was moved.
        InvalidArgumentError
            If a branch should be moved into itself, or over objects of its own.
        PartialFailureError
            If some objects of a branch could not be moved; they are still where they were, and the
            message names them. The same call with ``overwrite=True`` goes on with the rest.

        Notes
        -----
        An object is deleted only when its copy is complete: no failure loses it. A branch is moved
        object by object. If that ends half-way (an error that all of them would meet, Ctrl-C, a
        program that is killed), some are here and some there, and the same call with
        ``overwrite=True`` moves the rest: what is done already is no longer below the source.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_moves', backend='memory', verbose=False)
        >>> response = cci.upload_object('data/sub01/image', b'...')
        >>> response = cci.mv('data/sub01/image', 'data/sub01/anatomy')
        >>> cci.mv('data', 'archive/', recursive=True)
        ['archive/data/sub01/anatomy']
        """
        route = self._route(source_name, dest_name, source_bucket, dest_bucket)
        transfer = self.backend_interface.move
        if recursive:
            return self._transfer_branch(transfer, route, overwrite, threads, "moved")
        return self._transfer_object(transfer, route, overwrite)

    # -- inside ----------------------------------------------------------------------------------

    def _route(
        self, source_name: str, dest_name: str, source_bucket: str | None, dest_bucket: str | None
    ) -> _Route:
        bucket = self.bucket_name if source_bucket is None else source_bucket
        dest_bucket = bucket if dest_bucket is None else dest_bucket
        source: str = self._key(source_name, tree=True, strict=True, bucket=bucket)
        dest: str = self._key(dest_name, tree=True, strict=True, bucket=dest_bucket)
        branch_only = source.endswith(SEPARATOR)
        source = source.removesuffix(SEPARATOR)
        if not dest or dest.endswith(SEPARATOR):
            dest += posixpath.basename(source)
        return _Route(source, dest.removesuffix(SEPARATOR), bucket, dest_bucket, branch_only)

    def _transfer_object(
        self, transfer: Callable[..., PutResult], route: _Route, overwrite: bool
    ) -> dict[str, Any]:
        source = route.source + SEPARATOR if route.branch_only else route.source
        try:
            if route.in_place and source == route.dest:
                info = self.backend_interface.head(source, bucket=route.source_bucket)
                _check_same(route, overwrite)
                result = PutResult(info.etag)
            else:
                result = transfer(
                    source,
                    route.dest,
                    source_bucket=route.source_bucket,
                    dest_bucket=route.dest_bucket,
                    overwrite=overwrite,
                )
        except (ObjectNotFoundError, InvalidNameError) as exc:
            if not self._has_branch(route):
                raise
            raise ObjectNotFoundError(
                f"'{route.source}' in bucket '{route.source_bucket}' is no object but a branch; "
                f"pass recursive=True to take all that is below it"
            ) from exc
        response = {"ETag": result.etag, "VersionId": result.version_id}
        return {name: value for name, value in response.items() if value is not None}

    def _transfer_branch(
        self,
        transfer: Callable[..., PutResult],
        route: _Route,
        overwrite: bool,
        threads: int,
        done: str,
    ) -> list[str]:
        workers = self._bulk_threads(threads)
        keys = self._branch_keys(route)
        targets = {key: route.target(key) for key in keys}
        if route.in_place and route.source == route.dest:
            _check_same(route, overwrite)
            return sorted(targets.values())
        if (
            route.in_place
            and route.dest_branch.startswith(route.source_branch)
            and keys != [route.source]
        ):
            raise InvalidArgumentError(
                f"'{route.dest}' is below '{route.source}': a branch cannot be {done} into itself"
            )
        self._check_targets(route, targets, overwrite)

        def one(key: str) -> None:
            transfer(
                key,
                targets[key],
                source_bucket=route.source_bucket,
                dest_bucket=route.dest_bucket,
                overwrite=overwrite,
            )

        bar = Progress(len(keys), unit="objects", label=done, show=self.settings.progress)
        failed = for_all(one, keys, str, bar=bar, threads=workers)
        if failed:
            again = "to finish it, make the same call again, with overwrite=True"
            raise PartialFailureError(
                f"{len(failed)} of {len(keys)} objects in bucket '{route.source_bucket}' could not "
                f"be {done} and are where they were, the others are below '{route.dest}' in bucket "
                f"'{route.dest_bucket}'; {again}: "
                f"{failure_summary(failed)}"
            ) from failed[0][1]
        return sorted(targets.values())

    def _branch_keys(self, route: _Route) -> list[str]:
        """Return the object of that name, and all that are below it."""
        backend, bucket = self.backend_interface, route.source_bucket
        keys = []
        if route.source and not route.branch_only and backend.exists(route.source, bucket=bucket):
            keys.append(route.source)
        keys += [
            entry.key
            for entry in backend.scan(route.source_branch, bucket=bucket)
            if not isinstance(entry, CommonPrefix)
        ]
        if not keys:
            raise ObjectNotFoundError(
                f"there is nothing under '{route.source}' in bucket '{bucket}'"
            )
        return keys

    def _has_branch(self, route: _Route) -> bool:
        found = self.backend_interface.scan(
            route.source_branch, bucket=route.source_bucket, page_size=1
        )
        return next(found, None) is not None

    def _check_targets(self, route: _Route, targets: dict[str, str], overwrite: bool) -> None:
        """Refuse, before anything is copied, what would overwrite objects against the will."""
        wanted = set(targets.values())
        if not overwrite:
            start = posixpath.commonprefix(list(wanted))
            for entry in self.backend_interface.scan(start, bucket=route.dest_bucket):
                if not isinstance(entry, CommonPrefix) and entry.key in wanted:
                    raise ObjectExistsError(
                        f"object '{entry.key}' exists in bucket '{route.dest_bucket}'; pass "
                        f"overwrite=True to replace it. Nothing was copied or moved"
                    )
        own = sorted(wanted & targets.keys()) if route.in_place else []
        if own:
            raise InvalidArgumentError(
                f"'{own[0]}' is in the branch '{route.source}' and would be overwritten by another "
                f"of its objects; copy or move the branch to a name of its own first"
            )


def _branch(key: str) -> str:
    return key + SEPARATOR if key else ""


def _check_same(route: _Route, overwrite: bool) -> None:
    if not overwrite:
        raise ObjectExistsError(
            f"source and destination are the same: '{route.source}' in bucket "
            f"'{route.source_bucket}'"
        )
