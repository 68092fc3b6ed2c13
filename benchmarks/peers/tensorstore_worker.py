"""tensorstore, on its own zarr arrays."""

from __future__ import annotations

from typing import Any

import tensorstore as ts
from job import Job, main

BLOCK_ROWS = 16  # of a shard: 128 KiB of the arrays here
CHUNK_BYTES = 16 * 2**20
CODECS: dict[str, list[Any]] = {
    "none": [],
    "default": [{"name": "gzip", "configuration": {"level": 5}}],
    "zstd": [{"name": "zstd", "configuration": {"level": 3}}],
}
BYTES: list[Any] = [{"name": "bytes", "configuration": {"endian": "little"}}]


def spec(job: Job) -> dict[str, Any]:
    """Return where the array is."""
    kvstore = {
        "driver": "s3",
        "bucket": job.bucket,
        "path": f"{job.name}.zarr/",
        "endpoint": job.endpoint,
        "aws_region": "us-east-1",
        "aws_credentials": {"type": "environment"},
    }
    return {"driver": "zarr3", "kvstore": kvstore}


def write(job: Job, nbytes: int, *, shards: bool = False) -> None:
    array = job.array
    rows = max(nbytes // (array.nbytes // len(array)), 1)
    chunk, codecs = [rows, *array.shape[1:]], BYTES + CODECS[job.codec]
    if shards:
        inner = {"chunk_shape": [BLOCK_ROWS, *array.shape[1:]], "codecs": codecs}
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    metadata = {
        "shape": array.shape,
        "data_type": str(array.dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "codecs": codecs,
    }
    with job.measured():
        made = ts.open(
            {**spec(job), "metadata": metadata, "create": True, "delete_existing": True}
        ).result()
        made[...].write(array).result()


def read(job: Job) -> None:
    with job.measured():
        found = ts.open(spec(job)).result().read().result()
    job.check(found)


def slices(job: Job) -> None:
    rows = job.rows
    with job.measured():
        found = [ts.open(spec(job)).result()[row].read().result() for row in rows]
    job.check_rows(found)


TASKS = {
    "up": lambda job: write(job, CHUNK_BYTES),
    "down": read,
    "write_chunks": lambda job: write(job, job.size),
    "read_chunks": read,
    "slice_chunks": slices,
    "array_for_slices": lambda job: write(job, CHUNK_BYTES, shards=True),
    "slice_array": slices,
}

if __name__ == "__main__":
    main(TASKS)
