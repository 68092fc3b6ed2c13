"""Raw arrays: the bytes of an array as the body, what they mean as metadata."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from cottoncandy.core.buffers import Body, Buffer, MiB, crc32
from cottoncandy.exceptions import (
    InsufficientMemoryError,
    IntegrityError,
    InvalidArgumentError,
    MetadataError,
    SelectionError,
    UnsupportedDtypeError,
)
from cottoncandy.formats import dtypes
from cottoncandy.formats.codecs import get_codec
from cottoncandy.formats.codecs.base import BUILT_IN
from cottoncandy.formats.codecs.blocks import BlockLayout

Array = npt.NDArray[Any]
T = TypeVar("T")

#: Metadata that describe the array. ``gzip`` is the old name of ``compression``.
FORMAT_METADATA = frozenset({"dtype", "shape", "compression", "order", "gzip"})

_BLOCK_BYTES = 8 * MiB  # as large as the parts of an upload
_CACHED_BYTES = MiB  # of what a codec takes; stays in the processor's cache
_COPIED_BYTES = 32 * MiB  # what one request uploads is copied anyway


def as_array(value: object) -> Array:
    """Return the array that a user's value stands for; refuse what has no bytes.

    Parameters
    ----------
    value : array_like
        Anything that ``np.asarray`` accepts. Subclasses such as ``np.memmap`` and ``np.matrix`` are
        treated as the array they hold.

    Returns
    -------
    array : ndarray
        Of an array, the same memory.

    Raises
    ------
    UnsupportedDtypeError
        If the elements are Python objects or pointers, the rows are of different lengths, or the
        array is masked or sparse.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise UnsupportedDtypeError(
            "a masked array is two arrays: store array.filled(value), or array.data and "
            "np.ma.getmaskarray(array) side by side with dict2cloud"
        )
    if not isinstance(value, (np.ndarray, np.generic)):
        advice = _other_type(value)
        if advice is not None:
            given = "None" if value is None else f"a value of type {type(value).__name__}"
            raise UnsupportedDtypeError(f"{given} is not an array: {advice}")
    try:
        array = np.asarray(value)
    except ValueError as exc:
        raise UnsupportedDtypeError(
            f"this {type(value).__name__} is not an array: {exc}; use dict2cloud for several "
            f"arrays, or upload_pickle for Python objects"
        ) from exc
    dtypes.check(array.dtype)
    return array


def _other_type(value: object) -> str | None:
    """Return what to do with a value that NumPy would convert to something else."""
    if hasattr(value, "__dask_graph__") and (callable(value) or not hasattr(value, "chunks")):
        return "pass value.compute()"  # a delayed value, which has any attribute, or a table
    if hasattr(value, "tocsr"):
        return "use upload_sparse_array"
    if hasattr(value, "coords") and hasattr(value, "dims"):
        return "use upload_xarray, or pass value.to_numpy()"
    if hasattr(value, "__dask_graph__"):
        return "use upload_dask_array, or value.compute()"
    if isinstance(value, Mapping):
        return "use dict2cloud for a dictionary of arrays, upload_json or upload_pickle for others"
    if value is None:
        return "pass the array"
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return "it has more than 64 bits; use upload_json"
    if isinstance(value, Iterator):
        return "use np.fromiter(value, dtype) or np.array(list(value))"
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        return "pass value.to_numpy(), or its columns to dict2cloud"
    return None


def encode_array(
    array: Array, compression: str | None, *, threads: int = 1
) -> tuple[dict[str, str], Body]:
    """Return the metadata and the body of an array.

    Parameters
    ----------
    array : ndarray
        Of any dtype that has bytes, any shape, any strides.
    compression : str or None
        Name of a codec; None stores the bytes uncompressed.
    threads : int, default 1
        How many threads may compress, or compute the checksum of a large array.

    Returns
    -------
    metadata : dict of str to str
    body : Body
        Replayable. Its size is known unless it is compressed.

    Raises
    ------
    UnsupportedDtypeError, InvalidArgumentError, MissingDependencyError
        Before a byte is encoded.

    Notes
    -----
    Fortran order is kept if all readers honor it (uncompressed, gzip). Padding between the fields
    of a structured dtype is sent as zeros. The metadata precede the body, so an array that another
    thread or process changes in between would be stored with the checksum of other bytes. Arrays
    of up to 32 MiB are therefore copied now. Larger ones are copied piece by piece as they are
    sent, and their checksum is computed again: the body raises IntegrityError before its last block
    if it differs.

    Examples
    --------
    >>> metadata, body = encode_array(np.arange(3, dtype="<i2"), None)
    >>> metadata["dtype"], metadata["shape"], metadata["order"], body.size
    ('<i2', '3', 'C', 6)
    """
    array = as_array(array)
    codec = None if compression is None else get_codec(compression)
    if array.nbytes == 0:
        codec = None  # readers of version 0.4.0 fail on an empty Zstd or LZ4 body
    if codec is not None:
        codec.check_input(array.nbytes)
    order: Literal["C", "F"] = "C"
    if (
        not array.flags.c_contiguous
        and array.flags.f_contiguous
        and (codec is None or codec.keeps_order)
    ):
        order = "F"
    source = array.T if order == "F" else array
    padding = dtypes.padding(array.dtype)
    size = array.nbytes
    if size <= _COPIED_BYTES:
        # An array: its memory comes in larger pages than that of bytes, in a quarter of the time.
        copied = next(_copies(source, padding, _COPIED_BYTES), memoryview(b""))
        checksum = crc32([copied], threads)
        plain = Body(lambda: iter((copied,)), size=size, buffer=copied, owned=True)
    else:
        flat = _flat_view(source) if source.flags.c_contiguous and padding is None else None
        checksum = crc32([flat] if flat is not None else _copies(source, padding), threads)
        block_bytes = _BLOCK_BYTES if codec is None else _CACHED_BYTES
        plain = Body(
            lambda: _copies(source, padding, block_bytes),
            size=size,
            buffer=flat,
            checksum=checksum,
        )
    metadata = {
        **dtypes.to_metadata(array.dtype),
        "shape": ",".join(map(str, array.shape)),
        "compression": "False" if codec is None else codec.name,
        "order": order,
        "cc-checksum": f"crc32:{checksum:08x}",
    }

    blocks = None if codec is None else codec.blocks(size)
    if blocks is not None:
        metadata["cc-index"] = str(blocks)

    if codec is None:
        return metadata, plain

    def encoded_blocks() -> Iterator[Buffer]:
        flat = plain.buffer
        if flat is None or plain.owned or not codec.needs_whole:
            yield from codec.encode(plain, size, threads=threads)
            return
        # A copy would take the memory of a second array, so check afterwards what was encoded.
        yield from codec.encode((flat,), size)
        plain.verify(crc32([flat]))

    return metadata, Body(encoded_blocks, max_size=codec.max_encoded_bytes(size))


@dataclass(frozen=True, slots=True)
class Layout:
    """How the bytes of an array lie.

    Parameters
    ----------
    dtype : dtype
    shape : tuple of int
    order : {'C', 'F'}
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"] = "C"

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def new_array(self) -> Array:
        """Return an array of this layout, not yet filled.

        Raises
        ------
        InsufficientMemoryError
            If there is not enough memory.
        """
        try:
            if self.dtype.itemsize == 0:
                # np.empty makes |S1 of |S0; nothing is shared here, because there is nothing.
                return np.ndarray(self.shape, self.dtype, bytearray(1), order=self.order)
            return np.empty(self.shape, self.dtype, self.order)
        except MemoryError as exc:
            raise InsufficientMemoryError(
                f"an array of shape {self.shape} and dtype {self.dtype} takes {self.nbytes} bytes, "
                f"and there is not enough memory: read a part of it with selection="
            ) from exc
        except ValueError as exc:
            raise MetadataError(
                f"numpy cannot create an array of shape {self.shape} and dtype {self.dtype}: {exc}"
            ) from exc

    def bytes_of(self, array: Array) -> memoryview:
        """Return the bytes of an array of this layout, as one flat view."""
        return _flat_view(array.T if self.order == "F" else array)


@dataclass(frozen=True, slots=True)
class RawArrayHeader(Layout):
    """The description of a raw array in its metadata, checked: the layout of the decoded body.

    Parameters
    ----------
    compression : str or None
        Name of the codec.
    checksum : int or None
        CRC-32 of the uncompressed bytes, if the object has one.
    body_size : int
        Size of the stored body, in bytes.
    blocks : BlockLayout, optional
        Layout of a body that ends with an index of its blocks.
    """

    compression: str | None = None
    checksum: int | None = None
    body_size: int = 0
    blocks: BlockLayout | None = None

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...] | None:
        """Lengths of the largest parts within a block, along each axis; None without blocks."""
        if self.blocks is None:
            return None
        chunks: list[tuple[int, ...]] = []
        row_bytes = self.nbytes
        for length in self.shape if self.order == "C" else self.shape[::-1]:
            row_bytes //= length
            step = min(max(self.blocks.block_bytes // row_bytes, 1), length)
            rest = (length % step,) if length % step else ()
            chunks.append((step,) * (length // step) + rest)
        return tuple(chunks if self.order == "C" else chunks[::-1])

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, str], body_size: int | None, *, object_name: str
    ) -> RawArrayHeader:
        """Parse the metadata of an object.

        Parameters
        ----------
        metadata : mapping of str to str
            Keys in lower case.
        body_size : int or None
            Size of the stored body, in bytes; None if it is not known.
        object_name : str
            For messages.

        Raises
        ------
        MetadataError
            If a key is missing or invalid; the object may not be a raw array.
        IntegrityError
            If the body cannot hold that array, or its block index is of another array or version.
        MissingDependencyError
            If the codec or the dtype is that of a library which is not installed.
        """

        def parsed(key: str, parse: Callable[[str], T], default: str | None = None) -> T:
            value = metadata.get(key, default)
            if value is None:
                raise MetadataError(
                    f"object '{object_name}' is not a raw array: its metadata has no '{key}'; read "
                    f"it with download_object"
                )
            try:
                return parse(value.strip())
            except ValueError as exc:
                raise dtypes.metadata_error(object_name, key, value, str(exc)) from exc

        dtype = dtypes.from_metadata(metadata, object_name=object_name)
        shape = parsed("shape", partial(_shape, dtype.itemsize))
        legacy = "gzip" in metadata
        compression = parsed("gzip", _legacy_codec) if legacy else parsed("compression", _codec)
        order = parsed("order", _order, "C")
        checksum = parsed("cc-checksum", _checksum, "")
        if compression is not None and not get_codec(compression).keeps_order:
            # Version 0.4.0 reads these as C whatever they say; it labels read-only C arrays 'F'.
            order = "C"
        header = cls(dtype, shape, order, compression, checksum, body_size or 0)
        if body_size is not None:
            header._check_body(object_name)
        announced = metadata.get("cc-index")
        if announced is None:
            return header
        size = sys.maxsize if body_size is None else body_size
        with naming(object_name):
            if compression != "gzip":
                raise IntegrityError(f"the codec {compression} has no block index")
            return replace(header, blocks=BlockLayout.parse(announced, header.nbytes, size))

    def _check_body(self, object_name: str) -> None:
        """Reject a body that cannot hold the array, before memory is allocated."""
        if self.compression is None:
            if self.body_size != self.nbytes:
                raise IntegrityError(
                    f"object '{object_name}': shape {self.shape} of {self.dtype} takes "
                    f"{self.nbytes} bytes, and the body has {self.body_size}: it was cut, or is "
                    f"not what its metadata says"
                )
            return
        with naming(object_name):
            get_codec(self.compression).check_sizes(self.body_size, self.nbytes)

    def verify(self, checksum: int, object_name: str) -> None:
        """Compare the CRC-32 of the uncompressed bytes with the stored one, if there is one.

        Raises
        ------
        IntegrityError
            If they differ.
        """
        if self.checksum is not None and checksum != self.checksum:
            raise IntegrityError(
                f"object '{object_name}': the checksum of the bytes is crc32:{checksum:08x}, and "
                f"crc32:{self.checksum:08x} was stored with them: the body was altered"
            )

    def decode(self, chunks: Iterable[Buffer], out: Array, object_name: str) -> None:
        """Fill an array that :meth:`new_array` made from the chunks of a body without an index.

        The checksum is compared too: :meth:`verify` is for those who fill an array otherwise.

        Raises
        ------
        IntegrityError
            If the body is not exactly this array.
        """
        view = self.bytes_of(out)
        with naming(object_name):
            get_codec(self.compression or "").decode_into(chunks, view)
        if self.checksum is not None:
            self.verify(crc32([view]), object_name)


@contextmanager
def naming(object_name: str) -> Iterator[None]:
    """Add the name of the object to the errors of codecs and selections."""
    try:
        yield
    except (IntegrityError, SelectionError) as exc:
        if type(exc) not in (IntegrityError, SelectionError) or str(exc).startswith("object "):
            raise  # a decryption, a changed object: from below, where the name is known
        raise type(exc)(f"object '{object_name}': {exc}") from exc


# These parse one entry of the metadata, and raise ValueError with what is expected.


def _shape(itemsize: int, value: str) -> tuple[int, ...]:
    fields = [field.strip() for field in value.split(",")] if value else []
    if len(fields) > dtypes.MAX_DIMENSIONS:
        raise ValueError(f"at most {dtypes.MAX_DIMENSIONS} dimensions")
    # isdigit() takes digits that int() does not, such as superscripts.
    if not all(field.isascii() and field.isdigit() and len(field) < 20 for field in fields):
        raise ValueError("dimensions joined by commas, such as '100,600'")
    shape = tuple(map(int, fields))
    # As numpy does, dimensions of 0 do not excuse the others.
    if math.prod(filter(None, shape)) * max(itemsize, 1) > sys.maxsize:
        raise ValueError("an array that fits into an address space")
    return shape


def _codec(value: str) -> str | None:
    if value.lower() in {"false", "none"}:
        return None
    try:
        return get_codec(value).name
    except InvalidArgumentError as exc:
        raise ValueError(f"'False' or a codec ({', '.join(BUILT_IN)})") from exc


def _legacy_codec(value: str) -> str | None:
    if value.lower() not in {"true", "false"}:
        raise ValueError("'True' or 'False'")
    return "gzip" if value.lower() == "true" else None


def _order(value: str) -> Literal["C", "F"]:
    if value.upper() not in {"C", "F"}:
        raise ValueError("'C' or 'F'")
    return "C" if value.upper() == "C" else "F"


def _checksum(value: str) -> int | None:
    algorithm, _, digits = value.lower().partition(":")
    if algorithm != "crc32":
        return None  # none, or an unknown algorithm of a newer version
    if not re.fullmatch("[0-9a-f]{8}", digits):
        raise ValueError("'crc32:' and eight hexadecimal digits")
    return int(digits, 16)


def _flat_view(array: Array) -> memoryview:
    """Return the bytes of a C-contiguous array as one flat view; read-only where the array is."""
    if array.nbytes == 0:
        return memoryview(bytearray())
    return array.reshape(-1).view(np.uint8).data


def without_padding(array: Array) -> Array:
    """Return the array, or a copy in which padding between fields is zero."""
    padding = dtypes.padding(array.dtype)
    if padding is None or not array.nbytes:
        return array
    copied = np.array(array, order="C")
    _clear(copied, padding)
    return copied


def _clear(array: Array, padding: npt.NDArray[np.bool_]) -> None:
    array.reshape(-1).view(np.uint8).reshape(-1, len(padding))[:, padding] = 0


def _copies(
    array: Array, padding: npt.NDArray[np.bool_] | None, block_bytes: int = _BLOCK_BYTES
) -> Iterator[memoryview]:
    """Yield copies of an array's bytes in C order, a few MiB at a time, with zeros as padding."""
    if array.flags.c_contiguous:
        array = array.reshape(-1)
        if padding is None and array.nbytes:
            array = array.view(np.uint8)  # blocks of equal sizes, whatever the itemsize
    if array.nbytes == 0:
        return
    row_bytes = array.nbytes // array.shape[0]
    if row_bytes > block_bytes and array.ndim > 1:
        for row in array:
            yield from _copies(row, padding, block_bytes)
        return
    rows = max(block_bytes // row_bytes, 1)
    for start in range(0, array.shape[0], rows):
        copied = np.array(array[start : start + rows], order="C")
        if padding is not None:
            _clear(copied, padding)
        yield _flat_view(copied)
