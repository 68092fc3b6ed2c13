"""Storing everything below a name under another encryption key."""

from __future__ import annotations

from functools import partial

from cottoncandy.exceptions import ObjectNotFoundError
from cottoncandy.stores.encrypted import EncryptedBackend
from cottoncandy.stores.finding import tree
from cottoncandy.stores.store import Store
from cottoncandy.transfer.engine import Action, perform

__all__ = ["rotate_keys"]


def rotate_keys(store: Store, prefix: str, threads: int) -> list[str]:
    """Store objects that are under an old key under the first; return their keys, sorted.

    Parameters
    ----------
    store : Store
        Of an encrypted backend.
    prefix : str
        A user's name: the object of that name, and everything below it.
    threads : int

    Raises
    ------
    ObjectNotFoundError
        If there is nothing of that name.
    PartialFailureError
        If some objects could not be rewritten.
    """
    backend = store.backend
    if not isinstance(backend, EncryptedBackend):
        raise TypeError("an encrypted store is required")
    store.require_writable()
    backend.check_writes()
    key = store.key(prefix, tree=True, strict=True)
    keys = tree(store, key)
    if key and not keys:
        raise ObjectNotFoundError(f"nothing found under '{prefix}' in bucket '{store.bucket}'")
    rewritten: list[str] = []

    def rotate(key: str) -> None:
        if backend.rotate(key):
            rewritten.append(key)

    def describe(failed: int, total: int) -> str:
        return (
            f"{failed} of {total} objects in bucket '{store.bucket}' could not be rewritten under "
            f"the new key and are unchanged ({len(rewritten)} were rewritten)"
        )

    perform(
        store,
        (Action(each, partial(rotate, each)) for each in keys),
        len(keys),
        threads=store.bulk_threads(threads),
        unit="objects",
        label="rewriting",
        describe=describe,
    )
    return sorted(rewritten)
