"""Remove what no array needs: replaced versions, and the parts of uploads that were killed."""

from __future__ import annotations

import contextlib
import datetime
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from cottoncandy.arrays.manifests import Version, predecessor, read_version
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.core.buffers import Body
from cottoncandy.core.names import SEPARATOR, Key, clean_object_name, pathjoin, prefix_of
from cottoncandy.core.threads import map_threads, run_threads
from cottoncandy.exceptions import (
    EncryptionError,
    IntegrityError,
    MetadataError,
    ObjectNotFoundError,
)
from cottoncandy.formats.generations import (
    MANIFEST,
    PART_NUMBER,
    PREVIOUS,
    UPLOAD_ID,
    array_object,
    is_upload_id,
    new_upload_id,
)
from cottoncandy.stores.finding import objects_below
from cottoncandy.stores.store import Store

_log = logging.getLogger(__name__)


@dataclass
class _Array:
    """The listed objects of one array, and the content of its manifests."""

    root: Key
    has_manifest: bool = False
    #: Whether an object has the name of the manifest, and is not one that can be read.
    foreign: bool = False
    live: Version | None = None
    #: Objects in the directories of uploads, and directly below the root, by None.
    uploads: defaultdict[str | None, list[ObjectInfo]] = field(
        default_factory=lambda: defaultdict(list)
    )


class _Doomed(NamedTuple):
    """An object that nothing needs, and since when, as far as is known."""

    key: str
    since: datetime.datetime | None


def clean(
    store: Store, name: Key, grace: datetime.timedelta, threads: int, *, dry_run: bool
) -> list[str]:
    """Remove what no manifest below a name needs and is older than ``grace``; return its keys."""
    # The listing comes first: a part that was not there then is not touched.
    arrays = _listed(objects_below(store.backend, name))
    unlisted = prefix_of(name)
    roots = [
        array
        for array in arrays.values()
        if array.has_manifest or not prefix_of(array.root).startswith(unlisted)
    ]
    needed = _needed(store, roots, threads)
    cleanable = [array for array in arrays.values() if not array.foreign]
    found = [*map_threads(partial(_doomed, store, needed), cleanable, threads)]
    doomed = [each for several in found for each in several]
    unfinished = [
        each
        for each in store.backend.unfinished_uploads(prefix_of(name))
        if _is_own(each.key, arrays)
    ]
    if grace and (doomed or unfinished):
        now = datetime.datetime.now(datetime.UTC) if dry_run else _now(store, name)
        doomed = [each for each in doomed if each.since and now - each.since > grace]
        unfinished = [each for each in unfinished if each.started and now - each.started > grace]
    keys = [each.key for each in doomed]
    if not dry_run:
        # First the manifests of predecessors: they are never restored in part. Versions that were
        # restored or committed since the first look are kept.
        store.delete([key for key in keys if key.endswith(PREVIOUS)])
        changing = [array for array, several in zip(cleanable, found, strict=True) if several]
        needed = _needed(store, changing, threads)
        lost = tuple(prefix_of(array.root) for array in changing if array.foreign)
        keys = [key for key in keys if not (key in needed or key.startswith(lost))]
        store.delete([key for key in keys if not key.endswith(PREVIOUS)])
        for upload in unfinished:
            store.backend.abort_upload(upload)
    return sorted({*keys, *(each.key for each in unfinished)}, key=str.encode)


def _listed(found: Iterable[ObjectInfo]) -> dict[Key, _Array]:
    """Return the arrays of a listing, and what has the names of their objects."""
    arrays: dict[Key, _Array] = {}
    for info in found:
        split = array_object(info.key)
        if split is None:
            continue
        array = arrays.setdefault(Key(split.root), _Array(Key(split.root)))
        if split.upload_id is None and split.name == MANIFEST:
            array.has_manifest = True
        elif split.upload_id is not None or split.is_part:
            array.uploads[split.upload_id].append(info)
    return arrays


def _read_live(store: Store, array: _Array) -> None:
    try:
        array.live = read_version(store, array.root)
    except (IntegrityError, MetadataError, EncryptionError) as exc:
        _log.warning("skipping '%s', whose manifest cannot be read: %s", array.root, exc)
        array.foreign = True


def _needed(store: Store, arrays: list[_Array], threads: int) -> set[str]:
    """Read the manifests; return where their parts may be: at their places, by their names."""
    run_threads(partial(_read_live, store), arrays, threads)
    live = [array.live for array in arrays if array.live]
    names = (entry[1] for version in live for entry in version.content.get("dask", ()))
    return {*map(clean_object_name, names), *(key for version in live for key in version.keys)}


def _doomed(store: Store, needed: set[str], array: _Array) -> list[_Doomed]:
    """Return the objects of one array that nothing needs."""
    replaced: dict[str, datetime.datetime | None] = {}
    for upload_id, infos in array.uploads.items():
        for info in infos:
            if info.key.endswith(SEPARATOR + PREVIOUS):
                with contextlib.suppress(IntegrityError, EncryptionError):
                    before = predecessor(store, array.root, upload_id)
                    replaced.update(dict.fromkeys(before.keys if before else (), info.modified))
    doomed = []
    for upload_id, infos in array.uploads.items():
        unneeded = [
            info
            for info in infos
            if info.key not in needed
            and (upload_id is not None or info.key in replaced or _is_part(store, info.key))
        ]
        # All are as old as the youngest of them: their upload may be running. The objects of a
        # version that was replaced are as old as the replacement.
        known = [date for info in unneeded for date in (info.modified, replaced.get(info.key))]
        since = max(filter(None, known), default=None)
        doomed += [_Doomed(info.key, since) for info in unneeded]
    return doomed


def is_stray(store: Store, key: str) -> bool:
    """Return whether an object that no array names belongs to an upload: killed, or running."""
    split = array_object(key)
    if split is None or split.name == MANIFEST:
        return False
    return split.upload_id is not None or (split.is_part and _is_part(store, key))


def _is_part(store: Store, key: str) -> bool:
    """Return whether the metadata of an object mark it as a part."""
    try:
        metadata = store.backend.head(key).metadata or {}
    except ObjectNotFoundError:
        return False
    return is_upload_id(metadata.get(UPLOAD_ID)) and PART_NUMBER in metadata


def _is_own(key: str, arrays: Mapping[Key, _Array]) -> bool:
    """Return whether an unfinished upload has the name of a part."""
    split = array_object(key)
    if split is None or not split.is_part:
        return False
    if split.name.startswith("pt") or split.upload_id is not None:
        return True
    array = arrays.get(Key(split.root))
    return array is not None and array.live is not None


def _now(store: Store, name: Key) -> datetime.datetime:
    """Return the time by the store's clock: that of an object which is stored for a moment."""
    key = Key(pathjoin(name, new_upload_id(), PREVIOUS))
    store.backend.put(key, Body.of(b"{}"))
    modified = store.backend.head(key).modified
    store.delete([key])
    return modified or datetime.datetime.now(datetime.UTC)
