"""Upload ids, and the places of the parts of chunked and sparse arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import uuid4

from cottoncandy.core.names import SEPARATOR
from cottoncandy.exceptions import IntegrityError

#: Name of the manifest, relative to the array.
MANIFEST = "metadata.json"

#: Name of the manifest that an upload replaced, relative to the directory of that upload.
PREVIOUS = "previous.json"

#: Metadata name of the upload that wrote an object.
UPLOAD_ID = "cc-upload-id"

#: Metadata name of the number of a part in its upload, or of its name in a sparse array.
PART_NUMBER = "cc-part"

#: Patterns of the names of parts, and of the directories of uploads. Their contents may be deleted,
#: so no other program's may match.
PART = r"(?:pt[0-9]{4,}|data|indices|indptr|row|col|offsets|coord[0-9]+)"
UPLOAD = "cc-[0-9a-f]{32}"


def new_upload_id() -> str:
    """Return an id that no other upload has."""
    return f"cc-{uuid4().hex}"


def is_upload_id(value: Any) -> bool:
    """Return whether a value is an upload id of this format."""
    return isinstance(value, str) and re.fullmatch(UPLOAD, value) is not None


def upload_ids(manifest: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the upload that stored a manifest and the one that it replaced, if they are known.

    Raises
    ------
    ValueError
        If one of them is not an upload id.
    """
    upload_id, previous = manifest.get("upload_id"), manifest.get("previous")
    for value in (upload_id, previous):
        if value is not None and not is_upload_id(value):
            raise ValueError(f"{value!r:.80} is not an upload id")
    return upload_id, previous


_OBJECT = re.compile(
    rf"(.+?)/(?:({UPLOAD})/)?({PART}|{re.escape(MANIFEST)}|{re.escape(PREVIOUS)})", re.DOTALL
)


class ArrayObject(NamedTuple):
    """The key of a part or a manifest of an array: that of the array, the upload, its own name."""

    root: str
    upload_id: str | None
    name: str

    @property
    def is_part(self) -> bool:
        """Whether it has the name of a part."""
        return self.name not in (MANIFEST, PREVIOUS)


def array_object(key: str) -> ArrayObject | None:
    """Take a key apart; None if no array has an object of such a name.

    Examples
    --------
    >>> array_object("run1/pt0000")
    ArrayObject(root='run1', upload_id=None, name='pt0000')
    """
    match = _OBJECT.fullmatch(key)
    return None if match is None else ArrayObject(*match.groups())


def place_of(name: str) -> str:
    """Return the place of a part relative to its manifest.

    Examples
    --------
    >>> place_of("run1/pt0000"), place_of("run1/cc-0123456789abcdef0123456789abcdef/pt0001")
    ('pt0000', 'cc-0123456789abcdef0123456789abcdef/pt0001')
    """
    directory, _, last = name.rpartition(SEPARATOR)
    return _own_directory(directory) + last


@lru_cache(maxsize=1024)  # a manifest may name millions of parts in a few directories
def _own_directory(directory: str) -> str:
    last = directory.rpartition(SEPARATOR)[2]
    return last + SEPARATOR if is_upload_id(last) else ""


def part_metadata(upload_id: str, number: int | str) -> dict[str, str]:
    """Return the metadata that identify a part."""
    return {UPLOAD_ID: upload_id, PART_NUMBER: str(number)}


def check_part(
    metadata: Mapping[str, str], upload_id: str | None, number: int | str, name: str
) -> None:
    """Reject a part of another upload, or another part of the same one.

    Parts without these metadata, as 0.4.0 wrote them, are accepted.

    Raises
    ------
    IntegrityError
    """
    found = metadata.get(UPLOAD_ID), metadata.get(PART_NUMBER)
    if upload_id is not None and found not in ((None, None), (upload_id, str(number))):
        raise IntegrityError(
            f"object '{name}' is part {found[1]} of upload {found[0]}, and the manifest of its "
            f"array names part {number} of upload {upload_id}: parts of two uploads are mixed"
        )
