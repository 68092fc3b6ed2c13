"""What is below a name: the only place that knows which keys a directory consists of."""

from __future__ import annotations

from collections.abc import Iterator

from cottoncandy.backends.base import Backend, CommonPrefix, ObjectInfo
from cottoncandy.core.names import SEPARATOR, prefix_of
from cottoncandy.stores.store import Store

__all__ = ["objects_below", "scan_objects", "tree"]


def scan_objects(
    backend: Backend, prefix: str = "", *, bucket: str | None = None, page_size: int | None = None
) -> Iterator[ObjectInfo]:
    """Yield every object whose key starts with a prefix, lazily."""
    for entry in backend.scan(prefix, bucket=bucket, page_size=page_size):
        if not isinstance(entry, CommonPrefix):
            yield entry


def objects_below(backend: Backend, key: str, *, bucket: str | None = None) -> Iterator[ObjectInfo]:
    """Yield every object below a name, but not the object of that name.

    ``data/exp2`` is not below ``data/exp``; everything is below ``''``. A marker that consoles
    make for a directory (``data/exp/``) is below it.
    """
    return scan_objects(backend, prefix_of(key), bucket=bucket)


def tree(store: Store, key: str, *, bucket: str | None = None) -> list[str]:
    """Return the keys of the object of a name, if there is one, and of all objects below it.

    A name that ends in ``/`` means only what is below it.
    """
    own = [key] if not key.endswith(SEPARATOR) and store.has_object(key, bucket) else []
    return own + [info.key for info in objects_below(store.backend, key, bucket=bucket)]
