"""Quick start: store NumPy, Dask and sparse arrays, read them back, and list them.

    python examples/quickstart.py

works in a temporary directory. With a bucket, the same happens on an S3 server:

    python examples/quickstart.py --bucket my_bucket --endpoint-url http://localhost:9000

Credentials come from --access-key and --secret-key or, by default, from the options file,
environment variables or boto3 profiles. The program removes everything it stores.
"""

from __future__ import annotations

import argparse
import tempfile
import uuid
from collections.abc import Sequence

import dask.array as da
import numpy as np
import scipy.sparse

import cottoncandy as cc
from cottoncandy.interfaces import DefaultInterface


def numpy_arrays(cci: DefaultInterface, place: str) -> None:
    """Store a Fortran-ordered array compressed and a plain one uncompressed; read a slice."""
    rng = np.random.default_rng(0)
    volume = np.asfortranarray(rng.standard_normal((60, 50, 40)))
    name = cc.utils.pathjoin(place, "volume")
    cci.upload_raw_array(name, volume)
    again = cci.download_raw_array(name)
    same(again, volume)
    print(f"numpy:  {name}: {volume.dtype} {volume.shape}, compressed, there and back")

    counts = rng.integers(0, 2**15, size=(1000, 300), dtype=np.int16)
    name = cc.utils.pathjoin(place, "counts")
    cci.upload_raw_array(name, counts, compression=False)
    same(cci.download_raw_array(name, selection=np.s_[100:110]), counts[100:110])
    print(f"numpy:  {name}: downloaded only rows 100 to 110 of {len(counts)}")


def dask_array(cci: DefaultInterface, place: str) -> None:
    """Store an array in chunks; download those that a slice touches."""
    series = np.random.default_rng(1).standard_normal((40, 60, 200))
    name = cc.utils.pathjoin(place, "series")
    cci.upload_dask_array(name, da.from_array(series, chunks=(40, 60, 50)))
    lazy = cci.download_dask_array(name)
    same(np.asarray(lazy[..., 60:80]), series[..., 60:80])
    print(f"dask:   {name}: shape {lazy.shape} in {lazy.npartitions} chunks; a slice came from one")
    mean = lazy.mean(axis=-1).compute()
    same(np.round(mean, 12), np.round(series.mean(axis=-1), 12))
    print(f"dask:   {name}: its mean over time, computed chunk by chunk")


def sparse_array(cci: DefaultInterface, place: str) -> None:
    """Store a sparse array as the few numbers that it is."""
    weights = scipy.sparse.random_array((2000, 1000), density=0.01, format="csr", random_state=2)
    name = cc.utils.pathjoin(place, "weights")
    cci.upload_sparse_array(name, weights)
    again = cci.download_sparse_array(name)
    same(again.toarray(), weights.toarray())
    print(f"sparse: {name}: {again.format} {again.shape}, {again.nnz} values")


def nested_dictionary(cci: DefaultInterface, place: str) -> None:
    """Store a dictionary of dictionaries of arrays; get one subject back."""
    study = {
        f"subject{number:02d}": {
            "bold": {"data": np.full((4, 5), number, dtype="f4")},
            "tr": np.array(2.0),
        }
        for number in (1, 2)
    }
    name = cc.utils.pathjoin(place, "study")
    cci.dict2cloud(name, study, verbose=False)
    again = cci.cloud2dict(cc.utils.pathjoin(name, "subject02"), verbose=False)
    same(again["bold"]["data"], study["subject02"]["bold"]["data"])
    same(again["tr"], study["subject02"]["tr"])
    print(f"dict:   {name}: {len(study)} subjects stored, subject02 back: {sorted(again)}")


def listing(cci: DefaultInterface, place: str) -> None:
    """List the names, and search them."""
    names = cci.glob(cc.utils.pathjoin(place, "*"))
    print(f"glob:   {len(names)} objects below {place}/")
    for child in cci.lsdir(place):
        print(f"lsdir:  {child}")


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Raise an error unless two arrays are equal, in shape and dtype too."""
    np.testing.assert_array_equal(found, expected, strict=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the whole of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", help="s3 where a bucket or an endpoint is given, else local")
    parser.add_argument("--bucket", help="made if it does not exist (local: a directory)")
    parser.add_argument("--endpoint-url", help="URL of the S3 server (default: Amazon)")
    parser.add_argument("--access-key")
    parser.add_argument("--secret-key")
    given = parser.parse_args(arguments)
    backend = given.backend or ("s3" if given.bucket or given.endpoint_url else "local")
    if backend == "s3" and not given.bucket:
        parser.error("--bucket is needed on S3")

    with tempfile.TemporaryDirectory() as directory:
        cci = cc.get_interface(
            given.bucket or directory,
            ACCESS_KEY=given.access_key,
            SECRET_KEY=given.secret_key,
            endpoint_url=given.endpoint_url,
            force_bucket_creation=True,
            backend=backend,
        )
        place = f"quickstart-{uuid.uuid4().hex[:8]}"  # leaves existing objects alone
        try:
            numpy_arrays(cci, place)
            dask_array(cci, place)
            sparse_array(cci, place)
            nested_dictionary(cci, place)
            listing(cci, place)
        finally:
            cci.rm(place, recursive=True)
    print("quickstart: ok")


if __name__ == "__main__":
    main()
