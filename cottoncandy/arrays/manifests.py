"""Manifests: the JSON objects that name the parts of chunked and sparse arrays."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from cottoncandy.backends.base import ObjectReader
from cottoncandy.core.names import Key, clean_object_name, pathjoin
from cottoncandy.exceptions import (
    IntegrityError,
    MetadataError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from cottoncandy.formats import chunked, sparse
from cottoncandy.formats.generations import MANIFEST, PREVIOUS, place_of, upload_ids
from cottoncandy.stores.store import Store

T = TypeVar("T")

# One of ten million chunks takes about 1.5 GB; more does not fit into memory several times.
_MAX_BYTES = 4 * 2**30

#: How often a read begins again because the array was replaced twice since.
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Version:
    """A manifest that was read: one version of an array.

    Parameters
    ----------
    root : Key
        Name of the array.
    etag : str
    body : bytes
    metadata : mapping of str to str
    content : dict
        The JSON object.
    places : frozenset of str
        Where its own parts are, relative to the root.
    upload_id, previous : str or None
        The upload that stored the manifest, and the one that it replaced, if they are known.
    """

    root: Key
    etag: str
    body: bytes
    metadata: Mapping[str, str]
    content: dict[str, Any]
    places: frozenset[str]
    upload_id: str | None
    previous: str | None

    @classmethod
    def of(cls, root: Key, etag: str, body: bytes, metadata: Mapping[str, str]) -> Version:
        """Check and convert a manifest.

        Raises
        ------
        IntegrityError, MetadataError
            If it is not a manifest of this format.
        """
        content = parse_json(body, pathjoin(root, MANIFEST))
        places = own_parts(content, root)
        return cls(root, etag, body, dict(metadata), content, places, *upload_ids(content))

    @property
    def kind(self) -> str:
        """``'chunked'`` or ``'sparse'``."""
        return "chunked" if "dask" in self.content else "sparse"

    @property
    def origins(self) -> set[str | None]:
        """The uploads that stored the parts, if the manifest names them."""
        return {upload_id for upload_id, _ in self.content.get("parts") or ()}

    @property
    def keys(self) -> Iterator[Key]:
        """Where its own parts are."""
        return (Key(pathjoin(self.root, place)) for place in self.places)


def read_manifest(reader: ObjectReader) -> bytes:
    """Return the body of an opened manifest.

    Raises
    ------
    IntegrityError
        If it is larger than any manifest.
    """
    if reader.size > _MAX_BYTES:
        raise IntegrityError(
            f"object '{reader.info.key}' has {reader.size} bytes, which is more than a manifest has"
        )
    return bytes(reader.read())


def read_version(store: Store, root: Key) -> Version | None:
    """Return the current version of an array; None if there is none.

    Raises
    ------
    IntegrityError, MetadataError
        If an object has the name of the manifest and is not one.
    """
    found = _read(store, pathjoin(root, MANIFEST))
    return None if found is None else Version.of(root, *found)


def predecessor(store: Store, root: Key, upload_id: str | None) -> Version | None:
    """Return the version that an upload replaced; None if it is not kept.

    Raises
    ------
    IntegrityError
        If an object has its name and cannot be read.
    """
    found = None if upload_id is None else _read(store, pathjoin(root, upload_id, PREVIOUS))
    with contextlib.suppress(IntegrityError, MetadataError):
        return None if found is None else Version.of(root, *found)
    return None


def _read(store: Store, key: str) -> tuple[str, bytes, Mapping[str, str]] | None:
    try:
        with store.open(Key(key), 1) as reader:
            return reader.info.etag or "", read_manifest(reader), reader.metadata
    except ObjectNotFoundError:
        return None


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Stop the garbage collector, which goes through the lists of a manifest again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@uncollected()
def parse_json(body: bytes, name: str) -> Any:
    """Return the value of a JSON object.

    Raises
    ------
    IntegrityError
        If it is not JSON in UTF-8.
    """
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError) as exc:
        raise IntegrityError(f"object '{name}' is not JSON in UTF-8: {exc}") from exc


def part_names(content: Mapping[str, Any]) -> list[str]:
    """Return the names that a manifest gives its parts, in order."""
    if "dask" in content:
        return [name for _, name in content["dask"]]
    return list(content["attrs"])


def own_parts(manifest: Any, root: str) -> frozenset[str]:
    """Return the places of the parts that a manifest names, relative to ``root``.

    Raises
    ------
    MetadataError
        If it is not a manifest of this format.
    """
    if isinstance(manifest, dict) and "dask" in manifest:
        return frozenset(chunked.own_parts(manifest, object_name=root))
    parts = sparse.parts_of(manifest, object_name=root)
    return frozenset(place for place, _ in parts.values())


def find_part(root: Key, name: str, call: Callable[[Key], T]) -> T:
    """Call a function with the keys where a part may be, until one is found.

    They are below the manifest's directory, then where the manifest says.
    """
    here = pathjoin(root, place_of(name))
    # Version 0.4.0 stored the name as the user wrote it, and cleaned only the key.
    *others, last = dict.fromkeys((here, name, clean_object_name(name)))
    for key in others:
        with contextlib.suppress(ObjectNotFoundError):
            return call(Key(key))
    return call(Key(last))


def latest(read: Callable[[], T]) -> T:
    """Open and read an array, again if the version that was opened has been removed."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(ObjectChangedError):
            return read()
    return read()


@contextlib.contextmanager
def reading_parts(store: Store, root: Key, etag: str | None) -> Iterator[None]:
    """Raise ObjectChangedError if a part is missing because the array was replaced or deleted."""
    try:
        yield
    except (ObjectNotFoundError, IntegrityError) as exc:
        try:
            found = store.backend.head(pathjoin(root, MANIFEST)).etag
        except ObjectNotFoundError:
            raise changed(store, root, "was deleted since it was opened") from exc
        if found == etag:
            raise
        how = "was replaced since it was opened, and that version was removed; open it again"
        raise changed(store, root, how) from exc


def changed(store: Store, root: Key, how: str) -> ObjectChangedError:
    """Return the error for an array that is not the opened version any more."""
    return ObjectChangedError(f"the array '{root}' in bucket '{store.bucket}' {how}")
