"""Methods that find objects: glob, ls, lsdir, search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import unquote

from cottoncandy.backends.base import CommonPrefix, ObjectInfo
from cottoncandy.config.defaults import DEFAULT_THREADS, DefaultInt
from cottoncandy.core.names import SEPARATOR, has_magic, prefix_of, spellings
from cottoncandy.core.output import echo
from cottoncandy.core.patterns import NamePattern, PathPattern, Segment, directory_name
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import (
    InvalidArgumentError,
)
from cottoncandy.interfaces.base import BucketMethods, print_objects
from cottoncandy.stores.checks import check_int

if TYPE_CHECKING:
    from cottoncandy.browser import S3Directory
    from cottoncandy.interfaces import DefaultInterface

__all__ = ["FindingMethods"]


_LIMIT = DefaultInt(1000)  # what the documents show; nobody's names are cut at it


class _Node(NamedTuple):
    """What one level of a bucket holds: an object, or a directory whose ``key`` ends in ``/``."""

    key: str
    directory: bool

    @property
    def shown(self) -> str:
        return directory_name(self.key) if self.directory else self.key


class FindingMethods(BucketMethods):
    """Patterns over the names of a bucket."""

    def glob(self, pattern: str, **kwargs: Any) -> list[str]:
        """Return a list of object names in the cloud storage that match the glob pattern.

        Parameters
        ----------
        pattern : str
            ``*`` matches anything, slashes too, ``?`` one character, ``[abc]`` and ``[!abc]`` one
            of some. The pattern is held against whole names; its own slash at the start does not
            count. A pattern without any of these stands for the object of that name and for all
            that is below it.
        verbose : bool, default False
            If True, also print names, dates and sizes.
        limit : int, optional
            Maximum number of names to return. All of them by default.
        page_size : int, optional
            How many names the store is asked for at once; a hint.
        do_unquote : bool, default False
            Whether to match and return names with their ``%xx`` resolved. Such names no longer
            open the objects they stand for.

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
        ``'run[[]1]/*'`` is all that is below ``run[1]``. A list of a million names of 40
        characters takes 100 MB; beside it no more than a page of the listing is held.

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
        options: dict[str, Any] = {
            "verbose": False,
            "limit": None,
            "page_size": None,
            "do_unquote": False,
        }
        unknown = sorted(set(kwargs) - set(options))
        if unknown:
            raise InvalidArgumentError(
                f"glob knows {', '.join(options)}, and {', '.join(unknown)} was given"
            )
        options.update(kwargs)
        page_size, limit = _hint(options["page_size"]), _checked_limit(options["limit"])
        verbose, unquoted = options["verbose"], bool(options["do_unquote"])
        infos: list[ObjectInfo] = []
        names: list[str] = []
        for spelling in spellings(pattern):
            for name, info in islice(self._matching(spelling, page_size, unquoted), limit):
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
            As :meth:`glob` takes them.

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
            As :meth:`glob` takes them.

        See Also
        --------
        glob : The details.
        """
        self.glob(pattern, **{**kwargs, "verbose": True})

    def lsdir(self, path: str = "/", limit: int = _LIMIT) -> list[str]:
        """List the contents of a directory.

        Parameters
        ----------
        path : str, default "/"
            The directory, by its name: ``*``, ``?`` and ``[`` are ordinary characters here.
        limit : int, default 1000
            Maximum number of names to return, if you give one. All are returned if you do not.

        Returns
        -------
        matches : list of str
            The children of the path under their full names, sorted; directories without ``/`` at
            their end. Empty where there is nothing.

        Raises
        ------
        InvalidArgumentError
            If there is nothing of that name and it looks like a pattern, which is for :meth:`ls`.

        Notes
        -----
        One listing of this level is sent; what lies deeper is not listed.

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
            names = _names(self._level(branch, None), limit)
            if names:
                return names
        if not has_magic(branch):
            return []
        if branch == "*/" or branch.endswith(
            "/*/"
        ):  # all that is in there: 0.4.0 took it for the directory itself
            return self.lsdir(branch[:-2], limit)
        raise InvalidArgumentError(
            f"there is nothing under '{path}' in bucket '{self.bucket_name}'; lsdir takes a "
            f"directory, use cci.ls() or cci.glob() for patterns"
        )

    def ls(
        self,
        pattern: str,
        page_size: int = _LIMIT,
        limit: int = _LIMIT,
        verbose: bool = False,
        *,
        threads: int = DEFAULT_THREADS,
    ) -> list[str]:
        """List objects and directories, with the patterns of a shell.

        Parameters
        ----------
        pattern : str
            ``*``, ``?``, ``[abc]`` and ``[!abc]`` match within one level; ``**`` as a level of its
            own stands for any number of levels. Without any of them: what is in that directory,
            or the object of that name. Names that start with a dot are not hidden.
        page_size : int, default 1000
            How many names the store is asked for at once; a hint.
        limit : int, default 1000
            Maximum number of names to return, if you give one. All are returned if you do not.
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
        none for what lies below a match: ``ls('a/*/c*')`` lists ``a``, then each directory in it.
        From ``**`` on, one listing of the whole branch is sent.

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
        workers = self._store.bulk_threads(threads)
        names: list[str] = []
        for spelling in spellings(pattern):
            path = PathPattern(spelling.removesuffix(SEPARATOR))
            if path.magic:
                found = self._walk(path, page_size, workers)
            else:
                literal = "/".join(segment.prefix for segment in path.segments)
                found = self._directory_or_object(literal, page_size)
            names = _names(found, limit)
            if names:
                break
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
        """
        from cottoncandy.browser import S3Directory

        return S3Directory("", cast("DefaultInterface", self))

    # -- inside ----------------------------------------------------------------------------------

    def _matching(
        self, pattern: str, page_size: int | None, unquoted: bool
    ) -> Iterable[tuple[str, ObjectInfo]]:
        wanted = NamePattern(pattern)
        if not unquoted:
            found = self._scan_objects(wanted.prefix, page_size)
            return ((info.key, info) for info in found if wanted.matches(info.key))
        # Any character of a key may be quoted: only a full listing finds them all.
        pairs = ((unquote(info.key), info) for info in self._scan_objects("", page_size))
        return sorted((pair for pair in pairs if wanted.matches(pair[0])), key=itemgetter(0))

    def _level(self, branch: str, page_size: int | None, start: str = "") -> Iterator[_Node]:
        """Yield what is directly in a branch (``''`` or ending in ``/``), from a prefix on."""
        prefix = branch + start
        for entry in self.backend_interface.scan(
            prefix, delimiter=SEPARATOR, page_size=_hint(page_size)
        ):
            if isinstance(entry, CommonPrefix):
                yield _Node(entry.prefix, True)
            elif entry.key.endswith(SEPARATOR):
                # A marker, as consoles make them: it is the directory, and not something in it.
                if entry.key != branch:
                    yield _Node(entry.key, True)
            else:
                yield _Node(entry.key, False)

    def _directory_or_object(self, key: str, page_size: int | None) -> Iterator[_Node]:
        empty = True
        for node in self._level(key + SEPARATOR if key else "", page_size):
            empty = False
            yield node
        if empty and not key.endswith(SEPARATOR) and self._store.has_object(key):
            yield _Node(key, False)

    def _walk(self, path: PathPattern, page_size: int | None, threads: int) -> Iterator[_Node]:
        """Follow a pattern level by level, over directories that lead further."""
        branches: list[str] = [""]
        for depth, segment in enumerate(path.segments):
            last = depth == len(path.segments) - 1
            if segment.any_depth:

                def below(branch: str, depth: int = depth) -> list[_Node]:
                    return list(self._deep(branch, path, depth, page_size))

                for found in map_threads(below, branches, threads):
                    yield from found
                return
            if segment.literal and not last:
                branches = [f"{branch}{segment.prefix}{SEPARATOR}" for branch in branches]
                continue

            def here(branch: str, segment: Segment = segment) -> list[_Node]:
                return list(self._in_level(branch, segment, page_size))

            if last and len(branches) == 1:  # lazily: a limit may come first
                yield from self._in_level(branches[0], segment, page_size)
                return
            levels = map_threads(here, branches, threads)
            if last:
                for level in levels:
                    yield from level
                return
            branches = [node.key for level in levels for node in level if node.directory]

    def _in_level(self, branch: str, segment: Segment, page_size: int | None) -> Iterator[_Node]:
        """Yield what is in a branch and matches one segment."""
        end = f"{branch}{segment.prefix}{SEPARATOR}"
        for node in self._level(branch, page_size, segment.prefix):
            name = node.key[len(branch) :]
            if segment.matches(name.removesuffix(SEPARATOR) if node.directory else name):
                yield node
            if segment.literal and node.key >= end:
                return

    def _deep(
        self, branch: str, path: PathPattern, depth: int, page_size: int | None
    ) -> Iterator[_Node]:
        """Yield what is anywhere below a branch and matches the segments from ``depth`` on."""
        before: list[str] = []
        for info in self._scan_objects(branch, _hint(page_size)):
            parts = info.key[len(branch) :].split(SEPARATOR)
            above = parts[:-1]
            known = 0
            while known < min(len(above), len(before)) and above[known] == before[known]:
                known += 1
            for count in range(known + 1, len(above) + 1):
                if path.matches(above[:count], depth):
                    yield _Node(branch + "/".join(above[:count]) + SEPARATOR, True)
            before = above
            if parts[-1] and path.matches(parts, depth):
                yield _Node(info.key, False)


def _hint(page_size: int | None) -> int | None:
    if page_size is None or isinstance(page_size, DefaultInt):
        return None
    return check_int(page_size, "page_size", 1)


def _checked_limit(limit: int | None) -> int | None:
    """Return how many names are wanted: all of them where nobody gave a limit."""
    if limit is None or isinstance(limit, DefaultInt):
        return None
    return check_int(limit, "limit", 0)


def _names(nodes: Iterable[_Node], limit: int | None) -> list[str]:
    """Return the names of nodes, each once, sorted; the first ones listed, if limited."""
    names = (node.shown for node in nodes)
    count = _checked_limit(limit)
    if count is None:
        return sorted(set(names))
    found: set[str] = set()
    while len(found) < count and (name := next(names, None)) is not None:
        found.add(name)
    return sorted(found)
