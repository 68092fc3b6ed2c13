"""zarr on obstore, with its own codecs or with those of zarrs."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import zarr
from job import Job, main
from obstore.store import S3Store
from zarr.codecs import GzipCodec, ZstdCodec
from zarr.storage import ObjectStore

BLOCK_ROWS = 16  # of a shard: 128 KiB of the arrays here
CHUNK_BYTES = 16 * 2**20
CODECS: dict[str, Any] = {"none": None, "default": [GzipCodec(level=5)], "zstd": [ZstdCodec()]}


def connect(job: Job) -> Any:
    """Return the store of the array."""
    if job.peer == "zarrs":
        zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    store = S3Store(
        job.bucket,
        prefix=f"{job.name}.zarr",
        endpoint=job.endpoint,
        access_key_id=job.access_key,
        secret_access_key=job.secret_key,
        region="us-east-1",
        client_options={"allow_http": True},
    )
    import obstore

    obstore.put(store, "warm-up", b"x")
    return ObjectStore(store)


def rows_of(array: Any, nbytes: int) -> int:
    """Return how many rows of an array have that size."""
    return max(nbytes // (array.nbytes // len(array)), 1)


def write(job: Job, rows: int, **options: Any) -> None:
    store, array = connect(job), job.array
    with job.measured():
        made = zarr.create_array(
            store,
            shape=array.shape,
            dtype=array.dtype,
            chunks=(rows, *array.shape[1:]),
            compressors=CODECS[job.codec],
            overwrite=True,
            **options,
        )
        made[...] = array


def write_chunks(job: Job) -> None:
    write(job, rows_of(job.array, job.size))


def up_whole(job: Job) -> None:
    write(job, rows_of(job.array, CHUNK_BYTES))


def write_shards(job: Job) -> None:
    array = job.array
    write(job, BLOCK_ROWS, shards=(rows_of(array, CHUNK_BYTES), *array.shape[1:]))


def down(job: Job) -> None:
    store = connect(job)
    with job.measured():
        found = zarr.open_array(store, mode="r")[...]
    job.check(found)


def read_by_dask(job: Job) -> None:
    store = connect(job)
    da.ones(1).compute(scheduler="threads")  # dask imports distributed; that is not the subject
    with job.measured(), dask.config.set(scheduler="threads"):
        found = da.from_zarr(zarr.open_array(store, mode="r")).compute()
    job.check(found)


def slices(job: Job) -> None:
    store, rows = connect(job), job.rows
    with job.measured():
        found = [zarr.open_array(store, mode="r")[row] for row in rows]
    job.check_rows(found)


TASKS = {
    "up": up_whole,
    "down": down,
    "write_chunks": write_chunks,
    "read_chunks": down,
    "read_by_dask": read_by_dask,
    "slice_chunks": slices,
    "array_for_slices": write_shards,
    "slice_array": slices,
}

if __name__ == "__main__":
    main(TASKS)
