"""Methods that find objects: glob, ls, lsdir, search."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from cottoncandy.backends.base import ObjectInfo
from cottoncandy.config.options import DEFAULT_THREADS, DefaultInt
from cottoncandy.core.names import has_magic, prefix_of, spellings
from cottoncandy.core.output import echo
from cottoncandy.exceptions import InvalidArgumentError
from cottoncandy.interfaces.buckets import BucketMethods, checked_limit, print_objects
from cottoncandy.stores.finding import list_directory, list_pattern, match_names, unique_names

if TYPE_CHECKING:
    from cottoncandy.browser import S3Directory
    from cottoncandy.interfaces import DefaultInterface

_LIMIT = DefaultInt(1000)  # shown in the documentation; not applied as a limit


class FindingMethods(BucketMethods):
    """Patterns over the names of a bucket."""

    def glob(
        self,
        pattern: str,
        *,
        verbose: bool = False,
        limit: int | None = None,
        page_size: int | None = None,
        do_unquote: bool = False,
    ) -> list[str]:
        """Return a list of object names in the cloud storage that match the glob pattern.

        Parameters
        ----------
        pattern : str
            ``*`` matches anything, slashes too, ``?`` one character, ``[abc]`` and ``[!abc]`` one
            of some. The pattern is matched against whole names, without a slash at its start. A
            pattern without any of these matches the object of that name and everything below it.
        verbose : bool, default False
            If True, also print names, dates and sizes.
        limit : int, optional
            Maximum number of names to return. All of them by default.
        page_size : int, optional
            Accepted for compatibility: the store's largest pages are requested.
        do_unquote : bool, default False
            Whether to match and return names with their ``%xx`` resolved. Such names do
            not open their objects.

        Returns
        -------
        object_names : list of str
            Sorted.

        See Also
        --------
        ls : Patterns that match level by level.

        Notes
        -----
        One listing is sent, of what starts with the pattern's longest literal start. Magic
        characters in a name are escaped with brackets, as by :func:`glob.escape`:
        ``'run[[]1]/*'`` is everything below ``run[1]``. A list of a million names of 40
        characters takes 100 MB, plus one page of the listing.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_globs', backend='memory', verbose=False)
        >>> for name in ('my/file01a.grp/image_data', 'your/file01b.grp/image_data'):
        ...     response = cci.upload_object('path/to/' + name, b'')
        >>> cci.glob('/path/to/*/file01*.grp/image_data')
        ['path/to/my/file01a.grp/image_data', 'path/to/your/file01b.grp/image_data']
        >>> cci.glob('path/to/my')
        ['path/to/my/file01a.grp/image_data']
        """
        count = checked_limit(limit, page_size)
        infos: list[ObjectInfo] = []
        names: list[str] = []
        for spelling in spellings(pattern):
            found = match_names(self._store, spelling, unquoted=do_unquote)
            for name, info in islice(found, count):
                names.append(name)
                if verbose:
                    infos.append(info)
            if names:
                break
        if verbose:
            print_objects(infos)
            echo(f'Found {len(names)} objects matching "{spelling}"')
        return names

    def glob_s3(self, pattern: str, **kwargs: Any) -> list[str]:
        """Globbing on S3: the same as :meth:`glob`, on every store.

        Parameters
        ----------
        pattern : str
        **kwargs
            Parameters of :meth:`glob`.

        Returns
        -------
        object_names : list of str
        """
        return self.glob(pattern, **kwargs)

    def glob_google_drive(self, pattern: str) -> list[str]:
        """Globbing on Google Drive: the same as :meth:`glob`, on every store.

        Parameters
        ----------
        pattern : str

        Returns
        -------
        object_names : list of str
        """
        return self.glob(pattern)

    def search(self, pattern: str, **kwargs: Any) -> None:
        """Print the objects matching the glob pattern: name, date, size.

        Parameters
        ----------
        pattern : str
        **kwargs
            Parameters of :meth:`glob`.

        See Also
        --------
        glob : The details.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_object('notes/today', b'it works')
        >>> cci.search('notes/*')
        notes/today ... 8B
        Found 1 objects matching "notes/*"
        """
        self.glob(pattern, **{**kwargs, "verbose": True})

    def lsdir(self, path: str = "/", limit: int = _LIMIT) -> list[str]:
        """List the contents of a directory.

        Parameters
        ----------
        path : str, default "/"
            The directory, by its name: ``*``, ``?`` and ``[`` are ordinary characters here.
        limit : int, default 1000
            Maximum number of names to return. All are returned unless you pass it.

        Returns
        -------
        matches : list of str
            The children of the path under their full names, sorted; directories without ``/`` at
            their end. Empty if nothing exists there.

        Raises
        ------
        InvalidArgumentError
            If there is nothing of that name and it looks like a pattern, which is for :meth:`ls`.

        Notes
        -----
        One listing of this level is sent; deeper levels are not listed.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_lsdir', backend='memory', verbose=False)
        >>> for name in ('data/sub01/image', 'data/sub02/image', 'data/notes'):
        ...     response = cci.upload_object(name, b'')
        >>> cci.lsdir('/data')
        ['data/notes', 'data/sub01', 'data/sub02']
        """
        for spelling in spellings(path):
            branch = prefix_of(spelling)
            nodes = list_directory(self._store, branch)
            if names := unique_names(nodes, checked_limit(limit)):
                return names
        if not has_magic(branch):
            return []
        if branch == "*/" or branch.endswith("/*/"):  # 0.4.0 listed the directory itself
            return self.lsdir(branch[:-2], limit)
        raise InvalidArgumentError(
            f"there is nothing under '{path}' in bucket '{self.bucket_name}'; lsdir takes a "
            f"directory, use cci.ls() or cci.glob() for patterns"
        )

    def ls(
        self,
        pattern: str = "",
        page_size: int = _LIMIT,
        limit: int = _LIMIT,
        verbose: bool = False,
        *,
        threads: int = DEFAULT_THREADS,
    ) -> list[str]:
        """List objects and directories, with the patterns of a shell.

        Parameters
        ----------
        pattern : str, default ''
            ``*``, ``?``, ``[abc]`` and ``[!abc]`` match within one level; ``**`` as a whole level
            matches any number of levels. Without any of them: the contents of that directory (by
            default, of the bucket), or the object of that name. Names that start with a dot are not
            hidden.
        page_size : int, default 1000
            Accepted for compatibility, as in :meth:`glob`.
        limit : int, default 1000
            Maximum number of names to return. All are returned unless you pass it.
        verbose : bool, default False
            If True, also print the names.
        threads : int, default ``[basic] threads`` of the options, at least 16
            How many directories are listed at once.

        Returns
        -------
        object_names : list of str
            Sorted full names; directories without ``/`` at their end.

        See Also
        --------
        glob : Patterns over whole names.

        Notes
        -----
        One listing per directory that the pattern leads through is sent, several at a time, and
        none below a match: ``ls('a/*/c*')`` lists ``a``, then each directory in it. ``**`` sends
        one listing of everything below.

        Examples
        --------
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_ls', backend='memory', verbose=False)
        >>> for name in ('a/sub01/run1/image', 'a/sub02/run1/image', 'a/sub02/notes'):
        ...     response = cci.upload_object(name, b'')
        >>> cci.ls('a/*/run*')
        ['a/sub01/run1', 'a/sub02/run1']
        >>> cci.ls('a/**/image')
        ['a/sub01/run1/image', 'a/sub02/run1/image']
        """
        count = checked_limit(limit, page_size)
        workers = self._store.bulk_threads(threads)
        names = list_pattern(self._store, pattern, limit=count, threads=workers)
        if verbose:
            echo(*names)
        return names

    def get_browser(self) -> S3Directory:
        """Return an object which can be tab-completed to browse the bucket like a file system.

        Returns
        -------
        ccb : cottoncandy.browser.S3Directory

        See Also
        --------
        cottoncandy.get_browser : The details.

        Examples
        --------
        >>> import numpy as np
        >>> import cottoncandy as cc
        >>> cci = cc.get_interface('my_bucket', backend='memory', verbose=False)
        >>> response = cci.upload_raw_array('sub01/run1', np.arange(5))
        >>> browser = cci.get_browser()
        >>> browser.sub01.run1[2:]
        array([2, 3, 4])
        """
        from cottoncandy.browser import S3Directory

        return S3Directory("", cast("DefaultInterface", self))
