"""Google Drive: arrays of all kinds, a look at them, and a folder that only key holders can read.

    python examples/gdrive.py

works with your Drive. Google requires programs to be registered: put the file client_secrets.json,
which you get from Google's console (docs/gdrive.md tells how), into the folder of cottoncandy's
options file, or pass its path:

    python examples/gdrive.py --secrets client_secrets.json --credentials credentials.txt

The first time, the browser opens and you log in. The program works in a separate folder and removes
everything that it stored.
"""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import scipy.sparse

import cottoncandy as cc
from cottoncandy.encryption import generate_key
from cottoncandy.exceptions import DecryptionError
from cottoncandy.interfaces import DefaultInterface


def arrays(cci: DefaultInterface, place: str) -> None:
    """Store numpy, dask and sparse arrays, and a dictionary of arrays; get them back."""
    scans = np.random.default_rng(0).standard_normal((200, 30, 20))
    name = cc.utils.pathjoin(place, "sub01/scans")
    cci.upload_raw_array(name, scans, compression=False, scanner="3T")
    same(cci.download_raw_array(name, selection=np.s_[50:60]), scans[50:60])
    print(f"numpy:   {name}: rows 50 to 60 of {len(scans)}; no others were downloaded")

    name = cc.utils.pathjoin(place, "sub01/series")
    cci.upload_dask_array(name, da.from_array(scans, chunks=(50, 30, 20)))
    lazy = cci.download_dask_array(name)
    same(np.asarray(lazy[:10]), scans[:10])
    print(f"dask:    {name}: {lazy.npartitions} chunks; the first ten rows came from one")

    weights = scipy.sparse.random_array((300, 200), density=0.01, format="csr", random_state=1)
    name = cc.utils.pathjoin(place, "sub01/weights")
    cci.upload_sparse_array(name, weights)
    same(cci.download_sparse_array(name).toarray(), weights.toarray())
    print(f"sparse:  {name}: {weights.nnz} values")

    name = cc.utils.pathjoin(place, "sub02")
    cci.dict2cloud(name, {"bold": {"data": scans[0], "tr": np.array(2.0)}}, verbose=False)
    same(cci.cloud2dict(name, verbose=False)["bold"]["data"], scans[0])
    print(f"dict:    {name}: there and back")


def looking(cci: DefaultInterface, place: str) -> None:
    """Find things by patterns, and browse."""
    for name in cci.glob(cc.utils.pathjoin(place, "*/s*")):
        print(f"glob:    {name}")
    for name in cci.ls(cc.utils.pathjoin(place, "sub*/*")):
        print(f"ls:      {name}")
    scans = cci.get_browser()[place].sub01.scans
    print(f"browser: {place}/sub01/scans: {scans.shape} {scans.dtype}")


def moving(cci: DefaultInterface, place: str) -> None:
    """Rename a folder, which moves no bytes; throw a file into the trash."""
    source, dest = (cc.utils.pathjoin(place, name) for name in ("sub02", "pilot"))
    cci.mv(source, dest, recursive=True)
    print(f"mv:      {cci.glob(cc.utils.pathjoin(place, 'pilot/*'))}")
    cci.rm(cc.utils.pathjoin(dest, "bold/tr"), delete=False)
    print("rm:      pilot/bold/tr is in the trash; you can restore it on the Drive website")


def secrets(place: str, **connection: Any) -> None:
    """Store what Google cannot read."""
    key = generate_key()  # keep a copy: without the key, the data is lost
    cci = cc.get_encrypted_interface(
        backend="gdrive", verbose=False, encryption="AES", encryptionKey=key, **connection
    )
    name = cc.utils.pathjoin(place, "private/scores")
    scores = np.arange(12.0).reshape(3, 4)
    cci.upload_raw_array(name, scores)
    same(cci.download_raw_array(name), scores)
    stranger = cc.get_encrypted_interface(
        backend="gdrive",
        verbose=False,
        encryption="AES",
        encryptionKey=generate_key(),
        **connection,
    )
    try:
        stranger.download_raw_array(name)
    except DecryptionError:
        print(f"AES:     {name}: the same with its key; with another one nothing can be read")


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Raise an error unless two arrays are equal, in shape and dtype too."""
    np.testing.assert_array_equal(found, expected, strict=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the whole of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--secrets", help="path of client_secrets.json")
    parser.add_argument("--credentials", help="path of credentials.txt, where the login is kept")
    parser.add_argument("--bucket", help="a shared drive, or a folder at the top of My Drive")
    parser.add_argument("--endpoint-url", help="another address of the API (for tests)")
    given = parser.parse_args(arguments)
    connection = {
        "bucket_name": given.bucket,
        "ACCESS_KEY": given.secrets,
        "SECRET_KEY": given.credentials,
        "endpoint_url": given.endpoint_url,
    }
    cci = cc.get_interface(backend="gdrive", verbose=False, **connection)
    place = f"cottoncandy-example-{uuid.uuid4().hex[:8]}"
    try:
        arrays(cci, place)
        looking(cci, place)
        moving(cci, place)
        secrets(place, **connection)
    finally:
        cci.rm(place, recursive=True)
    print("gdrive: ok")


if __name__ == "__main__":
    main()
