"""Golden files: objects as past versions stored them, one archive per writer.

Each archive is a bucket of the local backend. The objects, their names and the values
that they must read as are the cases of :mod:`tests.compat.cases`.
Archives are never created again, because users' buckets have the same contents; a change of the
format adds one. ``python -m tests.golden.archives WRITER`` creates a missing one.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.compat.cases import CASES, Case, upload

__all__ = ["ARCHIVES", "GENERATIONS", "PREFIX", "Archive"]

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors"

AES_KEY = bytes(range(32))  # fake, and never used for anything else
RSA_KEY = VECTORS / "fake_rsa.pem"

#: Prefix of the names of all objects.
PREFIX = "golden"

_CODECS = ("False", "gzip", "LZ4", "Zlib", "BZ2", "Zstd", "Blosc", "LZMA")
_LAYOUTS = ("F", "strided", "reversed", "transposed-3d", "0-d", "1-d")
_NO_DATES_IN_040 = ("False", "gzip")


def _by_any(name: str, case: Case) -> bool:
    kind, _, rest = name.partition("/")
    if kind != "raw":
        return case.small or kind != "npy"
    dtype, _, rest = rest.partition("/")
    layout, _, codec = rest.partition("/")
    if dtype in ("default", "metadata"):
        return True
    if layout in _LAYOUTS:
        return dtype in ("i2", "big-f8", "struct") and codec in _CODECS[:4]
    return layout == "C" and codec in _CODECS


def _by_040(name: str, case: Case) -> bool:
    """Return whether 0.4.0 stores the case unchanged (see ``QUIRKS`` in the compat tests)."""
    no_dates = "time" in name and name.endswith(_NO_DATES_IN_040) and name.startswith("raw/")
    return case.by_040 and _by_any(name, case) and not (no_dates or name.startswith("sparse-arr"))


def _blocks(name: str, case: Case) -> bool:
    """Return whether the case is a gzip body with a block index; noise would take megabytes."""
    return name.startswith("raw/blocks/") and not name.endswith("/noise")


def _encrypted(name: str, case: Case) -> bool:
    """Return whether the case is one of the few that are kept encrypted: how is the same."""
    return (case.small and _by_any(name, case)) and (
        not name.startswith("raw/") or "big-f8" in name or name.endswith("/C/LZ4")
    )


def _write_with_040(root: Path, names: list[str]) -> None:
    from tests.compat.exchange import Driver
    from tests.environments import COTTONCANDY_040

    with tempfile.TemporaryDirectory() as scratch:
        with Driver(COTTONCANDY_040.python(), Path(scratch)) as driver:
            driver.do({"interface": {"bucket_name": str(root), "backend": "local"}})
            driver.do({"write": PREFIX, "names": names})
        failed = [key for key in driver.results() if isinstance(key, tuple)]
        assert not failed, failed


def _write_with_ours(root: Path, names: list[str], options: Mapping[str, Any]) -> None:
    import cottoncandy

    factory = cottoncandy.get_encrypted_interface if options else cottoncandy.get_interface
    cci = factory(str(root), backend="local", verbose=False, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            upload(cci, f"{PREFIX}/{name}", CASES[name])


def _write_generations(root: Path, options: Mapping[str, Any]) -> None:
    """Write values of several objects that were replaced and appended to, and a block index."""
    import numpy as np
    from scipy import sparse

    import cottoncandy

    factory = cottoncandy.get_encrypted_interface if options else cottoncandy.get_interface
    cci = factory(str(root), backend="local", verbose=False, **options)
    for version in (0.0, 1.0):
        array = np.arange(6.0) + version
        cci.upload_dask_array(f"{PREFIX}/replaced", array, buffersize=16, subject="sub01")
        cci.upload_dask_array(f"{PREFIX}/appended", array, buffersize=24)
        cci.upload_sparse_array(f"{PREFIX}/sparse", sparse.csr_array(np.diag(array)))
    for value in (7.0, 8.0):
        cci.append_dask_array(f"{PREFIX}/appended", np.full(2, value))
    cci.upload_raw_array(f"{PREFIX}/blocks", np.repeat(np.arange(25, dtype="<i4"), 2**14))


def _put(root: Path, name: str, body: bytes, metadata: Mapping[str, str]) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    path.with_name(path.name + ".meta.json").write_text(json.dumps(dict(metadata)))


def _write_legacy_encrypted(root: Path, names: list[str], scheme: str) -> None:
    """Write what cottoncandy up to 0.2 stored, with OpenSSL, from the format's description."""
    sys.path.insert(0, str(VECTORS))
    from tests.vectors.make_vectors import fake_bytes, legacy_body, wrapped_key

    for number, name in enumerate(names):
        array = CASES[name].build()
        metadata = {"dtype": array.dtype.str, "shape": ",".join(map(str, array.shape))}
        metadata |= {"compression": "False", "order": "C"}
        key = AES_KEY
        if scheme == "RSA":
            key = fake_bytes(32, number)
            wrapped = wrapped_key(key, "sha1")
            if number % 2:  # as it had to be on Google Drive
                pieces = [wrapped[start : start + 100] for start in range(0, len(wrapped), 100)]
                metadata |= {"key": "in chunks", "keychunks": str(len(pieces))}
                metadata |= {f"keychunk{place}": piece for place, piece in enumerate(pieces)}
            else:
                metadata["key"] = wrapped
        _put(
            root,
            f"{PREFIX}/{name}",
            legacy_body(array.tobytes(), key, fake_bytes(16, number)),
            metadata,
        )


@dataclass(frozen=True)
class Archive:
    """What one writer stored.

    Parameters
    ----------
    writer : str
        Version, and how it encrypted; the name of the file.
    wanted : callable
        Chose the cases, when the archive was made.
    write : callable
        Stores cases, given their names, in a directory.
    options : mapping
        How the factories open it: none, or those of ``get_encrypted_interface``.
    """

    writer: str
    wanted: Callable[[str, Case], bool]
    write: Callable[[Path, list[str]], None]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return HERE / f"{self.writer}.tar.xz"

    def make(self) -> None:
        """Write the archive; an existing one is an error."""
        with tempfile.TemporaryDirectory() as directory, tarfile.open(self.path, "x:xz") as archive:
            root = Path(directory)
            self.write(root, [name for name, case in CASES.items() if self.wanted(name, case)])
            for path in sorted(root.rglob("*")):
                if path.is_file():
                    info = tarfile.TarInfo(path.relative_to(root).as_posix())
                    info.size = path.stat().st_size
                    archive.addfile(info, io.BytesIO(path.read_bytes()))

    def extract(self, root: Path) -> None:
        """Lay the objects out as a bucket of the local backend."""
        with tarfile.open(self.path) as archive:
            archive.extractall(root, filter="data")


_AES = {"encryption": "AES", "encryptionKey": AES_KEY}
_RSA = {"encryption": "RSA", "encryptionKey": RSA_KEY}
_FEW = ("raw/f8/C/False", "raw/big-i4/C/False", "raw/bool/C/False", "raw/u1/C/False")


def _few(name: str, case: Case) -> bool:
    return name in _FEW


ARCHIVES = [
    Archive("0.4.0", _by_040, _write_with_040),
    Archive("0.5.0", _by_any, lambda root, names: _write_with_ours(root, names, {})),
    Archive("0.5.0-blocks", _blocks, lambda root, names: _write_with_ours(root, names, {})),
    Archive("0.5.0-AES", _encrypted, lambda *given: _write_with_ours(*given, _AES), _AES),
    Archive("0.5.0-RSA", _encrypted, lambda *given: _write_with_ours(*given, _RSA), _RSA),
    Archive("0.2-AES", _few, lambda *given: _write_legacy_encrypted(*given, "AES"), _AES),
    Archive("0.2-RSA", _few, lambda *given: _write_legacy_encrypted(*given, "RSA"), _RSA),
]

#: Values of several objects that were replaced and appended to; their own test reads them.
GENERATIONS = [
    Archive("0.5.0-generations", _few, lambda root, _: _write_generations(root, {})),
    Archive("0.5.0-generations-AES", _few, lambda root, _: _write_generations(root, _AES), _AES),
]

if __name__ == "__main__":
    for made in ARCHIVES + GENERATIONS:
        if made.writer in sys.argv[1:]:
            try:
                made.make()
            except subprocess.CalledProcessError as error:
                sys.exit(f"{error}\n{error.stderr!r}")
