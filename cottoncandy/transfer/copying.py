"""Copy one object to another store, with everything that belongs to it, and check the copy."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

from cottoncandy.backends.base import Backend, Capabilities, ObjectInfo, PutOptions
from cottoncandy.backends.options import STORED_HEADERS
from cottoncandy.backends.ranges import AT_ONCE_BYTES
from cottoncandy.core.buffers import Body, Buffer
from cottoncandy.exceptions import (
    IntegrityError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreError,
)
from cottoncandy.stores.store import Store
from cottoncandy.transfer.engine import retrying

_MD5 = re.compile(r"[0-9a-f]{32}")
_ATTEMPTS = 5

#: Turns the header and the chunks of a body into the body and options of the copy.
Conversion = Callable[[ObjectInfo, Body, PutOptions], tuple[Body, PutOptions]]


def copy_object(source: Store, key: str, dest: Store, dest_key: str, **options: Any) -> int:
    """Copy an object as :func:`_copy_once` does; repeat that while a store is busy.

    And while a file on disk is replaced meanwhile: the copy of an older version would be dated
    later than the newer one, which sync would skip.
    """
    for _ in range(_ATTEMPTS):
        nbytes = retrying(partial(_copy_once, source, key, dest, dest_key, **options), dest)
        if nbytes is not None:
            return nbytes
    raise ObjectChangedError(f"'{key}' was replaced whenever it was copied; copy it again")


def _copy_once(
    source: Store,
    key: str,
    dest: Store,
    dest_key: str,
    *,
    acl: str | None = None,
    threads: int = 1,
    convert: Conversion | None = None,
) -> int | None:
    """Copy an object, in the store if both ends allow it; return the bytes that passed through.

    None if the source was replaced meanwhile.

    Metadata, content type, content encoding and cache control are kept, as far as the destination
    keeps them; the storage class only within one kind of store.

    Parameters
    ----------
    acl : str, optional
        Canned ACL of the copy, unless it is made in the store, which keeps the ACL.
    threads : int, default 1
        Number of concurrent requests for a large object.
    convert : callable, optional
        Changes body and options before the upload.

    Raises
    ------
    ObjectNotFoundError
        If the source does not exist.
    IntegrityError
        If the bytes that arrived, or were stored, are not those of the source.
    """
    if convert is None and dest.backend.can_copy_from(source.backend):
        dest.backend.copy(key, dest_key, source_bucket=source.backend.bucket)
        return 0
    with source.backend.get(key, threads=threads) as reader:
        info = reader.info
        checked = _Checked(source.backend, info)
        body = Body(lambda: checked.blocks(reader.chunks()), size=reader.size)
        if reader.size <= AT_ONCE_BYTES:
            body = Body.of(b"".join(body))
        options = kept_by(
            dest.backend.capabilities,
            acl=acl,
            content_type=info.content_type,
            content_encoding=info.content_encoding,
            cache_control=info.cache_control,
            storage_class=_storage_class(info, source.backend, dest.backend),
            keep_encoded=key != dest_key or source.backend.describe() != dest.backend.describe(),
        ).changed(metadata=dict(info.metadata) if info.metadata else None)
        if convert is not None:
            body, options = convert(info, body, options)
        try:
            result = dest.backend.put(dest_key, body, options, threads=threads)
        except ObjectNotFoundError as exc:  # for callers, that would be a missing source
            raise StoreError(f"the copy of '{key}' could not be stored: {exc}") from exc
        replaced = reader.is_replaced()
    stored = ObjectInfo(dest_key, info.size, etag=result.etag)
    if convert is None and checked.differ_in(dest.backend, stored):
        raise IntegrityError(
            f"the copy of '{key}' as '{dest_key}' was altered in transit: it has another MD5; copy "
            f"it again"
        )
    return None if replaced else info.size


def check_content(backend: Backend, info: ObjectInfo, content: Buffer) -> None:
    """Compare a whole body with the checksum that the store has, if it has one.

    Raises
    ------
    IntegrityError
    """
    deque(checked_blocks(lambda: iter((content,)), backend, info), 0)


def checked_blocks(
    chunks: Callable[[], Iterator[Buffer]], backend: Backend, info: ObjectInfo
) -> Iterator[Buffer]:
    """Yield a whole body; raise IntegrityError before its last block if its checksum is wrong."""
    if etag_md5(backend, info) is None and info.crc32c is None:
        return chunks()
    return _Checked(backend, info).blocks(chunks())


class _Checked:
    """The blocks of a body, whose checksums are compared before the last one.

    The MD5; the CRC-32C of objects whose store has only that, such as composites.
    """

    def __init__(self, backend: Backend, info: ObjectInfo) -> None:
        self._backend, self._info = backend, info
        self._md5 = ""
        self._crc32c: str | None = None

    def blocks(self, chunks: Iterable[Buffer]) -> Iterator[Buffer]:
        digest = hashlib.md5(usedforsecurity=False)
        crc32c: Any = None
        if self._info.crc32c is not None and self._info.md5 is None:
            from google_crc32c import Checksum

            crc32c = Checksum()  # type: ignore[no-untyped-call]  # Google has no types
        held: Buffer | None = None  # one block behind, so that a wrong body is never complete
        for block in chunks:
            digest.update(block)
            if crc32c is not None:
                crc32c.update(bytes(block))
            if held is not None:
                yield held
            held = block
        self._md5, self._crc32c = digest.hexdigest(), crc32c and crc32c.digest().hex()
        if self.differ_in(self._backend, self._info):
            kind = "MD5" if crc32c is None else "CRC-32C"
            raise IntegrityError(
                f"object '{self._info.key}' arrived with another {kind} than the store has for it; "
                f"transfer it again"
            )
        if held is not None:
            yield held

    def differ_in(self, backend: Backend, info: ObjectInfo) -> bool:
        """Return whether a store has other checksums; if its MD5 differs, it is asked again."""
        if None not in (self._crc32c, info.crc32c):
            return self._crc32c != info.crc32c
        stored = partial(etag_md5, backend, info)
        return stored() not in (None, self._md5) and stored(confirm=True) is not None


@lru_cache  # most files of a call have the same options
def kept_by(can: Capabilities, *, acl: str | None, **options: Any) -> PutOptions:
    """Return options of a put without the headers that a store does not keep."""
    left_out = {*STORED_HEADERS} - can.headers
    kept = {name: value for name, value in options.items() if name not in left_out}
    return PutOptions(acl=acl if can.default_acl else None, **kept)


def _storage_class(info: ObjectInfo, source: Backend, dest: Backend) -> str | None:
    """Return the storage class of a copy: classes mean something within one kind of store."""
    if source.store_kind is not dest.store_kind or "storage_class" not in dest.capabilities.headers:
        return None
    return info.storage_class or source.storage_class(info.key)


def etag_md5(backend: Backend, info: ObjectInfo, *, confirm: bool = False) -> str | None:
    """Return the MD5 of the body that the ETag is; None if it is opaque.

    Parameters
    ----------
    confirm : bool, default False
        Whether to ask the store, with a request: the ETag of an object that the server encrypted
        with a separate key looks like an MD5. For those who found a difference.
    """
    if info.md5 is not None:
        return info.md5
    if backend.capabilities.stored_checksum != "md5":
        return None
    if confirm and not backend.has_md5_etag(info.key):
        return None
    etag = (info.etag or "").strip('"').lower()
    return etag if _MD5.fullmatch(etag) else None


def md5_of(blocks: Iterable[Buffer]) -> str:
    """Return the MD5 of consecutive blocks, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()
