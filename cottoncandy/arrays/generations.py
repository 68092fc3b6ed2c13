"""Replace a value of several objects in one instant; make its predecessor current again.

Tests order, fail and kill the requests of :func:`committing`, :func:`tidying` and
:func:`restoring`.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from cottoncandy.arrays.manifests import Version, part_names, predecessor, read_version
from cottoncandy.arrays.raw import Array, array_header, put_array
from cottoncandy.backends.base import IfAbsent, IfMatch, PutOptions, PutResult
from cottoncandy.core.buffers import Body
from cottoncandy.core.names import Key, pathjoin
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    MetadataError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageFullError,
    StoreError,
)
from cottoncandy.formats.generations import (
    MANIFEST,
    PREVIOUS,
    UPLOAD_ID,
    new_upload_id,
    part_metadata,
    place_of,
)
from cottoncandy.stores.finding import objects_below
from cottoncandy.stores.store import Store

Condition = IfAbsent | IfMatch | None
Build = Callable[["Version | None"], Mapping[str, Any]]

_log = logging.getLogger(__name__)

#: How often a commit is repeated if its answer was lost and nothing has changed.
_ATTEMPTS = 4


def manifest_options(metadata: Mapping[str, str], **options: Any) -> PutOptions:
    """Return how a manifest is stored."""
    return PutOptions(metadata, content_type="application/json", **options)


@dataclass
class Upload:
    """One upload of a value of several objects: its parts, then its commit.

    It pickles, for workers that store parts; they do not need ``live``.

    Parameters
    ----------
    store : Store
    root : Key
    upload_id : str
    acl : str, optional
    live : Version, optional
        The version that is replaced.
    documented : bool
        Whether to use the names of 0.4.0 where they are free.
    fixed : bool
        Whether only the version that was found first may be replaced.
    sent : bool
        Whether the manifest may have been stored: then nothing may be deleted.
    acl_of : tuple of str, optional
        Bucket and key of an object whose ACL the manifest gets, instead of ``acl``.
    before : tuple, optional
        Body and options that store the predecessor that the array has if it replaces nothing.
    first : str, optional
        Place of the part that was stored first: a removal of the tree during the upload deletes it.
    failed : list of bool
        Not empty if the upload failed; its copies in the same process share the list.
    """

    store: Store
    root: Key
    upload_id: str
    acl: str | None = None
    live: Version | None = None
    documented: bool = False
    fixed: bool = False
    sent: bool = False
    acl_of: tuple[str | None, str] | None = None
    before: tuple[bytes, PutOptions] | None = None
    first: str | None = None
    failed: list[bool] = field(default_factory=list)

    def key(self, *names: str) -> Key:
        """Return the key of an object below the root."""
        return Key(pathjoin(self.root, *names))

    def put(
        self,
        name: str,
        number: int | str,
        array: Array,
        compression: str | bool | None,
        threads: int = 1,
    ) -> str:
        """Store a part and return its place relative to the root.

        Parameters
        ----------
        name : str
        number : int or str
            Its number in the upload; in a sparse array, its name.
        array : ndarray
        compression : str, bool or None
        threads : int, default 1
        """

        def stored(place: str, condition: Condition) -> None:
            put_array(
                self.store,
                self.key(place),
                array,
                compression,
                metadata=part_metadata(self.upload_id, number),
                acl=self.acl,
                threads=threads,
                condition=condition,
            )

        return self.placed(name, stored)

    def placed(self, name: str, store: Callable[[str, Condition], object]) -> str:
        """Store a part, under its documented name if that is to be used and free; return where."""
        place = pathjoin(self.upload_id, name)
        if self.documented:
            with contextlib.suppress(ObjectExistsError):
                store(name, IfAbsent())
                place = name
        if place != name:
            store(place, None)
            if self.failed:  # Dask does not wait for the tasks that run when another one fails
                self.store.delete([self.key(place)])
        self.first = self.first or place
        return place

    def commit(
        self, build: Build, metadata: Mapping[str, str] | None = None, *, keep_raw: bool = False
    ) -> dict[str, Any]:
        """Make the manifest the current one; return what the documents call the response.

        A raw array of its name, which would hide it, is removed afterwards unless ``keep_raw``.
        """
        result, replaced, content = committing(self, build, metadata)
        if replaced is not None:
            try:
                tidying(self.store, replaced, content)
            except (CottonCandyError, OSError) as exc:
                _log.warning(
                    "array '%s' was stored, but parts of an older version could not be removed: "
                    "%s; cci.clean() removes them",
                    self.root,
                    exc,
                )
        if not keep_raw:
            remove_raw_array(self.store, self.root)
        return result.response

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """If it failed, delete the objects below the upload's own id, unless it may be current."""
        if error is not None and not self.sent:
            self.failed.append(True)
            with contextlib.suppress(CottonCandyError):  # the first error is the one to raise
                below = objects_below(self.store.backend, self.key(self.upload_id))
                self.store.delete([info.key for info in below])


def committing(
    upload: Upload, build: Build, metadata: Mapping[str, str] | None
) -> tuple[PutResult, Version | None, dict[str, Any]]:
    """Replace a version; return the result, the version that was replaced, and the new content.

    After a lost answer or a rejected condition, the current manifest is read: only it shows
    the outcome of the upload.

    Parameters
    ----------
    upload : Upload
    build : callable
        Returns the JSON object of the manifest that replaces a version, or None; it raises if the
        version cannot be replaced.
    metadata : mapping of str to str or None
        Of the manifest; None: those of the version that is replaced.
    """
    attempts = _ATTEMPTS
    uncertain = False
    store, live = upload.store, upload.live
    while True:
        upload.sent = uncertain
        previous = None if live is None else live.upload_id
        content = {**build(live), "upload_id": upload.upload_id, "previous": previous}
        body = json.dumps(content).encode()
        key, before = upload.key(MANIFEST), upload.before
        if live is not None:
            before = live.body, manifest_options(live.metadata, acl_of=(None, key))
        if before is not None:
            old, options = before
            store.backend.put(upload.key(upload.upload_id, PREVIOUS), Body.of(old), options)
        if upload.first is not None and not store.backend.exists(upload.key(upload.first)):
            raise ObjectChangedError(
                f"parts of array '{upload.root}' were removed during its upload; upload it again"
            )
        condition = IfAbsent() if live is None else IfMatch(live.etag)
        kept = live.metadata if metadata is None and live is not None else metadata or {}
        options = manifest_options(
            {**kept, UPLOAD_ID: upload.upload_id},
            condition=condition,
            acl=upload.acl,
            acl_of=upload.acl_of,
        )
        upload.sent = True
        try:
            return store.backend.put(key, Body.of(body), options), live, content
        except (ObjectExistsError, ObjectChangedError) as exc:
            error: Exception = exc
        except (CottonCandyError, OSError) as exc:
            if not _is_ambiguous(exc):
                upload.sent = uncertain
                raise
            error, uncertain = exc, True
        try:
            found = read_version(store, upload.root)
        except (CottonCandyError, OSError):
            raise error from None
        if found is not None and found.upload_id == upload.upload_id:
            return PutResult(found.etag), live, content
        if found is not None and upload.upload_id in {found.previous, *found.origins}:
            # The answer was lost, and others have stored or appended since. To commit again would
            # drop what they stored, or append twice.
            return PutResult(), live, content
        if (found and found.etag) == (live and live.etag):
            attempts -= 1
            if not attempts:
                upload.sent = uncertain
                raise error
        elif upload.fixed:
            if found is not None and _follows(store, found, upload.upload_id):
                return PutResult(), live, content
            upload.sent = uncertain
            if live is None:
                raise ObjectExistsError(
                    f"array '{upload.root}' was stored by another client; pass overwrite=True to "
                    f"replace it"
                ) from error
            raise _changed(upload.root, found) from error
        if live is not None and found is None:  # its parts were removed, too
            store.delete([upload.key(upload.upload_id, PREVIOUS)])
        live = found


def _is_ambiguous(error: Exception) -> bool:
    """Return whether a request may have been performed in spite of its error."""
    if isinstance(error, StorageFullError):
        return False
    return isinstance(error, StoreError | IntegrityError) or not isinstance(error, CottonCandyError)


def _follows(store: Store, found: Version, upload_id: str) -> bool:
    """Return whether a version replaced that of an upload, as far as is known."""
    if found.previous == upload_id:
        return True
    before = predecessor(store, found.root, found.upload_id)
    return before is not None and upload_id in (before.upload_id, before.previous)


def tidying(store: Store, replaced: Version, content: Mapping[str, Any]) -> None:
    """Delete what the predecessor of a replaced version named, and nothing else needs.

    ``content`` is that of the current manifest.
    """
    root = replaced.root
    older = predecessor(store, root, replaced.upload_id)
    if older is not None:
        unneeded = (older.places - replaced.places).difference(map(place_of, part_names(content)))
        parts = [pathjoin(root, place) for place in sorted(unneeded)]
        store.delete([pathjoin(root, replaced.upload_id or "", PREVIOUS), *parts])


def restoring(upload: Upload) -> Version:
    """Return the predecessor of the current version, which becomes the one to replace.

    Raises
    ------
    ObjectNotFoundError
        If there is no array, or no predecessor.
    """
    upload.live = live = read_version(upload.store, upload.root)
    if live is None:
        raise ObjectNotFoundError(
            f"there is no chunked or sparse array '{upload.root}'; only these "
            f"keep the version before a replacement"
        )
    before = predecessor(upload.store, upload.root, live.upload_id)
    if before is not None:
        return before
    found = read_version(upload.store, upload.root)
    if found is None or found.upload_id != live.upload_id:
        raise _changed(upload.root, found)
    raise ObjectNotFoundError(
        f"array '{upload.root}' has no predecessor: it was not replaced, or the predecessor was "
        f"removed by cci.clean()"
    )


def identified(content: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest that says for each part which upload wrote it; of 0.4.0, it is unknown."""
    if "parts" in content:
        return content
    parts = [[None, 0 if "dask" in content else name] for name in part_names(content)]
    return {**content, "parts": parts}


def _changed(root: Key, found: Version | None) -> ObjectChangedError:
    what = "deleted" if found is None else "replaced by another client"
    return ObjectChangedError(f"array '{root}' was {what}; nothing was changed")


# -- writers -------------------------------------------------------------------------------------


def begin(
    store: Store,
    root: Key,
    *,
    acl: str | None = None,
    condition: Condition = None,
    part_bytes: int | None = 0,
    live: Version | None = None,
) -> Upload:
    """Begin an upload of the value at ``root``: read the version that it replaces.

    As a context, the upload deletes its parts if the block fails before the commit, which is what
    makes another version current.

    Parameters
    ----------
    condition : IfAbsent or IfMatch, optional
        Of the whole value; that of its manifest.
    part_bytes : int or None
        Size of the largest part. None: the documented names are used in any case.
    live : Version, optional
        The version, if it was read.

    Raises
    ------
    ObjectExistsError, ObjectChangedError
        If the condition is not met, or an object has the name of the manifest and is not one.
    """
    try:
        live = live or read_version(store, root)
    except (IntegrityError, MetadataError) as exc:
        raise ObjectExistsError(
            f"object '{pathjoin(root, MANIFEST)}' was not stored by cottoncandy, and an array "
            f"named '{root}' would replace it: choose another name, or move the object; nothing "
            f"was uploaded"
        ) from exc
    if condition is not None:
        condition.check(live.etag if live else None, f"array '{root}' in bucket '{store.bucket}'")
    documented = live is None and (
        part_bytes is None or store.backend.puts_atomically(pathjoin(root, MANIFEST), part_bytes)
    )
    fixed = condition is not None
    return Upload(store, root, new_upload_id(), acl, live, documented, fixed)


def current(store: Store, root: Key) -> Version | None:
    """Return the current version of an array; None if there is none, or it cannot be read."""
    try:
        return read_version(store, root)
    except (IntegrityError, MetadataError):
        return None


def remove_array(store: Store, root: Key, keep: Container[str] = ()) -> bool:
    """Remove the manifest of an array, then its parts; return whether there was an array.

    ``keep`` are keys that are no longer parts of it.
    """
    live = current(store, root)
    if live is None:
        return False
    before = predecessor(store, root, live.upload_id)
    store.delete([pathjoin(root, MANIFEST)])
    parts = {*live.keys, *(before.keys if before else ())}
    previous = [pathjoin(root, live.upload_id or "", PREVIOUS)] if before else []
    store.delete([key for key in (*previous, *sorted(parts)) if key not in keep])
    return True


def remove_raw_array(store: Store, root: Key) -> None:
    """Delete the raw array of the same name, which would hide a chunked or sparse one."""
    if not root or not store.backend.capabilities.object_and_prefix:
        return
    try:
        with store.open(root, 1, prefetch=False) as reader:
            array_header(reader)
        store.delete([root])
    except (ObjectNotFoundError, MetadataError):
        return  # nothing, or not an array
    except CottonCandyError as exc:
        _log.warning("array '%s' was stored, but a raw array hides it: %s", root, exc)


def restore(store: Store, root: Key, acl: str | None = None) -> dict[str, Any]:
    """Make the predecessor of an array current again; return the response.

    Raises
    ------
    ObjectNotFoundError
        If there is no array, or no predecessor.
    ObjectChangedError
        If another client replaces the array at the same time.
    """
    with Upload(store, root, new_upload_id(), acl, fixed=True) as upload:
        before = restoring(upload)
        content = identified(before.content)
        return upload.commit(lambda _: content, before.metadata)
