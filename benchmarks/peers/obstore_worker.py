"""Bare obstore: the limit, without checksums, dtypes, and errors that say what to do."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import obstore
from job import Job, MiB, in_threads, main
from obstore.store import S3Store

THREADS = 4


def connect(job: Job) -> Any:
    """Return a store whose connections are open."""
    store = S3Store(
        job.bucket,
        endpoint=job.endpoint,
        access_key_id=job.access_key,
        secret_access_key=job.secret_key,
        region="us-east-1",
        client_options={"allow_http": True},
    )
    obstore.put(store, "warm-up", bytes(job.warm_bytes))
    in_threads(lambda _: obstore.get(store, "warm-up").bytes(), range(THREADS))
    return store


def up(job: Job) -> None:
    store, view = connect(job), memoryview(job.array).cast("B")
    with job.measured():
        obstore.put(store, job.name, view, chunk_size=16 * MiB, max_concurrency=THREADS)


def down(job: Job) -> None:
    """Ranges are streamed into place by threads, which is the fastest way that was found."""
    store, expected = connect(job), job.array
    with job.measured():
        found = np.empty(expected.shape, expected.dtype)
        out, share = memoryview(found).cast("B"), -(-found.nbytes // THREADS)

        def fetch(start: int) -> None:
            stop = min(start + share, len(out))
            for piece in obstore.get(store, job.name, options={"range": (start, stop)}).stream(
                MiB // 4
            ):
                out[start : start + len(piece)] = piece
                start += len(piece)

        in_threads(fetch, range(0, len(out), share), THREADS)
    job.check_equal(found, expected)


def put_many(job: Job) -> None:
    store, bodies = connect(job), job.bodies()
    with job.measured():
        in_threads(lambda name: obstore.put(store, f"{job.name}/{name}", bodies[name]), bodies)


def get_many(job: Job) -> None:
    store, names = connect(job), list(job.bodies())
    with job.measured():
        found = in_threads(
            lambda name: bytes(obstore.get(store, f"{job.name}/{name}").bytes()), names
        )
    job.check_bodies(dict(zip(names, found)))  # noqa: B905 - every Python


def glob(job: Job) -> None:
    store = connect(job)
    with job.measured():
        pages = obstore.list(store, f"{job.name}/", chunk_size=1000)
        found = [entry["path"] for page in pages for entry in page]
    job.check_count(len(found))


def fill(job: Job) -> None:
    """Store many tiny objects in seven directories, for the listings of all peers."""
    store = connect(job)

    async def put_all() -> None:
        waiting = iter(range(job.count))

        async def work() -> None:
            for i in waiting:
                await obstore.put_async(store, f"{job.name}/dir{i % 7}/object{i:06d}", b"x")

        await asyncio.gather(*(work() for _ in range(32)))

    with job.measured():
        asyncio.run(put_all())


TASKS = {
    "up": up,
    "down": down,
    "put_many": put_many,
    "get_many": get_many,
    "glob": glob,
    "glob_narrow": glob,
    "fill": fill,
}

if __name__ == "__main__":
    main(TASKS)
