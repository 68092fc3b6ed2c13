"""Read everything below a name, and check it against what the store and the formats promise."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain

from cottoncandy.arrays.manifests import Version, parse_json, predecessor, read_version
from cottoncandy.arrays.raw import array_header, check_array
from cottoncandy.arrays.versions import open_parts
from cottoncandy.backends.base import ObjectInfo, ObjectReader
from cottoncandy.config.options import DEFAULT_THREADS
from cottoncandy.core.names import SEPARATOR, Key, prefix_of
from cottoncandy.core.output import Progress
from cottoncandy.core.threads import ForkSafeLock, map_threads
from cottoncandy.exceptions import (
    CottonCandyError,
    EncryptionError,
    IntegrityError,
    InvalidArgumentError,
    MetadataError,
    ObjectNotFoundError,
)
from cottoncandy.formats.generations import MANIFEST, PART_NUMBER, UPLOAD_ID, is_upload_id
from cottoncandy.stores.finding import objects_at
from cottoncandy.stores.store import Store
from cottoncandy.transfer.copying import checked_blocks

_CACHED_ARRAYS = 8


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong with an object.

    Parameters
    ----------
    name : str
        Name of the object.
    kind : str
        ``'missing part'``, ``'wrong size'``, ``'damaged'``, ``'exchanged parts'``,
        ``'leftover part'``, ``'unfinished upload'``, ``'sidecar without body'``,
        ``'name that is not UTF-8'``, ``'dangling link'``, ``'raw and chunked array'``,
        ``'unreadable manifest'``, ``'unreadable'``, or ``'encrypted'`` if its key was not passed.
    text : str
        What was found.
    """

    name: str
    kind: str
    text: str


@dataclass(slots=True)
class VerifyReport:
    """The result of :func:`cottoncandy.verify`.

    Parameters
    ----------
    objects, nbytes : int
        Number of objects that were read, and their stored size in bytes.
    faults : list of Fault
    position : str
        The last object that was checked, in the order of names; ``after=position`` continues.
    complete : bool
        Whether everything was checked; False after ``max_duration``.
    """

    objects: int = 0
    nbytes: int = 0
    faults: list[Fault] = field(default_factory=list)
    position: str = ""
    complete: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything was checked and nothing is wrong."""
        return self.complete and not self.faults

    def __str__(self) -> str:
        lines = [f"{fault.kind}: {fault.name}: {fault.text}" for fault in self.faults]
        end = "" if self.complete else f"; stopped after '{self.position}'"
        lines.append(
            f"objects: {self.objects}, bytes: {self.nbytes}, faults: {len(self.faults)}{end}"
        )
        return "\n".join(lines)


def verify_store(
    store: Store,
    name: str = "",
    *,
    subset: float = 1.0,
    max_duration: float | None = None,
    after: str = "",
    threads: int | None = None,
    found: Callable[[Fault], object] = lambda fault: None,
    report: VerifyReport | None = None,
) -> VerifyReport:
    """Check everything below a name; see :func:`cottoncandy.verify`.

    Each fault is passed to ``found``. ``report`` is filled and returned: an interruption leaves it.
    """
    if not (isinstance(subset, int | float) and 0 < subset <= 1):
        raise InvalidArgumentError(f"subset must be above 0 and at most 1, got {subset!r}")
    if not (max_duration is None or (isinstance(max_duration, int | float) and max_duration >= 0)):
        raise InvalidArgumentError(f"max_duration must be seconds, got {max_duration!r}")
    if not isinstance(after, str):
        raise InvalidArgumentError(f"after must be the name of an object, got {after!r}")
    threads = store.threads(DEFAULT_THREADS if threads is None else threads)
    report, check = report or VerifyReport(), _Checks(store)
    report.position = after
    end = None if max_duration is None else time.monotonic() + max_duration
    chosen = _subset(objects_at(store, name, after), subset)

    def note(faults: list[Fault]) -> None:
        report.faults += faults
        for fault in faults:
            found(fault)

    try:
        with Progress(None, unit="B", label="verifying", show=store.settings.progress) as bar:
            counted = bar.counted(chosen, lambda info: info.size)
            for info, faults in map_threads(lambda info: (info, check(info)), counted, threads):
                note(faults)
                report.objects += 1
                report.nbytes += info.size
                report.position = info.key
                bar.update(info.size)
                if end is not None and time.monotonic() > end:
                    return report
    except KeyboardInterrupt as interruption:
        interruption.add_note(f"after={report.position!r} continues")
        raise
    note(list(_leftovers(store, name)))
    if name and not (report.objects or report.faults or after):  # not to be reported as whole
        raise ObjectNotFoundError(
            f"there is nothing under '{name}' in {store.describe()}; nothing was verified"
        )
    report.complete = True
    return report


def _subset(objects: Iterator[ObjectInfo], subset: float) -> Iterator[ObjectInfo]:
    """Yield the objects of a subset, the same ones each time; at least the last of all."""
    last: ObjectInfo | None = None
    empty = True
    for info in objects:
        last = info
        if subset >= 1 or zlib.crc32(info.key.encode()) < subset * 2**32:
            empty = False
            yield info
    if empty and last is not None:
        yield last


def _leftovers(store: Store, name: str) -> Iterator[Fault]:
    prefix = prefix_of(name)
    for upload in store.backend.unfinished_uploads(prefix):
        begun = f"begun at {upload.started}" if upload.started else "begun"
        yield Fault(
            upload.key, "unfinished upload", f"an upload in parts was {begun} and not ended"
        )
    for path, reason in store.backend.unlisted(prefix):
        yield Fault(path, reason, "the file is not an object, so neither reads nor copies find it")


class _Checks:
    """The checks of single objects, which keep the manifests that were read last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = ForkSafeLock()  # threads that need one array read it once
        self._needed = lru_cache(_CACHED_ARRAYS)(partial(_needed_parts, store))

    def __call__(self, info: ObjectInfo) -> list[Fault]:
        """Return what is wrong with an object."""
        try:
            return list(self._faults(info))
        except ObjectNotFoundError:
            return []  # deleted since it was listed
        except (IntegrityError, MetadataError) as error:  # a DecryptionError, too
            return [Fault(info.key, "damaged", str(error))]
        except EncryptionError as error:  # without its key, nothing is known about it
            return [Fault(info.key, "encrypted", str(error))]
        except CottonCandyError as error:
            return [Fault(info.key, "unreadable", f"{type(error).__name__}: {error}")]

    def _faults(self, info: ObjectInfo) -> Iterator[Fault]:
        directory, _, last = info.key.rpartition(SEPARATOR)
        with self._store.open(Key(info.key)) as reader:
            if reader.metadata.get("dtype") and "shape" in reader.metadata:
                yield from self._array(reader)
                return
            blocks = checked_blocks(reader.chunks, self._store.backend, reader.info)
            if last == MANIFEST and directory:
                yield from self._manifest(Key(directory), reader, b"".join(blocks))
            else:
                deque(blocks, 0)

    # -- single objects --------------------------------------------------------------------------

    def _array(self, reader: ObjectReader) -> Iterator[Fault]:
        name = reader.info.key
        if self._is_leftover(name, reader):
            yield Fault(name, "leftover part", "no manifest of its array names it; see cci.clean")
        try:
            header = array_header(reader)
        except IntegrityError as error:
            yield Fault(name, "wrong size", str(error))
            return
        check_array(self._store, reader, header)

    def _is_leftover(self, key: str, reader: ObjectReader) -> bool:
        """Return whether an object says that it is a part, and no version of its array needs it."""
        if PART_NUMBER not in reader.metadata or not is_upload_id(reader.metadata.get(UPLOAD_ID)):
            return False
        directory = key.rpartition(SEPARATOR)[0]
        above, _, upload_id = directory.rpartition(SEPARATOR)
        with self._lock:
            needed = self._needed(Key(above if is_upload_id(upload_id) and above else directory))
        return needed is not None and key not in needed

    # -- values of several objects ---------------------------------------------------------------

    def _manifest(self, root: Key, reader: ObjectReader, body: bytes) -> Iterator[Fault]:
        content = parse_json(body, reader.info.key)
        if not isinstance(content, dict) or not ({"dask", "attrs"} & content.keys()):
            return  # another program's file of that name
        try:
            Version.of(root, reader.info.etag or "", body, reader.metadata)
        except (IntegrityError, MetadataError) as error:
            yield Fault(reader.info.key, "unreadable manifest", str(error))
            return
        with suppress(ObjectNotFoundError):
            if "dtype" in (self._store.backend.head(root).metadata or {}):
                yield Fault(root, "raw and chunked array", "both exist; the raw one is read")
        for check in open_parts(self._store, root).checks():
            yield from _part_faults(root, check)


def _part_faults(root: str, check: Callable[[], object]) -> Iterator[Fault]:
    try:
        check()
    except ObjectNotFoundError as error:
        yield Fault(root, "missing part", str(error))
    except (IntegrityError, MetadataError) as error:
        yield Fault(root, "exchanged parts", str(error))


def _needed_parts(store: Store, root: Key) -> frozenset[str] | None:
    """Return the parts that the live version and its predecessor name; None if unknown."""
    try:
        live = read_version(store, root)
        if live is None:
            return frozenset()
        before = predecessor(store, root, live.upload_id)
    except (IntegrityError, MetadataError, EncryptionError):
        return None
    return frozenset(chain(live.keys, before.keys if before else ()))
