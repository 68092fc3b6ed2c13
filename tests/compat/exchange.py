"""Both versions write into one bucket and read what the other wrote."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import pickle
import subprocess
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from tests.compat.cases import CASES, array_of, download, same, upload
from tests.environments import ORIGINAL_ENVIRONMENT
from tests.harness import StoreHarness

__all__ = ["LEGACY", "Driver", "Exchange", "Legacy", "Outcome"]

_DRIVER = Path(__file__).with_name("driver_040.py")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of storing or reading: a value, or the text of an error."""

    status: Literal["value", "error"]
    value: Any

    def differs_from(self, expected: Any) -> str:
        """Return "" where this is the expected value to the bit, else what is wrong."""
        if self.status == "error":
            return f"raised {self.value}"
        return same(expected, self.value)


@dataclass(frozen=True, slots=True)
class Legacy:
    """An object as versions before 0.4.0 left it, made by hand from the format's description."""

    body: bytes
    metadata: Mapping[str, str]
    expected: np.ndarray


def _legacy() -> dict[str, Legacy]:
    array = array_of("<f8", (4, 6))
    plain, by_columns = array.tobytes(), array.tobytes("F")
    described = {"dtype": "<f8", "shape": "4,6"}
    long = np.tile(array, (500, 1))
    short = array_of(">i2", ())
    return {
        "gzip-true": Legacy(gzip.compress(plain), {**described, "gzip": "True"}, array),
        "gzip-false": Legacy(plain, {**described, "gzip": "False", "order": "C"}, array),
        "gzip-overrides-none": Legacy(
            gzip.compress(plain), {**described, "gzip": "True", "compression": "False"}, array
        ),
        "gzip-overrides-codec": Legacy(
            plain, {**described, "gzip": "False", "compression": "gzip"}, array
        ),
        "fortran": Legacy(by_columns, {**described, "compression": "False", "order": "F"}, array),
        "fortran-gzip": Legacy(
            gzip.compress(by_columns), {**described, "compression": "gzip", "order": "F"}, array
        ),
        "fortran-gzip-true": Legacy(
            gzip.compress(by_columns), {**described, "gzip": "True", "order": "F"}, array
        ),
        # Whatever the label says, 0.4.0 puts the bytes of these codecs into C order, both ways.
        "fortran-zlib": Legacy(
            zlib.compress(plain), {**described, "compression": "Zlib", "order": "F"}, array
        ),
        "no-order": Legacy(plain, {**described, "compression": "False"}, array),
        "compression-none": Legacy(plain, {**described, "compression": "None"}, array),
        "lower-case-zlib": Legacy(
            zlib.compress(plain), {**described, "compression": "zlib"}, array
        ),
        "upper-case-bz2": Legacy(bz2.compress(plain), {**described, "compression": "BZ2"}, array),
        "several-blocks": Legacy(
            gzip.compress(long.tobytes(), 1),
            {"dtype": "<f8", "shape": "2000,6", "compression": "gzip", "order": "C"},
            long,
        ),
        "0-d": Legacy(
            short.tobytes(), {"dtype": ">i2", "shape": "", "compression": "False"}, short
        ),
        "other-keys": Legacy(plain, {**described, "gzip": "False", "subject": "S1"}, array),
        "upper-case-gzip": Legacy(
            gzip.compress(plain), {**described, "compression": "GZIP"}, array
        ),
    }


LEGACY = _legacy()


class Exchange:
    """Everything that both versions store in a harness's bucket, and what 0.4.0 makes of it.

    ``old/NAME`` is by 0.4.0, ``new/NAME`` by us, ``legacy/NAME`` by hand. One run of 0.4.0 does
    all its part, because it takes seconds to import; it writes while we do.

    Parameters
    ----------
    harness : StoreHarness
        The store.
    python : Path
        The interpreter of 0.4.0.
    directory : Path
        For its results and log.
    names : sequence of str
        The cases to exchange.
    reads_itself : bool
        Whether 0.4.0 also reads what it wrote itself.
    """

    def __init__(
        self,
        harness: StoreHarness,
        python: Path,
        directory: Path,
        names: Sequence[str],
        reads_itself: bool,
    ) -> None:
        self.harness = harness
        self.names = list(names)
        self.ours = harness.interface()
        self._failed: dict[str, Outcome] = {}
        old = [name for name in self.names if CASES[name].by_040]
        with Driver(python, directory) as driver:
            driver.do({"interface": self._interface_of_040()})
            driver.do({"write": "old", "names": old})
            self._write()
            new = [name for name in self.names if name not in self._failed]
            driver.do({"read": "new", "names": new})
            driver.do({"read": "legacy", "names": list(LEGACY), "as": "raw_array"})
            driver.do({"read": "twice", "names": ["replaced", "appended"], "as": "dask_array"})
            driver.do({"read": "twice", "names": ["sparse"], "as": "sparse_array"})
            if reads_itself:
                driver.do({"read": "old", "names": old})
        self._results = driver.results()

    def we_wrote(self, name: str) -> Outcome:
        """Return how our own upload went."""
        return self._failed.get(name, Outcome("value", None))

    def they_wrote(self, name: str) -> Outcome:
        """Return how 0.4.0's upload went."""
        return self._results.get(("write", f"old/{name}"), Outcome("value", None))

    def they_read(self, key: str) -> Outcome:
        """Return what 0.4.0 read."""
        return self._results[key]

    def we_read(self, key: str, kind: str) -> Outcome:
        """Read with our own interface."""
        try:
            return Outcome("value", download(self.ours, key, kind))
        except Exception as error:
            return _failure(error)

    def _write(self) -> None:
        for name in self.names:
            try:
                with warnings.catch_warnings():
                    upload(self.ours, f"new/{name}", CASES[name])
            except Exception as error:  # whichever test needs the case reports it
                self._failed[name] = _failure(error)
        self._write_twice()
        for name, legacy in LEGACY.items():
            self.harness.raw_put(f"legacy/{name}", legacy.body, legacy.metadata)

    def _write_twice(self) -> None:
        """Store arrays that were replaced or appended to."""
        from scipy import sparse

        for step in range(3):
            self.ours.upload_dask_array("twice/replaced", np.arange(12.0) + step, buffersize=32)
            self.ours.upload_sparse_array("twice/sparse", sparse.csr_matrix(np.eye(3) * (step + 1)))
        self.ours.upload_dask_array("twice/appended", np.arange(6.0), buffersize=32)
        self.ours.append_dask_array("twice/appended", np.arange(6.0, 12.0) + 0)

    def _interface_of_040(self) -> dict[str, Any]:
        return {
            "bucket_name": self.harness.bucket,
            "backend": self.harness.backend_name,
            **self.harness.connection(),
        }


class Driver:
    """The process of 0.4.0: it takes tasks while others are done, and ends with the context."""

    def __init__(self, python: Path, directory: Path) -> None:
        self._results, self._log = directory / "results", directory / "log"
        home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory / "data")}
        environment = {
            name: value
            for name, value in ORIGINAL_ENVIRONMENT.items()
            if not name.startswith(("AWS_", "XDG_"))
        }
        with self._log.open("w") as output:
            self._process = subprocess.Popen(
                [python, _DRIVER, self._results],
                env={**environment, **home, "PYTHONIOENCODING": "utf-8"},
                cwd=directory,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        try:
            self._process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def do(self, task: dict[str, Any]) -> None:
        """Hand it a task; tasks are done in order."""
        if self._process.stdin is not None:
            # Where it is gone already, its log says more than a broken pipe.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(task) + "\n")
                self._process.stdin.flush()

    def results(self) -> dict[str | tuple[str, str], Outcome]:
        """Return the outcomes of the tasks, when all are done."""
        if self._process.returncode:
            tail = self._log.read_text()[-4000:]
            raise RuntimeError(f"0.4.0 ended with {self._process.returncode}:\n{tail}")
        with self._results.open("rb") as file:
            return {key: Outcome(*outcome) for key, outcome in pickle.load(file).items()}


def _failure(error: Exception) -> Outcome:
    return Outcome("error", f"{type(error).__name__}: {error}")
