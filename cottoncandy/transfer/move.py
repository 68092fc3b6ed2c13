"""Plan, copy, move and remove trees, in an order that keeps arrays of several objects whole.

A manifest is copied after the parts that it names, and removed before them. A copy, move or removal
that ends early, even of a killed process, leaves no manifest whose parts are missing.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cottoncandy.arrays.cleaning import is_stray
from cottoncandy.arrays.copying import ArrayCopy
from cottoncandy.backends.base import Backend
from cottoncandy.core.names import SEPARATOR, Key, prefix_of
from cottoncandy.core.threads import run_threads
from cottoncandy.exceptions import (
    CottonCandyError,
    EncryptionError,
    IntegrityError,
    InvalidArgumentError,
    MetadataError,
    ObjectExistsError,
    ObjectNotFoundError,
)
from cottoncandy.formats.generations import MANIFEST, array_object
from cottoncandy.stores.finding import scan_objects, tree
from cottoncandy.stores.store import Store
from cottoncandy.transfer.engine import Outcomes, each
from cottoncandy.transfer.entries import Endpoint

_END = SEPARATOR + MANIFEST

#: Errors after which an array is copied object by object.
_NO_ARRAY = (
    EncryptionError,
    IntegrityError,
    MetadataError,
    ObjectExistsError,
    ObjectNotFoundError,
)


@dataclass(frozen=True, slots=True)
class Route:
    """Source and destination of a copy.

    Parameters
    ----------
    source : str
        Key; one that ends in ``/`` means only the objects below it.
    dest : str
        Key, without ``/`` at its end.
    origin, target : Store
        The buckets of the two: one backend, and perhaps one bucket.
    """

    source: str
    dest: str
    origin: Store
    target: Store

    @classmethod
    def of(cls, source: str, dest: str, origin: Store, target: Store) -> Route:
        """Return the route of a copy; a destination that ends in ``/`` is a directory."""
        if not dest or dest.endswith(SEPARATOR):
            dest += posixpath.basename(source.removesuffix(SEPARATOR))
        return cls(source, dest.removesuffix(SEPARATOR), origin, target)

    @property
    def in_place(self) -> bool:
        """Whether source and destination are in one bucket."""
        return self.origin.bucket == self.target.bucket

    def new_key(self, key: str) -> str:
        """Return the new key of one of the objects."""
        if key == self.source and not key.endswith(SEPARATOR):
            return self.dest
        return prefix_of(self.dest) + key[len(prefix_of(self.source)) :]

    def check_not_same(self, overwrite: bool) -> None:
        """Reject a copy onto itself, unless the user allowed overwriting."""
        if not overwrite:
            raise ObjectExistsError(
                f"source and destination are the same: '{self.source}' in bucket "
                f"'{self.origin.bucket}'"
            )


def plan_tree(route: Route, *, overwrite: bool) -> dict[str, str]:
    """Return the new key of each object of a tree.

    Raises
    ------
    ObjectNotFoundError
        If there is nothing at the source.
    InvalidArgumentError
        If the tree would get into itself, or over its own objects.
    ObjectExistsError
        If a target exists and ``overwrite`` is False.
    """
    keys = tree(route.origin, route.source)
    if not keys:
        raise ObjectNotFoundError(
            f"there is nothing under '{route.source}' in bucket '{route.origin.bucket}'"
        )
    targets = {key: route.new_key(key) for key in keys}
    source, dest = prefix_of(route.source), prefix_of(route.dest)
    if route.in_place and source == dest:
        route.check_not_same(overwrite)
        return targets
    # A link below the tree may lead elsewhere, but its target is part of the tree, too.
    inside = route.in_place and dest.startswith(source)
    ends = Endpoint(route.origin, source), Endpoint(route.target, dest)
    if keys != [route.source] and (inside or ends[0].contains(ends[1])):
        raise InvalidArgumentError(
            f"'{route.dest}' is in '{route.source or 'the bucket'}', or a link leads there: a tree "
            f"cannot be copied or moved into itself"
        )
    if route.in_place:
        for target in sorted(targets.values()):
            if target in targets:
                raise InvalidArgumentError(
                    f"'{target}' is in '{route.source}' and would be overwritten by another of "
                    f"its objects; copy or move the tree to another name first"
                )
    if not overwrite:
        wanted = set(targets.values())
        start = posixpath.commonprefix([min(wanted), max(wanted)])
        for info in scan_objects(route.target.backend, start):
            if info.key in wanted:
                raise ObjectExistsError(
                    f"object '{info.key}' exists in bucket '{route.target.bucket}'; pass "
                    f"overwrite=True to replace it. Nothing was copied or moved"
                )
    return targets


def transfer_tree(
    route: Route, targets: dict[str, str], *, overwrite: bool, moving: bool, threads: int
) -> Outcomes:
    """Copy or move objects; yield the outcome of each.

    An array is copied as :class:`~cottoncandy.arrays.copying.ArrayCopy` says; one whose
    manifest, or that of the destination, cannot be read is copied object by object, the
    manifest last. When moving, the originals of parts are deleted last. Parts that no array names
    stay where they are: at the destination, they could replace those of a predecessor, and their
    upload may still be running.

    Parameters
    ----------
    targets : dict of str to str
        The new key of each object, as :func:`plan_tree` returns it. It is changed to those that
        the parts of arrays get, and loses the objects that stay.
    """
    source, dest = route.origin, route.target
    manifests, owners = _arrays(targets)
    wanted = set(targets.values())
    arrays: dict[str, ArrayCopy] = {}
    copied: dict[str, str] = {}
    failed: dict[str, Exception] = {}
    strays: set[str] = set()

    def begin(key: str) -> None:
        origin, root = Key(key.removesuffix(_END)), Key(targets[key].removesuffix(_END))
        keep = root in wanted or not overwrite
        with contextlib.suppress(*_NO_ARRAY):
            arrays[key] = ArrayCopy(
                source, origin, dest, root, overwrite=overwrite, moving=moving, keep_raw=keep
            )

    def transfer(key: str) -> None:
        array = arrays.get(owners.get(key, ""))
        if array is not None and key in array.keys:
            array.copy(key)
            return
        found = array_object(key)
        # Of an array that is copied object by object.
        is_own = array is None and found is not None and owners.get(key) == found.root + _END
        if key != route.source and not is_own and is_stray(source, key):
            strays.add(key)
            return
        # A part that was moved before its manifest would be missing in the original array.
        verb = dest.backend.move if moving and key not in owners else dest.backend.copy
        try:
            verb(key, targets[key], source_bucket=source.backend.bucket, overwrite=overwrite)
        except ObjectNotFoundError:
            if key not in owners:
                raise
            # The array was replaced since; its manifest names what it needs.

    def finish(key: str) -> None:
        if key in arrays:
            copied.update(arrays[key].commit(inner))
        else:
            transfer(key)

    try:
        run_threads(begin, manifests, threads)
        first = (key for key in targets if key not in manifests)
        yield from _noted(each(transfer, first, threads=threads), owners, failed)
        yield from failed.items()
        complete = [key for key in manifests if key not in failed]
        inner = max(1, threads // max(len(complete), 1))
        yield from _noted(each(finish, complete, threads=threads), manifests, failed)
    finally:
        left = [key for array in arrays.values() for key in array.uncommitted]
        with contextlib.suppress(CottonCandyError):  # the first error is the one to raise
            dest.delete(left)
    own = {key for key, name in owners.items() if name in arrays and key in arrays[name].keys}
    for key in own | strays:
        del targets[key]
    targets.update(copied)
    if moving:
        copies = [key for key in arrays if key not in failed]
        checks = each(lambda key: arrays[key].check_unchanged(), copies, threads=threads)
        yield from (check for check in _noted(checks, manifests, failed) if check[-1])
        done = [key for key in manifests if key not in failed]
        rest = {key for key, manifest in owners.items() if manifest not in failed} - strays
        rest = rest.union(*(arrays[key].keys for key in copies if key not in failed))
        for keys in filter(None, (done, sorted(rest))):  # first the manifests
            deleted = source.backend.delete(keys, threads=threads)
            yield from (result for result in deleted if result.error)


def remove_tree(
    backend: Backend, keys: Collection[str], *, threads: int, permanently: bool
) -> Outcomes:
    """Delete objects; yield the outcome of each. Parts stay if their manifest does."""
    manifests, owners = _arrays(keys)
    failed: dict[str, Exception] = {}
    if manifests:
        outcomes = backend.delete(manifests, threads=threads, permanently=permanently)
        yield from _noted(outcomes, manifests, failed)
    stay = {key: failed[manifest] for key, manifest in owners.items() if manifest in failed}
    yield from stay.items()
    rest = [key for key in keys if key not in stay and key not in manifests]
    if rest:
        yield from backend.delete(rest, threads=threads, permanently=permanently)


def _arrays(keys: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the manifests among some keys, and the manifest of each key that may be a part."""
    manifests = {key: key for key in keys if key.endswith(_END)}
    directories = {key.removesuffix(_END) for key in manifests}
    owners = {}
    if directories:
        for key in keys:
            above = "" if key in manifests else key.rpartition(SEPARATOR)[0]
            while above and above not in directories:
                above = above.rpartition(SEPARATOR)[0]
            if above in directories:
                owners[key] = above + _END
    return manifests, owners


def _noted(outcomes: Outcomes, owners: Mapping[str, str], failed: dict[str, Exception]) -> Outcomes:
    """Yield outcomes, and note the first error of each manifest or of its parts."""
    for name, *_, error in outcomes:
        if error is not None and name in owners:
            failed.setdefault(owners[name], error)
        yield name, error
