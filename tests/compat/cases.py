"""What both cottoncandies store and read: values that both interpreters can build.

Imported by the tests and, as a plain module, by the driver that cottoncandy 0.4.0's interpreter
runs. So it needs numpy (and scipy, dask where a case asks) and nothing of this repository.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["CASES", "Case", "download", "same", "upload"]

# Codec names as a user of either version passes them, and None and the booleans.
CODECS = ("False", "None", "True", "gzip", "LZ4", "Zlib", "BZ2", "Zstd", "Blosc", "LZMA")

# Crossed with every dtype and layout; the others with every dtype, and with every layout of some.
_MAIN_CODECS = ("False", "True", "LZ4", "Zstd")
_S3_DTYPES = ("bool", "i8", "c16", "datetime-ns", "str", "void", "struct", "struct-nested")
_THOROUGH_DTYPES = ("bool", "big-f8", "struct", "datetime-ns")

_CODEC_ARGUMENTS: dict[str, Any] = {"False": False, "None": None, "True": True}

DTYPES: dict[str, Any] = {
    "bool": "?",
    "i1": "i1",
    "i2": "<i2",
    "i4": "<i4",
    "i8": "<i8",
    "u1": "u1",
    "u2": "<u2",
    "u4": "<u4",
    "u8": "<u8",
    "f2": "<f2",
    "f4": "<f4",
    "f8": "<f8",
    "longdouble": np.longdouble,
    "c8": "<c8",
    "c16": "<c16",
    "clongdouble": np.clongdouble,
    "big-i2": ">i2",
    "big-i4": ">i4",
    "big-u8": ">u8",
    "big-f4": ">f4",
    "big-f8": ">f8",
    "big-c16": ">c16",
    "datetime-ns": "<M8[ns]",
    "datetime-D": "<M8[D]",
    "datetime-25s": "<M8[25s]",
    "big-datetime": ">M8[s]",
    "timedelta-s": "<m8[s]",
    "timedelta-ns": "<m8[ns]",
    "big-timedelta": ">m8[ms]",
    "bytes": "S5",
    "str": "<U3",
    "big-str": ">U3",
    "void": "V7",
    "struct": [("a", "<i4"), ("b", ">f8"), ("c", "S3")],
    "struct-nested": [("p", [("x", "<f4"), ("y", "<f4")]), ("v", "<i2", (2, 2))],
    "struct-aligned": np.dtype([("a", "i1"), ("b", "<f8")], align=True),
}

LAYOUTS = (
    *("C", "F", "strided", "reversed", "transposed-3d"),
    *("0-d", "1-d", "empty", "empty-2d", "read-only"),
)


@dataclass(frozen=True)
class Case:
    """One value and how it is stored.

    Parameters
    ----------
    name : str
        Name of the object (or branch), unique.
    kind : str
        Which pair of methods: ``upload_<kind>`` and its counterpart; see the driver.
    build : callable
        Makes the value.
    options : dict
        Arguments of the upload.
    quick : bool
        Also tried in the default test run.
    small : bool
        Also tried on the slow stores, where a request takes its time.
    expect : callable, optional
        Makes what reading gives, where that is something else than what was stored.
    by_040 : bool
        Whether 0.4.0 was made for such values.
    """

    name: str
    kind: str
    build: Callable[[], Any]
    options: dict[str, Any] = field(default_factory=dict)
    quick: bool = True
    small: bool = True
    expect: Callable[[], Any] | None = None
    by_040: bool = True

    def expected(self) -> Any:
        """Return what reading it must give."""
        return (self.expect or self.build)()


def array_of(dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of distinct, predictable values."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    if dtype.names is not None:
        values = np.zeros(count, dtype)
        for number, name in enumerate(dtype.names):
            one = values[name]
            one[...] = array_of(one.dtype, one.shape) if one.dtype.names else _plain(one, number)
        return values.reshape(shape)
    return _plain(np.zeros(count, dtype), 0).reshape(shape)


def _plain(values: np.ndarray, start: int) -> np.ndarray:
    numbers = np.arange(start, start + values.size).reshape(values.shape)
    if values.dtype.kind == "V":
        width = values.dtype.itemsize
        body = (np.arange(values.size * width) * 7 % 251).astype("u1").tobytes()
        return np.frombuffer(body, values.dtype).reshape(values.shape).copy()
    if values.dtype.kind == "b":
        return numbers % 3 == 0
    if values.dtype.kind == "S":
        return np.array([b"%d" % n for n in numbers.flat], values.dtype).reshape(values.shape)
    if values.dtype.kind == "U":
        texts = [f"é{n}" for n in numbers.flat]
        return np.array(texts, values.dtype).reshape(values.shape)
    if values.dtype.kind in "mM":
        made = (
            (numbers * 86399).astype("<i8").astype(values.dtype.str.replace("M8", "m8")[0] + "i8")
        )
        made = made.view(values.dtype)
        if made.size > 2:
            made.flat[2] = np.array("NaT", values.dtype)
        return made
    if values.dtype.kind == "f":
        made = (numbers * 0.37 - 1).astype(values.dtype)
        if made.size > 2:
            made.flat[2] = np.nan
        return made
    if values.dtype.kind == "c":
        return (numbers * 0.37 - 1j * numbers).astype(values.dtype)
    return (numbers * 5 + (-3 if values.dtype.kind == "i" else 0)).astype(values.dtype)


def lay_out(dtype: Any, layout: str) -> np.ndarray:
    """Return an array of some dtype in some memory layout."""
    if layout == "C":
        return array_of(dtype, (5, 7))
    if layout == "F":
        return np.asfortranarray(array_of(dtype, (5, 7)))
    if layout == "strided":
        return array_of(dtype, (9, 11))[::2, 1::3]
    if layout == "reversed":
        return array_of(dtype, (12,))[::-1]
    if layout == "transposed-3d":
        return array_of(dtype, (2, 3, 4)).transpose(1, 2, 0)
    if layout == "read-only":
        array = array_of(dtype, (5, 7))
        array.flags.writeable = False
        return array
    shapes = {"0-d": (), "1-d": (13,), "empty": (0,), "empty-2d": (0, 3)}
    return array_of(dtype, shapes[layout])


def _raw() -> Iterator[Case]:
    for number, (dtype_name, dtype) in enumerate(DTYPES.items()):
        for place, layout in enumerate(LAYOUTS):
            # By default: every dtype with every layout, and with a third of the codecs.
            chosen = _MAIN_CODECS[(number + place) % len(_MAIN_CODECS)]
            for turn, codec in enumerate(CODECS):
                if not (layout == "C" or codec in _MAIN_CODECS or dtype_name in _THOROUGH_DTYPES):
                    continue
                # Elsewhere: some dtypes by default, and every codec with one of them.
                small = (codec == "True" and layout == "C" and dtype_name in _S3_DTYPES) or (
                    dtype_name == "big-f8" and layout in ("F", "0-d")
                )
                yield Case(
                    f"raw/{dtype_name}/{layout}/{codec}",
                    "raw_array",
                    lambda dtype=dtype, layout=layout: lay_out(dtype, layout),
                    {"compression": _CODEC_ARGUMENTS.get(codec, codec)},
                    quick=small or codec == chosen or (layout == "C" and (number + turn) % 3 == 0),
                    small=small,
                )
    # All defaults, and large enough for several blocks of any codec.
    yield Case("raw/default", "raw_array", lambda: lay_out("<f8", "C"))
    for codec in CODECS:
        yield Case(
            f"raw/large/{codec}",
            "raw_array",
            lambda: array_of("<i4", (500, 700)),
            {"compression": _CODEC_ARGUMENTS.get(codec, codec)},
            small=codec in _MAIN_CODECS,
        )
    # gzip bodies with a block index, from version 0.5 on.
    blocks: dict[str, Callable[[], Any]] = {
        "counts": lambda: array_of("<i4", (1000, 700)) % 97,
        "big-fortran": lambda: np.asfortranarray(array_of(">f8", (400, 700)) // 1000),
        "struct": lambda: np.tile(array_of(DTYPES["struct"], (100,)), 1000),
        "bool": lambda: array_of("?", (3, 1000, 1000)),
        "exact": lambda: array_of("u1", (2**21,)),
        "noise": lambda: np.random.default_rng(0).standard_normal(300_000),
    }
    for name, build in blocks.items():
        yield Case(f"raw/blocks/{name}", "raw_array", build, small=False)
    yield Case("raw/metadata", "raw_array", lambda: lay_out("<f8", "C"), {"subject": "S1"})


def _npy() -> Iterator[Case]:
    for dtype_name in ("f8", "big-i4", "struct", "datetime-ns", "str"):
        for layout in ("C", "F", "strided", "0-d", "empty"):
            yield Case(
                f"npy/{dtype_name}/{layout}",
                "npy_array",
                lambda dtype_name=dtype_name, layout=layout: lay_out(DTYPES[dtype_name], layout),
                small=layout == "F",
            )


def _chunked() -> Iterator[Case]:
    # Shapes that the chunks divide evenly are those where 0.4.0 adds chunks of length 0.
    for shape in ((12,), (4, 6), (5, 7, 3), (4, 4, 4)):
        text = "x".join(map(str, shape))
        for axis in (-1, 0, None):
            for buffersize in (64, 10**6):
                yield Case(
                    f"dask/{text}/{axis}/{buffersize}",
                    "dask_array",
                    lambda shape=shape: array_of("<f8", shape),
                    {"axis": axis, "buffersize": buffersize},
                    small=text == "4x6",
                )
    yield Case(
        "dask/fortran",
        "dask_array",
        lambda: np.asfortranarray(array_of(">i4", (6, 8))),
        {"buffersize": 64},
    )

    def dask_array(shape: tuple[int, ...], chunks: Any) -> Any:
        from dask import array as da

        return da.from_array(array_of("<f8", shape), chunks=chunks)

    for number, chunks in enumerate([((3, 1, 2), (5, 3)), ((6,), (2, 2, 2, 2)), ((2, 4), (8,))]):
        yield Case(
            f"dask/uneven-{number}",
            "dask_array",
            lambda chunks=chunks: dask_array((6, 8), chunks),
            expect=lambda: array_of("<f8", (6, 8)),
            by_040=False,
            small=number == 0,
        )


def _sparse_base() -> Any:
    import scipy.sparse

    dense = np.zeros((6, 9))
    dense[0, 1], dense[2, 8], dense[4, 4], dense[5, 0] = 1.5, -2, 3, 4
    return scipy.sparse.csr_matrix(dense)


def _sparse() -> Iterator[Case]:
    def converted(kind: str) -> Any:
        return _sparse_base().asformat(kind)

    def unsorted() -> Any:
        import scipy.sparse

        parts = np.array([3.0, 0.0, 1.0]), np.array([2, 0, 1]), np.array([0, 2, 3])
        return scipy.sparse.csr_matrix(parts, shape=(2, 4))

    def empty() -> Any:
        import scipy.sparse

        return scipy.sparse.coo_matrix((3, 5), dtype="<f4")

    def array(kind: str) -> Any:
        import scipy.sparse

        return getattr(scipy.sparse, f"{kind}_array")(_sparse_base())

    for kind in ("csr", "csc", "bsr", "coo", "dia", "lil", "dok"):
        yield Case(f"sparse/{kind}", "sparse_array", lambda kind=kind: converted(kind))
    for kind in ("csr", "csc", "bsr", "coo", "dia"):
        yield Case(
            f"sparse-arrays/{kind}",
            "sparse_array",
            lambda kind=kind: array(kind),
            small=kind == "csc",
        )
    yield Case("sparse/unsorted", "sparse_array", unsorted)
    yield Case("sparse/empty", "sparse_array", empty)


def _dictionary() -> dict[str, Any]:
    return {
        "a": array_of("<f8", (3, 4)),
        "b": {"c": array_of(">i4", (5,)), "d": {"e": np.asfortranarray(array_of("<c8", (2, 3)))}},
        "from-list": np.asarray([1, 2, 3]),
        "from-number": np.asarray(2.5),
    }


def _dictionary_with_plain_leaves() -> dict[str, Any]:
    return {**_dictionary(), "from-list": [1, 2, 3], "from-number": 2.5}


def _others() -> Iterator[Case]:
    yield Case("dict/nested", "dict", _dictionary_with_plain_leaves, expect=_dictionary)
    document = {"text": "ünï", "list": [1, 2.5, None, True], "nested": {"a": {}}}
    yield Case("json/document", "json", lambda: document)
    yield Case("pickle/mixed", "pickle", lambda: {"a": array_of("<f8", (3,)), "b": (1, {2, 3})})
    yield Case("object/bytes", "object", lambda: bytes(range(256)) * 40)
    yield Case("object/empty", "object", lambda: b"")
    yield Case("file/bytes", "file", lambda: bytes(range(255, -1, -1)) * 40)
    yield Case("file/empty", "file", lambda: b"")
    yield Case("to-file/bytes", "to_file", lambda: bytes(range(255, -1, -1)) * 40)


CASES: dict[str, Case] = {
    case.name: case
    for cases in (_raw(), _npy(), _chunked(), _sparse(), _others())
    for case in cases
}


def same(expected: Any, found: Any) -> str:
    """Return "" where two values are the same to the bit, else what differs."""
    if hasattr(expected, "tocoo"):  # first, because some sparse matrices are dicts
        return _same_sparse(expected, found)
    if isinstance(expected, dict):
        if not isinstance(found, dict) or sorted(expected) != sorted(found):
            return f"keys {sorted(expected)} became {found if found is None else sorted(found)}"
        wrong = {key: same(expected[key], found[key]) for key in expected}
        return "; ".join(f"{key}: {text}" for key, text in wrong.items() if text)
    if isinstance(expected, np.ndarray):
        if not isinstance(found, np.ndarray):
            return f"an array became {type(found).__name__}"
        if expected.dtype.str != found.dtype.str:
            return f"dtype {expected.dtype.str} became {found.dtype.str}"
        if expected.shape != found.shape:
            return f"shape {expected.shape} became {found.shape}"
        if meaningful_bytes(expected) != meaningful_bytes(found, expected.dtype):
            return f"values {expected.tolist()!r:.300} became {found.tolist()!r:.300}"
        return ""
    if isinstance(expected, list | tuple):
        if type(expected) is not type(found) or len(expected) != len(found):
            return f"{expected!r:.300} became {found!r:.300}"
        return "; ".join(filter(None, map(same, expected, found)))
    equal = type(expected) is type(found) and expected == found
    return "" if equal else f"{expected!r:.300} became {found!r:.300}"


def meaningful_bytes(array: np.ndarray, dtype: np.dtype | None = None) -> bytes:
    """Return the bytes of an array in C order, with padding inside of its items blanked.

    Numpy does not copy the padding of structures, nor of the 10-byte floats of x86.
    """
    mask = _padding_mask(array.dtype if dtype is None else dtype)
    body = np.frombuffer(array.tobytes(), "u1").reshape(-1, max(len(mask), 1))
    return (body[:, : len(mask)] * mask).tobytes()


def _padding_mask(dtype: np.dtype) -> np.ndarray:
    """Return one number per byte of an item: 1 where it means something, else 0."""
    mask = np.zeros(dtype.itemsize, "u1")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        mask[:] = np.tile(_padding_mask(base), int(np.prod(shape)))
    elif dtype.fields is not None:
        for field_dtype, offset in (entry[:2] for entry in dtype.fields.values()):
            mask[offset : offset + field_dtype.itemsize] |= _padding_mask(field_dtype)
    elif dtype.kind in "fc" and np.finfo(dtype).nmant == 63:
        mask.reshape(-1, np.dtype(np.longdouble).itemsize)[:, :10] = 1
    else:
        mask[:] = 1
    return mask


def _same_sparse(expected: Any, found: Any) -> str:
    if expected.format in ("lil", "dok"):
        expected = expected.tocsr()
    if getattr(found, "format", None) != expected.format:
        return f"format {expected.format} became {getattr(found, 'format', type(found).__name__)}"
    if tuple(expected.shape) != tuple(found.shape):
        return f"shape {expected.shape} became {found.shape}"
    parts = {"coo": ("row", "col", "data"), "dia": ("data", "offsets")}
    names = parts.get(expected.format, ("data", "indices", "indptr"))
    wrong = [same(getattr(expected, name), getattr(found, name)) for name in names]
    return "; ".join(f"{name}: {text}" for name, text in zip(names, wrong) if text)  # noqa: B905


def upload(cci: Any, name: str, case: Case) -> None:
    """Store a case, with an interface of either version."""
    value = case.build()
    if case.kind == "dict":
        cci.dict2cloud(name, value, verbose=False)
    elif case.kind in ("object", "to_file"):
        cci.upload_object(name, io.BytesIO(value))
    elif case.kind == "file":
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "file")
            with open(path, "wb") as file:
                file.write(value)
            cci.upload_from_file(path, name)
    else:
        getattr(cci, "upload_" + case.kind)(name, value, **case.options)


def download(cci: Any, name: str, kind: str) -> Any:
    """Read what is under a name, with an interface of either version."""
    if kind == "dict":
        return cci.cloud2dict(name, verbose=False)
    if kind == "dask_array":
        return cci.download_dask_array(name).compute(scheduler="synchronous")
    if kind == "file":
        return cci.download_object(name)
    if kind == "to_file":
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "file")
            cci.download_to_file(name, path)
            with open(path, "rb") as file:
                return file.read()
    return getattr(cci, "download_" + kind)(name)
