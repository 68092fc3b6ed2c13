"""Objects in the browser: arrays that are read in part, and other files."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cottoncandy.backends.base import ObjectInfo
from cottoncandy.browser.base import S3FSLike
from cottoncandy.browser.html import Row, object_html
from cottoncandy.core.names import Key
from cottoncandy.core.output import bytes2human
from cottoncandy.exceptions import CottonCandyError, EncryptionError, MetadataError
from cottoncandy.formats.raw import RawArrayHeader

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cottoncandy.browser.preview import Preview
    from cottoncandy.interfaces import DefaultInterface

__all__ = ["S3Dataset", "array_repr"]

_PACKAGE = "cottoncandy"


class S3Dataset(S3FSLike):
    """One object: an array, which can be sliced without downloading all of it, or a file.

    Parameters
    ----------
    path : str
        Name of the object.
    interface : cottoncandy.interfaces.DefaultInterface

    Notes
    -----
    No request is sent until a property or data is accessed. ``shape``, ``dtype`` and the like cost
    one small request, the first time.

    Examples
    --------
    >>> import cottoncandy as cc
    >>> import numpy as np
    >>> cci = cc.get_interface('my_datasets', backend='memory', verbose=False)
    >>> response = cci.upload_raw_array('run1', np.arange(12).reshape(3, 4), compression=False)
    >>> dataset = cci.get_browser().run1
    >>> dataset.shape, dataset.dtype
    ((3, 4), dtype('int64'))
    >>> dataset[1:, :2]
    array([[4, 5],
           [8, 9]])
    """

    def _place(self, key: str, interface: DefaultInterface, info: ObjectInfo | None) -> None:
        super()._place(key, interface, info)
        self._head: _Head | None = None

    # -- properties ------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._array_header().shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the array."""
        return self._array_header().dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions of the array."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements of the array."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the array in memory, in bytes."""
        return self.size * self.dtype.itemsize

    @property
    def compression(self) -> str | None:
        """Name of the codec that the array is compressed with; None if it is not."""
        return self._array_header().compression

    @property
    def attrs(self) -> Mapping[str, str]:
        """The object's metadata, names in lower case."""
        return MappingProxyType(dict(self._get_header().metadata))

    @property
    def info(self) -> ObjectInfo:
        """Properties of the object: ``key``, ``size`` (bytes), ``last_modified``."""
        return self._get_header().info

    def __repr__(self) -> str:
        bucket = self.interface.bucket_name
        known = self._get_header()
        shape = known.metadata.get("shape")
        if shape is None:
            size = bytes2human(known.info.size)
            return f"{_PACKAGE}-file <bucket:{bucket} [{size}]>"
        return array_repr(bucket, known.info.size, shape)

    # -- the data --------------------------------------------------------------------------------

    def load(self) -> Any:
        """Download the object.

        Returns
        -------
        data : numpy.ndarray, JSON value or bytes
            An array, for arrays and ``.npy`` files; the value of a ``.json`` file; the bytes of
            anything else.

        Raises
        ------
        ObjectNotFoundError
            If the object no longer exists.
        """
        key = self._key
        if "dtype" in self._get_header().metadata:
            return self.interface.download_raw_array(key)
        extension = key.rpartition(".")[2].lower()
        if extension == "npy":
            return self.interface.download_npy_array(key)
        if extension == "json":
            return self.interface.download_json(key)
        return self.interface.download_object(key)

    def __getitem__(self, selection: Any) -> Any:
        """Download a part of the array; if it is uncompressed, little more than that."""
        if isinstance(selection, str):
            return self.load()[selection]
        if selection is Ellipsis or (isinstance(selection, tuple) and not selection):
            return self.interface.download_raw_array(self._key)
        if selection is None:  # a new axis, and not "everything"
            selection = (None,)
        return self.interface.download_raw_array(self._key, selection=selection)

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("an array cannot be downloaded without making a copy of it")
        array: npt.NDArray[Any] = self[...]
        return array if dtype is None else array.astype(dtype, copy=False)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"'{self._key}' is a 0-d array: it has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__array__())

    def preview(self, max_bytes: int = 64 * 2**20) -> Preview:
        """Return a small picture of the array: the middle slice, or a curve if it is 1-d.

        Parameters
        ----------
        max_bytes : int, default 64 MiB
            Nothing larger is downloaded. An uncompressed array is downloaded only in part.

        Returns
        -------
        preview : Preview
            Shows itself in notebooks; ``save()`` writes it to a file.

        Raises
        ------
        InvalidArgumentError
            If more would have to be downloaded.
        MetadataError
            If the object is not an array.
        """
        from cottoncandy.browser.preview import make_preview

        return make_preview(self, max_bytes)

    def refresh(self) -> None:
        """Discard cached data; it is fetched again when needed."""
        self._head = None
        self._info = None

    def _repr_html_(self) -> str:
        return object_html(self)

    # -- inside ----------------------------------------------------------------------------------

    def _get_header(self) -> _Head:
        if self._head is None:
            self._head = _Head(self.interface, self._key)
        return self._head

    def _array_header(self) -> RawArrayHeader:
        return self._get_header().array_header()

    def _row(self) -> Row:
        """Return a row for a table; invalid metadata is shown unchanged."""
        if self._head is None:
            return Row(self._info)
        metadata = self._head.metadata
        shape = metadata.get("shape")
        if shape is None:
            return Row(self._head.info)
        with contextlib.suppress(CottonCandyError):
            return Row(self._head.info, str(self.shape), str(self.dtype), self.compression or "")
        dtype, codec = metadata.get("dtype", ""), metadata.get("compression", "")
        return Row(self._head.info, f"({shape.replace(',', ', ')})", dtype, codec)

    def _transfer_bytes(self, selection: tuple[Any, ...]) -> int:
        """Return how many bytes of the array are downloaded for one entry per axis."""
        needed = self.nbytes
        if self.compression is None:
            for item, length in zip(selection, self.shape, strict=True):
                step = (item.step or 1) if isinstance(item, slice) else length
                needed //= max(step, 1)
        return needed


def array_repr(bucket: str | None, stored_bytes: int, shape: str) -> str:
    """Return the repr of an array; the brackets are as documented for 0.4.0."""
    return f"<{_PACKAGE}-dataset <bucket:{bucket} [{bytes2human(stored_bytes)}:shape=({shape})]>"


class NotAnArrayError(MetadataError, AttributeError):
    """The object is a file: it has no such attributes, so ``hasattr`` must be False."""


class _Head:
    """The header of an object, and the array that it describes."""

    def __init__(self, interface: DefaultInterface, key: Key) -> None:
        self._plain_size: int | None = None
        try:
            with interface._store.open(key, prefetch=False) as reader:
                # Only the reader of an encrypted object has the size of the plaintext.
                self.info, self._plain_size = reader.info, reader.size
                self.metadata: Mapping[str, str] = reader.metadata
                return
        except EncryptionError:
            pass  # without the key, its name, size and shape are still available
        self.info = interface._store.backend.head(key)
        self.metadata = self.info.metadata or {}

    def array_header(self) -> RawArrayHeader:
        if "dtype" not in self.metadata or "shape" not in self.metadata:
            raise NotAnArrayError(
                f"object '{self.info.key}' is not an array: its metadata has no dtype and shape"
            )
        size = self.info.size if self._plain_size is None else self._plain_size
        return RawArrayHeader.from_metadata(self.metadata, size, object_name=self.info.key)
