"""Make one place a copy of another: plan from two sorted listings, run, report."""

from __future__ import annotations

import contextlib
import datetime
import heapq
import logging
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, groupby, repeat
from operator import attrgetter
from typing import Literal, NamedTuple

from cottoncandy.backends.base import DANGLING, Backend, ObjectInfo
from cottoncandy.config.options import DEFAULT_ACL, DEFAULT_THREADS
from cottoncandy.core.buffers import MiB
from cottoncandy.core.names import SEPARATOR, has_magic
from cottoncandy.core.output import Progress, bytes2human
from cottoncandy.core.patterns import NamePattern
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import (
    BucketNotFoundError,
    CottonCandyError,
    InvalidArgumentError,
    ObjectExistsError,
    ObjectNotFoundError,
)
from cottoncandy.formats.generations import MANIFEST, array_object
from cottoncandy.stores.checks import check_int
from cottoncandy.transfer.copying import copy_object, etag_md5, md5_of
from cottoncandy.transfer.engine import Outcomes, complete, delete_all, each, started
from cottoncandy.transfer.entries import Endpoint

_log = logging.getLogger(__name__)

_PAGE = 1000  # keys of one listing or deletion request
# Prices of Amazon S3 in us-east-1, in US dollars: per request, and per byte that leaves the cloud.
_WRITE_PRICE = 0.005 / 1000
_READ_PRICE = 0.0004 / 1000
_EGRESS_PRICE = 0.09 / 1e9
_PIECE_BYTES = 8 * MiB  # of a large file: about what one request sends or receives


class Step(NamedTuple):
    """One action of a plan.

    Parameters
    ----------
    verb : {'copy', 'replace', 'delete', 'skip'}
    path : str
        Below both ends.
    reason : str
    size : int
        Bytes to transfer.
    compared : int
        Bytes that were read to compare contents.
    cost : float
        Estimate of the price of reading them, in US dollars.
    modified : datetime, optional
        Time of the source.
    """

    verb: Literal["copy", "replace", "delete", "skip"]
    path: str
    reason: str
    size: int = 0
    compared: int = 0
    cost: float = 0.0
    modified: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules that select the actions of a plan.

    Parameters
    ----------
    delete : bool
        Whether to delete what the source does not have.
    checksum : bool
        Whether to compare contents instead of sizes and dates.
    include, exclude : str or sequence of str
        Patterns of paths. A path takes part if it matches one of ``include`` (or there is none),
        and none of ``exclude``. Without magic, a pattern is a path and everything below it.
    max_delete : int, optional
        Largest number of files that may be deleted.
    """

    delete: bool = False
    checksum: bool = False
    include: str | Sequence[str] = ()
    exclude: str | Sequence[str] = ()
    max_delete: int | None = None

    def selects(self) -> Callable[[str], bool]:
        """Return a function that returns whether a path takes part."""
        wanted, hidden = (
            [
                NamePattern(form)
                for pattern in ([given] if isinstance(given, str) else given)
                for form in _forms(pattern)
            ]
            for given in (self.include, self.exclude)
        )
        return lambda path: (
            (not wanted or any(pattern.matches(path) for pattern in wanted))
            and not any(pattern.matches(path) for pattern in hidden)
        )


def _forms(pattern: str) -> set[str]:
    """Return a pattern, and what rsync and shells mean by it: ``/a``, ``a*/`` and ``**/a``."""
    path = pattern.removeprefix("/")
    path += "*" if path.endswith("/") and has_magic(path) else ""
    return {pattern, path, re.sub(r"(?<![^/])\*\*/", "", path)}


# -- planning ------------------------------------------------------------------------------------


def plan(source: Endpoint, dest: Endpoint, rules: Rules, *, threads: int = 1) -> Iterator[Step]:
    """Yield the steps that make the destination a copy of the source, sorted by path.

    The listings are merged as they arrive: memory does not grow with their length.

    Parameters
    ----------
    threads : int, default 1
        Number of contents to compare at once.

    Raises
    ------
    BucketNotFoundError
        If the source does not exist. A destination that does not is empty.
    """
    selects, in_dest = rules.selects(), dest.holds()
    ours, theirs = (
        (entry for entry in entries if selects(entry[0]))
        for entries in (source.entries(), _entries_if_any(dest))
    )

    def decide(pair: tuple[str, ObjectInfo | None, ObjectInfo | None]) -> Step | None:
        path, here, there = pair
        if here is None:
            extra = rules.delete and in_dest(path)
            return _deletion(path) if extra else None
        if there is None:
            return Step("copy", path, "not in the destination", here.size, modified=here.modified)
        ends = (source.store.backend, here), (dest.store.backend, there)
        step = compare(*ends, path=path, read=rules.checksum)
        return step if step.verb == "skip" else step._replace(modified=here.modified)

    steps = map_threads(decide, _merged(ours, theirs), threads if rules.checksum else 1)
    return (step for step in steps if step is not None)


def _entries_if_any(endpoint: Endpoint) -> Iterator[tuple[str, ObjectInfo]]:
    with contextlib.suppress(BucketNotFoundError):
        yield from endpoint.entries()


def _merged(
    ours: Iterable[tuple[str, ObjectInfo]], theirs: Iterable[tuple[str, ObjectInfo]]
) -> Iterator[tuple[str, ObjectInfo | None, ObjectInfo | None]]:
    """Yield each path of two sorted listings once, with its header at both ends."""
    both = heapq.merge(zip(ours, repeat(0)), zip(theirs, repeat(1)), key=lambda each: each[0][0])
    for path, group in groupby(both, lambda each: each[0][0]):
        found = {end: info for (_, info), end in group}
        yield path, found.get(0), found.get(1)


def compare(*ends: tuple[Backend, ObjectInfo], path: str, read: bool) -> Step:
    """Return the step for a file at both ends: same size, and the destination is not older.

    That is the rule of rsync and the AWS CLI; with ``read``, both have the same content.
    """
    (_, here), (_, there) = ends
    if here.size != there.size:
        return Step("replace", path, "the size differs", here.size)
    md5s = [etag_md5(*end) for end in ends]
    if md5s[0] is not None and md5s[0] == md5s[1]:
        return Step("skip", path, "the MD5 is the same")
    if read and None not in md5s:  # or ETags of objects that the server encrypted, which differ
        md5s = [etag_md5(*end, confirm=True) for end in ends]
    if read or (None in md5s and _too_close(here, there)):
        to_read = [backend for (backend, _), md5 in zip(ends, md5s, strict=True) if md5 is None]
        paid = sum(backend.capabilities.charges for backend in to_read)
        costs = here.size * len(to_read), (here.size * _EGRESS_PRICE + _READ_PRICE) * paid
        if _same_content(*zip(ends, md5s, strict=True)):
            return Step("skip", path, "the content is the same", 0, *costs)
        return Step("replace", path, "the content differs", here.size, *costs)
    if here.modified is not None and there.modified is not None and there.modified < here.modified:
        return Step("replace", path, "the destination is older", here.size)
    return Step("skip", path, "same size, and the destination is not older")


def _too_close(here: ObjectInfo, there: ObjectInfo) -> bool:
    """Return whether whole seconds, of which FAT keeps the even ones, hide which one is older."""
    if here.modified is None or there.modified is None:
        return False
    older_s = (here.modified - there.modified).total_seconds()
    return 0 < older_s < 2 and 0 in (here.modified.microsecond, there.modified.microsecond)


def _same_content(*ends: tuple[tuple[Backend, ObjectInfo], str | None]) -> bool:
    """Compare the MD5 of both ends; what has no checksum is read."""
    try:
        here, there = (md5 or _read_md5(*end) for end, md5 in ends)
    except (CottonCandyError, OSError):
        return False  # deleted or unreadable: its transfer reports that
    return here == there


def _read_md5(backend: Backend, info: ObjectInfo) -> str:
    with backend.get(info.key) as reader:
        return md5_of(reader.chunks())


# -- running -------------------------------------------------------------------------------------


@dataclass(slots=True)
class SyncReport:
    """Actions of a sync; after a dry run, those that it would perform.

    Parameters
    ----------
    copied, replaced, deleted, skipped : int
        Number of files.
    nbytes : int
        Bytes of the files that were copied or replaced.
    compared : int
        Bytes that were read to compare contents, if the stores have no checksum.
    pieces : int
        Further pieces of large files, of 8 MiB, which take a request each at both ends.
    requests : int
        Estimate of the requests to both stores.
    cost : float
        Estimate in US dollars, at the prices of Amazon S3; disks cost nothing.
    dry_run : bool
        Whether nothing was changed.
    left_out : int
        Files that cannot be copied because they are not objects; the log names them.
    failed : int
        Files that could not be copied, replaced or deleted.
    actions : list of Step
        After a dry run: everything but what is skipped.
    """

    copied: int = 0
    replaced: int = 0
    deleted: int = 0
    skipped: int = 0
    nbytes: int = 0
    compared: int = 0
    pieces: int = 0
    requests: int = 0
    cost: float = 0.0
    dry_run: bool = False
    left_out: int = 0
    failed: int = 0
    actions: list[Step] = field(default_factory=list)

    def noting(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Yield steps and count them. A dry run keeps those that change something."""
        for step in steps:
            self.note(step)
            if self.dry_run and step.verb != "skip":
                self.actions.append(step)
            yield step

    def note(self, step: Step, error: Exception | None = None) -> None:
        """Count a step."""
        names = {"copy": "copied", "replace": "replaced", "delete": "deleted", "skip": "skipped"}
        name = names[step.verb] if error is None else "failed"
        setattr(self, name, getattr(self, name) + 1)
        if error is None:
            self.nbytes += step.size
            self.pieces += max(step.size - 1, 0) // _PIECE_BYTES
        self.compared += step.compared
        self.cost += step.cost

    def estimate(
        self, source: Backend | None, dest: Backend | None, *, inside: bool = False
    ) -> None:
        """Estimate requests and cost, from the numbers of files; a backend None is a disk."""
        moved = self.copied + self.replaced
        listings = max(-(-(moved + self.skipped + self.deleted) // _PAGE), 1)
        pieces, egress = (0, 0) if inside else (self.pieces, self.nbytes)
        reads = moved * (dest.copy_requests - 1) if inside and dest else moved + pieces
        self.requests = 2 * listings + reads + moved + pieces - (-self.deleted // _PAGE)
        if source is not None and source.capabilities.charges:
            self.cost += _WRITE_PRICE * listings + _READ_PRICE * reads + _EGRESS_PRICE * egress
        if dest is not None and dest.capabilities.charges:
            self.cost += _WRITE_PRICE * (listings + moved + pieces)

    def __str__(self) -> str:
        would = "would be " if self.dry_run else ""
        compared = f", {bytes2human(self.compared)} read to compare" if self.compared else ""
        return (
            f"{self.copied} {would}copied, {self.replaced} {would}replaced, {self.deleted} "
            f"{would}deleted, {self.skipped} skipped; {bytes2human(self.nbytes)}{compared}, about "
            f"{self.requests} requests, ${self.cost:.4f}"
        )


def synchronize(
    source: Endpoint,
    dest: Endpoint,
    rules: Rules,
    report: SyncReport,
    *,
    threads: int = DEFAULT_THREADS,
    retries: int | None = None,
    progress: bool | None = None,
) -> SyncReport:
    """Make the destination a copy of the source, or only report how; see :func:`sync`.

    The report has the numbers after an error, too.
    """
    for name, value in (("max_delete", rules.max_delete), ("retries", retries)):
        if value is not None:
            check_int(value, name, 0)
    if retries is not None:
        settings = replace(dest.store.settings, retries=retries)
        dest = replace(dest, store=replace(dest.store, settings=settings))
    check_apart(source, dest, rules)
    if not report.dry_run:
        dest.store.require_writable()
    if not source.exists():
        raise BucketNotFoundError(f"there is no {source}; nothing was copied or deleted")
    count = dest.store.bulk_threads(threads)
    extras: list[str] = []

    def changes() -> Iterator[Step]:
        for step in plan(source, dest, rules, threads=count):
            if step.verb == "delete":
                extras.append(step.path)
            elif step.verb == "skip":
                report.note(step)
            else:
                yield step

    def describe(failed: int, total: int) -> str:
        return f"{failed} of {total} files could not be copied to {dest}"

    blocked: list[Step] = []  # until something is deleted
    if report.dry_run:
        deque(report.noting(changes()), 0)
    else:
        bar = Progress(None, unit="files", label="syncing", show=progress)
        found = started(changes)  # a source that cannot be listed leaves no directory
        dest.create()
        complete(
            _copies(source, dest, bar.counted(found), report, extras, blocked, threads=count),
            lambda *counts: f"{describe(*counts)}, the others are there; nothing was deleted",
            bar,
        )
    left_out = note_left_out(source, rules, report)
    extras = [path for path in extras if not left_out(path)]
    _check_source(source, report)
    if report.dry_run:
        deque(report.noting(map(_deletion, extras)), 0)
        report.actions.sort(key=attrgetter("path"))
    elif rules.max_delete is not None and len(extras) > rules.max_delete:
        raise InvalidArgumentError(
            f"{len(extras)} files in {dest} are not in {source}, more than "
            f"max_delete={rules.max_delete}; nothing was deleted, nor copied to where something "
            f"has to be deleted"
        )
    else:
        complete(
            _deletions(dest, extras, report, threads=min(count, 8)),
            lambda failed, total: f"{failed} of {total} files could not be deleted",
            Progress(len(extras), unit="files", label="deleting", show=progress),
        )
        complete(_copies(source, dest, blocked, report, [], [], threads=count), describe)
    ends = source.store.backend, dest.store.backend
    report.estimate(*ends, inside=ends[1].can_copy_from(ends[0]))
    return report


def note_left_out(source: Endpoint, rules: Rules, report: SyncReport) -> Callable[[str], bool]:
    """Report what is no object; return whether a path is at or below a dangling link."""
    selects, links = rules.selects(), set()
    for key, reason in source.store.backend.unlisted(source.prefix):
        path = key.removeprefix(source.prefix)
        if reason == DANGLING:  # what it leads to is perhaps only not mounted
            links.add(path)
        if selects(path):
            report.left_out += 1
            _log.warning("skipped, because it is not an object: %r (%s)", key, reason)
    return lambda path: not links.isdisjoint([path, *_parents(path)])


def _copies(
    source: Endpoint,
    dest: Endpoint,
    steps: Iterable[Step],
    report: SyncReport,
    extras: list[str],
    blocked: list[Step],
    *,
    threads: int,
) -> Outcomes:
    """Copy and replace; report and yield the outcome of each, in any order.

    The manifest of an array is copied after its parts, and not if one of them failed.

    Parameters
    ----------
    extras : list of str
        What will be deleted; complete when all steps were taken.
    blocked : list of Step
        Gets the steps that an extra is in the way of: it is a file and has to become a directory,
        or the reverse.
    """
    acl = dest.store.acl(DEFAULT_ACL)
    large = dest.store.settings.mpu_use_threshold_bytes
    on_disk = dest.store.backend.resolve_links(dest.prefix)
    manifests: list[Step] = []
    failed: list[str] = []
    waiting: list[tuple[Step, Exception]] = []

    def copy(step: Step) -> None:
        ends = source.store, source.key(step.path), dest.store, dest.key(step.path)
        copy_object(*ends, acl=acl, threads=4 if step.size > large else 1)
        found = array_object(ends[3])
        # Parts stay new: clean() deletes old ones that no manifest names yet.
        if on_disk is not None and step.modified and not (found and found.is_part):
            # A file that is as old as its source is not copied back to it.
            with contextlib.suppress(OSError):
                os.utime(f"{on_disk}/{step.path}", (step.modified.timestamp(),) * 2)

    def others() -> Iterator[Step]:
        for step in steps:
            if _is_manifest(step.path):
                manifests.append(step)
            else:
                yield step

    def whole() -> list[Step]:
        roots = [step.path.removesuffix(MANIFEST) for step in manifests]
        lost = [any(path.startswith(root) for path in failed) for root in roots]
        blocked.extend(compress(manifests, lost))
        return [step for step, is_lost in zip(manifests, lost, strict=True) if not is_lost]

    for items in (others, whole):
        for step, _, error in each(copy, items(), threads=threads):
            if error is not None:
                failed.append(step.path)
            if isinstance(error, ObjectExistsError):
                waiting.append((step, error))
            else:
                report.note(step, error)
                yield step.path, error
    gone = set(extras) if waiting else set()  # they may be millions
    emptied = {parent for path in gone for parent in _parents(path)}
    for step, error in waiting:
        if step.path in emptied or not gone.isdisjoint(_parents(step.path)):
            blocked.append(step)
        else:
            report.note(step, error)
            yield step.path, error


def _is_manifest(path: str) -> bool:
    return path.rpartition(SEPARATOR)[2] == MANIFEST


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition(SEPARATOR)[0]:
        yield path


def _deletion(path: str) -> Step:
    return Step("delete", path, "not in the source")


def _deletions(dest: Endpoint, paths: list[str], report: SyncReport, *, threads: int) -> Outcomes:
    """Delete; report and yield the outcome of each. A manifest goes before the parts it names."""
    paths.sort(key=_is_manifest, reverse=True)
    for key, error in delete_all(dest.store, map(dest.key, paths), threads=threads):
        report.note(_deletion(key), error)
        yield key, error


def check_apart(source: Endpoint, dest: Endpoint, rules: Rules) -> None:
    """Raise if both ends are the same, or one would be changed by what happens to the other."""
    if dest.contains(source) and source.contains(dest):
        raise InvalidArgumentError(f"source and destination are the same: {dest}")
    if source.contains(dest):
        raise InvalidArgumentError(
            f"the destination is inside the source: {dest} is below {source}; nothing was changed"
        )
    if rules.delete and dest.contains(source):
        raise InvalidArgumentError(
            f"the source is inside the destination, and delete=True would delete it: {source} is "
            f"below {dest}; nothing was changed"
        )


def _check_source(source: Endpoint, report: SyncReport) -> None:
    """Raise if there is nothing at the source, before anything is deleted."""
    found = report.copied + report.replaced + report.skipped
    if source.prefix and not found and next(source.entries(), None) is None:
        raise ObjectNotFoundError(f"there is nothing at {source}; nothing was deleted")


def sync(
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    delete: bool = False,
    dry_run: bool = False,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    max_delete: int | None = None,
    checksum: bool = False,
    threads: int = DEFAULT_THREADS,
    retries: int | None = None,
    progress: bool | None = None,
) -> SyncReport:
    """Make one place a copy of another: a directory on disk or a store, in both directions.

    Parameters
    ----------
    source, dest : str or path-like
        URLs, such as ``'s3://bucket/path'``, or directories on disk.
    delete : bool, default False
        Whether to delete files of the destination that the source does not have.
    dry_run : bool, default False
        Whether only to report what would be done.
    include, exclude : str or sequence of str, optional
        Patterns of paths below both ends, in which ``*`` also matches ``/``. Without magic, a
        pattern is a path and everything below it. What they leave out is neither copied nor
        deleted.
    max_delete : int, optional
        Delete nothing if more files than this would be deleted.
    checksum : bool, default False
        Whether to compare contents: by the checksums that the stores have, otherwise by reading
        both files. Default: same size, and the destination is not older.
    threads : int, default ``[basic] threads`` of the options, at least 16
        How many files are transferred at once.
    retries : int, default ``[basic] retries`` of the options, 7
        How often a copy is repeated while a store is busy.
    progress : bool, optional
        Whether to show a progress bar. Default: in terminals and notebooks.

    Returns
    -------
    report : SyncReport
        Numbers of files, bytes, and an estimate of requests and cost.

    Raises
    ------
    BucketNotFoundError, ObjectNotFoundError
        If there is nothing at the source. Then nothing is deleted.
    InvalidArgumentError
        If an end is inside the other, or more than ``max_delete`` files would be deleted.
    PartialFailureError
        If some files could not be copied; the message names them. The others were copied, and
        nothing was deleted.

    Notes
    -----
    A second call copies only what has changed, also after an interruption. Within a store, files
    are copied by the server. Metadata, content type, encoding and cache control are kept; on disk,
    they are in ``NAME.meta.json``, except a content type that the name implies. Memory does not
    grow with the number of files, except for ``dry_run`` and files to delete.

    Examples
    --------
    >>> import cottoncandy as cc
    >>> cci = cc.get_interface("my_bucket", backend="memory", verbose=False)
    >>> response = cci.upload_object("data/a", b"1")
    >>> cc.sync("memory://my_bucket/data", "memory://my_bucket/copy").copied
    1
    >>> cc.sync("memory://my_bucket/data", "memory://my_bucket/copy").skipped
    1
    """
    return synchronize(
        Endpoint.of(source),
        Endpoint.of(dest),
        Rules(delete, checksum, include, exclude, max_delete),
        SyncReport(dry_run=dry_run),
        threads=threads,
        retries=retries,
        progress=progress,
    )
