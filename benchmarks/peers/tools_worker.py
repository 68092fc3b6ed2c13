"""s5cmd and rclone, which move files: those here are in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
from job import Job, main


def run(job: Job, *words: str) -> str:
    """Run the tool, with its defaults."""
    program = os.path.join(os.path.dirname(sys.executable), job.peer)
    env = os.environ | {
        "S3_ENDPOINT_URL": job.endpoint,
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_PROVIDER": "Ceph",
        "RCLONE_CONFIG_S3_ENDPOINT": job.endpoint,
        "RCLONE_CONFIG_S3_ENV_AUTH": "true",
        "RCLONE_CONFIG": os.path.join(job.folder, "rclone.conf"),
        "HOME": job.folder,
    }
    done = subprocess.run([program, *words], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{job.peer}: {done.stderr[-500:]}")
    return done.stdout


def place(job: Job, name: str) -> str:
    """Return how the tool writes the name of an object."""
    return f"{'s3:' if job.peer == 'rclone' else 's3://'}{job.bucket}/{name}"


def copy(job: Job, source: str, target: str, *, many: bool = False) -> None:
    if job.peer == "rclone":
        flags = ["--transfers", "16"] if many else []
        run(job, "copy" if many else "copyto", "--no-check-dest", *flags, source, target)
    else:
        run(job, "cp", f"{source}/*" if many else source, f"{target}/" if many else target)


def up(job: Job) -> None:
    with job.measured():
        copy(job, job.data, place(job, job.name))


def down(job: Job) -> None:
    target = os.path.join(job.folder, "down.npy")
    with job.measured():
        copy(job, place(job, job.name), target)
    job.check(np.load(target))
    os.unlink(target)


def put_many(job: Job) -> None:
    folder = job.write_files()
    with job.measured():
        copy(job, folder, place(job, job.name), many=True)
    shutil.rmtree(folder)


def get_many(job: Job) -> None:
    folder = os.path.join(job.folder, "down")
    with job.measured():
        copy(job, place(job, job.name), folder, many=True)
    found = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = file.read()
    shutil.rmtree(folder)
    job.check_bodies(found)


def glob(job: Job) -> None:
    with job.measured():
        if job.peer == "rclone":
            found = run(job, "lsf", "-R", "--files-only", "--fast-list", place(job, job.name))
        else:
            found = run(job, "ls", f"{place(job, job.name)}/*")
    job.check_count(len(found.splitlines()))


def rm(job: Job) -> None:
    with job.measured():
        if job.peer == "rclone":
            run(job, "delete", place(job, job.name))
        else:
            run(job, "rm", f"{place(job, job.name)}/*")


TASKS = {
    "up": up,
    "down": down,
    "put_many": put_many,
    "get_many": get_many,
    "glob": glob,
    "rm": rm,
}

if __name__ == "__main__":
    main(TASKS)
