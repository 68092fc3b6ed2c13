"""Values that the machine stores: each made from a kind and a number, and compared to the bit."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np

from tests.compat.cases import array_of, download, same

__all__ = ["COMPOSITES", "SINGLES", "TREE", "Value", "files", "upload"]

#: Kinds of one object, and of several objects with a manifest.
SINGLES = ("raw_array", "npy_array", "json", "pickle", "object", "pieces")
COMPOSITES = ("dask_array", "numpy_chunks", "sparse_array")
TREE = "dict"

_DTYPES = ("<f8", ">i2", "?", "<M8[s]", "S3", [("a", "<i4"), ("b", ">f8", (2,))])
_CODECS = (False, "gzip", "LZ4", "Zlib", "BZ2", "Zstd")


class Value(NamedTuple):
    """A value, and the pair of methods that stores and returns it."""

    kind: str
    number: int

    def build(self) -> Any:
        """Make the value: the same each time."""
        chance = random.Random(f"{self.kind}{self.number}")
        if self.kind in ("raw_array", "npy_array"):
            shape = chance.choice([(), (0, 3), (5,), (3, 4)])
            array = array_of(chance.choice(_DTYPES), (*shape, 12))[..., self.number]
            return np.asfortranarray(array) if self.number % 3 else array
        if self.kind in ("dask_array", "numpy_chunks"):
            # Most differ in their numbers only, so that old and new chunks would fit together.
            odd = self.number > 8
            shape = (chance.randint(1, 5), 3) if odd else (4, 3)
            array = array_of(chance.choice(_DTYPES[:2]) if odd else "<f8", shape)
            array += array.dtype.type(self.number)
            if self.kind == "numpy_chunks":
                return array
            import dask.array as da

            return da.from_array(array, chunks=(2, 2))
        if self.kind == "sparse_array":
            import scipy.sparse

            dense = np.zeros((4, 5))
            dense[self.number % 4, self.number % 3] = self.number + 1
            formats = ("csr", "csr", "csr", "coo", "dia")
            return scipy.sparse.csr_matrix(dense).asformat(chance.choice(formats))
        if self.kind == TREE:
            tree = {"x": array_of("<i4", (self.number + 1,)), "e": {"z": array_of("<f4", (2, 2))}}
            if self.number % 2:
                tree["y"] = array_of("<f8", (self.number,))
            return tree
        if self.kind == "json":
            return {"number": self.number, "text": "ünï" * self.number}
        if self.kind == "pickle":
            return self.number, {"array": array_of("<i8", (self.number,))}
        return chance.randbytes(chance.choice([0, 1, 100, 5000]))

    def differs(self, cci: Any, name: str) -> str:
        """Return "" if the object of that name is this value, else what is wrong."""
        kind = {"pieces": "object", "numpy_chunks": "dask_array"}.get(self.kind, self.kind)
        found, expected = download(cci, name, kind), self.build()
        if self.kind == "dask_array":
            expected = expected.compute(scheduler="synchronous")
        if self.kind in ("raw_array", "npy_array") and found.dtype != expected.dtype:
            return f"dtype {expected.dtype} became {found.dtype}"
        return same(expected, found)


def upload(cci: Any, name: str, value: Value) -> None:
    """Store a value, one request at a time, so that the n-th is the same each time."""
    built, number = value.build(), value.number
    if value.kind == "raw_array":
        codec = _CODECS[number % len(_CODECS)]
        cci.upload_raw_array(name, built, compression=codec, threads=1, number=str(number))
    elif value.kind == "pieces":
        pieces = [built[start : start + 1000] for start in range(0, len(built), 1000)]
        cci.upload_object(name, iter(pieces), threads=1)
    elif value.kind == "numpy_chunks":
        axis = (None, 0, -1)[number % 3]
        cci.upload_dask_array(name, built, axis=axis, buffersize=30, threads=1)
    elif value.kind == TREE:
        cci.dict2cloud(name, built, verbose=False, threads=1)
    else:
        getattr(cci, f"upload_{value.kind}")(name, built, threads=1)


def files(number: int) -> dict[str, bytes]:
    """Return the files of a directory, by their paths."""
    chance = random.Random(number)
    found = {"x": chance.randbytes(number), "e/z": b"in a directory", ".hidden": b""}
    if number % 2:
        found["y"] = b"y"
    return found
