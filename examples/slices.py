"""Three slices of a volume in an encrypted store, as a picture: only their chunks are downloaded.

    python examples/slices.py slices.png

Runs in memory: no account, no server. Pass another backend to ``get_encrypted_interface`` for your
own store.
"""

from __future__ import annotations

import base64
import os
import sys

import numpy as np
import zarr

import cottoncandy as cc


def brain(shape: tuple[int, int, int]) -> np.ndarray:
    """Return a synthetic volume that looks like a brain from afar."""
    z, y, x = np.mgrid[tuple(slice(-1, 1, size * 1j) for size in shape)]
    radius = np.sqrt((x / 0.72) ** 2 + (y / 0.9) ** 2 + (z / 0.75) ** 2)
    folds = np.sin(9 * x + 3 * np.sin(5 * y)) * np.cos(8 * y + 4 * z)
    cortex = 700 + 180 * folds + 120 * (radius > 0.75)
    ventricle = np.exp(-((abs(x) - 0.13) ** 2 / 0.006 + y**2 / 0.08 + (z - 0.1) ** 2 / 0.03))
    return (np.clip((1 - radius) * 8, 0, 1) * cortex * (1 - 0.8 * ventricle)).astype("f4")


def main(path: str) -> None:
    """Store a volume, open it lazily, and draw three slices."""
    key = base64.b64encode(os.urandom(32)).decode()  # keep yours: without it, the data are lost
    cci = cc.get_encrypted_interface(
        "my_bucket", encryption="AES", encryptionKey=key, backend="memory", verbose=False
    )
    values = brain((96, 128, 112))
    zarr.create_array(cci.zarr_store("sub01/t1"), data=values, chunks=(16, 16, 16))

    volume = zarr.open_array(cci.zarr_store("sub01/t1"), mode="r")  # nothing but the shape
    before = cci.stats
    axial, coronal, sagittal = volume[50], volume[:, 64], volume[:, :, 50]
    received = (cci.stats - before).bytes_received
    print(f"three slices: {received / values.nbytes:.0%} of the volume was downloaded")

    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6), facecolor="black", layout="constrained")
    planes = {"axial": axial, "coronal": coronal, "sagittal": sagittal}
    for axis, (name, plane) in zip(axes, planes.items(), strict=True):
        axis.imshow(plane, cmap="gray", origin="lower", vmin=0, vmax=1000)
        axis.set_title(name, color="white", fontsize=10)
        axis.axis("off")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["slices.png"]))
