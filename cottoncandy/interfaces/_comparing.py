"""Comparison of a file with an object, with as few requests as possible."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cottoncandy._buffers import MiB
from cottoncandy._names import Key
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.exceptions import EncryptionError, IntegrityError, ObjectNotFoundError

if TYPE_CHECKING:
    from cottoncandy.interfaces._basic import BasicInterface

__all__ = ["same_bytes"]

_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_MULTIPART_MD5 = re.compile(r'"?([0-9a-f]{32})-([0-9]+)"?')
#: Sizes of parts that common clients choose, in bytes.
_PART_BYTES = tuple(count * MiB for count in (5, 8, 10, 15, 16, 25, 32, 50, 64, 100, 128))


def same_bytes(
    cci: BasicInterface, info: ObjectInfo, path: str | os.PathLike[str], size: int
) -> bool:
    """Return whether an object has the bytes of a file of ``size`` bytes.

    If the store's ETag is an MD5 of the body, or of its parts, the file is hashed and nothing is
    downloaded. Otherwise (other stores, encrypted objects, parts of unknown size) the object is
    read, up to the first byte that differs.
    """
    if info.size < size:
        return False
    # Not so if the store encrypts: a plain object of the same bytes has the same ETag.
    if info.size == size and cci.backend_interface.capabilities.stored_checksum == "md5":
        plain = _MD5.fullmatch(info.etag or "")
        if plain:
            return _md5(path) == plain[1]
        parts = _MULTIPART_MD5.fullmatch(info.etag or "")
        if parts and parts[1] in _md5_of_parts(
            path, size, int(parts[2]), cci.settings.mpu_chunksize_bytes
        ):
            return True
    try:
        return _reads_the_same(cci, info.key, path, size)
    except (ObjectNotFoundError, EncryptionError, IntegrityError):
        return False  # it is gone or unreadable, which its transfer reports


def _reads_the_same(cci: BasicInterface, key: str, path: str | os.PathLike[str], size: int) -> bool:
    # The stored size of an encrypted object is larger than its content; the reader knows both.
    with cci._open(Key(key), prefetch=False) as reader, Path(path).open("rb") as file:
        if reader.size != size:
            return False
        return all(file.read(len(chunk)) == chunk for chunk in map(bytes, reader.chunks()))


def _md5(path: str | os.PathLike[str]) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _md5_of_parts(
    path: str | os.PathLike[str], size: int, count: int, own_part_bytes: int
) -> Iterator[str]:
    """Yield the MD5 of the parts' MD5s for each size that makes so many parts."""
    for part_bytes in dict.fromkeys((own_part_bytes, *_PART_BYTES)):
        if -(-size // part_bytes) != count:
            continue
        whole = hashlib.md5(usedforsecurity=False)
        with Path(path).open("rb") as file:
            while part := file.read(part_bytes):
                whole.update(hashlib.md5(part, usedforsecurity=False).digest())
        yield whole.hexdigest()
