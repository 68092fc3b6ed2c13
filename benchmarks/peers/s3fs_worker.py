"""s3fs, and h5py on it."""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np
import s3fs
from job import Job, main

BLOCK_ROWS = 16  # 128 KiB of the arrays here, as in the shards of the zarr workers


def connect(job: Job) -> Any:
    """Return a file system whose connection is open."""
    fs = s3fs.S3FileSystem(
        key=job.access_key,
        secret=job.secret_key,
        client_kwargs={"endpoint_url": job.endpoint, "region_name": "us-east-1"},
        use_listings_cache=False,
    )
    fs.exists(f"{job.bucket}/warm-up")
    return fs


def up(job: Job) -> None:
    fs, array = connect(job), job.array
    with job.measured():
        fs.pipe_file(f"{job.bucket}/{job.name}", array.tobytes())


def down(job: Job) -> None:
    fs, expected = connect(job), job.array
    with job.measured():
        body = fs.cat_file(f"{job.bucket}/{job.name}")
        found = np.frombuffer(body, expected.dtype).reshape(expected.shape)
    job.check_equal(found, expected)


def put_many(job: Job) -> None:
    fs, bodies = connect(job), job.bodies()
    with job.measured():
        fs.pipe({f"{job.bucket}/{job.name}/{name}": body for name, body in bodies.items()})


def get_many(job: Job) -> None:
    fs, names = connect(job), list(job.bodies())
    with job.measured():
        found = fs.cat([f"{job.bucket}/{job.name}/{name}" for name in names])
    job.check_bodies(found)


def write_hdf5(job: Job) -> None:
    fs, array = connect(job), job.array
    with job.measured():
        body = io.BytesIO()
        with h5py.File(body, "w") as file:
            options: dict[str, Any] = {"chunks": (BLOCK_ROWS, array.shape[1])}
            if job.codec != "none":
                options["compression"] = "gzip"
            file.create_dataset("array", data=array, **options)
        fs.pipe_file(f"{job.bucket}/{job.name}.h5", body.getvalue())


def slice_hdf5(job: Job) -> None:
    fs, rows = connect(job), job.rows
    found = []
    with job.measured():
        for row in rows:
            with fs.open(f"{job.bucket}/{job.name}.h5", "rb") as raw, h5py.File(raw) as file:
                found.append(file["array"][row])
    job.check_rows(found)


def glob(job: Job) -> None:
    fs = connect(job)
    with job.measured():
        found = fs.find(f"{job.bucket}/{job.name}")
    job.check_count(len(found))


def glob_narrow(job: Job) -> None:
    fs = connect(job)
    with job.measured():
        found = fs.glob(f"{job.bucket}/{job.name}/dir3/*")
    job.check_count(len(found), -(-(job.count - 3) // 7))


def rm(job: Job) -> None:
    fs = connect(job)
    with job.measured():
        fs.rm(f"{job.bucket}/{job.name}", recursive=True)


TASKS = {
    "up": up,
    "down": down,
    "put_many": put_many,
    "get_many": get_many,
    "array_for_slices": write_hdf5,
    "slice_array": slice_hdf5,
    "glob": glob,
    "glob_narrow": glob_narrow,
    "ls": glob_narrow,
    "rm": rm,
}

if __name__ == "__main__":
    main(TASKS)
