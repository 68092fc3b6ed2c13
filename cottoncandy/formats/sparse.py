"""Sparse matrices and arrays of scipy as a manifest and named dense parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from cottoncandy.core.names import SEPARATOR
from cottoncandy.exceptions import (
    IntegrityError,
    InvalidArgumentError,
    MetadataError,
    UnsupportedDtypeError,
)
from cottoncandy.formats import dtypes
from cottoncandy.formats.generations import is_upload_id, place_of, upload_ids

Parts = dict[str, npt.NDArray[Any]]

#: The parts of each format, by the name of scipy's attribute.
_PARTS = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "coo": ("row", "col", "data"),
    "dia": ("data", "offsets"),
}
_CONVERTED = frozenset({"lil", "dok"})


def to_parts(matrix: Any) -> tuple[dict[str, Any], Parts]:
    """Return the manifest and the parts of a sparse matrix.

    Parameters
    ----------
    matrix : scipy sparse matrix or array
        csr, csc, bsr, coo or dia; lil and dok are converted to csr. A ``coo_array`` may have any
        number of dimensions.

    Returns
    -------
    manifest : dict
        What to write as JSON. Its ``attrs`` are the names of the parts.
    parts : dict of str to ndarray
        The arrays of the matrix itself; only unsigned indices are copied.

    Raises
    ------
    UnsupportedDtypeError
        If it is not a sparse matrix, or its elements are Python objects.
    InvalidArgumentError
        If its indices do not fit its shape.

    Notes
    -----
    Duplicates, explicit zeros and the order of the indices are preserved; unsigned indices become
    signed. In addition to the keys of version 0.4.0, ``cc-container`` says that it is a
    sparse *array*. A ``coo_array`` that does not have two dimensions has parts ``coord0``,
    ``coord1``, ..., which version 0.4.0 cannot read.
    """
    from scipy import sparse

    is_sparse: bool = sparse.issparse(matrix)  # a plain bool; the stubs would narrow the type
    if not is_sparse:
        raise UnsupportedDtypeError(
            f"expected a sparse matrix of SciPy, got a {type(matrix).__name__}: "
            f"use upload_raw_array for dense arrays"
        )
    if matrix.dtype.hasobject:
        raise UnsupportedDtypeError("a sparse matrix of Python objects has no bytes: convert it")
    is_array = isinstance(matrix, sparse.sparray)
    if matrix.format in _CONVERTED:
        matrix = matrix.tocsr()
    shape = [int(length) for length in matrix.shape]
    manifest: dict[str, Any] = {
        "type": matrix.format,
        "attrs": [],
        "shape": shape,
        **dtypes.to_metadata(matrix.dtype),
    }
    if is_array:
        manifest["cc-container"] = "array"
    if matrix.format == "coo" and len(shape) != 2:
        parts: Parts = {f"coord{i}": np.asarray(axis) for i, axis in enumerate(matrix.coords)}
        parts["data"] = matrix.data
    elif matrix.format in _PARTS:
        parts = {name: np.asarray(getattr(matrix, name)) for name in _PARTS[matrix.format]}
    else:
        raise UnsupportedDtypeError(
            f"sparse matrices of format {matrix.format} cannot be stored: use matrix.tocsr()"
        )
    manifest["attrs"] = list(parts)
    for part in parts.values():
        dtypes.check(part.dtype)
    index_names = [name for name in parts if name != "data"]
    try:
        if any(parts[name].dtype.kind != "i" for name in index_names):
            # Only signed indices can be read back; SciPy chooses between its two types likewise.
            indices: Any = tuple(parts[name] for name in index_names)
            signed = cast("Any", sparse).get_index_dtype(indices, check_contents=True)
            for name in index_names:
                parts[name] = parts[name].astype(signed, casting="same_kind", copy=False)
        _assemble(matrix.format, tuple(shape), is_array, parts)
    except (TypeError, ValueError) as exc:
        raise InvalidArgumentError(
            f"the {matrix.format} matrix of shape {tuple(shape)} is not valid: {exc}; "
            f"nothing was uploaded"
        ) from exc
    return manifest, parts


def from_parts(
    manifest: Any, parts: Mapping[str, npt.NDArray[Any]], *, object_name: str = ""
) -> Any:
    """Put a sparse matrix together again.

    Parameters
    ----------
    manifest : dict
        As :func:`to_parts` made it, or version 0.4.0.
    parts : mapping of str to ndarray
        The arrays that ``manifest["attrs"]`` names. They become the matrix's own.
    object_name : str
        Name of the matrix, for messages.

    Returns
    -------
    matrix : scipy sparse matrix or array

    Raises
    ------
    MetadataError
        If the manifest is invalid, or a part is missing.
    IntegrityError
        If the parts do not fit each other or the shape.
    """
    kind, shape, is_array, _ = _check_manifest(manifest, object_name)
    names = _part_names(kind, shape)
    missing = [name for name in names if name not in parts]
    if missing:
        raise MetadataError(f"sparse matrix '{object_name}': the part '{missing[0]}' is missing")
    try:
        return _assemble(kind, shape, is_array, {name: parts[name] for name in names})
    except (ValueError, TypeError, IndexError, OverflowError) as exc:
        raise IntegrityError(
            f"sparse matrix '{object_name}': its parts do not make a {kind} matrix of shape "
            f"{shape}: {exc}"
        ) from exc


def parts_of(manifest: Any, *, object_name: str = "") -> dict[str, tuple[str, str | None]]:
    """Return the parts that a manifest names.

    Returns
    -------
    parts : dict of str to tuple
        By name, the place relative to the manifest, and the upload that wrote the part; None if it
        is not known.

    Raises
    ------
    MetadataError
        If the manifest is invalid.
    """
    return _check_manifest(manifest, object_name)[3]


def _part_names(kind: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    if kind == "coo" and len(shape) != 2:
        return (*(f"coord{i}" for i in range(len(shape))), "data")
    return _PARTS[kind]


def _check_manifest(
    manifest: Any, object_name: str
) -> tuple[str, tuple[int, ...], bool, dict[str, tuple[str, str | None]]]:
    """Return the format, the shape, whether it is a sparse array, and the parts."""

    def error(what: str) -> MetadataError:
        return MetadataError(f"'{object_name}' is not the manifest of a sparse matrix: {what}")

    if isinstance(manifest, Mapping) and "dask" in manifest:
        raise MetadataError(f"'{object_name}' is a chunked array: use download_dask_array")
    if not isinstance(manifest, Mapping):
        raise error(f"expected a JSON object, got a {type(manifest).__name__}")
    kind = manifest.get("type")
    if not isinstance(kind, str) or kind not in _PARTS:
        raise error(f"'type' is {kind!r}, expected one of {', '.join(_PARTS)}")
    shape = manifest.get("shape")
    if not isinstance(shape, (list, tuple)) or not all(
        type(length) is int and 0 <= length < 2**63 for length in shape
    ):
        raise error(f"'shape' is {shape!r}, expected a list of lengths")
    is_array = manifest.get("cc-container") == "array"
    if len(shape) != 2 and not (
        is_array and shape and (kind == "coo" or (kind == "csr" and len(shape) == 1))
    ):
        raise error(f"'shape' is {shape!r}, and a {kind} matrix has two dimensions")
    attrs = manifest.get("attrs")
    listed = attrs if isinstance(attrs, (list, tuple)) else ()
    names = _part_names(kind, tuple(shape))
    places = {str(name).rpartition(SEPARATOR)[2]: name for name in listed}
    if set(places) != set(names) or len(listed) != len(names):
        raise error(f"'attrs' is {attrs!r:.200}, expected {list(names)}")
    for place in places.values():
        if not isinstance(place, str) or place_of(place) != place:
            raise error(f"'attrs' has {place!r:.200}, which is not the place of a part")
    try:
        upload_id, _ = upload_ids(manifest)
    except ValueError as exc:
        raise error(str(exc)) from None
    origins: dict[str, str | None] = dict.fromkeys(names)
    if upload_id is not None:
        parts = manifest.get("parts")
        if not isinstance(parts, list) or not all(map(_is_origin, parts)):
            raise error(f"'parts' is {parts!r:.200}, expected pairs of upload id and name")
        origins = {name: origin for origin, name in parts}
        if set(origins) != set(names) or len(parts) != len(names):
            raise error(f"'parts' is {parts!r:.200}, expected {list(names)}")
    return kind, tuple(shape), is_array, {name: (places[name], origins[name]) for name in names}


def _is_origin(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and (entry[0] is None or is_upload_id(entry[0]))
        and isinstance(entry[1], str)
    )


def _check_parts(kind: str, shape: tuple[int, ...], parts: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse what SciPy would convert, or does not notice.

    Raises
    ------
    ValueError
    """
    for name, part in parts.items():
        expected = {"bsr": 3, "dia": 2}.get(kind, 1) if name == "data" else 1
        if part.ndim != expected:
            raise ValueError(f"'{name}' has {part.ndim} dimensions instead of {expected}")
        if name != "data" and part.dtype.kind != "i":
            raise ValueError(f"'{name}' is of dtype {part.dtype}, which is not a signed integer")
    if kind == "bsr":
        height, width = parts["data"].shape[1:]
        if not height or not width or shape[0] % height or shape[1] % width:
            raise ValueError(f"blocks of {height} x {width} do not tile it")
    indptr = parts.get("indptr")
    if indptr is not None and np.any(indptr[1:] < indptr[:-1]):
        raise ValueError("'indptr' falls")


def _assemble(
    kind: str, shape: tuple[int, ...], is_array: bool, parts: Mapping[str, npt.NDArray[Any]]
) -> Any:
    """Make the matrix, check it, then give it the very arrays.

    The constructors of matrices turn 64-bit indices into 32-bit ones and cut spare room off.

    Raises
    ------
    ValueError
        If SciPy would read beyond the end of one of the arrays.
    """
    from scipy import sparse

    _check_parts(kind, shape, parts)
    maker = getattr(sparse, f"{kind}_{'array' if is_array else 'matrix'}")
    # The constructors refuse foreign byte orders, which csr and csc matrices of SciPy may have.
    dtype = parts["data"].dtype
    data = parts["data"].view(dtype.newbyteorder("="))
    names = [name for name in parts if name != "data"]
    index_dtypes = {parts[name].dtype for name in names}
    # The compiled routines take indices of one type, and only these two.
    keep = len(index_dtypes) == 1 and index_dtypes <= {np.dtype("i4"), np.dtype("i8")}
    if kind == "coo":
        coords = tuple(parts[name] for name in names)
        matrix = maker((data, coords), shape=shape)
        if keep:
            matrix.coords = coords
        names = []
    else:
        matrix = maker((data, *(parts[name] for name in names)), shape=shape)
        if kind != "dia":
            matrix.check_format()
    if keep:
        for name in names:
            setattr(matrix, name, parts[name])
        matrix.data = data
    if not dtype.isnative:
        matrix.data = matrix.data.view(dtype)
    return matrix
