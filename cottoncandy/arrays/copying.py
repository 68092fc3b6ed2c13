"""Copies of chunked and sparse arrays, made on the server."""

from __future__ import annotations

import contextlib

from cottoncandy.arrays.generations import Condition, begin, drive, identified, predecessor, reading
from cottoncandy.arrays.manifests import find_part, latest
from cottoncandy.backends.base import IfAbsent
from cottoncandy.core.names import SEPARATOR, Key, pathjoin
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import ObjectChangedError, ObjectNotFoundError
from cottoncandy.formats import chunked
from cottoncandy.formats.generations import MANIFEST, PREVIOUS, is_upload_id, place_of
from cottoncandy.stores.store import Store

#: Size of a part, for a look at what its copy needs: larger than any, as it is not known.
_ANY_SIZE = 2**40


class ArrayCopy:
    """A copy of an array, made on the server: an upload whose parts are copies.

    It is committed like any upload: an array of that name is replaced in one instant, and is the
    predecessor of the copy; that of the original is not copied. Parts and manifest have the ACL of
    the original ones. Parts that the original lacks are missing in the copy, too.

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
        keep_raw: bool,
    ) -> None:
        self._source, self._origin, self._dest, self._root = source, origin, dest, root
        self._condition = None if overwrite else IfAbsent()
        self._keep_raw = keep_raw
        self._begin()

    def _begin(self) -> None:
        """Read the current version of the original, and begin an upload."""
        version = drive(self._source, reading(self._origin))
        if version is None:
            raise ObjectNotFoundError(f"array '{self._origin}' was deleted while it was copied")
        before = drive(
            self._source, predecessor(self._origin, version.previous and version.upload_id)
        )
        self._version = version
        #: Keys of the predecessor.
        self._old: set[str] = set()
        if before is not None:
            previous = pathjoin(self._origin, version.upload_id or "", PREVIOUS)
            self._old = {*before.keys, previous}
        chunks = version.content.get("dask")
        names = version.content["attrs"] if chunks is None else [name for _, name in chunks]
        #: Name of each part and the last part of its new one, by the key of the part.
        self._parts: dict[str, tuple[str, str]] = {}
        for number, name in enumerate(names):
            last = place_of(name).rpartition(SEPARATOR)[2]
            new_name = last if chunks is None else chunked.part_name(number)
            self._parts[pathjoin(self._origin, place_of(name))] = name, new_name
        #: The new place of each part that was copied, by its key.
        self._copies: dict[str, str] = {}
        size = None if chunks is None else _ANY_SIZE
        self._new = begin(self._dest, self._root, condition=self._condition, part_bytes=size)
        self._new.acl_of = self._source.bucket, pathjoin(self._origin, MANIFEST)
        # Only the parts of a first upload have documented names.
        self._new.documented &= not any(SEPARATOR in place for place in version.places)

    def owns(self, key: str) -> bool:
        """Return whether an object belongs to the original, or to an older version of it."""
        directory, _, last = key.removeprefix(self._origin + SEPARATOR).rpartition(SEPARATOR)
        own = key in self._parts or key in self._old
        return own or (is_upload_id(directory) and last != MANIFEST)

    def copy(self, key: str) -> None:
        """Copy an object that belongs to the original, if the version names it as a part."""
        if key not in self._parts:
            return
        name, new_name = self._parts[key]
        bucket, verb = self._source.backend.bucket, self._dest.backend.copy

        def stored(place: str, condition: Condition) -> None:
            target, free = self._new.key(place), condition is None
            find_part(
                self._origin,
                name,
                lambda found: verb(found, target, source_bucket=bucket, overwrite=free),
            )

        with contextlib.suppress(ObjectNotFoundError):  # commit() looks why
            self._copies[key] = self._new.placed(new_name, stored)

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
                for _ in map_threads(self.copy, rest, threads):
                    pass
                found = drive(self._source, reading(self._origin))
                if found is None or found.etag != version.etag:
                    # If it was removed and stored again, its parts have the names of the old ones.
                    missing = len(copies) < len(self._parts)
                    if found is None or missing or found.origins.isdisjoint(version.origins):
                        raise ObjectChangedError(
                            f"array '{self._origin}' was replaced while it was copied"
                        )
                content, places = identified(version.content), []
                for key, (_, new_name) in self._parts.items():
                    places.append(copies.get(key) or pathjoin(new.upload_id, new_name))
                if "dask" in content:
                    pairs = zip(content["dask"], map(new.key, places), strict=True)
                    content = {**content, "dask": [[index, key] for (index, _), key in pairs]}
                else:
                    content = {**content, "attrs": places}
                new.commit(lambda _: content, version.metadata, keep_raw=self._keep_raw)
        except ObjectChangedError:
            self._begin()
            raise
        return {key: new.key(place) for key, place in copies.items()}

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
    def keys(self) -> set[str]:
        """The keys of the original and its predecessor, without the manifest."""
        return self._parts.keys() | self._old

    @property
    def uncommitted(self) -> list[str]:
        """The keys of copies that no manifest names."""
        places = () if self._new.sent else self._copies.values()
        return [self._new.key(place) for place in places if SEPARATOR in place]
