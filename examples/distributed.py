"""An array that is larger than a worker's memory, on a cluster of worker processes.

Run it against your own server, or without arguments against a temporary directory::

    python examples/distributed.py --bucket my-bucket --endpoint-url http://localhost:9000

Credentials come from the environment or the options file, as usual.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

# Python looks for modules next to a script first, and this one has the name of the library.
sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]

import dask.array as da  # noqa: E402 - see above
from dask.distributed import Client, LocalCluster  # noqa: E402
from distributed.diagnostics import MemorySampler  # noqa: E402

import cottoncandy as cc  # noqa: E402


def peak_memory() -> float:
    """Return the peak memory of this process, in MiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Upload, reduce and rechunk an array on two worker processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bucket", help="default: a temporary directory")
    parser.add_argument("--endpoint-url")
    parser.add_argument("--rows", type=int, default=60_000, help="of 1,000 float64 each")
    parser.add_argument("--memory-limit", default="384MiB", help="of each worker")
    options = parser.parse_args()

    with (
        tempfile.TemporaryDirectory() as directory,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=options.memory_limit,
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
        (sampler := MemorySampler()).sample("all", interval=0.1),
    ):
        if options.bucket:
            cci = cc.get_interface(options.bucket, endpoint_url=options.endpoint_url, verbose=False)
        else:
            cci = cc.get_interface(directory, backend="local", verbose=False)
        array = da.random.default_rng(0).standard_normal((options.rows, 1000), chunks=(1000, 1000))
        print(f"{array.nbytes / 2**20:.0f} MiB in {array.npartitions} blocks")
        start = time.monotonic()
        cci.upload_dask_array("example/array", array, compression=False)
        print(f"uploaded by the workers in {time.monotonic() - start:.1f} s")

        lazy = cci.download_dask_array("example/array")
        start = time.monotonic()
        print(f"mean {float(lazy.mean().compute()):.6f} in {time.monotonic() - start:.1f} s")

        start = time.monotonic()
        cci.upload_dask_array("example/array", lazy.rechunk((2000, 250)), compression=False)
        print(f"rechunked, onto the same name, in {time.monotonic() - start:.1f} s")
        assert cci.download_dask_array("example/array").numblocks == (options.rows // 2000, 4)

        peaks = client.run(peak_memory)
        print("peak memory of the workers:", ", ".join(f"{mib:.0f} MiB" for mib in peaks.values()))
        print(f"peak memory of the scheduler and this process: {peak_memory():.0f} MiB")
        cci.rm("example", recursive=True)
    seen = max(nbytes for _, nbytes in sampler.samples["all"])
    print(f"most memory that the scheduler saw in all workers: {seen / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
