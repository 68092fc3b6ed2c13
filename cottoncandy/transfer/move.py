"""Copy, move and remove trees in an order that keeps arrays of several objects whole.

A manifest is copied after the parts that it names, and removed before them. A copy, move or removal
that ends early, even of a killed process, leaves no manifest whose parts are missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial

from cottoncandy.arrays.manifests import MANIFEST
from cottoncandy.backends.base import Backend
from cottoncandy.core.names import SEPARATOR
from cottoncandy.transfer.engine import Action, Outcome, Outcomes, delete, run
from cottoncandy.transfer.plan import Route

__all__ = ["remove_tree", "transfer_tree"]


def transfer_tree(
    backend: Backend,
    route: Route,
    targets: Mapping[str, str],
    *,
    overwrite: bool,
    moving: bool,
    threads: int,
) -> Outcomes:
    """Copy or move objects; yield the outcome of each.

    The manifest of an array is not copied if one of its parts could not be. When moving, the
    originals of parts are deleted last.

    Parameters
    ----------
    targets : mapping of str to str
        The new key of each object, as :func:`plan_tree` returns it.
    """
    manifests, owners = _arrays(targets)

    def transfer(key: str) -> Action:
        # A part that was moved before its manifest would be missing in the original array.
        verb = backend.move if moving and key not in owners else backend.copy
        buckets = {"source_bucket": route.source_bucket, "dest_bucket": route.dest_bucket}
        return Action(key, partial(verb, key, targets[key], overwrite=overwrite, **buckets))

    failed: dict[str, Exception] = {}
    first = (key for key in targets if key not in manifests)
    yield from _noted(run(map(transfer, first), threads=threads), owners, failed)
    yield from (Outcome(*item) for item in failed.items())
    complete = [key for key in manifests if key not in failed]
    yield from _noted(run(map(transfer, complete), threads=threads), manifests, failed)
    parts = [key for key, manifest in owners.items() if manifest not in failed]
    if moving and parts:
        for result in backend.delete(parts, bucket=route.source_bucket, threads=threads):
            if result.error is not None:
                yield Outcome(*result)


def remove_tree(
    backend: Backend, keys: Collection[str], *, threads: int, permanently: bool
) -> Outcomes:
    """Delete objects; yield the outcome of each. Parts stay if their manifest does."""
    manifests, owners = _arrays(keys)
    failed: dict[str, Exception] = {}
    if manifests:
        outcomes = delete(backend, manifests, threads=threads, permanently=permanently)
        yield from _noted(outcomes, manifests, failed)
    stay = {key: failed[manifest] for key, manifest in owners.items() if manifest in failed}
    yield from (Outcome(*item) for item in stay.items())
    rest = [key for key in keys if key not in stay and key not in manifests]
    if rest:
        yield from delete(backend, rest, threads=threads, permanently=permanently)


def _arrays(keys: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the manifests among some keys, and the manifest of each key that may be a part."""
    end = SEPARATOR + MANIFEST
    manifests = {key: key for key in keys if key.endswith(end)}
    directories = {key.removesuffix(end) for key in manifests}
    owners = {}
    if directories:
        for key in keys:
            above = "" if key in manifests else key.rpartition(SEPARATOR)[0]
            while above and above not in directories:
                above = above.rpartition(SEPARATOR)[0]
            if above in directories:
                owners[key] = above + end
    return manifests, owners


def _noted(
    outcomes: Outcomes, owners: Mapping[str, str], failed: dict[str, Exception]
) -> Iterator[Outcome]:
    """Yield outcomes, and note the first error of each manifest or of its parts."""
    for outcome in outcomes:
        if outcome.error is not None and outcome.name in owners:
            failed.setdefault(owners[outcome.name], outcome.error)
        yield outcome
