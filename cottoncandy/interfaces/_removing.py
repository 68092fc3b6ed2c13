"""Removing objects and branches."""

from __future__ import annotations

from cottoncandy._defaults import DEFAULT_THREADS
from cottoncandy._names import prefix_of
from cottoncandy._output import echo
from cottoncandy._progress import Progress
from cottoncandy.exceptions import UnsupportedOperationError
from cottoncandy.interfaces._basic import BasicInterface
from cottoncandy.transfer.engine import complete
from cottoncandy.transfer.engine import delete as delete_all
from cottoncandy.transfer.entries import tree

__all__ = ["RemovingMethods"]


class RemovingMethods(BasicInterface):
    """Deleting one object, or all that is below a name."""

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
            ``rm -r /path/to/directory``: the object of that name, if there is one, and all that is
            below it, and nothing else (``data/exp`` is not ``data/experiment2``).
        delete : bool, default True
            False: put into the trash instead, on a store that has one (Google Drive).
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many requests are under way at once.

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
        A subtree is listed first, then deleted in bulk requests. In a bucket that keeps versions
        the older ones stay.

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
        if not delete and not self.backend_interface.capabilities.trash:
            raise UnsupportedOperationError(
                f"delete=False puts objects into the trash, and the {self.backend} backend has "
                f"none; nothing was deleted"
            )
        workers = self._bulk_threads(threads)
        backend = self.backend_interface
        key = self._key(object_name, tree=True, strict=True)
        keys = tree(self._store, key) if recursive else [key] if self._has_object(key) else []
        if not keys:
            echo(
                f"cannot remove '{object_name}': use `recursive` to remove branch"
                if not recursive and self._has_below(key)
                else f"nothing found under '{object_name}'"
            )
            return 0
        if keys == [key]:
            return complete(delete_all(backend, keys, threads=1, permanently=delete))

        def describe(failed: int, total: int) -> str:
            return (
                f"{failed} of {total} objects in bucket '{self.bucket_name}' could not be "
                f"deleted, the others are gone"
            )

        echo(f"deleting {len(keys)} objects...")
        backend.remove_links(prefix_of(key))
        with Progress(
            len(keys), unit="objects", label="deleting", show=self.settings.progress
        ) as bar:
            outcomes = delete_all(backend, keys, threads=workers, permanently=delete, progress=bar)
            return complete(outcomes, describe)
