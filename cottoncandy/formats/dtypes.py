"""Data types as text: ``dtype.str``, and an additional key for what that loses.

``dtype.str`` is all that readers of version 0.4.0 understand. It forgets the fields of a
structured dtype (``|V16``) and the name of an extension dtype (``<V2`` for bfloat16). Those are
written next to it as ``cc-dtype``: ASCII JSON of what ``np.dtype`` takes, or the dotted name of the
extension type.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from itertools import accumulate
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from cottoncandy.exceptions import MetadataError, MissingDependencyError, UnsupportedDtypeError

#: Of an array of NumPy 2.
MAX_DIMENSIONS = 64

_PLAIN = re.compile(
    r"[<>|=]?(?:[?biufcmMSUV]\d{0,18})(?:\[\d{0,18}[A-Za-z\u03bc]{1,2}\])?"
    r"|bool|(?:u?int|float|complex)\d{1,3}"
)
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)

# Extension types are imported by name. A name in metadata must not be able to run any module on
# the computer, so only these are imported; others count if the program has imported them itself.
_EXTENSION_MODULES = frozenset({"ml_dtypes"})
_MAX_LITERAL = 64 * 1024  # characters; far above what a store takes as metadata


def check(dtype: np.dtype[Any]) -> None:
    """Reject a dtype whose elements are not bytes.

    Raises
    ------
    UnsupportedDtypeError
    """
    if dtype.hasobject:
        kind = "Python objects" if dtype.kind == "O" or dtype.names else "strings of any length"
        raise UnsupportedDtypeError(
            f"an array of dtype {dtype} holds pointers to {kind}, not bytes: convert it "
            f"(array.astype(float), array.astype('U') or 'S'), or use upload_pickle"
        )
    if dtype.isbuiltin != 1:  # plain types lose nothing
        to_metadata(dtype)


def padding(dtype: np.dtype[Any]) -> npt.NDArray[np.bool_] | None:
    """Return which bytes of an element belong to none of its fields; None if all of them do.

    NumPy does not copy such bytes, so that they differ from one copy of an array to the next.
    """
    if dtype.subdtype is None and dtype.fields is None:
        return None
    unused = np.ones(dtype.itemsize, np.bool_)
    _mark_fields(dtype, unused)
    return unused if unused.any() else None


def _mark_fields(dtype: np.dtype[Any], unused: npt.NDArray[np.bool_]) -> None:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        item = np.ones(base.itemsize, np.bool_)
        _mark_fields(base, item)
        unused &= np.tile(item, math.prod(shape))
    elif dtype.fields is not None:
        for field, offset, *_ in dtype.fields.values():
            _mark_fields(field, unused[offset : offset + field.itemsize])
    else:
        unused[:] = False


def to_metadata(dtype: np.dtype[Any]) -> dict[str, str]:
    """Return ``dtype``, and ``cc-dtype`` where that loses something."""
    metadata = {"dtype": stored_str(dtype)}
    if _loses(dtype):
        metadata["cc-dtype"] = dumps(dtype)
    return metadata


def stored_str(dtype: np.dtype[Any]) -> str:
    """Return ``dtype.str``, or the void type of that size where numpy does not understand it."""
    try:
        understood = np.dtype(dtype.str).itemsize == dtype.itemsize
    except (TypeError, ValueError):
        understood = False
    return dtype.str if understood else f"|V{dtype.itemsize}"


def _loses(dtype: np.dtype[Any]) -> bool:
    try:
        return bool(np.dtype(dtype.str) != dtype) or dtype.names is not None
    except (TypeError, ValueError):
        return True


def dumps(dtype: np.dtype[Any]) -> str:
    """Return an ASCII text from which :func:`loads` makes an equal dtype.

    Raises
    ------
    UnsupportedDtypeError
        If there is none.
    """
    described = _describe(dtype)
    if isinstance(described, str):
        return described
    # Spaces are escaped: what carries metadata may join several of them, or strip the last.
    return json.dumps(described, separators=(",", ":")).replace(" ", r"\u0020")


def _describe(dtype: np.dtype[Any]) -> Any:
    """Return a dtype as str, dict (structured) or list (subarray)."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_describe(base), list(shape)]
    if dtype.names is not None and dtype.fields is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        described: dict[str, Any] = {
            "names": list(dtype.names),
            "formats": [_describe(field[0]) for field in fields],
        }
        offsets = [int(field[1]) for field in fields]
        ends = list(accumulate(field[0].itemsize for field in fields))
        if offsets != [0, *ends][: len(fields)] or dtype.itemsize != (ends[-1] if ends else 0):
            described["offsets"] = offsets
            described["itemsize"] = dtype.itemsize
        titles = [field[2] if len(field) > 2 else None for field in fields]
        if not all(title is None or isinstance(title, str) for title in titles):
            raise UnsupportedDtypeError(f"dtype {dtype} has titles that are not text; rename them")
        if any(title is not None for title in titles):
            described["titles"] = titles
        if dtype.isalignedstruct:
            described["aligned"] = True
        if dtype.type is np.record:
            described["record"] = True
        return described
    if not _loses(dtype):
        return dtype.str
    name = f"{dtype.type.__module__}.{dtype.type.__qualname__}"
    try:
        same = _extension(name) == dtype
    except (MetadataError, MissingDependencyError):
        same = False
    if not same:
        raise UnsupportedDtypeError(
            f"dtype {dtype} ({name}) cannot be found again by its name: store array.view('V"
            f"{dtype.itemsize}') or convert it"
        )
    return name


def from_metadata(metadata: Mapping[str, str], *, object_name: str) -> np.dtype[Any]:
    """Return the dtype that metadata describes.

    Raises
    ------
    MetadataError
        If it is missing or invalid.
    MissingDependencyError
        If it is that of a library which is not installed.
    """
    value = metadata.get("dtype")
    if value is None:
        raise MetadataError(
            f"object '{object_name}' is not a raw array: its metadata has no 'dtype'; read it with "
            f"download_object"
        )
    plain = _plain(value.strip())
    if plain is None:
        raise metadata_error(object_name, "dtype", value, "a numpy dtype such as '<f8'")
    literal = metadata.get("cc-dtype")
    if literal is None:
        return plain
    try:
        dtype = loads(literal)
    except MetadataError as exc:
        raise MetadataError(f"object '{object_name}': {exc}") from exc
    if dtype.itemsize != plain.itemsize or dtype.subdtype is not None:
        raise metadata_error(
            object_name,
            "cc-dtype",
            literal,
            f"elements of {plain.itemsize} bytes as '{value}' says",
        )
    return dtype


def loads(text: str) -> np.dtype[Any]:
    """Return the dtype that :func:`dumps` described.

    Raises
    ------
    MetadataError
        If the text describes none.
    MissingDependencyError
        If it names the type of a library which is not installed.
    """
    if len(text) > _MAX_LITERAL:
        raise MetadataError(f"a dtype is described by {len(text)} characters: too many")
    try:
        described = json.loads(text) if text.startswith(("{", "[")) else text
        dtype = _restore(described)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as exc:
        if isinstance(exc, MetadataError):
            raise
        raise MetadataError(f"cannot create a dtype from {text!r:.80}: {exc}") from exc
    if dtype.hasobject:
        raise MetadataError(f"the dtype {text!r:.80} holds Python objects, which are never read")
    return dtype


def _restore(described: Any) -> np.dtype[Any]:
    if isinstance(described, str):
        dtype = _plain(described)
        return _extension(described) if dtype is None else dtype
    if isinstance(described, list):
        base, shape = described
        return np.dtype((_restore(base), tuple(shape)))
    fields = dict(described)
    if fields.pop("record", False):
        return np.dtype((np.record, _restore(fields)))
    aligned = bool(fields.pop("aligned", False))
    fields["formats"] = [_restore(entry) for entry in fields["formats"]]
    if "titles" not in fields and "offsets" not in fields and not aligned:
        # Dictionaries without offsets align nothing either; lists also take no fields at all.
        return np.dtype(list(zip(fields["names"], fields["formats"], strict=True)))
    structured: np.dtype[Any] = np.dtype(cast("Any", fields), align=aligned)
    return structured


def _plain(text: str) -> np.dtype[Any] | None:
    """Return the dtype of a plain type string; None for anything else that numpy understands."""
    if not _PLAIN.fullmatch(text):
        return None
    try:
        return np.dtype(text)
    except (TypeError, ValueError, OverflowError):
        return None


def _extension(name: str) -> np.dtype[Any]:
    """Return the dtype of an extension type from its dotted name."""
    if not _DOTTED.fullmatch(name):
        raise MetadataError(f"{name!r:.80} is not a dtype")
    module_name, _, attribute = name.rpartition(".")
    module = sys.modules.get(module_name)
    if module is None:
        if module_name not in _EXTENSION_MODULES:
            raise MetadataError(
                f"the dtype {name} belongs to a module that the program has not imported: "
                f"import {module_name} first, if you trust it"
            )
        try:
            module = import_module(module_name)
        except ImportError as exc:
            raise MissingDependencyError(
                f'the dtype {name} needs {module_name}: pip install "{module_name}"'
            ) from exc
    found = getattr(module, attribute, None)
    if not (isinstance(found, type) and issubclass(found, np.generic)):
        raise MetadataError(f"the module {module_name} has no dtype {attribute}")
    return np.dtype(found)


def metadata_error(object_name: str, key: str, value: str, expected: str) -> MetadataError:
    """Return the error for an invalid metadata value."""
    return MetadataError(
        f"object '{object_name}': metadata '{key}' must be {expected}, got {value!r:.80}"
    )
