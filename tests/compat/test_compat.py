"""The storage format, both ways, against the real cottoncandy 0.4.0 in its own environment.

What 0.4.0 can't do even with its own objects is in :data:`QUIRKS`, with the reason, and a test
holds that list to what really happens.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from tests.compat.cases import CASES, DTYPES
from tests.compat.exchange import LEGACY, Exchange
from tests.harness import CephHarness, LocalHarness, MotoHarness, StoreHarness

_UNCOMPRESSED_OR_GZIP = ("False", "None", "True", "gzip")
_NUMCODECS = ("LZ4", "Zlib", "BZ2", "Zstd", "Blosc", "LZMA")
_DATES = [name for name in DTYPES if "time" in name]


@dataclass(frozen=True)
class KnownDifference:
    """A fault of 0.4.0 with its own objects.

    Parameters
    ----------
    reason : str
    names : tuple of str
        Patterns of case names.
    cannot_write : bool
        Whether it raises and leaves no object to read.
    we_read : callable, optional
        From the case's expected value and 0.4.0's own reading to what we must read. By default we
        read what was stored, where 0.4.0 does not.
    """

    reason: str
    names: tuple[str, ...]
    cannot_write: bool = False
    we_read: Callable[[Any, Any], Any] | None = None

    def covers(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.names)


def _patterns(
    dtypes: list[str] | tuple[str, ...], layouts: tuple[str, ...], codecs: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(f"raw/{'/'.join(parts)}" for parts in itertools.product(dtypes, layouts, codecs))


QUIRKS = (
    KnownDifference(
        "it asks for a buffer of the array, which numpy refuses for dates",
        _patterns(_DATES, ("*",), _UNCOMPRESSED_OR_GZIP),
        cannot_write=True,
    ),
    KnownDifference(
        "it divides by the size of the array, to print the ratio of the compression",
        _patterns(("*",), ("empty*",), _NUMCODECS),
        cannot_write=True,
    ),
    KnownDifference(
        "it labels arrays that are read-only as Fortran, but stores their bytes in C order; "
        "the object does not show which, so we read what it reads",
        _patterns(("*",), ("read-only",), _UNCOMPRESSED_OR_GZIP),
        we_read=lambda expected, theirs: theirs,
    ),
    KnownDifference(
        "it does not support scipy's sparse arrays, and stores them as csr matrices",
        tuple(f"sparse-arrays/{kind}" for kind in ("csc", "bsr", "coo", "dia")),
        we_read=lambda expected, theirs: scipy.sparse.csr_matrix(expected),
    ),
)

STORES = ("local", "moto", "ceph")

#: All cases, on the quickest store.
THOROUGH = "thorough"


def _names_for(store: str) -> list[str]:
    """Return the cases that are exchanged on a store."""
    return [
        name
        for name, case in CASES.items()
        if store == THOROUGH or (case.quick if store == "local" else case.small)
    ]


def _over(*stores: str) -> pytest.MarkDecorator:
    """One case for each store, which tells everything that is wrong there."""
    marked = [
        pytest.param(store, marks=[] if store == "local" else [pytest.mark.slow])
        for store in stores
    ]
    return pytest.mark.parametrize("exchange", marked, indirect=True)


def _local(request: pytest.FixtureRequest) -> StoreHarness:
    """Return a directory: in memory if the system has one, since there are thousands of files."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        return LocalHarness(Path(tempfile.mkdtemp(prefix="cottoncandy-compat-", dir=memory)))
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    return LocalHarness(factory.mktemp("compat-store"))


_HARNESSES: dict[str, Callable[[pytest.FixtureRequest], StoreHarness]] = {
    "local": _local,
    THOROUGH: _local,
    "moto": lambda request: MotoHarness(request.getfixturevalue("moto")),
    "ceph": lambda request: CephHarness(request.getfixturevalue("ceph")),
}


@pytest.fixture(scope="module")
def exchanges() -> Iterator[dict[str, Exchange | Exception]]:
    """The exchanges that were made, by store; or why that failed."""
    made: dict[str, Exchange | Exception] = {}
    yield made
    for exchange in made.values():
        if isinstance(exchange, Exchange):
            exchange.harness.close()


@pytest.fixture
def exchange(
    request: pytest.FixtureRequest,
    exchanges: dict[str, Exchange | Exception],
    python_040: Path,
) -> Exchange:
    """Both versions' objects on one store: more cases on the fast store than on the others.

    Made once for each store; pytest would build a parametrised fixture again for every test.
    """
    store: str = request.param
    if store not in exchanges:
        factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        harness = _HARNESSES[store](request)
        try:
            exchanges[store] = Exchange(
                harness,
                python_040,
                factory.mktemp("compat"),
                _names_for(store),
                harness.name == "local",
            )
        except Exception as error:
            harness.close()
            exchanges[store] = error
    found = exchanges[store]
    if isinstance(found, Exception):
        raise found
    return found


def _quirk(name: str) -> KnownDifference | None:
    return next((quirk for quirk in QUIRKS if quirk.covers(name)), None)


def _report(wrong: dict[str, str]) -> None:
    """Fail with everything that is wrong, not only the first."""
    lines = [f"{name}: {text}" for name, text in wrong.items() if text]
    if lines:
        shown = "\n".join(lines[:20])
        pytest.fail(f"{len(lines)} of {len(wrong)} cases:\n{shown}", pytrace=False)


@_over("local", THOROUGH)
def test_040_does_what_is_recorded_of_it(exchange: Exchange) -> None:
    """Its own round trip is right, unless a quirk says why not; a quirk really shows."""
    wrong = {}
    for name in exchange.names:
        if not CASES[name].by_040:
            continue
        quirk, written = _quirk(name), exchange.they_wrote(name)
        if written.status == "error":
            expected = quirk is not None and quirk.cannot_write
            wrong[name] = "" if expected else f"writing it raised {written.value}"
            continue
        differs = exchange.they_read(f"old/{name}").differs_from(CASES[name].expected())
        if quirk is None:
            wrong[name] = differs
        else:
            wrong[name] = "" if differs else f"works, although: {quirk.reason}"
    _report(wrong)


@_over(*STORES, THOROUGH)
def test_we_read_what_040_wrote(exchange: Exchange) -> None:
    wrong = {}
    for name in exchange.names:
        case, quirk = CASES[name], _quirk(name)
        if not case.by_040 or (quirk and quirk.cannot_write):
            continue
        expected = case.expected()
        if quirk is not None and quirk.we_read is not None:
            is_ours = exchange.harness.name != "local"
            theirs = None if is_ours else exchange.they_read(f"old/{name}").value
            expected = quirk.we_read(expected, theirs)
        wrong[name] = exchange.we_read(f"old/{name}", case.kind).differs_from(expected)
    _report(wrong)


@_over(*STORES, THOROUGH)
def test_040_reads_what_we_wrote(exchange: Exchange) -> None:
    wrong = {}
    for name in exchange.names:
        written = exchange.we_wrote(name)
        if written.status == "error":
            wrong[name] = f"our upload raised {written.value}"
            continue
        wrong[name] = exchange.they_read(f"new/{name}").differs_from(CASES[name].expected())
    _report(wrong)


@_over(*STORES, THOROUGH)
def test_we_read_what_we_wrote(exchange: Exchange) -> None:
    wrong = {
        name: exchange.we_read(f"new/{name}", CASES[name].kind).differs_from(CASES[name].expected())
        for name in exchange.names
        if exchange.we_wrote(name).status != "error"
    }
    _report(wrong)


@_over(*STORES)
def test_older_objects(exchange: Exchange) -> None:
    """Objects of the versions before 0.4.0, as 0.4.0 and as we read them."""
    theirs, ours = {}, {}
    for name, legacy in LEGACY.items():
        differs = exchange.they_read(f"legacy/{name}").differs_from(legacy.expected)
        theirs[f"0.4.0 reads {name}"] = differs
        ours[f"we read {name}"] = exchange.we_read(f"legacy/{name}", "raw_array").differs_from(
            legacy.expected
        )
    _report(theirs | ours)


@_over(*STORES)
def test_040_reads_chunked_arrays_that_were_replaced(exchange: Exchange) -> None:
    """A sparse one that was replaced is an error there, never a mixture."""
    expected = np.arange(12.0)
    wrong = {
        "replaced": exchange.they_read("twice/replaced").differs_from(expected + 2),
        "appended": exchange.they_read("twice/appended").differs_from(expected),
    }
    _report(wrong)
    sparse = exchange.they_read("twice/sparse")
    assert sparse.status == "error"
    assert "KeyError" in sparse.value
    assert exchange.we_read("twice/sparse", "sparse_array").value.toarray().tolist() == [
        [3, 0, 0],
        [0, 3, 0],
        [0, 0, 3],
    ]


@_over(*STORES)
def test_metadata_is_stored_alike(exchange: Exchange) -> None:
    """Both store the same metadata of an array; ours may add entries."""
    theirs = exchange.harness.raw_get("old/raw/metadata").metadata
    ours = exchange.harness.raw_get("new/raw/metadata").metadata
    assert theirs == {
        "dtype": "<f8",
        "shape": "5,7",
        "compression": "gzip",
        "order": "C",
        "subject": "S1",
    }
    assert {key: ours[key] for key in theirs} == theirs
