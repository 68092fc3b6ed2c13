"""Files at the end of a slow line: an NWB-like HDF5 file, and two epochs through a disk cache.

    python -m benchmarks.distant_files [--server ceph] [--repeat 3]

Opens a file of thousands of groups and small datasets and lists its keys, with cci.open, remfile
and s3fs in turns, each in a separate process; then one with ten times the data between the groups.
The peers have an environment, built once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.environments import Environment

_GROUPS = 1500
_EPOCH_MIB = 64

_PEER = """
import os, sys, time
import h5py
kind, url, bucket, signed = sys.argv[1:]
begun = time.perf_counter()
if kind == "remfile":
    import remfile
    stream = remfile.File(signed)
elif kind == "s3fs":
    import s3fs
    fs = s3fs.S3FileSystem(endpoint_url=url, key=os.environ["KEY"], secret=os.environ["SECRET"])
    stream = fs.open(f"{bucket}/session.nwb", "rb")
else:
    import cottoncandy as cc
    keys = os.environ["KEY"], os.environ["SECRET"]
    stream = cc.get_interface(bucket, *keys, url, verbose=False).open("session.nwb")
imported = time.perf_counter()
names = []
with h5py.File(stream, "r") as file:
    file.visititems(lambda name, item: names.append((name, dict(item.attrs))))
assert len(names) > 5000, len(names)
print(time.perf_counter() - imported, time.perf_counter() - begun)
"""


def make_file(path: Path, arrays: int) -> None:
    """Write an HDF5 file like those of NWB: many groups, attributes, and large arrays between."""
    import h5py

    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for number in range(_GROUPS):
            group = file.create_group(f"processing/{number % 20}/unit{number}")
            group.attrs.update({"neurodata_type": "Unit", "namespace": "core", "object_id": number})
            for name in ("times", "quality", "electrodes"):
                data = group.create_dataset(name, data=rng.random(50))
                data.attrs["unit"] = "s"
            if number % (_GROUPS // arrays) == 0:
                file.create_dataset(f"acquisition/{number}", data=rng.random(2**18), chunks=True)


def open_and_list(
    place: Any, bucket: str, cci: Any, folder: Path, arrays: int, repeat: int
) -> None:
    """Print how long each library takes to open the file and to list it with all attributes."""
    make_file(folder / "session.nwb", arrays)
    cci.upload_from_file(str(folder / "session.nwb"), "session.nwb")
    (folder / "peer.py").write_text(_PEER)
    signed = cci.share("session.nwb")
    peers = Environment("benchmark-remote-files", ("remfile", "s3fs", "h5py")).python()
    best: dict[str, list[float]] = {}
    for _ in range(repeat):
        for kind in ("cci.open", "remfile", "s3fs"):
            done = subprocess.run(
                [sys.executable if kind == "cci.open" else peers, folder / "peer.py",
                 kind, place.endpoint_url, bucket, signed],
                env={"KEY": place.access_key, "SECRET": place.secret_key, "PYTHONPATH": ".",
                     "HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true"},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                print(f"{kind}: {done.stderr.splitlines()[-1]}")
                continue
            took = list(map(float, done.stdout.split()))
            best[kind] = [min(pair) for pair in zip(took, best.get(kind, took), strict=True)]
    size = (folder / "session.nwb").stat().st_size >> 20
    for kind, (seconds, whole) in best.items():
        print(
            f"open and list {size} MiB, {kind}: {seconds:.2f} s, "
            f"{whole:.2f} s with imports and connecting"
        )


def two_epochs(bucket: str, connection: dict[str, Any], cache: Path) -> None:
    """Print the time and the received bytes of two epochs over the same arrays."""
    import cottoncandy as cc

    cci = cc.get_interface(bucket, verbose=False, cache=cache, **connection)
    rng = np.random.default_rng(0)
    for number in range(_EPOCH_MIB):
        cci.upload_raw_array(f"samples/{number}", rng.random((256, 512)), compression=False)
    for epoch in (1, 2):
        before, begun = cci.stats, time.perf_counter()
        for number in range(_EPOCH_MIB):
            cci.download_raw_array(f"samples/{number}")
        sent = cci.stats - before
        print(
            f"epoch {epoch} of {_EPOCH_MIB} arrays of 1 MiB: {time.perf_counter() - begun:.2f} s, "
            f"{sent.requests} requests, {sent.bytes_received} bytes of bodies"
        )


def main() -> None:
    """Start a server and a line, and measure."""
    import cottoncandy as cc
    from benchmarks.places import server, slow_line

    parser = argparse.ArgumentParser(description="files at the end of a slow line")
    parser.add_argument("--server", default="ceph")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        server(options.server, Path(folder)) as near,
        slow_line(near) as far,
    ):
        bucket, connection = near.borrow_bucket(), far.interface_arguments()
        cci = cc.get_interface(bucket, verbose=False, **connection)
        two_epochs(bucket, connection, Path(folder, "cache"))
        for arrays in (15, 150):
            open_and_list(far, bucket, cci, Path(folder), arrays, options.repeat)


if __name__ == "__main__":
    main()
