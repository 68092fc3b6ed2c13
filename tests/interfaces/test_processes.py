"""Interfaces and arrays in other processes: forked, spawned, and those of a data loader."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.interfaces.arrays import sample

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="fork and threads mix on Linux only"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def _work(cci: Any, number: int) -> int:
    """Upload and download arrays of every kind; return the process."""
    array = sample("<f4", (30, 20)) + number
    cci.upload_raw_array(f"raw{number}", array)
    cci.upload_raw_array(f"large{number}", np.full(2**19, number), compression=False)
    cci.upload_dask_array(f"chunked{number}", array, axis=0, buffersize=800)
    for name in (f"raw{number}", f"chunked{number}"):
        np.testing.assert_array_equal(cci[name], array)
    assert (cci[f"large{number}"] == number).all()
    assert f"raw{number}" in cci.glob("raw*")
    return os.getpid()


def _executor(method: str) -> Executor:
    if method == "loky":
        return pytest.importorskip("loky").ProcessPoolExecutor(max_workers=2)
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(max_workers=2, mp_context=context)


@pytest.mark.parametrize(
    ("store", "method"),
    [
        ("local", "fork"),
        ("moto", "fork"),
        *(
            pytest.param("moto", each, marks=pytest.mark.slow)
            for each in ("spawn", "forkserver", "loky")
        ),
    ],
    indirect=["store"],
)
def test_workers_upload_and_download(cci: Any, method: str) -> None:
    _work(cci, 99)  # its clients and threads are running
    with _executor(method) as executor:
        workers = set(executor.map(partial(_work, cci), range(4)))
    assert os.getpid() not in workers
    assert (cci["large3"] == 3).all()
    np.testing.assert_array_equal(cci["raw0"], cci["chunked0"])


class _Dataset:
    """Like the dataset of a DataLoader: its items are read by workers that inherit it."""

    def __init__(self, cci: Any, name: str) -> None:
        self.cci, self.array = cci, cci.array(name)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.array[index], self.cci.download_raw_array(f"label{index % 3}")


def _load(dataset: _Dataset, indices: Any, results: Any) -> None:
    for index in iter(indices.get, None):
        try:
            results.put((index, *dataset[index]))
        except BaseException as error:  # reported by the parent
            results.put((index, error, None))


def _batches(method: str, dataset: _Dataset) -> Iterator[tuple[int, Any, Any]]:
    context = multiprocessing.get_context(method)
    indices, results = context.Queue(), context.Queue()
    workers = [
        context.Process(target=_load, args=(dataset, indices, results), daemon=True)
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for index in (*range(len(dataset)), *[None] * len(workers)):
        indices.put(index)
    for _ in range(len(dataset)):
        yield results.get(timeout=120)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0


@pytest.mark.parametrize(
    ("store", "kind", "method"),
    [
        ("local", "raw", "fork"),
        ("moto", "chunked", "fork"),
        pytest.param("moto", "raw", "spawn", marks=pytest.mark.slow),
    ],
    indirect=["store"],
)
def test_workers_of_a_data_loader_read_what_they_inherit(cci: Any, kind: str, method: str) -> None:
    array = sample("<f4", (24, 10, 10))
    if kind == "raw":
        cci.upload_raw_array("images", array)
    else:
        cci.upload_dask_array("images", array, axis=0, buffersize=800)
    for label in range(3):
        cci.upload_raw_array(f"label{label}", np.array(label))
    dataset = _Dataset(cci, "images")
    for _ in range(2):  # epochs; the parent reads between and during them
        np.testing.assert_array_equal(dataset[1][0], array[1])
        seen = set()
        for index, image, label in _batches(method, dataset):
            np.testing.assert_array_equal(image, array[index])
            assert label == index % 3
            np.testing.assert_array_equal(dataset[index][0], array[index])
            seen.add(index)
        assert seen == set(range(len(array)))
