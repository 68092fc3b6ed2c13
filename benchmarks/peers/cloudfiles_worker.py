"""cloud-files 6.4.3."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from cloudfiles import CloudFiles
from job import Job, main

CODECS = {"none": None, "default": "gzip", "zstd": "zstd"}


def connect(job: Job, path: str) -> Any:
    """Return the files below a path; a first request has been sent."""
    # With keys from the environment it requires a session token too.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.pop(name, None)
    secrets = {"AWS_ACCESS_KEY_ID": job.access_key, "AWS_SECRET_ACCESS_KEY": job.secret_key}
    files = CloudFiles(f"s3://{job.endpoint}/{job.bucket}/{path}", secrets=secrets, progress=False)
    files.exists("warm-up")
    return files


def up(job: Job) -> None:
    files, array = connect(job, "up"), job.array
    with job.measured():
        files.put(job.name, array.tobytes(), compress=CODECS[job.codec])


def down(job: Job) -> None:
    files, expected = connect(job, "up"), job.array
    with job.measured():
        body = files.get(job.name)
        found = np.frombuffer(body, expected.dtype).reshape(expected.shape)
    job.check_equal(found, expected)


def put_many(job: Job) -> None:
    files, bodies = connect(job, job.name), job.bodies()
    with job.measured():
        files.puts(bodies.items(), total=len(bodies))


def get_many(job: Job) -> None:
    files, names = connect(job, job.name), list(job.bodies())
    with job.measured():
        found = files.get(names)
    job.check_bodies({each["path"]: each["content"] for each in found})


def glob(job: Job) -> None:
    files = connect(job, job.name)
    with job.measured():
        found = list(files.list())
    job.check_count(len(found))


TASKS = {"up": up, "down": down, "put_many": put_many, "get_many": get_many, "glob": glob}

if __name__ == "__main__":
    main(TASKS)
