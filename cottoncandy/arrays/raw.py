"""Raw arrays in a store: one object each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from cottoncandy.backends.base import IfAbsent, IfMatch, ObjectReader
from cottoncandy.config.options import Settings
from cottoncandy.core.threads import map_threads
from cottoncandy.exceptions import MetadataError
from cottoncandy.formats import selection as selections
from cottoncandy.formats.raw import RawArrayHeader, encode_array
from cottoncandy.stores.store import Store

__all__ = ["Array", "array_header", "codec_name", "put_array", "read_array", "read_selection"]

Array = npt.NDArray[Any]

_LARGE_ARRAY_BYTES = 2 * 2**30


def array_header(reader: ObjectReader) -> RawArrayHeader:
    """Return the description of the array in an opened object.

    Raises
    ------
    MetadataError
        If the object is not a raw array.
    """
    return RawArrayHeader.from_metadata(reader.metadata, reader.size, object_name=reader.info.key)


def put_array(
    store: Store,
    name: str,
    array: Array,
    compression: str | bool | None,
    *,
    metadata: Mapping[str, Any],
    acl: str | None,
    threads: int,
    condition: IfAbsent | IfMatch | None = None,
) -> dict[str, Any]:
    """Upload an array; return what the documents call the response.

    Raises
    ------
    MetadataError
        If ``metadata`` has a name that describes the array.
    """
    codec = codec_name(store.settings, compression, array.nbytes)
    cores = os.cpu_count() or 1
    described, body = encode_array(array, codec, threads=min(threads, cores))
    owned = {*described, "gzip"}  # the old name of compression
    if clash := sorted(each for each in metadata if each.lower() in owned):
        raise MetadataError(
            f"metadata {', '.join(map(repr, clash))} of object '{name}' is what describes the "
            f"array; choose another name"
        )
    return store.put(
        name,
        body,
        metadata={**metadata, **described},
        acl=acl,
        threads=threads,
        condition=condition,
    )


def codec_name(settings: Settings, compression: str | bool | None, nbytes: int) -> str | None:
    """Return the name of the codec for an array of that size; None if it is not compressed."""
    if compression is True:
        if not settings.do_compression:
            return None
        return settings.large_array if nbytes >= _LARGE_ARRAY_BYTES else settings.small_array
    if compression is None or compression is False or compression in ("False", "None"):
        return None
    return compression


def read_array(store: Store, reader: ObjectReader, header: RawArrayHeader) -> Array:
    """Download the array of an opened object, and verify its checksum."""
    array = header.new_array()
    name = reader.info.key
    if header.compression is not None:
        header.decode(store.chunks(reader), array, name)
    elif header.checksum is None:
        store.fill(reader, header.bytes_of(array))
    else:
        checksum = store.fill(reader, header.bytes_of(array), checksum=True)
        header.verify(checksum, name)
    return array


def read_selection(
    store: Store, reader: ObjectReader, header: RawArrayHeader, selection: Any, threads: int
) -> Array:
    """Download a part of an uncompressed array: the byte ranges that contain it."""
    plan = selections.plan(header, selection)
    result = plan.new_array()
    if plan.contiguous is not None:
        store.fill(reader, plan.bytes_of(result), plan.contiguous[0])
        return result

    def fetch(number: int) -> None:
        plan.place(number, reader.read(*plan.reads[number]), result)

    for _ in map_threads(fetch, range(len(plan.reads)), threads):
        pass
    return result
