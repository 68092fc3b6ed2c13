"""boto3, with s3transfer for large bodies: what most programs use."""

from __future__ import annotations

import io
from typing import Any

import boto3
import numpy as np
from botocore.config import Config
from job import Job, in_threads, main


def connect(job: Job) -> Any:
    """Return a client whose connection is open."""
    client = boto3.client("s3", endpoint_url=job.endpoint, config=Config(max_pool_connections=16))
    client.head_bucket(Bucket=job.bucket)
    return client


def up(job: Job) -> None:
    client, array = connect(job), job.array
    with job.measured():
        client.upload_fileobj(io.BytesIO(memoryview(array).cast("B")), job.bucket, job.name)


def down(job: Job) -> None:
    client, expected = connect(job), job.array
    with job.measured():
        body = io.BytesIO()
        client.download_fileobj(job.bucket, job.name, body)
        found = np.frombuffer(body.getbuffer(), expected.dtype).reshape(expected.shape)
    job.check_equal(found, expected)


def put_many(job: Job) -> None:
    client, bodies = connect(job), job.bodies()

    def put(name: str) -> None:
        client.put_object(Bucket=job.bucket, Key=f"{job.name}/{name}", Body=bodies[name])

    with job.measured():
        in_threads(put, bodies)


def get_many(job: Job) -> None:
    client, names = connect(job), list(job.bodies())

    def get(name: str) -> bytes:
        found: bytes = client.get_object(Bucket=job.bucket, Key=f"{job.name}/{name}")["Body"].read()
        return found

    with job.measured():
        found = in_threads(get, names)
    job.check_bodies(dict(zip(names, found)))  # noqa: B905 - every Python


def glob(job: Job) -> None:
    client = connect(job)
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=job.bucket, Prefix=f"{job.name}/"
    )
    with job.measured():
        found = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    job.check_count(len(found))


TASKS = {"up": up, "down": down, "put_many": put_many, "get_many": get_many, "glob": glob}

if __name__ == "__main__":
    main(TASKS)
