"""Methods that copy, move and remove objects and trees."""

from __future__ import annotations

from typing import Any

from cottoncandy.backends.base import PutResult
from cottoncandy.config.options import DEFAULT_THREADS
from cottoncandy.core.names import prefix_of
from cottoncandy.core.output import Progress, echo
from cottoncandy.exceptions import InvalidNameError, ObjectNotFoundError, UnsupportedOperationError
from cottoncandy.interfaces.objects import ObjectMethods
from cottoncandy.stores.finding import tree
from cottoncandy.transfer.engine import complete
from cottoncandy.transfer.move import Route, plan_tree, remove_tree, transfer_tree


class MovingMethods(ObjectMethods):
    """Copying and moving within the store."""

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
        """Copy an object, or a directory.

        Parameters
        ----------
        source_name : str
            Name of object to be copied.
        dest_name : str
            Copy name. A name that is empty or ends in ``/`` is a directory: the copy goes into it
            and keeps the last part of its name.
        source_bucket : str, optional
            If copying from a bucket different from the default. Defaults to ``self.bucket_name``.
        dest_bucket : str, optional
            If copying to a bucket different from the source bucket. Defaults to ``source_bucket``.
        overwrite : bool, default False
            Whether to overwrite the ``dest_name`` object if it already exists. With
            ``recursive``, this applies to each object.
        recursive : bool, default False
            Whether to copy the object of that name, if it exists, and everything below it.
            ``cp('a', 'b', recursive=True)`` copies ``a/x`` to ``b/x``, whether or not ``b``
            exists; other objects below ``b`` are kept.
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many objects are copied at once.

        Returns
        -------
        response : dict or list of str
            ``ETag`` and, in versioned buckets, ``VersionId`` of the copy. With ``recursive``, the
            sorted names of the copies.

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist, or is a directory and ``recursive`` is False.
        ObjectExistsError
            If the destination, or any object in it, exists and ``overwrite`` is False.
            Nothing was copied.
        InvalidArgumentError
            If a directory would be copied into itself, or over its own objects.
        PartialFailureError
            If some objects could not be copied; the message names them. The same call with
            ``overwrite=True`` copies all of them again.

        Notes
        -----
        The copy is made on the server; no bytes are downloaded. Metadata, content type and ACL are
        copied too. Copying an object onto itself with ``overwrite=True`` changes nothing. Only the
        current version of a chunked or sparse array is copied. The copy replaces an array of its
        name in one instant; with ``overwrite=True``, a raw array of that name too.

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
        if recursive:
            return self._transfer_tree(route, overwrite, threads, moving=False)
        return self._transfer_object(route, overwrite, moving=False)

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
        """Move an object (make copy and delete old object), or a directory.

        Parameters
        ----------
        source_name : str
            Name of object to be moved.
        dest_name : str
            New object name. A name that is empty or ends in ``/`` is a directory: the object goes
            into it and keeps the last part of its name.
        source_bucket : str, optional
            If moving object from a bucket different from the default. Defaults to
            ``self.bucket_name``.
        dest_bucket : str, optional
            If moving to another bucket, provide the bucket name. Defaults to ``source_bucket``.
        overwrite : bool, default False
            Whether to overwrite the ``dest_name`` object if it already exists. With
            ``recursive``, this applies to each object.
        recursive : bool, default False
            Whether to move the object of that name, if it exists, and everything below it.
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many objects are moved at once.

        Returns
        -------
        response : dict or list of str
            ``ETag`` and, in versioned buckets, ``VersionId`` of the moved object. With
            ``recursive``, the sorted new names.

        Raises
        ------
        ObjectNotFoundError
            If the object does not exist, or is a directory and ``recursive`` is False.
        ObjectExistsError
            If the destination, or any object in it, exists and ``overwrite`` is False.
            Nothing was moved.
        InvalidArgumentError
            If a directory would be moved into itself, or over its own objects.
        PartialFailureError
            If some objects could not be moved; they are unchanged, and the message names them. The
            same call with ``overwrite=True`` moves the rest.

        Notes
        -----
        An object is deleted only when its copy is complete, so no failure loses it. A directory is
        moved object by object; a chunked or sparse array stays at its old name until all of it is
        at the new one, and if another client changes it during the move. Stores cannot delete an
        object only if it is unchanged, so a change in the moment of the deletion is lost.
        :meth:`restore` still finds the version before, unless the array replaced another one.
        If the move is interrupted (an error that concerns all of them, Ctrl-C, a killed
        program), the same call with ``overwrite=True`` moves the rest. Parts of unfinished
        uploads stay where they are, for :meth:`clean`.

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
        if recursive:
            return self._transfer_tree(route, overwrite, threads, moving=True)
        return self._transfer_object(route, overwrite, moving=True)

    # -- inside ----------------------------------------------------------------------------------

    def _route(
        self, source_name: str, dest_name: str, source_bucket: str | None, dest_bucket: str | None
    ) -> Route:
        origin = self._store_in(source_bucket)
        target = origin if dest_bucket is None else self._store_in(dest_bucket)
        source = origin.key(source_name, tree=True, strict=True)
        dest = target.key(dest_name, tree=True, strict=True)
        return Route.of(source, dest, origin, target)

    def _transfer_object(self, route: Route, overwrite: bool, *, moving: bool) -> dict[str, Any]:
        try:
            if route.in_place and route.source == route.dest:
                info = route.origin.backend.head(route.source)
                route.check_not_same(overwrite)
                result = PutResult(info.etag)
            else:
                backend = route.target.backend
                result = (backend.move if moving else backend.copy)(
                    route.source,
                    route.dest,
                    source_bucket=route.origin.backend.bucket,
                    overwrite=overwrite,
                )
        except (ObjectNotFoundError, InvalidNameError) as exc:
            if not route.origin.has_below(route.source):
                raise
            raise ObjectNotFoundError(
                f"'{route.source}' in bucket '{route.origin.bucket}' is a directory; pass "
                f"recursive=True to include its contents"
            ) from exc
        return result.response

    def _transfer_tree(
        self, route: Route, overwrite: bool, threads: int, *, moving: bool
    ) -> list[str]:
        workers = self._store.bulk_threads(threads)  # invalid ones raise before any request
        targets = plan_tree(route, overwrite=overwrite)
        pairs = {
            key: target for key, target in targets.items() if not (route.in_place and key == target)
        }
        done = "moved" if moving else "copied"

        def describe(failed: int, total: int) -> str:
            return (
                f"{failed} of {total} objects in bucket '{route.origin.bucket}' could not be "
                f"{done}, the others are below '{route.dest}' in bucket '{route.target.bucket}'; "
                f"to finish it, make the same call again, with overwrite=True"
            )

        if not pairs:
            return sorted(targets.values())
        outcomes = transfer_tree(route, pairs, overwrite=overwrite, moving=moving, threads=workers)
        show = self._store.settings.progress
        bar = Progress(len(pairs), unit="objects", label=done, show=show)
        complete(outcomes, describe, bar)
        return sorted(pairs.values())


class RemovingMethods(ObjectMethods):
    """Deleting one object, or everything below a name."""

    def rm(
        self,
        object_name: str,
        recursive: bool = False,
        delete: bool = True,
        *,
        threads: int = DEFAULT_THREADS,
    ) -> int:
        """Delete an object, or a subtree ('path/to/stuff').

        Parameters
        ----------
        object_name : str
            The name of the object to delete. It can also be a subtree; ``''`` and ``'/'`` are the
            whole bucket.
        recursive : bool, default False
            When deleting a subtree, set ``recursive=True``. This is similar in behavior to
            ``rm -r /path/to/directory``: it deletes the object of that name, if it exists, and
            everything below it, and nothing else (``data/exp`` is not ``data/experiment2``).
        delete : bool, default True
            If False, move to the trash instead, on a store that has one (Google Drive).
        threads : int, default ``[basic] threads`` of the options, at least 16
            Number of concurrent requests.

        Returns
        -------
        removed : int
            Number of objects that were deleted. If it is 0, a printed line gives the reason.

        Raises
        ------
        PartialFailureError
            If some of the objects could not be deleted; the message names them.
        UnsupportedOperationError
            If ``delete`` is False and the store has no trash; nothing is deleted.

        Notes
        -----
        A subtree is listed first, then deleted in bulk requests. In a versioned bucket,
        older versions are kept. A running upload whose chunks are deleted raises
        ObjectChangedError; one that ends at the same moment can leave an array without its chunks.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('mybucket', backend='memory', verbose=False)
        >>> for number in range(16):
        ...     response = cci.upload_object(f'data/experiment/file{number:02}.txt', b'')
        >>> removed = cci.rm('data/experiment/file01.txt')
        >>> removed = cci.rm('data/experiment')
        cannot remove 'data/experiment': use `recursive` to remove branch
        >>> cci.rm('data/experiment', recursive=True)
        deleting 15 objects...
        15
        """
        if not delete and not self._store.backend.capabilities.trash:
            raise UnsupportedOperationError(
                f"delete=False needs a trash, which the {self.backend} backend does not have; "
                f"nothing was deleted"
            )
        workers = self._store.bulk_threads(threads)
        backend = self._store.backend
        key = self._store.key(object_name, tree=True, strict=True)
        keys = tree(self._store, key) if recursive else [key] if self._store.has_object(key) else []
        if not keys:
            echo(
                f"cannot remove '{object_name}': use `recursive` to remove branch"
                if not recursive and self._store.has_below(key)
                else f"nothing found under '{object_name}'"
            )
            return 0
        if keys == [key]:
            return complete(backend.delete(keys, threads=1, permanently=delete))

        def describe(failed: int, total: int) -> str:
            return (
                f"{failed} of {total} objects in bucket '{self.bucket_name}' could not be "
                f"deleted, the others are gone"
            )

        echo(f"deleting {len(keys)} objects...")
        backend.remove_links(prefix_of(key))
        outcomes = remove_tree(backend, keys, threads=workers, permanently=delete)
        show = self._store.settings.progress
        bar = Progress(len(keys), unit="objects", label="deleting", show=show)
        return complete(outcomes, describe, bar)
