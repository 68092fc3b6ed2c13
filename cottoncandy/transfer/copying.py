"""Copy one object to another store, with everything that belongs to it, and check the copy."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from cottoncandy.backends.base import Backend, ObjectInfo, PutOptions
from cottoncandy.core.buffers import Body, Buffer
from cottoncandy.exceptions import IntegrityError
from cottoncandy.stores.store import Store
from cottoncandy.transfer.engine import retrying

__all__ = [
    "Conversion",
    "Copied",
    "check_md5",
    "checked_blocks",
    "copy_object",
    "etag_md5",
    "kept_by",
    "matches_md5",
    "md5_of",
]

_MD5 = re.compile(r"[0-9a-f]{32}")


class Copied(NamedTuple):
    """The result of a copy: the bytes that passed through this machine, and their header."""

    transferred: int
    info: ObjectInfo | None = None


#: Turns the header and the chunks of a body into the body and options of the copy.
Conversion = Callable[[ObjectInfo, Body, PutOptions], tuple[Body, PutOptions]]


def copy_object(source: Store, key: str, dest: Store, dest_key: str, **options: Any) -> Copied:
    """Copy an object as :func:`_copy_once` does; repeat that while a store is busy."""
    return retrying(partial(_copy_once, source, key, dest, dest_key, **options))


def _copy_once(
    source: Store,
    key: str,
    dest: Store,
    dest_key: str,
    *,
    acl: str | None = None,
    threads: int = 1,
    convert: Conversion | None = None,
) -> Copied:
    """Copy an object, in the store if both ends allow it.

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
        dest.backend.copy(key, dest_key, source_bucket=source.bucket, dest_bucket=dest.bucket)
        return Copied(0)
    with source.backend.get(key, threads=threads) as reader:
        info = reader.info
        checked = _Checked(reader.chunks, partial(etag_md5, source.backend, info), key)
        body = Body(checked.blocks, size=reader.size)
        options = _options(info, dest.backend, acl, same=type(source.backend) is type(dest.backend))
        if convert is not None:
            body, options = convert(info, body, options)
        result = dest.backend.put(dest_key, body, options, threads=threads)
    stored = replace(info, key=dest_key, etag=result.etag)
    if convert is None and checked.differs_from(partial(etag_md5, dest.backend, stored)):
        raise IntegrityError(
            f"the copy of '{key}' as '{dest_key}' was altered in transit: it has another MD5; copy "
            f"it again"
        )
    return Copied(info.size, info)


def check_md5(backend: Backend, info: ObjectInfo, content: Buffer) -> None:
    """Compare a whole body with the MD5 that the store has, if it has one.

    Raises
    ------
    IntegrityError
    """
    expected = etag_md5(backend, info)
    if expected not in (None, md5_of([content])) and etag_md5(backend, info, confirm=True):
        raise IntegrityError(f"object '{info.key}' arrived with another MD5 than the store has")


def checked_blocks(
    chunks: Callable[[], Iterator[Buffer]], backend: Backend, info: ObjectInfo
) -> Iterator[Buffer]:
    """Yield a whole body; raise IntegrityError before its last block if the MD5 is wrong."""
    expected = partial(etag_md5, backend, info)
    return chunks() if expected() is None else _Checked(chunks, expected, info.key).blocks()


class _Checked:
    """The blocks of a body, whose MD5 is compared with that of the source before the last one."""

    def __init__(
        self, chunks: Callable[[], Iterator[Buffer]], expected: Callable[..., str | None], key: str
    ) -> None:
        self._chunks = chunks
        self._expected = expected
        self._key = key
        self._md5 = ""

    def blocks(self) -> Iterator[Buffer]:
        digest = hashlib.md5(usedforsecurity=False)
        held: Buffer | None = None  # one block behind, so that a wrong body is never complete
        for block in self._chunks():
            digest.update(block)
            if held is not None:
                yield held
            held = block
        self._md5 = digest.hexdigest()
        if self.differs_from(self._expected):
            raise IntegrityError(
                f"object '{self._key}' arrived with another MD5 than the store has for it; nothing "
                f"was stored. Copy it again"
            )
        if held is not None:
            yield held

    def differs_from(self, stored: Callable[..., str | None]) -> bool:
        """Return whether a store has another MD5; if so, it is asked again."""
        return stored() not in (None, self._md5) and stored(confirm=True) is not None


def _options(info: ObjectInfo, backend: Backend, acl: str | None, *, same: bool) -> PutOptions:
    """Return what the copy is stored with: all that the destination keeps."""
    options = PutOptions(
        dict(info.metadata) if info.metadata else None,
        acl,
        info.content_type,
        info.content_encoding,
        info.cache_control,
        info.storage_class if same else None,
    )
    return kept_by(backend, options)


def kept_by(backend: Backend, options: PutOptions) -> PutOptions:
    """Return options without the headers and the ACL that a store does not keep."""
    can = backend.capabilities
    lost = [*(options.headers.keys() - can.headers), *([] if can.default_acl else ["acl"])]
    changes: dict[str, Any] = dict.fromkeys(lost)
    return replace(options, **changes)


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
    return _plain_md5(info)


def _plain_md5(info: ObjectInfo) -> str | None:
    etag = (info.etag or "").strip('"').lower()
    return etag if _MD5.fullmatch(etag) else None


def md5_of(blocks: Iterable[Buffer]) -> str:
    """Return the MD5 of consecutive blocks, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def matches_md5(content: Buffer, info: ObjectInfo) -> bool:
    """Return whether content has the MD5 of a header; True if that has none."""
    expected = info.md5 or _plain_md5(info)
    return expected is None or md5_of((content,)) == expected
