"""NumPy's own files, for the local backend."""

from __future__ import annotations

import os

import numpy as np
from job import Job, main


def path(job: Job) -> str:
    return os.path.join(job.folder, f"{job.name.replace('/', '-')}.{job.peer}")


def up(job: Job) -> None:
    array = job.array
    with job.measured():
        np.save(f"{path(job)}.npy", array)
    array.tofile(path(job))


def down(job: Job) -> None:
    expected = job.array
    with job.measured():
        if job.peer == "np.fromfile":
            found = np.fromfile(path(job), expected.dtype).reshape(expected.shape)
        else:
            found = np.load(f"{path(job)}.npy")
    job.check_equal(found, expected)


if __name__ == "__main__":
    main({"local_up": up, "local_down": down})
