"""Values kept as several objects: parts, and last a manifest that names them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from cottoncandy._names import SEPARATOR, pathjoin
from cottoncandy.exceptions import CottonCandyError, IntegrityError, ObjectNotFoundError
from cottoncandy.interfaces._objects import ObjectMethods

__all__ = ["MANIFEST", "ManifestMethods"]

#: Name of the manifest, relative to the value.
MANIFEST = "metadata.json"


class ManifestMethods(ObjectMethods):
    """Replacing a value of several objects so that no reader ever sees a mixture."""

    @contextlib.contextmanager
    def _replacing(self, root: str, parts: set[str]) -> Iterator[None]:
        """Replace the value at ``root``: the block uploads the parts, then the manifest.

        The manifest of what was there goes first, so an upload that fails leaves no value rather
        than old and new parts under one manifest. Parts that are not replaced go last. Those that a
        failed upload added go again, as far as the store lets them.
        """
        old = self._old_parts(root)
        if old is not None:
            self._delete([pathjoin(root, MANIFEST)])
        try:
            yield
        except BaseException:
            with contextlib.suppress(CottonCandyError):  # the first error is the one to tell
                self._delete(sorted(parts - (old or set())))
            raise
        self._delete(sorted((old or set()) - parts))

    def _old_parts(self, root: str) -> set[str] | None:
        """Return the parts of the value that is there, None if there is none."""
        try:
            manifest = self.download_json(pathjoin(root, MANIFEST))
        except ObjectNotFoundError:
            return None
        except IntegrityError:
            return set()
        return {
            name
            for name in (pathjoin(root, _last(part)) for part in _named_parts(manifest))
            if name != pathjoin(root, MANIFEST)
        }

    def _delete(self, keys: list[str]) -> None:
        for deletion in self.backend_interface.delete(keys):
            if deletion.error is not None:
                raise deletion.error


def _named_parts(manifest: Any) -> list[str]:
    """Return the part names in a manifest of any kind; what makes no sense has none."""
    if not isinstance(manifest, dict):
        return []
    found = [part for entry in manifest.get("dask", []) for part in entry[1:2]]
    found += manifest.get("attrs", [])
    return [part for part in found if isinstance(part, str)]


def _last(name: str) -> str:
    return name.rsplit(SEPARATOR, 1)[-1]
