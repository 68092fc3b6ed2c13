"""The scenarios as data: what is done, by whom, and what is promised.

``peers/job.py`` describes the tasks; the workers there perform them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["ARRAYS", "Scenario", "scenarios"]

OURS = "cottoncandy"
OLD = "0.4.0"
LIMIT = "limit"

#: Names of the arrays, with what they are.
ARRAYS = {
    "noise": "float64 noise",
    "walk": "float32 random walk",
    "counts": "int16 counts",
    "mask": "bool mask",
}
CODECS = {"none": "uncompressed", "default": "default compression", "zstd": "Zstd"}


@dataclass(frozen=True)
class Scenario:
    """One task of several peers.

    Parameters
    ----------
    name : str
        Also that of its plot, and what ``--only`` matches, by its beginning.
    title : str
        For people.
    task : str
        Key of the workers' ``TASKS``.
    peers : tuple of str
        In the order of a round; all are compared with the first.
    job : mapping
        What the workers are told: ``data`` (the array), ``mib``, ``codec``, ``count``, ``size``.
    before : str, optional
        Task by which each peer makes its objects, or "fill", which the limit does for all.
    shared : str, optional
        Names the objects; the default is the name of the scenario. Scenarios of one name use the
        objects of the first of them.
    promised : mapping
        How many times as fast the first peer should be as another, or the part of the limit.
    cpu_promised : mapping
        How many times less CPU it should take.
    used_up : bool
        Whether the task removes its objects.
    line : bool
        Whether requests cross a line of 1 Gbit/s and 20 ms.
    rounds : int, optional
        At most this many.
    """

    name: str
    title: str
    task: str
    peers: tuple[str, ...]
    job: Mapping[str, Any] = field(default_factory=dict)
    before: str | None = None
    shared: str | None = None
    promised: Mapping[str, float] = field(default_factory=dict)
    cpu_promised: Mapping[str, float] = field(default_factory=dict)
    used_up: bool = False
    line: bool = False
    rounds: int | None = None

    @property
    def promises(self) -> set[str]:
        """The peers with which something is promised; the first itself, if it is memory."""
        alone = {self.peers[0]} if self.name.startswith("large-") else set()
        return {*self.promised, *self.cpu_promised, *alone}

    def of(self, names: Collection[str]) -> Scenario:
        """Return the same scenario of some peers; the first is always among them."""
        kept = [name for name in self.peers[1:] if name in names or name.startswith(OURS)]
        return replace(self, peers=(self.peers[0], *kept))


_UP: dict[tuple[str, str], dict[str, float]] = {
    ("noise", "default"): {OLD: 6, LIMIT: 0.75},
    ("walk", "default"): {OLD: 9},
    ("noise", "none"): {LIMIT: 0.95},
}
_DOWN: dict[tuple[str, str], dict[str, float]] = {
    ("noise", "default"): {OLD: 3},
    ("walk", "default"): {OLD: 3.5},
    ("noise", "none"): {LIMIT: 0.95},
}


def scenarios(*, quick: bool = False) -> Iterator[Scenario]:
    """Yield all scenarios; the quick ones are few and small, for correctness only."""
    mib = 1 if quick else 256
    found = [*_whole_arrays(mib, quick), *_small_objects(quick), *_chunks(4 * mib, quick)]
    found += [*_slices(mib), *_listings(quick)]
    peers = (OURS, OLD, "cloud-files", "s3fs", "zarr", "boto3")
    found.append(Scenario("import", "import", "import", peers))
    found += [*_local(mib), *_line(quick)]
    left_out = ("threads", "slice-none", "import", "line-up", "line-down") if quick else ()
    return (each for each in found if each.name not in left_out)


def _whole_arrays(mib: int, quick: bool) -> Iterator[Scenario]:
    for data, kind in ARRAYS.items():
        for codec, compressed in CODECS.items():
            if quick and (data, codec) not in (("noise", "none"), ("walk", "default")):
                continue
            peers: tuple[str, ...] = (OURS, OLD, LIMIT)
            if codec == "none":
                peers += ("boto3", "s3fs", "cloud-files", "zarr", "tensorstore", "s5cmd", "rclone")
            else:
                peers += ("cloud-files", "zarr", "zarrs", "tensorstore")
            shared = f"{data}-{codec}"
            job = {"data": data, "mib": mib, "codec": codec}
            what = f"{mib} MiB of {kind}, {compressed}"
            yield Scenario(
                f"up-{data}-{codec}",
                f"upload of {what}",
                "up",
                peers,
                job,
                shared=shared,
                promised=_UP.get((data, codec), {}),
                cpu_promised={OLD: 12} if codec == "default" and data in ("noise", "walk") else {},
            )
            yield Scenario(
                f"down-{data}-{codec}",
                f"download of {what}",
                "down",
                peers,
                job,
                before="up",
                shared=shared,
                promised=_DOWN.get((data, codec), {}),
            )
    for codec in () if quick else ("none", "default"):
        job = {"data": "noise", "mib": 4 * mib, "codec": codec}
        what = f"{4 * mib} MiB of float64 noise, {CODECS[codec]}"
        shared, ours = f"large-{codec}", (OURS, LIMIT)
        yield Scenario(f"large-up-{codec}", f"upload of {what}", "up", ours, job, shared=shared)
        yield Scenario(
            f"large-down-{codec}", f"download of {what}", "down", ours, job, "up", shared
        )
    job = {"data": "walk", "mib": mib, "codec": "default"}
    alone = f"{OURS}, 1 thread"
    yield Scenario(
        "threads",
        f"download of {mib} MiB of float32 random walk, by all cores and by one",
        *("down", (OURS, alone), job, "up"),
        promised={alone: 1.5},
    )
    job = {"data": "noise", "mib": mib, "codec": "none"}
    both = (OURS, f"{OURS}, AES")
    yield Scenario("aes-up", f"upload of {mib} MiB with encryption", "up", both, job, shared="aes")
    yield Scenario(
        "aes-down", f"download of {mib} MiB with encryption", "down", both, job, "up", "aes"
    )


def _small_objects(quick: bool) -> Iterator[Scenario]:
    for count in (1000, 10_000) if not quick else (20,):
        peers: tuple[str, ...] = (OURS, LIMIT, "cloud-files", "boto3", "s3fs", "s5cmd", "rclone")
        if count < 10_000:
            peers = (*peers, OLD)
        shared, promised = f"small-{count}", {LIMIT: 0.8, "cloud-files": 2.0, OLD: 6.0}
        yield Scenario(
            f"put-{count}",
            f"upload of {count:,} x 8 KiB, dict2cloud",
            "put_many",
            peers,
            {"count": count},
            shared=shared,
            promised=promised if count == 1000 else {},
        )
        promised = {LIMIT: 0.8, "cloud-files": 3.5, OLD: 22.0}
        yield Scenario(
            f"get-{count}",
            f"download of {count:,} x 8 KiB, cloud2dict",
            "get_many",
            peers,
            {"count": count},
            before="put_many",
            shared=shared,
            promised=promised if count == 1000 else {},
        )


def _chunks(mib: int, quick: bool) -> Iterator[Scenario]:
    for codec in ("none",) if quick else ("none", "zstd"):
        size = 32 * 2**20 if not quick else 2**20
        job = {"data": "noise", "mib": mib, "codec": codec, "size": size, "count": 10}
        peers = (OURS, "zarr", "zarrs", "tensorstore")
        promised = {"zarr": 1.0} if codec == "none" else {}
        for task, title in {
            "write_chunks": "write",
            "read_by_dask": "read with Dask",
            "read_chunks": "read",
            "slice_chunks": "10 thin slices",
        }.items():
            yield Scenario(
                f"chunks-{task.replace('_', '-')}-{codec}",
                f"{title} of {mib} MiB in chunks, {CODECS[codec]}",
                task,
                peers[: 3 if task == "read_by_dask" else 4],
                job,
                before=None if task == "write_chunks" else "write_chunks",
                shared=f"chunks-{codec}",
                promised=promised if task != "slice_chunks" else {},
            )


def _slices(mib: int) -> Iterator[Scenario]:
    for codec in ("none", "default"):
        yield Scenario(
            f"slice-{codec}",
            f"10 thin slices of {mib} MiB in one array, {CODECS[codec]}",
            "slice_array",
            (OURS, "s3fs", "zarr", "tensorstore"),
            {"data": "walk", "mib": mib, "codec": codec, "count": 10},
            before="array_for_slices",
            promised={"s3fs": 1.0, "zarr": 1.0} if codec == "default" else {},
        )


def _listings(quick: bool) -> Iterator[Scenario]:
    for count in (30_000, 300_000) if not quick else (70,):
        job, shared = {"count": count}, f"keys-{count}"
        few = count == 30_000
        peers: tuple[str, ...] = (OURS, LIMIT, "cloud-files", "boto3", "s3fs", "s5cmd", "rclone")
        yield Scenario(
            f"glob-{count}",
            f"glob of {count:,} keys",
            "glob",
            (*peers, OLD) if count <= 30_000 else peers[:2],
            job,
            "fill",
            shared,
            {LIMIT: 0.9, OLD: 6} if few else {},
        )
        yield Scenario(
            f"narrow-{count}",
            f"glob of one directory in seven, {count:,} keys",
            "glob_narrow",
            (OURS, LIMIT, "s3fs", OLD) if count <= 30_000 else (OURS, LIMIT, "s3fs"),
            job,
            "fill",
            shared,
            {LIMIT: 1.0, OLD: 6} if few else {},
        )
        yield Scenario(
            f"ls-{count}",
            f"ls of a directory, {count:,} keys",
            "ls",
            (OURS, "s3fs"),
            job,
            "fill",
            shared,
        )
        yield Scenario(
            f"rm-{count}",
            f"rm of {count:,} keys",
            "rm",
            (OURS, "s3fs", "s5cmd"),
            job,
            "fill",
            used_up=True,
            rounds=1,
        )


def _local(mib: int) -> Iterator[Scenario]:
    job = {"data": "noise", "mib": mib, "codec": "none"}
    for task, other, least in (("up", "np.save", 1.0), ("down", "np.fromfile", 0.9)):
        yield Scenario(
            f"local-{task}",
            f"{task}load of {mib} MiB, local backend on tmpfs",
            f"local_{task}",
            (OURS, other, *(("np.load",) if task == "down" else ()), OLD),
            job,
            None if task == "up" else "local_up",
            "local",
            {other: least},
        )


def _line(quick: bool) -> Iterator[Scenario]:
    mib, count = (128, 300) if not quick else (1, 5)
    job, shared = {"data": "noise", "mib": mib, "codec": "none"}, "line"
    for task in ("up", "down"):
        yield Scenario(
            f"line-{task}",
            f"{task}load of {mib} MiB, 1 Gbit/s and 20 ms",
            task,
            (OURS, LIMIT, "boto3"),
            job,
            None if task == "up" else "up",
            shared,
            {LIMIT: 0.95},
            line=True,
        )
    yield Scenario(
        "line-get",
        f"download of {count} x 8 KiB, cloud2dict, 1 Gbit/s and 20 ms",
        "get_many",
        (OURS, LIMIT, "cloud-files", "boto3"),
        {"count": count},
        "put_many",
        "line-small",
        {LIMIT: 0.8},
        line=True,
    )
