"""zarr on a Ceph node: this library's store next to zarr's ``ObjectStore`` on obstore.

    python -m benchmarks.zarr_store [--repeat 3]

Says how many times as fast as ``ObjectStore`` each kind of array is written and read. The stores
take turns, and the medians count. Memory is allocated and freed before, because a virtual machine
returns free memory to its host. The table is added to docs/inside/benchmarks.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr
from obstore.store import S3Store
from zarr.storage import ObjectStore

import cottoncandy as cc
from benchmarks import report
from tests.servers.ceph import CephServer

TABLE = "zarr: zarr_store and ObjectStore"

#: Name -> number of chunks and bytes in each.
KINDS = {
    "256 MiB in chunks of 4 MiB": (64, 4 * 2**20),
    "2,000 chunks of 16 KiB": (2000, 16 * 2**10),
}


def seconds(function: Callable[[], Any]) -> tuple[float, float]:
    """Return how long a call takes, and its CPU time."""
    begun, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - begun, time.process_time() - cpu


def measure(stores: dict[str, Callable[[str], Any]], repeat: int, output: Path) -> None:
    """Add the ratios for all kinds of arrays to the report."""
    for kind, (count, nbytes) in KINDS.items():
        values = np.random.default_rng(0).integers(0, 256, (count, nbytes), "u1")
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        np.ones(2 * values.nbytes, "u1")
        for turn in range(repeat):
            # Another store begins each turn.
            for name, make in list(stores.items())[:: 1 - turn % 2 * 2]:
                array = zarr.create_array(
                    make(f"{nbytes}-{turn}"), shape=values.shape, chunks=(1, nbytes), dtype="u1",
                    compressors=None,
                )  # fmt: skip
                took = {
                    "write": seconds(partial(array.__setitem__, slice(None), values)),
                    "read": seconds(partial(array.__getitem__, slice(None))),
                }
                assert np.array_equal(array[:], values)
                for verb, duration in took.items():
                    found.setdefault((name, verb), []).append(duration)
        for verb in ("write", "read"):
            medians = [
                [median(times) for times in zip(*found[name, verb], strict=True)]
                for name in ("cottoncandy", "obstore")
            ]
            (ours, our_cpu), (theirs, their_cpu) = medians
            report.add_row(
                output, TABLE, f"{verb} {kind}", f"{ours:.2f} / {theirs:.2f}",
                f"{our_cpu:.2f} / {their_cpu:.2f}",
                f"{theirs / ours:.2f} (CPU {their_cpu / our_cpu:.2f})", "0.9",
            )  # fmt: skip


def main() -> None:
    """Start a Ceph node, and measure."""
    parser = argparse.ArgumentParser(description="zarr's stores on one Ceph node")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("docs/inside"))
    options = parser.parse_args()
    server = CephServer()
    try:
        s3 = server.users[0]
        bucket, connection = s3.borrow_bucket(), s3.interface_arguments()
        cci = cc.get_interface(bucket, verbose=False, **connection)

        def obstore(name: str) -> ObjectStore:
            return ObjectStore(
                S3Store(
                    bucket,
                    prefix=f"theirs/{name}",
                    endpoint=connection["endpoint_url"],
                    access_key_id=connection["ACCESS_KEY"],
                    secret_access_key=connection["SECRET_KEY"],
                    region="us-east-1",
                    virtual_hosted_style_request=False,
                    client_options={"allow_http": True},
                )
            )

        stores = {"cottoncandy": lambda name: cci.zarr_store(f"ours/{name}"), "obstore": obstore}
        measure(stores, options.repeat, options.output)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
