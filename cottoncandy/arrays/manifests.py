"""Manifests: the JSON objects that name the parts of chunked and sparse arrays."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from cottoncandy.backends.base import ObjectReader
from cottoncandy.core.names import Key, pathjoin
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    MetadataError,
    ObjectExistsError,
    ObjectNotFoundError,
)
from cottoncandy.formats import chunked, sparse
from cottoncandy.stores.store import Store

__all__ = ["MANIFEST", "download_method", "own_parts", "read_json", "remove_array", "replacing"]

#: Name of the manifest, relative to the value.
MANIFEST = "metadata.json"


def read_json(reader: ObjectReader) -> Any:
    """Return the value of an opened JSON object.

    Raises
    ------
    IntegrityError
        If the body is not JSON in UTF-8.
    """
    body = reader.read()  # a wrong key is a ValueError, too
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError) as exc:
        raise IntegrityError(f"object '{reader.info.key}' is not JSON in UTF-8: {exc}") from exc


@contextlib.contextmanager
def replacing(store: Store, root: Key, parts: set[str]) -> Iterator[None]:
    """Replace the value at ``root``: the block uploads the parts, then the manifest.

    The manifest of an existing value is deleted first, so a failed upload leaves no value
    instead of old and new parts under one manifest. Parts that are not replaced are deleted
    last, and those that a failed upload added are deleted again.

    Raises
    ------
    ObjectExistsError
        If an object has the name of the manifest and is not one; nothing is changed.
    """
    old = _existing_parts(store, root)
    if old is not None:
        _delete(store, [pathjoin(root, MANIFEST)])
    try:
        yield
    except BaseException:
        with contextlib.suppress(CottonCandyError):  # the first error is the one to raise
            _delete(store, sorted(parts - (old or set())))
        raise
    _delete(store, sorted((old or set()) - parts))


def download_method(store: Store, root: Key) -> str | None:
    """Return the method that downloads the array of that name, None if there is none."""
    with contextlib.suppress(ObjectNotFoundError, IntegrityError, MetadataError):
        return own_parts(_download(store, root), root)[0]
    return None


def remove_array(store: Store, root: Key) -> bool:
    """Remove the manifest of an array, then its parts; return whether there was an array."""
    try:
        parts = own_parts(_download(store, root), root)[1]
    except (ObjectNotFoundError, IntegrityError, MetadataError):
        return False
    _delete(store, [pathjoin(root, MANIFEST)])
    _delete(store, [pathjoin(root, name) for name in sorted(parts)])
    return True


def own_parts(manifest: Any, root: str) -> tuple[str, set[str]]:
    """Return the download method for a manifest, and the names of its parts below ``root``.

    Raises
    ------
    MetadataError
        If it is not a manifest of this format.
    """
    if isinstance(manifest, dict) and "dask" in manifest:
        return "download_dask_array", chunked.own_parts(manifest, object_name=root)
    return "download_sparse_array", set(sparse.parts_of(manifest, object_name=root))


def _download(store: Store, root: Key) -> Any:
    with store.open(pathjoin(root, MANIFEST)) as reader:
        return read_json(reader)


def _existing_parts(store: Store, root: Key) -> set[str] | None:
    """Return the parts of the existing value, None if there is none."""
    try:
        names = own_parts(_download(store, root), root)[1]
    except ObjectNotFoundError:
        return None
    except (IntegrityError, MetadataError) as exc:
        raise ObjectExistsError(
            f"object '{pathjoin(root, MANIFEST)}' was not stored by cottoncandy, and an array "
            f"named '{root}' would replace it: choose another name, or move the object; "
            f"nothing was uploaded"
        ) from exc
    return {pathjoin(root, name) for name in names}


def _delete(store: Store, keys: list[str]) -> None:
    for deletion in store.backend.delete(keys):
        if deletion.error is not None:
            raise deletion.error
