"""Values stored as several objects: parts, and a manifest that names them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from cottoncandy._names import Key, pathjoin
from cottoncandy.exceptions import (
    CottonCandyError,
    IntegrityError,
    MetadataError,
    ObjectExistsError,
    ObjectNotFoundError,
)
from cottoncandy.formats import chunked, sparse
from cottoncandy.interfaces._objects import ObjectMethods

__all__ = ["MANIFEST", "ManifestMethods", "own_parts"]

#: Name of the manifest, relative to the value.
MANIFEST = "metadata.json"


class ManifestMethods(ObjectMethods):
    """Replacing a value of several objects so that no reader returns a mixture."""

    @contextlib.contextmanager
    def _atomic_replace(self, root: Key, parts: set[str]) -> Iterator[None]:
        """Replace the value at ``root``: the block uploads the parts, then the manifest.

        The manifest of an existing value is deleted first, so a failed upload leaves no value
        instead of old and new parts under one manifest. Parts that are not replaced are deleted
        last, and those that a failed upload added are deleted again.

        Raises
        ------
        ObjectExistsError
            If an object has the name of the manifest and is not one; nothing is changed.
        """
        old = self._existing_parts(root)
        if old is not None:
            self._delete([pathjoin(root, MANIFEST)])
        try:
            yield
        except BaseException:
            with contextlib.suppress(CottonCandyError):  # the first error is the one to raise
                self._delete(sorted(parts - (old or set())))
            raise
        self._delete(sorted((old or set()) - parts))

    def _existing_parts(self, root: Key) -> set[str] | None:
        """Return the parts of the existing value, None if there is none."""
        try:
            names = own_parts(self.download_json(pathjoin(root, MANIFEST)), root)[1]
        except ObjectNotFoundError:
            return None
        except (IntegrityError, MetadataError) as exc:
            raise ObjectExistsError(
                f"object '{pathjoin(root, MANIFEST)}' was not stored by cottoncandy, and an array "
                f"named '{root}' would replace it: choose another name, or move the object; "
                f"nothing was uploaded"
            ) from exc
        return {pathjoin(root, name) for name in names}

    def _delete(self, keys: list[str]) -> None:
        for deletion in self.backend_interface.delete(keys):
            if deletion.error is not None:
                raise deletion.error

    def _download_method(self, root: Key) -> str | None:
        """Return the method that downloads the array of that name, None if there is none."""
        with contextlib.suppress(ObjectNotFoundError, IntegrityError, MetadataError):
            return own_parts(self.download_json(pathjoin(root, MANIFEST)), root)[0]
        return None


def own_parts(manifest: Any, root: str) -> tuple[str, set[str]]:
    """Return the download method for a manifest, and the names of its parts below ``root``.

    Raises
    ------
    MetadataError
        If it is not a manifest of this format.
    """
    if isinstance(manifest, dict) and "dask" in manifest:
        return "download_dask_array", chunked.own_parts(manifest, object_name=root)
    return "download_sparse_array", set(sparse.parts_of(manifest, object_name=root))
