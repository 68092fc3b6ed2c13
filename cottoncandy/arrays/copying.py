"""Copies of chunked and sparse arrays, made on the server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cottoncandy.arrays.generations import (
    Condition,
    Upload,
    begin,
    identified,
    manifest_options,
)
from cottoncandy.arrays.manifests import (
    Version,
    find_part,
    latest,
    part_names,
    predecessor,
    read_version,
)
from cottoncandy.backends.base import IfAbsent
from cottoncandy.core.names import SEPARATOR, Key, pathjoin
from cottoncandy.core.threads import run_threads
from cottoncandy.exceptions import CottonCandyError, ObjectChangedError, ObjectNotFoundError
from cottoncandy.formats import chunked
from cottoncandy.formats.generations import MANIFEST, PREVIOUS, new_upload_id, place_of
from cottoncandy.stores.store import Store

#: Size of a part, for a look at what its copy needs: larger than any, as it is not known.
_ANY_SIZE = 2**40


class ArrayCopy:
    """A copy of an array, made on the server: an upload whose parts are copies.

    It is committed like any upload: an array of that name is replaced in one instant, and is the
    predecessor of the copy; that of the original is copied only if it is moved to a free name.
    Parts and manifests have the ACL of the original ones. Parts that the original lacks are missing
    in the copy, too.

    Parameters
    ----------
    source : Store
    origin : Key
        Name of the original.
    dest : Store
        A bucket of the same backend.
    root : Key
        Name of the copy.
    overwrite : bool
        Whether to replace an array.
    moving : bool
        Whether the original is to be deleted.
    keep_raw : bool
        Whether a raw array of the name of the copy stays, as a copy itself.

    Raises
    ------
    ObjectNotFoundError
        If there is no array.
    ObjectExistsError, IntegrityError, MetadataError, EncryptionError
        If an object has the name of a manifest and cannot be read, or the destination exists.
    """

    def __init__(
        self,
        source: Store,
        origin: Key,
        dest: Store,
        root: Key,
        *,
        overwrite: bool,
        moving: bool,
        keep_raw: bool,
    ) -> None:
        self._source, self._origin, self._dest, self._root = source, origin, dest, root
        self._condition = None if overwrite else IfAbsent()
        self._moving, self._keep_raw = moving, keep_raw
        self._begin()

    def _begin(self) -> None:
        """Read the current version of the original, and begin an upload."""
        version = read_version(self._source, self._origin)
        if version is None:
            raise ObjectNotFoundError(f"array '{self._origin}' was deleted while it was copied")
        before = predecessor(self._source, self._origin, version.upload_id)
        self._version = version
        size = _ANY_SIZE if version.kind == "chunked" else None
        new = begin(self._dest, self._root, condition=self._condition, part_bytes=size)
        new.acl_of = self._source.bucket, pathjoin(self._origin, MANIFEST)
        # Only the parts of a first upload have documented names.
        new.documented &= not any(SEPARATOR in place for place in version.places)
        self._new = new
        #: Name of each part, the last part of its new one, and its upload, by the key of the part.
        self._parts: dict[str, tuple[str, str, Upload]] = {}
        previous = pathjoin(self._origin, version.upload_id or "", PREVIOUS)
        #: The predecessor that is copied, and its key.
        self._before = None
        if before is not None and self._moving and new.live is None:
            self._before = before, previous
            older = replace(new, upload_id=new_upload_id(), documented=False)
            self._parts.update(_parts(before, older))
        self._parts.update(_parts(version, new))
        #: The keys of the original and its predecessor, without the manifest.
        self.keys = {*self._parts, *(() if before is None else (*before.keys, previous))}
        #: The new place of each part that was copied, by its key.
        self._copies: dict[str, str] = {}

    def copy(self, key: str) -> None:
        """Copy an object that belongs to the original, if it is a part that the copy needs."""
        if key not in self._parts:
            return
        name, new_name, upload = self._parts[key]
        bucket, verb = self._source.backend.bucket, self._dest.backend.copy

        def stored(place: str, condition: Condition) -> None:
            target, free = self._new.key(place), condition is None
            find_part(
                self._origin,
                name,
                lambda found: verb(found, target, source_bucket=bucket, overwrite=free),
            )

        with contextlib.suppress(ObjectNotFoundError):  # commit() looks why
            self._copies[key] = upload.placed(new_name, stored)

    def commit(self, threads: int) -> dict[str, str]:
        """Copy the other parts, and make the copy current; return the new key of each part.

        If the original was replaced, the new version is copied instead.
        """
        return latest(lambda: self._commit(threads))

    def _commit(self, threads: int) -> dict[str, str]:
        version, new, copies = self._version, self._new, self._copies
        try:
            with new:
                rest = [key for key in self._parts if key not in copies]
                run_threads(self.copy, rest, threads)
                found = read_version(self._source, self._origin)
                if found is None or found.etag != version.etag:
                    # If it was removed and stored again, its parts have the names of the old ones.
                    missing = len(copies) < len(self._parts)
                    if found is None or missing or found.origins.isdisjoint(version.origins):
                        raise ObjectChangedError(
                            f"array '{self._origin}' was replaced while it was copied"
                        )
                if self._before is not None:
                    before, key = self._before
                    # clean() removes first the manifest, then the parts.
                    if copies.keys() >= {*before.keys} or self._source.backend.exists(key):
                        body, acl_of = json.dumps(self._copied(before)), (self._source.bucket, key)
                        new.before = body.encode(), manifest_options(before.metadata, acl_of=acl_of)
                content = self._copied(version)
                new.commit(lambda _: content, version.metadata, keep_raw=self._keep_raw)
        except ObjectChangedError:
            with contextlib.suppress(CottonCandyError):
                self._dest.delete(self.uncommitted)
            self._begin()
            raise
        return {key: new.key(place) for key, place in copies.items()}

    def _copied(self, version: Version) -> dict[str, Any]:
        """Return a manifest that names the copies."""
        content = identified(version.content)
        places = []
        for key, _ in _parts(version, self._new):
            _, new_name, upload = self._parts[key]
            places.append(self._copies.get(key) or pathjoin(upload.upload_id, new_name))
        if "dask" not in content:
            return {**content, "attrs": places}
        pairs = zip(content["dask"], map(self._new.key, places), strict=True)
        return {**content, "dask": [[index, key] for (index, _), key in pairs]}

    def check_unchanged(self) -> None:
        """Raise ObjectChangedError if the original is another version than the copy."""
        try:
            found = self._source.backend.head(pathjoin(self._origin, MANIFEST)).etag
        except ObjectNotFoundError:
            found = None
        if found != self._version.etag:
            raise ObjectChangedError(
                f"array '{self._origin}' was changed while it was moved: it was not deleted, and "
                f"'{self._root}' is a copy of an earlier version"
            )

    @property
    def uncommitted(self) -> list[str]:
        """The keys of copies that no manifest names."""
        places = () if self._new.sent else self._copies.values()
        return [self._new.key(place) for place in places if SEPARATOR in place]


def _parts(version: Version, upload: Upload) -> Iterator[tuple[str, tuple[str, str, Upload]]]:
    """Yield the key of each part, with its name, the last part of its new one, and the upload."""
    for number, name in enumerate(part_names(version.content)):
        place = place_of(name)
        last = (
            chunked.part_name(number)
            if version.kind == "chunked"
            else place.rpartition(SEPARATOR)[2]
        )
        yield pathjoin(version.root, place), (name, last, upload)
