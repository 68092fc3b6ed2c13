"""Raw arrays in a store: one object each."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from cottoncandy.backends.base import ObjectReader
from cottoncandy.core.threads import map_threads
from cottoncandy.formats import selection as selections
from cottoncandy.formats.raw import RawArrayHeader
from cottoncandy.stores.store import Store

__all__ = ["Array", "array_header", "read_array", "read_selection"]

Array = npt.NDArray[Any]


def array_header(reader: ObjectReader) -> RawArrayHeader:
    """Return the description of the array in an opened object.

    Raises
    ------
    MetadataError
        If the object is not a raw array.
    """
    return RawArrayHeader.from_metadata(reader.metadata, reader.size, object_name=reader.info.key)


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
