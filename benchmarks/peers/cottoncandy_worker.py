"""cottoncandy: this version and 0.4.0, on S3 and on disk, with and without encryption."""

from __future__ import annotations

from typing import Any

import numpy as np
from job import Job, main

import cottoncandy

CODECS: dict[str, Any] = {"none": False, "default": True, "zstd": "Zstd"}


def connect(job: Job) -> Any:
    """Return an interface whose connections are open and whose lazy imports are loaded."""
    options: dict[str, Any] = {"verbose": False}
    if job.folder and job.task.startswith("local"):
        return cottoncandy.get_interface(f"{job.folder}/{job.peer}", backend="local", **options)
    options |= {"ACCESS_KEY": job.access_key, "SECRET_KEY": job.secret_key}
    options |= {"endpoint_url": job.endpoint}
    get = cottoncandy.get_interface
    if job.peer.endswith("AES"):
        get = cottoncandy.get_encrypted_interface
        options |= {"encryption": "AES", "encryptionKey": bytes(32)}
    cci = get(job.bucket, **options)
    for size in (10, job.warm_bytes // 8):
        cci.upload_raw_array("warm-up", np.zeros(size), compression=False)
        cci.download_raw_array("warm-up")
    cci.glob("warm-up*")  # by boto3, which also sends parts and conditional uploads
    return cci


def up(job: Job) -> None:
    cci, array = connect(job), job.array
    with job.measured():
        cci.upload_raw_array(job.name, array, compression=CODECS[job.codec])


def down(job: Job) -> None:
    cci = connect(job)
    options = {"threads": 1} if job.peer.endswith("1 thread") else {}
    with job.measured():
        found = cci.download_raw_array(job.name, **options)
    job.check(found)


def put_many(job: Job) -> None:
    cci, arrays = connect(job), job.arrays()
    with job.measured():
        cci.dict2cloud(job.name, arrays, verbose=False)


def get_many(job: Job) -> None:
    cci = connect(job)
    with job.measured():
        found = cci.cloud2dict(job.name, verbose=False)
    job.check_bodies({name: array.tobytes() for name, array in found.items()})


def write_chunks(job: Job) -> None:
    cci, array = connect(job), job.array
    with job.measured():
        cci.upload_dask_array(
            job.name, array, axis=0, buffersize=job.size, compression=CODECS[job.codec]
        )


def read_chunks(job: Job) -> None:
    cci = connect(job)
    with job.measured():
        found = cci.array(job.name)[...]
    job.check(found)


def read_by_dask(job: Job) -> None:
    cci = connect(job)
    import dask.array as da

    da.ones(1).compute(scheduler="threads")  # dask imports distributed; that is not the subject
    with job.measured():
        found = cci.download_dask_array(job.name).compute(scheduler="threads")
    job.check(found)


def slice_chunks(job: Job) -> None:
    cci, rows = connect(job), job.rows
    with job.measured():
        found = [cci.array(job.name)[row] for row in rows]
    job.check_rows(found)


def slice_array(job: Job) -> None:
    cci, rows = connect(job), job.rows
    with job.measured():
        found = [cci.download_raw_array(job.name, selection=row) for row in rows]
    job.check_rows(found)


def glob(job: Job) -> None:
    cci = connect(job)
    with job.measured():
        found = cci.glob(f"{job.name}/*")
    job.check_count(len(found))


def glob_narrow(job: Job) -> None:
    cci = connect(job)
    with job.measured():
        found = cci.glob(f"{job.name}/dir3/*")
    job.check_count(len(found), -(-(job.count - 3) // 7))


def ls(job: Job) -> None:
    cci = connect(job)
    with job.measured():
        found = cci.lsdir(f"{job.name}/dir3", limit=10**9)
    job.check_count(len(found), -(-(job.count - 3) // 7))


def rm(job: Job) -> None:
    cci = connect(job)
    with job.measured():
        cci.rm(job.name, recursive=True)
    job.check_count(len(cci.glob(f"{job.name}/*")), 0)


TASKS = {
    "up": up,
    "down": down,
    "put_many": put_many,
    "get_many": get_many,
    "write_chunks": write_chunks,
    "read_chunks": read_chunks,
    "read_by_dask": read_by_dask,
    "slice_chunks": slice_chunks,
    "array_for_slices": up,
    "slice_array": slice_array,
    "glob": glob,
    "glob_narrow": glob_narrow,
    "ls": ls,
    "rm": rm,
    "local_up": up,
    "local_down": down,
}

if __name__ == "__main__":
    main(TASKS)
