"""Plan copies and moves of whole trees, and check them before anything changes."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from cottoncandy.core.names import SEPARATOR, prefix_of
from cottoncandy.exceptions import InvalidArgumentError, ObjectExistsError, ObjectNotFoundError
from cottoncandy.stores.finding import scan_objects, tree
from cottoncandy.stores.store import Store

__all__ = ["Route", "plan_tree"]


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
    if route.in_place:
        if source == dest:
            route.check_not_same(overwrite)
            return targets
        if dest.startswith(source) and keys != [route.source]:
            raise InvalidArgumentError(
                f"'{route.dest}' is below '{route.source}': a tree cannot be copied or moved into "
                f"itself"
            )
        for target in sorted(targets.values()):
            if target in targets:
                raise InvalidArgumentError(
                    f"'{target}' is in '{route.source}' and would be overwritten by another of "
                    f"its objects; copy or move the tree to another name first"
                )
    if keys != [route.source]:
        _check_links(route)
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


def _check_links(route: Route) -> None:
    """Reject a tree that gets into itself through a link to a directory."""
    here, there = (
        store.backend.resolve_links(prefix_of(key))
        for key, store in ((route.source, route.origin), (route.dest, route.target))
    )
    if here is not None and there is not None and prefix_of(there).startswith(prefix_of(here)):
        raise InvalidArgumentError(
            f"'{route.dest}' is '{route.source}' or below it, through a link: a tree cannot be "
            f"copied or moved into itself"
        )
